//! The record of one measurement: one JSON object, the same on a terminal's pipe, in files and in
//! sinks.
//!
//! Column names are stable; `MethodDescriptor::record_schema` describes the whole.

use std::{net::IpAddr, sync::Arc};

use jiff::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value as Json, json};
use sonde_engine::Counters;
use sonde_plugin_api::{descriptor::Table, schema::Value};

use crate::Offer;

/// Version of the record's form.
const FORM: u32 = 1;

/// What is known of a measurement that has ended.
///
/// Serialised it is one object, members in a fixed order. Rows are kept as the plugin sent them and
/// written straight from there: a campaign makes a million of these.
#[derive(Clone, Debug)]
pub struct Record {
    pub(crate) offer: Offer,
    /// Unique, ordered by time.
    pub id: String,
    /// Address that the probes came from, once known.
    pub source: Option<IpAddr>,
    /// Address that they were for.
    pub destination: Option<IpAddr>,
    /// Wall time, ns since 1970 (UTC).
    pub start_ns: u64,
    /// As `start_ns`.
    pub end_ns: u64,
    /// `done`, `interrupted`, `failed` or `refused`.
    pub status: &'static str,
    /// Why it stopped, in the method's words.
    pub stop: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// As they were used, defaults included, but for the destination.
    pub parameters: Arc<Map<String, Json>>,
    /// Of packets.
    pub counters: Counters,
    /// Packets that were not sent, by reason.
    pub not_sent: Vec<(String, u64)>,
    /// Who stamped departures and arrivals.
    pub clock: (&'static str, &'static str),
    /// In the order of the tables.
    pub(crate) rows: Vec<Vec<Row>>,
}

/// A row as it came.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) values: Vec<Value>,
    /// Wall time minus monotonic time.
    pub(crate) wall_offset_ns: i64,
}

impl Row {
    /// By the names of its columns.
    pub(crate) fn to_map(&self, table: &Table) -> Map<String, Json> {
        table.row_json(&self.values, i128::from(self.wall_offset_ns))
    }
}

impl Record {
    /// Probes that were answered, in the method's own count where it has one: the column `answered`
    /// of a table `summary`. Some methods do not take an ICMP error for an answer.
    #[must_use]
    pub fn answered(&self) -> u64 {
        let own = || {
            let (index, table) = self.offer.method().table("summary")?;
            let row = self.rows.get(usize::from(index))?.first()?;
            match row.values.get(table.column("answered")?)? {
                Value::U64(answered) => Some(*answered),
                _ => None,
            }
        };
        own().unwrap_or(self.counters.answered)
    }

    /// Every row with the name of its table, in the order of the tables.
    pub fn rows(&self) -> impl Iterator<Item = (&str, Map<String, Json>)> {
        self.offer.method().tables.iter().zip(&self.rows).flat_map(|(table, rows)| {
            rows.iter().map(|row| (table.name.as_str(), row.to_map(table)))
        })
    }

    fn counters_json(&self) -> Json {
        let mut counters = json!({
            "sent": self.counters.sent,
            "not_sent": self.counters.not_sent,
            "answered": self.counters.answered,
            "errors": self.counters.errors,
            "late": self.counters.late,
            "duplicates": self.counters.duplicates,
        });
        if !self.not_sent.is_empty() {
            let reasons =
                self.not_sent.iter().map(|(reason, count)| (reason.clone(), json!(count)));
            counters["not_sent_reasons"] = Json::Object(reasons.collect());
        }
        counters
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("record", &FORM)?;
        map.serialize_entry("method", &self.offer.method().name)?;
        map.serialize_entry("version", self.offer.version())?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("source", &self.source)?;
        map.serialize_entry("destination", &self.destination)?;
        map.serialize_entry("start", &timestamp(self.start_ns))?;
        map.serialize_entry("end", &timestamp(self.end_ns))?;
        map.serialize_entry("status", self.status)?;
        map.serialize_entry("stop", &self.stop)?;
        map.serialize_entry("error", &self.error)?;
        map.serialize_entry("parameters", &*self.parameters)?;
        map.serialize_entry("counters", &self.counters_json())?;
        map.serialize_entry("clock", &json!({"tx": self.clock.0, "rx": self.clock.1}))?;
        map.serialize_entry("tables", &Tables(self))?;
        map.end()
    }
}

struct Tables<'a>(&'a Record);

impl Serialize for Tables<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tables = self.0.offer.method().tables.iter().zip(&self.0.rows);
        serializer.collect_map(tables.map(|(table, rows)| {
            let rows: Vec<_> = rows.iter().map(|row| Cells(table, row)).collect();
            (&table.name, rows)
        }))
    }
}

struct Cells<'a>(&'a Table, &'a Row);

impl Serialize for Cells<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let offset = i128::from(self.1.wall_offset_ns);
        let cells = self.0.columns.iter().zip(&self.1.values);
        serializer
            .collect_map(cells.map(|(column, value)| (&column.name, value.to_json_at(offset))))
    }
}

/// Wall time as RFC 3339 writes it, with microseconds.
#[must_use]
pub fn timestamp(wall_ns: u64) -> String {
    Timestamp::from_nanosecond(i128::from(wall_ns))
        .map_or_else(|_| wall_ns.to_string(), |timestamp| format!("{timestamp:.6}"))
}

#[cfg(test)]
mod tests {
    use super::timestamp;

    #[test]
    fn a_timestamp_has_microseconds_and_a_zone() {
        assert_eq!(timestamp(1_767_323_045_678_901_234), "2026-01-02T03:04:05.678901Z");
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000000Z");
    }
}
