use proptest::prelude::*;

use super::*;
use crate::{
    ErrorKind, ErrorMessage, Ip, Packet, Payload, Transport,
    extension::{Extension, MplsEntry},
};

fn probe(octets: usize) -> Vec<u8> {
    let packet = Packet {
        ip: Ip::plain("192.0.2.1".parse().unwrap(), "198.51.100.9".parse().unwrap()),
        transport: Transport::Udp { source_port: 40_000, destination_port: 33_435 },
        payload: Payload::Repeat { first: &[], pattern: &[0xaa], octets },
        checksum: None,
    };
    packet.to_vec().unwrap()
}

fn error(quoted: &[u8], extensions: &[Extension], octets: usize) -> Vec<u8> {
    let message = ErrorMessage {
        source: "203.0.113.1".parse().unwrap(),
        destination: "192.0.2.1".parse().unwrap(),
        ttl: 64,
        kind: ErrorKind::TimeExceeded,
        quoted,
        quoted_octets: octets,
        extensions,
    };
    message.to_vec().unwrap()
}

fn quote(packet: &[u8]) -> Quote {
    Quote::parse(packet, 20, packet.len(), Family::V4)
}

fn label() -> Extension {
    Extension::Mpls(vec![MplsEntry { label: 16, traffic_class: 0, bottom: true, ttl: 1 }])
}

#[test]
fn eight_octets_behind_the_header_are_told_from_more_and_from_all() {
    for (octets, depth) in [
        (0, Depth::Empty),
        (20, Depth::Network),
        (27, Depth::Network),
        (28, Depth::Eight),
        (40, Depth::Partial),
        (60, Depth::Full),
    ] {
        let quote = quote(&error(&probe(32), &[], octets));
        assert_eq!((quote.depth, quote.range.len()), (depth, octets), "{octets} octets quoted");
    }
}

#[test]
fn a_length_without_the_header_is_known_by_the_packet_that_was_sent() {
    // A SYN with 20 octets of options.
    let mut sent = probe(40);
    sent[9] = protocol::TCP;
    sent[32] = 10 << 4;
    let whole = |claimed: usize, octets: usize, of: &[u8]| {
        let mut quoted = of.to_vec();
        quoted[2..4].copy_from_slice(&(claimed as u16).to_be_bytes());
        let packet = error(&quoted, &[label()], octets);
        let quote = quote(&packet).about(&sent, &packet);
        (quote.range.len(), quote.depth)
    };
    assert_eq!(sent.len(), 68);
    assert_eq!(whole(48, 68, &sent), (68, Depth::Full));
    assert_eq!(whole(48, 48, &sent), (68 - 20, Depth::Partial), "no more than is there");
    assert_eq!(whole(68, 68, &sent), (68, Depth::Full));
    // Somebody took all options out, and said so.
    let mut without = sent.clone();
    without[32] = 5 << 4;
    without.truncate(48);
    assert_eq!(whole(48, 48, &without), (48, Depth::Full));
}

#[test]
fn padding_before_the_extensions_is_not_part_of_the_quote() {
    let packet = error(&probe(12), &[label()], 40);
    let quote = quote(&packet);
    assert_eq!((quote.depth, quote.range), (Depth::Full, 28..68));
    let structure = &packet[quote.extensions.unwrap()];
    assert_eq!(extension::parse(structure), Some(vec![label()]));
}

#[test]
fn zeros_that_cannot_be_of_the_packet_are_padding() {
    let whole = |sent: &[u8]| {
        let quote = quote(&error(sent, &[label()], 28));
        (quote.range.len(), quote.depth)
    };
    let with = |transport, payload| {
        let ip = Ip::plain("192.0.2.1".parse().unwrap(), "198.51.100.9".parse().unwrap());
        Packet { ip, transport, payload, checksum: None }.to_vec().unwrap()
    };
    let tcp = Transport::Tcp(crate::TcpSegment {
        source_port: 40_000,
        destination_port: 80,
        sequence: 7,
        acknowledgement: 0,
        flags: crate::tcp::flags::SYN,
        window: 65_535,
        urgent: 0,
        options: &[],
    });
    assert_eq!(whole(&with(tcp, Payload::Zeros(0))), (28, Depth::Eight));
    assert_eq!(whole(&probe(10)), (28, Depth::Eight));
    // What was sent was zeros.
    let udp = Transport::Udp { source_port: 40_000, destination_port: 33_435 };
    assert_eq!(whole(&with(udp, Payload::Zeros(12))), (40, Depth::Full));
}

#[test]
fn the_old_form_with_extensions_at_octet_128_is_read() {
    let mut packet = error(&probe(12), &[label()], 40);
    packet[25] = 0;
    let quote = quote(&packet);
    assert_eq!((quote.depth, quote.range), (Depth::Full, 28..68));
    assert!(quote.extensions.is_some());
}

#[test]
fn a_long_quote_without_length_field_has_no_extensions() {
    let quote = quote(&error(&probe(300), &[], 328));
    assert_eq!((quote.depth, quote.range.len(), quote.extensions), (Depth::Full, 328, None));
}

#[test]
fn a_quoted_length_with_swapped_octets_is_understood() {
    let mut probe = probe(12);
    probe[2..4].copy_from_slice(&[40, 0]);
    probe.resize(60, 0);
    let quote = quote(&error(&probe, &[], 60));
    assert_eq!((quote.depth, quote.range.len()), (Depth::Full, 40));
}

#[test]
fn a_quoted_length_without_the_header_is_understood() {
    let mut probe = probe(7);
    probe[2..4].copy_from_slice(&[0, 15]);
    let quote = quote(&error(&probe, &[], 35));
    assert_eq!((quote.depth, quote.range.len()), (Depth::Full, 35));
}

proptest! {
    #[test]
    fn arbitrary_messages_never_panic(
        octets in prop::collection::vec(any::<u8>(), 0..400), six in any::<bool>(),
        icmp in 0usize..60, end in 0usize..500,
    ) {
        let family = if six { Family::V6 } else { Family::V4 };
        let quote = Quote::parse(&octets, icmp, end, family);
        prop_assert!(octets.get(quote.range.clone()).is_some());
        if let Some(extensions) = quote.extensions {
            prop_assert!(octets.get(extensions).is_some());
        }
    }
}
