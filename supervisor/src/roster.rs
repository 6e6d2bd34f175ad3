//! Who offers what: capabilities of hosts, and how clients see them.
//!
//! A host that is silent for too long is hidden, not forgotten: its next poll brings it back, so
//! that a host that does not know how to register again (RI 0.9.0) is not lost.
//!
//! Clients see each capability once. Where two hosts offer the very same, the later one's gets a token of its
//! own and a label with the host's identity, so that both can be chosen.

mod offers;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use md5::{Digest, Md5};
use sonde_mplane::{
    Capability, Constraint, MAX_NAME_OCTETS, Message, Mismatch, Outcome, Specification, Strictness,
    Time,
};

pub use self::offers::Offer;
use self::offers::Offers;
use crate::clock::Step;

#[derive(Debug, Default)]
struct Host {
    heard: Option<Time>,
    /// It understands callback control.
    has_callback: bool,
    /// A missing value stands for its default there. RI components end over one. Not known of a host that was not heard of
    /// since the start.
    has_defaults: Option<bool>,
}

/// All hosts and what they offer.
#[derive(Debug)]
pub struct Roster {
    offers: Offers,
    hosts: BTreeMap<String, Host>,
    expiry: Option<Duration>,
    /// Octets of one host's capabilities, as JSON.
    most_octets: usize,
    /// By which supervisors know this one.
    name: String,
}

/// Octets of one host's capabilities. A supervisor is one host to that above it, and a thousand hosts below it have some
/// fifty capabilities of 2 KiB each.
const MOST_OCTETS: usize = 128 << 20;

/// Octets of one capability, as JSON.
const MOST_OF_ONE: usize = 256 << 10;

/// What a capability counts for at least: a small one takes more in memory than it is long.
const LEAST_OCTETS: usize = 1 << 10;

/// Supervisors that a capability may have come through.
const MOST_SUPERVISORS: usize = 16;

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
    /// Somebody does, but knows no defaults.
    #[error("{name} is missing, and the host has no default for it (capability {label})")]
    NoDefault {
        /// Of the nearest capability.
        label: String,
        /// Of the parameter.
        name: String,
    },
}

impl Roster {
    /// Nobody. Hosts that are silent for `expiry` are hidden; without one they never are.
    #[must_use]
    pub fn new(expiry: Option<Duration>) -> Self {
        let (offers, hosts) = Default::default();
        Self { offers, hosts, expiry, most_octets: MOST_OCTETS, name: String::new() }
    }

    /// With a name that no other supervisor has: what came through it is not taken again.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// A host offers something; the same again takes the place of what was there. What came through this supervisor
    /// before is refused, and so is what is more than one host may offer.
    pub fn offer(&mut self, host: &str, capability: Capability, now: Time) -> Outcome {
        let known = self.hosts.entry(host.to_owned()).or_default();
        known.heard = Some(now);
        known.has_defaults.get_or_insert(false);
        if capability.head.is_callback() {
            known.has_callback = true;
            // That of the RI has another token, or none.
            known.has_defaults = Some(capability.head.token == Some(capability.computed_token()));
            return Outcome::Registered;
        }
        if let Some(reason) = self.refusal(&capability) {
            return Outcome::Refused { reason };
        }
        let mut capability = capability;
        capability.head.token = Some(capability.token());
        let octets = Message::from(capability.clone()).to_json().len().max(LEAST_OCTETS);
        let number = self.offers.number(host, &capability.token());
        let before = number.and_then(|number| self.offers.get(number)).map_or(0, |it| it.octets);
        let (most, all) = (self.most_octets, self.offers.octets_of(host) - before + octets);
        if octets > MOST_OF_ONE {
            let reason = format!("it has {octets} octets, accepted: at most {MOST_OF_ONE}");
            return Outcome::Refused { reason };
        }
        let longest = MAX_NAME_OCTETS - host.len().min(MAX_NAME_OCTETS / 2) - 1;
        if capability.head.label().len() > longest {
            // Others that are called so are told apart by their host.
            let reason = format!("its label has more than {longest} octets");
            return Outcome::Refused { reason };
        }
        if all > most {
            let reason = format!("{host} would offer {all} octets, accepted: at most {most}");
            return Outcome::Refused { reason };
        }
        if let Some(number) = number {
            self.offers.remove(number);
        }
        let published = self.published(host, &capability);
        let schema = capability.schema_hash();
        let offer = Offer { host: host.to_owned(), capability, published, schema, octets };
        self.offers.insert(number, offer);
        Outcome::Registered
    }

