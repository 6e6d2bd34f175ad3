//! The IP header of both families, with options and extension headers.
//!
//! Source: RFC 791, RFC 8200, RFC 4302 (authentication header, an extension header of IPv6).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use crate::{Family, long, protocol, word};

/// Extension headers that are walked before a packet is given up; more are an attack.
const MAX_EXTENSION_HEADERS: usize = 16;

/// What stands before the transport header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IpHeader {
    /// Who sent it.
    pub source: IpAddr,
    /// Whom it is for.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// ToS or traffic class, the ECN bits included.
    pub tos: u8,
    /// What follows the last extension header.
    pub protocol: u8,
    /// Where the transport header begins, octets.
    pub header_octets: usize,
    /// Length of the packet as the header claims, octets; may be more or less than is there.
    pub total_octets: usize,
    /// IPv4: always; IPv6: of a fragment.
    pub identification: Option<u32>,
    /// IPv4: the DF bit; IPv6: true.
    pub dont_fragment: bool,
    /// Where this is a part of a packet.
    pub fragment: Option<Fragment>,
    /// IPv6; 0 in IPv4.
    pub flow_label: u32,
    /// IPv4 options, or IPv6 extension headers; empty where there are none.
    pub options: Range<usize>,
}

/// Which part of a packet this is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fragment {
    /// Of its first octet in the whole.
    pub offset_octets: usize,
    /// More parts follow.
    pub more: bool,
}

/// Why octets are no IP packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParseError {
    /// Not even the fixed header is there.
    #[error("{octets} octets are too few for an IP header")]
    Truncated {
        /// There are.
        octets: usize,
    },
    /// The first four bits are neither 4 nor 6.
    #[error("IP version {version}, expected 4 or 6")]
    Version {
        /// As found.
        version: u8,
    },
    /// The header claims a length below its minimum or beyond the data.
    #[error("header length {octets} does not fit")]
    HeaderLength {
        /// As claimed.
        octets: usize,
    },
    /// A chain of extension headers without end.
    #[error("more than {MAX_EXTENSION_HEADERS} extension headers")]
    TooManyHeaders,
}

impl IpHeader {
    /// Reads the header; the transport header behind it may be cut short or missing.
    ///
    /// # Errors
    ///
    /// Where the fixed header or its options are not there. A chain of IPv6 extension headers that
    /// is cut short ends at the cut, with the number of the header that is missing as protocol.
    pub fn parse(packet: &[u8]) -> Result<Self, ParseError> {
        match packet.first().map(|octet| octet >> 4) {
            Some(4) => Self::parse_v4(packet),
            Some(6) => Self::parse_v6(packet),
            Some(version) => Err(ParseError::Version { version }),
            None => Err(ParseError::Truncated { octets: 0 }),
        }
    }

    /// As [`IpHeader::parse`] of a quote that may end within the options of IPv4, which are left out then.
    pub(crate) fn parse_cut(quoted: &[u8]) -> Result<Self, ParseError> {
        Self::parse(quoted).or_else(|error| match (error, quoted.first_chunk::<20>()) {
            (ParseError::HeaderLength { octets }, Some(fixed)) if octets > 20 => {
                let mut fixed = *fixed;
                fixed[0] = 0x45;
                Self::parse(&fixed)
            }
            _ => Err(error),
        })
    }

