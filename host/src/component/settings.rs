//! What an operator decides about the host as an mPlane component.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

/// How the methods are offered.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Offering {
    /// URI of the registry that messages name; empty for the base registry.
    pub registry_uri: String,
    /// Stands before every label.
    pub label_prefix: String,
    /// In place of the address that the routes lead to.
    pub ip4addr: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub ip6addr: Option<Ipv6Addr>,
    /// By method, then by element (which may hold `{ip}`).
    pub overrides: BTreeMap<String, BTreeMap<String, Override>>,
}

/// What an operator says of a parameter in place of the method's author.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Override {
    /// In mPlane's text form. It must allow nothing that the capability's own does not.
    pub constraint: Option<String>,
    /// Taken where a specification gives no value.
    pub default: Option<String>,
    /// File and line where it stands.
    pub place: String,
}

/// How much work is taken on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Specifications that wait or run; one more is refused as busy.
    pub specifications: usize,
    /// Measurements at the same time; others wait for their turn.
    pub measurements: usize,
    /// Results of a repeated specification that are kept, the last ones.
    pub repetitions: usize,
    /// How long an end is remembered, for who asks again with the same token.
    pub memory: Duration,
}

impl Default for Limits {
    /// 10,000 specifications, 1,000 measurements, 1,000 repetitions, one day.
    fn default() -> Self {
        Self {
            specifications: 10_000,
            measurements: 1_000,
            repetitions: 1_000,
            memory: Duration::from_secs(86_400),
        }
    }
}
