//! What a method needs: `use sonde_plugin_api::prelude::*;`

pub use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

pub use sonde_packet::{Class, Family, Key};

pub use crate::{
    Ctx, Departure, Either, Fail, Flow, FlowSpec, Heard, Method, NotSent, Outcome, Probe, Reply,
    StampSource, Time, WallTime,
    capability::{Aggregate, Capability, Constraint},
    choices,
    descriptor::Need,
    export_methods,
    graph_form::{GraphForm, GraphParts},
    join, join_all, params,
    params::Params as _,
    port_behind, row,
    schema::Hex,
    select, tables,
    text_form::TextForm,
};
