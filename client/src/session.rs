//! What a client knows: capabilities, and measurements that it asked for.
//!
//! Pure: messages go in, messages come out; who carries them is in `connection.rs`.

use std::collections::BTreeMap;

use sonde_mplane::{
    Capability, Constraint, Kind, Message, Primitive, Specification, Time, When, WhenError,
};
use ulid::Ulid;

/// What is said of a token that nobody knows, or not any more.
const UNKNOWN_JOB: &str = "Unknown job";

/// Something that a client asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Of the specification.
    pub label: String,
    /// Of the specification.
    pub token: String,
    /// The receipt, until there is a result, an envelope of results, or an exception.
    pub latest: Message,
    /// Nothing more is to be expected.
    pub is_over: bool,
}

/// Why a specification cannot be made; whoever types reads this text.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AskError {
    /// No capability is called so.
    #[error("no such token or label {0}")]
    Unknown(String),
    /// Not what the capability allows.
    #[error("{name} is {value:?}, accepted: {accepted}")]
    Value {
        /// Element, or `when`.
        name: String,
        /// As given.
        value: String,
        /// The constraint.
        accepted: String,
    },
    /// The capability has no such parameter.
    #[error("{label} has no parameter {name}, accepted: {accepted}")]
    Parameter {
        /// Of the capability.
        label: String,
        /// As given.
        name: String,
        /// Names, separated by blanks.
        accepted: String,
    },
    /// It was not given, and there is no default.
    #[error("{name} is missing, accepted: {accepted}")]
    Missing {
        /// Element, or `when`.
        name: String,
        /// The constraint.
        accepted: String,
    },
}

/// What a duration in a scope may be.
pub(crate) const DURATIONS: &str = "whole days, hours, minutes and seconds, such as 1d12h or 90s";

/// The state of one client.
#[derive(Debug, Default)]
pub struct Session {
    capabilities: Vec<Capability>,
    measurements: Vec<Measurement>,
    /// Values that need not be asked for, by element.
    pub defaults: BTreeMap<String, String>,
    /// Values that are proposed, by element.
    pub proposals: BTreeMap<String, String>,
    /// The scope that need not be asked for.
    pub when: Option<When>,
    next_label: u64,
}

impl Session {
    /// Takes up what somebody offers; the same again takes the place of what was there. Callback control
    /// is not for clients.
    pub fn offer(&mut self, capability: Capability) {
        if capability.head.is_callback() {
            return;
        }
        let token = capability.token();
        match self.capabilities.iter().position(|known| known.token() == token) {
            Some(at) => self.capabilities[at] = capability,
            None => self.capabilities.push(capability),
        }
    }

    /// It is not offered any more.
    pub fn withdraw(&mut self, token: &str) {
        self.capabilities.retain(|capability| capability.token() != token);
    }

    /// Nothing is offered, until it is asked again.
    pub fn forget_offers(&mut self) {
        self.capabilities.clear();
    }

    /// What is offered, by label.
    #[must_use]
    pub fn capabilities(&self) -> Vec<&Capability> {
        let mut capabilities: Vec<&Capability> = self.capabilities.iter().collect();
        capabilities
            .sort_by_key(|capability| (capability.head.label().to_owned(), capability.token()));
        capabilities
    }

    /// The capability of a token, or the last one of a label.
    ///
    /// # Errors
    ///
    /// [`AskError::Unknown`].
    pub fn capability(&self, name: &str) -> Result<&Capability, AskError> {
        let by_token = self.capabilities.iter().find(|capability| capability.token() == name);
        by_token
            .or_else(|| self.capabilities.iter().rfind(|it| it.head.label() == name))
            .ok_or_else(|| AskError::Unknown(name.to_owned()))
    }

    /// What was asked for, in this order.
    #[must_use]
    pub fn measurements(&self) -> &[Measurement] {
        &self.measurements
    }

