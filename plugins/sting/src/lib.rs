//! sting: how much is lost on the way to a TCP server and how much on the way back, without its help.
//!
//! The first octets of a request are left out, so the server acknowledges each later octet at once, with
//! the same number: who is acknowledged arrived. Then the hole is filled. The acknowledgement jumps to
//! the first octet that never arrived, and so on: the server itself lists what was lost on the way there.
//! What arrived and was not acknowledged was lost on the way back.
//!
//! Source: Savage, "Sting: a TCP-based network measurement tool", USITS 1999; RFC 9293; RFC 5681,
//! section 4.2 (data out of order is acknowledged at once).

mod flags;
mod hole;
mod params;
mod phases;
mod report;
mod request;
mod rows;
mod run;
mod spacing;
mod tally;
mod views;

use sonde_plugin_api::prelude::*;

/// The method.
#[derive(Debug)]
pub struct Sting;

impl Method for Sting {
    const NAME: &'static str = "sting";
    const DOC: &'static str = "Loss there and loss back, through a TCP server";
    const SOURCE: &'static str = "Savage, Sting, USITS 1999; RFC 9293, RFC 5681";
    /// A reset, and one more where the server expects another number.
    const PARTING_PACKETS: u16 = 2;
    const NEEDS: &'static [Need] = &[Need::QuietKernel, Need::RealConnections];

    type Params = params::StingParams;
    type Row = rows::StingRow;

    fn capabilities() -> Vec<Capability> {
        views::all()
    }

    fn text() -> TextForm {
        rows::text()
    }

    fn run(
        ctx: Ctx<rows::StingRow>,
        params: params::StingParams,
    ) -> impl Future<Output = Result<(), Fail>> + 'static {
        run::run(ctx, params)
    }
}

export_methods![Sting];

#[cfg(test)]
mod tests;
