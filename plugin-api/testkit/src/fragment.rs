//! Packets in parts, and parts put together again.
//!
//! Source: RFC 791 section 3.2, RFC 8200 section 4.5.

use std::{collections::BTreeMap, net::IpAddr};

use sonde_packet::{Family, IpHeader, protocol};

use crate::edit::{edit, put_header_checksum, put_length};

/// Cuts a packet into parts of at most `mtu` octets; one that cannot be cut stays whole.
///
/// `identification` is for IPv6, where the header has none of its own.
pub(crate) fn split(packet: &[u8], mtu: usize, identification: u32) -> Vec<Vec<u8>> {
    let Ok(header) = IpHeader::parse(packet) else { return vec![packet.to_vec()] };
    let is_v4 = header.family() == Family::V4;
    let start = header.header_octets;
    let room = mtu.saturating_sub(start + if is_v4 { 0 } else { 8 }) / 8 * 8;
    // What is a part already, or has other headers in front, is not cut in IPv6.
    let is_whole = is_v4 || header.fragment.is_none() && start == 40;
    if packet.len() <= mtu || room == 0 || !is_whole {
        return vec![packet.to_vec()];
    }
    let (first_offset, more_behind) =
        header.fragment.map_or((0, false), |fragment| (fragment.offset_octets, fragment.more));
    let count = packet[start..].len().div_ceil(room);
    let parts = packet[start..].chunks(room).enumerate();
    parts
        .map(|(index, part)| {
            let offset = (first_offset + index * room) as u16;
            let more = more_behind || index + 1 < count;
            let mut out = packet[..start].to_vec();
            if is_v4 {
                let bits = (offset / 8) | if more { 0x2000 } else { 0 };
                out[6..8].copy_from_slice(&bits.to_be_bytes());
            } else {
                out.extend([header.protocol, 0]);
                out.extend((offset | u16::from(more)).to_be_bytes());
                out.extend(identification.to_be_bytes());
                out[6] = protocol::FRAGMENT;
            }
            out.extend_from_slice(part);
            put_length(&mut out);
            put_header_checksum(&mut out);
            out
        })
        .collect()
}

/// What tells the parts of one packet from others.
type Whole = (IpAddr, IpAddr, u32, u8);

/// Parts that wait for the rest.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    waiting: BTreeMap<Whole, Vec<(usize, bool, Vec<u8>)>>,
}

impl Reassembly {
    /// The whole packet, once its last part is there; a packet in one part at once.
    pub(crate) fn receive(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let header = IpHeader::parse(packet).ok()?;
        let Some(fragment) = header.fragment else { return Some(packet.to_vec()) };
        let identification = header.identification.unwrap_or_default();
        let whole = (header.source, header.destination, identification, header.protocol);
        let parts = self.waiting.entry(whole).or_default();
        parts.push((fragment.offset_octets, fragment.more, packet.to_vec()));
        parts.sort_by_key(|(offset, ..)| *offset);
        let mut data = Vec::new();
        let mut is_complete = false;
        for (offset, more, part) in parts.iter() {
            if *offset > data.len() {
                return None;
            }
            let behind = IpHeader::parse(part).ok()?.header_octets;
            data.truncate(*offset);
            data.extend_from_slice(&part[behind..]);
            is_complete = !more;
        }
        if !is_complete {
            return None;
        }
        let first = self.waiting.remove(&whole)?.swap_remove(0).2;
        Some(put_together(&first, &data))
    }
}

fn put_together(first: &[u8], data: &[u8]) -> Vec<u8> {
    let Ok(header) = IpHeader::parse(first) else { return first.to_vec() };
    let mut out;
    if header.family() == Family::V4 {
        out = first[..header.header_octets].to_vec();
        edit(&mut out, |out| out[6..8].fill(0));
    } else {
        out = first[..40].to_vec();
        out[6] = header.protocol;
    }
    out.extend_from_slice(data);
    put_length(&mut out);
    put_header_checksum(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use sonde_packet::{Ip, Packet, Payload, Transport};

    use super::*;

    fn echo(source: &str, destination: &str, octets: usize) -> Vec<u8> {
        let ip = Ip::plain(source.parse().unwrap(), destination.parse().unwrap());
        let packet = Packet {
            ip: Ip { dont_fragment: false, identification: 9, ..ip },
            transport: Transport::Echo { identifier: 1, sequence: 1 },
            payload: Payload::Repeat { first: &[], pattern: b"abc", octets },
            checksum: None,
        };
        packet.to_vec().unwrap()
    }

    #[test]
    fn parts_fit_and_make_the_packet_again_in_any_order() {
        for whole in
            [echo("192.0.2.1", "192.0.2.2", 3_000), echo("2001:db8::1", "2001:db8::2", 3_000)]
        {
            let mut parts = split(&whole, 1_280, 77);
            assert_eq!(parts.len(), 3);
            assert!(parts.iter().all(|part| part.len() <= 1_280));
            parts.swap(0, 2);
            let mut reassembly = Reassembly::default();
            let made: Vec<_> = parts.iter().map(|part| reassembly.receive(part)).collect();
            assert_eq!(made, [None, None, Some(whole)]);
        }
    }

    #[test]
    fn a_part_of_a_part_keeps_its_place() {
        let whole = echo("192.0.2.1", "192.0.2.2", 3_000);
        let parts = split(&whole, 1_500, 0);
        let smaller = parts.iter().flat_map(|part| split(part, 576, 0));
        let mut reassembly = Reassembly::default();
        let made = smaller.filter_map(|part| reassembly.receive(&part)).collect::<Vec<_>>();
        assert_eq!(made, [whole]);
    }
}
