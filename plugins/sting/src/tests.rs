//! Runs in the simulated network.

use std::collections::BTreeMap;

use sonde_plugin_api::{
    packet::{
        IpHeader, protocol,
        tcp::{TcpOption, TcpView, flags},
    },
    prelude::*,
    tcp::Connection,
};
use sonde_testkit::{
    Net, Run, Sim, Status,
    servers::{Fault, Receiver},
};

use crate::{
    Sting,
    params::StingParams,
    rows::{Ending, Flag, SampleRow, StingRow, SummaryRow},
    tally::Departure,
};

mod endings;
mod losses;
mod servers;
mod wire;

const SEED: u64 = 1;
const TARGET4: &str = "198.51.100.9";
const TARGET6: &str = "2001:db8:9::9";

fn sting(target: &str, count: u16) -> StingParams {
    StingParams { count, ..StingParams::with(target.parse().unwrap()) }
}

/// Two links of 1 ms each way.
fn net() -> Net {
    Net::draw(
        "vantage - r1 - target
         r1 192.0.2.254 2001:db8:1::1
         target 198.51.100.9 2001:db8:9::9 open-tcp",
    )
}

fn run_in(net: Net, params: StingParams) -> Run {
    let run = Sim::new(net, SEED).run::<Sting>(params);
    run.expect_done();
    run
}

fn summary(run: &Run) -> SummaryRow {
    let mut rows = run.typed::<SummaryRow>("summary");
    assert_eq!(rows.len(), 1, "{run}");
    rows.remove(0)
}

/// Numbers of the packets of samples on the way there: the handshake takes two.
fn there(samples: &[u64]) -> Vec<u64> {
    samples.iter().map(|sample| sample + 2).collect()
}

/// Numbers of the acknowledgements on the way back, from 1: the handshake takes one.
fn back(acks: &[u64]) -> Vec<u64> {
    acks.iter().map(|ack| ack + 1).collect()
}

/// All octets that were sent, in order, from the first behind the SYN on.
fn request(run: &Run) -> Vec<u8> {
    let mut octets = BTreeMap::new();
    let mut first = None;
    for packet in run.exchange().sent() {
        let Some(header) = IpHeader::parse(packet).ok().filter(|it| it.protocol == protocol::TCP)
        else {
            continue;
        };
        let view = TcpView::new(header.transport(packet));
        let sequence = view.sequence().unwrap();
        let at = sequence.wrapping_sub(*first.get_or_insert(sequence.wrapping_add(1)));
        octets.extend(
            view.payload().iter().enumerate().map(|(after, octet)| (at + after as u32, *octet)),
        );
    }
    assert!(octets.keys().copied().eq(0..octets.len() as u32), "a gap: {run}");
    octets.into_values().collect()
}

/// Octets of the future that a function makes.
fn future_octets<F: Future>(_: impl FnOnce(Ctx<StingRow>, StingParams) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn a_thousand_runs_in_flight_take_little() {
    let future = future_octets(crate::run::run);
    assert!(future <= 1344, "{future}");
    let connection = size_of::<Connection<'static, StingRow>>();
    assert!(connection <= 460, "{connection}");
    assert_eq!(size_of::<Departure>(), 8);
}
