//! Wall time, which somebody may set: what was noted before is put right then, so that it is as long ago as it was.

use std::time::{Duration, Instant};

use sonde_mplane::Time;

/// What no clock that is kept right by NTP moves at once.
const TOLERATED: Duration = Duration::from_secs(1);

/// A wall clock that was set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Step {
    forward: Duration,
    now: Time,
}

impl Step {
    /// Between two looks at the wall clock, each with the time since the start; `None` where it goes as it should.
    #[must_use]
    pub fn between(before: (Time, Duration), after: (Time, Duration)) -> Option<Self> {
        let expected = before.0.plus(after.1.saturating_sub(before.1));
        let (forward, back) = (after.0.since(expected), expected.since(after.0));
        (forward.max(back) > TOLERATED).then_some(Self { forward, now: after.0 })
    }

    /// What a time is that was noted before: as long ago as it was, and not ahead. One that an earlier process noted may be of
    /// a clock that was right, so back it goes no further.
    #[must_use]
    pub fn of(self, noted: Time) -> Time {
        noted.plus(self.forward).min(self.now)
    }
}

/// Looks at a wall clock again and again.
#[derive(Debug)]
pub(crate) struct Clock {
    wall: fn() -> Time,
    opened: Instant,
    before: (Time, Duration),
}

impl Clock {
    pub(crate) fn new(wall: fn() -> Time) -> Self {
        Self { wall, opened: Instant::now(), before: (wall(), Duration::ZERO) }
    }

    /// The present, and whether the clock was set since the last look.
    pub(crate) fn look(&mut self) -> (Time, Option<Step>) {
        let after = ((self.wall)(), self.opened.elapsed());
        let step = Step::between(self.before, after);
        self.before = after;
        (after.0, step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::at;

    #[test]
    fn a_clock_that_is_set_leaves_what_was_noted_as_long_ago_and_puts_nothing_ahead() {
        let uptime = Duration::from_secs;
        let before = (at(100), uptime(10));
        assert_eq!(Step::between(before, (at(160), uptime(70))), None);
        assert_eq!(Step::between(before, (at(101), uptime(10))), None, "NTP");
        let forward = Step::between(before, (at(7300), uptime(10))).unwrap();
        assert_eq!([at(40), at(100)].map(|it| forward.of(it)), [at(7240), at(7300)]);
        let back = Step::between(before, (at(50), uptime(10))).unwrap();
        assert_eq!([at(40), at(100)].map(|it| back.of(it)), [at(40), at(50)]);
    }
}
