//! Who offers what: capabilities of hosts, and how clients see them.
//!
//! A host that is silent for too long is hidden, not forgotten: its next poll brings it back, so
//! that a host that does not know how to register again (RI 0.9.0) is not lost.
//!
//! Clients see each capability once. Where two hosts offer the very same, the later one's gets a token of its
//! own and a label with the host's identity, so that both can be chosen.

use std::{collections::BTreeMap, time::Duration};

use md5::{Digest, Md5};
use sonde_mplane::{Capability, Mismatch, Outcome, Specification, Strictness, Time};

/// A capability as clients see it, and whose it is.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Identity of the host.
    pub host: String,
    /// As the host registered it, with its token.
    pub capability: Capability,
    /// As clients see it.
    pub published: Capability,
    schema: String,
}

impl Offer {
    /// Token that clients know it by.
    #[must_use]
    pub fn token(&self) -> &str {
        self.published.head.token.as_deref().unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Host {
    heard: Option<Time>,
    /// It understands callback control.
    has_callback: bool,
}

/// All hosts and what they offer.
#[derive(Debug)]
pub struct Roster {
    /// In the order of registration.
    offers: Vec<Offer>,
    hosts: BTreeMap<String, Host>,
    expiry: Option<Duration>,
}

/// Why no host can do what a specification asks for; the client reads this text.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoHost {
    /// Nobody offers anything of the kind.
    #[error("No service registered for specification {label}")]
    Unknown {
        /// Of the specification.
        label: String,
    },
    /// Somebody does, but not so.
    #[error("{mismatch} (capability {label})")]
    Mismatch {
        /// Of the nearest capability.
        label: String,
        /// What does not fit.
        mismatch: Mismatch,
    },
}

impl Roster {
    /// Nobody. Hosts that are silent for `expiry` are hidden; without one they never are.
    #[must_use]
    pub fn new(expiry: Option<Duration>) -> Self {
        Self { offers: Vec::new(), hosts: BTreeMap::new(), expiry }
    }

    /// A host offers something; the same again takes the place of what was there.
    pub fn offer(&mut self, host: &str, capability: Capability, now: Time) -> Outcome {
        let known = self.hosts.entry(host.to_owned()).or_default();
        known.heard = Some(now);
        if capability.head.is_callback() {
            known.has_callback = true;
            return Outcome::Registered;
        }
        let mut capability = capability;
        capability.head.token = Some(capability.token());
        let is_it = |offer: &Offer| {
            offer.host == host && offer.capability.head.token == capability.head.token
        };
        let at = self.offers.iter().position(is_it);
        let published = self.published(host, &capability, at);
        let schema = capability.schema_hash();
        let offer = Offer { host: host.to_owned(), capability, published, schema };
        match at {
            Some(at) => self.offers[at] = offer,
            None => self.offers.push(offer),
        }
        Outcome::Registered
    }

    /// As clients shall see it, told apart from what others offer.
    fn published(&self, host: &str, capability: &Capability, at: Option<usize>) -> Capability {
        let mut published = capability.clone();
        published.head.link = None;
        let others = || {
            let all = self.offers.iter().enumerate();
            all.filter(|(index, _)| Some(*index) != at).map(|(_, offer)| offer)
        };
        let token = capability.token();
        if others().any(|offer| offer.token() == token) {
            let text = format!("{token} {host}");
            let digest = Md5::digest(text.as_bytes());
            published.head.token =
                Some(digest.iter().map(|octet| format!("{octet:02x}")).collect());
        }
        let label = capability.head.label();
        if others().any(|offer| offer.published.head.label() == label) {
            published.head.label = Some(format!("{label}@{host}"));
        }
        published
    }

    /// A host does not offer it any more; its token among its offers, if it was one.
    pub fn withdraw(&mut self, host: &str, capability: &Capability) -> Option<String> {
        let token = capability.token();
        let is_it = |offer: &Offer| {
            offer.host == host && offer.capability.head.token.as_deref() == Some(&token)
        };
        let at = self.offers.iter().position(is_it)?;
        self.offers.remove(at);
        Some(token)
    }

