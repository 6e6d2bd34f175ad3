//! What rounds of one trace after the other tell of each address at each hop.

use std::collections::BTreeMap;

use sonde_plugin_api::prelude::*;

use crate::rows::{HopRow, StatisticsRow};

/// Sums over all rounds; what they take grows with the path, not with the rounds.
#[derive(Debug, Default)]
pub(crate) struct Statistics(BTreeMap<u8, OfHop>);

#[derive(Debug, Default)]
struct OfHop {
    sent: u64,
    answered: u64,
    addresses: BTreeMap<IpAddr, OfAddress>,
}

/// Running moments: Welford, "Note on a method for calculating corrected sums of squares", 1962.
#[derive(Debug, Default)]
struct OfAddress {
    count: u64,
    mean: f64,
    squares: f64,
    min: u64,
    max: u64,
    last: u64,
}

impl OfAddress {
    fn note(&mut self, rtt_us: u64) {
        self.count += 1;
        let rtt = rtt_us as f64;
        let before = rtt - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (rtt - self.mean);
        self.min = if self.count == 1 { rtt_us } else { self.min.min(rtt_us) };
        self.max = self.max.max(rtt_us);
        self.last = rtt_us;
    }
}

impl Statistics {
    /// Probes of a round that went to a hop.
    pub(crate) fn sent(&mut self, ttl: u8, probes: u8) {
        if probes > 0 {
            self.0.entry(ttl).or_default().sent += u64::from(probes);
        }
    }

    /// What became of a probe. A late answer is not one in time.
    pub(crate) fn note(&mut self, row: &HopRow) {
        if row.late {
            return;
        }
        let hop = self.0.entry(row.ttl).or_default();
        if let (Some(addr), Some(rtt_us)) = (row.addr, row.rtt_us) {
            hop.answered += 1;
            hop.addresses.entry(addr).or_default().note(rtt_us);
        }
    }

    /// A row for each address at each hop, or for a hop without one.
    pub(crate) fn rows(&self) -> Vec<StatisticsRow> {
        let mut rows = Vec::new();
        // One behind an end that answered late has answers, and no part in the path.
        for (ttl, hop) in self.0.iter().filter(|(_, hop)| hop.sent > 0) {
            let loss = hop.sent.saturating_sub(hop.answered) as f64 / hop.sent.max(1) as f64;
            let blank = StatisticsRow {
                ttl: *ttl,
                addr: None,
                sent: hop.sent,
                answered: 0,
                loss,
                min_us: None,
                mean_us: None,
                max_us: None,
                stddev_us: None,
                last_us: None,
            };
            if hop.addresses.is_empty() {
                rows.push(blank.clone());
            }
            for (addr, of) in &hop.addresses {
                rows.push(StatisticsRow {
                    addr: Some(*addr),
                    answered: of.count,
                    min_us: Some(of.min),
                    mean_us: Some(of.mean.round() as u64),
                    max_us: Some(of.max),
                    stddev_us: Some((of.squares / of.count as f64).sqrt()),
                    last_us: Some(of.last),
                    ..blank.clone()
                });
            }
        }
        rows
    }
}
