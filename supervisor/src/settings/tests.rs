use std::fs;

use sonde_mplane_http::Identity;

use super::*;

/// A folder with certificates and one file; what it says, or the mistakes without the folder's name.
fn read(name: &str, text: &str, variables: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    for file in ["a.crt", "a.key", "ca.crt"] {
        fs::write(folder.path().join(file), "").unwrap();
    }
    let file = folder.path().join(name);
    // The RI's paths begin at the working folder, which tests cannot choose.
    fs::write(&file, text.replace("@", &format!("{}/", folder.path().display()))).unwrap();
    let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let clean = |text: String| text.replace(&format!("{}/", folder.path().display()), "");
    match Settings::read(&file, variables) {
        Ok(mut settings) => {
            settings.ignored = settings.ignored.into_iter().map(clean).collect();
            Ok(settings)
        }
        Err(mistakes) => Err(mistakes.iter().map(|it| clean(it.to_string())).collect()),
    }
}

const SEED: &str = "
[TLS]
cert = @a.crt
key = @a.key
ca-chain = @ca.crt
[Roles]
org.mplane.SSB.Clients.Client-1 = guest,admin
[Authorizations]
ping-average-ip4 = guest
[component]
scheduler_max_results = 20
registry_uri =
workflow = client-initiated
listen-port = 8890
[client]
workflow = component-initiated
listen-host = 192.0.2.1
listen-port = 8889
listen-spec-link = https://host.example:8889/
registration-path = register/capability
specification-path = show/specification
result-path = register/result
[supervisor]
class = mplane.x
";

#[test]
fn the_file_of_the_reference_implementation_is_read_as_it_is() {
    let settings = read("supervisor.conf", SEED, &[]).unwrap();
    assert_eq!(settings.clients.to_string(), "192.0.2.1:8890");
    assert_eq!(settings.hosts.to_string(), "192.0.2.1:8889");
    assert_eq!(settings.policy.result_link, "https://host.example:8889/");
    assert_eq!(settings.paths, ComponentPaths::default());
    assert!(settings.peers.tls.is_some());
    let allows =
        |who: &str| settings.peers.access.allows(&Identity::new(who), "x-ping-average-ip4");
    assert!(allows("org.mplane.SSB.Clients.Client-1"));
    assert!(!allows("org.mplane.ssb.clients.client-1"), "case counts");
    assert_eq!(
        settings.ignored,
        [
            "supervisor.conf:11: scheduler_max_results does nothing here",
            "supervisor.conf:23: supervisor does nothing here",
        ]
    );
}

#[test]
fn the_sample_in_the_form_of_the_reference_implementation_is_read_with_the_cases_of_its_names() {
    let sample = include_str!("../../../conf/ini/supervisor.conf");
    let text = sample.replace("certificates/supervisor-1", "@a").replace("certificates/ca", "@ca");
    let settings = read("supervisor.conf", &text, &[]).unwrap();
    assert_eq!(settings.clients.to_string(), "192.0.2.1:8890");
    assert_eq!(settings.hosts.to_string(), "192.0.2.1:8889");
    assert_eq!(settings.policy.result_link, "https://supervisor.example:8889/register/result");
    assert_eq!(settings.paths, ComponentPaths::default());
    assert_eq!((settings.above, settings.ignored), (Vec::new(), Vec::new()));
    let access = settings.peers.access;
    let allows = |who: &str, label: &str| access.allows(&Identity::new(who), label);
    assert!(allows("org.mplane.SSB.Clients.Client-1", "trace-standard-ip4"));
    assert!(allows("org.mplane.SSB.Clients.client-1", "ping-average-ip4"));
    assert!(!allows("org.mplane.SSB.Clients.client-1", "trace-standard-ip4"), "case counts");
    assert!(!allows("org.mplane.ssb.clients.client-1", "ping-average-ip4"), "case counts");
}

#[test]
fn a_workflow_that_is_not_served_is_refused_with_line_and_reason() {
    let text = SEED.replace("workflow = client-initiated", "workflow = both");
    let mistakes = read("supervisor.conf", &text, &[]).unwrap_err();
    assert_eq!(
        mistakes,
        ["supervisor.conf:13: component.workflow: is \"both\", accepted: component-initiated, \
          client-initiated"]
    );
    let text = SEED.replace("[client]\nworkflow = component-initiated", "[client]");
    let mistakes = read("supervisor.conf", &text, &[]).unwrap_err();
    assert!(mistakes[0].starts_with("supervisor.conf:15: client.workflow: is missing"));
}

#[test]
fn supervisors_above_are_read_in_both_forms() {
    let text = "[store]\nfile = 'x.db'\n[[supervisors]]\nname = 'top'\n\
                url = 'http://192.0.2.7:8888'\npoll_s = 2\n";
    let settings = read("supervisor.toml", text, &[]).unwrap();
    assert_eq!(settings.above[0].registration, "http://192.0.2.7:8888/register/capability");
    assert_eq!(settings.above[0].poll.as_secs(), 2);
    assert_eq!(settings.policy.above, ["top".into()]);
    let text = SEED.replace(
        "workflow = client-initiated",
        "workflow = component-initiated\nclient_host = top.example\nclient_port = 8899\n\
         registration_path = r\nspecification_path = s\nresult_path = t",
    );
    let settings = read("supervisor.conf", &text, &[]).unwrap();
    assert_eq!(&*settings.above[0].name, "supervisor");
    assert_eq!(settings.above[0].specification, "https://top.example:8899/s");
}

