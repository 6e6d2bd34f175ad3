//! TCP headers that may be cut short, and their options.
//!
//! Source: RFC 9293; options of RFC 7323, RFC 2018, RFC 7413, RFC 8684.

use crate::{long, word};

/// Bits of the flags octet.
pub mod flags {
    /// No more data.
    pub const FIN: u8 = 1;
    /// Synchronise.
    pub const SYN: u8 = 2;
    /// Reset.
    pub const RST: u8 = 4;
    /// Push.
    pub const PSH: u8 = 8;
    /// The acknowledgement counts.
    pub const ACK: u8 = 16;
    /// The urgent pointer counts.
    pub const URG: u8 = 32;
    /// ECN echo.
    pub const ECE: u8 = 64;
    /// Congestion window reduced.
    pub const CWR: u8 = 128;
}

/// A TCP header as far as it is there.
#[derive(Clone, Copy, Debug)]
pub struct TcpView<'a>(&'a [u8]);

impl<'a> TcpView<'a> {
    /// Over octets that begin with the header.
    #[must_use]
    pub fn new(transport: &'a [u8]) -> Self {
        Self(transport)
    }

    /// Source port.
    #[must_use]
    pub fn source_port(&self) -> Option<u16> {
        word(self.0, 0)
    }

    /// Destination port.
    #[must_use]
    pub fn destination_port(&self) -> Option<u16> {
        word(self.0, 2)
    }

    /// Sequence number of the first octet of data, or of the SYN.
    #[must_use]
    pub fn sequence(&self) -> Option<u32> {
        long(self.0, 4)
    }

    /// Next octet expected from the peer.
    #[must_use]
    pub fn acknowledgement(&self) -> Option<u32> {
        long(self.0, 8)
    }

    /// Octets of header and options, at least 20; the data begins there.
    #[must_use]
    pub fn header_octets(&self) -> Option<usize> {
        Some((usize::from(self.0.get(12)? >> 4) * 4).max(20))
    }

    /// See [`flags`].
    #[must_use]
    pub fn flags(&self) -> Option<u8> {
        self.0.get(13).copied()
    }

    /// Receive window, not scaled.
    #[must_use]
    pub fn window(&self) -> Option<u16> {
        word(self.0, 14)
    }

    /// Urgent pointer.
    #[must_use]
    pub fn urgent(&self) -> Option<u16> {
        word(self.0, 18)
    }

    /// The options, as far as they are there.
    #[must_use]
    pub fn options(&self) -> TcpOptions<'a> {
        let end = self.header_octets().unwrap_or(20).min(self.0.len());
        TcpOptions(self.0.get(20..end).unwrap_or_default())
    }

    /// Data, as far as it is there.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.header_octets().and_then(|at| self.0.get(at..)).unwrap_or_default()
    }

    /// Sequence space that the segment takes: data, SYN and FIN.
    #[must_use]
    pub fn sequence_octets(&self) -> u32 {
        let bits = self.flags().unwrap_or_default();
        let marks = u32::from(bits & flags::SYN != 0) + u32::from(bits & flags::FIN != 0);
        self.payload().len() as u32 + marks
    }
}

/// One option.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TcpOption<'a> {
    /// Filler.
    NoOperation,
    /// Largest segment that the sender takes, octets.
    MaximumSegmentSize(u16),
    /// Binary logarithm.
    WindowScale(u8),
    /// Selective acknowledgements are understood.
    SackPermitted,
    /// Up to four blocks, eight octets each: first octet, and the one behind the last.
    Sack(&'a [u8]),
    /// Own clock and the peer's echoed.
    Timestamps {
        /// Own clock.
        value: u32,
        /// The peer's.
        echo: u32,
    },
    /// A cookie, or empty to ask for one.
    FastOpen(&'a [u8]),
    /// Multipath TCP; the subtype is the upper half of the first octet.
    Multipath(&'a [u8]),
    /// Any other; the experimental ones (253, 254) too.
    Other {
        /// Number of the option.
        kind: u8,
        /// Behind kind and length.
        value: &'a [u8],
    },
}

/// Options one by one; ends at the end of the list or where it stops making sense.
#[derive(Clone, Debug)]
pub struct TcpOptions<'a>(&'a [u8]);

impl<'a> TcpOptions<'a> {
    /// Over the octets of the options alone.
    #[must_use]
    pub fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }
}

