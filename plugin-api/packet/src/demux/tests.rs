mod crowds;
mod forgeries;

use super::*;
use crate::{ErrorKind, ErrorMessage, Ip, Packet, Payload, TcpSegment, Transport, tcp::flags};

const LOCAL: &str = "192.0.2.1";
const REMOTE: &str = "198.51.100.9";
const ROUTER: &str = "203.0.113.1";
const LEFT: Departure = Departure { at: 1_000, stamp: 2, uncertainty: 3 };

fn packet(from: &str, to: &str, identification: u16, transport: Transport<'_>) -> Vec<u8> {
    let packet = Packet {
        ip: Ip { identification, ..Ip::plain(from.parse().unwrap(), to.parse().unwrap()) },
        transport,
        payload: Payload::Octets(b"secretly and more"),
        checksum: None,
    };
    packet.to_vec().unwrap()
}

fn echo(sequence: u16) -> Vec<u8> {
    packet(LOCAL, REMOTE, 100 + sequence, Transport::Echo { identifier: 7, sequence })
}

fn echo_reply(sequence: u16) -> Vec<u8> {
    let [high, low] = sequence.to_be_bytes();
    packet(REMOTE, LOCAL, 1, Transport::Icmp { kind: 0, code: 0, rest: [0, 7, high, low] })
}

fn udp(identification: u16, destination_port: u16) -> Vec<u8> {
    packet(LOCAL, REMOTE, identification, Transport::Udp { source_port: 40_000, destination_port })
}

fn error(quoted: &[u8], octets: usize) -> Vec<u8> {
    error_from(ROUTER, LOCAL, quoted, octets)
}

fn error6(to: &str, quoted: &[u8], octets: usize) -> Vec<u8> {
    error_from("2001:db8:5::1", to, quoted, octets)
}

fn error_from(router: &str, to: &str, quoted: &[u8], octets: usize) -> Vec<u8> {
    let message = ErrorMessage {
        source: router.parse().unwrap(),
        destination: to.parse().unwrap(),
        ttl: 60,
        kind: ErrorKind::TimeExceeded,
        quoted,
        quoted_octets: octets,
        extensions: &[],
    };
    message.to_vec().unwrap()
}

fn opened(probe: &[u8], field: Key, hear_all: bool) -> (Demux, FlowId) {
    let mut demux = Demux::new(42);
    let flow = demux.open(FlowKey::of_probe(probe).unwrap(), field, 5, hear_all).unwrap();
    (demux, flow)
}

fn token(found: Match) -> Option<(u32, Quality)> {
    match found {
        Match::Probe(answered) => Some((answered.token, answered.quality)),
        _ => None,
    }
}

#[test]
fn fragments_are_gathered_from_who_is_probed_as_long_as_a_flow_is_open() {
    let mut whole = Packet {
        ip: Ip {
            dont_fragment: false,
            ..Ip::plain("198.51.100.9".parse().unwrap(), "192.0.2.1".parse().unwrap())
        },
        transport: Transport::Icmp { kind: 0, code: 0, rest: [0; 4] },
        payload: Payload::Zeros(72),
        checksum: None,
    }
    .to_vec()
    .unwrap();
    let mut last = whole[..20].to_vec();
    last.extend_from_slice(&whole[60..]);
    last[2..8].copy_from_slice(&[0, 60, 0, 0, 0, 5]);
    whole.truncate(60);
    whole[2..8].copy_from_slice(&[0, 60, 0, 0, 0x20, 0]);
    let mut demux = Demux::new(1);
    let gather = |demux: &mut Demux, packet: &[u8]| {
        demux.gather(packet, &crate::IpHeader::parse(packet).unwrap(), 0).is_some()
    };
    assert!(!gather(&mut demux, &whole) && !gather(&mut demux, &last));
    let key = FlowKey::new(
        crate::Protocol::Icmp,
        "192.0.2.1".parse().unwrap(),
        "198.51.100.9".parse().unwrap(),
        7,
    );
    let flow = demux.open(key, Key::IcmpSequence, 0, false).unwrap();
    assert!(!gather(&mut demux, &whole) && gather(&mut demux, &last));
    // A router may send an error in parts, but nothing else.
    for (protocol, is_kept) in [(crate::protocol::ICMP, true), (crate::protocol::UDP, false)] {
        let from_router = |part: &[u8]| {
            let mut part = part.to_vec();
            part[9] = protocol;
            part[12..16].copy_from_slice(&[192, 0, 2, 254]);
            part
        };
        assert!(!gather(&mut demux, &from_router(&whole)));
        assert_eq!(gather(&mut demux, &from_router(&last)), is_kept);
    }
    demux.close(flow);
    assert!(!gather(&mut demux, &whole) && !gather(&mut demux, &last));
}

