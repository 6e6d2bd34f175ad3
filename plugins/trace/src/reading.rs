//! What an answer says: about the path, and about what happened to the probe on its way.
//!
//! Source: RFC 792, RFC 4443, RFC 4884, RFC 4950, RFC 5837; Malone, Luckie, "Analysis of ICMP
//! quotations", 2007, for what cannot be trusted in a quote.

use sonde_plugin_api::{
    packet::{
        Depth, IpHeader, Verdict,
        extension::{Extension, InterfaceInformation, InterfaceRole},
        protocol,
        tcp::flags,
        verify,
    },
    prelude::*,
};

use crate::{
    kind::{Kind, Secret, port, tcp_flags},
    plan::Plan,
    rows::{ExtensionRow, HopRow, InterfaceRow, LabelRow, Match, QuoteDepth},
};

/// What an answer means for the path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Meaning {
    /// The path goes on, as far as this answer tells.
    Hop,
    /// The end of the path answered.
    Reached,
    /// It ends here, for this reason.
    Unreachable {
        /// ICMP type.
        icmp_type: u8,
        /// ICMP code.
        code: u8,
    },
}

/// Which probe an answer is to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ProbeName {
    pub(crate) ttl: u8,
    pub(crate) attempt: u8,
    /// Of all probes of the trace, modulo [`crate::kind::NUMBERS`].
    pub(crate) number: u16,
}

impl ProbeName {
    /// As the label of a launched probe.
    pub(crate) fn label(self) -> u32 {
        u32::from(self.number) << 16 | u32::from(self.ttl) << 8 | u32::from(self.attempt)
    }

    pub(crate) fn of(label: u32) -> Self {
        Self { ttl: (label >> 8) as u8, attempt: label as u8, number: (label >> 16) as u16 }
    }
}

/// What an answer means for the path.
pub(crate) fn meaning(plan: &Plan, reply: &Reply) -> Meaning {
    let (icmp_type, code) = (reply.icmp_type(), reply.icmp_code());
    if plan.kind.is_reached_by(plan.is_v4(), reply.class(), code) {
        return Meaning::Reached;
    }
    match reply.class() {
        Class::Unreachable | Class::PacketTooBig => Meaning::Unreachable { icmp_type, code },
        _ => Meaning::Hop,
    }
}

/// A row that says nothing yet.
pub(crate) fn blank(name: ProbeName, flow: u16, round: u32) -> HopRow {
    HopRow {
        ttl: name.ttl,
        attempt: name.attempt,
        addr: None,
        rtt_us: None,
        icmp_type: None,
        icmp_code: None,
        reply_ttl: None,
        quoted_ttl: None,
        quoted_tos: None,
        quoted_dst: None,
        r#match: None,
        mpls: Vec::new(),
        mark: None,
        tcp_flags: None,
        time: None,
        reply_tos: None,
        reply_id: None,
        reply_octets: None,
        hops_back: None,
        quote: None,
        quoted_octets: None,
        rewritten: Vec::new(),
        next_mtu: None,
        interfaces: Vec::new(),
        extensions: Vec::new(),
        late: false,
        flow,
        round,
        rtt_ns: None,
        uncertainty_us: None,
        rx_interface: None,
    }
}

/// All that an answer tells.
pub(crate) fn answer(sent: &Sent<'_>, row: HopRow, reply: &Reply, packet: &[u8]) -> HopRow {
    let is_icmp = !matches!(reply.class(), Class::Tcp | Class::Udp);
    let segment = tcp_flags(packet).filter(|_| !is_icmp);
    let header = IpHeader::parse(packet).ok();
    let mut row = HopRow {
        addr: Some(reply.from()),
        rtt_us: Some(reply.rtt_us()),
        icmp_type: is_icmp.then(|| reply.icmp_type()),
        icmp_code: is_icmp.then(|| reply.icmp_code()),
        reply_ttl: Some(reply.ttl()),
        r#match: Some(if reply.is_weak() { Match::Weak } else { Match::Exact }),
        mark: mark(sent.plan, reply, segment),
        tcp_flags: segment,
        time: Some(reply.at()),
        reply_tos: header.as_ref().map(|header| header.tos),
        reply_id: header.and_then(|header| header.identification).map(|id| id as u16),
        reply_octets: Some(packet.len() as u32),
        hops_back: Some(hops_back(reply.ttl())),
        late: reply.is_late(),
        rtt_ns: Some(reply.rtt().as_nanos() as u64),
        uncertainty_us: Some(reply.uncertainty().as_nanos() as f64 / 1000.0),
        ..row
    };
    if reply.class().is_error() {
        row.next_mtu = next_mtu(reply, packet);
        read_quote(sent, reply, packet, &mut row);
        read_extensions(reply, packet, &mut row);
    }
    row
}

