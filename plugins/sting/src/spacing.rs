//! When samples leave.
//!
//! Exponential gaps sample as one who comes at random does (PASTA); periodic ones may fall in step with
//! what they measure; uniform ones are a compromise with a largest gap.
//!
//! Source: Savage 1999, section 3.3; RFC 2330, section 11.1.

use std::time::Duration;

/// Distribution of the gaps between samples.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Spacing {
    Exponential,
    Periodic,
    Uniform,
}

impl Spacing {
    /// A gap with this mean; `unit` is a random number from 0 up to, but not including, 1.
    pub(crate) fn gap(self, mean: Duration, unit: f64) -> Duration {
        match self {
            Self::Exponential => mean.mul_f64(-(1.0 - unit).ln()),
            Self::Periodic => mean,
            Self::Uniform => mean.mul_f64(2.0 * unit),
        }
    }
}
