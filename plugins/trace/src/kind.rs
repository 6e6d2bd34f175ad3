//! Kinds of probes, what stays the same over a trace, and what tells the probes apart.
//!
//! The flow of the Paris kinds and of TCP is constant, so all probes take one path through balancers
//! that look at ports, checksum or flow label.

use sonde_plugin_api::{
    packet::{IpHeader, protocol, tcp},
    prelude::*,
};

use crate::plan::Plan;

choices! {
    /// Kind of probe.
    pub enum Kind {
        /// Datagrams between two ports; their checksum tells them apart.
        UdpParis = "UDP-paris",
        /// Echo requests of one identifier; their sequence number tells them apart.
        Icmp = "ICMP",
        /// Datagrams to a port for each probe, so to several paths.
        Udp = "UDP",
        /// SYN segments between two ports; their sequence number tells them apart.
        Tcp = "TCP",
        /// ACK segments; a reset repeats their acknowledgement number.
        TcpAck = "TCP-ACK",
        /// As ICMP, with one checksum for all.
        IcmpParis = "ICMP-paris",
    }
}

/// Numbers of probes that carriers tell apart before they repeat.
pub(crate) const NUMBERS: u32 = 32_767;

impl Kind {
    pub(crate) fn is_icmp(self) -> bool {
        matches!(self, Self::Icmp | Self::IcmpParis)
    }

    pub(crate) fn is_udp(self) -> bool {
        matches!(self, Self::Udp | Self::UdpParis)
    }

    pub(crate) fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp | Self::TcpAck)
    }

    /// Octets behind the IP header, without payload.
    pub(crate) fn header_octets(self) -> usize {
        if self.is_tcp() { 20 } else { 8 }
    }

    /// Length of a usual probe, whole packet.
    pub(crate) fn usual_octets(self, is_v4: bool) -> u32 {
        match (self.is_tcp(), is_v4) {
            (true, true) => 40,
            (false, true) => 44,
            (_, false) => 60,
        }
    }

    /// The flow that its probes travel in.
    pub(crate) fn flow(self, peer: IpAddr, keeps_payload: bool) -> FlowSpec {
        let spec = match self {
            Self::UdpParis if keeps_payload => FlowSpec::udp(peer),
            // In IPv4 too: a router may count the identification up, or a translator replace it.
            Self::UdpParis => FlowSpec::udp(peer).key(Key::UdpChecksum),
            Self::Udp => FlowSpec::udp(peer).key(Key::RemotePort),
            Self::Icmp | Self::IcmpParis => FlowSpec::icmp(peer),
            Self::Tcp => FlowSpec::tcp(peer).key(Key::TcpSequence),
            Self::TcpAck => FlowSpec::tcp(peer).key(Key::TcpAcknowledgement),
        };
        spec.kernel_may_answer()
    }

    /// Whether an answer of this class and code is that of the end of the path.
    pub(crate) fn is_reached_by(self, is_v4: bool, class: Class, code: u8) -> bool {
        let port_unreachable = if is_v4 { 3 } else { 4 };
        match class {
            Class::Unreachable => !self.is_icmp() && code == port_unreachable,
            Class::EchoReply => self.is_icmp(),
            Class::Tcp => self.is_tcp(),
            Class::Udp => self.is_udp(),
            _ => false,
        }
    }
}

/// What the probes of one trace carry that nobody outside can guess.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secret(pub(crate) u64);

impl Secret {
    /// IPv4 identification of a probe: odd, so that one counted up by a router is no other's.
    pub(crate) fn ip_id(self, number: u16) -> u16 {
        (self.0 as u16).wrapping_add(number.wrapping_mul(2)) | 1
    }

    /// UDP checksum of a probe: odd, as [`Secret::ip_id`], and not 0xffff.
    pub(crate) fn checksum(self, number: u16) -> u16 {
        let begin = (self.0 >> 16) as u16;
        let place = (u32::from(begin) + u32::from(number)) % NUMBERS;
        (place * 2 + 1) as u16
    }

    fn echo(self, number: u16) -> u16 {
        ((self.0 >> 16) as u16).wrapping_add(number)
    }

    /// Far enough apart that the answer to one, with all its data, is never that to the next.
    pub(crate) fn sequence(self, number: u16) -> u32 {
        ((self.0 >> 16) as u32).wrapping_add(u32::from(number) << 16)
    }

    fn acknowledgement(self, number: u16) -> u32 {
        ((self.0 >> 32) as u32).wrapping_add(u32::from(number))
    }
}

/// Probe `number` of a trace, `octets` long.
pub(crate) fn probe(plan: &Plan, secret: Secret, number: u16, octets: u32) -> Probe {
    let dport = plan.dport;
    let probe = match plan.kind {
        Kind::UdpParis => datagram(plan, secret, dport),
        Kind::Udp => datagram(plan, secret, port(dport, number)),
        // What balancers may look at stays the same, and nobody outside knows what an answer brings back.
        Kind::Icmp => Probe::echo(secret.echo(number)).nonce(secret.0),
        Kind::IcmpParis => Probe::echo(secret.echo(number)).nonce(secret.0).checksum(dport),
        Kind::Tcp => Probe::tcp_syn(dport, secret.sequence(number)),
        Kind::TcpAck => {
            Probe::tcp_ack(dport, secret.sequence(number), secret.acknowledgement(number))
        }
    };
    let probe = match plan.is_steered() {
        true => probe.checksum(secret.checksum(number)),
        false => probe,
    };
    let probe = match &plan.payload {
        Some(payload) => probe.payload(payload),
        None => probe,
    };
    let probe = if plan.is_v4() { probe.ip_id(secret.ip_id(number)) } else { probe };
    probe.size(octets as usize).tos(plan.tos).flow_label(plan.flow_label)
}

/// Over IPv4 the identification and a chosen checksum are secret enough.
fn datagram(plan: &Plan, secret: Secret, port: u16) -> Probe {
    let probe = Probe::udp(port);
    if plan.is_v4() && plan.is_steered() { probe.zeros(0) } else { probe.nonce(secret.0) }
}

/// Ports count up from the first one, and begin again there where none are left.
pub(crate) fn port(first: u16, number: u16) -> u16 {
    let room = 65_536 - u32::from(first);
    let step = if room < 1024 { u32::from(number) } else { u32::from(number) % room };
    port_behind(first, step)
}

/// TCP flags of a packet that is a segment.
pub(crate) fn tcp_flags(packet: &[u8]) -> Option<u8> {
    segment(packet)?.flags()
}

/// The reset that closes what a SYN opened half, if `packet` opened it.
pub(crate) fn parting(plan: &Plan, packet: &[u8]) -> Option<Probe> {
    if plan.kind != Kind::Tcp {
        return None;
    }
    let view = segment(packet)?;
    let both = tcp::flags::SYN | tcp::flags::ACK;
    let opened = view.flags()? & both == both;
    let reset = Probe::tcp_rst(plan.dport, view.acknowledgement()?).immediate();
    opened.then_some(reset)
}

fn segment(packet: &[u8]) -> Option<tcp::TcpView<'_>> {
    let header = IpHeader::parse(packet).ok().filter(|header| header.protocol == protocol::TCP)?;
    Some(tcp::TcpView::new(header.transport(packet)))
}
