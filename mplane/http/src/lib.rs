//! mPlane over HTTP and TLS: both kinds of server port, the client, who registers with supervisors, identities,
//! roles, limits.
//!
//! What is measured, stored or relayed is decided by who implements [`ClientPort`] and
//! [`ComponentPort`]; here is only the way there and back. Every peer has an [`Identity`], taken from its
//! certificate; without TLS all peers are the same one.
//!
//! Source: the protocol as the Python reference implementation (RI) speaks it.

mod access;
mod attendance;
mod back_off;
mod body;
mod client;
mod client_port;
mod component_port;
mod confirmed;
mod counted;
mod descriptors;
mod discovery;
mod identity;
mod impatient;
mod limits;
mod pages;
mod serve;
mod tls;

use sonde_mplane::Message;

pub use axum::Router;

pub use self::access::{Access, Pattern};
pub use self::attendance::{
    Attendance, End, Registrant, SupervisorAddress, read_registered, write_registered,
};
pub use self::client::{Client, ClientError, Polled, Timeouts, usable};
pub use self::client_port::{ClientPort, Unavailable, client_port};
pub use self::component_port::{ComponentPaths, ComponentPort, Refusal, Work, component_port};
pub use self::descriptors::most_descriptors;
pub use self::identity::{Identity, IdentityError};
pub use self::limits::Limits;
pub use self::serve::{Peer, Shared, serve};
pub use self::tls::{ClientTls, ServerTls, TlsError, TlsFiles};

/// What the RI says to a client that has no role for a capability.
pub const NOT_PERMITTED: &str = "User has no permission to request this capability";
/// What the RI says about a token that names no job.
pub const UNKNOWN_JOB: &str = "Unknown job";
/// What the RI says about a specification that fits no capability.
pub const NO_SERVICE: &str = "No service registered for specification";
/// What the RI says about a message of a kind that the port does not take.
pub const UNEXPECTED_TYPE: &str = "Unexpected message type";

/// An exception with the token of what it answers.
#[must_use]
pub fn exception(token: Option<&str>, message: impl Into<String>) -> Message {
    Message::Exception(sonde_mplane::Exception {
        token: token.map(str::to_owned),
        message: message.into(),
    })
}
