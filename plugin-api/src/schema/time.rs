//! Moments of the host's monotonic clock.

use std::ops::{Add, Sub};
use std::time::Duration;

/// Nanoseconds of the host's monotonic clock; virtual time in a simulation.
///
/// Arithmetic saturates: a moment computed from a foreign number must not panic.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Time(pub u64);

impl Time {
    /// How long after `earlier` this is; zero if it is before.
    #[inline]
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    #[inline]
    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(super::nanoseconds(later)))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    #[inline]
    fn sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(super::nanoseconds(earlier)))
    }
}

/// As [`Time::since`].
impl Sub for Time {
    type Output = Duration;

    #[inline]
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}
