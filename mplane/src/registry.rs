//! Elements: the names that messages may use and their types.
//!
//! A message names one registry, but its elements are looked up in all that are loaded, in the order
//! of loading, as the RI does. Nothing is ever fetched.
//!
//! Source: registry format `mplane-0`.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use serde_json::Value as Json;

use crate::json::{self, JsonError};
use crate::primitive::Primitive;

/// Under which messages name the core registry, and ours, which holds all of it.
pub const CORE_URI: &str = "http://ict-mplane.eu/registry/core";

const FORMAT: &str = "mplane-0";
const BUILT_IN: &str = include_str!("../../registry.json");

/// A name and its type. Cheap to clone.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Element {
    name: Arc<str>,
    primitive: Primitive,
    is_known: bool,
}

/// One registry file.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    uri: String,
    revision: i64,
    includes: Vec<String>,
    elements: Vec<Element>,
    descriptions: HashMap<Arc<str>, String>,
    by_name: HashMap<Arc<str>, usize>,
}

/// Why a registry cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RegistryError {
    /// Not JSON.
    #[error("registry: {0}")]
    Json(#[from] JsonError),
    /// A key is missing or has another type.
    #[error("registry: {path} must be {accepted}")]
    Form {
        /// Of the key.
        path: String,
        /// What can stand there.
        accepted: &'static str,
    },
    /// Another format.
    #[error("registry: registry-format is {format:?}, accepted: {FORMAT:?}")]
    Format {
        /// As received.
        format: String,
    },
    /// A type that does not exist.
    #[error(
        "registry: {path} of {element} is {primitive:?}, accepted: \
         string, natural, real, boolean, time, address, url"
    )]
    Primitive {
        /// Of the key.
        path: String,
        /// Whose type it is.
        element: String,
        /// As received.
        primitive: String,
    },
    /// An included registry is not loaded.
    #[error("registry {uri:?} includes {included:?}, which is not loaded")]
    Include {
        /// Of the registry.
        uri: String,
        /// What it names.
        included: String,
    },
}

/// What is done with names that no registry knows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Unknown {
    /// The message is refused.
    #[default]
    Refuse,
    /// They count as texts, see [`Element::is_known`]; for one who only passes messages on.
    AsText,
}

/// All registries that are loaded.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    loaded: Vec<Arc<Registry>>,
    /// The last of them is ours, or in its place.
    has_built_in: bool,
    base: String,
    unknown: Unknown,
}

impl Element {
    /// An element outside any registry.
    #[must_use]
    pub fn new(name: &str, primitive: Primitive) -> Self {
        Self { name: name.into(), primitive, is_known: true }
    }

    /// As messages write it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type.
    #[must_use]
    pub fn primitive(&self) -> Primitive {
        self.primitive
    }

    /// Whether a registry has it. Where none does, nobody here can say which values are alike, or within a range.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.is_known
    }
}

impl std::fmt::Display for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Registry {
    /// Reads a file; includes are not looked at until it is loaded.
    ///
    /// A later element of the same name replaces an earlier one. Unknown keys and texts that begin
    /// with `COMMENT:` are ignored.
    ///
    /// # Errors
    ///
    /// [`RegistryError`] names the key.
    pub fn from_json(octets: &[u8]) -> Result<Self, RegistryError> {
        let json = json::parse(octets)?;
        let form = |path: &str, accepted| RegistryError::Form { path: path.to_owned(), accepted };
        let text = |key: &'static str| json[key].as_str().ok_or_else(|| form(key, "a string"));
        let format = text("registry-format")?;
        if format != FORMAT {
            return Err(RegistryError::Format { format: format.to_owned() });
        }
        let mut registry = Self {
            uri: text("registry-uri")?.to_owned(),
            revision: json["registry-revision"]
                .as_i64()
                .ok_or_else(|| form("registry-revision", "an integer"))?,
            ..Self::default()
        };
        match &json["includes"] {
            Json::Null => {}
            includes => {
                let uris = includes.as_array().map(|uris| {
                    uris.iter().map(|uri| uri.as_str().map(str::to_owned)).collect::<Option<_>>()
                });
                registry.includes =
                    uris.flatten().ok_or_else(|| form("includes", "an array of strings"))?;
            }
        }
        let elements =
            json["elements"].as_array().ok_or_else(|| form("elements", "an array of objects"))?;
        for (index, element) in elements.iter().enumerate() {
            registry.read_element(index, element)?;
        }
        Ok(registry)
    }

    fn read_element(&mut self, index: usize, json: &Json) -> Result<(), RegistryError> {
        if json.as_str().is_some_and(|text| text.starts_with("COMMENT:")) {
            return Ok(());
        }
        let text = |key: &str| {
            let path = format!("elements[{index}].{key}");
            json[key].as_str().ok_or(RegistryError::Form { path, accepted: "a string" })
        };
        let (name, primitive) = (text("name")?, text("prim")?);
        let primitive = Primitive::from_str(primitive).map_err(|()| RegistryError::Primitive {
            path: format!("elements[{index}].prim"),
            element: name.to_owned(),
            primitive: primitive.to_owned(),
        })?;
        let description = json["desc"].as_str().unwrap_or_default();
        self.insert(Element::new(name, primitive), description);
        Ok(())
    }

