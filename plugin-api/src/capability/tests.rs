//! The views of the seed, and results made of rows.

use std::net::IpAddr;

use super::*;
use crate::descriptor::{Column, Table};
use crate::schema::Value;

/// The views of ping that the seed's documentation shows.
fn ping(label: &str) -> View {
    let methods = ["udp", "icmp-echo", "tcp-ack", "icmp-time", "udp-dport", "tcp-ack-sport"];
    View::new(label)
        .when("now ... future / 1s")
        .parameter("source.{ip}", Constraint::LocalAddress)
        .parameter("destination.{ip}", Constraint::Any)
        .parameter("scamper.ping.payload", Constraint::Any)
        .parameter("scamper.ping.icmp.checksum", Constraint::Any)
        .parameter("scamper.ping.dport", Constraint::range(0, 65_535))
        .parameter("scamper.ping.sport", Constraint::range(0, 65_535))
        .parameter("scamper.ping.ttl", Constraint::range(0, 255))
        .parameter("scamper.ping.pattern", Constraint::Any)
        .parameter("scamper.ping.method", Constraint::set(methods))
        .parameter("scamper.ping.rr", Constraint::boolean())
        .parameter("scamper.ping.size", Constraint::range(84, 140).ip6(56, 140))
        .parameter("scamper.ping.tos", Constraint::range(0, 255))
        .table("replies")
        .filter(Condition::is("duplicate", false))
        .metadata("System_type", "Scamper")
        .metadata("System_ID", "Scamper-Proxy")
        .metadata("System_version", "0.1")
}

fn average() -> View {
    ping("ping-average-{ip}")
        .aggregate("delay.twoway.icmp.us.min", Aggregate::Min, "rtt_us")
        .aggregate("delay.twoway.icmp.us.mean", Aggregate::Mean, "rtt_us")
        .aggregate("delay.twoway.icmp.us.max", Aggregate::Max, "rtt_us")
        .aggregate("delay.twoway.icmp.count", Aggregate::Count, "rtt_us")
}

fn detail() -> View {
    ping("ping-detail-{ip}")
        .present("rtt_us")
        .order("seq")
        .column("time", "time")
        .column("delay.twoway.icmp.us", "rtt_us")
}

