//! Offers in the order of registration, found by host, token, label and schema. Thousands of hosts offer a few schemas.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sonde_mplane::Capability;

/// A capability as clients see it, and whose it is.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Identity of the host.
    pub host: String,
    /// As the host registered it, with its token.
    pub capability: Capability,
    /// As clients see it.
    pub published: Capability,
    pub(super) schema: String,
    /// That it counts for.
    pub(super) octets: usize,
}

impl Offer {
    /// Token that clients know it by.
    #[must_use]
    pub fn token(&self) -> &str {
        self.published.head.token.as_deref().unwrap_or_default()
    }

    fn own(&self) -> (String, String) {
        (self.host.clone(), self.capability.token())
    }
}

/// Every offer has a number; a later one has a greater one.
#[derive(Debug, Default)]
pub(super) struct Offers {
    all: BTreeMap<u64, Offer>,
    next: u64,
    /// By host and its own token.
    by_own: HashMap<(String, String), u64>,
    /// By what clients know.
    by_token: HashMap<String, u64>,
    by_label: HashMap<String, BTreeSet<u64>>,
    by_schema: HashMap<String, BTreeSet<u64>>,
    octets: HashMap<String, usize>,
}

impl Offers {
    /// Adds an offer; at the place of another one if it has its number.
    pub(super) fn insert(&mut self, number: Option<u64>, offer: Offer) {
        let number = number.unwrap_or(self.next);
        self.next = self.next.max(number + 1);
        self.by_own.insert(offer.own(), number);
        self.by_token.insert(offer.token().to_owned(), number);
        let label = offer.published.head.label().to_owned();
        self.by_label.entry(label).or_default().insert(number);
        self.by_schema.entry(offer.schema.clone()).or_default().insert(number);
        *self.octets.entry(offer.host.clone()).or_default() += offer.octets;
        self.all.insert(number, offer);
    }

    pub(super) fn remove(&mut self, number: u64) {
        let Some(offer) = self.all.remove(&number) else { return };
        self.by_own.remove(&offer.own());
        self.by_token.remove(offer.token());
        if let Some(octets) = self.octets.get_mut(&offer.host) {
            *octets -= offer.octets;
        }
        let label = offer.published.head.label().to_owned();
        for (index, key) in [(&mut self.by_label, label), (&mut self.by_schema, offer.schema)] {
            if let Some(numbers) = index.get_mut(&key) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    index.remove(&key);
                }
            }
        }
    }

    pub(super) fn get(&self, number: u64) -> Option<&Offer> {
        self.all.get(&number)
    }

    /// Number of what a host calls so.
    pub(super) fn number(&self, host: &str, token: &str) -> Option<u64> {
        self.by_own.get(&(host.to_owned(), token.to_owned())).copied()
    }

    /// What a host's offers count for.
    pub(super) fn octets_of(&self, host: &str) -> usize {
        self.octets.get(host).copied().unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Offer> {
        self.all.values()
    }

    pub(super) fn of_token(&self, token: &str) -> Option<&Offer> {
        self.all.get(self.by_token.get(token)?)
    }

    pub(super) fn of_label(&self, label: &str) -> impl Iterator<Item = &Offer> {
        let numbers = self.by_label.get(label).into_iter().flatten();
        numbers.filter_map(|number| self.all.get(number))
    }

    pub(super) fn of_schema(&self, schema: &str) -> impl Iterator<Item = &Offer> {
        let numbers = self.by_schema.get(schema).into_iter().flatten();
        numbers.filter_map(|number| self.all.get(number))
    }
}
