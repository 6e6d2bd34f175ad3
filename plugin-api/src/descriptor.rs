//! What a plugin says about itself, in typed form.
//!
//! The plugin writes it as JSON, so that it can grow without touching the binary interface;
//! members that a host does not know are ignored. For a host it is hostile input until
//! [`Descriptor::from_json`] has checked it. With it a host does everything that it does for a
//! method (flags, constraints, encoding, results, tables in documents) without knowing the method.

mod parameter;
mod record;
mod row_writer;
mod shape;
mod specification;
mod table;
mod validate;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sonde_packet::Family;

pub use self::parameter::Parameter;
pub use self::row_writer::RowWriter;
pub use self::shape::{Shape, Type};
pub(crate) use self::table::joined;
pub use self::table::{Column, RowError, Table};
pub(crate) use self::validate::InPlaceOfOne;
pub use self::validate::{
    DescriptorError, MAX_DESCRIPTOR_OCTETS, MAX_ENTRIES, MAX_METHODS, MAX_TABLES,
};
pub use crate::capability::{Aggregate, Condition, Constraint, View, ViewColumn, ViewParameter};
pub use crate::params::{ParamError, Problem};
use crate::schema::Value;
use crate::text;
use crate::{graph_form::GraphForm, text_form::TextForm};

/// Version of the form that is described here.
pub const DESCRIPTOR_VERSION: u32 = 1;

/// A plugin.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Descriptor {
    /// [`DESCRIPTOR_VERSION`].
    pub descriptor: u32,
    /// Name of its package.
    pub plugin: String,
    /// Version of its package.
    pub version: String,
    /// Version of this crate that it was built with.
    pub api: String,
    /// What it can measure; a task names its method by the index here.
    pub methods: Vec<MethodDescriptor>,
}

/// A method.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct MethodDescriptor {
    /// As on the command line.
    pub name: String,
    /// One line.
    #[serde(default)]
    pub doc: String,
    /// Paper or RFC that it follows.
    #[serde(default)]
    pub source: String,
    /// Packets it may still send after an interrupt.
    #[serde(default)]
    pub parting_packets: u16,
    /// Packets that one measurement may send at most; unlimited where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet_budget: Option<u64>,
    /// What it needs of the host beside sending and receiving.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// What it uses for some of its parameters, where the operator permits it: without that, packets
    /// that take it are refused, and everything else works. One that the host does not know is left
    /// out here, as it is not granted.
    #[serde(default, deserialize_with = "known", skip_serializing_if = "Vec::is_empty")]
    pub wants: Vec<Need>,
    /// In the order of their encoding.
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    /// A row names its table by the index here.
    #[serde(default)]
    pub tables: Vec<Table>,
    /// How it is offered to supervisors.
    #[serde(default)]
    pub capabilities: Vec<View>,
    /// How a person reads its results.
    #[serde(default, skip_serializing_if = "is_silent")]
    pub text: TextForm,
    /// Which of its tables are a graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<GraphForm>,
}

/// A service of the host that not every operator grants.
///
/// A descriptor with a need that the host does not know is refused, for it could not be met.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// The kernel must not answer for its flows.
    QuietKernel,
    /// Packets with IP options, which some networks drop or count as an attack.
    IpOptions,
    /// ICMP errors from a source address that is not the flow's. Never granted unless the operator
    /// does so by name.
    Spoof,
    /// Connections to servers, which see and may log them: of a method's own TCP or the kernel's.
    RealConnections,
}

/// The needs of a list that this host knows.
fn known<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Need>, D::Error> {
    let named = Vec::<String>::deserialize(from)?;
    let need =
        |name| Need::deserialize(serde::de::value::StringDeserializer::<D::Error>::new(name));
    Ok(named.into_iter().filter_map(|name| need(name).ok()).collect())
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QuietKernel => "quiet_kernel",
            Self::IpOptions => "ip_options",
            Self::Spoof => "spoof",
            Self::RealConnections => "real_connections",
        })
    }
}

impl Descriptor {
    /// Of a plugin built with this version of the crate.
    #[must_use]
    pub fn new(plugin: &str, version: &str, methods: Vec<MethodDescriptor>) -> Self {
        Self {
            descriptor: DESCRIPTOR_VERSION,
            plugin: plugin.to_owned(),
            version: version.to_owned(),
            api: env!("CARGO_PKG_VERSION").to_owned(),
            methods,
        }
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("maps have text keys and numbers are finite or null")
    }

