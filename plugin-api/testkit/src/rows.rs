//! Rows of a table as a test looks at them.

use std::fmt;

use serde_json::{Map, Value as Json};
use sonde_plugin_api::{
    descriptor::Table,
    schema::{Field, Value},
};

use crate::exchange::Exchange;

/// The rows of one table; equal to a list of JSON objects with the same members.
///
/// Where a comparison fails, the exchange of packets is printed with the rows.
pub struct Rows<'a> {
    pub(crate) rows: Vec<Map<String, Json>>,
    pub(crate) exchange: &'a Exchange,
}

impl Rows<'_> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As objects.
    pub fn iter(&self) -> impl Iterator<Item = &Map<String, Json>> {
        self.rows.iter()
    }

    /// The same rows with these columns alone.
    ///
    /// # Panics
    ///
    /// Where the table has no such column.
    #[must_use]
    #[track_caller]
    pub fn columns<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        let names: Vec<&str> = names.into_iter().collect();
        for row in &mut self.rows {
            for name in &names {
                assert!(row.contains_key(*name), "the table has no column {name}");
            }
            row.retain(|name, _| names.contains(&name.as_str()));
        }
        self
    }

    /// The values of one column.
    ///
    /// # Panics
    ///
    /// Where the table has no such column.
    #[must_use]
    #[track_caller]
    pub fn column(&self, name: &str) -> Vec<Json> {
        let value = |row: &Map<String, Json>| {
            let value = row.get(name).cloned();
            value.unwrap_or_else(|| panic!("the table has no column {name}"))
        };
        self.rows.iter().map(value).collect()
    }

    fn equals(&self, other: &[Json]) -> bool {
        // Objects are equal whatever the order of their members.
        let is_same = |(row, other): (&Map<String, Json>, &Json)| Some(row) == other.as_object();
        self.rows.len() == other.len() && self.rows.iter().zip(other).all(is_same)
    }
}

impl fmt::Debug for Rows<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<Json> = self.rows.iter().cloned().map(Json::Object).collect();
        fmt::Debug::fmt(&rows, formatter)?;
        write!(formatter, "\n{}", self.exchange)
    }
}

impl PartialEq<[Json]> for Rows<'_> {
    fn eq(&self, other: &[Json]) -> bool {
        self.equals(other)
    }
}

impl<const N: usize> PartialEq<[Json; N]> for Rows<'_> {
    fn eq(&self, other: &[Json; N]) -> bool {
        self.equals(other)
    }
}

impl PartialEq<Vec<Json>> for Rows<'_> {
    fn eq(&self, other: &Vec<Json>) -> bool {
        self.equals(other)
    }
}

/// A row in the type that the method emitted.
pub(crate) fn typed<R: Field>(table: &Table, values: &[Value]) -> Option<R> {
    let names = table.columns.iter().map(|column| column.name.clone());
    R::from_value(&Value::Map(names.zip(values.iter().cloned()).collect()))
}
