//! A segment that came to a server, and answers to it.

use sonde_packet::{
    Ip, IpHeader, Packet, Payload, TcpSegment, Transport, protocol,
    tcp::{TcpView, flags},
};

use crate::router::is_intact;

/// Who talks to a server, from its point of view.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    pub(super) header: IpHeader,
    own_port: u16,
    peer_port: u16,
}

/// A whole segment, its checksums right.
pub(super) struct Incoming<'a> {
    pub(super) ends: Ends,
    pub(super) view: TcpView<'a>,
    pub(super) flags: u8,
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
}

impl<'a> Incoming<'a> {
    /// `None` where it is none.
    pub(super) fn parse(packet: &'a [u8]) -> Option<Self> {
        let header = IpHeader::parse(packet).ok().filter(|it| it.protocol == protocol::TCP)?;
        if !is_intact(packet, &header) {
            return None;
        }
        let view = TcpView::new(header.transport(packet));
        let ends =
            Ends { header, own_port: view.destination_port()?, peer_port: view.source_port()? };
        let (flags, sequence) = (view.flags()?, view.sequence()?);
        Some(Self { ends, acknowledgement: view.acknowledgement()?, view, flags, sequence })
    }

    /// Whether any of these flags is set.
    pub(super) fn has(&self, bits: u8) -> bool {
        self.flags & bits != 0
    }

    /// Number of its first octet of data.
    pub(super) fn first(&self) -> u32 {
        self.sequence.wrapping_add(u32::from(self.has(flags::SYN)))
    }
}

impl Ends {
    /// A packet back to where one came from. Ports are those of the conversation; what cannot be built is
    /// a mistake of the server, and nothing comes.
    pub(super) fn packet(&self, ip: Ip<'_>, segment: TcpSegment<'_>, data: &[u8]) -> Vec<u8> {
        let segment =
            TcpSegment { source_port: self.own_port, destination_port: self.peer_port, ..segment };
        let ip = Ip { source: self.header.destination, destination: self.header.source, ..ip };
        let transport = Transport::Tcp(segment);
        let packet = Packet { ip, transport, payload: Payload::Octets(data), checksum: None };
        packet.to_vec().unwrap_or_default()
    }

    /// As [`Ends::packet`], with a plain IP header.
    pub(super) fn plain(&self, segment: TcpSegment<'_>, data: &[u8]) -> Vec<u8> {
        self.packet(Ip::plain(self.header.destination, self.header.source), segment, data)
    }
}