    fn refusal(&self, capability: &Capability) -> Option<String> {
        if capability.via.contains(&self.name) {
            let name = &self.name;
            return Some(format!(
                "it came through this supervisor, or another one with result_link {name}"
            ));
        }
        let count = capability.via.len();
        (count > MOST_SUPERVISORS).then(|| {
            format!("it came through {count} supervisors, accepted: at most {MOST_SUPERVISORS}")
        })
    }

    /// As clients shall see it, told apart from what others offer.
    fn published(&self, host: &str, capability: &Capability) -> Capability {
        let mut published = capability.clone();
        published.head.link = None;
        published.via.push(self.name.clone());
        let token = capability.token();
        if self.offers.of_token(&token).is_some() {
            let text = format!("{token} {host}");
            let digest = Md5::digest(text.as_bytes());
            published.head.token =
                Some(digest.iter().map(|octet| format!("{octet:02x}")).collect());
        }
        let label = capability.head.label();
        if self.offers.of_label(label).next().is_some() {
            published.head.label = Some(format!("{label}@{host}"));
        }
        published
    }

    /// What the host offers already and `capability` says in another order: a program that was started again may write
    /// sets in another one, so that the tokens differ (the RI does).
    #[must_use]
    pub fn reordered(&self, host: &str, capability: &Capability) -> Option<Capability> {
        let is_it = |known: &Capability| {
            known.head.label() == capability.head.label()
                && known.when == capability.when
                && known.schema_hash() == capability.schema_hash()
                && known.token() != capability.token()
                && sets_of(known) == sets_of(capability)
        };
        let label = capability.head.label();
        let published = [label.to_owned(), format!("{label}@{host}")];
        let mut own = published.iter().flat_map(|label| self.offers.of_label(label));
        let known = own.find(|offer| offer.host == host && is_it(&offer.capability))?;
        Some(known.capability.clone())
    }

    /// A host does not offer it any more, if it did.
    pub fn withdraw(&mut self, host: &str, capability: &Capability) {
        if let Some(number) = self.offers.number(host, &capability.token()) {
            self.offers.remove(number);
        }
    }

