//! tracebox through real kernels that rewrite what they forward.
//!
//! A kernel lets a packet expire before its rules for forwarding see it, so the router with the rule
//! quotes it unchanged: what r2 does is first seen at r3, between hops 2 and 3.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use serde_json::Value;
use sonde_tests::{Finished, Lab, Nginx, TARGET4, TARGET6, sonde};

const SEED_PROBE: &str = "IP/TCP/MSS(1460)/ECE/CE/MPCAPABLE";

/// Four routers.
fn lab() -> Lab {
    Lab::chain(4)
}

fn record(lab: &Lab, target: &str, arguments: &[&str]) -> Value {
    let mut command = lab.command("src", sonde());
    command
        .args(["run", "tracebox", "--format", "json", "--pps", "200", "--wait", "1"])
        .args(arguments)
        .arg(target);
    let run = Finished::of(&mut command);
    assert_eq!(run.code, 0, "{}{}", run.output, run.errors);
    run.records().remove(0)
}

/// What every hop shows, in one line.
fn changes(record: &Value) -> Vec<String> {
    let rows = record["tables"]["hops"].as_array().unwrap();
    rows.iter().map(|row| row["changes"].as_str().unwrap().to_owned()).collect()
}

/// Fields with what became of them and the hops between which it happened.
fn intervals(record: &Value) -> Vec<String> {
    let rows = record["tables"]["intervals"].as_array().unwrap();
    let text = |row: &Value| {
        let word = |name: &str| row[name].as_str().unwrap().to_owned();
        format!("{} {} {}-{}", word("field"), word("change"), row["after_ttl"], row["first_ttl"])
    };
    rows.iter().map(text).collect()
}

