//! What supervisors see. The first three are those of the seed system, to the letter.

use sonde_plugin_api::prelude::*;

/// Every capability.
pub(crate) fn all() -> Vec<Capability> {
    vec![
        seed(ends("tracebox-standard-{ip}")),
        seed(specific("tracebox-specific-{ip}")),
        seed(specific("tracebox-specific-quotesize-{ip}"))
            .column("scamper.tracebox.hop.icmp.payload.len", "quote"),
        full(),
    ]
}

fn ends(label: &str) -> Capability {
    Capability::new(label)
        .parameter("source.{ip}", Constraint::LocalAddress)
        .parameter("destination.{ip}", Constraint::Any)
        .table("hops")
        .column("scamper.tracebox.hop.{ip}", "addr")
        .column("scamper.tracebox.hop.modifications", "changes")
}

fn specific(label: &str) -> Capability {
    ends(label)
        .parameter("scamper.tracebox.udp", Constraint::boolean())
        .parameter("scamper.tracebox.dport", Constraint::range(0, 65_535))
        .parameter("scamper.tracebox.probe", Constraint::Any)
}

fn seed(view: Capability) -> Capability {
    view.metadata("System_type", "Scamper")
        .metadata("System_ID", "Scamper-Proxy")
        .metadata("System_version", "0.1")
}

fn full() -> Capability {
    let octet = || Constraint::range(0, 255);
    specific("tracebox-full-{ip}")
        .parameter("scamper.tracebox.sport", Constraint::range(0, 65_535))
        .parameter("scamper.tracebox.values", Constraint::boolean())
        .parameter("scamper.tracebox.wait", octet())
        .parameter("scamper.tracebox.attempts", octet())
        .parameter("scamper.tracebox.maxttl", octet())
        .parameter("scamper.tracebox.gaplimit", octet())
        .column("scamper.tracebox.hop.icmp.payload.len", "quote")
        .column("scamper.tracebox.hop.ttl", "ttl")
        .column("rtt.us", "rtt_us")
        .column("scamper.tracebox.hop.icmp.type", "icmp_type")
        .column("scamper.tracebox.hop.icmp.code", "icmp_code")
        .column("scamper.tracebox.hop.origin", "origin")
}
