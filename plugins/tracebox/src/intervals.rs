//! Between which hops a modification happened.
//!
//! A hop that did not quote the field says nothing of it, and so does not narrow the interval.

use std::net::IpAddr;

use crate::{
    compare::{Comparison, Modification, malformed},
    option_names::list_of,
    rows::{Change, IntervalRow, Meaning},
};

/// What a hop told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) ttl: u8,
    pub(crate) addr: IpAddr,
    pub(crate) comparison: Comparison,
}

impl Told {
    fn knows(&self, Modification { field, change, .. }: &Modification) -> bool {
        // Of options that are not quoted only their being unknown is noted.
        let list = list_of(field);
        let is_unknown = |it: &String| it == field || Some(it.as_str()) == list;
        // What was added may stand behind the point from which the list makes no sense.
        let is_behind = *change == Change::Added
            && list.is_some_and(|list| self.shows(&malformed(list), Change::Changed));
        !self.comparison.unknown.iter().any(is_unknown) && !is_behind
    }

    /// Its modification of `field`, if it saw one.
    fn seen(&self, field: &str) -> Option<&Modification> {
        self.comparison.modifications.iter().find(|it| it.field == field)
    }

    fn shows(&self, field: &str, change: Change) -> bool {
        let is_it = |it: &Modification| it.field == field && it.change == change;
        self.comparison.modifications.iter().any(is_it)
    }
}

/// Fields that follow from others, or differ from packet to packet; the source port where a translator has forgotten which
/// it had chosen, while a second translator shows in the source address too. All others are the same in every probe of a
/// run: where one is seen with a second value, another device has set it once more.
const VARYING: [&str; 10] = [
    "ID",
    "SPort",
    "Checksum",
    "Length",
    "PayloadLength",
    "IHL",
    "Offset",
    "TSOPT-TimeStampOption",
    "RecordRoute",
    "Timestamp",
];

/// Every modification that does not happen by nature, where it was seen first.
pub(crate) fn intervals(hops: &[Told]) -> Vec<IntervalRow> {
    let mut rows: Vec<IntervalRow> = Vec::new();
    for (at, hop) in hops.iter().enumerate() {
        for modification in hop.comparison.modifications.iter().filter(|it| !it.is_expected) {
            let Modification { field, change, sent, seen, .. } = modification;
            let is_set = VARYING.iter().all(|name| field.rsplit("::").next() != Some(name));
            let is_told = |row: &IntervalRow| {
                // What is sent otherwise each time, such as sequence numbers of IPv6, one device sets otherwise.
                let is_same = !is_set || row.seen == *seen || row.sent != *sent;
                row.field == *field && row.change == *change && is_same
            };
            if rows.iter().any(is_told) {
                continue;
            }
            let is_again = rows.iter().any(|row| row.field == *field && row.change == *change);
            // Before the first change a hop shows what was sent, before another one what that one left.
            let is_plain = |hop: &&Told| match is_again {
                true => hop.knows(modification) && hop.seen(field) != Some(modification),
                false => hop.knows(modification) && !hop.shows(field, *change),
            };
            let before = hops[..at].iter().rev().find(is_plain);
            rows.push(IntervalRow {
                field: field.clone(),
                change: *change,
                after_ttl: before.map_or(0, |hop| hop.ttl),
                after_addr: before.map(|hop| hop.addr),
                first_ttl: hop.ttl,
                first_addr: Some(hop.addr),
                meaning: meaning(modification, hop.comparison.tos),
                sent: modification.sent.clone(),
                seen: modification.seen.clone(),
                reverted: hops[at + 1..].iter().any(|hop| is_plain(&hop)),
            });
        }
    }
    rows
}

/// What a modification means, where its field tells.
fn meaning(modification: &Modification, tos: Option<(u8, u8)>) -> Option<Meaning> {
    let Modification { field, change, sent, seen, .. } = modification;
    let mark = |seen: u8| if seen == 0 { Meaning::Bleached } else { Meaning::Remarked };
    let name = field.rsplit("::").next().unwrap_or_default();
    match name {
        "ECT" | "CE" | "ECN" => tos.map(|(_, seen)| match seen & 3 {
            3 => Meaning::Congestion,
            seen => mark(seen),
        }),
        "DiffServicesCP" => tos.map(|(_, seen)| mark(seen >> 2)),
        "SourceAddr" | "DestAddr" | "SPort" | "DPort" => Some(Meaning::Translated),
        _ if list_of(field).is_none() => None,
        _ if *change == Change::Removed => Some(Meaning::Stripped),
        // Of one width, so their order is that of the numbers.
        "MSS" if *change == Change::Changed && seen < sent => Some(Meaning::Clamped),
        _ => None,
    }
}
