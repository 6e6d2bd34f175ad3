//! Which way leads where.
//!
//! A packet goes the way there wherever that leads to its destination, else the way back. So every
//! path goes back for a while, then there, and ends; only arrows and drawn routes can make a loop.

use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    middlebox::Way,
    net::{Edge, NodeSpec, VANTAGE},
    words::Prefix,
};

/// Links and addresses of a network.
#[derive(Debug)]
pub(crate) struct Routing {
    edges: Vec<Edge>,
    /// Links that leave each node, in the order of the drawing.
    leaving: Vec<Vec<usize>>,
    /// By node: which nodes the way there leads to.
    there: Vec<Vec<bool>>,
    owners: BTreeMap<IpAddr, usize>,
    prefixes: Vec<(Prefix, usize)>,
    /// By node: drawn routes.
    routes: Vec<Vec<(Prefix, usize)>>,
}

impl Routing {
    pub(crate) fn new(nodes: &[NodeSpec], edges: Vec<Edge>) -> Self {
        let mut leaving = vec![Vec::new(); nodes.len()];
        for (index, edge) in edges.iter().enumerate() {
            leaving[edge.from].push(index);
        }
        let mut owners = BTreeMap::new();
        let mut prefixes = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let of_boxes = node.boxes.iter().flat_map(|middlebox| middlebox.addresses());
            // A translator's outside address may be its own: then both are here.
            for address in node.addresses.iter().copied().chain(of_boxes) {
                owners.entry(address).or_insert(index);
            }
            prefixes.extend(node.prefixes.iter().map(|prefix| (*prefix, index)));
        }
        prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.bits));
        let mut routing = Self {
            edges,
            leaving,
            there: Vec::new(),
            owners,
            prefixes,
            routes: nodes.iter().map(|node| node.routes.clone()).collect(),
        };
        routing.there = (0..nodes.len()).map(|node| routing.reached_from(node)).collect();
        routing
    }

    pub(crate) fn edge(&self, index: usize) -> &Edge {
        &self.edges[index]
    }

    /// Links that leave a node.
    pub(crate) fn leaving(&self, node: usize) -> &[usize] {
        &self.leaving[node]
    }

    fn reached_from(&self, start: usize) -> Vec<bool> {
        let mut reached = vec![false; self.leaving.len()];
        let mut open = vec![start];
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut reached[node], true) {
                let edges = self.leaving[node].iter().map(|index| &self.edges[*index]);
                open.extend(edges.filter(|edge| edge.way == Way::There).map(|edge| edge.to));
            }
        }
        reached
    }

    /// Whose address it is.
    pub(crate) fn owner(&self, address: IpAddr) -> Option<usize> {
        let of_prefix = || self.prefixes.iter().find(|(prefix, _)| prefix.contains(address));
        self.owners.get(&address).copied().or_else(|| of_prefix().map(|(_, node)| *node))
    }

    /// Links out of `node` that lead to `destination`, all of them one way; none where it cannot
    /// be reached.
    pub(crate) fn next_links(&self, node: usize, destination: IpAddr) -> (Way, Vec<usize>) {
        let leaving = |way: Way| {
            let edges = self.leaving[node].iter().copied();
            edges.filter(move |index| self.edges[*index].way == way)
        };
        let routes = self.routes[node].iter();
        let drawn = routes.filter(|(prefix, _)| prefix.contains(destination)).map(|(_, via)| *via);
        if let Some(via) = drawn.take(1).next() {
            let edge = self.leaving[node].iter().find(|index| self.edges[**index].to == via);
            return edge
                .map_or((Way::There, Vec::new()), |&edge| (self.edges[edge].way, vec![edge]));
        }
        let Some(owner) = self.owner(destination) else {
            // The vantage point has a default route; the first router knows better.
            let default = leaving(Way::There).take(usize::from(node == VANTAGE));
            return (Way::There, default.collect());
        };
        let leads = |index: &usize| self.there[self.edges[*index].to][owner];
        let there: Vec<usize> = leaving(Way::There).filter(leads).collect();
        if !there.is_empty() {
            return (Way::There, there);
        }
        let back: Vec<usize> = leaving(Way::Back).collect();
        if back.is_empty() {
            // Drawn with an arrow: what this node says itself goes round.
            return (Way::There, leaving(Way::There).take(1).collect());
        }
        (Way::Back, back)
    }
}
