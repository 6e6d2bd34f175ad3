//! Hosts: what they answer to packets for themselves.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use sonde_packet::{
    Class, Family, Ip, IpHeader, Packet, Payload, Transport, classify, protocol, tcp::TcpView,
};

use crate::{
    fragment::Reassembly,
    random::Random,
    router::is_intact,
    tcp_server::TcpServer,
    words::{TopologyError, Words},
};

/// A host that a test wrote.
pub trait Host {
    /// A packet for one of the host's addresses arrived, from its IP header on. `now` is the time
    /// since the simulation began.
    fn receive(&mut self, packet: &[u8], now: Duration, net: &mut Outbox<'_>);

    /// The time came that was asked for with [`Outbox::wake`].
    fn wake(&mut self, token: u64, now: Duration, net: &mut Outbox<'_>) {
        let _ = (token, now, net);
    }
}

/// What a host does to the network.
pub struct Outbox<'a> {
    pub(crate) packets: Vec<(Duration, Vec<u8>)>,
    pub(crate) wakes: Vec<(Duration, u64)>,
    random: &'a mut Random,
}

impl<'a> Outbox<'a> {
    pub(crate) fn new(random: &'a mut Random) -> Self {
        Self { packets: Vec::new(), wakes: Vec::new(), random }
    }

    /// Sends a whole packet, exactly as it is.
    pub fn send(&mut self, packet: Vec<u8>) {
        self.send_after(Duration::ZERO, packet);
    }

    /// Sends a whole packet some time later.
    pub fn send_after(&mut self, delay: Duration, packet: Vec<u8>) {
        self.packets.push((delay, packet));
    }

    /// Asks for [`Host::wake`] with `token` some time later.
    pub fn wake(&mut self, delay: Duration, token: u64) {
        self.wakes.push((delay, token));
    }

    /// Chance of the simulation.
    pub fn random(&mut self) -> &mut Random {
        self.random
    }
}

/// How a port answers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Port {
    /// Port unreachable, or a reset.
    #[default]
    Closed,
    Silent,
    /// Sends the data back, or takes a connection.
    Open,
}

/// What a drawing says of a node as a host.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct EndpointSpec {
    has_no_echo: bool,
    has_no_timestamp: bool,
    udp: Port,
    udp_ports: BTreeMap<u16, Port>,
    tcp: Port,
    tcp_ports: BTreeMap<u16, Port>,
    server_mss: Option<u16>,
}

impl EndpointSpec {
    /// Takes one attribute from a drawing; false where the next word is none of a host.
    pub(crate) fn attribute(&mut self, words: &mut Words<'_>) -> Result<bool, TopologyError> {
        match words.next() {
            Some("no-echo") => self.has_no_echo = true,
            Some("no-timestamp") => self.has_no_timestamp = true,
            Some("closed-udp") => self.udp = Port::Closed,
            Some("silent-udp") => self.udp = Port::Silent,
            Some("echo-udp") => self.udp = Port::Open,
            Some("closed-tcp") => self.tcp = Port::Closed,
            Some("silent-tcp") => self.tcp = Port::Silent,
            Some("open-tcp") => self.tcp = Port::Open,
            Some("udp") => {
                let number = words.value()?;
                let port = port(words, "echo").unwrap_or(Port::Open);
                self.udp_ports.insert(number, port);
            }
            Some("tcp") => {
                let number = words.value()?;
                let port = port(words, "open").unwrap_or(Port::Open);
                self.tcp_ports.insert(number, port);
            }
            Some("server-mss") => self.server_mss = Some(words.value()?),
            Some(_) => {
                words.back();
                return Ok(false);
            }
            None => return Ok(false),
        }
        Ok(true)
    }
}

fn port(words: &mut Words<'_>, open: &str) -> Option<Port> {
    for (name, port) in [("closed", Port::Closed), ("silent", Port::Silent), (open, Port::Open)] {
        if words.take(name) {
            return Some(port);
        }
    }
    None
}

/// What a host does about a packet.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// Sends this, with a TTL and an identification of its own.
    Packet(Vec<u8>),
    /// Complains about the packet, which may have been put together from parts.
    PortUnreachable(Vec<u8>),
    /// Does nothing, and why.
    Nothing(&'static str),
}

/// A host with what it remembers.
#[derive(Debug)]
pub(crate) struct Endpoint {
    spec: EndpointSpec,
    reassembly: Reassembly,
    server: TcpServer,
    /// Largest packet on the way to a peer, as told by a packet-too-big message.
    path_mtu: BTreeMap<IpAddr, usize>,
}

impl Endpoint {
    pub(crate) fn new(spec: EndpointSpec) -> Self {
        let server = TcpServer::new(spec.server_mss);
        Self { spec, reassembly: Reassembly::default(), server, path_mtu: BTreeMap::new() }
    }

