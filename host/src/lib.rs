//! From a request to a measurement, from rows to a result.
//!
//! The host knows what plugins offer ([`Catalogue`]), runs them through the engine ([`Host`]) and
//! makes one record of each measurement ([`record`]). It knows no method by name.

mod catalogue;
pub mod component;
mod config;
mod identities;
mod lists;
mod measure;
mod prepared;
pub mod record;
mod settings;

pub use catalogue::{Catalogue, Offer, Refusal};
pub use config::Configuration;
pub use lists::Lists;
pub use measure::{Host, HostError, Notice, Status};
pub use prepared::Prepared;
pub use settings::{Isolation, Settings, StoreError};
pub use sonde_config::Mistake;
pub use sonde_engine::{Limits, ListError, OpenError, Rate, RunId, Stamps, Statistics, Tap};

/// The hidden command of a worker process; never returns.
pub use sonde_worker::worker_main;