#[test]
fn what_is_not_said_has_its_default_and_paths_begin_at_the_file() {
    let settings = read("supervisor.toml", "[store]\nfile = 'x.db'\n", &[]).unwrap();
    assert!(settings.store.ends_with("x.db") && settings.store.is_absolute());
    assert_eq!(settings.clients.to_string(), "[::]:1228");
    let link = settings.policy_at(8888).result_link;
    assert!(link.starts_with("http://") && link.ends_with(":8888/register/result"), "{link}");
    let text = "[store]\nfile = 'x.db'\n[listen]\nhosts = '[::1]:0'\n[hosts]\nexpiry_s = 0\n";
    let settings = read("supervisor.toml", text, &[]).unwrap();
    assert_eq!(settings.policy.expiry, None);
    assert_eq!(settings.policy_at(4711).result_link, "http://[::1]:4711/register/result");
}

#[test]
fn every_mistake_is_found_at_once_with_line_key_value_and_hint() {
    let text = "[listen]\nclients = 'everywhere'\n[store]\nkeep_hours = 0\n[hosts]\n\
                unknown = 'maybe'\nexpirys = 1\nregistration_path = '/a?b'\n[role]\n\
                [clients]\nconnections = 'many'\n";
    assert_eq!(
        read("supervisor.toml", text, &[]).unwrap_err(),
        [
            "supervisor.toml:9: role: unknown key, accepted: listen, store, hosts, clients, \
             supervisors, tls, roles, authorizations, registries; did you mean roles?",
            "supervisor.toml:2: listen.clients: is \"everywhere\", accepted: ADDRESS:PORT, as \
             192.0.2.1:8888 or [::]:8888",
            "supervisor.toml:3: store.file: is missing, accepted: a file, which is made where it is \
             not there",
            "supervisor.toml:4: store.keep_hours: is 0, accepted: a whole number from 1 to 87840",
            "supervisor.toml:7: hosts.expirys: unknown key, accepted: register, expiry_s, unknown, \
             polls_per_second, connections, connections_per_address, result_link, \
             registration_path, specification_path, result_path; did you mean expiry_s?",
            "supervisor.toml:8: hosts.registration_path: is \"/a?b\", accepted: a path, as \
             /register/result",
            "supervisor.toml:6: hosts.unknown: is \"maybe\", accepted: idle, register",
            "supervisor.toml:11: clients.connections: is \"many\", accepted: a whole number from 1 \
             to 1000000",
        ]
    );
}

#[test]
fn connections_of_hosts_and_of_clients_have_limits_of_their_own() {
    let text = "[listen]\n[store]\nfile = 'x.db'\n\
                [hosts]\nconnections = 9000\nconnections_per_address = 8000\n\
                [clients]\nconnections_per_address = 7\n";
    let settings = read("supervisor.toml", text, &[]).unwrap();
    let of = |limits: Limits| (limits.connections, limits.connections_per_peer);
    assert_eq!((of(settings.of_hosts), of(settings.limits)), ((9000, 8000), (4096, 7)));
}

#[test]
fn a_variable_of_the_environment_has_the_last_word() {
    let text = "[store]\nfile = 'x.db'\n[listen]\nclients = '127.0.0.1:1'\n";
    let variables = [("SONDE_LISTEN__CLIENTS", "127.0.0.1:2")];
    let settings = read("supervisor.toml", text, &variables).unwrap();
    assert_eq!(settings.clients.port(), 2);
    let mistakes = read("supervisor.toml", text, &[("SONDE_LISTEN__CLIENT", "x")]).unwrap_err();
    assert!(mistakes[0].starts_with("variable SONDE_LISTEN__CLIENT: listen.client: unknown key"));
}

#[test]
fn the_sample_is_read_and_says_what_the_defaults_are() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/supervisor.toml");
    let sample = Settings::read(&file, std::iter::empty()).unwrap();
    let plain = read("supervisor.toml", "[store]\nfile = 'supervisor.db'\n", &[]).unwrap();
    assert_eq!(sample.clients, plain.clients);
    assert_eq!(sample.hosts, plain.hosts);
    assert_eq!(sample.paths, plain.paths);
    assert_eq!((sample.limits, sample.of_hosts), (plain.limits, plain.of_hosts));
    assert_eq!(sample.policy.expiry, plain.policy.expiry);
    assert_eq!(sample.policy.retention, plain.policy.retention);
    assert_eq!(sample.policy.unknown_must_register, plain.policy.unknown_must_register);
    assert!(sample.peers.tls.is_none());
}
