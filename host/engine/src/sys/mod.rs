//! The kernel's packet interfaces: the only `unsafe` code of the engine.
//!
//! Everything that needs a privilege is opened by [`Sockets::open`]; from then on the process can
//! do without any. What to send where is decided in `route/`, what a received packet means further
//! up; times leave this module as the kernel gave them and are converted in `clock.rs`.

#![allow(unsafe_code, reason = "system calls that no safe library offers, and shared rings")]

mod fd;
mod filter;
mod guard;
mod messages;
mod nudge;
mod process;
mod ring;
mod send;
mod sockets;
mod stamps;
mod users;
mod wait;

pub(crate) use fd::read_clock;
pub(crate) use guard::Guard;
pub(crate) use nudge::Nudge;
pub use process::has_lent_rights;
pub(crate) use process::{forbid_new_privileges, most_descriptors, random, set_timer_slack};
pub(crate) use ring::{Received, StampSource};
pub(crate) use send::{Departure, Egress, Full};
pub(crate) use sockets::{OpenError, Options, Sockets};
pub(crate) use wait::{Poller, Wake};

#[cfg(test)]
mod costs;
#[cfg(test)]
pub(crate) mod lab;
#[cfg(test)]
mod tests;
