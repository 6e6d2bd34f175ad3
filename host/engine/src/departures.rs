//! Packets on their way out: checked, paced, sent in batches, and noted so that their answers are
//! known.
//!
//! A time-out begins when the packet has left, not when the plugin asked for it. What did not leave
//! is reported with the reason and never counts as lost.

use std::collections::VecDeque;

use sonde_packet::demux::{Departure, Flow, FlowId, ProbeId};
use sonde_plugin_api::abi::{Event, EventKind, flags, stamp};

use crate::{
    asks::{may_ask, scope_of},
    engine::{Core, State},
    exchange::LOOKED_THROUGH,
    link::Link,
    output::FORBIDDEN,
    pacing::{CLASSES, Class, Lane, Opening, Scope, Verdict},
    ports::PortState,
    put_off::MAX_TRIES,
    route::Lookup,
    sys::Egress,
    tasks::{Place, Queue, Send, TaskIndex, Waiting},
};

/// Tags with this bit are of packets that expect no answer.
pub(crate) const BARE: u64 = 1 << 63;
/// Packets of a batch at low and at high rates: a longer one costs less, and its times are less exact.
const BATCH: usize = 8;
const LONG_BATCH: usize = 32;
/// From this rate on, packets a second, batches are long.
pub(crate) const HIGH_RATE: f64 = 50_000.0;

/// What is known of a probe beside what matches its answers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProbeNotes {
    pub(crate) timeout_ns: u64,
    pub(crate) flags: u16,
    tries: u8,
    pub(crate) precise: bool,
    /// Where its copy lies while it is being sent.
    pub(crate) at: u32,
    pub(crate) octets: u32,
}

