//! Which probe a packet answers.
//!
//! A packet leads to a flow by its measurement key ([`FlowKey`]), an ICMP error by that of the
//! packet it quotes; the flow leads to the probe by the field that the method declared ([`Key`]), else by
//! the octets that every quote holds, else by the IPv4 identification. Pure: the engine and the
//! simulated network use the same code.
//!
//! A probe that has been answered, or has timed out, stays for a while, so that late and duplicate
//! answers are known for what they are.

mod ends;
mod expected;
mod fragments;
mod search;

use std::collections::HashMap;

use foldhash::quality::FixedState;

use self::{
    ends::{Ends, Link},
    expected::Expected,
    fragments::Fragments,
    search::Found,
};
use crate::{FlowKey, Key, Received, classify};

/// Answered and timed-out probes that a flow remembers at most: beyond, the older half is forgotten.
const MAX_LINGERING: u16 = 512;

/// Probes that are searched for one that a quote without ports could be of.
const MAX_SEARCHED: usize = 4096;

/// Quotes without our ports that may fit no probe before no more of them are believed for the IPv4 identification alone: a
/// million guesses would hit. A flow has as many, of quotes that have its ports, before none are for 16 bits.
const MAX_BARE_MISSES: u32 = 8;
/// Time after which one of the former is forgiven, and one of a flow that sends then, ns.
const FORGIVEN_AFTER: u64 = 1_000_000_000;

/// No slot.
const NONE: u32 = u32::MAX;

/// A flow that is open.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FlowId(pub u32);

/// A probe that was sent; stale once its slot is used again.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ProbeId {
    /// Which slot.
    pub slot: u32,
    /// Which use of it.
    pub generation: u32,
}

/// Another flow has the same measurement key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("another measurement uses the same addresses and identifier")]
pub struct Busy;

/// A flow and what it waits for.
#[derive(Debug)]
pub struct Flow {
    /// Measurement key.
    pub key: FlowKey,
    /// Field that tells its probes apart.
    pub field: Key,
    /// The task it belongs to.
    pub owner: u32,
    /// Also packets that answer no probe.
    pub hear_all: bool,
    newest: u32,
    lingering: u16,
    /// Errors about it that fit no probe.
    misses: u16,
    waiting: u32,
    links: [Link; 2],
    /// Field of the probe to its slot; only in flows that have many, and few have.
    #[expect(clippy::box_collection, reason = "every flow is smaller for it")]
    index: Option<Box<HashMap<u32, u32, FixedState>>>,
}

impl Flow {
    /// Probes that wait for an answer.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.waiting
    }
}

/// When a probe left, as far as it is known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Departure {
    /// Monotonic, ns.
    pub at: u64,
    /// Who said so.
    pub stamp: u8,
    /// How wrong it may be, in units of 100 ns.
    pub uncertainty: u16,
}

impl Departure {
    /// The same, as an answer that came at `arrival` leaves it: the probe left before. An estimate that is later is moved
    /// half way between the earliest moment that it allows and the answer.
    #[must_use]
    pub fn before(self, arrival: u64) -> Self {
        if self.at < arrival {
            return self;
        }
        let earliest = self.at.saturating_sub(u64::from(self.uncertainty) * 100);
        let half = arrival.saturating_sub(earliest) / 2;
        let uncertainty = u16::try_from(half.div_ceil(100)).unwrap_or(u16::MAX);
        Self { at: arrival - half, uncertainty, ..self }
    }
}

/// What became of a probe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
enum State {
    Free,
    Waiting,
    Answered,
    /// Its time-out has passed.
    Expired,
}

/// One probe: a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Slot {
    expected: Expected,
    sent_at: u64,
    generation: u32,
    flow: u32,
    token: u32,
    /// The next older probe of the flow, or the next free slot.
    next: u32,
    uncertainty: u16,
    stamp: u8,
    state: State,
}

const _: () = assert!(size_of::<Slot>() == 64);

/// Why a probe was credited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Quality {
    /// By what identifies it.
    Exact,
    /// By 16 bits alone, such as the IPv4 identification or the checksum, because nothing else was waiting, or by its ports
    /// alone: a forger who guesses the local port would be believed.
    Weak,
}

/// Whose packet it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Match {
    /// It answers this probe.
    Probe(Answered),
    /// It belongs to this flow, which hears everything, and answers no probe.
    Flow {
        /// Which.
        flow: FlowId,
        /// Its task.
        owner: u32,
    },
    /// None of ours.
    Foreign,
}

