//! What can be wrong with a message, and where.

use std::fmt;

use super::{Kind, MAX_NAME_OCTETS, VERSION};
use crate::constraint::ConstraintError;
use crate::json::JsonError;
use crate::value::ValueError;
use crate::when::WhenError;

/// Why a message is not acceptable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MessageError {
    /// To the field, as `contents[3].parameters.destination.ip4`; empty for the whole message.
    pub path: String,
    /// What is wrong there.
    pub problem: Problem,
}

/// A message that is not acceptable, by itself or in an envelope.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unreadable {
    /// What it would be.
    pub kind: Option<Kind>,
    /// By which its sender knows it.
    pub token: Option<String>,
    /// By which others know it.
    pub label: Option<String>,
    /// What is wrong with it.
    pub error: Box<MessageError>,
}

/// What is wrong with a field.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Problem {
    /// Not JSON, or beyond the limits.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Another JSON type.
    #[error("is {found}, accepted: {accepted}")]
    Type {
        /// What was received.
        found: &'static str,
        /// What can stand there.
        accepted: &'static str,
    },
    /// It must be there.
    #[error("is missing")]
    Missing,
    /// A name of something that would not stand on one line.
    #[error("has control characters, accepted: a text without")]
    Control,
    /// A longer name than anybody needs.
    #[error("has {octets} octets, accepted: at most {MAX_NAME_OCTETS}")]
    LongName {
        /// Of the name.
        octets: usize,
    },
    /// A newer version.
    #[error("is {found}, accepted: at most {VERSION}")]
    Version {
        /// As received.
        found: String,
    },
    /// None of the keys that say what a message is.
    #[error(
        "is no message, accepted: one of capability, specification, result, receipt, redemption, \
         withdrawal, interrupt, exception, envelope"
    )]
    NoKind,
    /// Two of the keys that say what a message is.
    #[error("is both {first} and {second}, accepted: one kind")]
    TwoKinds {
        /// One.
        first: Kind,
        /// Another.
        second: Kind,
    },
    /// A kind of the specification document that nobody implements.
    #[error("is an indirection, which is not supported; ask for the result itself")]
    Indirection,
    /// An envelope in an envelope.
    #[error("is an envelope within an envelope")]
    NestedEnvelope,
    /// Another kind than the reader can use.
    #[error("is {found}, accepted: {accepted}")]
    Kind {
        /// What it is.
        found: Kind,
        /// What was expected.
        accepted: &'static str,
    },
    /// A registry that is not loaded.
    #[error("is {uri:?}, which is not loaded; loaded: {loaded}")]
    UnknownRegistry {
        /// As received.
        uri: String,
        /// Those that are, joined.
        loaded: String,
    },
    /// A name that no registry has.
    #[error("{name:?} is in no registry that is loaded")]
    UnknownElement {
        /// As received.
        name: String,
    },
    /// A name that stands twice.
    #[error("{name:?} stands twice")]
    Twice {
        /// As received.
        name: String,
    },
    /// A value that the element cannot have.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// A constraint that means nothing.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// A scope that means nothing.
    #[error(transparent)]
    When(#[from] WhenError),
    /// A scope that is not absolute, in a result.
    #[error("is {when:?}, accepted: absolute times")]
    NotDefinite {
        /// As received.
        when: String,
    },
    /// A row with more values than there are columns.
    #[error("has {values} values, accepted: at most {columns}, as in results")]
    LongRow {
        /// Of the row.
        values: usize,
        /// Of the results.
        columns: usize,
    },
    /// A label that would break the RI's registration reply.
    #[error("{label:?} has a quote, a backslash or a control character")]
    Label {
        /// As given.
        label: String,
    },
}

impl MessageError {
    pub(crate) fn new(path: impl Into<String>, problem: impl Into<Problem>) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => write!(f, "message: {}", self.problem),
            path => write!(f, "{path}: {}", self.problem),
        }
    }
}

impl std::error::Error for MessageError {}
