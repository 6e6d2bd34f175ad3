//! Packets that came in: whose they are, and what their task is told.

use sonde_packet::{
    Class, IpHeader, Received, Verdict, classify,
    demux::{Answered, Match, Quality},
    mapped, verify, verify_header,
};
use sonde_plugin_api::abi::{Event, EventKind, LABEL_TOKEN, flags};

use crate::{engine::State, link::Arrival};

/// Pause between two warnings of lost packets.
const WARN_NS: u64 = 1_000_000_000;

impl<H> State<H> {
    /// A packet from the ring, from its IP header on, perhaps with padding behind.
    pub(crate) fn arrived(&mut self, packet: &[u8], arrival: &Arrival) {
        let Ok(header) = IpHeader::parse(packet) else { return };
        let packet = match arrival.merged_octets {
            0 => packet.get(..header.total_octets).unwrap_or(packet),
            // The length field of merged segments may be too small for them.
            _ => packet,
        };
        if header.is_part() {
            let whole = self.demux.gather(packet, &header, arrival.at);
            if let Some(whole) = whole
                && let Ok(header) = IpHeader::parse(&whole)
            {
                self.take(&whole, &header, arrival, flags::FRAGMENTED);
            }
            return;
        }
        self.take(packet, &header, arrival, 0);
    }

    /// What [`crate::link::Link::losses`] says. Packets lost here may have been answers: measurements that run say so
    /// when they end.
    pub(crate) fn handle_losses(&mut self, (kernel_drops, clock_steps): (u64, u64)) {
        let (warned, told) = self.warned;
        let lost = kernel_drops.saturating_sub(told);
        self.statistics.kernel_drops = kernel_drops;
        self.statistics.clock_steps = clock_steps;
        if self.runs.is_empty() {
            self.warned.1 = kernel_drops;
        } else if lost > 0 && self.now >= warned + WARN_NS {
            self.warned = (self.now, kernel_drops);
            tracing::warn!(
                lost,
                "this machine is too slow: answers may be among the packets that it lost"
            );
        }
    }

    /// A whole packet; `bits` are flags of its event.
    fn take(&mut self, packet: &[u8], header: &IpHeader, arrival: &Arrival, bits: u8) {
        let Some(received) = classify(packet).filter(|found| found.class != Class::Redirect) else {
            return;
        };
        // The header's own is always there; merging has renewed it, but for lengths that it cannot say.
        let verdict = match (arrival.merged_octets != 0, arrival.checksum_not_ready) {
            (true, _) => Verdict::Unverified,
            (false, true) if verify_header(packet, header) == Verdict::Good => Verdict::Unverified,
            (false, true) => Verdict::Bad,
            (false, false) => verify(packet, header),
        };
        if verdict == Verdict::Bad {
            self.statistics.bad_checksum += 1;
            return;
        }
        let mut event = event_of(packet, &received, arrival);
        event.flags |= bits;
        if verdict == Verdict::Unverified {
            event.flags |= flags::UNVERIFIED;
        }
        if arrival.merged_octets != 0 {
            event.flags |= flags::MERGED;
            event.quote = if arrival.merged_octets == 1 { 0 } else { arrival.merged_octets };
        }
        let found = self.demux.receive_classified(packet, &received);
        if !matches!(found, Match::Foreign) {
            self.show(arrival.at, packet);
        }
        match found {
            Match::Probe(answered) => self.answered(&answered, &received, event, packet),
            Match::Flow { flow, owner } => {
                if let Some(task) = self.tasks.get_mut(owner) {
                    task.heard(arrival.stamp);
                }
                let event = Event { flow: flow.0, ..event };
                self.deliver(owner, event, packet);
            }
            Match::Foreign => self.statistics.foreign += 1,
        }
    }

    fn answered(
        &mut self,
        answered: &Answered,
        received: &Received,
        mut event: Event,
        packet: &[u8],
    ) {
        let hears_all = self.demux.flow(answered.flow).is_some_and(|flow| flow.hear_all);
        let Some(task) = self.tasks.get_mut(answered.owner) else { return };
        let is_first = !answered.late && !answered.duplicate;
        for counters in [&mut task.counters, &mut self.statistics.counters] {
            counters.answered += u64::from(is_first);
            counters.errors += u64::from(is_first && received.class.is_error());
            counters.late += u64::from(answered.late);
            counters.duplicates += u64::from(answered.duplicate);
        }
        let departure = answered.departure.before(event.at);
        task.answered(departure.stamp, event.stamps >> 4);
        let Answered { probe, owner, flow, token, .. } = *answered;
        if is_first {
            self.end_waiting(owner, 1);
        }
        self.tell_departure(probe, owner, flow, token, departure);
        // Who waits for one answer has it, or has given up.
        if !is_first && !hears_all && answered.token & LABEL_TOKEN == 0 {
            return;
        }
        event.token = answered.token;
        event.flow = answered.flow.0;
        event.sent = departure.at;
        event.stamps |= departure.stamp;
        event.aux = departure.uncertainty;
        if answered.late {
            event.flags |= flags::LATE;
        }
        if answered.duplicate {
            event.flags |= flags::DUPLICATE;
        }
        if answered.quality == Quality::Weak {
            event.flags |= flags::WEAK;
        }
        self.deliver(answered.owner, event, packet);
    }
}

fn event_of(packet: &[u8], received: &Received, arrival: &Arrival) -> Event {
    let quote = received.quote.as_ref().and_then(|range| u16::try_from(range.start).ok());
    debug_assert!(packet.len() >= received.header_octets);
    Event {
        kind: EventKind::Packet,
        class: received.class as u8,
        code: arrival.interface,
        at: arrival.at,
        from: mapped(received.from),
        ttl: received.ttl,
        icmp_type: received.icmp_type,
        icmp_code: received.icmp_code,
        stamps: arrival.stamp << 4,
        quote: quote.unwrap_or_default(),
        ..Event::ZERO
    }
}
