//! What may be sent on a flow: what is of it, and nothing that could be taken for somebody else's.
//!
//! A packet of a flow has its addresses, protocol and local identifier; a fragment behind the first has no identifier,
//! and need not have one. Beside it a method may send
//! an ICMP error about what the peer sent to the flow, as a host or router does whose link has a
//! smaller MTU: such an error goes to the sender of the packet that it quotes, and to nobody else. What
//! networks may take amiss, options of IP and an error in a router's name, is for those alone whom the
//! operator permits it.
//!
//! Source: RFC 1122, section 3.2.2 (no errors about errors); RFC 1812, section 4.3.2.3, and RFC 4443,
//! section 2.4 (how much an error may hold).

use std::net::IpAddr;

use crate::{Family, FlowKey, IpHeader, Protocol, Quote, classify, mapped, protocol};

/// Octets of an ICMP error; the IPv6 figure is the smallest MTU.
const MAX_ERROR_V4: usize = 576;
const MAX_ERROR_V6: usize = 1280;

/// What an operator permits beside the packets that every method may send.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Permits {
    /// Options in the IP header: of IPv4, or hop by hop and for the destination in IPv6.
    pub ip_options: bool,
    /// ICMP errors that come from another address than the flow's.
    pub spoof: bool,
}

impl Permits {
    /// All of it.
    pub const ALL: Self = Self { ip_options: true, spoof: true };
}

/// Why a packet may not be sent on a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotOwn {
    /// It is no IP packet, or not all of one.
    #[error("it is not a whole IP packet")]
    Malformed,
    /// Not the addresses, protocol and local identifier of the flow; or an ICMP error that does not
    /// quote what the peer sent to it.
    #[error("it is not of the flow that it was sent on")]
    OtherFlow,
    /// It would be of the flow if its source address were.
    #[error("it comes from {0}, and spoof is not permitted")]
    Spoofed(IpAddr),
    /// See [`Permits::ip_options`].
    #[error("it has IP options, and ip_options is not permitted")]
    Options,
}

/// Whether a packet may be sent on the flow `key` by whom `permits` is said of.
///
/// # Errors
///
/// See [`NotOwn`].
pub fn check_own(packet: &[u8], key: &FlowKey, permits: Permits) -> Result<(), NotOwn> {
    let header = IpHeader::parse(packet).map_err(|_| NotOwn::Malformed)?;
    if header.total_octets != packet.len() {
        return Err(NotOwn::Malformed);
    }
    let is_own = if header.has_transport() {
        match what(packet, &header) {
            Icmp::Steering => false,
            Icmp::Error => is_error_of(packet, &header, key),
            Icmp::Other => FlowKey::of_probe(packet).as_ref() == Some(key),
        }
    } else {
        is_later_part(&header, key)
    };
    if !is_own {
        return Err(NotOwn::OtherFlow);
    }
    if !permits.spoof && mapped(header.source) != key.local_address {
        return Err(NotOwn::Spoofed(header.source));
    }
    if !permits.ip_options && has_options(packet, &header) {
        return Err(NotOwn::Options);
    }
    Ok(())
}

/// A fragment behind the first shows no identifier; that of the first decides whose packet it becomes part of.
fn is_later_part(header: &IpHeader, key: &FlowKey) -> bool {
    mapped(header.source) == key.local_address
        && mapped(header.destination) == key.remote_address
        && Protocol::from_number(header.protocol) == Some(key.protocol)
}

fn has_options(packet: &[u8], header: &IpHeader) -> bool {
    let is_option = |kind| matches!(kind, protocol::HOP_BY_HOP | protocol::DESTINATION_OPTIONS);
    match header.family() {
        Family::V4 => header.header_octets > 20,
        Family::V6 => header.extensions(packet).any(is_option),
    }
}

/// Kinds of ICMP messages.
enum Icmp {
    /// Tells a neighbour where to send its packets: never part of a measurement.
    Steering,
    /// Is about a packet that it quotes.
    Error,
    /// Neither, or no ICMP at all.
    Other,
}

fn what(packet: &[u8], header: &IpHeader) -> Icmp {
    let kind = header.transport(packet).first().copied();
    match (header.family(), header.protocol, kind) {
        (Family::V4, protocol::ICMP, Some(5 | 9 | 10)) => Icmp::Steering,
        (Family::V6, protocol::ICMPV6, Some(133..=137)) => Icmp::Steering,
        (Family::V4, protocol::ICMP, Some(3 | 4 | 11 | 12)) => Icmp::Error,
        (Family::V6, protocol::ICMPV6, Some(0..=127)) => Icmp::Error,
        _ => Icmp::Other,
    }
}

