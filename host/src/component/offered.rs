//! Capabilities: the plugins' views for each family in which the host has an address.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use sonde_config::{Mistake, unknown};
use sonde_mplane::{
    Capability, Constraint, Envelope, Message, Registries, Specification, Value as Wire,
};
use sonde_plugin_api::{
    capability::{IpVersion, View},
    packet::Family,
    schema::Value,
};

use super::settings::{Offering, Override};
use crate::{Catalogue, Offer};

/// Parameters that the temporal scope gives.
pub(crate) const COUNT: &str = "when.count";
pub(crate) const PERIOD: &str = "when.period";

/// A capability and what is behind it.
#[derive(Clone, Debug)]
pub struct Offered {
    /// As supervisors see it, with its token.
    pub capability: Capability,
    pub(crate) offer: Offer,
    /// For one family.
    pub(crate) view: View,
    pub(crate) family: Family,
    /// Defaults of the operator, by element.
    defaults: BTreeMap<String, Wire>,
}

/// Everything that a host offers, and what it cannot.
#[derive(Clone, Debug, Default)]
pub struct Offers {
    /// In the order of the methods, then of their views, IPv4 first.
    pub offered: Vec<Arc<Offered>>,
    /// Views that are left out, a line each.
    pub problems: Vec<String>,
    /// Overrides that mean nothing.
    pub mistakes: Vec<Mistake>,
}

/// Addresses that capabilities are for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Addresses {
    /// None where the host has no IPv4.
    pub ip4: Option<IpAddr>,
    /// None where the host has no IPv6.
    pub ip6: Option<IpAddr>,
}

impl Addresses {
    /// The operator's, else the source addresses of the routes to the world. No packet is sent.
    #[must_use]
    pub fn of(offering: &Offering) -> Self {
        // Addresses for documentation: that there is a route is all that matters.
        let ip4 = offering.ip4addr.map(IpAddr::from).or_else(|| source_towards("192.0.2.1"));
        let ip6 = offering.ip6addr.map(IpAddr::from).or_else(|| source_towards("2001:db8::1"));
        Self { ip4, ip6 }
    }

    /// With those of another look where there is none of a family.
    #[must_use]
    pub(crate) fn or(self, other: Self) -> Self {
        Self { ip4: self.ip4.or(other.ip4), ip6: self.ip6.or(other.ip6) }
    }

    fn iter(self) -> impl Iterator<Item = (Family, IpAddr)> {
        let ip4 = self.ip4.map(|address| (Family::V4, address));
        ip4.into_iter().chain(self.ip6.map(|address| (Family::V6, address)))
    }
}

fn source_towards(address: &str) -> Option<IpAddr> {
    let remote: IpAddr = address.parse().ok()?;
    let any = if remote.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = std::net::UdpSocket::bind(any).ok()?;
    socket.connect((remote, 9)).ok()?;
    socket.local_addr().ok().map(|local| local.ip())
}

impl Offers {
    /// What a host with these plugins and addresses offers, of the methods that are permitted.
    #[must_use]
    pub fn of(
        catalogue: &Catalogue,
        permits: impl Fn(&Offer) -> bool,
        offering: &Offering,
        addresses: Addresses,
        registries: &Registries,
    ) -> Self {
        let mut offers = Self::default();
        for (name, said) in &offering.overrides {
            if catalogue.find(name).is_none() {
                let known: Vec<Offer> = catalogue.offers().collect();
                let known = known.iter().map(|offer| offer.method().name.as_str());
                offers.mistakes.push(Mistake {
                    place: said.values().next().map(|it| it.place.clone()).unwrap_or_default(),
                    key: format!("component.overrides.{name}"),
                    problem: unknown(name, known),
                });
            }
        }
        for offer in catalogue.offers().filter(permits) {
            offers.add_method(&offer, offering, addresses, registries);
        }
        offers
    }

