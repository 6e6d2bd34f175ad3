//! The calendar's time, for reporting.

/// A moment of the calendar: nanoseconds since 1970 (UTC), leap seconds not counted.
///
/// It may jump when the machine's clock is set: never subtract two of them, that is what
/// [`crate::Time`] is for.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct WallTime(
    /// Nanoseconds since 1970 (UTC).
    pub u64,
);

impl WallTime {
    /// Milliseconds since midnight UTC, as ICMP and IP time stamps want them.
    #[inline]
    #[must_use]
    pub fn milliseconds_of_day(self) -> u32 {
        // In range: a day has fewer than 2^32 milliseconds.
        (self.0 / 1_000_000 % 86_400_000) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_begins_at_midnight_utc() {
        let noon = WallTime((20_000 * 86_400 + 43_200) * 1_000_000_000 + 999_999);
        assert_eq!(noon.milliseconds_of_day(), 43_200_000);
    }
}
