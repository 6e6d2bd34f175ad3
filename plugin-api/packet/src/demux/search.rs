//! Finding the probe that a packet is about.

use super::{
    Demux, Flow, FlowId, MAX_BARE_MISSES, MAX_SEARCHED, NONE, Quality, Slot, State, ends::End,
    expected::TELLING,
};
use crate::{Class, Family, FlowKey, IpHeader, Key, Protocol, Received, mapped};

/// Newest probes of a flow that a packet is compared with where the field leads to none: anybody may send such. More than
/// those that linger, so that some that wait are among them.
const MAX_WALKED: u32 = 1024;

/// Where a packet led.
pub(super) enum Found {
    Probe(u32, Quality),
    Flow(u32),
    Nothing,
}

impl Flow {
    /// Whether [`MAX_WALKED`] are all of its probes.
    fn is_walked_whole(&self) -> bool {
        self.waiting + u32::from(self.lingering) <= MAX_WALKED
    }
}

impl Demux {
    pub(super) fn direct(&self, packet: &[u8], received: &Received) -> Found {
        let flow = received.flow.and_then(|key| self.ends.find(&self.flows, &key));
        let Some((id, flow)) = flow.and_then(|id| Some((id, self.flow(FlowId(id))?))) else {
            return self.answered_elsewhere(packet, received);
        };
        let is_answered = |slot: &Slot| slot.expected.is_answered_by(flow.field, packet, received);
        match flow.field.of_answer(packet, received) {
            Some(shown) if flow.field != Key::None => {
                // An answer to a SYN acknowledges one more than the field.
                let fields = match flow.field {
                    Key::TcpSequence => [shown, shown.wrapping_sub(1)],
                    _ => [shown, shown],
                };
                match self.find_field(flow, &fields, is_answered) {
                    Some(slot) => Found::Probe(slot, self.quality(flow, slot, packet, received)),
                    None => Found::Flow(id),
                }
            }
            // The answer shows nothing of the field, as UDP data and the resets of a fixed port.
            _ if flow.key.protocol == Protocol::Icmp => Found::Nothing,
            _ if matches!(flow.field, Key::None | Key::Payload(_)) => Found::Flow(id),
            _ => {
                let echoed =
                    |slot: &Slot| slot.expected.is_echoed_by(packet, received) && is_answered(slot);
                let waiting = |slot: &Slot| slot.state == State::Waiting && is_answered(slot);
                let mut echoing = self.find_all(flow, echoed);
                if let Some(newest) = echoing.next() {
                    if echoing.next().is_none() && flow.is_walked_whole() {
                        return Found::Probe(newest, Quality::Exact);
                    }
                    // Where probes carry the same, the one that has waited longest.
                    let oldest = self.find_all(flow, |slot| echoed(slot) && waiting(slot)).last();
                    return Found::Probe(oldest.unwrap_or(newest), Quality::Weak);
                }
                let any = self.find(flow, waiting).or_else(|| self.find(flow, is_answered));
                any.map_or(Found::Flow(id), |slot| {
                    Found::Probe(slot, self.quality(flow, slot, packet, received))
                })
            }
        }
    }

    /// An echo reply of another address than the one that was asked: whom an anycast address reaches answers in its own
    /// name (RFC 4443, section 4.2). Only who saw the request knows what it carried.
    fn answered_elsewhere(&self, packet: &[u8], received: &Received) -> Found {
        let key = received.flow.filter(|_| received.class == Class::EchoReply);
        let flow = key.and_then(|key| self.flow(FlowId(self.ends.only(&self.flows, &key)?)));
        let Some(flow) = flow else { return Found::Nothing };
        let Some(sequence) = Key::IcmpSequence.of_answer(packet, received) else {
            return Found::Nothing;
        };
        let is_answered = |slot: &Slot| {
            slot.expected.payload != 0
                && slot.expected.is_answered_by(flow.field, packet, received)
                && sequence == slot.expected.word & 0xffff
        };
        self.find_field(flow, &[sequence; 2], is_answered)
            .map_or(Found::Nothing, |slot| Found::Probe(slot, Quality::Weak))
    }

