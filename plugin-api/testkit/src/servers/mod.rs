//! TCP servers with each behaviour that a method may have to tell apart, and each fault.
//!
//! A server is put at a node with [`Net::host`](crate::Net::host). It has one connection, in either family.
//!
//! ```
//! use sonde_testkit::{Net, servers::{Behaviour, PageServer}};
//!
//! let deaf = Behaviour { is_deaf: true, ..Behaviour::LINUX };
//! let net = Net::draw("vantage - r1 - target\n target 198.51.100.9");
//! let net = net.host("target", PageServer::new(deaf));
//! # let _ = net;
//! ```
//!
//! | server | is |
//! |---|---|
//! | [`PageServer`] | a TCP as that of Linux that sends a page, or one that differs where its [`Behaviour`] says so |
//! | [`Receiver`] | one that only receives, with a [`Fault`] |
//! | [`Talker`] | an application: what it says is made of what it hears |
//! | [`Opener`] | one that opens a connection oddly, and acknowledges |

mod incoming;
mod opener;
mod page;
mod receiver;
mod talker;

pub use opener::Opener;
pub use page::{Behaviour, Blind, Growth, IpOptions, PageServer};
pub use receiver::{Fault, Heard, Receiver};
pub use talker::{CLOSE, Talker};

/// The first sequence number of all of them: those of their data soon begin again at 0.
pub const FIRST_SEQUENCE: u32 = 0xffff_ff00;