    fn insert(&mut self, element: Element, description: &str) {
        let name = Arc::clone(&element.name);
        self.descriptions.insert(Arc::clone(&name), description.to_owned());
        match self.by_name.get(&name) {
            Some(index) => self.elements[*index] = element,
            None => {
                self.by_name.insert(name, self.elements.len());
                self.elements.push(element);
            }
        }
    }

    /// The name that messages use.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Of the file.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// In the order of the file, included ones first once it is loaded.
    #[must_use]
    pub fn elements(&self) -> &[Element] {
        &self.elements
    }

    /// The element of that name.
    #[must_use]
    pub fn element(&self, name: &str) -> Option<&Element> {
        self.by_name.get(name).map(|index| &self.elements[*index])
    }

    /// What an element means; empty if the file does not say.
    #[must_use]
    pub fn description(&self, name: &str) -> &str {
        self.descriptions.get(name).map_or("", String::as_str)
    }
}

impl Registries {
    /// Ours, under [`CORE_URI`] and, as in the seed's messages, under `""`.
    #[must_use]
    pub fn built_in() -> Self {
        static OURS: OnceLock<Arc<Registry>> = OnceLock::new();
        let ours = OURS.get_or_init(|| {
            Arc::new(
                Registry::from_json(BUILT_IN.as_bytes()).expect("the tests read registry.json"),
            )
        });
        let loaded = vec![Arc::clone(ours)];
        Self { loaded, has_built_in: true, base: ours.uri.clone(), unknown: Unknown::Refuse }
    }

    /// None at all.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// What is done with unknown names and URIs.
    #[must_use]
    pub fn with_unknown(mut self, unknown: Unknown) -> Self {
        self.unknown = unknown;
        self
    }

    /// Adds a registry with what it includes, behind the others and before the built-in one: its elements count before ours.
    /// One with the same URI is replaced. The first one is the base, which `""` names.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Include`] if it includes what is not loaded.
    pub fn load(&mut self, registry: &Registry) -> Result<(), RegistryError> {
        let mut whole = Registry {
            uri: registry.uri.clone(),
            revision: registry.revision,
            includes: registry.includes.clone(),
            ..Registry::default()
        };
        for included in &registry.includes {
            let other = self.registry(included).ok_or_else(|| RegistryError::Include {
                uri: registry.uri.clone(),
                included: included.clone(),
            })?;
            for element in &other.elements {
                whole.insert(element.clone(), other.description(&element.name));
            }
        }
        for element in &registry.elements {
            whole.insert(element.clone(), registry.description(&element.name));
        }
        if self.loaded.is_empty() {
            self.base.clone_from(&whole.uri);
        }
        let whole = Arc::new(whole);
        let behind = self.loaded.len() - usize::from(self.has_built_in);
        match self.loaded.iter_mut().find(|other| other.uri == whole.uri) {
            Some(other) => *other = whole,
            None => self.loaded.insert(behind, whole),
        }
        Ok(())
    }

    /// The registry that a message names; `""` is the base.
    #[must_use]
    pub fn registry(&self, uri: &str) -> Option<&Registry> {
        let uri = if uri.is_empty() { &self.base } else { uri };
        self.loaded.iter().find(|registry| registry.uri == uri).map(AsRef::as_ref)
    }

    /// Of all that are loaded, in the order of loading, the built-in one last.
    pub fn uris(&self) -> impl Iterator<Item = &str> {
        self.loaded.iter().map(|registry| registry.uri.as_str())
    }

    /// Whether a message may name it.
    #[must_use]
    pub fn accepts(&self, uri: &str) -> bool {
        self.unknown == Unknown::AsText || self.registry(uri).is_some()
    }

    /// The element of that name in the first registry that has it; a text where unknown names are
    /// accepted.
    #[must_use]
    pub fn element(&self, name: &str) -> Option<Element> {
        self.loaded.iter().find_map(|registry| registry.element(name).cloned()).or_else(|| {
            let unknown = Element { is_known: false, ..Element::new(name, Primitive::String) };
            (self.unknown == Unknown::AsText).then_some(unknown)
        })
    }

    /// Whether there is an [`element`](Self::element) of that name.
    #[must_use]
    pub fn has_element(&self, name: &str) -> bool {
        self.unknown == Unknown::AsText
            || self.loaded.iter().any(|registry| registry.element(name).is_some())
    }

    /// What an element means; empty if nobody says.
    #[must_use]
    pub fn description(&self, name: &str) -> &str {
        let knowing = self.loaded.iter().find(|registry| registry.element(name).is_some());
        knowing.map_or("", |registry| registry.description(name))
    }

    /// Those of every registry, one registry after the other.
    pub fn elements(&self) -> impl Iterator<Item = &Element> {
        self.loaded.iter().flat_map(|registry| registry.elements())
    }
}
