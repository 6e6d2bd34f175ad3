//! One message made out of another, and capabilities made from texts.
//!
//! Who copies what follows the RI: a receipt is the specification without its link, a result has its
//! own scope and rows, a withdrawal is the capability without its link.

use serde_json::{Map, Value as Json, json};

use super::read::Reader;
use super::{
    Capability, Exception, Field, Head, Kind, Measured, Message, MessageError, Parameter, Problem,
    Reference, Specification,
};
use crate::registry::{CORE_URI, Registries};
use crate::value::Value;
use crate::when::When;

/// Makes a [`Capability`] from texts, as a plugin's view has them.
#[derive(Clone, Debug)]
pub struct CapabilityBuilder {
    label: String,
    verb: String,
    when: String,
    registry: String,
    link: String,
    parameters: Map<String, Json>,
    metadata: Map<String, Json>,
    results: Vec<Json>,
    twice: Option<(&'static str, String)>,
}

impl CapabilityBuilder {
    /// Another verb than `measure`.
    #[must_use]
    pub fn verb(mut self, verb: &str) -> Self {
        verb.clone_into(&mut self.verb);
        self
    }

    /// Another registry than the core one.
    #[must_use]
    pub fn registry(mut self, uri: &str) -> Self {
        uri.clone_into(&mut self.registry);
        self
    }

    /// Where specifications go, if not to where the capability came from.
    #[must_use]
    pub fn link(mut self, link: &str) -> Self {
        link.clone_into(&mut self.link);
        self
    }

    /// A parameter with the text of its constraint.
    #[must_use]
    pub fn parameter(mut self, element: &str, constraint: &str) -> Self {
        if self.parameters.insert(element.to_owned(), constraint.into()).is_some() {
            self.twice = Some(("parameters", element.to_owned()));
        }
        self
    }

    /// Something about the component.
    #[must_use]
    pub fn metadata(mut self, element: &str, value: &str) -> Self {
        if self.metadata.insert(element.to_owned(), value.into()).is_some() {
            self.twice = Some(("metadata", element.to_owned()));
        }
        self
    }

    /// The next column.
    #[must_use]
    pub fn result(mut self, element: &str) -> Self {
        self.results.push(element.into());
        self
    }

    /// The capability, with its token.
    ///
    /// # Errors
    ///
    /// [`MessageError`] with the path to what the registries do not know or what means nothing.
    pub fn finish(self, registries: &Registries) -> Result<Capability, MessageError> {
        let breaks = |character: char| matches!(character, '"' | '\\') || character.is_control();
        if self.label.is_empty() {
            return Err(MessageError::new("label", Problem::Missing));
        }
        if self.label.contains(breaks) {
            return Err(MessageError::new("label", Problem::Label { label: self.label }));
        }
        if let Some((key, name)) = self.twice {
            return Err(MessageError::new(key, Problem::Twice { name }));
        }
        let json = json!({
            "capability": self.verb,
            "label": self.label,
            "link": self.link,
            "registry": self.registry,
            "when": self.when,
            "parameters": self.parameters,
            "metadata": self.metadata,
            "results": self.results,
        });
        let mut capability =
            Reader::new(&json, String::new(), registries)?.capability(Kind::Capability)?;
        capability.head.token = Some(capability.computed_token());
        Ok(capability)
    }
}

impl Capability {
    /// Begins a capability with a label and the text of a scope.
    #[must_use]
    pub fn build(label: &str, when: &str) -> CapabilityBuilder {
        CapabilityBuilder {
            label: label.to_owned(),
            verb: "measure".to_owned(),
            when: when.to_owned(),
            registry: CORE_URI.to_owned(),
            link: String::new(),
            parameters: Map::new(),
            metadata: Map::new(),
            results: Vec::new(),
            twice: None,
        }
    }

    /// The parameter of that name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.element.name() == name)
    }

    /// Parameters for which there is a choice, in the order of their names: what a client asks for.
    #[must_use]
    pub fn questions(&self) -> Vec<&Parameter> {
        let open = |parameter: &&Parameter| parameter.constraint.single_value().is_none();
        let mut questions: Vec<_> = self.parameters.iter().filter(open).collect();
        questions.sort_by_key(|parameter| parameter.element.name());
        questions
    }

    /// A specification for it; parameters that have one value have it, the others are missing.
    #[must_use]
    pub fn specification(&self, label: &str, when: When) -> Specification {
        let value = |parameter: &Parameter| Field {
            element: parameter.element.clone(),
            value: parameter.constraint.single_value().cloned().unwrap_or(Value::Missing),
        };
        Specification {
            head: Head {
                label: Some(label.to_owned()),
                link: None,
                token: None,
                ..self.head.clone()
            },
            registry: self.registry.clone(),
            when,
            parameters: self.parameters.iter().map(value).collect(),
        }
    }

    /// Says that it is not offered any longer; the token alone tells which one.
    ///
    /// Parameters are left out: supervisors of the reference implementation 0.9.0 read their constraints as values, and
    /// refuse the whole envelope where one is a range or a set.
    #[must_use]
    pub fn withdrawal(&self) -> Message {
        let mut body = self.clone();
        body.parameters.clear();
        body.via.clear();
        body.head.link = None;
        body.head.token = Some(self.token());
        Message::Withdrawal(body)
    }
}

impl Specification {
    /// Value of a parameter.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        super::value(&self.parameters, name)
    }

    /// Sets a parameter from its text.
    ///
    /// # Errors
    ///
    /// [`MessageError`] if there is no such parameter or the text is no value of it.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), MessageError> {
        let path = || format!("parameters.{name}");
        let field = self.parameters.iter_mut().find(|field| field.element.name() == name);
        let Some(field) = field else {
            let problem = Problem::UnknownElement { name: name.to_owned() };
            return Err(MessageError::new(path(), problem));
        };
        field.value = Value::parse(text, field.element.primitive())
            .map_err(|error| MessageError::new(path(), error))?;
        Ok(())
    }

    /// What a receipt, redemption or interrupt says about it: everything but the link.
    #[must_use]
    pub fn reference(&self) -> Reference {
        Reference {
            head: Head { link: None, token: Some(self.token()), ..self.head.clone() },
            registry: Some(self.registry.clone()),
            when: Some(self.when.clone()),
            parameters: self.parameters.clone(),
        }
    }

    /// Says that it was accepted.
    #[must_use]
    pub fn receipt(&self) -> Message {
        Message::Receipt(self.reference())
    }

    /// What was measured for it.
    #[must_use]
    pub fn result(&self, when: When, rows: Vec<Vec<Value>>) -> Measured {
        let reference = self.reference();
        Measured {
            head: reference.head,
            registry: self.registry.clone(),
            when,
            parameters: reference.parameters,
            rows,
        }
    }

    /// Why nothing was measured for it.
    #[must_use]
    pub fn exception(&self, message: impl Into<String>) -> Exception {
        Exception { token: Some(self.token()), message: message.into() }
    }
}

impl Reference {
    /// The least that asks for a result or stops a measurement.
    #[must_use]
    pub fn to_token(verb: &str, token: &str) -> Self {
        let head = Head { verb: verb.to_owned(), token: Some(token.to_owned()), ..Head::default() };
        Self { head, ..Self::default() }
    }

    /// Asks for the result.
    #[must_use]
    pub fn redemption(&self) -> Message {
        Message::Redemption(self.clone())
    }

    /// Stops the measurement.
    #[must_use]
    pub fn interrupt(&self) -> Message {
        Message::Interrupt(self.clone())
    }
}
