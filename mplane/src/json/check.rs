//! The first look at JSON: limits, syntax, keys that stand twice, and an outline. Nothing is built but the set of keys,
//! so that refusing costs little, wherever in the octets the reason stands.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
    fmt,
};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};

use super::{JsonError, MAX_DEPTH, MAX_KEYS, MAX_OCTETS, MAX_VALUES};

/// Octets that are looked at together.
const BLOCK: usize = 32;

/// JSON within the limits, and what stands at its outermost level.
pub(crate) struct Checked<'a> {
    text: &'a str,
    /// The outermost value; of an object the values of known keys. Arrays and objects within it are empty.
    pub(crate) outline: Json,
}

impl Checked<'_> {
    /// Builds all of it.
    pub(crate) fn build(&self) -> Result<Json, JsonError> {
        serde_json::from_str(self.text)
            .map_err(|error| JsonError::Syntax { reason: error.to_string() })
    }
}

/// Checks JSON; the outline holds values of `known` keys.
pub(crate) fn check<'a>(octets: &'a [u8], known: &[&str]) -> Result<Checked<'a>, JsonError> {
    if octets.len() > MAX_OCTETS {
        return Err(JsonError::TooLong { octets: octets.len() });
    }
    let keys = measure(octets)?;
    let text = std::str::from_utf8(octets)
        .map_err(|error| JsonError::NotUtf8 { offset: error.valid_up_to() })?;
    let mut state =
        State { known, seen: HashMap::with_capacity(keys), objects: 0, duplicate: None };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let place = Place { is_outermost: true, is_kept: true };
    let checked = Seed { state: &mut state, place }
        .deserialize(&mut deserializer)
        .and_then(|outline| deserializer.end().map(|()| outline));
    match (checked, state.duplicate) {
        (Ok(outline), _) => Ok(Checked { text, outline }),
        (Err(_), Some(key)) => Err(JsonError::DuplicateKey { key }),
        (Err(error), None) => Err(JsonError::Syntax { reason: error.to_string() }),
    }
}

/// Counts keys; what is no JSON at all is left to the parser.
fn measure(octets: &[u8]) -> Result<usize, JsonError> {
    let (mut depth, mut keys, mut values) = (0_usize, 0_usize, 0_usize);
    let (mut in_text, mut escaped) = (false, false);
    for (number, block) in octets.chunks(BLOCK).enumerate() {
        if !escaped && is_plain(block, in_text) {
            continue;
        }
        for (place, octet) in block.iter().enumerate() {
            let offset = number * BLOCK + place;
            if in_text {
                match octet {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => in_text = false,
                    _ => {}
                }
                continue;
            }
            match octet {
                b'"' => in_text = true,
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
    }
    Ok(keys)
}

/// Whether nothing in a block counts or ends. Without branches, so that many octets are looked at in one step.
fn is_plain(block: &[u8], in_text: bool) -> bool {
    if in_text {
        block.iter().fold(true, |plain, &octet| plain & (octet != b'"') & (octet != b'\\'))
    } else {
        block.iter().fold(true, |plain, &octet| {
            let is_bracket = matches!(octet, b'[' | b']' | b'{' | b'}');
            plain & !is_bracket & (octet != b'"') & (octet != b':') & (octet != b',')
        })
    }
}

struct State<'k, 'de> {
    known: &'k [&'k str],
    /// Keys, with the number of their object.
    seen: HashMap<(u32, Cow<'de, str>), ()>,
    objects: u32,
    duplicate: Option<String>,
}

#[derive(Clone, Copy)]
struct Place {
    is_outermost: bool,
    /// Scalars go into the outline.
    is_kept: bool,
}

const WITHIN: Place = Place { is_outermost: false, is_kept: false };

struct Seed<'s, 'k, 'de> {
    state: &'s mut State<'k, 'de>,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_, 'de> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Seed<'_, '_, '_> {
    fn scalar(&self, value: impl Into<Json>) -> Json {
        if self.place.is_kept { value.into() } else { Json::Null }
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_, 'de> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(self.scalar(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(self.scalar(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(self.scalar(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(self.scalar(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(if self.place.is_kept { Json::String(text.to_owned()) } else { Json::Null })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        while items.next_element_seed(Seed { state: self.state, place: WITHIN })?.is_some() {}
        Ok(Json::Array(Vec::new()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let (state, is_outermost) = (self.state, self.place.is_outermost);
        let object = state.objects;
        state.objects += 1;
        let mut outline = Map::new();
        while let Some(Key(key)) = entries.next_key()? {
            let known =
                if is_outermost { state.known.iter().find(|known| **known == key) } else { None };
            match state.seen.entry((object, key)) {
                Entry::Vacant(place) => drop(place.insert(())),
                Entry::Occupied(place) => {
                    state.duplicate = Some(place.key().1.to_string());
                    return Err(A::Error::custom("a key stands twice"));
                }
            }
            let place = Place { is_outermost: false, is_kept: known.is_some() };
            let value = entries.next_value_seed(Seed { state: &mut *state, place })?;
            if let Some(known) = known {
                outline.insert((*known).to_owned(), value);
            }
        }
        Ok(Json::Object(outline))
    }
}

/// A key, copied only where it has escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outline_holds_scalars_of_known_keys_and_empty_arrays_and_objects() {
        let text = br#"{"a":"x","b":[1,{"a":2}],"c":{"d":3},"e":4,"f":5}"#;
        let outline = check(text, &["a", "b", "c", "e", "g"]).unwrap().outline;
        assert_eq!(outline.to_string(), r#"{"a":"x","b":[],"c":{},"e":4}"#);
        assert_eq!(check(b"[{\"a\":1}]", &["a"]).unwrap().outline.to_string(), "[]");
    }

    #[test]
    fn blocks_that_are_left_out_change_no_count() {
        // Every place that a mark, a quote or an escape can have in a block.
        for shift in 0..2 * BLOCK {
            let blanks = " ".repeat(shift);
            let text = format!("{blanks}[\"{blanks}\\\"[{{:,\",{{\"a\"{blanks}:{blanks}0}}]");
            assert_eq!(measure(text.as_bytes()), Ok(1), "{text}");
            let deep = format!("{blanks}{}", "[".repeat(MAX_DEPTH + 1));
            let offset = shift + MAX_DEPTH;
            assert_eq!(measure(deep.as_bytes()), Err(JsonError::TooDeep { offset }));
        }
    }

    #[test]
    fn a_key_that_is_spelt_with_an_escape_is_the_same_key() {
        let refused = check(br#"{"a":1,"\u0061":2}"#, &[]).map(|_| ());
        assert_eq!(refused, Err(JsonError::DuplicateKey { key: "a".to_owned() }));
    }
}
