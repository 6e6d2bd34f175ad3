//! A segment that came, with what its IP header says.

use super::options::Options;
use crate::{
    author::Reply,
    packet::{
        Class, IpHeader,
        tcp::{TcpView, flags},
    },
    schema::Time,
};

/// A segment of the peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Segment {
    /// When it arrived.
    pub at: Time,
    /// Port of the peer.
    pub port: u16,
    /// Of the SYN or the first octet.
    pub sequence: u32,
    /// What the peer expects next; only where the flag is set.
    pub acknowledgement: u32,
    /// See [`flags`].
    pub flags: u8,
    /// As it stands in the header, not scaled.
    pub window: u16,
    /// Its options.
    pub options: Options,
    /// Options of its IPv4 header.
    pub ip_options: Box<[u8]>,
    /// Its data.
    pub data: Box<[u8]>,
    /// ToS or traffic class; the lowest two bits are those of ECN.
    pub tos: u8,
    /// TTL or hop limit that it arrived with.
    pub ttl: u8,
    /// IPv4 identification; in IPv6 of a packet that came in fragments.
    pub identification: Option<u32>,
    /// The IPv4 flag DF; true in IPv6.
    pub dont_fragment: bool,
    /// Length of the IP packet, octets.
    pub octets: usize,
    /// It came in fragments, or in IPv6 whole but ready to be cut.
    pub is_fragmented: bool,
    /// The network card or kernel made it of several: see [`Segment::pieces`].
    pub is_merged: bool,
    /// Octets of data of each of these but the last, where that is known.
    pub merged_octets: Option<u16>,
    /// The IP and TCP headers and the first 8 octets behind, for an ICMP error about it; in IPv6 up to
    /// 1232 octets of the packet.
    pub quote: Box<[u8]>,
}

/// What an ICMPv6 error may quote: the smallest MTU without its headers.
const MOST_QUOTED: usize = 1232;

impl Segment {
    /// Reads a packet that came on a flow. `None` where it is no TCP segment or its header is not all
    /// there or its checksum is wrong.
    #[must_use]
    pub fn parse(reply: &Reply, packet: &[u8]) -> Option<Self> {
        if reply.class() != Class::Tcp || reply.bad_checksum() {
            return None;
        }
        let header = IpHeader::parse(packet).ok()?;
        let view = TcpView::new(header.transport(packet));
        let quoted = match header.family() {
            crate::Family::V4 => header.header_octets + 8,
            crate::Family::V6 => MOST_QUOTED,
        };
        Some(Self {
            at: reply.at(),
            port: view.source_port()?,
            sequence: view.sequence()?,
            acknowledgement: view.acknowledgement()?,
            flags: view.flags()?,
            window: view.window()?,
            options: Options::parse(options(&header, packet)),
            ip_options: ip_options(&header, packet).into(),
            data: view.payload().into(),
            tos: header.tos,
            ttl: header.ttl,
            identification: header.identification,
            dont_fragment: header.dont_fragment,
            octets: header.total_octets,
            is_fragmented: reply.is_fragmented() || header.fragment.is_some(),
            is_merged: reply.is_merged(),
            merged_octets: reply.merged_octets(),
            quote: packet.get(..quoted.min(packet.len())).unwrap_or_default().into(),
        })
    }

    /// Whether all of these flags are set.
    #[must_use]
    pub fn has(&self, bits: u8) -> bool {
        self.flags & bits == bits
    }

    /// The number behind its last octet, its SYN or its FIN.
    #[must_use]
    pub fn behind(&self) -> u32 {
        let marks = u32::from(self.has(flags::SYN)) + u32::from(self.has(flags::FIN));
        self.sequence.wrapping_add(self.data.len() as u32).wrapping_add(marks)
    }

    /// It holds data.
    #[must_use]
    pub fn has_data(&self) -> bool {
        !self.data.is_empty()
    }

    /// An acknowledgement and nothing else.
    #[must_use]
    pub fn is_pure_ack(&self) -> bool {
        let others = flags::SYN | flags::FIN | flags::RST;
        self.has(flags::ACK) && self.flags & others == 0 && self.data.is_empty()
    }

    fn piece_octets(&self, usual: usize) -> usize {
        self.merged_octets.map_or(usual, usize::from).max(1)
    }

    /// Octets of data of each segment that was on the wire: only one, unless the segment was merged. Where it is not
    /// known of how large ones, the peer fills them up to `mss` octets.
    pub fn pieces(&self, mss: usize) -> impl Iterator<Item = usize> + use<> {
        let (octets, most) =
            (self.data.len(), if self.is_merged { self.piece_octets(mss) } else { usize::MAX });
        (0..octets.div_ceil(most.min(octets.max(1)))).map(move |number| {
            let begin = number * most.min(octets);
            (octets - begin).min(most)
        })
    }
}

fn ip_options<'a>(header: &IpHeader, packet: &'a [u8]) -> &'a [u8] {
    let behind = if header.family() == crate::Family::V4 { header.header_octets } else { 20 };
    packet.get(20..behind).unwrap_or_default()
}

/// The octets of the TCP options.
fn options<'a>(header: &IpHeader, packet: &'a [u8]) -> &'a [u8] {
    let transport = header.transport(packet);
    let view = TcpView::new(transport);
    let end = view.header_octets().unwrap_or(20).min(transport.len());
    transport.get(20..end).unwrap_or_default()
}
