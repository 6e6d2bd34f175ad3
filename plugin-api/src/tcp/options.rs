//! Options of a segment: which we offer, which came.
//!
//! Source: RFC 9293, section 3.1; RFC 2018, RFC 7323, RFC 7413.

use crate::packet::tcp::{TcpOption, TcpOptions};

/// What a SYN offers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Offer {
    /// Largest segment that we take, octets.
    pub mss: Option<u16>,
    /// Binary logarithm of the factor of our windows, at most 14.
    pub window_scale: Option<u8>,
    /// Selective acknowledgements are understood.
    pub sack: bool,
    /// Our clock goes with every segment.
    pub timestamps: bool,
    /// A fast open cookie, or empty to ask for one.
    pub fast_open: Option<Vec<u8>>,
    /// The cookie goes in the experimental option 254 with the number 0xf989 instead of 34.
    pub fast_open_experimental: bool,
}

/// The number that the experimental option was told by before fast open had its own.
const EXPERIMENT: [u8; 2] = [0xf9, 0x89];

impl Offer {
    /// As it stands in the SYN; `clock` is our clock.
    #[must_use]
    pub fn octets(&self, clock: u32) -> Vec<u8> {
        let cookie = self.fast_open.as_deref();
        let experimental: Vec<u8> =
            EXPERIMENT.iter().chain(cookie.unwrap_or_default()).copied().collect();
        let mut options = Vec::new();
        options.extend(self.mss.map(TcpOption::MaximumSegmentSize));
        if self.sack {
            options.push(TcpOption::SackPermitted);
        }
        if self.timestamps {
            options.push(TcpOption::Timestamps { value: clock, echo: 0 });
        }
        if let Some(scale) = self.window_scale {
            options.extend([TcpOption::NoOperation, TcpOption::WindowScale(scale)]);
        }
        match cookie {
            Some(_) if self.fast_open_experimental => {
                options.push(TcpOption::Other { kind: 254, value: &experimental });
            }
            Some(cookie) => options.push(TcpOption::FastOpen(cookie)),
            None => {}
        }
        if options.is_empty() { Vec::new() } else { TcpOption::list(&options) }
    }
}

/// The options of a segment that came.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Options {
    /// Largest segment that the peer takes, octets.
    pub mss: Option<u16>,
    /// Binary logarithm of the factor of the peer's windows.
    pub window_scale: Option<u8>,
    /// The peer understands selective acknowledgements.
    pub sack_permitted: bool,
    /// Blocks that the peer has: first octet, and the one behind the last.
    pub sack: Vec<(u32, u32)>,
    /// The peer's clock, and ours as it came back.
    pub timestamps: Option<(u32, u32)>,
    /// A fast open cookie, of either option.
    pub fast_open: Option<Box<[u8]>>,
    /// The list contradicts itself: a length beyond its end or too small for its option.
    pub is_malformed: bool,
}

impl Options {
    /// Reads the octets between header and data.
    #[must_use]
    pub fn parse(octets: &[u8]) -> Self {
        let mut options = Self { is_malformed: !is_well_formed(octets), ..Self::default() };
        for option in TcpOptions::new(octets) {
            match option {
                TcpOption::MaximumSegmentSize(mss) => options.mss = Some(mss),
                TcpOption::WindowScale(scale) => options.window_scale = Some(scale.min(14)),
                TcpOption::SackPermitted => options.sack_permitted = true,
                TcpOption::Sack(blocks) => {
                    let blocks = blocks.chunks_exact(8).map(block);
                    options.sack.extend(blocks);
                }
                TcpOption::Timestamps { value, echo } => options.timestamps = Some((value, echo)),
                TcpOption::FastOpen(cookie) => options.fast_open = Some(cookie.into()),
                TcpOption::Other { kind: 254, value } if value.starts_with(&EXPERIMENT) => {
                    options.fast_open = Some(value[EXPERIMENT.len()..].into());
                }
                // A known option of a length that it cannot have.
                TcpOption::Other { kind: 2..=5 | 8, .. } => options.is_malformed = true,
                TcpOption::NoOperation | TcpOption::Multipath(_) | TcpOption::Other { .. } => {}
            }
        }
        options
    }
}

fn block(octets: &[u8]) -> (u32, u32) {
    let number = |at: usize| {
        u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
    };
    (number(0), number(4))
}

fn is_well_formed(mut octets: &[u8]) -> bool {
    loop {
        octets = match octets {
            [] | [0, ..] => return true,
            [1, rest @ ..] => rest,
            [_, length, ..] if *length >= 2 && usize::from(*length) <= octets.len() => {
                &octets[usize::from(*length)..]
            }
            _ => return false,
        };
    }
}
