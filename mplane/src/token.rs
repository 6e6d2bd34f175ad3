//! Tokens and schema hashes: MD5 over a text, byte for byte that of the RI.
//!
//! A token that is present is passed on unchanged. The computed one matters where a message arrives
//! without, and to recognise a capability after a restart. MD5 protects nothing here.
//!
//! Source: the RI's tokens; the texts are in the test vectors.

use md5::{Digest, Md5};

use crate::message::{Capability, Field, Specification};
use crate::primitive::Primitive;
use crate::registry::Element;

impl Capability {
    /// The token that stands in it, else the computed one.
    #[must_use]
    pub fn token(&self) -> String {
        self.head.token.clone().unwrap_or_else(|| self.computed_token())
    }

    /// What the RI computes for it.
    ///
    /// Label, link and the order of the columns are not part of it; metadata is.
    #[must_use]
    pub fn computed_token(&self) -> String {
        hash(&self.token_text())
    }

    pub(crate) fn token_text(&self) -> String {
        let mut parameters: Vec<_> = self.parameters.iter().collect();
        parameters.sort_by_key(|parameter| parameter.element.name());
        let metadata = sorted(&self.head.metadata);
        // Without a value, a time counts as None, anything else as *.
        let unset = |element: &Element| match element.primitive() {
            Primitive::Time => "None",
            _ => "*",
        };
        format!(
            "{}{} w {} pk {} pc {} pv {} mk {} mv {} r {} ex None",
            self.registry,
            self.head.verb,
            self.when,
            joined(parameters.iter().map(|parameter| parameter.element.name())),
            joined(parameters.iter().map(|parameter| parameter.constraint.to_string())),
            joined(parameters.iter().map(|parameter| unset(&parameter.element))),
            joined(metadata.iter().map(|field| field.element.name())),
            joined(metadata.iter().map(|field| print(field))),
            names(&self.head.results),
        )
    }

    /// Equal for capabilities and specifications that fit each other by their names.
    #[must_use]
    pub fn schema_hash(&self) -> String {
        let parameters = self.parameters.iter().map(|parameter| &parameter.element);
        schema_hash(&self.registry, parameters, &self.head.results)
    }
}

impl Specification {
    /// The token that stands in it, else the computed one, which the RI expects in the answers.
    #[must_use]
    pub fn token(&self) -> String {
        self.head.token.clone().unwrap_or_else(|| self.computed_token())
    }

    /// What a receiver computes for it; the metadata is not part of it.
    #[must_use]
    pub fn computed_token(&self) -> String {
        hash(&self.token_text())
    }

    pub(crate) fn token_text(&self) -> String {
        let parameters = sorted(&self.parameters);
        format!(
            "{}{} w {} pk {} pv {} r {}",
            self.registry,
            self.head.verb,
            self.when,
            joined(parameters.iter().map(|field| field.element.name())),
            joined(parameters.iter().map(|field| print(field))),
            names(&self.head.results),
        )
    }

    /// See [`Capability::schema_hash`].
    #[must_use]
    pub fn schema_hash(&self) -> String {
        let parameters = self.parameters.iter().map(|field| &field.element);
        schema_hash(&self.registry, parameters, &self.head.results)
    }
}

fn schema_hash<'a>(
    registry: &str,
    parameters: impl Iterator<Item = &'a Element>,
    results: &[Element],
) -> String {
    let mut parameters: Vec<_> = parameters.map(Element::name).collect();
    parameters.sort_unstable();
    hash(&format!("{registry} p {} r {}", parameters.join(" "), names(results)))
}

fn sorted(fields: &[Field]) -> Vec<&Field> {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_by_key(|field| field.element.name());
    sorted
}

fn print(field: &Field) -> String {
    if field.value.is_missing() && field.element.primitive() == Primitive::Time {
        return "None".to_owned();
    }
    field.value.to_string()
}

fn names(elements: &[Element]) -> String {
    let mut names: Vec<_> = elements.iter().map(Element::name).collect();
    names.sort_unstable();
    names.join(" ")
}

fn joined<S: AsRef<str>>(items: impl Iterator<Item = S>) -> String {
    items.map(|item| item.as_ref().to_owned()).collect::<Vec<_>>().join(" ")
}

fn hash(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|octet| format!("{octet:02x}")).collect()
}