fn read_quote(sent: &Sent<'_>, reply: &Reply, packet: &[u8], row: &mut HopRow) {
    let Some(quote) = reply.quote(packet) else { return };
    let quoted = packet.get(quote.range.clone()).unwrap_or_default();
    row.quote = Some(match quote.depth {
        Depth::Empty => QuoteDepth::Empty,
        Depth::Network => QuoteDepth::Network,
        Depth::Eight => QuoteDepth::Eight,
        Depth::Partial => QuoteDepth::Partial,
        Depth::Full => QuoteDepth::Full,
    });
    row.quoted_octets = u16::try_from(quoted.len()).ok();
    let Ok(header) = IpHeader::parse(quoted) else { return };
    row.quoted_ttl = Some(header.ttl);
    row.quoted_tos = Some(header.tos);
    row.quoted_dst = Some(header.destination);
    row.rewritten = sent.rewritten(quoted, &header, quote.depth);
}

/// A probe as it left.
pub(crate) struct Sent<'a> {
    plan: &'a Plan,
    secret: Secret,
    number: u16,
    source: IpAddr,
    local: u16,
}

impl<'a> Sent<'a> {
    pub(crate) fn new(plan: &'a Plan, secret: Secret, flow: &Flow, number: u16) -> Self {
        Self { plan, secret, number, source: flow.source, local: flow.local }
    }

    /// What the quote shows otherwise than it was sent; nothing where it is not quoted.
    fn rewritten(&self, quoted: &[u8], header: &IpHeader, depth: Depth) -> Vec<String> {
        let transport = quoted.get(header.header_octets..).unwrap_or_default();
        let word = |at: usize| {
            transport.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        };
        let differs = |seen: Option<u16>, sent: u16| seen.is_some_and(|seen| seen != sent);
        let plan = self.plan;
        let dport = match plan.kind {
            Kind::Udp => port(plan.dport, self.number),
            _ => plan.dport,
        };
        let (is_port, is_checksum) = if plan.kind.is_icmp() {
            (differs(word(4), self.local), false)
        } else {
            let seen = word(6).filter(|seen| *seen != 0 && plan.is_steered());
            (
                differs(word(0), self.local) || differs(word(2), dport),
                differs(seen, self.secret.checksum(self.number)),
            )
        };
        let sent = self.secret.sequence(self.number).to_be_bytes();
        let is_sequence =
            plan.kind.is_tcp() && transport.get(4..8).is_some_and(|seen| seen != sent);
        // A whole packet with our addresses whose checksum is not theirs: they were put back.
        let is_whole = depth == Depth::Full && quoted.len() == header.total_octets;
        let is_broken = is_whole && is_wrong(quoted, header);
        let id = header.identification.map(|id| id as u16);
        [
            ("source", header.source != self.source),
            ("destination", header.destination != plan.destination),
            ("port", is_port),
            ("checksum", is_checksum || is_broken),
            ("sequence", is_sequence),
            ("id", plan.is_v4() && differs(id, self.secret.ip_id(self.number))),
        ]
        .into_iter()
        .filter(|(_, holds)| *holds)
        .map(|(name, _)| name.to_owned())
        .collect()
    }
}

