//! The words of a drawing, and how each kind of value is written.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};

/// What is wrong with a drawing, and where.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}, {word:?}: {problem}")]
pub struct TopologyError {
    /// From 1.
    pub line: usize,
    /// As written; empty where one is missing.
    pub word: String,
    /// In words.
    pub problem: String,
}

/// The words of one line, one after the other.
pub(crate) struct Words<'a> {
    line: usize,
    words: Vec<&'a str>,
    at: usize,
}

impl<'a> Words<'a> {
    /// Of one line. `#` begins a comment; `{` and `}` are words of their own.
    pub(crate) fn of(line: usize, text: &'a str) -> Self {
        let text = text.split('#').next().unwrap_or_default();
        let mut words = Vec::new();
        for word in text.split_whitespace() {
            let mut rest = word;
            while let Some(at) = rest.find(['{', '}']) {
                words.extend([&rest[..at], &rest[at..=at]].iter().filter(|part| !part.is_empty()));
                rest = &rest[at + 1..];
            }
            if !rest.is_empty() {
                words.push(rest);
            }
        }
        Self { line, words, at: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at >= self.words.len()
    }

    /// True where one of `wanted` is among the words still to come.
    pub(crate) fn contains(&self, wanted: &[&str]) -> bool {
        self.words[self.at.min(self.words.len())..].iter().any(|word| wanted.contains(word))
    }

    pub(crate) fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    pub(crate) fn next(&mut self) -> Option<&'a str> {
        let word = self.peek()?;
        self.at += 1;
        Some(word)
    }

    /// Where to [`Words::rewind`] to.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn rewind(&mut self, position: usize) {
        self.at = position;
    }

    /// Puts the word taken last back.
    pub(crate) fn back(&mut self) {
        self.at = self.at.saturating_sub(1);
    }

    /// Takes the next word if it is this one.
    pub(crate) fn take(&mut self, wanted: &str) -> bool {
        let is_it = self.peek() == Some(wanted);
        self.at += usize::from(is_it);
        is_it
    }

    /// An error about the word taken last.
    pub(crate) fn wrong(&self, problem: impl Into<String>) -> TopologyError {
        let word = self.at.checked_sub(1).and_then(|at| self.words.get(at)).copied();
        self.error(word.unwrap_or_default(), problem)
    }

    pub(crate) fn missing(&self, what: &str) -> TopologyError {
        self.error("", format!("{what} is missing at the end of the line"))
    }

    fn error(&self, word: &str, problem: impl Into<String>) -> TopologyError {
        TopologyError { line: self.line, word: word.to_owned(), problem: problem.into() }
    }

    /// The next word, which must be there.
    pub(crate) fn word(&mut self, what: &str) -> Result<&'a str, TopologyError> {
        self.next().ok_or_else(|| self.missing(what))
    }

    /// The next word as a value.
    pub(crate) fn value<T: Written>(&mut self) -> Result<T, TopologyError> {
        let word = self.word(T::NAME)?;
        T::read(word).ok_or_else(|| self.wrong(format!("expected {}", T::NAME)))
    }

    /// The next word as a value, where it is one.
    pub(crate) fn optional<T: Written>(&mut self) -> Option<T> {
        let value = T::read(self.peek()?)?;
        self.at += 1;
        Some(value)
    }
}

/// A value that is one word.
pub(crate) trait Written: Sized {
    /// What it is, with an example.
    const NAME: &'static str;

    fn read(word: &str) -> Option<Self>;
}

macro_rules! written_numbers {
    ($($kind:ty: $name:literal,)*) => {
        $(impl Written for $kind {
            const NAME: &'static str = $name;

            fn read(word: &str) -> Option<Self> {
                word.parse().ok()
            }
        })*
    };
}

written_numbers! {
    u8: "a number up to 255",
    u16: "a number up to 65535",
    u32: "a number",
    u64: "a number",
    IpAddr: "an address",
    Ipv4Addr: "an IPv4 address",
}

impl Written for Duration {
    const NAME: &'static str = "a time such as 10ms (s, ms, us, ns)";

    fn read(word: &str) -> Option<Self> {
        let at = word.find(|letter: char| letter.is_ascii_alphabetic())?;
        let (number, unit) = word.split_at(at);
        let scale = match unit {
            "s" => 1e9,
            "ms" => 1e6,
            "us" => 1e3,
            "ns" => 1.0,
            _ => return None,
        };
        let ns = f64::from_str(number).ok()? * scale;
        (0.0..=1e18).contains(&ns).then(|| Self::from_nanos(ns.round() as u64))
    }
}

