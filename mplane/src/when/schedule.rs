//! When measurements begin and end.
//!
//! Pure arithmetic over a given present; timers are the caller's.

use std::time::Duration;

use super::{Inner, When};
use crate::time::{Moment, Time};

/// Delays of one measurement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timers {
    /// Until it begins.
    pub start: Duration,
    /// Until it is interrupted; never if missing. Without end and duration it equals the start: a
    /// measurement that looks at the flag stops after its first sample.
    pub end: Option<Duration>,
}

impl When {
    /// Delays from `now`; none if the end has passed, and then nothing is measured.
    ///
    /// A start that lies in the past, or is `past`, is now.
    #[must_use]
    pub fn timers(&self, now: Time) -> Option<Timers> {
        let start = match self.start {
            Moment::At(time) => time.since(now),
            Moment::Now | Moment::Past => Duration::ZERO,
            Moment::Future => return None,
        };
        let end = match self.end {
            None => Some(start + self.duration.unwrap_or_default()),
            Some(Moment::Future) => None,
            Some(Moment::Now) => Some(Duration::ZERO),
            Some(Moment::Past) => return None,
            Some(Moment::At(time)) if time < now => return None,
            Some(Moment::At(time)) => Some(time.since(now)),
        };
        Some(Timers { start, end })
    }

    /// When it ends, seen from `now`; never if missing.
    #[must_use]
    pub fn end_time(&self, now: Time) -> Option<Time> {
        match (self.end, self.start.resolved(now)) {
            (Some(end), _) => end.resolved(now).time(),
            (None, Moment::At(start)) => Some(start.plus(self.duration.unwrap_or_default())),
            (None, _) => None,
        }
    }

    /// Number of samples: how often the period goes into the duration, at least once; one where either
    /// is missing or the period is zero.
    #[must_use]
    pub fn samples(&self) -> u64 {
        match (self.duration, self.period.map(|period| period.as_secs())) {
            (Some(duration), Some(period)) if period > 0 => (duration.as_secs() / period).max(1),
            _ => 1,
        }
    }

    /// The scopes of the repetitions, in the order of their starts.
    ///
    /// Periodic ones begin at the outer start and every period until and including the outer end; those
    /// of a crontab at each second that matches. Endless where the scope is: take what is needed. Empty
    /// for a scope that is not repeated or begins in the infinite.
    #[must_use]
    pub fn occurrences(&self, now: Time) -> Occurrences {
        let start = match self.start {
            Moment::Past => Some(now),
            other => other.resolved(now).time(),
        };
        Occurrences {
            when: self.clone(),
            next: start.filter(|_| self.is_repeated()),
            end: self.end_time(now),
        }
    }
}

/// See [`When::occurrences`].
#[derive(Clone, Debug)]
pub struct Occurrences {
    when: When,
    next: Option<Time>,
    end: Option<Time>,
}

impl Iterator for Occurrences {
    type Item = When;

    fn next(&mut self) -> Option<When> {
        let from = self.next.take()?;
        let repeat = self.when.repeat.as_ref()?;
        let start = match &repeat.cron {
            Some(cron) => cron.next(from)?,
            None => from,
        };
        if self.end.is_some_and(|end| start > end) {
            return None;
        }
        let step = match repeat.cron {
            Some(_) => Duration::from_secs(1),
            None => self.when.period.unwrap_or_default(),
        };
        // A period of zero is one repetition, not infinitely many.
        self.next = Some(start.plus(step)).filter(|next| *next > start);
        let Inner { duration, period } =
            repeat.inner.unwrap_or(Inner { duration: Duration::ZERO, period: None });
        let duration = repeat.inner.map(|_| duration);
        Some(When { duration, period, ..When::at(Moment::At(start)) })
    }
}