    /// Of a direct answer to the probe in `slot`.
    fn quality(&self, flow: &Flow, slot: u32, packet: &[u8], received: &Received) -> Quality {
        match self.slots[slot as usize].expected.is_proven_by(flow.field, packet, received) {
            true => Quality::Exact,
            false => Quality::Weak,
        }
    }

    pub(super) fn quoted(&mut self, quoted: &[u8], received: &Received) -> Found {
        let Some(key) = received.flow else { return self.barely_quoted(quoted, received) };
        // A destination that is not the probed one: the packet was translated on its way.
        let translated = || self.ends.only(&self.flows, &key);
        let Some(id) = self.ends.find(&self.flows, &key).or_else(translated) else {
            return self.rewritten(quoted, received, key);
        };
        let Some(flow) = self.flow(FlowId(id)) else { return Found::Nothing };
        let Ok(header) = IpHeader::parse(quoted) else { return Found::Nothing };
        // An error goes to who sent the packet: another end means damage that the checksum does not show.
        if mapped(received.to) != flow.key.local_address {
            return Found::Nothing;
        }
        let identified = |slot: &Slot| slot.expected.is_identified(quoted);
        let is_v4 = header.identification.is_some();
        let fields = flow.field.of_probe(quoted).map_or([0; 2], |field| [field; 2]);
        let by_field = |slot: &Slot| {
            slot.expected.is_quoted(&flow.key, flow.field, quoted, &header)
                && slot.expected.is_evident(flow, quoted, &header)
        };
        // What tells one datagram or query from others is 16 bits, and so is its checksum, which who sends many finds.
        let is_guess = flow.key.protocol != Protocol::Tcp && flow.field != Key::None;
        let by_one = || match flow.field {
            Key::IpId => self.identified(flow, &fields, quoted, &header, true),
            _ => self.find_field(flow, &fields, by_field),
        };
        let found = match flow.field {
            Key::IpId => self.identified(flow, &fields, quoted, &header, false),
            _ => {
                let transport = quoted.get(header.header_octets..).unwrap_or_default();
                let proves = |slot: &Slot| match is_v4 {
                    true => slot.expected.is_shown(&flow.key, transport, &header),
                    false => slot.expected.is_carried_by(transport, TELLING),
                };
                let both = |slot: &Slot| {
                    by_field(slot) && (!is_v4 || identified(slot)) && (!is_guess || proves(slot))
                };
                self.find_field(flow, &fields, both)
            }
        };
        let found = found
            .or_else(|| (!is_guess).then(by_one).flatten())
            .or_else(|| self.sequenced(flow, quoted, &header));
        if let Some(slot) = found {
            return Found::Probe(slot, Quality::Exact);
        }
        // With another field than its own a probe is not told by an identification that is nearly right,
        // and no router changes a sequence number of ICMP.
        let identified = |slot: &Slot| match flow.field.of_probe(quoted) {
            Some(shown) if flow.field != Key::IpId && shown != slot.expected.field() => {
                flow.field != Key::IcmpSequence && slot.expected.has_identification(quoted)
            }
            _ => slot.expected.is_identified(quoted),
        };
        let may_guess = u32::from(flow.misses) < MAX_BARE_MISSES;
        let nearly = || self.nearly_identified(flow, quoted);
        let by_one = || is_guess.then(by_one).flatten();
        let by_half = || by_one().or_else(|| self.find(flow, identified)).or_else(nearly);
        let carried = || self.carried(flow, quoted, &header);
        let weak = carried().or_else(|| may_guess.then(by_half).flatten());
        let evident = |slot: &Slot| slot.expected.is_evident(flow, quoted, &header);
        let Some(slot) = weak.or_else(|| self.only_waiting(flow, evident)) else {
            // Of the ends alone. A conversation has no probes, so that errors about it are no guesses.
            let is_key = flow.key == key;
            if let Some(flow) = self.flows[id as usize].as_mut().filter(|it| it.newest != NONE) {
                flow.misses = flow.misses.saturating_add(1);
                if !is_key || self.bare_misses >= MAX_BARE_MISSES {
                    return Found::Nothing;
                }
            }
            return Found::Flow(id);
        };
        Found::Probe(slot, Quality::Weak)
    }

