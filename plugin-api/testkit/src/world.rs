//! The network in motion: packets between nodes, in virtual time.
//!
//! What happens at one time happens in the order in which it was caused, so the same seed gives
//! the same run.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use sonde_packet::{ErrorKind, IpHeader};

use crate::{
    balancer::{Balancer, Policy},
    edit::{edit, set_ttl},
    endpoint::{Answer, Endpoint, Host, Outbox},
    fragment, gather,
    link::{Link, Passage},
    middlebox::{Middlebox, Verdict, Way},
    net::{Identification, Net, NodeSpec, VANTAGE, since},
    random::Random,
    router::Router,
    routing::Routing,
};

/// 2026-01-02 03:04:05 UTC, when every simulation begins.
pub(crate) const BEGIN_UNIX_NS: u64 = 1_767_323_045_000_000_000;
/// Octets that a link carries where nothing else is drawn.
const MTU: usize = 1_500;
const DAY_MS: u64 = 86_400_000;

struct Node {
    name: String,
    addresses: Vec<IpAddr>,
    /// Of the boxes: packets for these are not for the node itself.
    box_addresses: Vec<IpAddr>,
    records: [Option<Ipv4Addr>; 2],
    router: Router,
    endpoint: Endpoint,
    host: Option<Box<dyn Host>>,
    boxes: Vec<Box<dyn Middlebox>>,
    policy: Policy,
    policy_back: Option<Policy>,
    balancer: Balancer,
    identification: Identification,
    counter: u32,
    random: Random,
    /// Of its own packets.
    ttl: u8,
}

enum What {
    /// A packet comes in by a link, or by none where the node made it itself.
    Arrives { way: Way, packet: Vec<u8> },
    /// The node sends a packet of its own, perhaps through a neighbour that it chose.
    Leaves { packet: Vec<u8>, gateway: Option<IpAddr> },
    /// A host that a test wrote wants to be woken.
    Wake { token: u64 },
}

/// What became of a packet inside the network.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Note {
    pub(crate) at_ns: u64,
    pub(crate) text: String,
}

pub(crate) struct World {
    nodes: Vec<Node>,
    links: Vec<Link>,
    routing: Routing,
    /// By time, then by the order in which they were caused.
    queue: BTreeMap<(u64, u64), (usize, What)>,
    count: u64,
    now_ns: u64,
    notes: Vec<Note>,
    /// Notes beyond this many are not kept.
    pub(crate) most_notes: usize,
}

impl World {
    pub(crate) fn new(mut net: Net, seed: u64) -> Self {
        net.fill_in_addresses();
        let random = Random::new(seed);
        let of_links = random.split(1);
        let links = net.edges.iter().zip(0..);
        let links = links
            .map(|(edge, index)| Link::new(edge.spec.clone(), of_links.split(index)))
            .collect();
        let routing = Routing::new(&net.nodes, net.edges);
        let forwards = |node: usize| {
            let next = |index: &usize| routing.edge(*index).way == Way::There;
            routing.leaving(node).iter().any(next)
        };
        let of_nodes = random.split(2);
        let nodes = net.nodes.into_iter().enumerate();
        let nodes = nodes
            .map(|(index, spec)| Node::new(spec, forwards(index), &of_nodes.split(index as u64)))
            .collect();
        Self {
            nodes,
            links,
            routing,
            queue: BTreeMap::new(),
            count: 0,
            now_ns: 0,
            notes: Vec::new(),
            most_notes: usize::MAX,
        }
    }

    /// Address of the vantage point.
    pub(crate) fn source(&self, v4: bool) -> Option<IpAddr> {
        self.nodes[VANTAGE].addresses.iter().copied().find(|address| address.is_ipv4() == v4)
    }

    pub(crate) fn is_source(&self, address: IpAddr) -> bool {
        self.nodes[VANTAGE].addresses.contains(&address)
    }

    /// Largest packet that the vantage point can send to `destination`, octets; `None` where it
    /// has no route.
    pub(crate) fn source_mtu(&self, destination: IpAddr) -> Option<usize> {
        let (_, links) = self.routing.next_links(VANTAGE, destination);
        Some(self.links[*links.first()?].spec.mtu.unwrap_or(MTU))
    }