    /// The measurement of a token or label.
    ///
    /// # Errors
    ///
    /// [`AskError::Unknown`].
    pub fn measurement(&self, name: &str) -> Result<&Measurement, AskError> {
        let own = |label: &'_ str| label.split_once('@').is_some_and(|(own, _)| own == name);
        let is_it = |it: &&Measurement| it.token == name || it.label == name || own(&it.label);
        self.measurements.iter().rfind(is_it).ok_or_else(|| AskError::Unknown(name.to_owned()))
    }

    /// A scope for a capability, from its text.
    ///
    /// # Errors
    ///
    /// Where it is none, or not one that the capability allows.
    pub fn scope(capability: &Capability, text: &str, now: Time) -> Result<When, AskError> {
        let accepted = capability.when.to_string();
        let refused = || AskError::Value {
            name: "when".to_owned(),
            value: text.to_owned(),
            accepted: accepted.clone(),
        };
        let when = When::typed(text.trim()).map_err(|error| match error {
            WhenError::Unread { part, .. } => AskError::Value {
                name: "when".to_owned(),
                value: part,
                accepted: DURATIONS.to_owned(),
            },
            _ => refused(),
        })?;
        if when.follows(&capability.when, now) { Ok(when) } else { Err(refused()) }
    }

    /// Sets a parameter of a specification.
    ///
    /// # Errors
    ///
    /// Where there is no such parameter, or the capability does not allow the value.
    pub fn set(
        capability: &Capability,
        specification: &mut Specification,
        name: &str,
        text: &str,
    ) -> Result<(), AskError> {
        let Some(parameter) = capability.parameter(name) else {
            let names: Vec<&str> =
                capability.parameters.iter().map(|it| it.element.name()).collect();
            return Err(AskError::Parameter {
                label: capability.head.label().to_owned(),
                name: name.to_owned(),
                accepted: names.join(" "),
            });
        };
        let is_set = specification.set(name, text).is_ok();
        let is_allowed = || {
            let value = specification.value(name);
            value.is_some_and(|value| parameter.constraint.is_met_by(value))
        };
        if is_set && is_allowed() {
            return Ok(());
        }
        Err(AskError::Value {
            name: name.to_owned(),
            value: text.to_owned(),
            accepted: match &parameter.constraint {
                Constraint::Any => any(parameter.element.primitive()).to_owned(),
                constraint => constraint.to_string(),
            },
        })
    }

    /// A label for a specification: the given one, or the capability's with a number. Where the capability's names a host,
    /// the given one does so too, for that is how the supervisor knows which one is meant.
    #[must_use]
    pub fn label(&mut self, capability: &Capability, given: Option<&str>) -> String {
        let number = self.next_label;
        self.next_label += 1;
        let label = capability.head.label();
        match (given, label.split_once('@')) {
            (None, _) => format!("{label}-{number}"),
            (Some(given), Some((_, host))) if !given.contains('@') => format!("{given}@{host}"),
            (Some(given), _) => given.to_owned(),
        }
    }

    /// Gives a specification its token: a relative scope means something else each time, an absolute one the same.
    pub fn identify(specification: &mut Specification) {
        let token = match specification.when.is_definite() {
            true => specification.computed_token(),
            false => Ulid::new().to_string(),
        };
        specification.head.token = Some(token);
    }

    /// Notes what came at `now` in answer to a message: a receipt, result, exception or envelope.
    ///
    /// An envelope may hold the results so far. It is the end where the measurement is forgotten with it, or where its
    /// scope has ended and the same comes again: our clock alone says nothing, for the scope is of another one.
    pub fn note(&mut self, label: &str, token: &str, answer: Message, now: Time) {
        let answer = match answer {
            Message::Withdrawal(capability) => {
                self.withdraw(&capability.token());
                let message = "the capability was withdrawn".to_owned();
                sonde_mplane::Exception { token: Some(token.to_owned()), message }.into()
            }
            other => other,
        };
        let has_ended = |when: &When| when.end_time(now).is_some_and(|end| end <= now);
        let is_over = |before: Option<&Message>| match &answer {
            Message::Receipt(_) => false,
            Message::Envelope(envelope) => match &envelope.when {
                Some(when) => has_ended(when) && before == Some(&answer),
                None => true,
            },
            _ => true,
        };
        let is_forgotten = matches!(&answer, Message::Exception(it) if it.message == UNKNOWN_JOB);
        match self.measurements.iter_mut().find(|known| known.token == token) {
            // What came before stays.
            Some(known) if is_forgotten && known.latest.kind() != Kind::Receipt => {
                known.is_over = true;
            }
            Some(known) => (known.is_over, known.latest) = (is_over(Some(&known.latest)), answer),
            None => self.measurements.push(Measurement {
                label: label.to_owned(),
                token: token.to_owned(),
                is_over: is_over(None),
                latest: answer,
            }),
        }
    }
}

