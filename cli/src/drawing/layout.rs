//! Where the nodes of a graph stand: in columns by distance, with few crossings.
//!
//! Source: Sugiyama, Tagawa, Toda, "Methods for visual understanding of hierarchical system
//! structures", 1981: layers by the longest way, order by the middle of the neighbours.

use std::collections::{BTreeSet, VecDeque};

/// Sweeps that put nodes in order.
const SWEEPS: usize = 8;

/// Column and row of each node.
pub(super) fn places(nodes: usize, links: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let columns = columns(nodes, links);
    let last = columns.iter().copied().max().unwrap_or(0);
    let mut layers: Vec<Vec<usize>> = vec![Vec::new(); last + 1];
    for (node, column) in columns.iter().enumerate() {
        layers[*column].push(node);
    }
    let mut near = vec![(Vec::new(), Vec::new()); nodes];
    for (from, to) in links {
        near[*from].1.push(*to);
        near[*to].0.push(*from);
    }
    let mut rows = vec![0.0; nodes];
    let place = |layer: &[usize], rows: &mut Vec<f64>| {
        for (row, node) in layer.iter().enumerate() {
            // About the middle, so that columns of different length face each other.
            rows[*node] = row as f64 - layer.len() as f64 / 2.0;
        }
    };
    layers.iter().for_each(|layer| place(layer, &mut rows));
    for sweep in 0..SWEEPS {
        let is_forward = sweep % 2 == 0;
        for at in 0..layers.len() {
            let at = if is_forward { at } else { layers.len() - 1 - at };
            let middle = |node: usize| {
                let side = if is_forward { &near[node].0 } else { &near[node].1 };
                let sum: f64 = side.iter().map(|other| rows[*other]).sum();
                if side.is_empty() { rows[node] } else { sum / side.len() as f64 }
            };
            let mut order: Vec<(f64, usize)> =
                layers[at].iter().map(|node| (middle(*node), *node)).collect();
            order.sort_by(|one, other| one.0.total_cmp(&other.0));
            layers[at] = order.into_iter().map(|(_, node)| node).collect();
            place(&layers[at], &mut rows);
        }
    }
    let mut places = vec![(0, 0); nodes];
    for (column, layer) in layers.iter().enumerate() {
        for (row, node) in layer.iter().enumerate() {
            places[*node] = (column, row);
        }
    }
    places
}

/// The longest way to each node; in a circle somebody has to be the first.
fn columns(nodes: usize, links: &[(usize, usize)]) -> Vec<usize> {
    let mut before = vec![0_usize; nodes];
    let mut behind = vec![Vec::new(); nodes];
    for (from, to) in links.iter().filter(|(from, to)| from != to) {
        before[*to] += 1;
        behind[*from].push(*to);
    }
    let mut columns = vec![0; nodes];
    let mut waiting: BTreeSet<usize> = (0..nodes).collect();
    let mut ready: VecDeque<usize> = (0..nodes).filter(|node| before[*node] == 0).collect();
    while let Some(node) = ready.pop_front().or_else(|| waiting.first().copied()) {
        if !waiting.remove(&node) {
            continue;
        }
        for next in &behind[node] {
            if waiting.contains(next) {
                columns[*next] = columns[*next].max(columns[node] + 1);
                before[*next] -= 1;
                if before[*next] == 0 {
                    ready.push_back(*next);
                }
            }
        }
    }
    columns
}
