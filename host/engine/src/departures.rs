//! Packets on their way out: checked, paced, sent in batches, and noted so that their answers are
//! known.
//!
//! A time-out begins when the packet has left, not when the plugin asked for it. What did not leave
//! is reported with the reason and never counts as lost.

use sonde_packet::demux::{Departure, ProbeId};
use sonde_plugin_api::abi::{Event, EventKind, flags, stamp};

use crate::{
    engine::{Core, State, Timer},
    link::Link,
    pacing::{QUANTUM_NS, Scope},
    policy::check_packet,
    route::Lookup,
    tasks::{Phase, Send, TaskIndex, Waiting},
};

/// Attempts to send while the device, or the search for a neighbour, does not keep up; a quantum
/// between each.
const MAX_TRIES: u8 = 250;
/// Tags with this bit are of packets that expect no answer.
const BARE: u64 = 1 << 63;
/// Packets of a batch at low and at high rates: a longer one costs less, and its times are less exact.
const BATCH: usize = 8;
const LONG_BATCH: usize = 32;
/// From this rate on, packets a second, batches are long.
pub(crate) const HIGH_RATE: f64 = 50_000.0;

/// What is known of a probe beside what matches its answers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProbeNotes {
    timeout_ns: u64,
    flags: u16,
    tries: u8,
    precise: bool,
    /// Where its copy lies while it is being sent.
    at: u32,
    octets: u32,
}

/// A packet on its way that expects no answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bare {
    task: TaskIndex,
    generation: u32,
    send: Send,
    at: u32,
    octets: u32,
}

impl<L: Link> Core<L> {
    /// A task wants to send.
    pub(crate) fn handle_send(&mut self, task: TaskIndex, send: Send, packet: &[u8]) {
        let state = &mut self.state;
        let Some(flow) = state.flows.get(send.flow.0 as usize).and_then(Option::as_ref) else {
            return self.fail(task, "the plugin sent on a flow that is not open");
        };
        if flow.task != task {
            return self.fail(task, "the plugin sent on a flow that is not its own");
        }
        if let Err(refusal) = check_packet(packet, &flow.key, flow.mtu) {
            let is_policy = refusal.is_policy();
            return state.not_sent(task, send, refusal.errno(), is_policy);
        }
        let scope = Scope { port: 0, destination: flow.query.destination };
        let Some(entry) = state.tasks.get_mut(task) else { return };
        let scope = Scope { port: entry.port, ..scope };
        let is_allowed = entry.budget > 0
            && match &mut entry.phase {
                Phase::Running => true,
                Phase::Parting { packets: 0 } => false,
                Phase::Parting { packets } => {
                    *packets -= 1;
                    true
                }
            };
        if !is_allowed {
            return state.not_sent(task, send, libc::EDQUOT, true);
        }
        entry.budget -= 1;
        let is_immediate = send.flags & flags::IMMEDIATE != 0;
        let nobody_waits =
            if is_immediate { state.immediate.is_empty() } else { state.ready.is_empty() };
        if nobody_waits && state.pacer.take(state.now, &scope, is_immediate) {
            return self.transmit(task, send, packet);
        }
        let waiting = Waiting { packet: packet.into(), send };
        state.enqueue(task, waiting);
    }

    /// Sends what the pacer lets go, in turn, and then the batch.
    pub(crate) fn send(&mut self) {
        self.state.take_up_again();
        loop {
            let state = &mut self.state;
            let Some((task, generation, waiting)) = state.immediate.pop_front() else { break };
            if state.tasks.generation(task) != generation || !state.owns(task, waiting.send.flow) {
                continue;
            }
            if !state.may_leave(task, &waiting, true) {
                state.immediate.push_front((task, generation, waiting));
                break;
            }
            self.transmit(task, waiting.send, &waiting.packet);
        }
        if self.state.ready.is_empty() && self.state.immediate.is_empty() {
            let now = self.state.now;
            self.state.pacer.rest(now);
        }
        // A packet from each task in turn. None comes back within the turn: see `put_off`.
        loop {
            let state = &mut self.state;
            let Some((task, generation)) = state.ready.pop_front() else { break };
            let is_it = state.tasks.generation(task) == generation;
            let Some(entry) = state.tasks.get_mut(task).filter(|_| is_it) else { continue };
            entry.is_ready = false;
            let Some(waiting) = entry.queue.pop_front() else { continue };
            let may_leave = state.may_leave(task, &waiting, false);
            let Some(entry) = state.tasks.get_mut(task) else { continue };
            if !may_leave {
                entry.queue.push_front(waiting);
                entry.is_ready = true;
                state.ready.push_front((task, generation));
                break;
            }
            if !entry.queue.is_empty() {
                entry.is_ready = true;
                state.ready.push_back((task, generation));
            }
            self.transmit(task, waiting.send, &waiting.packet);
        }
        self.flush();
    }

