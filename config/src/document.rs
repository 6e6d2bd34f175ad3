//! A document whose every entry knows where it stands, and its TOML form.
//!
//! Variables of the environment overlay it: `SONDE_LIMITS__PACKETS_PER_SECOND=5` is
//! `limits.packets_per_second = 5`.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use serde_json::{Number, Value as Json};
use toml::de::{DeTable, DeValue};

use crate::{Form, Mistake};

/// Octets of a configuration file.
const MAX_OCTETS: u64 = 1 << 20;
/// Variables that begin so and have two underscores together are entries.
pub(crate) const VARIABLE: &str = "SONDE_";
/// Characters of a value that an error repeats.
const SHOWN: usize = 64;

/// File and line, or a variable of the environment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    origin: Arc<str>,
    line: Option<usize>,
}

/// Entries by key.
pub type Table = BTreeMap<String, Item>;

/// What stands behind a key.
#[derive(Clone, Debug)]
pub struct Item {
    /// Where it stands.
    pub place: Place,
    /// Its value.
    pub data: Data,
}

/// A value, or more entries.
#[derive(Clone, Debug)]
pub enum Data {
    /// A text, number or flag.
    Scalar(Json),
    /// In this order.
    List(Vec<Item>),
    /// A section.
    Table(Table),
    /// A date, which no key takes.
    Other(String),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(formatter, "{}:{line}", self.origin),
            None => formatter.write_str(&self.origin),
        }
    }
}

impl Place {
    /// A whole file.
    #[must_use]
    pub fn file(file: &Path) -> Self {
        Self { origin: file.display().to_string().into(), line: None }
    }

    /// A line of a file.
    #[must_use]
    pub fn line(file: &str, line: usize) -> Self {
        Self { origin: file.into(), line: Some(line) }
    }

    /// For sorting: entries of the environment come last.
    #[must_use]
    pub fn order(&self) -> usize {
        self.line.unwrap_or(usize::MAX)
    }
}

impl Data {
    /// As JSON; none where a date is in it.
    #[must_use]
    pub fn to_json(&self) -> Option<Json> {
        match self {
            Self::Scalar(json) => Some(json.clone()),
            Self::List(items) => items.iter().map(|item| item.data.to_json()).collect(),
            Self::Table(table) => table
                .iter()
                .map(|(key, item)| Some((key.clone(), item.data.to_json()?)))
                .collect::<Option<serde_json::Map<_, _>>>()
                .map(Json::Object),
            Self::Other(_) => None,
        }
    }

    /// Whether there is no text behind the key.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        matches!(self, Self::Scalar(Json::String(text)) if text.is_empty())
    }

    /// As an error repeats it.
    #[must_use]
    pub fn shown(&self) -> String {
        let text = match self {
            Self::Other(text) => text.clone(),
            Self::Table(_) => "a table".to_owned(),
            data => data.to_json().map_or_else(|| "a list".to_owned(), |json| json.to_string()),
        };
        let cut = text.chars().nth(SHOWN).is_some();
        text.chars().take(SHOWN).chain(cut.then_some('…')).collect()
    }
}

/// The text of a file, if it can be read and is not too long. It is read more than once, so a pipe would be empty for who
/// comes later.
pub(crate) fn text(file: &Path, mistakes: &mut Vec<Mistake>) -> Option<String> {
    let read = || {
        let unreadable = |error: io::Error| format!("cannot read the configuration: {error}");
        let found = fs::metadata(file).map_err(unreadable)?;
        if !found.is_file() {
            return Err("is not a regular file".to_owned());
        }
        let mut text = String::new();
        let opened = File::open(file).map_err(unreadable)?;
        let octets = opened.take(MAX_OCTETS + 1).read_to_string(&mut text).map_err(unreadable)?;
        match octets as u64 > MAX_OCTETS {
            true => Err(format!("{} octets, accepted: at most {MAX_OCTETS}", found.len())),
            false => Ok(text),
        }
    };
    let problem = match read() {
        Ok(text) => return Some(text),
        Err(problem) => problem,
    };
    mistakes.push(Mistake::new(&Place::file(file), "", problem));
    None
}

