//! A server that opens a connection oddly.

use std::time::Duration;

use sonde_packet::{TcpSegment, tcp::flags};

use super::{FIRST_SEQUENCE, incoming::Incoming};
use crate::endpoint::{Host, Outbox};

/// Answers the SYN as it is told, acknowledges data, and says nothing.
#[derive(Clone, Copy, Debug)]
pub struct Opener {
    /// TCP options of the SYN/ACK, as octets.
    pub options: &'static [u8],
    /// Window of everything.
    pub window: u16,
    /// Flags of the SYN/ACK beside SYN and ACK.
    pub flags: u8,
    /// Flags of one more segment that is sent at once behind the SYN/ACK, if one is.
    pub then: Option<u8>,
}

impl Opener {
    /// Nothing odd: a window, no options.
    pub const PLAIN: Self = Self { options: &[], window: 60_000, flags: 0, then: None };
}

impl Host for Opener {
    fn receive(&mut self, packet: &[u8], _: Duration, net: &mut Outbox<'_>) {
        let Some(segment) = Incoming::parse(packet) else { return };
        let data = segment.view.payload();
        let acknowledgement = segment.first().wrapping_add(data.len() as u32);
        let next = FIRST_SEQUENCE.wrapping_add(1);
        let mut answers = Vec::new();
        if segment.has(flags::SYN) {
            answers.push((flags::SYN | flags::ACK | self.flags, FIRST_SEQUENCE, self.options));
            answers.extend(self.then.map(|bits| (bits, next, &[][..])));
        } else if !data.is_empty() {
            answers.push((flags::ACK, next, &[]));
        }
        for (flags, sequence, options) in answers {
            let window = self.window;
            let answer = TcpSegment {
                sequence,
                acknowledgement,
                flags,
                window,
                options,
                ..TcpSegment::default()
            };
            net.send(segment.ends.plain(answer, &[]));
        }
    }
}