/// A rule set for what a router forwards.
fn forwarding(lab: &Lab, router: &str, rules: &str) {
    lab.shell(router, "nft delete table inet middlebox 2>/dev/null || true");
    let chain = "chain c { type filter hook forward priority -150;";
    lab.nft(router, &format!("table inet middlebox {{\n{chain}\n{rules}\n}}\n}}\n"));
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn nothing_is_reported_on_a_clean_path() {
    let lab = lab();
    for (target, usual) in [(TARGET4, "IP::TTL IP::Checksum"), (TARGET6, "IPv6::HopLimit")] {
        for arguments in [&[][..], &["--udp", "1"], &["--dport", "33435", "--udp", "1"]] {
            let run = record(&lab, target, arguments);
            assert_eq!(changes(&run)[..4], ["", usual, usual, usual], "{arguments:?}: {run}");
            assert_eq!(intervals(&run), Vec::<String>::new(), "{arguments:?}: {run}");
            assert_eq!(run["stop"], "reached", "{run}");
        }
    }
    let probe = "IP/TCP/DSCP(10)/ECT/MSS(1460)/WSCALE(7)/SACKP/TS";
    assert_eq!(intervals(&record(&lab, TARGET4, &["--probe", probe])), Vec::<String>::new());
    assert_eq!(intervals(&record(&lab, TARGET4, &["--probe", SEED_PROBE])), Vec::<String>::new());
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn what_a_router_rewrites_is_found_where_it_happens_and_by_its_name() {
    let lab = lab();
    let rewritten = |rules: &str, probe: &str, names: &str, happened: &[&str]| {
        forwarding(&lab, "r2", rules);
        let run = record(&lab, TARGET4, &["--probe", probe]);
        let all = changes(&run);
        assert_eq!(all[..2], ["", "IP::TTL IP::Checksum"], "{rules}: {run}");
        assert_eq!(all[2..4], [names, names], "{rules}: {run}");
        assert_eq!(intervals(&run), happened, "{rules}: {run}");
    };
    rewritten(
        "ip daddr 203.0.113.0/24 ip dscp set cs3\nip daddr 203.0.113.0/24 ip ecn set ect0",
        SEED_PROBE,
        "IP::DiffServicesCP IP::TTL IP::Checksum IP::ECT IP::CE",
        &["IP::DiffServicesCP changed 2-3", "IP::ECT changed 2-3", "IP::CE changed 2-3"],
    );
    rewritten(
        "ip daddr 203.0.113.0/24 ip ecn set not-ect",
        SEED_PROBE,
        "IP::TTL IP::Checksum IP::CE",
        &["IP::CE changed 2-3"],
    );
    rewritten(
        "ip daddr 203.0.113.0/24 tcp flags syn tcp option maxseg size set 1300",
        "IP/TCP/MSS(1460)",
        "TCP::Checksum TCP::Options::MSS IP::TTL IP::Checksum",
        &["TCP::Checksum changed 2-3", "TCP::Options::MSS changed 2-3"],
    );
    rewritten(
        "ip daddr 203.0.113.0/24 tcp flags syn reset tcp option sack-perm",
        "IP/TCP/MSS(1460)/WSCALE(7)/SACKP",
        "TCP::Checksum -TCP::Options::SACKPermitted IP::TTL IP::Checksum",
        &["TCP::Checksum changed 2-3", "TCP::Options::SACKPermitted removed 2-3"],
    );
    rewritten(
        "meta l4proto tcp tcp sequence set 0x12345678\nmeta l4proto tcp tcp window set 1024\n\
         ip daddr 203.0.113.0/24 ip id set 0x1234",
        "IP/TCP/MSS(1460)",
        "TCP::Window TCP::Checksum TCP::SeqNumber IP::ID IP::TTL IP::Checksum",
        &[
            "TCP::Window changed 2-3",
            "TCP::Checksum changed 2-3",
            "TCP::SeqNumber changed 2-3",
            "IP::ID changed 2-3",
        ],
    );
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn rewriting_over_ipv6_is_found_where_it_happens() {
    let lab = lab();
    forwarding(
        &lab,
        "r3",
        "ip6 daddr 2001:db8:80::80 ip6 dscp set cs3\nip6 daddr 2001:db8:80::80 ip6 ecn set not-ect\n\
         tcp flags syn tcp option maxseg size set 1220",
    );
    let run = record(&lab, TARGET6, &["--probe", "IPV6/TCP/ECT/MSS(1440)"]);
    assert_eq!(changes(&run)[2], "IPv6::HopLimit", "{run}");
    assert_eq!(
        intervals(&run),
        [
            "TCP::Checksum changed 3-4",
            "TCP::Options::MSS changed 3-4",
            "IPv6::DiffServicesCP changed 3-4",
            "IPv6::ECN changed 3-4",
        ],
        "{run}"
    );
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_changed_ttl_moves_the_hops_and_changes_nothing_else() {
    let lab = lab();
    forwarding(&lab, "r2", "ip daddr 203.0.113.0/24 ip ttl set 64");
    // Everything that gets past r2 gets to the target.
    let run = record(&lab, TARGET4, &[]);
    let rows = run["tables"]["hops"].as_array().unwrap();
    let addr: Vec<&str> = rows.iter().map(|row| row["addr"].as_str().unwrap()).collect();
    assert_eq!(addr, ["198.51.100.2", "198.51.100.6", TARGET4], "{run}");
    assert_eq!(intervals(&run), Vec::<String>::new(), "{run}");
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_translated_source_does_not_hide_the_hops_behind_it() {
    let lab = lab();
    lab.nft(
        "r2",
        "table ip translate {
            chain post { type nat hook postrouting priority 100; oifname \"r2-r3\" masquerade; }
        }",
    );
    let run = record(&lab, TARGET4, &["--probe", "IP/TCP/MSS(1460)"]);
    // This translator puts quotes back as they were sent, so there is nothing to be seen in them.
    assert_eq!(changes(&run).len(), 5, "{run}");
    assert_eq!(changes(&run)[2..4], ["IP::TTL IP::Checksum", "IP::TTL IP::Checksum"], "{run}");
    assert_eq!(run["stop"], "reached", "{run}");
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_translated_destination_that_answers_too_early_does_not_end_the_run() {
    let lab = lab();
    lab.nft(
        "r2",
        "table ip translate {
            chain pre { type nat hook prerouting priority -100;
                ip daddr 203.0.113.90 dnat to 203.0.113.80
            }
        }",
    );
    let run = record(&lab, "203.0.113.90", &["--probe", "IP/TCP/MSS(1460)"]);
    assert_eq!(changes(&run).len(), 5, "{run}");
    assert_eq!(run["stop"], "reached", "{run}");
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn refusals_and_silence_are_told_and_counted_by_ttl() {
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
            }
        }",
    );
    for target in [TARGET4, TARGET6] {
        let run = record(&lab, target, &["--attempts", "1"]);
        let rows = run["tables"]["hops"].as_array().unwrap();
        let ttl: Vec<u64> = rows.iter().map(|row| row["ttl"].as_u64().unwrap()).collect();
        assert_eq!(ttl, [1, 2, 3, 4, 5], "{run}");
        assert!(rows[2]["addr"].is_null(), "{run}");
    }
    let refused = record(&lab, "203.0.113.81", &[]);
    assert_eq!(refused["stop"], "unreachable", "{refused}");
}

/// What is said of a device: the verdict, and the hops that it is between.
fn device(record: &Value) -> String {
    let row = &record["tables"]["devices"][0];
    format!("{} {}-{}", row["verdict"].as_str().unwrap(), row["after_ttl"], row["first_ttl"])
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_transparent_proxy_is_found_at_the_router_that_is_one() {
    let lab = lab();
    for target in [TARGET4, TARGET6] {
        let run = record(&lab, target, &["--proxy", "1"]);
        assert_eq!(device(&run), "not_found null-null", "{run}");
    }
    lab.nft(
        "r3",
        "table inet proxy {
            chain pre { type nat hook prerouting priority -100;
                tcp dport 80 redirect
            }
        }",
    );
    for target in [TARGET4, TARGET6] {
        let run = record(&lab, target, &["--proxy", "1"]);
        assert_eq!(device(&run), "unknown null-null", "who refuses may be a filter: {run}");
    }
    let _server = Nginx::start(&lab, "r3");
    for target in [TARGET4, TARGET6] {
        let run = record(&lab, target, &["--proxy", "1"]);
        assert_eq!(device(&run), "found 2-3", "{run}");
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_firewall_that_keeps_account_of_connections_is_found_behind_its_router() {
    let lab = lab();
    let _server = Nginx::start(&lab, "dst");
    for target in [TARGET4, TARGET6] {
        let run = record(&lab, target, &["--stateful", "1"]);
        assert_eq!(device(&run), "not_found null-null", "{run}");
    }
    forwarding(&lab, "r2", "ct state invalid drop");
    for target in [TARGET4, TARGET6] {
        let run = record(&lab, target, &["--stateful", "1"]);
        assert_eq!(device(&run), "found 2-3", "{run}");
    }
}

/// What is said of who stops fragments, and of who puts them together.
fn fragments(lab: &Lab, target: &str, arguments: &[&str]) -> [String; 2] {
    let run = record(lab, target, &[&["--fragments", "1"], arguments].concat());
    let rows = run["tables"]["devices"].as_array().unwrap();
    ["fragment_filter", "reassembler"].map(|name| {
        let row = rows.iter().find(|row| row["device"] == name).unwrap();
        format!("{} {}-{}", row["verdict"].as_str().unwrap(), row["after_ttl"], row["first_ttl"])
    })
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn fragments_that_a_router_stops_or_puts_together_are_found_there() {
    const NOT_FOUND: &str = "not_found null-null";
    let lab = lab();
    for target in [TARGET4, TARGET6] {
        for arguments in [&[][..], &["--udp", "1"]] {
            let clean = fragments(&lab, target, arguments);
            assert_eq!(clean, [NOT_FOUND, NOT_FOUND], "{target} {arguments:?}");
        }
    }
    forwarding(&lab, "r2", "ip frag-off & 0x3fff != 0 drop\nexthdr frag exists drop");
    for target in [TARGET4, TARGET6] {
        let found = fragments(&lab, target, &["--attempts", "2"]);
        assert_eq!(found, ["found 2-3", NOT_FOUND], "{target}");
    }
    // Who keeps account of connections needs whole packets, before it looks at the TTL.
    forwarding(&lab, "r2", "ct state new counter");
    for target in [TARGET4, TARGET6] {
        assert_eq!(fragments(&lab, target, &[]), [NOT_FOUND, "found 1-2"], "{target}");
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn options_of_ip_are_found_changed_where_a_router_does_it() {
    let lab = lab();
    for (target, probe) in [
        (TARGET4, "IP/TCP/RR"),
        (TARGET4, "IP/UDP/IPTS(slots=9)"),
        (TARGET4, "IP/TCP/RTRALERT/IPOPTION(kind=30,data=0102)"),
        (TARGET6, "IPV6/TCP/DSTOPT(kind=30,data=0102)"),
        (TARGET6, "IPV6/UDP/HOPOPT/DSTOPT"),
    ] {
        let udp = if probe.contains("UDP") { "1" } else { "0" };
        let run = record(&lab, target, &["--probe", probe, "--udp", udp]);
        assert_eq!(intervals(&run), Vec::<String>::new(), "{probe}: {run}");
        assert_eq!((&run["stop"], changes(&run).len()), (&"reached".into(), 5), "{probe}: {run}");
    }
    // Words change places in IPv4, so that the checksum of the header stays right.
    forwarding(
        &lab,
        "r2",
        "ip hdrlength 7 @nh,176,32 set 0x03040102\nip6 nexthdr 60 @nh,352,16 set 0x0304",
    );
    for (target, probe, field) in [
        (TARGET4, "IP/TCP/IPOPTION(kind=30,data=01020304)", "IP::Options::30"),
        (TARGET6, "IPV6/TCP/DSTOPT(kind=30,data=0102)", "IPv6::DestinationOptions"),
    ] {
        let run = record(&lab, target, &["--probe", probe]);
        assert_eq!(intervals(&run), [format!("{field} changed 2-3")], "{run}");
    }
}
