//! A parameter: what it accepts, and its values from text and JSON.

use std::cmp::Ordering;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sonde_packet::Family;

use super::{Shape, Type, expand};
use crate::capability::{Constraint, compare};
use crate::params::{ParamError, Problem};
use crate::schema::Value;
use crate::text;

/// Characters of a refused value that an error repeats.
const SHOWN: usize = 64;

/// A parameter of a method.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Parameter {
    /// The flag of the command line, without dashes.
    pub name: String,
    /// The mPlane element; may hold `{ip}`.
    pub element: String,
    /// Its type.
    #[serde(flatten)]
    pub shape: Shape,
    /// Of its numbers; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Taken where nothing is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Json>,
    /// The same, for IPv4 destinations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_ip4: Option<Json>,
    /// The same, for IPv6 destinations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_ip6: Option<Json>,
    /// Smallest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Json>,
    /// Largest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Json>,
    /// Octets of a text or of octets, entries of a list, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u32>,
    /// Of octets: an odd count of digits is taken as if a 0 stood before them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub odd_digits: bool,
    /// Whether it must be given.
    #[serde(default)]
    pub required: bool,
    /// One letter that stands for the flag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short: Option<char>,
    /// Another name of the flag.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub alias: String,
    /// What it means.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub doc: String,
}

impl Parameter {
    /// The flag that an element is known by: without the family, without `when.` or the name of
    /// the method (`scamper.ping.icmp.checksum` is `icmp-checksum`).
    #[must_use]
    pub fn flag_of(element: &str) -> String {
        let element = element.strip_suffix(".{ip}").unwrap_or(element);
        let own = match element.split_once('.') {
            Some(("when", rest)) => rest,
            Some(("scamper" | "sonde", rest)) => rest.split_once('.').map_or(rest, |(_, own)| own),
            _ => element,
        };
        own.replace('.', "-")
    }

    /// Whether `key` is its element, with or without `{ip}` filled in.
    #[must_use]
    pub fn is_element(&self, key: &str) -> bool {
        if self.element == key {
            return true;
        }
        let Some((before, behind)) = self.element.split_once("{ip}") else { return false };
        let family = key.strip_prefix(before).and_then(|key| key.strip_suffix(behind));
        matches!(family, Some("ip4" | "ip6"))
    }

    /// The default for a family; [`Value::None`] where there is none.
    #[must_use]
    pub fn default_for(&self, family: Family) -> Value {
        let own = match family {
            Family::V4 => &self.default_ip4,
            Family::V6 => &self.default_ip6,
        };
        own.as_ref()
            .or(self.default.as_ref())
            .and_then(|json| self.from_json(json))
            .unwrap_or(Value::None)
    }

    /// A value from text, as people and mPlane write it; choices in any case, a list separated by
    /// commas or blanks.
    ///
    /// `*`, nothing, and for addresses `0.0.0.0` and `::` stand for the default, unless the
    /// parameter is required. The family, where it is known, is that of addresses whose element
    /// holds `{ip}`.
    ///
    /// # Errors
    ///
    /// [`ParamError`] with what is accepted.
    pub fn parse(
        &self,
        text: &str,
        family: impl Into<Option<Family>>,
    ) -> Result<Value, ParamError> {
        let family = family.into();
        let trimmed = text.trim();
        let value = if matches!(trimmed, "" | "*") {
            Some(Value::None)
        } else if self.shape.kind == Type::List {
            trimmed
                .split([',', ' '])
                .filter(|item| !item.is_empty())
                .map(|item| self.scalar(item))
                .collect::<Option<_>>()
                .map(Value::List)
        } else {
            // only texts keep their blanks
            self.scalar(if self.is_free_text() { text } else { trimmed })
        };
        let value = value.ok_or_else(|| self.refused(text, family))?;
        let value = if self.is_unset(&value) { Value::None } else { value };
        self.check_for(&value, family)?;
        Ok(value)
    }

    /// Whether a value can be given to the method.
    ///
    /// # Errors
    ///
    /// [`ParamError`] with what is accepted.
    pub fn check(&self, value: &Value) -> Result<(), ParamError> {
        self.check_for(value, None)
    }

    /// A value of a neighbouring type as what it means, checked.
    ///
    /// # Errors
    ///
    /// [`ParamError`] with what is accepted.
    pub fn accept(&self, value: &Value, family: Family) -> Result<Value, ParamError> {
        if let Value::Text(text) = value
            && !self.is_free_text()
        {
            return self.parse(text, family);
        }
        let value = self.converted(value);
        let value = if self.is_unset(&value) { Value::None } else { value };
        self.check_for(&value, family.into())?;
        Ok(value)
    }