/// A part of one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio(pub(crate) f64);

impl Written for Ratio {
    const NAME: &'static str = "a part such as 5% or 0.05";

    fn read(word: &str) -> Option<Self> {
        let ratio = match word.strip_suffix('%') {
            Some(percent) => f64::from_str(percent).ok()? / 100.0,
            None => f64::from_str(word).ok()?,
        };
        (0.0..=1.0).contains(&ratio).then_some(Self(ratio))
    }
}

/// So many in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PerSecond(pub(crate) f64);

impl Written for PerSecond {
    const NAME: &'static str = "a rate such as 10/s";

    fn read(word: &str) -> Option<Self> {
        let rate = f64::from_str(word.strip_suffix("/s")?).ok()?;
        (rate > 0.0 && rate.is_finite()).then_some(Self(rate))
    }
}

/// Packets by their number, from 1.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Numbers(Vec<RangeInclusive<u64>>);

impl Numbers {
    pub(crate) fn contains(&self, number: u64) -> bool {
        self.0.iter().any(|range| range.contains(&number))
    }

    pub(crate) fn add(&mut self, more: Self) {
        self.0.extend(more.0);
    }
}

impl FromIterator<u64> for Numbers {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        Self(numbers.into_iter().map(|number| number..=number).collect())
    }
}

impl Written for Numbers {
    const NAME: &'static str = "packet numbers such as 3,7-9";

    fn read(word: &str) -> Option<Self> {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (1 <= first && first <= last).then_some(first..=last)
        };
        word.split(',').map(range).collect::<Option<Vec<_>>>().map(Self)
    }
}

/// A block of addresses, or one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Prefix {
    pub(crate) address: IpAddr,
    pub(crate) bits: u8,
}

impl Prefix {
    /// Every address of a family.
    pub(crate) fn of_all(v4: bool) -> Self {
        let address = if v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        Self { address, bits: 0 }
    }

    /// A single address.
    pub(crate) fn is_one(&self) -> bool {
        self.bits == if self.address.is_ipv4() { 32 } else { 128 }
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let (Some(mine), Some(other)) = (self.high_bits(self.address), self.high_bits(address))
        else {
            return false;
        };
        mine == other && self.address.is_ipv4() == address.is_ipv4()
    }

    fn high_bits(&self, address: IpAddr) -> Option<u128> {
        let (number, width) = match address {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        let below = u32::from(u8::checked_sub(width, self.bits)?);
        Some(number.checked_shr(below).unwrap_or_default())
    }
}

impl Written for Prefix {
    const NAME: &'static str = "an address or a prefix such as 198.51.100.0/24";

    fn read(word: &str) -> Option<Self> {
        let (address, bits) = match word.split_once('/') {
            Some((address, bits)) => (address.parse().ok()?, bits.parse().ok()?),
            None => {
                let address: IpAddr = word.parse().ok()?;
                (address, if address.is_ipv4() { 32 } else { 128 })
            }
        };
        (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some(Self { address, bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_words_of_their_own_and_comments_are_none() {
        let mut words = Words::of(1, "r1 - {a b*3} # the rest");
        let mut read = Vec::new();
        while let Some(word) = words.next() {
            read.push(word);
        }
        assert_eq!(read, ["r1", "-", "{", "a", "b*3", "}"]);
    }

    #[test]
    fn a_value_is_read_with_its_unit_or_refused() {
        assert_eq!(Duration::read("1.5ms"), Some(Duration::from_micros(1_500)));
        assert_eq!(Duration::read("15"), None);
        assert_eq!(Ratio::read("5%"), Some(Ratio(0.05)));
        assert_eq!(Ratio::read("105%"), None);
        assert!(Numbers::read("3,7-9").is_some_and(|numbers| numbers.contains(8)));
        assert_eq!(Numbers::read("0"), None);
        assert_eq!(Prefix::read("192.0.2.0/33"), None);
    }

    #[test]
    fn a_prefix_holds_its_own_addresses_alone() {
        let prefix = Prefix::read("198.51.100.0/24").unwrap();
        assert!(prefix.contains("198.51.100.255".parse().unwrap()));
        assert!(!prefix.contains("198.51.101.0".parse().unwrap()));
        assert!(!prefix.contains("::198.51.100.1".parse().unwrap()));
        let all = Prefix::read("::/0").unwrap();
        assert!(all.contains("2001:db8::1".parse().unwrap()));
        assert!(!all.contains("192.0.2.1".parse().unwrap()));
    }
}
