//! Which measurement a packet belongs to, and which of its probes.

use std::net::IpAddr;

use crate::{Class, IpHeader, Received, long, mapped, protocol, word};

/// What the local identifier of a flow is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Protocol {
    /// ICMP and ICMPv6 queries; the ICMP identifier.
    Icmp = 1,
    /// The source port.
    Tcp = 6,
    /// The source port.
    Udp = 17,
}

impl Protocol {
    /// Of a number as it stands in an IP header, or in [`Protocol`] itself.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            protocol::ICMP | protocol::ICMPV6 => Some(Self::Icmp),
            protocol::TCP => Some(Self::Tcp),
            protocol::UDP => Some(Self::Udp),
            _ => None,
        }
    }
}

/// The measurement key: who talks to whom, by what, from which local identifier.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FlowKey {
    /// As [`mapped`].
    pub local_address: [u8; 16],
    /// As [`mapped`].
    pub remote_address: [u8; 16],
    /// Port or ICMP identifier.
    pub local: u16,
    /// Whose identifier.
    pub protocol: Protocol,
}

impl FlowKey {
    /// Of a packet that we sent, also as a router quotes it: the ICMP header may be cut behind its
    /// eighth octet.
    #[must_use]
    pub fn of_probe(packet: &[u8]) -> Option<Self> {
        let header = IpHeader::parse(packet).ok()?;
        let protocol = Protocol::from_number(header.protocol)?;
        let transport = packet.get(header.header_octets..)?;
        let local = match protocol {
            Protocol::Icmp => word(transport, 4)?,
            Protocol::Tcp | Protocol::Udp => word(transport, 0)?,
        };
        Some(Self::new(protocol, header.source, header.destination, local))
    }

    /// Of its parts.
    #[must_use]
    pub fn new(
        protocol: Protocol,
        local_address: IpAddr,
        remote_address: IpAddr,
        local: u16,
    ) -> Self {
        Self {
            local_address: mapped(local_address),
            remote_address: mapped(remote_address),
            local,
            protocol,
        }
    }
}

/// Which field of a probe comes back in its answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Key {
    /// None: a conversation, or one probe at a time.
    None = 0,
    /// Sequence number of an ICMP query.
    IcmpSequence = 1,
    /// IPv4 identification; comes back in quotes alone.
    IpId = 2,
    /// Destination port.
    RemotePort = 3,
    /// Checksum of a UDP probe; comes back in quotes alone.
    UdpChecksum = 4,
    /// Sequence number; a direct answer acknowledges it.
    TcpSequence = 5,
    /// Acknowledgement number; the sequence number of a reset shows it.
    TcpAcknowledgement = 6,
}

impl Key {
    /// Of its number; an unknown one is [`Key::None`].
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        match number {
            1 => Self::IcmpSequence,
            2 => Self::IpId,
            3 => Self::RemotePort,
            4 => Self::UdpChecksum,
            5 => Self::TcpSequence,
            6 => Self::TcpAcknowledgement,
            _ => Self::None,
        }
    }

    /// The field of a probe, as sent or as quoted.
    #[must_use]
    pub fn of_probe(self, packet: &[u8]) -> Option<u32> {
        let header = IpHeader::parse(packet).ok()?;
        let transport = packet.get(header.header_octets..)?;
        match self {
            Self::None => None,
            Self::IcmpSequence => word(transport, 6).map(u32::from),
            Self::IpId => header.identification,
            Self::RemotePort => word(transport, 2).map(u32::from),
            Self::UdpChecksum => word(transport, 6).map(u32::from),
            Self::TcpSequence => long(transport, 4),
            Self::TcpAcknowledgement => long(transport, 8),
        }
    }

    /// What a direct answer shows of the field. Of [`Key::TcpSequence`] it is what is acknowledged:
    /// the sequence number behind the probe. `None` where the answer shows nothing of it.
    #[must_use]
    pub fn of_answer(self, packet: &[u8], received: &Received) -> Option<u32> {
        let transport = packet.get(received.header_octets..)?;
        match (self, received.class) {
            (Self::IcmpSequence, Class::EchoReply | Class::TimestampReply) => {
                word(transport, 6).map(u32::from)
            }
            (Self::RemotePort, Class::Udp | Class::Tcp) => word(transport, 0).map(u32::from),
            (Self::TcpSequence, Class::Tcp) => long(transport, 8),
            (Self::TcpAcknowledgement, Class::Tcp) => long(transport, 4),
            _ => None,
        }
    }
}
