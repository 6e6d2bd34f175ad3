//! The graph as lines of text, the form that the seed system takes from scamper.
//!
//! `node -> hop { -> hop }`: a line for each link of a node. Silent hops and clusters behind it stand
//! in the line, up to the next node that has an address of its own.

use std::collections::BTreeMap;

use crate::graph::{Graph, NodeId, Traffic};

/// Ways through silent hops and clusters that are followed from one node: more make no text for a person.
const MOST_WAYS: usize = 256;

/// All lines, in the order of discovery.
pub(crate) fn lines(graph: &Graph, links: &BTreeMap<(NodeId, NodeId), Traffic>) -> Vec<String> {
    let mut lines = Vec::new();
    for from in graph.roots() {
        let is_first = !links.keys().any(|(_, to)| *to == from);
        if is_inline(graph, from) && !is_first {
            continue;
        }
        let mut ways = Vec::new();
        follow(graph, links, &mut vec![from], &mut ways);
        for way in ways.into_iter().filter(|way| way.len() > 1) {
            let hops: Vec<String> = way.into_iter().map(|node| name(graph, node)).collect();
            lines.push(hops.join(" -> "));
        }
    }
    lines
}

fn is_inline(graph: &Graph, node: NodeId) -> bool {
    graph.nodes[node].is_silent() || graph.nodes[node].is_cluster()
}

/// Ways from the last node on, up to a node that is not inline.
fn follow(
    graph: &Graph,
    links: &BTreeMap<(NodeId, NodeId), Traffic>,
    way: &mut Vec<NodeId>,
    ways: &mut Vec<Vec<NodeId>>,
) {
    let Some(&last) = way.last() else { return };
    if (way.len() > 1 && !is_inline(graph, last)) || ways.len() >= MOST_WAYS {
        ways.push(way.clone());
        return;
    }
    let next: Vec<NodeId> =
        links.range((last, 0)..=(last, NodeId::MAX)).map(|((_, to), _)| *to).collect();
    // A router that answers at two TTLs in a row has a link to itself.
    let is_shown = |to: &NodeId| !way.contains(to) || (way.len() == 1 && !is_inline(graph, last));
    let next: Vec<NodeId> = next.into_iter().filter(is_shown).collect();
    if next.is_empty() {
        ways.push(way.clone());
    }
    for to in next {
        way.push(to);
        follow(graph, links, way, ways);
        way.pop();
    }
}

/// An address, `*`, or the addresses of a cluster.
pub(crate) fn name(graph: &Graph, node: NodeId) -> String {
    let node = &graph.nodes[node];
    let mut names: Vec<String> = node.interfaces.iter().map(|it| it.address.to_string()).collect();
    if node.is_partly_silent || names.is_empty() {
        names.push("*".to_owned());
    }
    if names.len() == 1 { names.remove(0) } else { format!("({})", names.join(", ")) }
}
