mod hosts;
mod paths;
mod routers;

use std::net::{IpAddr, Ipv4Addr};

use sonde_packet::{Class, Ip, Packet, Payload, TcpSegment, Transport, classify};

use super::*;

const SEED: u64 = 1;

/// Sends packets into a drawing and lists what comes back.
struct Prober {
    world: World,
    sent: u16,
}

impl Prober {
    fn new(net: Net) -> Self {
        Self { world: World::new(net, SEED), sent: 0 }
    }

    fn draw(text: &str) -> Self {
        Self::new(Net::draw(text))
    }

    fn address(&self, name: &str, six: bool) -> IpAddr {
        let node = self.world.nodes.iter().find(|node| node.name == name).unwrap();
        node.address(!six).unwrap()
    }

    fn packet(&self, ip: Ip<'_>, transport: Transport<'_>, octets: usize) -> Vec<u8> {
        let payload = Payload::Repeat { first: &[], pattern: b"abc", octets };
        Packet { ip, transport, payload, checksum: None }.to_vec().unwrap()
    }

    fn ip<'a>(&self, name: &str, six: bool) -> Ip<'a> {
        let destination = self.address(name, six);
        let source = self.world.source(!six).unwrap();
        Ip { identification: 7, ..Ip::plain(source, destination) }
    }

    /// What comes back, each with the time that it took.
    fn send(&mut self, packet: Vec<u8>) -> Vec<(Duration, Vec<u8>)> {
        let begin_ns = self.world.now_ns;
        self.world.send(begin_ns, packet, None);
        let mut back = Vec::new();
        while self.world.next_ns().is_some() {
            let packet = self.world.step();
            let took = since(self.world.now_ns - begin_ns);
            back.extend(packet.map(|packet| (took, packet)));
        }
        back
    }

    /// The only answer to an echo request.
    fn echo(&mut self, name: &str, six: bool, ttl: u8) -> Option<(Duration, Vec<u8>)> {
        self.sent += 1;
        let ip = Ip { ttl, ..self.ip(name, six) };
        let transport = Transport::Echo { identifier: 1, sequence: self.sent };
        let mut back = self.send(self.packet(ip, transport, 56));
        assert!(back.len() < 2, "{} answers", back.len());
        back.pop()
    }

    /// Who answers an echo request of each TTL.
    fn path(&mut self, name: &str, six: bool, ttls: u8) -> Vec<Option<IpAddr>> {
        (1..=ttls)
            .map(|ttl| {
                let (_, packet) = self.echo(name, six, ttl)?;
                Some(classify(&packet).unwrap().from)
            })
            .collect()
    }

    fn names(&self, path: &[Option<IpAddr>]) -> String {
        let name = |address: IpAddr| {
            let owner = self.world.routing.owner(address);
            owner.map_or_else(|| address.to_string(), |node| self.world.nodes[node].name.clone())
        };
        let names = path.iter().map(|hop| hop.map_or_else(|| "*".to_owned(), name));
        names.collect::<Vec<_>>().join(" ")
    }

    /// As [`Prober::path`], by name.
    fn named_path(&mut self, name: &str, six: bool, ttls: u8) -> String {
        let path = self.path(name, six, ttls);
        self.names(&path)
    }

    fn udp(&mut self, name: &str, six: bool, ports: (u16, u16), ttl: u8) -> Vec<Vec<u8>> {
        let ip = Ip { ttl, ..self.ip(name, six) };
        let transport = Transport::Udp { source_port: ports.0, destination_port: ports.1 };
        let back = self.send(self.packet(ip, transport, 20));
        back.into_iter().map(|(_, packet)| packet).collect()
    }

    fn tcp(&mut self, name: &str, six: bool, segment: TcpSegment<'_>) -> Vec<Vec<u8>> {
        let packet = self.packet(self.ip(name, six), Transport::Tcp(segment), 0);
        self.send(packet).into_iter().map(|(_, packet)| packet).collect()
    }

    fn notes(&mut self) -> String {
        let notes = self.world.take_notes();
        notes.iter().map(|note| note.text.as_str()).collect::<Vec<_>>().join("\n")
    }
}

fn both(test: impl Fn(bool)) {
    test(false);
    test(true);
}

fn milliseconds(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