    /// A node at the other end of a link of the vantage point.
    pub(crate) fn is_neighbour(&self, address: IpAddr) -> bool {
        self.link_to(VANTAGE, address).is_some()
    }

    fn link_to(&self, node: usize, neighbour: IpAddr) -> Option<usize> {
        let owner = self.routing.owner(neighbour)?;
        let mut links = self.routing.leaving(node).iter().copied();
        links.find(|link| self.routing.edge(*link).to == owner)
    }

    /// Lets the vantage point send a packet, perhaps through a neighbour that it chose.
    pub(crate) fn send(&mut self, now_ns: u64, packet: Vec<u8>, gateway: Option<IpAddr>) {
        self.push(now_ns.max(self.now_ns), VANTAGE, What::Leaves { packet, gateway });
    }

    /// When the next thing happens.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.queue.first_key_value().map(|((at_ns, _), _)| *at_ns)
    }

    /// Lets the next thing happen; a packet that reaches the vantage point by it.
    pub(crate) fn step(&mut self) -> Option<Vec<u8>> {
        let ((at_ns, _), (node, what)) = self.queue.pop_first()?;
        self.now_ns = at_ns;
        match what {
            What::Arrives { way, packet } => return self.arrive(node, way, packet),
            What::Leaves { packet, gateway } => self.originate(node, packet, gateway),
            What::Wake { token } => {
                self.ask_host(node, |host, now, net| host.wake(token, now, net));
            }
        }
        None
    }

    /// What became of packets since the last call.
    pub(crate) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    fn push(&mut self, at_ns: u64, node: usize, what: What) {
        self.count += 1;
        self.queue.insert((at_ns, self.count), (node, what));
    }

    fn note(&mut self, node: usize, text: &str) {
        if self.notes.len() < self.most_notes {
            let text = format!("{}: {text}", self.nodes[node].name);
            self.notes.push(Note { at_ns: self.now_ns, text });
        }
    }

    fn day_ms(&self) -> u32 {
        ((BEGIN_UNIX_NS / 1_000_000 + self.now_ns / 1_000_000) % DAY_MS) as u32
    }

    fn arrive(&mut self, node: usize, way: Way, mut packet: Vec<u8>) -> Option<Vec<u8>> {
        let Ok(header) = IpHeader::parse(&packet) else {
            self.note(node, "no IP packet");
            return None;
        };
        let destination = header.destination;
        let is_translated = self.nodes[node].box_addresses.contains(&destination);
        if self.routing.owner(destination) == Some(node) && !is_translated {
            if node == VANTAGE {
                return Some(packet);
            }
            self.stamp(node, way, &mut packet);
            self.deliver(node, &packet);
        } else if node == VANTAGE {
            self.note(node, &format!("not for me but for {destination}"));
        } else {
            self.forward(node, way, packet, &header);
        }
        None
    }

    fn deliver(&mut self, node: usize, packet: &[u8]) {
        if self.nodes[node].host.is_some() {
            self.ask_host(node, |host, now, net| host.receive(packet, now, net));
            return;
        }
        let day_ms = self.day_ms();
        let here = &mut self.nodes[node];
        if here.router.spec.is_silent {
            self.note(node, "silent");
            return;
        }
        match here.endpoint.receive(packet, day_ms, &mut here.random) {
            Answer::Packet(mut answer) => {
                here.make_own(&mut answer);
                self.push(self.now_ns, node, What::Leaves { packet: answer, gateway: None });
            }
            Answer::PortUnreachable(packet) => {
                self.complain(node, ErrorKind::PortUnreachable, &packet);
            }
            Answer::Nothing(why) => self.note(node, why),
        }
    }

    fn ask_host(
        &mut self,
        node: usize,
        ask: impl FnOnce(&mut dyn Host, Duration, &mut Outbox<'_>),
    ) {
        let now_ns = self.now_ns;
        let here = &mut self.nodes[node];
        let Some(host) = here.host.as_deref_mut() else { return };
        let mut outbox = Outbox::new(&mut here.random);
        ask(host, since(now_ns), &mut outbox);
        let Outbox { packets, wakes, .. } = outbox;
        let after = |delay: Duration| now_ns.saturating_add(delay.as_nanos() as u64);
        for (delay, packet) in packets {
            self.push(after(delay), node, What::Leaves { packet, gateway: None });
        }
        for (delay, token) in wakes {
            self.push(after(delay), node, What::Wake { token });
        }
    }

    fn forward(&mut self, node: usize, way: Way, mut packet: Vec<u8>, header: &IpHeader) {
        let spec = &self.nodes[node].router.spec;
        if spec.drops_options && !header.options.is_empty() {
            return self.note(node, "drops packets with options");
        }
        let keeps_ttl = spec.keeps_ttl;
        if !keeps_ttl && (header.ttl == 0 || header.ttl == 1 && !spec.forwards_zero_ttl) {
            return self.complain(node, ErrorKind::TimeExceeded, &packet);
        }
        if let Some(code) = self.nodes[node].router.refusal(header.destination) {
            return self.complain(node, ErrorKind::Unreachable(code), &packet);
        }
        let as_received = packet.clone();
        if !keeps_ttl {
            edit(&mut packet, |packet| set_ttl(packet, header.ttl - 1));
        }
        let now = since(self.now_ns);
        for middlebox in &mut self.nodes[node].boxes {
            if middlebox.forward(&mut packet, way, now) == Verdict::Drop {
                return self.note(node, "blocked");
            }
        }
        let Some(link) = self.choose(node, &packet) else {
            return self.complain(node, ErrorKind::Unreachable(0), &as_received);
        };
        self.stamp(node, self.routing.edge(link).way, &mut packet);
        let Some(mtu) = self.links[link].spec.mtu.filter(|mtu| packet.len() > *mtu) else {
            return self.pass(node, link, packet);
        };
        if !header.dont_fragment {
            for part in fragment::split(&packet, mtu, 0) {
                self.pass(node, link, part);
            }
        } else if self.links[link].spec.is_black_hole {
            self.note(node, &format!("{} octets are too many, black hole", packet.len()));
        } else {
            let named = self.links[link].spec.named_mtu.unwrap_or(mtu as u32);
            self.complain(node, ErrorKind::PacketTooBig(named), &as_received);
        }
    }

    /// Sends a packet of the node's own.
    fn originate(&mut self, node: usize, mut packet: Vec<u8>, gateway: Option<IpAddr>) {
        let Ok(header) = IpHeader::parse(&packet) else {
            return self.note(node, "sends no IP packet");
        };
        if self.routing.owner(header.destination) == Some(node) {
            return self.push(self.now_ns, node, What::Arrives { way: Way::There, packet });
        }
        let chosen = gateway.and_then(|gateway| self.link_to(node, gateway));
        let Some(link) = chosen.or_else(|| self.choose(node, &packet)) else {
            return self.note(node, &format!("no route to {}", header.destination));
        };
        let here = &mut self.nodes[node];
        let link_mtu = self.links[link].spec.mtu;
        let path_mtu = here.endpoint.path_mtu(header.destination);
        let mtu = link_mtu.into_iter().chain(path_mtu).min().unwrap_or(usize::MAX);
        if node == VANTAGE {
            return self.pass(node, link, packet);
        }
        let is_cut = packet.len() > mtu && !header.source.is_ipv4();
        let identification = if is_cut { here.next_identification() } else { 0 };
        self.stamp(node, self.routing.edge(link).way, &mut packet);
        for part in fragment::split(&packet, mtu, identification) {
            self.pass(node, link, part);
        }
    }

    fn choose(&mut self, node: usize, packet: &[u8]) -> Option<usize> {
        let destination = IpHeader::parse(packet).ok()?.destination;
        let (way, links) = self.routing.next_links(node, destination);
        let here = &mut self.nodes[node];
        let policy = match way {
            Way::There => Some(here.policy),
            Way::Back => here.policy_back,
        };
        let Some(policy) = policy.filter(|_| links.len() > 1) else {
            return links.first().copied();
        };
        let weights: Vec<u32> = links.iter().map(|link| self.routing.edge(*link).weight).collect();
        links.get(here.balancer.choose(policy, packet, &weights)).copied()
    }

    fn pass(&mut self, node: usize, link: usize, mut packet: Vec<u8>) {
        let (to, way) = (self.routing.edge(link).to, self.routing.edge(link).way);
        match self.links[link].pass(self.now_ns, &mut packet) {
            Passage::Lost => {
                let (name, count) = (&self.nodes[to].name, self.links[link].count);
                let text = format!("lost on the way to {name}, packet {count} of the link");
                self.note(node, &text);
            }
            Passage::Arrives { at_ns, again_ns } => {
                if let Some(again_ns) = again_ns {
                    let packet = packet.clone();
                    self.push(again_ns, to, What::Arrives { way, packet });
                }
                self.push(at_ns, to, What::Arrives { way, packet });
            }
        }
    }

    /// Writes an ICMP error about a packet as it came in.
    fn complain(&mut self, node: usize, kind: ErrorKind, packet: &[u8]) {
        let Ok(header) = IpHeader::parse(packet) else { return };
        let now_ns = self.now_ns;
        let here = &mut self.nodes[node];
        // A host complains from the address that was asked, a router from its own.
        let own = match kind {
            ErrorKind::PortUnreachable => Some(header.destination),
            _ => here.address(header.source.is_ipv4()),
        };
        let Some(own) = own else { return self.note(node, "has no address of this family") };
        match here.router.error(own, here.ttl, kind, packet, now_ns) {
            Ok(mut error) => {
                let at_ns = now_ns.saturating_add(here.router.spec.slowness.as_nanos() as u64);
                here.number(&mut error);
                self.push(at_ns, node, What::Leaves { packet: error, gateway: None });
            }
            Err(why) => self.note(node, &format!("no error about this packet: {why}")),
        }
    }

    /// Writes into IPv4 options that gather.
    fn stamp(&mut self, node: usize, way: Way, packet: &mut Vec<u8>) {
        let day_ms = self.day_ms();
        let here = &self.nodes[node];
        let own = here.addresses.iter().filter_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        });
        let mut own: Vec<Ipv4Addr> = own.collect();
        own.extend(here.records.iter().flatten());
        let drawn = here.records[usize::from(way == Way::Back)];
        if let Some(outgoing) = drawn.or_else(|| own.first().copied()) {
            gather::stamp(packet, outgoing, &own, day_ms);
        }
    }
}

