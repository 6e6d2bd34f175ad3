//! The first look at JSON: limits, syntax, keys that stand twice, elements that nobody knows, and an outline. Nothing
//! is built but a number for each key, so that refusing costs little, wherever in the octets the reason stands.

use std::{
    borrow::Cow,
    collections::HashSet,
    fmt,
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};

use super::{JsonError, MAX_DEPTH, MAX_OCTETS, MAX_VALUES};

/// Octets that are looked at together.
const BLOCK: usize = 32;

/// JSON within the limits, and what stands at its outermost level.
pub(crate) struct Checked<'a> {
    text: &'a str,
    /// The outermost value; of an object the values of known keys. Arrays and objects within it are empty.
    pub(crate) outline: Json,
    /// Of the outermost objects of [`FIELDS`], in their order, the first name that is no element.
    pub(crate) unknown: [Option<String>; FIELDS.len()],
}

/// Keys of outermost objects whose keys are elements.
pub(crate) const FIELDS: [&str; 2] = ["metadata", "parameters"];

impl Checked<'_> {
    /// Builds all of it.
    pub(crate) fn build(&self) -> Result<Json, JsonError> {
        serde_json::from_str(self.text)
            .map_err(|error| JsonError::Syntax { reason: error.to_string() })
    }
}

/// Checks JSON of at most `most` keys; the outline holds values of `known` ones.
pub(crate) fn check<'a>(
    octets: &'a [u8],
    most: usize,
    known: &[&str],
    is_element: &dyn Fn(&str) -> bool,
) -> Result<Checked<'a>, JsonError> {
    if octets.len() > MAX_OCTETS {
        return Err(JsonError::TooLong { octets: octets.len() });
    }
    let keys = measure(octets, most)?;
    let text = std::str::from_utf8(octets)
        .map_err(|error| JsonError::NotUtf8 { offset: error.valid_up_to() })?;
    let mut state = State {
        known,
        is_element,
        secret: RandomState::new(),
        seen: HashSet::with_capacity_and_hasher(keys, BuildHasherDefault::default()),
        objects: 0,
        duplicate: None,
        unknown: [None, None],
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let place = Place { is_outermost: true, is_kept: true, fields: None };
    let checked = Seed { state: &mut state, place }
        .deserialize(&mut deserializer)
        .and_then(|outline| deserializer.end().map(|()| outline));
    match (checked, state.duplicate) {
        (Ok(outline), _) => Ok(Checked { text, outline, unknown: state.unknown }),
        (Err(_), Some(key)) => Err(JsonError::DuplicateKey { key }),
        (Err(error), None) => Err(JsonError::Syntax { reason: error.to_string() }),
    }
}

/// Counts keys; what is no JSON at all is left to the parser.
fn measure(octets: &[u8], most: usize) -> Result<usize, JsonError> {
    let (mut depth, mut keys, mut values) = (0_usize, 0_usize, 0_usize);
    let (mut offset, mut dense_until, mut in_text) = (0, 0, false);
    while let Some(&octet) = octets.get(offset) {
        if in_text {
            let Some(ahead) = memchr::memchr2(b'"', b'\\', &octets[offset..]) else { break };
            offset += ahead;
            in_text = octets[offset] == b'\\';
            // With what a backslash is about.
            offset += if in_text { 2 } else { 1 };
            continue;
        }
        if offset >= dense_until {
            if octets.get(offset..offset + BLOCK).is_some_and(is_plain) {
                offset += BLOCK;
                continue;
            }
            dense_until = offset + BLOCK;
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
                if keys > most {
                    return Err(JsonError::TooManyKeys { most, offset });
                }
            }
            b',' => values += 1,
            _ => {}
        }
        if values > MAX_VALUES {
            return Err(JsonError::TooManyValues { offset });
        }
        offset += 1;
    }
    Ok(keys)
}

/// Whether nothing outside of a text counts or begins one. Without branches, so that many octets are looked at in one step.
fn is_plain(block: &[u8]) -> bool {
    block.iter().fold(true, |plain, &octet| {
        let is_bracket = matches!(octet, b'[' | b']' | b'{' | b'}');
        plain & !is_bracket & (octet != b'"') & (octet != b':') & (octet != b',')
    })
}

