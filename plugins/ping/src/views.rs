//! What supervisors see. The first two are those of the seed system, to the letter.

use sonde_plugin_api::{capability::Condition, prelude::*};

/// Every capability.
pub(crate) fn all() -> Vec<Capability> {
    vec![average(), detail(), full()]
}

fn seed(label: &str) -> Capability {
    let methods = ["udp", "icmp-echo", "tcp-ack", "icmp-time", "udp-dport", "tcp-ack-sport"];
    parameters(label, Constraint::range(84, 140).ip6(56, 140), Constraint::set(methods))
        .metadata("System_type", "Scamper")
        .metadata("System_ID", "Scamper-Proxy")
        .metadata("System_version", "0.1")
}

fn parameters(label: &str, size: Constraint, methods: Constraint) -> Capability {
    let port = || Constraint::range(0, 65_535);
    let octet = || Constraint::range(0, 255);
    Capability::new(label)
        .when("now ... future / 1s")
        .parameter("source.{ip}", Constraint::LocalAddress)
        .parameter("destination.{ip}", Constraint::Any)
        .parameter("scamper.ping.payload", Constraint::Any)
        .parameter("scamper.ping.icmp.checksum", Constraint::Any)
        .parameter("scamper.ping.dport", port())
        .parameter("scamper.ping.sport", port())
        .parameter("scamper.ping.ttl", octet())
        .parameter("scamper.ping.pattern", Constraint::Any)
        .parameter("scamper.ping.method", methods)
        .parameter("scamper.ping.rr", Constraint::set(["False", "True"]))
        .parameter("scamper.ping.size", size)
        .parameter("scamper.ping.tos", octet())
        .table("replies")
}

fn average() -> Capability {
    let answers = || Condition::is("kind", "reply");
    seed("ping-average-{ip}")
        .filter(answers())
        .filter(Condition::is("duplicate", false))
        .filter(Condition::is("late", false))
        .aggregate("delay.twoway.icmp.us.min", Aggregate::Min, "rtt_us")
        .aggregate("delay.twoway.icmp.us.mean", Aggregate::Mean, "rtt_us")
        .aggregate("delay.twoway.icmp.us.max", Aggregate::Max, "rtt_us")
        .aggregate("delay.twoway.icmp.count", Aggregate::Count, "rtt_us")
}

fn detail() -> Capability {
    seed("ping-detail-{ip}")
        .filter(Condition::is("kind", "reply"))
        .order("seq")
        .column("time", "time")
        .column("delay.twoway.icmp.us", "rtt_us")
}

/// Every kind of probe and every column that the registry has a word for.
fn full() -> Capability {
    let methods = Constraint::set(crate::kind::Kind::NAMES.iter().copied());
    parameters("ping-full-{ip}", Constraint::range(28, 65_535), methods)
        .parameter("scamper.ping.rcount", Constraint::range(0, 65_535))
        .order("seq")
        .column("time", "time")
        .column("sequence", "seq")
        .column("scamper.ping.reply.kind", "kind")
        .column("scamper.ping.reply.{ip}", "addr")
        .column("delay.twoway.icmp.us", "rtt_us")
        .column("scamper.ping.reply.ttl", "ttl")
        .column("scamper.ping.reply.size", "size")
        .column("scamper.ping.reply.icmp.type", "icmp_type")
        .column("scamper.ping.reply.icmp.code", "icmp_code")
        .column("scamper.ping.reply.duplicate", "duplicate")
        .column("scamper.ping.reply.late", "late")
}
