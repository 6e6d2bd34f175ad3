//! Numbers of a whole run, and of what is known so far.
//!
//! Source: RFC 2681 (round-trip delay), RFC 7680 (loss), RFC 3393 (delay variation of consecutive
//! packets), RFC 4737 (reordering), Wilson, "Probable Inference, the Law of Succession, and
//! Statistical Inference", 1927 (interval of a ratio).

use std::time::Duration;

use crate::{
    rows::{InterimRow, SummaryRow},
    so_far::SoFar,
};

/// How many standard deviations of the normal distribution hold 95 % of it.
const Z_95: f64 = 1.959_963_984_540_054;

/// What is counted on the way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statistics {
    pub(crate) errors: u32,
    pub(crate) lost: u32,
    pub(crate) not_sent: u32,
    pub(crate) duplicates: u32,
    pub(crate) late: u32,
    pub(crate) reordered: u32,
    pub(crate) fragmented: u32,
    pub(crate) too_big_sent: u32,
    /// One behind the highest number of an answered probe.
    next_expected: u32,
    /// Answers that came to one of several probes, and nobody knows to which.
    pub(crate) untold: u32,
    /// Number and round-trip time, microseconds, of the other answered probes, in any order.
    samples: Vec<(u32, u32)>,
    /// Sum of their times, which are cut only then, nanoseconds.
    total_ns: u64,
    /// Of these, where anybody asks on the way.
    so_far: Option<Box<SoFar>>,
}

impl Statistics {
    /// Nothing yet. Only with `asked_on_the_way` there will be [`Statistics::interim`].
    pub(crate) fn new(asked_on_the_way: bool) -> Self {
        Self { so_far: asked_on_the_way.then(Box::default), ..Self::default() }
    }

    /// One more probe was answered, in time and for the first time; whether a later probe had been
    /// answered before (RFC 4737, section 3).
    pub(crate) fn answer(&mut self, number: u32, rtt: Duration) -> bool {
        // 71 minutes stand for more: no time-out is as long.
        let rtt_us = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
        self.total_ns =
            self.total_ns.saturating_add(u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX));
        self.samples.push((number, rtt_us));
        if let Some(so_far) = &mut self.so_far {
            so_far.answer(number, rtt_us);
        }
        let is_reordered = number < self.next_expected;
        self.reordered += u32::from(is_reordered);
        self.next_expected = self.next_expected.max(number.saturating_add(1));
        is_reordered
    }

    /// Probes that were answered.
    pub(crate) fn answered(&self) -> u32 {
        self.samples.len() as u32 + self.untold
    }

    /// Longest round-trip time.
    pub(crate) fn longest_us(&self) -> Option<u64> {
        self.samples.iter().map(|(_, rtt_us)| u64::from(*rtt_us)).max()
    }

    /// Probes of which it is known what became of them.
    fn known(&self) -> u32 {
        self.answered() + self.lost
    }

    fn mean_us(&self) -> Option<u64> {
        let mean_ns = self.total_ns.checked_div(self.samples.len() as u64)?;
        Some(mean_ns / 1000)
    }

    fn loss(&self) -> Option<f64> {
        (self.known() > 0).then(|| f64::from(self.lost) / f64::from(self.known()))
    }

    /// Mean absolute difference between the times of probes that left one after the other and were
    /// both answered.
    fn jitter_us(&mut self) -> Option<f64> {
        self.samples.sort_unstable();
        let pairs = self.samples.windows(2).filter(|pair| pair[0].0 + 1 == pair[1].0);
        let (count, total) = pairs.fold((0u32, 0u64), |(count, total), pair| {
            (count + 1, total + u64::from(pair[0].1.abs_diff(pair[1].1)))
        });
        (count > 0).then(|| total as f64 / f64::from(count))
    }

    /// What is known after `launched` probes, `pending` of which have no fate yet.
    pub(crate) fn interim(&self, launched: u32, pending: u32) -> InterimRow {
        let times = self.so_far.as_deref();
        InterimRow {
            sent: launched - self.not_sent,
            answered: self.answered(),
            lost: self.lost,
            pending,
            duplicates: self.duplicates,
            loss: self.loss(),
            min_us: times.and_then(SoFar::min_us),
            mean_us: self.mean_us(),
            median_us: times.and_then(SoFar::median_us),
            max_us: times.and_then(SoFar::max_us),
            jitter_us: times.and_then(SoFar::jitter_us),
        }
    }

    /// The last row but for what the numbers do not tell; `pending` probes are neither answered nor
    /// lost.
    pub(crate) fn summary(&mut self, launched: u32, pending: u32) -> SummaryRow {
        let jitter_us = self.jitter_us();
        self.samples.sort_unstable_by_key(|(_, rtt_us)| *rtt_us);
        let answered = self.answered();
        let times = || self.samples.iter().map(|(_, rtt_us)| u64::from(*rtt_us));
        let total: u64 = times().sum();
        let many = self.samples.len();
        let mean = total as f64 / many.max(1) as f64;
        let square = |time: u64| (time as f64 - mean).powi(2);
        let variance = times().map(square).sum::<f64>() / many.max(1) as f64;
        let at = |index: usize| self.samples.get(index).map(|(_, rtt_us)| u64::from(*rtt_us));
        let (loss_low, loss_high) = wilson(self.lost, self.known()).unzip();
        SummaryRow {
            sent: launched - self.not_sent,
            answered,
            errors: self.errors,
            lost: self.lost,
            pending,
            not_sent: self.not_sent,
            duplicates: self.duplicates,
            late: self.late,
            reordered: self.reordered,
            fragmented: self.fragmented,
            too_big_sent: self.too_big_sent,
            loss: self.loss(),
            loss_low,
            loss_high,
            min_us: at(0),
            mean_us: self.mean_us(),
            median_us: at(many / 2),
            p95_us: at(many * 95 / 100),
            p99_us: at(many * 99 / 100),
            max_us: at(many.wrapping_sub(1)),
            stddev_us: (many > 0).then(|| variance.sqrt()),
            jitter_us,
            ..SummaryRow::default()
        }
    }
}

