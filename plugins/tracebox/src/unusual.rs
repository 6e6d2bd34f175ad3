//! Header fields that no host chooses, written over a packet that is right without them.
//!
//! Source: RFC 791, RFC 768, RFC 9293, RFC 1624 for checksums that follow.

use sonde_plugin_api::packet::{IpHeader, checksum, protocol};

/// Place of the checksum in an IPv4 header, in a TCP and in a UDP header.
const IP_CHECKSUM: usize = 10;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

/// What is chosen of them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Unusual {
    /// The first of the three IPv4 flags.
    pub(crate) ip_reserved: bool,
    /// The four bits behind the data offset of TCP, of which the last one is accurate ECN's.
    pub(crate) tcp_reserved: u8,
    /// Of UDP. The checksum stays that of the right one.
    pub(crate) udp_length: Option<u16>,
    /// Of the transport, right or wrong.
    pub(crate) checksum: Option<u16>,
}

impl Unusual {
    /// Writes them over a packet, from its IP header on; what has no room for them stays as it is.
    pub(crate) fn write(&self, packet: &mut [u8]) {
        let Ok(header) = IpHeader::parse(packet) else { return };
        if self.ip_reserved {
            add(packet, 6, 0x8000, IP_CHECKSUM);
        }
        let at = header.header_octets;
        let is_tcp = header.protocol == protocol::TCP;
        let place = at + if is_tcp { TCP_CHECKSUM } else { UDP_CHECKSUM };
        if is_tcp && self.tcp_reserved != 0 {
            add(packet, at + 12, u16::from(self.tcp_reserved) << 8, place);
        }
        if let Some(length) = self.udp_length {
            put(packet, at + 4, length);
        }
        if let Some(sum) = self.checksum {
            put(packet, place, sum);
        }
    }
}

/// Sets bits that are 0, and the checksum to what it is with them.
fn add(packet: &mut [u8], at: usize, bits: u16, checksum_at: usize) {
    let word = |at: usize| packet.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    let (Some(before), Some(sum)) = (word(at), word(checksum_at)) else { return };
    put(packet, at, before | bits);
    put(packet, checksum_at, checksum::finish(u32::from(!sum) + u32::from(bits)));
}

fn put(packet: &mut [u8], at: usize, word: u16) {
    if let Some(place) = packet.get_mut(at..at + 2) {
        place.copy_from_slice(&word.to_be_bytes());
    }
}