    /// The probe of a flow whose probes the IPv4 identification tells apart, which a router may have counted up, to that of
    /// the next one even: what else the quote shows of the probe goes first. `by_one` of the two, where a box on the way has
    /// changed the other.
    fn identified(
        &self,
        flow: &Flow,
        fields: &[u32; 2],
        quoted: &[u8],
        header: &IpHeader,
        by_one: bool,
    ) -> Option<u32> {
        let transport = quoted.get(header.header_octets..).unwrap_or_default();
        let shown = |slot: &Slot| slot.expected.is_shown(&flow.key, transport, header);
        let same = |slot: &Slot| slot.expected.has_identification(quoted);
        let near = |slot: &Slot| slot.expected.is_identified(quoted);
        if by_one {
            return self.find_only(flow, shown).or_else(|| self.find_field(flow, fields, same));
        }
        self.find_field(flow, fields, |slot| shown(slot) && same(slot))
            .or_else(|| self.find(flow, |slot| shown(slot) && near(slot)))
    }

    /// The one probe of a flow with this sequence number, where acknowledgement numbers tell probes apart and the quote
    /// ends before them.
    fn sequenced(&self, flow: &Flow, quoted: &[u8], header: &IpHeader) -> Option<u32> {
        let transport = quoted.get(header.header_octets..).unwrap_or_default();
        let ends_before =
            flow.field == Key::TcpAcknowledgement && flow.field.of_probe(quoted).is_none();
        let shown = |slot: &Slot| slot.expected.is_shown(&flow.key, transport, header);
        ends_before.then(|| self.find_only(flow, shown)).flatten()
    }

    /// The one datagram over IPv6 that began as the quote does, where a box has changed the checksum.
    fn carried(&self, flow: &Flow, quoted: &[u8], header: &IpHeader) -> Option<u32> {
        let transport = quoted.get(header.header_octets..).unwrap_or_default();
        let is_datagram = header.family() == Family::V6 && flow.key.protocol == Protocol::Udp;
        let began_so = |slot: &Slot| slot.expected.is_carried_by(transport, 8);
        (is_datagram && flow.field != Key::None).then(|| self.find_only(flow, began_so)).flatten()
    }

    /// The one waiting probe whose identification a router may have spoilt, where a box has changed the field as well: what
    /// is shown of that is none of the flow's.
    fn nearly_identified(&self, flow: &Flow, quoted: &[u8]) -> Option<u32> {
        let shown = flow.field.of_probe(quoted)?;
        let is_anothers = || self.find(flow, |slot| slot.expected.field() == shown).is_some();
        if matches!(flow.field, Key::None | Key::IpId | Key::IcmpSequence) || is_anothers() {
            return None;
        }
        let near = |slot: &Slot| slot.expected.is_identified(quoted);
        self.find_only(flow, |slot| slot.state == State::Waiting && near(slot))
    }

    /// A quote that ends before the ports: it is credited where its destination and identification
    /// are those of exactly one waiting probe. That is little to guess, so there are few guesses.
    fn barely_quoted(&mut self, quoted: &[u8], received: &Received) -> Found {
        let Ok(header) = IpHeader::parse_cut(quoted) else { return Found::Nothing };
        if header.family() == Family::V6 || header.source != received.to {
            return Found::Nothing;
        }
        let Some(protocol) = Protocol::from_number(header.protocol) else { return Found::Nothing };
        let key = FlowKey {
            local_address: mapped(header.source),
            remote_address: mapped(header.destination),
            local: 0,
            protocol,
        };
        let identified = |slot: &Slot, _: &Flow| slot.expected.has_identification(quoted);
        self.only_one(received, &key, &[End::Remote], identified)
    }

    /// A quote of no flow of ours, sent to us all the same: translators changed the ends of the probe
    /// and did not put them back. It is credited where what is left, the destination or the port or identifier of ours,
    /// is that of exactly one waiting probe whose field or identification came back.
    fn rewritten(&mut self, quoted: &[u8], received: &Received, key: FlowKey) -> Found {
        let Ok(header) = IpHeader::parse(quoted) else { return Found::Nothing };
        let transport = quoted.get(header.header_octets..).unwrap_or_default();
        // Whoever the quote names as the sender, the error came to the one that it was.
        let key = FlowKey { local_address: mapped(received.to), ..key };
        self.only_one(received, &key, &[End::Remote, End::Local], |slot, flow| {
            let expected = &slot.expected;
            expected.has_identification(quoted)
                || match flow.field {
                    Key::None | Key::IpId => expected.is_shown(&flow.key, transport, &header),
                    field => {
                        expected.is_quoted(&flow.key, field, quoted, &header)
                            && expected.is_evident(flow, quoted, &header)
                    }
                }
        })
    }

