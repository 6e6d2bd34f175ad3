//! What of a probe can come back, taken from the probe itself.

use super::Flow;
use crate::{
    Class, Family, FlowKey, IpHeader, Key, Protocol, Received, checksum, long, mapped,
    tcp::TcpView, word,
};

/// Octets of a payload that tell enough beside the checksum: more than the two that depend on it.
pub(super) const TELLING: u32 = 4;

/// The fields of one probe that identify its answers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Expected {
    /// The declared field, as sent.
    pub(super) field: u32,
    /// What a direct answer shows of it.
    pub(super) direct: u32,
    /// Octets 4 to 7 of the transport header: in every quote of 28 octets.
    pub(super) word: u32,
    /// First octets of the payload of an ICMP query, whose answer brings them back, or of a datagram,
    /// whose answer may.
    pub(super) payload: u64,
    /// IPv4 identification; 0 in IPv6.
    pub(super) identification: u16,
    /// Of UDP and ICMP; it depends on the whole payload, which nobody else knows.
    checksum: u16,
    /// Destination port; 0 in ICMP.
    remote_port: u16,
}

impl Expected {
    /// Of a whole packet of ours.
    pub(super) fn of(packet: &[u8], key: Key) -> Option<Self> {
        let header = IpHeader::parse(packet).ok()?;
        let transport = packet.get(header.header_octets..)?;
        let field = key.of_probe(packet).unwrap_or_default();
        let direct = match key {
            Key::TcpSequence => field.wrapping_add(TcpView::new(transport).sequence_octets()),
            _ => field,
        };
        let protocol = Protocol::from_number(header.protocol);
        let is_icmp = protocol == Some(Protocol::Icmp);
        Some(Self {
            field,
            direct,
            word: long(transport, 4).unwrap_or_default(),
            payload: match protocol {
                Some(Protocol::Tcp) => 0,
                _ => begin(transport.get(8..).unwrap_or_default()),
            },
            identification: header.identification.unwrap_or_default() as u16,
            checksum: shown_checksum(protocol, transport).unwrap_or_default(),
            remote_port: if is_icmp { 0 } else { word(transport, 2).unwrap_or_default() },
        })
    }

    /// What tells it from other probes, as the method declared.
    pub(super) fn field(&self) -> u32 {
        self.field
    }

    /// Whether a direct answer is that of this probe, as far as `key` can tell.
    pub(super) fn is_answered_by(&self, key: Key, packet: &[u8], received: &Received) -> bool {
        if matches!(received.class, Class::EchoReply | Class::TimestampReply) {
            let body = packet.get(received.header_octets + 8..).unwrap_or_default();
            // A timestamp reply brings back the first four octets alone.
            let mask = if received.class == Class::EchoReply { u64::MAX } else { u64::MAX << 32 };
            if begin(body) & mask != self.payload & mask {
                return false;
            }
        }
        if matches!(received.class, Class::Tcp | Class::Udp)
            && word(packet, received.header_octets) != Some(self.remote_port)
        {
            return false;
        }
        match (key, key.of_answer(packet, received)) {
            // All of it, or only the SYN where it carries data; some stacks do not count the SYN.
            (Key::TcpSequence, Some(shown)) => {
                shown.wrapping_sub(self.field) <= self.direct.wrapping_sub(self.field)
            }
            (_, Some(shown)) => shown == self.direct,
            (_, None) => true,
        }
    }

    /// Whether a datagram brings back what this one carried, as echo servers do.
    pub(super) fn is_echoed_by(&self, packet: &[u8], received: &Received) -> bool {
        let body = packet.get(received.header_octets + 8..).unwrap_or_default();
        received.class == Class::Udp && self.payload != 0 && begin(body) == self.payload
    }

    /// Whether a quote is of this probe: by the field. A port is no secret, so with it the
    /// identification or octets 4 to 7 of the transport header must be right too; where the quote ends
    /// before the acknowledgement number, the sequence number and the identification stand for it.
    pub(super) fn is_quoted(
        &self,
        ends: &FlowKey,
        key: Key,
        quoted: &[u8],
        header: &IpHeader,
    ) -> bool {
        let transport = quoted.get(header.header_octets..).unwrap_or_default();
        let by_word = || long(transport, 4) == Some(self.word);
        let is_field = |shown| shown == self.field;
        match (key, key.of_probe(quoted)) {
            (Key::None | Key::IpId, _) => false,
            (Key::RemotePort, Some(shown)) => {
                let by_sum = || self.is_summed(ends, transport, header);
                is_field(shown) && (by_word() || by_sum() || self.is_identified(quoted))
            }
            (Key::TcpAcknowledgement, None) => by_word() && self.is_identified(quoted),
            (Key::UdpChecksum, Some(_)) => self.is_summed(ends, transport, header),
            // Most quotes end before the payload.
            (Key::Payload(_), None) => self.is_summed(ends, transport, header),
            (_, shown) => shown.is_some_and(is_field),
        }
    }

