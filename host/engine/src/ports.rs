//! Plugins in use, as the engine keeps them.

use std::collections::VecDeque;

use sonde_plugin_api::{
    abi::{Action, Event, EventKind, NO_TOKEN, flags},
    port::{Lost, Port},
};

use crate::{
    asks::Asks,
    engine::Timer,
    exchange::Wishes,
    output::PortId,
    tasks::{Task, TaskIndex},
    wheel::Wheel,
};

/// Events that a plugin may be behind, and octets of their packets; more, and nothing is received for a while so that it
/// can catch up. Nor are packets kept for it that answer no probe, or late or twice, of which anybody may send as many as the line takes.
const MAX_BEHIND: Backlog = Backlog { events: 65_536, octets: 64 << 20 };
/// How long others may have to wait for it.
const PATIENCE_NS: u64 = 20_000_000;
/// So far behind, and it is started again.
const MOST_BEHIND: Backlog = Backlog { events: 1 << 19, octets: 256 << 20 };
/// Stands where a port has gone.
pub(crate) const GONE: PortId = PortId(u32::MAX);

/// Packets of a plugin that may wait to be sent.
const MAX_QUEUED: usize = 1 << 18;
/// Octets of them.
const MAX_QUEUED_OCTETS: usize = 64 << 20;

/// Probes of a flow that may wait for an answer; some 140 octets each.
const MAX_WAITING: u32 = 65_536;

/// How much of a plugin waits to be sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Queued {
    packets: usize,
    octets: usize,
}

impl Queued {
    /// Whether one more packet may wait.
    pub(crate) fn has_room(self, octets: usize) -> bool {
        self.packets < MAX_QUEUED && self.octets + octets <= MAX_QUEUED_OCTETS
    }

    pub(crate) fn come(&mut self, octets: usize) {
        self.packets += 1;
        self.octets += octets;
    }

    pub(crate) fn leave(&mut self, packets: usize, octets: usize) {
        self.packets = self.packets.saturating_sub(packets);
        self.octets = self.octets.saturating_sub(octets);
    }
}

/// What the tasks of a plugin keep here; each of them has a bound of its own beside.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    /// Octets of rows, which the host has until the task ends.
    pub(crate) rows: usize,
    pub(crate) timers: usize,
    /// Those that are not open yet included.
    pub(crate) flows: usize,
    /// Probes that wait for an answer.
    pub(crate) waiting: usize,
}

impl Kept {
    /// Of a plugin with a hundred thousand modest tasks, or a few that take all they may.
    pub(crate) const MOST: Self =
        Self { rows: 1 << 30, timers: 1 << 20, flows: 1 << 20, waiting: 1 << 22 };

    /// What they have too much of.
    pub(crate) fn surplus(self) -> Option<&'static str> {
        match self {
            _ if self.rows > Self::MOST.rows => Some("1 GiB of rows"),
            _ if self.timers > Self::MOST.timers => Some("1048576 timers"),
            _ if self.flows > Self::MOST.flows => Some("1048576 flows"),
            _ => None,
        }
    }

    /// Whether one more probe may wait, of a flow with so many.
    pub(crate) fn may_wait(self, of_flow: u32) -> bool {
        of_flow < MAX_WAITING && self.waiting < Self::MOST.waiting
    }

    /// One of the tasks is over.
    pub(crate) fn let_go(&mut self, task: &Task) {
        self.rows -= task.output.row_octets;
        self.timers -= task.timers.len();
        self.flows -= task.flows.len() + task.opening;
    }
}

/// How much a plugin has still to be told.
#[derive(Clone, Copy, Debug, Default)]
struct Backlog {
    events: usize,
    octets: usize,
}

impl Backlog {
    fn exceeds(self, limit: Self) -> bool {
        self.events > limit.events || self.octets > limit.octets
    }
}

/// A plugin in use.
pub(crate) struct PortState {
    pub(crate) id: PortId,
    /// The plugin, of which this is one version.
    pub(crate) plugin: u32,
    pub(crate) port: Box<dyn Port>,
    /// Task by the plugin's number.
    pub(crate) numbers: Vec<Option<TaskIndex>>,
    pub(crate) free: Vec<u32>,
    pub(crate) resting: VecDeque<(u64, u32)>,
    /// There are events that were not handed over.
    pub(crate) has_events: bool,
    /// It died, and its tasks have not ended yet: what becomes of its last wishes is not for its successor to hear.
    pub(crate) has_died: bool,
    /// Events that found no room.
    pub(crate) behind: VecDeque<(Event, Box<[u8]>)>,
    behind_octets: usize,
    /// Since when they are more than [`MAX_BEHIND`].
    behind_since: u64,
    /// Packets that were not kept for it.
    pub(crate) drops: u64,
    pub(crate) tasks: usize,
    /// Packets that wait to be sent.
    pub(crate) queued: Queued,
    pub(crate) kept: Kept,
    /// Timers of its tasks, and time-outs of their probes.
    pub(crate) wheel: Wheel<Timer>,
    pub(crate) asks: Asks,
    /// What it wants that did not fit in the last turn.
    pub(crate) wishes: Option<Box<Wishes>>,
    pub(crate) leaving: bool,
    /// It does not come back.
    pub(crate) is_missing: bool,
    /// So many interfaces has it been told the names of.
    pub(crate) named: usize,
}

