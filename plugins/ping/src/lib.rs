//! ping: is an address responsive, with what delay and loss, and to which kinds of packets?
//!
//! Probes leave on a schedule that the first one sets; none waits for the answer to the one before.
//! An ICMP error is no answer of the target: it is shown with who sent it, and the probe counts as
//! lost. A probe that never left counts neither as sent nor as lost.
//!
//! Source: RFC 792 and RFC 4443 (echo), RFC 792 (timestamp), RFC 791 (record route, IP timestamps),
//! RFC 9293 (resets), RFC 2681 and RFC 7680 (round-trip delay and loss).

mod alteration;
mod answer;
mod check;
mod kind;
mod params;
mod rows;
mod run;
mod so_far;
mod statistics;
mod too_big;
mod views;

use sonde_plugin_api::prelude::*;

/// The method.
#[derive(Debug)]
pub struct Ping;

impl Method for Ping {
    const NAME: &'static str = "ping";
    const DOC: &'static str = "Delay and loss of an address, by ICMP, TCP or UDP probes";
    const SOURCE: &'static str = "RFC 792, RFC 4443, RFC 9293, RFC 2681, RFC 7680";
    /// Resets of connections that were opened half.
    const PARTING_PACKETS: u16 = 4;
    const WANTS: &'static [Need] = &[Need::IpOptions];

    type Params = params::PingParams;
    type Row = rows::PingRow;

    fn capabilities() -> Vec<Capability> {
        views::all()
    }

    fn text() -> TextForm {
        rows::text()
    }

    // Not an `async fn`: that would keep its arguments twice.
    fn run(
        ctx: Ctx<rows::PingRow>,
        params: params::PingParams,
    ) -> impl Future<Output = Result<(), Fail>> + 'static {
        run::run(ctx, params)
    }
}

export_methods![Ping];

#[cfg(test)]
mod tests;
