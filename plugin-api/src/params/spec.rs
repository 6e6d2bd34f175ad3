//! One parameter of a `params!` block.

use std::ops::RangeInclusive;

use serde_json::Value as Json;
use sonde_packet::Family;

use super::{ParamError, Problem};
use crate::descriptor::{Parameter, joined};
use crate::schema::{Field, Reader};

/// What is declared of a parameter; every `{ key: value }` in [`params!`](crate::params!) is a call
/// of the method `key` here.
///
/// It lives on the stack while parameters are read; nothing is allocated unless something is wrong.
#[derive(Debug)]
pub struct ParamSpec<T: Field + 'static>
where
    T::Scalar: 'static,
{
    element: &'static str,
    doc: &'static [&'static str],
    name: &'static str,
    alias: &'static str,
    unit: &'static str,
    short: Option<char>,
    range: Option<RangeInclusive<T::Scalar>>,
    is_in_range: fn(&RangeInclusive<T::Scalar>, &T::Scalar) -> bool,
    one_of: Option<&'static [T::Scalar]>,
    is_one_of: fn(&[T::Scalar], &T::Scalar) -> bool,
    max_length: Option<u32>,
    odd_digits: bool,
    default_ip4: Option<T>,
    default_ip6: Option<T>,
}

impl<T: Field + 'static> ParamSpec<T>
where
    T::Scalar: 'static,
{
    /// Of an element, with the lines of its doc comment.
    #[must_use]
    pub fn new(element: &'static str, doc: &'static [&'static str]) -> Self {
        Self {
            element,
            doc,
            name: "",
            alias: "",
            unit: "",
            short: None,
            range: None,
            is_in_range: |_, _| true,
            one_of: None,
            is_one_of: |_, _| true,
            max_length: None,
            odd_digits: false,
            default_ip4: None,
            default_ip6: None,
        }
    }

    /// Both ends count; of every entry, if it is a list.
    #[must_use]
    pub fn range(mut self, range: RangeInclusive<T::Scalar>) -> Self
    where
        T::Scalar: PartialOrd,
    {
        self.range = Some(range);
        self.is_in_range = |range, value| range.contains(value);
        self
    }

    /// The only values that there are; for numbers, `choices!` is for names.
    #[must_use]
    pub fn one_of(mut self, values: &'static [T::Scalar]) -> Self
    where
        T::Scalar: PartialEq,
    {
        self.one_of = Some(values);
        self.is_one_of = |values, value| values.contains(value);
        self
    }

    /// Octets of a text or of octets, entries of a list, at most.
    #[must_use]
    pub fn max_length(mut self, most: u32) -> Self {
        self.max_length = Some(most);
        self
    }

    /// An odd count of hexadecimal digits is taken as if a 0 stood before them.
    #[must_use]
    pub fn odd_digits(mut self, is_accepted: bool) -> Self {
        self.odd_digits = is_accepted;
        self
    }

    /// Of the number.
    #[must_use]
    pub fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// A letter that stands for the flag.
    #[must_use]
    pub fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    /// Another name of the flag.
    #[must_use]
    pub fn alias(mut self, alias: &'static str) -> Self {
        self.alias = alias;
        self
    }

    /// The flag, where the one made from the element does not do.
    #[must_use]
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Default of IPv4 destinations.
    #[must_use]
    pub fn default_ip4(mut self, value: T) -> Self {
        self.default_ip4 = Some(value);
        self
    }

    /// Default of IPv6 destinations.
    #[must_use]
    pub fn default_ip6(mut self, value: T) -> Self {
        self.default_ip6 = Some(value);
        self
    }

    /// The next value, if it is there and not missing.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if the value is not acceptable.
    pub fn read(&self, reader: &mut Reader<'_>) -> Result<Option<T>, ParamError> {
        if reader.is_at_end() {
            return Ok(None);
        }
        let value = reader.value().map_err(|error| {
            self.parameter(None).error(None, Problem::Encoding(error.to_string()))
        })?;
        if value.is_none() {
            return Ok(None);
        }
        let is_short = self.max_length.is_none_or(|most| match &value {
            crate::schema::Value::Text(text) => text.len() <= most as usize,
            crate::schema::Value::Bytes(octets) => octets.len() <= most as usize,
            crate::schema::Value::List(values) => values.len() <= most as usize,
            _ => true,
        });
        match T::from_value(&value) {
            Some(field) if is_short && self.accepts(&field) => Ok(Some(field)),
            _ => Err(self.parameter(None).refused(&value.to_string(), None)),
        }
    }

    fn accepts(&self, value: &T) -> bool {
        let mut is_good = true;
        value.scalars(&mut |scalar| {
            let in_range =
                self.range.as_ref().is_none_or(|range| (self.is_in_range)(range, scalar));
            let is_one = self.one_of.is_none_or(|values| (self.is_one_of)(values, scalar));
            is_good &= in_range && is_one;
        });
        is_good
    }

    /// The default of a family, where it has one of its own.
    #[must_use]
    pub fn family_default(self, family: Option<Family>) -> Option<T> {
        match family? {
            Family::V4 => self.default_ip4,
            Family::V6 => self.default_ip6,
        }
    }

    /// What stands for a parameter that is not given.
    ///
    /// # Errors
    ///
    /// [`Problem::Missing`] if nothing does.
    pub fn or_default(
        self,
        family: Option<Family>,
        default: Option<fn() -> T>,
    ) -> Result<T, ParamError> {
        let (element, name) = (self.element, self.name);
        self.family_default(family)
            .or_else(|| default.map(|default| default()))
            .or_else(T::absent)
            .ok_or_else(|| ParamError::new(&flag(name, element), element, Problem::Missing))
    }

    /// What a descriptor says of it.
    #[must_use]
    pub fn parameter(&self, default: Option<fn() -> T>) -> Parameter {
        let mut shape = T::shape();
        if let Some(values) = self.one_of {
            shape.choices = values.iter().map(|value| value.to_value().to_string()).collect();
        }
        let has_default = default.is_some() || T::absent().is_some();
        let range =
            self.range.as_ref().map(|range| (range.start().to_value(), range.end().to_value()));
        let ends = range.or_else(|| T::limits().filter(|_| self.one_of.is_none()));
        let (min, max) = ends.map(|(min, max)| (min.to_json(), max.to_json())).unzip();
        Parameter {
            name: flag(self.name, self.element),
            element: self.element.to_owned(),
            shape,
            unit: self.unit.to_owned(),
            default: default.map(|default| default().to_value().to_json()).and_then(told),
            default_ip4: self.default_ip4.as_ref().map(|value| value.to_value().to_json()),
            default_ip6: self.default_ip6.as_ref().map(|value| value.to_value().to_json()),
            min,
            max,
            max_length: self.max_length,
            odd_digits: self.odd_digits,
            required: !has_default,
            short: self.short,
            alias: self.alias.to_owned(),
            doc: joined(self.doc),
        }
    }
}

fn flag(name: &str, element: &str) -> String {
    if name.is_empty() { Parameter::flag_of(element) } else { name.to_owned() }
}

/// A default that is "nothing" is not told.
fn told(default: Json) -> Option<Json> {
    if default.is_null() { None } else { Some(default) }
}
