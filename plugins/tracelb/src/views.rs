//! What supervisors see. The first is that of the seed system, to the letter.

use sonde_plugin_api::prelude::*;

use crate::kind::Kind;

/// Every capability.
pub(crate) fn all() -> Vec<Capability> {
    vec![standard(), full()]
}

fn parameters(label: &str, methods: Constraint, most_probes: u64) -> Capability {
    let port = || Constraint::range(0, 65_535);
    let octet = || Constraint::range(0, 255);
    Capability::new(label)
        .when("now ... future")
        .parameter("source.{ip}", Constraint::LocalAddress)
        .parameter("destination.{ip}", Constraint::Any)
        .parameter("scamper.tracelb.confidence", Constraint::set(["99", "95"]))
        .parameter("scamper.tracelb.dport", port())
        .parameter("scamper.tracelb.firsthop", octet())
        .parameter("scamper.tracelb.gaplimit", octet())
        .parameter("scamper.tracelb.method", methods)
        .parameter("scamper.tracelb.attempts", octet())
        .parameter("scamper.tracelb.maxprobec", Constraint::range(1, most_probes))
        .parameter("scamper.tracelb.sport", port())
        .parameter("scamper.tracelb.tos", octet())
        .parameter("scamper.tracelb.waittimeout", octet())
        .parameter("scamper.tracelb.waitprobe", Constraint::range(0, 2_550_000))
}

fn standard() -> Capability {
    parameters("tracelb-standard-{ip}", Constraint::set(["udp-dport"]), 10_000)
        .metadata("System_type", "Scamper")
        .metadata("System_ID", "Scamper-Proxy")
        .metadata("System_version", "0.1")
        .table("lines")
        .column("scamper.tracelb.result", "line")
}

/// Every kind of probe; the links of the graph.
fn full() -> Capability {
    parameters("tracelb-full-{ip}", Constraint::set(Kind::NAMES.iter().copied()), 65_535)
        .parameter("scamper.tracelb.userid", Constraint::Any)
        .parameter("sonde.tracelb.gateway.{ip}", Constraint::Any)
        .parameter("sonde.tracelb.algorithm", Constraint::set(["mda", "mda-lite"]))
        .parameter("sonde.tracelb.confidence.scope", Constraint::set(["node", "graph"]))
        .parameter("sonde.tracelb.factor", Constraint::range(1.0, 20.0))
        .table("links")
        .order("ttl")
        .column("scamper.tracelb.link.from", "from")
        .column("scamper.tracelb.link.to", "to")
        .column("scamper.tracelb.link.ttl", "ttl")
        .column("scamper.tracelb.link.probes", "probes")
        .column("scamper.tracelb.link.flows", "flows")
}