impl PortState {
    /// Has no task yet.
    pub(crate) fn new(id: PortId, plugin: u32, port: Box<dyn Port>) -> Self {
        Self {
            id,
            plugin,
            port,
            numbers: Vec::new(),
            free: Vec::new(),
            resting: VecDeque::new(),
            has_events: false,
            has_died: false,
            behind: VecDeque::new(),
            behind_octets: 0,
            behind_since: 0,
            drops: 0,
            tasks: 0,
            queued: Queued::default(),
            kept: Kept::default(),
            wheel: Wheel::new(0),
            asks: Asks::default(),
            wishes: None,
            leaving: false,
            is_missing: false,
            named: 0,
        }
    }

    /// Stands where a plugin could not be loaded, or has gone.
    pub(crate) fn missing(id: PortId, plugin: u32, reason: String) -> Self {
        Self { is_missing: true, ..Self::new(id, plugin, Box::new(Missing(reason))) }
    }

    /// Gives an event to the plugin, now or as soon as it has room.
    #[inline]
    pub(crate) fn put(&mut self, now: u64, wall: u64, event: Event, payload: &[u8]) {
        if self.has_died {
            return;
        }
        self.has_events = true;
        if self.behind.is_empty() {
            if self.port.push(&event, payload) {
                return;
            }
            self.port.flush(now, wall);
            if self.port.push(&event, payload) {
                return;
            }
        }
        self.put_behind(now, event, payload);
    }

    /// Says the names of interfaces that the plugin has not been told.
    #[cold]
    pub(crate) fn name_interfaces(&mut self, now: u64, wall: u64, names: &[Box<str>]) {
        for name in names.get(self.named..).unwrap_or_default() {
            self.named += 1;
            let (kind, code) = (EventKind::Interface, self.named as u8);
            let event = Event { kind, code, task: NO_TOKEN, ..Event::ZERO };
            self.put(now, wall, event, name.as_bytes());
        }
    }

    /// Keeps an event for which there is no room.
    fn put_behind(&mut self, now: u64, event: Event, payload: &[u8]) {
        let was_behind = self.backlog().exceeds(MAX_BEHIND);
        let answers_none =
            event.token == NO_TOKEN || event.flags & (flags::DUPLICATE | flags::LATE) != 0;
        if was_behind && event.kind == EventKind::Packet && answers_none {
            self.drops += 1;
            return;
        }
        self.behind_octets += payload.len();
        self.behind.push_back((event, payload.into()));
        if !was_behind && self.backlog().exceeds(MAX_BEHIND) {
            self.behind_since = now;
        }
    }

    fn backlog(&self) -> Backlog {
        Backlog { events: self.behind.len(), octets: self.behind_octets }
    }

    /// Whether others should wait until it has caught up. One that does not catch up holds up nobody.
    pub(crate) fn is_behind(&self, now: u64) -> bool {
        self.backlog().exceeds(MAX_BEHIND) && now < self.behind_since + PATIENCE_NS
    }

    /// Whether it will never catch up.
    pub(crate) fn is_lost(&self) -> bool {
        self.backlog().exceeds(MOST_BEHIND)
    }

    /// Hands over the events, first those that found no room before.
    pub(crate) fn hand_over(&mut self, now: u64, wall: u64) {
        while let Some((event, payload)) = self.behind.front() {
            if !self.port.push(event, payload) {
                break;
            }
            self.behind_octets -= payload.len();
            self.behind.pop_front();
        }
        self.port.flush(now, wall);
        self.has_events = false;
    }

    /// The plugin is gone with all its tasks.
    pub(crate) fn reset(&mut self) {
        self.numbers.clear();
        self.free.clear();
        self.resting.clear();
        self.behind.clear();
        self.behind_octets = 0;
        self.tasks = 0;
        self.has_died = false;
        self.queued = Queued::default();
        self.kept = Kept::default();
        self.wheel = Wheel::new(0);
        self.wishes = None;
        self.named = 0;
    }
}

struct Missing(String);

impl Port for Missing {
    fn push(&mut self, _event: &Event, _payload: &[u8]) -> bool {
        false
    }

    fn flush(&mut self, _now: u64, _wall: u64) {}

    fn collect(&mut self, _sink: &mut dyn FnMut(&[Action], &[u8])) -> Result<(), Lost> {
        Ok(())
    }

    fn ready(&mut self) -> Result<(), Lost> {
        Err(Lost { reason: self.0.clone() })
    }

    fn wake_fds(&self) -> Vec<std::os::fd::RawFd> {
        Vec::new()
    }

    fn busy(&self) -> bool {
        false
    }

    fn usage(&self) -> sonde_plugin_api::abi::Usage {
        Default::default()
    }
}
