//! Timers that one task waits for, what they do when they are due, and the sweep of those that nobody waits for.
//!
//! The wheel takes nothing out, so what a plugin has cancelled stays there until it is due; here
//! stands what still counts. A plugin chooses tokens and times: no choice of them makes a step
//! expensive.

use std::collections::HashMap;

use foldhash::quality::RandomState;

use sonde_plugin_api::abi::{Event, EventKind};

use crate::{
    engine::{State, Timer},
    exchange::MAX_WORK,
};

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
    /// Does what is due, of each plugin as much as fits in a turn.
    pub(crate) fn fire_timers(&mut self) {
        for port in 0..self.ports.len() {
            let mut late = std::mem::take(&mut self.ports[port].late);
            let fires = late.len().min(MAX_WORK);
            late.drain(..fires).for_each(|(at, timer)| self.fire(at, timer));
            let port = &mut self.ports[port];
            port.fired = fires;
            if !late.is_empty() {
                port.late = late;
            }
        }
        let mut due = Vec::new();
        self.wheel.fire(self.now, |at, timer| due.push((at, timer)));
        for (at, timer) in due {
            if let Some(port) = self.port_of_timer(at, timer) {
                let port = &mut self.ports[port as usize];
                if port.fired == MAX_WORK {
                    port.late.push_back((at, timer));
                    continue;
                }
                port.fired += 1;
            }
            self.fire(at, timer);
        }
    }

    /// The plugin that waits for a timer.
    fn port_of_timer(&self, at: u64, timer: Timer) -> Option<u32> {
        let task = match timer {
            Timer::Plugin { task, generation, token } => {
                let is_it = self.tasks.generation(task) == generation;
                let task = self.tasks.get(task).filter(|_| is_it)?;
                return task.timers.is_waiting(token, at).then_some(task.port);
            }
            Timer::Timeout(probe) => self.demux.waits(probe)?,
            Timer::Gate(_) | Timer::Grace { .. } => return None,
        };
        self.tasks.get(task).map(|task| task.port)
    }

    fn fire(&mut self, at: u64, timer: Timer) {
        match timer {
            Timer::Plugin { task, generation, token } => {
                if self.tasks.generation(task) == generation
                    && let Some(entry) = self.tasks.get_mut(task)
                    && entry.timers.is_waiting(token, at)
                {
                    entry.timers.cancel(token);
                    self.ports[entry.port as usize].kept.timers -= 1;
                    let event = Event { kind: EventKind::Timer, token, at, ..Event::ZERO };
                    self.deliver(task, event, &[]);
                }
            }
            Timer::Timeout(probe) => self.time_out(probe),
            Timer::Gate(opening) => self.open_gate(opening),
            Timer::Grace { task, generation } => {
                if self.tasks.generation(task) == generation && self.tasks.get(task).is_some() {
                    self.drop_interrupted(task);
                }
            }
        }
    }

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