    /// A host was heard of; false where it never registered.
    pub fn hear(&mut self, host: &str, now: Time) -> bool {
        match self.hosts.get_mut(host) {
            Some(known) => {
                known.heard = Some(now);
                true
            }
            None => false,
        }
    }

    /// Whether the host offered to be told when to poll.
    #[must_use]
    pub fn has_callback(&self, host: &str) -> bool {
        self.hosts.get(host).is_some_and(|host| host.has_callback)
    }

    /// When a host was heard of last.
    #[must_use]
    pub fn heard(&self, host: &str) -> Option<Time> {
        self.hosts.get(host)?.heard
    }

    /// Every host that ever registered, with the time it was heard of last.
    pub fn hosts(&self) -> impl Iterator<Item = (&str, Option<Time>)> {
        self.hosts.iter().map(|(name, host)| (name.as_str(), host.heard))
    }

    /// Whether a host is there.
    #[must_use]
    pub fn is_present(&self, host: &str, now: Time) -> bool {
        let Some(expiry) = self.expiry else { return self.hosts.contains_key(host) };
        self.heard(host).is_some_and(|heard| now.since(heard) <= expiry)
    }

    /// What hosts that are there offer, in the order of registration.
    pub fn offers(&self, now: Time) -> impl Iterator<Item = &Offer> {
        self.offers.iter().filter(move |offer| self.is_present(&offer.host, now))
    }

    /// Those of a schema. What hosts offer is thousands of capabilities of a few schemas, so that is
    /// looked at first.
    fn alike(&self, schema: &str, now: Time) -> impl Iterator<Item = &Offer> {
        let alike = self.offers.iter().filter(move |offer| offer.schema == schema);
        alike.filter(move |offer| self.is_present(&offer.host, now))
    }

    /// What the token stands for.
    #[must_use]
    pub fn find(&self, token: &str, now: Time) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.token() == token && self.is_present(&offer.host, now))
    }

    /// One capability of a schema for each label that hosts gave it.
    #[must_use]
    pub fn of_schema(&self, schema: &str, now: Time) -> Vec<Capability> {
        let mut found: Vec<Capability> = Vec::new();
        for offer in self.alike(schema, now) {
            if found.iter().all(|known| known.head.label() != offer.capability.head.label()) {
                found.push(offer.capability.clone());
            }
        }
        found
    }

    /// The offer that a specification is for: of those whose schema, scope and constraints fit, the one that the label names,
    /// else the first.
    ///
    /// # Errors
    ///
    /// [`NoHost`] with what comes nearest.
    pub fn choose(
        &self,
        specification: &Specification,
        now: Time,
        may: impl Fn(&Offer) -> bool,
    ) -> Result<&Offer, NoHost> {
        let schema = specification.schema_hash();
        let label = specification.head.label();
        let (mut first, mut nearest) = (None, None);
        for offer in self.alike(&schema, now).filter(|offer| may(offer)) {
            match specification.fulfils(&offer.capability, Strictness::Constraints, now) {
                Ok(()) if is_label_of(label, offer.published.head.label()) => return Ok(offer),
                Ok(()) => first = first.or(Some(offer)),
                Err(mismatch) => nearest = nearest.or(Some((offer, mismatch))),
            }
        }
        if let Some(first) = first {
            return Ok(first);
        }
        Err(match nearest {
            Some((offer, mismatch)) => {
                NoHost::Mismatch { label: offer.published.head.label().to_owned(), mismatch }
            }
            None => NoHost::Unknown { label: label.to_owned() },
        })
    }
}

/// Whether a specification's label is the capability's, with a number behind it as clients of the RI add one.
fn is_label_of(label: &str, capability: &str) -> bool {
    let Some(rest) = label.strip_prefix(capability) else { return false };
    let digits = rest.strip_prefix('-').unwrap_or(rest);
    digits.chars().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests;
