//! The graph as a picture.

use std::fmt::Write as _;

use super::{Graph, layout};

/// Pixels.
const ROW: f64 = 44.0;
const BOX_HEIGHT: f64 = 26.0;
const CHARACTER: f64 = 7.3;
const GAP: f64 = 110.0;
const MARGIN: f64 = 30.0;

/// A node's box: left, top, width.
type Place = (f64, f64, f64);

/// The whole file.
pub(super) fn text(graph: &Graph) -> String {
    let links: Vec<(usize, usize)> = graph.links.keys().copied().collect();
    let places = boxes(graph, &layout::places(graph.nodes.len(), &links));
    let right = places.iter().map(|place| place.0 + place.2).fold(0.0, f64::max);
    let bottom = places.iter().map(|place| place.1 + BOX_HEIGHT).fold(0.0, f64::max);
    let (width, height) = (right + MARGIN, bottom + MARGIN);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"monospace\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    );
    parts(graph, &places, &mut out);
    for ((from, to), label) in &graph.links {
        link(places[*from], places[*to], label, &mut out);
    }
    for (node, (left, top, width)) in graph.nodes.iter().zip(&places) {
        let (middle, line) = (left + width / 2.0, top + BOX_HEIGHT / 2.0 + 4.0);
        let _ = writeln!(
            out,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BOX_HEIGHT}\" rx=\"6\" \
             fill=\"#eef4fb\" stroke=\"#3a6ea5\"/>\
             <text x=\"{middle:.1}\" y=\"{line:.1}\" text-anchor=\"middle\">{}</text>",
            escaped(node)
        );
    }
    out + "</svg>\n"
}

fn boxes(graph: &Graph, places: &[(usize, usize)]) -> Vec<Place> {
    let columns = places.iter().map(|place| place.0 + 1).max().unwrap_or(0);
    let (mut widths, mut rows) = (vec![0.0_f64; columns], vec![0_usize; columns]);
    for (node, (column, _)) in graph.nodes.iter().zip(places) {
        widths[*column] = widths[*column].max(node.chars().count() as f64 * CHARACTER + 16.0);
        rows[*column] += 1;
    }
    let most = rows.iter().copied().max().unwrap_or(0);
    let left = |column: usize| MARGIN + widths[..column].iter().map(|it| it + GAP).sum::<f64>();
    let place = |(column, row): &(usize, usize)| {
        let free = (most - rows[*column]) as f64 / 2.0;
        (left(*column), MARGIN + (free + *row as f64) * ROW, widths[*column])
    };
    places.iter().map(place).collect()
}

/// A frame about all that lies inside a part.
fn parts(graph: &Graph, places: &[Place], out: &mut String) {
    for (inside, label) in graph.inside() {
        let within = || inside.iter().map(|node| places[*node]);
        if inside.is_empty() {
            continue;
        }
        let left = within().map(|place| place.0).fold(f64::INFINITY, f64::min) - 8.0;
        let top = within().map(|place| place.1).fold(f64::INFINITY, f64::min) - 18.0;
        let right = within().map(|place| place.0 + place.2).fold(0.0, f64::max) + 8.0;
        let bottom = within().map(|place| place.1 + BOX_HEIGHT).fold(0.0, f64::max) + 6.0;
        let _ = writeln!(
            out,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"8\" fill=\"#fdf6e3\" \
             stroke=\"#c9a227\" stroke-dasharray=\"5 4\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"10\" fill=\"#7a6212\">{}</text>",
            right - left,
            bottom - top,
            left + 6.0,
            top + 12.0,
            escaped(label)
        );
    }
}

fn link(from: Place, to: Place, label: &str, out: &mut String) {
    let (x1, y1) = (from.0 + from.2, from.1 + BOX_HEIGHT / 2.0);
    let (x2, y2) = (to.0, to.1 + BOX_HEIGHT / 2.0);
    let bend = ((x2 - x1) / 2.0).abs().max(30.0);
    let (middle, height) = ((x1 + x2) / 2.0, (y1 + y2) / 2.0 - 4.0);
    let _ = writeln!(
        out,
        "<path d=\"M{x1:.1} {y1:.1} C{:.1} {y1:.1} {:.1} {y2:.1} {x2:.1} {y2:.1}\" fill=\"none\" \
         stroke=\"#555\"/><circle cx=\"{x2:.1}\" cy=\"{y2:.1}\" r=\"3\" fill=\"#555\"/>\
         <text x=\"{middle:.1}\" y=\"{height:.1}\" font-size=\"9\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
        x1 + bend,
        x2 - bend,
        escaped(label)
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
