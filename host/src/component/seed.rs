//! The file of the component of the reference implementation (RI), as an operator of the seed's probes has it.
//!
//! `[module_…]` holds the addresses, `[component]` where to register or listen, `[TLS]`, `[Roles]` and
//! `[Authorizations]` who is who. Results are kept in a folder `spool` beside the file.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::Path,
};

use sonde_config::{Form, Mistake, Peers, Place, Section, Table, ini_supervisor, registries};

use super::{
    file::ComponentFile,
    settings::{Limits, Offering},
};

/// Of an RI component that listens.
const PORT: u16 = 1228;

pub(super) fn read(file: &Path, table: &Table, mistakes: &mut Vec<Mistake>) -> ComponentFile {
    // Paths begin at the working folder, as with the RI.
    let mut top = Section::top(file, table, Path::new(""), mistakes);
    let peers = Peers::read(Form::Ini, &mut top, &[]);
    let mut ignored = Vec::new();
    let mut known = Peers::sections(Form::Ini).to_vec();
    known.push("component");
    let mut offering = Offering::default();
    for name in top.names() {
        if !name.starts_with("module_") {
            if !known.contains(&name.as_str()) {
                ignored.extend(leave_out(&top, &name));
            }
            continue;
        }
        let mut module = top.section(&name, &[]);
        for key in module.names() {
            match key.as_str() {
                "ip4addr" => offering.ip4addr = module.parsed(&key, "an IPv4 address"),
                "ip6addr" => offering.ip6addr = module.parsed(&key, "an IPv6 address"),
                key if key.starts_with("module") => {}
                key => ignored.extend(leave_out(&module, key)),
            }
        }
    }
    if top.get("component").is_none() {
        let problem = "is missing: it says where to register or listen".to_owned();
        top.tell(&Place::file(file), "component", problem);
    }
    let mut component = top.section("component", &[]);
    offering.registry_uri = match component.get("registry_uri") {
        Some(_) => component.any_text("registry_uri").unwrap_or_default(),
        None => sonde_mplane::CORE_URI.to_owned(),
    };
    let words = [("component-initiated", true), ("client-initiated", false)];
    let initiated = component.word("workflow", &words);
    let initiated =
        component.require("workflow", initiated, "component-initiated, client-initiated");
    let results = component
        .get("scheduler_max_results")
        .and_then(|_| component.whole("scheduler_max_results", 0..=1_000_000));
    let mut limits = Limits::default();
    if let Some(results) = results.and_then(|number| usize::try_from(number).ok())
        && results > 0
    {
        limits.repetitions = results;
    }
    let port = |component: &mut Section<'_, '_>, key: &str| {
        let read = component.whole(key, 1..=65_535);
        read.and_then(|port| u16::try_from(port).ok()).unwrap_or(PORT)
    };
    let is_known = [
        "workflow",
        "registry_uri",
        "registry_preload",
        "scheduler_max_results",
        "client_host",
        "client_port",
        "registration_path",
        "specification_path",
        "result_path",
        "listen-port",
    ];
    for key in component.names() {
        if !is_known.contains(&key.as_str()) {
            ignored.extend(leave_out(&component, &key));
        }
    }
    let (mut supervisors, mut listen) = (Vec::new(), None);
    match initiated {
        Some(true) => {
            supervisors.push(ini_supervisor(&mut component, peers.tls.is_some()));
        }
        Some(false) => {
            let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            listen = Some(SocketAddr::new(any, port(&mut component, "listen-port")));
        }
        None => {}
    }
    ComponentFile {
        offering,
        limits,
        spool: file.parent().unwrap_or(Path::new("")).join("spool"),
        supervisors,
        listen,
        tls: peers.tls,
        access: peers.access,
        registries: registries(&mut component, "registry_preload"),
        ignored,
        ..ComponentFile::default()
    }
}

/// What has a value and does nothing here.
fn leave_out(section: &Section<'_, '_>, key: &str) -> Option<String> {
    let item = section.get(key).filter(|item| !item.data.is_blank())?;
    Some(format!("{}: {key} does nothing here", item.place))
}

#[cfg(test)]
mod tests {
    use sonde_mplane_http::Identity;

    use super::*;

    /// Read as `scamper.conf` in a folder with certificates; `@` stands for the folder.
    fn read(text: &str) -> Result<ComponentFile, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        for file in ["a.crt", "a.key", "ca.crt"] {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        let place = format!("{}/", folder.path().display());
        let file = folder.path().join("scamper.conf");
        std::fs::write(&file, text.replace('@', &place)).unwrap();
        let clean = |text: String| text.replace(&place, "");
        match ComponentFile::read(&file, &[]) {
            Ok(mut said) => {
                said.ignored = said.ignored.into_iter().map(clean).collect();
                Ok(said)
            }
            Err(error) => Err(error.0.iter().map(|mistake| clean(mistake.to_string())).collect()),
        }
    }

    const SEED: &str = "
[TLS]
cert = @a.crt
key = @a.key
ca-chain = @ca.crt
[Roles]
org.mplane.SSB.Supervisors.Supervisor-1 = guest,admin
[Authorizations]
ping-average-ip4 = guest
[module_scamper]
module = mplane.components.scamper
ip4addr = 1.2.3.4
ip6addr = ::1
[component]
scheduler_max_results = 20
registry_uri =
workflow = component-initiated
client_host = supervisor.example
client_port = 8889
registration_path: register/capability
specification_path = show/specification
result_path = register/result
";

