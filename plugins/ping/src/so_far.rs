//! Round-trip times in the middle of a run: each answer costs the logarithm of their number, not a look at all of them.
//!
//! The summary at the end looks at all, once. Source: RFC 3393 (delay variation of consecutive packets).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

/// Answered probes whose neighbours may still be answered: as many as leave in the longest time to wait.
const MOST_RECENT: usize = 1 << 18;

/// What is known of the times so far, all in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct SoFar {
    max: u32,
    min: Option<u32>,
    /// The smaller half of the times.
    lower: BinaryHeap<u32>,
    /// The larger half, with one more where their number is odd.
    upper: BinaryHeap<Reverse<u32>>,
    /// By the number of the probe.
    recent: BTreeMap<u32, u32>,
    /// Probes that left one after the other and were both answered, and the sum of their differences.
    pairs: u32,
    differences: u64,
}

impl SoFar {
    /// Probe `number` was answered.
    pub(crate) fn answer(&mut self, number: u32, rtt_us: u32) {
        self.max = self.max.max(rtt_us);
        self.min = Some(self.min.map_or(rtt_us, |min| min.min(rtt_us)));
        self.lower.push(rtt_us);
        // The largest of the smaller ones goes over, and back where the larger ones are too many.
        self.upper.extend(self.lower.pop().map(Reverse));
        if self.upper.len() > self.lower.len() + 1 {
            self.lower.extend(self.upper.pop().map(|Reverse(time)| time));
        }
        for neighbour in [number.checked_sub(1), number.checked_add(1)].into_iter().flatten() {
            if let Some(other) = self.recent.get(&neighbour) {
                self.pairs += 1;
                self.differences += u64::from(other.abs_diff(rtt_us));
            }
        }
        self.recent.insert(number, rtt_us);
        if self.recent.len() > MOST_RECENT {
            self.recent.pop_first();
        }
    }

    pub(crate) fn min_us(&self) -> Option<u64> {
        self.min.map(u64::from)
    }

    pub(crate) fn max_us(&self) -> Option<u64> {
        self.min.map(|_| u64::from(self.max))
    }

    /// Element n/2 of the sorted times.
    pub(crate) fn median_us(&self) -> Option<u64> {
        self.upper.peek().map(|Reverse(time)| u64::from(*time))
    }

    /// Mean absolute difference of the times of neighbours.
    pub(crate) fn jitter_us(&self) -> Option<f64> {
        (self.pairs > 0).then(|| self.differences as f64 / f64::from(self.pairs))
    }
}
