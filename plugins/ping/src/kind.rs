//! Kinds of probes, and what answers them.

use sonde_plugin_api::{
    packet::tcp::{TcpOption, TcpView, flags},
    prelude::*,
};

use crate::{check::Shape, params::PingParams};

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
        /// SYN from a port for each probe.
        TcpSynSport = "tcp-syn-sport",
        /// SYN and ACK; the acknowledgement number comes back in the reset.
        TcpSynAck = "tcp-synack",
        /// Reset; no answer of the target is expected.
        TcpRst = "tcp-rst",
        /// Datagrams between two ports.
        Udp = "udp",
        /// Datagrams to a port for each probe.
        UdpDport = "udp-dport",
        /// Datagrams from a port for each probe.
        UdpSport = "udp-sport",
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

/// Numbers of a run that nobody outside can guess, unless they were chosen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Secret {
    sequence: u32,
    acknowledgement: u32,
    identification: u16,
}

/// Identifications that are odd, which come before the others.
const ODD: u32 = 32_768;

impl Secret {
    /// As chosen, else at random; an echo whose payload is a secret begins with 0.
    pub(crate) fn of(params: &PingParams, shape: &Shape, random: u64, identification: u16) -> Self {
        let has_secret = params.method == Kind::IcmpEcho && !shape.is_alike;
        let usual = if has_secret { 0 } else { random as u32 };
        Self {
            sequence: params.sequence.unwrap_or(usual),
            acknowledgement: params.acknowledgement.unwrap_or((random >> 32) as u32),
            identification,
        }
    }

    /// The IPv4 identification of probe number `number`, never 0.
    ///
    /// By two: one that a router counted up in its quote is not that of the next probe.
    pub(crate) fn ip_id(self, number: u32) -> u16 {
        let place = (u32::from(self.identification) + number % 65_535) % 65_535;
        let ip_id = if place < ODD { 2 * place + 1 } else { 2 * (place - ODD) + 2 };
        ip_id as u16
    }

    /// The checksum of probe number `number`, where that is what tells it: neither 0 nor its other form.
    pub(crate) fn checksum(self, number: u32) -> u16 {
        ((u64::from(self.sequence) + u64::from(number)) % 65_534 + 1) as u16
    }
}

impl Kind {
    pub(crate) fn is_icmp(self) -> bool {
        matches!(self, Self::IcmpEcho | Self::IcmpTime)
    }

    pub(crate) fn is_tcp(self) -> bool {
        self.is_syn()
            || matches!(self, Self::TcpAck | Self::TcpAckSport | Self::TcpSynAck | Self::TcpRst)
    }

    /// It opens connections half.
    pub(crate) fn is_syn(self) -> bool {
        matches!(self, Self::TcpSyn | Self::TcpSynSport)
    }

    /// It has an acknowledgement number that counts.
    pub(crate) fn acknowledges(self) -> bool {
        matches!(self, Self::TcpAck | Self::TcpAckSport | Self::TcpSynAck)
    }

    /// It may name the largest segment.
    pub(crate) fn may_name_mss(self) -> bool {
        self.is_syn() || self == Self::TcpSynAck
    }

    /// A port, and so a flow, for each probe.
    pub(crate) fn has_flow_each(self) -> bool {
        matches!(self, Self::TcpAckSport | Self::TcpSynSport | Self::UdpSport)
    }

    /// Octets between IP header and payload, without TCP options.
    pub(crate) fn header_octets(self) -> usize {
        match self {
            Self::IcmpEcho | Self::Udp | Self::UdpDport | Self::UdpSport => 8,
            _ => 20,
        }
    }