    /// A value from JSON, such as a default or an operator's setting; not checked further than
    /// its type.
    #[must_use]
    pub fn from_json(&self, json: &Json) -> Option<Value> {
        if let (Type::List, Json::Array(items)) = (self.shape.kind, json) {
            return items
                .iter()
                .map(|item| self.scalar_json(item))
                .collect::<Option<_>>()
                .map(Value::List);
        }
        self.scalar_json(json)
    }

    /// The constraint of a capability that offers all that the parameter accepts. Lengths of time
    /// and lists have none: mPlane has no ranges of them.
    #[must_use]
    pub fn constraint(&self) -> Constraint {
        match (&self.min, &self.max) {
            _ if self.shape.kind == Type::List => Constraint::Any,
            _ if self.shape.kind == Type::Boolean => Constraint::boolean(),
            _ if !self.shape.choices.is_empty() => {
                Constraint::Set(self.shape.choices.iter().map(|choice| self.told(choice)).collect())
            }
            (Some(min @ Json::Number(_)), Some(max @ Json::Number(_))) => {
                Constraint::range(min.clone(), max.clone())
            }
            _ => Constraint::Any,
        }
    }

    /// A choice in its JSON form.
    fn told(&self, choice: &str) -> Json {
        self.scalar(choice).map_or_else(|| choice.into(), |value| value.to_json())
    }

    /// What is accepted, in words: `28 ... 65535`, `icmp-echo, icmp-time`, `an IPv4 address`.
    #[must_use]
    pub fn accepted(&self, family: Option<Family>) -> String {
        let what = self.accepted_scalar(family);
        match (self.shape.kind, self.max_length) {
            (Type::List, Some(most)) => format!("at most {most} of {what}, separated by commas"),
            (Type::List, None) => format!("{what}, separated by commas"),
            (_, Some(most)) => format!("{what}, at most {most} octets"),
            (_, None) => what,
        }
    }

    pub(crate) fn error(&self, family: impl Into<Option<Family>>, problem: Problem) -> ParamError {
        let element = match family.into() {
            Some(family) => expand(&self.element, family),
            None => self.element.clone(),
        };
        ParamError::new(&self.name, &element, problem)
    }

    pub(crate) fn refused(&self, value: &str, family: Option<Family>) -> ParamError {
        // one number is not a misspelling of another
        let names = self.shape.choices.iter().filter(|name| text::parse_real(name).is_none());
        let near = text::nearest(value.trim(), names.map(String::as_str));
        let mut shown: String = value.chars().take(SHOWN).filter(|c| !c.is_control()).collect();
        if value.chars().nth(SHOWN).is_some() {
            shown.push('…');
        }
        let problem = Problem::Refused {
            value: if self.is_quoted() { format!("\"{shown}\"") } else { shown },
            accepted: self.accepted(family),
            near: near.map(str::to_owned),
        };
        self.error(family, problem)
    }

    fn check_for(&self, value: &Value, family: Option<Family>) -> Result<(), ParamError> {
        if value.is_none() {
            // a default may still stand in for it
            let has_default = self.default.is_some();
            return if self.required && !has_default {
                Err(self.error(family, Problem::Missing))
            } else {
                Ok(())
            };
        }
        let is_short = || {
            let Some(most) = self.max_length.and_then(|most| usize::try_from(most).ok()) else {
                return true;
            };
            match value {
                Value::Text(text) => text.len() <= most,
                Value::Bytes(octets) => octets.len() <= most,
                Value::List(values) => values.len() <= most,
                _ => true,
            }
        };
        let inside = |value: &Value| self.in_range(value) && self.in_family(value, family);
        let all_inside = || match value {
            Value::List(values) => values.iter().all(inside),
            value => inside(value),
        };
        if self.shape.fits(value) && is_short() && all_inside() {
            Ok(())
        } else {
            Err(self.refused(&value.to_string(), family))
        }
    }

    fn in_range(&self, value: &Value) -> bool {
        let bound = |json: &Option<Json>| json.as_ref().and_then(|json| self.scalar_json(json));
        // what cannot be compared, NaN above all, is outside
        let holds = |bound: Option<Value>, wrong: Ordering| {
            bound.is_none_or(|bound| compare(value, &bound).is_some_and(|order| order != wrong))
        };
        holds(bound(&self.min), Ordering::Less) && holds(bound(&self.max), Ordering::Greater)
    }

    fn in_family(&self, value: &Value, family: Option<Family>) -> bool {
        let (Value::Ip(address), Some(family)) = (value, family) else { return true };
        !self.element.contains("{ip}") || Family::of(*address) == family
    }

    /// Whether an address says "none".
    fn is_unset(&self, value: &Value) -> bool {
        !self.required && matches!(value, Value::Ip(address) if address.is_unspecified())
    }

    fn is_free_text(&self) -> bool {
        self.shape.kind == Type::String && self.shape.choices.is_empty()
    }

    fn is_quoted(&self) -> bool {
        matches!(self.shape.scalar().kind, Type::String | Type::Hex | Type::Address)
    }

