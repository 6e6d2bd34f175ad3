//! From entries to a [`Configuration`]: every key, its type, range and default.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use sonde_config::{Data, Item, Mistake, Section, Table, hint};
use sonde_engine::{Limits, Prefixes, Rate, Stamps};
use sonde_plugin_api::descriptor::Need;

use super::{Configuration, Method};
use crate::{Isolation, Settings};

/// What [component] says is read by itself, see `component`.
pub(super) const SECTIONS: [&str; 5] = ["host", "limits", "policy", "methods", "component"];
/// Packets a second that may be said.
const RATES: std::ops::RangeInclusive<f64> = 0.001..=100e6;
/// Packets at once that may be said.
const BURSTS: std::ops::RangeInclusive<f64> = 1.0..=1e6;
/// What may be asked for where nothing is said.
const MOST: f64 = 1000.0;
/// Mistakes that are told of one list of prefixes.
const MOST_OF_A_LIST: usize = 100;

/// Reads the whole document; what is wrong is told and has its default.
pub(super) fn read(file: &Path, root: &Table, mistakes: &mut Vec<Mistake>) -> Configuration {
    let folder = file.parent().unwrap_or(Path::new("")).to_path_buf();
    let mut top = Section::top(file, root, &folder, mistakes);
    top.keys(&SECTIONS);

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
    let names: Vec<String> =
        methods.table().into_iter().flat_map(|it| it.keys().cloned()).collect();
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
        enables_all: false,
        has_component: false,
        variables: Vec::new(),
    }
}

/// What only the host's file says.
trait HostSection {
    fn isolation(&mut self) -> Option<Isolation>;
    fn rate(&mut self, key: &str, default: Option<Rate>, more: &[&str]) -> Option<Rate>;
    fn lists(&mut self, key: &str) -> Option<Vec<PathBuf>>;
    fn method(&mut self, name: &str) -> Option<Method>;
    fn permit(&mut self) -> Vec<Need>;
}

impl HostSection for Section<'_, '_> {
    fn isolation(&mut self) -> Option<Isolation> {
        self.word("isolation", &[("process", Isolation::Process), ("inline", Isolation::Inline)])
    }

    /// A rate in a section of its own; `default` where the section is not there. One without a rate would limit nothing.
    fn rate(&mut self, key: &str, default: Option<Rate>, more: &[&str]) -> Option<Rate> {
        let is_there = self.get(key).is_some();
        let mut section = self.section(key, &[&["packets_per_second", "burst"], more].concat());
        let rate = section.number("packets_per_second", RATES);
        let burst = section.number("burst", BURSTS);
        if !is_there {
            return default;
        }
        let rate = rate.or(default.map(|it| it.packets_per_second));
        let accepted = format!("a number from {} to {}", RATES.start(), RATES.end());
        let packets_per_second = section.require("packets_per_second", rate, &accepted)?;
        let usual = default.map_or(packets_per_second.clamp(1.0, 20.0), |it| it.burst);
        Some(Rate { packets_per_second, burst: burst.unwrap_or(usual) })
    }

    /// Files with prefixes, read once to see whether they can be.
    fn lists(&mut self, key: &str) -> Option<Vec<PathBuf>> {
        let files = self.paths(key)?;
        let item = self.get(key)?;
        for file in &files {
            for error in Prefixes::mistakes(file, MOST_OF_A_LIST) {
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
            "packets_per_second",
            "burst",
            "packets_per_measurement",
            "defaults",
            "constraints",
        ];
        let mut section = self.section(name, &known);
        section.table()?;
        let permit = section.permit();
        let burst = section.number("burst", BURSTS);
        let rate = section.number("packets_per_second", RATES).map(|packets_per_second| {
            let usual = packets_per_second.clamp(1.0, 20.0);
            Rate { packets_per_second, burst: burst.unwrap_or(usual) }
        });
        if burst.is_some() && section.get("packets_per_second").is_none() {
            section.refuse("burst", "beside packets_per_second alone");
        }
        Some(Method {
            place,
            enabled: section.flag("enabled").unwrap_or(true),
            isolation: section.isolation(),
            rate,
            permit,
            packet_budget: section.count("packets_per_measurement"),
            defaults: section.section("defaults", &[]).table().cloned().unwrap_or_default(),
            constraints: section.section("constraints", &[]).table().cloned().unwrap_or_default(),
        })
    }

    fn permit(&mut self) -> Vec<Need> {
        let needs = [Need::IpOptions, Need::Spoof, Need::RealConnections];
        let names = needs.map(|need| need.to_string());
        let mut accepted = format!("a list of {}", names.join(", "));
        let said = self.get("permit").map(|item| item.data.clone());
        if let Some(Data::List(items)) = said {
            let texts = items.iter().filter_map(|item| match &item.data {
                Data::Scalar(Json::String(text)) if !names.contains(text) => Some(text.clone()),
                _ => None,
            });
            let names = || names.iter().map(String::as_str);
            accepted.extend(texts.filter_map(|text| hint(&text, names())));
        }
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
