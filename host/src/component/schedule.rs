//! When the measurements of a specification begin, and how long each samples.
//!
//! Pure arithmetic over a given present. Where the method counts samples, period and duration of the
//! scope give their number; where it does not, a measurement ends when it has found what it looks
//! for, and the end of the scope only bounds when repetitions begin.

use std::time::Duration;

use sonde_mplane::{Moment, Occurrences, Time, When};

/// One measurement's part of the scope.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Sampling {
    /// From one sample to the next; the method's own default if missing.
    pub(crate) period: Option<Duration>,
    /// `None`: until it is interrupted.
    pub(crate) samples: Option<u64>,
}

/// Starts that are still to come.
#[derive(Clone, Debug)]
pub(crate) enum Schedule {
    Once {
        start: Option<Time>,
        sampling: Sampling,
    },
    /// Start and end of the scope are absolute.
    Repeated {
        scope: Box<When>,
        next: Option<Box<When>>,
        rest: Box<Occurrences>,
    },
}

/// A scope in which nothing can be measured.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("temporal scope {0} is over: nothing can be measured in it")]
pub(crate) struct Over(String);

impl Schedule {
    /// Of a scope, seen from `now`. For the verb `query` the scope is data: it begins at once.
    pub(crate) fn of(when: &When, verb: &str, now: Time) -> Result<Self, Over> {
        let over = || Over(when.to_string());
        if when.is_repeated() {
            let scope = Box::new(absolute(when, now));
            let mut rest = caught_up(&scope, now);
            let next = rest.next().map(Box::new).ok_or_else(over)?;
            return Ok(Self::Repeated { scope, next: Some(next), rest: Box::new(rest) });
        }
        if verb == "query" {
            let sampling = Sampling { period: when.period, samples: Some(1) };
            return Ok(Self::Once { start: Some(now), sampling });
        }
        let timers = when.timers(now).ok_or_else(over)?;
        let start = now.plus(timers.start);
        Ok(Self::Once { start: Some(start), sampling: Sampling::of(when, start, now) })
    }

    /// What is still to come at `now` of a scope that was accepted earlier.
    pub(crate) fn resumed(when: &When, verb: &str, accepted: Time, now: Time) -> Self {
        if !when.is_repeated() {
            // Whoever reads this missed the start, or was stopped in the middle.
            let mut schedule = Self::of(when, verb, accepted);
            if let Ok(schedule) = &mut schedule {
                schedule.take_due(now);
            }
            return schedule.unwrap_or_else(|_| Self::nothing());
        }
        Self::of(&absolute(when, accepted), verb, now).unwrap_or_else(|_| Self::nothing())
    }

    /// How many repetitions of a scope that was accepted earlier were to begin after `since`, or at all, and before `now`; counted
    /// up to `most`.
    pub(crate) fn repetitions(
        when: &When,
        accepted: Time,
        since: Option<Time>,
        now: Time,
        most: usize,
    ) -> usize {
        let scope = absolute(when, accepted);
        let starts = caught_up(&scope, since.unwrap_or(accepted)).map_while(|it| it.start.time());
        let missed = starts.skip_while(|start| since.is_some_and(|since| *start <= since));
        missed.take_while(|start| *start < now).take(most).count()
    }

    fn nothing() -> Self {
        Self::Once { start: None, sampling: Sampling { period: None, samples: Some(1) } }
    }

    /// When the next measurement begins.
    pub(crate) fn next(&self) -> Option<Time> {
        match self {
            Self::Once { start, .. } => *start,
            Self::Repeated { next, .. } => next.as_ref().and_then(|next| next.start.time()),
        }
    }

    /// The measurement that is due at `now`. Of several repetitions that were missed, the last one.
    pub(crate) fn take_due(&mut self, now: Time) -> Option<Sampling> {
        let mut due = None;
        while self.next().is_some_and(|next| next <= now) {
            match self {
                Self::Once { start, sampling } => {
                    *start = None;
                    due = Some(*sampling);
                }
                Self::Repeated { scope, next, rest } => {
                    let when = next.take()?;
                    let mut following = rest.next();
                    // Thousands of millions where a host began its life in 1970 and was then told the time.
                    if following.as_ref().and_then(|it| it.start.time()).is_some_and(|it| it <= now)
                    {
                        **rest = caught_up(scope, now);
                        following = rest.next();
                    }
                    *next = following.map(Box::new);
                    due = Some(Sampling::of(&when, when.start.time().unwrap_or(now), now));
                }
            }
        }
        due
    }

