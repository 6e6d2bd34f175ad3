//! Devices that stop fragments, or put them together.
//!
//! Each hop that answered is asked twice more, with the same content but for what tells late answers: in one packet,
//! and in two parts. Who answers the first way and nobody behind it the second, is behind a device that stops
//! fragments. A quote of more than the first part is of a device that put them together. The transport's header is in
//! the first part whole, as RFC 7112 has it and as filters want that keep off the tiny fragments of RFC 1858.
//!
//! Routers are silent about a part behind the first. One that is stopped alone is missed by the destination, and where
//! on the way that was, nobody can tell.
//!
//! Source: the mode of that name of the tool tracebox; RFC 791, section 3.2; RFC 8200, section 4.5.

use sonde_plugin_api::{
    packet::{Family, IpHeader, checksum, protocol},
    prelude::*,
};

use super::{
    Answer, Halt, Session, Shape, TTL_AT, UDP_PAYLOAD,
    devices::{NUMBERS, Place, found, row},
};
use crate::{
    checksums::payload_octets,
    grammar::Spec,
    rows::{Device, DeviceRow, Verdict},
    unusual::Unusual,
};

/// What the hops told so far.
#[derive(Default)]
struct Findings {
    /// Who answered to a packet in one.
    is_asked: bool,
    /// The last hop that answered to parts.
    passed: Option<Place>,
    /// The place behind which nobody answered to parts since, and the hop there that answers otherwise.
    stopped: Option<(Option<Place>, Place)>,
    /// The last hop that quoted the first part as it was sent.
    apart: Option<Place>,
    /// That and the first hop that quoted more.
    together: Option<(Option<Place>, Place)>,
}

/// A row for each kind of device; `end` is the TTL that the destination answered at.
///
/// # Errors
///
/// Where packets cannot leave.
pub(super) async fn look(session: &mut Session, end: Option<u8>) -> Result<[DeviceRow; 2], Halt> {
    let (whole_id, parts_id) = ((session.ip_id ^ 0x3333).max(1), session.ctx.random());
    let hops: Vec<u8> = session.told.iter().map(|told| told.ttl).chain(end).collect();
    let mut findings = Findings::default();
    for ttl in hops {
        let shape = session.shape(ttl);
        let whole = session.shaped(ttl, shape, whole_id, &content(session, ttl, false))?;
        let (Some(near), _) = session.ask(&whole).await? else { continue };
        session.reset(&near).await;
        let sequence = shape.sequence.wrapping_add(session.apart(2 * NUMBERS));
        let spec = content(session, ttl, true);
        let whole = session.shaped(ttl, Shape { sequence, ..shape }, whole_id, &spec)?;
        let Some([first, rest]) = cut(&whole, parts_id) else { continue };
        let far = match session.ask_in_parts(&first, Some(&rest)).await {
            Ok((far, _)) => far,
            Err(Halt::Budget) => return Err(Halt::Budget),
            Err(Halt::Failed(fail)) => {
                session
                    .ctx
                    .warn(&format!("a packet in two parts to hop {ttl} was {}", fail.message));
                findings.give_up();
                break;
            }
        };
        if let Some(far) = &far {
            session.reset(far).await;
        }
        findings.take((ttl, near.reply.from()), &near, far.as_ref(), [&first, &whole]);
    }
    Ok(findings.rows())
}

/// The user's probe without what would have to be in each part, and with enough to make two parts of. Unless the payload
/// is chosen it tells a late answer from that to the next probe.
fn content(session: &Session, ttl: u8, in_parts: bool) -> Spec {
    let mut spec = session.spec.clone();
    let mut own = session.udp_payload(ttl);
    own[TTL_AT - 1] = in_parts.into();
    let mut payload = spec.payload.take().unwrap_or_else(|| own.to_vec());
    payload.resize(payload.len().max(UDP_PAYLOAD), 0);
    Spec {
        payload: Some(payload),
        dont_fragment: false,
        ip_options: Vec::new(),
        extension_headers: None,
        unusual: Unusual::default(),
        ..spec
    }
}

impl Findings {
    /// `sent` are the first part and the whole.
    fn take(&mut self, place: Place, near: &Answer, far: Option<&Answer>, sent: [&[u8]; 2]) {
        self.is_asked = true;
        let Some(far) = far else {
            // Routers answer to the first part alone, the destination to both.
            let is_router = near.reply.class() == Class::TimeExceeded;
            let after = self.passed.filter(|_| is_router);
            self.stopped = self.stopped.or(Some((after, place)));
            return;
        };
        self.passed = Some(place);
        self.stopped = None;
        // The destination puts them together in any case.
        let quote = far.reply.quote(&far.packet);
        let is_router = far.reply.class() == Class::TimeExceeded;
        let Some(quote) = quote.filter(|_| is_router) else { return };
        let quoted = far.packet.get(quote.range).unwrap_or_default();
        let Ok(header) = IpHeader::parse(quoted) else { return };
        // By its data: a box may have changed the options in front of it, and a router have got the length wrong.
        let data = payload_octets(quoted);
        let [least, most] = sent.map(payload_octets);
        if !header.is_part() || data > least && data <= most {
            self.together = self.together.or(Some((self.apart, place)));
        } else if header.total_octets == sent[0].len() || data == least {
            self.apart = Some(place);
        }
    }

