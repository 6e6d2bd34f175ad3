//! What supervisors see. The first is that of the seed system, to the letter.

use sonde_plugin_api::prelude::*;

/// Every capability.
pub(crate) fn all() -> Vec<Capability> {
    vec![standard(), full()]
}

fn parameters(label: &str) -> Capability {
    let octet = || Constraint::range(0, 255);
    let port = || Constraint::range(0.0, 65_535.0);
    let methods = ["UDP-paris", "ICMP", "UDP", "TCP", "TCP-ACK", "ICMP-paris"];
    Capability::new(label)
        .parameter("source.{ip}", Constraint::LocalAddress)
        .parameter("destination.{ip}", Constraint::Any)
        .parameter("scamper.trace.confidence", Constraint::set([99.0, 95.0]))
        .default_value(95)
        .parameter("scamper.trace.dport", port())
        .parameter("scamper.trace.firsthop", octet())
        .parameter("scamper.trace.gaplimit", octet())
        .parameter("scamper.trace.gapaction", Constraint::set([1, 2]))
        .parameter("scamper.trace.maxttl", octet())
        .parameter("scamper.trace.M", Constraint::boolean())
        .parameter("scamper.trace.loops", octet())
        .parameter("scamper.trace.loopaction", Constraint::set([0.0, 1.0]))
        .parameter("scamper.trace.payload", Constraint::Any)
        .parameter("scamper.trace.method", Constraint::set(methods))
        .parameter("scamper.trace.attempts", octet())
        .parameter("scamper.trace.Q", Constraint::boolean())
        .parameter("scamper.trace.sport", port())
        .parameter("scamper.trace.srcaddr", Constraint::Any)
        .parameter("scamper.trace.tos", octet())
        .parameter("scamper.trace.T", Constraint::boolean())
        .parameter("scamper.trace.wait", octet())
        .parameter("scamper.trace.waitprobe", Constraint::range(0.0, 2_550_000.0))
        .parameter("scamper.trace.gssentry", Constraint::Any)
        .parameter("scamper.trace.lssname", Constraint::Any)
        .table("hops")
        .order("ttl")
}

/// One row for each hop: who answered first, and when.
fn standard() -> Capability {
    parameters("trace-standard-{ip}")
        .group("ttl")
        .column("scamper.trace.hop.{ip}", "addr")
        .column("rtt.ms", "rtt_us")
        .divided_by(1000)
        .column("rtt.us", "rtt_us")
        .metadata("System_type", "Scamper")
        .metadata("System_ID", "Scamper-Proxy")
        .metadata("System_version", "0.1")
}

/// Every answer, with every parameter.
fn full() -> Capability {
    let duration = || Constraint::Any;
    let mut view = parameters("trace-full-{ip}");
    for parameter in &mut view.parameters {
        match parameter.element.as_str() {
            "scamper.trace.confidence" => {
                parameter.constraint = Constraint::set([0.0, 95.0, 99.0]);
                parameter.default = None;
            }
            "scamper.trace.loopaction" => parameter.constraint = Constraint::range(0.0, 255.0),
            _ => {}
        }
    }
    view.parameter("scamper.trace.userid", Constraint::range(0.0, f64::from(u32::MAX)))
        .parameter("scamper.trace.hopwindow", Constraint::range(1, 255))
        .parameter("scamper.trace.hopgap", duration())
        .parameter("scamper.trace.back", Constraint::boolean())
        .parameter("scamper.trace.noback", Constraint::boolean())
        .parameter("scamper.trace.constpayload", Constraint::boolean())
        .parameter("scamper.trace.flowlabel", Constraint::range(0, 0xf_ffff))
        .parameter("scamper.trace.router", Constraint::Any)
        .parameter("scamper.trace.rounds", Constraint::range(1, u32::MAX))
        .parameter("scamper.trace.period", duration())
        .parameter("scamper.trace.flows", Constraint::range(1, 64))
        .column("time", "time")
        .column("scamper.trace.hop.ttl", "ttl")
        .column("scamper.trace.hop.attempt", "attempt")
        .column("scamper.trace.hop.{ip}", "addr")
        .column("rtt.us", "rtt_us")
        .column("scamper.trace.hop.icmp.type", "icmp_type")
        .column("scamper.trace.hop.icmp.code", "icmp_code")
        .column("scamper.trace.hop.reply.ttl", "reply_ttl")
        .column("scamper.trace.hop.quoted.ttl", "quoted_ttl")
        .column("scamper.trace.hop.quoted.tos", "quoted_tos")
        .column("scamper.trace.hop.quoted.{ip}", "quoted_dst")
        .column("scamper.trace.hop.match", "match")
        .column("scamper.trace.hop.mark", "mark")
        .column("scamper.trace.hop.late", "late")
        .column("scamper.trace.hop.round", "round")
}