#[test]
fn an_echo_reply_finds_its_probe_by_sequence_number_among_many() {
    let (mut demux, flow) = opened(&echo(0), Key::IcmpSequence, false);
    for sequence in 0..1000 {
        demux.sent(flow, u32::from(sequence), &echo(sequence), LEFT);
    }
    for sequence in (0..1000).rev() {
        let found = demux.receive(&echo_reply(sequence));
        assert_eq!(token(found), Some((u32::from(sequence), Quality::Exact)));
    }
}

#[test]
fn a_second_answer_is_a_duplicate_and_one_after_the_time_out_is_late() {
    let (mut demux, flow) = opened(&echo(0), Key::IcmpSequence, false);
    demux.sent(flow, 1, &echo(1), LEFT).unwrap();
    let late = demux.sent(flow, 2, &echo(2), LEFT).unwrap();
    let Match::Probe(first) = demux.receive(&echo_reply(1)) else { panic!("foreign") };
    assert_eq!((first.duplicate, first.late, first.departure), (false, false, LEFT));
    let Match::Probe(second) = demux.receive(&echo_reply(1)) else { panic!("foreign") };
    assert!(second.duplicate && !second.late);
    assert_eq!(demux.expire(late).unwrap().token, 2);
    assert_eq!(demux.expire(late), None);
    let Match::Probe(third) = demux.receive(&echo_reply(2)) else { panic!("foreign") };
    assert!(third.late && !third.duplicate);
}

#[test]
fn an_echo_reply_with_another_payload_is_foreign() {
    let (mut demux, flow) = opened(&echo(0), Key::IcmpSequence, true);
    demux.sent(flow, 1, &echo(1), LEFT);
    let mut forged = echo_reply(1);
    forged[30] ^= 1;
    assert!(token(demux.receive(&forged)).is_none());
    assert!(token(demux.receive(&echo_reply(1))).is_some());
}

#[test]
fn an_echo_reply_of_another_address_is_weak_and_only_where_it_brings_all_back() {
    let (mut demux, flow) = opened(&echo(0), Key::IcmpSequence, false);
    demux.sent(flow, 1, &echo(1), LEFT);
    demux.sent(flow, 2, &echo(2), LEFT);
    let from = |sequence: u16, octets: &'static [u8]| {
        let [high, low] = sequence.to_be_bytes();
        let packet = Packet {
            ip: Ip::plain(ROUTER.parse().unwrap(), LOCAL.parse().unwrap()),
            transport: Transport::Icmp { kind: 0, code: 0, rest: [0, 7, high, low] },
            payload: Payload::Octets(octets),
            checksum: None,
        };
        packet.to_vec().unwrap()
    };
    for forged in [from(2, b"secretlz and more"), from(3, b"secretly and more"), from(2, b"")] {
        assert_eq!(demux.receive(&forged), Match::Foreign);
    }
    let answer = demux.receive(&from(2, b"secretly and more"));
    assert_eq!(token(answer), Some((2, Quality::Weak)));
}

#[test]
fn an_error_is_credited_by_port_then_by_identification_even_one_too_many_or_swapped() {
    let (mut demux, flow) = opened(&udp(1, 1), Key::RemotePort, false);
    for number in 0..3 {
        demux.sent(flow, u32::from(number), &udp(0x1230 + 4 * number, 33_435 + number), LEFT);
    }
    assert_eq!(token(demux.receive(&error(&udp(0x1234, 33_436), 28))), Some((1, Quality::Exact)));
    let (mut demux, flow) = opened(&udp(1, 1), Key::IpId, false);
    for number in 0..3 {
        demux.sent(flow, u32::from(number), &udp(0x1230 + 4 * number, 80), LEFT);
    }
    for (identification, expected) in
        [(0x1234, (1, Quality::Weak)), (0x1239, (2, Quality::Weak)), (0x3012, (0, Quality::Weak))]
    {
        let mut quoted = udp(identification, 80);
        quoted[26] ^= 1;
        let found = demux.receive(&error(&quoted, 28));
        assert_eq!(token(found), Some(expected), "{identification:#x}");
    }
    assert_eq!(demux.receive(&error(&udp(0x4444, 80), 28)), Match::Foreign);
}

