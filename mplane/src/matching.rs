//! Whether a specification fulfils a capability.
//!
//! The RI compares schema and scope; its branch `sdk` also checks constraints. Verb, label, metadata
//! and token are never compared.

use crate::constraint::{Constraint, RANGE};
use crate::message::{Capability, Parameter, Specification};
use crate::time::Time;
use crate::value::Value;

/// How much is compared.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Strictness {
    /// Schema, scope and constraints, as the RI's branch `sdk`.
    #[default]
    Constraints,
    /// Schema and scope, as the RI 0.9.0.
    Schema,
}

/// Why a specification does not fulfil a capability; the client reads this text.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Mismatch {
    /// Another registry.
    #[error("registry is {given:?}, the capability has {accepted:?}")]
    Registry {
        /// Of the specification.
        given: String,
        /// Of the capability.
        accepted: String,
    },
    /// A parameter that the capability does not have.
    #[error("parameter {name} is not one of the capability")]
    ExtraParameter {
        /// Its element.
        name: String,
    },
    /// A parameter that the specification does not have.
    #[error("parameter {name} is missing, accepted: {constraint}")]
    MissingParameter {
        /// Its element.
        name: String,
        /// What it may be.
        constraint: String,
    },
    /// Other columns.
    #[error("results are {given:?}, the capability has {accepted:?}")]
    Results {
        /// Of the specification, joined.
        given: String,
        /// Of the capability, joined.
        accepted: String,
    },
    /// A scope that does not fit.
    #[error("temporal scope {given:?} does not follow {accepted:?}")]
    When {
        /// Of the specification.
        given: String,
        /// Of the capability.
        accepted: String,
    },
    /// A value that the capability does not allow.
    #[error("{name} is {value}, accepted: {constraint}")]
    Value {
        /// The element.
        name: String,
        /// As given.
        value: String,
        /// What it may be.
        constraint: String,
    },
}

impl Specification {
    /// Checks it against a capability.
    ///
    /// # Errors
    ///
    /// The first [`Mismatch`], with what is accepted.
    pub fn fulfils(
        &self,
        capability: &Capability,
        strictness: Strictness,
        now: Time,
    ) -> Result<(), Mismatch> {
        if self.registry != capability.registry {
            return Err(Mismatch::Registry {
                given: self.registry.clone(),
                accepted: capability.registry.clone(),
            });
        }
        for field in &self.parameters {
            if capability.parameter(field.element.name()).is_none() {
                return Err(Mismatch::ExtraParameter { name: field.element.name().to_owned() });
            }
        }
        self.has_columns_of(capability)?;
        for parameter in &capability.parameters {
            let name = parameter.element.name();
            let Some(value) = self.value(name) else {
                let constraint = crate::excerpt(&parameter.constraint.to_string());
                return Err(Mismatch::MissingParameter { name: name.to_owned(), constraint });
            };
            if strictness == Strictness::Constraints {
                check(parameter, value)?;
            }
        }
        if self.when.follows(&capability.when, now) {
            return Ok(());
        }
        let (given, accepted) = (self.when.to_string(), capability.when.to_string());
        Err(Mismatch::When { given, accepted })
    }

    /// Whether values and scope are those of a capability that has the same schema: cheap, for who has many to choose
    /// from, and without a reason. Same as [`Specification::fulfils`] there.
    #[must_use]
    pub fn fits(&self, capability: &Capability, now: Time) -> bool {
        let is_met = |parameter: &Parameter| {
            let value = self.value(parameter.element.name());
            value.is_some_and(|value| permits(parameter, value))
        };
        // Those without a choice tell capabilities of one schema apart.
        let has_choice = |parameter: &Parameter| parameter.constraint.single_value().is_none();
        let parameters = || capability.parameters.iter();
        parameters().filter(|it| !has_choice(it)).all(is_met)
            && parameters().filter(|it| has_choice(it)).all(is_met)
            && self.when.follows(&capability.when, now)
    }

    fn has_columns_of(&self, capability: &Capability) -> Result<(), Mismatch> {
        fn names(results: &[crate::Element]) -> Vec<&str> {
            let mut names: Vec<_> = results.iter().map(crate::Element::name).collect();
            names.sort_unstable();
            names
        }
        let (given, accepted) = (names(&self.head.results), names(&capability.head.results));
        if given == accepted {
            return Ok(());
        }
        Err(Mismatch::Results { given: given.join(" "), accepted: accepted.join(" ") })
    }
}

/// Whether a parameter may have this value, as far as can be said. Of an element that no registry knows texts are compared,
/// which tells hosts apart; what is within a range the host knows.
fn permits(parameter: &Parameter, value: &Value) -> bool {
    match &parameter.constraint {
        Constraint::Set(items) if !parameter.element.is_known() => {
            let value = value.to_string();
            let mut items = items.iter().map(ToString::to_string);
            items.any(|item| item == value || item.contains(RANGE))
        }
        constraint => constraint.is_met_by(value),
    }
}

fn check(parameter: &Parameter, value: &Value) -> Result<(), Mismatch> {
    if permits(parameter, value) {
        return Ok(());
    }
    let (name, constraint) = (parameter.element.name(), &parameter.constraint);
    Err(Mismatch::Value {
        name: name.to_owned(),
        value: if value.is_missing() {
            "missing".to_owned()
        } else {
            crate::excerpt(&value.to_string())
        },
        constraint: crate::excerpt(&constraint.to_string()),
    })
}
