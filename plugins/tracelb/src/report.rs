//! The graph as rows.

use std::collections::{BTreeMap, BTreeSet};

use sonde_plugin_api::prelude::*;

use crate::{
    diamonds::diamonds,
    explorer::Explorer,
    graph::{Graph, NodeId, Stop, Traffic, VANTAGE},
    lines::{lines, name},
    rows::{DiamondRow, LabelRow, LineRow, LinkRow, NodeRow, SummaryRow},
};

/// How it came to an end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// Nothing is left to explore.
    Explored,
    /// As many probes as were allowed.
    Budget,
    /// Too many of them were lost.
    Loss,
    /// The host wanted it to end.
    Interrupted,
    /// It could not be measured any further.
    Failed,
}

/// Values of chi-square that one in a hundred even balancers exceeds, by degrees of freedom from 1; beyond,
/// Wilson and Hilferty's approximation.
const CHI_SQUARE_1_PERCENT: [f64; 5] = [6.635, 9.210, 11.345, 13.277, 15.086];
/// Flows for each next hop below which the test means nothing.
const FEWEST_FLOWS: usize = 5;

/// Emits everything that is known.
pub(crate) fn emit(explorer: &Explorer, end: End, begin: Time) {
    let (graph, prober) = (&explorer.graph, &explorer.prober);
    let ctx = &prober.ctx;
    let mut links = graph.links();
    let ends = dead_ends(graph, &links);
    let nodes: Vec<NodeId> = graph.roots().filter(|node| ends.is_shown(*node)).collect();
    links.retain(|(from, to), _| ends.is_shown(*from) && ends.is_shown(*to));
    // As they are read on a terminal: ways, where they end, what they are made of.
    for line in lines(graph, &links) {
        ctx.emit(LineRow { line });
    }
    for &node in &nodes {
        for row in node_rows(graph, &links, &ends, node) {
            ctx.emit(row);
        }
    }
    for (&(from, to), traffic) in &links {
        ctx.emit(LinkRow {
            from: name(graph, from),
            to: name(graph, to),
            ttl: traffic.ttl,
            probes: traffic.flows.len() as u32,
            flows: traffic.flows.len() as u32,
            from_id: from as u32,
            to_id: to as u32,
        });
    }
    let links_shown = links.len() as u32;
    links.retain(|(_, to), _| !ends.silent.contains(to));
    let mut first: Vec<NodeId> = graph.nodes_at(graph.first_hop()).into_iter().collect();
    if graph.is_reached && end == End::Explored {
        // Ways that end elsewhere meet no others again, and would hide all that do behind where they part.
        let leading = leading_to(prober.params.destination, graph, &links);
        links.retain(|(_, to), _| leading.contains(to));
        first.retain(|node| leading.contains(node));
    }
    let found = diamonds(&links, &first);
    for diamond in &found {
        ctx.emit(DiamondRow {
            divergence: name(graph, diamond.divergence),
            convergence: diamond.convergence.map(|node| name(graph, node)),
            ttl: graph.nodes[diamond.divergence].first_ttl,
            max_width: diamond.max_width as u32,
            max_length: diamond.max_length as u32,
            min_length: diamond.min_length as u32,
            meshed: diamond.meshed,
            symmetric: diamond.max_length == diamond.min_length,
        });
    }
    let stop = stop_reason(graph, end);
    let answering = nodes.iter().filter(|node| !graph.nodes[**node].is_silent()).count();
    ctx.emit(SummaryRow {
        probes: prober.sent(),
        flows: explorer.flows(),
        nodes: answering as u32,
        links: links_shown,
        diamonds: found.len() as u32,
        stop: stop.to_owned(),
        reached: graph.is_reached,
        budget_exhausted: end == End::Budget,
        algorithm: prober.params.algorithm.name().to_owned(),
        confidence: prober.params.confidence,
        duration_ms: (ctx.now() - begin).as_millis() as u64,
        userid: prober.params.userid,
    });
    ctx.stop(stop);
}

/// Nodes on a way to the target, itself included.
fn leading_to(
    target: IpAddr,
    graph: &Graph,
    links: &BTreeMap<(NodeId, NodeId), Traffic>,
) -> BTreeSet<NodeId> {
    let is_target = |id: &NodeId| graph.nodes[*id].interfaces.iter().any(|it| it.address == target);
    let mut leading: BTreeSet<NodeId> = graph.roots().filter(is_target).collect();
    let is_next = |leading: &BTreeSet<NodeId>, (from, to): &(NodeId, NodeId)| {
        leading.contains(to) && !leading.contains(from)
    };
    while let Some((from, _)) = links.keys().find(|link| is_next(&leading, link)) {
        leading.insert(*from);
    }
    leading
}

/// Silence up to the end of a way.
struct DeadEnds {
    /// Silent nodes with nobody behind them that answers.
    silent: BTreeSet<NodeId>,
    /// Those that are told all the same: the first on a way beside others that go on.
    told: BTreeSet<NodeId>,
    /// Why a way ended there, by the last node that is told.
    stops: BTreeMap<NodeId, Stop>,
}

impl DeadEnds {
    /// Silence with nothing behind it is no hop that anybody knows of.
    fn is_shown(&self, node: NodeId) -> bool {
        !self.silent.contains(&node) || self.told.contains(&node)
    }
}

