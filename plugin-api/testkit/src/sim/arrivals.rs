//! Packets that reach the vantage point: whose they are, and what is told of them.

use sonde_packet::{
    Class, IpHeader, Verdict, classify,
    demux::{Answered, Match, Quality},
    mapped, verify,
};
use sonde_plugin_api::abi::{Event, EventKind, LABEL_TOKEN, NO_TOKEN, flags};

use super::{BEGIN_NS, Sim, VIRTUAL, plugin::INTERFACE};
use crate::exchange::Entry;

impl Sim {
    pub(super) fn receive(&mut self, packet: Vec<u8>) {
        match IpHeader::parse(&packet) {
            Ok(header) if header.is_part() => {
                if let Some(whole) = self.demux.gather(&packet, &header, BEGIN_NS + self.now_ns) {
                    self.take(&whole, flags::FRAGMENTED);
                }
            }
            _ => self.take(&packet, 0),
        }
        self.record(|| Entry::Received(packet));
    }

    /// A whole packet; `bits` are flags of its event.
    fn take(&mut self, packet: &[u8], bits: u8) {
        // Advice of routers is for nobody, as in the engine.
        if classify(packet).is_some_and(|received| received.class == Class::Redirect) {
            return;
        }
        match self.demux.receive(packet) {
            Match::Probe(answered) => self.receive_answer(packet, &answered, bits),
            Match::Flow { flow, owner } => self.deliver(packet, owner, flow.0, None, bits),
            Match::Foreign => self.foreign += 1,
        }
    }

    fn receive_answer(&mut self, packet: &[u8], answered: &Answered, bits: u8) {
        let Some(flow) = self.flows.get(&answered.flow.0) else { return };
        let Some(task) = self.tasks.get_mut(answered.owner as usize) else { return };
        let is_over = !flow.is_open || !task.is_running();
        let counters = &mut task.counters;
        let hears = flow.hears_all || answered.token & LABEL_TOKEN != 0;
        let is_again = answered.late || answered.duplicate;
        if answered.duplicate {
            counters.duplicates += 1;
        } else if answered.late || is_over {
            counters.late += 1;
        } else {
            counters.answered += 1;
        }
        if !is_again || hears {
            self.deliver(packet, answered.owner, answered.flow.0, Some(answered), bits);
        }
    }

    fn deliver(
        &mut self,
        packet: &[u8],
        task: u32,
        flow: u32,
        answered: Option<&Answered>,
        mut bits: u8,
    ) {
        let (Some(received), Ok(header)) = (classify(packet), IpHeader::parse(packet)) else {
            return;
        };
        if !self.flows.get(&flow).is_some_and(|flow| flow.is_open) {
            return;
        }
        bits |= match verify(packet, &header) {
            Verdict::Good => 0,
            Verdict::Bad => flags::BAD_CHECKSUM,
            Verdict::Unverified => flags::UNVERIFIED,
        };
        if let Some(answered) = answered {
            bits |= if answered.late { flags::LATE } else { 0 };
            bits |= if answered.duplicate { flags::DUPLICATE } else { 0 };
            bits |= if answered.quality == Quality::Weak { flags::WEAK } else { 0 };
        }
        let event = Event {
            kind: EventKind::Packet,
            class: received.class as u8,
            code: INTERFACE.0,
            flags: bits,
            task,
            token: answered.map_or(NO_TOKEN, |answered| answered.token),
            flow,
            sent: answered.map_or(0, |answered| answered.departure.at),
            from: mapped(received.from),
            ttl: received.ttl,
            icmp_type: received.icmp_type,
            icmp_code: received.icmp_code,
            stamps: VIRTUAL,
            quote: received.quote.map_or(0, |quote| quote.start as u16),
            ..Event::ZERO
        };
        self.push(event, packet);
    }
}