    #[test]
    fn a_seed_file_registers_with_its_supervisor_and_keeps_its_rights() {
        let said = read(SEED).unwrap();
        let supervisor = &said.supervisors[0];
        assert_eq!(supervisor.registration, "https://supervisor.example:8889/register/capability");
        assert_eq!(supervisor.result, "https://supervisor.example:8889/register/result");
        assert_eq!(said.offering.registry_uri, "");
        assert_eq!(said.offering.ip4addr.unwrap().to_string(), "1.2.3.4");
        assert_eq!(said.offering.ip6addr.unwrap().to_string(), "::1");
        assert_eq!((said.limits.repetitions, said.listen), (20, None));
        let allows = |who: &str, label: &str| said.access.allows(&Identity::new(who), label);
        let supervisor = "org.mplane.SSB.Supervisors.Supervisor-1";
        assert!(allows(supervisor, "ping-average-ip4"));
        assert!(allows(supervisor, "x-ping-average-ip4-y"), "a part of the label is enough");
        assert!(!allows(supervisor, "ping-detail-ip4"));
        assert!(!allows(&supervisor.to_lowercase(), "ping-average-ip4"), "case counts");
        assert_eq!(said.ignored, [""; 0]);
    }

    #[test]
    fn the_sample_is_read_with_the_cases_and_points_of_its_names() {
        let sample = include_str!("../../../conf/ini/scamper.conf");
        let said =
            read(&sample.replace("certificates/host-1", "@a").replace("certificates/ca", "@ca"))
                .unwrap();
        assert_eq!(said.supervisors.len(), 1);
        assert_eq!(said.supervisors[0].result, "https://supervisor.example:8889/register/result");
        assert_eq!(said.offering.ip4addr.unwrap().to_string(), "1.2.3.4");
        assert_eq!(said.offering.ip6addr.unwrap().to_string(), "::1");
        assert_eq!((said.limits.repetitions, said.ignored), (20, Vec::new()));
        let tls = said.tls.unwrap();
        assert!(tls.certificate.ends_with("a.crt") && tls.key.ends_with("a.key"));
        assert!(tls.authority.ends_with("ca.crt"));
        let allows = |who: &str, label: &str| said.access.allows(&Identity::new(who), label);
        let (client, supervisor) =
            ("org.mplane.SSB.Clients.Client-1", "org.mplane.SSB.Supervisors.Supervisor-1");
        assert!(allows(client, "ping-detail-ip4") && allows(client, "trace-standard-ip4"));
        assert!(allows(supervisor, "ping-detail-ip6"));
        for other in ["org.mplane.SSB.Clients.client-1", "org.mplane.ssb.Clients.Client-1", "org"] {
            assert!(!allows(other, "ping-detail-ip4"), "{other}");
        }
        assert!(!allows(client, "sting-average-ip4"));
    }

    #[test]
    fn a_registry_that_a_seed_file_preloads_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let registry = folder.path().join("r.json");
        let elements = r#"{"registry-format": "mplane-0", "registry-revision": 1,
            "registry-uri": "http://example.net/r",
            "elements": [{"name": "weather", "prim": "string"}]}"#;
        std::fs::write(&registry, elements).unwrap();
        let said = read(&format!("{SEED}registry_preload = {}\n", registry.display())).unwrap();
        assert!(said.registries.element("weather").is_some());
        assert_eq!(said.ignored, [""; 0]);
        let refused = read(&format!("{SEED}registry_preload = @none.json\n")).unwrap_err();
        assert!(refused[0].contains("component.registry_preload: none.json: "), "{refused:?}");
    }

    #[test]
    fn a_seed_file_may_listen_instead() {
        let text = SEED.replace("component-initiated", "client-initiated") + "listen-port = 8888\n";
        let said = read(&text).unwrap();
        assert_eq!(said.listen.unwrap().to_string(), "[::]:8888");
        assert!(said.supervisors.is_empty());
    }

    #[test]
    fn what_is_missing_or_wrong_is_told_and_what_does_nothing_is_named() {
        let text =
            SEED.replace("client_host = supervisor.example\n", "").replace("1.2.3.4", "1.2.3");
        let mistakes = read(&text).unwrap_err();
        assert_eq!(
            mistakes,
            [
                "scamper.conf:12: module_scamper.ip4addr: is \"1.2.3\", accepted: an IPv4 address",
                "scamper.conf:14: component.client_host: is missing, accepted: name or address of \
                 the supervisor",
            ]
        );
        let text = SEED.replace("= component-initiated", "= both");
        assert!(read(&text).unwrap_err()[0].contains("component.workflow: is \"both\", accepted:"));
        let said = read(&(SEED.to_owned() + "colour = red\n[other]\nx = y\n")).unwrap();
        assert_eq!(
            said.ignored,
            [
                "scamper.conf:24: other does nothing here",
                "scamper.conf:23: colour does nothing here"
            ]
        );
    }
}