#[test]
fn an_error_that_shows_another_sequence_number_is_not_credited_for_its_identification() {
    let (mut demux, flow) = opened(&echo(0), Key::IcmpSequence, false);
    demux.sent(flow, 1, &echo(1), LEFT);
    let mut quoted = echo(1);
    quoted[27] ^= 4;
    assert_eq!(demux.receive(&error(&quoted, 28)), Match::Foreign);
    assert_eq!(token(demux.receive(&error(&echo(1), 28))), Some((1, Quality::Exact)));
}

#[test]
fn an_error_that_was_not_sent_to_who_sent_the_probe_is_foreign() {
    let (mut demux, flow) = opened(&echo(0), Key::IcmpSequence, false);
    demux.sent(flow, 1, &echo(1), LEFT);
    let mut elsewhere = error(&echo(1), 28);
    elsewhere[19] ^= 2;
    assert_eq!(demux.receive(&elsewhere), Match::Foreign);
}

#[test]
fn a_translated_destination_is_accepted_when_the_local_port_is_unique() {
    let sent = udp(9, 33_435);
    let (mut demux, flow) = opened(&sent, Key::RemotePort, false);
    demux.sent(flow, 1, &sent, LEFT);
    let seen = packet(
        LOCAL,
        "10.0.0.9",
        9,
        Transport::Udp { source_port: 40_000, destination_port: 33_435 },
    );
    assert_eq!(token(demux.receive(&error(&seen, 28))), Some((1, Quality::Weak)));
    let other = packet(
        LOCAL,
        "198.51.100.10",
        9,
        Transport::Udp { source_port: 40_000, destination_port: 1 },
    );
    demux.open(FlowKey::of_probe(&other).unwrap(), Key::RemotePort, 6, false).unwrap();
    assert_eq!(demux.receive(&error(&seen, 28)), Match::Foreign);
}

#[test]
fn a_quote_of_the_ip_header_alone_is_weak_and_only_when_nothing_else_fits() {
    let (mut demux, flow) = opened(&udp(9, 33_435), Key::RemotePort, false);
    demux.sent(flow, 1, &udp(9, 33_435), LEFT);
    assert_eq!(token(demux.receive(&error(&udp(9, 33_435), 20))), Some((1, Quality::Weak)));
    demux.sent(flow, 2, &udp(10, 33_436), LEFT);
    demux.sent(flow, 3, &udp(10, 33_437), LEFT);
    assert_eq!(demux.receive(&error(&udp(10, 33_437), 20)), Match::Foreign);
}

#[test]
fn a_quote_without_ports_is_credited_beside_a_campaign_but_not_among_thousands_to_the_same_address()
{
    let (mut demux, flow) = opened(&udp(9, 33_435), Key::RemotePort, false);
    let to = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let ports = Transport::Udp { source_port: 40_000, destination_port: 33_435 };
        packet(LOCAL, &format!("100.64.{high}.{low}"), 9, ports)
    };
    for number in 0..2 * MAX_SEARCHED as u16 {
        let key = FlowKey::of_probe(&to(number)).unwrap();
        let one = demux.open(key, Key::RemotePort, 6, false).unwrap();
        demux.sent(one, 1, &to(number), LEFT).unwrap();
    }
    demux.sent(flow, 2, &udp(9, 33_435), LEFT).unwrap();
    assert_eq!(token(demux.receive(&error(&udp(9, 33_435), 20))), Some((2, Quality::Weak)));
    let mut campaign = Vec::new();
    for number in 0..MAX_SEARCHED as u16 {
        let key = FlowKey { local: number, ..FlowKey::of_probe(&udp(number, 1)).unwrap() };
        let one = demux.open(key, Key::RemotePort, 6, false).unwrap();
        campaign.push((one, demux.sent(one, 1, &udp(0x1000 + number, 1), LEFT).unwrap()));
    }
    demux.sent(flow, 3, &udp(10, 33_435), LEFT).unwrap();
    assert_eq!(demux.receive(&error(&udp(10, 33_435), 20)), Match::Foreign, "too much to look at");
    for (one, probe) in campaign {
        demux.close(one);
        assert_eq!(demux.probe(probe), None);
    }
    let probe = demux.sent(flow, 4, &udp(11, 33_435), LEFT).unwrap();
    assert!(probe.generation > 0, "never the name of one that is gone");
    assert_eq!(token(demux.receive(&error(&udp(11, 33_435), 20))), Some((4, Quality::Weak)));
}