/// A probe and its answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answered {
    /// The probe.
    pub probe: ProbeId,
    /// Its flow.
    pub flow: FlowId,
    /// Its task.
    pub owner: u32,
    /// As given to [`Demux::sent`].
    pub token: u32,
    /// When it left.
    pub departure: Departure,
    /// Why it was credited.
    pub quality: Quality,
    /// Its time-out had passed.
    pub late: bool,
    /// It had been answered before.
    pub duplicate: bool,
}

/// A probe whose time is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expired {
    /// Its flow.
    pub flow: FlowId,
    /// Its task.
    pub owner: u32,
    /// As given to [`Demux::sent`].
    pub token: u32,
    /// When it left.
    pub departure: Departure,
}

/// All open flows and their probes.
#[derive(Debug)]
pub struct Demux {
    flows: Vec<Option<Flow>>,
    free_flows: Vec<u32>,
    ends: Ends,
    slots: Vec<Slot>,
    free_slot: u32,
    slots_in_use: usize,
    /// Since there was a look for slots that nobody needs any more.
    slots_freed: usize,
    /// Generation of the next slot that is made: none that is gone had a higher one.
    fresh: u32,
    fragments: Fragments,
    bare_misses: u32,
    /// When the last one was forgiven, monotonic, ns.
    forgiven: u64,
    state: FixedState,
}