    /// Nothing begins any more.
    pub(crate) fn stop(&mut self) {
        match self {
            Self::Once { start, .. } => *start = None,
            Self::Repeated { next, .. } => *next = None,
        }
    }
}

impl Sampling {
    fn of(when: &When, start: Time, now: Time) -> Self {
        let open = when.end == Some(Moment::Future);
        let length = match (when.end_time(now), when.duration) {
            _ if open => None,
            (_, Some(duration)) => Some(duration),
            (Some(end), None) => Some(end.since(start)),
            (None, None) => Some(Duration::ZERO),
        };
        let length = length.filter(|length| *length < When::INFINITE);
        let period = when.period.filter(|period| !period.is_zero());
        let samples = match (length, period) {
            (None, _) => None,
            (Some(length), Some(period)) => Some((length.as_secs() / period.as_secs()).max(1)),
            (Some(_), None) => Some(1),
        };
        Self { period, samples }
    }
}

/// A scope whose start and end do not depend on when it is looked at.
fn absolute(when: &When, accepted: Time) -> When {
    let mut absolute = when.clone();
    absolute.start = match when.start {
        Moment::Past => Moment::At(accepted),
        start => start.resolved(accepted),
    };
    if when.duration.is_some() || when.end == Some(Moment::Now) {
        absolute.end = when.end_time(accepted).map(Moment::At);
        absolute.duration = None;
    }
    absolute
}

