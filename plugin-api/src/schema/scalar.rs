//! A value without parts, where it lies.

use std::net::IpAddr;

use super::Value;
use crate::descriptor::Type;

/// As [`Value`], but no list and no map, and text and octets stay where they are.
// Whole words: beside an octet for the kind, an address makes every move one of odd parts, which the
// processor cannot forward from a store to the next load. Reading rows mostly waited for that.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u64)]
pub enum Scalar<'a> {
    /// Missing.
    None,
    /// True or false.
    Bool(bool),
    /// A natural number.
    U64(u64),
    /// A number that may be negative.
    I64(i64),
    /// A real number.
    F64(f64),
    /// Text.
    Text(&'a str),
    /// An address.
    Ip(IpAddr),
    /// Nanoseconds of the host's monotonic clock.
    Time(u64),
    /// Nanoseconds.
    Duration(u64),
    /// Octets.
    Bytes(&'a [u8]),
}

impl Scalar<'_> {
    /// A copy of its own.
    #[must_use]
    pub fn to_value(self) -> Value {
        match self {
            Self::None => Value::None,
            Self::Bool(value) => Value::Bool(value),
            Self::U64(value) => Value::U64(value),
            Self::I64(value) => Value::I64(value),
            Self::F64(value) => Value::F64(value),
            Self::Text(value) => Value::Text(value.to_owned()),
            Self::Ip(value) => Value::Ip(value),
            Self::Time(value) => Value::Time(value),
            Self::Duration(value) => Value::Duration(value),
            Self::Bytes(value) => Value::Bytes(value.to_vec()),
        }
    }

    /// The type of columns that hold it; a list for what is missing, which no column of scalars is.
    pub(crate) fn kind(&self) -> Type {
        match self {
            Self::None => Type::List,
            Self::Bool(_) => Type::Boolean,
            Self::U64(_) => Type::Natural,
            Self::I64(_) => Type::Integer,
            Self::F64(_) => Type::Real,
            Self::Text(_) => Type::String,
            Self::Ip(_) => Type::Address,
            Self::Time(_) => Type::Time,
            Self::Duration(_) => Type::Duration,
            Self::Bytes(_) => Type::Hex,
        }
    }
}
