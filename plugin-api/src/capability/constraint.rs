//! What a specification may give for a parameter, in mPlane's text form.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sonde_packet::Family;

/// Values of a parameter that a capability accepts.
///
/// Its text is that of mPlane's reference implementation to the letter, because tokens are made
/// from it: reals keep their point, sets their declared order, booleans are `False` and `True`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    /// `*`: everything that the element's type can say.
    Any,
    /// The address of the host, which fills it in.
    LocalAddress,
    /// Both ends count.
    Range(Json, Json),
    /// One of these.
    Set(Vec<Json>),
    /// Each family its own.
    PerFamily {
        /// For IPv4.
        ip4: Box<Constraint>,
        /// For IPv6.
        ip6: Box<Constraint>,
    },
}

impl Constraint {
    /// From `low` to `high`. Real numbers (`0.0`) are printed as such.
    #[must_use]
    pub fn range(low: impl Into<Json>, high: impl Into<Json>) -> Self {
        Self::Range(low.into(), high.into())
    }

    /// One of `values`, in this order.
    #[must_use]
    pub fn set<V: Into<Json>>(values: impl IntoIterator<Item = V>) -> Self {
        Self::Set(values.into_iter().map(Into::into).collect())
    }

    /// `False,True`.
    #[must_use]
    pub fn boolean() -> Self {
        Self::set([false, true])
    }

    /// Another range for IPv6.
    #[must_use]
    pub fn ip6(self, low: impl Into<Json>, high: impl Into<Json>) -> Self {
        self.or_ip6(Self::range(low, high))
    }

    /// Another constraint for IPv6.
    #[must_use]
    pub fn or_ip6(self, ip6: Self) -> Self {
        let ip4 = self.for_family(Family::V4).clone();
        Self::PerFamily { ip4: Box::new(ip4), ip6: Box::new(ip6) }
    }

    /// That of one family.
    #[must_use]
    pub fn for_family(&self, family: Family) -> &Self {
        match (self, family) {
            (Self::PerFamily { ip4, .. }, Family::V4) => ip4.for_family(family),
            (Self::PerFamily { ip6, .. }, Family::V6) => ip6.for_family(family),
            _ => self,
        }
    }

    /// As its text, with the host's own address where that is what is accepted.
    #[must_use]
    pub fn text(&self, local: Option<IpAddr>) -> String {
        match (self, local) {
            (Self::LocalAddress, Some(address)) => address.to_string(),
            _ => self.to_string(),
        }
    }
}

/// Text of one family; of IPv4, where they differ. `*` where the host's address is not known.
impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any | Self::LocalAddress => f.write_str("*"),
            Self::Range(low, high) => write!(f, "{} ... {}", Item(low), Item(high)),
            Self::Set(values) => {
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{}", if index == 0 { "" } else { "," }, Item(value))?;
                }
                Ok(())
            }
            Self::PerFamily { ip4, .. } => ip4.fmt(f),
        }
    }
}

/// A value as Python prints it.
struct Item<'a>(&'a Json);

impl fmt::Display for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Json::Bool(true) => f.write_str("True"),
            Json::Bool(false) => f.write_str("False"),
            Json::String(text) => f.write_str(text),
            other => write!(f, "{other}"),
        }
    }
}
