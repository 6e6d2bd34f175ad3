//! Tables of results: their columns, and rows as they come from a plugin.

use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::{Shape, Type};
use crate::schema::{DecodeError, Field, Reader, Value};

/// A table that a method fills.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Table {
    /// As in the result record.
    pub name: String,
    /// What a row stands for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub doc: String,
    /// In the order of a row's values.
    pub columns: Vec<Column>,
}

/// A column of a table, or an entry of a map.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Column {
    /// As in the result record.
    pub name: String,
    /// The mPlane element that says the same, or empty; may hold `{ip}`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub element: String,
    /// Its type.
    #[serde(flatten)]
    pub shape: Shape,
    /// Of its numbers; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Whether the value may be missing.
    #[serde(default)]
    pub nullable: bool,
    /// What it means.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub doc: String,
}

/// Why octets are no row of a table.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RowError {
    /// They are no values at all.
    #[error("row of {table}: {error}")]
    Encoding {
        /// The table's name.
        table: String,
        /// What is wrong with them.
        error: DecodeError,
    },
    /// A value that its column cannot have.
    #[error("row of {table}: {column} is not {expected}")]
    Column {
        /// The table's name.
        table: String,
        /// The column's name.
        column: String,
        /// The column's type.
        expected: Type,
    },
}

impl Table {
    /// The values of one row, each of its column's type.
    ///
    /// # Errors
    ///
    /// [`RowError`] if the octets are not exactly one row of this table.
    pub fn decode_row(&self, octets: &[u8]) -> Result<Vec<Value>, RowError> {
        let encoding = |error| RowError::Encoding { table: self.name.clone(), error };
        let mut reader = Reader::new(octets).map_err(encoding)?;
        let mut values = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let value = reader.value().map_err(encoding)?;
            if !column.fits(&value) {
                return Err(RowError::Column {
                    table: self.name.clone(),
                    column: column.name.clone(),
                    expected: column.shape.kind,
                });
            }
            values.push(value);
        }
        reader.finish().map_err(encoding)?;
        Ok(values)
    }

    /// One row as it stands in the result record; `wall_offset_ns` is wall time minus monotonic
    /// time.
    #[must_use]
    pub fn row_json(
        &self,
        values: &[Value],
        wall_offset_ns: impl Into<i128>,
    ) -> Map<String, serde_json::Value> {
        let offset = wall_offset_ns.into();
        let value = |value: &Value| value.to_json_at(offset);
        let names = self.columns.iter().map(|column| column.name.clone());
        names.zip(values.iter().map(value)).collect()
    }

    /// Index of the column of that name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

impl Column {
    /// Of a Rust type, with its element or "" and the lines of its doc comment; the unit is told by the end of the name (`_us`, `_ms`, `_octets`, …).
    #[must_use]
    pub fn of<T: Field>(name: &str, element: &str, doc: &[&str]) -> Self {
        let end = name.rsplit_once('_').map_or("", |(_, end)| end);
        let is_unit = matches!(end, "ns" | "us" | "ms" | "s" | "octets" | "segments");
        Self {
            name: name.to_owned(),
            element: element.to_owned(),
            shape: T::shape(),
            unit: if is_unit { end.to_owned() } else { String::new() },
            nullable: T::NULLABLE,
            doc: joined(doc),
        }
    }

    /// Of its numbers.
    #[must_use]
    pub fn unit(mut self, unit: &str) -> Self {
        unit.clone_into(&mut self.unit);
        self
    }

    /// Whether the column can have this value.
    #[must_use]
    pub fn fits(&self, value: &Value) -> bool {
        if value.is_none() { self.nullable } else { self.shape.fits(value) }
    }
}

/// The lines of a doc comment as one text.
pub(crate) fn joined(lines: &[&str]) -> String {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    lines.join(" ").trim().to_owned()
}
