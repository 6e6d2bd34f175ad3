//! From entries to a [`Configuration`]: every key, its type, range and default.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use sonde_engine::{Limits, Prefixes, Rate, Stamps};
use sonde_plugin_api::{descriptor::Need, text::nearest};

use super::{
    Configuration, Method, Mistake,
    document::{Data, Item, Place, Table},
};
use crate::{Isolation, Settings};

/// Packets a second that may be said.
const RATES: std::ops::RangeInclusive<f64> = 0.001..=100e6;
/// Packets at once that may be said.
const BURSTS: std::ops::RangeInclusive<f64> = 1.0..=1e6;
/// What may be asked for where nothing is said.
const MOST: f64 = 1000.0;

/// Reads the whole document; what is wrong is told and has its default.
pub(super) fn read(file: &Path, root: &Table, mistakes: &mut Vec<Mistake>) -> Configuration {
    let folder = file.parent().unwrap_or(Path::new("")).to_path_buf();
    let mut top = Section { path: String::new(), table: Some(root), folder: &folder, mistakes };
    // The section of the component is read by `component::ComponentFile`.
    top.keys(&["host", "limits", "policy", "methods", "component"]);

    let mut host = top.section("host", &["plugins", "isolation", "stamps"]);
    let plugins = host.paths("plugins");
    let isolation = host.isolation().unwrap_or_default();
    let stamps = [
        ("auto", Stamps::Auto),
        ("precise", Stamps::Precise),
        ("interpolated", Stamps::Interpolated),
    ];
    let stamps = host.word("stamps", &stamps).unwrap_or_default();

    let scopes = ["plugin", "client", "prefix", "address", "immediate"];
    let own = ["packets_per_second", "most_packets_per_second", "packets_per_measurement"];
    let mut limits = top.section("limits", &[&own[..], &scopes].concat());
    let packets_per_second =
        limits.number("packets_per_second", RATES).unwrap_or(Settings::POLITE_PACKETS_PER_SECOND);
    let most = limits.number("most_packets_per_second", RATES);
    let most_packets_per_second = most.unwrap_or(MOST.max(packets_per_second));
    if packets_per_second > most_packets_per_second {
        let accepted =
            format!("at most most_packets_per_second, which is {most_packets_per_second}");
        limits.refuse("packets_per_second", &accepted);
    }
    let packet_budget = limits.count("packets_per_measurement");
    let polite = Limits::default();
    let plugin = limits.rate("plugin", None, &[]);
    let client = limits.rate("client", None, &[]);
    let prefix = limits.rate("prefix", None, &[]);
    let address = limits.rate("address", polite.address, &["most_packets_per_second"]);
    let most_per_address = limits
        .section("address", &["packets_per_second", "burst", "most_packets_per_second"])
        .number("most_packets_per_second", RATES)
        .unwrap_or(most_packets_per_second);
    let mut immediate =
        limits.section("immediate", &["packets_per_second", "packets_per_second_to_address"]);
    let all_immediate = immediate.number("packets_per_second", RATES);
    let to_address = immediate.number("packets_per_second_to_address", RATES);
    let immediate_address = to_address.map_or(polite.immediate_address, |packets_per_second| {
        Some(Rate { packets_per_second, burst: 20.0 })
    });

    let mut policy = top.section("policy", &["deny", "allow"]);
    let deny = policy.lists("deny");
    let allow = policy.lists("allow");

    let mut methods = top.section("methods", &[]);
    let names: Vec<String> = methods.table.into_iter().flat_map(|it| it.keys().cloned()).collect();
    let methods = names
        .into_iter()
        .filter_map(|name| methods.method(&name).map(|method| (name, method)))
        .collect();
    Configuration {
        file: file.to_path_buf(),
        plugins,
        isolation,
        stamps,
        packets_per_second,
        most_packets_per_second,
        limits: Limits {
            plugin,
            client,
            prefix,
            address,
            immediate: all_immediate,
            immediate_address,
        },
        most_per_address,
        packet_budget,
        deny: deny.unwrap_or_default(),
        allow: allow.unwrap_or_default(),
        methods,
    }
}

/// A table with its name, and where mistakes go.
struct Section<'a, 'm> {
    path: String,
    /// None where it is not there.
    table: Option<&'a Table>,
    /// What paths are relative to.
    folder: &'a Path,
    mistakes: &'m mut Vec<Mistake>,
}

