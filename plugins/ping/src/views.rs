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
        .aggregate("delay.twoway.icmp.count", Aggregate::Count, "seq")
}

fn detail() -> Capability {
    seed("ping-detail-{ip}")
        .filter(Condition::is("kind", "reply"))
        .order("seq")
        .column("time", "time")
        .column("delay.twoway.icmp.us", "rtt_us")
}

/// Every kind of probe and every column.
fn full() -> Capability {
    let methods = Constraint::set(crate::kind::Kind::NAMES.iter().copied());
    let mut view = parameters("ping-full-{ip}", Constraint::range(28, 65_535), methods)
        .parameter("scamper.ping.rcount", Constraint::range(0, 65_535))
        .parameter("sonde.ping.gateway", Constraint::Any)
        .parameter("sonde.ping.timestamp", Constraint::Any)
        .parameter("sonde.ping.sequence", Constraint::Any)
        .parameter("sonde.ping.acknowledgement", Constraint::Any)
        .parameter("sonde.ping.mss", Constraint::range(0, 65_535))
        .parameter("sonde.ping.mtu", Constraint::range(0, 65_535))
        .parameter("sonde.ping.userid", Constraint::Any)
        .parameter("sonde.ping.payloadsize", Constraint::Any)
        .parameter("sonde.ping.tbt", Constraint::boolean())
        .parameter("sonde.ping.wait", Constraint::range(0.0, 255.0))
        .order("seq");
    for (element, column) in COLUMNS {
        view = view.column(element, column);
    }
    view
}

/// Elements of the full view, and the columns of `replies` that they show.
const COLUMNS: [(&str, &str); 36] = [
    ("time", "time"),
    ("sequence", "seq"),
    ("scamper.ping.reply.kind", "kind"),
    ("scamper.ping.reply.{ip}", "addr"),
    ("delay.twoway.icmp.us", "rtt_us"),
    ("scamper.ping.reply.rtt.ns", "rtt_ns"),
    ("scamper.ping.reply.tx", "sent"),
    ("scamper.ping.reply.tx.clock", "tx"),
    ("scamper.ping.reply.rx.clock", "rx"),
    ("scamper.ping.reply.ttl", "ttl"),
    ("scamper.ping.reply.tos", "tos"),
    ("scamper.ping.reply.size", "size"),
    ("scamper.ping.reply.ipid", "ip_id"),
    ("scamper.ping.reply.fragmented", "fragmented"),
    ("scamper.ping.reply.proto", "protocol"),
    ("scamper.ping.reply.icmp.type", "icmp_type"),
    ("scamper.ping.reply.icmp.code", "icmp_code"),
    ("scamper.ping.reply.icmp.nexthopmtu", "mtu"),
    ("scamper.ping.reply.icmp.originate", "icmp_originate_ms"),
    ("scamper.ping.reply.icmp.receive", "icmp_receive_ms"),
    ("scamper.ping.reply.icmp.transmit", "icmp_transmit_ms"),
    ("scamper.ping.reply.tcp.flags", "tcp_flags"),
    ("scamper.ping.reply.tcp.mss", "tcp_mss"),
    ("scamper.ping.reply.tcp.window", "tcp_window"),
    ("scamper.ping.reply.rr", "rr"),
    ("scamper.ping.reply.ts", "ts"),
    ("scamper.ping.reply.ts.overflow", "ts_overflow"),
    ("scamper.ping.reply.quoted.ttl", "quoted_ttl"),
    ("scamper.ping.reply.quoted.tos", "quoted_tos"),
    ("scamper.ping.reply.quoted.{ip}", "quoted_dst"),
    ("scamper.ping.reply.weak", "weak"),
    ("scamper.ping.reply.altered", "altered"),
    ("scamper.ping.reply.altered.octet", "altered_octet"),
    ("scamper.ping.reply.duplicate", "duplicate"),
    ("scamper.ping.reply.late", "late"),
    ("scamper.ping.reply.reordered", "reordered"),
];
