//! Values of elements and their exact texts.
//!
//! On the wire values are texts. JSON numbers and booleans are taken as well; they keep their own
//! kind and are printed in it, as the RI does: a natural element given 3.5 prints `3.5`.
//!
//! Source: the RI's primitive types.

use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde_json::Value as Json;

use crate::primitive::Primitive;
use crate::time::{Moment, Time, TimeError};
use crate::{excerpt, float};

/// The value of an element.
///
/// Equality is that of the printed form: two texts or two missing values are equal, NaN equals NaN.
#[derive(Clone, Debug)]
pub enum Value {
    /// There is none.
    Missing,
    /// Of `string` and `url`.
    Text(String),
    /// Of `natural`; may be negative.
    Natural(i128),
    /// Of `real`.
    Real(f64),
    /// Of `boolean`.
    Boolean(bool),
    /// Of `time`.
    Time(Moment),
    /// Of `address`; an IPv6 address may have a zone.
    Address(IpAddr, Option<String>),
}

/// Why a text or JSON value is no value of an element.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ValueError {
    /// Not a number.
    #[error("{text:?} is no {primitive}, accepted: a decimal number")]
    Number {
        /// As received.
        text: String,
        /// What the element is.
        primitive: Primitive,
    },
    /// Infinite, not a number, or beyond 127 bits.
    #[error("{text:?} is out of range for natural, accepted: finite, below 2^127")]
    TooLarge {
        /// As received.
        text: String,
    },
    /// Another word.
    #[error("{text:?} is no boolean, accepted: True, False, 1, 0")]
    Boolean {
        /// As received.
        text: String,
    },
    /// A prefix, a name, or nonsense.
    #[error("{text:?} is no address, accepted: one IPv4 or IPv6 address")]
    Address {
        /// As received.
        text: String,
    },
    /// Not a moment.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// An array, an object, or a number where only a text can be.
    #[error("a JSON {json} is no {primitive}")]
    Type {
        /// What was received.
        json: &'static str,
        /// What the element is.
        primitive: Primitive,
    },
}

impl Value {
    /// Reads a text.
    ///
    /// `*` is a missing value; for `time` so is `None`.
    ///
    /// # Errors
    ///
    /// [`ValueError`] with the text and what is accepted.
    pub fn parse(text: &str, primitive: Primitive) -> Result<Self, ValueError> {
        let own = || excerpt(text);
        if text == "*" || text == "None" && primitive == Primitive::Time {
            return Ok(Self::Missing);
        }
        match primitive {
            // A supervisor of the RI prints a JSON boolean so, whatever the element is.
            Primitive::Natural | Primitive::Real if matches!(text, "True" | "False") => {
                Ok(Self::Boolean(text == "True"))
            }
            Primitive::String | Primitive::Url => Ok(Self::Text(text.to_owned())),
            Primitive::Natural => {
                let number = float::parse(text)
                    .ok_or_else(|| ValueError::Number { text: own(), primitive })?;
                whole(number).ok_or_else(|| ValueError::TooLarge { text: own() })
            }
            Primitive::Real => float::parse(text)
                .map(Self::Real)
                .ok_or_else(|| ValueError::Number { text: own(), primitive }),
            Primitive::Boolean => match text {
                "True" | "1" => Ok(Self::Boolean(true)),
                "False" | "0" => Ok(Self::Boolean(false)),
                _ => Err(ValueError::Boolean { text: own() }),
            },
            Primitive::Address => address(text).ok_or_else(|| ValueError::Address { text: own() }),
            Primitive::Time => Ok(Self::Time(text.parse()?)),
        }
    }

    /// Reads what stands in a message.
    ///
    /// # Errors
    ///
    /// As [`Value::parse`], and [`ValueError::Type`] for what cannot be a value.
    pub fn from_json(json: &Json, primitive: Primitive) -> Result<Self, ValueError> {
        let typed = matches!(primitive, Primitive::Address | Primitive::Time);
        match json {
            Json::Null => Ok(Self::Missing),
            Json::String(text) => Self::parse(text, primitive),
            Json::Bool(value) if !typed => Ok(Self::Boolean(*value)),
            Json::Number(number) if !typed => Ok(match (number.as_i64(), number.as_u64()) {
                (Some(integer), _) => Self::Natural(integer.into()),
                (None, Some(integer)) => Self::Natural(integer.into()),
                (None, None) => Self::Real(number.as_f64().unwrap_or(f64::NAN)),
            }),
            other => Err(ValueError::Type { json: crate::json::type_name(other), primitive }),
        }
    }

    /// What stands in a message: a text, or null for a missing time.
    #[must_use]
    pub fn to_json(&self, primitive: Primitive) -> Json {
        match (self, primitive) {
            (Self::Missing, Primitive::Time) => Json::Null,
            _ => Json::String(self.to_string()),
        }
    }

