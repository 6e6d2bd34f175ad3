//! Packets that have left: when, and who is told.

use sonde_packet::demux::{Departure, FlowId, ProbeId};
use sonde_plugin_api::abi::{Event, EventKind, flags};

use crate::{
    departures::{BARE, probe_of},
    engine::{State, Timer},
    tasks::TaskIndex,
};

impl<H> State<H> {
    /// The kernel took a packet.
    pub(crate) fn left(&mut self, tag: u64, departure: Departure) {
        if self.tap.is_some() {
            self.show_departed(tag, departure.at);
        }
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
        let Some(task) = self.demux.flow(flow).map(|flow| flow.owner) else { return };
        let Some(port) = self.port_of(task) else { return };
        port.wheel.arm(departure.at.saturating_add(notes.timeout_ns), Timer::Timeout(probe));
        let generation = self.tasks.generation(task);
        self.count_sent(task, generation);
        if let Some(entry) = self.tasks.get_mut(task) {
            entry.departed(departure.stamp);
        }
        if notes.flags & flags::WANT_SENT != 0 {
            match notes.precise {
                true => drop(self.untold.insert(probe.slot, probe.generation)),
                false => self.deliver(task, sent_event(flow.0, token, departure), &[]),
            }
        }
    }

    /// Shows a packet whose copy lies in the batch.
    fn show_departed(&mut self, tag: u64, at: u64) {
        let copy = match tag & BARE {
            0 => self.notes.get(tag as u32 as usize).map(|notes| (notes.at, notes.octets)),
            _ => self.bare.get(tag as u32).map(|bare| (bare.at, bare.octets)),
        };
        let Some((begin, octets)) = copy else { return };
        let flight = std::mem::take(&mut self.flight);
        self.show(at, flight.get(begin as usize..(begin + octets) as usize).unwrap_or_default());
        self.flight = flight;
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
            entry.departed(source);
        }
        self.tell_departure(probe, task, flow, token, departure);
    }

    /// Tells of a departure, once, as exactly as it is known when something else is told of the probe: stamps may come late,
    /// or never.
    pub(crate) fn tell_departure(
        &mut self,
        probe: ProbeId,
        task: TaskIndex,
        flow: FlowId,
        token: u32,
        departure: Departure,
    ) {
        if !self.untold.is_empty() && self.untold.get(&probe.slot) == Some(&probe.generation) {
            self.untold.remove(&probe.slot);
            self.deliver(task, sent_event(flow.0, token, departure), &[]);
        }
    }

    fn count_sent(&mut self, task: TaskIndex, generation: u32) {
        if self.tasks.generation(task) == generation
            && let Some(entry) = self.tasks.get_mut(task)
        {
            self.unsent -= usize::from(entry.counters.sent == 0);
            entry.counters.sent += 1;
        }
    }
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
