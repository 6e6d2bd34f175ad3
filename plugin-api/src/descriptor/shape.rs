//! Types of parameters and columns.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Column;
use crate::schema::Value;

/// What kind of value.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// True or false.
    Boolean,
    /// A whole number from 0.
    Natural,
    /// A whole number that may be negative.
    Integer,
    /// A real number.
    Real,
    /// Text, or one of the choices.
    String,
    /// An IPv4 or IPv6 address.
    Address,
    /// A moment.
    Time,
    /// A length of time.
    Duration,
    /// Octets, hexadecimal in text.
    Hex,
    /// Several values.
    List,
    /// Values by name.
    Map,
}

impl Type {
    /// Whether `value` is of this type, whatever is inside it.
    #[must_use]
    pub fn is_of(self, value: &Value) -> bool {
        matches!(
            (self, value),
            (Self::Boolean, Value::Bool(_))
                | (Self::Natural, Value::U64(_))
                | (Self::Integer, Value::I64(_))
                | (Self::Real, Value::F64(_))
                | (Self::String, Value::Text(_))
                | (Self::Address, Value::Ip(_))
                | (Self::Time, Value::Time(_))
                | (Self::Duration, Value::Duration(_))
                | (Self::Hex, Value::Bytes(_))
                | (Self::List, Value::List(_))
                | (Self::Map, Value::Map(_))
        )
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "boolean",
            Self::Natural => "natural",
            Self::Integer => "integer",
            Self::Real => "real",
            Self::String => "string",
            Self::Address => "address",
            Self::Time => "time",
            Self::Duration => "duration",
            Self::Hex => "hex",
            Self::List => "list",
            Self::Map => "map",
        })
    }
}

/// A type with what is known of its parts. What a list of lists holds is not told.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Shape {
    /// Of the value itself.
    #[serde(rename = "type")]
    pub kind: Type,
    /// Of what is in a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Type>,
    /// The only values that there are, of the value or of what is in the list; any if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// What is in a map, or in the maps of a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Column>,
}

impl Shape {
    /// A type without parts.
    #[must_use]
    pub fn of(kind: Type) -> Self {
        Self { kind, items: None, choices: Vec::new(), fields: Vec::new() }
    }

    /// One of the names.
    #[must_use]
    pub fn choice(names: &[&str]) -> Self {
        let choices = names.iter().map(|&name| name.to_owned()).collect();
        Self { choices, ..Self::of(Type::String) }
    }

    /// A map.
    #[must_use]
    pub fn map(fields: Vec<Column>) -> Self {
        Self { fields, ..Self::of(Type::Map) }
    }

    /// A list of values of this shape.
    #[must_use]
    pub fn list(self) -> Self {
        // of a list of lists only the outer one is told, whose items have no parts of their own
        let inner = if self.kind == Type::List { Self::of(Type::List) } else { self };
        Self { kind: Type::List, items: Some(inner.kind), ..inner }
    }

    /// The shape of what is in a list, or the shape itself.
    #[must_use]
    pub fn scalar(&self) -> Self {
        Self { kind: self.items.unwrap_or(self.kind), items: None, ..self.clone() }
    }

    /// Whether `value` is of this shape to the last part. Missing values are the caller's matter.
    #[must_use]
    pub fn fits(&self, value: &Value) -> bool {
        match value {
            Value::List(values) if self.kind == Type::List => match self.items {
                Some(kind) => values.iter().all(|value| self.part_fits(kind, value)),
                None => true,
            },
            _ => self.part_fits(self.kind, value),
        }
    }

    fn part_fits(&self, kind: Type, value: &Value) -> bool {
        if !kind.is_of(value) {
            return false;
        }
        match value {
            Value::Map(entries) => {
                entries.len() == self.fields.len()
                    && entries
                        .iter()
                        .zip(&self.fields)
                        .all(|((name, value), field)| *name == field.name && field.fits(value))
            }
            Value::List(_) => true,
            Value::Text(text) => self.choices.is_empty() || self.choices.contains(text),
            other => self.choices.is_empty() || self.choices.contains(&other.to_string()),
        }
    }
}
