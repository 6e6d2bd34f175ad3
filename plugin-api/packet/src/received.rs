//! First look at a packet that came in: what it is, and whose it could be.

use std::{net::IpAddr, ops::Range};

use crate::{Family, FlowKey, IpHeader, Protocol, Quote, checksum, protocol, word};

/// What kind of answer a packet is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Class {
    /// None of the others.
    Other = 0,
    /// ICMP or ICMPv6 echo reply.
    EchoReply = 1,
    /// TTL or hop limit ran out, or a fragment was missing.
    TimeExceeded = 2,
    /// Destination unreachable; in IPv4 also "fragmentation needed", code 4.
    Unreachable = 3,
    /// A TCP segment.
    Tcp = 4,
    /// A UDP datagram.
    Udp = 5,
    /// ICMP timestamp reply.
    TimestampReply = 6,
    /// ICMPv6 packet too big.
    PacketTooBig = 7,
    /// Something in the header was not understood.
    ParameterProblem = 8,
    /// ICMP redirect or source quench: about a probe, but neither answer nor refusal.
    Redirect = 9,
}

impl Class {
    /// Of its number; an unknown one is [`Class::Other`].
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        match number {
            1 => Self::EchoReply,
            2 => Self::TimeExceeded,
            3 => Self::Unreachable,
            4 => Self::Tcp,
            5 => Self::Udp,
            6 => Self::TimestampReply,
            7 => Self::PacketTooBig,
            8 => Self::ParameterProblem,
            9 => Self::Redirect,
            _ => Self::Other,
        }
    }

    /// An ICMP error, which quotes the probe.
    #[must_use]
    pub fn is_error(self) -> bool {
        matches!(
            self,
            Self::TimeExceeded
                | Self::Unreachable
                | Self::PacketTooBig
                | Self::ParameterProblem
                | Self::Redirect
        )
    }
}

/// Whether the checksums of a packet are right.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// All of them.
    Good,
    /// At least one is not, or the packet ends before its length field says.
    Bad,
    /// It is the first fragment of a packet, or of a protocol that has none that we know.
    Unverified,
}

/// A packet that could answer a probe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Received {
    /// What it is.
    pub class: Class,
    /// Who sent it.
    pub from: IpAddr,
    /// To which of our addresses.
    pub to: IpAddr,
    /// TTL or hop limit that it came with.
    pub ttl: u8,
    /// ToS or traffic class that it came with.
    pub tos: u8,
    /// ICMP type; 0 where it is none.
    pub icmp_type: u8,
    /// ICMP code; 0 where it is none.
    pub icmp_code: u8,
    /// Where its transport header begins.
    pub header_octets: usize,
    /// The quoted packet in an ICMP error, without padding.
    pub quote: Option<Range<usize>>,
    /// Whose answer it is; of an error by its quote. `None` where the quote is too short to tell.
    pub flow: Option<FlowKey>,
}

/// Looks at a packet from its IP header on. `None` where it cannot answer a probe: a request, a
/// message of some other kind, a fragment behind the first, from an IPv4-mapped address, or no packet at all.
#[must_use]
pub fn classify(packet: &[u8]) -> Option<Received> {
    let header = IpHeader::parse(packet).ok()?;
    if !header.has_transport() || is_mapped(header.source) {
        return None;
    }
    let transport = header.transport(packet);
    let mut received = Received {
        class: Class::Other,
        from: header.source,
        to: header.destination,
        ttl: header.ttl,
        tos: header.tos,
        icmp_type: 0,
        icmp_code: 0,
        header_octets: header.header_octets,
        quote: None,
        flow: None,
    };
    let (class, protocol, local) = match (header.family(), header.protocol) {
        (_, protocol::TCP) => (Class::Tcp, Protocol::Tcp, word(transport, 2)?),
        (_, protocol::UDP) => (Class::Udp, Protocol::Udp, word(transport, 2)?),
        (Family::V4, protocol::ICMP) | (Family::V6, protocol::ICMPV6) => {
            let [kind, code] = *transport.first_chunk::<2>()?;
            (received.icmp_type, received.icmp_code) = (kind, code);
            let class = icmp_class(header.family(), kind)?;
            if class.is_error() {
                let end = header.header_octets + transport.len();
                let quote = Quote::parse(packet, header.header_octets, end, header.family());
                received.class = class;
                received.flow = FlowKey::of_probe(&packet[quote.range.clone()]);
                received.quote = Some(quote.range);
                return Some(received);
            }
            (class, Protocol::Icmp, word(transport, 4)?)
        }
        _ => return None,
    };
    received.class = class;
    received.flow = Some(FlowKey::new(protocol, header.destination, header.source, local));
    Some(received)
}