#[test]
fn flows_that_share_a_local_port_are_one_alone_again_when_the_others_are_closed() {
    let to = |last: u8| {
        let ports = Transport::Udp { source_port: 40_000, destination_port: 33_435 };
        packet(LOCAL, &format!("198.51.100.{last}"), 9 + u16::from(last), ports)
    };
    for keep in 1..=3 {
        let mut demux = Demux::new(42);
        let open: Vec<_> = (1..=3)
            .map(|last| {
                let key = FlowKey::of_probe(&to(last)).unwrap();
                let flow = demux.open(key, Key::RemotePort, 5, false).unwrap();
                demux.sent(flow, u32::from(last), &to(last), LEFT);
                flow
            })
            .collect();
        // The quote shows another destination, and no identification.
        let translated = |last: u8| {
            let ports = Transport::Udp { source_port: 40_000, destination_port: 33_435 };
            packet(LOCAL, "10.0.0.9", 9 + u16::from(last), ports)
        };
        let mut seen = translated(keep);
        seen[4..6].fill(0);
        seen[26..28].copy_from_slice(&to(keep)[26..28]);
        for (at, flow) in open.iter().enumerate().filter(|(at, _)| at + 1 != usize::from(keep)) {
            demux.close(*flow);
            assert_eq!(demux.flow(*flow).is_none(), at + 1 != usize::from(keep));
        }
        assert_eq!(token(demux.receive(&error(&seen, 28))), Some((u32::from(keep), Quality::Weak)));
    }
}

#[test]
fn errors_about_a_conversation_are_no_guesses() {
    let (mut demux, flow) = opened(&udp(9, 33_435), Key::RemotePort, false);
    let said = udp(9, 80);
    let key = FlowKey { local: 50_000, ..FlowKey::of_probe(&said).unwrap() };
    demux.open(key, Key::None, 6, true).unwrap();
    let quoted =
        packet(LOCAL, REMOTE, 9, Transport::Udp { source_port: 50_000, destination_port: 80 });
    for _ in 0..2 * MAX_BARE_MISSES {
        assert!(matches!(demux.receive(&error(&quoted, 28)), Match::Flow { owner: 6, .. }));
    }
    demux.sent(flow, 1, &udp(9, 33_435), LEFT);
    assert_eq!(token(demux.receive(&error(&udp(9, 33_435), 20))), Some((1, Quality::Weak)));
}

#[test]
fn a_tcp_answer_is_tied_to_its_probe_by_what_it_acknowledges() {
    let syn = |sequence| {
        let segment = TcpSegment {
            source_port: 40_000,
            destination_port: 80,
            sequence,
            flags: flags::SYN,
            ..TcpSegment::default()
        };
        Packet {
            ip: Ip::plain(LOCAL.parse().unwrap(), REMOTE.parse().unwrap()),
            transport: Transport::Tcp(segment),
            payload: Payload::Zeros(0),
            checksum: None,
        }
        .to_vec()
        .unwrap()
    };
    let (mut demux, flow) = opened(&syn(1), Key::TcpSequence, true);
    demux.sent(flow, 1, &syn(1_000), LEFT);
    demux.sent(flow, 2, &syn(u32::MAX), LEFT);
    let answer = |acknowledgement| {
        let segment = TcpSegment {
            source_port: 80,
            destination_port: 40_000,
            acknowledgement,
            flags: flags::SYN | flags::ACK,
            ..TcpSegment::default()
        };
        packet(REMOTE, LOCAL, 1, Transport::Tcp(segment))
    };
    assert_eq!(token(demux.receive(&answer(0))), Some((2, Quality::Exact)));
    assert_eq!(token(demux.receive(&answer(1_001))), Some((1, Quality::Exact)));
    assert_eq!(demux.receive(&answer(77)), Match::Flow { flow, owner: 5 });
}

