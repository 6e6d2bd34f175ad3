//! Numbers of a whole run.
//!
//! Source: RFC 2681 (round-trip delay), RFC 7680 (loss).

use crate::rows::SummaryRow;

/// What is counted on the way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statistics {
    pub(crate) sent: u32,
    pub(crate) errors: u32,
    pub(crate) lost: u32,
    pub(crate) not_sent: u32,
    pub(crate) duplicates: u32,
    pub(crate) late: u32,
    /// Round-trip times of the answered probes, microseconds.
    rtts_us: Vec<u64>,
}

impl Statistics {
    /// One more probe was answered.
    pub(crate) fn answer(&mut self, rtt_us: u64) {
        self.rtts_us.push(rtt_us);
    }

    /// Probes that were answered.
    pub(crate) fn answered(&self) -> u32 {
        self.rtts_us.len() as u32
    }

    /// The last row; `pending` probes are neither answered nor lost.
    pub(crate) fn summary(mut self, pending: u32) -> SummaryRow {
        let answered = self.answered();
        self.rtts_us.sort_unstable();
        let times = &self.rtts_us;
        let total: u64 = times.iter().sum();
        let mean = total as f64 / f64::from(answered.max(1));
        let square = |time: &u64| (*time as f64 - mean).powi(2);
        let variance = times.iter().map(square).sum::<f64>() / f64::from(answered.max(1));
        let known = answered + self.lost;
        let at = |index: usize| times.get(index).copied();
        SummaryRow {
            sent: self.sent,
            answered,
            errors: self.errors,
            lost: self.lost,
            pending,
            not_sent: self.not_sent,
            duplicates: self.duplicates,
            late: self.late,
            loss: (known > 0).then(|| f64::from(self.lost) / f64::from(known)),
            min_us: at(0),
            mean_us: total.checked_div(u64::from(answered)),
            median_us: at(times.len() / 2),
            p95_us: at(times.len() * 95 / 100),
            max_us: at(times.len().wrapping_sub(1)),
            stddev_us: (answered > 0).then(|| variance.sqrt()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_element_in_the_middle_and_the_mean_is_cut() {
        let mut statistics = Statistics { sent: 5, lost: 1, ..Statistics::default() };
        for rtt_us in [40, 10, 30, 21] {
            statistics.answer(rtt_us);
        }
        let row = statistics.summary(0);
        assert_eq!((row.min_us, row.median_us, row.max_us), (Some(10), Some(30), Some(40)));
        assert_eq!((row.mean_us, row.loss), (Some(25), Some(0.2)));
    }

    #[test]
    fn nothing_sent_is_not_all_lost() {
        let row = Statistics { not_sent: 3, ..Statistics::default() }.summary(0);
        assert_eq!((row.loss, row.min_us, row.mean_us, row.stddev_us), (None, None, None, None));
    }
}
