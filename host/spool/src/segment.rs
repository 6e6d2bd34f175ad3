//! One file of the log: its name, and what can be read of it.

use std::{
    hash::{BuildHasher, RandomState},
    ops::Range,
};

use crate::frame::{self, Frame};

/// Ends the name of a segment; other files are left alone.
const SUFFIX: &str = ".results";

/// Which segment a file is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Name {
    /// Grows from segment to segment.
    pub(crate) number: u64,
    /// Goes into the checksums of the headers.
    pub(crate) salt: u32,
}

impl Name {
    /// With a salt that nobody can foresee.
    pub(crate) fn new(number: u64) -> Self {
        Self { number, salt: RandomState::new().hash_one(number) as u32 }
    }

    /// `None` where it is not the name of a segment.
    pub(crate) fn parse(file: &str) -> Option<Self> {
        let (number, salt) = file.strip_suffix(SUFFIX)?.split_once('-')?;
        if number.len() != 16 || salt.len() != 8 {
            return None;
        }
        let number = u64::from_str_radix(number, 16).ok()?;
        let name = Self { number, salt: u32::from_str_radix(salt, 16).ok()? };
        (name.file() == file).then_some(name)
    }

    pub(crate) fn file(self) -> String {
        format!("{:016x}-{:08x}{SUFFIX}", self.number, self.salt)
    }
}

/// What a segment's octets are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Found {
    /// A frame, and where it begins.
    Frame(Frame, u64),
    /// Octets between frames that belong to none.
    Damage(Range<u64>),
    /// Octets behind the last frame: cut off, or damaged.
    Tail(Range<u64>),
}

/// Everything in a segment, in order.
pub(crate) fn scan(octets: &[u8], salt: u32) -> Vec<Found> {
    let mut found = Vec::new();
    let (mut at, mut damaged_from) = (0, None);
    while at < octets.len() {
        if let Some((frame, _)) = frame::parse(&octets[at..], salt) {
            if let Some(from) = damaged_from.take() {
                found.push(Found::Damage(from..at as u64));
            }
            found.push(Found::Frame(frame, at as u64));
            at += frame.octets();
        } else {
            damaged_from.get_or_insert(at as u64);
            at = frame::next_mark(&octets[at..]).map_or(octets.len(), |skip| at + skip);
        }
    }
    found.extend(damaged_from.map(|from| Found::Tail(from..octets.len() as u64)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Kind, emit};

    #[test]
    fn only_names_of_this_form_are_segments() {
        let name = Name { number: 26, salt: 0xDEAD_BEEF };
        assert_eq!(name.file(), "000000000000001a-deadbeef.results");
        assert_eq!(Name::parse(&name.file()), Some(name));
        for other in
            ["lock", "1a-deadbeef.results", "000000000000001A-DEADBEEF.results", "-.results"]
        {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_record_inside_a_damaged_record_is_not_taken_for_one() {
        let mut inner = Vec::new();
        emit(&mut inner, 1, Kind::Result, 99, b"forged");
        let mut octets = Vec::new();
        emit(&mut octets, 2, Kind::Result, 7, &inner);
        emit(&mut octets, 2, Kind::Result, 8, b"true");
        octets[21] ^= 1;
        let found = scan(&octets, 2);
        assert_eq!(found.len(), 2);
        assert!(matches!(found[0], Found::Damage(Range { start: 0, end: 62 })), "{found:?}");
        assert!(matches!(found[1], Found::Frame(Frame { sequence: 8, .. }, 62)), "{found:?}");
    }
}