impl<'a> Section<'a, '_> {
    fn get(&self, key: &str) -> Option<&'a Item> {
        self.table?.get(key)
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn tell(&mut self, place: &Place, key: &str, problem: String) {
        let name = self.name(key);
        self.mistakes.push(Mistake::new(place, &name, problem));
    }

    /// Refuses the keys that are not among these.
    fn keys(&mut self, known: &[&str]) {
        for (key, item) in self.table.into_iter().flatten() {
            if !known.contains(&key.as_str()) {
                let problem = unknown(key, known.iter().copied());
                self.tell(&item.place, key, problem);
            }
        }
    }

    /// Refuses the value of a key.
    fn refuse(&mut self, key: &str, accepted: &str) {
        if let Some(item) = self.get(key) {
            let problem = format!("is {}, accepted: {accepted}", item.data.shown());
            self.tell(&item.place, key, problem);
        }
    }

    /// A table within; `known` are its keys, none where they are checked elsewhere.
    fn section(&mut self, key: &str, known: &[&str]) -> Section<'a, '_> {
        let table = match self.get(key).map(|item| &item.data) {
            Some(Data::Table(table)) => Some(table),
            Some(_) => {
                self.refuse(key, &format!("a table, [{}]", self.name(key)));
                None
            }
            None => None,
        };
        let (path, folder) = (self.name(key), self.folder);
        let mut section = Section { path, table, folder, mistakes: &mut *self.mistakes };
        if !known.is_empty() {
            section.keys(known);
        }
        section
    }

    fn value<T>(
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

    fn number(&mut self, key: &str, range: std::ops::RangeInclusive<f64>) -> Option<f64> {
        let accepted = format!("a number from {} to {}", range.start(), range.end());
        self.value(key, &accepted, |data| match data {
            Data::Scalar(json) => json.as_f64().filter(|number| range.contains(number)),
            _ => None,
        })
    }

    fn count(&mut self, key: &str) -> Option<u64> {
        self.value(key, "a whole number from 1 on", |data| match data {
            Data::Scalar(json) => json.as_u64().filter(|number| *number > 0),
            _ => None,
        })
    }

    fn flag(&mut self, key: &str) -> Option<bool> {
        self.value(key, "true or false", |data| match data {
            Data::Scalar(json) => json.as_bool(),
            _ => None,
        })
    }

    fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let accepted = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        self.value(key, &accepted, |data| {
            let Data::Scalar(Json::String(text)) = data else { return None };
            words.iter().find(|(word, _)| word == text).map(|(_, meaning)| *meaning)
        })
    }

    fn isolation(&mut self) -> Option<Isolation> {
        self.word("isolation", &[("process", Isolation::Process), ("inline", Isolation::Inline)])
    }

    /// A rate in a section of its own; `default` where the section is not there.
    fn rate(&mut self, key: &str, default: Option<Rate>, more: &[&str]) -> Option<Rate> {
        let is_there = self.get(key).is_some();
        let mut section = self.section(key, &[&["packets_per_second", "burst"], more].concat());
        let rate = section.number("packets_per_second", RATES);
        let burst = section.number("burst", BURSTS);
        if !is_there {
            return default;
        }
        let packets_per_second = rate.or(default.map(|it| it.packets_per_second))?;
        let usual = default.map_or(packets_per_second.clamp(1.0, 20.0), |it| it.burst);
        Some(Rate { packets_per_second, burst: burst.unwrap_or(usual) })
    }

    fn paths(&mut self, key: &str) -> Option<Vec<PathBuf>> {
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

    /// Files with prefixes, read once to see whether they can be.
    fn lists(&mut self, key: &str) -> Option<Vec<PathBuf>> {
        let files = self.paths(key)?;
        let item = self.get(key)?;
        for file in &files {
            if let Err(error) = Prefixes::read(&[file]) {
                self.tell(&item.place, key, error.to_string());
            }
        }
        Some(files)
    }

    fn method(&mut self, name: &str) -> Option<Method> {
        let place = self.get(name)?.place.clone();
        let known = [
            "enabled",
            "isolation",
            "permit",
            "packets_per_measurement",
            "defaults",
            "constraints",
        ];
        let mut section = self.section(name, &known);
        section.table?;
        let permit = section.permit();
        Some(Method {
            place,
            enabled: section.flag("enabled").unwrap_or(true),
            isolation: section.isolation(),
            permit,
            packet_budget: section.count("packets_per_measurement"),
            defaults: section.section("defaults", &[]).table.cloned().unwrap_or_default(),
            constraints: section.section("constraints", &[]).table.cloned().unwrap_or_default(),
        })
    }

    fn permit(&mut self) -> Vec<Need> {
        let needs = [Need::IpOptions, Need::Spoof, Need::RealConnections];
        let names = needs.map(|need| need.to_string());
        let accepted = format!("a list of {}", names.join(", "));
        let read = self.value("permit", &accepted, |data| {
            let Data::List(items) = data else { return None };
            let need = |item: &Item| match &item.data {
                Data::Scalar(Json::String(text)) => {
                    needs.iter().find(|need| need.to_string() == *text).copied()
                }
                _ => None,
            };
            items.iter().map(need).collect()
        });
        read.unwrap_or_default()
    }
}

/// What to say of a key that means nothing.
pub(super) fn unknown<'a>(key: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let hint = nearest(key, known.clone()).map(|near| format!("; did you mean {near}?"));
    let known = known.collect::<Vec<_>>().join(", ");
    format!("unknown key, accepted: {known}{}", hint.unwrap_or_default())
}
