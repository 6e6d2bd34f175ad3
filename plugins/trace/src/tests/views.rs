//! What supervisors get, and what a running trace takes.

use sonde_plugin_api::{
    glue::describe_method,
    schema::{Field, Value},
};

use super::*;
use crate::{plan::Plan, rows::HopRow, session::Session};

fn view(run: &Run, label: &str) -> Vec<Vec<Value>> {
    let method = describe_method::<Trace>();
    let (_, table) = method.table("hops").unwrap();
    let values = |row: &HopRow| match row.to_value() {
        Value::Map(fields) => fields.into_iter().map(|(_, value)| value).collect(),
        other => panic!("a row is no {other:?}"),
    };
    let rows: Vec<Vec<Value>> = run.typed("hops").iter().map(values).collect();
    let view = method.capabilities.iter().find(|view| view.label == label).unwrap();
    view.evaluate(table, &rows)
}

#[test]
fn the_standard_view_has_one_row_for_each_hop_with_the_first_answer() {
    for target in TARGETS {
        // With confidence every hop but the silent one has six answers.
        let run = run_in(net().silent("r2"), TraceParams { confidence: 95, ..trace(target) });
        let [first, _, third, last] = addresses(target);
        let row = |addr: Option<&str>, us: u64| match addr {
            Some(addr) => [Value::Ip(addr.parse().unwrap()), Value::U64(us / 1000), Value::U64(us)],
            None => [Value::None, Value::None, Value::None],
        };
        let expected =
            [row(Some(first), 2000), row(None, 0), row(Some(third), 6000), row(Some(last), 8000)];
        assert_eq!(view(&run, "trace-standard-{ip}"), expected, "{run}");
        assert_eq!(view(&run, "trace-full-{ip}").len(), 20, "{run}");
    }
}

#[test]
fn doubletree_rows_are_put_in_the_order_of_the_hops() {
    let lssname = Some("order".to_owned());
    let run = run_in(net(), TraceParams { firsthop: 3, lssname, ..trace(TARGET4) });
    let rows = view(&run, "trace-standard-{ip}");
    let found: Vec<String> = rows.iter().map(|row| row[0].to_string()).collect();
    assert_eq!(found, addresses(TARGET4), "{run}");
}

/// A trace that goes on holds a plan, a flow, the addresses so far and the hop at hand.
#[test]
fn a_running_trace_is_small() {
    let plan = Plan::of(trace(TARGET4)).unwrap();
    assert!(size_of_val(&plan) <= 160, "{}", size_of_val(&plan));
    assert!(size_of::<Session>() <= 480, "{}", size_of::<Session>());
    assert!(size_of::<crate::hop::Hop>() <= 64, "{}", size_of::<crate::hop::Hop>());
    assert!(size_of::<crate::path::Known>() <= 20, "{}", size_of::<crate::path::Known>());
}