    /// Whether a host that is a supervisor offers this and has it from another host. Without certificates all hosts are
    /// one, and this one's own capability would be taken for that of a circle.
    #[must_use]
    pub fn is_passed_on(&self, host: &str, token: &str) -> bool {
        let number = self.offers.number(host, token);
        let offer = number.and_then(|number| self.offers.get(number));
        offer.is_some_and(|offer| !offer.capability.via.is_empty())
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

    /// After the clock was set.
    pub fn put_right(&mut self, step: Step) {
        for host in self.hosts.values_mut() {
            host.heard = host.heard.map(|heard| step.of(heard));
        }
    }

    /// Whether the host offered to be told when to poll.
    #[must_use]
    pub fn has_callback(&self, host: &str) -> bool {
        self.hosts.get(host).is_some_and(|host| host.has_callback)
    }

    fn has_defaults(&self, host: &str) -> bool {
        self.hosts.get(host).is_some_and(|host| host.has_defaults.unwrap_or(true))
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

    /// How often hosts may poll, where all that are there poll so many times a second together; often enough not to be
    /// hidden.
    #[must_use]
    pub fn poll_interval(&self, polls_per_second: f64, now: Time) -> Duration {
        let present = self.hosts.values().filter(|host| self.is_heard(host, now)).count();
        let fair = (present as f64 / polls_per_second).ceil();
        let fair = Duration::try_from_secs_f64(fair).unwrap_or(Duration::MAX);
        let most = self.expiry.unwrap_or(Duration::MAX) / 2;
        fair.min(Duration::from_secs(most.as_secs()))
    }

    /// Whether a host is there.
    #[must_use]
    pub fn is_present(&self, host: &str, now: Time) -> bool {
        self.hosts.get(host).is_some_and(|host| self.is_heard(host, now))
    }

    fn is_heard(&self, host: &Host, now: Time) -> bool {
        let Some(expiry) = self.expiry else { return true };
        host.heard.is_some_and(|heard| now.since(heard) <= expiry)
    }

    /// What hosts that are there offer, in the order of registration.
    pub fn offers(&self, now: Time) -> impl Iterator<Item = &Offer> {
        self.offers.iter().filter(move |offer| self.is_present(&offer.host, now))
    }

    fn alike(&self, schema: &str, now: Time) -> impl Iterator<Item = &Offer> {
        self.offers.of_schema(schema).filter(move |offer| self.is_present(&offer.host, now))
    }

    /// What the token stands for.
    #[must_use]
    pub fn find(&self, token: &str, now: Time) -> Option<&Offer> {
        self.offers.of_token(token).filter(|offer| self.is_present(&offer.host, now))
    }

    /// One capability of a schema for each label that hosts gave it.
    #[must_use]
    pub fn of_schema(&self, schema: &str, now: Time) -> Vec<Capability> {
        let mut found: Vec<Capability> = Vec::new();
        for offer in self.offers.of_schema(schema) {
            let label = offer.capability.head.label();
            // Mostly they have the same one, so that is looked at first.
            if found.iter().all(|known| known.head.label() != label)
                && self.is_present(&offer.host, now)
            {
                found.push(offer.capability.clone());
            }
        }
        found
    }

    /// The offer that a specification is for: of those whose schema, scope and constraints fit, the one that the label names,
    /// else one with the same host behind an `@` in its label, else the first.
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
        let missing = specification.parameters.iter().find(|field| field.value.is_missing());
        let fits = |offer: &&Offer| {
            specification.fits(&offer.capability, now)
                && (missing.is_none() || self.has_defaults(&offer.host))
                && may(offer)
        };
        let named = labels_of(label).flat_map(|label| self.offers.of_label(label));
        let named = named.filter(|offer| offer.schema == schema);
        if let Some(offer) = named.filter(|it| self.is_present(&it.host, now)).find(fits) {
            return Ok(offer);
        }
        // Who chose a host, and a label of their own.
        let places: Vec<&str> = labels_of(label).filter_map(place_of).collect();
        let is_there = |offer: &&Offer| {
            place_of(offer.published.head.label()).is_some_and(|place| places.contains(&place))
        };
        if let Some(offer) = self.alike(&schema, now).filter(is_there).find(fits) {
            return Ok(offer);
        }
        if let Some(offer) = self.alike(&schema, now).find(fits) {
            return Ok(offer);
        }
        let Some(nearest) = self.alike(&schema, now).find(|offer| may(offer)) else {
            return Err(NoHost::Unknown { label: label.to_owned() });
        };
        let label = nearest.published.head.label().to_owned();
        match specification.fulfils(&nearest.capability, Strictness::Constraints, now) {
            Err(mismatch) => Err(NoHost::Mismatch { label, mismatch }),
            Ok(()) => match missing {
                Some(field) => {
                    Err(NoHost::NoDefault { label, name: field.element.name().to_owned() })
                }
                None => Ok(nearest),
            },
        }
    }
}

/// The host that a label names.
fn place_of(label: &str) -> Option<&str> {
    label.split_once('@').map(|(_, place)| place)
}

/// Constraints by parameter, each as what it permits.
fn sets_of(capability: &Capability) -> BTreeMap<&str, BTreeSet<String>> {
    let permitted = |constraint: &Constraint| match constraint {
        Constraint::Set(values) => values.iter().map(ToString::to_string).collect(),
        other => BTreeSet::from([other.to_string()]),
    };
    let parameters = capability.parameters.iter();
    parameters.map(|it| (it.element.name(), permitted(&it.constraint))).collect()
}

/// Labels of capabilities that a specification's label may mean: itself, and without the number that clients of the RI
/// add to it.
fn labels_of(label: &str) -> impl Iterator<Item = &str> {
    let without = label.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let numbered = (without != label).then_some(without);
    [Some(label), numbered, without.strip_suffix('-')].into_iter().flatten()
}

#[cfg(test)]
mod tests;
