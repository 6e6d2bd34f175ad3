//! What came of one measurement.

use std::{collections::BTreeMap, fmt, rc::Rc, time::Duration};

use serde_json::Value as Json;
use sonde_plugin_api::{
    abi::FailKind,
    descriptor::MethodDescriptor,
    schema::{Field, Value},
};

use crate::{
    exchange::Exchange,
    rows::{Rows, typed},
};

/// How a measurement stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Status {
    /// It has not come to its end: it waits for something that never happens, or the simulation
    /// was stopped before.
    Running,
    /// It came to its end.
    Done,
    /// It failed.
    Failed {
        /// Whose fault it is.
        kind: FailKind,
        /// One line.
        text: String,
    },
}

/// What was counted, as in a result record.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Packets that left.
    pub sent: u64,
    /// Packets that did not.
    pub not_sent: u64,
    /// Probes that were answered in time.
    pub answered: u64,
    /// Answers after the time-out of their probe; also those that came when the measurement was
    /// over already, for five seconds.
    pub late: u64,
    /// Answers to probes that had been answered.
    pub duplicates: u64,
}

/// A line of a measurement's log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogLine {
    /// 1 (error) to 5 (trace).
    pub level: u8,
    /// As the method wrote it.
    pub text: String,
}

/// What came of one measurement; prints with every packet.
#[derive(Clone)]
pub struct Run {
    /// How it stands.
    pub status: Status,
    /// Why the method says that it stopped; empty where it says nothing.
    pub stop: String,
    /// What was counted.
    pub counters: Counters,
    /// Packets that no measurement waited for.
    pub foreign: u64,
    /// What the method wrote down.
    pub logs: Vec<LogLine>,
    /// How much was done, per mille, as the method said last.
    pub progress: u64,
    pub(crate) method: Rc<MethodDescriptor>,
    pub(crate) rows: Vec<(usize, Vec<Value>)>,
    pub(crate) wall_offset_ns: i128,
    pub(crate) took: Duration,
    pub(crate) exchange: Exchange,
}

impl Run {
    /// The rows of a table.
    ///
    /// # Panics
    ///
    /// Where the method has no such table.
    #[must_use]
    #[track_caller]
    pub fn table(&self, name: &str) -> Rows<'_> {
        let (index, table) = self.find(name);
        let rows = self.rows.iter().filter(|(of, _)| *of == index);
        let rows = rows.map(|(_, values)| table.row_json(values, self.wall_offset_ns)).collect();
        Rows { rows, exchange: &self.exchange }
    }

    /// The rows of a table in the type that the method emitted.
    ///
    /// # Panics
    ///
    /// Where the method has no such table, or its rows are of another type.
    #[must_use]
    #[track_caller]
    pub fn typed<R: Field>(&self, name: &str) -> Vec<R> {
        let (index, table) = self.find(name);
        let rows = self.rows.iter().filter(|(of, _)| *of == index);
        rows.map(|(_, values)| {
            let row = typed(table, values);
            row.unwrap_or_else(|| panic!("rows of {name} are of another type"))
        })
        .collect()
    }

    /// All rows by table.
    #[must_use]
    pub fn tables(&self) -> BTreeMap<String, Vec<Json>> {
        let names = self.method.tables.iter().map(|table| table.name.clone());
        let rows = |name: &str| self.table(name).rows.into_iter().map(Json::Object).collect();
        names.map(|name| (name.clone(), rows(&name))).collect()
    }

    /// How long it took, in virtual time.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Every packet with its virtual time, and what became of those that were lost; prints as
    /// text.
    #[must_use]
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Ends the test with `text` and the whole run, unless `condition` is true.
    ///
    /// # Panics
    ///
    /// Unless `condition` is true.
    #[track_caller]
    pub fn expect(&self, condition: bool, text: &str) {
        assert!(condition, "{text}\n{self}");
    }

    /// Ends the test with the whole run, unless the method came to its end.
    ///
    /// # Panics
    ///
    /// Unless the method came to its end.
    #[track_caller]
    pub fn expect_done(&self) -> &Self {
        self.expect(self.status == Status::Done, "the measurement did not come to its end");
        self
    }

    #[track_caller]
    fn find(&self, name: &str) -> (usize, &sonde_plugin_api::descriptor::Table) {
        let index = self.method.tables.iter().position(|table| table.name == name);
        let index = index.unwrap_or_else(|| {
            let names: Vec<_> = self.method.tables.iter().map(|table| &table.name).collect();
            panic!("{} has no table {name}, only {names:?}", self.method.name)
        });
        (index, &self.method.tables[index])
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for Run {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counters { sent, not_sent, answered, late, duplicates } = self.counters;
        writeln!(formatter, "{}: {:?} after {:?}", self.method.name, self.status, self.took)?;
        if !self.stop.is_empty() {
            writeln!(formatter, "stop: {}", self.stop)?;
        }
        writeln!(
            formatter,
            "sent {sent}, not sent {not_sent}, answered {answered}, late {late}, duplicates {duplicates}"
        )?;
        for line in &self.logs {
            writeln!(formatter, "log {}: {}", line.level, line.text)?;
        }
        for (name, rows) in self.tables() {
            writeln!(formatter, "{name}:")?;
            for row in rows {
                writeln!(formatter, "  {row}")?;
            }
        }
        write!(formatter, "{}", self.exchange)
    }
}
