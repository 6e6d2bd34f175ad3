//! The drawing of a network: nodes, links, and what is odd about each.
//!
//! A drawing only says what there is; [`crate::Sim`] sets it in motion.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use crate::{
    balancer::Policy,
    endpoint::{EndpointSpec, Host},
    link::LinkSpec,
    middlebox::{Middlebox, Way},
    router::RouterSpec,
    topology,
    words::{Prefix, TopologyError, Words},
};

/// Index of the vantage point among the nodes.
pub(crate) const VANTAGE: usize = 0;

/// A network to measure in, as text (see the crate's documentation) or put together here.
///
/// Whatever does not exist or makes no sense ends the test with a panic that says so.
pub struct Net {
    pub(crate) nodes: Vec<NodeSpec>,
    pub(crate) edges: Vec<Edge>,
    /// The nodes behind the vantage point on the path that was drawn first.
    pub(crate) hops: Vec<usize>,
}

/// How a node numbers its packets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Identification {
    /// One counter for all packets.
    #[default]
    Counter,
    Random,
    Zero,
}

pub(crate) struct NodeSpec {
    pub(crate) name: String,
    /// The first of each family is the one that it answers from.
    pub(crate) addresses: Vec<IpAddr>,
    /// Whole networks that it answers for.
    pub(crate) prefixes: Vec<Prefix>,
    /// What it writes into a recorded route, on the way there and on the way back.
    pub(crate) records: [Option<Ipv4Addr>; 2],
    pub(crate) router: RouterSpec,
    pub(crate) endpoint: EndpointSpec,
    pub(crate) host: Option<Box<dyn Host>>,
    pub(crate) boxes: Vec<Box<dyn Middlebox>>,
    pub(crate) policy: Policy,
    /// On the way back; without one the first drawn link is taken.
    pub(crate) policy_back: Option<Policy>,
    pub(crate) salt: Option<u64>,
    pub(crate) routes: Vec<(Prefix, usize)>,
    pub(crate) identification: Identification,
}

/// One direction of a link.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) way: Way,
    pub(crate) weight: u32,
    pub(crate) spec: LinkSpec,
}

/// Where something is: a hop of the path drawn first, counted as the TTL that reaches it, or a
/// node by its name.
pub trait Place: Copy {
    /// Name of the node there.
    fn name(&self, net: &Net) -> Option<String>;
}

impl Place for usize {
    fn name(&self, net: &Net) -> Option<String> {
        let node = *net.hops.get(self.checked_sub(1)?)?;
        Some(net.nodes[node].name.clone())
    }
}

impl Place for &str {
    fn name(&self, _: &Net) -> Option<String> {
        Some((*self).to_owned())
    }
}

impl Net {
    /// A vantage point alone.
    pub(crate) fn empty() -> Self {
        let mut net = Self { nodes: Vec::new(), edges: Vec::new(), hops: Vec::new() };
        net.node("vantage");
        net
    }

    /// Reads a drawing.
    ///
    /// # Errors
    ///
    /// Where a word makes no sense; the error names it and its line.
    pub fn parse(text: &str) -> Result<Self, TopologyError> {
        topology::parse(text)
    }

    /// As [`Net::parse`], for a test.
    ///
    /// # Panics
    ///
    /// Where a word makes no sense.
    #[must_use]
    #[track_caller]
    pub fn draw(text: &str) -> Self {
        agreed(Self::parse(text))
    }

