//! The mPlane supervisor: hosts register with it, clients ask it, results wait in its store.

#[cfg(test)]
mod fixtures;
pub mod relay;
pub mod roster;
pub mod service;
pub mod store;