#[test]
fn what_belongs_to_a_closed_flow_is_foreign_and_its_key_is_free_again() {
    let (mut demux, flow) = opened(&echo(0), Key::IcmpSequence, true);
    let key = FlowKey::of_probe(&echo(0)).unwrap();
    let probe = demux.sent(flow, 1, &echo(1), LEFT).unwrap();
    assert_eq!(demux.open(key, Key::IcmpSequence, 6, false), Err(Busy));
    demux.close(flow);
    assert_eq!(demux.receive(&echo_reply(1)), Match::Foreign);
    assert_eq!(demux.expire(probe), None);
    let again = demux.open(key, Key::IcmpSequence, 6, false).unwrap();
    demux.sent(again, 9, &echo(1), LEFT);
    assert_eq!(demux.expire(probe), None, "the slot is used again, the old name is stale");
    assert_eq!(token(demux.receive(&echo_reply(1))), Some((9, Quality::Exact)));
}

#[test]
fn a_probe_that_did_not_leave_is_forgotten_wherever_it_stands() {
    for gone in 0..3 {
        let (mut demux, flow) = opened(&echo(0), Key::IcmpSequence, false);
        let probes: Vec<_> =
            (0..3).map(|at| demux.sent(flow, u32::from(at), &echo(at), LEFT).unwrap()).collect();
        demux.forget(probes[gone]);
        for at in 0..3 {
            let found = token(demux.receive(&echo_reply(at))).map(|(token, _)| token);
            assert_eq!(found, (usize::from(at) != gone).then_some(u32::from(at)));
        }
    }
}

#[test]
fn probes_that_are_over_do_not_pile_up() {
    let (mut demux, flow) = opened(&echo(0), Key::IcmpSequence, false);
    for sequence in 0..5_000 {
        let probe = demux.sent(flow, u32::from(sequence), &echo(sequence), LEFT).unwrap();
        assert!(demux.expire(probe).is_some());
    }
    assert!(demux.slots.len() <= usize::from(MAX_LINGERING) + 2, "{}", demux.slots.len());
    assert!(matches!(demux.receive(&echo_reply(4_999)), Match::Probe(answered) if answered.late));
    assert_eq!(demux.receive(&echo_reply(7)), Match::Foreign);
}

#[test]
fn of_ipv6_a_translated_probe_is_known_by_its_checksum_and_by_no_other() {
    let (ours, target, other) = ("2001:db8::1", "2001:db8::99", "2001:db8:77::5");
    let icmp =
        |to: &str, sequence| packet(ours, to, 0, Transport::Echo { identifier: 7, sequence });
    let udp = |to: &str, destination_port| {
        packet(ours, to, 0, Transport::Udp { source_port: 40_000, destination_port })
    };
    let quoted = |probe: &[u8]| error6(ours, probe, 48);
    for (field, first, second, shown) in [
        (Key::IcmpSequence, icmp(target, 1), icmp(target, 2), icmp(other, 2)),
        (Key::RemotePort, udp(target, 1001), udp(target, 1002), udp(other, 1002)),
        (Key::UdpChecksum, udp(target, 1001), udp(target, 1002), udp(other, 1002)),
    ] {
        let (mut demux, flow) = opened(&first, field, false);
        demux.sent(flow, 1, &first, LEFT);
        demux.sent(flow, 2, &second, LEFT);
        let found = token(demux.receive(&quoted(&shown))).map(|(token, _)| token);
        assert_eq!(found, Some(2), "{field:?}");
        let at = if field == Key::IcmpSequence { 42 } else { 46 };
        let mut guessed = shown.clone();
        guessed[at] ^= 1;
        assert_eq!(token(demux.receive(&quoted(&guessed))), None, "{field:?}");
    }
}

