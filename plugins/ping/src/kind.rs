//! What a probe is made of, and what answers it.

use std::net::IpAddr;

use sonde_plugin_api::{
    packet::{Key, tcp::flags},
    prelude::*,
};

choices! {
    /// What a probe is made of.
    pub(crate) enum Kind {
        /// ICMP or ICMPv6 echo request.
        IcmpEcho = "icmp-echo",
        /// ICMP timestamp request; IPv4 alone.
        IcmpTime = "icmp-time",
        /// TCP ACK, all between the same ports.
        TcpAck = "tcp-ack",
        /// TCP ACK, each from a port of its own.
        TcpAckSport = "tcp-ack-sport",
        /// TCP SYN, all between the same ports; what it opens is reset.
        TcpSyn = "tcp-syn",
        /// TCP SYN, each from a port of its own; what it opens is reset.
        TcpSynSport = "tcp-syn-sport",
        /// TCP SYN and ACK, all between the same ports.
        TcpSynAck = "tcp-synack",
        /// TCP RST, which nothing but an ICMP error answers.
        TcpRst = "tcp-rst",
        /// UDP, all between the same ports.
        Udp = "udp",
        /// UDP, each to the next port.
        UdpDport = "udp-dport",
        /// UDP, each from a port of its own.
        UdpSport = "udp-sport",
    }
}

impl Kind {
    pub(crate) fn is_icmp(self) -> bool {
        matches!(self, Self::IcmpEcho | Self::IcmpTime)
    }

    pub(crate) fn is_udp(self) -> bool {
        matches!(self, Self::Udp | Self::UdpDport | Self::UdpSport)
    }

    pub(crate) fn is_tcp(self) -> bool {
        !self.is_icmp() && !self.is_udp()
    }

    /// An answer leaves a connection half open at the peer.
    pub(crate) fn opens(self) -> bool {
        matches!(self, Self::TcpSyn | Self::TcpSynSport)
    }

    /// Each probe has a flow of its own.
    pub(crate) fn has_own_port(self) -> bool {
        matches!(self, Self::TcpAckSport | Self::TcpSynSport | Self::UdpSport)
    }

    /// Octets of the transport header.
    pub(crate) fn header_octets(self) -> usize {
        match self {
            Self::IcmpTime => 20,
            _ if self.is_tcp() => 20,
            _ => 8,
        }
    }

    /// What tells the probes of one flow apart; `None` where the usual key does.
    pub(crate) fn key(self) -> Option<Key> {
        match self {
            Self::TcpAck | Self::TcpAckSport | Self::TcpSynAck => Some(Key::TcpAcknowledgement),
            Self::UdpDport => Some(Key::RemotePort),
            _ => None,
        }
    }

    pub(crate) fn tcp_flags(self) -> u8 {
        match self {
            Self::TcpAck | Self::TcpAckSport => flags::ACK,
            Self::TcpSyn | Self::TcpSynSport => flags::SYN,
            Self::TcpSynAck => flags::SYN | flags::ACK,
            Self::TcpRst => flags::RST,
            _ => 0,
        }
    }

    /// Whether a packet shows that the destination answers; `tcp_flags` are those of a segment.
    pub(crate) fn is_answer(self, reply: &Reply, tcp_flags: u8, destination: IpAddr) -> bool {
        match reply.class() {
            Class::EchoReply => self == Self::IcmpEcho,
            Class::TimestampReply => self == Self::IcmpTime,
            // A bare ACK to a SYN belongs to an older connection, RFC 5961.
            Class::Tcp if self.opens() => is_syn_ack(tcp_flags) || tcp_flags & flags::RST != 0,
            Class::Tcp => self.is_tcp(),
            Class::Udp => self.is_udp(),
            // A closed port of the destination itself is what UDP probes look for.
            Class::Unreachable => {
                let closed = if destination.is_ipv4() { 3 } else { 4 };
                self.is_udp() && reply.from() == destination && reply.icmp_code() == closed
            }
            _ => false,
        }
    }
}

/// The second step of a handshake.
pub(crate) fn is_syn_ack(tcp_flags: u8) -> bool {
    tcp_flags & (flags::SYN | flags::ACK | flags::RST) == flags::SYN | flags::ACK
}
