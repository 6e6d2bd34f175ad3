use serde_json::json;
use sonde_plugin_api::graph_form::GraphParts;

use super::*;

fn form() -> GraphForm {
    GraphForm {
        links: "links".into(),
        from: "from".into(),
        to: "to".into(),
        from_id: "from_id".into(),
        to_id: "to_id".into(),
        label: "{flows} flows".into(),
        parts: Some(GraphParts {
            table: "parts".into(),
            begin: "begin".into(),
            end: "end".into(),
            label: "{wide} wide".into(),
        }),
    }
}

fn row(table: &str, row: &Json) -> (String, Map<String, Json>) {
    (table.to_owned(), row.as_object().unwrap().clone())
}

fn link(from: (&str, u32), to: (&str, u32)) -> (String, Map<String, Json>) {
    let row = json!({"from": from.0, "to": to.0, "from_id": from.1, "to_id": to.1, "flows": 3});
    self::row("links", &row)
}

fn drawing(rows: &[(String, Map<String, Json>)], times: usize) -> Drawing {
    let mut drawing = Drawing::open(&form(), None, None).unwrap_or_else(|_| panic!("no file"));
    for _ in 0..times {
        drawing.add(rows.iter().map(|(table, row)| (table.as_str(), row.clone())));
    }
    drawing
}

fn diamond() -> Vec<(String, Map<String, Json>)> {
    vec![
        link(("r1", 1), ("a", 2)),
        link(("r1", 1), ("*", 3)),
        link(("a", 2), ("j", 4)),
        link(("*", 3), ("j", 4)),
        row("parts", &json!({"begin": "r1", "end": "j", "wide": 2})),
        row("parts", &json!({"begin": "nobody", "end": null, "wide": 2})),
    ]
}

#[test]
fn what_is_named_alike_is_one_node_and_the_unknown_are_each_their_own() {
    let drawing = drawing(&diamond(), 2);
    assert_eq!(drawing.graph.nodes, ["r1", "a", "*", "j", "*"]);
    assert_eq!((drawing.graph.links.len(), drawing.graph.parts.len()), (6, 1));
    assert_eq!(drawing.graph.inside()[0].0, BTreeSet::from([1, 2, 4]));
}

#[test]
fn a_diamond_is_a_cluster_for_graphviz_and_a_frame_in_the_picture() {
    let drawing = drawing(&diamond(), 1);
    let dot = dot::text(&drawing.graph);
    let cluster = "label=\"2 wide\"; style=\"rounded,dashed\";\n    n1;\n    n2;\n";
    assert!(dot.contains(cluster) && dot.contains("n0 -> n1 [label=\"3 flows\"];"), "{dot}");
    let svg = svg::text(&drawing.graph);
    assert_eq!(svg.matches("<path").count(), 4, "{svg}");
    assert_eq!(svg.matches("stroke-dasharray").count(), 1);
}

#[test]
fn text_of_a_node_cannot_leave_its_place() {
    let drawing = drawing(&[link(("\"];<script>\n\\", 1), ("b", 2))], 1);
    assert!(dot::text(&drawing.graph).contains("label=\"\\\"];<script>\\\\\""));
    assert!(svg::text(&drawing.graph).contains("&quot;];&lt;script&gt;\\"));
}

#[test]
fn branches_stand_side_by_side_and_a_circle_has_a_place_too() {
    let links = [(0, 1), (0, 2), (1, 3), (2, 4), (4, 3)];
    assert_eq!(
        layout::places(5, &links).iter().map(|it| it.0).collect::<Vec<_>>(),
        [0, 1, 1, 3, 2]
    );
    let circle = layout::places(3, &[(0, 1), (1, 2), (2, 0), (1, 1)]);
    assert_eq!(circle, [(0, 0), (1, 0), (2, 0)]);
}
