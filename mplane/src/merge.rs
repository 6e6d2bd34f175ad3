//! One capability that stands for several of the same schema.
//!
//! A supervisor with the same method on many hosts can offer it once, with the hosts' addresses as a
//! set; which host then measures is said by the value.

use crate::message::{Capability, Parameter};

/// Why two capabilities cannot become one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MergeError {
    /// Other registry, parameters or results.
    #[error("capabilities {left:?} and {right:?} have different schemas")]
    Schema {
        /// One label.
        left: String,
        /// The other.
        right: String,
    },
    /// Another verb or scope.
    #[error("capabilities differ in {what}: {left:?}, {right:?}")]
    Differs {
        /// `verb` or `when`.
        what: &'static str,
        /// Of one.
        left: String,
        /// Of the other.
        right: String,
    },
    /// No constraint says both, or more than one parameter differs, and then one capability would
    /// allow combinations that neither does.
    #[error("constraints of {name} cannot become one: {left}, {right}")]
    Constraint {
        /// The parameter's element.
        name: String,
        /// Of one.
        left: String,
        /// Of the other.
        right: String,
    },
}

impl Capability {
    /// What either of the two allows, with the label, link and metadata of this one and a token of
    /// its own.
    ///
    /// # Errors
    ///
    /// [`MergeError`] if one capability cannot say exactly what both do.
    pub fn merged(&self, other: &Self) -> Result<Self, MergeError> {
        let differs = |what, left: String, right: String| MergeError::Differs { what, left, right };
        if self.schema_hash() != other.schema_hash() {
            return Err(MergeError::Schema {
                left: self.head.label().to_owned(),
                right: other.head.label().to_owned(),
            });
        }
        if self.head.verb != other.head.verb {
            return Err(differs("verb", self.head.verb.clone(), other.head.verb.clone()));
        }
        if self.when != other.when {
            return Err(differs("when", self.when.to_string(), other.when.to_string()));
        }
        let mut merged = self.clone();
        let mut changed = false;
        for parameter in &mut merged.parameters {
            let Parameter { element, constraint } = parameter;
            let theirs = other.parameter(element.name()).map(|theirs| &theirs.constraint);
            let Some(theirs) = theirs.filter(|theirs| *theirs != constraint) else {
                continue;
            };
            let both = constraint.merged(theirs).filter(|_| !changed);
            let Some(both) = both else {
                return Err(MergeError::Constraint {
                    name: element.name().to_owned(),
                    left: constraint.to_string(),
                    right: theirs.to_string(),
                });
            };
            changed = true;
            *constraint = both;
        }
        merged.head.token = Some(merged.computed_token());
        Ok(merged)
    }
}
