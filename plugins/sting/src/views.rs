//! What supervisors see.

use sonde_plugin_api::prelude::*;

/// Every capability.
pub(crate) fn all() -> Vec<Capability> {
    let standard = offered("sting-standard-{ip}").table("summary");
    let full = everything("sting-full-{ip}").table("summary");
    let samples = everything("sting-samples-{ip}").table("samples").order("seq");
    let with = |view: Capability, columns: &[(&'static str, &'static str)]| {
        columns.iter().fold(view, |view, (element, column)| view.column(element, column))
    };
    vec![with(standard, &STANDARD), with(with(full, &STANDARD), &MORE), with(samples, &SAMPLES)]
}

fn offered(label: &str) -> Capability {
    Capability::new(label)
        .when("now ... future")
        .parameter("source.{ip}", Constraint::LocalAddress)
        .parameter("destination.{ip}", Constraint::Any)
        .parameter("scamper.sting.count", Constraint::range(2, 65_535))
        .parameter("scamper.sting.dport", Constraint::range(1, 65_535))
        .parameter("scamper.sting.sport", Constraint::range(0, 65_535))
        .parameter("scamper.sting.distribution", Constraint::range(1, 3))
        .parameter("scamper.sting.mean", Constraint::range(1, 1000))
        .parameter("scamper.sting.inter", Constraint::range(1, 10_000))
        .parameter("scamper.sting.hole", Constraint::range(1, 255))
        .parameter("scamper.sting.request", Constraint::Any)
}

fn everything(label: &str) -> Capability {
    offered(label)
        .parameter("sonde.sting.ttl", Constraint::range(1, 255))
        .parameter("sonde.sting.ping", Constraint::boolean())
        .parameter("sonde.sting.userid", Constraint::Any)
}

const STANDARD: [(&str, &str); 7] = [
    ("scamper.sting.result", "result"),
    ("scamper.sting.samples", "samples"),
    ("scamper.sting.holes", "holes"),
    ("scamper.sting.arrived", "arrived"),
    ("scamper.sting.acks", "acks"),
    ("scamper.sting.loss.forward", "forward_loss"),
    ("scamper.sting.loss.reverse", "reverse_loss"),
];

const MORE: [(&str, &str); 10] = [
    ("source.port", "source_port"),
    ("scamper.sting.loss.forward.ci95", "forward_ci95"),
    ("scamper.sting.loss.reverse.ci95", "reverse_ci95"),
    ("scamper.sting.reverse.lost", "reverse_lost"),
    ("scamper.sting.burst.forward.max", "forward_burst"),
    ("scamper.sting.rtt.handshake.us", "handshake_rtt_us"),
    ("scamper.sting.rtt.ping.us", "ping_rtt_us"),
    ("scamper.sting.acks.late", "late_acks"),
    ("scamper.sting.retransmissions", "retransmissions"),
    ("scamper.sting.flags", "flags"),
];

const SAMPLES: [(&str, &str); 6] = [
    ("scamper.sting.sample", "seq"),
    ("time", "time"),
    ("scamper.sting.sample.arrived", "arrived"),
    ("scamper.sting.sample.acknowledged", "ack_seen"),
    ("scamper.sting.sample.rtt.us", "rtt_us"),
    ("scamper.sting.sample.estimate", "estimate"),
];
