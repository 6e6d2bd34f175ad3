//! ICMP errors as routers and hosts send them: for packet-too-big probes, and for simulated routers.
//!
//! Source: RFC 792, RFC 1191, RFC 4443, RFC 4884.

use std::net::IpAddr;

use crate::{BuildError, Ip, Packet, Payload, Transport, extension};

/// An ICMP error about `quoted`.
#[derive(Clone, Copy, Debug)]
pub struct ErrorMessage<'a> {
    /// Who sends it.
    pub source: IpAddr,
    /// Whom it is for.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// What is wrong.
    pub kind: ErrorKind,
    /// The packet it is about, from its IP header on.
    pub quoted: &'a [u8],
    /// How much of it is quoted.
    pub quoted_octets: usize,
    /// Objects behind the quote, which is then filled up to 128 octets.
    pub extensions: &'a [extension::Extension],
}

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorKind {
    /// TTL or hop limit ran out in transit.
    TimeExceeded,
    /// Code as in the family of the packet.
    Unreachable(u8),
    /// Nothing listens at the port.
    PortUnreachable,
    /// IPv4: fragmentation needed and DF set; with the MTU of the next hop.
    PacketTooBig(u32),
    /// With the offset of the offending octet.
    ParameterProblem(u32),
}

impl ErrorMessage<'_> {
    /// The whole packet.
    ///
    /// # Errors
    ///
    /// As [`Packet::octets`].
    pub fn to_vec(&self) -> Result<Vec<u8>, BuildError> {
        let is_v4 = self.source.is_ipv4();
        let mut body = self.quoted[..self.quoted.len().min(self.quoted_octets)].to_vec();
        let (kind, code, mut rest) = self.header(is_v4);
        if !self.extensions.is_empty() {
            let unit = if is_v4 { 4 } else { 8 };
            body.resize(body.len().max(128).next_multiple_of(unit), 0);
            rest[usize::from(is_v4)] = (body.len() / unit) as u8;
            body.extend(extension::emit(self.extensions));
        }
        let packet = Packet {
            ip: Ip {
                ttl: self.ttl,
                dont_fragment: false,
                ..Ip::plain(self.source, self.destination)
            },
            transport: Transport::Icmp { kind, code, rest },
            payload: Payload::Octets(&body),
            checksum: None,
        };
        packet.to_vec()
    }

    fn header(&self, is_v4: bool) -> (u8, u8, [u8; 4]) {
        match (self.kind, is_v4) {
            (ErrorKind::TimeExceeded, true) => (11, 0, [0; 4]),
            (ErrorKind::TimeExceeded, false) => (3, 0, [0; 4]),
            (ErrorKind::Unreachable(code), true) => (3, code, [0; 4]),
            (ErrorKind::Unreachable(code), false) => (1, code, [0; 4]),
            (ErrorKind::PortUnreachable, true) => (3, 3, [0; 4]),
            (ErrorKind::PortUnreachable, false) => (1, 4, [0; 4]),
            (ErrorKind::PacketTooBig(mtu), true) => {
                let [_, _, high, low] = mtu.min(65_535).to_be_bytes();
                (3, 4, [0, 0, high, low])
            }
            (ErrorKind::PacketTooBig(mtu), false) => (2, 0, mtu.to_be_bytes()),
            (ErrorKind::ParameterProblem(at), true) => (12, 0, [at as u8, 0, 0, 0]),
            (ErrorKind::ParameterProblem(at), false) => (4, 0, at.to_be_bytes()),
        }
    }
}
