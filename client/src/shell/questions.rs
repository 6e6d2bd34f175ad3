//! `runcap`: from a capability to a specification, asking for what is not known.

use sonde_mplane::{Capability, Parameter, Specification};

use super::{Carrier, Person, Said, Shell, ShellError, commands::shown};
use crate::session::Session;

impl<C: Carrier, P: Person> Shell<C, P> {
    /// `words`: a label, and values as `NAME=VALUE`, `when=SCOPE` among them, in any order.
    pub(super) async fn run_capability(
        &mut self,
        name: &str,
        words: &[&str],
    ) -> Result<Said, ShellError> {
        let capability = self.session.capability(name)?.clone();
        let (given, label) = read_words(words)?;
        for (name, value) in given.iter().filter(|(name, _)| name != "when") {
            // A name that the capability does not have is a mistake, not a value for nobody.
            let mut probe = capability.specification("", capability.when.clone());
            Session::set(&capability, &mut probe, name, value)?;
        }
        let find = |name: &str| given.iter().find(|it| it.0 == name).map(|it| it.1.clone());
        let mut specification = self.scope(&capability, find("when"))?;
        let mut filled = String::new();
        let mut parameters: Vec<&Parameter> = capability.parameters.iter().collect();
        parameters.sort_by_key(|parameter| parameter.element.name());
        for parameter in parameters {
            let name = parameter.element.name();
            if let Some(value) = parameter.constraint.single_value() {
                filled.extend([name, " = ", &value.to_string(), "\n"]);
                continue;
            }
            self.fill(&capability, &mut specification, parameter, find(name))?;
        }
        specification.head.label = Some(self.session.label(&capability, label));
        Session::identify(&mut specification);
        let token = specification.token();
        let label = specification.head.label().to_owned();
        let link = capability.head.link().map(str::to_owned);
        let answer = self.carrier.send(link.as_deref(), &specification.into()).await?;
        self.session.note(&label, &token, answer, (self.clock)());
        if self.waits {
            return self.wait(Some(&token)).await;
        }
        let latest = &self.session.measurement(&token)?.latest;
        Ok(Said { text: filled + "ok\n", ..shown(latest) })
    }

    /// Asks until there is a scope that the capability allows.
    fn scope(
        &mut self,
        capability: &Capability,
        given: Option<String>,
    ) -> Result<Specification, ShellError> {
        let now = (self.clock)();
        if let Some(text) = given {
            let when = Session::scope(capability, &text, now)?;
            return Ok(capability.specification("", when));
        }
        if let Some(when) = self.session.when.clone().filter(|it| it.follows(&capability.when, now))
        {
            return Ok(capability.specification("", when));
        }
        // One with a period would go on for ever if it were taken as it is.
        let proposal = capability.when.to_string();
        let is_usable = capability.when.period.is_none()
            && !capability.when.is_repeated()
            && capability.when.follows(&capability.when, now);
        let question = match is_usable {
            true => format!("|when| [{proposal}] = "),
            false => "|when| = ".to_owned(),
        };
        loop {
            let Some(answer) = self.person.ask(&question) else {
                return Err(ShellError::NoAnswer(format!("when ({proposal})")));
            };
            let text = match answer.trim() {
                "" if is_usable => proposal.clone(),
                text => text.to_owned(),
            };
            match Session::scope(capability, &text, now) {
                Ok(when) => {
                    self.session.when = Some(when.clone());
                    return Ok(capability.specification("", when));
                }
                Err(error) => self.person.tell(&error.to_string()),
            }
        }
    }

    /// Sets a parameter: as given, as set before, as proposed, or as somebody answers.
    fn fill(
        &mut self,
        capability: &Capability,
        specification: &mut Specification,
        parameter: &Parameter,
        given: Option<String>,
    ) -> Result<(), ShellError> {
        let name = parameter.element.name();
        if let Some(text) = given {
            return Ok(Session::set(capability, specification, name, &text)?);
        }
        let known = self.session.defaults.get(name).cloned();
        if let Some(text) = known
            && Session::set(capability, specification, name, &text).is_ok()
        {
            return Ok(());
        }
        let is_allowed = |text: &String| {
            let mut probe = specification.clone();
            Session::set(capability, &mut probe, name, text).is_ok()
        };
        let proposal = self.session.proposals.get(name).cloned().filter(is_allowed);
        let question = match &proposal {
            Some(value) => format!("{name} [{value}] = "),
            None => format!("{name} = "),
        };
        loop {
            let Some(answer) = self.person.ask(&question) else {
                // Nobody to ask: what is proposed will do.
                let Some(text) = proposal else {
                    let accepted = &parameter.constraint;
                    return Err(ShellError::NoAnswer(format!("{name} ({accepted})")));
                };
                return Ok(Session::set(capability, specification, name, &text)?);
            };
            let text = match (answer.trim(), &proposal) {
                ("", Some(value)) => value.clone(),
                (text, _) => text.to_owned(),
            };
            match Session::set(capability, specification, name, &text) {
                Ok(()) => {
                    // Given answers are kept for the next time, as the RI does.
                    self.session.defaults.insert(name.to_owned(), text);
                    return Ok(());
                }
                Err(error) => self.person.tell(&error.to_string()),
            }
        }
    }
}

type Given = Vec<(String, String)>;

/// A value may hold blanks: what has no `=` goes on with the value before it; a first word without
/// one is the label.
fn read_words<'a>(words: &[&'a str]) -> Result<(Given, Option<&'a str>), ShellError> {
    let mut given: Given = Vec::new();
    let mut label = None;
    for word in words {
        match (word.split_once('='), given.last_mut()) {
            (Some((name, value)), _) => given.push((name.to_owned(), value.to_owned())),
            (None, Some((_, value))) => {
                value.push(' ');
                value.push_str(word);
            }
            (None, None) if label.is_none() => label = Some(*word),
            (None, None) => {
                return Err(ShellError::Usage("runcap LABEL-or-token [LABEL] [NAME=VALUE …]"));
            }
        }
    }
    Ok((given, label))
}
