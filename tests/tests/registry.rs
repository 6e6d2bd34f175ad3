//! Elements that plugins name: each is in the registry, with a type that its values have.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::collections::HashMap;

use serde_json::Value;
use sonde_tests::{Finished, sonde_of_this_build};

/// Of each type of a descriptor the primitives in whose text form its values can be written.
const WRITTEN_AS: [(&str, &[&str]); 10] = [
    ("address", &["address"]),
    ("boolean", &["boolean"]),
    ("duration", &["natural", "real"]),
    ("hex", &["string"]),
    ("integer", &["natural"]),
    ("list", &["string", "address"]),
    ("natural", &["natural", "real"]),
    ("real", &["real"]),
    ("string", &["string", "url"]),
    ("time", &["time"]),
];

/// Given by the temporal scope: no elements.
const OF_THE_SCOPE: [&str; 2] = ["when.count", "when.period"];

fn said(words: &[&str]) -> String {
    let run = Finished::of(sonde_of_this_build().args(words));
    assert_eq!(run.code, 0, "{words:?}: {}", run.errors);
    run.output
}

fn list<'a>(json: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    json[key].as_array().into_iter().flatten()
}

/// With the element of each family, if it has one of each.
fn names(element: &str) -> Vec<String> {
    match element.contains("{ip}") {
        true => ["ip4", "ip6"].map(|family| element.replace("{ip}", family)).to_vec(),
        false => vec![element.to_owned()],
    }
}

/// Every element that a method names, with the type of its values where the descriptor has one.
fn named(method: &Value) -> Vec<(String, Option<String>)> {
    let mut named = Vec::new();
    let mut add = |json: &Value, kind: Option<&str>| {
        if let Some(element) = json["element"].as_str() {
            named.extend(names(element).into_iter().map(|it| (it, kind.map(str::to_owned))));
        }
    };
    list(method, "parameters").for_each(|it| add(it, it["type"].as_str()));
    for table in list(method, "tables") {
        list(table, "columns").for_each(|it| add(it, it["type"].as_str()));
    }
    for view in list(method, "capabilities") {
        list(view, "parameters").chain(list(view, "presets")).for_each(|it| add(it, None));
        let table = list(method, "tables").find(|table| table["name"] == view["table"]);
        for result in list(view, "results") {
            let column = table
                .and_then(|table| list(table, "columns").find(|it| it["name"] == result["column"]));
            // An aggregate may have another type than its column.
            let kind = column.filter(|_| result["aggregate"].is_null());
            add(result, kind.and_then(|column| column["type"].as_str()));
        }
        for pair in list(view, "metadata") {
            add(&serde_json::json!({"element": pair[0]}), Some("string"));
        }
    }
    named
}

/// Sums while a measurement runs are for who watches it.
const OF_THE_COMMAND_LINE: [&str; 1] = ["sonde.ping.every"];

fn methods() -> Vec<(String, Value)> {
    let listed = said(&["methods"]);
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    let described = |name: &str| serde_json::from_str(&said(&["methods", name, "--json"])).unwrap();
    names.map(|name| (name.to_owned(), described(name))).collect()
}

#[test]
fn what_a_command_line_can_choose_a_supervisor_can_choose() {
    let mut missing = Vec::new();
    for (name, method) in methods() {
        let views = || list(&method, "capabilities");
        let is_offered = |element: &str| {
            views().any(|view| list(view, "parameters").any(|it| it["element"] == element))
        };
        let chosen = list(&method, "parameters").filter_map(|it| it["element"].as_str());
        let elsewhere = |element: &&str| {
            OF_THE_SCOPE.contains(element) || OF_THE_COMMAND_LINE.contains(element)
        };
        let not_offered = chosen.filter(|element| !elsewhere(element) && !is_offered(element));
        missing.extend(not_offered.map(|element| format!("{name}: {element}")));
    }
    assert_eq!(missing, [""; 0]);
}

#[test]
fn every_element_that_a_plugin_names_is_in_the_registry_with_a_fitting_primitive() {
    let registry: Value = serde_json::from_str(include_str!("../../registry.json")).unwrap();
    let text = |json: &Value| json.as_str().unwrap().to_owned();
    let primitives: HashMap<String, String> =
        list(&registry, "elements").map(|it| (text(&it["name"]), text(&it["prim"]))).collect();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (method, descriptor) in methods() {
        for (element, kind) in named(&descriptor) {
            if OF_THE_SCOPE.contains(&element.as_str()) {
                continue;
            }
            count += 1;
            let Some(primitive) = primitives.get(&element) else {
                wrong.push(format!("{method}: {element} is not in registry.json"));
                continue;
            };
            let Some(kind) = kind else { continue };
            let accepted = WRITTEN_AS.iter().find(|(name, _)| *name == kind).unwrap().1;
            if !accepted.contains(&primitive.as_str()) {
                wrong.push(format!("{method}: {element} is {primitive}, its values are {kind}"));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(count > 100, "only {count} elements");
}