    /// Puts a packet in the batch. The pacer has let it go.
    fn transmit(&mut self, task: TaskIndex, mut send: Send, packet: &[u8]) {
        let now = self.state.now;
        let Some(flow) = self.state.flows.get(send.flow.0 as usize).and_then(Option::as_ref) else {
            return;
        };
        let egress = match self.link.lookup(now, &flow.query) {
            Lookup::Ready(route) => route.egress,
            Lookup::Pending if send.tries < MAX_TRIES => {
                send.tries += 1;
                return self.state.put_off(task, Waiting { packet: packet.into(), send });
            }
            found => {
                let errno = match found {
                    Lookup::Unreachable(errno) => errno,
                    _ => libc::EHOSTUNREACH,
                };
                self.state.pacer.give_back(send.flags & flags::IMMEDIATE != 0);
                return self.state.not_sent(task, send, errno, false);
            }
        };
        let precise = self.state.is_precise();
        let Some(tag) = self.state.note(task, send, packet, precise) else {
            return self.state.not_sent(task, send, libc::EINVAL, false);
        };
        let precise = precise && tag & BARE == 0;
        if self.link.queue(egress, packet, tag, precise).is_err() {
            self.flush_but_keep();
            // An empty batch has room.
            let _ = self.link.queue(egress, packet, tag, precise);
        }
        self.state.batched += 1;
        let batch = self.state.batch;
        if let Some(entry) = self.state.tasks.get_mut(task) {
            entry.batch = batch;
        }
        let is_fast = self.state.config.packets_per_second >= HIGH_RATE;
        if self.state.batched >= if is_fast { LONG_BATCH } else { BATCH } {
            self.flush();
        }
    }

    /// Sends the batch if a packet of the task is in it.
    pub(crate) fn flush_of(&mut self, task: TaskIndex) {
        if self.state.tasks.get(task).is_some_and(|task| task.batch == self.state.batch) {
            self.flush();
        }
    }

    /// Sends the batch.
    pub(crate) fn flush(&mut self) {
        self.flush_but_keep();
        self.state.flight.clear();
    }

    /// Sends the batch; the copies stay, for one of them may belong to a packet still to be queued.
    fn flush_but_keep(&mut self) {
        if self.state.batched == 0 {
            return;
        }
        self.state.batched = 0;
        self.state.batch += 1;
        let state = &mut self.state;
        self.link.flush(&mut |tag, result| match result {
            Ok(departure) => state.left(
                tag,
                Departure {
                    at: departure.at,
                    stamp: stamp::USER,
                    uncertainty: u16::try_from(departure.uncertainty / 100).unwrap_or(u16::MAX),
                },
            ),
            Err(errno) => state.stayed(tag, errno),
        });
    }
}

impl<H> State<H> {
    /// Whether the pacer lets a packet go.
    fn may_leave(&mut self, task: TaskIndex, waiting: &Waiting, is_immediate: bool) -> bool {
        let Some(entry) = self.tasks.get(task) else { return true };
        let flow = self.flows.get(waiting.send.flow.0 as usize).and_then(Option::as_ref);
        let Some(flow) = flow else { return true };
        let scope = Scope { port: entry.port, destination: flow.query.destination };
        self.pacer.take(self.now, &scope, is_immediate)
    }

    fn enqueue(&mut self, task: TaskIndex, waiting: Waiting) {
        let generation = self.tasks.generation(task);
        if waiting.send.flags & flags::IMMEDIATE != 0 {
            return self.immediate.push_back((task, generation, waiting));
        }
        let Some(entry) = self.tasks.get_mut(task) else { return };
        entry.queue.push_back(waiting);
        self.get_ready(task);
    }

