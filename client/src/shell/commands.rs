//! What each command does and prints.

use std::time::Duration;

use serde_json::{Value as Json, json};
use sonde_mplane::{Message, Reference, When, WhenError};

use super::{Carrier, Person, Said, Shell, ShellError, help};
use crate::{
    connection::CarryError,
    session::{AskError, DURATIONS, Measurement},
};

/// How long nobody may be there to ask for a result.
const MISSING: Duration = Duration::from_secs(60);
/// First and longest time between two questions for a result.
const SOON: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(1);

impl<C: Carrier, P: Person> Shell<C, P> {
    /// Does what a line says.
    ///
    /// # Errors
    ///
    /// [`ShellError`]; the shell is as it was.
    pub async fn execute(&mut self, line: &str) -> Result<Said, ShellError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((command, rest)) = words.split_first() else { return Ok(Said::default()) };
        match (*command, rest) {
            ("seturl", [url]) => {
                self.carrier.set_url(url)?;
                Ok(Said::default())
            }
            ("seturl", _) => Err(ShellError::Usage("seturl URL")),
            ("getcap", [] | [_]) => self.get_capabilities(rest.first().copied()).await,
            ("getcap", _) => Err(ShellError::Usage("getcap [URL]")),
            ("listcap", _) => Ok(self.list_capabilities()),
            ("showcap", [name]) => {
                let capability = self.session.capability(name)?.clone();
                Ok(shown(&capability.into()))
            }
            ("showcap", _) => Err(ShellError::Usage("showcap LABEL-or-token")),
            ("when", []) => Ok(self.show_when()),
            ("when", _) => self.set_when(&line_after(line, command)),
            ("set", [name, _, ..]) => {
                let value = line_after(&line_after(line, command), name);
                self.session.defaults.insert((*name).to_owned(), value.clone());
                Ok(Said::line(format!("{name} = {value}")).with(json!({ *name: value })))
            }
            ("set", _) => Err(ShellError::Usage("set NAME VALUE")),
            ("unset", names) => {
                match names {
                    [] => self.session.defaults.clear(),
                    names => {
                        self.session.defaults.retain(|name, _| !names.contains(&name.as_str()));
                    }
                }
                Ok(Said::line("ok"))
            }
            ("show", names) => Ok(self.show_defaults(names)),
            ("runcap", [name, rest @ ..]) => self.run_capability(name, rest).await,
            ("runcap", _) => Err(ShellError::Usage("runcap LABEL-or-token [LABEL] [NAME=VALUE …]")),
            ("listmeas", _) => {
                self.redeem_all().await?;
                Ok(self.list_measurements())
            }
            ("showmeas", [name]) => {
                self.redeem(name).await?;
                Ok(shown(&self.session.measurement(name)?.latest))
            }
            ("showmeas", _) => Err(ShellError::Usage("showmeas LABEL-or-token")),
            ("stopmeas", [name]) => self.stop(name).await,
            ("stopmeas", _) => Err(ShellError::Usage("stopmeas LABEL-or-token")),
            ("wait", [] | [_]) => self.wait(rest.first().copied()).await,
            ("wait", _) => Err(ShellError::Usage("wait [LABEL-or-token]")),
            ("resetclient", _) => {
                self.session = Default::default();
                Ok(Said::line("ok"))
            }
            // A traceback of ours would tell a person nothing.
            ("tbenable", _) => Ok(Said::default()),
            ("help" | "?", topic) => {
                let text = help::text(topic.first().copied());
                Ok(Said::line(&*text).with(json!(text)))
            }
            ("EOF" | "exit" | "quit", _) => Ok(Said { is_end: true, ..Said::line("Ciao!") }),
            (other, _) => Err(ShellError::Command(other.to_owned())),
        }
    }

    async fn get_capabilities(&mut self, url: Option<&str>) -> Result<Said, ShellError> {
        let found = self.carrier.discover(url).await?;
        let count = found.len();
        found.into_iter().for_each(|capability| self.session.offer(capability));
        Ok(Said::line("ok").with(json!(count)))
    }

    fn list_capabilities(&self) -> Said {
        let (mut text, mut json) = (String::new(), Vec::new());
        for capability in self.session.capabilities() {
            let (label, token) = (capability.head.label(), capability.token());
            let name = if label.is_empty() { String::new() } else { format!("{label} ") };
            text.extend(["Capability ", &name, "(token ", &token, ")\n"]);
            json.push(json!({ "label": label, "token": token }));
        }
        Said { text, ..Said::default() }.with(json.into())
    }

    fn show_when(&self) -> Said {
        let when = self.session.when.as_ref().map(ToString::to_string);
        Said::line(format!("when = {}", when.as_deref().unwrap_or("None"))).with(json!(when))
    }

    fn set_when(&mut self, text: &str) -> Result<Said, ShellError> {
        let parsed = When::typed(text).map_err(|error| {
            let (value, accepted) = match error {
                WhenError::Unread { part, .. } => (part, DURATIONS),
                _ => (text.to_owned(), "a scope such as now + 10s / 1s"),
            };
            AskError::Value { name: "when".to_owned(), value, accepted: accepted.to_owned() }
        })?;
        self.session.when = Some(parsed);
        Ok(self.show_when())
    }

    fn show_defaults(&self, names: &[&str]) -> Said {
        let defaults = &self.session.defaults;
        let is_wanted = |name: &str| names.is_empty() || names.contains(&name);
        let shown: Vec<_> = defaults.iter().filter(|(name, _)| is_wanted(name)).collect();
        let mut text = match names {
            [] => format!("{:4} defaults\n", defaults.len()),
            _ => String::new(),
        };
        for (name, value) in &shown {
            text.extend([name.as_str(), " = ", value.as_str(), "\n"]);
        }
        let json: serde_json::Map<String, Json> =
            shown.into_iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        Said { text, ..Said::default() }.with(json.into())
    }

    fn list_measurements(&self) -> Said {
        let text: String = self.session.measurements().iter().map(line_of).collect();
        let json: Vec<Json> = self.session.measurements().iter().map(summary).collect();
        Said { text, ..Said::default() }.with(json.into())
    }

    /// Asks for the results of everything that is not over.
    async fn redeem_all(&mut self) -> Result<(), ShellError> {
        let open: Vec<String> = self
            .session
            .measurements()
            .iter()
            .filter(|measurement| !measurement.is_over)
            .map(|measurement| measurement.token.clone())
            .collect();
        for token in open {
            self.redeem(&token).await?;
        }
        Ok(())
    }

    async fn redeem(&mut self, name: &str) -> Result<(), ShellError> {
        let measurement = self.session.measurement(name)?;
        if measurement.is_over {
            return Ok(());
        }
        let (label, token) = (measurement.label.clone(), measurement.token.clone());
        let redemption = Message::Redemption(reference(measurement));
        let answer = self.carrier.send(None, &redemption).await?;
        self.session.note(&label, &token, answer, (self.clock)());
        Ok(())
    }

    async fn stop(&mut self, name: &str) -> Result<Said, ShellError> {
        let measurement = self.session.measurement(name)?;
        let (label, token) = (measurement.label.clone(), measurement.token.clone());
        let interrupt = Message::Interrupt(reference(measurement));
        let answer = self.carrier.send(None, &interrupt).await?;
        self.session.note(&label, &token, answer, (self.clock)());
        Ok(Said::default())
    }

    /// Waits for one measurement, or for the last one, and shows it.
    pub(super) async fn wait(&mut self, name: Option<&str>) -> Result<Said, ShellError> {
        let last = self.session.measurements().last().map(|it| it.token.clone());
        let name = name.map(str::to_owned).or(last);
        let Some(name) = name else { return Err(AskError::Unknown("(none)".to_owned()).into()) };
        let (mut pause, mut waited) = (SOON, Duration::ZERO);
        let mut missing = Duration::ZERO;
        loop {
            let measurement = self.session.measurement(&name)?;
            if measurement.is_over {
                self.person.waited();
                return Ok(shown(&measurement.latest));
            }
            let label = measurement.label.clone();
            self.person.wait(&label, waited);
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 3 / 2).min(LATER);
            match self.redeem(&name).await {
                Ok(()) => missing = Duration::ZERO,
                // A receipt outlives a restart of who gave it.
                Err(ShellError::Carry(CarryError::Failed { .. })) if missing < MISSING => {
                    missing += pause;
                }
                Err(ShellError::Carry(cause)) => {
                    let token = self.session.measurement(&name)?.token.clone();
                    return Err(ShellError::Left { token, cause });
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// What is behind the first word of a line.
fn line_after(line: &str, word: &str) -> String {
    let behind = line.trim_start().strip_prefix(word).unwrap_or_default();
    behind.trim().to_owned()
}

fn reference(measurement: &Measurement) -> Reference {
    match &measurement.latest {
        Message::Receipt(receipt) => {
            let mut reference = receipt.clone();
            reference.head.token = Some(measurement.token.clone());
            reference
        }
        _ => Reference::to_token("measure", &measurement.token),
    }
}

/// A message as `showcap` and `showmeas` print it, and an empty line.
pub(super) fn shown(message: &Message) -> Said {
    let json = serde_json::from_str(&message.to_json()).ok();
    Said { text: message.layout() + "\n", json, is_end: false }
}

fn line_of(measurement: &Measurement) -> String {
    let Measurement { label, token, latest, .. } = measurement;
    let when = latest.when().map(ToString::to_string).unwrap_or_default();
    match latest {
        Message::Exception(exception) => {
            format!("<Exception: {token} {}>\n", exception.message)
        }
        Message::Receipt(_) => format!("Receipt {label} (token {token}): {when}\n"),
        _ => format!("Result  {label} (token {token}): {when}\n"),
    }
}

fn summary(measurement: &Measurement) -> Json {
    let Measurement { label, token, latest, .. } = measurement;
    let when = latest.when().map(ToString::to_string);
    let message = match latest {
        Message::Exception(exception) => Some(exception.message.as_str()),
        _ => None,
    };
    let kind = latest.kind().to_string();
    json!({ "label": label, "token": token, "kind": kind, "when": when, "message": message })
}
