//! What an operator says of a supervisor: `conf/supervisor.toml`, or the `supervisor.conf` of the reference
//! implementation (RI).

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sonde_config::{
    Form, INI_SUPERVISOR_KEYS, Mistake, Peers, Program, Section, ini_supervisor, registries,
    supervisors,
};
use sonde_mplane::{Registries, Unknown};
use sonde_mplane_http::{ComponentPaths, Limits, SupervisorAddress};

use crate::service::Policy;

/// Ports of the RI's supervisor.
const CLIENTS_PORT: u16 = 1228;
const HOSTS_PORT: u16 = 8888;

/// Everything that a supervisor is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file that it was read from, to be read again.
    pub file: PathBuf,
    /// Where clients connect to.
    pub clients: SocketAddr,
    /// Where hosts connect to.
    pub hosts: SocketAddr,
    /// Where hosts find what they look for.
    pub paths: ComponentPaths,
    /// File of the database.
    pub store: PathBuf,
    /// What it does with hosts and results; with a link for results where the file says one.
    pub policy: Policy,
    /// Supervisors to register with.
    pub above: Vec<SupervisorAddress>,
    /// What one client may take.
    pub limits: Limits,
    /// What one host may take: it polls, so what a client may ask for is no measure for it.
    pub of_hosts: Limits,
    /// Certificates and roles.
    pub peers: Peers,
    /// Names and types of elements.
    pub registries: Registries,
    /// What is there and does nothing here.
    pub ignored: Vec<String>,
}

impl Settings {
    /// Reads a file in either form, and the variables of the environment that overlay it.
    ///
    /// # Errors
    ///
    /// All mistakes, with file, line and key.
    pub fn read(
        file: &Path,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let (form, table) = sonde_config::read(file, Program::Supervisor, variables, &mut mistakes);
        let mut top = Section::top(file, &table, form.folder(file), &mut mistakes);
        let mut settings = match form {
            Form::Toml => toml(file, &mut top),
            Form::Ini => ini(file, &mut top),
        };
        settings.policy.above = settings.above.iter().map(|it| Arc::clone(&it.name)).collect();
        if mistakes.is_empty() { Ok(settings) } else { Err(mistakes) }
    }

    /// The policy of a supervisor whose hosts connect to this port, which the kernel may have chosen: where nothing is said of
    /// it, results go to where a host reached us, or where it does not say that, to the address that is listened on, or this
    /// machine's name.
    #[must_use]
    pub fn policy_at(&self, port: u16) -> Policy {
        let mut policy = self.policy.clone();
        if policy.result_link.is_empty() {
            policy.result_link = self.usual_link(port);
            policy.link_follows_host = true;
        }
        policy
    }

    fn usual_link(&self, port: u16) -> String {
        let scheme = if self.peers.tls.is_some() { "https" } else { "http" };
        let host = match self.hosts.ip() {
            ip if ip.is_unspecified() => {
                rustix::system::uname().nodename().to_string_lossy().into_owned()
            }
            IpAddr::V6(ip) => format!("[{ip}]"),
            IpAddr::V4(ip) => ip.to_string(),
        };
        format!("{scheme}://{host}:{port}{}", self.paths.result)
    }
}

fn toml(file: &Path, top: &mut Section<'_, '_>) -> Settings {
    let own = ["listen", "store", "hosts", "clients", "supervisors"];
    top.keys(&[&own[..], Peers::sections(Form::Toml), &["registries"]].concat());
    let mut listen = top.section("listen", &["clients", "hosts"]);
    let accepted = "ADDRESS:PORT, as 192.0.2.1:8888 or [::]:8888";
    let clients: Option<SocketAddr> = listen.parsed("clients", accepted);
    let hosts: Option<SocketAddr> = listen.parsed("hosts", accepted);
    if hosts.is_some_and(|hosts| hosts.port() != 0 && clients == Some(hosts)) {
        listen.refuse("hosts", "another address or port than that of clients");
    }

    let mut store = top.section("store", &["file", "keep_hours"]);
    let database = store.path("file");
    let database = store.require("file", database, "a file, which is made where it is not there");
    let usual = Policy::default();
    let hours = store.whole("keep_hours", 1..=24 * 3660);

    let known = [
        "register",
        "expiry_s",
        "unknown",
        "polls_per_second",
        "connections",
        "connections_per_address",
        "result_link",
        "registration_path",
        "specification_path",
        "result_path",
    ];
    let has_tls = top.get("tls").is_some();
    let mut section = top.section("hosts", &known);
    let register = section.texts("register").unwrap_or_default();
    let expiry = section.whole("expiry_s", 0..=31_536_000).map(Duration::from_secs);
    let words = [("idle", false), ("register", true)];
    let paths = paths(&mut section, ["registration_path", "specification_path", "result_path"]);
    let policy = Policy {
        link_follows_host: false,
        result_link: section.url("result_link", has_tls).unwrap_or_default(),
        expiry: expiry.map_or(usual.expiry, |expiry| (!expiry.is_zero()).then_some(expiry)),
        unknown_must_register: section.word("unknown", &words).unwrap_or_default(),
        retention: hours.map_or(usual.retention, |hours| Duration::from_secs(hours * 3600)),
        polls_per_second: section
            .number("polls_per_second", 0.1..=1e6)
            .unwrap_or(usual.polls_per_second),
        above: Vec::new(),
    };
    let usual = Limits::default();
    let of_hosts = connections(&mut section, usual);

    let known = ["requests_per_second", "request_burst", "connections", "connections_per_address"];
    let mut section = top.section("clients", &known);
    let number = |value: Option<u64>, usual: u32| {
        value.and_then(|value| u32::try_from(value).ok()).unwrap_or(usual)
    };
    let limits = Limits {
        requests_per_second: number(
            section.whole("requests_per_second", 1..=1_000_000),
            usual.requests_per_second,
        ),
        request_burst: number(section.whole("request_burst", 1..=1_000_000), usual.request_burst),
        ..connections(&mut section, usual)
    };
    Settings {
        file: file.to_path_buf(),
        clients: clients.unwrap_or(any(CLIENTS_PORT)),
        hosts: hosts.unwrap_or(any(HOSTS_PORT)),
        paths,
        store: database.unwrap_or_default(),
        policy,
        above: supervisors(top),
        limits,
        of_hosts,
        peers: Peers::read(Form::Toml, top, &register),
        registries: registries(top, "registries").with_unknown(Unknown::AsText),
        ignored: Vec::new(),
    }
}

