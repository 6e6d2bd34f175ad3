//! Kinds of probes, and what makes one of them belong to another flow.

use sonde_plugin_api::prelude::*;

use crate::params::TracelbParams;

choices! {
    /// Kind of probe, named after what varies from flow to flow.
    pub enum Kind {
        /// Datagrams to one destination port for each flow.
        UdpDport = "udp-dport",
        /// Echo requests; their checksum is what varies.
        IcmpEcho = "icmp-echo",
        /// Datagrams from one source port for each flow.
        UdpSport = "udp-sport",
        /// SYN from one source port for each flow.
        TcpSport = "tcp-sport",
        /// ACK from one source port for each flow.
        TcpAckSport = "tcp-ack-sport",
    }
}

/// Length of UDP and ICMP probes, octets; those of TCP have no payload.
const SIZE4: usize = 44;
const SIZE6: usize = 60;

impl Kind {
    /// A local port for each flow.
    pub(crate) fn has_port_each(self) -> bool {
        matches!(self, Self::UdpSport | Self::TcpSport | Self::TcpAckSport)
    }

    /// What to open for flow number `flow`; those without a port each share that of number 0.
    pub(crate) fn spec(self, params: &TracelbParams, flow: u32) -> FlowSpec {
        let peer = params.destination;
        let spec = match self {
            Self::UdpDport | Self::UdpSport => FlowSpec::udp(peer),
            Self::IcmpEcho => FlowSpec::icmp(peer),
            Self::TcpSport => FlowSpec::tcp(peer),
            Self::TcpAckSport => FlowSpec::tcp(peer).key(Key::TcpAcknowledgement),
        };
        let spec = match params.source {
            Some(source) => spec.source(source),
            None => spec,
        };
        let spec = match params.gateway {
            Some(gateway) => spec.gateway(gateway),
            None => spec,
        };
        spec.kernel_may_answer().tos(params.tos).local_behind(params.sport, flow % FLOWS_OPEN)
    }

    /// Destination port of flow number `flow`; those with a port of ours each share it as far as these go.
    pub(crate) fn dport(self, params: &TracelbParams, flow: u32) -> u16 {
        let first = if params.dport == 0 { TracelbParams::DPORT } else { params.dport };
        match self {
            Self::UdpDport => port_behind(first, flow),
            _ if self.has_port_each() => port_behind(first, flow / FLOWS_OPEN),
            _ => first,
        }
    }

    /// Probe number `number` of the run, in flow number `flow`. What tells it from others begins at the secret, so
    /// that nobody who has not seen it can answer it.
    pub(crate) fn probe(
        self,
        params: &TracelbParams,
        flow: u32,
        number: u32,
        secret: u32,
    ) -> Probe {
        let is_ip4 = params.destination.is_ipv4();
        let dport = self.dport(params, flow);
        let (low, high) = (secret as u16, (secret >> 16) as u16);
        // Neither 0, which is none, nor 0xffff, which is another 0.
        let checksum = |begin: u16, step: u32| ((u32::from(begin) + step) % 65_534 + 1) as u16;
        // Far apart, so that the answer to one is never that to the next.
        let spread = secret.wrapping_add(number << 16).wrapping_add(number >> 16);
        match self {
            Self::UdpDport | Self::UdpSport => {
                let probe = Probe::udp(dport).size(if is_ip4 { SIZE4 } else { SIZE6 });
                // IPv4 probes are told apart by their identification.
                if is_ip4 { probe } else { probe.checksum(checksum(low, number)) }
            }
            Self::IcmpEcho => Probe::echo(low.wrapping_add(number as u16))
                .size(if is_ip4 { SIZE4 } else { SIZE6 })
                // The data of a flow stays the same too.
                .nonce(u64::from(secret) << 32 | u64::from(!secret))
                .checksum(checksum(high, flow)),
            Self::TcpSport => Probe::tcp_syn(dport, spread),
            // In both numbers: quotes of eight octets hold the first, a reset gives back the second.
            Self::TcpAckSport => Probe::tcp_ack(dport, spread, spread),
        }
    }
}

/// Ports of ours that are in use at a time, where each flow has one; more flows differ in the other port as well. The
/// host gives a measurement 1024.
pub(crate) const FLOWS_OPEN: u32 = 1000;
