//! tbit against a stock server of a real kernel, on a machine where nobody configured anything.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::time::Duration;

use serde_json::Value;
use sonde_tests::{Background, Capture, Finished, Lab, TARGET4, TARGET6, sonde, wait_until};

/// A web server at the far end, in both families, with a page of 200,000 octets.
struct Server {
    _program: Background,
    _folder: tempfile::TempDir,
}

fn server(lab: &Lab) -> Server {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("page"), vec![b'x'; 200_000]).unwrap();
    std::fs::write(folder.path().join("small"), b"small").unwrap();
    let mut command = lab.command("dst", "python3");
    command.args(["-m", "http.server", "80", "--bind", "::", "--directory"]).arg(folder.path());
    let program = Lab::background(command);
    wait_until("the web server", Duration::from_secs(20), || {
        lab.shell("dst", "ss -Htln sport = :80").contains(":80")
    });
    Server { _program: program, _folder: folder }
}

fn tbit(lab: &Lab, test: &str, arguments: &[&str]) -> Value {
    let mut command = lab.command("src", sonde());
    command.args(["run", "tbit", "--format", "json", "--pps", "500", "--destination-pps", "500"]);
    let run = Finished::of(command.args(["-t", test]).args(arguments));
    assert!(run.code <= 1, "{}{}", run.output, run.errors);
    run.records().remove(0)
}

const PAGE: [&str; 2] = ["-u", "/page"];

#[test]
#[ignore = "needs root: makes network namespaces"]
fn linux_behaves_as_linux_does_and_the_kernel_of_the_prober_keeps_silent() {
    let lab = Lab::chain(1);
    lab.shell("dst", "sysctl -qw net.ipv4.tcp_ecn=1");
    let _server = server(&lab);
    let wanted = [
        ("null", "null-success"),
        ("ecn", "ecn-success"),
        ("sack-rcvr", "sack-rcvr-success"),
        ("icw", "icw-success"),
        ("blind-rst", "blind-challenge"),
        ("blind-syn", "blind-challenge"),
        ("blind-data", "blind-challenge"),
        ("blind-fin", "blind-challenge"),
    ];
    for target in [TARGET4, TARGET6] {
        let source = if target == TARGET4 { "198.51.100.1" } else { "2001:db8::1" };
        for (test, result) in wanted {
            let capture = Capture::start(&lab, "src", "src-r1", "tcp");
            let record = tbit(&lab, test, &[&PAGE[..], &[target]].concat());
            let captured = capture.finish();
            let summary = &record["tables"]["summary"][0];
            assert_eq!(record["stop"], result, "{target} {record}");
            assert_eq!(summary["scope"], "endpoint");
            let mss = if target == TARGET4 { 1460 } else { 1440 };
            assert_eq!(summary["server_mss"], mss, "{summary}");
            if test == "icw" {
                assert_eq!(summary["icw_segments"], 10, "{record}");
            }
            // Every reset that left is one of ours: the kernel sends none.
            let rows = record["tables"]["packets"].as_array().unwrap();
            let ours = rows
                .iter()
                .filter(|row| row["way"] == "tx" && row["flags"].as_str().unwrap().contains("RST"));
            let from_us = |line: &&&str| line.split(" > ").next().unwrap().contains(source);
            let resets = captured.with(&["Flags [R"]);
            assert_eq!(resets.iter().filter(from_us).count(), ours.count(), "{test} {resets:?}");
        }
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_path_mtu_is_obeyed_and_remembered() {
    for target in [TARGET4, TARGET6] {
        let lab = Lab::chain(1);
        let _server = server(&lab);
        let record = tbit(&lab, "pmtud", &[&PAGE[..], &[target]].concat());
        let summary = &record["tables"]["summary"][0];
        assert_eq!(record["stop"], "pmtud-success", "{record}");
        assert_eq!((&summary["size_before"], &summary["ptb_sent"]), (&1500.into(), &1.into()));
        assert!(summary["size_after"].as_u64().unwrap() <= 1280, "{summary}");
        // The server keeps what it was told: a second run sees small segments.
        let record = tbit(&lab, "pmtud", &[&PAGE[..], &[target]].concat());
        assert_eq!(record["stop"], "pmtud-toosmall", "{record}");
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn switched_off_abilities_and_short_pages_are_told() {
    let lab = Lab::chain(1);
    lab.shell("dst", "sysctl -qw net.ipv4.tcp_ecn=0 net.ipv4.tcp_sack=0 net.ipv4.tcp_timestamps=1");
    let _server = server(&lab);
    let stop = |test: &str, arguments: &[&str]| {
        let record = tbit(&lab, test, arguments);
        record["stop"].as_str().unwrap().to_owned()
    };
    assert_eq!(stop("ecn", &["-u", "/page", TARGET4]), "ecn-incapable");
    assert_eq!(stop("sack-rcvr", &["-u", "/page", TARGET4]), "sack-rcvr-incapable");
    assert_eq!(stop("icw", &["-u", "/small", TARGET4]), "icw-tooshort");
    assert_eq!(stop("null", &["-d", "81", TARGET4]), "tcp-noconn-rst");
    let record = tbit(&lab, "null", &["-O", "tcpts,sack", "-w", "3", "-u", "/page", TARGET6]);
    let summary = &record["tables"]["summary"][0];
    assert_eq!(summary["granted"], serde_json::json!(["tcpts", "wscale"]), "{summary}");
    assert!(summary["octets"].as_u64().unwrap() > 200_000, "{summary}");
    assert_eq!(summary["status"], "HTTP/1.0 200 OK");
}
