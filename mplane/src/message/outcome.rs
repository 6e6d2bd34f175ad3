//! The reply to a registration, which is no mPlane message.

use serde_json::{Map, Value as Json, json};

use super::{MessageError, Problem};
use crate::json::{self, type_name};

/// What became of one capability of a registration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It is known from now on.
    Registered,
    /// It is not, or not any longer.
    Refused {
        /// `Withdrawn`, `Not a capability`, or another text.
        reason: String,
    },
}

/// The reply to a registration: what became of each label, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Outcomes(pub Vec<(String, Outcome)>);

impl Outcomes {
    /// Reads a reply.
    ///
    /// # Errors
    ///
    /// [`MessageError`] with the label whose outcome is not understood.
    pub fn from_json(octets: &[u8]) -> Result<Self, MessageError> {
        let json = json::parse(octets).map_err(|error| MessageError::new("", error))?;
        let wrong = |path: &str, json: &Json, accepted| {
            MessageError::new(path, Problem::Type { found: type_name(json), accepted })
        };
        let object = json.as_object().ok_or_else(|| wrong("", &json, "object"))?;
        let mut outcomes = Vec::new();
        for (label, json) in object {
            let path = || format!("{label}.registered");
            let registered = match json.get("registered") {
                Some(Json::String(text)) => text == "ok",
                Some(other) => return Err(wrong(&path(), other, "string")),
                None => return Err(MessageError::new(path(), Problem::Missing)),
            };
            let reason = json["reason"].as_str().unwrap_or_default().to_owned();
            let outcome =
                if registered { Outcome::Registered } else { Outcome::Refused { reason } };
            outcomes.push((label.clone(), outcome));
        }
        Ok(Self(outcomes))
    }

    /// As an RI component reads it.
    #[must_use]
    pub fn to_json(&self) -> String {
        let entries = self.0.iter().map(|(label, outcome)| {
            let json = match outcome {
                Outcome::Registered => json!({ "registered": "ok" }),
                Outcome::Refused { reason } => json!({ "registered": "no", "reason": reason }),
            };
            (label.clone(), json)
        });
        json::write(&Json::Object(entries.collect::<Map<_, _>>()))
    }

    /// What became of a label.
    #[must_use]
    pub fn get(&self, label: &str) -> Option<&Outcome> {
        self.0.iter().find(|(other, _)| other == label).map(|(_, outcome)| outcome)
    }
}
