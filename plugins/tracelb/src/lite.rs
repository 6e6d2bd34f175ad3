//! MDA-Lite: hop by hop instead of node by node, where the graph allows it.
//!
//! Flows are not looked up at a node before they are sent on: a hop is known when so many flows
//! showed nothing new. That saves most probes where diamonds are neither meshed nor uneven; one that
//! is gets explored node by node from its beginning, for few flows speak for any of its hops.
//!
//! Source: Vermeulen, Strowes, Fourmaux, Friedman, "Multilevel MDA-Lite Paris traceroute", 2018.

use std::collections::BTreeSet;

use crate::{
    diamonds::meshed_hop,
    explorer::Explorer,
    graph::{Graph, NodeId, Seen},
    prober::Halt,
};

/// Flows through each node that look for links across.
const FLOWS_FOR_MESH: usize = 2;

impl Explorer {
    /// Explores a hop, or finds that its diamond is to begin again. False where the hop has to be explored node by
    /// node.
    pub(crate) async fn explore_lightly(
        &mut self,
        ttl: u8,
        nodes: &[NodeId],
    ) -> Result<bool, Halt> {
        if ttl < self.graph.first_hop() || !self.graph.is_wide(ttl) {
            // One node: both ways are the same.
            return Ok(false);
        }
        if self.is_uneven(ttl) {
            return Ok(false);
        }
        // A hop as a whole, with the flows that came to it first.
        let mut untried = self.graph.flows(ttl);
        untried.retain(|flow| !self.graph.has_ended(ttl, *flow));
        loop {
            let seen = self.graph.nodes_at(ttl + 1).len();
            let tried = self.graph.flows(ttl + 1).len();
            let missing = self.points.after(seen).saturating_sub(tried);
            if missing == 0 {
                break;
            }
            untried.retain(|flow| self.graph.seen(ttl + 1, *flow).is_none());
            let mut ask: Vec<u32> = untried.iter().copied().take(missing).collect();
            while ask.len() < missing {
                ask.push(self.new_flow());
            }
            self.ask_behind(ttl, &ask).await?;
        }
        self.complete(ttl, nodes).await?;
        let is_silent = self
            .graph
            .flows(ttl + 1)
            .into_iter()
            .any(|flow| self.graph.seen(ttl + 1, flow) == Some(Seen::Silence));
        if is_silent {
            return Ok(false);
        }
        // What was found here may have shown more of the hops before.
        let hops = self.graph.diamond(ttl).take_while(|hop| *hop <= ttl);
        let is_one = |hop: &u8| is_meshed(&self.graph, *hop) || is_uneven(&self.graph, *hop);
        let uneven: Vec<u8> = hops.filter(is_one).collect();
        if !uneven.is_empty() {
            self.uneven.extend(uneven);
            return Ok(true);
        }
        for &node in nodes {
            if !self.finish(node, ttl).await? {
                return Ok(false);
            }
            self.graph.nodes[node].is_expanded = true;
        }
        Ok(true)
    }

    /// Sends flows where a node has no link yet, and enough of them to show links across.
    async fn complete(&mut self, ttl: u8, nodes: &[NodeId]) -> Result<(), Halt> {
        let mut ask = Vec::new();
        for &node in nodes {
            let through = self.graph.flows_through(node, ttl);
            let is_tried = |flow: &&u32| self.graph.seen(ttl + 1, **flow).is_some();
            let tried = through.iter().filter(is_tried).count();
            let lacking = FLOWS_FOR_MESH.saturating_sub(tried);
            ask.extend(through.iter().filter(|flow| !is_tried(flow)).take(lacking));
        }
        self.ask_behind(ttl, &ask).await?;
        let unplaced = self.graph.unplaced(ttl);
        let mut wanted = Vec::new();
        for behind in self.graph.nodes_at(ttl + 1) {
            let of_node = |flow: &&u32| self.graph.at(ttl + 1, **flow) == Some(behind);
            let placed = self.graph.flows(ttl + 1);
            let placed = placed.iter().filter(of_node).filter(|it| !unplaced.contains(it)).count();
            let lacking = FLOWS_FOR_MESH.saturating_sub(placed);
            wanted.extend(unplaced.iter().filter(of_node).take(lacking).map(|flow| (*flow, ttl)));
        }
        self.place(&wanted).await
    }
}

fn hop_links(graph: &Graph, ttl: u8) -> Vec<(NodeId, NodeId)> {
    let mut links = BTreeSet::new();
    for from in graph.nodes_at(ttl) {
        links.extend(graph.next_hops(from, ttl).into_keys().map(|to| (from, to)));
    }
    links.into_iter().collect()
}

fn is_meshed(graph: &Graph, ttl: u8) -> bool {
    let is_wide = graph.nodes_at(ttl).len() > 1 && graph.nodes_at(ttl + 1).len() > 1;
    is_wide && meshed_hop(&hop_links(graph, ttl))
}

/// Nodes of one hop have different numbers of next hops, or of nodes before them.
fn is_uneven(graph: &Graph, ttl: u8) -> bool {
    let links = hop_links(graph, ttl);
    let differ = |side: fn(&(NodeId, NodeId)) -> NodeId, all: BTreeSet<NodeId>| {
        let degrees: BTreeSet<usize> = all
            .into_iter()
            .map(|node| links.iter().filter(|link| side(link) == node).count())
            .collect();
        degrees.len() > 1
    };
    differ(|link| link.0, graph.nodes_at(ttl)) || differ(|link| link.1, graph.nodes_at(ttl + 1))
}
