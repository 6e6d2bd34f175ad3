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
        .parameter("scamper.tbit.srcaddr", Constraint::LocalAddress)
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
        .parameter("scamper.tbit.ptbsrc", Constraint::Any)
        .parameter("scamper.tbit.offset", Constraint::Any)
        .parameter("scamper.tbit.cookie", Constraint::Any)
        .parameter("scamper.tbit.wscale", Constraint::range(0, 14))
        .parameter("scamper.tbit.ttl", Constraint::range(1, 255))
        .parameter("sonde.tbit.userid", Constraint::Any)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sonde_plugin_api::{
        glue::describe_method,
        packet::Family,
        schema::{Value, to_vec},
    };

    use super::*;
    use crate::{Tbit, params::TbitParams};

    #[test]
    fn what_a_specification_says_of_the_segments_reaches_the_measurement() {
        let method = describe_method::<Tbit>();
        let view = method.capabilities.iter().find(|view| view.label == "tbit-blind-data-{ip}");
        let view = view.unwrap().for_family(Family::V4).unwrap();
        let said = [
            ("destination.ip4", "198.51.100.9"),
            ("scamper.tbit.srcaddr", "192.0.2.7"),
            ("scamper.tbit.ptbsrc", "203.0.113.5"),
            ("scamper.tbit.offset", "-70001"),
            ("scamper.tbit.cookie", "00ff1a2b"),
            ("scamper.tbit.wscale", "7"),
            ("scamper.tbit.ttl", "63"),
            ("sonde.tbit.userid", "4294967295"),
        ];
        let said: BTreeMap<String, Value> =
            said.map(|(element, text)| (element.to_owned(), Value::Text(text.to_owned()))).into();
        let given = method.specified(&view, &said, Family::V4).unwrap();
        let values = method.values(&given, Family::V4).unwrap();
        let octets = to_vec(|arena| values.iter().for_each(|value| value.encode(arena)));
        let params = TbitParams::decode(&octets).unwrap();
        assert_eq!(params.source, Some("192.0.2.7".parse().unwrap()));
        assert_eq!(params.ptbsrc, Some("203.0.113.5".parse().unwrap()));
        assert_eq!((params.offset, params.userid), (-70_001, u32::MAX));
        assert_eq!(params.cookie.map(|cookie| cookie.0), Some(vec![0, 255, 26, 43]));
        assert_eq!((params.wscale, params.ttl), (7, 63));
    }
}
