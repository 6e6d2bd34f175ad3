//! Capabilities that supervisors of the seed system know: the same parameters, constraints and
//! columns in the same order, and so the same tokens.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::{net::IpAddr, process::Command};

use md5::{Digest, Md5};
use serde_json::{Value, json};
use sonde_plugin_api::{descriptor::MethodDescriptor, packet::Family};
use sonde_tests::{Finished, sonde};

/// Addresses of the host that the golden capabilities are of.
const ADDRESSES: [(Family, &str); 2] = [(Family::V4, "1.2.3.4"), (Family::V6, "::1")];

/// What a host with those addresses offers of a method, in the form of the golden file.
fn offered(method: &MethodDescriptor) -> Vec<Value> {
    let mut offered = Vec::new();
    for (family, address) in ADDRESSES {
        let local: IpAddr = address.parse().unwrap();
        for view in method.capabilities.iter().filter_map(|view| view.for_family(family)) {
            let parameters: Vec<(String, String)> = view
                .parameters
                .iter()
                .map(|it| (it.element.clone(), it.constraint.for_family(family).text(Some(local))))
                .collect();
            let results: Vec<&str> = view.results.iter().map(|it| it.element.as_str()).collect();
            offered.push(json!({
                "label": view.label,
                "when": view.when,
                "parameters": parameters,
                "results": results,
                "metadata": view.metadata,
                "token": token(&view.when, &parameters, &results, &view.metadata),
            }));
        }
    }
    offered
}

/// The token of a capability without a registry: the digest of its parts, sorted by name.
fn token(
    when: &str,
    parameters: &[(String, String)],
    results: &[&str],
    metadata: &[(String, String)],
) -> String {
    let mut parameters = parameters.to_vec();
    parameters.sort();
    let mut metadata = metadata.to_vec();
    metadata.sort();
    let mut results = results.to_vec();
    results.sort_unstable();
    let names = |pairs: &[(String, String)]| {
        pairs.iter().map(|it| it.0.clone()).collect::<Vec<_>>().join(" ")
    };
    let values = |pairs: &[(String, String)]| {
        pairs.iter().map(|it| it.1.clone()).collect::<Vec<_>>().join(" ")
    };
    let preimage = format!(
        "measure w {when} pk {} pc {} pv {} mk {} mv {} r {} ex None",
        names(&parameters),
        values(&parameters),
        vec!["*"; parameters.len()].join(" "),
        names(&metadata),
        values(&metadata),
        results.join(" "),
    );
    Md5::digest(preimage).iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Everything that the seed system offers of a method is offered to the token, and a richer view beside it.
fn assert_golden(name: &str) {
    let run = Finished::of(Command::new(sonde()).args(["methods", name, "--json"]));
    assert_eq!(run.code, 0, "{}", run.errors);
    let method: MethodDescriptor = serde_json::from_str(&run.output).unwrap();
    let golden: Vec<Value> =
        serde_json::from_str(include_str!("../golden/seed-capabilities.json")).unwrap();
    let offered = offered(&method);
    let prefix = format!("{name}-");
    let is_of = |it: &&Value| it["label"].as_str().is_some_and(|it| it.starts_with(&prefix));
    let expected: Vec<&Value> = golden.iter().filter(is_of).collect();
    assert!(expected.len() >= 2, "the seed system knows no {name}");
    for expected in expected {
        let found = offered.iter().find(|view| view["label"] == expected["label"]);
        assert_eq!(found, Some(expected));
    }
    for family in ["ip4", "ip6"] {
        let full = format!("{name}-full-{family}");
        assert!(offered.iter().any(|view| view["label"] == full.as_str()), "{full} is not offered");
    }
}

#[test]
fn the_capabilities_of_ping_are_those_of_the_seed_to_the_token() {
    assert_golden("ping");
}

#[test]
fn the_capabilities_of_tracelb_are_those_of_the_seed_to_the_token() {
    assert_golden("tracelb");
}

#[test]
fn the_capabilities_of_trace_are_those_of_the_seed_to_the_token() {
    assert_golden("trace");
}

#[test]
fn the_capabilities_of_tracebox_are_those_of_the_seed_to_the_token() {
    assert_golden("tracebox");
}
