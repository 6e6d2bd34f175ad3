//! Plugins: how they are loaded, jailed, fed and survived.
//!
//! A plugin is a shared library with methods in it. [`load`] opens one and checks it against the
//! published interface. The engine talks to it through a
//! [`Port`](sonde_plugin_api::port::Port), of which there are two: [`ProcessPort`] keeps the plugin
//! in a process of its own that can do nothing but compute, [`InlinePort`] runs it in the engine's
//! thread. [`describe()`] reads what a plugin offers, in a jailed child as well, so that the host
//! itself never runs a line of a plugin unless an operator asks for `inline`.
//!
//! Nothing that comes from a plugin or its worker is trusted: lengths and counters of the shared
//! memory are checked, what is handed on has been copied before, texts are cut to one line. Whether
//! an action makes sense (its task, its flow, its range of bytes) is for the engine to check.

mod back_off;
mod describe;
mod effort;
mod elf;
mod entry;
mod error;
mod inline;
mod jail;
mod limits;
mod loader;
mod process;
mod reason;
mod shared;
mod spawn;
mod store;

pub use back_off::BackOff;
pub use describe::{Described, describe, describe_within};
pub use entry::worker_main;
pub use error::LoadError;
pub use inline::InlinePort;
pub use limits::{Limits, MAX_IMAGE_OCTETS};
pub use loader::{Build, Loaded, host_api, load, load_kept};
pub use process::{ProcessPort, Spawn};
pub use store::{Kept, Store};