#[test]
fn a_quote_with_a_translated_source_is_credited_to_the_one_probe_with_its_identification() {
    let (mut demux, flow) = opened(&udp(1, 1), Key::UdpChecksum, false);
    demux.sent(flow, 1, &udp(0x1231, 33_435), LEFT);
    demux.sent(flow, 2, &udp(0x1233, 33_435), LEFT);
    let translated = |identification| {
        let ports = Transport::Udp { source_port: 1024, destination_port: 33_435 };
        packet("203.0.113.77", REMOTE, identification, ports)
    };
    assert_eq!(token(demux.receive(&error(&translated(0x4444), 28))), None);
    assert_eq!(token(demux.receive(&error(&translated(0x1233), 28))), Some((2, Quality::Weak)));
    // Both ends are others: nothing says that it is of ours.
    let ports = Transport::Udp { source_port: 1024, destination_port: 33_435 };
    let foreign = packet("203.0.113.77", "203.0.113.78", 0x1231, ports);
    assert_eq!(token(demux.receive(&error(&foreign, 28))), None);
    demux.sent(flow, 3, &udp(0x1231, 33_435), LEFT);
    assert_eq!(token(demux.receive(&error(&translated(0x1231), 28))), None, "two could be meant");
}

fn datagram(from: &str, to: &str, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let packet = Packet {
        ip: Ip { identification: 9, ..Ip::plain(from.parse().unwrap(), to.parse().unwrap()) },
        transport: Transport::Udp { source_port: ports.0, destination_port: ports.1 },
        payload: Payload::Octets(payload),
        checksum: None,
    };
    packet.to_vec().unwrap()
}

#[test]
fn a_datagram_finds_its_probe_by_the_octets_that_the_method_named_and_by_nothing_else() {
    let key = Key::payload(1, 4, 2);
    let (number, beside) = key.number();
    assert_eq!(Key::from_number(number, beside), key);
    let probe =
        |number: u8| datagram(LOCAL, REMOTE, (40_000, 53), &[0x77, 0, number, 9, 9, 9, 9, 9]);
    let (mut demux, flow) = opened(&probe(1), key, false);
    for number in 1..=20 {
        demux.sent(flow, u32::from(number), &probe(number), LEFT);
    }
    let answer = |octets: &[u8]| datagram(REMOTE, LOCAL, (53, 40_000), octets);
    assert_eq!(token(demux.receive(&answer(b"abcd\0\x03"))), Some((3, Quality::Exact)));
    assert_eq!(token(demux.receive(&answer(b"abcd\0\x02ef"))), Some((2, Quality::Exact)));
    let again = demux.receive(&answer(b"abcd\0\x02ef"));
    assert!(matches!(again, Match::Probe(it) if it.duplicate));
    let others = [&b"abcd\0\x15"[..], b"abcd\x01\x03", b"abcd\0", b"", &[0x77, 0, 4, 9, 9, 9, 9]];
    for other in others {
        assert_eq!(token(demux.receive(&answer(other))), None, "{other:?}");
    }
    // An error has no room for the payload as a rule.
    assert_eq!(token(demux.receive(&error(&probe(7), 28))), Some((7, Quality::Exact)));
    assert_eq!(token(demux.receive(&error(&probe(8), 36))), Some((8, Quality::Exact)));
}

#[test]
fn a_quote_whose_identification_was_counted_up_or_changed_is_credited_by_its_checksum() {
    let sent = |number: u16, payload: &[u8]| {
        let packet = Packet {
            ip: Ip {
                identification: 0x1234 + number,
                ..Ip::plain(LOCAL.parse().unwrap(), REMOTE.parse().unwrap())
            },
            transport: Transport::Udp { source_port: 40_000, destination_port: 33_435 },
            payload: Payload::Octets(payload),
            checksum: None,
        };
        packet.to_vec().unwrap()
    };
    let probes = [sent(0, b"one nonce"), sent(1, b"another n"), sent(2, b"the third")];
    let (mut demux, flow) = opened(&probes[0], Key::IpId, false);
    for (number, probe) in probes.iter().enumerate() {
        demux.sent(flow, number as u32, probe, LEFT);
    }
    let mut quote = |number: usize, identification: u16| {
        let mut quoted = probes[number].clone();
        quoted[4..6].copy_from_slice(&identification.to_be_bytes());
        token(demux.receive(&error(&quoted, 28)))
    };
    assert_eq!(quote(0, 0x1235), Some((0, Quality::Exact)), "counted up, as the next one is");
    assert_eq!(quote(1, 0), Some((1, Quality::Weak)), "zeroed");
    assert_eq!(quote(2, 77), Some((2, Quality::Weak)), "chosen anew");
    assert_eq!(quote(1, 0x1235), Some((1, Quality::Exact)));
    let mut summed_anew = probes[1].clone();
    summed_anew[26] ^= 5;
    assert_eq!(token(demux.receive(&error(&summed_anew, 28))), Some((1, Quality::Weak)));
    summed_anew[5] = 0x77;
    assert_eq!(token(demux.receive(&error(&summed_anew, 28))), None);
}