impl<'a> Iterator for TcpOptions<'a> {
    type Item = TcpOption<'a>;

    fn next(&mut self) -> Option<TcpOption<'a>> {
        let kind = *self.0.first()?;
        let octets = match kind {
            0 => 0,
            1 => 1,
            _ => usize::from(*self.0.get(1)?),
        };
        if kind == 0 || octets > self.0.len() || kind > 1 && octets < 2 {
            self.0 = &[];
            return None;
        }
        let (option, rest) = self.0.split_at(octets);
        self.0 = rest;
        let value = option.get(2..).unwrap_or_default();
        Some(match (kind, value) {
            (1, _) => TcpOption::NoOperation,
            (2, &[high, low]) => TcpOption::MaximumSegmentSize(u16::from_be_bytes([high, low])),
            (3, &[shift]) => TcpOption::WindowScale(shift),
            (4, []) => TcpOption::SackPermitted,
            (5, blocks) if blocks.len().is_multiple_of(8) => TcpOption::Sack(blocks),
            (8, &[a, b, c, d, e, f, g, h]) => TcpOption::Timestamps {
                value: u32::from_be_bytes([a, b, c, d]),
                echo: u32::from_be_bytes([e, f, g, h]),
            },
            (30, value) => TcpOption::Multipath(value),
            (34, cookie) => TcpOption::FastOpen(cookie),
            (kind, value) => TcpOption::Other { kind, value },
        })
    }
}

impl TcpOption<'_> {
    /// Appends the option as it stands on the wire. Values beyond 253 octets are cut.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let mut put = |kind: u8, value: &[u8]| {
            let value = &value[..value.len().min(253)];
            out.extend([kind, value.len() as u8 + 2]);
            out.extend_from_slice(value);
        };
        match self {
            Self::NoOperation => out.push(1),
            Self::MaximumSegmentSize(octets) => put(2, &octets.to_be_bytes()),
            Self::WindowScale(shift) => put(3, &[*shift]),
            Self::SackPermitted => put(4, &[]),
            Self::Sack(blocks) => put(5, blocks),
            Self::Timestamps { value, echo } => {
                let mut both = [0; 8];
                both[..4].copy_from_slice(&value.to_be_bytes());
                both[4..].copy_from_slice(&echo.to_be_bytes());
                put(8, &both);
            }
            Self::Multipath(value) => put(30, value),
            Self::FastOpen(cookie) => put(34, cookie),
            Self::Other { kind, value } => put(*kind, value),
        }
    }

    /// Several options, filled up to whole words.
    #[must_use]
    pub fn list(options: &[TcpOption<'_>]) -> Vec<u8> {
        let mut out = Vec::with_capacity(40);
        for option in options {
            option.emit(&mut out);
        }
        out.resize(out.len().next_multiple_of(4), 1);
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn options_read_back_as_they_were_written() {
        let options = [
            TcpOption::MaximumSegmentSize(1460),
            TcpOption::SackPermitted,
            TcpOption::Timestamps { value: 7, echo: 9 },
            TcpOption::NoOperation,
            TcpOption::WindowScale(7),
            TcpOption::Multipath(&[0, 1, 2, 3]),
            TcpOption::FastOpen(&[]),
            TcpOption::Other { kind: 254, value: &[0xf9, 0x89] },
        ];
        let octets = TcpOption::list(&options);
        assert_eq!(octets.len() % 4, 0);
        let read: Vec<_> = TcpOptions::new(&octets).take(options.len()).collect();
        assert_eq!(read, options);
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            let view = TcpView::new(&octets);
            let _ = (view.options().count(), view.payload(), view.sequence_octets());
        }
    }
}
