//! trace through real kernels as routers, in both families, beside scamper on the same topology.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::process::Command;

use serde_json::Value;
use sonde_tests::{Capture, Finished, Lab, TARGET4, TARGET6, sonde};

const METHODS: [&str; 6] = ["UDP-paris", "UDP", "ICMP-paris", "ICMP", "TCP", "TCP-ACK"];

/// Four routers, as quick to answer as to forward.
fn lab() -> Lab {
    Lab::chain(4)
}

/// scamper leaves the checksums of UDP over IPv6 to the device; here its probes get whole ones too.
fn without_offload(lab: &Lab) {
    lab.shell("src", "ethtool -K src-r1 tx off >/dev/null");
}

fn record(lab: &Lab, arguments: &[&str]) -> Value {
    let mut command = lab.command("src", sonde());
    command.args(["run", "trace", "--format", "json", "--pps", "500"]).args(arguments);
    let run = Finished::of(&mut command);
    assert_eq!(run.code, 0, "{}{}", run.output, run.errors);
    run.records().remove(0)
}

/// TTL and address of every hop, the first answer of each.
fn hops(record: &Value) -> Vec<(u64, String)> {
    let mut hops: Vec<(u64, String)> = Vec::new();
    for row in record["tables"]["hops"].as_array().unwrap() {
        let ttl = row["ttl"].as_u64().unwrap();
        let addr = row["addr"].as_str().unwrap_or("*").to_owned();
        match hops.iter_mut().find(|hop| hop.0 == ttl) {
            Some(hop) if hop.1 == "*" => hop.1 = addr,
            Some(_) => {}
            None => hops.push((ttl, addr)),
        }
    }
    hops
}

/// What scamper prints of the same path.
fn theirs(lab: &Lab, arguments: &str) -> Vec<(u64, String)> {
    let text = lab.shell(
        "src",
        &format!("scamper -p 500 -c 'trace -w 1 {arguments}' -i {}", target_of(arguments)),
    );
    let hop = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
    };
    text.lines().filter_map(hop).collect()
}

fn target_of(arguments: &str) -> &str {
    if arguments.contains("-S 2001:") { TARGET6 } else { TARGET4 }
}

