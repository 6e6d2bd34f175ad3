//! JSON from strangers, within limits, and JSON as the RI writes it.
//!
//! Everything is checked before anything is built, see `check`.

mod check;

use std::fmt::Write;

use serde_json::Value as Json;

pub(crate) use self::check::{FIELDS, check};

/// Octets of a message.
pub const MAX_OCTETS: usize = 16 << 20;
/// Arrays and objects within each other.
pub const MAX_DEPTH: usize = 32;
/// Keys of all objects together.
pub const MAX_KEYS: usize = 100_000;
/// As [`MAX_KEYS`], of what a peer says at once in an envelope: a supervisor of the RI gives all that waits for a host, and
/// forgets it. As many as [`MAX_OCTETS`] of specifications have.
pub const MAX_ENVELOPE_KEYS: usize = 400_000;
/// Values of all arrays and objects together: 65,535 probes of fifteen columns.
pub const MAX_VALUES: usize = 1_000_000;

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
    #[error("more than {most} keys at octet {offset}")]
    TooManyKeys {
        /// That would be accepted.
        most: usize,
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
    check(octets, MAX_KEYS, &[], &|_| true)?.build()
}

/// As the RI writes it: two blanks of indentation, everything outside printable ASCII escaped as `\u` and four digits.
///
/// Keys are written in the order of the object.
pub(crate) fn write(json: &Json) -> String {
    let pretty = serde_json::to_string_pretty(json).expect("keys are texts and numbers finite");
    // The other control characters are escaped already.
    let is_plain = |character: char| character.is_ascii() && character != '\u{7f}';
    if pretty.chars().all(is_plain) {
        return pretty;
    }
    let mut ascii = String::with_capacity(pretty.len() + pretty.len() / 4);
    let mut units = [0; 2];
    for character in pretty.chars() {
        if is_plain(character) {
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
    fn characters_outside_printable_ascii_are_escaped_as_utf_16() {
        let json = Json::String("\u{e9}\u{1f600}\u{7f}".to_owned());
        assert_eq!(write(&json), "\"\\u00e9\\ud83d\\ude00\\u007f\"");
    }

    #[test]
    fn depth_is_counted_without_recursion() {
        let deepest = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
        assert!(parse(deepest.as_bytes()).is_ok());
        let text = "[".repeat(10_000);
        assert_eq!(parse(text.as_bytes()), Err(JsonError::TooDeep { offset: MAX_DEPTH }));
    }
}