    /// Largest packet on the way to `peer`, octets, as far as it was told.
    pub(crate) fn path_mtu(&self, peer: IpAddr) -> Option<usize> {
        self.path_mtu.get(&peer).copied()
    }

    /// Takes a packet that is for this host. `day_ms` is the time of day, UTC.
    pub(crate) fn receive(&mut self, packet: &[u8], day_ms: u32, random: &mut Random) -> Answer {
        let Some(packet) = self.reassembly.receive(packet) else {
            return Answer::Nothing("waiting for the other parts");
        };
        let Ok(header) = IpHeader::parse(&packet) else { return Answer::Nothing("no packet") };
        if !is_intact(&packet, &header) {
            return Answer::Nothing("wrong checksum");
        }
        let transport = header.transport(&packet);
        match header.protocol {
            protocol::ICMP | protocol::ICMPV6 => self.receive_icmp(&packet, &header, day_ms),
            protocol::UDP => {
                let view = TcpView::new(transport);
                let (Some(source), Some(destination)) =
                    (view.source_port(), view.destination_port())
                else {
                    return Answer::Nothing("cut short");
                };
                match self.spec.udp_ports.get(&destination).unwrap_or(&self.spec.udp) {
                    Port::Closed => Answer::PortUnreachable(packet),
                    Port::Silent => Answer::Nothing("UDP port is silent"),
                    Port::Open => {
                        let udp =
                            Transport::Udp { source_port: destination, destination_port: source };
                        let data = transport.get(8..).unwrap_or_default();
                        reply(&packet, &header, udp, data)
                    }
                }
            }
            protocol::TCP => {
                let view = TcpView::new(transport);
                let number = view.destination_port().unwrap_or_default();
                let segment = match self.spec.tcp_ports.get(&number).unwrap_or(&self.spec.tcp) {
                    Port::Silent => return Answer::Nothing("TCP port is silent"),
                    Port::Closed => TcpServer::refuse(&view),
                    Port::Open => self.server.receive(&header, &view, random),
                };
                match segment {
                    Some(segment) => {
                        reply(&packet, &header, Transport::Tcp(segment.borrowed()), &[])
                    }
                    None => Answer::Nothing("nothing to say to this segment"),
                }
            }
            _ => Answer::Nothing("unknown protocol"),
        }
    }

    fn receive_icmp(&mut self, packet: &[u8], header: &IpHeader, day_ms: u32) -> Answer {
        let transport = header.transport(packet);
        let &[kind, code, _, _, a, b, c, d, ref data @ ..] = transport else {
            return Answer::Nothing("cut short");
        };
        let rest = [a, b, c, d];
        let is_v4 = header.family() == Family::V4;
        match (is_v4, kind) {
            (true, 8) | (false, 128) if !self.spec.has_no_echo => {
                let kind = if is_v4 { 0 } else { 129 };
                reply(packet, header, Transport::Icmp { kind, code, rest }, data)
            }
            (true, 13) if !self.spec.has_no_timestamp && data.len() >= 12 => {
                let now = day_ms.to_be_bytes();
                let data = [&data[..4], &now, &now].concat();
                reply(packet, header, Transport::Icmp { kind: 14, code, rest }, &data)
            }
            (true, 8 | 13) | (false, 128) => Answer::Nothing("does not answer such requests"),
            _ => {
                self.learn_mtu(packet, rest);
                Answer::Nothing("no request")
            }
        }
    }

    fn learn_mtu(&mut self, packet: &[u8], rest: [u8; 4]) {
        let Some(received) = classify(packet) else { return };
        let is_too_big = received.class == Class::PacketTooBig
            || received.class == Class::Unreachable
                && received.icmp_code == 4
                && received.from.is_ipv4();
        let quote = received.quote.and_then(|quote| IpHeader::parse(&packet[quote]).ok());
        if let (true, Some(quoted)) = (is_too_big, quote) {
            let octets = match received.from {
                IpAddr::V4(_) => usize::from(u16::from_be_bytes([rest[2], rest[3]])).max(68),
                IpAddr::V6(_) => u32::from_be_bytes(rest).max(1_280) as usize,
            };
            self.path_mtu.insert(quoted.destination, octets);
        }
    }
}

/// An answer from the address that was asked, with the same ToS and IPv4 options.
fn reply(packet: &[u8], header: &IpHeader, transport: Transport<'_>, data: &[u8]) -> Answer {
    let options = match header.family() {
        Family::V4 => packet.get(header.options.clone()).unwrap_or_default(),
        Family::V6 => &[],
    };
    let ip = Ip {
        tos: header.tos,
        options,
        dont_fragment: false,
        ..Ip::plain(header.destination, header.source)
    };
    let reply = Packet { ip, transport, payload: Payload::Octets(data), checksum: None };
    reply.to_vec().map_or(Answer::Nothing("the answer would be too long"), Answer::Packet)
}
