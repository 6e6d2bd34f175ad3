//! Measurements and their flows, as the engine keeps them.

use std::{collections::VecDeque, net::IpAddr};

use smallvec::SmallVec;
use sonde_packet::{FlowKey, Permits, demux::FlowId, unmapped};
use sonde_plugin_api::abi::stamp;

use crate::{
    output::{Counters, RunId},
    pacing::Class,
    route::Query,
    timers::Timers,
};

/// Index of a task among all tasks.
pub(crate) type TaskIndex = u32;

/// A measurement on its way.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) run: RunId,
    /// Index of its plugin.
    pub(crate) port: u32,
    /// What the plugin knows it by.
    pub(crate) number: u32,
    pub(crate) phase: Phase,
    pub(crate) parting_packets: u16,
    /// Packets that are left to it.
    pub(crate) budget: u64,
    /// Who asked for it.
    pub(crate) client: u64,
    /// What it may send beside what every method may.
    pub(crate) permits: Permits,
    pub(crate) counters: Counters,
    /// Packets that were not sent, by errno; few kinds, so a list.
    pub(crate) not_sent: Vec<(i32, u64)>,
    /// Who stamped departures and arrivals of what was answered, the least exact of each; before, the best of departures.
    pub(crate) stamps: (u8, u8),
    pub(crate) source: Option<IpAddr>,
    pub(crate) started: u64,
    /// Wall time minus monotonic time at the start.
    pub(crate) wall_offset_ns: i64,
    /// Flows that it has open.
    pub(crate) flows: SmallVec<[FlowId; 4]>,
    /// Flows of each class whose turn comes within the task's; nothing where none waits for one.
    pub(crate) turns: Option<Box<[VecDeque<FlowId>; 2]>>,
    /// Number of the last batch that holds a packet of it.
    pub(crate) batch: u64,
    /// For each class, whether it is among those whose turn comes, once.
    pub(crate) is_ready: [bool; 2],
    /// Those that have neither fired nor been cancelled.
    pub(crate) timers: Timers,
    /// Packets of it that could not leave and are to be tried again.
    pub(crate) put_off: usize,
    /// Flows that it has asked for and that are not open yet.
    pub(crate) opening: usize,
    /// What it has put out so far.
    pub(crate) output: OutputUsed,
    /// A packet of it was refused by policy, and none left.
    pub(crate) refused: bool,
    /// This host had no way or no means for something that it wanted.
    pub(crate) unable: bool,
    /// Packets that this host had lost when it began.
    pub(crate) host_drops: u64,
}

/// What a measurement has put out, which is bounded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OutputUsed {
    pub(crate) keeps_rows: bool,
    /// Rows, with what keeping each costs beside its values.
    pub(crate) row_octets: usize,
    pub(crate) log_lines: u32,
    pub(crate) per_mille: u16,
}

/// How far a measurement is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    Running,
    /// It was asked to finish.
    Parting {
        packets: u16,
    },
}

/// A packet that waits to be sent.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) packet: Box<[u8]>,
    pub(crate) send: Send,
}

/// What a plugin said with a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Send {
    pub(crate) flow: FlowId,
    pub(crate) token: u32,
    pub(crate) timeout_ns: u64,
    pub(crate) flags: u16,
    /// How often the device had no room for it.
    pub(crate) tries: u8,
}

/// A flow as the engine keeps it beside the matching.
#[derive(Debug)]
pub(crate) struct FlowState {
    pub(crate) task: TaskIndex,
    pub(crate) key: FlowKey,
    /// The rest of what its route is asked for with.
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) tos: u8,
    /// The method chose the source; else it is the route's.
    pub(crate) has_chosen_source: bool,
    pub(crate) mtu: u32,
    /// Its identifier stays in quarantine; ports are held.
    pub(crate) has_port: bool,
    /// Tells it from others that had its number.
    pub(crate) serial: u32,
    /// Version of the policy that its peer was last checked with, and whether it passed.
    pub(crate) permitted: (u32, bool),
    /// What waits to be sent, by class; nothing where nothing does.
    pub(crate) lanes: Option<Box<[Queue; 2]>>,
    /// What is to be sent when it ends.
    pub(crate) last_word: Option<Box<[u8]>>,
}

/// Packets of a flow and class that wait to be sent.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) packets: VecDeque<Waiting>,
    pub(crate) place: Place,
}

/// Where a queue waits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Place {
    /// Nowhere: nothing is in it.
    #[default]
    Nowhere,
    /// Among the turns of its task.
    Turn,
    /// The same, and a gate has let it through.
    Released,
    /// At a gate.
    Gate,
}