    /// A task that has packets waiting gets its turn; never twice in one round.
    fn get_ready(&mut self, task: TaskIndex) {
        let generation = self.tasks.generation(task);
        if let Some(entry) = self.tasks.get_mut(task)
            && !std::mem::replace(&mut entry.is_ready, true)
        {
            self.ready.push_back((task, generation));
        }
    }

    /// Keeps a packet that cannot leave for a quantum; others have its place in the meantime.
    fn put_off(&mut self, task: TaskIndex, waiting: Waiting) {
        self.pacer.give_back(waiting.send.flags & flags::IMMEDIATE != 0);
        let generation = self.tasks.generation(task);
        self.later.push_back((self.now + QUANTUM_NS, task, generation, waiting));
    }

    /// What was put off goes first once its time has come.
    fn take_up_again(&mut self) {
        let due = self.later.partition_point(|(at, ..)| *at <= self.now);
        // From the last to the first, so that each is put before those that came after it.
        let again: Vec<_> = self.later.drain(..due).rev().collect();
        for (_, task, generation, waiting) in again {
            if self.tasks.generation(task) != generation {
                continue;
            }
            if waiting.send.flags & flags::IMMEDIATE != 0 {
                self.immediate.push_front((task, generation, waiting));
            } else if let Some(entry) = self.tasks.get_mut(task) {
                entry.queue.push_front(waiting);
                self.get_ready(task);
            }
        }
    }

    /// Takes out the packets of a task that have not left yet.
    pub(crate) fn unqueue(&mut self, task: TaskIndex, fits: impl Fn(&Send) -> bool) -> Vec<Send> {
        let generation = self.tasks.generation(task);
        let mut gone = Vec::new();
        let mut stays = |waiting: &Waiting| {
            let goes = fits(&waiting.send);
            if goes {
                gone.push(waiting.send);
            }
            !goes
        };
        let is_other = |owner: u32, since: u32| owner != task || since != generation;
        self.later.retain(|(_, owner, since, waiting)| is_other(*owner, *since) || stays(waiting));
        self.immediate.retain(|(owner, since, waiting)| is_other(*owner, *since) || stays(waiting));
        if let Some(entry) = self.tasks.get_mut(task) {
            entry.queue.retain(stays);
        }
        gone
    }

    /// Notes a packet before it is sent; the tag that the link gives back.
    fn note(&mut self, task: TaskIndex, send: Send, packet: &[u8], precise: bool) -> Option<u64> {
        let at = self.flight.len() as u32;
        let octets = packet.len() as u32;
        self.flight.extend_from_slice(packet);
        if send.timeout_ns == 0 {
            let generation = self.tasks.generation(task);
            let bare = self.bare.insert(Bare { task, generation, send, at, octets });
            return Some(BARE | u64::from(bare));
        }
        let departure = Departure { at: self.now, ..Departure::default() };
        let probe = self.demux.sent(send.flow, send.token, packet, departure)?;
        let slot = probe.slot as usize;
        if self.notes.len() <= slot {
            self.notes.resize(slot + 1, ProbeNotes::default());
        }
        let Send { timeout_ns, flags, tries, .. } = send;
        self.notes[slot] = ProbeNotes { timeout_ns, flags, tries, precise, at, octets };
        Some(u64::from(probe.generation & 0x7fff_ffff) << 32 | u64::from(probe.slot))
    }

    /// The kernel took a packet.
    fn left(&mut self, tag: u64, departure: Departure) {
        self.recent.packets += 1;
        self.statistics.sent += 1;
        self.statistics.counters.sent += 1;
        if tag & BARE != 0 {
            let Some(bare) = self.bare.remove(tag as u32) else { return };
            self.count_sent(bare.task, bare.generation);
            if bare.send.flags & flags::WANT_SENT != 0 {
                self.deliver(
                    bare.task,
                    sent_event(bare.send.flow.0, bare.send.token, departure),
                    &[],
                );
            }
            return;
        }
        let probe = probe_of(tag);
        let Some(notes) = self.notes.get(probe.slot as usize).copied() else { return };
        let Some((flow, token)) = self.demux.probe(probe) else { return };
        self.demux.restamp(probe, departure);
        self.wheel.arm(departure.at.saturating_add(notes.timeout_ns), Timer::Timeout(probe));
        let Some(task) = self.demux.flow(flow).map(|flow| flow.owner) else { return };
        let generation = self.tasks.generation(task);
        self.count_sent(task, generation);
        if let Some(entry) = self.tasks.get_mut(task) {
            entry.stamps.0 = entry.stamps.0.max(departure.stamp);
        }
        if notes.flags & flags::WANT_SENT != 0 && !notes.precise {
            self.deliver(task, sent_event(flow.0, token, departure), &[]);
        }
    }

