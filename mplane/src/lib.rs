//! The mPlane protocol as data: messages, registry, primitive types, constraints, time scopes, tokens.
//!
//! Pure: no clock, no network, no file. What was received is hostile until [`Message::from_json`] has
//! read it; what is written is read by the Python reference implementation (RI), and tokens are byte
//! for byte those that it computes.
//!
//! ```
//! use sonde_mplane::{Capability, Message, Registries};
//!
//! let registries = Registries::built_in();
//! let capability = Capability::build("ping-average-ip4", "now ... future / 1s")
//!     .registry("")
//!     .parameter("destination.ip4", "*")
//!     .parameter("source.ip4", "192.0.2.1")
//!     .metadata("System_type", "Scamper")
//!     .result("delay.twoway.icmp.us.min")
//!     .finish(&registries)?;
//! let text = Message::from(capability.clone()).to_json();
//! assert_eq!(Message::from_json(text.as_bytes(), &registries)?, Message::from(capability));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Source: the mPlane protocol as the RI (`mplane-sdk` 0.9.0 and its branch `sdk`) speaks it.

mod constraint;
mod float;
mod json;
mod matching;
mod merge;
mod message;
mod primitive;
mod registry;
mod time;
mod token;
mod value;
mod when;

/// A text for an error: its beginning, if a stranger made it long.
pub(crate) fn excerpt(text: &str) -> String {
    const LENGTH: usize = 120;
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

pub use self::constraint::{Constraint, ConstraintError};
pub use self::json::{JsonError, MAX_DEPTH, MAX_ENVELOPE_KEYS, MAX_KEYS, MAX_OCTETS, MAX_VALUES};
pub use self::matching::{Mismatch, Strictness};
pub use self::merge::MergeError;
pub use self::message::{
    Capability, CapabilityBuilder, Envelope, Exception, Field, Head, Kind, MAX_NAME_OCTETS,
    Measured, Message, MessageError, Outcome, Outcomes, Parameter, Problem, Reference,
    Specification, Unreadable, VERSION,
};
pub use self::primitive::Primitive;
pub use self::registry::{CORE_URI, Element, Registries, Registry, RegistryError, Unknown};
pub use self::time::{Moment, Time, TimeError};
pub use self::value::{Value, ValueError};
pub use self::when::{Cron, Inner, Occurrences, Repeat, Timers, When, WhenError};

/// Media type of mPlane messages; compared as a whole by the RI, so nothing may follow it.
pub const MEDIA_TYPE: &str = "application/x-mplane+json";

/// Label of the capability and the specification that set the time of the next poll.
pub const CALLBACK: &str = "callback";
