//! What the checksums of a quoted probe say about who changed it.
//!
//! A router has decremented the TTL before it quotes or not, and has renewed the header's checksum or not, so
//! that of the header is told but accuses nobody.

use sonde_plugin_api::packet::{IpHeader, Verdict, checksum, protocol, verify, verify_header};

use crate::rows::Checksum;

/// Whether the checksum of a quoted IPv4 header is right; `None` for IPv6, and where not all is quoted.
pub(crate) fn header(quoted: &[u8]) -> Option<bool> {
    let header = IpHeader::parse(quoted).ok().filter(|header| header.source.is_ipv4())?;
    quoted.get(..header.header_octets)?;
    Some(verify_header(quoted, &header) == Verdict::Good)
}

/// The transport's checksum of a probe that is quoted whole.
pub(crate) fn transport(probe: &[u8], quoted: &[u8]) -> Option<Checksum> {
    let header = IpHeader::parse(quoted).ok()?;
    let whole = quoted.get(..header.total_octets)?;
    // Options may be gone, but nothing behind them: the length that is quoted may be wrong.
    if payload_octets(whole)? < payload_octets(probe)? {
        return None;
    }
    if verdict(whole)? {
        return Some(Checksum::Good);
    }
    // The same with the addresses that were sent.
    let addresses = if header.source.is_ipv4() { 12..20 } else { 8..40 };
    let mut sent = whole.to_vec();
    sent.get_mut(addresses.clone())?.copy_from_slice(probe.get(addresses)?);
    Some(if verdict(&sent)? { Checksum::Sent } else { Checksum::Wrong })
}

/// What is behind the header of the transport; `None` where that is not there.
pub(crate) fn payload_octets(packet: &[u8]) -> Option<usize> {
    let header = IpHeader::parse(packet).ok()?;
    let transport_octets = match header.protocol {
        protocol::TCP => usize::from(packet.get(header.header_octets + 12)? >> 4) * 4,
        _ => 8,
    };
    header.total_octets.checked_sub(header.header_octets + transport_octets)
}

/// `verify` looks at the header too, which a quote need not have right.
fn verdict(packet: &[u8]) -> Option<bool> {
    let mut packet = packet.to_vec();
    let header = IpHeader::parse(&packet).ok()?;
    if header.source.is_ipv4() {
        packet.get_mut(10..12)?.fill(0);
        let sum = checksum::finish(checksum::sum(packet.get(..header.header_octets)?, 0));
        packet.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
    }
    match verify(&packet, &header) {
        Verdict::Good => Some(true),
        Verdict::Bad => Some(false),
        Verdict::Unverified => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use sonde_plugin_api::packet::{Ip, Packet, Payload, Transport};

    use super::*;

    fn probe(source: &str, destination: &str) -> Vec<u8> {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        let packet = Packet {
            ip: Ip::plain(parse(source), parse(destination)),
            transport: Transport::Udp { source_port: 40_000, destination_port: 53 },
            payload: Payload::Octets(&[1, 2, 3, 4]),
            checksum: None,
        };
        packet.to_vec().unwrap()
    }

    #[test]
    fn who_changed_a_probe_is_told_by_its_checksum() {
        for (source, other, target, address) in [
            ("192.0.2.1", "203.0.113.7", "198.51.100.9", 12..16),
            ("2001:db8::1", "2001:db8:7::7", "2001:db8:9::9", 8..24),
        ] {
            let sent = probe(source, target);
            assert_eq!(transport(&sent, &sent), Some(Checksum::Good));
            // Translated as it should be, and without care for the checksum.
            let translated = probe(other, target);
            assert_eq!(transport(&sent, &translated), Some(Checksum::Good));
            let mut careless = sent.clone();
            careless[address.clone()].copy_from_slice(&translated[address]);
            assert_eq!(transport(&sent, &careless), Some(Checksum::Sent));
            let mut broken = sent.clone();
            *broken.last_mut().unwrap() ^= 0x55;
            assert_eq!(transport(&sent, &broken), Some(Checksum::Wrong));
            // What is not quoted whole tells nothing.
            assert_eq!(transport(&sent, &sent[..sent.len() - 1]), None);
            assert_eq!(transport(&sent, &[]), None);
        }
    }

    #[test]
    fn the_header_has_a_checksum_of_its_own_in_ipv4_alone() {
        let mut sent = probe("192.0.2.1", "198.51.100.9");
        assert_eq!(header(&sent), Some(true));
        sent[8] = sent[8].wrapping_sub(1);
        assert_eq!(header(&sent), Some(false));
        assert_eq!(transport(&sent, &sent), Some(Checksum::Good), "it is not asked here");
        assert_eq!(header(&probe("2001:db8::1", "2001:db8::2")), None);
        assert_eq!(header(&sent[..10]), None);
    }
}
