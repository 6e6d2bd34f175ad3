//! One value made of many.
//!
//! Pure, and the same for every host: two hosts that aggregate the same rows must not differ.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::schema::Value;

/// What is made of the values of a column. Missing values do not take part.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(into = "String", try_from = "String")]
pub enum Aggregate {
    /// How many there are.
    Count,
    /// The first.
    First,
    /// The last.
    Last,
    /// The largest.
    Max,
    /// Of whole numbers without its fraction.
    Mean,
    /// Of n values in ascending order that with index ⌊n/2⌋, from 0.
    Median,
    /// The smallest.
    Min,
    /// The smallest value that so many per cent of the values, 1 to 100, do not exceed.
    Percentile(u8),
    /// Of the whole population, a real number.
    StandardDeviation,
    /// Saturates.
    Sum,
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Count => "count",
            Self::First => "first",
            Self::Last => "last",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::Median => "median",
            Self::Min => "min",
            Self::Percentile(percent) => return write!(f, "p{percent}"),
            Self::StandardDeviation => "stddev",
            Self::Sum => "sum",
        })
    }
}

impl From<Aggregate> for String {
    fn from(aggregate: Aggregate) -> Self {
        aggregate.to_string()
    }
}

/// There is no such aggregate.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0:?} is no aggregate, known: count, first, last, max, mean, median, min, p1 to p100, stddev, \
     sum"
)]
pub struct UnknownAggregate(String);

impl FromStr for Aggregate {
    type Err = UnknownAggregate;

    fn from_str(text: &str) -> Result<Self, UnknownAggregate> {
        Ok(match text {
            "count" => Self::Count,
            "first" => Self::First,
            "last" => Self::Last,
            "max" => Self::Max,
            "mean" => Self::Mean,
            "median" => Self::Median,
            "min" => Self::Min,
            "stddev" => Self::StandardDeviation,
            "sum" => Self::Sum,
            _ => text
                .strip_prefix('p')
                .and_then(|percent| percent.parse().ok())
                .filter(|percent| (1..=100).contains(percent))
                .map(Self::Percentile)
                .ok_or_else(|| UnknownAggregate(text.chars().take(32).collect()))?,
        })
    }
}

impl TryFrom<String> for Aggregate {
    type Error = UnknownAggregate;

    fn try_from(text: String) -> Result<Self, UnknownAggregate> {
        text.parse()
    }
}

impl Aggregate {
    /// Of values without missing ones. [`Value::None`] if there are none, or values that cannot be
    /// added or put in order; the count then is 0 or what it is.
    #[must_use]
    pub fn of(self, values: &[&Value]) -> Value {
        match self {
            Self::Count => Value::U64(values.len() as u64),
            Self::First => pick(values.first()),
            Self::Last => pick(values.last()),
            Self::Min => pick(sorted(values).first()),
            Self::Max => pick(sorted(values).last()),
            Self::Median => {
                let sorted = sorted(values);
                pick(sorted.get(sorted.len() / 2))
            }
            Self::Percentile(percent) => {
                let sorted = sorted(values);
                let rank = (sorted.len() * usize::from(percent.min(100))).div_ceil(100);
                pick(sorted.get(rank.saturating_sub(1)))
            }
            Self::Sum => sum(values, false),
            Self::Mean => sum(values, true),
            Self::StandardDeviation => deviation(values).map_or(Value::None, Value::F64),
        }
    }
}

fn pick(value: Option<&&Value>) -> Value {
    value.map_or(Value::None, |value| (*value).clone())
}

/// In ascending order, without what has none.
fn sorted<'a>(values: &[&'a Value]) -> Vec<&'a Value> {
    let has_order = |value: &&Value| compare(value, value).is_some();
    let mut sorted: Vec<&Value> = values.iter().copied().filter(has_order).collect();
    sorted.sort_by(|a, b| total_order(a, b));
    sorted
}

/// The sum, or the mean, in the type of the values.
fn sum(values: &[&Value], mean: bool) -> Value {
    let Some(first) = values.first() else { return Value::None };
    let count = values.len() as i128;
    if let Value::F64(_) = first {
        let Some(total) = values.iter().map(|value| real(value)).sum::<Option<f64>>() else {
            return Value::None;
        };
        return Value::F64(if mean { total / values.len() as f64 } else { total });
    }
    let whole = |value: &Value| match *value {
        Value::U64(number) | Value::Duration(number) | Value::Time(number) => {
            Some(i128::from(number))
        }
        Value::I64(number) => Some(i128::from(number)),
        _ => None,
    };
    let Some(total) = values.iter().map(|value| whole(value)).sum::<Option<i128>>() else {
        return Value::None;
    };
    let number = if mean { total / count } else { total };
    let natural = u64::try_from(number.max(0)).unwrap_or(u64::MAX);
    match first {
        Value::Duration(_) => Value::Duration(natural),
        // moments have a mean, but no sum
        Value::Time(_) => {
            if mean {
                Value::Time(natural)
            } else {
                Value::None
            }
        }
        Value::I64(_) => Value::I64(number.clamp(i64::MIN.into(), i64::MAX.into()) as i64),
        _ => Value::U64(natural),
    }
}

fn real(value: &Value) -> Option<f64> {
    match *value {
        Value::U64(number) | Value::Duration(number) => Some(number as f64),
        Value::I64(number) => Some(number as f64),
        Value::F64(number) => Some(number),
        _ => None,
    }
}

fn deviation(values: &[&Value]) -> Option<f64> {
    let numbers: Vec<f64> = values.iter().map(|value| real(value)).collect::<Option<_>>()?;
    if numbers.is_empty() {
        return None;
    }
    let count = numbers.len() as f64;
    // in two passes: the sum of squares of large numbers would lose what they differ in
    let mean = numbers.iter().sum::<f64>() / count;
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    Some((squares / count).sqrt())
}

/// The order of two values of one type, or of two numbers; nothing where there is none.
#[must_use]
pub fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::U64(a), Value::U64(b))
        | (Value::Time(a), Value::Time(b))
        | (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
        (Value::I64(a), Value::I64(b)) => Some(a.cmp(b)),
        (Value::U64(a), Value::I64(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::I64(a), Value::U64(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Ip(a), Value::Ip(b)) => Some(a.cmp(b)),
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        (Value::F64(_), _) | (_, Value::F64(_)) => real(a)?.partial_cmp(&real(b)?),
        _ => None,
    }
}

/// An order of all values, whatever they are; what has no order is equal.
///
/// Sorting panics where an order contradicts itself, which [`compare`] does: with NaN, and with
/// large whole numbers that are equal to the same real number.
pub(super) fn total_order(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::None => u8::MAX,
        Value::Bool(_) => 0,
        Value::U64(_) | Value::I64(_) => 1,
        Value::F64(_) => 2,
        Value::Text(_) => 3,
        Value::Ip(_) => 4,
        Value::Time(_) => 5,
        Value::Duration(_) => 6,
        Value::Bytes(_) => 7,
        Value::List(_) | Value::Map(_) => 8,
    };
    if let (Value::F64(a), Value::F64(b)) = (a, b) {
        return a.total_cmp(b);
    }
    rank(a).cmp(&rank(b)).then_with(|| compare(a, b).unwrap_or(Ordering::Equal))
}
