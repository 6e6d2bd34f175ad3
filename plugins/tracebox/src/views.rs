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
        intervals(),
        devices(),
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

/// Everything that can be chosen.
fn chosen(label: &str) -> Capability {
    let octet = || Constraint::range(0, 255);
    Capability::new(label)
        .parameter("source.{ip}", Constraint::LocalAddress)
        .parameter("destination.{ip}", Constraint::Any)
        .parameter("scamper.tracebox.udp", Constraint::boolean())
        .parameter("scamper.tracebox.dport", Constraint::range(0, 65_535))
        .parameter("scamper.tracebox.probe", Constraint::Any)
        .parameter("scamper.tracebox.sport", Constraint::range(0, 65_535))
        .parameter("scamper.tracebox.values", Constraint::boolean())
        .parameter("scamper.tracebox.wait", octet())
        .parameter("scamper.tracebox.waitprobe", Constraint::range(0, 2_550_000))
        .parameter("scamper.tracebox.attempts", octet())
        .parameter("scamper.tracebox.maxttl", octet())
        .parameter("scamper.tracebox.gaplimit", octet())
        .parameter("scamper.tracebox.loops", octet())
}

fn full() -> Capability {
    chosen("tracebox-full-{ip}")
        .table("hops")
        .column("scamper.tracebox.hop.{ip}", "addr")
        .column("scamper.tracebox.hop.modifications", "changes")
        .column("scamper.tracebox.hop.icmp.payload.len", "quote")
        .column("scamper.tracebox.hop.ttl", "ttl")
        .column("rtt.us", "rtt_us")
        .column("scamper.tracebox.hop.icmp.type", "icmp_type")
        .column("scamper.tracebox.hop.icmp.code", "icmp_code")
        .column("scamper.tracebox.hop.origin", "origin")
        .column("scamper.tracebox.hop.reply.ttl", "reply_ttl")
        .column("scamper.tracebox.hop.attempts", "attempts")
        .column("scamper.tracebox.hop.quote.class", "quote_class")
        .column("scamper.tracebox.hop.quote.octets", "quoted_octets")
        .column("scamper.tracebox.hop.quote.certainty", "certainty")
        .column("scamper.tracebox.hop.quote.ipsum.good", "ip_checksum_good")
        .column("scamper.tracebox.hop.quote.checksum", "checksum")
        .column("scamper.tracebox.hop.translated", "translated")
}

/// Between which hops what was changed, and what that means.
fn intervals() -> Capability {
    chosen("tracebox-intervals-{ip}")
        .table("intervals")
        .column("scamper.tracebox.interval.field", "field")
        .column("scamper.tracebox.interval.change", "change")
        .column("scamper.tracebox.interval.after.ttl", "after_ttl")
        .column("scamper.tracebox.interval.after.{ip}", "after_addr")
        .column("scamper.tracebox.interval.first.ttl", "first_ttl")
        .column("scamper.tracebox.interval.first.{ip}", "first_addr")
        .column("scamper.tracebox.interval.meaning", "meaning")
        .column("scamper.tracebox.interval.sent", "sent")
        .column("scamper.tracebox.interval.seen", "seen")
        .column("scamper.tracebox.interval.reverted", "reverted")
}

/// Devices that act for the destination or keep account of its connections.
fn devices() -> Capability {
    chosen("tracebox-devices-{ip}")
        .parameter("scamper.tracebox.proxy", Constraint::boolean())
        .parameter("scamper.tracebox.stateful", Constraint::boolean())
        .parameter("scamper.tracebox.fragments", Constraint::boolean())
        .table("devices")
        .column("scamper.tracebox.device", "device")
        .column("scamper.tracebox.device.verdict", "verdict")
        .column("scamper.tracebox.device.after.ttl", "after_ttl")
        .column("scamper.tracebox.device.after.{ip}", "after_addr")
        .column("scamper.tracebox.device.first.ttl", "first_ttl")
        .column("scamper.tracebox.device.first.{ip}", "first_addr")
}
