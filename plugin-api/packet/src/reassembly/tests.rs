use proptest::prelude::*;

use super::*;
use crate::{Ip, Packet, Payload, Transport, Verdict, protocol, verify};

const SECOND: u64 = 1_000_000_000;

fn echo_reply(six: bool, octets: usize) -> Vec<u8> {
    let (source, destination, kind) =
        if six { ("2001:db8::9", "2001:db8::1", 129) } else { ("198.51.100.9", "192.0.2.1", 0) };
    let ip = Ip::plain(source.parse().unwrap(), destination.parse().unwrap());
    let packet = Packet {
        ip: Ip { dont_fragment: false, identification: 77, ..ip },
        transport: Transport::Icmp { kind, code: 0, rest: [0, 1, 0, 2] },
        payload: Payload::Repeat { first: &[], pattern: b"abcdefg", octets },
        checksum: None,
    };
    packet.to_vec().unwrap()
}

/// A fragment with the data of `range`.
fn part(whole: &[u8], range: std::ops::Range<usize>) -> Vec<u8> {
    let six = whole[0] >> 4 == 6;
    let headers = if six { 40 } else { 20 };
    let data = &whole[headers..];
    let more = range.end < data.len();
    let mut out = whole[..headers].to_vec();
    if six {
        out[6] = protocol::FRAGMENT;
        out.extend([protocol::ICMPV6, 0]);
        out.extend((range.start as u16 | u16::from(more)).to_be_bytes());
        out.extend(0xdead_beef_u32.to_be_bytes());
    } else {
        let bits = (range.start / 8) as u16 | if more { 0x2000 } else { 0 };
        out[6..8].copy_from_slice(&bits.to_be_bytes());
    }
    out.extend_from_slice(&data[range]);
    let octets = out.len() as u16;
    if six {
        out[4..6].copy_from_slice(&(octets - 40).to_be_bytes());
    } else {
        out[2..4].copy_from_slice(&octets.to_be_bytes());
    }
    out
}

fn receive(reassembly: &mut Reassembly, packet: &[u8], now: u64) -> Option<Vec<u8>> {
    let header = IpHeader::parse(packet).unwrap();
    reassembly.receive(packet, &header, now)
}

#[test]
fn fragments_in_any_order_and_twice_make_one_packet_that_shows_its_identification() {
    for six in [false, true] {
        let whole = echo_reply(six, 1000);
        let parts = [part(&whole, 0..400), part(&whole, 400..800), part(&whole, 800..1008)];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut reassembly = Reassembly::default();
            assert_eq!(receive(&mut reassembly, &parts[order[0]], 0), None);
            // On a way of another length.
            let mut again = parts[order[0]].clone();
            again[if six { 7 } else { 8 }] -= 1;
            assert_eq!(receive(&mut reassembly, &again, 0), None);
            assert_eq!(receive(&mut reassembly, &parts[order[1]], 0), None);
            let made = receive(&mut reassembly, &parts[order[2]], 1).unwrap();
            let header = IpHeader::parse(&made).unwrap();
            assert!(!header.is_part() && header.total_octets == made.len());
            assert_eq!(header.identification, Some(if six { 0xdead_beef } else { 77 }));
            assert_eq!(header.transport(&made), &whole[whole.len() - 1008..]);
            assert_eq!(verify(&made, &header), Verdict::Good);
            assert_eq!((reassembly.octets, reassembly.waiting.len()), (0, 0));
        }
    }
}

#[test]
fn as_many_fragments_as_the_smallest_link_makes_of_the_largest_packet_are_one() {
    let whole = echo_reply(false, 65_507);
    let data = whole.len() - 20;
    let mut reassembly = Reassembly::default();
    let mut made = None;
    for begin in (0..data).step_by(48) {
        assert_eq!(made, None, "{begin}");
        made = receive(&mut reassembly, &part(&whole, begin..data.min(begin + 48)), 0);
    }
    assert_eq!(made.map(|made| made.len()), Some(65_535));
}

#[test]
fn a_packet_with_fragments_that_overlap_is_given_up() {
    for six in [false, true] {
        let whole = echo_reply(six, 1000);
        let mut reassembly = Reassembly::default();
        assert_eq!(receive(&mut reassembly, &part(&whole, 0..400), 0), None);
        assert_eq!(receive(&mut reassembly, &part(&whole, 392..800), 0), None);
        assert_eq!(receive(&mut reassembly, &part(&whole, 400..1008), 0), None);
        assert_eq!(reassembly.octets, reassembly.waiting.iter().map(|it| it.octets).sum());
        // Nor is there anything behind a last fragment.
        let mut reassembly = Reassembly::default();
        let mut early = part(&whole, 0..400);
        let bits = if six { 43 } else { 6 };
        early[bits] &= if six { 0xfe } else { 0xdf };
        assert_eq!(receive(&mut reassembly, &part(&whole, 400..1008), 0), None);
        assert_eq!(receive(&mut reassembly, &early, 0), None);
    }
}

#[test]
fn fragments_of_different_packets_are_kept_apart_and_do_not_wait_for_ever() {
    let whole = echo_reply(false, 1000);
    let (first, last) = (part(&whole, 0..400), part(&whole, 400..1008));
    let mut other = last.clone();
    other[5] ^= 1;
    let mut reassembly = Reassembly::default();
    assert_eq!(receive(&mut reassembly, &first, 0), None);
    assert_eq!(receive(&mut reassembly, &other, SECOND), None);
    assert_eq!(receive(&mut reassembly, &last, 16 * SECOND), None);
    assert!(receive(&mut reassembly, &first, 17 * SECOND).is_some());
}

#[test]
fn a_flood_of_fragments_has_a_bound() {
    let mut reassembly = Reassembly::default();
    let whole = echo_reply(true, 60_000);
    for number in 0..2000u32 {
        let mut fragment = part(&whole, 8..48_008);
        fragment[44..48].copy_from_slice(&number.to_be_bytes());
        assert_eq!(receive(&mut reassembly, &fragment, 0), None);
        assert!(reassembly.octets <= MAX_OCTETS && reassembly.waiting.len() <= MAX_WAITING);
    }
    for number in 0..2000 {
        assert_eq!(receive(&mut reassembly, &part(&whole, number * 16..number * 16 + 8), 0), None);
        assert!(reassembly.waiting.iter().all(|waiting| waiting.parts.len() <= MAX_FRAGMENTS));
    }
}

proptest! {
    #[test]
    fn arbitrary_fragments_never_panic(
        parts in prop::collection::vec((0usize..130, 0usize..130, any::<bool>()), 0..40), six in any::<bool>()
    ) {
        let whole = echo_reply(six, 1000);
        let mut reassembly = Reassembly::default();
        for (begin, octets, swap) in parts {
            let begin = begin * 8;
            let mut fragment = part(&whole, begin.min(1008)..(begin + octets).min(1008).max(begin.min(1008)));
            if swap && fragment.len() > 45 {
                fragment[if six { 43 } else { 6 }] ^= if six { 1 } else { 0x20 };
            }
            let header = IpHeader::parse(&fragment).unwrap();
            if let Some(made) = reassembly.receive(&fragment, &header, 0) {
                prop_assert!(IpHeader::parse(&made).is_ok_and(|header| !header.is_part()));
            }
            let waiting: usize = reassembly.waiting.iter().map(|it| it.octets).sum();
            prop_assert_eq!(reassembly.octets, waiting);
        }
    }
}