/// Ends of the 95 % interval of a ratio of which `hits` of `all` were seen; none of nothing.
fn wilson(hits: u32, all: u32) -> Option<(f64, f64)> {
    if all == 0 {
        return None;
    }
    let (n, ratio, z2) = (f64::from(all), f64::from(hits) / f64::from(all), Z_95 * Z_95);
    let middle = (ratio + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let spread = ratio * (1.0 - ratio) / n + z2 / (4.0 * n * n);
    let half = Z_95 / (1.0 + z2 / n) * spread.sqrt();
    // At both ends the bound is exact; the arithmetic is not.
    let low = if hits == 0 { 0.0 } else { (middle - half).max(0.0) };
    let high = if hits == all { 1.0 } else { (middle + half).min(1.0) };
    Some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(rtts_us: impl IntoIterator<Item = (u32, u64)>) -> Statistics {
        let mut statistics = Statistics::new(true);
        for (number, rtt_us) in rtts_us {
            statistics.answer(number, Duration::from_micros(rtt_us));
        }
        statistics
    }

    #[test]
    fn the_median_is_the_element_in_the_middle_and_the_mean_is_cut() {
        let mut statistics = answered([(0, 40), (1, 10), (2, 30), (3, 21)]);
        statistics.lost = 1;
        let row = statistics.summary(5, 0);
        assert_eq!((row.min_us, row.median_us, row.max_us), (Some(10), Some(30), Some(40)));
        assert_eq!((row.mean_us, row.loss, row.sent), (Some(25), Some(0.2), 5));
    }

    #[test]
    fn the_mean_is_cut_once() {
        let mut statistics = Statistics::default();
        for (number, nanoseconds) in [(0, 42_900), (1, 42_900), (2, 43_300)] {
            statistics.answer(number, Duration::from_nanos(nanoseconds));
        }
        assert_eq!(statistics.summary(3, 0).mean_us, Some(43));
    }

    #[test]
    fn percentiles_are_elements_of_the_sorted_times() {
        let row = answered((0..1000).rev().map(|n| (n, u64::from(n)))).summary(1000, 0);
        assert_eq!((row.median_us, row.p95_us, row.p99_us), (Some(500), Some(950), Some(990)));
    }

    #[test]
    fn nothing_sent_is_not_all_lost() {
        let row = Statistics { not_sent: 3, ..Statistics::default() }.summary(3, 0);
        assert_eq!((row.loss, row.min_us, row.mean_us, row.stddev_us), (None, None, None, None));
        assert_eq!((row.loss_low, row.loss_high, row.jitter_us, row.sent), (None, None, None, 0));
    }

    #[test]
    fn jitter_is_the_mean_difference_of_consecutive_probes_alone() {
        // Between 1 and 3 one was lost; the order in which the answers came does not matter.
        let row = answered([(1, 130), (0, 100), (4, 110), (3, 50)]).summary(5, 0);
        assert_eq!(row.jitter_us, Some((30.0 + 60.0) / 2.0));
        assert_eq!(answered([(0, 5), (2, 9)]).summary(3, 0).jitter_us, None);
    }

    #[test]
    fn the_loss_has_the_interval_of_wilson() {
        let near = |(low, high): (f64, f64), expected: (f64, f64)| {
            (low - expected.0).abs() < 5e-5 && (high - expected.1).abs() < 5e-5
        };
        assert!(near(wilson(2, 10).unwrap(), (0.0567, 0.5098)), "{:?}", wilson(2, 10));
        assert!(
            near(wilson(2000, 10_000).unwrap(), (0.1923, 0.2080)),
            "{:?}",
            wilson(2000, 10_000)
        );
        assert_eq!(wilson(0, 4).unwrap().0, 0.0);
        assert_eq!(wilson(4, 4).unwrap().1, 1.0);
        assert_eq!(wilson(0, 0), None);
    }

    #[test]
    fn an_answer_behind_that_of_a_later_probe_is_reordered() {
        let mut statistics = Statistics::default();
        let reordered: Vec<bool> =
            [0, 2, 1, 3].map(|number| statistics.answer(number, Duration::from_micros(1))).to_vec();
        assert_eq!(reordered, [false, false, true, false]);
        assert_eq!(statistics.summary(4, 0).reordered, 1);
    }

    #[test]
    fn what_is_known_on_the_way_is_what_a_summary_would_say() {
        let mut statistics = Statistics::new(true);
        let mut random = 7_u64;
        // Every third one overtakes the next, every fifth one is lost.
        let numbers = (0..300).map(|number| if number % 3 == 0 { number + 1 } else { number });
        let mut seen = std::collections::BTreeSet::new();
        for number in numbers.chain((0..300).step_by(3)).filter(|number| number % 5 != 0) {
            if !seen.insert(number) {
                continue;
            }
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            statistics.answer(number, Duration::from_nanos(random >> 42));
            let interim = statistics.interim(300, 9);
            let whole = statistics.clone().summary(300, 9);
            let times = |row: &SummaryRow| (row.min_us, row.mean_us, row.median_us, row.max_us);
            let so_far = (interim.min_us, interim.mean_us, interim.median_us, interim.max_us);
            assert_eq!(so_far, times(&whole));
            assert_eq!(interim.jitter_us, whole.jitter_us);
            assert_eq!((interim.sent, interim.answered), (whole.sent, whole.answered));
        }
    }
}
