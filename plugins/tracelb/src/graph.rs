//! What the answers say: nodes, and who answered which flow at which TTL.
//!
//! Links are not stored. They follow from the answers: one between any two nodes that answered the
//! same flow at TTLs one apart. So a link that no flow took cannot come up.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use sonde_plugin_api::packet::extension::MplsEntry;

use crate::prober::Answer;

/// Number of a node, in the order of discovery.
pub(crate) type NodeId = usize;

/// Stands before the first hop; every flow comes through it.
pub(crate) const VANTAGE: NodeId = 0;

/// How a node shares flows out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Balancing {
    /// Not known: nothing behind it was looked for, or not to the end.
    #[default]
    Unknown,
    /// One next hop.
    None,
    /// By flow.
    Flow,
    /// Packets of one flow take several ways.
    Packet,
}

impl Balancing {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::None => "none",
            Self::Flow => "flow",
            Self::Packet => "packet",
        }
    }
}

/// Why nothing was looked for behind a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stop {
    /// It is the target.
    Reached,
    /// It says that it goes no further.
    Unreachable,
    /// Its packets come by where they have been.
    Loop,
    /// As many silent hops as are put up with.
    GapLimit,
    /// The last TTL.
    MaxTtl,
    /// No flows could be found that reach it.
    NoFlows,
}

impl Stop {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Unreachable => "unreachable",
            Self::Loop => "loop",
            Self::GapLimit => "gap_limit",
            Self::MaxTtl => "max_ttl",
            Self::NoFlows => "no_flows",
        }
    }
}

/// An address of a node.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) address: IpAddr,
    pub(crate) rtt_us: u64,
    pub(crate) reply_ttl: u8,
    pub(crate) quoted_ttl: Option<u8>,
    pub(crate) mpls: Vec<MplsEntry>,
}

/// A hop of the graph: a router, a silent one, or several that cannot be told apart by flow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// None: it is silent. Several: a cluster.
    pub(crate) interfaces: Vec<Interface>,
    /// TTL at which it was found first, and the largest at which it was.
    pub(crate) first_ttl: u8,
    pub(crate) last_ttl: u8,
    /// Silent hops up to it, itself included.
    pub(crate) gap: u8,
    pub(crate) balancing: Balancing,
    pub(crate) stop: Option<Stop>,
    /// What is behind it has been looked for.
    pub(crate) is_expanded: bool,
    /// Fresh flows in a row that did not reach it.
    pub(crate) misses: usize,
    /// A cluster of which a part is silent.
    pub(crate) is_partly_silent: bool,
}

impl Node {
    pub(crate) fn is_silent(&self) -> bool {
        self.interfaces.is_empty()
    }

    /// Several routers that take turns.
    pub(crate) fn is_cluster(&self) -> bool {
        self.interfaces.len() + usize::from(self.is_partly_silent) > 1
    }

    /// Addresses, and nothing for who is silent.
    fn members(&self) -> BTreeSet<Option<IpAddr>> {
        let is_silent = self.is_silent() || self.is_partly_silent;
        let addresses = self.interfaces.iter().map(|interface| Some(interface.address));
        addresses.chain(is_silent.then_some(None)).collect()
    }
}

/// What a flow met at a TTL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Seen {
    /// Nobody, so far.
    Silence,
    /// A node; `last` where nothing comes behind it.
    Node { node: NodeId, last: bool },
}

/// Everything known.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    /// By address, those of zero-TTL forwarding apart.
    by_address: BTreeMap<(IpAddr, bool), NodeId>,
    /// By the node before and the TTL.
    silent: BTreeMap<(NodeId, u8), NodeId>,
    /// By the node before, which shares packets out one by one.
    clusters: BTreeMap<NodeId, NodeId>,
    /// By TTL and flow.
    seen: BTreeMap<(u8, u32), Seen>,
    /// Flows that were not asked for at a TTL, because all go through one node there.
    presumed: BTreeMap<(u8, u32), NodeId>,
    first_hop: u8,
    /// The target answered.
    pub(crate) is_reached: bool,
}

/// A link, as the answers show it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    /// TTL of its far end.
    pub(crate) ttl: u8,
    pub(crate) flows: BTreeSet<u32>,
}

impl Graph {
    pub(crate) fn new(first_hop: u8) -> Self {
        let ttl = first_hop - 1;
        let vantage = Node { first_ttl: ttl, last_ttl: ttl, ..Node::default() };
        Self {
            nodes: vec![vantage],
            by_address: BTreeMap::new(),
            silent: BTreeMap::new(),
            clusters: BTreeMap::new(),
            seen: BTreeMap::new(),
            presumed: BTreeMap::new(),
            first_hop,
            is_reached: false,
        }
    }

