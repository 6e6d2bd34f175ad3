//! What ping reads from the answers of real kernels: routes and times that routers recorded,
//! fragments that it provoked, and the ways that it chose.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use serde_json::Value;
use sonde_tests::{Finished, Lab, TARGET4, TARGET6, sonde};

/// The record of one run.
fn ping(lab: &Lab, arguments: &[&str]) -> Value {
    let mut command = lab.command("src", sonde());
    command.args(["run", "ping", "--format", "json", "-i", "0.05", "--pps", "100"]);
    let run = Finished::of(command.args(arguments));
    assert!(run.code <= 1, "{}{}", run.output, run.errors);
    run.records().remove(0)
}

fn replies(record: &Value) -> &[Value] {
    record["tables"]["replies"].as_array().unwrap()
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn the_route_is_recorded_there_and_back_as_scamper_shows_it() {
    let lab = Lab::chain(4);
    let record = ping(&lab, &["-c", "2", "-R", "1", TARGET4]);
    let expected = [5, 9, 13, 17].map(|last| format!("198.51.100.{last}"));
    for reply in replies(&record) {
        let route: Vec<&str> =
            reply["rr"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        assert_eq!(route.len(), 9, "{record}");
        assert_eq!(route[..4], expected, "{record}");
        assert_eq!(route[4..6], [TARGET4, TARGET4]);
        assert_eq!(route[6..], ["198.51.100.14", "198.51.100.10", "198.51.100.6"]);
    }
    // An error shows the route up to the router that sent it.
    let record = ping(&lab, &["-c", "1", "-R", "1", "--ttl", "2", "--wait", "300ms", TARGET4]);
    assert_eq!(replies(&record)[0]["kind"], "error", "{record}");
    assert_eq!(replies(&record)[0]["rr"][0], "198.51.100.5", "{record}");
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn routers_stamp_the_three_forms_of_the_timestamp_option_and_count_what_did_not_fit() {
    let lab = Lab::chain(4);
    let stamps = |record: &Value| replies(record)[0]["ts"].as_array().unwrap().clone();
    let only = ping(&lab, &["-c", "1", "-T", "tsonly", TARGET4]);
    assert_eq!(stamps(&only).len(), 9, "{only}");
    assert!(stamps(&only).iter().all(|stamp| stamp["ms"].as_u64().unwrap() < 86_400_000));
    let pairs = ping(&lab, &["-c", "1", "-T", "tsandaddr", TARGET4]);
    let addresses: Vec<Value> = stamps(&pairs).iter().map(|stamp| stamp["addr"].clone()).collect();
    // Linux gives the address that the packet came in by.
    assert_eq!(addresses, [2, 6, 10, 14].map(|last| format!("198.51.100.{last}")), "{pairs}");
    assert!(replies(&pairs)[0]["ts_overflow"].as_u64().unwrap() >= 4, "{pairs}");
    let list = format!("tsprespec=198.51.100.9,{TARGET4},203.0.113.99");
    let given = ping(&lab, &["-c", "1", "-T", &list, TARGET4]);
    let addresses: Vec<Value> = stamps(&given).iter().map(|stamp| stamp["addr"].clone()).collect();
    assert_eq!(addresses, ["198.51.100.9", TARGET4], "{given}");
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_packet_too_big_makes_a_real_kernel_answer_in_fragments() {
    let lab = Lab::chain(2);
    for (target, mtu) in [(TARGET4, "600"), (TARGET6, "1280")] {
        let record = ping(&lab, &["-c", "4", "-s", "1400", "-M", mtu, target]);
        let fragmented: Vec<bool> =
            replies(&record).iter().map(|reply| reply["fragmented"].as_bool().unwrap()).collect();
        assert_eq!(fragmented, [false, true, true, true], "{record}");
        let summary = &record["tables"]["summary"][0];
        assert_eq!((&summary["answered"], &summary["too_big_sent"]), (&4.into(), &1.into()));
        let mut numbers: Vec<u64> =
            replies(&record)[1..].iter().map(|reply| reply["ip_id"].as_u64().unwrap()).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), 3, "{record}");
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn the_trick_ends_when_it_has_seen_enough_fragments() {
    let lab = Lab::chain(1);
    let arguments = ["-c", "50", "-s", "1400", "-M", "1280", "--tbt", "1", "-o", "3", TARGET6];
    let record = ping(&lab, &arguments);
    assert_eq!(record["stop"], "enough answers", "{record}");
    assert_eq!(record["tables"]["summary"][0]["fragmented"], 3);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn large_answers_that_the_way_back_cuts_are_heard_whole() {
    let lab = Lab::chain(2);
    lab.ip("r2", "route change 198.51.100.0/30 via 198.51.100.5 mtu lock 700");
    let record = ping(&lab, &["-c", "3", "-s", "1400", TARGET4]);
    for reply in replies(&record) {
        assert_eq!((&reply["kind"], &reply["size"]), (&"reply".into(), &1400.into()), "{record}");
        assert_eq!(reply["fragmented"], true, "{record}");
    }
}

/// Two ways from `src` to the target, by `ra` (the default) and by `rb`.
fn two_ways() -> Lab {
    let mut lab = Lab::new();
    for (node, forwards) in [("src", false), ("ra", true), ("rb", true), ("dst", false)] {
        lab.node(node, forwards);
    }
    for (number, (near, far)) in
        [("src", "ra"), ("src", "rb"), ("ra", "dst"), ("rb", "dst")].into_iter().enumerate()
    {
        lab.link(near, far, number);
    }
    lab.ip("dst", &format!("addr add {TARGET4}/32 dev lo"));
    lab.ip("dst", &format!("-6 addr add {TARGET6}/128 dev lo nodad"));
    for (node, four, six) in [
        ("src", "198.51.100.2", "2001:db8:0:0::2"),
        ("ra", "198.51.100.10", "2001:db8:0:2::2"),
        ("rb", "198.51.100.14", "2001:db8:0:3::2"),
        ("dst", "198.51.100.9", "2001:db8:0:2::1"),
    ] {
        lab.ip(node, &format!("route add default via {four}"));
        lab.ip(node, &format!("-6 route add default via {six}"));
    }
    // Back to both addresses of the source.
    lab.ip("ra", "route add 198.51.100.4/30 via 198.51.100.1");
    lab.ip("ra", "-6 route add 2001:db8:0:1::/64 via 2001:db8:0:0::1");
    lab.ip("rb", "route add 198.51.100.0/30 via 198.51.100.5");
    lab.ip("rb", "-6 route add 2001:db8:0:0::/64 via 2001:db8:0:1::1");
    lab
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn probes_go_through_the_chosen_router() {
    let lab = two_ways();
    for (target, usual, other) in
        [(TARGET4, "198.51.100.2", "198.51.100.6"), (TARGET6, "2001:db8::2", "2001:db8:0:1::2")]
    {
        for method in ["icmp-echo", "udp-sport"] {
            let arguments = ["-c", "1", "--ttl", "1", "--wait", "300ms", "--method", method];
            let route = ping(&lab, &[&arguments[..], &[target]].concat());
            assert_eq!(replies(&route)[0]["addr"], usual, "{route}");
            let chosen = ping(&lab, &[&arguments[..], &["-r", other, target]].concat());
            assert_eq!(replies(&chosen)[0]["addr"], other, "{chosen}");
        }
        let through = ping(&lab, &["-c", "2", "-r", other, target]);
        assert_eq!(through["counters"]["answered"], 2, "{through}");
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn probes_leave_from_the_chosen_address_and_from_no_foreign_one() {
    let lab = two_ways();
    for (target, other, foreign) in [
        (TARGET4, "198.51.100.5", "198.51.100.77"),
        (TARGET6, "2001:db8:0:1::1", "2001:db8:0:1::77"),
    ] {
        let record = ping(&lab, &["-c", "2", "-I", other, target]);
        assert_eq!(record["source"], other, "{record}");
        assert_eq!(record["tables"]["summary"][0]["source"], other);
        assert_eq!(record["counters"]["answered"], 2, "{record}");
        let inner = if target == TARGET4 { "127.0.0.1" } else { "::1" };
        for (options, reason) in [
            (["-I", foreign, target], format!("{foreign} is no address of this host")),
            (["-I", inner, target], format!("{inner} does not leave this host")),
            (["-r", other, inner], format!("{inner} does not leave this host")),
        ] {
            let mut command = lab.command("src", sonde());
            command.args(["run", "ping", "--format", "json", "-c", "1"]).args(options);
            let run = Finished::of(&mut command);
            assert_ne!(run.code, 0, "{}", run.output);
            let said = format!("{}{}", run.output, run.errors);
            assert!(said.contains(&reason), "{said}");
        }
    }
}
