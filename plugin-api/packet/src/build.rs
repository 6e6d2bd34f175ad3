//! Whole IP packets, written in place.
//!
//! The kernel is left nothing to fill in: lengths, identification and checksums are all here.

use std::net::IpAddr;

use crate::{checksum, protocol};

/// The IP header of a packet to be built; the family is that of the addresses.
#[derive(Clone, Copy, Debug)]
pub struct Ip<'a> {
    /// Who sends it.
    pub source: IpAddr,
    /// Whom it is for.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// ToS or traffic class, the ECN bits included.
    pub tos: u8,
    /// IPv4 only. The kernel fills in a 0 on raw sockets: choose another.
    pub identification: u16,
    /// IPv4 only.
    pub dont_fragment: bool,
    /// IPv6 only, 20 bits.
    pub flow_label: u32,
    /// IPv4 only, at most 40 octets; filled up to whole words.
    pub options: &'a [u8],
    /// IPv6 only: number of the first extension header, and all of them, the last one naming the
    /// transport protocol.
    pub extension_headers: Option<(u8, &'a [u8])>,
}

impl Ip<'_> {
    /// TTL 64, everything else plain; DF is set.
    #[must_use]
    pub fn plain(source: IpAddr, destination: IpAddr) -> Self {
        Self {
            source,
            destination,
            ttl: 64,
            tos: 0,
            identification: 0,
            dont_fragment: true,
            flow_label: 0,
            options: &[],
            extension_headers: None,
        }
    }
}

/// The header behind IP.
#[derive(Clone, Copy, Debug)]
pub enum Transport<'a> {
    /// ICMP or ICMPv6 echo request.
    Echo {
        /// Tells runs apart.
        identifier: u16,
        /// Tells probes apart.
        sequence: u16,
    },
    /// ICMP timestamp request; IPv4 only.
    Timestamp {
        /// Tells runs apart.
        identifier: u16,
        /// Tells probes apart.
        sequence: u16,
        /// Milliseconds since midnight UTC.
        originate_ms: u32,
    },
    /// UDP.
    Udp {
        /// Ours.
        source_port: u16,
        /// The peer's.
        destination_port: u16,
    },
    /// TCP.
    Tcp(TcpSegment<'a>),
    /// Any other ICMP or ICMPv6 message.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Octets 4 to 7.
        rest: [u8; 4],
    },
    /// The payload is all that follows the IP header.
    Other {
        /// Number of the protocol.
        protocol: u8,
    },
}

/// The TCP header of a packet to be built.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpSegment<'a> {
    /// Ours.
    pub source_port: u16,
    /// The peer's.
    pub destination_port: u16,
    /// Of the first octet.
    pub sequence: u32,
    /// Next octet expected.
    pub acknowledgement: u32,
    /// See [`crate::tcp::flags`].
    pub flags: u8,
    /// Not scaled.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// At most 40 octets; filled up to whole words.
    pub options: &'a [u8],
}

/// What follows the transport header.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// So many octets of zero.
    Zeros(usize),
    /// These.
    Octets(&'a [u8]),
    /// `first`, then `pattern` again and again, `octets` in all.
    Repeat {
        /// At the beginning; cut where it is longer than the whole.
        first: &'a [u8],
        /// Zeros where empty.
        pattern: &'a [u8],
        /// Of the whole payload.
        octets: usize,
    },
}

/// A packet to be built.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The IP header.
    pub ip: Ip<'a>,
    /// The header behind it.
    pub transport: Transport<'a>,
    /// All the rest.
    pub payload: Payload<'a>,
    /// What the transport checksum shall be; the first two octets of the payload absorb the difference.
    pub checksum: Option<u16>,
}

/// Why a packet cannot be built.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BuildError {
    /// One address is IPv4, the other IPv6.
    #[error("source and destination are of different families")]
    Families,
    /// Beyond what the length field can say.
    #[error("a packet of {octets} octets, at most 65535 fit")]
    TooLong {
        /// It would have.
        octets: usize,
    },
    /// IP or TCP options beyond 40 octets.
    #[error("options of {octets} octets, at most 40 fit")]
    Options {
        /// There are.
        octets: usize,
    },
    /// This message exists in the other family only.
    #[error("this message does not exist in IPv6")]
    NotInIpv6,
    /// A wanted checksum takes two octets of payload.
    #[error("choosing the checksum takes a payload of at least 2 octets")]
    NoRoomForChecksum,
    /// The given memory is too small.
    #[error("the packet has {octets} octets, there is room for {room}")]
    NoRoom {
        /// It has.
        octets: usize,
        /// There are.
        room: usize,
    },
}

