//! How fast packets may leave, and who waits for what.
//!
//! A packet belongs to five scopes: the host, its plugin, the client who asked, the prefix (/24 or
//! /48) and the address that it is for. It leaves when each has a token for it. What is held back
//! by the host waits in turn; what is held back by another scope waits at that scope's gate, so that it is
//! in nobody's way. A gate opens when there are tokens and lets as many through as there are.
//!
//! What waits is a [`Lane`], the packets of one flow and class: they all belong to the same scopes.
//! Answers inside a conversation are a class of their own, with buckets of their own at each scope: what is one is for the
//! plugin to say, so none of them is without a bound. Times are in
//! quanta of a millisecond, for sleeping and waking is expensive.

mod bucket;
mod table;

use std::{collections::VecDeque, net::IpAddr};

use sonde_packet::mapped;

use self::{
    bucket::Limit,
    table::{OPEN, Table},
};
use crate::{
    config::{Limits, Rate},
    tasks::Slab,
};

/// Sleeping and waking is expensive: no more often than this.
pub(crate) const QUANTUM_NS: u64 = 1_000_000;
/// What the host's bucket saves up while the engine is kept from its work.
const SAVED_NS: u64 = 6_000_000;

/// The nest of neighbours that are asked for.
const ASKS: usize = CLASSES.len();

/// Packets a second that conversations may have beside the probes, where nothing else is said.
const LEAST_IMMEDIATE: f64 = 100.0;

/// What a packet belongs to, beside the host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Scope {
    /// The plugin, whatever its version.
    pub(crate) plugin: u32,
    /// Who asked for the measurement.
    pub(crate) client: u64,
    /// Whom it is for.
    pub(crate) destination: IpAddr,
}

/// What does not wait for each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Class {
    /// Answers inside a conversation.
    Immediate,
    /// Everything else.
    Probe,
}

/// Both, in the order in which they are served.
pub(crate) const CLASSES: [Class; 2] = [Class::Immediate, Class::Probe];

/// The packets of a flow that are of one class.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Lane {
    /// Number of the flow.
    pub(crate) flow: u32,
    /// Tells one flow of the number from the next.
    pub(crate) serial: u32,
    pub(crate) class: Class,
}

/// Whether a packet may leave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Its tokens have been taken.
    Go,
    /// The host has no token: nobody's packet leaves.
    Full,
    /// Its lane waits at a gate; where the gate is a new one, it has to be opened at that time.
    Held(Option<Opening>),
}

/// When a gate is to be opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Opening {
    pub(crate) at: u64,
    pub(crate) gate: u32,
    pub(crate) generation: u32,
}

/// The scopes that have one bucket for each of theirs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Level {
    Plugin,
    Client,
    Prefix,
    Address,
}

/// Lanes that wait for one bucket.
#[derive(Debug)]
struct Gate {
    class: Class,
    /// Index among the class's levels.
    level: usize,
    key: u128,
    waiting: VecDeque<Lane>,
}

/// The buckets of a class.
#[derive(Debug)]
struct Nest {
    host: Limit,
    paid: u64,
    /// Those that are limited at all.
    levels: Vec<(Level, Table)>,
}

/// All buckets.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// Of the classes, and of neighbours that are asked for.
    nests: [Nest; 3],
    gates: Slab<Gate>,
    patience: u64,
}

impl Level {
    fn key(self, scope: &Scope) -> u128 {
        let octets = || u128::from_be_bytes(mapped(scope.destination));
        match self {
            Self::Plugin => u128::from(scope.plugin),
            Self::Client => u128::from(scope.client),
            Self::Prefix if scope.destination.is_ipv4() => octets() >> 8,
            Self::Prefix => octets() >> 80,
            Self::Address => octets(),
        }
    }
}

impl Nest {
    fn new(packets_per_second: f64, levels: &[(Level, Option<Rate>)], now: u64) -> Self {
        let host = Limit::saving(packets_per_second, SAVED_NS);
        let table = |(level, rate): &(Level, Option<Rate>)| {
            Some((*level, Table::new(Limit::new((*rate)?))))
        };
        Self { host, paid: host.one(now), levels: levels.iter().filter_map(table).collect() }
    }

    fn pay(&mut self, now: u64, scope: &Scope) {
        self.paid = self.host.pay(self.paid, now);
        for (level, table) in &mut self.levels {
            table.pay(level.key(scope), now);
        }
    }

    fn give_back(&mut self, scope: &Scope) {
        self.paid = self.host.pay_back(self.paid);
        for (level, table) in &mut self.levels {
            table.pay_back(level.key(scope));
        }
    }
}

impl Pacer {
    /// `packets_per_second` for the whole host, `limits` for the rest.
    pub(crate) fn new(packets_per_second: f64, limits: &Limits, now: u64) -> Self {
        use Level::{Address, Client, Plugin, Prefix};
        let levels = |address| {
            let Limits { plugin, client, prefix, .. } = *limits;
            [(Plugin, plugin), (Client, client), (Prefix, prefix), (Address, address)]
        };
        let probes = levels(limits.address);
        let patience = probes.iter().filter_map(|(_, rate)| Some(Limit::new((*rate)?).patience()));
        let patience = patience.min().unwrap_or(u64::MAX);
        let immediate = limits.immediate.unwrap_or(packets_per_second.max(LEAST_IMMEDIATE));
        let nests = [
            Nest::new(immediate, &levels(limits.immediate_address), now),
            Nest::new(packets_per_second, &probes, now),
            Nest::new(packets_per_second, &probes, now),
        ];
        Self { nests, gates: Slab::default(), patience }
    }

    /// Nanoseconds for which the buckets within the host's save up tokens: after a longer pause what waits at a gate would be
    /// slower than it may be.
    pub(crate) fn patience(&self) -> u64 {
        self.patience
    }

