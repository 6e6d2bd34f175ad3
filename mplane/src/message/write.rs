//! Messages to their JSON, byte for byte as the RI writes it.
//!
//! Keys are sorted; what is empty is left out; values are texts. `export` is never written.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::{Capability, Field, Head, Kind, Message, Parameter, Specification, VERSION};
use crate::json;
use crate::registry::Element;
use crate::value::Value;

impl Message {
    /// As the RI writes it.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::write(&self.to_value())
    }

    /// As [`Message::to_json`], before it becomes text.
    #[must_use]
    pub fn to_value(&self) -> Json {
        let mut object = Object::default();
        if self.kind() != Kind::Exception {
            object.put("version", VERSION);
        }
        if let Some(when) = self.when() {
            object.put("when", when.to_string());
        }
        if let Some(head) = self.head() {
            object.head(self.kind(), head);
        }
        match self {
            Self::Capability(Capability { registry, parameters, via, .. })
            | Self::Withdrawal(Capability { registry, parameters, via, .. }) => {
                object.put("registry", registry.clone());
                object.map("parameters", parameters.iter().map(constraint));
                if !via.is_empty() {
                    object.put("via", via.clone());
                }
            }
            Self::Specification(Specification { registry, parameters, .. }) => {
                object.put("registry", registry.clone());
                object.map("parameters", parameters.iter().map(field));
            }
            Self::Receipt(body) | Self::Redemption(body) | Self::Interrupt(body) => {
                object.put_some("registry", body.registry.as_deref());
                object.map("parameters", body.parameters.iter().map(field));
            }
            Self::Result(body) => {
                object.put("registry", body.registry.clone());
                object.map("parameters", body.parameters.iter().map(field));
                if !body.rows.is_empty() {
                    let rows = body.rows.iter().map(|values| row(values, &body.head.results));
                    object.put("resultvalues", rows.collect::<Vec<_>>());
                }
            }
            Self::Exception(body) => {
                object.put("exception", body.token.clone());
                object.put("message", body.message.clone());
            }
            Self::Envelope(body) => {
                object.put("envelope", "message");
                object.put_some("label", body.label.as_deref());
                object.put_some("token", body.token.as_deref());
                let contents = body.contents.iter().map(Self::to_value);
                object.put("contents", contents.collect::<Vec<_>>());
            }
        }
        object.finish()
    }
}

/// An object that will be written with sorted keys.
#[derive(Default)]
struct Object(BTreeMap<&'static str, Json>);

impl Object {
    fn put(&mut self, key: &'static str, json: impl Into<Json>) {
        self.0.insert(key, json.into());
    }

    fn put_some(&mut self, key: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.put(key, text);
        }
    }

    fn map<'a>(&mut self, key: &'static str, entries: impl Iterator<Item = (&'a str, Json)>) {
        let sorted: BTreeMap<&str, Json> = entries.collect();
        if !sorted.is_empty() {
            let entries = sorted.into_iter().map(|(name, json)| (name.to_owned(), json));
            self.put(key, entries.collect::<Map<_, _>>());
        }
    }

    fn head(&mut self, kind: Kind, head: &Head) {
        self.put(kind.key(), head.verb.clone());
        self.put_some("label", head.label.as_deref());
        self.put_some("token", head.token.as_deref());
        if matches!(kind, Kind::Capability | Kind::Specification) {
            self.put_some("link", head.link.as_deref());
        }
        self.map("metadata", head.metadata.iter().map(field));
        if !head.results.is_empty() {
            let names = head.results.iter().map(|element| Json::from(element.name()));
            self.put("results", names.collect::<Vec<_>>());
        }
    }

    fn finish(self) -> Json {
        self.0.into_iter().map(|(key, json)| (key.to_owned(), json)).collect::<Map<_, _>>().into()
    }
}

fn field(field: &Field) -> (&str, Json) {
    (field.element.name(), field.value.to_json(field.element.primitive()))
}

fn constraint(parameter: &Parameter) -> (&str, Json) {
    (parameter.element.name(), parameter.constraint.to_string().into())
}

fn row(values: &[Value], results: &[Element]) -> Json {
    let cells = values.iter().zip(results);
    cells.map(|(value, element)| value.to_json(element.primitive())).collect::<Vec<_>>().into()
}