    /// Whether a direct answer shows more than ports, which are too few to be a secret: a datagram does
    /// where it brings back the payload.
    pub(super) fn is_proven_by(&self, key: Key, packet: &[u8], received: &Received) -> bool {
        received.class != Class::Udp
            || matches!(key, Key::Payload(_))
            || self.is_echoed_by(packet, received)
    }

    /// Whether a quote shows, beside the local port or identifier, something else that only who saw
    /// the probe can know: the sequence number in TCP, or the acknowledgement number where that tells probes apart, else the
    /// checksum, or the IPv4 identification.
    pub(super) fn is_evident(&self, flow: &Flow, quoted: &[u8], header: &IpHeader) -> bool {
        let transport = quoted.get(header.header_octets..).unwrap_or_default();
        let is_acknowledged =
            || flow.field == Key::TcpAcknowledgement && long(transport, 8) == Some(self.field);
        self.is_shown(&flow.key, transport, header)
            || is_acknowledged()
            || self.is_identified(quoted)
    }

    /// Whether the transport header of a quote shows what only who saw the probe can know: the sequence number in TCP, else
    /// the checksum.
    pub(super) fn is_shown(&self, ends: &FlowKey, transport: &[u8], header: &IpHeader) -> bool {
        match ends.protocol {
            Protocol::Tcp => long(transport, 4) == Some(self.word),
            Protocol::Icmp | Protocol::Udp => self.is_summed(ends, transport, header),
        }
    }

    /// Whether a quote of UDP or ICMP shows the checksum as it was sent. In IPv6, where no identification says as much,
    /// the payload must be that of the probe as far as it is quoted, and the checksum may be as where addresses, ports or the
    /// identifier were translated: the sum of all that it covers stays the same (RFC 1071).
    fn is_summed(&self, ends: &FlowKey, transport: &[u8], header: &IpHeader) -> bool {
        let Some(seen) = shown_checksum(Some(ends.protocol), transport) else { return false };
        if header.family() == Family::V4 {
            return seen == self.checksum;
        }
        if self.carried(transport).is_none() {
            return false;
        }
        if seen == self.checksum {
            return true;
        }
        let total = |addresses: [[u8; 16]; 2], words: [u16; 3]| {
            let sum = addresses.iter().fold(0, |sum, address| checksum::sum(address, sum));
            (sum + words.into_iter().map(u32::from).sum::<u32>()) % 0xffff
        };
        let at = |offset: usize| word(transport, offset).unwrap_or_default();
        let shown = match ends.protocol {
            Protocol::Icmp => [seen, at(4), 0],
            Protocol::Tcp | Protocol::Udp => [seen, at(0), at(2)],
        };
        total(
            [ends.local_address, ends.remote_address],
            [self.checksum, ends.local, self.remote_port],
        ) == total([mapped(header.source), mapped(header.destination)], shown)
    }

    /// Whether a quote shows so many octets of the payload at `least`, and they are a secret: behind the two that a chosen
    /// checksum takes there are others than zeros.
    pub(super) fn is_carried_by(&self, transport: &[u8], least: u32) -> bool {
        self.payload << 16 != 0 && self.carried(transport) >= Some(least)
    }

    /// How many of the first eight octets of the payload a quote shows; `None` where they are not this probe's.
    fn carried(&self, transport: &[u8]) -> Option<u32> {
        let shown = transport.get(8..).unwrap_or_default();
        let octets = shown.len().min(8) as u32;
        let behind = u64::MAX.checked_shr(8 * octets).unwrap_or(0);
        ((begin(shown) ^ self.payload) & !behind == 0).then_some(octets)
    }

    /// Whether the IPv4 identification of a quote is that of this probe.
    pub(super) fn has_identification(&self, quoted: &[u8]) -> bool {
        self.identification != 0 && word(quoted, 4) == Some(self.identification)
    }

    /// Whether the IPv4 identification of a quote is that of this probe, also one too many, as some
    /// routers leave it, or with its octets swapped.
    pub(super) fn is_identified(&self, quoted: &[u8]) -> bool {
        let Some(seen) = word(quoted, 4).filter(|_| quoted.first().is_some_and(|v| v >> 4 == 4))
        else {
            return false;
        };
        let sent = self.identification;
        sent != 0 && (seen == sent || seen == sent.wrapping_add(1) || seen.swap_bytes() == sent)
    }
}

/// The checksum where it is among the first eight octets of the transport header; in UDP 0 stands for none (RFC 768).
fn shown_checksum(protocol: Option<Protocol>, transport: &[u8]) -> Option<u16> {
    match protocol? {
        Protocol::Icmp => word(transport, 2),
        Protocol::Udp => word(transport, 6).filter(|sum| *sum != 0),
        Protocol::Tcp => None,
    }
}

/// The first eight octets as one number; zeros where there are fewer.
fn begin(payload: &[u8]) -> u64 {
    let mut first = [0; 8];
    let octets = payload.len().min(8);
    first[..octets].copy_from_slice(&payload[..octets]);
    u64::from_be_bytes(first)
}
