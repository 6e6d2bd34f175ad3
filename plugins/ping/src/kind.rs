//! Kinds of probes, and what answers them.

use sonde_plugin_api::{
    packet::{IpHeader, protocol, tcp},
    prelude::*,
};

use crate::params::PingParams;

choices! {
    /// Kind of probe.
    pub enum Kind {
        /// Echo request; the sequence number tells probes apart.
        IcmpEcho = "icmp-echo",
        /// Timestamp request (IPv4).
        IcmpTime = "icmp-time",
        /// ACK from one port; the acknowledgement number comes back in the reset.
        TcpAck = "tcp-ack",
        /// ACK from a port for each probe.
        TcpAckSport = "tcp-ack-sport",
        /// SYN from one port; the sequence number comes back acknowledged.
        TcpSyn = "tcp-syn",
        /// Datagrams between two ports.
        Udp = "udp",
        /// Datagrams to a port for each probe.
        UdpDport = "udp-dport",
    }
}

/// What a packet means for a probe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Meaning {
    /// The target answered.
    Answer,
    /// Somebody says that the probe did not get there.
    Error,
}

impl Kind {
    /// The word that stands for it.
    pub(crate) fn word(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    pub(crate) fn is_icmp(self) -> bool {
        matches!(self, Self::IcmpEcho | Self::IcmpTime)
    }

    /// A port, and so a flow, for each probe.
    pub(crate) fn has_flow_each(self) -> bool {
        self == Self::TcpAckSport
    }

    /// Octets between IP header and payload.
    pub(crate) fn header_octets(self) -> usize {
        match self {
            Self::IcmpEcho | Self::Udp | Self::UdpDport => 8,
            Self::IcmpTime | Self::TcpAck | Self::TcpAckSport | Self::TcpSyn => 20,
        }
    }

    /// The flow that its probes travel in.
    pub(crate) fn flow(self, params: &PingParams) -> FlowSpec {
        let peer = params.destination;
        let spec = match self {
            Self::IcmpEcho | Self::IcmpTime => FlowSpec::icmp(peer),
            Self::TcpAck | Self::TcpAckSport => FlowSpec::tcp(peer).key(Key::TcpAcknowledgement),
            Self::TcpSyn => FlowSpec::tcp(peer).key(Key::TcpSequence),
            Self::Udp => FlowSpec::udp(peer),
            Self::UdpDport => FlowSpec::udp(peer).key(Key::RemotePort),
        };
        let spec = match params.source {
            Some(source) => spec.source(source),
            None => spec,
        };
        spec.tos(params.tos).local(params.sport)
    }

    /// Probe number `number`; `secret` is the same for all probes of a run.
    pub(crate) fn probe(self, params: &PingParams, number: u32, secret: u32) -> Probe {
        match self {
            Self::IcmpEcho => Probe::echo(number as u16),
            Self::IcmpTime => Probe::timestamp(number as u16),
            Self::TcpAck | Self::TcpAckSport => {
                let acknowledgement = secret.wrapping_add(number);
                Probe::tcp_ack(params.dport, secret.rotate_left(16), acknowledgement).window(65_535)
            }
            // Far enough apart that the answer to one, with all its data, is never that to the next.
            Self::TcpSyn => {
                let sequence = secret.wrapping_add(number << 16).wrapping_add(number >> 16);
                Probe::tcp_syn(params.dport, sequence).window(65_535)
            }
            Self::Udp => Probe::udp(params.dport),
            Self::UdpDport => Probe::udp(params.dport.wrapping_add(number as u16)),
        }
    }

    /// What `reply` means.
    pub(crate) fn meaning(self, params: &PingParams, reply: &Reply) -> Meaning {
        // A host that has no use for a datagram says so: that is the answer one hopes for.
        let port_unreachable = if params.destination.is_ipv4() { 3 } else { 4 };
        let is_port_unreachable = reply.class() == Class::Unreachable
            && reply.icmp_code() == port_unreachable
            && reply.from() == params.destination;
        match (self, reply.class()) {
            (Self::IcmpEcho, Class::EchoReply)
            | (Self::IcmpTime, Class::TimestampReply)
            | (Self::TcpAck | Self::TcpAckSport | Self::TcpSyn, Class::Tcp)
            | (Self::Udp | Self::UdpDport, Class::Udp) => Meaning::Answer,
            (Self::Udp | Self::UdpDport, _) if is_port_unreachable => Meaning::Answer,
            _ => Meaning::Error,
        }
    }

    /// The reset that closes what a SYN opened half, if `packet` opened it.
    pub(crate) fn parting(self, params: &PingParams, packet: &[u8]) -> Option<Probe> {
        let view = segment(packet)?;
        let both = tcp::flags::SYN | tcp::flags::ACK;
        if self != Self::TcpSyn || view.flags()? & both != both {
            return None;
        }
        Some(Probe::tcp_rst(params.dport, view.acknowledgement()?).immediate())
    }
}

/// TCP flags of a packet that is a segment.
pub(crate) fn tcp_flags(packet: &[u8]) -> Option<u8> {
    segment(packet)?.flags()
}

fn segment(packet: &[u8]) -> Option<tcp::TcpView<'_>> {
    let header = IpHeader::parse(packet).ok().filter(|header| header.protocol == protocol::TCP)?;
    Some(tcp::TcpView::new(header.transport(packet)))
}
