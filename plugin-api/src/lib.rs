//! The contract between a sonde host and a measurement method.
//!
//! Two layers:
//!
//! * the author layer, for who writes a method: [`Method`], [`Ctx`], [`Flow`], [`Probe`],
//!   [`params!`], [`row!`], [`export_methods!`]; everything is in [`prelude`];
//! * the binary layer, for who writes a host: [`abi`] and [`port`], with [`descriptor`] for what a
//!   plugin says of itself and [`schema`] for the values that go in and out.

pub mod abi;
pub mod alloc;
pub mod author;
pub mod capability;
pub mod descriptor;
mod flow_octets;
pub mod glue;
pub mod graph_form;
pub mod json;
pub mod params;
pub mod port;
pub mod prelude;
pub mod row;
pub mod schema;
pub mod tcp;
pub mod text;
pub mod text_form;

pub use sonde_packet as packet;

pub use self::{
    author::{
        Burst, Ctx, Departure, Either, Fail, Flow, FlowSpec, Heard, Method, NextOfAny, NotSent,
        Outcome, Probe, ProbeFuture, Reply, Select, Sleep, StampSource, WallTime, join, join_all,
        port_behind, select,
    },
    packet::{Class, Family, Key},
    schema::Time,
};

/// What the macros of this crate need, so that a plugin needs no other dependency.
#[doc(hidden)]
pub mod __private {
    pub use abi_stable;
    pub use serde_json;
}