    /// The one waiting probe that is `proven`, if there is one and no other, of the flows that have one of the `ends` of
    /// `key`. There are few guesses.
    fn only_one(
        &mut self,
        received: &Received,
        key: &FlowKey,
        ends: &[End],
        proven: impl Fn(&Slot, &Flow) -> bool,
    ) -> Found {
        if self.bare_misses >= MAX_BARE_MISSES {
            return Found::Nothing;
        }
        let to = mapped(received.to);
        let (mut found, mut looked, mut is_near) = (Vec::new(), 0, false);
        for (_, flow) in ends.iter().flat_map(|end| self.ends.sharing(&self.flows, *end, key)) {
            looked += 1 + flow.waiting as usize + usize::from(flow.lingering);
            if looked > MAX_SEARCHED {
                // Too much work for whatever anybody sends us.
                is_near = true;
                found.clear();
                break;
            }
            if flow.key.protocol == key.protocol && flow.key.local_address == to {
                is_near |= flow.waiting > 0;
                let fits = |slot: &Slot| slot.state == State::Waiting && proven(slot, flow);
                let fitting = self.walk(flow).filter(|(_, slot)| fits(slot));
                found.extend(fitting.map(|(slot, _)| slot).take(2));
            }
        }
        // A flow may have both ends.
        found.sort_unstable();
        found.dedup();
        match found[..] {
            [slot] => return Found::Probe(slot, Quality::Weak),
            // Errors about what other programs send are no guesses.
            [] => self.bare_misses += u32::from(is_near),
            _ => {}
        }
        Found::Nothing
    }

    /// Of a flow without a field to tell by.
    fn only_waiting(&self, flow: &Flow, fits: impl Fn(&Slot) -> bool) -> Option<u32> {
        let is_alone = flow.waiting == 1 && flow.field == Key::None;
        let waiting = |slot: &Slot| slot.state == State::Waiting && fits(slot);
        is_alone.then(|| self.find(flow, waiting)).flatten()
    }

    /// The newest probe that fits, tried first where the index leads for `fields`.
    fn find_field(
        &self,
        flow: &Flow,
        fields: &[u32; 2],
        fits: impl Fn(&Slot) -> bool,
    ) -> Option<u32> {
        if let Some(index) = &flow.index {
            let slots = fields.iter().filter_map(|field| index.get(field)).copied();
            let found = slots.into_iter().find(|slot| fits(&self.slots[*slot as usize]));
            if found.is_some() {
                return found;
            }
        }
        self.find(flow, fits)
    }

    /// The newest probe of a flow that fits.
    fn find(&self, flow: &Flow, fits: impl Fn(&Slot) -> bool) -> Option<u32> {
        self.find_all(flow, fits).next()
    }

    /// The one probe of a flow that fits, where no other does.
    fn find_only(&self, flow: &Flow, fits: impl Fn(&Slot) -> bool) -> Option<u32> {
        let mut found = self.find_all(flow, fits);
        found.next().filter(|_| flow.is_walked_whole() && found.next().is_none())
    }

    /// The probes of a flow that fit, the newest first, of the [`MAX_WALKED`] newest.
    pub(super) fn find_all(
        &self,
        flow: &Flow,
        fits: impl Fn(&Slot) -> bool,
    ) -> impl Iterator<Item = u32> {
        let walked = self.walk(flow).take(MAX_WALKED as usize);
        walked.filter(move |(_, slot)| fits(slot)).map(|(slot, _)| slot)
    }

    /// All probes of a flow, the newest first.
    pub(super) fn walk(&self, flow: &Flow) -> impl Iterator<Item = (u32, &Slot)> {
        let mut next = flow.newest;
        std::iter::from_fn(move || {
            let entry = self.slots.get(next as usize)?;
            Some((std::mem::replace(&mut next, entry.next), entry))
        })
    }
}
