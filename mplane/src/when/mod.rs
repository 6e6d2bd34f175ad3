//! Temporal scopes: when and how often something is measured.
//!
//! Printing is exact, for the text is part of tokens: six fraction digits, `1h` for `60m`, a blank
//! after the brace that closes an inner scope.
//!
//! Source: the RI's `when` texts.

mod cron;
mod follows;
mod parse;
mod schedule;

use std::fmt;
use std::time::Duration;

pub use self::cron::Cron;
pub use self::schedule::{Occurrences, Timers};
use crate::time::{Moment, Time, TimeError};

/// A temporal scope.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct When {
    /// Where it begins.
    pub start: Moment,
    /// Where it ends; a scope has an end or a duration or neither.
    pub end: Option<Moment>,
    /// Whole seconds from the start.
    pub duration: Option<Duration>,
    /// Whole seconds between samples, or between repetitions.
    pub period: Option<Duration>,
    /// What is repeated, if anything is; then there is a period or a crontab, never both.
    pub repeat: Option<Repeat>,
}

/// How a scope is repeated.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Repeat {
    /// In place of a period.
    pub cron: Option<Cron>,
    /// Scope of each repetition; a bare point in time if missing.
    pub inner: Option<Inner>,
}

/// Scope of one repetition, from its own start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Inner {
    /// Whole seconds.
    pub duration: Duration,
    /// Whole seconds between samples.
    pub period: Option<Duration>,
}

/// Why a text is no scope.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WhenError {
    /// An end is no moment.
    #[error("temporal scope {text:?}: {reason}")]
    Time {
        /// The whole text.
        text: String,
        /// What is wrong with the moment.
        #[source]
        reason: TimeError,
    },
    /// Not all of a duration can be read; messages of others are taken as the RI takes them.
    #[error(
        "temporal scope {text:?}: {part:?} is no duration, accepted: whole days, hours, minutes and seconds, such as 1d12h or 90s"
    )]
    Unread {
        /// The whole text.
        text: String,
        /// What should be a duration.
        part: String,
    },
    /// A duration beyond all calendars.
    #[error("temporal scope {text:?}: a duration is at most 999999999d")]
    Duration {
        /// The whole text.
        text: String,
    },
    /// A separator stands twice.
    #[error("temporal scope {text:?}: {separator:?} stands more than once")]
    Separator {
        /// The whole text.
        text: String,
        /// Which one.
        separator: &'static str,
    },
    /// Neither or both of period and crontab.
    #[error("temporal scope {text:?}: repeat takes a period or a crontab, one of them")]
    Repeat {
        /// The whole text.
        text: String,
    },
    /// The crontab has other fields.
    #[error(
        "temporal scope {text:?}: crontab {field:?}, accepted: seconds minutes hours days weekdays \
         months, each *, N,N,... or N-N, at most 9999"
    )]
    Cron {
        /// The whole text.
        text: String,
        /// What is wrong.
        field: String,
    },
    /// An inner scope that is absolute.
    #[error("temporal scope {text:?}: an inner scope begins with now")]
    Inner {
        /// The whole text.
        text: String,
    },
}

impl When {
    /// The duration that `inf` means: 100000 days.
    pub const INFINITE: Duration = Duration::from_secs(100_000 * 86_400);

    /// From a start that has no end and no duration.
    #[must_use]
    pub fn at(start: Moment) -> Self {
        Self { start, end: None, duration: None, period: None, repeat: None }
    }

    /// From one moment until another.
    #[must_use]
    pub fn between(start: Moment, end: Moment) -> Self {
        Self { end: Some(end), ..Self::at(start) }
    }

    /// What a result says: when its measurement began and ended.
    #[must_use]
    pub fn measured(start: Time, end: Time) -> Self {
        Self::between(Moment::At(start), Moment::At(end))
    }

    /// With samples that far apart, in whole seconds.
    #[must_use]
    pub fn every(mut self, period: Duration) -> Self {
        self.period = Some(Duration::from_secs(period.as_secs()));
        self
    }

    /// Whether it says several measurements.
    #[must_use]
    pub fn is_repeated(&self) -> bool {
        self.repeat.is_some()
    }

    /// Whether start and end are absolute; results must be, and a specification that is carries no
    /// token when the RI sends it.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        self.start.time().is_some() && self.end.is_none_or(|end| end.time().is_some())
    }

    /// The scope of each repetition.
    #[must_use]
    pub fn inner(&self) -> Option<Inner> {
        self.repeat.as_ref().and_then(|repeat| repeat.inner)
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.repeat.is_some() {
            f.write_str("repeat ")?;
        }
        self.start.fmt(f)?;
        if let Some(end) = self.end {
            write!(f, " ... {end}")?;
        } else if let Some(duration) = self.duration {
            write!(f, " + {}", Text(duration))?;
        }
        if let Some(period) = self.period {
            write!(f, " / {}", Text(period))?;
        }
        let Some(repeat) = &self.repeat else {
            return Ok(());
        };
        if let Some(cron) = &repeat.cron {
            write!(f, " cron {cron}")?;
        }
        if let Some(inner) = repeat.inner {
            write!(f, " {{ now + {}", Text(inner.duration))?;
            if let Some(period) = inner.period {
                write!(f, " / {}", Text(period))?;
            }
            f.write_str(" } ")?;
        }
        Ok(())
    }
}

/// A duration in whole seconds, largest units first.
struct Text(Duration);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        if seconds == 0 {
            return f.write_str("0s");
        }
        let units = [
            (seconds / 86_400, 'd'),
            (seconds / 3600 % 24, 'h'),
            (seconds / 60 % 60, 'm'),
            (seconds % 60, 's'),
        ];
        for (number, unit) in units {
            if number > 0 {
                write!(f, "{number}{unit}")?;
            }
        }
        Ok(())
    }
}
