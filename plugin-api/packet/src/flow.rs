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

/// Where octets of a datagram's payload come back in the payload of its answer, see [`Key::payload`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PayloadKey {
    probe_at: u8,
    answer_at: u8,
    octets: u8,
}

impl PayloadKey {
    /// As it goes over the plugin interface: six bits for each offset, then the number of octets less one.
    #[must_use]
    pub fn bits(self) -> u16 {
        u16::from(self.probe_at) | u16::from(self.answer_at) << 6 | u16::from(self.octets - 1) << 12
    }

    /// Of [`PayloadKey::bits`]; the highest two mean nothing.
    #[must_use]
    pub fn from_bits(bits: u16) -> Self {
        let part = |shift: u16, most: u16| (bits >> shift & most) as u8;
        Self { probe_at: part(0, 63), answer_at: part(6, 63), octets: part(12, 3) + 1 }
    }

    /// The octets from `at` on of a UDP payload as one number.
    fn read(self, transport: &[u8], at: u8) -> Option<u32> {
        let from = 8 + usize::from(at);
        let octets = transport.get(from..from + usize::from(self.octets))?;
        Some(octets.iter().fold(0, |number, octet| number << 8 | u32::from(*octet)))
    }
}

/// Which field of a probe comes back in its answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Key {
    /// None: a conversation, or one probe at a time.
    None,
    /// Sequence number of an ICMP query.
    IcmpSequence,
    /// IPv4 identification; comes back in quotes alone.
    IpId,
    /// Destination port.
    RemotePort,
    /// Checksum of a UDP probe; comes back in quotes alone.
    UdpChecksum,
    /// Sequence number; a direct answer acknowledges it.
    TcpSequence,
    /// Acknowledgement number; the sequence number of a reset shows it.
    TcpAcknowledgement,
    /// Octets of the payload of a UDP probe that answers bring back elsewhere, or not as the first eight.
    Payload(PayloadKey),
}

impl Key {
    /// [`Key::Payload`] of `octets` that stand from `probe_at` on in the probe's payload and from `answer_at` on in the
    /// answer's: `(0, 0, 2)` in DNS (RFC 1035), `(0, 24, 4)` in TWAMP-light (RFC 5357), `(44, 28, 4)` in NTP
    /// (RFC 5905).
    ///
    /// # Panics
    ///
    /// Where an offset is above 63, or `octets` not 1 to 4.
    #[must_use]
    pub const fn payload(probe_at: u8, answer_at: u8, octets: u8) -> Self {
        assert!(probe_at < 64 && answer_at < 64, "an offset is at most 63");
        assert!(1 <= octets && octets <= 4, "a key has one to four octets");
        Self::Payload(PayloadKey { probe_at, answer_at, octets })
    }

    /// Its number in the plugin interface, and what is said beside it.
    #[must_use]
    pub fn number(self) -> (u8, u16) {
        match self {
            Self::None => (0, 0),
            Self::IcmpSequence => (1, 0),
            Self::IpId => (2, 0),
            Self::RemotePort => (3, 0),
            Self::UdpChecksum => (4, 0),
            Self::TcpSequence => (5, 0),
            Self::TcpAcknowledgement => (6, 0),
            Self::Payload(place) => (7, place.bits()),
        }
    }

    /// Of its number; an unknown one is [`Key::None`].
    #[must_use]
    pub fn from_number(number: u8, beside: u16) -> Self {
        match number {
            1 => Self::IcmpSequence,
            2 => Self::IpId,
            3 => Self::RemotePort,
            4 => Self::UdpChecksum,
            5 => Self::TcpSequence,
            6 => Self::TcpAcknowledgement,
            7 => Self::Payload(PayloadKey::from_bits(beside)),
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
            Self::Payload(place) => match Protocol::from_number(header.protocol) {
                Some(Protocol::Udp) => place.read(transport, place.probe_at),
                _ => None,
            },
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
            (Self::Payload(place), Class::Udp) => place.read(transport, place.answer_at),
            _ => None,
        }
    }
}