fn constraints(view: &View, local: &str) -> Vec<(String, String)> {
    let local: Option<IpAddr> = local.parse().ok();
    let text =
        |parameter: &ViewParameter| (parameter.element.clone(), parameter.constraint.text(local));
    view.parameters.iter().map(text).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn ping_is_offered_as_the_seed_offers_it() {
    let cases =
        [(Family::V4, "ip4", "1.2.3.4", "84 ... 140"), (Family::V6, "ip6", "::1", "56 ... 140")];
    for (family, ip, local, size) in cases {
        let (source, destination) = (format!("source.{ip}"), format!("destination.{ip}"));
        let expected = [
            (source.as_str(), local),
            (destination.as_str(), "*"),
            ("scamper.ping.payload", "*"),
            ("scamper.ping.icmp.checksum", "*"),
            ("scamper.ping.dport", "0 ... 65535"),
            ("scamper.ping.sport", "0 ... 65535"),
            ("scamper.ping.ttl", "0 ... 255"),
            ("scamper.ping.pattern", "*"),
            ("scamper.ping.method", "udp,icmp-echo,tcp-ack,icmp-time,udp-dport,tcp-ack-sport"),
            ("scamper.ping.rr", "False,True"),
            ("scamper.ping.size", size),
            ("scamper.ping.tos", "0 ... 255"),
        ];
        let views = [
            (
                average(),
                "average",
                &[
                    "delay.twoway.icmp.us.min",
                    "delay.twoway.icmp.us.mean",
                    "delay.twoway.icmp.us.max",
                    "delay.twoway.icmp.count",
                ][..],
            ),
            (detail(), "detail", &["time", "delay.twoway.icmp.us"]),
        ];
        for (view, name, results) in views {
            let view = view.for_family(family).unwrap();
            assert_eq!(view.label, format!("ping-{name}-{ip}"));
            assert_eq!(
                (view.verb.as_str(), view.when.as_str()),
                ("measure", "now ... future / 1s")
            );
            assert_eq!(constraints(&view, local), pairs(&expected));
            let elements: Vec<&str> =
                view.results.iter().map(|column| column.element.as_str()).collect();
            assert_eq!(elements, results);
            let metadata = [
                ("System_type", "Scamper"),
                ("System_ID", "Scamper-Proxy"),
                ("System_version", "0.1"),
            ];
            assert_eq!(view.metadata, pairs(&metadata));
        }
    }
}

#[test]
fn constraints_of_real_elements_keep_their_point() {
    assert_eq!(Constraint::set([99.0, 95.0]).to_string(), "99.0,95.0");
    assert_eq!(Constraint::set([99, 95]).to_string(), "99,95");
    assert_eq!(Constraint::range(0.0, 65_535.0).to_string(), "0.0 ... 65535.0");
    assert_eq!(Constraint::range(0.0, 2_550_000.0).to_string(), "0.0 ... 2550000.0");
    assert_eq!(Constraint::LocalAddress.to_string(), "*");
}

#[test]
fn view_survives_its_json_form() {
    let view = average()
        .parameter("scamper.trace.confidence", Constraint::set([99.0, 95.0]))
        .default_value("95")
        .preset("scamper.ping.rcount", 3)
        .only(IpVersion::Ip4)
        .group("addr")
        .aggregate("delay.twoway.icmp.us.95pct", Aggregate::Percentile(95), "rtt_us")
        .given(Condition::is_one_of("icmp_type", [0, 14]))
        .divided_by(1000);
    let json = serde_json::to_string(&view).unwrap();
    assert!(json.contains(r#""constraint":{"set":[99.0,95.0]}"#), "{json}");
    assert!(json.contains(r#""aggregate":"p95""#), "{json}");
    assert_eq!(serde_json::from_str::<View>(&json).unwrap(), view);
    assert!(serde_json::from_str::<Aggregate>(r#""p101""#).is_err());
}

#[test]
fn view_of_one_family_is_not_there_for_the_other() {
    let view = detail().only(IpVersion::Ip4);
    assert!(view.for_family(Family::V4).is_some());
    assert_eq!(view.for_family(Family::V6), None);
    assert!(View::new("dealias").is_for_any_family());
    assert!(!view.is_for_any_family());
}

fn replies() -> Table {
    let column = |name: &str| Column::of::<Option<u64>>(name, "", &[]);
    let columns = ["seq", "time", "addr", "rtt_us", "duplicate"].map(column).into();
    Table { name: "replies".to_owned(), doc: String::new(), columns }
}

/// A row of [`replies`].
fn reply(seq: u64, rtt_us: Option<u64>, duplicate: bool) -> Vec<Value> {
    vec![
        Value::U64(seq),
        Value::Time(seq * 1000),
        Value::Ip(IpAddr::from([192, 0, 2, 1 + u8::from(duplicate)])),
        rtt_us.map_or(Value::None, Value::U64),
        Value::Bool(duplicate),
    ]
}

fn rows() -> Vec<Vec<Value>> {
    vec![
        reply(2, Some(30), false),
        reply(0, Some(10), false),
        reply(1, None, false),
        reply(0, Some(500), true),
        reply(3, Some(15), false),
    ]
}

#[test]
fn average_counts_what_was_answered_once() {
    let result = average().evaluate(&replies(), &rows());
    // (10 + 15 + 30) / 3 is 18.3
    assert_eq!(result, [[10, 18, 30, 3].map(Value::U64)]);
}

#[test]
fn average_without_answers_is_one_row_with_count_0() {
    let nothing = vec![Value::None, Value::None, Value::None, Value::U64(0)];
    assert_eq!(average().evaluate(&replies(), &[reply(0, None, false)]), [&nothing[..]]);
    assert_eq!(average().evaluate(&replies(), &[]), [nothing]);
}

#[test]
fn detail_gives_answers_in_the_order_of_probes() {
    let result = detail().evaluate(&replies(), &rows());
    let row = |seq: u64, rtt: u64| vec![Value::Time(seq * 1000), Value::U64(rtt)];
    assert_eq!(result, [row(0, 10), row(2, 30), row(3, 15)]);
    assert_eq!(detail().evaluate(&replies(), &[]), Vec::<Vec<Value>>::new());
}

#[test]
fn group_gives_its_first_values_and_aggregates() {
    let view = View::new("hops")
        .group("addr")
        .column("hop", "addr")
        .column("rtt.us", "rtt_us")
        .column("rtt.ms", "rtt_us")
        .divided_by(10)
        .aggregate("slowest", Aggregate::Max, "rtt_us")
        .given(Condition::is_not("seq", 2));
    let address = |last: u8| Value::Ip(IpAddr::from([192, 0, 2, last]));
    let mut rows = rows();
    rows.rotate_left(2); // the silent probe comes first now
    assert_eq!(
        view.evaluate(&replies(), &rows),
        [
            vec![address(1), Value::U64(15), Value::U64(1), Value::U64(15)],
            vec![address(2), Value::U64(500), Value::U64(50), Value::U64(500)],
        ],
    );
}

#[test]
fn order_statistics_take_values_that_were_measured() {
    let of = |aggregate: Aggregate, values: &[u64]| {
        let values: Vec<Value> = values.iter().copied().map(Value::U64).collect();
        aggregate.of(&values.iter().collect::<Vec<_>>())
    };
    assert_eq!(of(Aggregate::Median, &[4, 1, 3, 2]), Value::U64(3));
    assert_eq!(of(Aggregate::Median, &[5, 1, 3]), Value::U64(3));
    let hundred: Vec<u64> = (1..=100).rev().collect();
    assert_eq!(of(Aggregate::Percentile(95), &hundred), Value::U64(95));
    assert_eq!(of(Aggregate::Percentile(100), &hundred), Value::U64(100));
    assert_eq!(of(Aggregate::Percentile(1), &[7]), Value::U64(7));
    assert_eq!(of(Aggregate::First, &[7, 8]), Value::U64(7));
    assert_eq!(of(Aggregate::Last, &[7, 8]), Value::U64(8));
    assert_eq!(of(Aggregate::Median, &[]), Value::None);
    assert_eq!(of(Aggregate::Percentile(95), &[]), Value::None);
}

#[test]
fn sums_stay_in_the_type_of_their_values() {
    let of =
        |aggregate: Aggregate, values: &[Value]| aggregate.of(&values.iter().collect::<Vec<_>>());
    let large = [Value::U64(u64::MAX), Value::U64(u64::MAX)];
    assert_eq!(of(Aggregate::Sum, &large), Value::U64(u64::MAX));
    assert_eq!(of(Aggregate::Mean, &large), Value::U64(u64::MAX));
    assert_eq!(of(Aggregate::Mean, &[Value::I64(-3), Value::I64(0)]), Value::I64(-1));
    assert_eq!(of(Aggregate::Mean, &[Value::F64(1.0), Value::F64(2.0)]), Value::F64(1.5));
    assert_eq!(of(Aggregate::Mean, &[Value::Duration(3), Value::Duration(4)]), Value::Duration(3));
    assert_eq!(of(Aggregate::Sum, &[Value::Time(3)]), Value::None);
    assert_eq!(of(Aggregate::Mean, &[Value::Text("a".to_owned())]), Value::None);
    assert_eq!(of(Aggregate::Mean, &[Value::U64(1), Value::Bool(true)]), Value::None);
    let four = [2, 4, 4, 4, 5, 5, 7, 9].map(Value::U64);
    assert_eq!(of(Aggregate::StandardDeviation, &four), Value::F64(2.0));
}

#[test]
fn values_without_order_do_not_upset_sorting() {
    let mut values: Vec<Value> = Vec::new();
    for number in 0..200_u64 {
        values.extend([
            Value::F64(f64::NAN),
            Value::F64(number as f64),
            Value::U64((1 << 53) + 200 - number),
            Value::List(Vec::new()),
            Value::None,
        ]);
    }
    let all: Vec<&Value> = values.iter().collect();
    assert_eq!(Aggregate::Min.of(&all), Value::U64((1 << 53) + 1));
    let rows: Vec<Vec<Value>> = values.into_iter().map(|value| vec![value]).collect();
    let view = View::new("x").order("seq").group("seq").column("x", "seq");
    assert!(!view.evaluate(&replies(), &rows).is_empty());
}

#[test]
fn conditions_compare_values_of_every_type() {
    let meets = |condition: Condition| {
        let view = View::new("x").filter(condition).column("x", "seq");
        !view.evaluate(&replies(), &[reply(7, None, false)]).is_empty()
    };
    assert!(meets(Condition::is("seq", 7)));
    assert!(!meets(Condition::is_not("seq", 7)));
    assert!(meets(Condition::is("addr", "192.0.2.1")));
    assert!(!meets(Condition::is("addr", "nowhere")));
    assert!(!meets(Condition::present("rtt_us")));
    assert!(meets(Condition::is("rtt_us", Json::Null)));
    assert!(meets(Condition::is_one_of("seq", [6, 7])));
    assert!(!meets(Condition::present("no such column")));
}
