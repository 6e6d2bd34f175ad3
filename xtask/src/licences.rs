//! Every package that is linked has a licence that `deny.toml` allows.

use serde_json::Value;

use crate::{Findings, metadata};

pub(crate) fn check() -> Result<Findings, String> {
    let policy = policy()?;
    let allowed = names(&policy, "allow");
    let metadata = metadata::load(true)?;
    let mut findings = Findings::new();
    for package in metadata::items(&metadata, "packages") {
        let licence = package["license"].as_str().unwrap_or_default();
        let mut allowed = allowed.clone();
        for exception in metadata::items(&policy, "exceptions") {
            if exception["crate"] == package["name"] {
                allowed.extend(names(exception, "allow"));
            }
        }
        if !permits(licence, &allowed) {
            let name = package["name"].as_str().unwrap_or_default();
            findings.push(format!("{name}: licence `{licence}` is not in deny.toml"));
        }
    }
    Ok(findings)
}

/// The table `[licenses]` of `deny.toml`.
fn policy() -> Result<Value, String> {
    let text = std::fs::read_to_string(metadata::root().join("deny.toml"))
        .map_err(|error| format!("deny.toml: {error}"))?;
    let table: toml::Table = text.parse().map_err(|error| format!("deny.toml: {error}"))?;
    serde_json::to_value(&table["licenses"]).map_err(|error| format!("deny.toml: {error}"))
}

fn names(table: &Value, key: &str) -> Vec<String> {
    metadata::items(table, key).filter_map(Value::as_str).map(str::to_owned).collect()
}

/// True where an SPDX expression can be met: one side of each `OR`, both of each `AND`.
fn permits(expression: &str, allowed: &[String]) -> bool {
    let flat = expression.replace('/', " OR ").replace(['(', ')'], " ");
    // Without the brackets `A AND (B OR C)` reads as `(A AND B) OR C`: ask for more, never for less.
    if expression.contains(") AND") || expression.contains("AND (") {
        return expression
            .replace(['(', ')'], "")
            .split(" AND ")
            .all(|part| permits(part, allowed));
    }
    flat.split(" OR ").any(|choice| {
        choice.split(" AND ").all(|name| allowed.iter().any(|allowed| allowed == name.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::permits;

    #[test]
    fn either_side_of_or_is_enough_and_both_sides_of_and_are_needed() {
        let allowed = ["MIT".to_owned(), "Unicode-3.0".to_owned()];
        assert!(permits("GPL-2.0 OR MIT", &allowed));
        assert!(permits("(MIT OR Apache-2.0) AND Unicode-3.0", &allowed));
        assert!(!permits("MIT AND GPL-2.0", &allowed));
        assert!(!permits("(MIT OR Apache-2.0) AND NCSA", &allowed));
        assert!(!permits("", &allowed));
    }
}
