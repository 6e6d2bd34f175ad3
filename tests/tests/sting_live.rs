//! sting against a stock server of a real kernel, on a machine where nobody configured anything.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::time::Duration;

use serde_json::Value;
use sonde_tests::{Background, Capture, Finished, Lab, TARGET4, TARGET6, sonde, wait_until};

/// A web server at the far end, in both families.
fn server(lab: &Lab) -> Background {
    let mut command = lab.command("dst", "python3");
    command.args(["-m", "http.server", "80", "--bind", "::", "--directory", "/proc/self/fdinfo"]);
    let server = Lab::background(command);
    wait_until("the web server", Duration::from_secs(20), || {
        lab.shell("dst", "ss -Htln sport = :80").contains(":80")
    });
    server
}

fn sting(lab: &Lab, arguments: &[&str]) -> Value {
    let mut command = lab.command("src", sonde());
    command.args(["run", "sting", "--format", "json", "--pps", "500", "--destination-pps", "500"]);
    let run = Finished::of(command.args(arguments));
    assert_eq!(run.code, 0, "{}{}", run.output, run.errors);
    run.records().remove(0)
}

const QUICK: [&str; 8] = ["-c", "100", "-m", "20", "-i", "300", "-f", "3"];

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_clean_path_has_no_loss_and_the_kernel_of_the_prober_keeps_silent() {
    let lab = Lab::chain(1);
    let _server = server(&lab);
    for target in [TARGET4, TARGET6] {
        let capture = Capture::start(&lab, "src", "src-r1", "tcp");
        let record = sting(&lab, &[&QUICK[..], &[target]].concat());
        let captured = capture.finish();
        let summary = &record["tables"]["summary"][0];
        assert_eq!(record["stop"], "completed", "{record}");
        assert_eq!(
            (&summary["samples"], &summary["acks"]),
            (&100.into(), &100.into()),
            "{summary}"
        );
        assert_eq!((&summary["holes"], &summary["reverse_lost"]), (&0.into(), &0.into()));
        assert_eq!(summary["flags"], Value::Array(vec![]), "{summary}");
        assert!(summary["handshake_rtt_us"].is_u64() && summary["ping_rtt_us"].is_u64());
        // The only reset is the one that ends the conversation; ours and everything else is whole.
        let source = if target == TARGET4 { "198.51.100.1" } else { "2001:db8::1" };
        let from_us = |line: &&&str| line.split(" > ").next().unwrap().contains(source);
        let resets = captured.with(&["Flags [R"]);
        assert_eq!(resets.iter().filter(from_us).count(), 1, "{resets:?}");
        let is_wrong = |line: &&str| line.contains("incorrect") && from_us(&line);
        assert_eq!(captured.with(&["Flags"]).into_iter().filter(is_wrong).count(), 0);
        assert_eq!(lab.shell("dst", "ss -Htn state connected sport = :80"), "");
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn losses_at_known_places_in_a_real_network_come_out_exactly() {
    let lab = Lab::chain(1);
    let _server = server(&lab);
    // Every tenth sample there, counted from the first one; every sixth acknowledgement back.
    // Samples have one octet; an acknowledgement of them has neither data nor SYN.
    lab.nft(
        "r1",
        "table inet lossy {
            chain forward { type filter hook forward priority 0;
                ip length 41 tcp dport 80 numgen inc mod 10 == 9 drop
                ip6 length 21 tcp dport 80 numgen inc mod 10 == 9 drop
                tcp sport 80 tcp flags & (syn | rst | fin) == 0 numgen inc mod 6 == 5 drop
            }
        }",
    );
    // It is not offered: whether the server would agree to it changes nothing.
    for (target, acknowledges_selectively) in
        [(TARGET4, 0), (TARGET6, 1), (TARGET6, 0), (TARGET4, 1)]
    {
        lab.shell("dst", &format!("sysctl -qw net.ipv4.tcp_sack={acknowledges_selectively}"));
        let record = sting(&lab, &[&QUICK[..], &[target]].concat());
        let summary = &record["tables"]["summary"][0];
        assert_eq!(record["stop"], "completed", "{record}");
        assert_eq!(
            (&summary["samples"], &summary["holes"]),
            (&100.into(), &10.into()),
            "{summary}"
        );
        let lost = summary["reverse_lost"].as_u64().unwrap();
        assert_eq!(lost + summary["acks"].as_u64().unwrap(), 90);
        // Its counter goes on from run to run: 90 hold 15 of every sixth.
        assert_eq!(lost, 15, "{summary}");
        let rows = record["tables"]["samples"].as_array().unwrap();
        let holes: Vec<u64> = rows
            .iter()
            .filter(|row| row["arrived"] == false)
            .map(|row| row["seq"].as_u64().unwrap())
            .collect();
        assert!(holes.windows(2).all(|pair| pair[1] - pair[0] == 10), "{holes:?}");
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_closed_port_is_a_result_and_the_text_is_readable() {
    let lab = Lab::chain(1);
    let record = sting(&lab, &["-d", "81", TARGET4]);
    assert_eq!(record["stop"], "refused", "{record}");
    let _server = server(&lab);
    let mut command = lab.command("src", sonde());
    command.args(["run", "sting", "--format", "text", "--destination-pps", "100", "--pps", "100"]);
    let run = Finished::of(command.args(["-c", "10", "-m", "20", "-i", "300", TARGET4]));
    assert!(run.output.contains("there 0 of 10 lost (0%"), "{}", run.output);
    assert!(run.output.contains("back 0 of 10 lost (0%"), "{}", run.output);
}