#[test]
fn of_ipv6_too_a_lone_quote_whose_source_or_sequence_number_was_changed_is_credited() {
    let (ours, target, other) = ("2001:db8::1", "2001:db8::99", "2001:db8:77::5");
    let quoted = |probe: &[u8]| error6(ours, probe, probe.len());
    let segment = |from, source_port, sequence, acknowledgement| {
        let segment = TcpSegment {
            source_port,
            destination_port: 80,
            sequence,
            acknowledgement,
            flags: flags::ACK,
            ..TcpSegment::default()
        };
        packet(from, target, 0, Transport::Tcp(segment))
    };
    let sent = segment(ours, 40_000, 0x1234_5678, 0x9abc_def0);
    let (mut demux, flow) = opened(&sent, Key::None, true);
    demux.sent(flow, 1, &sent, LEFT);
    let source = segment(other, 41_000, 0x1234_5678, 7);
    assert_eq!(token(demux.receive(&quoted(&source))), Some((1, Quality::Weak)));
    let guessed = segment(other, 41_000, 0x1234_5679, 0x9abc_def0);
    assert_eq!(token(demux.receive(&quoted(&guessed))), None);

    let (mut demux, flow) = opened(&sent, Key::TcpAcknowledgement, false);
    demux.sent(flow, 1, &sent, LEFT);
    let randomised = segment(ours, 40_000, 77, 0x9abc_def0);
    assert_eq!(token(demux.receive(&quoted(&randomised))), Some((1, Quality::Exact)));
    let guessed = segment(ours, 40_000, 77, 0x9abc_def1);
    assert_eq!(token(demux.receive(&quoted(&guessed))), None);

    let udp = |from, source_port, destination_port| {
        packet(from, target, 0, Transport::Udp { source_port, destination_port })
    };
    for (from, source_port, destination_port) in [
        (other, 40_000, 33_435),
        (other, 41_000, 33_435),
        (ours, 41_000, 33_435),
        (ours, 40_000, 80),
    ] {
        let sent = udp(ours, 40_000, 33_435);
        let (mut demux, flow) = opened(&sent, Key::None, true);
        demux.sent(flow, 1, &sent, LEFT);
        let shown = quoted(&udp(from, source_port, destination_port));
        assert_eq!(token(demux.receive(&shown)), Some((1, Quality::Weak)), "{source_port}");
    }
}

#[test]
fn an_echo_of_what_several_datagrams_carried_is_of_the_oldest_that_waits_and_weak() {
    let sent = |number| datagram(LOCAL, REMOTE, (40_000, 7), &[b"octets", &[number][..]].concat());
    let (mut demux, flow) = opened(&sent(0), Key::IpId, false);
    demux.sent(flow, 1, &sent(b'a'), LEFT);
    demux.sent(flow, 2, &sent(b'a'), LEFT);
    demux.sent(flow, 3, &sent(b'b'), LEFT);
    let echo = |text: &[u8]| datagram(REMOTE, LOCAL, (7, 40_000), text);
    assert_eq!(token(demux.receive(&echo(b"octetsb"))), Some((3, Quality::Exact)));
    assert_eq!(token(demux.receive(&echo(b"octetsa"))), Some((1, Quality::Weak)));
    assert_eq!(token(demux.receive(&echo(b"octetsa"))), Some((2, Quality::Weak)));
    let again = demux.receive(&echo(b"octetsa"));
    assert!(matches!(again, Match::Probe(it) if it.duplicate && it.token == 2), "{again:?}");
}