    /// From what a plugin says.
    ///
    /// # Errors
    ///
    /// [`DescriptorError`] names the first member that is not acceptable.
    pub fn from_json(json: &str) -> Result<Self, DescriptorError> {
        validate::parse(json)
    }

    /// The method of that name, with its index.
    #[must_use]
    pub fn method(&self, name: &str) -> Option<(u16, &MethodDescriptor)> {
        let index = self.methods.iter().position(|method| method.name == name)?;
        Some((u16::try_from(index).ok()?, &self.methods[index]))
    }
}

impl MethodDescriptor {
    /// The parameter that `key` means: its element (with or without `{ip}` filled in), its flag or
    /// its alias.
    #[must_use]
    pub fn parameter(&self, key: &str) -> Option<&Parameter> {
        self.parameter_index(key).map(|index| &self.parameters[index])
    }

    fn parameter_index(&self, key: &str) -> Option<usize> {
        let by = |test: &dyn Fn(&Parameter) -> bool| self.parameters.iter().position(test);
        by(&|parameter| parameter.is_element(key))
            .or_else(|| by(&|parameter| parameter.name == key))
            .or_else(|| by(&|parameter| !parameter.alias.is_empty() && parameter.alias == key))
    }

    /// The table of that name, with its index.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<(u8, &Table)> {
        let index = self.tables.iter().position(|table| table.name == name)?;
        Some((u8::try_from(index).ok()?, &self.tables[index]))
    }

    /// Every parameter's value for one measurement, in declared order: what is given, else the
    /// default of the family, else missing.
    ///
    /// Keys are those of [`MethodDescriptor::parameter`]. Values of a neighbouring type are taken
    /// for what they mean (text is parsed, 80.0 is a natural number).
    ///
    /// # Errors
    ///
    /// [`ParamError`] for the first key that is unknown or given twice, or value that is not
    /// acceptable or missing.
    pub fn values(
        &self,
        given: &BTreeMap<String, Value>,
        family: Family,
    ) -> Result<Vec<Value>, ParamError> {
        let mut values = vec![Value::None; self.parameters.len()];
        let mut taken: Vec<Option<&str>> = vec![None; self.parameters.len()];
        for (key, value) in given {
            let Some(index) = self.parameter_index(key) else {
                return Err(self.unknown(key));
            };
            if let Some(other) = taken[index].replace(key) {
                let problem = Problem::Twice { other: other.to_owned() };
                return Err(ParamError::new(key, key, problem));
            }
            values[index] = self.parameters[index].accept(value, family)?;
        }
        for (parameter, value) in self.parameters.iter().zip(&mut values) {
            if value.is_none() {
                *value = parameter.default_for(family);
            }
            if value.is_none() && parameter.required {
                return Err(parameter.error(family, Problem::Missing));
            }
        }
        Ok(values)
    }

    /// [`MethodDescriptor::values`] as a task's parameters.
    ///
    /// # Errors
    ///
    /// As [`MethodDescriptor::values`].
    pub fn encode(
        &self,
        given: &BTreeMap<String, Value>,
        family: Family,
    ) -> Result<Vec<u8>, ParamError> {
        let values = self.values(given, family)?;
        Ok(crate::schema::to_vec(|arena| values.iter().for_each(|value| value.encode(arena))))
    }

    /// The JSON Schema (2020-12) of the result record of one measurement.
    #[must_use]
    pub fn record_schema(&self) -> serde_json::Value {
        record::schema(self)
    }

    fn unknown(&self, key: &str) -> ParamError {
        let elements = self.parameters.iter().map(|parameter| parameter.element.as_str());
        let names = self.parameters.iter().map(|parameter| parameter.name.as_str());
        let near = text::nearest(key, names.chain(elements)).map(str::to_owned);
        ParamError::new(key, key, Problem::Unknown { method: self.name.clone(), near })
    }
}

fn is_silent(text: &TextForm) -> bool {
    text.head.is_empty() && text.lines.is_empty()
}

/// `text` with `{ip}` filled in.
pub(crate) fn expand(text: &str, family: Family) -> String {
    text.replace("{ip}", family.suffix())
}

#[cfg(test)]
mod tests;
