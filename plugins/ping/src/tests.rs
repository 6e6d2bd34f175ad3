//! Runs in the simulated network.

use std::collections::BTreeSet;

use sonde_plugin_api::{
    abi::FailKind,
    descriptor::Descriptor,
    glue::{describe_json, describe_method},
    packet::{
        IpHeader, checksum,
        tcp::{TcpOption, TcpView, flags},
    },
    prelude::*,
    schema::{Field, Value},
};
use sonde_testkit::{
    Entry, Host, Net, Outbox, Run, Sim, Status,
    edit::{edit, put_header_checksum, put_length},
    json,
};

use crate::{
    METHODS, Ping,
    kind::{
        Kind::{
            self, IcmpEcho, IcmpTime, TcpAck, TcpAckSport, TcpRst, TcpSyn, TcpSynAck, TcpSynSport,
            Udp, UdpDport, UdpSport,
        },
        Secret,
    },
    params::PingParams,
    rows::{Clock, ReplyRow, SummaryRow},
};

mod answers;
mod gathering;
mod loss;
mod too_big;
mod views;
mod wire;

const SEED: u64 = 1;
const TARGET4: &str = "198.51.100.9";
const TARGET6: &str = "2001:db8:9::9";
fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The kinds that exist in the family of an address.
fn kinds(target: &str) -> Vec<Kind> {
    let exists = |kind: &Kind| *kind != IcmpTime || target == TARGET4;
    Kind::ALL.iter().copied().filter(exists).collect()
}

/// Those of them that the target answers.
fn answered_kinds(target: &str) -> Vec<Kind> {
    kinds(target).into_iter().filter(|kind| *kind != TcpRst).collect()
}

fn ping(destination: &str, count: u32) -> PingParams {
    PingParams { count, ..PingParams::with(destination.parse().unwrap()) }
}

fn ping_by(method: Kind, count: u32) -> PingParams {
    PingParams { method, ..ping(TARGET4, count) }
}

/// Two links of 1 ms each way; every answer of the target takes 4 ms.
fn net() -> Net {
    Net::draw(
        "vantage - r1 - target
         r1 192.0.2.254 2001:db8:1::1
         target 198.51.100.9 2001:db8:9::9",
    )
}

fn run_in(net: Net, params: PingParams) -> Run {
    let run = Sim::new(net, SEED).run::<Ping>(params);
    run.expect_done();
    run
}

fn summary(run: &Run) -> SummaryRow {
    let mut rows = run.typed::<SummaryRow>("summary");
    assert_eq!(rows.len(), 1, "{run}");
    rows.remove(0)
}

/// Sequence numbers of the rows of a kind, in the order in which they were emitted.
fn of_kind(run: &Run, kind: &str) -> Vec<u32> {
    let rows = run.typed::<ReplyRow>("replies");
    rows.iter().filter(|row| row.kind.name() == kind).map(|row| row.seq).collect()
}

fn transports(run: &Run) -> Vec<&[u8]> {
    let transport = |packet| IpHeader::parse(packet).unwrap().transport(packet);
    run.exchange().sent().map(transport).collect()
}

/// Ports or whatever else stands in this word of the transport headers of what was sent.
fn words_at(run: &Run, at: usize) -> Vec<u16> {
    let word = |octets: &[u8]| u16::from_be_bytes([octets[at], octets[at + 1]]);
    transports(run).into_iter().map(word).collect()
}

fn refusal(params: PingParams) -> String {
    let run = Sim::new(net(), SEED).run::<Ping>(params);
    assert_eq!(run.counters.sent, 0, "{run}");
    match &run.status {
        Status::Failed { kind: FailKind::BadParams, text } => text.clone(),
        _ => panic!("not refused\n{run}"),
    }
}

fn view(run: &Run, label: &str) -> Vec<Vec<Value>> {
    let method = describe_method::<Ping>();
    let (_, table) = method.table("replies").unwrap();
    let values = |row: &ReplyRow| match row.to_value() {
        Value::Map(fields) => fields.into_iter().map(|(_, value)| value).collect(),
        other => panic!("a row is no {other:?}"),
    };
    let rows: Vec<Vec<Value>> = run.typed("replies").iter().map(values).collect();
    let view = method.capabilities.iter().find(|view| view.label == label).unwrap();
    view.evaluate(table, &rows)
}
