use std::{fs, path::Path};

use sonde_plugin_api::descriptor::{MethodDescriptor, Parameter};

use super::*;

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Configuration, Vec<String>> {
    read_as("host.toml", text, variables)
}

fn read_as(
    name: &str,
    text: &str,
    variables: &[(&str, &str)],
) -> Result<Configuration, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("deny.txt"), "192.0.2.0/24\n").unwrap();
    fs::write(folder.path().join("bad.txt"), "192.0.2.0/24\n192.0.2.0/99\n::1\nx\n").unwrap();
    let file = folder.path().join(name);
    fs::write(&file, text).unwrap();
    let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let clean = |mistake: &Mistake| {
        mistake.to_string().replace(&format!("{}/", folder.path().display()), "")
    };
    Configuration::read(&file, variables).map_err(|mistakes| mistakes.iter().map(clean).collect())
}

/// A number between 1 and 100, and a choice.
fn method() -> MethodDescriptor {
    let parameter = |json: &str| serde_json::from_str::<Parameter>(json).unwrap();
    MethodDescriptor {
        name: "probe".to_owned(),
        parameters: vec![
            parameter(
                r#"{"name":"Count","element":"packets.count","type":"natural","default":10,
                    "min":1,"max":100}"#,
            ),
            parameter(
                r#"{"name":"kind","element":"probe.kind","type":"string","default":"echo",
                    "choices":["echo","syn","udp"]}"#,
            ),
        ],
        ..MethodDescriptor::default()
    }
}

fn applied(text: &str) -> (MethodDescriptor, Vec<String>) {
    let (mut method, mut mistakes) = (method(), Vec::new());
    read(text, &[]).unwrap().apply(&mut method, &mut mistakes);
    let problems = mistakes.iter().map(|it| format!("{}: {}", it.key, it.problem)).collect();
    (method, problems)
}

#[test]
fn an_empty_file_is_polite_and_enables_nothing() {
    let configuration = read("", &[]).unwrap();
    assert_eq!(configuration.packets_per_second, 20.0);
    assert_eq!(configuration.limits.address.unwrap().packets_per_second, 2.0);
    assert!(configuration.forbids("probe", &[]).unwrap().contains("no section [methods.probe]"));
}

#[test]
fn every_mistake_is_found_at_once_with_line_key_value_and_hint() {
    let text = r#"[host]
isolation = "proces"
stamp = "auto"

[limits]
packets_per_second = -5
[limits.address]
burst = "many"

[policy]
deny = ["deny.txt", "bad.txt"]
allow = ["gone.txt"]

[methods.probe]
enabled = "yes"
permit = ["ip_option"]

[limit]
"#;
    let mistakes = read(text, &[]).unwrap_err();
    let expected = [
        "host.toml:18: limit: unknown key, accepted: host, limits, policy, methods, component; did you mean limits?",
        "host.toml:3: host.stamp: unknown key, accepted: plugins, isolation, stamps; did you mean stamps?",
        "host.toml:2: host.isolation: is \"proces\", accepted: process, inline; did you mean process?",
        "host.toml:6: limits.packets_per_second: is -5, accepted: a number from 0.001 to 100000000",
        "host.toml:8: limits.address.burst: is \"many\", accepted: a number from 1 to 1000000",
        "host.toml:11: policy.deny: bad.txt:2: \"192.0.2.0/99\" is no prefix, accepted: an address or \
         prefix such as 192.0.2.0/24 or 2001:db8::/32, # begins a comment",
        "host.toml:11: policy.deny: bad.txt:4: \"x\" is no prefix, accepted: an address or \
         prefix such as 192.0.2.0/24 or 2001:db8::/32, # begins a comment",
        "host.toml:12: policy.allow: gone.txt: cannot read the list of prefixes: No such file or \
         directory (os error 2)",
        "host.toml:16: methods.probe.permit: is [\"ip_option\"], accepted: a list of ip_options, spoof, \
         real_connections; did you mean ip_options?",
        "host.toml:15: methods.probe.enabled: is \"yes\", accepted: true or false",
    ];
    assert_eq!(mistakes, expected);
}

#[test]
fn a_method_may_have_a_rate_of_its_own() {
    let rate = |text: &str| read(text, &[]).map(|it| it.methods["probe"].rate);
    let (packets_per_second, burst) = (5.0, 5.0);
    let usual = Ok(Some(Rate { packets_per_second, burst }));
    assert_eq!(rate("[methods.probe]\npackets_per_second = 5\n"), usual);
    let chosen = Ok(Some(Rate { packets_per_second, burst: 2.0 }));
    assert_eq!(rate("[methods.probe]\npackets_per_second = 5\nburst = 2\n"), chosen);
    assert_eq!(rate("[methods.probe]\n"), Ok(None));
    let alone = "host.toml:2: methods.probe.burst: is 2, accepted: beside packets_per_second alone";
    assert_eq!(rate("[methods.probe]\nburst = 2\n"), Err(vec![alone.to_owned()]));
}