    /// What a flow met at a TTL, where it was asked for.
    pub(crate) fn seen(&self, ttl: u8, flow: u32) -> Option<Seen> {
        self.seen.get(&(ttl, flow)).copied()
    }

    /// The node that a flow goes through at a TTL, looked up or presumed.
    pub(crate) fn at(&self, ttl: u8, flow: u32) -> Option<NodeId> {
        if ttl < self.first_hop {
            return Some(VANTAGE);
        }
        match self.seen(ttl, flow) {
            Some(Seen::Node { node, .. }) => Some(node),
            Some(Seen::Silence) => None,
            None => self.presumed.get(&(ttl, flow)).copied(),
        }
    }

    /// Whether nothing comes behind what a flow met.
    pub(crate) fn has_ended(&self, ttl: u8, flow: u32) -> bool {
        matches!(self.seen.get(&(ttl, flow)), Some(Seen::Node { last: true, .. }))
    }

    /// Whether the flow was really seen at the node, or must have been.
    pub(crate) fn is_certain(&self, ttl: u8, flow: u32) -> bool {
        ttl < self.first_hop || matches!(self.seen.get(&(ttl, flow)), Some(Seen::Node { .. }))
    }

    /// Notes what a flow met; true where a node is new at this TTL.
    pub(crate) fn observe(&mut self, ttl: u8, flow: u32, answer: Option<&Answer>) -> bool {
        let Some(answer) = answer else {
            self.seen.entry((ttl, flow)).or_insert(Seen::Silence);
            return false;
        };
        let known = self.nodes_at(ttl);
        let node = self.node_of(answer, ttl, self.at(ttl - 1, flow));
        let is_new = !known.contains(&node);
        self.presumed.remove(&(ttl, flow));
        self.seen.insert((ttl, flow), Seen::Node { node, last: answer.last });
        if is_new && !known.is_empty() {
            // Not all flows go through one node here after all.
            self.presumed.retain(|(at, _), _| *at != ttl);
        }
        is_new
    }

    /// Flows that were asked for behind a TTL, but neither at it nor presumed.
    pub(crate) fn unplaced(&self, ttl: u8) -> Vec<u32> {
        let behind = self.seen.range((ttl + 1, 0)..=(ttl + 1, u32::MAX));
        let is_unplaced = |flow: &u32| {
            !self.seen.contains_key(&(ttl, *flow)) && !self.presumed.contains_key(&(ttl, *flow))
        };
        behind.map(|((_, flow), _)| *flow).filter(is_unplaced).collect()
    }

    /// The node that sent an answer to a flow that comes from `before`, where that is known.
    pub(crate) fn node_of(&mut self, answer: &Answer, ttl: u8, before: Option<NodeId>) -> NodeId {
        let cluster = match before {
            Some(before) => self.clusters.get(&before).copied(),
            None => self.cluster_at(ttl, &BTreeSet::from([Some(answer.from)])),
        };
        let key = (answer.from, answer.zero_ttl);
        let id = cluster.unwrap_or_else(|| {
            *self.by_address.entry(key).or_insert_with(|| {
                self.nodes.push(Node { first_ttl: ttl, last_ttl: ttl, ..Node::default() });
                self.nodes.len() - 1
            })
        });
        let node = &mut self.nodes[id];
        node.first_ttl = node.first_ttl.min(ttl);
        node.last_ttl = node.last_ttl.max(ttl);
        match node.interfaces.iter_mut().find(|known| known.address == answer.from) {
            Some(known) => known.rtt_us = known.rtt_us.min(answer.rtt_us),
            None => node.interfaces.push(Interface {
                address: answer.from,
                rtt_us: answer.rtt_us,
                reply_ttl: answer.ttl,
                quoted_ttl: answer.quoted_ttl,
                mpls: answer.mpls.clone(),
            }),
        }
        id
    }

    /// A cluster that has one of these members at a TTL.
    fn cluster_at(&self, ttl: u8, members: &BTreeSet<Option<IpAddr>>) -> Option<NodeId> {
        self.clusters.values().copied().find(|cluster| {
            let node = &self.nodes[*cluster];
            (node.first_ttl..=node.last_ttl).contains(&ttl) && !node.members().is_disjoint(members)
        })
    }

