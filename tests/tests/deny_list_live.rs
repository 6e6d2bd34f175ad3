//! A deny list of a million prefixes, in front of real kernels.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::{
    fmt::Write,
    fs,
    net::Ipv4Addr,
    path::Path,
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use sonde_tests::{Capture, Finished, Lab, TARGET4, sonde, wait_until};

const PREFIXES: u32 = 1_000_000;
/// The far end answers for all that follow.
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const TARGETS: u32 = 2_000;

const CONFIGURATION: &str = "[limits]
most_packets_per_second = 100000
[policy]
deny = [\"deny.txt\"]
[methods.ping]
";

/// Every second address from [`FIRST`] on, and of addresses elsewhere, a million in all.
fn every_second() -> String {
    let mut list = String::new();
    for number in 0..PREFIXES {
        let first = if number < 65_536 { FIRST } else { Ipv4Addr::new(20, 0, 0, 0) };
        writeln!(list, "{}", Ipv4Addr::from(u32::from(first) + 2 * number)).unwrap();
    }
    list
}

fn folder(deny: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("host.toml"), CONFIGURATION).unwrap();
    fs::write(folder.path().join("deny.txt"), deny).unwrap();
    folder
}

fn configured(lab: &Lab, folder: &Path, arguments: &[&str]) -> std::process::Command {
    let mut command = lab.command("src", sonde());
    command.args(["run", "ping", "--format", "json"]).args(arguments);
    command.arg("--config").arg(folder.join("host.toml"));
    command
}

/// Whom a line of tcpdump is about.
fn destination(line: &str) -> Ipv4Addr {
    let behind = line.split(" > ").nth(1).unwrap();
    behind.split(':').next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn of_a_million_denied_prefixes_nothing_leaks() {
    let lab = Lab::chain(0);
    let folder = folder(&every_second());
    let address = |number| Ipv4Addr::from(u32::from(FIRST) + number).to_string();
    let targets: Vec<String> = (0..TARGETS).map(address).collect();
    let file = folder.path().join("targets.txt");
    fs::write(&file, targets.join("\n")).unwrap();
    let capture = Capture::start(&lab, "dst", "dst-src", "icmp");
    let arguments = ["-c", "1", "--pps", "5000", "--targets", file.to_str().unwrap()];
    let run = Finished::of(&mut configured(&lab, folder.path(), &arguments));
    let captured = capture.finish();
    let requests = captured.with(&["echo request"]);
    assert_eq!(requests.len() as u32, TARGETS / 2, "{}", run.errors);
    assert!(requests.iter().all(|line| destination(line).octets()[3] % 2 == 1));
    let records = run.records();
    let of = |status: &str| records.iter().filter(|record| record["status"] == status).count();
    assert_eq!((of("done"), of("refused")), (1000, 1000), "{}", run.errors);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_million_prefixes_hold_for_the_measurement_that_runs_once_their_file_is_there() {
    let lab = Lab::chain(0);
    let folder = folder("192.0.2.0/24\n");
    let next = folder.path().join("next.txt");
    fs::write(&next, every_second() + TARGET4 + "\n").unwrap();
    let arguments = ["-c", "700", "-i", "0.02", "--pps", "1000", TARGET4];
    let capture = Capture::start(&lab, "src", "src-dst", "icmp[icmptype] == icmp-echo");
    let mut command = configured(&lab, folder.path(), &arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let sent = || {
        let text = lab.shell("src", "cat /sys/class/net/src-dst/statistics/tx_packets");
        text.trim().parse::<u64>().unwrap()
    };
    let before = sent();
    wait_until("some probes", Duration::from_secs(30), || sent() > before + 20);
    fs::rename(&next, folder.path().join("deny.txt")).unwrap();
    let changed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let output = child.wait_with_output().unwrap();
    let captured = capture.finish();
    let record: Value = serde_json::from_slice(&output.stdout).unwrap();
    let summary = &record["tables"]["summary"][0];
    let count = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!(count("sent") + count("not_sent"), 700, "{summary}");
    assert_eq!((captured.lines.len() as u64, count("lost")), (count("sent"), 0), "{summary}");
    // Of 14 s of probes: those of a second or two have left, on a busy machine of some more.
    assert!(count("not_sent") > 350, "{summary}");
    let rows = record["tables"]["replies"].as_array().unwrap();
    let unsent = |row: &Value| row["kind"] == "unsent";
    let first = rows.iter().position(unsent).unwrap();
    assert!(rows[first..].iter().all(unsent), "once it holds, nothing leaves any more");
    let last = captured.times().into_iter().fold(0.0, f64::max);
    println!("the last probe left {:.2} s after the file was there", last - changed);
}