    /// Of the header itself.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.source)
    }

    /// The transport header and all behind it, without what lies beyond the claimed length.
    #[must_use]
    pub fn transport<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        let end = self.total_octets.clamp(self.header_octets, packet.len().max(self.header_octets));
        packet.get(self.header_octets..end).unwrap_or_default()
    }

    /// True where the transport header is here: not in a fragment behind the first.
    #[must_use]
    pub fn has_transport(&self) -> bool {
        self.fragment.is_none_or(|fragment| fragment.offset_octets == 0)
    }

    /// Numbers of the IPv6 extension headers, in their order, one that is cut short included; nothing
    /// in IPv4.
    pub fn extensions(&self, packet: &[u8]) -> impl Iterator<Item = u8> {
        let first = packet.get(6).copied().filter(|_| self.family() == Family::V6);
        let mut next = first.map(|first| (first, 40));
        std::iter::from_fn(move || {
            let (kind, at) = next?;
            let octets = extension_octets(kind, packet.get(at + 1).copied().unwrap_or_default())?;
            let is_last = at >= self.header_octets;
            next = packet.get(at).filter(|_| !is_last).map(|next| (*next, at + octets));
            Some(kind)
        })
    }

    fn parse_v4(packet: &[u8]) -> Result<Self, ParseError> {
        let fixed: &[u8; 20] =
            packet.first_chunk().ok_or(ParseError::Truncated { octets: packet.len() })?;
        let header_octets = usize::from(fixed[0] & 15) * 4;
        if header_octets < 20 || header_octets > packet.len() {
            return Err(ParseError::HeaderLength { octets: header_octets });
        }
        let bits = u16::from_be_bytes([fixed[6], fixed[7]]);
        let fragment =
            Fragment { offset_octets: usize::from(bits & 0x1fff) * 8, more: bits & 0x2000 != 0 };
        Ok(Self {
            source: Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]).into(),
            destination: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]).into(),
            ttl: fixed[8],
            tos: fixed[1],
            protocol: fixed[9],
            header_octets,
            total_octets: usize::from(u16::from_be_bytes([fixed[2], fixed[3]])),
            identification: Some(u32::from(u16::from_be_bytes([fixed[4], fixed[5]]))),
            dont_fragment: bits & 0x4000 != 0,
            fragment: (fragment.more || fragment.offset_octets != 0).then_some(fragment),
            flow_label: 0,
            options: 20..header_octets,
        })
    }

    fn parse_v6(packet: &[u8]) -> Result<Self, ParseError> {
        let fixed: &[u8; 40] =
            packet.first_chunk().ok_or(ParseError::Truncated { octets: packet.len() })?;
        let address = |at: usize| {
            let mut octets = [0; 16];
            octets.copy_from_slice(&fixed[at..at + 16]);
            IpAddr::V6(Ipv6Addr::from(octets))
        };
        let first = u32::from_be_bytes([fixed[0], fixed[1], fixed[2], fixed[3]]);
        let mut header = Self {
            source: address(8),
            destination: address(24),
            ttl: fixed[7],
            tos: (first >> 20) as u8,
            protocol: fixed[6],
            header_octets: 40,
            total_octets: 40 + usize::from(u16::from_be_bytes([fixed[4], fixed[5]])),
            identification: None,
            dont_fragment: true,
            fragment: None,
            flow_label: first & 0xf_ffff,
            options: 40..40,
        };
        for _ in 0..MAX_EXTENSION_HEADERS {
            if !header.step(packet) {
                header.options = 40..header.header_octets;
                return Ok(header);
            }
        }
        Err(ParseError::TooManyHeaders)
    }

    /// Goes over one extension header; false where none follows or it is cut short.
    fn step(&mut self, packet: &[u8]) -> bool {
        let at = self.header_octets;
        let Some(&[next, length]) = packet.get(at..at + 2).and_then(|two| two.first_chunk()) else {
            return false;
        };
        let Some(octets) = extension_octets(self.protocol, length) else { return false };
        if packet.len() < at + octets {
            return false;
        }
        if self.protocol == protocol::FRAGMENT {
            let bits = word(packet, at + 2).unwrap_or_default();
            self.fragment =
                Some(Fragment { offset_octets: usize::from(bits & !7), more: bits & 1 != 0 });
            self.identification = long(packet, at + 4);
        }
        self.header_octets += octets;
        self.protocol = next;
        // Behind the first part of a packet there is data, not another header.
        self.has_transport()
    }
}

/// Length of an IPv6 extension header; `None` where the number is that of something else.
pub(crate) fn extension_octets(kind: u8, length: u8) -> Option<usize> {
    match kind {
        protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
            Some(8 + usize::from(length) * 8)
        }
        protocol::FRAGMENT => Some(8),
        protocol::AUTHENTICATION => Some(8 + usize::from(length) * 4),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn extension_headers_are_walked_to_the_transport_header() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 24, protocol::HOP_BY_HOP, 64];
        packet.extend([0x20; 32]);
        packet.extend([protocol::FRAGMENT, 0, 1, 4, 0, 0, 0, 0]);
        packet.extend([protocol::UDP, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef]);
        packet.extend([0x80, 0, 0, 53, 0, 8, 0, 0]);
        let header = IpHeader::parse(&packet).unwrap();
        assert_eq!((header.protocol, header.header_octets), (protocol::UDP, 56));
        assert_eq!(header.identification, Some(0xdead_beef));
        assert_eq!(header.fragment, Some(Fragment { offset_octets: 0, more: true }));
        assert_eq!(header.transport(&packet).len(), 8);
    }

    #[test]
    fn an_authentication_header_counts_its_length_in_fours() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 40, protocol::HOP_BY_HOP, 64];
        packet.extend([0x20; 32]);
        packet.extend([protocol::AUTHENTICATION, 0, 1, 4, 0, 0, 0, 0]);
        packet.extend([protocol::UDP, 4, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1]);
        packet.extend([0xaa; 12]);
        packet.extend([0x80, 0, 0, 53, 0, 8, 0, 0]);
        let header = IpHeader::parse(&packet).unwrap();
        assert_eq!((header.protocol, header.header_octets), (protocol::UDP, 72));
        let headers: Vec<u8> = header.extensions(&packet).collect();
        assert_eq!(headers, [protocol::HOP_BY_HOP, protocol::AUTHENTICATION]);
        // Cut short it is the last one.
        let header = IpHeader::parse(&packet[..71]).unwrap();
        assert_eq!((header.protocol, header.header_octets), (protocol::AUTHENTICATION, 48));
    }

    #[test]
    fn a_header_longer_than_the_packet_is_refused() {
        let mut packet = [0; 20];
        packet[0] = 0x46;
        assert_eq!(IpHeader::parse(&packet), Err(ParseError::HeaderLength { octets: 24 }));
        assert_eq!(IpHeader::parse(&[0x50; 40]), Err(ParseError::Version { version: 5 }));
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(mut octets in prop::collection::vec(any::<u8>(), 0..200), six in any::<bool>()) {
            if let Some(first) = octets.first_mut() {
                *first = *first & 15 | if six { 0x60 } else { 0x40 };
            }
            if let Ok(header) = IpHeader::parse(&octets) {
                prop_assert!(header.header_octets <= octets.len());
                let _ = header.transport(&octets);
            }
        }
    }
}
