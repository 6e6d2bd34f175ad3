//! The record of one measurement: one JSON object, the same on a terminal's pipe, in files and in
//! sinks.
//!
//! Column names are stable; `MethodDescriptor::record_schema` describes the whole.

use std::{net::IpAddr, sync::Arc};

use serde_json::{Map, Value as Json};
use sonde_engine::{ClockStep, Counters};
use sonde_plugin_api::{
    descriptor::RowWriter,
    json::{put, put_address, put_text, put_time},
    schema::{Reader, Scalar, Value},
};
use ulid::Ulid;

use crate::prepared::Plan;

/// What is known of a measurement that has ended.
///
/// Rows are kept as the plugin sent them and written straight from there: a campaign makes a
/// million of these.
#[derive(Clone, Debug)]
pub struct Record {
    pub(crate) plan: Arc<Plan>,
    /// Unique, ordered by time.
    pub id: Ulid,
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
    /// Of packets.
    pub counters: Counters,
    /// Packets that were not sent, by reason.
    pub not_sent: Vec<(String, u64)>,
    /// Who stamped departures and arrivals.
    pub clock: (&'static str, &'static str),
    /// Times that the wall clock was set meanwhile.
    pub clock_steps: Vec<ClockStep>,
    /// Packets that this host lost meanwhile; what is missing may be among them.
    pub host_drops: u64,
    pub(crate) rows: Rows,
}

/// Reason of packets that waited for their turn when nobody wanted them any more.
pub const WITHDRAWN: &str = "withdrawn";

/// Rows as they came, each checked: its head, then its octets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows(Vec<u8>);

/// Octets of a row's head: its length, wall time minus monotonic time, its table.
const HEAD: usize = 4 + 8 + 1;
/// Room for the rows of a small measurement, so that its memory is asked for once.
const FIRST_ROOM: usize = 480;

impl Rows {
    /// One more row, which is one of its table.
    pub(crate) fn push(&mut self, table: u8, octets: &[u8], wall_offset_ns: i64) {
        if self.0.is_empty() {
            self.0.reserve(FIRST_ROOM);
        }
        self.0.extend_from_slice(&(octets.len() as u32).to_le_bytes());
        self.0.extend_from_slice(&wall_offset_ns.to_le_bytes());
        self.0.push(table);
        self.0.extend_from_slice(octets);
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rows of one table, each with its wall time minus monotonic time.
    fn of(&self, table: usize) -> impl Iterator<Item = (&[u8], i64)> {
        let mut rest = self.0.as_slice();
        let all = std::iter::from_fn(move || {
            let (head, behind) = rest.split_first_chunk::<HEAD>()?;
            let (length, head) = head.split_first_chunk::<4>()?;
            let (offset, table) = head.split_first_chunk::<8>()?;
            let (octets, next) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = next;
            Some((usize::from(table[0]), octets, i64::from_le_bytes(*offset)))
        });
        all.filter(move |(of, ..)| *of == table).map(|(_, octets, offset)| (octets, offset))
    }
}

impl Record {
    /// Of what could not be measured: nothing was sent.
    pub(crate) fn unmeasured(
        plan: Arc<Plan>,
        id: Ulid,
        destination: Option<IpAddr>,
        now_ns: u64,
        error: String,
    ) -> Self {
        Self {
            plan,
            id,
            source: None,
            destination,
            start_ns: now_ns,
            end_ns: now_ns,
            status: "failed",
            stop: None,
            error: Some(error),
            counters: Counters::default(),
            not_sent: Vec::new(),
            clock: ("none", "none"),
            clock_steps: Vec::new(),
            host_drops: 0,
            rows: Rows::default(),
        }
    }

    /// Probes that were answered, in the method's own count where it has one: the column `answered`
    /// of a table `summary`. Some methods do not take an ICMP error for an answer.
    #[must_use]
    pub fn answered(&self) -> u64 {
        let own = || {
            let (table, column) = self.plan.answered?;
            let (octets, _) = self.rows.of(usize::from(table)).next()?;
            let mut reader = Reader::new(octets).ok()?;
            for _ in 0..column {
                if reader.scalar().ok()?.is_none() {
                    reader.value().ok()?;
                }
            }
            match reader.scalar().ok()?? {
                Scalar::U64(answered) => Some(answered),
                _ => None,
            }
        };
        own().unwrap_or(self.counters.answered)
    }

    /// As they were used, defaults included, but for the destination.
    #[must_use]
    pub fn parameters(&self) -> &Map<String, Json> {
        &self.plan.parameters
    }

    /// Every row with the name of its table, in the order of the tables.
    pub fn rows(&self) -> impl Iterator<Item = (&str, Map<String, Json>)> {
        self.plan.writers.iter().enumerate().flat_map(move |(index, writer)| {
            let table = writer.table();
            self.rows.of(index).filter_map(move |(octets, offset)| {
                let values = table.decode_row(octets).ok()?;
                Some((table.name.as_str(), table.row_json(&values, offset)))
            })
        })
    }

