//! Messages: what components, supervisors and clients say to each other.
//!
//! Received ones are read by `read.rs`, within limits and with the path to what is wrong; `write.rs`
//! writes them as the RI does; `build.rs` makes one message out of another.

mod build;
mod layout;
mod outcome;
mod problem;
mod read;
mod write;

pub use self::build::CapabilityBuilder;
pub use self::outcome::{Outcome, Outcomes};
pub use self::problem::{MessageError, Problem, Unreadable};
use crate::constraint::Constraint;
use crate::registry::Element;
use crate::value::Value;
use crate::when::When;

/// Of the protocol, as written; lower ones are read as well.
pub const VERSION: i64 = 1;

/// Octets of a label or token: they are kept and shown for as long as what they name.
pub const MAX_NAME_OCTETS: usize = 1 << 10;

/// What a message is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// A component can measure this.
    Capability,
    /// Measure this.
    Specification,
    /// This was measured.
    Result,
    /// The specification was accepted.
    Receipt,
    /// Is there a result?
    Redemption,
    /// A component cannot measure this any longer.
    Withdrawal,
    /// Stop measuring.
    Interrupt,
    /// It failed.
    Exception,
    /// Several messages.
    Envelope,
}

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// See [`Kind::Capability`].
    Capability(Capability),
    /// See [`Kind::Specification`].
    Specification(Specification),
    /// See [`Kind::Result`].
    Result(Measured),
    /// See [`Kind::Receipt`].
    Receipt(Reference),
    /// See [`Kind::Redemption`].
    Redemption(Reference),
    /// See [`Kind::Withdrawal`].
    Withdrawal(Capability),
    /// See [`Kind::Interrupt`].
    Interrupt(Reference),
    /// See [`Kind::Exception`].
    Exception(Exception),
    /// See [`Kind::Envelope`].
    Envelope(Envelope),
}

/// What most messages have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// `measure`, `query`, `collect`, `store`, `callback` or another word.
    pub verb: String,
    /// For people, and for the RI's relay.
    pub label: Option<String>,
    /// Where the answer goes; empty means nowhere in particular.
    pub link: Option<String>,
    /// What ties the messages about one measurement together.
    pub token: Option<String>,
    /// About the component, in the order of the names.
    pub metadata: Vec<Field>,
    /// Columns, in the order of the values in each row.
    pub results: Vec<Element>,
}

/// An element with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Name and type.
    pub element: Element,
    /// As received or set.
    pub value: Value,
}

/// An element with what it may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Name and type.
    pub element: Element,
    /// As received or set.
    pub constraint: Constraint,
}

/// What a component offers; also the body of a withdrawal.
#[derive(Clone, Debug, PartialEq)]
pub struct Capability {
    /// Verb, label, link, token, metadata, results.
    pub head: Head,
    /// URI of the registry, as the sender writes it.
    pub registry: String,
    /// In which scope it can be asked for.
    pub when: When,
    /// What must be given, in the order of the names.
    pub parameters: Vec<Parameter>,
    /// Supervisors that it came through, the last one last. A key of ours that the RI neither reads nor passes on;
    /// not part of the token.
    pub via: Vec<String>,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Specification {
    /// Verb, label, link, token, metadata, results.
    pub head: Head,
    /// URI of the registry, as the sender writes it.
    pub registry: String,
    /// When to measure.
    pub when: When,
    /// All parameters of the capability, in the order of the names.
    pub parameters: Vec<Field>,
}

/// A receipt, redemption or interrupt: a specification named again, by its token alone or in full.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reference {
    /// Verb, label, token, metadata, results; a link is not written.
    pub head: Head,
    /// URI of the registry.
    pub registry: Option<String>,
    /// That of the specification.
    pub when: Option<When>,
    /// Those of the specification.
    pub parameters: Vec<Field>,
}

/// What was measured: a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Verb, label, token, metadata, results; a link is not written.
    pub head: Head,
    /// URI of the registry, as the sender writes it.
    pub registry: String,
    /// From when to when it was measured; absolute.
    pub when: When,
    /// What was measured with, not necessarily what was asked for.
    pub parameters: Vec<Field>,
    /// Values in the order of `head.results`; a row may be shorter.
    pub rows: Vec<Vec<Value>>,
}

/// Why nothing was measured.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Exception {
    /// That of the specification that it answers.
    pub token: Option<String>,
    /// For a person.
    pub message: String,
}

/// Several messages, none of them an envelope.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Envelope {
    /// Of the repeated specification whose results these are.
    pub token: Option<String>,
    /// Of the repeated specification whose results these are.
    pub label: Option<String>,
    /// Of the repeated specification whose results these are; absolute, with its period.
    pub when: Option<When>,
    /// In order.
    pub contents: Vec<Message>,
}