#[test]
fn a_scope_without_a_rate_is_a_mistake_where_none_is_usual() {
    for scope in ["plugin", "client", "prefix"] {
        let expected = format!(
            "host.toml:1: limits.{scope}.packets_per_second: is missing, accepted: a number from \
             0.001 to 100000000"
        );
        for burst in ["", "burst = 5\n"] {
            let text = format!("[limits.{scope}]\n{burst}");
            assert_eq!(read(&text, &[]).unwrap_err(), [expected.as_str()]);
        }
    }
    let address = read("[limits.address]\nburst = 5\n", &[]).unwrap().limits.address;
    assert_eq!(address, Some(Rate { packets_per_second: 2.0, burst: 5.0 }));
}

#[test]
fn a_file_that_is_no_toml_or_not_there_is_refused_with_its_place() {
    let mistakes = read("[host]\nisolation = \n", &[]).unwrap_err();
    assert!(mistakes[0].starts_with("host.toml:2: no TOML: "), "{mistakes:?}");
    let gone = Configuration::read(Path::new("/nowhere/host.toml"), std::iter::empty());
    let text = gone.unwrap_err()[0].to_string();
    assert!(text.starts_with("/nowhere/host.toml: cannot read the configuration: "), "{text}");
}

#[test]
fn a_slip_in_a_file_of_any_name_switches_nothing_off() {
    let text = "[policy]\ndeny = [\"deny.txt\"]\n[host]\nstamps = auto\n";
    let mistakes = read_as("host.conf", text, &[]).unwrap_err();
    assert!(mistakes[0].starts_with("host.conf:4: no TOML: "), "{mistakes:?}");
}

#[test]
fn what_a_file_of_the_seed_cannot_say_is_refused_in_it_and_beside_it() {
    let seed = "[module_scamper]\nip4addr = 192.0.2.1\n";
    assert!(read_as("scamper.conf", seed, &[]).unwrap().enables_all);
    let refused = |text: &str, variables| {
        read_as("scamper.conf", &format!("{seed}{text}"), variables).unwrap_err()
    };
    let problem = "holds in TOML alone, accepted here: what the RI has";
    assert_eq!(
        refused("[policy]\ndeny = deny.txt\n[methods.ping]\nenabled = false\n", &[]),
        [
            format!("scamper.conf:5: methods.ping: {problem}"),
            format!("scamper.conf:3: policy: {problem}")
        ]
    );
    assert_eq!(
        refused("", &[("SONDE_POLICY__DENY", "[\"deny.txt\"]")]),
        [format!("variable SONDE_POLICY__DENY: policy: {problem}")]
    );
}

#[test]
fn a_variable_overrides_the_file_and_is_named_when_it_is_wrong() {
    let text = "[limits]\npackets_per_second = 5\n[methods.my-probe.defaults]\nCount = 3\n";
    let variables = [
        ("SONDE_LIMITS__PACKETS_PER_SECOND", "7"),
        ("SONDE_HOST__STAMPS", "precise"),
        ("SONDE_METHODS__MY_PROBE__DEFAULTS__COUNT", "4"),
        ("SONDE_PLUGINS", "/tmp"),
    ];
    let configuration = read(text, &variables).unwrap();
    assert_eq!(configuration.packets_per_second, 7.0);
    assert_eq!(configuration.stamps, Stamps::Precise);
    let count = configuration.methods["my-probe"].defaults["Count"].data.to_json();
    assert_eq!(count, Some(4.into()));
    let mistakes = read(text, &[("SONDE_LIMITS__PACKETS_PER_SECONDS", "7")]).unwrap_err();
    let begin =
        "variable SONDE_LIMITS__PACKETS_PER_SECONDS: limits.packets_per_seconds: unknown key";
    assert!(mistakes[0].starts_with(begin), "{mistakes:?}");
    assert!(mistakes[0].ends_with("did you mean packets_per_second?"), "{mistakes:?}");
}

