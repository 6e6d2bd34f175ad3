//! What stands in an answer: read from its octets into a row.
//!
//! Source: RFC 791 (options), RFC 792 and RFC 1191 (ICMP), RFC 4443 (ICMPv6), RFC 4884 and RFC 4950
//! (extensions), RFC 9293 (TCP).

use sonde_plugin_api::{
    packet::{
        IpHeader, Quote,
        extension::Extension,
        ip_option::{self, IpOption},
        protocol,
        tcp::{TcpOption, TcpView},
    },
    prelude::*,
};

use crate::rows::{Label, ReplyRow, Stamp};

/// A packet that came back, seen once.
pub(crate) struct Answer<'a> {
    reply: &'a Reply,
    packet: &'a [u8],
    header: Option<IpHeader>,
}

impl<'a> Answer<'a> {
    pub(crate) fn new(reply: &'a Reply, packet: &'a [u8]) -> Self {
        Self { reply, packet, header: IpHeader::parse(packet).ok() }
    }

    /// The TCP segment, if it is one.
    pub(crate) fn segment(&self) -> Option<TcpView<'a>> {
        let header = self.header.as_ref().filter(|header| header.protocol == protocol::TCP)?;
        Some(TcpView::new(header.transport(self.packet)))
    }

    /// The message, if it is a reply of ICMP.
    pub(crate) fn icmp_reply(&self) -> Option<&'a [u8]> {
        let is_it = matches!(self.reply.class(), Class::EchoReply | Class::TimestampReply);
        self.header.as_ref().filter(|_| is_it).map(|header| header.transport(self.packet))
    }

    /// All columns that the packet itself tells, but when it was asked for; `has_options` where the probe asked for any.
    pub(crate) fn row(&self, has_options: bool) -> ReplyRow {
        let reply = self.reply;
        let is_icmp = !matches!(reply.class(), Class::Tcp | Class::Udp);
        let mut row = ReplyRow {
            time: Some(reply.at()),
            addr: Some(reply.from()),
            rtt_us: Some(reply.rtt_us()),
            ttl: Some(reply.ttl()),
            size: Some(self.packet.len() as u32),
            icmp_type: is_icmp.then(|| reply.icmp_type()),
            icmp_code: is_icmp.then(|| reply.icmp_code()),
            duplicate: reply.is_duplicate(),
            late: reply.is_late(),
            rtt_ns: Some(reply.rtt().as_nanos() as u64),
            uncertainty_us: Some(reply.uncertainty().as_nanos() as f64 / 1000.0),
            sent: Some(reply.sent()),
            tx: Some(reply.sent_by().into()),
            rx: Some(reply.received_by().into()),
            protocol: self.header.as_ref().map(|header| header.protocol),
            tos: self.header.as_ref().map(|header| header.tos),
            ip_id: self.header.as_ref().and_then(|header| header.identification),
            // In IPv6 also what came whole, but ready to be cut.
            fragmented: reply.is_fragmented()
                || self.header.as_ref().is_some_and(|header| header.fragment.is_some()),
            weak: reply.is_weak(),
            ..ReplyRow::default()
        };
        match reply.class() {
            Class::Tcp => self.read_segment(&mut row),
            Class::TimestampReply => self.read_times(&mut row),
            class if class.is_error() => self.read_error(&mut row),
            _ => {}
        }
        if has_options {
            self.read_options(&mut row);
        }
        row
    }

    fn read_segment(&self, row: &mut ReplyRow) {
        let Some(segment) = self.segment() else { return };
        row.tcp_flags = segment.flags();
        row.tcp_window = segment.window();
        row.tcp_mss = segment.options().find_map(|option| match option {
            TcpOption::MaximumSegmentSize(octets) => Some(octets),
            _ => None,
        });
    }

    /// A long word of the transport header.
    fn long(&self, at: usize) -> Option<u32> {
        let transport = self.header.as_ref()?.transport(self.packet);
        transport.get(at..)?.first_chunk().map(|octets| u32::from_be_bytes(*octets))
    }

    fn read_times(&self, row: &mut ReplyRow) {
        row.icmp_receive_ms = self.long(12);
        row.icmp_transmit_ms = self.long(16);
    }

    fn read_error(&self, row: &mut ReplyRow) {
        row.mtu = match (self.reply.class(), self.reply.icmp_code()) {
            // A router older than RFC 1191 leaves it 0.
            (Class::Unreachable, 4) if self.reply.from().is_ipv4() => {
                self.long(4).map(|word| word & 0xffff).filter(|mtu| *mtu != 0)
            }
            (Class::PacketTooBig, _) => self.long(4),
            _ => None,
        };
        if let Some(quoted) = self.quoted() {
            row.quoted_ttl = Some(quoted.ttl);
            row.quoted_tos = Some(quoted.tos);
            row.quoted_ip_id = quoted.identification;
            row.quoted_dst = Some(quoted.destination);
        }
        for extension in self.reply.extensions(self.packet) {
            if let Extension::Mpls(entries) = extension {
                row.mpls.extend(entries.into_iter().map(|entry| Label {
                    label: entry.label,
                    tc: entry.traffic_class,
                    s: entry.bottom,
                    ttl: entry.ttl,
                }));
            }
        }
    }

    fn quoted(&self) -> Option<IpHeader> {
        let Quote { range, .. } = self.reply.quote(self.packet)?;
        IpHeader::parse(self.packet.get(range)?).ok()
    }

    /// From the answer's own header, or from the quoted one.
    fn read_options(&self, row: &mut ReplyRow) {
        let packet = self.reply.quoted(self.packet).unwrap_or(self.packet);
        let header = IpHeader::parse(packet).ok();
        let octets = header.and_then(|header| packet.get(header.options)).unwrap_or_default();
        for option in ip_option::parse(octets) {
            match option {
                IpOption::RecordRoute(route) => {
                    row.rr = route.into_iter().map(IpAddr::V4).collect();
                }
                IpOption::Timestamps { stamps, overflow, .. } => {
                    let stamp = |(addr, ms): (Option<Ipv4Addr>, u32)| Stamp {
                        addr: addr.map(IpAddr::V4),
                        ms,
                    };
                    row.ts = stamps.into_iter().map(stamp).collect();
                    row.ts_overflow = Some(overflow);
                }
            }
        }
    }
}