    /// A flow that needs not be asked for.
    pub(crate) fn presume(&mut self, ttl: u8, flow: u32, node: NodeId) {
        if ttl >= self.first_hop && !self.seen.contains_key(&(ttl, flow)) {
            self.presumed.insert((ttl, flow), node);
        }
    }

    /// The silence that a flow met behind `before` belongs to a silent node.
    pub(crate) fn name_silence(&mut self, ttl: u8, flow: u32, before: NodeId) {
        let id = match self.clusters.get(&before) {
            Some(&cluster) => {
                self.nodes[cluster].is_partly_silent = true;
                cluster
            }
            None => {
                let gap = self.nodes[before].gap.saturating_add(1);
                *self.silent.entry((before, ttl)).or_insert_with(|| {
                    self.nodes.push(Node { first_ttl: ttl, last_ttl: ttl, gap, ..Node::default() });
                    self.nodes.len() - 1
                })
            }
        };
        self.presumed.remove(&(ttl, flow));
        self.seen.insert((ttl, flow), Seen::Node { node: id, last: false });
    }

    /// A silent node is none after all: its flows met nobody, as far as is known.
    pub(crate) fn forget_silence(&mut self, before: NodeId, ttl: u8) {
        let Some(id) = self.silent.remove(&(before, ttl)) else { return };
        for (_, seen) in self.seen.range_mut((ttl, 0)..=(ttl, u32::MAX)) {
            if matches!(seen, Seen::Node { node, .. } if *node == id) {
                *seen = Seen::Silence;
            }
        }
        self.presumed.retain(|_, node| *node != id);
    }

    /// Whether the one way to somebody who answers is by this silent node, and maybe more of them.
    pub(crate) fn is_bridge(&self, silent: NodeId) -> bool {
        let links = self.links();
        let mut ways = vec![silent];
        while let Some(at) = ways.pop() {
            for &(_, to) in links.range((at, 0)..=(at, NodeId::MAX)).map(|(link, _)| link) {
                if links.keys().any(|(from, other)| *other == to && *from != at) {
                    continue;
                }
                if !self.nodes[to].is_silent() {
                    return true;
                }
                ways.push(to);
            }
        }
        false
    }

    /// Silent nodes from far to near, with the node before and the TTL.
    pub(crate) fn silences(&self) -> Vec<(NodeId, u8, NodeId)> {
        let mut all: Vec<_> =
            self.silent.iter().map(|((before, ttl), id)| (*before, *ttl, *id)).collect();
        all.sort_by_key(|(_, ttl, _)| std::cmp::Reverse(*ttl));
        all
    }

    /// The silent node behind `before`, or the cluster of which it is a part, if there is one.
    pub(crate) fn silence_behind(&self, before: NodeId, ttl: u8) -> Option<NodeId> {
        match self.clusters.get(&before) {
            Some(cluster) => Some(*cluster).filter(|it| self.nodes[*it].is_partly_silent),
            None => self.silent.get(&(before, ttl)).copied(),
        }
    }

    /// Whoever flows through a node meet at the TTL behind it becomes one cluster: what tells them apart is not the
    /// flow. They stay themselves at other TTLs, for the ways through a cluster may be of different lengths.
    pub(crate) fn bundle(&mut self, before: NodeId, ttl: u8) -> NodeId {
        let behind = ttl + 1;
        let met = self.next_hops(before, ttl);
        let members = met.keys().flat_map(|node| self.nodes[*node].members()).collect();
        let mut known = self.clusters.values().copied();
        let same = known.find(|it| *it != before && self.nodes[*it].members() == members);
        let known = same.or_else(|| self.cluster_at(behind, &members).filter(|it| *it != before));
        let cluster = known.unwrap_or_else(|| {
            self.nodes.push(Node { first_ttl: behind, last_ttl: behind, ..Node::default() });
            self.nodes.len() - 1
        });
        self.clusters.insert(before, cluster);
        for (node, flows) in met.into_iter().filter(|(node, _)| *node != cluster) {
            self.take_in(cluster, behind, node, &flows);
        }
        cluster
    }

    /// What flows met at a node becomes a cluster's.
    fn take_in(&mut self, cluster: NodeId, ttl: u8, node: NodeId, flows: &[u32]) {
        let Node { interfaces, is_partly_silent, .. } = self.nodes[node].clone();
        let entry = &mut self.nodes[cluster];
        entry.first_ttl = entry.first_ttl.min(ttl);
        entry.last_ttl = entry.last_ttl.max(ttl);
        entry.is_partly_silent |= is_partly_silent || interfaces.is_empty();
        for interface in interfaces {
            if entry.interfaces.iter().all(|known| known.address != interface.address) {
                entry.interfaces.push(interface);
            }
        }
        for flow in flows {
            if let Some(Seen::Node { node, .. }) = self.seen.get_mut(&(ttl, *flow)) {
                *node = cluster;
            }
        }
        self.presumed.retain(|(at, _), presumed| *at != ttl || *presumed != node);
        self.look_again(node);
    }

