//! The INI form, as the RI's files have it.
//!
//! Keys keep their case and their points, for they are identities and labels. A value goes on in lines that are
//! indented; `%` is doubled. The order of entries is that of their lines.
//!
//! Source: Python's `configparser`, with keys as they are, as the RI sets it up.

use serde_json::Value as Json;

use crate::{
    Mistake,
    document::{Data, Item, Place, Table},
};

/// Reads text; what is wrong is told and left out.
pub(crate) fn parse(text: &str, origin: &str, mistakes: &mut Vec<Mistake>) -> Table {
    let mut reader = Reader { table: Table::new(), section: None, option: None, mistakes };
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        reader.line(line, &Place::line(origin, index + 1));
    }
    reader.end_option();
    reader.table
}

struct Reader<'m> {
    table: Table,
    section: Option<String>,
    /// The entry whose value may go on, with its indentation.
    option: Option<(String, String, Place, usize)>,
    mistakes: &'m mut Vec<Mistake>,
}

impl Reader<'_> {
    fn line(&mut self, line: &str, place: &Place) {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            return;
        }
        let indentation = line.len() - line.trim_start().len();
        if let Some((_, value, _, own)) = &mut self.option
            && indentation > *own
        {
            value.push('\n');
            value.push_str(trimmed);
            return;
        }
        self.end_option();
        if let Some(rest) = trimmed.strip_prefix('[') {
            return self.begin_section(rest, place);
        }
        let Some(at) = trimmed.find(['=', ':']).filter(|at| *at > 0) else {
            let problem = "no entry, accepted: [SECTION], KEY = VALUE or KEY: VALUE".to_owned();
            return self.tell(place, trimmed, problem);
        };
        let (key, value) = (trimmed[..at].trim_end(), trimmed[at + 1..].trim_start());
        self.option = Some((key.to_owned(), value.to_owned(), place.clone(), indentation));
    }

    fn begin_section(&mut self, rest: &str, place: &Place) {
        self.section = None;
        let Some(name) = rest.rfind(']').map(|at| &rest[..at]).filter(|name| !name.is_empty())
        else {
            return self.tell(place, rest, "a section has no end, accepted: [SECTION]".to_owned());
        };
        if name == "DEFAULT" {
            let problem = "this section is not supported, write its keys where they count";
            return self.tell(place, name, problem.to_owned());
        }
        if self.table.contains_key(name) {
            return self.tell(place, name, "the section is there twice".to_owned());
        }
        let item = Item { place: place.clone(), data: Data::Table(Table::new()) };
        self.table.insert(name.to_owned(), item);
        self.section = Some(name.to_owned());
    }

    fn end_option(&mut self) {
        let Some((key, value, place, _)) = self.option.take() else { return };
        let Some(section) = self.section.clone() else {
            return self.tell(&place, &key, "stands in no section".to_owned());
        };
        let full = format!("{section}.{key}");
        let value = match undoubled(&value) {
            Ok(value) => value,
            Err(problem) => return self.tell(&place, &full, problem),
        };
        let Some(Item { data: Data::Table(entries), .. }) = self.table.get_mut(&section) else {
            return;
        };
        if entries.contains_key(&key) {
            return self.tell(&place, &full, "is there twice".to_owned());
        }
        entries.insert(key, Item { place, data: Data::Scalar(Json::String(value)) });
    }

    fn tell(&mut self, place: &Place, key: &str, problem: String) {
        let key: String = key.chars().take(64).collect();
        self.mistakes.push(Mistake::new(place, &key, problem));
    }
}

/// `%%` stands for `%`; a single one would be a reference to another key.
fn undoubled(value: &str) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = value.chars();
    while let Some(letter) = rest.next() {
        if letter == '%' && rest.next() != Some('%') {
            return Err(format!("is {value:?}, accepted: % only doubled, as %%"));
        }
        text.push(letter);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Table, Vec<String>) {
        let mut mistakes = Vec::new();
        let table = parse(text, "scamper.conf", &mut mistakes);
        (table, mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn keys_keep_case_and_points_and_values_are_as_written() {
        let (table, mistakes) = read(
            "# comment\n[TLS]\ncert = PKI/Component-1.crt\n; too\n[Roles]\n\
             org.mplane.SSB.Clients.Client-1 = guest, admin\norg.mplane.SSB.clients.client-1: x=y\n\
             [component]\nlink = a%%20b\n   c\n",
        );
        assert_eq!(mistakes, [""; 0]);
        let value = |section: &str, key: &str| {
            let Data::Table(entries) = &table[section].data else { panic!("no table") };
            (entries[key].data.to_json().unwrap(), entries[key].place.to_string())
        };
        assert_eq!(value("TLS", "cert"), ("PKI/Component-1.crt".into(), "scamper.conf:3".into()));
        let roles = value("Roles", "org.mplane.SSB.Clients.Client-1");
        assert_eq!(roles, ("guest, admin".into(), "scamper.conf:6".into()));
        assert_eq!(value("Roles", "org.mplane.SSB.clients.client-1").0, "x=y");
        assert_eq!(value("component", "link").0, "a%20b\nc");
    }

    #[test]
    fn what_is_no_entry_is_told_with_its_line() {
        let (_, mistakes) =
            read("a = b\n[x\n[DEFAULT]\n[x]\nno entry\nkey = 1\nkey = 2\n[x]\n[y]\nz = 50%\n= v\n");
        assert_eq!(
            mistakes,
            [
                "scamper.conf:1: a: stands in no section",
                "scamper.conf:2: x: a section has no end, accepted: [SECTION]",
                "scamper.conf:3: DEFAULT: this section is not supported, write its keys where they count",
                "scamper.conf:5: no entry: no entry, accepted: [SECTION], KEY = VALUE or KEY: VALUE",
                "scamper.conf:7: x.key: is there twice",
                "scamper.conf:8: x: the section is there twice",
                "scamper.conf:10: y.z: is \"50%\", accepted: % only doubled, as %%",
                "scamper.conf:11: = v: no entry, accepted: [SECTION], KEY = VALUE or KEY: VALUE",
            ]
        );
    }
}
