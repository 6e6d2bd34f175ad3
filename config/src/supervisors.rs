//! Supervisors that a program registers with: the sections `[[supervisors]]` of our form, and what the files of the
//! reference implementation (RI) say of the one supervisor that they can name.

use std::{net::Ipv6Addr, time::Duration};

use sonde_mplane_http::{ComponentPaths, SupervisorAddress};

use crate::Section;

const KEYS: [&str; 6] =
    ["name", "url", "registration_path", "specification_path", "result_path", "poll_s"];

/// Octets of a name, less than a folder's may have.
const LONGEST_NAME: usize = 200;

/// Of an RI supervisor, where nothing is said.
const PORT: u64 = 1228;

/// The sections `[[supervisors]]` of a section.
pub fn supervisors(section: &mut Section<'_, '_>) -> Vec<SupervisorAddress> {
    let mut names: Vec<String> = Vec::new();
    let has_tls = section.get("tls").is_some();
    section.each("supervisors", &KEYS, |one| {
        let accepted =
            "at most 200 letters, digits, - _ . (the name of a folder), each name once, not clients";
        let name = one.value("name", accepted, |data| {
            let text = data.to_json()?.as_str()?.to_owned();
            let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
            let is_usable = (1..=LONGEST_NAME).contains(&text.len())
                && text.chars().all(is_plain)
                && !text.starts_with('.')
                && text != "clients"
                && !names.contains(&text);
            is_usable.then_some(text)
        });
        let name = one.require("name", name, accepted);
        names.extend(name.clone());
        let url = one.url("url", has_tls);
        let url = one.require("url", url, "http://HOST:PORT or https://HOST:PORT");
        let mut path = |key: &str, usual: String| one.text(key).unwrap_or(usual);
        let usual = ComponentPaths::default();
        let paths = ComponentPaths {
            registration: path("registration_path", usual.registration),
            specification: path("specification_path", usual.specification),
            result: path("result_path", usual.result),
        };
        let poll = one.whole("poll_s", 1..=3600);
        let poll = poll.map_or(SupervisorAddress::POLL, Duration::from_secs);
        Some(SupervisorAddress::new(&name?, &url?, &paths, poll))
    })
}

/// Keys of [`ini_supervisor`].
pub const INI_SUPERVISOR_KEYS: [&str; 5] =
    ["client_host", "client_port", "registration_path", "specification_path", "result_path"];

/// That of an RI file's section `[component]` with the workflow `component-initiated`; its name is `supervisor`.
pub fn ini_supervisor(component: &mut Section<'_, '_>, has_tls: bool) -> SupervisorAddress {
    let must = |component: &mut Section<'_, '_>, key: &str, accepted: &str| {
        let read = component.text(key);
        component.require(key, read, accepted).unwrap_or_default()
    };
    let host = must(component, "client_host", "name or address of the supervisor");
    let [registration, specification, result] =
        ["registration_path", "specification_path", "result_path"]
            .map(|key| must(component, key, "a path, as register/result"));
    let host = match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host,
    };
    let port = component.whole("client_port", 1..=65_535).unwrap_or(PORT);
    let scheme = if has_tls { "https" } else { "http" };
    let paths = ComponentPaths { registration, specification, result };
    let base = format!("{scheme}://{host}:{port}");
    SupervisorAddress::new("supervisor", &base, &paths, SupervisorAddress::POLL)
}
