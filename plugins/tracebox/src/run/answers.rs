//! What an answer is believed for, and what it says of the probe.

use sonde_plugin_api::{
    packet::{IpHeader, protocol, tcp},
    prelude::*,
};

use super::{Answer, SECRET_OCTETS, Session, TTL_AT, UDP_PAYLOAD};
use crate::{
    compare::{Comparison, Modification, Part, brings_back},
    rows::Certainty,
};

impl Session {
    /// Something of the probe that nobody can guess came back, and it is whole.
    pub(super) fn is_believable(&self, probe: &[u8], reply: &Reply, packet: &[u8]) -> bool {
        let is_left_out = self.hears_errors_alone && !reply.class().is_error();
        if reply.bad_checksum() || is_left_out {
            return false;
        }
        match reply.class() {
            Class::Tcp => {
                let Ok(header) = IpHeader::parse(packet) else { return false };
                let segment = tcp::TcpView::new(header.transport(packet));
                let is_ack = segment.flags().is_some_and(|flags| flags & tcp::flags::ACK != 0);
                let is_ours = match segment.acknowledgement() {
                    Some(shown) if is_ack => self.is_ours(shown) || self.is_moved(shown),
                    _ => is_reset_of(probe, &segment),
                };
                is_ours && self.is_from_port(packet)
            }
            Class::Udp => self.spec.is_udp && self.is_from_port(packet),
            class if class.is_error() => {
                let Some(quote) = reply.quote(packet) else { return false };
                let quoted = packet.get(quote.range).unwrap_or_default();
                // Where there are fragments, time ran out for them and not for the probe.
                let is_of_ttl = !self.params.fragments
                    || reply.class() != Class::TimeExceeded
                    || reply.icmp_code() == 0;
                let is_known = brings_back(probe, quoted, Part::Identification)
                    || brings_back(probe, quoted, Part::Transport(4..8))
                    // A checksum where the sequence number ends, for UDP.
                    || self.flow.peer.is_ipv4() && brings_back(probe, quoted, Part::Transport(6..8))
                    || self.is_payload_back(probe, quoted)
                    || self.is_rewritten(probe, quoted);
                let is_of_another = self.is_of_another_probe(probe, quoted);
                is_of_ttl && is_known && !is_of_another && self.is_payload_kept(quoted)
            }
            _ => false,
        }
    }

    /// Everything that nobody can guess was rewritten, but for the port: of TCP, or in IPv6, which has no identification, of
    /// UDP. That makes the row a weak match; while somebody guesses at ports the host lets no such quote through.
    fn is_rewritten(&self, probe: &[u8], quoted: &[u8]) -> bool {
        let Ok(header) = IpHeader::parse(quoted) else { return false };
        let transport = quoted.get(header.header_octets..).unwrap_or_default();
        let ports = [self.flow.local.to_be_bytes(), self.dport.to_be_bytes()].concat();
        let is_possible = match header.protocol {
            protocol::TCP => true,
            protocol::UDP => self.flow.peer.is_ipv6() && !self.is_of_another(probe, transport),
            _ => false,
        };
        is_possible && transport.len() >= 8 && transport.starts_with(&ports)
    }

    /// A datagram that is quoted over IPv6, where little else tells it, has at least half of the octets that nobody else
    /// knows where it shows as many: boxes rewrite some.
    fn is_payload_kept(&self, quoted: &[u8]) -> bool {
        if !self.spec.is_udp || self.spec.payload.is_some() || self.flow.peer.is_ipv4() {
            return true;
        }
        let Ok(header) = IpHeader::parse(quoted) else { return false };
        let secret = &self.payload[..SECRET_OCTETS];
        let shown = quoted.get(header.header_octets + 8..).unwrap_or_default();
        let kept = secret.iter().zip(shown).filter(|(sent, seen)| sent == seen).count();
        shown.len() < SECRET_OCTETS / 2 || kept >= SECRET_OCTETS / 2
    }

    /// The destination's own packet is from the port that was asked.
    fn is_from_port(&self, packet: &[u8]) -> bool {
        let header = IpHeader::parse(packet).ok();
        let port = self.dport.to_be_bytes();
        header.is_some_and(|header| header.transport(packet).starts_with(&port))
    }

    /// A datagram that is quoted carries the octets that nobody else knows, whatever became of its header.
    fn is_payload_back(&self, probe: &[u8], quoted: &[u8]) -> bool {
        let is_secret = self.spec.is_udp && self.spec.payload.is_none();
        is_secret && brings_back(probe, quoted, Part::Transport(8..8 + UDP_PAYLOAD))
    }

    /// A datagram that is quoted carries the payload of another probe.
    fn is_of_another(&self, probe: &[u8], transport: &[u8]) -> bool {
        let payload = transport.get(8..8 + UDP_PAYLOAD).unwrap_or_default();
        let is_mine = self.spec.payload.is_none() && payload.starts_with(&self.payload[..TTL_AT]);
        is_mine && !probe.ends_with(payload)
    }

    /// What is quoted has the number of another probe, whose answer comes late.
    fn is_of_another_probe(&self, probe: &[u8], quoted: &[u8]) -> bool {
        let seen = number(quoted).filter(|seen| Some(*seen) != number(probe));
        seen.is_some_and(|seen| self.numbers.contains(&seen))
    }

