//! trace: which routers do packets of one flow pass on the way to an address, how long does each take
//! to answer, where and why does the path end, and which MTU does it have?
//!
//! Probes of rising TTL, one hop after the other or several at once with the same result. What a
//! router answers is read to the last octet of its quote: TTL, ToS, translated addresses, labels.
//!
//! Source: Van Jacobson's traceroute; Augustin and others, "Avoiding traceroute anomalies with Paris
//! traceroute", 2006; Donnet and others, doubletree, 2005; Luckie, Cho, Owens, "Inferring and debugging
//! path MTU discovery failures", 2005; RFC 792, 4443, 4884, 4950, 5837.

mod confidence;
mod doubletree;
mod forward;
mod hop;
mod kind;
mod params;
mod path;
mod plan;
mod pmtu;
mod reading;
mod rounds;
mod rows;
mod run;
mod session;
mod size_search;
mod views;

use sonde_plugin_api::prelude::*;

/// The method.
#[derive(Debug)]
pub struct Trace;

impl Method for Trace {
    const NAME: &'static str = "trace";
    const DOC: &'static str = "The routers on the way to an address, why the path ends, its MTU";
    const SOURCE: &'static str = "Augustin et al. 2006, Donnet et al. 2005, Luckie et al. 2005, RFC 792, 4443, 4884, 4950, 5837";
    /// Resets of connections that were opened half.
    const PARTING_PACKETS: u16 = 4;

    type Params = params::TraceParams;
    type Row = rows::TraceRow;

    fn capabilities() -> Vec<Capability> {
        views::all()
    }

    fn text() -> TextForm {
        rows::text()
    }

    // Not an `async fn`: that would keep its arguments beside what is made of them. Opening takes a
    // box of its own, which is gone before the first probe leaves.
    fn run(
        ctx: Ctx<rows::TraceRow>,
        params: params::TraceParams,
    ) -> impl Future<Output = Result<(), Fail>> + 'static {
        let plan = plan::Plan::of(params);
        let opening = plan.map(|plan| Box::pin(session::Session::open(ctx, plan)));
        async move { run::run(opening?.await?).await }
    }
}

export_methods![Trace];

#[cfg(test)]
mod tests;
