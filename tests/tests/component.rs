//! The host as a component of mPlane, as a program.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::path::Path;

use serde_json::Value;
use sonde_tests::{Finished, sonde_of_this_build};

/// The host of the seed system's documentation.
const SEED: &str = "[methods.ping]\npermit = ['ip_options']\n[methods.tracelb]\n\
                    [component]\nregistry_uri = ''\nip4addr = '1.2.3.4'\nip6addr = '::1'\n";

fn offered(folder: &Path, text: &str) -> Finished {
    let file = folder.join("host.toml");
    std::fs::write(&file, text).unwrap();
    Finished::of(sonde_of_this_build().arg("--config").arg(file).args(["host", "--capabilities"]))
}

#[test]
fn the_seed_host_offers_ping_and_tracelb_with_exactly_the_tokens_of_the_seed() {
    let folder = tempfile::tempdir().unwrap();
    let run = offered(folder.path(), SEED);
    assert_eq!(run.code, 0, "{}", run.errors);
    let envelope: Value = serde_json::from_str(&run.output).unwrap();
    let offered = envelope["contents"].as_array().unwrap();
    let golden: Vec<Value> =
        serde_json::from_str(include_str!("../golden/seed-capabilities.json")).unwrap();
    let is_of = |it: &&Value| {
        let label = it["label"].as_str().unwrap();
        label.starts_with("ping-") || label.starts_with("tracelb-")
    };
    let expected: Vec<&Value> = golden.iter().filter(is_of).collect();
    assert_eq!(expected.len(), 6);
    for expected in expected {
        let found = offered.iter().find(|it| it["label"] == expected["label"]).unwrap();
        assert_eq!(found["token"], expected["token"], "{}", expected["label"]);
        assert_eq!(found["registry"], "");
    }
}

#[test]
fn a_host_that_nobody_could_use_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("host.toml");
    std::fs::write(&file, SEED).unwrap();
    let run = Finished::of(sonde_of_this_build().arg("--config").arg(&file).arg("host"));
    assert_eq!(run.code, 2);
    assert!(run.errors.contains("has neither supervisors nor listen"), "{}", run.errors);
    let run = Finished::of(sonde_of_this_build().arg("host"));
    assert_eq!((run.code, run.errors.contains("--config FILE")), (2, true), "{}", run.errors);
}

#[test]
fn a_mistake_in_the_section_is_told_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let run = offered(folder.path(), "[component]\nip4addr = '::1'\n");
    assert_eq!(run.code, 2);
    let said = "host.toml:2: component.ip4addr: is \"::1\", accepted: an IPv4 address";
    assert!(run.errors.contains(said), "{}", run.errors);
}

#[test]
fn a_method_that_the_operator_could_not_restrict_is_not_offered() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("[methods.trace.constraints]\nmaxtl = {{ max = 9 }}\n{SEED}");
    let run = offered(folder.path(), &text);
    let envelope: Value = serde_json::from_str(&run.output).unwrap();
    let labels = envelope["contents"].as_array().unwrap().iter().map(|it| &it["label"]);
    let labels: Vec<&str> = labels.map(|label| label.as_str().unwrap()).collect();
    assert!(labels.iter().any(|label| label.starts_with("tracelb-")), "{labels:?}");
    assert!(!labels.iter().any(|label| label.starts_with("trace-")), "{labels:?}");
}
