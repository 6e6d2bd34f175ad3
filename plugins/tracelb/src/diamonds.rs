//! Diamonds: where paths part, and where they meet again.
//!
//! A diamond begins at a node with several next hops that every path goes through, and ends at the
//! next such node.
//!
//! Source: Augustin, Friedman, Teixeira, "Measuring load-balanced paths in the Internet", 2007.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{NodeId, Traffic, VANTAGE};

/// A part of the graph between two nodes that every path goes through.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Diamond {
    /// Where paths part.
    pub(crate) divergence: NodeId,
    /// Where they meet again.
    pub(crate) convergence: Option<NodeId>,
    /// Most nodes at one distance from the divergence.
    pub(crate) max_width: usize,
    /// Links of the longest and of the shortest way.
    pub(crate) max_length: usize,
    pub(crate) min_length: usize,
    /// A hop where links cross: nodes of the narrower side have several neighbours on the other.
    pub(crate) meshed: bool,
}

type Links = BTreeMap<NodeId, BTreeSet<NodeId>>;

/// All diamonds, from the vantage point on.
pub(crate) fn diamonds(
    links: &BTreeMap<(NodeId, NodeId), Traffic>,
    first: &[NodeId],
) -> Vec<Diamond> {
    let mut behind = Links::new();
    behind.insert(VANTAGE, first.iter().copied().collect());
    for (from, to) in links.keys().filter(|(from, to)| from != to) {
        behind.entry(*from).or_default().insert(*to);
    }
    let mut found = Vec::new();
    let (mut at, mut visited) = (VANTAGE, BTreeSet::new());
    while visited.insert(at) {
        let next = behind.get(&at).cloned().unwrap_or_default();
        match next.len() {
            0 => break,
            1 => at = next.first().copied().unwrap_or(at),
            _ => {
                let diamond = diamond_from(&behind, at);
                let end = diamond.convergence;
                if at != VANTAGE {
                    found.push(diamond);
                }
                match end {
                    Some(end) => at = end,
                    None => break,
                }
            }
        }
    }
    found
}

fn diamond_from(behind: &Links, divergence: NodeId) -> Diamond {
    let inside = reachable(behind, divergence, None);
    // Where paths meet again no end can be come to without it.
    let is_end = |node: &NodeId| behind.get(node).is_none_or(BTreeSet::is_empty);
    let is_convergence =
        |node: &NodeId| !reachable(behind, divergence, Some(*node)).iter().any(is_end);
    let distances = distances(behind, divergence);
    let mut candidates: Vec<NodeId> =
        inside.iter().copied().filter(|it| *it != divergence).collect();
    candidates.sort_by_key(|node| distances.get(node).copied().unwrap_or(usize::MAX));
    let convergence = candidates.into_iter().find(is_convergence);
    let parts = reachable(behind, divergence, convergence);
    let mut width: BTreeMap<usize, usize> = BTreeMap::new();
    for node in parts.iter().filter(|node| **node != divergence) {
        *width.entry(distances.get(node).copied().unwrap_or(0)).or_default() += 1;
    }
    let (min_length, max_length) = lengths(behind, divergence, convergence, &parts);
    Diamond {
        divergence,
        convergence,
        max_width: width.values().copied().max().unwrap_or(1),
        max_length,
        min_length,
        meshed: is_meshed(behind, &distances, &parts, divergence, convergence),
    }
}

fn reachable(behind: &Links, from: NodeId, without: Option<NodeId>) -> BTreeSet<NodeId> {
    let (mut found, mut stack) = (BTreeSet::from([from]), vec![from]);
    while let Some(node) = stack.pop() {
        for next in behind.get(&node).into_iter().flatten() {
            if Some(*next) != without && found.insert(*next) {
                stack.push(*next);
            }
        }
    }
    found
}

/// Fewest links from a node to each other one.
fn distances(behind: &Links, from: NodeId) -> BTreeMap<NodeId, usize> {
    let (mut found, mut row, mut distance) = (BTreeMap::from([(from, 0)]), vec![from], 0);
    while !row.is_empty() {
        distance += 1;
        let next: BTreeSet<NodeId> =
            row.iter().flat_map(|node| behind.get(node).into_iter().flatten().copied()).collect();
        row = next.into_iter().filter(|node| !found.contains_key(node)).collect();
        found.extend(row.iter().map(|node| (*node, distance)));
    }
    found
}

/// Links of the shortest and of the longest way through a diamond; what goes round is not followed.
fn lengths(
    behind: &Links,
    from: NodeId,
    to: Option<NodeId>,
    parts: &BTreeSet<NodeId>,
) -> (usize, usize) {
    let mut rows = BTreeSet::from([from]);
    let (mut shortest, mut longest) = (None, 0);
    for length in 1..=parts.len() {
        let next: BTreeSet<NodeId> =
            rows.iter().flat_map(|node| behind.get(node).into_iter().flatten().copied()).collect();
        let is_end = match to {
            Some(to) => next.contains(&to),
            None => !next.is_empty(),
        };
        if is_end {
            shortest = shortest.or(Some(length));
            longest = length;
        }
        rows = next.into_iter().filter(|node| Some(*node) != to && *node != from).collect();
        if rows.is_empty() {
            break;
        }
    }
    (shortest.unwrap_or(longest), longest)
}

fn is_meshed(
    behind: &Links,
    distances: &BTreeMap<NodeId, usize>,
    parts: &BTreeSet<NodeId>,
    divergence: NodeId,
    convergence: Option<NodeId>,
) -> bool {
    let is_inner = |node: &NodeId| *node != divergence && Some(*node) != convergence;
    let mut hops: BTreeMap<usize, Vec<(NodeId, NodeId)>> = BTreeMap::new();
    for from in parts.iter().filter(|node| is_inner(node)) {
        for to in behind.get(from).into_iter().flatten().filter(|node| is_inner(node)) {
            let hop = distances.get(from).copied().unwrap_or(0);
            hops.entry(hop).or_default().push((*from, *to));
        }
    }
    hops.values().any(|links| meshed_hop(links))
}

/// Whether links between two hops cross: a node of the side with fewer nodes has one neighbour where
/// nothing is meshed, seen from the other side.
pub(crate) fn meshed_hop(links: &[(NodeId, NodeId)]) -> bool {
    let degrees = |side: fn(&(NodeId, NodeId)) -> NodeId| {
        let mut degrees: BTreeMap<NodeId, usize> = BTreeMap::new();
        for link in links {
            *degrees.entry(side(link)).or_default() += 1;
        }
        degrees
    };
    let (out, into) = (degrees(|link| link.0), degrees(|link| link.1));
    let is_many = |degrees: &BTreeMap<NodeId, usize>| degrees.values().any(|degree| *degree > 1);
    match out.len().cmp(&into.len()) {
        std::cmp::Ordering::Less => is_many(&into),
        std::cmp::Ordering::Greater => is_many(&out),
        std::cmp::Ordering::Equal => is_many(&out) || is_many(&into),
    }
}
