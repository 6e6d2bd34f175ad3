//! Reading a section: every key with its type, range and what is accepted.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use serde_json::Value as Json;

use crate::{Data, Item, Mistake, Place, Table};

/// A table with its name, and where mistakes go.
pub struct Section<'a, 'm> {
    path: String,
    /// Where it begins, or the file.
    place: Place,
    /// None where it is not there.
    table: Option<&'a Table>,
    /// What paths are relative to.
    folder: &'a Path,
    mistakes: &'m mut Vec<Mistake>,
}

impl<'a, 'm> Section<'a, 'm> {
    /// A whole document; paths are relative to `folder`.
    pub fn top(
        file: &Path,
        table: &'a Table,
        folder: &'a Path,
        mistakes: &'m mut Vec<Mistake>,
    ) -> Self {
        Self { path: String::new(), place: Place::file(file), table: Some(table), folder, mistakes }
    }
}

impl<'a> Section<'a, '_> {
    /// What it is called, with the sections around it.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.path
    }

    /// Its entries, if it is there.
    #[must_use]
    pub fn table(&self) -> Option<&'a Table> {
        self.table
    }

    /// What paths in it are relative to.
    #[must_use]
    pub fn folder(&self) -> &'a Path {
        self.folder
    }

    /// The entry of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a Item> {
        self.table?.get(key)
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Tells a mistake.
    pub fn tell(&mut self, place: &Place, key: &str, problem: String) {
        let name = self.name(key);
        self.mistakes.push(Mistake::new(place, &name, problem));
    }

    /// Refuses the keys that are not among these.
    pub fn keys(&mut self, known: &[&str]) {
        for (key, item) in self.table.into_iter().flatten() {
            if !known.contains(&key.as_str()) {
                let problem = unknown(key, known.iter().copied());
                self.tell(&item.place, key, problem);
            }
        }
    }

    /// Refuses the value of a key.
    pub fn refuse(&mut self, key: &str, accepted: &str) {
        if let Some(item) = self.get(key) {
            let problem = format!("is {}, accepted: {accepted}", item.data.shown());
            self.tell(&item.place, key, problem);
        }
    }

    /// A table within; `known` are its keys, none where they are checked elsewhere.
    pub fn section(&mut self, key: &str, known: &[&str]) -> Section<'a, '_> {
        let table = match self.get(key).map(|item| &item.data) {
            Some(Data::Table(table)) => Some(table),
            Some(_) => {
                self.refuse(key, &format!("a table, [{}]", self.name(key)));
                None
            }
            None => None,
        };
        let (path, folder) = (self.name(key), self.folder);
        let place = self.get(key).map_or_else(|| self.place.clone(), |item| item.place.clone());
        let mut section = Section { path, place, table, folder, mistakes: &mut *self.mistakes };
        if !known.is_empty() {
            section.keys(known);
        }
        section
    }

    /// A value as `read` takes it; refused where it does not.
    pub fn value<T>(
        &mut self,
        key: &str,
        accepted: &str,
        read: impl Fn(&Data) -> Option<T>,
    ) -> Option<T> {
        let value = read(&self.get(key)?.data);
        if value.is_none() {
            self.refuse(key, accepted);
        }
        value
    }

    /// A number within a range, both ends included.
    pub fn number(&mut self, key: &str, range: RangeInclusive<f64>) -> Option<f64> {
        let accepted = format!("a number from {} to {}", range.start(), range.end());
        self.value(key, &accepted, |data| match data {
            Data::Scalar(json) => json.as_f64().filter(|number| range.contains(number)),
            _ => None,
        })
    }

    /// A whole number from 1 on.
    pub fn count(&mut self, key: &str) -> Option<u64> {
        self.value(key, "a whole number from 1 on", |data| match data {
            Data::Scalar(json) => json.as_u64().filter(|number| *number > 0),
            _ => None,
        })
    }

    /// True or false.
    pub fn flag(&mut self, key: &str) -> Option<bool> {
        self.value(key, "true or false", |data| match data {
            Data::Scalar(json) => json.as_bool(),
            _ => None,
        })
    }

    /// One of these words.
    pub fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let mut accepted = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        if let Some(Data::Scalar(Json::String(text))) = self.get(key).map(|item| &item.data) {
            accepted.extend(hint(text, words.iter().map(|(word, _)| *word)));
        }
        self.value(key, &accepted, |data| {
            let Data::Scalar(Json::String(text)) = data else { return None };
            words.iter().find(|(word, _)| word == text).map(|(_, meaning)| *meaning)
        })
    }

    /// Files, relative to the folder of the document.
    pub fn paths(&mut self, key: &str) -> Option<Vec<PathBuf>> {
        let folder = self.folder;
        self.value(key, "a list of paths, [\"…\"]", |data| {
            let Data::List(items) = data else { return None };
            let path = |item: &Item| match &item.data {
                Data::Scalar(Json::String(text)) if !text.is_empty() => Some(folder.join(text)),
                _ => None,
            };
            items.iter().map(path).collect()
        })
    }

    /// A text that is not empty.
    pub fn text(&mut self, key: &str) -> Option<String> {
        self.value(key, "a text that is not empty", |data| match data {
            Data::Scalar(Json::String(text)) if !text.is_empty() => Some(text.clone()),
            _ => None,
        })
    }

    /// The URL of a peer, without a query, that is spoken to with a certificate or without; the scheme may be left away.
    pub fn url(&mut self, key: &str, has_tls: bool) -> Option<String> {
        let accepted = match has_tls {
            true => "https://HOST:PORT, for there is a section tls",
            false => "http://HOST:PORT, or https://HOST:PORT with a section tls",
        };
        self.value(key, accepted, |data| match data {
            Data::Scalar(Json::String(text)) => {
                let usable = sonde_mplane_http::usable(text, has_tls).ok();
                let usable = usable.filter(|url| url.query().is_none() && url.fragment().is_none());
                usable.map(|url| if text.contains("://") { text.clone() } else { url.into() })
            }
            _ => None,
        })
    }

    /// A text of another type.
    pub fn parsed<T: std::str::FromStr>(&mut self, key: &str, accepted: &str) -> Option<T> {
        self.value(key, accepted, |data| match data {
            Data::Scalar(Json::String(text)) => text.trim().parse().ok(),
            _ => None,
        })
    }

    /// A file, relative to the folder of the document.
    pub fn path(&mut self, key: &str) -> Option<PathBuf> {
        let text = self.text(key)?;
        Some(self.folder.join(text))
    }

    /// A list of texts, or one alone.
    pub fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        self.value(key, "a list of texts, [\"…\"]", |data| {
            let text = |data: &Data| match data {
                Data::Scalar(Json::String(text)) if !text.is_empty() => Some(text.clone()),
                _ => None,
            };
            match data {
                Data::List(items) => items.iter().map(|item| text(&item.data)).collect(),
                data => text(data).map(|text| vec![text]),
            }
        })
    }

    /// A whole number, also as digits in a text, as the INI form has it.
    pub fn whole(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let accepted = format!("a whole number from {} to {}", range.start(), range.end());
        self.value(key, &accepted, |data| {
            let number = match data {
                Data::Scalar(Json::String(text)) => text.trim().parse().ok(),
                Data::Scalar(json) => json.as_u64(),
                _ => None,
            };
            number.filter(|number| range.contains(number))
        })
    }

    /// Tables that stand under one key, `[[key]]`; `known` are the keys of each.
    pub fn each<T>(
        &mut self,
        key: &str,
        known: &[&str],
        mut read: impl FnMut(&mut Section<'a, '_>) -> Option<T>,
    ) -> Vec<T> {
        let items: &'a [Item] = match self.get(key).map(|item| &item.data) {
            Some(Data::List(items)) => items,
            Some(_) => {
                self.refuse(key, &format!("tables, [[{}]]", self.name(key)));
                return Vec::new();
            }
            None => return Vec::new(),
        };
        let mut all = Vec::new();
        for item in items {
            let Data::Table(table) = &item.data else {
                self.refuse(key, &format!("tables, [[{}]]", self.name(key)));
                continue;
            };
            let mut section = Section {
                path: self.name(key),
                place: item.place.clone(),
                table: Some(table),
                folder: self.folder,
                mistakes: &mut *self.mistakes,
            };
            section.keys(known);
            all.extend(read(&mut section));
        }
        all
    }

    /// A text, which may be empty.
    pub fn any_text(&mut self, key: &str) -> Option<String> {
        self.value(key, "a text", |data| match data {
            Data::Scalar(Json::String(text)) => Some(text.clone()),
            _ => None,
        })
    }

    /// Keys in the order of their lines.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut items: Vec<(&String, &Item)> = self.table.into_iter().flatten().collect();
        items.sort_by_key(|(_, item)| item.place.order());
        items.into_iter().map(|(key, _)| key.clone()).collect()
    }

    /// Something must be there: where it is missing, that is a mistake.
    pub fn require<T>(&mut self, key: &str, value: Option<T>, accepted: &str) -> Option<T> {
        if value.is_none() && self.get(key).is_none() {
            let place = self.place.clone();
            self.tell(&place, key, format!("is missing, accepted: {accepted}"));
        }
        value
    }
}

/// What to say of a key that means nothing.
#[must_use]
pub fn unknown<'a>(key: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let hint = hint(key, known.clone()).unwrap_or_default();
    let known = known.collect::<Vec<_>>().join(", ");
    format!("unknown key, accepted: {known}{hint}")
}

/// What follows in a refusal where somebody may have meant one of these words.
#[must_use]
pub fn hint<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    nearest(word, known).map(|near| format!("; did you mean {near}?"))
}

/// The word that somebody who typed this may have meant: at most a third of it is different.
fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |candidate: &&str| {
        strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase())
    };
    let nearest = candidates.min_by_key(distance)?;
    (distance(&nearest) <= (word.chars().count() / 3).max(1)).then_some(nearest)
}