/// The repetitions of an absolute scope without those that lie in the past, which nobody can measure any more: looking
/// for the first one of a scope that began years ago would take long.
fn caught_up(scope: &When, now: Time) -> Occurrences {
    let mut when = scope.clone();
    let Moment::At(start) = when.start else { return when.occurrences(now) };
    let behind = now.since(start);
    let step = match when.period {
        Some(period) if !period.is_zero() => {
            let periods = behind.as_micros().div_ceil(period.as_micros());
            Duration::from_micros(u64::try_from(periods * period.as_micros()).unwrap_or(u64::MAX))
        }
        _ => behind,
    };
    when.start = Moment::At(start.plus(step));
    when.occurrences(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-05-01 12:00:00";

    fn schedule(when: &str) -> Result<Schedule, Over> {
        Schedule::of(&when.parse().unwrap(), "measure", NOW.parse().unwrap())
    }

    fn single(when: &str) -> (String, Option<u64>, Option<u64>) {
        let mut schedule = schedule(when).unwrap();
        let start = schedule.next().unwrap();
        let sampling = schedule.take_due(start).unwrap();
        assert_eq!(schedule.next(), None);
        (start.to_string(), sampling.samples, sampling.period.map(|period| period.as_secs()))
    }

    #[test]
    fn duration_over_period_is_the_number_of_samples() {
        let now = "2026-05-01 12:00:00.000000".to_owned();
        for (when, samples, period) in [
            ("now + 10s / 1s", Some(10), Some(1)),
            ("now + 1m / 7s", Some(8), Some(7)),
            ("now + 1s / 5s", Some(1), Some(5)),
            ("now", Some(1), None),
            ("now / 2s", Some(1), Some(2)),
            ("now + 30s", Some(1), None),
            ("now ... future / 1s", None, Some(1)),
            ("now + inf / 1s", None, Some(1)),
            ("past ... 2026-05-01 12:00:20 / 2s", Some(10), Some(2)),
            ("2026-05-01 11:00:00 ... 2026-05-01 12:00:20 / 2s", Some(10), Some(2)),
        ] {
            assert_eq!(single(when), (now.clone(), samples, period), "{when}");
        }
        let later = "2026-05-01 13:00:00.000000".to_owned();
        assert_eq!(single("2026-05-01 13:00:00 + 4s / 1s"), (later, Some(4), Some(1)));
    }

    #[test]
    fn a_scope_that_is_over_is_refused() {
        for when in ["2026-05-01 10:00:00 ... 2026-05-01 11:00:00", "now ... past"] {
            let text = schedule(when).unwrap_err().to_string();
            assert!(text.ends_with("is over: nothing can be measured in it"), "{text}");
        }
    }

    #[test]
    fn repetitions_begin_at_the_outer_start_and_include_the_outer_end() {
        let mut schedule = schedule("repeat now + 6s / 3s { now + 1s / 1s }").unwrap();
        let mut starts = Vec::new();
        while let Some(start) = schedule.next() {
            let sampling = schedule.take_due(start).unwrap();
            assert_eq!(sampling.samples, Some(1));
            starts.push(start.to_string()[17..].to_owned());
        }
        assert_eq!(starts, ["00.000000", "03.000000", "06.000000"]);
    }

    #[test]
    fn missed_repetitions_are_not_made_up_for() {
        let mut schedule = schedule("repeat now ... future / 10s { now + 5s / 1s }").unwrap();
        let late: Time = "2026-05-01 12:01:03".parse().unwrap();
        assert_eq!(schedule.take_due(late).unwrap().samples, Some(5));
        assert_eq!(schedule.next().unwrap().to_string(), "2026-05-01 12:01:10.000000");
    }

    #[test]
    fn a_clock_that_is_set_by_decades_skips_what_was_missed_at_once() {
        for when in ["repeat now ... future / 1s", "repeat now ... future cron * * * * * *"] {
            let mut schedule =
                Schedule::of(&when.parse().unwrap(), "measure", Time::from_unix_us(7)).unwrap();
            assert!(schedule.take_due(NOW.parse().unwrap()).is_some());
            let next = schedule.next().unwrap().to_string();
            assert!(["12:00:00.000007", "12:00:01.000000"].contains(&&next[11..]), "{next}");
        }
    }

    #[test]
    fn a_scope_that_was_accepted_earlier_goes_on_where_it_was() {
        let resumed = |when: &str| {
            let accepted: Time = "2026-05-01 11:00:03".parse().unwrap();
            let when: When = when.parse().unwrap();
            let schedule = Schedule::resumed(&when, "measure", accepted, NOW.parse().unwrap());
            schedule.next().map(|next| next.to_string()[..19].to_owned())
        };
        for (when, next) in [
            ("now + 2h / 1s", None),
            ("2026-05-01 11:59:59 + 1h", None),
            ("2026-05-01 12:30:00 + 1h", Some("2026-05-01 12:30:00")),
            ("2026-05-01 12:30:00 ... 2026-05-01 12:30:05 / 1s", Some("2026-05-01 12:30:00")),
            ("repeat now ... future / 1h { now + 5s / 1s }", Some("2026-05-01 12:00:03")),
            ("repeat now + 1h / 50s { now + 5s / 1s }", Some("2026-05-01 12:00:03")),
            ("repeat now + 10m / 50s { now + 5s / 1s }", None),
            ("repeat past ... 2026-05-01 12:00:30 / 20s", Some("2026-05-01 12:00:03")),
            ("repeat now + 59m / 1h { now + 5s / 1s }", None),
            ("repeat now + 1d cron 30 * * * * *", Some("2026-05-01 12:00:30")),
        ] {
            assert_eq!(resumed(when).as_deref(), next, "{when}");
        }
    }

    #[test]
    fn repetitions_of_the_past_are_counted_from_the_last_one_that_is_known() {
        let counted = |when: &str, since: Option<&str>| {
            let when: When = when.parse().unwrap();
            let accepted: Time = "2026-05-01 11:59:00".parse().unwrap();
            let since = since.map(|since| since.parse().unwrap());
            Schedule::repetitions(&when, accepted, since, NOW.parse().unwrap(), 100)
        };
        let minute = "repeat now + 2m / 10s { now + 1s / 1s }";
        assert_eq!(counted(minute, None), 6);
        assert_eq!(counted(minute, Some("2026-05-01 11:59:10.250")), 4);
        assert_eq!(counted(minute, Some("2026-05-01 11:59:51")), 0);
        assert_eq!(counted("repeat now + 20s / 10s { now + 1s / 1s }", None), 3);
        assert_eq!(counted("repeat now + 1d cron 30 * * * * *", None), 1);
        assert_eq!(counted("repeat 1990-01-01 ... future / 1s", None), 60);
        assert_eq!(counted("repeat now ... future cron * * * * * *", None), 60);
        assert_eq!(counted("now + 20s / 1s", None), 0);
    }

    #[test]
    fn a_repetition_that_began_long_ago_goes_on_in_its_rhythm() {
        let mut periodic =
            schedule("repeat 1990-01-01 00:00:07 ... future / 1h { now + 5s / 1s }").unwrap();
        assert_eq!(periodic.next().unwrap().to_string(), "2026-05-01 12:00:07.000000");
        periodic.stop();
        assert_eq!(periodic.next(), None);
        let cron = schedule("repeat past ... future cron 30 * * * * *").unwrap();
        assert_eq!(cron.next().unwrap().to_string(), "2026-05-01 12:00:30.000000");
        let cron = schedule("repeat 1990-01-01 ... future cron 30 * * * * *").unwrap();
        assert_eq!(cron.next().unwrap().to_string(), "2026-05-01 12:00:30.000000");
    }
}