    fn add_method(
        &mut self,
        offer: &Offer,
        offering: &Offering,
        addresses: Addresses,
        registries: &Registries,
    ) {
        let none = BTreeMap::new();
        let overrides = offering.overrides.get(&offer.method().name).unwrap_or(&none);
        let views = &offer.method().capabilities;
        let both = |view: &View| [Family::V4, Family::V6].map(|family| view.for_family(family));
        let known: BTreeSet<String> = views
            .iter()
            .flat_map(both)
            .flatten()
            .flat_map(|view| view.parameters.into_iter().map(|it| it.element))
            .collect();
        let before = self.mistakes.len();
        for (element, said) in overrides {
            if !known.iter().any(|it| names(element, it)) {
                self.mistakes.push(Mistake {
                    place: said.place.clone(),
                    key: format!("component.overrides.{}.{element}", offer.method().name),
                    problem: unknown(element, known.iter().map(String::as_str)),
                });
            }
        }
        // What the operator meant to restrict would not be restricted.
        if self.mistakes.len() > before {
            return;
        }
        for view in views {
            for (family, address) in addresses.iter() {
                let Some(for_family) = view.for_family(family) else { continue };
                let offered = Offered::new(
                    offer, for_family, family, address, offering, overrides, registries,
                );
                match offered {
                    Ok(offered) => {
                        let label = offered.capability.head.label();
                        if self.label(label).is_none() {
                            self.offered.push(Arc::new(offered));
                        } else if view.only == Some(IpVersion::Ip4) || !view.is_for_any_family() {
                            self.problems.push(format!("two capabilities have the label {label}"));
                        }
                    }
                    Err(problem) => self.problems.push(problem),
                }
            }
        }
    }

    /// An envelope of all capabilities, as mPlane writes it.
    #[must_use]
    pub fn to_json(&self) -> String {
        let contents = self.offered.iter().map(|it| it.capability.clone().into()).collect();
        Message::Envelope(Envelope { contents, ..Envelope::default() }).to_json()
    }

    /// The capability of that label.
    #[must_use]
    pub fn label(&self, label: &str) -> Option<&Arc<Offered>> {
        self.offered.iter().find(|offered| offered.capability.head.label() == label)
    }

    /// What is offered here and was not in `before`: new, or with another token.
    pub fn added<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a Arc<Offered>> {
        self.offered.iter().filter(|offered| !before.has(offered))
    }

    fn has(&self, other: &Offered) -> bool {
        let same = |offered: &Arc<Offered>| {
            offered.capability.token() == other.capability.token()
                && offered.capability.head.label() == other.capability.head.label()
        };
        self.offered.iter().any(same)
    }
}

/// Whether an operator's name of an element means that of a view for one family.
fn names(written: &str, element: &str) -> bool {
    written == element
        || written.split_once("{ip}").is_some_and(|(before, behind)| {
            let family = element.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind));
            matches!(family, Some("ip4" | "ip6"))
        })
}

impl Offered {
    fn new(
        offer: &Offer,
        view: View,
        family: Family,
        address: IpAddr,
        offering: &Offering,
        overrides: &BTreeMap<String, Override>,
        registries: &Registries,
    ) -> Result<Self, String> {
        let label = format!("{}{}", offering.label_prefix, view.label);
        let wrong = |error: &dyn std::fmt::Display| format!("{label} is not offered: {error}");
        let elements = view.parameters.iter().map(|parameter| &parameter.element);
        let elements = elements.chain(view.results.iter().map(|column| &column.element));
        let unknown = elements.filter(|name| registries.element(name).is_none());
        let unknown: Vec<&str> = unknown.map(String::as_str).collect();
        if !unknown.is_empty() {
            return Err(wrong(&format!("in no registry that is loaded: {}", unknown.join(", "))));
        }
        let mut builder =
            Capability::build(&label, &view.when).verb(&view.verb).registry(&offering.registry_uri);
        let mut defaults = BTreeMap::new();
        for parameter in &view.parameters {
            let element = &parameter.element;
            let own = parameter.constraint.for_family(family).text(Some(address));
            let said = overrides.iter().find(|(written, _)| names(written, element));
            let constraint = match said.and_then(|(_, said)| said.constraint.as_ref()) {
                Some(narrower) => {
                    narrowed(element, family, &own, narrower, registries)
                        .map_err(|error| wrong(&error))?;
                    narrower
                }
                None => &own,
            };
            builder = builder.parameter(element, constraint);
            if let Some(default) = said.and_then(|(_, said)| said.default.as_ref()) {
                let known = registries.element(element).ok_or_else(|| wrong(&"unknown element"))?;
                let value = Wire::parse(default, known.primitive())
                    .map_err(|error| wrong(&format!("default of {element}: {error}")))?;
                let accepted = Constraint::parse(constraint, known.primitive())
                    .map_err(|error| wrong(&error))?;
                if !accepted.is_met_by(&value) {
                    let text = format!("default of {element} is {default}, accepted: {constraint}");
                    return Err(wrong(&text));
                }
                defaults.insert(element.clone(), value);
            }
        }
        for (name, value) in &view.metadata {
            builder = builder.metadata(name, value);
        }
        for column in &view.results {
            builder = builder.result(&column.element);
        }
        let capability = builder.finish(registries).map_err(|error| wrong(&error))?;
        Ok(Self { capability, offer: offer.clone(), view, family, defaults })
    }

