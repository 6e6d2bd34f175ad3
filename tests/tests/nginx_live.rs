//! sting and tbit against nginx, over http and https, with what is put into IP headers.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::fs;

use serde_json::{Value, json};
use sonde_tests::{Capture, Finished, Lab, Nginx, TARGET4, TARGET6, sonde};

/// The last router before the server, on the server's side.
const NEAREST4: &str = "198.51.100.5";
/// Nobody in the laboratory: a router takes no packet that seems to come from itself.
const ROUTER4: &str = "192.0.2.77";
const ROUTER6: &str = "2001:db8:77::1";

fn measured(lab: &Lab, before: &[&str], arguments: &[&str]) -> Value {
    let mut command = lab.command("src", sonde());
    command.args(before).arg("run").args(arguments);
    let run = Finished::of(command.args([
        "--format",
        "json",
        "--pps",
        "500",
        "--destination-pps",
        "100",
    ]));
    assert!([0, 1, 5].contains(&run.code), "{}{}", run.output, run.errors);
    run.records().remove(0)
}

fn tbit(lab: &Lab, test: &str, arguments: &[&str]) -> Value {
    measured(lab, &[], &[&["tbit", "-t", test, "-u", "/page"], arguments].concat())
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn nginx_gives_the_verdict_of_linux_in_every_row() {
    let lab = Lab::chain(1);
    lab.shell("dst", "sysctl -qw net.ipv4.tcp_ecn=1");
    let _nginx = Nginx::start(&lab, "dst");
    for target in [TARGET4, TARGET6] {
        for (test, wanted) in [
            ("null", "null-success"),
            ("ecn", "ecn-success"),
            ("sack-rcvr", "sack-rcvr-success"),
            ("icw", "icw-success"),
            ("abc", "abc-success"),
            ("blind-rst", "blind-challenge"),
            ("blind-syn", "blind-challenge"),
            ("blind-data", "blind-challenge"),
            ("blind-fin", "blind-challenge"),
            // The last one: the server keeps the MTU that it was told.
            ("pmtud", "pmtud-success"),
        ] {
            let record = tbit(&lab, test, &[target]);
            assert_eq!(record["stop"], wanted, "{target} {test} {record}");
            let summary = &record["tables"]["summary"][0];
            if test == "icw" {
                assert_eq!(summary["icw_segments"], 10, "{record}");
            }
            if test == "null" {
                assert_eq!(summary["status"], "HTTP/1.1 200 OK", "{record}");
                assert!(summary["octets"].as_u64().unwrap() > 200_000, "{record}");
            }
        }
        let url = format!(
            "https://{}/page",
            if target == TARGET6 { format!("[{target}]") } else { target.to_owned() }
        );
        let record = measured(&lab, &[], &["tbit", "-u", &url, target]);
        let summary = &record["tables"]["summary"][0];
        assert_eq!(
            (&record["stop"], &summary["certificate_verified"]),
            (&json!("null-success"), &json!(false))
        );
        assert!(summary["octets"].as_u64().unwrap() > 200_000, "{record}");
        let sting = ["sting", "-c", "50", "-m", "20", "-i", "300", target];
        let record = measured(&lab, &[], &sting);
        let summary = &record["tables"]["summary"][0];
        assert_eq!(record["stop"], "completed", "{record}");
        assert_eq!((&summary["acks"], &summary["holes"]), (&json!(50), &json!(0)), "{record}");
    }
    assert_eq!(lab.shell("dst", "ss -Htn state established"), "");
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_packet_too_big_in_a_routers_name_needs_the_operators_word_and_is_obeyed_then() {
    let lab = Lab::chain(1);
    let nginx = Nginx::start(&lab, "dst");
    let file = |permit: &str| {
        let path = nginx.folder().join("host.toml");
        fs::write(&path, format!("[methods.tbit]\npermit = [{permit}]\n")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (target, router) in [(TARGET4, ROUTER4), (TARGET6, ROUTER6)] {
        let arguments = ["tbit", "-t", "pmtud", "-u", "/page", "-P", router, target];
        let without = file("'real_connections'");
        for before in [&[][..], &["--config", &without]] {
            let record = measured(&lab, before, &arguments);
            assert_eq!(record["status"], "failed", "{before:?} {record}");
            assert!(record["error"].as_str().unwrap().contains("policy"), "{record}");
            let summary = &record["tables"]["summary"][0];
            assert_eq!(summary["result"], "sys-error", "{record}");
            assert_eq!((&summary["scope"], &summary["ptb_sent"]), (&json!("local"), &Value::Null));
        }
        let with = file("'real_connections', 'spoof'");
        let capture = Capture::start(&lab, "dst", "dst-r1", "icmp or icmp6");
        let record = measured(&lab, &["--config", &with], &arguments);
        let captured = capture.finish();
        assert_eq!(record["stop"], "pmtud-success", "{record}");
        let too_big = captured.with(&[&format!("{router} > {target}"), "mtu 1280"]);
        assert_eq!(too_big.len(), 1, "{too_big:?}");
        assert_eq!(captured.with(&["mtu"]).len(), 1, "nothing in our own name");
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn options_of_ip_on_the_syn_come_back_from_linux_with_what_they_gathered() {
    let lab = Lab::chain(1);
    let _nginx = Nginx::start(&lab, "dst");
    let summary = |option: &str| {
        let record = tbit(&lab, "null", &["-O", option, TARGET4]);
        assert_eq!(record["stop"], "null-success", "{record}");
        record["tables"]["summary"][0].clone()
    };
    let recorded = |summary: &Value| -> Vec<String> {
        let values = summary["ip_recorded"].as_array().unwrap().iter();
        values.map(|value| value.as_str().unwrap().to_owned()).collect()
    };
    let route = summary("iprr-syn");
    assert_eq!(route["ip_option_back"], true, "{route}");
    assert!(recorded(&route).contains(&NEAREST4.to_owned()), "{route}");
    let stamps = summary("ipts-syn");
    assert_eq!(stamps["ip_option_back"], true, "{stamps}");
    assert!(recorded(&stamps).iter().any(|it| it.starts_with(&format!("{NEAREST4} "))), "{stamps}");
    // Linux knows nothing of quick start, and leaves the option out of its answer.
    assert_eq!(summary("ipqs-syn")["ip_option_back"], false);
    assert_eq!(summary("sack")["ip_option_back"], Value::Null);
}
