//! tracebox: which header fields of a packet are changed, removed or added on the path, and between
//! which hops?
//!
//! The same probe with TTL 1, 2, …: every router that lets it expire quotes it as it came in. What the
//! quote shows otherwise than it was sent happened before that router; what is not quoted is unknown.
//!
//! Source: Detal and others, "Revealing middlebox interference with tracebox", 2013; Malone, Luckie,
//! "Analysis of ICMP quotations", 2007; RFC 792, RFC 1812, RFC 4443, RFC 4884.

mod checksums;
mod compare;
mod fields;
mod grammar;
mod intervals;
mod option_names;
mod params;
mod rows;
mod run;
mod token;
mod unusual;
mod views;

use sonde_plugin_api::prelude::*;

/// The method.
#[derive(Debug)]
pub struct Tracebox;

impl Method for Tracebox {
    const NAME: &'static str = "tracebox";
    const DOC: &'static str = "Header fields that are changed on the path, and between which hops";
    const SOURCE: &'static str =
        "Detal et al. 2013, Malone and Luckie 2007, RFC 792, 1812, 4443, 4884";
    /// The reset of a connection that was opened half.
    const PARTING_PACKETS: u16 = 1;
    /// Without it probes with options of IP are refused.
    const WANTS: &'static [Need] = &[Need::IpOptions];

    type Params = params::TraceboxParams;
    type Row = rows::TraceboxRow;

    fn capabilities() -> Vec<Capability> {
        views::all()
    }

    fn text() -> TextForm {
        rows::text()
    }

    // Not an `async fn`: that would keep its arguments twice.
    fn run(
        ctx: Ctx<rows::TraceboxRow>,
        params: params::TraceboxParams,
    ) -> impl Future<Output = Result<(), Fail>> + 'static {
        run::run(ctx, params)
    }
}

export_methods![Tracebox];

#[cfg(test)]
mod tests;
