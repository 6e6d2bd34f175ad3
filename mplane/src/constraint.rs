//! What values a parameter may have.
//!
//! A set keeps the order in which it was received, because its text is part of a token; the RI prints
//! sets of texts in an order of its own. Equality does not look at the order.
//!
//! Source: the RI's constraints; prefixes of the specification document do not exist.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value as Json;

use crate::excerpt;
use crate::primitive::Primitive;
use crate::value::{Value, ValueError};

pub(crate) const RANGE: &str = " ... ";

/// What values a parameter may have.
#[derive(Clone, Debug)]
pub enum Constraint {
    /// Everything, also nothing.
    Any,
    /// Both ends count; the first is not above the second.
    Range(Value, Value),
    /// One of these, in the order received, each once; booleans ascend.
    Set(Vec<Value>),
}

/// Why a text is no constraint.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConstraintError {
    /// An end or an item is no value.
    #[error("constraint {text:?}: {reason}")]
    Value {
        /// As received.
        text: String,
        /// What is wrong with the end or item.
        #[source]
        reason: ValueError,
    },
    /// More than two ends.
    #[error("constraint {text:?} has more than two ends, accepted: A ... B")]
    Ends {
        /// As received.
        text: String,
    },
    /// The ends have no order: two families, not a number, a missing value.
    #[error("constraint {text:?} has ends that cannot be compared")]
    Order {
        /// As received.
        text: String,
    },
}

impl Constraint {
    /// Reads a text: `*`, `A ... B` or `a,b,c`.
    ///
    /// Reversed ends of a range are put in order.
    ///
    /// # Errors
    ///
    /// [`ConstraintError`] with the whole text.
    pub fn parse(text: &str, primitive: Primitive) -> Result<Self, ConstraintError> {
        let value = |part: &str| {
            Value::parse(part, primitive)
                .map_err(|reason| ConstraintError::Value { text: excerpt(text), reason })
        };
        if text == "*" {
            return Ok(Self::Any);
        }
        if text.find(RANGE).is_some_and(|at| at > 0) {
            let mut ends = text.split(RANGE);
            let (from, to) = match (ends.next(), ends.next(), ends.next()) {
                (Some(from), Some(to), None) => (value(from)?, value(to)?),
                _ => return Err(ConstraintError::Ends { text: excerpt(text) }),
            };
            return Self::range(from, to)
                .ok_or_else(|| ConstraintError::Order { text: excerpt(text) });
        }
        text.split(',').map(value).collect::<Result<Vec<_>, _>>().map(Self::set)
    }

    /// Reads what stands in a message; a JSON number or boolean is a set of one.
    ///
    /// # Errors
    ///
    /// As [`Constraint::parse`].
    pub fn from_json(json: &Json, primitive: Primitive) -> Result<Self, ConstraintError> {
        match json {
            Json::String(text) => Self::parse(text, primitive),
            other => {
                Value::from_json(other, primitive).map(|value| Self::Set(vec![value])).map_err(
                    |reason| ConstraintError::Value { text: excerpt(&other.to_string()), reason },
                )
            }
        }
    }

    /// Reads that of an element that no registry knows: a set of texts, of which a range may be one.
    ///
    /// # Errors
    ///
    /// As [`Constraint::parse`].
    pub(crate) fn of_unknown(json: &Json) -> Result<Self, ConstraintError> {
        match json.as_str() {
            None | Some("*") => Self::from_json(json, Primitive::String),
            Some(text) => Ok(Self::set(text.split(',').map(Value::from))),
        }
    }

    /// From one value to another in either order; none if they cannot be compared.
    #[must_use]
    pub fn range(from: Value, to: Value) -> Option<Self> {
        match from.compare(&to)? {
            Ordering::Greater => Some(Self::Range(to, from)),
            Ordering::Equal | Ordering::Less => Some(Self::Range(from, to)),
        }
    }

    /// One of these values; repeated ones count once.
    #[must_use]
    pub fn set(values: impl IntoIterator<Item = Value>) -> Self {
        let mut items: Vec<Value> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for value in values {
            if seen.insert(value.to_string()) {
                items.push(value);
            }
        }
        if items.iter().all(|item| matches!(item, Value::Boolean(_))) {
            items.sort_by_key(Value::as_bool);
        }
        Self::Set(items)
    }

