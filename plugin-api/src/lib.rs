//! The contract between a sonde host and a measurement method.
pub mod abi;
pub mod port;
