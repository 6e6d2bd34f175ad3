//! ping through real kernels: five routers, both families, loss by nftables, compared with the
//! system's ping and with what tcpdump saw.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::time::{Duration, Instant};

use serde_json::Value;
use sonde_tests::{Capture, Finished, Lab, MANY4, TARGET4, TARGET6, sonde};

fn ping(lab: &Lab, arguments: &[&str]) -> Finished {
    let mut command = lab.command("src", sonde());
    Finished::of(command.args(["run", "ping", "--format", "json"]).args(arguments))
}

fn rtts_us(record: &Value) -> Vec<f64> {
    let rows = record["tables"]["replies"].as_array().unwrap();
    rows.iter().filter_map(|row| row["rtt_us"].as_f64()).collect()
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn six_hops_away_every_probe_is_answered_in_both_families() {
    let lab = Lab::chain(5);
    for target in [TARGET4, TARGET6] {
        let run = ping(&lab, &["-c", "5", "-i", "0.05", target]);
        assert_eq!(run.code, 0, "{}{}", run.output, run.errors);
        let record = &run.records()[0];
        assert_eq!(record["status"], "done");
        assert_eq!(record["counters"]["answered"], 5);
        assert_eq!(record["clock"]["rx"], "kernel");
        assert_eq!(record["clock"]["tx"], "kernel");
        let replies = record["tables"]["replies"].as_array().unwrap();
        assert_eq!(replies.len(), 5);
        for (number, reply) in replies.iter().enumerate() {
            assert_eq!(reply["seq"], number);
            assert_eq!(reply["addr"], target);
            assert_eq!(reply["ttl"], 59);
            assert_eq!(reply["rx_interface"], "src-r1");
        }
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn round_trip_times_are_those_of_the_systems_ping() {
    let lab = Lab::chain(5);
    for target in [TARGET4, TARGET6] {
        let run = ping(&lab, &["-c", "10", "-i", "0.05", target]);
        let mut ours = rtts_us(&run.records()[0]);
        let text = lab.shell("src", &format!("ping -n -c 10 -i 0.05 {target}"));
        let time = |line: &str| line.split("time=").nth(1)?.split(' ').next()?.parse::<f64>().ok();
        let mut theirs: Vec<f64> = text.lines().filter_map(time).map(|ms| ms * 1000.0).collect();
        ours.sort_by(f64::total_cmp);
        theirs.sort_by(f64::total_cmp);
        assert_eq!((ours.len(), theirs.len()), (10, 10), "{}{text}", run.output);
        // The kernel's stamps are nearer to the wire: ours are a little less, hardly ever more.
        assert!(ours[5] > 5.0 && ours[5] <= theirs[5] + 50.0, "{ours:?} {theirs:?}");
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn the_third_router_answers_a_probe_of_ttl_three_and_the_target_counts_as_lost() {
    let lab = Lab::chain(5);
    for (target, router) in [(TARGET4, "198.51.100.10"), (TARGET6, "2001:db8:0:2::2")] {
        let run = ping(&lab, &["-c", "2", "-i", "0.05", "--ttl", "3", "--wait", "300ms", target]);
        assert_eq!(run.code, 1, "{}{}", run.output, run.errors);
        let record = &run.records()[0];
        assert_eq!(record["counters"]["errors"], 2);
        assert_eq!(record["tables"]["summary"][0]["answered"], 0);
        let first = &record["tables"]["replies"][0];
        assert_eq!(first["addr"], router, "{record}");
        assert_eq!(first["icmp_type"], if target == TARGET4 { 11 } else { 3 });
        assert_eq!(record["tables"]["summary"][0]["loss"], 1.0);
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_fifth_of_the_probes_lost_is_reported_as_a_fifth() {
    let lab = Lab::chain(5);
    lab.nft(
        "r3",
        "table inet lossy {
            chain forward { type filter hook forward priority 0;
                icmp type echo-request numgen inc mod 5 == 2 drop
                icmpv6 type echo-request numgen inc mod 5 == 2 drop
            }
        }",
    );
    for target in [TARGET4, TARGET6] {
        let run =
            ping(&lab, &["-c", "50", "-i", "0.01", "--wait", "300ms", "--pps", "200", target]);
        let record = &run.records()[0];
        assert_eq!(record["counters"]["answered"], 40, "{record}");
        assert_eq!(record["counters"]["not_sent"], 0);
        assert_eq!(record["tables"]["summary"][0]["lost"], 10);
        let rows = record["tables"]["replies"].as_array().unwrap();
        let lost: Vec<u64> = rows
            .iter()
            .filter(|row| row["addr"].is_null())
            .filter_map(|row| row["seq"].as_u64())
            .collect();
        assert_eq!(lost, (0..10).map(|number| number * 5 + 2).collect::<Vec<_>>());
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn nothing_on_the_wire_is_malformed_and_the_rate_is_as_asked() {
    let lab = Lab::chain(5);
    for target in [TARGET4, TARGET6] {
        let capture = Capture::start(&lab, "r1", "r1-src", "icmp or icmp6");
        let run = ping(&lab, &["-c", "20", "-i", "0.05", "--ttl", "33", "--pps", "100", target]);
        assert_eq!(run.code, 0, "{}", run.errors);
        let captured = capture.finish();
        let source = if target == TARGET4 { "198.51.100.1" } else { "2001:db8::1" };
        assert_eq!(captured.malformed_from(source), Vec::<&str>::new());
        let limit = if target == TARGET4 { "ttl 33" } else { "hlim 33" };
        let requests = captured.with(&["echo request", target, limit]);
        assert_eq!(requests.len(), 20, "{:#?}", captured.lines);
        let time = |line: &&str| line.split(' ').next().unwrap().parse::<f64>().unwrap();
        let span = time(&requests[19]) - time(&requests[0]);
        assert!((0.94..0.98).contains(&span), "20 probes at 50 ms took {span} s");
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn every_kind_of_probe_is_answered_and_the_kernel_stays_silent() {
    let lab = Lab::chain(2);
    let _server = Lab::background({
        let mut server = lab.command("dst", "python3");
        server.args(["-m", "http.server", "80", "--bind", "::"]);
        server
    });
    std::thread::sleep(Duration::from_millis(700));
    for target in [TARGET4, TARGET6] {
        for method in [
            "icmp-echo",
            "icmp-time",
            "tcp-ack",
            "tcp-ack-sport",
            "tcp-syn",
            "tcp-syn-sport",
            "tcp-synack",
            "udp",
            "udp-dport",
            "udp-sport",
        ] {
            if method == "icmp-time" && target == TARGET6 {
                continue;
            }
            let dport = if method.starts_with("udp") { "33435" } else { "80" };
            let capture = Capture::start(&lab, "src", "src-r1", "tcp or icmp or icmp6 or udp");
            let run =
                ping(&lab, &["-c", "3", "-i", "0.1", "--method", method, "--dport", dport, target]);
            let captured = capture.finish();
            assert_eq!(run.code, 0, "{method}: {}{}", run.output, run.errors);
            let record = &run.records()[0];
            assert_eq!(record["counters"]["answered"], 3, "{method}: {record}");
            let source = if target == TARGET4 { "198.51.100.1" } else { "2001:db8::1" };
            assert_eq!(captured.malformed_from(source), Vec::<&str>::new(), "{method}");
            // Resets of ours are sent once per answered SYN; the kernel's would come on top.
            let resets = captured.lines.iter().filter(|line| {
                let from = line.split(" > ").next().unwrap_or_default();
                line.contains("Flags [R") && from.contains(&format!("{source}."))
            });
            let ours = if method.starts_with("tcp-syn") && method != "tcp-synack" { 3 } else { 0 };
            assert_eq!(resets.count(), ours, "{method}: {:#?}", captured.lines);
        }
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn probes_leave_from_a_privileged_port_that_nobody_uses_and_conversations_do_not() {
    let lab = Lab::chain(2);
    for target in [TARGET4, TARGET6] {
        for method in ["tcp-ack", "tcp-syn", "udp"] {
            let chosen = ["--sport", "33", "--dport", "33435"];
            let given = [&["-c", "2", "-i", "0.1", "--method", method, target], &chosen[..]];
            let record = &ping(&lab, &given.concat()).records()[0];
            assert_eq!(record["counters"]["answered"], 2, "{method}: {record}");
        }
    }
    let mut sting = lab.command("src", sonde());
    let conversation = Finished::of(sting.args(["run", "sting", "--sport", "33", TARGET4]));
    let told = conversation.output + &conversation.errors;
    assert!(told.contains("port 33 is reserved for privileged programs"), "{told}");
    let _service = Lab::background({
        let mut service = lab.command("src", "python3");
        service.args(["-m", "http.server", "33", "--bind", "::"]);
        service
    });
    std::thread::sleep(Duration::from_millis(700));
    let run = ping(&lab, &["-c", "1", "--method", "tcp-ack", "--sport", "33", TARGET4]);
    let told = run.output + &run.errors;
    assert!(told.contains("Tcp port 33 is used by another program"), "{told}");
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn ten_thousand_addresses_at_twenty_thousand_a_second_all_answer() {
    let lab = Lab::chain(1);
    let list = tempfile::NamedTempFile::new().unwrap();
    let base = u32::from(MANY4.split('/').next().unwrap().parse::<std::net::Ipv4Addr>().unwrap());
    let lines: String = (0..10_000u32)
        .map(|number| format!("{}\n", std::net::Ipv4Addr::from(base + 256 + number * 7)))
        .collect();
    std::fs::write(list.path(), lines).unwrap();
    let begin = Instant::now();
    let file = list.path().to_str().unwrap();
    let run = ping(&lab, &["-c", "1", "--pps", "20000", "--targets", file]);
    let took = begin.elapsed();
    assert_eq!(run.code, 0, "{}", run.errors);
    let records = run.records();
    assert_eq!(records.len(), 10_000);
    let answered = records.iter().filter(|record| record["counters"]["answered"] == 1).count();
    assert_eq!(answered, 10_000);
    assert!(took < Duration::from_secs(30), "it took {took:?}");
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn an_address_without_a_route_is_not_a_lost_probe() {
    let lab = Lab::chain(1);
    lab.ip("src", "route add unreachable 192.0.2.0/24");
    let run = ping(&lab, &["-c", "1", "192.0.2.1"]);
    assert_ne!(run.code, 0);
    let record = &run.records()[0];
    let said = format!("{} {}", record["error"], record["counters"]);
    assert!(said.contains("route") || said.contains("unreachable"), "{record}");
    assert_eq!(record["counters"]["sent"], 0);
}
