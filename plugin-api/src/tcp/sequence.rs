//! Sequence numbers, which wrap around at 2^32.
//!
//! Source: RFC 9293, section 3.4.

/// How far `to` lies behind `from`, octets; negative where it lies before it. Numbers that are 2^31
/// apart count as before.
#[must_use]
pub fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from) as i32
}

/// Whether `one` lies behind `other`.
#[must_use]
pub fn is_after(one: u32, other: u32) -> bool {
    distance(other, one) > 0
}

/// Whether `number` is one of the `octets` numbers from `first` on.
#[must_use]
pub fn is_within(number: u32, first: u32, octets: u32) -> bool {
    number.wrapping_sub(first) < octets
}