/// The RI's file. Its database is ours, beside the file.
fn ini(file: &Path, top: &mut Section<'_, '_>) -> Settings {
    let peers = Peers::read(Form::Ini, top, &[]);
    let mut ignored = Vec::new();
    let mut component = top.section("component", &[]);
    let words = [("component-initiated", true), ("client-initiated", false)];
    let registers = component.word("workflow", &words);
    let registers =
        component.require("workflow", registers, "component-initiated, client-initiated");
    let mut known = vec!["workflow", "listen-port", "registry_preload"];
    let mut above = Vec::new();
    if registers == Some(true) {
        above.push(ini_supervisor(&mut component, peers.tls.is_some()));
        known.extend(INI_SUPERVISOR_KEYS);
    }
    leave_out(&component, &known, &mut ignored);
    let clients = component.whole("listen-port", 1..=65_535);
    let registries = registries(&mut component, "registry_preload").with_unknown(Unknown::AsText);

    let mut client = top.section("client", &[]);
    workflow(&mut client, "component-initiated", "hosts connect to the supervisor");
    let known = [
        "workflow",
        "listen-port",
        "listen-host",
        "listen-spec-link",
        "registration-path",
        "specification-path",
        "result-path",
    ];
    leave_out(&client, &known, &mut ignored);
    let hosts = client.whole("listen-port", 1..=65_535);
    let address: Option<IpAddr> = match client.get("listen-host") {
        None => None,
        Some(_) => client.parsed("listen-host", "an IP address"),
    };
    let address = address.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let paths = paths(&mut client, ["registration-path", "specification-path", "result-path"]);
    let link = client.get("listen-spec-link").and_then(|_| client.text("listen-spec-link"));
    let port = |port: Option<u64>, usual: u16| {
        port.and_then(|port| u16::try_from(port).ok()).unwrap_or(usual)
    };
    let sections = [&["component", "client"], Peers::sections(Form::Ini)].concat();
    leave_out(top, &sections, &mut ignored);
    Settings {
        file: file.to_path_buf(),
        clients: SocketAddr::new(address, port(clients, CLIENTS_PORT)),
        hosts: SocketAddr::new(address, port(hosts, HOSTS_PORT)),
        paths,
        store: file.with_extension("db"),
        policy: Policy { result_link: link.unwrap_or_default(), ..Policy::default() },
        above,
        limits: Limits::default(),
        of_hosts: Limits::default(),
        peers,
        registries,
        ignored,
    }
}

/// How many connections a port has.
fn connections(section: &mut Section<'_, '_>, usual: Limits) -> Limits {
    let mut number = |key: &str, usual: usize| {
        let said = section.whole(key, 1..=1_000_000);
        said.and_then(|number| usize::try_from(number).ok()).unwrap_or(usual)
    };
    Limits {
        connections: number("connections", usual.connections),
        connections_per_peer: number("connections_per_address", usual.connections_per_peer),
        ..usual
    }
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
}

/// Of two directions in which the RI can open connections, one is served here.
fn workflow(section: &mut Section<'_, '_>, served: &'static str, why: &str) {
    let accepted = format!("{served}: {why}");
    let said = section
        .value("workflow", &accepted, |data| (data.to_json()?.as_str()? == served).then_some(()));
    section.require("workflow", said, &accepted);
}

/// What has a value and does nothing here.
fn leave_out(section: &Section<'_, '_>, known: &[&str], ignored: &mut Vec<String>) {
    for name in section.names().into_iter().filter(|name| !known.contains(&name.as_str())) {
        let Some(item) = section.get(&name).filter(|item| !item.data.is_blank()) else { continue };
        ignored.push(format!("{}: {name} does nothing here", item.place));
    }
}

fn paths(
    section: &mut Section<'_, '_>,
    [registration, specification, result]: [&str; 3],
) -> ComponentPaths {
    let mut path = |key: &str, usual: String| {
        let read = section.value(key, "a path, as /register/result", |data| {
            let text = data.to_json()?.as_str()?.trim().trim_start_matches('/').to_owned();
            let plain = |letter: char| letter.is_ascii_graphic() && !"?#%".contains(letter);
            (!text.is_empty() && text.chars().all(plain)).then(|| format!("/{text}"))
        });
        read.unwrap_or(usual)
    };
    let usual = ComponentPaths::default();
    ComponentPaths {
        registration: path(registration, usual.registration),
        specification: path(specification, usual.specification),
        result: path(result, usual.result),
    }
}

#[cfg(test)]
mod tests;
