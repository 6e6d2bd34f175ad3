//! Operators' files: TOML, and the INI form of the reference implementation (RI), read into one tree in which
//! every entry knows its file and line.
//!
//! What the entries mean is said by each program, with [`Section`]; what concerns peers (certificates, roles,
//! authorizations) is the same for all and in [`Peers`]. Mistakes are collected, so that all are told at once.

mod document;
mod ini;
mod peers;
mod program;
mod registries;
mod section;
mod supervisors;

use std::{fmt, path::Path};

pub use self::{
    document::{Data, Item, Place, Table},
    peers::Peers,
    program::Program,
    registries::registries,
    section::{Section, hint, unknown},
    supervisors::{INI_SUPERVISOR_KEYS, ini_supervisor, supervisors},
};

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// File and line, or the variable of the environment.
    pub place: String,
    /// The key, with the sections that it is in; empty where it is not about one.
    pub key: String,
    /// Value, what is accepted, and a hint.
    pub problem: String,
}

impl Mistake {
    /// At a place.
    #[must_use]
    pub fn new(place: &Place, key: &str, problem: String) -> Self {
        Self { place: place.to_string(), key: key.to_owned(), problem }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.is_empty() {
            true => write!(formatter, "{}: {}", self.place, self.problem),
            false => write!(formatter, "{}: {}: {}", self.place, self.key, self.problem),
        }
    }
}

/// How a file is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// Ours.
    Toml,
    /// The RI's: case-sensitive keys, values without quotes.
    Ini,
}

impl Form {
    /// Where relative paths in `file` begin: beside it, or where the program runs, as the RI does it.
    #[must_use]
    pub fn folder(self, file: &Path) -> &Path {
        match self {
            Self::Toml => file.parent().unwrap_or(Path::new("")),
            Self::Ini => Path::new(""),
        }
    }
}

/// Reads a file of a program, and the variables of the environment that overlay it, but for those of other programs.
///
/// A name that ends with `.toml` is TOML. Any other is INI if it has a section that only the RI's files have, or
/// if it is not TOML and says `workflow`, as all of the RI's do.
pub fn read(
    file: &Path,
    program: Program,
    variables: impl Iterator<Item = (String, String)>,
    mistakes: &mut Vec<Mistake>,
) -> (Form, Table) {
    let Some(text) = document::text(file, mistakes) else { return (Form::Toml, Table::new()) };
    let origin = file.display().to_string();
    let form = form(file, &text);
    let mut table = match form {
        Form::Toml => document::parse(&text, &origin, true, mistakes),
        Form::Ini => ini::parse(&text, &origin, mistakes),
    };
    // The RI's programs have sections in common.
    let is_meant = |(name, _): &(String, String)| {
        let section = name.strip_prefix(document::VARIABLE).and_then(|path| path.split_once("__"));
        form == Form::Ini || section.is_none_or(|(section, _)| program.may_have(section))
    };
    document::overlay(&mut table, form, variables.filter(is_meant), mistakes);
    (form, table)
}

fn form(file: &Path, text: &str) -> Form {
    if file.extension().is_some_and(|ending| ending == "toml") {
        return Form::Toml;
    }
    let table = ini::parse(text, "", &mut Vec::new());
    let is_seed = |name: &String| {
        ["TLS", "Roles", "Authorizations"].contains(&name.as_str()) || name.starts_with("module_")
    };
    if table.keys().any(is_seed) {
        return Form::Ini;
    }
    // The RI starts nothing without this key. A document of ours with a slip in it reads as INI too.
    let begins = |name: &str| {
        let section = table.get(name).map(|item| &item.data);
        matches!(section, Some(Data::Table(entries)) if entries.contains_key("workflow"))
    };
    let mut mistakes = Vec::new();
    document::parse(text, "", true, &mut mistakes);
    let is_toml = mistakes.is_empty();
    if !is_toml && (begins("component") || begins("client")) { Form::Ini } else { Form::Toml }
}
