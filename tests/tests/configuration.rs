//! The operator's file: what `sonde check` says of it, and that `sonde run` obeys.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use sonde_tests::{Finished, Lab, TARGET4, TARGET6, sonde, wait_until};

/// A folder with a configuration and a deny list.
fn folder(configuration: &str, deny: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("host.toml"), configuration).unwrap();
    fs::write(folder.path().join("deny.txt"), deny).unwrap();
    folder
}

fn with(folder: &tempfile::TempDir, mut command: Command, arguments: &[&str]) -> Finished {
    let file = folder.path().join("host.toml");
    Finished::of(command.args(arguments).arg("--config").arg(file))
}

const DENY: &str = "[policy]\ndeny = [\"deny.txt\"]\n[methods.ping]\npermit = [\"ip_options\"]\n";

#[test]
fn the_sample_has_no_mistakes() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/host.toml");
    let run = Finished::of(Command::new(sonde()).arg("check").arg("--config").arg(sample));
    assert_eq!(run.code, 0, "{}", run.errors);
    assert!(run.output.contains("no mistakes"), "{}", run.output);
}

#[test]
fn all_mistakes_are_told_at_once_those_about_the_plugin_too() {
    let text = "[host]\nisolatoin = \"process\"\n[limits]\npackets_per_second = 0\n";
    let run = with(&folder(text, ""), Command::new(sonde()), &["check"]);
    assert_eq!(run.code, 2);
    assert!(run.errors.contains("host.toml:2: host.isolatoin: unknown key, accepted: plugins, "));
    assert!(run.errors.contains("did you mean isolation?"), "{}", run.errors);
    assert!(run.errors.contains("host.toml:4: limits.packets_per_second: is 0, accepted: "));
    let text =
        "[methods.ping.defaults]\nconut = 3\n[methods.ping.constraints]\nttl = { max = 999 }\n";
    let run = with(&folder(text, ""), Command::new(sonde()), &["check"]);
    assert_eq!(run.code, 2);
    let said = "host.toml:2: methods.ping.defaults.conut: unknown key, accepted: ";
    assert!(run.errors.contains(said), "{}", run.errors);
    let said = "host.toml:4: methods.ping.constraints.ttl: max is 999, accepted: ";
    assert!(run.errors.contains(said), "{}", run.errors);
    let text = "[methods.ping]\n[component.overrides.ping.\"scamper.ping.tll\"]\nconstraint = '1'\n\
                [component.overrides.pnig.\"scamper.ping.ttl\"]\nconstraint = '1'\n";
    let run = with(&folder(text, ""), Command::new(sonde()), &["check"]);
    assert_eq!(run.code, 2);
    for said in ["2: component.overrides.ping.scamper.ping.tll: ", "4: component.overrides.pnig: "]
    {
        assert!(run.errors.contains(&format!("host.toml:{said}unknown key, ")), "{}", run.errors);
    }
    // Those of the file by itself, of the plugin, and of the component.
    let text = "[policy]\nallow = ['gone.txt']\n[methods.ping.defaults]\nconut = 3\n[component]\n\
                ip4addr = '::1'\n";
    let run = with(&folder(text, ""), Command::new(sonde()), &["check"]);
    assert_eq!(run.code, 2);
    for place in ["2: policy.allow: ", "4: methods.ping.defaults.conut: ", "6: component.ip4addr: "]
    {
        assert!(run.errors.contains(&format!("host.toml:{place}")), "{}", run.errors);
    }
}

#[test]
fn a_method_that_is_not_enabled_is_refused_by_policy_with_the_reason() {
    let off = folder("[methods.ping]\nenabled = false\n", "");
    let run = with(&off, Command::new(sonde()), &["run", "ping", "127.0.0.1"]);
    assert_eq!(run.code, 4, "{}", run.errors);
    assert!(run.errors.contains("ping is switched off: "), "{}", run.errors);
    let run = with(&folder("", ""), Command::new(sonde()), &["run", "ping", "127.0.0.1"]);
    assert_eq!(run.code, 4, "{}", run.errors);
    assert!(run.errors.contains("no section [methods.ping]"), "{}", run.errors);
}

#[test]
fn what_does_not_fit_a_method_keeps_no_other_from_measuring() {
    let text = "[methods.ping]\nenabled = false\n[methods.ping.defaults]\nconut = 3\n\
                [methods.gone]\n[methods.trace]\n";
    let folder = folder(text, "");
    let own = with(&folder, Command::new(sonde()), &["run", "ping", "::1"]);
    assert_eq!(own.code, 2);
    assert!(own.errors.contains("methods.ping.defaults.conut: unknown key"), "{}", own.errors);
    // Stopped by its own parameter, behind all that is looked at before.
    let other = with(&folder, Command::new(sonde()), &["run", "trace", "-m", "999", "::1"]);
    assert!(
        other.errors.contains("host.toml:4: methods.ping.defaults.conut: "),
        "{}",
        other.errors
    );
    assert!(other.errors.contains("host.toml:5: methods.gone: no plugin"), "{}", other.errors);
    assert!(other.errors.contains("--maxttl"), "{}", other.errors);
}

#[test]
fn a_value_outside_of_the_operators_constraint_is_refused() {
    let text = "[methods.ping]\npermit = [\"ip_options\"]\n[methods.ping.defaults]\ncount = 2\n\
                [methods.ping.constraints]\ncount = { max = 3 }\n";
    let run = with(&folder(text, ""), Command::new(sonde()), &["run", "ping", "-c", "4", "::1"]);
    assert_eq!(run.code, 2, "{}", run.errors);
    assert!(run.errors.contains("... 3"), "{}", run.errors);
}

