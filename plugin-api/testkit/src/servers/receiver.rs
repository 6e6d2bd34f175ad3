//! A server that only receives, and does one thing wrong.

use std::{cell::RefCell, rc::Rc, time::Duration};

use sonde_packet::{IpHeader, TcpSegment, protocol, tcp::flags};

use super::{FIRST_SEQUENCE, incoming::Incoming};
use crate::endpoint::{Host, Outbox};

/// What it tells, and takes.
const WINDOW: u16 = 8000;

/// What a [`Receiver`] does beside receiving.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Keeps so many segments out of order.
    Keeps(usize),
    /// Acknowledges every second segment.
    EverySecond,
    /// Sends data, whatever the window is.
    Talks,
    /// Says something at the first segment, and acknowledges the others behind it.
    Greets,
    /// Asks after each segment whether the window is still shut.
    AsksForTheWindow,
    /// Resets the connection at its so many-th segment with data.
    ResetsAt(usize),
    /// Closes it there.
    ClosesAt(usize),
    /// Acknowledges there what it cannot have.
    LiesAt(usize),
    /// Answers the SYN with a wrong number.
    BadSynAck,
    /// Answers the SYN with this window, tells another one so many milliseconds later, and drops what comes before.
    OpensLater(u16, u64),
    /// Answers each sample with so many acknowledgements.
    Floods(usize),
    /// The host itself, which answers echoes, is 30 ms farther away.
    IsAProxy,
}

/// Flags and sequence numbers of all that came, shared with the test.
pub type Heard = Rc<RefCell<Vec<(u8, u32)>>>;

/// A receiver of one connection, whose segments out of order have one octet each. Answers echoes over IPv4.
#[derive(Clone, Debug)]
pub struct Receiver {
    fault: Fault,
    expected: u32,
    held: Vec<u32>,
    segments: usize,
    /// Since the simulation began.
    opens: Duration,
    heard: Heard,
}

impl Receiver {
    /// With this fault.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            expected: 0,
            held: vec![],
            segments: 0,
            opens: Duration::ZERO,
            heard: Rc::default(),
        }
    }

    /// What came, to be looked at later.
    #[must_use]
    pub fn heard(&self) -> Heard {
        Rc::clone(&self.heard)
    }

    fn take(&mut self, sequence: u32, octets: u32) {
        if sequence.wrapping_sub(self.expected) >= u32::from(WINDOW) {
            return;
        }
        if sequence != self.expected {
            let room = if let Fault::Keeps(most) = self.fault { most } else { usize::MAX };
            if self.held.len() < room {
                self.held.push(sequence);
            }
            return;
        }
        self.expected = self.expected.wrapping_add(octets);
        self.held.sort_unstable_by_key(|held| held.wrapping_sub(sequence));
        for held in std::mem::take(&mut self.held) {
            if held == self.expected {
                self.expected = self.expected.wrapping_add(1);
            } else {
                self.held.push(held);
            }
        }
    }
}

impl Host for Receiver {
    fn receive(&mut self, packet: &[u8], now: Duration, net: &mut Outbox<'_>) {
        let Some(segment) = Incoming::parse(packet) else {
            let farther = if self.fault == Fault::IsAProxy { 30 } else { 0 };
            if let Some(reply) = echo_reply(packet) {
                net.send_after(Duration::from_millis(farther), reply);
            }
            return;
        };
        self.heard.borrow_mut().push((segment.flags, segment.sequence));
        let plain = TcpSegment { window: WINDOW, ..TcpSegment::default() };
        let mut answer = |flags: u8, sequence: u32, acknowledgement: u32, data: &[u8]| {
            let answer = TcpSegment { sequence, acknowledgement, flags, ..plain };
            net.send(segment.ends.plain(answer, data));
        };
        if segment.has(flags::SYN) {
            self.expected = segment.first();
            if let Fault::OpensLater(window, after_ms) = self.fault {
                let after = Duration::from_millis(after_ms);
                self.opens = now + after;
                let numbers =
                    TcpSegment { acknowledgement: self.expected, flags: flags::ACK, ..plain };
                let first = TcpSegment {
                    sequence: FIRST_SEQUENCE,
                    flags: flags::SYN | flags::ACK,
                    window,
                    ..numbers
                };
                let update = TcpSegment { sequence: FIRST_SEQUENCE.wrapping_add(1), ..numbers };
                net.send(segment.ends.plain(first, &[]));
                net.send_after(after, segment.ends.plain(update, &[]));
                return;
            }
            let wrong = if self.fault == Fault::BadSynAck { 7 } else { 0 };
            let acknowledgement = self.expected.wrapping_add(wrong);
            return answer(flags::SYN | flags::ACK, FIRST_SEQUENCE, acknowledgement, &[]);
        }
        let octets = segment.view.payload().len() as u32;
        if segment.has(flags::RST) || now < self.opens {
            return;
        }
        if octets == 0 {
            // Who asks for the window has an old number.
            if segment.sequence != self.expected {
                answer(flags::ACK, FIRST_SEQUENCE.wrapping_add(1), self.expected, &[]);
            }
            return;
        }
        self.segments += 1;
        self.take(segment.sequence, octets);
        let (theirs, at_this) = (FIRST_SEQUENCE.wrapping_add(1), self.segments);
        match self.fault {
            Fault::EverySecond if at_this % 2 == 1 && !self.held.is_empty() => {}
            Fault::Talks => answer(flags::ACK | flags::PSH, theirs, self.expected, b"hello"),
            Fault::Greets if at_this == 1 => {
                answer(flags::ACK | flags::PSH, theirs, self.expected, b"hello");
            }
            Fault::Greets => answer(flags::ACK, theirs.wrapping_add(5), self.expected, &[]),
            Fault::AsksForTheWindow => {
                answer(flags::ACK, theirs, self.expected, &[]);
                answer(flags::ACK, theirs.wrapping_sub(1), self.expected, &[]);
            }
            Fault::Floods(many) => {
                (0..many).for_each(|_| answer(flags::ACK, theirs, self.expected, &[]));
            }
            Fault::ResetsAt(at) if at == at_this => {
                answer(flags::RST | flags::ACK, theirs, self.expected, &[]);
            }
            Fault::ClosesAt(at) if at == at_this => {
                answer(flags::FIN | flags::ACK, theirs, self.expected, &[]);
            }
            Fault::LiesAt(at) if at == at_this => {
                answer(flags::ACK, theirs, self.expected.wrapping_add(500), &[]);
            }
            _ => answer(flags::ACK, theirs, self.expected, &[]),
        }
    }
}

/// The answer to an echo request over IPv4 without options; `None` where it is something else.
fn echo_reply(request: &[u8]) -> Option<Vec<u8>> {
    let header = IpHeader::parse(request).ok()?;
    let is_request = header.transport(request).first() == Some(&8);
    if header.protocol != protocol::ICMP || header.header_octets != 20 || !is_request {
        return None;
    }
    let mut reply = request.to_vec();
    reply[12..20].rotate_left(4);
    let old = u16::from_be_bytes([*reply.get(22)?, *reply.get(23)?]);
    let sum = u32::from(old) + 0x0800;
    let sum = (sum + (sum >> 16)) as u16;
    reply[20] = 0;
    reply[22..24].copy_from_slice(&sum.to_be_bytes());
    Some(reply)
}