    /// Gives the plugin with this number a rate of its own, or that of all plugins.
    pub(crate) fn limit_plugin(&mut self, plugin: u32, rate: Option<Rate>) {
        let limit = rate.map(Limit::new);
        self.patience = limit.map_or(self.patience, |limit| self.patience.min(limit.patience()));
        for Nest { levels, .. } in &mut self.nests {
            let at = levels.iter().position(|(level, _)| *level == Level::Plugin);
            // INVARIANT: a new level comes last, for gates know levels by their place.
            match (at, limit) {
                (Some(at), limit) => levels[at].1.set_own(u128::from(plugin), limit),
                (None, Some(_)) => {
                    let mut table = Table::new(Limit::NONE);
                    table.set_own(u128::from(plugin), limit);
                    levels.push((Level::Plugin, table));
                }
                (None, None) => {}
            }
        }
    }

    /// Takes a token of every scope that the packet belongs to, or none. A lane that a gate has
    /// just let through goes before those that wait there.
    pub(crate) fn take(
        &mut self,
        now: u64,
        scope: &Scope,
        lane: Lane,
        is_released: bool,
    ) -> Verdict {
        let Nest { host, paid, levels } = &mut self.nests[lane.class as usize];
        if !host.has_token(*paid, now) {
            return Verdict::Full;
        }
        let held = levels.iter().enumerate().find_map(|(index, (level, table))| {
            let key = level.key(scope);
            let bucket = table.get(key)?;
            let has_token = table.limit(key).has_token(bucket.paid, now);
            let may_leave = has_token && (is_released || bucket.gate == OPEN);
            (!may_leave).then_some((index, key, bucket))
        });
        if let Some((level, key, bucket)) = held {
            if bucket.gate != OPEN {
                if let Some(gate) = self.gates.get_mut(bucket.gate) {
                    gate.waiting.push_back(lane);
                }
                return Verdict::Held(None);
            }
            let waiting = VecDeque::from([lane]);
            let gate = self.gates.insert(Gate { class: lane.class, level, key, waiting });
            let table = &mut levels[level].1;
            table.set_gate(key, gate, now);
            let at = table.limit(key).when(bucket.paid, 1);
            let generation = self.gates.generation(gate);
            return Verdict::Held(Some(Opening { at, gate, generation }));
        }
        self.nests[lane.class as usize].pay(now, scope);
        Verdict::Go
    }

    /// As [`Pacer::take`], for who does not wait at a gate but asks again.
    pub(crate) fn take_at_once(&mut self, now: u64, scope: &Scope, class: Class) -> Verdict {
        self.take_of(class as usize, now, scope)
    }

    /// As [`Pacer::take_at_once`], for a neighbour that is to be asked for.
    pub(crate) fn take_for_ask(&mut self, now: u64, scope: &Scope) -> Verdict {
        self.take_of(ASKS, now, scope)
    }

    /// Of an ask that the kernel had no room for.
    pub(crate) fn give_back_ask(&mut self, scope: &Scope) {
        self.nests[ASKS].give_back(scope);
    }

    fn take_of(&mut self, nest: usize, now: u64, scope: &Scope) -> Verdict {
        let Nest { host, paid, levels } = &self.nests[nest];
        if !host.has_token(*paid, now) {
            return Verdict::Full;
        }
        let has_token = |(level, table): &(Level, Table)| {
            let key = level.key(scope);
            table.get(key).is_none_or(|bucket| table.limit(key).has_token(bucket.paid, now))
        };
        if !levels.iter().all(has_token) {
            return Verdict::Held(None);
        }
        self.nests[nest].pay(now, scope);
        Verdict::Go
    }

    /// What was taken for a packet that then stayed here.
    pub(crate) fn give_back(&mut self, scope: &Scope, class: Class) {
        self.nests[class as usize].give_back(scope);
    }

    /// Lets as many lanes through a gate as there are tokens. Those that `is_there` denies are
    /// forgotten. When it is to be opened again, if it is.
    pub(crate) fn open(
        &mut self,
        opening: Opening,
        now: u64,
        mut is_there: impl FnMut(Lane) -> bool,
        mut released: impl FnMut(Lane),
    ) -> Option<Opening> {
        let Opening { gate: index, generation, .. } = opening;
        if self.gates.generation(index) != generation {
            return None;
        }
        let gate = self.gates.get_mut(index)?;
        let (_, table) = &mut self.nests[gate.class as usize].levels[gate.level];
        let bucket = table.get(gate.key)?;
        let limit = table.limit(gate.key);
        let mut left = limit.tokens(bucket.paid, now);
        while left > 0
            && let Some(lane) = gate.waiting.pop_front()
        {
            if is_there(lane) {
                left -= 1;
                released(lane);
            }
        }
        if gate.waiting.is_empty() {
            table.set_gate(gate.key, OPEN, now);
            self.gates.remove(index);
            return None;
        }
        // The tokens are as good as taken.
        let at = limit.next(bucket.paid, now).max(now + QUANTUM_NS);
        Some(Opening { at, ..opening })
    }

    /// Nobody waits: what the host saves up now would only be a burst later.
    pub(crate) fn rest(&mut self, now: u64) {
        for nest in &mut self.nests {
            nest.paid = nest.host.rest(nest.paid, now, QUANTUM_NS);
        }
    }

    /// When the host will have a token for the class.
    pub(crate) fn next(&self, class: Class, now: u64) -> u64 {
        let Nest { host, paid, .. } = &self.nests[class as usize];
        host.when(*paid, 1).max(now + QUANTUM_NS)
    }
}

#[cfg(test)]
mod tests;
