//! One token of a probe: a name, and what stands in parentheses behind it.
//!
//! `MSS`, `MSS(1460)` and `MSS(size=1460)` are tokens; several values have their keys and stand between commas. Which
//! there are is for the grammar to say.

use std::ops::RangeInclusive;

use sonde_plugin_api::text;

/// As written, but for the name and the keys, whose case does not count.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    /// In capitals.
    pub(crate) name: String,
    /// Keys in small letters, empty for a value without one.
    values: Vec<(String, &'a str)>,
}

impl<'a> Token<'a> {
    /// Takes it apart.
    ///
    /// # Errors
    ///
    /// What is wrong with its form, in words.
    pub(crate) fn read(token: &'a str) -> Result<Self, String> {
        let Some((name, rest)) = token.split_once('(') else {
            return Ok(Self { name: token.to_ascii_uppercase(), values: Vec::new() });
        };
        let inside = rest.strip_suffix(')').ok_or("a closing parenthesis is missing")?;
        let mut values: Vec<(String, &str)> = Vec::new();
        for part in inside.split(',') {
            let (key, value) = part.split_once('=').unwrap_or(("", part));
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
            if value.is_empty() {
                return Err("a value belongs between the parentheses".to_owned());
            }
            if values.iter().any(|(known, _)| *known == key) {
                let what = if key.is_empty() { "a second value" } else { "each key is given once" };
                return Err(format!("{what}: several are written as NAME(key=value,key=value)"));
            }
            values.push((key, value));
        }
        Ok(Self { name: name.to_ascii_uppercase(), values })
    }

    /// Says which keys it may have; a value without a key is that of the first.
    ///
    /// # Errors
    ///
    /// Where there is another key, or a value though there are none.
    pub(crate) fn accept(&mut self, keys: &[&str]) -> Result<(), String> {
        for (key, _) in &mut self.values {
            let Some(first) = keys.first() else { return Err("takes no value".to_owned()) };
            if key.is_empty() {
                (*first).clone_into(key);
            }
            if !keys.contains(&key.as_str()) {
                return Err(format!("{key:?} is unknown, accepted: {}", keys.join(", ")));
            }
        }
        let firsts = self.values.iter().filter(|(key, _)| Some(&key.as_str()) == keys.first());
        if firsts.count() > 1 {
            return Err("each key is given once".to_owned());
        }
        Ok(())
    }

    fn value(&self, key: &str) -> Option<&'a str> {
        self.values.iter().find(|(known, _)| known == key).map(|(_, value)| *value)
    }

    /// A number, decimal or behind `0x` hexadecimal.
    ///
    /// # Errors
    ///
    /// Where it is none, or not one of `accepted`.
    pub(crate) fn number<T>(
        &self,
        key: &str,
        accepted: RangeInclusive<T>,
    ) -> Result<Option<T>, String>
    where
        T: Copy + std::fmt::Display + PartialOrd + TryFrom<u64>,
    {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = match value.strip_prefix("0x") {
            // A sign is no digit.
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                u64::from_str_radix(digits, 16).ok()
            }
            None if value.bytes().all(|digit| digit.is_ascii_digit()) => value.parse().ok(),
            _ => None,
        };
        let number = number.and_then(|number| T::try_from(number).ok());
        match number.filter(|number| accepted.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(format!("{key}: accepted: {} ... {}", accepted.start(), accepted.end())),
        }
    }

    /// So many octets, written as hexadecimal digits.
    ///
    /// # Errors
    ///
    /// Where they are none, or too few or too many.
    pub(crate) fn octets(
        &self,
        key: &str,
        accepted: RangeInclusive<usize>,
    ) -> Result<Option<Vec<u8>>, String> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let octets = text::parse_hex(value).filter(|octets| accepted.contains(&octets.len()));
        octets.map(Some).ok_or_else(|| {
            let (least, most) = (accepted.start(), accepted.end());
            let count = if least == most { most.to_string() } else { format!("{least} to {most}") };
            format!("{key}: accepted: {count} octets, two hexadecimal digits each")
        })
    }
}