    /// A node of which a cluster has taken what was seen at a TTL: it is what was seen elsewhere, if anything.
    fn look_again(&mut self, id: NodeId) {
        let is_it = |seen: &Seen| matches!(seen, Seen::Node { node, .. } if *node == id);
        let ttls = self.seen.iter().filter(|(_, seen)| is_it(seen)).map(|((ttl, _), _)| *ttl);
        let ttls: BTreeSet<u8> = ttls.collect();
        let (Some(&first_ttl), Some(&last_ttl)) = (ttls.first(), ttls.last()) else {
            self.by_address.retain(|_, node| *node != id);
            self.silent.retain(|_, node| *node != id);
            return;
        };
        // Two ways of different lengths look like a loop.
        let stop = self.nodes[id].stop.filter(|stop| *stop != Stop::Loop);
        self.nodes[id] = Node { first_ttl, last_ttl, stop, ..self.nodes[id].clone() };
    }

    /// All nodes, in the order of discovery, without the vantage point.
    pub(crate) fn roots(&self) -> impl Iterator<Item = NodeId> + '_ {
        let nodes = self.by_address.values().chain(self.silent.values());
        nodes.chain(self.clusters.values()).copied().collect::<BTreeSet<NodeId>>().into_iter()
    }

    /// Nodes that some flow was seen at, at this TTL.
    pub(crate) fn nodes_at(&self, ttl: u8) -> BTreeSet<NodeId> {
        if ttl < self.first_hop {
            return BTreeSet::from([VANTAGE]);
        }
        let at = self.seen.range((ttl, 0)..=(ttl, u32::MAX));
        at.filter_map(|(_, seen)| match seen {
            Seen::Node { node, .. } => Some(*node),
            Seen::Silence => None,
        })
        .collect()
    }

    /// Whether paths have parted before a TTL, and not met again.
    pub(crate) fn is_wide(&self, ttl: u8) -> bool {
        self.nodes_at(ttl).len() > 1
    }

    /// TTLs around a wide one at which paths have not met again, in rising order.
    pub(crate) fn diamond(&self, ttl: u8) -> impl Iterator<Item = u8> + use<> {
        let before = (self.first_hop..ttl).rev().take_while(|hop| self.is_wide(*hop)).last();
        let behind = (ttl..u8::MAX).take_while(|hop| self.is_wide(*hop)).last();
        before.unwrap_or(ttl)..=behind.unwrap_or(ttl)
    }

    /// The node that all flows go through at a TTL, as far as is known.
    pub(crate) fn only(&self, ttl: u8) -> Option<NodeId> {
        let nodes = self.nodes_at(ttl);
        let mut at = self.seen.range((ttl, 0)..=(ttl, u32::MAX));
        let is_open = at.any(|(_, seen)| *seen == Seen::Silence);
        nodes.first().copied().filter(|_| nodes.len() == 1 && !is_open)
    }

    /// Flows that go through a node at a TTL and on behind it.
    pub(crate) fn flows_through(&self, node: NodeId, ttl: u8) -> Vec<u32> {
        let seen = self.seen.range((ttl, 0)..=(ttl, u32::MAX));
        let seen = seen.filter(|(_, seen)| match seen {
            Seen::Node { node: found, last } => !last && *found == node,
            Seen::Silence => false,
        });
        let presumed = self.presumed.range((ttl, 0)..=(ttl, u32::MAX));
        let presumed = presumed.filter(|(_, found)| **found == node);
        let mut flows: Vec<u32> =
            seen.map(|((_, flow), _)| *flow).chain(presumed.map(|((_, flow), _)| *flow)).collect();
        if ttl < self.first_hop {
            let behind = self.seen.range((ttl + 1, 0)..=(ttl + 1, u32::MAX));
            flows = behind.map(|((_, flow), _)| *flow).collect();
        }
        flows
    }

    /// Flows that were asked for at a TTL.
    pub(crate) fn flows(&self, ttl: u8) -> Vec<u32> {
        self.seen.range((ttl, 0)..=(ttl, u32::MAX)).map(|((_, flow), _)| *flow).collect()
    }

    /// Flows that were seen at a node, at whatever TTL.
    pub(crate) fn flows_seen_at(&self, node: NodeId) -> usize {
        let is_it = |seen: &Seen| matches!(seen, Seen::Node { node: met, .. } if *met == node);
        let flows = self.seen.iter().filter(|(_, seen)| is_it(seen)).map(|((_, flow), _)| *flow);
        flows.collect::<BTreeSet<u32>>().len()
    }

    /// Next hops of a node, by the flows that were seen on both sides.
    pub(crate) fn next_hops(&self, node: NodeId, ttl: u8) -> BTreeMap<NodeId, Vec<u32>> {
        let mut hops: BTreeMap<NodeId, Vec<u32>> = BTreeMap::new();
        for flow in self.flows_through(node, ttl) {
            if let Some(Seen::Node { node, .. }) = self.seen(ttl + 1, flow) {
                hops.entry(node).or_default().push(flow);
            }
        }
        hops
    }

    /// Flows through a node that somebody answered behind it.
    pub(crate) fn answered_behind(&self, node: NodeId, ttl: u8) -> usize {
        let hops = self.next_hops(node, ttl).into_iter();
        hops.filter(|(hop, _)| !self.nodes[*hop].is_silent()).map(|(_, flows)| flows.len()).sum()
    }

    /// As [`Graph::next_hops`], by the flows of longer ways that come by later. Of a cluster none: what packets take by
    /// turns is told apart by TTL.
    pub(crate) fn next_hops_later(&self, node: NodeId, ttl: u8) -> BTreeMap<NodeId, Vec<u32>> {
        let mut hops: BTreeMap<NodeId, Vec<u32>> = BTreeMap::new();
        if !self.nodes[node].is_cluster() {
            let later = (ttl + 1..=self.nodes[node].last_ttl).map(|ttl| self.next_hops(node, ttl));
            for (hop, flows) in later.flatten() {
                hops.entry(hop).or_default().extend(flows);
            }
        }
        hops
    }

    /// Nodes with something behind them that was not looked for, at the lowest TTL there is one.
    pub(crate) fn nearest_open(&self) -> Option<(u8, Vec<NodeId>)> {
        let is_open = |id: &NodeId| {
            let node = &self.nodes[*id];
            !node.is_expanded
                && matches!(node.stop, None | Some(Stop::Unreachable))
                && (*id == VANTAGE || !self.flows_through(*id, node.first_ttl).is_empty())
        };
        let open: Vec<NodeId> =
            std::iter::once(VANTAGE).chain(self.roots()).filter(is_open).collect();
        let ttl = open.iter().map(|id| self.nodes[*id].first_ttl).min()?;
        let nearest = open.into_iter().filter(|id| self.nodes[*id].first_ttl == ttl).collect();
        Some((ttl, nearest))
    }

    /// Whether the flow was seen at the node at a lower TTL: it goes round.
    pub(crate) fn has_been(&self, flow: u32, node: NodeId, ttl: u8) -> bool {
        (self.first_hop..ttl).any(|lower| {
            matches!(self.seen(lower, flow), Some(Seen::Node { node: met, .. }) if met == node)
        })
    }

    /// Every link, the vantage point's left out. Flows that were presumed count where another one
    /// was seen to take the same link.
    pub(crate) fn links(&self) -> BTreeMap<(NodeId, NodeId), Traffic> {
        let mut links: BTreeMap<(NodeId, NodeId), Traffic> = BTreeMap::new();
        for certain in [true, false] {
            for &(ttl, flow) in self.seen.keys().filter(|(ttl, _)| *ttl > self.first_hop) {
                let Some(Seen::Node { node: to, .. }) = self.seen(ttl, flow) else { continue };
                let Some(from) = self.at(ttl - 1, flow) else { continue };
                if self.has_ended(ttl - 1, flow) {
                    continue;
                }
                // A router that says it goes no further.
                if from == to && self.has_ended(ttl, flow) {
                    continue;
                }
                if self.is_certain(ttl - 1, flow) == certain
                    && (certain || links.contains_key(&(from, to)))
                {
                    let link = links.entry((from, to)).or_insert(Traffic { ttl, ..<_>::default() });
                    link.ttl = link.ttl.min(ttl);
                    link.flows.insert(flow);
                }
            }
        }
        links
    }

    /// TTL of the first hop.
    pub(crate) fn first_hop(&self) -> u8 {
        self.first_hop
    }
}