/// A whole quoted packet whose transport checksum is not right. Its IP checksum is, by nature, the
/// router's business.
fn is_wrong(quoted: &[u8], header: &IpHeader) -> bool {
    let mut copy = quoted.to_vec();
    if header.source.is_ipv4() {
        let octets = header.header_octets;
        copy[10..12].fill(0);
        let sum = sonde_plugin_api::packet::checksum::sum(&copy[..octets], 0);
        let sum = sonde_plugin_api::packet::checksum::finish(sum);
        copy[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    verify(&copy, header) == Verdict::Bad
}

fn read_extensions(reply: &Reply, packet: &[u8], row: &mut HopRow) {
    for extension in reply.extensions(packet) {
        match extension {
            Extension::Mpls(entries) => row.mpls.extend(entries.iter().map(|entry| LabelRow {
                label: entry.label,
                tc: entry.traffic_class,
                s: entry.bottom,
                ttl: entry.ttl,
            })),
            Extension::Interface(interface) => row.interfaces.push(interface_row(interface)),
            Extension::Unknown { class, subtype, payload } => {
                row.extensions.push(ExtensionRow { class, subtype, payload: Hex(payload) });
            }
        }
    }
}

fn interface_row(interface: InterfaceInformation) -> InterfaceRow {
    let role = match interface.role {
        InterfaceRole::Incoming => "incoming",
        InterfaceRole::SubIncoming => "sub-incoming",
        InterfaceRole::Outgoing => "outgoing",
        InterfaceRole::NextHop => "next-hop",
    };
    InterfaceRow {
        role: role.to_owned(),
        index: interface.index,
        address: interface.address,
        name: interface.name,
        mtu: interface.mtu,
    }
}

/// MTU that a "fragmentation needed" or "packet too big" names; 0 where an old router names none.
pub(crate) fn next_mtu(reply: &Reply, packet: &[u8]) -> Option<u32> {
    let header = IpHeader::parse(packet).ok()?;
    let icmp = packet.get(header.header_octets..)?;
    let is_too_big = match reply.class() {
        Class::Unreachable => header.protocol == protocol::ICMP && reply.icmp_code() == 4,
        class => class == Class::PacketTooBig,
    };
    let at = if header.protocol == protocol::ICMP { 6 } else { 4 };
    let octets = icmp.get(at..8).filter(|_| is_too_big)?;
    Some(octets.iter().fold(0, |number, octet| number << 8 | u32::from(*octet)))
}

/// Routers on the way back: what is missing to the nearest usual initial TTL.
fn hops_back(ttl: u8) -> u8 {
    let initial = [32, 64, 128, 255].into_iter().find(|initial| *initial >= ttl);
    initial.unwrap_or(255) - ttl
}

/// The marks of traceroutes for answers that are not just hops.
fn mark(plan: &Plan, reply: &Reply, segment: Option<u8>) -> Option<String> {
    if let Some(seen) = segment {
        let both = flags::SYN | flags::ACK;
        return Some(match seen {
            seen if seen & flags::RST != 0 => "[closed]".to_owned(),
            seen if seen & both == both && seen & flags::ECE != 0 => "[open, ecn]".to_owned(),
            seen if seen & both == both => "[open]".to_owned(),
            seen => format!("[unknown, 0x{seen:02x}]"),
        });
    }
    let (icmp_type, code) = (reply.icmp_type(), reply.icmp_code());
    let is_end = plan.kind.is_reached_by(plan.is_v4(), reply.class(), code);
    match (reply.class(), plan.is_v4()) {
        _ if is_end => None,
        (Class::TimeExceeded, _) if code == 0 => None,
        (Class::Unreachable, true) => Some(match code {
            0 => "!N".to_owned(),
            1 => "!H".to_owned(),
            2 => "!P".to_owned(),
            4 => "!F".to_owned(),
            5 => "!S".to_owned(),
            9 | 10 | 13 => "!X".to_owned(),
            code => format!("!<{code}>"),
        }),
        (Class::Unreachable, false) => Some(match code {
            0 => "!N".to_owned(),
            1 => "!P".to_owned(),
            2 => "!S".to_owned(),
            3 => "!A".to_owned(),
            code => format!("!<{code}>"),
        }),
        _ => Some(format!("!<{icmp_type},{code}>")),
    }
}
