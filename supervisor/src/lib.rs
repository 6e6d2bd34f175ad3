//! The mPlane supervisor: hosts register with it, clients ask it, results wait in its store.

pub mod above;
pub mod clock;
#[cfg(test)]
mod fixtures;
pub mod relay;
pub mod roster;
mod run;
pub mod service;
mod settings;
pub mod store;

pub use self::{
    run::{Listening, RunError, run},
    settings::Settings,
};
