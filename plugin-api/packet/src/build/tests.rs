use pnet_packet::{icmp, ipv4::Ipv4Packet, tcp::TcpPacket, udp};
use proptest::prelude::*;

use super::*;
use crate::{IpHeader, Verdict, tcp::flags, verify};

const V4: (&str, &str) = ("192.0.2.1", "198.51.100.9");
const V6: (&str, &str) = ("2001:db8::1", "2001:db8:9::9");

fn ip(addresses: (&str, &str)) -> Ip<'static> {
    Ip::plain(addresses.0.parse().unwrap(), addresses.1.parse().unwrap())
}

#[test]
fn an_echo_request_has_the_octets_of_rfc_792() {
    let packet = Packet {
        ip: Ip { identification: 0x1234, ..ip(V4) },
        transport: Transport::Echo { identifier: 0xbeef, sequence: 7 },
        payload: Payload::Octets(b"sonde"),
        checksum: None,
    };
    let octets = packet.to_vec().unwrap();
    assert_eq!(&octets[..12], &[0x45, 0, 0, 33, 0x12, 0x34, 0x40, 0, 64, 1, 0x3c, 0x6a]);
    let echo = icmp::IcmpPacket::new(&octets[20..]).unwrap();
    assert_eq!(echo.get_checksum(), icmp::checksum(&echo));
    assert_eq!(&octets[24..33], &[0xbe, 0xef, 0, 7, b's', b'o', b'n', b'd', b'e']);
}

#[test]
fn another_implementation_reads_the_same_tcp_header() {
    let segment = TcpSegment {
        source_port: 40_000,
        destination_port: 80,
        sequence: 0xdead_beef,
        acknowledgement: 1,
        flags: flags::SYN | flags::ECE,
        window: 65_535,
        urgent: 0,
        options: &[2, 4, 5, 0xb4, 4, 2],
    };
    let packet = Packet {
        ip: ip(V4),
        transport: Transport::Tcp(segment),
        payload: Payload::Zeros(3),
        checksum: None,
    };
    let octets = packet.to_vec().unwrap();
    let header = Ipv4Packet::new(&octets).unwrap();
    assert_eq!(header.get_checksum(), pnet_packet::ipv4::checksum(&header));
    let tcp = TcpPacket::new(&octets[20..]).unwrap();
    assert_eq!(tcp.get_data_offset(), 7);
    assert_eq!(tcp.get_sequence(), 0xdead_beef);
    let (source, destination) = (header.get_source(), header.get_destination());
    let checksum = pnet_packet::tcp::ipv4_checksum(&tcp, &source, &destination);
    assert_eq!(tcp.get_checksum(), checksum);
}

#[test]
fn another_implementation_agrees_on_the_udp_checksum_over_ipv6() {
    let packet = Packet {
        ip: Ip { flow_label: 0xabcde, tos: 0x2e, ..ip(V6) },
        transport: Transport::Udp { source_port: 40_000, destination_port: 33_435 },
        payload: Payload::Repeat { first: &[1, 2, 3], pattern: &[0xaa, 0xbb], octets: 12 },
        checksum: None,
    };
    let octets = packet.to_vec().unwrap();
    let datagram = udp::UdpPacket::new(&octets[40..]).unwrap();
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (packet.ip.source, packet.ip.destination)
    else {
        panic!("both are IPv6")
    };
    let checksum = udp::ipv6_checksum(&datagram, &source, &destination);
    assert_eq!(datagram.get_checksum(), checksum);
    let header = IpHeader::parse(&octets).unwrap();
    assert_eq!((header.flow_label, header.tos, header.total_octets), (0xabcde, 0x2e, 60));
    assert_eq!(&octets[48..], &[1, 2, 3, 0xaa, 0xbb, 0xaa, 0xbb, 0xaa, 0xbb, 0xaa, 0xbb, 0xaa]);
}

#[test]
fn what_cannot_be_built_is_refused_with_the_reason() {
    let echo = Packet {
        ip: ip(V6),
        transport: Transport::Timestamp { identifier: 1, sequence: 1, originate_ms: 0 },
        payload: Payload::Zeros(0),
        checksum: None,
    };
    assert_eq!(echo.octets(), Err(BuildError::NotInIpv6));
    let long = Packet { ip: ip(V4), payload: Payload::Zeros(65_528), ..echo };
    assert_eq!(long.octets(), Err(BuildError::TooLong { octets: 65_568 }));
    let steered = Packet { ip: ip(V4), checksum: Some(7), ..echo };
    assert_eq!(steered.octets(), Err(BuildError::NoRoomForChecksum));
    let mixed = Packet { ip: Ip::plain(V4.0.parse().unwrap(), V6.1.parse().unwrap()), ..echo };
    assert_eq!(mixed.octets(), Err(BuildError::Families));
}

fn any_transport() -> impl Strategy<Value = Transport<'static>> {
    prop_oneof![
        (any::<u16>(), any::<u16>())
            .prop_map(|(identifier, sequence)| Transport::Echo { identifier, sequence }),
        (any::<u16>(), any::<u16>()).prop_map(|(source_port, destination_port)| Transport::Udp {
            source_port,
            destination_port
        }),
        (any::<u16>(), any::<u32>(), any::<u8>()).prop_map(|(source_port, sequence, flags)| {
            Transport::Tcp(TcpSegment { source_port, sequence, flags, ..TcpSegment::default() })
        }),
    ]
}

proptest! {
    #[test]
    fn what_was_built_parses_back_and_verifies(
        six in any::<bool>(), transport in any_transport(), octets in 2usize..1400,
        ttl in any::<u8>(), tos in any::<u8>(), identification in any::<u16>(),
        wanted in prop::option::of(1u16..0xffff),
    ) {
        let plain = ip(if six { V6 } else { V4 });
        let packet = Packet {
            ip: Ip { ttl, tos, identification, ..plain },
            transport,
            payload: Payload::Repeat { first: &[], pattern: b"sonde", octets },
            checksum: wanted,
        };
        let bytes = packet.to_vec().unwrap();
        let header = IpHeader::parse(&bytes).unwrap();
        prop_assert_eq!(header.total_octets, bytes.len());
        prop_assert_eq!((header.source, header.destination), (plain.source, plain.destination));
        prop_assert_eq!((header.ttl, header.tos), (ttl, tos));
        prop_assert_eq!(verify(&bytes, &header), Verdict::Good);
        if let (Some(wanted), Some(at)) = (wanted, transport.checksum_at()) {
            let at = header.header_octets + at;
            prop_assert_eq!(&bytes[at..at + 2], &wanted.to_be_bytes());
        }
    }
}
