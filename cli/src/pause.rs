//! What a campaign does while its plugin is kept down after too many crashes: one target a second finds out whether it
//! is back, the others wait.
//!
//! A target that could not begin is not lost: it comes again before those that were not read yet.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::targets::Target;

/// Between two attempts.
const REST: Duration = Duration::from_secs(1);
/// Attempts in vain, without a measurement that got to its end between them, after which nobody waits any more: the
/// plugin was started again eight times, after waits of 1 s to a minute.
const MOST_ATTEMPTS: u32 = 180;

/// Targets that wait for the plugin.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    targets: VecDeque<Target>,
    state: State,
    attempts: u32,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// There is nothing to wait for.
    #[default]
    Over,
    /// Nothing begins before that.
    Down(Instant),
    /// One has begun; it is back if nothing else is heard until then.
    Trying(Instant),
}

impl Pause {
    /// Whether a target may begin now.
    pub(crate) fn may_begin(&mut self, now: Instant) -> bool {
        match self.state {
            State::Over => true,
            State::Down(until) | State::Trying(until) if now < until => false,
            State::Down(_) => {
                self.state = State::Trying(now + REST);
                true
            }
            State::Trying(_) => {
                self.state = State::Over;
                true
            }
        }
    }

    /// The plugin was down when this was to begin. True where that is news.
    pub(crate) fn put_off(&mut self, target: Target, now: Instant) -> bool {
        self.targets.push_back(target);
        let before = std::mem::replace(&mut self.state, State::Down(now + REST));
        match before {
            // Of those that were on their way to it.
            State::Down(_) => {
                self.state = before;
                false
            }
            State::Trying(_) => {
                self.attempts += 1;
                false
            }
            State::Over => {
                self.attempts += 1;
                self.attempts == 1
            }
        }
    }

    /// A measurement got to its end.
    pub(crate) fn is_answered(&mut self) {
        self.attempts = 0;
    }

    /// Whether there is no sense in waiting any longer.
    pub(crate) fn is_in_vain(&self) -> bool {
        self.attempts >= MOST_ATTEMPTS
    }

    /// The next of those that wait.
    pub(crate) fn next(&mut self) -> Option<Target> {
        self.targets.pop_front()
    }

    /// Nobody waits any more.
    pub(crate) fn give_up(&mut self) {
        *self = Self::default();
    }

    /// Whether somebody does.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.targets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(number: u64) -> Target {
        let address = [192, 0, 2, number as u8].into();
        Target { name: format!("192.0.2.{number}"), address, number }
    }

    #[test]
    fn one_a_second_begins_while_the_plugin_is_down_and_all_once_it_is_back() {
        let (mut pause, begin) = (Pause::default(), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        assert!(pause.may_begin(at(0)));
        assert_eq!([0, 1].map(|number| pause.put_off(target(number), at(0))), [true, false]);
        assert!(!pause.may_begin(at(999)) && pause.may_begin(at(1000)));
        let first = pause.next().unwrap();
        assert_eq!(first.number, 0);
        assert!(!pause.may_begin(at(1001)), "the first was to find out");
        assert!(!pause.put_off(first, at(1002)));
        assert!(!pause.may_begin(at(2001)) && pause.may_begin(at(2002)));
        assert_eq!(pause.next().unwrap().number, 1);
        assert!(!pause.may_begin(at(3001)));
        assert!(pause.may_begin(at(3002)) && pause.may_begin(at(3002)));
        assert_eq!(pause.next().unwrap().number, 0);
        assert!(!pause.is_waiting());
    }

    #[test]
    fn waiting_has_an_end_unless_a_measurement_gets_to_its_own() {
        let (mut pause, mut now) = (Pause::default(), Instant::now());
        let mut round = |pause: &mut Pause| {
            now += REST;
            assert!(pause.may_begin(now));
            pause.next();
            pause.put_off(target(0), now);
        };
        (1..MOST_ATTEMPTS).for_each(|_| round(&mut pause));
        assert!(!pause.is_in_vain());
        pause.is_answered();
        (1..MOST_ATTEMPTS).for_each(|_| round(&mut pause));
        assert!(!pause.is_in_vain());
        round(&mut pause);
        assert!(pause.is_in_vain());
        pause.give_up();
        assert!(!pause.is_waiting() && !pause.is_in_vain());
    }
}