/// A packet on its way that expects no answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bare {
    pub(crate) task: TaskIndex,
    pub(crate) generation: u32,
    pub(crate) send: Send,
    pub(crate) at: u32,
    pub(crate) octets: u32,
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
        if let Err((errno, is_policy)) = state.admit(task, send.flow, packet) {
            return state.not_sent(task, send, errno, is_policy);
        }
        if !state.spend(task) {
            return state.not_sent(task, send, libc::EDQUOT, true);
        }
        let class = class_of(send.flags);
        if state.ready[class as usize].is_empty() && state.may_leave(send.flow, class) {
            return self.transmit(task, send, packet);
        }
        state.enqueue(task, Waiting { packet: packet.into(), send });
    }

    /// Sends what the pacer lets go, in turn, and then the batch.
    pub(crate) fn send(&mut self) {
        self.state.take_up_again();
        if self.state.ready.iter().all(VecDeque::is_empty) {
            let now = self.state.now;
            self.state.pacer.rest(now);
        }
        for class in CLASSES {
            // A packet from each task in turn. None comes back within the turn: see `put_off`.
            while let Some((task, waiting)) = self.state.next_to_leave(class) {
                self.transmit(task, waiting.send, &waiting.packet);
            }
        }
        self.say_last_words();
        self.flush();
    }

    /// Puts a packet in the batch. The pacer has let it go.
    fn transmit(&mut self, task: TaskIndex, mut send: Send, packet: &[u8]) {
        let now = self.state.now;
        if !self.state.is_permitted(send.flow) {
            self.state.give_back(&send);
            return self.state.not_sent(task, send, FORBIDDEN, true);
        }
        let Some(flow) = self.state.flows.get(send.flow.0 as usize).and_then(Option::as_ref) else {
            return;
        };
        let query = flow.query();
        let found = self.link.lookup(now, &query, &mut || {
            let neighbour = query.gateway.unwrap_or(query.destination);
            let scope = scope_of(&self.state.tasks, &self.state.ports, task, neighbour);
            let (pacer, ports) = (&mut self.state.pacer, &mut self.state.ports);
            scope.is_some_and(|scope| may_ask(pacer, ports, scope, now))
        });
        let egress = match found {
            Lookup::Ready(route) if self.has_source(flow, &route) => route.egress,
            Lookup::Unasked | Lookup::Pending if send.tries < MAX_TRIES => {
                send.tries += 1;
                return self.state.put_off(task, Waiting { packet: packet.into(), send });
            }
            found => {
                let errno = match found {
                    Lookup::Unreachable(errno) => errno,
                    Lookup::Ready(_) => libc::EADDRNOTAVAIL,
                    Lookup::Unasked => libc::ENOBUFS,
                    _ => libc::EHOSTUNREACH,
                };
                self.state.give_back(&send);
                return self.state.not_sent(task, send, errno, false);
            }
        };
        let precise = self.state.is_precise();
        let tag = match self.state.note(task, send, packet, precise) {
            Ok(tag) => tag,
            Err(errno) => {
                self.state.give_back(&send);
                return self.state.not_sent(task, send, errno, false);
            }
        };
        let batch = self.put_in_batch(egress, packet, tag, precise && tag & BARE == 0);
        if let Some(entry) = self.state.tasks.get_mut(task) {
            entry.batch = batch;
        }
    }

    /// Hands a noted packet to the link; the number of its batch, which may have left already.
    pub(crate) fn put_in_batch(
        &mut self,
        egress: Egress,
        packet: &[u8],
        tag: u64,
        precise: bool,
    ) -> u64 {
        if self.link.queue(egress, packet, tag, precise).is_err() {
            self.flush_but_keep();
            // An empty batch has room.
            let _ = self.link.queue(egress, packet, tag, precise);
        }
        self.state.batched += 1;
        let batch = self.state.batch;
        let is_fast = self.state.config.packets_per_second >= HIGH_RATE;
        if self.state.batched >= if is_fast { LONG_BATCH } else { BATCH } {
            self.flush();
        }
        batch
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
    /// Whether the lists let a flow's peer be measured; they may have changed since it was opened.
    pub(crate) fn is_permitted(&mut self, flow: FlowId) -> bool {
        let Some(flow) = self.flows.get_mut(flow.0 as usize).and_then(Option::as_mut) else {
            return true;
        };
        if flow.permitted.0 != self.policy_version {
            let is_permitted = self.policy.check(flow.peer()).is_ok();
            flow.permitted = (self.policy_version, is_permitted);
        }
        flow.permitted.1
    }

    /// What the packets of a flow belong to.
    fn scope(&self, flow: FlowId) -> Option<Scope> {
        let flow = self.flows.get(flow.0 as usize)?.as_ref()?;
        Some(scope_of(&self.tasks, &self.ports, flow.task, flow.peer())?.1)
    }

    /// Whether the pacer lets the next packet of a flow go that has none waiting.
    fn may_leave(&mut self, flow: FlowId, class: Class) -> bool {
        self.place(flow, class) == Place::Nowhere
            && self.ask_pacer(flow, class, false) == Verdict::Go
    }

    /// Asks the pacer; a queue that it holds back waits at a gate from then on.
    fn ask_pacer(&mut self, flow: FlowId, class: Class, is_released: bool) -> Verdict {
        let Some(scope) = self.scope(flow) else { return Verdict::Go };
        let serial = self.flows[flow.0 as usize].as_ref().map_or(0, |flow| flow.serial);
        let lane = Lane { flow: flow.0, serial, class };
        let verdict = self.pacer.take(self.now, &scope, lane, is_released);
        self.recent.speak(class, self.now);
        if let Verdict::Held(opening) = verdict {
            if let Some(opening) = opening {
                self.gates.arm(opening.at, opening);
            }
            if let Some(queue) = self.queue(flow, class) {
                queue.place = Place::Gate;
            }
        }
        verdict
    }

    /// The packet whose turn it is, if the pacer lets it go.
    fn next_to_leave(&mut self, class: Class) -> Option<(TaskIndex, Waiting)> {
        let at = class as usize;
        while let Some((task, generation)) = self.ready[at].pop_front() {
            if self.tasks.generation(task) != generation {
                continue;
            }
            let Some(entry) = self.tasks.get_mut(task) else { continue };
            entry.is_ready[at] = false;
            let Some((flow, others)) = entry.next_turn(class) else { continue };
            let mut sent = None;
            if self.owns(task, flow) && self.has_waiting(flow, class) {
                let is_released = self.place(flow, class) == Place::Released;
                match self.ask_pacer(flow, class, is_released) {
                    Verdict::Full => {
                        let entry = self.tasks.get_mut(task)?;
                        entry.keep_turn(flow, class);
                        entry.is_ready[at] = true;
                        self.ready[at].push_front((task, generation));
                        return None;
                    }
                    Verdict::Held(_) => {}
                    Verdict::Go => {
                        sent = self.queue(flow, class).and_then(|queue| queue.packets.pop_front());
                        self.take_turn(task, flow, class, Place::Turn);
                    }
                }
            }
            if others {
                self.get_ready(task, class);
            }
            if let Some(waiting) = sent {
                if let Some(port) = self.port_of(task) {
                    port.queued.leave(1, waiting.packet.len());
                }
                return Some((task, waiting));
            }
        }
        None
    }

    pub(crate) fn queue(&mut self, flow: FlowId, class: Class) -> Option<&mut Queue> {
        let flow = self.flows.get_mut(flow.0 as usize)?.as_mut()?;
        Some(flow.queue_mut(class))
    }

    /// Where the queue of a flow waits.
    fn place(&self, flow: FlowId, class: Class) -> Place {
        let flow = self.flows.get(flow.0 as usize).and_then(Option::as_ref);
        flow.and_then(|flow| flow.queue(class)).map_or(Place::Nowhere, |queue| queue.place)
    }

    /// Whether something waits; where not, the queue is nowhere.
    fn has_waiting(&mut self, flow: FlowId, class: Class) -> bool {
        let flow = self.flows.get_mut(flow.0 as usize).and_then(Option::as_mut);
        flow.is_some_and(|flow| flow.has_waiting(class))
    }

    /// A flow that has packets waiting gets its turn within its task.
    pub(crate) fn take_turn(&mut self, task: TaskIndex, flow: FlowId, class: Class, place: Place) {
        if !self.has_waiting(flow, class) {
            return;
        }
        if let Some(queue) = self.queue(flow, class) {
            queue.place = place;
        }
        if let Some(entry) = self.tasks.get_mut(task) {
            entry.take_turn(flow, class);
        }
        self.get_ready(task, class);
    }

    /// Lets through who has waited at a gate.
    pub(crate) fn open_gate(&mut self, opening: Opening) {
        let (flows, mut released) = (&mut self.flows, Vec::new());
        let is_there = |lane: Lane| {
            let flow = flows.get_mut(lane.flow as usize).and_then(Option::as_mut);
            // Its packets may have been taken back: what comes next has to ask again.
            flow.filter(|flow| flow.serial == lane.serial)
                .is_some_and(|flow| flow.has_waiting(lane.class))
        };
        let again = self.pacer.open(opening, self.now, is_there, |lane| released.push(lane));
        if let Some(opening) = again {
            self.gates.arm(opening.at, opening);
        }
        self.work += 1 + released.len();
        for lane in released {
            let flow = FlowId(lane.flow);
            let task = self.flows[lane.flow as usize].as_ref().map(|flow| flow.task);
            if let Some(task) = task {
                self.take_turn(task, flow, lane.class, Place::Released);
            }
        }
    }

    /// A packet that has to wait. A plugin that lets too many wait is told that there is no room.
    fn enqueue(&mut self, task: TaskIndex, waiting: Waiting) {
        let (flow, class) = (waiting.send.flow, class_of(waiting.send.flags));
        if !self.has_room_for(task, &waiting) {
            return self.not_sent(task, waiting.send, libc::ENOBUFS, false);
        }
        let Some(queue) = self.queue(flow, class) else { return };
        queue.packets.push_back(waiting);
        if queue.place == Place::Nowhere {
            self.take_turn(task, flow, class, Place::Turn);
        }
    }

    /// Whether one more packet may wait; then it counts.
    pub(crate) fn has_room_for(&mut self, task: TaskIndex, waiting: &Waiting) -> bool {
        let octets = waiting.packet.len();
        let port = self.port_of(task).filter(|port| port.queued.has_room(octets));
        port.is_some_and(|port| {
            port.queued.come(octets);
            true
        })
    }

    /// A task that has packets waiting gets its turn; never twice in one round.
    fn get_ready(&mut self, task: TaskIndex, class: Class) {
        let generation = self.tasks.generation(task);
        if let Some(entry) = self.tasks.get_mut(task)
            && !std::mem::replace(&mut entry.is_ready[class as usize], true)
        {
            self.ready[class as usize].push_back((task, generation));
        }
    }

    /// The plugin of a task.
    pub(crate) fn port_of(&mut self, task: TaskIndex) -> Option<&mut PortState> {
        let port = self.tasks.get(task)?.port;
        self.ports.get_mut(port as usize)
    }

    pub(crate) fn give_back(&mut self, send: &Send) {
        if let Some(scope) = self.scope(send.flow) {
            self.pacer.give_back(&scope, class_of(send.flags));
        }
    }

    /// Takes out packets of a task that have not left yet: of one flow, or of all.
    pub(crate) fn unqueue(
        &mut self,
        task: TaskIndex,
        flow: Option<FlowId>,
        fits: impl Fn(&Send) -> bool,
    ) -> Vec<Send> {
        let generation = self.tasks.generation(task);
        let (mut gone, mut octets) = (Vec::new(), 0);
        let mut stays = |waiting: &Waiting| {
            let goes = fits(&waiting.send);
            if goes {
                gone.push(waiting.send);
                octets += waiting.packet.len();
            }
            !goes
        };
        if let Some(entry) = self.tasks.get_mut(task).filter(|task| task.put_off > 0) {
            let before = self.later.len();
            self.work += before / LOOKED_THROUGH;
            self.later.retain(|put_off| {
                let is_meant = (put_off.task, put_off.generation) == (task, generation)
                    && flow.is_none_or(|flow| put_off.waiting.send.flow == flow);
                !is_meant || stays(&put_off.waiting)
            });
            entry.put_off -= before - self.later.len();
        }
        let all = self.tasks.get(task).map(|task| task.flows.as_slice()).unwrap_or_default();
        for flow in flow.as_ref().map_or(all, std::slice::from_ref) {
            let Some(flow) = self.flows.get_mut(flow.0 as usize).and_then(Option::as_mut) else {
                continue;
            };
            for queue in flow.lanes.iter_mut().flat_map(|lanes| lanes.iter_mut().rev()) {
                self.work += queue.packets.len() / LOOKED_THROUGH;
                queue.packets.retain(&mut stays);
            }
        }
        if let Some(port) = self.port_of(task) {
            port.queued.leave(gone.len(), octets);
        }
        gone
    }

    /// What waits of a task that ends, or on one flow of it, stays here and counts as not sent; nobody is left
    /// to be told.
    pub(crate) fn leave_unsent(&mut self, task: TaskIndex, flow: Option<FlowId>) {
        // Those of a task that has ended are dropped when their time comes: with many tasks that end, looking for them would
        // take too long.
        let entry = self.tasks.get_mut(task).filter(|_| flow.is_none());
        let put_off = entry.map_or(0, |entry| std::mem::take(&mut entry.put_off));
        let gone = put_off + self.unqueue(task, flow, |_| true).len();
        self.statistics.counters.not_sent += gone as u64;
        if let Some(entry) = self.tasks.get_mut(task) {
            (0..gone).for_each(|_| entry.count_not_sent(libc::ECANCELED));
        }
    }

    /// Notes a packet before it is sent: the tag that the link gives back, or errno.
    fn note(
        &mut self,
        task: TaskIndex,
        send: Send,
        packet: &[u8],
        precise: bool,
    ) -> Result<u64, i32> {
        if send.timeout_ns == 0 {
            return Ok(self.note_bare((task, self.tasks.generation(task)), send, packet));
        }
        let of_flow = self.demux.flow(send.flow).map_or(0, Flow::waiting);
        match self.port_of(task) {
            Some(port) if port.kept.may_wait(of_flow) => {}
            _ => return Err(libc::ENOBUFS),
        }
        let (at, octets) = (self.flight.len() as u32, packet.len() as u32);
        self.flight.extend_from_slice(packet);
        let departure = Departure { at: self.now, ..Departure::default() };
        let probe = self.demux.sent(send.flow, send.token, packet, departure);
        let probe = probe.ok_or(libc::EINVAL)?;
        if let Some(port) = self.port_of(task) {
            port.kept.waiting += 1;
        }
        let slot = probe.slot as usize;
        if self.notes.len() <= slot {
            self.notes.resize(slot + 1, ProbeNotes::default());
        }
        let Send { timeout_ns, flags, tries, .. } = send;
        self.notes[slot] = ProbeNotes { timeout_ns, flags, tries, precise, at, octets };
        Ok(u64::from(probe.generation & 0x7fff_ffff) << 32 | u64::from(probe.slot))
    }

    /// Probes of a task are answered, or nobody waits for them any more.
    pub(crate) fn end_waiting(&mut self, task: TaskIndex, probes: u32) {
        if let Some(port) = self.port_of(task) {
            port.kept.waiting = port.kept.waiting.saturating_sub(probes as usize);
        }
    }

    /// As [`State::note`], of a packet that expects no answer and a task that may be over.
    pub(crate) fn note_bare(&mut self, owner: (TaskIndex, u32), send: Send, packet: &[u8]) -> u64 {
        let (at, octets) = (self.flight.len() as u32, packet.len() as u32);
        self.flight.extend_from_slice(packet);
        let (task, generation) = owner;
        BARE | u64::from(self.bare.insert(Bare { task, generation, send, at, octets }))
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
            self.end_waiting(task, 1);
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
            code: match errno {
                FORBIDDEN => libc::EPERM as u8,
                errno => u8::try_from(errno).unwrap_or(u8::MAX),
            },
            flags: if is_policy { flags::REFUSED } else { 0 },
            token: send.token,
            flow: send.flow.0,
            at: self.now,
            ..Event::ZERO
        };
        self.deliver(task, event, &[]);
    }
}

pub(crate) fn class_of(wanted: u16) -> Class {
    if wanted & flags::IMMEDIATE != 0 { Class::Immediate } else { Class::Probe }
}

pub(crate) fn probe_of(tag: u64) -> ProbeId {
    ProbeId { slot: tag as u32, generation: (tag >> 32) as u32 & 0x7fff_ffff }
}