impl Node {
    fn new(spec: NodeSpec, forwards: bool, random: &Random) -> Self {
        // Hosts begin with 64, routers with 255.
        let ttl = spec.router.initial_ttl.unwrap_or(if forwards { 255 } else { 64 });
        let salt = spec.salt.unwrap_or_else(|| random.split(3).next_u64());
        Self {
            name: spec.name,
            addresses: spec.addresses,
            box_addresses: spec.boxes.iter().flat_map(|one| one.addresses()).collect(),
            records: spec.records,
            router: Router::new(spec.router, random.split(1)),
            endpoint: Endpoint::new(spec.endpoint),
            host: spec.host,
            boxes: spec.boxes,
            policy: spec.policy,
            policy_back: spec.policy_back,
            balancer: Balancer::new(salt, random.split(2)),
            identification: spec.identification,
            counter: random.split(4).next_u64() as u32,
            random: random.split(5),
            ttl,
        }
    }

    fn address(&self, v4: bool) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv4() == v4)
    }

    fn next_identification(&mut self) -> u32 {
        match self.identification {
            Identification::Counter => {
                self.counter = self.counter.wrapping_add(1);
                self.counter
            }
            Identification::Random => self.random.next_u64() as u32,
            Identification::Zero => 0,
        }
    }

    /// Gives a packet of the node the TTL and the number that all of its packets have.
    fn make_own(&mut self, packet: &mut Vec<u8>) {
        let ttl = self.ttl;
        edit(packet, |packet| set_ttl(packet, ttl));
        self.number(packet);
    }

    fn number(&mut self, packet: &mut Vec<u8>) {
        if packet[0] >> 4 == 4 {
            let identification = self.next_identification() as u16;
            edit(packet, |packet| packet[4..6].copy_from_slice(&identification.to_be_bytes()));
        }
    }
}

#[cfg(test)]
mod tests;