struct State<'k> {
    known: &'k [&'k str],
    is_element: &'k dyn Fn(&str) -> bool,
    secret: RandomState,
    /// Hashes of keys, each with the number of its object, by a secret of this message. Two different keys have the
    /// same 64 bits in one of 10^9 messages with as many keys as there may be.
    seen: HashSet<u64, BuildHasherDefault<AsItIs>>,
    objects: u32,
    duplicate: Option<String>,
    unknown: [Option<String>; FIELDS.len()],
}

/// For what is a hash already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.0 = self.0.rotate_left(8) ^ u64::from(*octet);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Clone, Copy)]
struct Place {
    is_outermost: bool,
    /// Scalars go into the outline.
    is_kept: bool,
    /// It is that one of [`FIELDS`].
    fields: Option<usize>,
}

const WITHIN: Place = Place { is_outermost: false, is_kept: false, fields: None };

struct Seed<'s, 'k> {
    state: &'s mut State<'k>,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Seed<'_, '_> {
    fn scalar(&self, value: impl Into<Json>) -> Json {
        if self.place.is_kept { value.into() } else { Json::Null }
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
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
        let (state, Place { is_outermost, fields, .. }) = (self.state, self.place);
        let object = state.objects;
        state.objects += 1;
        let mut outline = Map::new();
        while let Some(Key(key)) = entries.next_key()? {
            let known =
                if is_outermost { state.known.iter().find(|known| **known == key) } else { None };
            if !state.seen.insert(state.secret.hash_one((object, &*key))) {
                state.duplicate = Some(key.into_owned());
                return Err(A::Error::custom("a key stands twice"));
            }
            if let Some(unknown) = fields.map(|at| &mut state.unknown[at])
                && unknown.as_deref().is_none_or(|first| *key < *first)
                && !(state.is_element)(&key)
            {
                *unknown = Some(key.into_owned());
            }
            let fields = known.and_then(|known| FIELDS.iter().position(|it| it == known));
            let place = Place { is_outermost: false, is_kept: known.is_some(), fields };
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
    use crate::json::MAX_KEYS;

    #[test]
    fn the_outline_holds_scalars_of_known_keys_and_empty_arrays_and_objects() {
        let text = br#"{"a":"x","b":[1,{"a":2}],"c":{"d":3},"e":4,"f":5}"#;
        let outline = check(text, MAX_KEYS, &["a", "b", "c", "e", "g"], &|_| true).unwrap().outline;
        assert_eq!(outline.to_string(), r#"{"a":"x","b":[],"c":{},"e":4}"#);
        assert_eq!(
            check(b"[{\"a\":1}]", MAX_KEYS, &["a"], &|_| true).unwrap().outline.to_string(),
            "[]"
        );
    }

    #[test]
    fn the_first_name_that_is_no_element_is_known_of_outermost_fields_alone() {
        let text =
            br#"{"x":{"z":1},"parameters":{"b":{"y":1},"c":2,"a":3,"d":4},"metadata":{"d":5}}"#;
        let checked =
            check(text, MAX_KEYS, &["parameters", "metadata"], &|name| name == "d").unwrap();
        assert_eq!(checked.unknown, [None, Some("a".to_owned())]);
    }

    #[test]
    fn blocks_that_are_left_out_change_no_count() {
        // Every place that a mark, a quote or an escape can have in a block.
        for shift in 0..2 * BLOCK {
            let blanks = " ".repeat(shift);
            let text = format!("{blanks}[\"{blanks}\\\"[{{:,\",{{\"a\"{blanks}:{blanks}0}}]");
            assert_eq!(measure(text.as_bytes(), MAX_KEYS), Ok(1), "{text}");
            let deep = format!("{blanks}{}", "[".repeat(MAX_DEPTH + 1));
            let offset = shift + MAX_DEPTH;
            assert_eq!(measure(deep.as_bytes(), MAX_KEYS), Err(JsonError::TooDeep { offset }));
        }
    }

    #[test]
    fn a_key_that_is_spelt_with_an_escape_is_the_same_key() {
        let refused = check(br#"{"a":1,"\u0061":2}"#, MAX_KEYS, &[], &|_| true).map(|_| ());
        assert_eq!(refused, Err(JsonError::DuplicateKey { key: "a".to_owned() }));
    }
}
