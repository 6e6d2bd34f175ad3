//! What is known of every sample, and what it says of both ways.
//!
//! Every acknowledgement of a sample says the same, so which sample it is for is an estimate unless
//! all of them came: they are credited in order, each to the sample whose turn it most likely is. One that the network brings
//! twice would stand for another that was lost; over IPv4 it has the identification of the first.
//!
//! Source: Savage 1999, section 3.1; Wilson, "Probable inference", 1927 (the interval).

use std::num::NonZeroU64;

use sonde_plugin_api::prelude::*;

/// Standard normal quantile of a two-sided 95 % interval.
const Z95: f64 = 1.959_963_984_540_054;
/// What the network brings twice comes behind so few others. Servers that choose identifications at random seldom repeat one so
/// soon.
const RECENT: usize = 8;

/// When a sample left, if it did: what is kept of each while it is on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Departure(Option<NonZeroU64>);

impl Departure {
    pub(crate) fn at(time: Option<Time>) -> Self {
        Self(time.and_then(|time| NonZeroU64::new(time.0)))
    }
}

impl From<Departure> for Sample {
    fn from(departure: Departure) -> Self {
        Self { sent: departure.0.map(|at| Time(at.get())), ..Self::default() }
    }
}

/// One sample.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Sample {
    /// When it left; `None` where it did not.
    pub(crate) sent: Option<Time>,
    /// When the acknowledgement came that was credited to it.
    pub(crate) acknowledged: Option<Time>,
    /// The server says that it never came.
    pub(crate) is_hole: bool,
}

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) samples: Vec<Sample>,
    /// Acknowledgements of samples as they came, the first ones where there are very many.
    pub(crate) acks: Vec<Time>,
    /// IPv4 identifications of them, where they have one.
    pub(crate) identifications: Vec<u16>,
    /// Those of them that came while the hole was filled.
    pub(crate) late: u32,
    /// Segments with data, in spite of our window of 0.
    pub(crate) data: u32,
    pub(crate) retransmissions: u32,
    /// Samples lay behind every window that the server told.
    pub(crate) is_cut: bool,
    /// The server listed all that it missed.
    pub(crate) is_complete: bool,
}

impl Tally {
    /// Samples that left.
    pub(crate) fn sent(&self) -> usize {
        self.samples.iter().filter(|sample| sample.sent.is_some()).count()
    }

    /// Samples that left and never arrived.
    pub(crate) fn holes(&self) -> usize {
        self.samples.iter().filter(|sample| sample.sent.is_some() && sample.is_hole).count()
    }

    /// Samples that arrived.
    pub(crate) fn arrived(&self) -> usize {
        self.sent() - self.holes()
    }

    /// Acknowledgements that were lost on the way back: never fewer than none, where the network
    /// doubled some.
    pub(crate) fn lost_back(&self) -> usize {
        self.arrived().saturating_sub(self.acks.len())
    }

    /// Lengths of the runs of lost samples, in their order.
    pub(crate) fn bursts(&self) -> Vec<u32> {
        let sent: Vec<bool> =
            self.samples.iter().filter(|it| it.sent.is_some()).map(|it| it.is_hole).collect();
        let runs = sent.chunk_by(|one, other| one == other);
        runs.filter(|run| run[0]).map(|run| run.len() as u32).collect()
    }

    /// Leaves out what came twice; how many those were. Nothing is known of it where the server has no identification, or one for
    /// most of its packets, as RFC 6864 permits.
    pub(crate) fn settle(&mut self) -> Option<u32> {
        let numbers = &self.identifications;
        let is_new = |at: usize| !numbers[at.saturating_sub(RECENT)..at].contains(&numbers[at]);
        let new = (0..numbers.len()).filter(|at| is_new(*at)).count();
        if numbers.len() != self.acks.len() || new < 2 || new * 2 < numbers.len() {
            return None;
        }
        // The last ones are those that came late.
        let late = numbers.len() - self.late as usize;
        self.late = (late..numbers.len()).filter(|at| is_new(*at)).count() as u32;
        let mut at = 0;
        self.acks.retain(|_| {
            at += 1;
            is_new(at - 1)
        });
        Some((numbers.len() - new) as u32)
    }