/// Things by index; an index is used again after it was given back.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    items: Vec<Option<T>>,
    generations: Vec<u32>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { items: Vec::new(), generations: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, item: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.items[index as usize] = Some(item);
            return index;
        }
        self.items.push(Some(item));
        self.generations.push(0);
        self.items.len() as u32 - 1
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let item = self.items.get_mut(index as usize)?.take()?;
        self.generations[index as usize] = self.generations[index as usize].wrapping_add(1);
        self.free.push(index);
        Some(item)
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.items.get(index as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.items.get_mut(index as usize)?.as_mut()
    }

    /// Tells one use of an index from the next.
    pub(crate) fn generation(&self, index: u32) -> u32 {
        self.generations.get(index as usize).copied().unwrap_or_default()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let items = self.items.iter().enumerate();
        items.filter_map(|(index, item)| Some((index as u32, item.as_ref()?)))
    }
}

impl FlowState {
    /// Who is probed.
    pub(crate) fn peer(&self) -> IpAddr {
        unmapped(self.key.remote_address)
    }

    /// Address that its probes leave with.
    pub(crate) fn source(&self) -> IpAddr {
        unmapped(self.key.local_address)
    }

    /// What its route is asked for with.
    pub(crate) fn query(&self) -> Query {
        Query {
            destination: self.peer(),
            source: self.has_chosen_source.then(|| self.source()),
            gateway: self.gateway,
            tos: self.tos,
            protocol: Some(self.key.protocol),
        }
    }

    /// Where its packets of a class wait.
    pub(crate) fn queue(&self, class: Class) -> Option<&Queue> {
        self.lanes.as_deref().map(|lanes| &lanes[class as usize])
    }

    /// The same, made where it is not there.
    pub(crate) fn queue_mut(&mut self, class: Class) -> &mut Queue {
        &mut self.lanes.get_or_insert_default()[class as usize]
    }

    /// Whether packets of a class wait; where not, their queue is nowhere, and its room is given back.
    pub(crate) fn has_waiting(&mut self, class: Class) -> bool {
        let Some(lanes) = &mut self.lanes else { return false };
        let queue = &mut lanes[class as usize];
        if queue.packets.is_empty() {
            queue.place = Place::Nowhere;
            if lanes.iter().all(|queue| queue.place == Place::Nowhere) {
                self.lanes = None;
            }
            return false;
        }
        true
    }
}

impl Task {
    /// A flow waits for its turn.
    pub(crate) fn take_turn(&mut self, flow: FlowId, class: Class) {
        self.turns.get_or_insert_default()[class as usize].push_back(flow);
    }

    /// The flow whose turn it is, and whether others wait behind it.
    pub(crate) fn next_turn(&mut self, class: Class) -> Option<(FlowId, bool)> {
        let turns = self.turns.as_mut()?;
        let flow = turns[class as usize].pop_front()?;
        let others = !turns[class as usize].is_empty();
        if turns.iter().all(VecDeque::is_empty) {
            self.turns = None;
        }
        Some((flow, others))
    }

    /// It is still that flow's turn.
    pub(crate) fn keep_turn(&mut self, flow: FlowId, class: Class) {
        self.turns.get_or_insert_default()[class as usize].push_front(flow);
    }

    /// Somebody stamped a departure.
    pub(crate) fn departed(&mut self, by: u8) {
        if self.stamps.1 == stamp::NONE {
            self.stamps.0 = self.stamps.0.max(by);
        }
    }

    /// Something came that is no answer to a probe.
    pub(crate) fn heard(&mut self, by: u8) {
        self.stamps.1 = if self.stamps.1 == stamp::NONE { by } else { self.stamps.1.min(by) };
    }

    /// A probe and its answer, by those who stamped them.
    pub(crate) fn answered(&mut self, departure: u8, arrival: u8) {
        let best = match self.stamps.1 {
            stamp::NONE => (u8::MAX, u8::MAX),
            _ => self.stamps,
        };
        self.stamps = (best.0.min(departure), best.1.min(arrival));
    }

    /// One more packet that was not sent.
    pub(crate) fn count_not_sent(&mut self, errno: i32) {
        self.counters.not_sent += 1;
        self.unable |= is_of_this_host(errno);
        match self.not_sent.iter_mut().find(|(known, _)| *known == errno) {
            Some((_, count)) => *count += 1,
            None => self.not_sent.push((errno, 1)),
        }
    }
}

/// Whether that is so wherever the packet goes: the network is away, or something is used up.
pub(crate) fn is_of_this_host(errno: i32) -> bool {
    matches!(
        errno,
        libc::EADDRINUSE
            | libc::EADDRNOTAVAIL
            | libc::EMFILE
            | libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::ENFILE
            | libc::ENOBUFS
            | libc::ENODEV
            | libc::ENOMEM
            | libc::ENXIO
    )
}
