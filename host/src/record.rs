//! The record of one measurement: one JSON object, the same on a terminal's pipe, in files and in
//! sinks.
//!
//! Column names are stable; `MethodDescriptor::record_schema` describes the whole.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sonde_engine::Counters;

/// Version of the record's form.
const FORM: u32 = 1;

/// What is known of a measurement that has ended.
#[derive(Clone, Debug)]
pub struct Record {
    /// Name of the method.
    pub method: String,
    /// Version of its plugin.
    pub version: String,
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
    /// `done`, `interrupted` or `failed`.
    pub status: &'static str,
    /// Why it stopped, in the method's words.
    pub stop: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// As they were used, defaults included.
    pub parameters: Map<String, Value>,
    /// Of packets.
    pub counters: Counters,
    /// Packets that were not sent, by reason.
    pub not_sent: Vec<(String, u64)>,
    /// Who stamped departures and arrivals.
    pub clock: (&'static str, &'static str),
    /// Rows by the name of their table.
    pub tables: Map<String, Value>,
}

impl Record {
    /// Probes that were answered, in the method's own count where it has one: the column `answered`
    /// of a table `summary`. Some methods do not take an ICMP error for an answer.
    #[must_use]
    pub fn answered(&self) -> u64 {
        let summary = self.tables.get("summary").and_then(|rows| rows.get(0));
        let own = summary.and_then(|row| row.get("answered")).and_then(Value::as_u64);
        own.unwrap_or(self.counters.answered)
    }

    /// As it goes out: one object, members in a fixed order.
    #[must_use]
    pub fn to_json(&self) -> Value {
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
            counters["not_sent_reasons"] = Value::Object(reasons.collect());
        }
        json!({
            "record": FORM,
            "method": self.method,
            "version": self.version,
            "id": self.id,
            "source": self.source,
            "destination": self.destination,
            "start": timestamp(self.start_ns),
            "end": timestamp(self.end_ns),
            "status": self.status,
            "stop": self.stop,
            "error": self.error,
            "parameters": self.parameters,
            "counters": counters,
            "clock": {"tx": self.clock.0, "rx": self.clock.1},
            "tables": self.tables,
        })
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
