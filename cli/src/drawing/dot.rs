//! The graph in the language of Graphviz.

use std::fmt::Write as _;

use super::Graph;

/// The whole file.
pub(super) fn text(graph: &Graph) -> String {
    let mut out = String::from(
        "digraph paths {\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n  \
         edge [fontname=\"sans-serif\", fontsize=10];\n",
    );
    for (at, node) in graph.nodes.iter().enumerate() {
        let _ = writeln!(out, "  n{at} [label={}];", quoted(node));
    }
    for (at, (inside, label)) in graph.inside().into_iter().enumerate() {
        let _ = writeln!(out, "  subgraph cluster_{at} {{");
        let _ = writeln!(out, "    label={}; style=\"rounded,dashed\";", quoted(label));
        for node in inside {
            let _ = writeln!(out, "    n{node};");
        }
        out.push_str("  }\n");
    }
    for ((from, to), label) in &graph.links {
        let _ = writeln!(out, "  n{from} -> n{to} [label={}];", quoted(label));
    }
    out + "}\n"
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
