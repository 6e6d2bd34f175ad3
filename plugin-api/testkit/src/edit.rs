//! Changes to packets under way, with the checksums kept as they should be.

use std::net::IpAddr;

use sonde_packet::{Family, IpHeader, Verdict, checksum, protocol, tcp::TcpView, verify};

/// Lets `change` work on a packet and puts those checksums right that were right before: a probe
/// that was sent with a wrong one arrives with a wrong one.
pub fn edit(packet: &mut Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) {
    let Ok(before) = IpHeader::parse(packet) else {
        change(packet);
        return;
    };
    let header_was_good = before.family() == Family::V6
        || checksum::finish(checksum::sum(&packet[..before.header_octets], 0)) == 0;
    let transport_was_good = verify(packet, &before) == Verdict::Good;
    change(packet);
    let Ok(after) = IpHeader::parse(packet) else { return };
    if transport_was_good {
        put_transport_checksum(packet, &after);
    }
    if header_was_good {
        put_header_checksum(packet);
    }
}

/// Computes the checksum of an IPv4 header anew.
pub fn put_header_checksum(packet: &mut [u8]) {
    let Ok(header) = IpHeader::parse(packet) else { return };
    if header.family() == Family::V4 {
        packet[10..12].fill(0);
        let value = checksum::finish(checksum::sum(&packet[..header.header_octets], 0));
        packet[10..12].copy_from_slice(&value.to_be_bytes());
    }
}

fn put_transport_checksum(packet: &mut [u8], header: &IpHeader) {
    let length = header.transport(packet).len();
    let transport = &mut packet[header.header_octets..header.header_octets + length];
    let (at, has_pseudo_header) = match header.protocol {
        protocol::ICMP => (2, false),
        protocol::ICMPV6 => (2, true),
        protocol::UDP => (6, true),
        protocol::TCP => (16, true),
        _ => return,
    };
    if transport.len() < at + 2 {
        return;
    }
    let is_udp = header.protocol == protocol::UDP;
    if is_udp && transport[6..8] == [0, 0] {
        return;
    }
    transport[at..at + 2].fill(0);
    let pseudo = if has_pseudo_header {
        let (source, destination) = (header.source, header.destination);
        checksum::pseudo_header(source, destination, header.protocol, length)
    } else {
        0
    };
    let value = match checksum::finish(checksum::sum(transport, pseudo)) {
        0 if is_udp => 0xffff,
        value => value,
    };
    transport[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Writes TTL or hop limit; the caller sees to the checksum.
pub fn set_ttl(packet: &mut [u8], ttl: u8) {
    let at = if is_v4(packet) { 8 } else { 7 };
    packet[at] = ttl;
}

/// Writes ToS or traffic class; the caller sees to the checksum.
pub fn set_tos(packet: &mut [u8], tos: u8) {
    if is_v4(packet) {
        packet[1] = tos;
    } else {
        packet[0] = 0x60 | tos >> 4;
        packet[1] = tos << 4 | packet[1] & 15;
    }
}

/// Writes the source address, which must be of the packet's family; the caller sees to the
/// checksums.
pub fn set_source(packet: &mut [u8], address: IpAddr) {
    match address {
        IpAddr::V4(address) => packet[12..16].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => packet[8..24].copy_from_slice(&address.octets()),
    }
}

/// Writes the destination address, as [`set_source`].
pub fn set_destination(packet: &mut [u8], address: IpAddr) {
    match address {
        IpAddr::V4(address) => packet[16..20].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => packet[24..40].copy_from_slice(&address.octets()),
    }
}

/// Puts other options into a TCP segment, whose length changes with them; anything else stays as
/// it is. At most 40 octets count. The caller sees to the checksums.
pub fn set_tcp_options(packet: &mut Vec<u8>, options: &[u8]) {
    let Ok(header) = IpHeader::parse(packet) else { return };
    let start = header.header_octets;
    if header.protocol != protocol::TCP || packet.len() < start + 20 {
        return;
    }
    let end = TcpView::new(&packet[start..]).header_octets().unwrap_or(20);
    let mut octets = options[..options.len().min(40)].to_vec();
    octets.resize(octets.len().next_multiple_of(4), 0);
    packet[start + 12] = ((20 + octets.len()) as u8 / 4) << 4 | packet[start + 12] & 15;
    packet.splice(start + 20..(start + end).min(packet.len()), octets);
    put_length(packet);
}

/// Writes the length of the packet as it is into its header.
pub fn put_length(packet: &mut [u8]) {
    if is_v4(packet) {
        let octets = (packet.len() as u16).to_be_bytes();
        packet[2..4].copy_from_slice(&octets);
    } else {
        let octets = (packet.len().saturating_sub(40) as u16).to_be_bytes();
        packet[4..6].copy_from_slice(&octets);
    }
}

fn is_v4(packet: &[u8]) -> bool {
    packet[0] >> 4 == 4
}

#[cfg(test)]
mod tests {
    use sonde_packet::{Ip, Packet, Payload, TcpSegment, Transport};

    use super::*;

    fn segment(source: &str, destination: &str) -> Vec<u8> {
        let packet = Packet {
            ip: Ip::plain(source.parse().unwrap(), destination.parse().unwrap()),
            transport: Transport::Tcp(TcpSegment {
                options: &[2, 4, 5, 180],
                ..Default::default()
            }),
            payload: Payload::Octets(b"data"),
            checksum: None,
        };
        packet.to_vec().unwrap()
    }

    #[test]
    fn every_change_leaves_good_checksums_good() {
        for (mut packet, other) in [
            (segment("192.0.2.1", "198.51.100.9"), "203.0.113.7"),
            (segment("2001:db8::1", "2001:db8::9"), "2001:db8::7"),
        ] {
            let octets = packet.len();
            edit(&mut packet, |packet| {
                set_ttl(packet, 9);
                set_tos(packet, 0xb9);
                set_source(packet, other.parse().unwrap());
                set_tcp_options(packet, &[]);
            });
            let header = IpHeader::parse(&packet).unwrap();
            assert_eq!(verify(&packet, &header), Verdict::Good);
            assert_eq!((header.ttl, header.tos, packet.len()), (9, 0xb9, octets - 4));
            assert_eq!(header.source, other.parse::<IpAddr>().unwrap());
            assert_eq!(header.total_octets, packet.len());
        }
    }

    #[test]
    fn a_wrong_transport_checksum_stays_wrong() {
        let mut packet = segment("192.0.2.1", "198.51.100.9");
        *packet.last_mut().unwrap() ^= 1;
        edit(&mut packet, |packet| set_ttl(packet, 9));
        let header = IpHeader::parse(&packet).unwrap();
        assert_eq!(verify(&packet, &header), Verdict::Bad);
        assert_eq!(checksum::finish(checksum::sum(&packet[..20], 0)), 0);
    }
}
