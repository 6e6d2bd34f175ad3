//! Loss, duplicates, reordering and refusals on the way of a ping through real kernels.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::io::{BufRead, BufReader};

use serde_json::Value;
use sonde_tests::{Finished, Lab, TARGET4, TARGET6, sonde};

fn ping(lab: &Lab, arguments: &[&str]) -> Value {
    let mut command = lab.command("src", sonde());
    let run = Finished::of(command.args(["run", "ping", "--format", "json"]).args(arguments));
    assert!(run.code <= 1, "{}{}", run.output, run.errors);
    run.records().remove(0)
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_fifth_of_ten_thousand_lost_at_random_is_measured_within_a_point_and_a_half() {
    let lab = Lab::chain(1);
    lab.nft(
        "r1",
        "table inet lossy {
            chain forward { type filter hook forward priority 0;
                icmp type echo-request numgen random mod 5 == 0 drop
                icmpv6 type echo-request numgen random mod 5 == 0 drop
            }
        }",
    );
    for target in [TARGET4, TARGET6] {
        let record = ping(&lab, &["-c", "10000", "-i", "0.001", "--pps", "5000", target]);
        let summary = &record["tables"]["summary"][0];
        let loss = summary["loss"].as_f64().unwrap();
        assert_eq!((&summary["sent"], &summary["not_sent"]), (&10_000.into(), &0.into()));
        assert!((0.185..0.215).contains(&loss), "{summary}");
        let (low, high) =
            (summary["loss_low"].as_f64().unwrap(), summary["loss_high"].as_f64().unwrap());
        assert!(low < loss && loss < high && high - low < 0.017, "{summary}");
        // Every probe that was not answered is listed.
        let rows = record["tables"]["replies"].as_array().unwrap();
        let silent = rows.iter().filter(|row| row["addr"].is_null()).count();
        assert_eq!(summary["lost"], silent as u64);
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn what_the_hosts_own_queue_or_route_refuses_is_not_lost() {
    let lab = Lab::chain(1);
    // The probes of the second half meet a route that refuses: nothing of it is the network's loss.
    let mut command = lab.command("src", sonde());
    command.args(["run", "ping", "--format", "text", "-c", "10", "-i", "0.2", TARGET4]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // A row is seen while the run goes on.
    let fourth = lines.by_ref().map(Result::unwrap).find(|line| line.contains("seq=3")).unwrap();
    assert!(fourth.contains("time="), "{fourth}");
    lab.ip("src", &format!("route add prohibit {TARGET4}/32"));
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    child.wait().unwrap();
    let text = rest.join("\n");
    assert!(text.contains("not sent"), "{text}");
    assert!(text.contains(" 0% loss"), "{text}");
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn what_the_hosts_own_firewall_takes_away_is_not_lost() {
    let lab = Lab::chain(0);
    // Packets to oneself go through the kernel's output, where the rule makes the send fail: EPERM.
    lab.nft(
        "src",
        "table inet own {
            chain output { type filter hook output priority 0;
                icmp type echo-request numgen inc mod 2 == 0 drop
                icmpv6 type echo-request numgen inc mod 2 == 0 drop
            }
        }",
    );
    for target in ["127.0.0.1", "::1"] {
        let record = ping(&lab, &["-c", "10", "-i", "0.01", "--pps", "1000", target]);
        let summary = &record["tables"]["summary"][0];
        assert_eq!((&summary["sent"], &summary["not_sent"]), (&5.into(), &5.into()), "{record}");
        assert_eq!((&summary["answered"], &summary["loss"]), (&5.into(), &0.0.into()), "{record}");
        let reasons = record["counters"]["not_sent_reasons"].as_object().unwrap();
        let reasons: Vec<_> = reasons.iter().collect();
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        assert!(reasons[0].0.contains("not permitted") && *reasons[0].1 == 5, "{reasons:?}");
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn what_a_full_queue_of_the_device_does_not_take_is_not_lost() {
    let lab = Lab::chain(0);
    // Thirteen packets a second, and room for two: the kernel says ENOBUFS to the others.
    lab.shell("src", "tc qdisc add dev src-dst root tbf rate 104kbit burst 1540 limit 2000");
    let record = ping(
        &lab,
        &["-c", "200", "-i", "0.001", "--pps", "5000", "--size", "1000", "--wait", "2s", TARGET4],
    );
    let summary = &record["tables"]["summary"][0];
    let count = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!(count("sent") + count("not_sent"), 200, "{record}");
    assert!(count("not_sent") > 50 && count("sent") > 2, "{record}");
    assert_eq!((count("answered"), count("lost")), (count("sent"), 0), "{record}");
    let reasons = record["counters"]["not_sent_reasons"].as_object().unwrap();
    assert!(reasons.keys().all(|reason| reason.contains("buffer space")), "{reasons:?}");
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn answers_that_come_twice_are_rows_and_counted_for_kinds_with_one_port_or_many() {
    let lab = Lab::chain(1);
    // What goes back from the last router comes twice.
    lab.nft(
        "r1",
        "table netdev twice {
            chain out { type filter hook egress device r1-src priority 0;
                ip protocol { icmp, tcp } dup to r1-src
                ip6 nexthdr { icmpv6, tcp } dup to r1-src
            }
        }",
    );
    for target in [TARGET4, TARGET6] {
        for method in ["icmp-echo", "tcp-ack", "tcp-ack-sport", "tcp-syn-sport", "udp-sport"] {
            let arguments = ["-c", "3", "-i", "0.1", "--pps", "100", "--dport", "33435"];
            let record = ping(&lab, &[&arguments[..], &["--method", method, target]].concat());
            let summary = &record["tables"]["summary"][0];
            assert_eq!(summary["answered"], 3, "{method}: {record}");
            assert!(summary["duplicates"].as_u64().unwrap() >= 2, "{method}: {record}");
            let rows = record["tables"]["replies"].as_array().unwrap();
            let again = rows.iter().filter(|row| row["duplicate"] == true).count();
            assert_eq!(summary["duplicates"], again as u64);
        }
    }
}
