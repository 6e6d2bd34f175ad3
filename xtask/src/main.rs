//! Checks of this repository that no ordinary tool makes: `cargo xtask ci` runs all of them, after
//! the formatter and before clippy. Each finding is one line that names the file.

mod bench;
mod documents;
mod layers;
mod licences;
mod metadata;
mod methods;

use std::process::{Command, ExitCode};

/// What a check found wrong; empty where all is well.
type Findings = Vec<String>;

const USAGE: &str = "usage: cargo xtask ci | layers | licences | documents | methods | bench [ping | paths | diamond | rtt | memory | parts]";

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let result = match task.as_str() {
        "ci" => ci(),
        "layers" => run("layers", layers::check),
        "licences" => run("licences", licences::check),
        "bench" => bench::run(std::env::args().nth(2).as_deref()),
        "documents" => run("documents", documents::check),
        "methods" => methods::write(),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn ci() -> Result<(), String> {
    cargo(&["fmt", "--all", "--check"])?;
    run("layers", layers::check)?;
    run("licences", licences::check)?;
    run("documents", documents::check)?;
    cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    run("methods", methods::check)?;
    // A workspace of its own, which nothing else would notice to be broken.
    cargo(&["check", "--quiet", "--manifest-path", "fuzz/Cargo.toml"])
}

fn run(name: &str, check: fn() -> Result<Findings, String>) -> Result<(), String> {
    let findings = check()?;
    if findings.is_empty() {
        println!("xtask {name}: ok");
        return Ok(());
    }
    Err(format!("xtask {name}:\n  {}", findings.join("\n  ")))
}

fn cargo(arguments: &[&str]) -> Result<(), String> {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let status = Command::new(program)
        .args(arguments)
        .current_dir(metadata::root())
        .status()
        .map_err(|error| format!("cargo {}: {error}", arguments.join(" ")))?;
    if status.success() {
        println!("cargo {}: ok", arguments[0]);
        return Ok(());
    }
    Err(format!("cargo {}: {status}", arguments.join(" ")))
}
