//! Values between host and plugin, and their encoding.
//!
//! Parameters go in and rows come out as a sequence of values, each a tag octet and its content in
//! little-endian order. Rows are hot: a [`Field`] writes itself into the [`Arena`] without a
//! [`Value`] in between. What arrives is foreign on both sides: a [`Reader`] bounds nesting, number
//! and size and never panics.

mod arena;
mod field;
mod reader;
mod scalar;
mod time;
mod value;

pub use arena::{Arena, to_vec};
pub use field::{Field, Hex};
pub use reader::{DecodeError, MAX_DEPTH, MAX_OCTETS, MAX_VALUES, Reader};
pub use scalar::Scalar;
pub use time::Time;
pub use value::Value;

/// Whole nanoseconds, saturating after 584 years.
#[inline]
pub(crate) fn nanoseconds(duration: std::time::Duration) -> u64 {
    // u64 arithmetic alone: `as_nanos` is a 128-bit product, and this is on the way of every probe
    duration
        .as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(duration.subsec_nanos()))
}

/// First octet of every encoded value.
pub(crate) mod tag {
    pub(crate) const NONE: u8 = 0;
    pub(crate) const BOOL: u8 = 1;
    pub(crate) const U64: u8 = 2;
    pub(crate) const I64: u8 = 3;
    pub(crate) const F64: u8 = 4;
    pub(crate) const TEXT: u8 = 5;
    pub(crate) const IP4: u8 = 6;
    pub(crate) const IP6: u8 = 7;
    pub(crate) const TIME: u8 = 8;
    pub(crate) const DURATION: u8 = 9;
    pub(crate) const BYTES: u8 = 10;
    pub(crate) const LIST: u8 = 11;
    pub(crate) const MAP: u8 = 12;
}

#[cfg(test)]
mod tests;