impl Kind {
    /// In the order in which the RI looks for them.
    pub const ALL: [Self; 9] = [
        Self::Capability,
        Self::Specification,
        Self::Result,
        Self::Receipt,
        Self::Redemption,
        Self::Withdrawal,
        Self::Interrupt,
        Self::Exception,
        Self::Envelope,
    ];

    /// The key that says it.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Capability => "capability",
            Self::Specification => "specification",
            Self::Result => "result",
            Self::Receipt => "receipt",
            Self::Redemption => "redemption",
            Self::Withdrawal => "withdrawal",
            Self::Interrupt => "interrupt",
            Self::Exception => "exception",
            Self::Envelope => "envelope",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.key())
    }
}

impl Message {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Capability(_) => Kind::Capability,
            Self::Specification(_) => Kind::Specification,
            Self::Result(_) => Kind::Result,
            Self::Receipt(_) => Kind::Receipt,
            Self::Redemption(_) => Kind::Redemption,
            Self::Withdrawal(_) => Kind::Withdrawal,
            Self::Interrupt(_) => Kind::Interrupt,
            Self::Exception(_) => Kind::Exception,
            Self::Envelope(_) => Kind::Envelope,
        }
    }

    /// What most messages have; exceptions and envelopes do not.
    #[must_use]
    pub fn head(&self) -> Option<&Head> {
        match self {
            Self::Capability(body) | Self::Withdrawal(body) => Some(&body.head),
            Self::Specification(body) => Some(&body.head),
            Self::Receipt(body) | Self::Redemption(body) | Self::Interrupt(body) => {
                Some(&body.head)
            }
            Self::Result(body) => Some(&body.head),
            Self::Exception(_) | Self::Envelope(_) => None,
        }
    }

    /// As [`Message::head`].
    pub fn head_mut(&mut self) -> Option<&mut Head> {
        match self {
            Self::Capability(body) | Self::Withdrawal(body) => Some(&mut body.head),
            Self::Specification(body) => Some(&mut body.head),
            Self::Receipt(body) | Self::Redemption(body) | Self::Interrupt(body) => {
                Some(&mut body.head)
            }
            Self::Result(body) => Some(&mut body.head),
            Self::Exception(_) | Self::Envelope(_) => None,
        }
    }

    /// The token that stands in it.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        match self {
            Self::Exception(exception) => exception.token.as_deref(),
            Self::Envelope(envelope) => envelope.token.as_deref(),
            other => other.head().and_then(|head| head.token.as_deref()),
        }
    }

    /// Gives it another token; the relay does so on the way there and back.
    pub fn set_token(&mut self, token: &str) {
        let token = Some(token.to_owned());
        match self {
            Self::Exception(exception) => exception.token = token,
            Self::Envelope(envelope) => envelope.token = token,
            other => {
                if let Some(head) = other.head_mut() {
                    head.token = token;
                }
            }
        }
    }

    /// The label that stands in it.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        match self {
            Self::Envelope(envelope) => envelope.label.as_deref(),
            other => other.head().and_then(|head| head.label.as_deref()),
        }
    }

    /// Its scope.
    #[must_use]
    pub fn when(&self) -> Option<&When> {
        match self {
            Self::Capability(body) | Self::Withdrawal(body) => Some(&body.when),
            Self::Specification(body) => Some(&body.when),
            Self::Receipt(body) | Self::Redemption(body) | Self::Interrupt(body) => {
                body.when.as_ref()
            }
            Self::Result(body) => Some(&body.when),
            Self::Envelope(body) => body.when.as_ref(),
            Self::Exception(_) => None,
        }
    }
}

impl Head {
    /// Where the answer goes, if that is said.
    #[must_use]
    pub fn link(&self) -> Option<&str> {
        self.link.as_deref().filter(|link| !link.is_empty())
    }

    /// The label, or nothing.
    #[must_use]
    pub fn label(&self) -> &str {
        self.label.as_deref().unwrap_or_default()
    }

    /// Whether it is about the time of the next poll; recognised by label or verb.
    #[must_use]
    pub fn is_callback(&self) -> bool {
        self.label() == crate::CALLBACK || self.verb == crate::CALLBACK
    }
}

impl Measured {
    /// A row with its columns; missing values at its end are filled in.
    pub fn cells<'a>(&'a self, row: &'a [Value]) -> impl Iterator<Item = (&'a Element, &'a Value)> {
        let values = row.iter().chain(std::iter::repeat(&Value::Missing));
        self.head.results.iter().zip(values)
    }
}

/// The value of a parameter.
pub(crate) fn value<'a>(fields: &'a [Field], name: &str) -> Option<&'a Value> {
    fields.iter().find(|field| field.element.name() == name).map(|field| &field.value)
}

macro_rules! into_message {
    ($($body:ident => $kind:ident),*) => {
        $(impl From<$body> for Message {
            fn from(body: $body) -> Self {
                Self::$kind(body)
            }
        })*
    };
}

into_message! {
    Capability => Capability, Specification => Specification, Measured => Result,
    Exception => Exception, Envelope => Envelope
}
