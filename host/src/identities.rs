//! Identities of measurements: unique, and in the order of the starts.

use ulid::Ulid;

/// Makes them.
pub(crate) struct Identities {
    /// From the operating system, so that no two hosts make the same.
    base: u128,
    count: u128,
}

impl Identities {
    pub(crate) fn new() -> Self {
        Self { base: Ulid::new().random(), count: 0 }
    }

    pub(crate) fn next(&mut self, started_wall_ns: u64) -> Ulid {
        // An odd step goes through all 80 bits before one comes again.
        const STEP: u128 = 0x9e37_79b9_7f4a_7c15_f39d;
        self.count = self.count.wrapping_add(1);
        let random = self.base.wrapping_add(self.count.wrapping_mul(STEP));
        Ulid::from_parts(started_wall_ns / 1_000_000, random)
    }
}
