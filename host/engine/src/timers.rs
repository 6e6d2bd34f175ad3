//! Timers that one task waits for, and the sweep of those that nobody does.
//!
//! The wheel takes nothing out, so what a plugin has cancelled stays there until it is due; here
//! stands what still counts. A plugin chooses tokens and times: no choice of them makes a step
//! expensive.

use std::collections::HashMap;

use foldhash::quality::RandomState;

use crate::engine::{State, Timer};

/// Timers in the wheel, most of them of answered probes, that are kept without a look; some 40 octets
/// each.
pub(crate) const SWEEP_AT: usize = 1 << 20;
/// From this many on they are found by hash.
const FEW: usize = 16;

/// When each token is due, on the engine's clock.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "rarely many: every task is smaller for it")]
pub(crate) enum Timers {
    /// Most tasks have one or two.
    Few(Vec<(u32, u64)>),
    Many(Box<HashMap<u32, u64, RandomState>>),
}

impl Default for Timers {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Timers {
    /// A token that was outstanding, against the rules, is due at the new time alone.
    pub(crate) fn arm(&mut self, token: u32, at: u64) {
        match self {
            Self::Few(few) => {
                if let Some((_, due)) = few.iter_mut().find(|(known, _)| *known == token) {
                    *due = at;
                } else if few.len() < FEW {
                    few.push((token, at));
                } else {
                    let mut many: HashMap<_, _, _> = few.drain(..).collect();
                    many.insert(token, at);
                    *self = Self::Many(Box::new(many));
                }
            }
            Self::Many(many) => {
                many.insert(token, at);
            }
        }
    }

    pub(crate) fn cancel(&mut self, token: u32) {
        match self {
            Self::Few(few) => few.retain(|(known, _)| *known != token),
            Self::Many(many) => {
                many.remove(&token);
            }
        }
    }

    /// Whether `token` is waited for and due at `at`.
    pub(crate) fn is_waiting(&self, token: u32, at: u64) -> bool {
        match self {
            Self::Few(few) => few.contains(&(token, at)),
            Self::Many(many) => many.get(&token) == Some(&at),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }
}

impl<H> State<H> {
    /// Rids the wheel of what nobody waits for, once there is much in it: a plugin can ask for times
    /// that never come.
    pub(crate) fn sweep_timers(&mut self) {
        if self.wheel.len() < self.sweep_at {
            return;
        }
        let Self { wheel, tasks, demux, .. } = self;
        wheel.retain(|at, timer| match timer {
            Timer::Plugin { task, generation, token } => {
                let is_it = tasks.generation(*task) == *generation;
                is_it && tasks.get(*task).is_some_and(|task| task.timers.is_waiting(*token, at))
            }
            Timer::Timeout(probe) => demux.probe(*probe).is_some(),
            Timer::Grace { task, generation } => tasks.generation(*task) == *generation,
            Timer::Gate(_) => true,
        });
        self.sweep_at = (2 * wheel.len()).max(SWEEP_AT);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_waited_for_is_what_was_armed_last_and_not_cancelled(
            steps in prop::collection::vec((any::<bool>(), 0u32..40, 0u64..4), 0..200),
        ) {
            let mut timers = Timers::default();
            let mut expected: HashMap<u32, u64> = HashMap::new();
            for (arms, token, at) in steps {
                if arms {
                    timers.arm(token, at);
                    expected.insert(token, at);
                } else {
                    timers.cancel(token);
                    expected.remove(&token);
                }
                prop_assert_eq!(timers.len(), expected.len());
                for token in 0..40 {
                    for at in 0..4 {
                        let is_waiting = expected.get(&token) == Some(&at);
                        prop_assert_eq!(timers.is_waiting(token, at), is_waiting);
                    }
                }
            }
        }
    }
}