    /// Parts do not leave, as where a firewall of this host stops them: what the network does is not known.
    fn give_up(&mut self) {
        *self = Self { together: self.together, ..Self::default() };
    }

    fn rows(&self) -> [DeviceRow; 2] {
        let verdict = |is_known| if is_known { Verdict::NotFound } else { Verdict::Unknown };
        let of = |device, place: Option<(Option<Place>, Place)>, is_known| match place {
            Some((after, first)) => found(device, after, first),
            None => row(device, verdict(is_known)),
        };
        [
            of(Device::FragmentFilter, self.stopped, self.is_asked),
            of(Device::Reassembler, self.together, self.apart.is_some()),
        ]
    }
}

/// Two fragments of a packet without options and extension headers: the transport's header, and the rest. `None` where
/// nothing would be left for the second.
fn cut(whole: &[u8], identification: u32) -> Option<[Vec<u8>; 2]> {
    let header = IpHeader::parse(whole).ok()?;
    let (ip, data) = whole.split_at_checked(header.header_octets)?;
    let transport_octets = match header.protocol {
        protocol::TCP => usize::from(*data.get(12)? >> 4) * 4,
        _ => 8,
    };
    let (first, rest) = data.split_at_checked(transport_octets.next_multiple_of(8))?;
    if rest.is_empty() {
        return None;
    }
    let part = |offset_octets: usize, more: bool, data: &[u8]| {
        let mut packet = ip.to_vec();
        if header.family() == Family::V4 {
            let bits = (offset_octets / 8) as u16 | if more { 0x2000 } else { 0 };
            // Not 0, which would be replaced.
            let identification = (identification as u16).max(1);
            let octets = (ip.len() + data.len()) as u16;
            packet[2..4].copy_from_slice(&octets.to_be_bytes());
            packet[4..6].copy_from_slice(&identification.to_be_bytes());
            packet[6..8].copy_from_slice(&bits.to_be_bytes());
            packet[10..12].fill(0);
            let sum = checksum::finish(checksum::sum(&packet, 0));
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        } else {
            let bits = offset_octets as u16 | u16::from(more);
            packet[4..6].copy_from_slice(&(data.len() as u16 + 8).to_be_bytes());
            packet[6] = protocol::FRAGMENT;
            packet.extend([header.protocol, 0]);
            packet.extend(bits.to_be_bytes());
            packet.extend(identification.to_be_bytes());
        }
        packet.extend_from_slice(data);
        packet
    };
    Some([part(0, true, first), part(first.len(), false, rest)])
}

#[cfg(test)]
mod tests {
    use sonde_plugin_api::packet::{Fragment, Ip, Packet, Payload, TcpSegment, Transport};

    use super::*;

    fn syn(source: &str, destination: &str, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let packet = Packet {
            ip: Ip::plain(source.parse().unwrap(), destination.parse().unwrap()),
            transport: Transport::Tcp(TcpSegment { options, ..TcpSegment::default() }),
            payload: Payload::Octets(payload),
            checksum: None,
        };
        packet.to_vec().unwrap()
    }

    #[test]
    fn the_header_of_the_transport_is_in_the_first_part_whole() {
        for (source, destination) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")] {
            for (options, first_octets) in
                [(&[][..], 24), (&[1; 4], 24), (&[1; 8], 32), (&[1; 40], 64)]
            {
                let whole = syn(source, destination, options, &[7; 12]);
                let [first, rest] = cut(&whole, 0x0001_2345).unwrap();
                let (one, two) =
                    (IpHeader::parse(&first).unwrap(), IpHeader::parse(&rest).unwrap());
                assert_eq!(one.fragment, Some(Fragment { offset_octets: 0, more: true }));
                let offset_octets = first_octets;
                assert_eq!(two.fragment, Some(Fragment { offset_octets, more: false }));
                assert_eq!(one.transport(&first).len(), first_octets);
                assert_eq!(one.identification, two.identification);
                assert_eq!((one.total_octets, two.total_octets), (first.len(), rest.len()));
                let data = [one.transport(&first), two.transport(&rest)].concat();
                assert_eq!(data, IpHeader::parse(&whole).unwrap().transport(&whole));
            }
        }
        assert_eq!(cut(&syn("192.0.2.1", "192.0.2.2", &[], &[7; 4]), 1), None);
    }
}
