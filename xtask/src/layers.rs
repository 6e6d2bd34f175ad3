//! Who may import whom: the table of ARCHITECTURE.md, checked against what cargo knows.
//!
//! Test and example code may reach further where [`TEST_ONLY`] says so.

use crate::{Findings, metadata};

/// Where the table is.
const PAGE: &str = "ARCHITECTURE.md";

/// Crates that may stand among the development dependencies of any crate above `plugin-api`.
const TEST_ONLY: [&str; 3] = ["sonde-testkit", "sonde-plugin-api", "sonde-packet"];

/// Names of methods have no place in the code of these folders: a method comes as data.
const METHOD_FREE: &[&str] =
    &["cli/src", "host/src", "host/engine/src", "host/spool/src", "host/worker/src"];

pub(crate) fn check() -> Result<Findings, String> {
    let metadata = metadata::load(false)?;
    let page = std::fs::read_to_string(metadata::root().join(PAGE));
    let table = table(&page.map_err(|error| format!("{PAGE}: {error}"))?);
    let listed = |name: &str| table.iter().find(|(row, _)| row == name).map(|(_, may)| may);
    let test_only_imports = TEST_ONLY.map(str::to_owned).to_vec();
    let mut findings = Findings::new();
    let mut methods = Vec::new();
    for package in metadata::items(&metadata, "packages") {
        let name = package["name"].as_str().unwrap_or_default();
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let is_plugin = manifest.contains("/plugins/") && !manifest.contains("/tests/");
        if is_plugin {
            methods.push(name.trim_start_matches("sonde-").to_owned());
        }
        let is_fixture = manifest.contains("/tests/") || manifest.contains("/fixtures/");
        let row = if is_plugin { "plugins" } else { name };
        let allowed = listed(row).or_else(|| is_fixture.then_some(&test_only_imports));
        let Some(allowed) = allowed else {
            findings.push(format!("{name}: not in the table of {PAGE}"));
            continue;
        };
        for dependency in metadata::items(package, "dependencies") {
            let import = dependency["name"].as_str().unwrap_or_default();
            let test_only = dependency["kind"] == "dev";
            let ours = import.starts_with("sonde-");
            let permitted =
                allowed.iter().any(|it| it == import) || test_only && TEST_ONLY.contains(&import);
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
        for (number, line) in code(&text) {
            let names = |method: &String| {
                let words =
                    [format!("\"{method}\""), format!("\"{method}-"), format!("sonde_{method}")];
                words.iter().any(|word| line.contains(word))
            };
            for method in methods.iter().filter(|method| names(method)) {
                findings.push(format!("{}:{number}: names {method}", file.display()));
            }
        }
    }
    Ok(findings)
}

/// Rows of the page's table: a crate of ours, or `plugins`, and those of ours that it may import.
fn table(page: &str) -> Vec<(String, Vec<String>)> {
    let lines = page.lines().skip_while(|line| !line.starts_with("| crate |")).skip(2);
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let (name, imports) = (cells.first()?, cells.last()?);
        let imports = imports.split(", ").filter(|word| *word != "nothing");
        Some(((*name).to_owned(), imports.map(|word| format!("sonde-{word}")).collect()))
    };
    lines.take_while(|line| line.starts_with('|')).filter_map(row).collect()
}

/// Lines of code with their numbers, from 1: no comments, and no items for tests, each of which the formatter ends where
/// it begins.
fn code(text: &str) -> Vec<(usize, &str)> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = (1..).zip(text.lines());
    let mut code = Vec::new();
    while let Some((number, line)) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let mut has_body = false;
            lines.find(|(_, next)| {
                let is_own = indent(next) == indent(line);
                has_body |= is_own && next.ends_with('{');
                is_own
                    && (next.trim_start().starts_with('}')
                        || !has_body && next.ends_with([';', ',']))
            });
        } else if !line.trim_start().starts_with("//") {
            code.push((number, line));
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_page_says_who_may_import_whom() {
        let page = "x\n| crate | folder | imports |\n|---|---|---|\n| sonde-a | `a` | nothing |\n\
                    | sonde-b | `b` | a, c |\n\n| other |\n";
        let [(a, none), (b, two)] = &table(page)[..] else { panic!("{:?}", table(page)) };
        assert_eq!((a.as_str(), none.len(), b.as_str()), ("sonde-a", 0, "sonde-b"));
        assert_eq!(two[..], ["sonde-a", "sonde-c"]);
    }

    #[test]
    fn only_items_for_tests_are_no_code() {
        let text = "a\n#[cfg(test)]\nmod tests;\nb\nimpl C {\n    #[cfg(test)]\n    fn d() {\n        e;\n    }\n    \
                    // f\n    g\n}\n";
        let lines: Vec<&str> = code(text).into_iter().map(|(_, line)| line.trim()).collect();
        assert_eq!(lines, ["a", "b", "impl C {", "g", "}"]);
        assert_eq!(code(text)[1].0, 4);
    }
}
