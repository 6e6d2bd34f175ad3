//! Rust types that parameters and columns may have.

use std::net::IpAddr;
use std::time::Duration;

use sonde_packet::Family;

use super::{Arena, Time, Value, nanoseconds, tag};
use crate::descriptor::{Shape, Type};

/// A Rust type usable as parameter or column.
///
/// Implemented for `bool`, `u8` to `u64`, `i8` to `i64`, `f64`, `String`, `IpAddr`, [`Time`],
/// [`Duration`], [`Hex`], `Option` and `Vec` of these, and by `choices!` and `row!` for what they
/// declare.
pub trait Field: Sized {
    /// What a range speaks of: the type itself, or what is inside an `Option` or a `Vec`.
    type Scalar: Field;

    /// Whether the value may be missing.
    const NULLABLE: bool = false;

    /// How a descriptor tells the type.
    fn shape() -> Shape;

    /// The value as data.
    fn to_value(&self) -> Value;

    /// The reverse of [`Field::to_value`]; nothing if `value` is of another type or too large.
    fn from_value(value: &Value) -> Option<Self>;

    /// Shows every scalar inside to `visit`.
    fn scalars(&self, visit: &mut dyn FnMut(&Self::Scalar));

    /// Writes the value without building a [`Value`].
    #[inline]
    fn encode(&self, arena: &mut Arena<'_>) {
        self.to_value().encode(arena);
    }

    /// Smallest and largest value, where the type's own limits are closer than the wire's.
    #[must_use]
    fn limits() -> Option<(Value, Value)> {
        None
    }

    /// What stands for a value that is not given, if the type has such a thing.
    #[must_use]
    fn absent() -> Option<Self> {
        None
    }

    /// The family, if this is an address.
    fn family(&self) -> Option<Family> {
        None
    }
}

/// The members that are the same for every type without parts.
macro_rules! scalar {
    ($kind:ident) => {
        type Scalar = Self;

        fn shape() -> Shape {
            Shape::of(Type::$kind)
        }

        fn scalars(&self, visit: &mut dyn FnMut(&Self)) {
            visit(self);
        }
    };
}

macro_rules! numbers {
    ($kind:ident, $variant:ident, $tag:ident, $wide:ty: $($number:ty)*) => { $(
        impl Field for $number {
            scalar!($kind);

            #[inline]
            fn encode(&self, arena: &mut Arena<'_>) {
                arena.tagged(tag::$tag, <$wide>::from(*self).to_le_bytes());
            }

            fn to_value(&self) -> Value {
                Value::$variant(<$wide>::from(*self))
            }

            fn limits() -> Option<(Value, Value)> {
                let is_narrow = size_of::<$number>() < size_of::<$wide>();
                is_narrow.then_some((<$number>::MIN.to_value(), <$number>::MAX.to_value()))
            }

            fn from_value(value: &Value) -> Option<Self> {
                match *value {
                    Value::U64(number) => number.try_into().ok(),
                    Value::I64(number) => number.try_into().ok(),
                    _ => None,
                }
            }
        }
    )* };
}
numbers!(Natural, U64, U64, u64: u8 u16 u32 u64);
numbers!(Integer, I64, I64, i64: i8 i16 i32 i64);

impl Field for bool {
    scalar!(Boolean);

    #[inline]
    fn encode(&self, arena: &mut Arena<'_>) {
        arena.fixed([tag::BOOL, u8::from(*self)]);
    }

    fn to_value(&self) -> Value {
        Value::Bool(*self)
    }

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Bool(value) = *value { Some(value) } else { None }
    }
}

impl Field for f64 {
    scalar!(Real);

    #[inline]
    fn encode(&self, arena: &mut Arena<'_>) {
        arena.tagged(tag::F64, self.to_le_bytes());
    }

    fn to_value(&self) -> Value {
        Value::F64(*self)
    }

    fn from_value(value: &Value) -> Option<Self> {
        match *value {
            Value::F64(number) => Some(number),
            Value::U64(number) => Some(number as Self),
            Value::I64(number) => Some(number as Self),
            _ => None,
        }
    }
}

impl Field for String {
    scalar!(String);

