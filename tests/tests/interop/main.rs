//! Our three programs with their counterparts of the reference implementation (RI) in Python, from PyPI.
//!
//! `scripts/setup test` installs it. What is measured is a ping of this machine's own addresses, or what a component of
//! the RI makes up.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

mod ours;
mod ri;
mod their_component;
mod their_supervisor;
mod tokens;
mod without_supervisor;

use serde_json::{Value, json};

/// Three samples.
const THREE: &str = "now + 3s / 1s";
/// Three results of one sample, three seconds apart; the RI itself leaves out the last one.
const REPEATED: &str = "repeat now + 6s / 3s { now + 1s / 1s }";
/// Longer than any test waits.
const LONG: &str = "now + 100s / 1s";

/// Capabilities that the seed system has of a ping.
const PINGS: [&str; 4] =
    ["ping-average-ip4", "ping-average-ip6", "ping-detail-ip4", "ping-detail-ip6"];

/// Every parameter of a ping of this address.
fn ping(destination: &str) -> Value {
    let element = if destination.contains(':') { "destination.ip6" } else { "destination.ip4" };
    json!({
        element: destination,
        "scamper.ping.method": "icmp-echo",
        "scamper.ping.size": "84",
        "scamper.ping.ttl": "64",
        "scamper.ping.tos": "0",
        "scamper.ping.dport": "0",
        "scamper.ping.sport": "0",
        "scamper.ping.rr": "False",
        "scamper.ping.payload": "",
        "scamper.ping.pattern": "",
        "scamper.ping.icmp.checksum": "",
    })
}

/// A single row of four values, of so many replies.
fn assert_average(result: &Value, replies: &str) {
    assert_eq!(result["result"], "measure", "{result}");
    let rows = result["resultvalues"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0][3]), (1, &json!(replies)), "{result}");
    let delay = |column: usize| rows[0][column].as_str().unwrap().parse::<u64>().unwrap();
    assert!(delay(0) <= delay(1) && delay(1) <= delay(2), "{result}");
    let when = result["when"].as_str().unwrap();
    assert!(when.starts_with("20") && when.contains(" ... 20"), "{when} is no definite time");
}
