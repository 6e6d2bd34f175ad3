//! What a page says must be there: links lead somewhere, commands name what exists, and no file
//! holds a path of somebody's machine.

use std::path::Path;

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
            if extension == "md" {
                findings.extend(broken_links(&root, &file, line, &place));
            }
        }
    }
    findings.extend(changelog_names_the_version(&root)?);
    Ok(findings)
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