/// Whether an ICMP error goes to the flow's peer and quotes what that sent to the flow, and is as
/// short as errors are; from whom it comes is not looked at.
fn is_error_of(packet: &[u8], header: &IpHeader, key: &FlowKey) -> bool {
    let is_v4 = header.family() == Family::V4;
    let most = if is_v4 { MAX_ERROR_V4 } else { MAX_ERROR_V6 };
    if packet.len() > most
        || header.fragment.is_some()
        || mapped(header.destination) != key.remote_address
    {
        return false;
    }
    let quote = Quote::parse(packet, header.header_octets, packet.len(), header.family());
    let quoted = packet.get(quote.range).and_then(classify);
    quoted.is_some_and(|quoted| !quoted.class.is_error() && quoted.flow.as_ref() == Some(key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ErrorKind, ErrorMessage, Ip, Packet, Payload, Transport};

    fn build(source: &str, destination: &str, transport: Transport<'_>) -> Vec<u8> {
        let packet = Packet {
            ip: Ip::plain(source.parse().unwrap(), destination.parse().unwrap()),
            transport,
            payload: Payload::Zeros(1400),
            checksum: None,
        };
        packet.to_vec().unwrap()
    }

    fn echo(source: &str, destination: &str, identifier: u16, reply: bool) -> Vec<u8> {
        let kind = match (source.contains(':'), reply) {
            (false, false) => 8,
            (false, true) => 0,
            (true, false) => 128,
            (true, true) => 129,
        };
        let [high, low] = identifier.to_be_bytes();
        build(source, destination, Transport::Icmp { kind, code: 0, rest: [high, low, 0, 1] })
    }

    fn too_big(source: &str, destination: &str, quoted: &[u8], quoted_octets: usize) -> Vec<u8> {
        let message = ErrorMessage {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            ttl: 64,
            kind: ErrorKind::PacketTooBig(1280),
            quoted,
            quoted_octets,
            extensions: &[],
        };
        message.to_vec().unwrap()
    }

    const ENDS: [(&str, &str, &str); 2] = [
        ("192.0.2.1", "198.51.100.9", "203.0.113.5"),
        ("2001:db8::1", "2001:db8::9", "2001:db8::5"),
    ];

    #[test]
    fn an_error_about_what_the_peer_sent_to_the_flow_may_go_to_the_peer_alone() {
        for (own, peer, other) in ENDS {
            let key = FlowKey::of_probe(&echo(own, peer, 7, false)).unwrap();
            let is_own = |packet: &[u8]| check_own(packet, &key, Permits::default()) == Ok(());
            let headers = if own.contains(':') { 40 } else { 20 };
            let reply = echo(peer, own, 7, true);
            assert!(is_own(&too_big(own, peer, &reply, headers + 8)));
            assert!(!is_own(&too_big(own, peer, &reply, headers + 3)), "the identifier is missing");
            assert!(!is_own(&too_big(own, other, &reply, headers + 8)));
            assert!(!is_own(&too_big(other, peer, &reply, headers + 8)));
            assert!(!is_own(&too_big(own, peer, &reply, 1400)), "it is too long");
            // Of another flow, of another sender, to somebody else, a request, an error.
            for quoted in [
                echo(peer, own, 8, true),
                echo(other, own, 7, true),
                echo(peer, other, 7, true),
                echo(peer, own, 7, false),
                echo(own, peer, 7, false),
                too_big(peer, own, &echo(own, peer, 7, false), headers + 8),
            ] {
                assert!(!is_own(&too_big(own, peer, &quoted, headers + 8)), "{quoted:02x?}");
            }
        }
    }

    #[test]
    fn an_error_about_a_segment_is_of_the_flow_of_its_port() {
        let sent = |source, destination, from, to| {
            build(source, destination, Transport::Udp { source_port: from, destination_port: to })
        };
        for (own, peer, _) in ENDS {
            let key = FlowKey::of_probe(&sent(own, peer, 40_000, 53)).unwrap();
            let headers = if own.contains(':') { 40 } else { 20 };
            for (port, expected) in [(40_000, Ok(())), (40_001, Err(NotOwn::OtherFlow))] {
                let error = too_big(own, peer, &sent(peer, own, 53, port), headers + 8);
                assert_eq!(check_own(&error, &key, Permits::default()), expected);
            }
        }
    }

    #[test]
    fn an_error_from_elsewhere_is_for_whom_it_is_permitted_and_goes_to_the_peer_alone() {
        for (own, peer, other) in ENDS {
            let key = FlowKey::of_probe(&echo(own, peer, 7, false)).unwrap();
            let check = |packet: &[u8], spoof| {
                check_own(packet, &key, Permits { spoof, ..Permits::default() })
            };
            let headers = if own.contains(':') { 40 } else { 20 };
            let reply = echo(peer, own, 7, true);
            let error = too_big(other, peer, &reply, headers + 8);
            assert_eq!(check(&error, true), Ok(()));
            assert_eq!(check(&error, false), Err(NotOwn::Spoofed(other.parse().unwrap())));
            for foreign in [
                // To somebody else, in the peer's own name as well.
                too_big(other, other, &reply, headers + 8),
                too_big(peer, own, &reply, headers + 8),
                // About what the peer did not send to the flow.
                too_big(other, peer, &echo(peer, own, 8, true), headers + 8),
                too_big(other, peer, &echo(peer, other, 7, true), headers + 8),
                // No error.
                echo(other, peer, 7, false),
                echo(other, peer, 7, true),
            ] {
                assert_eq!(check(&foreign, true), Err(NotOwn::OtherFlow), "{foreign:02x?}");
            }
        }
    }

    #[test]
    fn options_of_ip_are_for_whom_they_are_permitted() {
        let mut four = echo("192.0.2.1", "198.51.100.9", 7, false);
        four.splice(20..20, [7, 7, 4, 0, 0, 0, 0, 0]);
        four[0] = 0x47;
        let mut six = echo("2001:db8::1", "2001:db8::9", 7, false);
        six.splice(40..40, [58, 0, 1, 4, 0, 0, 0, 0]);
        let total = six.len() as u16 - 40;
        six[4..6].copy_from_slice(&total.to_be_bytes());
        let length = four.len() as u16;
        four[2..4].copy_from_slice(&length.to_be_bytes());
        // Behind a fragment header for the whole packet they are options too.
        let mut behind = six.clone();
        behind.splice(40..40, [60, 0, 0, 0, 0, 0, 0, 1]);
        behind[4..6].copy_from_slice(&(total + 8).to_be_bytes());
        behind[6] = 44;
        for first in [0, 60] {
            six[6] = first;
            for packet in [&four, &six, &behind] {
                let key = FlowKey::of_probe(packet).unwrap();
                let permits = Permits { ip_options: true, ..Permits::default() };
                assert_eq!(check_own(packet, &key, permits), Ok(()));
                assert_eq!(check_own(packet, &key, Permits::default()), Err(NotOwn::Options));
            }
        }
    }

    #[test]
    fn a_later_fragment_is_of_the_flow_by_addresses_and_protocol() {
        let part = |source: &str, destination: &str, protocol: u8| {
            let mut packet = build(source, destination, Transport::Other { protocol });
            if source.contains(':') {
                packet.splice(40..40, [protocol, 0, 0, 16, 0, 0, 0, 1]);
                packet[6] = 44;
                let octets = packet.len() as u16 - 40;
                packet[4..6].copy_from_slice(&octets.to_be_bytes());
            } else {
                packet[6..8].copy_from_slice(&[0, 2]);
            }
            packet
        };
        for (own, peer, other) in ENDS {
            let transport = Transport::Udp { source_port: 40_000, destination_port: 53 };
            let key = FlowKey::of_probe(&build(own, peer, transport)).unwrap();
            assert_eq!(check_own(&part(own, peer, 17), &key, Permits::default()), Ok(()));
            // In another name it is nobody's, whatever is permitted.
            for foreign in [
                part(own, peer, 6),
                part(own, other, 17),
                part(other, peer, 17),
                part(peer, own, 17),
            ] {
                assert_eq!(check_own(&foreign, &key, Permits::ALL), Err(NotOwn::OtherFlow));
            }
        }
    }

    #[test]
    fn what_steers_neighbours_is_never_of_a_flow() {
        for (own, peer, kinds) in [
            ("192.0.2.1", "198.51.100.9", &[5, 9][..]),
            ("2001:db8::1", "2001:db8::9", &[134, 137]),
        ] {
            for kind in kinds {
                // The flow's identifier stands where its queries have it.
                let transport = Transport::Icmp { kind: *kind, code: 0, rest: [0, 7, 0, 0] };
                let key = FlowKey::of_probe(&echo(own, peer, 7, false)).unwrap();
                let packet = build(own, peer, transport);
                assert_eq!(check_own(&packet, &key, Permits::ALL), Err(NotOwn::OtherFlow));
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(mut octets in prop::collection::vec(any::<u8>(), 28..200), six in any::<bool>()) {
            let key = FlowKey::of_probe(&echo("192.0.2.1", "198.51.100.9", 7, false)).unwrap();
            octets[0] = if six { 0x60 } else { 0x45 };
            octets[if six { 6 } else { 9 }] = if six { 58 } else { 1 };
            let total = octets.len() as u16;
            if six { octets[4..6].copy_from_slice(&total.saturating_sub(40).to_be_bytes()) }
            else { octets[2..4].copy_from_slice(&total.to_be_bytes()) }
            let _ = check_own(&octets, &key, Permits::ALL);
        }
    }
}
