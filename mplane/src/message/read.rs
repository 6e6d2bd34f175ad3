//! Messages from their JSON.
//!
//! Unknown keys are ignored. `export` is not read: the RI's parser puts it into the link.

use serde_json::{Map, Value as Json};

use super::{
    Capability, Envelope, Exception, Field, Head, Kind, MAX_NAME_OCTETS, Measured, Message,
    MessageError, Parameter, Problem, Reference, Specification, Unreadable, VERSION,
};
use crate::constraint::Constraint;
use crate::excerpt;
use crate::json::{self, MAX_ENVELOPE_KEYS, MAX_KEYS, type_name};
use crate::registry::{Element, Registries};
use crate::value::Value;
use crate::when::When;

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// [`MessageError`] with the path to the first field that is not acceptable.
    pub fn from_json(octets: &[u8], registries: &Registries) -> Result<Self, MessageError> {
        let whole = |error| MessageError::new("", error);
        let is_element = |name: &str| registries.has_element(name);
        let checked = json::check(octets, MAX_KEYS, &KEYS, &is_element).map_err(whole)?;
        // What is wrong at the outermost level is found without building what is inside.
        let outline = Self::from_value(&checked.outline, registries)?;
        if outline.head().is_some() {
            for (key, name) in json::FIELDS.iter().zip(&checked.unknown) {
                if let Some(name) = name {
                    let (path, name) = (format!("{key}.{}", excerpt(name)), excerpt(name));
                    return Err(MessageError::new(path, Problem::UnknownElement { name }));
                }
            }
        }
        Self::from_value(&checked.build().map_err(whole)?, registries)
    }

    /// Reads a message out of JSON that was read before.
    ///
    /// # Errors
    ///
    /// As [`Message::from_json`].
    pub fn from_value(json: &Json, registries: &Registries) -> Result<Self, MessageError> {
        Reader::new(json, String::new(), registries)?.message(true)
    }
}

impl Envelope {
    /// Reads what an envelope contains, each by itself: one that cannot be read takes no other with it.
    ///
    /// # Errors
    ///
    /// [`MessageError`] where it is no envelope.
    pub fn contents_from_json(
        octets: &[u8],
        registries: &Registries,
    ) -> Result<Vec<Result<Message, Unreadable>>, MessageError> {
        let whole = |error| MessageError::new("", error);
        let is_element = |name: &str| registries.has_element(name);
        let json =
            json::check(octets, MAX_ENVELOPE_KEYS, &KEYS, &is_element).and_then(|it| it.build());
        let json = json.map_err(|error| MessageError::new("", error))?;
        let reader = Reader::new(&json, String::new(), registries)?;
        let found = kind(reader.object).map_err(whole)?;
        if found != Kind::Envelope {
            return Err(whole(Problem::Kind { found, accepted: "envelope" }));
        }
        reader.version()?;
        let read = |(json, message): (&Json, Result<Message, MessageError>)| {
            message.map_err(|error| Unreadable::new(json, error))
        };
        Ok(reader.contents()?.map(read).collect())
    }
}

impl Unreadable {
    fn new(json: &Json, error: MessageError) -> Self {
        let text = |key: &str| json.get(key).and_then(Json::as_str).map(str::to_owned);
        let kind = json.as_object().and_then(|object| kind(object).ok());
        Self { kind, token: text("token"), label: text("label"), error: Box::new(error) }
    }

    /// What can be said of a message that could not be read for this reason; nothing where it is no JSON.
    #[must_use]
    pub fn of(octets: &[u8], error: MessageError) -> Option<Self> {
        json::parse(octets).ok().map(|json| Self::new(&json, error))
    }
}

/// Keys of a message that are read.
const KEYS: [&str; 23] = [
    "capability",
    "via",
    "withdrawal",
    "specification",
    "receipt",
    "redemption",
    "interrupt",
    "result",
    "exception",
    "envelope",
    "indirection",
    "version",
    "registry",
    "label",
    "link",
    "token",
    "when",
    "message",
    "metadata",
    "parameters",
    "results",
    "resultvalues",
    "contents",
];

/// The kind that an object says it is.
fn kind(object: &Map<String, Json>) -> Result<Kind, Problem> {
    let mut present = Kind::ALL.into_iter().filter(|kind| object.contains_key(kind.key()));
    match (present.next(), present.next()) {
        (Some(first), Some(second)) => Err(Problem::TwoKinds { first, second }),
        (Some(kind), None) => Ok(kind),
        (None, _) if object.contains_key("indirection") => Err(Problem::Indirection),
        (None, _) => Err(Problem::NoKind),
    }
}

