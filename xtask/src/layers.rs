//! Who may import whom: the table of ARCHITECTURE.md, checked against what cargo knows.
//!
//! Test and example code may reach further where [`TEST_ONLY`] says so.

use crate::{Findings, metadata};

/// A crate of ours and those of ours that it may use.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("sonde-packet", &[]),
    ("sonde-plugin-api", &["sonde-packet"]),
    ("sonde-testkit", &["sonde-plugin-api", "sonde-packet"]),
    ("sonde-engine", &["sonde-packet", "sonde-plugin-api"]),
    ("sonde-worker", &["sonde-plugin-api"]),
    ("sonde-spool", &[]),
    ("sonde-mplane", &[]),
    ("sonde-mplane-http", &["sonde-mplane"]),
    ("sonde-config", &["sonde-mplane", "sonde-mplane-http"]),
    (
        "sonde-host",
        &[
            "sonde-plugin-api",
            "sonde-engine",
            "sonde-worker",
            "sonde-spool",
            "sonde-config",
            "sonde-mplane",
            "sonde-mplane-http",
        ],
    ),
    ("sonde-supervisor", &["sonde-config", "sonde-mplane", "sonde-mplane-http"]),
    ("sonde-client", &["sonde-config", "sonde-mplane", "sonde-mplane-http"]),
    (
        "sonde-cli",
        &[
            "sonde-host",
            "sonde-supervisor",
            "sonde-client",
            "sonde-config",
            "sonde-mplane",
            "sonde-mplane-http",
            "sonde-plugin-api",
        ],
    ),
    ("sonde-tests", &[]),
    ("xtask", &["sonde-tests"]),
];

/// What every crate under `plugins/` may import.
const PLUGIN_MAY_IMPORT: &[&str] = &["sonde-plugin-api"];

/// Crates that may stand among the development dependencies of any crate above `plugin-api`.
const TEST_ONLY: &[&str] = &["sonde-testkit", "sonde-plugin-api", "sonde-packet"];

/// Names of methods have no place in the code of these folders: a method comes as data.
const METHOD_FREE: &[&str] =
    &["cli/src", "host/src", "host/engine/src", "host/spool/src", "host/worker/src"];

pub(crate) fn check() -> Result<Findings, String> {
    let metadata = metadata::load(false)?;
    let mut findings = Findings::new();
    let mut methods = Vec::new();
    for package in metadata::items(&metadata, "packages") {
        let name = package["name"].as_str().unwrap_or_default();
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let is_plugin = manifest.contains("/plugins/") && !manifest.contains("/tests/");
        if is_plugin {
            methods.push(name.trim_start_matches("sonde-").to_owned());
        }
        let listed = MAY_IMPORT.iter().find(|(crate_name, _)| *crate_name == name);
        let allowed = match listed {
            Some((_, allowed)) => *allowed,
            None if is_plugin => PLUGIN_MAY_IMPORT,
            None if manifest.contains("/tests/") || manifest.contains("/fixtures/") => TEST_ONLY,
            None => {
                findings.push(format!("{name}: not in the table of xtask/src/layers.rs"));
                continue;
            }
        };
        for dependency in metadata::items(package, "dependencies") {
            let import = dependency["name"].as_str().unwrap_or_default();
            let test_only = dependency["kind"] == "dev";
            let ours = import.starts_with("sonde-");
            let permitted = allowed.contains(&import)
                || test_only && (TEST_ONLY.contains(&import) || name == "sonde-tests");
            if ours && !permitted {
                findings.push(format!("{name} must not import {import}"));
            }
        }
    }
    methods.sort();
    findings.extend(named_methods(&methods)?);
    Ok(findings)
}

/// Places where the code of a host names a method; tests and comments may.
fn named_methods(methods: &[String]) -> Result<Findings, String> {
    let mut findings = Findings::new();
    for file in metadata::tracked()? {
        let inside = METHOD_FREE.iter().any(|folder| file.starts_with(folder));
        let is_test = file.ends_with("tests.rs") || file.iter().any(|part| part == "tests");
        if !inside || is_test || file.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(metadata::root().join(&file))
            .map_err(|error| format!("{}: {error}", file.display()))?;
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for method in methods {
                if line.contains(&format!("\"{method}\""))
                    || line.contains(&format!("sonde_{method}"))
                {
                    findings.push(format!("{}:{}: names {method}", file.display(), number + 1));
                }
            }
        }
    }
    Ok(findings)
}