    /// One path from the vantage point on: names or addresses, the last one the target.
    ///
    /// # Panics
    ///
    /// Where a name is no word.
    #[must_use]
    #[track_caller]
    pub fn line<'a>(hops: impl IntoIterator<Item = &'a str>) -> Self {
        let path: Vec<&str> = ["vantage"].into_iter().chain(hops).collect();
        Self::draw(&path.join(" - "))
    }

    /// Adds lines to the drawing.
    ///
    /// # Panics
    ///
    /// Where a word makes no sense.
    #[must_use]
    #[track_caller]
    pub fn and(mut self, text: &str) -> Self {
        agreed(topology::read(&mut self, text));
        self
    }

    /// Attributes of a node, as in a drawing: `.attributes(1, "quote 28 mpls 24001")`.
    ///
    /// # Panics
    ///
    /// Where there is no such node or attribute.
    #[must_use]
    #[track_caller]
    pub fn attributes(mut self, place: impl Place, text: &str) -> Self {
        let node = self.find(place);
        agreed(topology::node_attributes(&mut self, node, &mut Words::of(1, text)));
        self
    }

    /// Attributes of the links that lead to a node, both ways, as in a drawing.
    ///
    /// # Panics
    ///
    /// Where there is no such node or attribute.
    #[must_use]
    #[track_caller]
    pub fn link(self, place: impl Place, text: &str) -> Self {
        self.link_there(place, text).link_back(place, text)
    }

    /// Attributes of the links that lead to a node, on the way there.
    ///
    /// # Panics
    ///
    /// As [`Net::link`].
    #[must_use]
    #[track_caller]
    pub fn link_there(self, place: impl Place, text: &str) -> Self {
        self.one_way(place, text, Way::There)
    }

    /// Attributes of the links that lead to a node, on the way back.
    ///
    /// # Panics
    ///
    /// As [`Net::link`].
    #[must_use]
    #[track_caller]
    pub fn link_back(self, place: impl Place, text: &str) -> Self {
        self.one_way(place, text, Way::Back)
    }

    /// How long a packet takes from the node before to this one, and as long back.
    #[must_use]
    #[track_caller]
    pub fn delay_us(self, place: impl Place, delay_us: u64) -> Self {
        self.link(place, &format!("delay {delay_us}us"))
    }

    /// So many packets of one are lost on the way from the node before to this one.
    #[must_use]
    #[track_caller]
    pub fn loss(self, place: impl Place, ratio: f64) -> Self {
        self.link_there(place, &format!("loss {ratio}"))
    }

    /// As [`Net::loss`], on the way back.
    #[must_use]
    #[track_caller]
    pub fn loss_back(self, place: impl Place, ratio: f64) -> Self {
        self.link_back(place, &format!("loss {ratio}"))
    }

    /// Packets with these numbers, from 1, are lost on the way from the node before to this one.
    #[must_use]
    #[track_caller]
    pub fn drop(self, place: impl Place, numbers: impl IntoIterator<Item = u64>) -> Self {
        self.link_there(place, &format!("drop {}", listed(numbers)))
    }

    /// As [`Net::drop`], on the way back.
    #[must_use]
    #[track_caller]
    pub fn drop_back(self, place: impl Place, numbers: impl IntoIterator<Item = u64>) -> Self {
        self.link_back(place, &format!("drop {}", listed(numbers)))
    }

    /// Packets with these numbers come twice on the way back from this node to the one before.
    #[must_use]
    #[track_caller]
    pub fn duplicate_back(self, place: impl Place, numbers: impl IntoIterator<Item = u64>) -> Self {
        self.link_back(place, &format!("duplicate {}", listed(numbers)))
    }

    /// Largest packet between the node before and this one, octets.
    #[must_use]
    #[track_caller]
    pub fn mtu(self, place: impl Place, octets: u16) -> Self {
        self.link(place, &format!("mtu {octets}"))
    }

    /// The node sends nothing of its own.
    #[must_use]
    #[track_caller]
    pub fn silent(self, place: impl Place) -> Self {
        self.attributes(place, "silent")
    }

    /// The node answers as the test says.
    ///
    /// # Panics
    ///
    /// Where there is no such node.
    #[must_use]
    #[track_caller]
    pub fn host(mut self, place: impl Place, host: impl Host + 'static) -> Self {
        let node = self.find(place);
        self.nodes[node].host = Some(Box::new(host));
        self
    }

    /// The node works on what it forwards as the test says, behind its other boxes.
    ///
    /// # Panics
    ///
    /// Where there is no such node.
    #[must_use]
    #[track_caller]
    pub fn middlebox(mut self, place: impl Place, middlebox: impl Middlebox + 'static) -> Self {
        let node = self.find(place);
        self.nodes[node].boxes.push(Box::new(middlebox));
        self
    }

    #[track_caller]
    fn one_way(mut self, place: impl Place, text: &str, way: Way) -> Self {
        let node = self.find(place);
        let is_meant = |edge: &Edge| match way {
            Way::There => edge.way == way && edge.to == node,
            Way::Back => edge.way == way && edge.from == node,
        };
        let mut words = Words::of(1, text);
        agreed(topology::link_attributes(
            self.edges.iter_mut().filter(|e| is_meant(e)),
            &mut words,
        ));
        self
    }

    #[track_caller]
    fn find(&self, place: impl Place) -> usize {
        let name = place.name(self);
        let node = self.nodes.iter().position(|node| Some(&node.name) == name.as_ref());
        match (node, name) {
            (Some(node), _) => node,
            (None, Some(name)) => panic!("the drawing has no node {name}"),
            (None, None) => panic!("the first path has {} hops, counted from 1", self.hops.len()),
        }
    }

    /// The node of this name, made where there is none. An address as name is its address.
    pub(crate) fn node(&mut self, name: &str) -> usize {
        if let Some(node) = self.nodes.iter().position(|node| node.name == name) {
            return node;
        }
        self.nodes.push(NodeSpec {
            name: name.to_owned(),
            addresses: name.parse().into_iter().collect(),
            prefixes: Vec::new(),
            records: [None; 2],
            router: RouterSpec::default(),
            endpoint: EndpointSpec::default(),
            host: None,
            boxes: Vec::new(),
            policy: Policy::default(),
            policy_back: None,
            salt: None,
            routes: Vec::new(),
            identification: Identification::default(),
        });
        self.nodes.len() - 1
    }

    /// The link one way between two nodes; made where there is none.
    pub(crate) fn edge(&mut self, from: usize, to: usize, way: Way) -> &mut Edge {
        let is_it = |edge: &Edge| (edge.from, edge.to, edge.way) == (from, to, way);
        let at = self.edges.iter().position(is_it).unwrap_or_else(|| {
            self.edges.push(Edge { from, to, way, weight: 1, spec: LinkSpec::default() });
            self.edges.len() - 1
        });
        &mut self.edges[at]
    }

    /// Gives addresses to nodes that have none of a family: node number N of the drawing has
    /// 10.0.0.N and fd00::N; a vantage point with none at all has 192.0.2.1 and 2001:db8::1.
    pub(crate) fn fill_in_addresses(&mut self) {
        for (number, node) in self.nodes.iter_mut().enumerate() {
            if number == VANTAGE {
                if node.addresses.is_empty() {
                    node.addresses = vec![
                        Ipv4Addr::new(192, 0, 2, 1).into(),
                        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
                    ];
                }
                continue;
            }
            let low = number as u16;
            if !node.addresses.iter().any(IpAddr::is_ipv4) {
                let [high, low] = low.to_be_bytes();
                node.addresses.push(Ipv4Addr::new(10, 0, high, low).into());
            }
            if !node.addresses.iter().any(IpAddr::is_ipv6) {
                node.addresses.push(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, low).into());
            }
        }
    }
}

#[track_caller]
fn agreed<T>(result: Result<T, TopologyError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

fn listed(numbers: impl IntoIterator<Item = u64>) -> String {
    let numbers: Vec<String> = numbers.into_iter().map(|number| number.to_string()).collect();
    numbers.join(",")
}

/// Since the simulation began.
pub(crate) fn since(now_ns: u64) -> Duration {
    Duration::from_nanos(now_ns)
}