fn expected(target: &str) -> Vec<(u64, String)> {
    let router = |link: u64| match target {
        TARGET4 => format!("198.51.100.{}", 4 * link + 2),
        _ if link == 0 => "2001:db8::2".to_owned(),
        _ => format!("2001:db8:0:{link:x}::2"),
    };
    let mut hops: Vec<(u64, String)> = (0..4).map(|link| (link + 1, router(link))).collect();
    hops.push((5, target.to_owned()));
    hops
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn every_kind_of_probe_finds_the_hops_that_scamper_finds() {
    let lab = lab();
    without_offload(&lab);
    for (target, source) in [(TARGET4, "198.51.100.1"), (TARGET6, "2001:db8::1")] {
        for method in METHODS {
            let ours = record(&lab, &["--method", method, "--wait", "1", target]);
            assert_eq!(hops(&ours), expected(target), "{method}: {ours}");
            assert_eq!(ours["stop"], "reached", "{method}");
            assert_eq!(ours["clock"]["rx"], "kernel");
            let scamper = theirs(&lab, &format!("-P {method} -S {source}"));
            let found: Vec<_> = scamper.into_iter().filter(|hop| hop.1 != "*").collect();
            // Where checksums are left to a card that is not there, its UDP over IPv6 sees no hop at all;
            // ours leaves whole, and sees them all the same.
            if target == TARGET6 && method.starts_with("UDP") && found.is_empty() {
                assert_eq!(hops(&ours).len(), 5);
                continue;
            }
            assert_eq!(hops(&ours), found, "{method} over {target}");
        }
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_window_finds_the_same_with_fewer_round_trips_and_nothing_malformed_on_the_wire() {
    let lab = lab();
    for target in [TARGET4, TARGET6] {
        for method in METHODS {
            let capture = Capture::start(&lab, "src", "src-r1", "ip or ip6");
            let run = record(&lab, &["--method", method, "-N", "5", "--wait", "1", target]);
            let captured = capture.finish();
            assert_eq!(run["parameters"]["hopwindow"], 5, "{run}");
            assert_eq!(run["tables"]["summary"][0]["sent"], run["counters"]["sent"], "{run}");
            assert_eq!(hops(&run), expected(target), "{method}: {run}");
            let source = if target == TARGET4 { "198.51.100.1" } else { "2001:db8::1" };
            assert_eq!(captured.malformed_from(source), Vec::<&str>::new(), "{method}");
        }
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn silent_routers_and_refusals_are_told_as_scamper_tells_them() {
    let lab = lab();
    lab.nft(
        "r3",
        "table inet quiet {
            chain out { type filter hook output priority 0;
                icmp type time-exceeded drop
                icmpv6 type time-exceeded drop
            }
            chain forward { type filter hook forward priority 0;
                ip daddr 203.0.113.81 reject with icmp type admin-prohibited
                ip daddr 203.0.113.83 drop
            }
        }",
    );
    lab.ip("r4", "route add 203.0.113.84/32 via 198.51.100.13");
    for target in [TARGET4, TARGET6] {
        let run = record(&lab, &["--wait", "300ms", target]);
        let mut wanted = expected(target);
        wanted[2].1 = "*".to_owned();
        assert_eq!(hops(&run), wanted, "{run}");
    }
    let refused = record(&lab, &["--wait", "300ms", "203.0.113.81"]);
    assert_eq!(refused["stop"], "unreachable", "{refused}");
    assert_eq!(refused["tables"]["summary"][0]["stop_code"], 13);
    let dropped =
        record(&lab, &["--wait", "200ms", "--attempts", "1", "--gaplimit", "3", "203.0.113.83"]);
    assert_eq!(dropped["stop"], "gap_limit", "{dropped}");
    let looped = record(&lab, &["--wait", "300ms", "--attempts", "1", "203.0.113.84"]);
    assert_eq!(looped["stop"], "loop", "{looped}");
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn path_mtu_and_black_hole_are_found_in_both_families() {
    let lab = lab();
    lab.ip("r3", "link set r3-r4 mtu 1400");
    lab.ip("r4", "link set r4-r3 mtu 1400");
    let find = |method: &str, target: &str| {
        let run = record(&lab, &["--method", method, "-M", "--wait", "300ms", target]);
        let rows = run["tables"]["pmtu"].as_array().unwrap().clone();
        let row = rows.into_iter().rev().nth(1).unwrap();
        (run["tables"]["summary"][0]["pmtu"].clone(), row["kind"].clone(), row["ttl"].clone())
    };
    for method in ["UDP-paris", "ICMP-paris", "TCP-ACK"] {
        for target in [TARGET4, TARGET6] {
            assert_eq!(
                find(method, target),
                (1400.into(), "too-big".into(), 3.into()),
                "{method} {target}"
            );
        }
    }
    lab.nft(
        "r3",
        "table inet hidden {
            chain out { type filter hook output priority 0;
                icmp type destination-unreachable icmp code frag-needed drop
                icmpv6 type packet-too-big drop
            }
        }",
    );
    for target in [TARGET4, TARGET6] {
        assert_eq!(
            find("UDP-paris", target),
            (1400.into(), "silence".into(), 3.into()),
            "{target}"
        );
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn hops_behind_a_translator_are_found() {
    let lab = lab();
    lab.nft(
        "r2",
        "table ip translate {
            chain post { type nat hook postrouting priority 100; oifname \"r2-r3\" masquerade; }
        }",
    );
    for method in METHODS {
        let run = record(&lab, &["--method", method, "--wait", "1", TARGET4]);
        assert_eq!(hops(&run), expected(TARGET4), "{method}: {run}");
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn the_text_is_that_of_a_traceroute() {
    let lab = lab();
    let mut command: Command = lab.command("src", sonde());
    command.args(["run", "trace", "--format", "text", "-q", "3", "--Q", TARGET4]);
    let run = Finished::of(&mut command);
    let lines: Vec<&str> = run.output.lines().collect();
    assert_eq!(lines[0], format!("trace to {TARGET4} ({TARGET4})"), "{}", run.output);
    for (line, (ttl, addr)) in lines[1..].iter().zip(expected(TARGET4)) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((words[0], words[1]), (ttl.to_string().as_str(), addr.as_str()));
        assert_eq!(words.iter().filter(|word| **word == "ms").count(), 3, "{line}");
    }
    assert_eq!(lines.len(), 7, "{}", run.output);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_thousand_paths_at_once_are_all_found() {
    let lab = lab();
    let list = tempfile::NamedTempFile::new().unwrap();
    let base = u32::from(std::net::Ipv4Addr::new(198, 18, 1, 0));
    let four = (0..500).map(|number| std::net::Ipv4Addr::from(base + number * 7).to_string());
    let six = (1..=500).map(|number| format!("2001:db8:1::{number:x}"));
    let lines: String = four.chain(six).map(|target| target + "\n").collect();
    std::fs::write(list.path(), lines).unwrap();
    let mut command = lab.command("src", sonde());
    command
        .args(["run", "trace", "--format", "json", "--pps", "5000", "--targets"])
        .arg(list.path());
    let run = Finished::of(&mut command);
    assert_eq!(run.code, 0, "{}", run.errors);
    let records = run.records();
    assert_eq!(records.len(), 1000);
    for record in records {
        let target = record["destination"].as_str().unwrap();
        let routers = if target.contains(':') { TARGET6 } else { TARGET4 };
        let mut wanted = expected(routers);
        // About an address that is none of its interfaces' an IPv6 host speaks from another one.
        wanted[4].1 =
            if routers == TARGET6 { "2001:db8:0:4::2".to_owned() } else { target.to_owned() };
        assert_eq!(hops(&record), wanted, "{record}");
        assert_eq!(record["stop"], "reached");
    }
}