/// An address that IPv6 packets do not come from: it stands for one of IPv4 (RFC 4291, section 2.5.5.2). Linux drops
/// them too.
fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

fn icmp_class(family: Family, kind: u8) -> Option<Class> {
    Some(match (family, kind) {
        (Family::V4, 0) | (Family::V6, 129) => Class::EchoReply,
        (Family::V4, 3) | (Family::V6, 1) => Class::Unreachable,
        (Family::V4, 4 | 5) => Class::Redirect,
        (Family::V4, 11) | (Family::V6, 3) => Class::TimeExceeded,
        (Family::V4, 12) | (Family::V6, 4) => Class::ParameterProblem,
        (Family::V4, 14) => Class::TimestampReply,
        (Family::V6, 2) => Class::PacketTooBig,
        _ => return None,
    })
}

/// Verifies the checksums of the IP header and of what follows it.
#[must_use]
pub fn verify(packet: &[u8], header: &IpHeader) -> Verdict {
    if verify_header(packet, header) == Verdict::Bad || header.total_octets > packet.len() {
        return Verdict::Bad;
    }
    if header.is_part() { Verdict::Unverified } else { verify_transport(packet, header) }
}

/// Verifies the checksum of what follows the IP header of a whole packet.
pub(crate) fn verify_transport(packet: &[u8], header: &IpHeader) -> Verdict {
    let mut transport = header.transport(packet);
    if header.protocol == protocol::UDP {
        // What lies behind the datagram is no part of it (RFC 9868).
        let claimed = word(transport, 4).map_or(0, usize::from);
        if claimed != 0 {
            let Some(datagram) = transport.get(..claimed) else { return Verdict::Bad };
            transport = datagram;
        }
    }
    let pseudo = match (header.protocol, header.family()) {
        (protocol::ICMP, Family::V4) => 0,
        (protocol::UDP, Family::V4) if word(transport, 6) == Some(0) => return Verdict::Good,
        (protocol::TCP | protocol::UDP | protocol::ICMPV6, _) => checksum::pseudo_header(
            header.source,
            header.destination,
            header.protocol,
            transport.len(),
        ),
        _ => return Verdict::Unverified,
    };
    let least = match header.protocol {
        protocol::TCP => 20,
        _ => 8,
    };
    if transport.len() < least {
        return Verdict::Bad;
    }
    match checksum::finish(checksum::sum(transport, pseudo)) {
        0 => Verdict::Good,
        _ => Verdict::Bad,
    }
}

