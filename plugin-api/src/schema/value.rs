//! One value of any type.

use std::fmt;
use std::net::IpAddr;

use serde_json::{Map, Number};

use super::{Arena, tag};
use crate::text;

/// A parameter's or a column's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Missing: the parameter's default, or nothing measured.
    None,
    /// True or false.
    Bool(bool),
    /// A natural number.
    U64(u64),
    /// A number that may be negative.
    I64(i64),
    /// A real number.
    F64(f64),
    /// Text; choices too travel by name.
    Text(String),
    /// An address.
    Ip(IpAddr),
    /// Nanoseconds of the host's monotonic clock.
    Time(u64),
    /// Nanoseconds.
    Duration(u64),
    /// Octets; hexadecimal in text.
    Bytes(Vec<u8>),
    /// Several values of one type.
    List(Vec<Value>),
    /// Values by name, in declared order.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// Appends the value.
    pub fn encode(&self, arena: &mut Arena<'_>) {
        match self {
            Self::None => arena.fixed([tag::NONE]),
            Self::Bool(value) => arena.fixed([tag::BOOL, u8::from(*value)]),
            Self::U64(value) => arena.tagged(tag::U64, value.to_le_bytes()),
            Self::I64(value) => arena.tagged(tag::I64, value.to_le_bytes()),
            Self::F64(value) => arena.tagged(tag::F64, value.to_le_bytes()),
            Self::Text(value) => arena.counted(tag::TEXT, value.as_bytes()),
            Self::Ip(IpAddr::V4(value)) => arena.tagged(tag::IP4, value.octets()),
            Self::Ip(IpAddr::V6(value)) => arena.tagged(tag::IP6, value.octets()),
            Self::Time(value) => arena.tagged(tag::TIME, value.to_le_bytes()),
            Self::Duration(value) => arena.tagged(tag::DURATION, value.to_le_bytes()),
            Self::Bytes(value) => arena.counted(tag::BYTES, value),
            Self::List(values) => {
                arena.tagged(tag::LIST, (values.len() as u32).to_le_bytes());
                values.iter().for_each(|value| value.encode(arena));
            }
            Self::Map(entries) => {
                arena.tagged(tag::MAP, (entries.len() as u32).to_le_bytes());
                for (name, value) in entries {
                    arena.counted(tag::TEXT, name.as_bytes());
                    value.encode(arena);
                }
            }
        }
    }

    /// An address as [`Value::encode`] writes it, and how many of the octets that are.
    #[must_use]
    pub fn encoded_address(address: IpAddr) -> ([u8; 17], usize) {
        let mut octets = [0; 17];
        let length = match address {
            IpAddr::V4(address) => {
                octets[0] = tag::IP4;
                octets[1..5].copy_from_slice(&address.octets());
                5
            }
            IpAddr::V6(address) => {
                octets[0] = tag::IP6;
                octets[1..].copy_from_slice(&address.octets());
                17
            }
        };
        (octets, length)
    }

    /// Whether the value is missing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// As JSON: addresses, octets and durations as text (`"192.0.2.1"`, `"00ff"`, `"200ms"`),
    /// what is missing or not a finite number as null, monotonic times as nanoseconds.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        self.json(None)
    }

    /// As [`Value::to_json`], with times as RFC 3339 text in UTC; `wall_offset_ns` is wall time
    /// minus monotonic time.
    #[must_use]
    pub fn to_json_at(&self, wall_offset_ns: i128) -> serde_json::Value {
        self.json(Some(wall_offset_ns))
    }

    fn json(&self, wall_offset_ns: Option<i128>) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::None => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::U64(value) => Json::from(*value),
            Self::I64(value) => Json::from(*value),
            Self::F64(value) => Number::from_f64(*value).map_or(Json::Null, Json::Number),
            Self::Text(value) => Json::String(value.clone()),
            Self::Ip(value) => Json::String(value.to_string()),
            Self::Time(value) => match wall_offset_ns {
                Some(offset) => Json::String(text::rfc3339(i128::from(*value) + offset)),
                None => Json::from(*value),
            },
            Self::Duration(value) => Json::String(text::duration(*value)),
            Self::Bytes(value) => Json::String(text::hex(value)),
            Self::List(values) => values.iter().map(|value| value.json(wall_offset_ns)).collect(),
            Self::Map(entries) => Json::Object(
                entries
                    .iter()
                    .map(|(name, value)| (name.clone(), value.json(wall_offset_ns)))
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}

/// As a person writes it: the form that [`crate::descriptor::Parameter::parse`] reads.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("*"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::U64(value) | Self::Time(value) => write!(f, "{value}"),
            Self::I64(value) => write!(f, "{value}"),
            // a real number stays one when it is read again
            Self::F64(value) => write!(f, "{value:?}"),
            Self::Text(value) => f.write_str(value),
            Self::Ip(value) => write!(f, "{value}"),
            Self::Duration(value) => f.write_str(&text::duration(*value)),
            Self::Bytes(value) => f.write_str(&text::hex(value)),
            Self::List(values) => {
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if index == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Self::Map(_) => write!(f, "{}", self.to_json()),
        }
    }
}
