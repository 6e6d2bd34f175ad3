//! ping: is an address responsive, with what delay and loss, and to which kinds of packets.
//!
//! Probes leave on a schedule that the first one sets; none waits for the answer to the one before.
//! An ICMP error is no answer of the destination: it is shown with who sent it, and the probe
//! counts as lost. A probe that never left counts neither as sent nor as lost.
//!
//! Source: RFC 792, RFC 4443, RFC 791 (record route), RFC 9293; RFC 2681 and RFC 7680 for what is
//! counted.

mod answer;
mod capabilities;
mod kind;
mod params;
mod plan;
mod ports;
mod rows;
mod run;
mod statistics;
mod tally;

use std::future::Future;

use sonde_plugin_api::prelude::*;

use crate::{params::PingParams, rows::PingTables};

/// The method.
struct Ping;

impl Method for Ping {
    const NAME: &'static str = "ping";
    const DOC: &'static str = "Is an address responsive, with what delay and loss";
    const SOURCE: &'static str = "RFC 792, RFC 4443, RFC 2681, RFC 7680";
    const PARTING_PACKETS: u16 = ports::MOST as u16;

    type Params = PingParams;
    type Row = PingTables;

    fn capabilities() -> Vec<Capability> {
        capabilities::all()
    }

    fn text() -> TextForm {
        rows::text()
    }

    // Not an `async fn`: that would keep its arguments twice.
    fn run(
        ctx: Ctx<PingTables>,
        params: PingParams,
    ) -> impl Future<Output = Result<(), Fail>> + 'static {
        run::run(ctx, params)
    }
}

export_methods![Ping];

#[cfg(test)]
mod tests;