impl Demux {
    /// No flow. The hash tables are seeded, so that no peer can choose collisions.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = FixedState::with_seed(seed);
        Self {
            flows: Vec::new(),
            free_flows: Vec::new(),
            ends: Ends::new(state.clone()),
            slots: Vec::new(),
            free_slot: NONE,
            slots_in_use: 0,
            slots_freed: 0,
            fresh: 0,
            fragments: Fragments::new(state.clone()),
            bare_misses: 0,
            forgiven: 0,
            state,
        }
    }

    /// Opens a flow of the task `owner`.
    ///
    /// # Errors
    ///
    /// [`Busy`] where the same measurement key is open.
    pub fn open(
        &mut self,
        key: FlowKey,
        field: Key,
        owner: u32,
        hear_all: bool,
    ) -> Result<FlowId, Busy> {
        let id = self.free_flows.last().copied().unwrap_or(self.flows.len() as u32);
        let links = self.ends.insert(&mut self.flows, id, &key)?;
        let flow = Flow {
            key,
            field,
            owner,
            hear_all,
            newest: NONE,
            lingering: 0,
            misses: 0,
            waiting: 0,
            links,
            index: None,
        };
        match self.free_flows.pop() {
            Some(free) => self.flows[free as usize] = Some(flow),
            None => self.flows.push(Some(flow)),
        }
        self.fragments.watch(&key.remote_address);
        Ok(FlowId(id))
    }

    /// An open flow.
    #[must_use]
    pub fn flow(&self, flow: FlowId) -> Option<&Flow> {
        self.flows.get(flow.0 as usize)?.as_ref()
    }

    /// Forgets a flow with all its probes.
    pub fn close(&mut self, flow: FlowId) {
        let Some(closed) = self.flows.get_mut(flow.0 as usize).and_then(Option::take) else {
            return;
        };
        let mut slot = closed.newest;
        while slot != NONE {
            let next = self.slots[slot as usize].next;
            self.free(slot);
            slot = next;
        }
        self.ends.remove(&mut self.flows, flow.0, &closed);
        self.fragments.unwatch(&closed.key.remote_address);
        self.free_flows.push(flow.0);
    }

    /// Notes a probe that was handed to the kernel. `None` where the flow is not open or the packet is none.
    pub fn sent(
        &mut self,
        flow: FlowId,
        token: u32,
        packet: &[u8],
        departure: Departure,
    ) -> Option<ProbeId> {
        let field = self.flow(flow)?.field;
        let expected = Expected::of(packet, field)?;
        let forgiven = departure.at.saturating_sub(self.forgiven) / FORGIVEN_AFTER;
        self.forgiven += forgiven * FORGIVEN_AFTER;
        self.bare_misses = self.bare_misses.saturating_sub(forgiven.min(8) as u32);
        let slot = self.take_slot();
        let entry = &mut self.slots[slot as usize];
        entry.expected = expected;
        entry.sent_at = departure.at;
        entry.stamp = departure.stamp;
        entry.uncertainty = departure.uncertainty;
        entry.flow = flow.0;
        entry.token = token;
        entry.state = State::Waiting;
        let generation = entry.generation;
        let flow = self.flows[flow.0 as usize].as_mut()?;
        entry.next = flow.newest;
        flow.newest = slot;
        flow.misses = flow.misses.saturating_sub(forgiven.min(1) as u16);
        flow.waiting += 1;
        if let Some(index) = &mut flow.index {
            index.insert(expected.field, slot);
        } else if flow.waiting + u32::from(flow.lingering) > 8 && field != Key::None {
            self.build_index(FlowId(self.slots[slot as usize].flow));
        }
        Some(ProbeId { slot, generation })
    }

    /// Flow and token of a probe; `None` where it is gone.
    #[must_use]
    pub fn probe(&self, probe: ProbeId) -> Option<(FlowId, u32)> {
        let slot = self.slots.get(probe.slot as usize)?;
        let is_it = slot.generation == probe.generation && slot.state != State::Free;
        is_it.then_some((FlowId(slot.flow), slot.token))
    }

    /// The kernel said when a probe left.
    pub fn restamp(&mut self, probe: ProbeId, departure: Departure) {
        if let Some(slot) = self.slot_mut(probe) {
            slot.sent_at = departure.at;
            slot.stamp = departure.stamp;
            slot.uncertainty = departure.uncertainty;
        }
    }

    /// The time-out of a probe has passed. `None` where it was answered or is gone.
    pub fn expire(&mut self, probe: ProbeId) -> Option<Expired> {
        let slot = self.slot_mut(probe).filter(|slot| slot.state == State::Waiting)?;
        slot.state = State::Expired;
        let (flow, token) = (slot.flow, slot.token);
        let departure = departure(slot);
        let owner = self.flows.get(flow as usize)?.as_ref()?.owner;
        self.linger(flow);
        Some(Expired { flow: FlowId(flow), owner, token, departure })
    }

    /// A probe that did not leave after all is as if it had never been.
    pub fn forget(&mut self, probe: ProbeId) {
        let Some(slot) = self.slot_mut(probe).copied() else { return };
        let Some(open) = self.flows.get_mut(slot.flow as usize).and_then(Option::as_mut) else {
            return;
        };
        match slot.state {
            State::Waiting => open.waiting -= 1,
            _ => open.lingering = open.lingering.saturating_sub(1),
        }
        if let Some(index) = &mut open.index
            && index.get(&slot.expected.field) == Some(&probe.slot)
        {
            index.remove(&slot.expected.field);
        }
        if open.newest == probe.slot {
            open.newest = slot.next;
        } else {
            let mut before = open.newest;
            while before != NONE && self.slots[before as usize].next != probe.slot {
                before = self.slots[before as usize].next;
            }
            if let Some(before) = self.slots.get_mut(before as usize) {
                before.next = slot.next;
            }
        }
        self.free(probe.slot);
    }

    /// Nobody waits for the answer any more; when it comes it is late.
    pub fn cancel(&mut self, probe: ProbeId) {
        let _ = self.expire(probe);
    }

    /// The newest probe of `flow` that has this token and is still waited for.
    #[must_use]
    pub fn waiting(&self, flow: FlowId, token: u32) -> Option<ProbeId> {
        let fits = |slot: &Slot| slot.token == token && slot.state == State::Waiting;
        let mut probes = self.walk(self.flow(flow)?);
        probes.find(|(_, slot)| fits(slot)).map(|(slot, _)| self.id(slot))
    }

    /// Whose packet this is.
    pub fn receive(&mut self, packet: &[u8]) -> Match {
        match classify(packet) {
            Some(received) => self.receive_classified(packet, &received),
            None => Match::Foreign,
        }
    }

    /// As [`Demux::receive`], of a packet that has been looked at.
    pub fn receive_classified(&mut self, packet: &[u8], received: &Received) -> Match {
        let found = match &received.quote {
            Some(range) => {
                let quoted = packet.get(range.clone()).unwrap_or_default();
                self.quoted(quoted, received)
            }
            None => self.direct(packet, received),
        };
        match found {
            Found::Probe(slot, quality) => self.credit(slot, quality),
            Found::Flow(flow) => match self.flow(FlowId(flow)) {
                Some(open) if open.hear_all => {
                    Match::Flow { flow: FlowId(flow), owner: open.owner }
                }
                _ => Match::Foreign,
            },
            Found::Nothing => Match::Foreign,
        }
    }
}

impl Demux {
    fn credit(&mut self, slot: u32, quality: Quality) -> Match {
        let probe = self.id(slot);
        let entry = &mut self.slots[slot as usize];
        let before = entry.state;
        entry.state = State::Answered;
        let (flow, token) = (entry.flow, entry.token);
        let departure = departure(entry);
        let Some(owner) = self.flow(FlowId(flow)).map(|flow| flow.owner) else {
            return Match::Foreign;
        };
        if before == State::Waiting {
            self.linger(flow);
        }
        Match::Probe(Answered {
            probe,
            flow: FlowId(flow),
            owner,
            token,
            departure,
            quality,
            late: before == State::Expired,
            duplicate: before == State::Answered,
        })
    }

