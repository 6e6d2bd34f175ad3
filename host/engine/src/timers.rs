//! Timers that one task waits for, what they do when they are due, and the sweep of those that nobody waits for.
//!
//! The wheel takes nothing out, so what a plugin has cancelled stays there until it is due; here
//! stands what still counts. A plugin chooses tokens and times: no choice of them makes a step, or a
//! turn, expensive. Each plugin has a wheel of its own, so that those of one keep no other's waiting.

use std::collections::HashMap;

use foldhash::quality::RandomState;
use sonde_packet::demux::ProbeId;
use sonde_plugin_api::abi::{Event, EventKind};

use crate::{
    engine::{State, Timer},
    exchange::MAX_WORK,
    ports::PortState,
};

/// Timers that nobody waits for any more when they are due, as those of answered probes, that are as much work as an action.
const STALE: usize = 16;
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
            self.work = 0;
            let mut stale = 0;
            while self.work + stale / STALE < MAX_WORK
                && let Some((at, timer)) = self.ports[port].wheel.pop(self.now)
            {
                match self.fire(port, at, timer) {
                    true => self.work += 1,
                    false => stale += 1,
                }
            }
            self.sweep_timers(port);
        }
        self.work = 0;
        while self.work < MAX_WORK
            && let Some((_, opening)) = self.gates.pop(self.now)
        {
            self.open_gate(opening);
        }
    }

    /// A timer of a plugin is due; false where nobody waits for it any more.
    fn fire(&mut self, port: usize, at: u64, timer: Timer) -> bool {
        match timer {
            Timer::Plugin { task, generation, token } => {
                if self.tasks.generation(task) == generation
                    && let Some(entry) = self.tasks.get_mut(task)
                    && entry.timers.is_waiting(token, at)
                {
                    entry.timers.cancel(token);
                    self.ports[port].kept.timers -= 1;
                    let event = Event { kind: EventKind::Timer, token, at, ..Event::ZERO };
                    self.deliver(task, event, &[]);
                    return true;
                }
                false
            }
            Timer::Timeout(probe) => self.time_out(probe),
            Timer::Grace { task, generation } => {
                let is_it = self.tasks.generation(task) == generation;
                let is_there = is_it && self.tasks.get(task).is_some();
                if is_there {
                    self.drop_interrupted(task);
                }
                is_there
            }
        }
    }

    fn time_out(&mut self, probe: ProbeId) -> bool {
        let Some(expired) = self.demux.expire(probe) else { return false };
        self.end_waiting(expired.owner, 1);
        self.tell_departure(probe, expired.owner, expired.flow, expired.token, expired.departure);
        let event = Event {
            kind: EventKind::Timeout,
            token: expired.token,
            flow: expired.flow.0,
            at: self.now,
            sent: expired.departure.at,
            stamps: expired.departure.stamp,
            aux: expired.departure.uncertainty,
            ..Event::ZERO
        };
        self.deliver(expired.owner, event, &[]);
        true
    }

    /// Rids a wheel of what nobody waits for, once there is much in it: a plugin can ask for times
    /// that never come.
    fn sweep_timers(&mut self, port: usize) {
        let Self { ports, tasks, demux, .. } = self;
        let PortState { wheel, .. } = &mut ports[port];
        wheel.sweep(|at, timer| match timer {
            Timer::Plugin { task, generation, token } => {
                let is_it = tasks.generation(*task) == *generation;
                is_it && tasks.get(*task).is_some_and(|task| task.timers.is_waiting(*token, at))
            }
            Timer::Timeout(probe) => demux.probe(*probe).is_some(),
            Timer::Grace { task, generation } => tasks.generation(*task) == *generation,
        });
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
