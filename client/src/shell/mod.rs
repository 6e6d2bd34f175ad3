//! The shell: one command a line, those of the reference implementation's client and a few more.
//!
//! What a command prints is laid out as there, so that scripts and people's eyes go on working. As
//! JSON each command gives one value, for programs.

mod commands;
mod help;
mod questions;
mod terminal;

use std::{future::Future, time::Duration};

use serde_json::Value as Json;
use sonde_mplane::{Capability, Message, Time};

pub use self::terminal::Terminal;
pub(crate) use self::terminal::harmless;
use crate::{
    connection::CarryError,
    session::{AskError, Session},
};

/// Carries messages to whoever offers capabilities, and back.
pub trait Carrier {
    /// Everything that is offered at `url`, or at the usual place.
    fn discover(
        &mut self,
        url: Option<&str>,
    ) -> impl Future<Output = Result<Vec<Capability>, CarryError>>;

    /// Sends a message to `link`, or to the usual place.
    fn send(
        &mut self,
        link: Option<&str>,
        message: &Message,
    ) -> impl Future<Output = Result<Message, CarryError>>;

    /// Another usual place from now on.
    ///
    /// # Errors
    ///
    /// Where it is no address of a server.
    fn set_url(&mut self, url: &str) -> Result<(), CarryError>;
}

/// Whoever sits before the shell, or nobody.
pub trait Person {
    /// An answer to a question; `None` where nobody answers, or not any more.
    fn ask(&mut self, question: &str) -> Option<String>;

    /// Something to be read at once.
    fn tell(&mut self, text: &str);

    /// A measurement goes on; called again and again.
    fn wait(&mut self, label: &str, waited: Duration);

    /// The wait is over.
    fn waited(&mut self);
}

/// How the output of a command reads.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Form {
    /// For people, as the RI prints it.
    #[default]
    Text,
    /// One JSON value for each command.
    Json,
}

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// There is no such command.
    #[error("no command {0}, see help")]
    Command(String),
    /// It was not typed as it has to be.
    #[error("usage: {0}")]
    Usage(&'static str),
    /// What was asked for cannot be.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// It did not get there, or no answer came back.
    #[error(transparent)]
    Carry(#[from] CarryError),
    /// Nobody has been there for a while to ask for a result.
    #[error("{cause}; the measurement goes on, its token is {token}")]
    Left {
        /// Of the measurement.
        token: String,
        /// The last time.
        cause: CarryError,
    },
    /// The question has no answer.
    #[error("{0} is missing, and nobody is there to be asked")]
    NoAnswer(String),
}

/// What a command gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// For people, with line ends.
    pub text: String,
    /// For programs.
    pub json: Option<Json>,
    /// It was the last command.
    pub is_end: bool,
}

impl Said {
    fn line(text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.push('\n');
        Self { text, ..Self::default() }
    }

    fn with(mut self, json: Json) -> Self {
        self.json = Some(json);
        self
    }
}

/// A shell over a connection.
pub struct Shell<C, P> {
    /// What is known.
    pub session: Session,
    carrier: C,
    person: P,
    clock: fn() -> Time,
    /// `runcap` waits for the result and prints it, as scripts want it.
    waits: bool,
}

impl<C: Carrier, P: Person> Shell<C, P> {
    /// `clock` gives the wall time.
    pub fn new(session: Session, carrier: C, person: P, clock: fn() -> Time) -> Self {
        Self { session, carrier, person, clock, waits: false }
    }

    /// `runcap` waits for results from now on.
    pub fn wait_for_results(&mut self) {
        self.waits = true;
    }

    /// Whoever sits before it.
    pub fn person(&mut self) -> &mut P {
        &mut self.person
    }
}

#[cfg(test)]
mod tests;