    #[inline]
    fn encode(&self, arena: &mut Arena<'_>) {
        arena.counted(tag::TEXT, self.as_bytes());
    }

    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Text(text) = value { Some(text.clone()) } else { None }
    }
}

/// For columns whose texts are known at compile time; cannot be read back.
impl Field for &'static str {
    scalar!(String);

    #[inline]
    fn encode(&self, arena: &mut Arena<'_>) {
        arena.counted(tag::TEXT, self.as_bytes());
    }

    fn to_value(&self) -> Value {
        Value::Text((*self).to_owned())
    }

    fn from_value(_: &Value) -> Option<Self> {
        None
    }
}

impl Field for IpAddr {
    scalar!(Address);

    #[inline]
    fn encode(&self, arena: &mut Arena<'_>) {
        match self {
            Self::V4(address) => arena.tagged(tag::IP4, address.octets()),
            Self::V6(address) => arena.tagged(tag::IP6, address.octets()),
        }
    }

    fn to_value(&self) -> Value {
        Value::Ip(*self)
    }

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Ip(address) = *value { Some(address) } else { None }
    }

    fn family(&self) -> Option<Family> {
        Some(Family::of(*self))
    }
}

impl Field for Time {
    scalar!(Time);

    #[inline]
    fn encode(&self, arena: &mut Arena<'_>) {
        arena.tagged(tag::TIME, self.0.to_le_bytes());
    }

    fn to_value(&self) -> Value {
        Value::Time(self.0)
    }

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Time(time) = *value { Some(Self(time)) } else { None }
    }
}

impl Field for Duration {
    scalar!(Duration);

    #[inline]
    fn encode(&self, arena: &mut Arena<'_>) {
        arena.tagged(tag::DURATION, nanoseconds(*self).to_le_bytes());
    }

    fn to_value(&self) -> Value {
        Value::Duration(nanoseconds(*self))
    }

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Duration(ns) = *value { Some(Self::from_nanos(ns)) } else { None }
    }
}

/// Octets, hexadecimal in text.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Hex(pub Vec<u8>);

impl Field for Hex {
    scalar!(Hex);

    #[inline]
    fn encode(&self, arena: &mut Arena<'_>) {
        arena.counted(tag::BYTES, &self.0);
    }

    fn to_value(&self) -> Value {
        Value::Bytes(self.0.clone())
    }

    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Bytes(octets) = value { Some(Self(octets.clone())) } else { None }
    }
}

impl std::ops::Deref for Hex {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Hex {
    fn from(octets: &[u8]) -> Self {
        Self(octets.to_vec())
    }
}

impl<T: Field> Field for Option<T> {
    type Scalar = T::Scalar;
    const NULLABLE: bool = true;

    fn shape() -> Shape {
        T::shape()
    }

    #[inline]
    fn encode(&self, arena: &mut Arena<'_>) {
        match self {
            Some(value) => value.encode(arena),
            None => arena.fixed([tag::NONE]),
        }
    }

    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::None, T::to_value)
    }

    fn from_value(value: &Value) -> Option<Self> {
        if value.is_none() { Some(None) } else { T::from_value(value).map(Some) }
    }

    fn scalars(&self, visit: &mut dyn FnMut(&Self::Scalar)) {
        if let Some(value) = self {
            value.scalars(visit);
        }
    }

    fn limits() -> Option<(Value, Value)> {
        T::limits()
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn family(&self) -> Option<Family> {
        self.as_ref().and_then(T::family)
    }
}

impl<T: Field> Field for Vec<T> {
    type Scalar = T::Scalar;

    fn shape() -> Shape {
        T::shape().list()
    }

    #[inline]
    fn encode(&self, arena: &mut Arena<'_>) {
        arena.tagged(tag::LIST, (self.len() as u32).to_le_bytes());
        self.iter().for_each(|value| value.encode(arena));
    }

    fn to_value(&self) -> Value {
        Value::List(self.iter().map(T::to_value).collect())
    }

    fn from_value(value: &Value) -> Option<Self> {
        let Value::List(values) = value else { return None };
        values.iter().map(T::from_value).collect()
    }

    fn scalars(&self, visit: &mut dyn FnMut(&Self::Scalar)) {
        self.iter().for_each(|value| value.scalars(visit));
    }

    fn limits() -> Option<(Value, Value)> {
        T::limits()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}
