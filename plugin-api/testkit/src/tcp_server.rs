//! A well-behaved TCP receiver: it takes connections, acknowledges what arrives and says nothing.
//!
//! Out-of-order data is kept and acknowledged at once. Servers with faults are hosts that a test
//! writes, see [`crate::Host`].
//!
//! Source: RFC 9293 section 3.10.7, RFC 5681 section 4.2, RFC 5961 section 4.

use std::{collections::BTreeMap, net::IpAddr};

use sonde_packet::{
    IpHeader, TcpSegment,
    tcp::{TcpOption, TcpView, flags},
};

use crate::random::Random;

/// Largest segment that the server asks for, where the drawing says nothing.
const MSS: u16 = 1_460;
const WINDOW: u16 = 65_535;
/// Farther ahead than this, data is outside of the window.
const REACH: u32 = 65_535;

/// A segment to be sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segment {
    source_port: u16,
    destination_port: u16,
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    window: u16,
    options: Vec<u8>,
}

impl Segment {
    pub(crate) fn borrowed(&self) -> TcpSegment<'_> {
        TcpSegment {
            source_port: self.source_port,
            destination_port: self.destination_port,
            sequence: self.sequence,
            acknowledgement: self.acknowledgement,
            flags: self.flags,
            window: self.window,
            urgent: 0,
            options: &self.options,
        }
    }
}

/// Client address and port, server address and port.
type Pair = (IpAddr, u16, IpAddr, u16);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// The SYN is answered, the answer not acknowledged.
    Opening,
    Open,
    /// Both sides are done.
    Closed,
}

#[derive(Debug)]
struct Connection {
    phase: Phase,
    /// Next octet that we send.
    next: u32,
    /// Next octet that we expect.
    expected: u32,
    /// Data beyond that: first octet and the one behind the last, the latest last.
    held: Vec<(u32, u32)>,
    /// The client understands selective acknowledgements.
    has_sack: bool,
}

/// All connections of a host.
#[derive(Debug)]
pub(crate) struct TcpServer {
    mss: u16,
    connections: BTreeMap<Pair, Connection>,
}

impl TcpServer {
    pub(crate) fn new(mss: Option<u16>) -> Self {
        Self { mss: mss.unwrap_or(MSS), connections: BTreeMap::new() }
    }

    /// What a host answers where nobody listens.
    pub(crate) fn refuse(view: &TcpView<'_>) -> Option<Segment> {
        let bits = view.flags()?;
        if bits & flags::RST != 0 {
            return None;
        }
        let mut segment = answer(view)?;
        if bits & flags::ACK != 0 {
            segment.sequence = view.acknowledgement()?;
            segment.flags = flags::RST;
        } else {
            segment.acknowledgement = view.sequence()?.wrapping_add(view.sequence_octets());
            segment.flags = flags::RST | flags::ACK;
        }
        Some(segment)
    }

    /// What a listening port answers.
    pub(crate) fn receive(
        &mut self,
        header: &IpHeader,
        view: &TcpView<'_>,
        random: &mut Random,
    ) -> Option<Segment> {
        let ports = (view.source_port()?, view.destination_port()?);
        let pair = (header.source, ports.0, header.destination, ports.1);
        let bits = view.flags()?;
        let Some(connection) = self.connections.get_mut(&pair) else {
            if bits & (flags::SYN | flags::ACK | flags::RST) != flags::SYN {
                return Self::refuse(view);
            }
            let next = random.next_u64() as u32;
            let expected = view.sequence()?.wrapping_add(1);
            let connection = Connection {
                phase: Phase::Opening,
                next,
                expected,
                held: Vec::new(),
                has_sack: view.options().any(|option| option == TcpOption::SackPermitted),
            };
            let segment = connection.accept(view, self.mss);
            self.connections.insert(pair, connection);
            return segment;
        };
        if bits & flags::RST != 0 {
            if view.sequence()?.wrapping_sub(connection.expected) <= REACH {
                self.connections.remove(&pair);
            }
            return None;
        }
        if bits & flags::SYN != 0 {
            let is_again = view.sequence()?.wrapping_add(1) == connection.expected;
            return if is_again && connection.phase == Phase::Opening {
                connection.accept(view, self.mss)
            } else {
                connection.acknowledge(view)
            };
        }
        if bits & flags::ACK == 0 {
            return None;
        }
        if connection.phase == Phase::Opening {
            if view.acknowledgement()? != connection.next.wrapping_add(1) {
                return Self::refuse(view);
            }
            connection.phase = Phase::Open;
            connection.next = connection.next.wrapping_add(1);
        }
        let options = view.header_octets().unwrap_or(20).saturating_sub(20);
        if !view.payload().is_empty() && view.payload().len() + options > usize::from(self.mss) {
            return None;
        }
        let segment = connection.take(view);
        if connection.phase == Phase::Closed {
            self.connections.remove(&pair);
        }
        segment
    }
}

