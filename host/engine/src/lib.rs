//! The engine: the only holder of packet sockets.
//!
//! It sends what methods ask for, at the pace and within the rules that the operator set; it
//! receives, finds out which probe was answered, and keeps the time, with the kernel's stamps in
//! both directions. Methods are behind [`Port`](sonde_plugin_api::port::Port)s; who asks for
//! measurements holds a [`Handle`].

mod actions;
mod arrivals;
mod asks;
mod clock;
mod config;
mod departed;
mod departures;
mod ends;
mod engine;
mod exchange;
mod flows;
mod handle;
mod identifiers;
mod interfaces;
mod last_words;
mod link;
mod output;
mod pacing;
mod policy;
mod ports;
mod privileges;
mod put_off;
mod recent;
mod route;
mod starts;
mod steps;
mod sys;
mod tasks;
mod timers;
mod wheel;

pub use config::{Config, Limits, Rate, Stamps};
pub use engine::PortMaker;
pub use handle::{Engine, Handle, OpenError, PolicySetter, drop_capabilities};
pub use output::{
    CANCELED, ClockStep, Counters, End, Ended, FORBIDDEN, NO_BUDGET, News, Output, Params, PortId,
    RunId, Start, Statistics, Tap,
};
pub use policy::{ListError, Policy, Prefixes};
pub use route::local_addresses;
pub use sys::has_lent_rights;
