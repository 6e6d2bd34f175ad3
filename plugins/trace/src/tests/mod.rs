//! Traces through drawn networks: the drawing is the expected answer.

mod answers;
mod modes;
mod mtu;
mod paths;
mod views;

use sonde_plugin_api::{abi::FailKind, descriptor::Descriptor, glue::describe_json, prelude::*};
use sonde_testkit::{Net, Run, Sim, Status};

use crate::{METHODS, Trace, kind::Kind, params::TraceParams, rows::SummaryRow};

const SEED: u64 = 1;
const TARGET4: &str = "198.51.100.9";
const TARGET6: &str = "2001:db8:9::9";
const TARGETS: [&str; 2] = [TARGET4, TARGET6];

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One second for an answer, so that runs are short.
fn trace(destination: &str) -> TraceParams {
    TraceParams { wait: ms(1000), ..TraceParams::with(destination.parse().unwrap()) }
}

/// Three routers and the target; an answer of hop `n` takes `2 n` ms.
fn net() -> Net {
    Net::draw(
        "vantage - r1 - r2 - r3 - target
         r1 192.0.2.254 2001:db8:1::1
         r2 203.0.113.2 2001:db8:2::2
         r3 203.0.113.3 2001:db8:3::3
         target 198.51.100.9 2001:db8:9::9",
    )
}

/// Addresses of [`net`] on the way to a target.
fn addresses(target: &str) -> [&'static str; 4] {
    if target == TARGET4 {
        ["192.0.2.254", "203.0.113.2", "203.0.113.3", TARGET4]
    } else {
        ["2001:db8:1::1", "2001:db8:2::2", "2001:db8:3::3", TARGET6]
    }
}

#[track_caller]
fn run_in(net: Net, params: TraceParams) -> Run {
    let run = Sim::new(net, SEED).run::<Trace>(params);
    run.expect_done();
    run
}

#[track_caller]
fn summary(run: &Run) -> SummaryRow {
    let mut rows = run.typed::<SummaryRow>("summary");
    assert_eq!(rows.len(), 1, "{run}");
    rows.remove(0)
}

/// TTL and address of every row, `*` where nobody answered.
fn hops(run: &Run) -> Vec<(u8, String)> {
    let rows = run.typed::<crate::rows::HopRow>("hops");
    let name = |addr: Option<IpAddr>| addr.map_or("*".to_owned(), |addr| addr.to_string());
    rows.iter().map(|row| (row.ttl, name(row.addr))).collect()
}

/// Hops with these addresses from TTL 1 on, one row each.
fn path<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Vec<(u8, String)> {
    (1..).zip(addresses.into_iter().map(str::to_owned)).collect()
}

fn refusal(params: TraceParams) -> String {
    let run = Sim::new(net(), SEED).run::<Trace>(params);
    assert_eq!(run.counters.sent, 0, "{run}");
    match &run.status {
        Status::Failed { kind: FailKind::BadParams, text } => text.clone(),
        _ => panic!("not refused\n{run}"),
    }
}

#[test]
fn the_descriptor_is_acceptable() {
    let json = describe_json("sonde-trace", "0.1.0", METHODS);
    let descriptor = Descriptor::from_json(&json).unwrap();
    let (_, method) = descriptor.method("trace").unwrap();
    let labels: Vec<&str> = method.capabilities.iter().map(|view| view.label.as_str()).collect();
    assert_eq!(labels, ["trace-standard-{ip}", "trace-full-{ip}"]);
    assert!(method.tables[0].column("match").is_some());
}

#[test]
fn every_kind_finds_the_path_in_both_families() {
    for target in TARGETS {
        for method in Kind::ALL.iter().copied() {
            let run = run_in(net(), TraceParams { method, ..trace(target) });
            assert_eq!(hops(&run), path(addresses(target)), "{method}\n{run}");
            assert_eq!(run.stop, "reached", "{method}");
            let rows = run.table("hops");
            assert_eq!(rows.column("rtt_us"), [2000, 4000, 6000, 8000], "{method}");
            assert_eq!(rows.column("match"), ["exact"; 4], "{method}");
            let SummaryRow { sent, answered, hop_count, reached, .. } = summary(&run);
            assert_eq!((sent, answered, hop_count, reached), (4, 4, 4, true), "{method}");
        }
    }
}