impl Payload<'_> {
    /// How many octets it has.
    #[must_use]
    pub fn octets(&self) -> usize {
        match self {
            Self::Zeros(octets) | Self::Repeat { octets, .. } => *octets,
            Self::Octets(octets) => octets.len(),
        }
    }

    fn emit(&self, out: &mut [u8]) {
        match self {
            Self::Zeros(_) => out.fill(0),
            Self::Octets(octets) => out.copy_from_slice(octets),
            Self::Repeat { first, pattern, .. } => {
                let cut = first.len().min(out.len());
                let (head, tail) = out.split_at_mut(cut);
                head.copy_from_slice(&first[..cut]);
                if pattern.is_empty() {
                    tail.fill(0);
                    return;
                }
                for chunk in tail.chunks_mut(pattern.len()) {
                    chunk.copy_from_slice(&pattern[..chunk.len()]);
                }
            }
        }
    }
}

impl Transport<'_> {
    fn header_octets(&self) -> usize {
        match self {
            Self::Echo { .. } | Self::Udp { .. } | Self::Icmp { .. } => 8,
            Self::Timestamp { .. } => 20,
            Self::Tcp(segment) => 20 + segment.options.len().next_multiple_of(4),
            Self::Other { .. } => 0,
        }
    }

    fn protocol(&self, is_v4: bool) -> u8 {
        match self {
            Self::Echo { .. } | Self::Icmp { .. } | Self::Timestamp { .. } if is_v4 => {
                protocol::ICMP
            }
            Self::Echo { .. } | Self::Icmp { .. } | Self::Timestamp { .. } => protocol::ICMPV6,
            Self::Udp { .. } => protocol::UDP,
            Self::Tcp(_) => protocol::TCP,
            Self::Other { protocol } => *protocol,
        }
    }

    /// Where the checksum stands in the header.
    fn checksum_at(&self) -> Option<usize> {
        match self {
            Self::Echo { .. } | Self::Icmp { .. } | Self::Timestamp { .. } => Some(2),
            Self::Udp { .. } => Some(6),
            Self::Tcp(_) => Some(16),
            Self::Other { .. } => None,
        }
    }

    /// Writes the header over zeros.
    fn emit(&self, out: &mut [u8], is_v4: bool, octets: usize) {
        match *self {
            Self::Echo { identifier, sequence } => {
                out[0] = if is_v4 { 8 } else { 128 };
                out[4..6].copy_from_slice(&identifier.to_be_bytes());
                out[6..8].copy_from_slice(&sequence.to_be_bytes());
            }
            Self::Timestamp { identifier, sequence, originate_ms } => {
                out[0] = 13;
                out[4..6].copy_from_slice(&identifier.to_be_bytes());
                out[6..8].copy_from_slice(&sequence.to_be_bytes());
                out[8..12].copy_from_slice(&originate_ms.to_be_bytes());
            }
            Self::Udp { source_port, destination_port } => {
                out[0..2].copy_from_slice(&source_port.to_be_bytes());
                out[2..4].copy_from_slice(&destination_port.to_be_bytes());
                out[4..6].copy_from_slice(&(octets as u16).to_be_bytes());
            }
            Self::Tcp(segment) => {
                out[0..2].copy_from_slice(&segment.source_port.to_be_bytes());
                out[2..4].copy_from_slice(&segment.destination_port.to_be_bytes());
                out[4..8].copy_from_slice(&segment.sequence.to_be_bytes());
                out[8..12].copy_from_slice(&segment.acknowledgement.to_be_bytes());
                out[12] = (self.header_octets() as u8 / 4) << 4;
                out[13] = segment.flags;
                out[14..16].copy_from_slice(&segment.window.to_be_bytes());
                out[18..20].copy_from_slice(&segment.urgent.to_be_bytes());
                out[20..20 + segment.options.len()].copy_from_slice(segment.options);
            }
            Self::Icmp { kind, code, rest } => {
                out[..2].copy_from_slice(&[kind, code]);
                out[4..8].copy_from_slice(&rest);
            }
            Self::Other { .. } => {}
        }
    }
}

