//! JSON from strangers, within limits, and JSON as the RI writes it.
//!
//! A first pass over the octets counts depth, keys and values and allocates nothing, so that what is
//! too large is refused before anything is built. The second pass refuses a key that stands twice.

use std::cell::RefCell;
use std::fmt::{self, Write};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};

/// Octets of a message.
pub const MAX_OCTETS: usize = 16 << 20;
/// Arrays and objects within each other.
pub const MAX_DEPTH: usize = 32;
/// Keys of all objects together.
pub const MAX_KEYS: usize = 100_000;
/// Values of all arrays and objects together.
pub const MAX_VALUES: usize = 250_000;

/// Why octets are not acceptable JSON.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JsonError {
    /// More octets than a message may have.
    #[error("{octets} octets, accepted: at most {MAX_OCTETS}")]
    TooLong {
        /// Of the text.
        octets: usize,
    },
    /// Arrays or objects nested too deep.
    #[error("nested deeper than {MAX_DEPTH} at octet {offset}")]
    TooDeep {
        /// Of the bracket.
        offset: usize,
    },
    /// More keys than a message may have.
    #[error("more than {MAX_KEYS} keys at octet {offset}")]
    TooManyKeys {
        /// Of the colon after the key.
        offset: usize,
    },
    /// More values than a message may have.
    #[error("more than {MAX_VALUES} values at octet {offset}")]
    TooManyValues {
        /// Of the comma before the value.
        offset: usize,
    },
    /// A key stands twice in one object.
    #[error("key {key:?} stands twice")]
    DuplicateKey {
        /// Its text.
        key: String,
    },
    /// Not UTF-8.
    #[error("no UTF-8 at octet {offset}")]
    NotUtf8 {
        /// Of the first wrong octet.
        offset: usize,
    },
    /// Not JSON; NaN and Infinity are not.
    #[error("no JSON: {reason}")]
    Syntax {
        /// With line and column.
        reason: String,
    },
}

/// Reads JSON within the limits.
pub(crate) fn parse(octets: &[u8]) -> Result<Json, JsonError> {
    if octets.len() > MAX_OCTETS {
        return Err(JsonError::TooLong { octets: octets.len() });
    }
    measure(octets)?;
    let text = std::str::from_utf8(octets)
        .map_err(|error| JsonError::NotUtf8 { offset: error.valid_up_to() })?;
    let duplicate = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let json = Seed { duplicate: &duplicate }
        .deserialize(&mut deserializer)
        .and_then(|json| deserializer.end().map(|()| json));
    json.map_err(|error| match duplicate.take() {
        Some(key) => JsonError::DuplicateKey { key },
        None => JsonError::Syntax { reason: error.to_string() },
    })
}

/// Counts without building anything; what is no JSON at all is left to the second pass.
fn measure(octets: &[u8]) -> Result<(), JsonError> {
    let (mut depth, mut keys, mut values) = (0_usize, 0_usize, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for (offset, octet) in octets.iter().enumerate() {
        if in_string {
            match octet {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match octet {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                values += 1;
                if depth > MAX_DEPTH {
                    return Err(JsonError::TooDeep { offset });
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b':' => {
                keys += 1;
                if keys > MAX_KEYS {
                    return Err(JsonError::TooManyKeys { offset });
                }
            }
            b',' => values += 1,
            _ => {}
        }
        if values > MAX_VALUES {
            return Err(JsonError::TooManyValues { offset });
        }
    }
    Ok(())
}

/// Builds a value; says which key stood twice.
#[derive(Clone, Copy)]
struct Seed<'a> {
    duplicate: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                self.duplicate.replace(Some(key));
                return Err(A::Error::custom("a key stands twice"));
            }
            let value = entries.next_value_seed(self)?;
            object.insert(key, value);
        }
        Ok(Json::Object(object))
    }
}

/// As the RI writes it: two blanks of indentation, everything outside ASCII escaped as `\u` and four digits.
///
/// Keys are written in the order of the object.
pub(crate) fn write(json: &Json) -> String {
    let pretty = serde_json::to_string_pretty(json).expect("keys are texts and numbers finite");
    if pretty.is_ascii() {
        return pretty;
    }
    let mut ascii = String::with_capacity(pretty.len() + pretty.len() / 4);
    let mut units = [0; 2];
    for character in pretty.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            for unit in character.encode_utf16(&mut units) {
                write!(ascii, "\\u{unit:04x}").expect("writing into a text cannot fail");
            }
        }
    }
    ascii
}

/// What a person calls the type.
pub(crate) fn type_name(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_within_a_text_is_no_key() {
        let text = format!("[\"{}\"]", ":".repeat(MAX_KEYS + 1));
        assert!(parse(text.as_bytes()).is_ok());
    }

    #[test]
    fn a_key_that_stands_twice_is_named() {
        assert_eq!(
            parse(br#"{"a":{"b":1,"b":2}}"#),
            Err(JsonError::DuplicateKey { key: "b".to_owned() })
        );
    }

    #[test]
    fn the_same_key_in_two_objects_is_fine() {
        assert!(parse(br#"[{"b":1},{"b":2}]"#).is_ok());
    }

    #[test]
    fn characters_outside_ascii_are_escaped_as_utf_16() {
        let json = Json::String("\u{e9}\u{1f600}\u{7f}".to_owned());
        assert_eq!(write(&json), "\"\\u00e9\\ud83d\\ude00\u{7f}\"");
    }

    #[test]
    fn depth_is_counted_without_recursion() {
        let deepest = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
        assert!(parse(deepest.as_bytes()).is_ok());
        let text = "[".repeat(10_000);
        assert_eq!(parse(text.as_bytes()), Err(JsonError::TooDeep { offset: MAX_DEPTH }));
    }
}
