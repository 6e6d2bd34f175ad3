//! Parameters of a method: declared once with [`params!`](crate::params!), and from that described,
//! read, checked, and filled in for tests.

mod choices;
mod macros;
mod spec;

use std::fmt;

#[doc(hidden)]
pub use sonde_packet::Family;

pub use self::spec::ParamSpec;
use crate::descriptor::Parameter;
use crate::schema::{Arena, Reader, to_vec};

/// Parameters of a method; [`params!`](crate::params!) implements it.
pub trait Params: Sized + 'static {
    /// Reads what a host encoded, and checks it again: the host may be older or wrong.
    ///
    /// # Errors
    ///
    /// [`ParamError`] for the first parameter that is missing or outside its range.
    fn decode(octets: &[u8]) -> Result<Self, ParamError>;

    /// Writes every parameter in declared order.
    fn encode(&self, arena: &mut Arena<'_>);

    /// What a descriptor says of them.
    fn parameters() -> Vec<Parameter>;

    /// Family of the first address among them, whose defaults count.
    fn family(&self) -> Option<Family> {
        None
    }

    /// What [`Params::decode`] reads.
    fn to_bytes(&self) -> Vec<u8> {
        to_vec(|arena| self.encode(arena))
    }
}

/// A method without parameters.
impl Params for () {
    fn decode(octets: &[u8]) -> Result<Self, ParamError> {
        if octets.is_empty() {
            Ok(())
        } else {
            Err(ParamError::new("", "parameters", Problem::Encoding("there are none".to_owned())))
        }
    }

    fn encode(&self, _: &mut Arena<'_>) {}

    fn parameters() -> Vec<Parameter> {
        Vec::new()
    }
}

/// Why a parameter was refused; whoever gave it reads this text.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{element} {problem}")]
pub struct ParamError {
    /// The flag of the command line, without dashes.
    pub name: String,
    /// The element, with the family filled in where it is known.
    pub element: String,
    /// What is wrong.
    pub problem: Problem,
}

impl ParamError {
    /// About one parameter.
    #[must_use]
    pub fn new(name: &str, element: &str, problem: Problem) -> Self {
        Self { name: name.to_owned(), element: element.to_owned(), problem }
    }

    /// The same text for somebody at a command line.
    #[must_use]
    pub fn flag_text(&self) -> String {
        format!("--{} {}", self.name, self.problem)
    }
}

/// What is wrong with a parameter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Problem {
    /// It has no default and was not given.
    Missing,
    /// The method has no such parameter.
    Unknown {
        /// The method's name.
        method: String,
        /// A parameter with a similar name.
        near: Option<String>,
    },
    /// It was given under two names.
    Twice {
        /// The other name.
        other: String,
    },
    /// Its value is not acceptable.
    Refused {
        /// As given, shortened; in quotation marks where it is text.
        value: String,
        /// What would be.
        accepted: String,
        /// A choice with a similar name.
        near: Option<String>,
    },
    /// Host and plugin do not mean the same; the text says where.
    Encoding(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let near = match self {
            Self::Missing => return f.write_str("is required"),
            Self::Encoding(reason) => return write!(f, "cannot be read: {reason}"),
            Self::Twice { other } => return write!(f, "is given twice, also as {other}"),
            Self::Unknown { method, near } => {
                write!(f, "is no parameter of {method}")?;
                near
            }
            Self::Refused { value, accepted, near } => {
                write!(f, "is {value}, accepted: {accepted}")?;
                near
            }
        };
        match near {
            Some(near) => write!(f, " (did you mean {near}?)"),
            None => Ok(()),
        }
    }
}

#[doc(hidden)]
pub fn reader(octets: &[u8]) -> Result<Reader<'_>, ParamError> {
    Reader::new(octets).map_err(unreadable)
}

#[doc(hidden)]
pub fn finish(reader: Reader<'_>) -> Result<(), ParamError> {
    reader.finish().map_err(unreadable)
}

fn unreadable(error: crate::schema::DecodeError) -> ParamError {
    ParamError::new("", "parameters", Problem::Encoding(error.to_string()))
}

#[cfg(test)]
mod tests;