#[test]
#[ignore = "needs root: opens packet sockets"]
fn a_journal_is_of_the_defaults_that_it_was_begun_with() {
    let folder = folder("[methods.ping.defaults]\ncount = 1\n", "");
    let [list, journal] = ["list", "journal"].map(|it| folder.path().join(it));
    fs::write(&list, "127.0.0.1\n").unwrap();
    let [list, journal] = [list.to_str().unwrap(), journal.to_str().unwrap()];
    let arguments = ["run", "ping", "--targets", list, "--resume", journal];
    let run = || with(&folder, Command::new(sonde()), &arguments);
    let (first, again) = (run(), run());
    assert_eq!((first.code, again.code), (0, 0), "{}{}", first.errors, again.errors);
    let file = folder.path().join("host.toml");
    fs::write(file, "[methods.ping.defaults]\ncount = 2\n").unwrap();
    let other = run();
    assert_eq!(other.code, 2, "{}", other.errors);
    assert!(other.errors.contains(" is of another campaign "), "{}", other.errors);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_denied_target_is_refused_by_policy_and_the_others_are_measured() {
    let lab = Lab::chain(0);
    let folder = folder(DENY, &format!("{TARGET4} # him not\n"));
    let run = |target: &str| {
        let command = lab.command("src", sonde());
        with(&folder, command, &["run", "ping", "-c", "1", "--format", "json", target])
    };
    let denied = run(TARGET4);
    assert_eq!(denied.code, 4, "{}{}", denied.output, denied.errors);
    assert!(denied.output.contains("is on the deny list"), "{}", denied.output);
    assert_eq!(denied.records()[0]["counters"]["sent"], 0);
    assert_eq!(run(TARGET6).code, 0);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_list_that_cannot_be_read_keeps_the_host_from_starting() {
    let lab = Lab::chain(0);
    let bad = folder(DENY, "192.0.2.0/24\n192.0.2.0/33\n");
    let run = with(&bad, lab.command("src", sonde()), &["run", "ping", TARGET4]);
    assert_eq!(run.code, 2, "{}", run.errors);
    assert!(run.errors.contains("deny.txt:2: \"192.0.2.0/33\" is no prefix"), "{}", run.errors);
    let gone = folder(DENY, "");
    fs::remove_file(gone.path().join("deny.txt")).unwrap();
    let run = with(&gone, lab.command("src", sonde()), &["run", "ping", TARGET4]);
    assert_eq!(run.code, 2, "{}", run.errors);
    assert!(run.errors.contains("deny.txt: cannot read the list"), "{}", run.errors);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_list_that_changes_holds_for_the_measurement_that_runs() {
    let lab = Lab::chain(0);
    let folder = folder(DENY, "192.0.2.0/24\n");
    let (file, list) = (folder.path().join("host.toml"), folder.path().join("deny.txt"));
    let mut command = lab.command("src", sonde());
    command.args(["run", "ping", "-c", "80", "-i", "0.1", "--pps", "100", "--format", "json"]);
    command.args(["--destination-pps", "50", TARGET4, "--config"]).arg(file);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let sent = || {
        let text = lab.shell("src", "cat /sys/class/net/src-dst/statistics/tx_packets");
        text.trim().parse::<u64>().unwrap()
    };
    let before = sent();
    wait_until("some probes", Duration::from_secs(20), || sent() > before + 8);
    // What cannot be used leaves the old list in force; what can is obeyed.
    fs::write(&list, "no prefix\n").unwrap();
    let broken_at = sent();
    wait_until("more probes", Duration::from_secs(20), || sent() > broken_at + 8);
    // SIGHUP reads it again, changed or not, and ends nothing.
    lab.shell("src", &format!("kill -HUP {}", child.id()));
    let broken_at = sent();
    wait_until("more probes", Duration::from_secs(20), || sent() > broken_at + 8);
    fs::write(&list, "203.0.113.0/24\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(errors.matches("the lists before stay in force").count(), 2, "{errors}");
    assert!(errors.contains("deny.txt:1: \"no prefix\" is no prefix"), "{errors}");
    let record: Value = serde_json::from_slice(&output.stdout).unwrap();
    let count = |name: &str| record["counters"][name].as_u64().unwrap();
    assert_eq!(count("sent") + count("not_sent"), 80, "{record}");
    assert!(count("not_sent") > 0 && count("sent") >= 16, "{record}");
    let reasons = record["counters"]["not_sent_reasons"].as_object().unwrap();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(reasons.contains_key("not permitted by a list of prefixes"), "{reasons:?}");
    // All that was refused comes behind all that was sent.
    assert_eq!(record["tables"]["summary"][0]["lost"], 0, "{record}");
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn the_configuration_caps_what_the_command_line_asks_for() {
    let lab = Lab::chain(0);
    let text = "[limits]\nmost_packets_per_second = 50\n[limits.address]\n\
                most_packets_per_second = 5\nburst = 2\n[methods.ping]\npermit = [\"ip_options\"]\n";
    let command = lab.command("src", sonde());
    let arguments = ["run", "ping", "-c", "12", "-i", "0.01", "--pps", "10000", TARGET4];
    let run = with(&folder(text, ""), command, &[&arguments[..], &["--format", "json"]].concat());
    assert!(run.errors.contains("--pps is 10000, the configuration allows 50"), "{}", run.errors);
    let record = &run.records()[0];
    assert_eq!(record["counters"]["answered"], 12, "{record}");
    let time = |name: &str| record[name].as_str().unwrap()[17..26].parse::<f64>().unwrap();
    // Five at once, then five a second: seven more take 1.4 s.
    let took = (time("end") - time("start")).rem_euclid(60.0);
    assert!(took >= 1.39, "{took}");
}
