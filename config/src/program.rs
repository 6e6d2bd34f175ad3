//! Whose file it is.

use std::path::Path;

use crate::{Form, Table, read};

/// One of our programs that has a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Program {
    /// Measures.
    Host,
    /// Relays.
    Supervisor,
    /// Asks.
    Client,
}

/// Sections that only one program has.
const OURS: [(Program, &[&str]); 3] = [
    (Program::Host, &["host", "limits", "policy", "methods", "component"]),
    (Program::Supervisor, &["listen", "store", "hosts", "clients", "authorizations"]),
    (Program::Client, &["client", "defaults"]),
];

impl Program {
    /// By the sections of a file; the host where they do not tell.
    #[must_use]
    pub fn of(file: &Path) -> Self {
        let (form, table) = read(file, Self::Host, std::iter::empty(), &mut Vec::new());
        Self::by_sections(form, &table)
    }

    /// Whether an entry of this section may be for it: none of another program alone is.
    pub(crate) fn may_have(self, section: &str) -> bool {
        let is_of_others = |(program, sections): &(Self, &[&str])| {
            *program != self && sections.contains(&section.to_ascii_lowercase().as_str())
        };
        !OURS.iter().any(is_of_others)
    }

    fn by_sections(form: Form, table: &Table) -> Self {
        let has = |name: &str| table.contains_key(name);
        match form {
            Form::Toml => OURS
                .into_iter()
                .find(|(_, sections)| sections.iter().any(|name| has(name)))
                .map(|(program, _)| program)
                // A host has these in [component]. A client has no roles.
                .or_else(|| has("roles").then_some(Self::Supervisor))
                .or_else(|| (has("tls") || has("registries")).then_some(Self::Client))
                .unwrap_or(Self::Host),
            // A supervisor is a component for its clients and a client for its components.
            Form::Ini if table.keys().any(|name| name.starts_with("module_")) => Self::Host,
            Form::Ini => match (has("component"), has("client")) {
                (true, true) => Self::Supervisor,
                (false, true) => Self::Client,
                _ => Self::Host,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sections_tell_whose_file_it_is() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text, expected) in [
            ("a.toml", "", Program::Host),
            ("a.toml", "[methods.x]\n", Program::Host),
            ("a.toml", "[store]\nfile = 'x'\n", Program::Supervisor),
            ("a.toml", "[client]\n[tls]\n", Program::Client),
            ("a.toml", "[tls]\n", Program::Client),
            ("a.toml", "[tls]\n[roles]\n", Program::Supervisor),
            ("a.conf", "[module_scamper]\nx = 1\n[component]\nx = y z\n", Program::Host),
            ("a.conf", "[component]\nworkflow = y\n[client]\nx = y\n", Program::Supervisor),
            ("a.conf", "[TLS]\nx = y\n[client]\nx = y\n", Program::Client),
        ] {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            assert_eq!(Program::of(&file), expected, "{text}");
        }
    }
}