    /// Credits acknowledgements to samples that arrived, in order; `rtt` is what one is expected to take. Of more
    /// acknowledgements than samples those are left out that came before the next sample left.
    pub(crate) fn credit(&mut self, rtt: Duration) {
        let samples = self.samples.iter_mut();
        let mut arrived: Vec<(Time, &mut Option<Time>)> = samples
            .filter(|sample| !sample.is_hole)
            .filter_map(|sample| Some((sample.sent?, &mut sample.acknowledged)))
            .collect();
        let mut surplus = self.acks.len().saturating_sub(arrived.len());
        let mut next = 0;
        for (number, ack) in self.acks.iter().enumerate() {
            match arrived.get(next) {
                None => break,
                Some((sent, _)) if surplus > 0 && ack < sent => {
                    surplus -= 1;
                    continue;
                }
                Some(_) => {}
            }
            // As many samples must stay as there are acknowledgements to come.
            let last = arrived.len() - (self.acks.len() - surplus - number);
            let off = |at: usize| {
                let due = arrived[at].0 + rtt;
                if *ack > due { ack.since(due) } else { due.since(*ack) }
            };
            // Samples left one after the other: behind the best one each is worse.
            let mut best = next;
            while best < last && off(best + 1) <= off(best) {
                best += 1;
            }
            *arrived[best].1 = Some(*ack);
            next = best + 1;
        }
    }

    /// Which acknowledgement is for which sample is not sure.
    pub(crate) fn is_estimate(&self) -> bool {
        let is_absurd =
            |sample: &Sample| sample.acknowledged.is_some_and(|at| Some(at) < sample.sent);
        self.acks.len() != self.arrived() || self.samples.iter().any(is_absurd)
    }
}

/// Lower and upper end of the 95 % interval of a ratio; `None` of nothing.
pub(crate) fn interval(part: usize, whole: usize) -> Option<[f64; 2]> {
    if whole == 0 {
        return None;
    }
    let (n, p) = (whole as f64, part as f64 / whole as f64);
    let spread = Z95 * Z95 / n;
    let middle = (p + spread / 2.0) / (1.0 + spread);
    let half = Z95 * (p * (1.0 - p) / n + spread / (4.0 * n)).sqrt() / (1.0 + spread);
    // At the ends exactly: rounding leaves a little more or less.
    let low = if part == 0 { 0.0 } else { (middle - half).max(0.0) };
    let high = if part == whole { 1.0 } else { (middle + half).min(1.0) };
    Some([low, high])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(holes: &[usize], acks_ms: &[u64]) -> Tally {
        let ms = |ms: u64| Time(ms * 1_000_000);
        let sample = |at: usize| Sample {
            sent: Some(ms(100 * at as u64)),
            is_hole: holes.contains(&at),
            ..Sample::default()
        };
        Tally {
            samples: (0..8).map(sample).collect(),
            acks: acks_ms.iter().map(|at| ms(*at)).collect(),
            is_complete: true,
            ..Tally::default()
        }
    }

    fn credited(tally: &mut Tally) -> Vec<usize> {
        tally.credit(Duration::from_millis(10));
        (0..8).filter(|at| tally.samples[*at].acknowledged.is_some()).collect()
    }

    #[test]
    fn acknowledgements_are_credited_to_whom_they_most_likely_are_for() {
        assert_eq!(credited(&mut tally(&[2], &[10, 110, 310, 410, 510, 610, 710])).len(), 7);
        assert_eq!(credited(&mut tally(&[2], &[110, 315, 710])), [1, 3, 7]);
        // Far too late for each: as many samples as acknowledgements all the same.
        assert_eq!(credited(&mut tally(&[], &[2000, 2001, 2002])), [5, 6, 7]);
        assert_eq!(credited(&mut tally(&[0, 1, 2, 3, 4, 5, 6], &[5, 6, 7])), [7]);
        assert!(credited(&mut tally(&[0, 1, 2, 3, 4, 5, 6, 7], &[5])).is_empty());
    }

    #[test]
    fn counts_and_bursts_leave_out_what_never_left() {
        let mut tally = tally(&[1, 2, 4, 7], &[1, 2, 3]);
        assert_eq!((tally.sent(), tally.holes(), tally.arrived(), tally.lost_back()), (8, 4, 4, 1));
        assert_eq!(tally.bursts(), [2, 1, 1]);
        tally.samples[2].sent = None;
        assert_eq!((tally.sent(), tally.holes(), tally.arrived()), (7, 3, 4));
        assert_eq!(tally.bursts(), [1, 1, 1]);
        tally.acks.resize(9, Time(0));
        assert_eq!(tally.lost_back(), 0);
    }

    #[test]
    fn the_interval_is_that_of_wilson() {
        let near = |found: Option<[f64; 2]>, wanted: [f64; 2]| {
            let found = found.unwrap();
            found.iter().zip(wanted).all(|(one, other)| (one - other).abs() < 5e-5)
        };
        assert!(near(interval(0, 20), [0.0, 0.16113]));
        assert!(near(interval(5, 50), [0.04347, 0.21361]));
        assert!(near(interval(20, 20), [0.83887, 1.0]));
        assert_eq!(interval(0, 0), None);
    }
}