impl Connection {
    fn accept(&self, view: &TcpView<'_>, mss: u16) -> Option<Segment> {
        let mut options = vec![TcpOption::MaximumSegmentSize(mss)];
        if self.has_sack {
            options.push(TcpOption::SackPermitted);
        }
        Some(Segment {
            sequence: self.next,
            acknowledgement: self.expected,
            flags: flags::SYN | flags::ACK,
            options: TcpOption::list(&options),
            ..answer(view)?
        })
    }

    fn acknowledge(&self, view: &TcpView<'_>) -> Option<Segment> {
        Some(Segment {
            sequence: self.next,
            acknowledgement: self.expected,
            flags: flags::ACK,
            options: if self.has_sack { self.blocks() } else { Vec::new() },
            ..answer(view)?
        })
    }

    /// What is held, joined where it touches, the latest first (RFC 2018).
    fn blocks(&self) -> Vec<u8> {
        let mut blocks: Vec<(u32, u32)> = Vec::new();
        for &(mut first, mut behind) in &self.held {
            blocks.retain(|(other_first, other_behind)| {
                let touches = !is_after(first, *other_behind) && !is_after(*other_first, behind);
                if touches {
                    first = if is_after(first, *other_first) { *other_first } else { first };
                    behind = if is_after(*other_behind, behind) { *other_behind } else { behind };
                }
                !touches
            });
            blocks.push((first, behind));
        }
        let latest = blocks.iter().rev().take(3);
        let edges: Vec<u8> = latest
            .flat_map(|(first, behind)| [first.to_be_bytes(), behind.to_be_bytes()])
            .flatten()
            .collect();
        let sack = [TcpOption::NoOperation, TcpOption::NoOperation, TcpOption::Sack(&edges)];
        if edges.is_empty() { Vec::new() } else { TcpOption::list(&sack) }
    }

    /// Data or the end of it; a bare acknowledgement is not answered.
    fn take(&mut self, view: &TcpView<'_>) -> Option<Segment> {
        let octets = view.sequence_octets();
        if octets == 0 {
            return None;
        }
        let first = view.sequence()?;
        let behind = first.wrapping_add(octets);
        let is_ahead = behind.wrapping_sub(self.expected) <= REACH;
        let is_overlap = self.expected.wrapping_sub(first) < octets;
        if is_ahead || is_overlap {
            self.held.push((first, behind));
        }
        while let Some(at) =
            self.held.iter().position(|(first, _)| !is_after(*first, self.expected))
        {
            let (_, behind) = self.held.remove(at);
            if is_after(behind, self.expected) {
                self.expected = behind;
            }
        }
        let is_end = view.flags()? & flags::FIN != 0 && self.expected == behind;
        let mut segment = self.acknowledge(view)?;
        if is_end {
            segment.flags |= flags::FIN;
            self.next = self.next.wrapping_add(1);
            self.phase = Phase::Closed;
        }
        Some(segment)
    }
}

fn is_after(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) > 0
}

/// A segment back to where one came from.
fn answer(view: &TcpView<'_>) -> Option<Segment> {
    Some(Segment {
        source_port: view.destination_port()?,
        destination_port: view.source_port()?,
        window: WINDOW,
        ..Segment::default()
    })
}

#[cfg(test)]
mod tests {
    use sonde_packet::{Ip, Packet, Payload, Transport};

    use super::*;

    struct Client {
        server: TcpServer,
        random: Random,
    }

    impl Client {
        fn new() -> Self {
            Self { server: TcpServer::new(None), random: Random::new(1) }
        }

        /// Flags, sequence and acknowledgement number of the answer.
        fn send(&mut self, bits: u8, numbers: (u32, u32), data: &[u8]) -> Option<(u8, u32, u32)> {
            let packet = Packet {
                ip: Ip::plain("192.0.2.1".parse().unwrap(), "198.51.100.9".parse().unwrap()),
                transport: Transport::Tcp(TcpSegment {
                    source_port: 40_000,
                    destination_port: 80,
                    sequence: numbers.0,
                    acknowledgement: numbers.1,
                    flags: bits,
                    ..TcpSegment::default()
                }),
                payload: Payload::Octets(data),
                checksum: None,
            };
            let packet = packet.to_vec().unwrap();
            let header = IpHeader::parse(&packet).unwrap();
            let view = TcpView::new(header.transport(&packet));
            let segment = self.server.receive(&header, &view, &mut self.random)?;
            Some((segment.flags, segment.sequence, segment.acknowledgement))
        }