    /// As a reader takes it who knows nothing but its text: a boolean as a number is 1 or 0.
    ///
    /// # Errors
    ///
    /// As [`Value::parse`], where the text is no value of that primitive.
    pub fn readable(&self, primitive: Primitive) -> Result<Self, ValueError> {
        match (self, primitive) {
            (Self::Boolean(value), Primitive::Natural | Primitive::Real) => {
                Ok(Self::Natural(i128::from(*value)))
            }
            _ => Self::parse(&self.to_string(), primitive).map(|_| self.clone()),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }

    /// The text, of `string` and `url`.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number that it is; booleans count as 1 and 0.
    #[must_use]
    pub fn as_number(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "the caller asks for a double")]
            Self::Natural(number) => Some(*number as f64),
            Self::Real(number) => Some(*number),
            Self::Boolean(value) => Some(f64::from(u8::from(*value))),
            _ => None,
        }
    }

    /// The natural number that it is, if it has no sign and no fraction.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Natural(number) => u64::try_from(*number).ok(),
            Self::Real(number) => match whole(*number) {
                Some(Self::Natural(integer)) if number.fract() == 0.0 => integer.try_into().ok(),
                _ => None,
            },
            Self::Boolean(value) => Some(u64::from(*value)),
            _ => None,
        }
    }

    /// The boolean that it is; the numbers 1 and 0 count as one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            _ => match self.as_u64() {
                Some(0) => Some(false),
                Some(1) => Some(true),
                _ => None,
            },
        }
    }

    /// The address, without its zone.
    #[must_use]
    pub fn as_address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address, _) => Some(*address),
            _ => None,
        }
    }

    /// Order within one kind; numbers and booleans are of one kind, the two address families are not.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(left), Self::Text(right)) => Some(left.cmp(right)),
            (Self::Natural(left), Self::Natural(right)) => Some(left.cmp(right)),
            (Self::Address(IpAddr::V4(left), _), Self::Address(IpAddr::V4(right), _)) => {
                Some(left.cmp(right))
            }
            (Self::Address(IpAddr::V6(left), zone), Self::Address(IpAddr::V6(right), other)) => {
                Some(left.cmp(right).then_with(|| zone.cmp(other)))
            }
            (Self::Time(left), Self::Time(right)) => compare_moments(*left, *right),
            _ => self.as_number()?.partial_cmp(&other.as_number()?),
        }
    }
}

/// Order of moments; `now` is comparable with nothing but itself and the open ends.
fn compare_moments(left: Moment, right: Moment) -> Option<Ordering> {
    let rank = |moment: Moment| match moment {
        Moment::Past => 0,
        Moment::Now | Moment::At(_) => 1,
        Moment::Future => 2,
    };
    match (left, right) {
        (Moment::At(left), Moment::At(right)) => Some(left.cmp(&right)),
        _ if left == right => Some(Ordering::Equal),
        _ => Some(rank(left).cmp(&rank(right))).filter(|order| order.is_ne()),
    }
}

/// Truncated towards zero.
fn whole(number: f64) -> Option<Value> {
    let limit = 2_f64.powi(127);
    #[expect(clippy::cast_possible_truncation, reason = "checked: finite and within 127 bits")]
    let integer = number as i128;
    (number.is_finite() && number.abs() < limit).then_some(Value::Natural(integer))
}

fn address(text: &str) -> Option<Value> {
    let (plain, zone) = match text.split_once('%') {
        Some((_, zone)) if zone.is_empty() || zone.contains('%') => return None,
        Some((plain, zone)) => (plain, Some(zone.to_owned())),
        None => (text, None),
    };
    let address: IpAddr = plain.parse().ok()?;
    (address.is_ipv6() || zone.is_none()).then_some(Value::Address(address, zone))
}

/// As Python up to 3.12: an IPv4-mapped address has no dots.
fn print_ip6(address: Ipv6Addr) -> String {
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => format!("::ffff:{high:x}:{low:x}"),
        _ => address.to_string(),
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("*"),
            Self::Text(text) => f.write_str(text),
            Self::Natural(number) => number.fmt(f),
            Self::Real(number) => f.write_str(&float::print(*number)),
            Self::Boolean(value) => f.write_str(if *value { "True" } else { "False" }),
            Self::Time(moment) => moment.fmt(f),
            Self::Address(IpAddr::V4(address), _) => address.fmt(f),
            Self::Address(IpAddr::V6(address), None) => f.write_str(&print_ip6(*address)),
            Self::Address(IpAddr::V6(address), Some(zone)) => {
                write!(f, "{}%{zone}", print_ip6(*address))
            }
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Missing, Self::Missing) => true,
            (Self::Real(left), Self::Real(right)) if left.is_nan() => right.is_nan(),
            _ => self.compare(other) == Some(Ordering::Equal),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Natural(number.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Natural(number.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<IpAddr> for Value {
    fn from(address: IpAddr) -> Self {
        Self::Address(address, None)
    }
}

impl From<Time> for Value {
    fn from(time: Time) -> Self {
        Self::Time(Moment::At(time))
    }
}
