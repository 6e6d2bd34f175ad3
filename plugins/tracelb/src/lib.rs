//! tracelb: which load-balanced paths lead to an address, where do they split and join, and by what?
//!
//! A probe's flow decides which path it takes. At every node so many flows are sent on that one more
//! next hop would have shown itself with the wanted confidence; whether a flow really goes through
//! the node is looked up, not guessed (node control). Links are drawn only between answers to one
//! and the same flow.
//!
//! Source: Augustin, Friedman, Teixeira, "Measuring load-balanced paths in the Internet", 2007;
//! Veitch, Augustin, Teixeira, Friedman, "Failure control in multipath route tracing", 2009;
//! Vermeulen, Strowes, Fourmaux, Friedman, "Multilevel MDA-Lite Paris traceroute", 2018.

mod diamonds;
mod explorer;
mod graph;
mod kind;
mod lines;
mod lite;
mod loss;
mod params;
mod prober;
mod report;
mod rows;
mod stopping_points;
mod views;

use sonde_plugin_api::prelude::*;

/// The method.
#[derive(Debug)]
pub struct Tracelb;

impl Method for Tracelb {
    const NAME: &'static str = "tracelb";
    const DOC: &'static str = "Load-balanced paths to an address, as a graph";
    const SOURCE: &'static str = "Augustin et al. 2007, Veitch et al. 2009, Vermeulen et al. 2018";
    /// Resets of connections that were opened half.
    const PARTING_PACKETS: u16 = 4;

    type Params = params::TracelbParams;
    type Row = rows::TracelbRow;

    fn capabilities() -> Vec<Capability> {
        views::all()
    }

    fn text() -> TextForm {
        rows::text()
    }

    fn graph() -> Option<GraphForm> {
        Some(rows::graph())
    }

    fn run(
        ctx: Ctx<rows::TracelbRow>,
        params: params::TracelbParams,
    ) -> impl Future<Output = Result<(), Fail>> + 'static {
        explorer::run(ctx, params)
    }
}

export_methods![Tracelb];

#[cfg(test)]
mod tests;
