//! `--dot FILE`, `--svg FILE`: the graph of one or many measurements.
//!
//! Which rows are links stands in the method's descriptor. What the same text names is one node, over all
//! measurements of a campaign; memory grows with the graph.

mod dot;
mod layout;
mod svg;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value as Json};
use sonde_plugin_api::{graph_form::GraphForm, text_form::fill};

use crate::{Stop, console::complain, outputs};

/// Characters of a node's or link's text that are shown.
const LONGEST: usize = 120;
/// Nodes that a picture has room for.
const MOST_NODES: usize = 20_000;

/// Writes a graph in some form.
type Form = fn(&Graph) -> String;

/// A graph that grows with every measurement, and the files that it is written to.
pub(crate) struct Drawing {
    form: GraphForm,
    graph: Graph,
    /// Nodes by what tells them apart.
    keys: BTreeMap<String, usize>,
    measurement: u64,
    files: Vec<(PathBuf, File, Form)>,
}

/// What is drawn.
#[derive(Debug, Default)]
struct Graph {
    /// Texts of the nodes.
    nodes: Vec<String>,
    /// From, to; with what is written beside.
    links: BTreeMap<(usize, usize), String>,
    parts: BTreeMap<(usize, Option<usize>), String>,
}

impl Drawing {
    /// Opens the files, so that a measurement is not made for nothing.
    pub(crate) fn open(
        form: &GraphForm,
        dot: Option<&Path>,
        svg: Option<&Path>,
    ) -> Result<Self, Stop> {
        let mut files: Vec<(PathBuf, File, Form)> = Vec::new();
        for (path, text) in [(dot, dot::text as Form), (svg, svg::text)] {
            let Some(path) = path else { continue };
            files.push((path.to_owned(), outputs::open(path)?, text));
        }
        let keys = BTreeMap::new();
        Ok(Self { form: form.clone(), graph: Graph::default(), keys, measurement: 0, files })
    }

    /// Empties the files, once something can be drawn.
    pub(crate) fn begin(&self) -> Result<(), Stop> {
        self.files.iter().try_for_each(|(path, file, _)| {
            let emptied = outputs::empty(file);
            emptied.map_err(|cause| Stop::lost(format!("{}: {cause}", path.display())))
        })
    }

    /// The rows of one measurement.
    pub(crate) fn add<'a>(&mut self, rows: impl Iterator<Item = (&'a str, Map<String, Json>)>) {
        self.measurement += 1;
        let form = self.form.clone();
        for (table, row) in rows {
            if table == form.links {
                let from = self.node(&row, &form.from, &form.from_id);
                let to = self.node(&row, &form.to, &form.to_id);
                if let (Some(from), Some(to)) = (from, to) {
                    let label = || shown(&fill(&form.label, &row));
                    self.graph.links.entry((from, to)).or_insert_with(label);
                }
                continue;
            }
            let Some(parts) = form.parts.as_ref().filter(|parts| parts.table == table) else {
                continue;
            };
            // Links come before parts where the tables are declared so; a part between unknown nodes is none.
            let find = |column: &str| {
                row.get(column)
                    .and_then(Json::as_str)
                    .map(|text| self.keys.get(&shown(text)).copied())
            };
            if let Some(Some(begin)) = find(&parts.begin) {
                let end = find(&parts.end);
                if end != Some(None) {
                    let label = shown(&fill(&parts.label, &row));
                    self.graph.parts.insert((begin, end.flatten()), label);
                }
            }
        }
    }

    fn node(&mut self, row: &Map<String, Json>, text: &str, number: &str) -> Option<usize> {
        let text = shown(row.get(text)?.as_str()?);
        let key = match row.get(number) {
            _ if !text.contains('*') => text.clone(),
            Some(number) => format!("{} {number} {text}", self.measurement),
            None => format!("{} {text}", self.measurement),
        };
        let next = self.graph.nodes.len();
        if next >= MOST_NODES && !self.keys.contains_key(&key) {
            return None;
        }
        let at = *self.keys.entry(key).or_insert(next);
        if at == next {
            self.graph.nodes.push(text);
        }
        Some(at)
    }

    /// Writes the files.
    pub(crate) fn finish(mut self) -> Result<(), Stop> {
        for (path, file, text) in &mut self.files {
            let written = file.write_all(text(&self.graph).as_bytes());
            written.map_err(|cause| Stop::lost(format!("{}: {cause}", path.display())))?;
        }
        if self.graph.nodes.len() >= MOST_NODES {
            complain!("the drawing holds the first {MOST_NODES} nodes");
        }
        Ok(())
    }
}

impl Graph {
    /// Nodes behind each node.
    fn behind(&self) -> Vec<Vec<usize>> {
        let mut behind = vec![Vec::new(); self.nodes.len()];
        for (from, to) in self.links.keys() {
            behind[*from].push(*to);
        }
        behind
    }

    /// Nodes between the ends of each part, each in the first part that holds it.
    fn inside(&self) -> Vec<(BTreeSet<usize>, &str)> {
        let behind = self.behind();
        let mut taken = BTreeSet::new();
        let mut parts = Vec::new();
        for ((begin, end), label) in &self.parts {
            let (mut inside, mut stack) = (BTreeSet::new(), vec![*begin]);
            while let Some(node) = stack.pop() {
                for next in &behind[node] {
                    if Some(*next) != *end && next != begin && inside.insert(*next) {
                        stack.push(*next);
                    }
                }
            }
            inside.retain(|node| taken.insert(*node));
            parts.push((inside, label.as_str()));
        }
        parts
    }
}

/// Without what steers terminals and files, and shortened.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests;
