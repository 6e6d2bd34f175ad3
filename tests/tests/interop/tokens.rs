//! Tokens, as the reference implementation computes them.

use std::fs;

use serde_json::{Map, Value, json};
use sonde_tests::{Finished, sonde_of_this_build};

use crate::ri::{Ri, registry};

/// The seed system puts an empty URI into its messages; the RI knows registries by what their files say.
fn without_uri(folder: &std::path::Path) -> Ri {
    let text = fs::read_to_string(registry()).unwrap();
    let mut registry: Value = serde_json::from_str(&text).unwrap();
    registry["registry-uri"] = "".into();
    fs::write(folder.join("registry.json"), registry.to_string()).unwrap();
    let configuration = "[client]\nregistry_preload = registry.json\nregistry_uri =\n";
    Ri::start(folder, "tokens", "tokens", configuration)
}

fn golden() -> Vec<Value> {
    serde_json::from_str(include_str!("../../golden/seed-capabilities.json")).unwrap()
}

#[test]
fn the_reference_implementation_computes_the_tokens_of_the_seed() {
    let folder = tempfile::tempdir().unwrap();
    let mut ri = without_uri(folder.path());
    let golden = golden();
    assert_eq!(golden.len(), 14);
    let object = |pairs: &Value| -> Value {
        let pairs = pairs.as_array().unwrap().iter();
        pairs
            .map(|it| (it[0].as_str().unwrap().to_owned(), it[1].clone()))
            .collect::<Map<_, _>>()
            .into()
    };
    for one in golden {
        let message = json!({
            "capability": "measure", "version": 1, "registry": "", "label": one["label"],
            "when": one["when"], "parameters": object(&one["parameters"]),
            "metadata": object(&one["metadata"]), "results": one["results"],
        });
        assert_eq!(ri.ask(&message), one["token"], "{}", one["label"]);
    }
}

#[test]
fn the_reference_implementation_computes_the_tokens_that_our_host_sends() {
    let folder = tempfile::tempdir().unwrap();
    let mut ri = without_uri(folder.path());
    let methods = Finished::of(sonde_of_this_build().arg("methods"));
    let file = folder.path().join("host.toml");
    let section = |line: &str| {
        let name = line.split_whitespace().next().unwrap();
        format!("[methods.{name}]\npermit = ['ip_options', 'spoof', 'real_connections']\n")
    };
    let mut text: String = methods.output.lines().map(section).collect();
    text += "[component]\nregistry_uri = ''\nip4addr = '1.2.3.4'\nip6addr = '::1'\n";
    fs::write(&file, text).unwrap();
    let mut command = sonde_of_this_build();
    let offered = Finished::of(command.args(["host", "--capabilities", "--config"]).arg(&file));
    assert_eq!(offered.code, 0, "{}", offered.errors);
    let envelope: Value = serde_json::from_str(&offered.output).unwrap();
    let golden = golden();
    let mut of_the_seed = 0;
    for capability in envelope["contents"].as_array().unwrap() {
        let mut message = capability.clone();
        let token = message.as_object_mut().unwrap().remove("token").unwrap();
        assert_eq!(ri.ask(&message), token, "{}", capability["label"]);
        let seed = golden.iter().find(|it| it["label"] == capability["label"]);
        if let Some(seed) = seed {
            assert_eq!(seed["token"], token, "{}", capability["label"]);
            of_the_seed += 1;
        }
    }
    assert!(of_the_seed >= 8, "{of_the_seed} capabilities of the seed");
}