    /// The kernel said when a packet really left.
    pub(crate) fn stamped(&mut self, tag: u64, at: u64, source: u8) {
        let probe = probe_of(tag);
        let departure = Departure { at, stamp: source, uncertainty: 0 };
        let Some((flow, token)) = self.demux.probe(probe).filter(|_| tag & BARE == 0) else {
            return;
        };
        self.demux.restamp(probe, departure);
        let Some(task) = self.demux.flow(flow).map(|flow| flow.owner) else { return };
        if let Some(entry) = self.tasks.get_mut(task) {
            entry.stamps.0 = entry.stamps.0.max(source);
        }
        let notes = self.notes.get(probe.slot as usize).copied().unwrap_or_default();
        if notes.flags & flags::WANT_SENT != 0 && notes.precise {
            self.deliver(task, sent_event(flow.0, token, departure), &[]);
        }
    }

    /// The kernel did not take a packet: once more a little later, or reported.
    fn stayed(&mut self, tag: u64, errno: i32) {
        let (task, send, at, octets) = if tag & BARE != 0 {
            let Some(bare) = self.bare.remove(tag as u32) else { return };
            if self.tasks.generation(bare.task) != bare.generation {
                return;
            }
            (bare.task, bare.send, bare.at, bare.octets)
        } else {
            let probe = probe_of(tag);
            let Some(notes) = self.notes.get(probe.slot as usize).copied() else { return };
            let Some((flow, token)) = self.demux.probe(probe) else { return };
            let Some(task) = self.demux.flow(flow).map(|flow| flow.owner) else { return };
            self.demux.forget(probe);
            let ProbeNotes { timeout_ns, flags, tries, at, octets, .. } = notes;
            (task, Send { flow, token, timeout_ns, flags, tries }, at, octets)
        };
        let is_full = errno == libc::ENOBUFS || errno == libc::EAGAIN;
        if is_full && send.tries < MAX_TRIES {
            let copy = self.flight.get(at as usize..(at + octets) as usize).unwrap_or_default();
            let send = Send { tries: send.tries + 1, ..send };
            return self.put_off(task, Waiting { packet: copy.into(), send });
        }
        self.not_sent(task, send, errno, false);
    }

    /// A packet that stays here, and why.
    pub(crate) fn not_sent(&mut self, task: TaskIndex, send: Send, errno: i32, is_policy: bool) {
        self.statistics.counters.not_sent += 1;
        if let Some(entry) = self.tasks.get_mut(task) {
            entry.count_not_sent(errno);
            entry.refused |= is_policy;
        }
        let event = Event {
            kind: EventKind::SendError,
            code: u8::try_from(errno).unwrap_or(u8::MAX),
            flags: if is_policy { flags::REFUSED } else { 0 },
            token: send.token,
            flow: send.flow.0,
            at: self.now,
            ..Event::ZERO
        };
        self.deliver(task, event, &[]);
    }

    fn count_sent(&mut self, task: TaskIndex, generation: u32) {
        if self.tasks.generation(task) == generation
            && let Some(entry) = self.tasks.get_mut(task)
        {
            entry.counters.sent += 1;
        }
    }
}

fn probe_of(tag: u64) -> ProbeId {
    ProbeId { slot: tag as u32, generation: (tag >> 32) as u32 & 0x7fff_ffff }
}

fn sent_event(flow: u32, token: u32, departure: Departure) -> Event {
    Event {
        kind: EventKind::Sent,
        token,
        flow,
        at: departure.at,
        sent: departure.at,
        stamps: departure.stamp,
        aux: departure.uncertainty,
        ..Event::ZERO
    }
}
