//! A router that floods the prober with damaged copies of the answers: none of them counts.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Stdio},
};

use serde_json::Value;
use sonde_tests::{Finished, Lab, TARGET4, TARGET6, sonde};

/// Damaged packets, and how many of them a second.
const PACKETS: u32 = 600_000;
const PER_SECOND: u32 = 100_000;

/// Begins to damage what comes back through `r1`.
fn damage(lab: &Lab, seed: u32) -> Child {
    let station = lab.shell("src", "cat /sys/class/net/src-r1/address");
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/mutate.py");
    let mut command = lab.command("r1", "python3");
    command.args([program, "r1-dst", "r1-src", station.trim()]);
    command.args([PACKETS, PER_SECOND, seed].map(|number| number.to_string()));
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::with_capacity(6, child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

fn received(lab: &Lab) -> u64 {
    let count = lab.shell("src", "cat /sys/class/net/src-r1/statistics/rx_packets");
    count.trim().parse().unwrap()
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_flood_of_damaged_answers_is_never_believed() {
    let lab = Lab::chain(1);
    for (seed, target) in [(4, TARGET4), (6, TARGET6)] {
        let before = received(&lab);
        let mut router = damage(&lab, seed);
        let mut command = lab.command("src", sonde());
        command.args(["run", "ping", "--format", "json", "--pps", "100", "-i", "0.02"]);
        let run = Finished::of(command.args(["-c", "300", "--wait", "3s", target]));
        let mut report = String::new();
        router.stdout.take().unwrap().read_to_string(&mut report).unwrap();
        assert!(router.wait().unwrap().success());
        println!("{target}: sent and seconds: {report}");
        assert!(received(&lab) - before >= u64::from(PACKETS), "{report}");

        assert_eq!(run.code, 0, "{}{}", run.output, run.errors);
        let record = &run.records()[0];
        let summary = &record["tables"]["summary"][0];
        for (name, count) in [("sent", 300), ("duplicates", 0), ("errors", 0)] {
            assert_eq!(summary[name], count, "{name}: {summary}");
        }
        // A machine that is too slow for the flood loses what the ring has no room for.
        let answered = summary["answered"].as_u64().unwrap();
        assert!(answered >= 250, "{summary}");
        let replies = record["tables"]["replies"].as_array().unwrap();
        let is_lost = |reply: &&Value| reply["kind"] == "timeout";
        assert_eq!(replies.iter().filter(is_lost).count() as u64, 300 - answered, "{summary}");
        for (number, reply) in replies.iter().enumerate() {
            if is_lost(&reply) {
                continue;
            }
            assert_eq!(reply["seq"], number, "{reply}");
            assert_eq!((&reply["kind"], &reply["addr"]), (&"reply".into(), &target.into()));
            assert_eq!((&reply["ttl"], &reply["size"]), (&63.into(), &summary["size"]));
            assert!(reply["rtt_ns"].as_u64().is_some(), "{reply}");
        }
    }
}
