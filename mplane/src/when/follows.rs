//! Whether a specification's scope fits a capability's.
//!
//! Source: the RI, measured; where it fails with an error, the answer here is no.

use std::cmp::Ordering;

use super::When;
use crate::time::{Moment, Time};

impl When {
    /// Whether something that is offered for `capability` may be asked for with this scope.
    ///
    /// The period must not be shorter than the capability's, and the start or an absolute end must lie
    /// within its scope.
    #[must_use]
    pub fn follows(&self, capability: &Self, now: Time) -> bool {
        if let Some(least) = capability.period {
            let period = match &self.repeat {
                None => self.period,
                Some(repeat) => repeat.inner.and_then(|inner| inner.period),
            };
            if period.is_none_or(|period| period < least) {
                return false;
            }
        }
        capability.holds(self.start, now)
            || self.end.is_some_and(|end| end.time().is_some() && capability.holds(end, now))
    }

    fn holds(&self, moment: Moment, now: Time) -> bool {
        if moment == Moment::Now && (self.start == Moment::Now || self.end == Some(Moment::Now)) {
            return true;
        }
        let moment = moment.resolved(now);
        let start = self.start.resolved(now);
        let end = match (self.end, start) {
            (Some(end), _) => end.resolved(now),
            (None, Moment::At(start)) => Moment::At(start.plus(self.duration.unwrap_or_default())),
            (None, open) => open,
        };
        compare(start, moment).is_le()
            && compare(moment, end).is_le()
            && (moment != Moment::Past || (start == Moment::Past && end == Moment::Future))
    }
}

/// With `past` before and `future` after everything; nothing is `now` any more.
fn compare(left: Moment, right: Moment) -> Ordering {
    let key = |moment: Moment| match moment {
        Moment::Past => (0, None),
        Moment::Now => (1, None),
        Moment::At(time) => (1, Some(time)),
        Moment::Future => (2, None),
    };
    key(left).cmp(&key(right))
}
