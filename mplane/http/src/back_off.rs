//! How long to wait after a failure: longer each time, and not all hosts at once.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(crate) struct BackOff {
    failures: u32,
}

impl BackOff {
    /// One more failure: how long to wait. From half of the time to all of it, by chance.
    pub(crate) fn failed(&mut self) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures += 1;
        let chance = RandomState::new().hash_one(self.failures) % 1024;
        longest / 2 + longest.mul_f64(chance as f64 / 2048.0)
    }

    /// It works again; whether it had failed before.
    pub(crate) fn succeeded(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_grows_to_a_minute_and_is_short_again_after_a_success() {
        let mut back_off = BackOff::default();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let waited = back_off.failed();
            let longest = Duration::from_secs(seconds);
            assert!(waited >= longest / 2 && waited <= longest, "{waited:?} of {longest:?}");
        }
        assert!(back_off.succeeded());
        assert!(!back_off.succeeded());
        assert!(back_off.failed() <= Duration::from_secs(1));
    }
}