fn dead_ends(graph: &Graph, links: &BTreeMap<(NodeId, NodeId), Traffic>) -> DeadEnds {
    let behind =
        |node: NodeId| links.range((node, 0)..=(node, NodeId::MAX)).map(|(link, _)| link.1);
    let mut silent: BTreeSet<NodeId> =
        graph.roots().filter(|node| graph.nodes[*node].is_silent()).collect();
    // Whoever has somebody behind that answers is none, and so on backwards.
    while let Some(&alive) = silent.iter().find(|it| behind(**it).any(|to| !silent.contains(&to))) {
        silent.remove(&alive);
    }
    let stop_behind = |node: NodeId| {
        let mut way = vec![node];
        let mut at = 0;
        while let Some(&next) = way.get(at) {
            if let Some(stop) = graph.nodes[next].stop {
                return Some(stop);
            }
            let more: Vec<NodeId> = behind(next).filter(|to| !way.contains(to)).collect();
            way.extend(more);
            at += 1;
        }
        None
    };
    let (mut told, mut stops) = (BTreeSet::new(), BTreeMap::new());
    for &(from, to) in
        links.keys().filter(|(from, to)| !silent.contains(from) && silent.contains(to))
    {
        let Some(stop) = stop_behind(to) else { continue };
        let goes_on = behind(from).any(|other| !silent.contains(&other));
        if goes_on {
            told.insert(to);
        }
        stops.insert(if goes_on { to } else { from }, stop);
    }
    DeadEnds { silent, told, stops }
}

fn node_rows(
    graph: &Graph,
    links: &BTreeMap<(NodeId, NodeId), Traffic>,
    ends: &DeadEnds,
    id: NodeId,
) -> Vec<NodeRow> {
    let node = &graph.nodes[id];
    let out = || links.range((id, 0)..=(id, NodeId::MAX));
    // Of silence more flows are known than went there by chance: those that were looked for.
    let answered = out().filter(|((_, to), _)| !graph.nodes[*to].is_silent());
    let shares: Vec<usize> = answered.map(|(_, traffic)| traffic.flows.len()).collect();
    let into = links.keys().filter(|(_, to)| *to == id).count();
    let row = NodeRow {
        id: id as u32,
        ttl: node.first_ttl,
        ttl_max: node.last_ttl,
        addr: None,
        balancing: node.balancing.name().to_owned(),
        cluster: node.is_cluster(),
        out_degree: out().count() as u32,
        in_degree: into as u32,
        flows: graph.flows_seen_at(id) as u32,
        rtt_min_us: None,
        reply_ttl: None,
        quoted_ttl: None,
        mpls: Vec::new(),
        weighted: is_weighted(&shares),
        stop: node.stop.or(ends.stops.get(&id).copied()).map(|stop| stop.name().to_owned()),
    };
    let mut rows: Vec<NodeRow> = node
        .interfaces
        .iter()
        .map(|interface| NodeRow {
            addr: Some(interface.address),
            rtt_min_us: Some(interface.rtt_us),
            reply_ttl: Some(interface.reply_ttl),
            quoted_ttl: interface.quoted_ttl,
            mpls: interface
                .mpls
                .iter()
                .map(|entry| LabelRow {
                    label: entry.label,
                    tc: entry.traffic_class,
                    s: entry.bottom,
                    ttl: entry.ttl,
                })
                .collect(),
            ..row.clone()
        })
        .collect();
    if node.is_silent() || node.is_partly_silent {
        rows.push(row);
    }
    rows
}

/// Whether flows are shared out unevenly: Pearson's chi-square test against even shares.
fn is_weighted(flows: &[usize]) -> bool {
    let all: usize = flows.iter().sum();
    if flows.len() < 2 || all < FEWEST_FLOWS * flows.len() {
        return false;
    }
    let even = all as f64 / flows.len() as f64;
    let chi_square: f64 = flows.iter().map(|flows| (*flows as f64 - even).powi(2) / even).sum();
    let freedom = flows.len() - 1;
    let limit = CHI_SQUARE_1_PERCENT.get(freedom - 1).copied().unwrap_or_else(|| {
        let k = freedom as f64;
        let part = 2.0 / (9.0 * k);
        k * (1.0 - part + 2.326 * part.sqrt()).powi(3)
    });
    chi_square > limit
}

fn stop_reason(graph: &Graph, end: End) -> &'static str {
    match end {
        End::Interrupted => return "interrupted",
        End::Budget => return "budget",
        End::Loss => return "loss",
        End::Failed => return "failed",
        End::Explored => {}
    }
    if graph.is_reached {
        return Stop::Reached.name();
    }
    let stops = [Stop::Unreachable, Stop::Loop, Stop::GapLimit, Stop::MaxTtl];
    let is_among = |stop: &Stop| {
        graph.roots().chain([VANTAGE]).any(|node| graph.nodes[node].stop == Some(*stop))
    };
    stops.into_iter().find(is_among).unwrap_or(Stop::GapLimit).name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_shares_are_not_called_weighted_and_weighted_ones_are() {
        assert!(!is_weighted(&[8, 5, 7, 6]));
        assert!(!is_weighted(&[3, 1]), "too few to tell");
        assert!(is_weighted(&[40, 8, 9]));
        assert!(is_weighted(&[90, 10, 10, 10, 10, 10, 10, 10]));
    }
}
