//! The operator's file: what a host may do, and for whom.
//!
//! Every key stands in `conf/host.toml` with its unit and default. All mistakes are found in one go, each with file, line,
//! key, value and what is accepted. What a method's section says is checked against the descriptor of
//! the plugin that is installed, and becomes part of it: whoever reads the descriptor obeys.

mod method;
mod schema;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use sonde_config::{Form, Mistake, Place, Program, Table};
use sonde_engine::{Limits, Rate, Stamps};
use sonde_plugin_api::descriptor::Need;

use crate::Isolation;

/// What an operator's file says.
#[derive(Clone, Debug)]
pub struct Configuration {
    file: PathBuf,
    /// Folders with plugins; none where the usual ones are meant.
    pub(crate) plugins: Option<Vec<PathBuf>>,
    pub(crate) isolation: Isolation,
    pub(crate) stamps: Stamps,
    /// Of the host, for who asks for nothing, and what may be asked for.
    pub(crate) packets_per_second: f64,
    pub(crate) most_packets_per_second: f64,
    pub(crate) limits: Limits,
    /// What may be asked for, to each address.
    pub(crate) most_per_address: f64,
    /// Of each measurement.
    pub(crate) packet_budget: Option<u64>,
    pub(crate) deny: Vec<PathBuf>,
    pub(crate) allow: Vec<PathBuf>,
    pub(crate) methods: BTreeMap<String, Method>,
    /// The seed's form knows no sections of methods: all are enabled, with what they may need.
    pub(crate) enables_all: bool,
    /// Whether it says for whom the host measures.
    has_component: bool,
    /// Of the environment, to read the file again with.
    variables: Vec<(String, String)>,
}

/// What is said of one method.
#[derive(Clone, Debug)]
pub(crate) struct Method {
    pub(crate) place: Place,
    pub(crate) enabled: bool,
    pub(crate) isolation: Option<Isolation>,
    /// Of the plugin that offers it.
    pub(crate) rate: Option<Rate>,
    pub(crate) permit: Vec<Need>,
    pub(crate) packet_budget: Option<u64>,
    defaults: Table,
    constraints: Table,
}

impl Configuration {
    /// Reads a file, and the variables of the environment that overlay it. Lists of prefixes are
    /// read too, to see whether they can be.
    ///
    /// # Errors
    ///
    /// All mistakes, in the order of the document.
    pub fn read(
        file: &Path,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Vec<Mistake>> {
        let (configuration, mistakes) = Self::survey(file, variables);
        if mistakes.is_empty() { Ok(configuration) } else { Err(mistakes) }
    }

    /// As [`Configuration::read`], with what can be used beside the mistakes: to find others, not to be obeyed.
    #[must_use]
    pub fn survey(
        file: &Path,
        variables: impl Iterator<Item = (String, String)>,
    ) -> (Self, Vec<Mistake>) {
        let mut mistakes = Vec::new();
        let variables: Vec<(String, String)> = variables.collect();
        let (form, table) =
            sonde_config::read(file, Program::Host, variables.iter().cloned(), &mut mistakes);
        let enables_all = form == Form::Ini;
        let has_component = table.contains_key("component");
        let table = if enables_all { seed(&table, &mut mistakes) } else { table };
        let mut configuration = schema::read(file, &table, &mut mistakes);
        configuration.enables_all = enables_all;
        configuration.has_component = has_component;
        configuration.variables = variables;
        (configuration, mistakes)
    }

    /// The file that it was read from.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether it says for whom the host measures.
    pub(crate) fn has_component(&self) -> bool {
        self.has_component
    }

    /// Variables of the environment that it was read with.
    pub(crate) fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// Why a method may not be used, if so: it has no section, is switched off, or needs something
    /// that is not permitted.
    pub(crate) fn forbids(&self, name: &str, needs: &[Need]) -> Option<String> {
        let file = self.file.display();
        let Some(method) = self.methods.get(name) else {
            let usual = [Need::QuietKernel, Need::IpOptions];
            if self.enables_all {
                let more = needs.iter().find(|need| !usual.contains(need))?;
                return Some(format!("{name} needs {more}, which {file} does not permit"));
            }
            return Some(format!("{name} is not enabled: {file} has no section [methods.{name}]"));
        };
        if !method.enabled {
            return Some(format!("{name} is switched off: {}: enabled is false", method.place));
        }
        let open = |need: &&Need| **need != Need::QuietKernel && !method.permit.contains(need);
        needs
            .iter()
            .find(open)
            .map(|need| format!("{name} needs {need}, which {} does not permit", method.place))
    }

    /// Whether a method is granted something. The seed's form grants what its methods took.
    pub(crate) fn grants(&self, name: &str, need: Need) -> bool {
        match self.methods.get(name) {
            Some(method) => method.permit.contains(&need),
            None => self.enables_all && need == Need::IpOptions,
        }
    }

    /// What a measurement of the method may send, at most.
    pub(crate) fn budget(&self, name: &str, own: Option<u64>) -> Option<u64> {
        let method = self.methods.get(name).and_then(|method| method.packet_budget);
        [own, method, self.packet_budget].into_iter().flatten().min()
    }
}

/// What the seed's form says of a host, which is nothing: what ours would say there, and variables of the
/// environment beside it, would restrict nobody.
fn seed(table: &Table, mistakes: &mut Vec<Mistake>) -> Table {
    for (name, item) in table {
        let first = name.split('.').next().unwrap_or(name);
        if schema::SECTIONS.contains(&first) && first != "component" {
            let problem = "holds in TOML alone, accepted here: what the RI has".to_owned();
            mistakes.push(Mistake::new(&item.place, name, problem));
        }
    }
    Table::new()
}

#[cfg(test)]
mod tests;
