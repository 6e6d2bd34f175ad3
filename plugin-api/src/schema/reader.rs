//! Reads encoded values of foreign origin.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Scalar, Value, tag};

/// Lists and maps inside each other; the outermost values have depth 1.
pub const MAX_DEPTH: usize = 8;
/// Octets of one row or one set of parameters.
pub const MAX_OCTETS: usize = 256 << 10;
/// Values of one row or one set of parameters, those inside lists and maps included. It bounds the
/// memory that decoding takes, for a value can be smaller on the wire than in memory.
pub const MAX_VALUES: usize = 1 << 16;

/// Why octets are no values.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// The octets end inside a value.
    #[error("ends inside a value")]
    Truncated,
    /// There is more than there should be.
    #[error("goes on behind the last value")]
    Trailing,
    /// An unknown tag, or a boolean that is neither 0 nor 1.
    #[error("octet {0:#04x} where a value should begin or a boolean stand")]
    Unknown(u8),
    /// A text that is not UTF-8.
    #[error("a text is not UTF-8")]
    NotUtf8,
    /// More than [`MAX_DEPTH`].
    #[error("lists nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// More than [`MAX_OCTETS`].
    #[error("longer than {MAX_OCTETS} octets")]
    TooLong,
    /// More than [`MAX_VALUES`].
    #[error("more than {MAX_VALUES} values")]
    TooMany,
}

/// Takes one value after the other from octets.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    values_left: usize,
}

impl<'a> Reader<'a> {
    /// From the first value of `octets`.
    ///
    /// # Errors
    ///
    /// [`DecodeError::TooLong`].
    pub fn new(octets: &'a [u8]) -> Result<Self, DecodeError> {
        if octets.len() > MAX_OCTETS {
            return Err(DecodeError::TooLong);
        }
        Ok(Self { rest: octets, values_left: MAX_VALUES })
    }

    /// All values of `octets`.
    ///
    /// # Errors
    ///
    /// As [`Reader::value`].
    pub fn all(octets: &'a [u8]) -> Result<Vec<Value>, DecodeError> {
        let mut reader = Self::new(octets)?;
        let mut values = Vec::new();
        while !reader.is_at_end() {
            values.push(reader.value()?);
        }
        Ok(values)
    }

    /// Whether every octet was read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may be left.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Trailing`].
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.is_at_end() { Ok(()) } else { Err(DecodeError::Trailing) }
    }

    /// The next value.
    ///
    /// # Errors
    ///
    /// Every [`DecodeError`] but [`DecodeError::Trailing`] and [`DecodeError::TooLong`].
    #[inline]
    pub fn value(&mut self) -> Result<Value, DecodeError> {
        match self.scalar()? {
            Some(scalar) => Ok(scalar.to_value()),
            None => self.nested(1),
        }
    }

    /// The next value where it is no list and no map; `None`, and nothing is read, where it is.
    ///
    /// # Errors
    ///
    /// As [`Reader::value`].
    #[inline]
    pub fn scalar(&mut self) -> Result<Option<Scalar<'a>>, DecodeError> {
        if matches!(self.rest.first(), Some(&(tag::LIST | tag::MAP))) {
            return Ok(None);
        }
        self.values_left = self.values_left.checked_sub(1).ok_or(DecodeError::TooMany)?;
        let [tag] = self.array()?;
        Ok(Some(match tag {
            tag::NONE => Scalar::None,
            tag::BOOL => match self.array()? {
                [0] => Scalar::Bool(false),
                [1] => Scalar::Bool(true),
                [other] => return Err(DecodeError::Unknown(other)),
            },
            tag::U64 => Scalar::U64(u64::from_le_bytes(self.array()?)),
            tag::I64 => Scalar::I64(i64::from_le_bytes(self.array()?)),
            tag::F64 => Scalar::F64(f64::from_le_bytes(self.array()?)),
            tag::TEXT => Scalar::Text(self.text()?),
            tag::IP4 => Scalar::Ip(Ipv4Addr::from(self.array()?).into()),
            tag::IP6 => Scalar::Ip(Ipv6Addr::from(self.array::<16>()?).into()),
            tag::TIME => Scalar::Time(u64::from_le_bytes(self.array()?)),
            tag::DURATION => Scalar::Duration(u64::from_le_bytes(self.array()?)),
            tag::BYTES => Scalar::Bytes(self.counted()?),
            other => return Err(DecodeError::Unknown(other)),
        }))
    }

    fn nested(&mut self, depth: usize) -> Result<Value, DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        if let Some(scalar) = self.scalar()? {
            return Ok(scalar.to_value());
        }
        self.values_left = self.values_left.checked_sub(1).ok_or(DecodeError::TooMany)?;
        let [tag] = self.array()?;
        Ok(match tag {
            tag::LIST => {
                let count = self.count(1)?;
                let mut values = Vec::with_capacity(count);
                for _ in 0..count {
                    values.push(self.nested(depth + 1)?);
                }
                Value::List(values)
            }
            tag::MAP => {
                // a name is at least a tag and a length
                let count = self.count(6)?;
                let mut entries = Vec::with_capacity(count);
                for _ in 0..count {
                    match self.array()? {
                        [tag::TEXT] => {
                            entries.push((self.text()?.to_owned(), self.nested(depth + 1)?));
                        }
                        [other] => return Err(DecodeError::Unknown(other)),
                    }
                }
                Value::Map(entries)
            }
            other => return Err(DecodeError::Unknown(other)),
        })
    }

    fn take(&mut self, octets: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(octets).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError::Truncated)
    }

    fn counted(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = u32::from_le_bytes(self.array()?);
        self.take(usize::try_from(length).map_err(|_| DecodeError::Truncated)?)
    }

    fn text(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.counted()?).map_err(|_| DecodeError::NotUtf8)
    }

    /// How many entries follow, each at least `octets` long: a number that the rest cannot hold
    /// must not be believed before memory is set aside for it.
    fn count(&mut self, octets: usize) -> Result<usize, DecodeError> {
        let count = usize::try_from(u32::from_le_bytes(self.array()?))
            .map_err(|_| DecodeError::Truncated)?;
        if count > self.values_left {
            return Err(DecodeError::TooMany);
        }
        if count > self.rest.len() / octets {
            return Err(DecodeError::Truncated);
        }
        Ok(count)
    }
}
