//! The types that elements have.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// Type of an element.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Primitive {
    /// Any text but `*`, which means that it is missing.
    String,
    /// An integer.
    Natural,
    /// A double.
    Real,
    /// `True` or `False`.
    #[serde(alias = "bool")]
    Boolean,
    /// A moment, in microseconds.
    Time,
    /// One IPv4 or IPv6 address.
    Address,
    /// A text that is not looked at.
    Url,
}

impl Primitive {
    /// Every type, for listings and tests.
    pub const ALL: [Self; 7] = [
        Self::String,
        Self::Natural,
        Self::Real,
        Self::Boolean,
        Self::Time,
        Self::Address,
        Self::Url,
    ];
}

impl fmt::Display for Primitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::String => "string",
            Self::Natural => "natural",
            Self::Real => "real",
            Self::Boolean => "boolean",
            Self::Time => "time",
            Self::Address => "address",
            Self::Url => "url",
        })
    }
}

impl FromStr for Primitive {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "bool" {
            return Ok(Self::Boolean);
        }
        Self::ALL.into_iter().find(|primitive| primitive.to_string() == text).ok_or(())
    }
}
