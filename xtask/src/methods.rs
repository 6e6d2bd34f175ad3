//! What the documents say of methods is what their plugins say: `docs/methods.md` and the table in the
//! README are made of the descriptors.

use std::{fs, path::PathBuf, process::Command};

use serde_json::Value as Json;

use crate::{Findings, metadata};

const PAGE: &str = "docs/methods.md";
const README: &str = "README.md";
/// Between these lines of the README stands what is made.
const BEGIN: &str = "<!-- made by `cargo xtask methods`: begin -->\n";
const END: &str = "<!-- made by `cargo xtask methods`: end -->\n";

const HEADER: &str = "# Methods\n\nMade by `cargo xtask methods` of what the plugins say of themselves, \
                      `sonde methods NAME --markdown`. Change it there.\n\n";

/// Whether the documents are as they would be made.
pub(crate) fn check() -> Result<Findings, String> {
    let is_as_made = |(path, text): &(&str, String)| {
        fs::read_to_string(metadata::root().join(path)).is_ok_and(|old| old == *text)
    };
    let made = make()?;
    let stale = made.iter().filter(|it| !is_as_made(it));
    Ok(stale.map(|(path, _)| format!("{path}: not as `cargo xtask methods` makes it")).collect())
}

/// Makes the documents.
pub(crate) fn write() -> Result<(), String> {
    for (path, text) in make()? {
        fs::write(metadata::root().join(path), text).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(())
}

fn make() -> Result<Vec<(&'static str, String)>, String> {
    let program = build()?;
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        // Of other folders may come methods that are not this project's.
        command.envs(program.parent().map(|folder| ("SONDE_PLUGINS", folder)));
        let output = command.arg("methods").args(arguments).output();
        let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
        if !output.status.success() || !output.stderr.is_empty() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let listed = ask(&[])?;
    let mut names: Vec<&str> =
        listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    names.sort_unstable();
    let (mut page, mut table) = (
        HEADER.to_owned(),
        "| method | what for | the operator's word |\n|---|---|---|\n".to_owned(),
    );
    for name in names {
        page.push_str(&ask(&[name, "--markdown"])?);
        page.push('\n');
        let json: Json = serde_json::from_str(&ask(&[name, "--json"])?)
            .map_err(|error| format!("sonde methods {name} --json: {error}"))?;
        table.push_str(&line(name, &json));
    }
    let readme = fs::read_to_string(metadata::root().join(README))
        .map_err(|error| format!("{README}: {error}"))?;
    let (before, rest) = readme.split_once(BEGIN).ok_or(format!("{README} lacks {BEGIN}"))?;
    let (_, after) = rest.split_once(END).ok_or(format!("{README} lacks {END}"))?;
    let readme = [before, BEGIN, &table, END, after].concat();
    Ok(vec![(PAGE, page.trim_end().to_owned() + "\n"), (README, readme)])
}

/// A method's line in the table of the README.
fn line(name: &str, json: &Json) -> String {
    let asked = |member: &str| {
        let names = metadata::items(json, member).filter_map(Json::as_str);
        let names = names.filter(|name| *name != "quiet_kernel").map(|name| format!("`{name}`"));
        names.collect::<Vec<_>>().join(", ")
    };
    let (needs, wants) = (asked("needs"), asked("wants"));
    let wants = if wants.is_empty() { wants } else { format!("for some parameters {wants}") };
    let both: Vec<String> = [needs, wants].into_iter().filter(|text| !text.is_empty()).collect();
    let doc = json["doc"].as_str().unwrap_or_default();
    format!("| [{name}](docs/methods.md#{name}) | {doc} | {} |\n", both.join("; "))
}

/// The program and all plugins; where the program lies.
fn build() -> Result<PathBuf, String> {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command.args(["build", "--quiet", "-p", "sonde-cli"]).current_dir(metadata::root());
    let all = metadata::load(false)?;
    for package in metadata::items(&all, "packages") {
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        if manifest.contains("/plugins/")
            && let Some(name) = package["name"].as_str()
        {
            command.args(["-p", name]);
        }
    }
    let status = command.status().map_err(|error| format!("cargo build: {error}"))?;
    if !status.success() {
        return Err(format!("cargo build: {status}"));
    }
    let target = all["target_directory"].as_str().ok_or("cargo metadata tells no target folder")?;
    Ok(PathBuf::from(target).join("debug/sonde"))
}
