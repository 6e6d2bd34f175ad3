//! What a page says must be there: links lead somewhere, tests that a checklist names exist, and no
//! file holds a path of somebody's machine.

use std::{collections::BTreeSet, path::Path};

use crate::{Findings, metadata};

/// Longest source file; longer ones are split by what they know.
const MAX_LINES: usize = 600;

/// Starts of paths that exist on one machine alone.
const FOREIGN_PATHS: &[&str] = &["/home/", "/root/", "/work/"];

/// Words of work that was left for later.
const UNFINISHED: &[&str] = &["TODO", "FIXME", "XXX"];

pub(crate) fn check() -> Result<Findings, String> {
    let root = metadata::root();
    let mut findings = Findings::new();
    let (mut functions, mut named) = (BTreeSet::new(), Vec::new());
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        if !root.join(name).is_file() {
            findings.push(format!("{name} is missing"));
        }
    }
    for file in metadata::tracked()? {
        let extension = file.extension().and_then(|extension| extension.to_str());
        let extension = extension.unwrap_or_default();
        if !["rs", "md", "toml", "sh", "json", ""].contains(&extension) {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(root.join(&file)) else { continue };
        let shown = file.display();
        let is_checker = file.starts_with("xtask");
        if extension == "rs" && text.lines().count() > MAX_LINES {
            findings.push(format!("{shown}: more than {MAX_LINES} lines"));
        }
        for (number, line) in text.lines().enumerate() {
            let place = format!("{shown}:{}", number + 1);
            if !is_checker && UNFINISHED.iter().any(|word| line.contains(word)) {
                findings.push(format!("{place}: left for later: {}", line.trim()));
            }
            if !is_checker && FOREIGN_PATHS.iter().any(|path| line.contains(path)) {
                findings.push(format!("{place}: a path of one machine"));
            }
            if extension == "rs" {
                functions.extend(function(line));
            }
            if extension == "md" {
                findings.extend(broken_links(&root, &file, line, &place));
                if file.to_string_lossy().ends_with("-checklist.md") {
                    named.extend(tests_named(line).map(|name| (place.clone(), name.to_owned())));
                }
            }
        }
    }
    let missing = named.into_iter().filter(|(_, name)| !functions.contains(name));
    findings.extend(missing.map(|(place, name)| format!("{place}: there is no test {name}")));
    findings.extend(changelog_names_the_version(&root)?);
    Ok(findings)
}

/// The function whose definition begins in a line.
fn function(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("fn ")?;
    let name = rest.split(|one: char| !one.is_alphanumeric() && one != '_').next()?;
    Some(name.to_owned())
}

/// Names of tests in a line of a checklist: sentences in code, so longer than those of anything else.
fn tests_named(line: &str) -> impl Iterator<Item = &str> {
    let is_word = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '_';
    let code = line.split('`').skip(1).step_by(2);
    code.filter(move |text| text.matches('_').count() >= 3 && text.chars().all(is_word))
}

/// Links of a line to files that are not there.
fn broken_links(root: &Path, file: &Path, line: &str, place: &str) -> Findings {
    let folder = root.join(file).parent().map(Path::to_path_buf).unwrap_or_default();
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .map(|target| target.split('#').next().unwrap_or_default())
        .filter(|target| !target.is_empty() && !folder.join(target).exists())
        .map(|target| format!("{place}: link to {target}, which is not there"))
        .collect()
}

fn changelog_names_the_version(root: &Path) -> Result<Findings, String> {
    let metadata = metadata::load(false)?;
    let version = metadata::items(&metadata, "packages")
        .find(|package| package["name"] == "sonde-cli")
        .and_then(|package| package["version"].as_str())
        .ok_or("no package sonde-cli")?;
    let text = std::fs::read_to_string(root.join("CHANGELOG.md")).unwrap_or_default();
    if text.contains(&format!("## {version}")) || text.contains("## Unreleased") {
        return Ok(Findings::new());
    }
    Ok(vec![format!("CHANGELOG.md: no section for {version}")])
}