/// One object of a message and the path to it, which ends with a point unless it is empty.
pub(super) struct Reader<'a> {
    object: &'a Map<String, Json>,
    path: String,
    registries: &'a Registries,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        json: &'a Json,
        path: String,
        registries: &'a Registries,
    ) -> Result<Self, MessageError> {
        match json {
            Json::Object(object) => Ok(Self { object, path, registries }),
            other => Err(MessageError::new(path.trim_end_matches('.'), wrong(other, "object"))),
        }
    }

    fn error(&self, field: &str, problem: impl Into<Problem>) -> MessageError {
        MessageError::new(format!("{}{field}", self.path), problem)
    }

    fn message(&self, outermost: bool) -> Result<Message, MessageError> {
        let whole = |problem| MessageError::new(self.path.trim_end_matches('.'), problem);
        let kind = kind(self.object).map_err(whole)?;
        if !outermost && kind == Kind::Envelope {
            return Err(whole(Problem::NestedEnvelope));
        }
        self.version()?;
        Ok(match kind {
            Kind::Capability => Message::Capability(self.capability(kind)?),
            Kind::Withdrawal => Message::Withdrawal(self.capability(kind)?),
            Kind::Specification => Message::Specification(Specification {
                head: self.head(kind)?,
                registry: self.registry()?,
                when: self.when()?,
                parameters: self.fields("parameters")?,
            }),
            Kind::Receipt => Message::Receipt(self.reference(kind)?),
            Kind::Redemption => Message::Redemption(self.reference(kind)?),
            Kind::Interrupt => Message::Interrupt(self.reference(kind)?),
            Kind::Result => Message::Result(self.measured()?),
            Kind::Exception => Message::Exception(self.exception()?),
            Kind::Envelope => Message::Envelope(self.envelope()?),
        })
    }

    /// Anything whose integer value is at most ours.
    fn version(&self) -> Result<(), MessageError> {
        let found = match self.object.get("version") {
            None | Some(Json::Null) => return Ok(()),
            Some(Json::Number(number)) => number.as_f64(),
            Some(Json::Bool(value)) => Some(f64::from(u8::from(*value))),
            Some(Json::String(text)) => match text.trim().parse::<i32>() {
                Ok(number) => Some(f64::from(number)),
                Err(_) => None,
            },
            Some(_) => None,
        };
        #[expect(clippy::cast_precision_loss, reason = "the version is a small number")]
        let newest = (VERSION + 1) as f64;
        if found.is_some_and(|found| found < newest) {
            return Ok(());
        }
        let found = excerpt(&self.object["version"].to_string());
        Err(self.error("version", Problem::Version { found }))
    }

    pub(super) fn capability(&self, kind: Kind) -> Result<Capability, MessageError> {
        Ok(Capability {
            head: self.head(kind)?,
            registry: self.registry()?,
            when: self.when()?,
            parameters: self.named("parameters", |element, json| {
                let constraint = if element.is_known() {
                    Constraint::from_json(json, element.primitive())?
                } else {
                    Constraint::of_unknown(json)?
                };
                Ok(Parameter { element, constraint })
            })?,
            via: self.via()?,
        })
    }

    fn via(&self) -> Result<Vec<String>, MessageError> {
        let text = |(index, json): (usize, &Json)| match json {
            Json::String(text) => Ok(text.clone()),
            other => Err(self.error(&format!("via[{index}]"), wrong(other, "string"))),
        };
        self.array("via")?.iter().enumerate().map(text).collect()
    }

    fn reference(&self, kind: Kind) -> Result<Reference, MessageError> {
        let present = |key: &str| self.object.get(key).is_some_and(|json| !json.is_null());
        Ok(Reference {
            head: self.head(kind)?,
            registry: if present("registry") { Some(self.registry()?) } else { None },
            when: if present("when") { Some(self.when()?) } else { None },
            parameters: self.fields("parameters")?,
        })
    }

    fn measured(&self) -> Result<Measured, MessageError> {
        let head = self.head(Kind::Result)?;
        let when = self.when()?;
        if !when.is_definite() {
            return Err(self.error("when", Problem::NotDefinite { when: when.to_string() }));
        }
        let rows = self.rows(&head.results)?;
        Ok(Measured {
            head,
            registry: self.registry()?,
            when,
            parameters: self.fields("parameters")?,
            rows,
        })
    }

    fn exception(&self) -> Result<Exception, MessageError> {
        let token = match &self.object["exception"] {
            Json::Null => None,
            Json::String(token) => Some(token.clone()),
            other => return Err(self.error("exception", wrong(other, "string or null"))),
        };
        Ok(Exception { token, message: self.optional_text("message")?.unwrap_or_default() })
    }

    fn envelope(&self) -> Result<Envelope, MessageError> {
        let present = |key: &str| self.object.get(key).is_some_and(|json| !json.is_null());
        Ok(Envelope {
            contents: self.contents()?.map(|(_, message)| message).collect::<Result<_, _>>()?,
            token: self.name("token")?,
            label: self.name("label")?,
            when: if present("when") { Some(self.when()?) } else { None },
        })
    }

    /// What stands in an envelope, and what it means.
    fn contents(
        &self,
    ) -> Result<impl Iterator<Item = (&'a Json, Result<Message, MessageError>)>, MessageError> {
        let read = |(index, json)| {
            let path = format!("{}contents[{index}].", self.path);
            let reader = Reader::new(json, path, self.registries);
            (json, reader.and_then(|reader| reader.message(false)))
        };
        Ok(self.array("contents")?.iter().enumerate().map(read))
    }

    fn head(&self, kind: Kind) -> Result<Head, MessageError> {
        Ok(Head {
            verb: self.text(kind.key())?.to_owned(),
            label: self.name("label")?,
            link: self.optional_text("link")?,
            token: self.name("token")?,
            metadata: self.fields("metadata")?,
            results: self.results()?,
        })
    }

    fn text(&self, key: &str) -> Result<&'a str, MessageError> {
        match self.object.get(key) {
            None => Err(self.error(key, Problem::Missing)),
            Some(Json::String(text)) => Ok(text),
            Some(other) => Err(self.error(key, wrong(other, "string"))),
        }
    }

    fn optional_text(&self, key: &str) -> Result<Option<String>, MessageError> {
        match self.object.get(key) {
            None | Some(Json::Null) => Ok(None),
            Some(_) => self.text(key).map(|text| Some(text.to_owned())),
        }
    }

    /// A text by which peers know something: it is shown to people and stands in logs, on one line.
    fn name(&self, key: &str) -> Result<Option<String>, MessageError> {
        let text = self.optional_text(key)?;
        match text {
            Some(text) if text.len() > MAX_NAME_OCTETS => {
                Err(self.error(key, Problem::LongName { octets: text.len() }))
            }
            Some(text) if text.contains(char::is_control) => Err(self.error(key, Problem::Control)),
            text => Ok(text),
        }
    }

    fn registry(&self) -> Result<String, MessageError> {
        let uri = self.text("registry")?;
        if self.registries.accepts(uri) {
            return Ok(uri.to_owned());
        }
        let loaded = self.registries.uris().collect::<Vec<_>>().join(", ");
        Err(self.error("registry", Problem::UnknownRegistry { uri: excerpt(uri), loaded }))
    }

    fn when(&self) -> Result<When, MessageError> {
        self.text("when")?.parse().map_err(|error: crate::WhenError| self.error("when", error))
    }

    fn array(&self, key: &str) -> Result<&'a [Json], MessageError> {
        match self.object.get(key) {
            None | Some(Json::Null) => Ok(&[]),
            Some(Json::Array(items)) => Ok(items),
            Some(other) => Err(self.error(key, wrong(other, "array"))),
        }
    }

    fn results(&self) -> Result<Vec<Element>, MessageError> {
        let mut names = std::collections::HashSet::new();
        let mut results = Vec::new();
        for (index, json) in self.array("results")?.iter().enumerate() {
            let fail = |problem| self.error(&format!("results[{index}]"), problem);
            let name = json.as_str().ok_or_else(|| fail(wrong(json, "string")))?;
            if !names.insert(name) {
                return Err(fail(Problem::Twice { name: excerpt(name) }));
            }
            results.push(self.element(name).map_err(fail)?);
        }
        Ok(results)
    }

    fn element(&self, name: &str) -> Result<Element, Problem> {
        let unknown = || Problem::UnknownElement { name: excerpt(name) };
        self.registries.element(name).ok_or_else(unknown)
    }

    /// An object whose keys are elements, in the order of their names.
    fn named<T>(
        &self,
        key: &str,
        read: impl Fn(Element, &Json) -> Result<T, Problem>,
    ) -> Result<Vec<T>, MessageError> {
        let object = match self.object.get(key) {
            None | Some(Json::Null) => return Ok(Vec::new()),
            Some(Json::Object(object)) => object,
            Some(other) => return Err(self.error(key, wrong(other, "object"))),
        };
        let entry = |(name, json): (&String, &Json)| {
            self.element(name)
                .and_then(|element| read(element, json))
                .map_err(|problem| self.error(&format!("{key}.{}", excerpt(name)), problem))
        };
        let mut entries: Vec<_> = object.iter().collect();
        entries.sort_unstable_by_key(|(name, _)| *name);
        entries.into_iter().map(entry).collect()
    }

    fn fields(&self, key: &str) -> Result<Vec<Field>, MessageError> {
        self.named(key, |element, json| {
            let value = Value::from_json(json, element.primitive())?;
            Ok(Field { element, value })
        })
    }

    fn rows(&self, results: &[Element]) -> Result<Vec<Vec<Value>>, MessageError> {
        let mut rows = Vec::new();
        for (number, json) in self.array("resultvalues")?.iter().enumerate() {
            let place = || format!("resultvalues[{number}]");
            let Json::Array(values) = json else {
                return Err(self.error(&place(), wrong(json, "array")));
            };
            if values.len() > results.len() {
                let problem = Problem::LongRow { values: values.len(), columns: results.len() };
                return Err(self.error(&place(), problem));
            }
            let mut row = Vec::with_capacity(values.len());
            for (json, element) in values.iter().zip(results) {
                row.push(
                    Value::from_json(json, element.primitive())
                        .map_err(|error| self.error(&format!("{}.{element}", place()), error))?,
                );
            }
            rows.push(row);
        }
        Ok(rows)
    }
}

fn wrong(json: &Json, accepted: &'static str) -> Problem {
    Problem::Type { found: type_name(json), accepted }
}