    /// The flow that its probes travel in.
    pub(crate) fn flow(self, params: &PingParams) -> FlowSpec {
        let peer = params.destination;
        let mut spec = match self {
            Self::IcmpEcho | Self::IcmpTime => FlowSpec::icmp(peer),
            Self::TcpAck | Self::TcpAckSport | Self::TcpSynAck => {
                FlowSpec::tcp(peer).key(Key::TcpAcknowledgement)
            }
            Self::TcpSyn | Self::TcpSynSport | Self::TcpRst => {
                FlowSpec::tcp(peer).key(Key::TcpSequence)
            }
            Self::Udp => FlowSpec::udp(peer),
            Self::UdpDport | Self::UdpSport => FlowSpec::udp(peer).key(Key::RemotePort),
        };
        if let Some(source) = params.source {
            spec = spec.source(source);
        }
        if let Some(gateway) = params.gateway {
            spec = spec.gateway(gateway);
        }
        spec.tos(params.tos)
    }

    /// Probe number `number`. In TCP the number that comes back goes up with it, so that an answer
    /// tells its probe; where each has a port of its own that is not needed.
    pub(crate) fn probe(self, params: &PingParams, number: u32, secret: Secret) -> Probe {
        let Secret { sequence, acknowledgement, .. } = secret;
        let port = params.dport;
        // Where an error quotes eight octets of an ACK this alone tells whose it is, over IPv6.
        let behind = params.sequence.unwrap_or(sequence.wrapping_add(number));
        let mut probe = match self {
            Self::IcmpEcho => Probe::echo(sequence.wrapping_add(number) as u16),
            Self::IcmpTime => Probe::timestamp(sequence.wrapping_add(number) as u16),
            Self::TcpAck => Probe::tcp_ack(port, behind, acknowledgement.wrapping_add(number)),
            Self::TcpAckSport => Probe::tcp_ack(port, sequence, acknowledgement),
            Self::TcpSynAck => Probe::tcp_ack(port, behind, acknowledgement.wrapping_add(number))
                .flags(flags::SYN | flags::ACK),
            Self::TcpSyn => Probe::tcp_syn(port, far_apart(sequence, number)),
            Self::TcpSynSport => Probe::tcp_syn(port, sequence),
            Self::TcpRst => Probe::tcp_rst(port, far_apart(sequence, number)),
            Self::Udp | Self::UdpSport => Probe::udp(port),
            Self::UdpDport => Probe::udp(port_behind(port, number)),
        };
        if params.mss != 0 {
            probe =
                probe.tcp_options(&TcpOption::list(&[TcpOption::MaximumSegmentSize(params.mss)]));
        }
        probe
    }

    /// What `reply` means.
    pub(crate) fn meaning(self, params: &PingParams, reply: &Reply) -> Meaning {
        // A host that has no use for a datagram says so: that is the answer one hopes for.
        let port_unreachable = if params.destination.is_ipv4() { 3 } else { 4 };
        let is_port_unreachable = reply.class() == Class::Unreachable
            && reply.icmp_code() == port_unreachable
            && reply.from() == params.destination;
        let is_udp = !self.is_icmp() && !self.is_tcp();
        let is_answer = match reply.class() {
            Class::EchoReply => self == Self::IcmpEcho,
            Class::TimestampReply => self == Self::IcmpTime,
            Class::Tcp => self.is_tcp(),
            Class::Udp => is_udp,
            _ => is_udp && is_port_unreachable,
        };
        if is_answer { Meaning::Answer } else { Meaning::Error }
    }

    /// The reset that closes what a SYN opened half, if `segment` opened it.
    pub(crate) fn parting(self, params: &PingParams, segment: &TcpView<'_>) -> Option<Probe> {
        let both = flags::SYN | flags::ACK;
        if !self.is_syn() || segment.flags()? & both != both {
            return None;
        }
        Some(Probe::tcp_rst(params.dport, segment.acknowledgement()?).immediate())
    }

    /// The reset that closes what SYN number `number` may have opened half, though nobody said so.
    pub(crate) fn reset(params: &PingParams, number: u32, secret: Secret) -> Probe {
        let behind = far_apart(secret.sequence, number).wrapping_add(1);
        Probe::tcp_rst(params.dport, behind).ttl(params.probe_ttl())
    }
}

/// Sequence numbers so far apart that the answer to one, with all its data, is never that to the
/// next.
fn far_apart(first: u32, number: u32) -> u32 {
    first.wrapping_add(number << 16).wrapping_add(number >> 16)
}