#[test]
fn defaults_and_constraints_become_the_methods_own() {
    let (method, mistakes) = applied(
        "[methods.probe]\npackets_per_measurement = 50\n[methods.probe.defaults]\nCount = 3\n\
         [methods.probe.constraints]\n'packets.count' = { max = 5 }\nkind = ['echo', 'UDP']\n",
    );
    assert_eq!(mistakes, Vec::<String>::new());
    assert_eq!(method.packet_budget, Some(50));
    let [count, kind] = &method.parameters[..] else { unreachable!() };
    assert_eq!(count.default, Some(3.into()));
    assert_eq!(count.accepted(None), "1 ... 5");
    assert!(count.parse("6", None).is_err());
    assert_eq!(kind.shape.choices, ["echo", "udp"]);
}

#[test]
fn what_does_not_fit_the_method_is_refused() {
    for (text, expected) in [
        (
            "defaults]\nconut = 3",
            "defaults.conut: unknown key, accepted: Count, kind; did you mean Count?",
        ),
        ("defaults]\nCount = 101", "defaults.Count: is 101, accepted: 1 ... 100"),
        ("defaults]\nkind = 'sny'", "defaults.kind: is \"sny\", accepted: echo, syn, udp"),
        (
            "constraints]\nCount = { max = 101 }",
            "constraints.Count: max is 101, accepted: 1 ... 100",
        ),
        (
            "constraints]\nCount = { most = 5 }",
            "constraints.Count: has unknown key, accepted: min, max; did you mean",
        ),
        (
            "constraints]\nCount = { min = 9, max = 8 }",
            "constraints.Count: min is 9, accepted: at most max, which is 8",
        ),
        ("constraints]\nkind = ['tcp']", "constraints.kind: is \"tcp\", accepted: echo, syn, udp"),
        (
            "constraints]\nkind = { max = 1 }",
            "constraints.kind: is a table, accepted: a list of echo, syn, udp",
        ),
        (
            "constraints]\nCount = { max = 5 }",
            "constraints.Count: shuts out the default, which is 10, accepted: 1 ... 5",
        ),
    ] {
        let (_, mistakes) = applied(&format!("[methods.probe.{text}\n"));
        let expected = expected.trim_end_matches("; did you mean");
        assert_eq!(mistakes.len(), 1, "{text}: {mistakes:?}");
        assert!(
            mistakes[0].starts_with(&format!("methods.probe.{expected}")),
            "{text}: {mistakes:?}"
        );
    }
}

#[test]
fn what_is_neither_a_number_nor_one_of_choices_cannot_be_narrowed() {
    let json = serde_json::json!({"name": "rr", "element": "probe.rr", "type": "boolean"});
    let flag: Parameter = serde_json::from_value(json).unwrap();
    for said in ["[false]", "{ max = false }"] {
        let text = format!("[methods.probe.constraints]\nrr = {said}\n");
        let (mut method, mut mistakes) = (method(), Vec::new());
        method.parameters.push(flag.clone());
        read(&text, &[]).unwrap().apply(&mut method, &mut mistakes);
        let expected = "cannot be narrowed, for it is true or false, accepted: numbers and choices";
        assert_eq!(mistakes.first().map(|it| it.problem.as_str()), Some(expected), "{said}");
    }
}

#[test]
fn a_need_that_is_not_permitted_forbids_the_method() {
    let configuration = read("[methods.probe]\npermit = ['spoof']\n", &[]).unwrap();
    assert_eq!(configuration.forbids("probe", &[Need::QuietKernel, Need::Spoof]), None);
    let reason = configuration.forbids("probe", &[Need::RealConnections]).unwrap();
    assert!(reason.starts_with("probe needs real_connections, which "), "{reason}");
    let off = read("[methods.probe]\nenabled = false\n", &[]).unwrap();
    assert!(off.forbids("probe", &[]).unwrap().starts_with("probe is switched off: "));
}

#[test]
fn what_a_method_wants_is_granted_by_name_alone_and_in_the_seed_form_as_the_seed_did() {
    let configuration =
        read("[methods.probe]\npermit = ['spoof']\n[methods.other]\n", &[]).unwrap();
    assert!(configuration.grants("probe", Need::Spoof));
    assert!(!configuration.grants("probe", Need::IpOptions));
    assert!(!configuration.grants("other", Need::Spoof));
    let seed = Configuration { enables_all: true, ..read("", &[]).unwrap() };
    assert!(seed.grants("probe", Need::IpOptions) && !seed.grants("probe", Need::Spoof));
}

#[test]
fn a_section_of_a_method_that_nobody_offers_is_told() {
    let configuration = read("[methods.prob]\n", &[]).unwrap();
    let mistakes = configuration.missing(&["probe", "other"].into_iter());
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].problem.ends_with("did you mean probe?"), "{mistakes:?}");
}