/// Reads text; `has_lines` where its lines mean something to a person.
pub(crate) fn parse(
    text: &str,
    origin: &str,
    has_lines: bool,
    mistakes: &mut Vec<Mistake>,
) -> Table {
    let maker = Maker { text, origin: origin.into(), has_lines };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = maker.place(error.span().map_or(0, |span| span.start));
        mistakes.push(Mistake::new(&place, "", format!("no TOML: {}", error.message())));
    }
    maker.table(document.get_ref())
}

/// Lays what the environment says over the document.
pub(crate) fn overlay(
    table: &mut Table,
    form: Form,
    variables: impl Iterator<Item = (String, String)>,
    mistakes: &mut Vec<Mistake>,
) {
    for (name, value) in variables {
        let Some(path) = name.strip_prefix(VARIABLE).filter(|path| path.contains("__")) else {
            continue;
        };
        // What is no value of TOML is a text.
        let mut ignored = Vec::new();
        let origin = format!("variable {name}");
        let mut read = parse(&format!("value = {value}"), &origin, false, &mut ignored);
        let place = Place { origin: origin.into(), line: None };
        let is_value = form == Form::Toml && ignored.is_empty();
        let item = match read.remove("value").filter(|_| is_value && read.is_empty()) {
            Some(item) => item,
            None => Item { place: place.clone(), data: Data::Scalar(value.into()) },
        };
        let keys: Vec<&str> = path.split("__").collect();
        if !put(table, &keys, item) {
            let problem = "a part of it is no table in the file".to_owned();
            mistakes.push(Mistake::new(&place, path, problem));
        }
    }
}

/// Sets an entry by the names of a variable, in which case and `-` cannot be told.
fn put(table: &mut Table, keys: &[&str], item: Item) -> bool {
    let Some((first, rest)) = keys.split_first() else { return false };
    let plain = |key: &str| key.to_ascii_lowercase().replace('-', "_");
    let known = table.keys().find(|key| plain(key) == plain(first)).cloned();
    let key = known.unwrap_or_else(|| plain(first));
    if rest.is_empty() {
        table.insert(key, item);
        return true;
    }
    let inner = table
        .entry(key)
        .or_insert_with(|| Item { place: item.place.clone(), data: Data::Table(Table::new()) });
    match &mut inner.data {
        Data::Table(inner) => put(inner, rest, item),
        _ => false,
    }
}

struct Maker<'a> {
    text: &'a str,
    origin: Arc<str>,
    has_lines: bool,
}

impl Maker<'_> {
    fn place(&self, at: usize) -> Place {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.bytes().filter(|octet| *octet == b'\n').count() + 1;
        Place { origin: Arc::clone(&self.origin), line: self.has_lines.then_some(line) }
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let item = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
            let key: &toml::Spanned<std::borrow::Cow<'_, str>> = key;
            let place = self.place(key.span().start);
            (key.get_ref().to_string(), Item { place, data: self.data(value.get_ref()) })
        };
        table.iter().map(item).collect()
    }

    fn data(&self, value: &DeValue<'_>) -> Data {
        match value {
            DeValue::String(text) => Data::Scalar(text.as_ref().into()),
            DeValue::Boolean(value) => Data::Scalar((*value).into()),
            DeValue::Integer(number) => {
                let digits = number.as_str().replace('_', "");
                match i64::from_str_radix(digits.trim_start_matches('+'), number.radix()) {
                    Ok(number) if number >= 0 => Data::Scalar(number.unsigned_abs().into()),
                    Ok(number) => Data::Scalar(number.into()),
                    Err(_) => Data::Other(digits),
                }
            }
            DeValue::Float(number) => {
                let text = number.as_str().replace('_', "");
                let parsed = text.parse().ok().and_then(Number::from_f64);
                parsed.map_or(Data::Other(text), |number| Data::Scalar(Json::Number(number)))
            }
            DeValue::Datetime(time) => Data::Other(time.to_string()),
            DeValue::Array(items) => Data::List(
                items
                    .iter()
                    .map(|item| Item {
                        place: self.place(item.span().start),
                        data: self.data(item.get_ref()),
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Data::Table(self.table(table)),
        }
    }
}