    /// The values of the rows of one table, and wall time minus monotonic time at the first.
    pub(crate) fn values_of(&self, table: usize) -> (Vec<Vec<Value>>, i64) {
        let offset = self.rows.of(table).next().map_or(0, |(_, offset)| offset);
        let described = self.plan.writers.get(table).map(RowWriter::table);
        let decoded = described.into_iter().flat_map(|described| {
            self.rows.of(table).filter_map(|(octets, _)| described.decode_row(octets).ok())
        });
        (decoded.collect(), offset)
    }

    /// Appends the record as one JSON object, members in a fixed order, without a line's end.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut text = [0; ulid::ULID_LEN];
        let identity = self.id.array_to_str(&mut text);
        out.extend_from_slice(&self.plan.head);
        out.extend_from_slice(b",\"id\":");
        put_text(identity, out);
        for (key, address) in
            [(&b",\"source\":"[..], self.source), (b",\"destination\":", self.destination)]
        {
            out.extend_from_slice(key);
            match address {
                Some(address) => put_address(address, out),
                None => out.extend_from_slice(b"null"),
            }
        }
        for (key, time) in [(&b",\"start\":"[..], self.start_ns), (b",\"end\":", self.end_ns)] {
            out.extend_from_slice(key);
            put_time(i128::from(time), out);
        }
        out.extend_from_slice(b",\"status\":");
        put_text(self.status, out);
        for (key, text) in [(&b",\"stop\":"[..], &self.stop), (b",\"error\":", &self.error)] {
            out.extend_from_slice(key);
            match text {
                Some(text) => put_text(text, out),
                None => out.extend_from_slice(b"null"),
            }
        }
        out.extend_from_slice(b",\"parameters\":");
        out.extend_from_slice(&self.plan.parameters_json);
        self.write_counters(out);
        write_clock(self.clock, &self.clock_steps, out);
        out.extend_from_slice(b",\"tables\":{");
        for (index, writer) in self.plan.writers.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            put_text(&writer.table().name, out);
            out.extend_from_slice(b":[");
            for (number, (octets, offset)) in self.rows.of(index).enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                writer.write(octets, offset, out).expect("rows are checked when they come");
            }
            out.push(b']');
        }
        out.extend_from_slice(b"}}");
    }

    fn write_counters(&self, out: &mut Vec<u8>) {
        let Counters { sent, not_sent, answered, errors, late, duplicates } = &self.counters;
        for (key, count) in [
            (&b",\"counters\":{\"sent\":"[..], sent),
            (b",\"not_sent\":", not_sent),
            (b",\"answered\":", answered),
            (b",\"errors\":", errors),
            (b",\"late\":", late),
            (b",\"duplicates\":", duplicates),
        ] {
            out.extend_from_slice(key);
            put(count, out);
        }
        if self.host_drops > 0 {
            out.extend_from_slice(b",\"host_drops\":");
            put(&self.host_drops, out);
        }
        if !self.not_sent.is_empty() {
            out.extend_from_slice(b",\"not_sent_reasons\":");
            let reasons = self.not_sent.iter();
            let reasons: Map<_, _> =
                reasons.map(|(reason, count)| (reason.clone(), Json::from(*count))).collect();
            put(&reasons, out);
        }
        out.push(b'}');
    }
}

/// Who stamped, and how the wall clock was set meanwhile.
fn write_clock(stamps: (&str, &str), steps: &[ClockStep], out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"clock\":{\"tx\":");
    put_text(stamps.0, out);
    out.extend_from_slice(b",\"rx\":");
    put_text(stamps.1, out);
    for (number, step) in steps.iter().enumerate() {
        out.extend_from_slice(if number == 0 { b",\"steps\":[" } else { b"," });
        out.extend_from_slice(b"{\"time\":");
        put_time(i128::from(step.wall_ns), out);
        out.extend_from_slice(b",\"step_us\":");
        put(&(step.step_ns / 1000), out);
        out.push(b'}');
    }
    if !steps.is_empty() {
        out.push(b']');
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_the_wall_clock_stand_with_who_stamped_where_there_were_some() {
        let step = |wall_ns, step_ns| ClockStep { wall_ns, step_ns };
        let steps =
            [step(1_000_000_000, -315_532_800_000_000_000), step(61_000_000_500, 2_500_999)];
        for (steps, expected) in [
            (&steps[..0], r#"{"x":0,"clock":{"tx":"user","rx":"kernel"}}"#),
            (
                &steps[..],
                r#"{"x":0,"clock":{"tx":"user","rx":"kernel","steps":[{"time":"1970-01-01T00:00:01.000000Z","step_us":-315532800000000},{"time":"1970-01-01T00:01:01.000000Z","step_us":2500}]}}"#,
            ),
        ] {
            let mut out = b"{\"x\":0".to_vec();
            write_clock(("user", "kernel"), steps, &mut out);
            out.push(b'}');
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
