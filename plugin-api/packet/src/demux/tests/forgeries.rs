//! Packets of somebody who wants to be believed: guesses by one who knows the addresses, the method
//! and everything that is not secret, and answers that were damaged on their way.
//!
//! The guesses have fixed seeds. A run of millions is the same test in a release build, with the
//! number in `SONDE_FORGERIES`.

use super::*;
use crate::{IpHeader, Verdict, verify};

const LOCAL6: &str = "2001:db8::1";
const REMOTE6: &str = "2001:db8:9::9";
const ROUTER6: &str = "2001:db8:7::1";
/// Probes that wait in each flow.
const WAITING: u16 = 16;

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn word(&mut self) -> u16 {
        self.next() as u16
    }

    fn long(&mut self) -> u32 {
        self.next() as u32
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// How often to try: modest, but for a run by command.
fn attempts(modest: u32) -> u32 {
    std::env::var("SONDE_FORGERIES").map_or(modest, |text| text.parse().unwrap())
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Method {
    Echo,
    Timestamp,
    UdpFixed,
    UdpPorts,
    Syn,
    Ack,
    Conversation,
}

const METHODS: [Method; 7] = [
    Method::Echo,
    Method::Timestamp,
    Method::UdpFixed,
    Method::UdpPorts,
    Method::Syn,
    Method::Ack,
    Method::Conversation,
];

impl Method {
    fn key(self, six: bool) -> Key {
        match self {
            Self::Echo | Self::Timestamp => Key::IcmpSequence,
            Self::UdpFixed if six => Key::UdpChecksum,
            Self::UdpFixed => Key::IpId,
            Self::UdpPorts => Key::RemotePort,
            Self::Syn => Key::TcpSequence,
            Self::Ack => Key::TcpAcknowledgement,
            Self::Conversation => Key::None,
        }
    }

    /// A probe, or what a forger makes of one: all that is secret comes from `random`.
    fn probe(self, six: bool, number: u16, secret: &Secret, random: &mut Random) -> Vec<u8> {
        let (source, destination) = if six { (LOCAL6, REMOTE6) } else { (LOCAL, REMOTE) };
        let tcp = |bits, sequence, acknowledgement| {
            Transport::Tcp(TcpSegment {
                source_port: secret.local,
                destination_port: 80,
                sequence,
                acknowledgement,
                flags: bits,
                ..TcpSegment::default()
            })
        };
        let step = u32::from(number) << 16;
        let transport = match self {
            Self::Echo => Transport::Echo { identifier: secret.local, sequence: number },
            Self::Timestamp => Transport::Timestamp {
                identifier: secret.local,
                sequence: secret.word.wrapping_add(number),
                originate_ms: 40_000_000 + random.long() % 1000,
            },
            Self::UdpFixed => {
                Transport::Udp { source_port: secret.local, destination_port: 33_435 }
            }
            Self::UdpPorts => Transport::Udp {
                source_port: secret.local,
                destination_port: 33_435 + number % WAITING,
            },
            Self::Syn => tcp(flags::SYN, secret.long.wrapping_add(step), 0),
            Self::Ack | Self::Conversation => {
                tcp(flags::ACK, secret.long, secret.other.wrapping_add(u32::from(number)))
            }
        };
        let nonce = random.next().to_be_bytes();
        let identification = if six { 0 } else { random.word().max(1) };
        let has_payload = !matches!(self, Self::Syn | Self::Ack | Self::Timestamp);
        let ip = Ip::plain(source.parse().unwrap(), destination.parse().unwrap());
        let packet = Packet {
            ip: Ip { identification, ..ip },
            transport,
            payload: if has_payload { Payload::Octets(&nonce) } else { Payload::Zeros(0) },
            checksum: None,
        };
        packet.to_vec().unwrap()
    }

    /// A direct answer by one who guesses.
    fn answer(self, six: bool, guess: &Secret, random: &mut Random) -> Vec<u8> {
        let (source, destination) = if six { (REMOTE6, LOCAL6) } else { (REMOTE, LOCAL) };
        let tcp = |bits| {
            Transport::Tcp(TcpSegment {
                source_port: 80,
                destination_port: guess.local,
                sequence: guess.other,
                acknowledgement: guess.long,
                flags: bits,
                ..TcpSegment::default()
            })
        };
        let [high, low] = guess.local.to_be_bytes();
        let number = random.word() % WAITING;
        let transport = match self {
            Self::Echo => {
                let [third, fourth] = number.to_be_bytes();
                let kind = if six { 129 } else { 0 };
                Transport::Icmp { kind, code: 0, rest: [high, low, third, fourth] }
            }
            Self::Timestamp => {
                let [third, fourth] = guess.word.to_be_bytes();
                Transport::Icmp { kind: 14, code: 0, rest: [high, low, third, fourth] }
            }
            Self::UdpFixed => Transport::Udp { source_port: 33_435, destination_port: guess.local },
            Self::UdpPorts => {
                Transport::Udp { source_port: 33_435 + number, destination_port: guess.local }
            }
            Self::Syn => tcp(flags::SYN | flags::ACK),
            Self::Ack | Self::Conversation => tcp(flags::RST),
        };
        let mut octets = [0; 12];
        octets[..8].copy_from_slice(&random.next().to_be_bytes());
        if self == Self::Timestamp {
            octets[..4].copy_from_slice(&(40_000_000 + random.long() % 1000).to_be_bytes());
        }
        let packet = Packet {
            ip: Ip::plain(source.parse().unwrap(), destination.parse().unwrap()),
            transport,
            payload: Payload::Octets(&octets),
            checksum: None,
        };
        packet.to_vec().unwrap()
    }
}

/// What a run keeps to itself.
#[derive(Clone, Copy)]
struct Secret {
    local: u16,
    word: u16,
    long: u32,
    other: u32,
}

impl Secret {
    /// Ports of the range that the kernel takes them from.
    fn of(random: &mut Random) -> Self {
        let local = 32_768 + random.word() % 28_232;
        Self { local, word: random.word(), long: random.long(), other: random.long() }
    }
}

/// A flow of `method` with probes waiting; its secret and the probes.
fn waiting(method: Method, six: bool, random: &mut Random) -> (Demux, Secret, Vec<Vec<u8>>) {
    let secret = Secret::of(random);
    let probes: Vec<_> =
        (0..WAITING).map(|number| method.probe(six, number, &secret, random)).collect();
    let (mut demux, flow) = opened(&probes[0], method.key(six), true);
    for (number, probe) in probes.iter().enumerate() {
        demux.sent(flow, number as u32, probe, LEFT).unwrap();
    }
    (demux, secret, probes)
}

fn cases() -> impl Iterator<Item = (Method, bool)> {
    let both = METHODS.into_iter().flat_map(|method| [(method, false), (method, true)]);
    both.filter(|case| *case != (Method::Timestamp, true))
}

fn quoting(quoted: &[u8], octets: usize, six: bool) -> Vec<u8> {
    let (router, local) = if six { (ROUTER6, LOCAL6) } else { (ROUTER, LOCAL) };
    error_from(router, local, quoted, octets)
}

#[test]
fn no_forged_answer_is_credited_but_a_datagram_that_has_the_port_and_that_weakly() {
    for (method, six) in cases() {
        let mut random = Random(1);
        let (mut demux, secret, _) = waiting(method, six, &mut random);
        let is_udp = matches!(method, Method::UdpFixed | Method::UdpPorts);
        for _ in 0..attempts(20_000) {
            let guess = Secret::of(&mut random);
            let forged = method.answer(six, &guess, &mut random);
            match token(demux.receive(&forged)) {
                None => {}
                // A datagram brings nothing back that could prove it; the record says so.
                Some((_, Quality::Weak)) if is_udp && guess.local == secret.local => {}
                found => panic!("{method:?}, IPv6 {six}: {found:?} for {forged:x?}"),
            }
        }
    }
}

#[test]
fn no_error_that_quotes_a_guess_is_credited() {
    for (method, six) in cases() {
        let mut random = Random(2);
        let (mut demux, ..) = waiting(method, six, &mut random);
        let header = if six { 40 } else { 20 };
        for attempt in 0..attempts(20_000) {
            let guess = Secret::of(&mut random);
            let quoted = method.probe(six, random.word() % WAITING, &guess, &mut random);
            let octets = [header + 8, quoted.len(), header, header + 4][attempt as usize % 4];
            let found = token(demux.receive(&quoting(&quoted, octets, six)));
            assert_eq!(found, None, "{method:?}, IPv6 {six}, {octets} octets of {quoted:x?}");
        }
    }
}

/// The port alone is not enough: it is guessed in the course of a second.
#[test]
fn an_error_that_has_the_port_right_and_nothing_else_is_not_credited() {
    for (method, six) in cases() {
        let mut random = Random(3);
        let (mut demux, secret, _) = waiting(method, six, &mut random);
        for _ in 0..200 {
            let guess = Secret { local: secret.local, ..Secret::of(&mut random) };
            let quoted = method.probe(six, random.word() % WAITING, &guess, &mut random);
            let found = token(demux.receive(&quoting(&quoted, quoted.len(), six)));
            assert_eq!(found, None, "{method:?}, IPv6 {six}: {quoted:x?}");
        }
    }
}

#[test]
fn who_guesses_at_quotes_without_ports_is_soon_not_listened_to_and_later_again() {
    let probe = udp(0x1234, 33_435);
    let (mut demux, flow) = opened(&probe, Key::RemotePort, false);
    demux.sent(flow, 1, &probe, LEFT);
    for guess in 0x2000..0x2000 + MAX_BARE_MISSES as u16 {
        assert_eq!(demux.receive(&error(&udp(guess, 33_435), 20)), Match::Foreign);
    }
    assert_eq!(demux.receive(&error(&probe, 20)), Match::Foreign);
    let later = Departure { at: LEFT.at + FORGIVEN_AFTER, ..LEFT };
    demux.sent(flow, 2, &udp(0x4321, 33_436), later).unwrap();
    assert_eq!(token(demux.receive(&error(&probe, 20))), Some((1, Quality::Weak)));
}

#[test]
fn who_has_the_port_of_one_flow_and_guesses_harms_no_other() {
    let (mut demux, flow) = opened(&udp(1, 33_435), Key::RemotePort, true);
    demux.sent(flow, 1, &udp(1, 33_435), LEFT);
    for guess in 0x2000..0x2000 + 3 * MAX_BARE_MISSES as u16 {
        let found = demux.receive(&error(&udp(guess, 33_436), 28));
        assert!(matches!(found, Match::Flow { .. }), "{found:?}");
    }
    assert!(matches!(demux.receive(&error(&udp(1, 33_436), 28)), Match::Flow { .. }));
    let other = packet(
        LOCAL,
        "198.51.100.10",
        9,
        Transport::Udp { source_port: 40_001, destination_port: 33_435 },
    );
    let flow = demux.open(FlowKey::of_probe(&other).unwrap(), Key::RemotePort, 5, false).unwrap();
    demux.sent(flow, 2, &other, LEFT);
    assert_eq!(token(demux.receive(&error(&other, 20))), Some((2, Quality::Weak)));
}

#[test]
fn a_datagram_from_another_port_than_the_probed_one_is_no_answer() {
    let probe = udp(9, 53);
    let (mut demux, flow) = opened(&probe, Key::IpId, false);
    demux.sent(flow, 1, &probe, LEFT);
    let from = |port| {
        packet(REMOTE, LOCAL, 1, Transport::Udp { source_port: port, destination_port: 40_000 })
    };
    assert_eq!(token(demux.receive(&from(54))), None);
    // It brings the payload back, so who sent it has seen the probe.
    assert_eq!(token(demux.receive(&from(53))), Some((1, Quality::Exact)));
}

/// Whatever happens to an answer on its way, it is refused, is nobody's, or is the answer to the very
/// probe that it was made for. What damage does to the field of the probe without a trace in any checksum
/// cannot be told from the answer to that other probe: it is rare.
#[test]
fn no_damaged_answer_is_credited_to_another_probe() {
    let cases: Vec<_> = cases().collect();
    let total = attempts(60_000) / cases.len() as u32;
    let mut escaped = 0;
    for (method, six) in cases {
        let mut random = Random(4);
        let (mut demux, _, probes) = waiting(method, six, &mut random);
        for _ in 0..total {
            let number = random.below(probes.len());
            let whole = quoting(&probes[number], probes[number].len(), six);
            let mut damaged = whole.clone();
            mutate(&mut damaged, &mut random);
            if damaged == whole {
                continue;
            }
            if random.below(4) == 0 {
                // As by a router that means ill: it has seen the probe, and may be believed.
                mend(&mut damaged);
                let _ = demux.receive(&damaged);
                continue;
            }
            let Ok(header) = IpHeader::parse(&damaged) else { continue };
            let cut = damaged.get(..header.total_octets).unwrap_or(&damaged);
            if verify(cut, &header) != Verdict::Good {
                // As the engine does; but nothing panics either.
                let _ = demux.receive(cut);
                continue;
            }
            let Some((found, _)) = token(demux.receive(cut)) else { continue };
            if found as usize != number {
                let bears = quoted_field(cut, method.key(six));
                let field = method.key(six).of_probe(&probes[found as usize]);
                assert_eq!(bears, field, "{method:?}, IPv6 {six}: {damaged:x?}");
                escaped += 1;
            }
        }
    }
    // Two bits of one weight, one up and one down.
    println!("{escaped} answers became those to other probes, checksums intact");
    assert!(escaped <= 2 + attempts(0) / 200_000, "{escaped}, with {total} per case");
}

/// What an error shows of the probe that it quotes.
fn quoted_field(packet: &[u8], key: Key) -> Option<u32> {
    let received = classify(packet).unwrap();
    key.of_probe(&packet[received.quote?])
}

/// Flips bits, sets octets, cuts, lengthens, or moves a piece.
fn mutate(packet: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(packet.len());
        match random.below(6) {
            0 | 1 => packet[at] ^= 1 << random.below(8),
            2 => packet[at] = random.word() as u8,
            3 => packet.truncate(at.max(1)),
            4 => packet.extend_from_slice(&random.next().to_be_bytes()),
            _ => {
                let piece = random.below(packet.len() - at) + at;
                packet.copy_within(at..piece, 0);
            }
        }
    }
}

fn mend(packet: &mut [u8]) {
    let Ok(header) = IpHeader::parse(packet) else { return };
    if packet[0] >> 4 == 4 {
        packet[10..12].fill(0);
        let right =
            crate::checksum::finish(crate::checksum::sum(&packet[..header.header_octets], 0));
        packet[10..12].copy_from_slice(&right.to_be_bytes());
    }
    let at = header.header_octets;
    let end = header.total_octets.min(packet.len());
    let Some(transport) = packet.get_mut(at..end).filter(|octets| octets.len() >= 8) else {
        return;
    };
    transport[2..4].fill(0);
    let pseudo = match header.protocol {
        1 => 0,
        number => crate::checksum::pseudo_header(
            header.source,
            header.destination,
            number,
            transport.len(),
        ),
    };
    let right = crate::checksum::finish(crate::checksum::sum(transport, pseudo));
    transport[2..4].copy_from_slice(&right.to_be_bytes());
}

#[test]
fn a_flood_of_quotes_with_one_of_two_secrets_right_is_believed_a_few_times_at_most() {
    for field in [Key::UdpChecksum, Key::RemotePort, Key::IpId, Key::IcmpSequence] {
        let (sent, checksum_at) = match field {
            Key::IcmpSequence => (echo(0x1234), 22),
            _ => (udp(0x1234, 33_435), 26),
        };
        let (mut demux, flow) = opened(&sent, field, false);
        demux.sent(flow, 1, &sent, LEFT);
        // Whoever knows the ports, or identifier and sequence number, tries checksums, and identifications.
        for at in [4, checksum_at] {
            let mut believed = 0;
            for guess in 0..=u16::MAX {
                let mut quoted = sent.clone();
                for other in [4, checksum_at] {
                    quoted[other..other + 2].copy_from_slice(&0x9999u16.to_be_bytes());
                }
                quoted[at..at + 2].copy_from_slice(&guess.to_be_bytes());
                believed += usize::from(token(demux.receive(&error(&quoted, 28))).is_some());
            }
            assert_eq!(believed, 0, "{field:?} {at}");
        }
        assert_eq!(token(demux.receive(&error(&sent, 28))), Some((1, Quality::Exact)));
    }
}

#[test]
fn a_quote_that_has_the_ports_alone_is_told_unless_somebody_guesses_at_them() {
    for six in [false, true] {
        let secret = Secret::of(&mut Random(5));
        let sent = Method::Syn.probe(six, 0, &secret, &mut Random(6));
        let guess = |local| {
            let random = &mut Random(7);
            Method::Syn.probe(six, 0, &Secret { local, ..Secret::of(random) }, random)
        };
        let (mut demux, flow) = opened(&sent, Key::None, true);
        demux.sent(flow, 1, &sent, LEFT);
        let has_ports = guess(secret.local);
        let told = quoting(&has_ports, has_ports.len(), six);
        assert!(matches!(demux.receive(&told), Match::Flow { .. }), "{six}");
        let mut translated = has_ports.clone();
        translated[if six { 39 } else { 19 }] ^= 1;
        let translated = quoting(&translated, translated.len(), six);
        assert_eq!(demux.receive(&translated), Match::Foreign, "{six}");
        for other in 1..=2 * MAX_BARE_MISSES as u16 {
            let quoted = guess(secret.local ^ other);
            assert_eq!(demux.receive(&quoting(&quoted, quoted.len(), six)), Match::Foreign);
        }
        assert_eq!(demux.receive(&told), Match::Foreign, "{six}");
        let genuine = quoting(&sent, sent.len(), six);
        assert!(token(demux.receive(&genuine)).is_some(), "{six}");
    }
}

/// A probe with a chosen checksum, on which the first two octets of its payload depend.
fn datagram6(key: Key, payload: &[u8]) -> Vec<u8> {
    let transport = match key {
        Key::IcmpSequence => Transport::Echo { identifier: 33_436, sequence: 7 },
        _ => Transport::Udp { source_port: 33_436, destination_port: 33_435 },
    };
    let packet = Packet {
        ip: Ip::plain(LOCAL6.parse().unwrap(), REMOTE6.parse().unwrap()),
        transport,
        payload: Payload::Octets(payload),
        checksum: Some(0xbeef),
    };
    packet.to_vec().unwrap()
}

#[test]
fn a_flood_of_checksums_over_ipv6_is_not_believed_where_the_payload_is_another_or_missing() {
    for key in [Key::UdpChecksum, Key::RemotePort, Key::IcmpSequence, Key::payload(2, 2, 1)] {
        let sent = datagram6(key, b"..secret....");
        let (mut demux, flow) = opened(&sent, key, true);
        demux.sent(flow, 1, &sent, LEFT);
        let checksum_at = if key == Key::IcmpSequence { 42 } else { 46 };
        // All of it, what ends within the secret, and what ends before.
        for octets in [60, 52, 50, 48] {
            for guess in 0xbe00..0xbf00u16 {
                let mut quoted = datagram6(key, b"..sPcret....");
                quoted[checksum_at..checksum_at + 2].copy_from_slice(&guess.to_be_bytes());
                let found = token(demux.receive(&quoting(&quoted, octets, true)));
                assert_eq!(found, None, "{key:?} {octets} {guess}");
            }
        }
        let genuine = |octets| quoting(&sent, octets, true);
        for octets in [60, 52] {
            let found = token(demux.receive(&genuine(octets)));
            assert_eq!(found, Some((1, Quality::Exact)), "{key:?} {octets}");
        }
        assert_eq!(token(demux.receive(&genuine(48))), None, "{key:?}");
        let (mut demux, flow) = opened(&sent, key, true);
        demux.sent(flow, 1, &sent, LEFT);
        assert_eq!(token(demux.receive(&genuine(48))), Some((1, Quality::Weak)), "{key:?}");
    }
}

#[test]
fn a_payload_of_zeros_over_ipv6_is_no_secret() {
    let sent = datagram6(Key::UdpChecksum, &[0; 12]);
    let (mut demux, flow) = opened(&sent, Key::UdpChecksum, false);
    demux.sent(flow, 1, &sent, LEFT);
    assert_eq!(token(demux.receive(&quoting(&sent, 60, true))), Some((1, Quality::Weak)));
}

#[test]
fn a_datagram_over_ipv6_is_known_by_its_payload_where_a_box_changed_the_checksum_and_no_other_began_so()
 {
    let probe = |number: u8| datagram6(Key::UdpChecksum, &[0, 0, b's', number, b'c', b'r', 5, 6]);
    let (mut demux, flow) = opened(&probe(1), Key::UdpChecksum, false);
    for number in 1..=2 {
        demux.sent(flow, u32::from(number), &probe(number), LEFT);
    }
    let mut changed = probe(1);
    changed[46] ^= 1;
    let whole = quoting(&changed, changed.len(), true);
    assert_eq!(token(demux.receive(&whole)), Some((1, Quality::Weak)));
    assert_eq!(token(demux.receive(&quoting(&changed, 55, true))), None);
    demux.sent(flow, 3, &probe(1), LEFT);
    assert_eq!(token(demux.receive(&whole)), None, "two could be meant");
}