/// What a parameter without a constraint accepts.
fn any(primitive: Primitive) -> &'static str {
    match primitive {
        Primitive::String | Primitive::Url => "a text",
        Primitive::Natural => "an integer",
        Primitive::Real => "a number",
        Primitive::Boolean => "True or False",
        Primitive::Time => "a time, as 2026-01-02 03:04:05",
        Primitive::Address => "an IPv4 or IPv6 address, not a name",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sonde_mplane::{Envelope, Exception, Registries};

    use super::*;

    fn envelope(when: Option<When>) -> Message {
        Envelope { token: Some("t".to_owned()), label: None, when, contents: Vec::new() }.into()
    }

    fn exception(message: &str) -> Message {
        Exception { token: Some("t".to_owned()), message: message.to_owned() }.into()
    }

    #[test]
    fn an_end_is_not_lost_to_an_interrupt_that_came_too_late() {
        let at: Time = "2026-01-02 03:04:05".parse().unwrap();
        let capability = Capability::build("a", "now ... future").finish(&Registries::built_in());
        let asked = capability.unwrap().specification("a", When::measured(at, at));
        let result: Message = asked.result(When::measured(at, at), Vec::new()).into();
        for end in [result, exception("no route")] {
            let mut session = Session::default();
            session.note("a", "t", end.clone(), at);
            session.note("a", "t", exception(UNKNOWN_JOB), at);
            let known = session.measurement("a").unwrap();
            assert_eq!((&known.latest, known.is_over), (&end, true));
        }
    }

    #[test]
    fn results_so_far_are_not_the_end() {
        let start: Time = "2026-01-02 03:04:05".parse().unwrap();
        let scope = || Some(When::measured(start, start.plus(Duration::from_secs(60))));
        let later = |seconds| start.plus(Duration::from_secs(seconds));
        let mut session = Session::default();
        let mut noted = |answer, now| {
            session.note("mine", "t", answer, now);
            let known = session.measurement("mine").unwrap();
            (known.latest.kind(), known.is_over)
        };
        assert_eq!(noted(envelope(scope()), later(10)), (Kind::Envelope, false));
        assert_eq!(noted(envelope(scope()), later(60)), (Kind::Envelope, true));
        assert_eq!(noted(envelope(None), later(10)), (Kind::Envelope, true));
        // Interrupted: what came before is the last.
        assert_eq!(noted(envelope(scope()), later(20)), (Kind::Envelope, false));
        assert_eq!(noted(exception("Unknown job"), later(21)), (Kind::Envelope, true));
        assert_eq!(noted(exception("no route"), later(22)), (Kind::Exception, true));
        // Our clock may be years ahead of that of the scope.
        session.note("ahead", "a", envelope(scope()), later(1_000_000));
        assert!(!session.measurement("ahead").unwrap().is_over);
        let more = Some(When::measured(start, start.plus(Duration::from_secs(63))));
        session.note("ahead", "a", envelope(more), later(1_000_003));
        assert!(!session.measurement("ahead").unwrap().is_over);
        session.note("ahead", "a", exception("Unknown job"), later(1_000_006));
        let ahead = session.measurement("ahead").unwrap();
        assert_eq!((ahead.latest.kind(), ahead.is_over), (Kind::Envelope, true));
    }
}
