//! Counts probes and what became of them.

use std::collections::BTreeSet;

use crate::{
    rows::{ReplyRow, SummaryRow},
    statistics::Statistics,
};

/// Counts so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    launched: u32,
    not_sent: u32,
    pub(crate) answered: u32,
    errors: u32,
    duplicates: u32,
    late: u32,
    /// Probes that something came back for, but no answer yet.
    without_answer: BTreeSet<u32>,
    /// Of answered probes.
    delays_us: Vec<u32>,
}

impl Tally {
    pub(crate) fn launched(&mut self) {
        self.launched += 1;
    }

    pub(crate) fn not_sent(&mut self) {
        self.not_sent += 1;
    }

    /// Counts a packet. Its row is put right: the host takes what came first for the answer, also
    /// where that was an error.
    pub(crate) fn packet(&mut self, row: &mut ReplyRow) {
        if !row.answered {
            self.errors += u32::from(row.error.is_none());
            if !row.duplicate {
                self.without_answer.insert(row.seq);
            }
            return;
        }
        row.duplicate &= !self.without_answer.remove(&row.seq);
        if row.duplicate {
            self.duplicates += 1;
        } else if row.late {
            self.late += 1;
        } else {
            self.answered += 1;
            // More than 71 minutes do not fit, and no probe waits that long.
            let delay = u32::try_from(row.rtt_us.unwrap_or_default()).unwrap_or(u32::MAX);
            self.delays_us.push(delay);
        }
    }

    /// The whole; `pending` are probes whose time is not over.
    pub(crate) fn summary(&mut self, pending: u32) -> SummaryRow {
        let sent = self.launched.saturating_sub(self.not_sent);
        let decided = sent.saturating_sub(pending);
        let lost = decided.saturating_sub(self.answered);
        let statistics = Statistics::of(&mut self.delays_us);
        SummaryRow {
            sent,
            not_sent: self.not_sent,
            answered: self.answered,
            errors: self.errors,
            lost,
            pending,
            loss: (decided > 0).then(|| f64::from(lost) / f64::from(decided)),
            duplicates: self.duplicates,
            late: self.late,
            min_us: statistics.map(|statistics| statistics.min),
            mean_us: statistics.map(|statistics| statistics.mean),
            median_us: statistics.map(|statistics| statistics.median),
            p95_us: statistics.map(|statistics| statistics.p95),
            max_us: statistics.map(|statistics| statistics.max),
            stddev_us: statistics.map(|statistics| statistics.stddev),
        }
    }
}

#[cfg(test)]
mod tests {
    use sonde_plugin_api::Time;

    use super::*;

    fn answer(seq: u32) -> ReplyRow {
        ReplyRow { answered: true, rtt_us: Some(500), ..ReplyRow::new(seq, Time(0), 64) }
    }

    #[test]
    fn an_answer_behind_an_error_is_the_first_answer() {
        let mut tally = Tally::default();
        tally.launched();
        tally.packet(&mut ReplyRow { answered: false, ..answer(0) });
        let mut row = ReplyRow { duplicate: true, ..answer(0) };
        tally.packet(&mut row);
        assert!(!row.duplicate);
        let summary = tally.summary(0);
        assert_eq!((summary.answered, summary.errors, summary.lost), (1, 1, 0));
    }

    #[test]
    fn what_is_pending_or_was_not_sent_is_not_lost() {
        let mut tally = Tally::default();
        for _ in 0..4 {
            tally.launched();
        }
        tally.not_sent();
        tally.packet(&mut answer(0));
        let summary = tally.summary(1);
        assert_eq!((summary.sent, summary.not_sent, summary.lost), (3, 1, 1));
        assert_eq!(summary.loss, Some(0.5));
    }

    #[test]
    fn without_a_probe_there_is_no_loss_ratio() {
        assert_eq!(Tally::default().summary(0).loss, None);
    }
}