impl Packet<'_> {
    /// Length of the whole packet.
    ///
    /// # Errors
    ///
    /// Where the parts do not fit together, see [`BuildError`].
    pub fn octets(&self) -> Result<usize, BuildError> {
        let is_v4 = self.ip.source.is_ipv4();
        if is_v4 != self.ip.destination.is_ipv4() {
            return Err(BuildError::Families);
        }
        if !is_v4 && matches!(self.transport, Transport::Timestamp { .. }) {
            return Err(BuildError::NotInIpv6);
        }
        let tcp_options = match self.transport {
            Transport::Tcp(segment) => segment.options.len(),
            _ => 0,
        };
        let options = self.ip.options.len().max(tcp_options);
        if options > 40 {
            return Err(BuildError::Options { octets: options });
        }
        if self.checksum.is_some() && self.payload.octets() < 2 {
            return Err(BuildError::NoRoomForChecksum);
        }
        let header = self.ip_octets(is_v4);
        let octets = header + self.transport.header_octets() + self.payload.octets();
        // The length field of IPv6 does not count its fixed header.
        if octets > 65_535 + if is_v4 { 0 } else { 40 } {
            return Err(BuildError::TooLong { octets });
        }
        Ok(octets)
    }

    /// Writes the packet to the beginning of `out`; its length.
    ///
    /// # Errors
    ///
    /// As [`Packet::octets`], and where `out` is too small.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, BuildError> {
        let octets = self.octets()?;
        let room = out.len();
        let out = out.get_mut(..octets).ok_or(BuildError::NoRoom { octets, room })?;
        let is_v4 = self.ip.source.is_ipv4();
        let header = self.ip_octets(is_v4);
        let (ip, transport) = out.split_at_mut(header);
        let protocol = self.transport.protocol(is_v4);
        self.emit_ip(ip, octets, protocol);
        let behind = transport.len();
        let (front, payload) = transport.split_at_mut(self.transport.header_octets());
        front.fill(0);
        self.transport.emit(front, is_v4, behind);
        self.payload.emit(payload);
        if let Some(at) = self.transport.checksum_at() {
            self.emit_checksum(transport, at, protocol);
        }
        Ok(octets)
    }

    /// The packet in memory of its own.
    ///
    /// # Errors
    ///
    /// As [`Packet::octets`].
    pub fn to_vec(&self) -> Result<Vec<u8>, BuildError> {
        let mut out = vec![0; self.octets()?];
        self.emit(&mut out)?;
        Ok(out)
    }

    fn ip_octets(&self, is_v4: bool) -> usize {
        if is_v4 {
            20 + self.ip.options.len().next_multiple_of(4)
        } else {
            40 + self.ip.extension_headers.map_or(0, |(_, headers)| headers.len())
        }
    }

    fn emit_ip(&self, out: &mut [u8], octets: usize, protocol: u8) {
        match (self.ip.source, self.ip.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                out[20..].fill(0);
                out[0] = 0x40 | (out.len() / 4) as u8;
                out[1] = self.ip.tos;
                out[2..4].copy_from_slice(&(octets as u16).to_be_bytes());
                out[4..6].copy_from_slice(&self.ip.identification.to_be_bytes());
                out[6..8].copy_from_slice(&[if self.ip.dont_fragment { 0x40 } else { 0 }, 0]);
                out[8..12].copy_from_slice(&[self.ip.ttl, protocol, 0, 0]);
                out[12..16].copy_from_slice(&source.octets());
                out[16..20].copy_from_slice(&destination.octets());
                out[20..20 + self.ip.options.len()].copy_from_slice(self.ip.options);
                let checksum = checksum::finish(checksum::sum(out, 0));
                out[10..12].copy_from_slice(&checksum.to_be_bytes());
            }
            (source, destination) => {
                let first = 6 << 28 | u32::from(self.ip.tos) << 20 | self.ip.flow_label & 0xf_ffff;
                let (next, headers) = self.ip.extension_headers.unwrap_or((protocol, &[]));
                out[..4].copy_from_slice(&first.to_be_bytes());
                out[4..6].copy_from_slice(&((octets - 40) as u16).to_be_bytes());
                out[6..8].copy_from_slice(&[next, self.ip.ttl]);
                out[8..24].copy_from_slice(&crate::mapped(source));
                out[24..40].copy_from_slice(&crate::mapped(destination));
                out[40..].copy_from_slice(headers);
            }
        }
    }

    fn emit_checksum(&self, transport: &mut [u8], at: usize, protocol: u8) {
        let pseudo = if protocol == protocol::ICMP {
            0
        } else {
            let (source, destination) = (self.ip.source, self.ip.destination);
            checksum::pseudo_header(source, destination, protocol, transport.len())
        };
        let value = match self.checksum {
            Some(wanted) => {
                let free = self.transport.header_octets();
                transport[free..free + 2].fill(0);
                let natural = checksum::finish(checksum::sum(transport, pseudo));
                let absorbed = checksum::steer(wanted, natural);
                transport[free..free + 2].copy_from_slice(&absorbed.to_be_bytes());
                wanted
            }
            // RFC 768: a computed 0 is sent as all ones, for 0 means that there is none.
            None => match checksum::finish(checksum::sum(transport, pseudo)) {
                0 if protocol == protocol::UDP => 0xffff,
                natural => natural,
            },
        };
        transport[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
