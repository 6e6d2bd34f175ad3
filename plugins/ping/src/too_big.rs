//! The too-big trick: a large answer is met with "packet too big", as by a router whose link takes
//! less. The answers after it come in fragments, and show the counter of their identification.
//!
//! Source: Luckie, Beverly, Brinkmeyer, claffy, "Speedtrap: Internet-Scale IPv6 Alias Resolution",
//! 2013; RFC 1191, RFC 8201.

use sonde_plugin_api::{packet::IpHeader, prelude::*};

/// Of an IPv6 packet, what an error of 1280 octets has room for.
const QUOTE_V6: usize = 1232;

/// The error about `packet`, an answer that came whole, where it is longer than `mtu` octets.
pub(crate) fn about(reply: &Reply, packet: &[u8], mtu: u16) -> Option<Probe> {
    if mtu == 0 || packet.len() <= usize::from(mtu) || reply.is_fragmented() {
        return None;
    }
    let header = IpHeader::parse(packet).ok()?;
    let [high, low] = mtu.to_be_bytes();
    let (kind, code, octets) = match header.source {
        IpAddr::V4(_) => (3, 4, header.header_octets + 8),
        IpAddr::V6(_) => (2, 0, QUOTE_V6),
    };
    let quote = packet.get(..octets.min(packet.len()))?;
    Some(Probe::icmp(kind, code, [0, 0, high, low]).payload(quote).immediate())
}
