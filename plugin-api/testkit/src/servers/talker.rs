//! A server whose application is a function.

use std::time::Duration;

use sonde_packet::{TcpSegment, tcp::flags};
use sonde_plugin_api::tcp::ReceiveQueue;

use super::{FIRST_SEQUENCE, incoming::Incoming};
use crate::endpoint::{Host, Outbox};

/// An answer that ends in this closes the connection behind it.
pub const CLOSE: &[u8] = b"<close>";

/// Octets of a segment.
const SEGMENT: usize = 1000;
const WINDOW: u16 = 60_000;

/// Greets, and makes its answer of all that the client said since the last one. Nothing is sent twice: it
/// is for networks that lose nothing.
#[derive(Clone, Debug)]
pub struct Talker<F> {
    greeting: &'static [u8],
    talk: F,
    queue: Option<ReceiveQueue>,
    next: u32,
}

impl<F: FnMut(&[u8]) -> Vec<u8>> Talker<F> {
    /// `greeting` is said first, if it is not empty; `talk` gets octets in order, cut as they came.
    pub fn new(greeting: &'static [u8], talk: F) -> Self {
        Self { greeting, talk, queue: None, next: FIRST_SEQUENCE }
    }
}

impl<F: FnMut(&[u8]) -> Vec<u8>> Host for Talker<F> {
    fn receive(&mut self, packet: &[u8], _: Duration, net: &mut Outbox<'_>) {
        let Some(segment) = Incoming::parse(packet).filter(|it| !it.has(flags::RST)) else {
            return;
        };
        let mut answers: Vec<(u8, Vec<u8>)> = Vec::new();
        if segment.has(flags::SYN) {
            self.queue = Some(ReceiveQueue::new(segment.first(), u32::from(WINDOW)));
            answers.push((flags::SYN | flags::ACK, Vec::new()));
            answers.push((flags::ACK, self.greeting.to_vec()));
        }
        let Some(queue) = &mut self.queue else { return };
        queue.insert(segment.first(), segment.view.payload(), segment.has(flags::FIN));
        let said = queue.read();
        if !said.is_empty() {
            let mut answer = (self.talk)(&said);
            let is_end = answer.ends_with(CLOSE);
            answer.truncate(answer.len() - if is_end { CLOSE.len() } else { 0 });
            answers.extend(answer.chunks(SEGMENT).map(|part| (flags::ACK, part.to_vec())));
            answers.extend(is_end.then(|| (flags::ACK | flags::FIN, Vec::new())));
        }
        if segment.has(flags::FIN) {
            answers.push((flags::ACK | flags::FIN, Vec::new()));
        }
        let acknowledgement = queue.expected();
        answers.retain(|(bits, data)| *bits != flags::ACK || !data.is_empty());
        for (bits, data) in answers {
            let answer = TcpSegment {
                sequence: self.next,
                acknowledgement,
                flags: bits,
                window: WINDOW,
                ..TcpSegment::default()
            };
            let marks = u32::from(bits & flags::SYN != 0) + u32::from(bits & flags::FIN != 0);
            self.next = self.next.wrapping_add(data.len() as u32 + marks);
            net.send(segment.ends.plain(answer, &data));
        }
    }
}
