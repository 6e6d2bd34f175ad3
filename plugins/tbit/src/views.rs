//! What supervisors see: a capability for each test, and one for all.

use sonde_plugin_api::prelude::*;

use crate::{application::App, params::Test};

/// Every capability.
pub(crate) fn all() -> Vec<Capability> {
    let each = Test::NAMES.iter().map(|name| {
        let label = format!("tbit-{name}-{{ip}}");
        with(offered(&label, Constraint::set([*name])), &COLUMNS)
    });
    let full = offered("tbit-full-{ip}", Constraint::set(Test::NAMES.iter().copied()));
    each.chain([with(with(full, &COLUMNS), &MORE)]).collect()
}

fn with(view: Capability, columns: &[(&'static str, &'static str)]) -> Capability {
    columns.iter().fold(view, |view, (element, column)| view.column(element, column))
}

fn offered(label: &str, tests: Constraint) -> Capability {
    Capability::new(label)
        .when("now ... future")
        .parameter("destination.{ip}", Constraint::Any)
        .parameter("scamper.tbit.type", tests)
        .parameter("scamper.tbit.dport", Constraint::range(0, 65_535))
        .parameter("scamper.tbit.sport", Constraint::range(0, 65_535))
        .parameter("scamper.tbit.mss", Constraint::range(0, 65_535))
        .parameter("scamper.tbit.mtu", Constraint::range(0, 65_535))
        .parameter("scamper.tbit.option", Constraint::Any)
        .parameter("scamper.tbit.app", Constraint::set(App::NAMES.iter().copied()))
        .parameter("scamper.tbit.url", Constraint::Any)
        .parameter("scamper.tbit.script", Constraint::Any)
        .parameter("scamper.tbit.asn", Constraint::range(0, 65_535))
        .parameter("scamper.tbit.attempts", Constraint::range(0, 4))
        .table("summary")
}

const COLUMNS: [(&str, &str); 6] = [
    ("scamper.tbit.result", "result"),
    ("scamper.tbit.result.code", "result_code"),
    ("scamper.tbit.result.scope", "scope"),
    ("scamper.tbit.server.mss", "server_mss"),
    ("scamper.tbit.rtt.handshake.us", "handshake_rtt_us"),
    ("scamper.tbit.bytes", "octets"),
];

const MORE: [(&str, &str); 11] = [
    ("scamper.tbit.options.granted", "granted"),
    ("scamper.tbit.app.status", "status"),
    ("scamper.tbit.icw.octets", "icw_octets"),
    ("scamper.tbit.icw.segments", "icw_segments"),
    ("scamper.tbit.pmtud.ptb.sent", "ptb_sent"),
    ("scamper.tbit.pmtud.size.before", "size_before"),
    ("scamper.tbit.pmtud.size.after", "size_after"),
    ("scamper.tbit.ecn.ect.from.server", "ect_segments"),
    ("scamper.tbit.abc.counts", "abc_counts"),
    ("scamper.tbit.abc.limit", "abc_limit"),
    ("scamper.tbit.blind.sent", "blind_sent"),
];
