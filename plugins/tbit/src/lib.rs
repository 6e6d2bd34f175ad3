//! tbit: how do a server's TCP, and the path to it, behave?
//!
//! A connection is opened and something is asked for; what is acknowledged, withheld or forged on the way
//! depends on the test. Every packet is a row.
//!
//! Source: Padhye and Floyd, "On inferring TCP behavior", SIGCOMM 2001; Medina, Allman, Floyd, CCR 2005;
//! Luckie and Stasiewicz, "Measuring path MTU discovery behaviour", IMC 2010; Luckie et al.,
//! "Resilience of deployed TCP to blind attacks", IMC 2015; RFC 2018, 3168, 5961, 6928, 7413.

mod abc;
mod application;
mod blind;
mod ecn;
mod fetch;
mod header;
mod icw;
mod params;
mod pmtud;
mod rows;
mod run;
mod sack;
mod script;
mod session;
mod stray;
mod tls;
mod views;

use sonde_plugin_api::prelude::*;

/// The method.
#[derive(Debug)]
pub struct Tbit;

impl Method for Tbit {
    const NAME: &'static str = "tbit";
    const DOC: &'static str = "How a TCP server, and the path to it, behave";
    const SOURCE: &'static str = "Padhye, Floyd, SIGCOMM 2001; Medina, Allman, Floyd, CCR 2005; Luckie et al., \
                                  IMC 2010 and 2015";
    /// A reset.
    const PARTING_PACKETS: u16 = 1;
    const NEEDS: &'static [Need] = &[Need::QuietKernel, Need::RealConnections];
    const WANTS: &'static [Need] = &[Need::IpOptions, Need::Spoof];

    type Params = params::TbitParams;
    type Row = rows::TbitRow;

    fn capabilities() -> Vec<Capability> {
        views::all()
    }

    fn text() -> TextForm {
        rows::text()
    }

    fn run(
        ctx: Ctx<rows::TbitRow>,
        params: params::TbitParams,
    ) -> impl Future<Output = Result<(), Fail>> + 'static {
        run::run(ctx, params)
    }
}

export_methods![Tbit];

#[cfg(test)]
mod tests;