    /// Whether a parameter may have this value.
    ///
    /// A missing value meets [`Constraint::Any`] alone.
    #[must_use]
    pub fn is_met_by(&self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Range(from, to) => {
                from.compare(value).is_some_and(Ordering::is_le)
                    && value.compare(to).is_some_and(Ordering::is_le)
            }
            Self::Set(items) => !value.is_missing() && items.contains(value),
        }
    }

    /// The only value that is possible; such a parameter is not asked for.
    #[must_use]
    pub fn single_value(&self) -> Option<&Value> {
        match self {
            Self::Range(from, to) if from == to => Some(from),
            Self::Set(items) => match items.as_slice() {
                [item] => Some(item),
                _ => None,
            },
            Self::Any | Self::Range(..) => None,
        }
    }

    /// What meets either of two constraints, if one constraint can say it.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => Some(Self::Any),
            (Self::Set(left), Self::Set(right)) => {
                Some(Self::set(left.iter().chain(right).cloned()))
            }
            (Self::Range(..), Self::Set(items)) => {
                items.iter().all(|item| self.is_met_by(item)).then(|| self.clone())
            }
            (Self::Set(_), Self::Range(..)) => other.merged(self),
            (Self::Range(from, to), Self::Range(low, high)) => {
                let overlap = from.compare(high)?.is_le() && low.compare(to)?.is_le();
                let adjacent = follows(to, low) || follows(high, from);
                let first = if from.compare(low)?.is_le() { from } else { low };
                let last = if to.compare(high)?.is_ge() { to } else { high };
                (overlap || adjacent).then(|| Self::Range(first.clone(), last.clone()))
            }
        }
    }
}

/// Whether `high` is the natural number after `low`.
fn follows(low: &Value, high: &Value) -> bool {
    match (low, high) {
        (Value::Natural(low), Value::Natural(high)) => low.checked_add(1) == Some(*high),
        _ => false,
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Range(from, to) => write!(f, "{from}{RANGE}{to}"),
            Self::Set(items) => {
                for (index, item) in items.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{item}")?;
                }
                Ok(())
            }
        }
    }
}

impl PartialEq for Constraint {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Any) => true,
            (Self::Range(from, to), Self::Range(low, high)) => from == low && to == high,
            (Self::Set(left), Self::Set(right)) => {
                let texts = |items: &[Value]| {
                    let mut texts: Vec<String> = items.iter().map(Value::to_string).collect();
                    texts.sort();
                    texts
                };
                texts(left) == texts(right)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn natural(text: &str) -> Constraint {
        Constraint::parse(text, Primitive::Natural).unwrap()
    }

    #[test]
    fn a_set_keeps_the_order_received_and_drops_what_stands_twice() {
        assert_eq!(natural("99, 95,99.0").to_string(), "99,95");
    }

    #[test]
    fn booleans_ascend() {
        let both = Constraint::parse("1,0", Primitive::Boolean).unwrap();
        assert_eq!(both.to_string(), "False,True");
    }

    #[test]
    fn a_range_over_two_families_is_refused() {
        let error = Constraint::parse("192.0.2.1 ... 2001:db8::1", Primitive::Address).unwrap_err();
        assert!(matches!(error, ConstraintError::Order { .. }));
    }

    #[test]
    fn a_missing_value_meets_no_set_and_no_range() {
        assert!(natural("*").is_met_by(&Value::Missing));
        assert!(!natural("1,2").is_met_by(&Value::Missing));
        assert!(!natural("1 ... 2").is_met_by(&Value::Missing));
    }

    #[test]
    fn merged_ranges_hold_no_value_that_neither_held() {
        assert_eq!(natural("1 ... 5").merged(&natural("6 ... 9")), Some(natural("1 ... 9")));
        assert_eq!(natural("1 ... 5").merged(&natural("3 ... 9")), Some(natural("1 ... 9")));
        assert_eq!(natural("1 ... 5").merged(&natural("7 ... 9")), None);
        assert_eq!(natural("1 ... 5").merged(&natural("2,4")), Some(natural("1 ... 5")));
        assert_eq!(natural("1 ... 5").merged(&natural("6")), None);
    }

    #[test]
    fn merged_sets_hold_the_values_of_both() {
        assert_eq!(natural("1,2").merged(&natural("3,2")), Some(natural("3,2,1")));
        assert_eq!(natural("1,2").merged(&natural("*")), Some(Constraint::Any));
    }
}