        /// Opens a connection from sequence number 100; the server's next octet.
        fn open(&mut self) -> u32 {
            let (bits, theirs, ours) = self.send(flags::SYN, (100, 0), b"").unwrap();
            assert_eq!((bits, ours), (flags::SYN | flags::ACK, 101));
            assert_eq!(self.send(flags::ACK, (101, theirs.wrapping_add(1)), b""), None);
            theirs.wrapping_add(1)
        }
    }

    #[test]
    fn a_hole_is_acknowledged_again_and_again_until_it_is_filled() {
        let mut client = Client::new();
        let theirs = client.open();
        let mut ack = |sequence, data: &[u8]| {
            client.send(flags::ACK, (sequence, theirs), data).map(|answer| answer.2)
        };
        assert_eq!(ack(104, b"d"), Some(101));
        assert_eq!(ack(106, b"f"), Some(101));
        assert_eq!(ack(101, b"abc"), Some(105));
        assert_eq!(ack(105, b"e"), Some(107));
    }

    #[test]
    fn an_end_is_answered_with_an_end() {
        let mut client = Client::new();
        let theirs = client.open();
        let (bits, _, ours) = client.send(flags::ACK | flags::FIN, (101, theirs), b"ab").unwrap();
        assert_eq!((bits, ours), (flags::ACK | flags::FIN, 104));
        let (bits, sequence, _) = client.send(flags::ACK, (104, 77), b"").unwrap();
        assert_eq!((bits, sequence), (flags::RST, 77));
    }

    #[test]
    fn a_second_syn_of_other_number_is_challenged() {
        let mut client = Client::new();
        client.send(flags::SYN, (100, 0), b"").unwrap();
        let (bits, _, ours) = client.send(flags::SYN, (500, 0), b"").unwrap();
        assert_eq!((bits, ours), (flags::ACK, 101));
    }

    #[test]
    fn an_acknowledgement_out_of_nowhere_is_reset_with_its_own_number() {
        assert_eq!(Client::new().send(flags::ACK, (5, 77), b""), Some((flags::RST, 77, 0)));
        assert_eq!(Client::new().send(flags::RST, (5, 77), b""), None);
    }

    #[test]
    fn what_is_held_is_acknowledged_selectively_latest_first_where_the_client_can_take_it() {
        let view = |sequence: u32, bits, data: &[u8], options: &[u8]| {
            let segment = TcpSegment { sequence, flags: bits, options, ..TcpSegment::default() };
            let ip = Ip::plain("192.0.2.1".parse().unwrap(), "198.51.100.9".parse().unwrap());
            let transport = Transport::Tcp(segment);
            let payload = Payload::Octets(data);
            Packet { ip, transport, payload, checksum: None }.to_vec().unwrap()
        };
        let syn = view(100, flags::SYN, b"", &TcpOption::list(&[TcpOption::SackPermitted]));
        let mut connection = Connection {
            phase: Phase::Open,
            next: 1,
            expected: 101,
            held: Vec::new(),
            has_sack: true,
        };
        let accepted = connection.accept(&TcpView::new(&syn[20..]), MSS).unwrap();
        assert!(
            sonde_packet::tcp::TcpOptions::new(&accepted.options)
                .any(|option| option == TcpOption::SackPermitted)
        );
        let mut blocks = |sequence, data: &[u8]| {
            let packet = view(sequence, flags::ACK, data, &[]);
            let segment = connection.take(&TcpView::new(&packet[20..])).unwrap();
            let option = sonde_packet::tcp::TcpOptions::new(&segment.options).last();
            let Some(TcpOption::Sack(edges)) = option else { return Vec::new() };
            let edge = |four: &[u8]| u32::from_be_bytes(four.try_into().unwrap());
            edges.chunks(4).map(edge).collect::<Vec<_>>()
        };
        assert_eq!(blocks(105, b"ef"), [105, 107]);
        assert_eq!(blocks(110, b"j"), [110, 111, 105, 107]);
        assert_eq!(blocks(107, b"ghi"), [105, 111]);
        assert!(blocks(101, b"abcd").is_empty());
    }
}