    /// One value, or one entry of a list, from text.
    fn scalar(&self, item: &str) -> Option<Value> {
        let kind = self.shape.items.unwrap_or(self.shape.kind);
        let value = match kind {
            Type::Boolean => Value::Bool(text::parse_bool(item)?),
            Type::Natural => Value::U64(text::parse_integer(item)?.try_into().ok()?),
            Type::Integer => Value::I64(text::parse_integer(item)?.try_into().ok()?),
            Type::Real => Value::F64(text::parse_real(item)?),
            Type::String => Value::Text(self.choice(item)?),
            Type::Address => Value::Ip(item.parse::<IpAddr>().ok()?),
            Type::Duration => Value::Duration(text::parse_duration(item)?),
            Type::Hex => {
                let padded =
                    || text::parse_hex(&text::padded_hex(item)).filter(|_| self.odd_digits);
                Value::Bytes(text::parse_hex(item).or_else(padded)?)
            }
            Type::Time | Type::List | Type::Map => return None,
        };
        Some(value)
    }

    fn scalar_json(&self, json: &Json) -> Option<Value> {
        let kind = self.shape.items.unwrap_or(self.shape.kind);
        match json {
            Json::String(text) => self.scalar(text),
            Json::Bool(value) => (kind == Type::Boolean).then_some(Value::Bool(*value)),
            Json::Number(number) => match kind {
                Type::Natural if number.is_u64() => number.as_u64().map(Value::U64),
                Type::Integer if number.is_i64() => number.as_i64().map(Value::I64),
                Type::Real => number.as_f64().map(Value::F64),
                _ => self.scalar(&number.to_string()),
            },
            Json::Null | Json::Array(_) | Json::Object(_) => None,
        }
    }

    /// The choice that is meant, as declared; or any text where there are no choices. Where the
    /// choices are numbers, `95.0` is `95`.
    fn choice(&self, item: &str) -> Option<String> {
        let choices = &self.shape.choices;
        if choices.is_empty() {
            return Some(item.to_owned());
        }
        let same = |choice: &&String| choice.eq_ignore_ascii_case(item);
        let equal = |choice: &&String| {
            text::parse_integer(item)
                .is_some_and(|number| text::parse_integer(choice) == Some(number))
        };
        choices.iter().find(same).or_else(|| choices.iter().find(equal)).cloned()
    }

    fn converted(&self, value: &Value) -> Value {
        let kind = self.shape.kind;
        if kind.is_of(value) {
            return value.clone();
        }
        let converted = match (kind, value) {
            (Type::List, Value::None) => None,
            // one value is a list of one
            (Type::List, Value::Text(text)) => {
                self.scalar(text).map(|item| Value::List(vec![item]))
            }
            (Type::List, scalar) => Some(Value::List(vec![scalar.clone()])),
            (Type::Real, Value::U64(number)) => Some(Value::F64(*number as f64)),
            (Type::Real, Value::I64(number)) => Some(Value::F64(*number as f64)),
            (
                Type::Natural | Type::Integer | Type::String,
                Value::U64(_) | Value::I64(_) | Value::F64(_),
            ) if kind != Type::String || !self.shape.choices.is_empty() => {
                self.scalar(&value.to_string())
            }
            (Type::Boolean, Value::U64(0 | 1)) => self.scalar(&value.to_string()),
            // as in text, a bare number is seconds
            (Type::Duration, Value::U64(_) | Value::I64(_) | Value::F64(_)) => {
                self.scalar(&value.to_string())
            }
            _ => None,
        };
        converted.unwrap_or_else(|| value.clone())
    }

    fn accepted_scalar(&self, family: Option<Family>) -> String {
        if !self.shape.choices.is_empty() {
            return self.shape.choices.join(", ");
        }
        let bound = |json: &Option<Json>| match json {
            Some(Json::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
            None => None,
        };
        match (bound(&self.min), bound(&self.max)) {
            (Some(min), Some(max)) => return format!("{min} ... {max}"),
            (Some(min), None) => return format!("{min} or more"),
            (None, Some(max)) => return format!("{max} or less"),
            (None, None) => {}
        }
        match (self.shape.items.unwrap_or(self.shape.kind), family) {
            (Type::Boolean, _) => "true or false",
            (Type::Natural, _) => "a natural number",
            (Type::Integer, _) => "a whole number",
            (Type::Real, _) => "a number",
            (Type::String, _) => "text",
            (Type::Address, Some(Family::V4)) if self.element.contains("{ip}") => "an IPv4 address",
            (Type::Address, Some(Family::V6)) if self.element.contains("{ip}") => "an IPv6 address",
            (Type::Address, _) => "an IPv4 or IPv6 address",
            (Type::Duration, _) => "a duration such as 1s or 200ms",
            (Type::Hex, _) => "octets in hexadecimal",
            (Type::Time | Type::List | Type::Map, _) => "nothing that text can say",
        }
        .to_owned()
    }
}