    /// One more probe of the flow is over; the oldest of too many is forgotten.
    fn linger(&mut self, flow: u32) {
        let Some(open) = self.flows[flow as usize].as_mut() else { return };
        open.waiting -= 1;
        open.lingering += 1;
        if open.lingering <= MAX_LINGERING {
            return;
        }
        open.lingering /= 2;
        let keep = open.lingering;
        let newest = open.newest;
        self.forget_oldest(flow, newest, keep);
    }

    /// Frees all probes that are over but the `keep` newest ones.
    fn forget_oldest(&mut self, flow: u32, newest: u32, keep: u16) {
        let (mut kept, mut before, mut slot) = (0, NONE, newest);
        let mut gone = Vec::new();
        while slot != NONE {
            let entry = self.slots[slot as usize];
            let is_over = entry.state != State::Waiting;
            if is_over && kept == keep {
                gone.push((entry.expected.field, slot));
                match self.slots.get_mut(before as usize) {
                    Some(before) => before.next = entry.next,
                    None => {
                        if let Some(open) = self.flows[flow as usize].as_mut() {
                            open.newest = entry.next;
                        }
                    }
                }
            } else {
                kept += u16::from(is_over);
                before = slot;
            }
            slot = entry.next;
        }
        for (field, slot) in gone {
            let index = self.flows[flow as usize].as_mut().and_then(|open| open.index.as_mut());
            if let Some(index) = index
                && index.get(&field) == Some(&slot)
            {
                index.remove(&field);
            }
            self.free(slot);
        }
    }

    fn build_index(&mut self, flow: FlowId) {
        let Some(open) = self.flow(flow) else { return };
        let mut index = HashMap::with_hasher(self.state.clone());
        let mut slot = open.newest;
        while slot != NONE {
            let entry = &self.slots[slot as usize];
            // Newest first: an older probe with the same field does not count.
            index.entry(entry.expected.field).or_insert(slot);
            slot = entry.next;
        }
        if let Some(open) = self.flows[flow.0 as usize].as_mut() {
            open.index = Some(Box::new(index));
        }
    }

    fn take_slot(&mut self) -> u32 {
        self.slots_in_use += 1;
        if self.free_slot != NONE {
            let slot = self.free_slot;
            self.free_slot = self.slots[slot as usize].next;
            return slot;
        }
        self.slots.push(Slot {
            expected: Expected::default(),
            sent_at: 0,
            generation: self.fresh,
            flow: NONE,
            token: 0,
            next: NONE,
            uncertainty: 0,
            stamp: 0,
            state: State::Free,
        });
        self.slots.len() as u32 - 1
    }

    fn free(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        entry.state = State::Free;
        // 31 bits, so that a name fits in a tag with a bit to spare.
        entry.generation = entry.generation.wrapping_add(1) & 0x7fff_ffff;
        entry.next = self.free_slot;
        self.free_slot = slot;
        self.slots_in_use -= 1;
        self.slots_freed += 1;
        let slots = self.slots.len();
        let is_worth_it = self.slots_freed >= slots && self.slots_in_use < slots / 4;
        if slots > MAX_SEARCHED && (is_worth_it || self.slots_in_use == 0) {
            self.give_slots_back();
        }
    }

    /// Free slots at the end go.
    #[cold]
    fn give_slots_back(&mut self) {
        while let Some(slot) = self.slots.pop_if(|slot| slot.state == State::Free) {
            self.fresh = self.fresh.max(slot.generation);
        }
        (self.slots_freed, self.free_slot) = (0, NONE);
        for (number, slot) in self.slots.iter_mut().enumerate() {
            if slot.state == State::Free {
                slot.next = self.free_slot;
                self.free_slot = number as u32;
            }
        }
    }

    fn id(&self, slot: u32) -> ProbeId {
        ProbeId { slot, generation: self.slots[slot as usize].generation }
    }

    fn slot_mut(&mut self, probe: ProbeId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(probe.slot as usize)?;
        (slot.generation == probe.generation && slot.state != State::Free).then_some(slot)
    }
}

fn departure(slot: &Slot) -> Departure {
    Departure { at: slot.sent_at, stamp: slot.stamp, uncertainty: slot.uncertainty }
}

#[cfg(test)]
mod tests;