    /// What the method is given for a specification that fulfils the capability: its values, the
    /// operator's defaults, the view's. `*` and what is missing stand for the default.
    ///
    /// # Errors
    ///
    /// A text for the client: the method refuses a value that mPlane's constraint allows.
    pub(crate) fn parameters(
        &self,
        specification: &Specification,
        count: Option<u64>,
        period_ns: Option<u64>,
    ) -> Result<BTreeMap<String, Value>, String> {
        let mut given = BTreeMap::new();
        for field in &specification.parameters {
            let name = field.element.name();
            let value = if field.value.is_missing() { self.defaults.get(name) } else { None };
            let text = value.unwrap_or(&field.value).to_string();
            if text != "*" && !text.is_empty() {
                given.insert(name.to_owned(), Value::Text(text));
            }
        }
        let method = self.offer.method();
        let mut values =
            method.specified(&self.view, &given, self.family).map_err(|error| error.to_string())?;
        let scope = [(COUNT, count.map(Value::U64)), (PERIOD, period_ns.map(Value::Duration))];
        for (element, value) in scope {
            if let (Some(parameter), Some(value)) = (method.parameter(element), value) {
                parameter.check(&value).map_err(|error| error.to_string())?;
                values.insert(element.to_owned(), value);
            }
        }
        // All of them together, so that nothing can be refused later.
        method.values(&values, self.family).map_err(|error| error.to_string())?;
        Ok(values)
    }

    /// Most samples that the method takes in one measurement; `None` where it does not count them.
    pub(crate) fn most_samples(&self) -> Option<u64> {
        let parameter = self.offer.method().parameter(COUNT)?;
        Some(parameter.max.as_ref().and_then(serde_json::Value::as_u64).unwrap_or(u64::MAX))
    }
}

/// An operator may only forbid: what the capability's author does not accept, the method cannot.
fn narrowed(
    element: &str,
    family: Family,
    own: &str,
    narrower: &str,
    registries: &Registries,
) -> Result<(), String> {
    let known = registries.element(element).ok_or_else(|| format!("{element} is unknown"))?;
    let parse =
        |text: &str| Constraint::parse(text, known.primitive()).map_err(|error| error.to_string());
    let (author, operator) = (parse(own)?, parse(narrower)?);
    let is_of_family =
        |value: &Wire| value.as_address().is_none_or(|address| Family::of(address) == family);
    let inside = match &operator {
        Constraint::Any => matches!(author, Constraint::Any),
        Constraint::Range(from, to) => match &author {
            Constraint::Set(_) => false,
            author => {
                author.is_met_by(from)
                    && author.is_met_by(to)
                    && is_of_family(from)
                    && is_of_family(to)
            }
        },
        Constraint::Set(values) => {
            values.iter().all(|value| author.is_met_by(value) && is_of_family(value))
        }
    };
    if inside {
        return Ok(());
    }
    Err(format!("constraint of {element} is {narrower}, accepted: part of {own}"))
}

#[cfg(test)]
mod tests;