/// Verifies the checksum of the IP header alone, which IPv6 does not have.
#[must_use]
pub fn verify_header(packet: &[u8], header: &IpHeader) -> Verdict {
    let octets = packet.get(..header.header_octets).unwrap_or_default();
    match header.family() {
        Family::V4 if checksum::finish(checksum::sum(octets, 0)) != 0 => Verdict::Bad,
        _ => Verdict::Good,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ErrorKind, ErrorMessage, Ip, Packet, Payload, Transport};

    fn probe(six: bool) -> Vec<u8> {
        let (source, destination) =
            if six { ("2001:db8::1", "2001:db8::9") } else { ("192.0.2.1", "198.51.100.9") };
        let packet = Packet {
            ip: Ip::plain(source.parse().unwrap(), destination.parse().unwrap()),
            transport: Transport::Udp { source_port: 40_000, destination_port: 33_435 },
            payload: Payload::Zeros(12),
            checksum: None,
        };
        packet.to_vec().unwrap()
    }

    #[test]
    fn an_error_belongs_to_the_flow_of_the_packet_it_quotes() {
        for (six, router) in [(false, "203.0.113.1"), (true, "2001:db8::77")] {
            let quoted = probe(six);
            let key = FlowKey::of_probe(&quoted).unwrap();
            let message = ErrorMessage {
                source: router.parse().unwrap(),
                destination: crate::unmapped(key.local_address),
                ttl: 61,
                kind: ErrorKind::PortUnreachable,
                quoted: &quoted,
                quoted_octets: 48,
                extensions: &[],
            };
            let packet = message.to_vec().unwrap();
            let received = classify(&packet).unwrap();
            assert_eq!(received.class, Class::Unreachable);
            assert_eq!((received.flow, received.ttl), (Some(key), 61));
            assert_eq!(&packet[received.quote.unwrap()], &quoted[..quoted.len().min(48)]);
        }
    }

    /// Puts extension headers of all kinds that are walked into a packet of IPv6.
    fn extended(packet: &[u8]) -> Vec<u8> {
        let mut all = vec![protocol::DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0];
        all.extend([protocol::ROUTING, 0, 1, 4, 0, 0, 0, 0]);
        all.extend([protocol::AUTHENTICATION, 0, 4, 0, 0, 0, 0, 0]);
        all.extend([protocol::DESTINATION_OPTIONS, 4, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1]);
        all.extend([0xaa; 12]);
        for next in [protocol::DESTINATION_OPTIONS, protocol::DESTINATION_OPTIONS, packet[6]] {
            all.extend([next, 0, 1, 4, 0, 0, 0, 0]);
        }
        let mut packet = packet.to_vec();
        packet[6] = protocol::HOP_BY_HOP;
        packet.splice(40..40, all);
        let octets = packet.len() as u16 - 40;
        packet[4..6].copy_from_slice(&octets.to_be_bytes());
        packet
    }

    #[test]
    fn extension_headers_hide_neither_an_error_nor_what_it_quotes() {
        let sent = probe(true);
        let key = FlowKey::of_probe(&sent);
        for quoted in [sent.clone(), extended(&sent)] {
            let message = ErrorMessage {
                source: "2001:db8::77".parse().unwrap(),
                destination: "2001:db8::1".parse().unwrap(),
                ttl: 61,
                kind: ErrorKind::TimeExceeded,
                quoted: &quoted,
                quoted_octets: 1232,
                extensions: &[],
            };
            let plain = message.to_vec().unwrap();
            for packet in [plain.clone(), extended(&plain)] {
                let received = classify(&packet).unwrap();
                assert_eq!((received.class, received.flow), (Class::TimeExceeded, key));
                assert_eq!(packet[received.quote.unwrap()], quoted);
                let header = IpHeader::parse(&packet).unwrap();
                assert_eq!(verify(&packet, &header), Verdict::Good);
            }
        }
    }

    #[test]
    fn a_request_answers_nothing() {
        let echo = Packet {
            ip: Ip::plain("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()),
            transport: Transport::Echo { identifier: 1, sequence: 1 },
            payload: Payload::Zeros(8),
            checksum: None,
        };
        assert_eq!(classify(&echo.to_vec().unwrap()), None);
    }

    #[test]
    fn an_error_that_ends_within_its_own_header_quotes_nothing() {
        for six in [false, true] {
            let mut packet = probe(six);
            let (protocol_at, kind, header) = if six { (6, 3, 40) } else { (9, 11, 20) };
            packet[protocol_at] = if six { protocol::ICMPV6 } else { protocol::ICMP };
            packet[header..header + 2].copy_from_slice(&[kind, 0]);
            for end in header + 2..header + 12 {
                let received = classify(&packet[..end]).unwrap();
                assert_eq!(received.flow, None);
            }
        }
    }

    #[test]
    fn one_flipped_bit_is_a_bad_checksum() {
        for six in [false, true] {
            let mut packet = probe(six);
            let header = IpHeader::parse(&packet).unwrap();
            let last = packet.len() - 1;
            packet[last] ^= 4;
            assert_eq!(verify(&packet, &header), Verdict::Bad);
            assert_eq!(verify(&packet[..last], &header), Verdict::Bad);
        }
    }

    #[test]
    fn what_lies_behind_a_datagram_is_in_no_checksum() {
        let mut packet = probe(true);
        packet.extend([0xab, 0xcd, 0xef]);
        let octets = packet.len() as u16 - 40;
        packet[4..6].copy_from_slice(&octets.to_be_bytes());
        let header = IpHeader::parse(&packet).unwrap();
        assert_eq!(verify(&packet, &header), Verdict::Good);
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(mut octets in prop::collection::vec(any::<u8>(), 0..300), protocol in 0u8..6) {
            if octets.len() > 40 {
                octets[0] = if protocol < 3 { 0x45 } else { 0x60 };
                octets[if protocol < 3 { 9 } else { 6 }] = [1, 6, 17, 58, 6, 17][usize::from(protocol)];
            }
            let _ = classify(&octets);
            if let Ok(header) = IpHeader::parse(&octets) {
                let _ = verify(&octets, &header);
            }
        }
    }
}