    /// Whether what came back tells that it is the probe's own answer, and no guess: a sequence number, or else the ports with
    /// the identification or the checksum.
    pub(super) fn quality(&self, probe: &[u8], quoted: &[u8]) -> Certainty {
        let shows = |part| brings_back(probe, quoted, part);
        let is_told = shows(Part::Transport(4..8));
        let has_ports = shows(Part::Transport(0..4));
        let is_exact = match self.spec.is_udp {
            false if is_told => true,
            _ => has_ports && (is_told || shows(Part::Identification)),
        };
        if is_exact { Certainty::Exact } else { Certainty::Weak }
    }

    /// The same of the destination's own packet: a datagram may answer anything, unless it brings back the payload.
    pub(super) fn quality_of_end(&self, probe: &[u8], packet: &[u8]) -> Certainty {
        let is_echo = || self.is_payload_back(probe, packet);
        if !self.spec.is_udp || is_echo() { Certainty::Exact } else { Certainty::Weak }
    }

    /// Whether the destination's segment acknowledges the number that was sent, and so got it unchanged.
    pub(super) fn acknowledges(&self, packet: &[u8]) -> Option<bool> {
        let header = IpHeader::parse(packet).ok()?;
        let segment = tcp::TcpView::new(header.transport(packet));
        segment.flags().filter(|flags| flags & tcp::flags::ACK != 0)?;
        Some(self.is_ours(segment.acknowledgement()?))
    }

    /// Whether this acknowledges a probe, all of it or less.
    fn is_ours(&self, shown: u32) -> bool {
        self.numbers.iter().any(|number| self.covers(shown, *number))
    }

    /// The same where a box has moved the numbers, or made one up: a quote showed what it put in their place.
    fn is_moved(&self, shown: u32) -> bool {
        let number = |text: &Option<String>| u32::from_str_radix(text.as_deref()?, 16).ok();
        let read = |it: &Modification| match it.field.as_str() {
            "TCP::SeqNumber" => Some((number(&it.sent)?, number(&it.seen)?)),
            _ => None,
        };
        let changes = self.told.iter().flat_map(|told| &told.comparison.modifications);
        changes.filter_map(read).any(|(sent, seen)| {
            let back = shown.wrapping_sub(seen.wrapping_sub(sent));
            self.covers(shown, seen) || self.is_ours(back)
        })
    }

    /// A SYN takes one number, and its data the others.
    fn covers(&self, shown: u32, number: u32) -> bool {
        let mut payload = self.spec.payload.as_ref().map_or(0, Vec::len);
        if self.params.fragments {
            payload = payload.max(UDP_PAYLOAD);
        }
        shown.wrapping_sub(number) <= payload as u32 + 1
    }

    /// Whether a SYN/ACK grants the ECN that the probe asked for. Source: RFC 3168, section 6.1.1.
    pub(super) fn grants_ecn(&self, answer: Option<u8>) -> Option<bool> {
        use tcp::flags::{ACK, CWR, ECE, SYN};
        let answer = answer.filter(|flags| flags & (SYN | ACK) == SYN | ACK)?;
        let is_asked = self.spec.flags & (ECE | CWR) == ECE | CWR;
        is_asked.then_some(answer & (ECE | CWR) == ECE)
    }

    /// The destination says that nobody listens at the port: the probe got there.
    pub(super) fn is_end(&self, reply: &Reply) -> bool {
        let port_unreachable = if self.flow.peer.is_ipv4() { 3 } else { 4 };
        reply.class() == Class::Unreachable
            && reply.icmp_code() == port_unreachable
            && reply.from() == self.flow.peer
    }
}

/// A SYN/ACK came.
pub(super) fn is_open(answer: &Answer) -> bool {
    let both = tcp::flags::SYN | tcp::flags::ACK;
    segment_flags(&answer.packet).is_some_and(|flags| flags & both == both)
}

/// What the destination's own packet says, and the word for it where it is no list of options.
pub(super) fn of_endpoint(probe: &[u8], packet: &[u8]) -> (Comparison, Option<String>) {
    match segment_flags(packet) {
        Some(flags) if flags & tcp::flags::RST != 0 => {
            (Comparison::default(), Some("RST".to_owned()))
        }
        Some(flags) if flags & tcp::flags::FIN != 0 => {
            (Comparison::default(), Some("FIN".to_owned()))
        }
        Some(_) => (Comparison::of_answer(probe, packet), None),
        None => (Comparison::default(), None),
    }
}

pub(super) fn segment(packet: &[u8]) -> Option<tcp::TcpView<'_>> {
    let header = IpHeader::parse(packet).ok().filter(|header| header.protocol == protocol::TCP)?;
    Some(tcp::TcpView::new(header.transport(packet)))
}

/// The sequence number of a segment, also where little of it is quoted, or length and checksum of a datagram in its place.
pub(super) fn number(packet: &[u8]) -> Option<u32> {
    let header = IpHeader::parse(packet).ok()?;
    tcp::TcpView::new(packet.get(header.header_octets..)?).sequence()
}

pub(super) fn segment_flags(packet: &[u8]) -> Option<u8> {
    segment(packet)?.flags()
}

/// Whether a segment that acknowledges nothing is the reset of a closed port: it has the number that the probe acknowledged,
/// and a probe that acknowledged none is answered with an acknowledgement. Source: RFC 9293, section 3.10.7.1.
fn is_reset_of(probe: &[u8], segment: &tcp::TcpView<'_>) -> bool {
    let Ok(header) = IpHeader::parse(probe) else { return false };
    let asked = tcp::TcpView::new(header.transport(probe));
    let is_ack = asked.flags().is_some_and(|flags| flags & tcp::flags::ACK != 0);
    is_ack && segment.sequence().is_some() && segment.sequence() == asked.acknowledgement()
}
