//! A token bucket in one number: until when it has been paid for.
//!
//! A packet costs an interval of time; what is not used is saved up to a burst. The arithmetic is
//! that of the virtual scheduling algorithm of ITU-T I.371, annex A, in nanoseconds.

use crate::config::Rate;

/// Longest interval between two packets: 32 years, so that sums of a few never overflow.
const LONGEST_NS: f64 = 1e18;

/// How fast, and how much may be saved up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Limit {
    /// Nanoseconds that a packet costs; rounded up, so that the cap is never exceeded.
    interval: u64,
    /// Nanoseconds that may be saved up; one interval at least.
    saved: u64,
}

impl Limit {
    /// More than can leave.
    pub(crate) const NONE: Self = Self { interval: 1, saved: 1_000_000_000 };

    /// As an operator says it. What is not a number greater than 0 lets next to nothing through.
    pub(crate) fn new(rate: Rate) -> Self {
        let interval = (1e9 / rate.packets_per_second).ceil();
        let interval = if interval.is_nan() { LONGEST_NS } else { interval.clamp(1.0, LONGEST_NS) };
        let burst = if rate.burst.is_nan() { 1.0 } else { rate.burst.max(1.0) };
        let saved = (interval * burst).min(LONGEST_NS);
        Self { interval: interval as u64, saved: saved as u64 }
    }

    /// Of the whole host: what `saved` nanoseconds give, and one more.
    pub(crate) fn saving(packets_per_second: f64, saved: u64) -> Self {
        let one = Self::new(Rate { packets_per_second, burst: 1.0 });
        Self { saved: one.interval + saved, ..one }
    }

    /// Nanoseconds in which nothing is lost where nobody takes tokens.
    pub(crate) fn patience(&self) -> u64 {
        self.saved
    }

    /// Of a bucket that holds one token.
    pub(crate) fn one(&self, now: u64) -> u64 {
        now.saturating_sub(self.interval)
    }

    /// Tokens in the bucket.
    pub(crate) fn tokens(&self, paid: u64, now: u64) -> u64 {
        now.saturating_sub(paid.max(now.saturating_sub(self.saved))) / self.interval
    }

    /// Whether a packet may leave.
    pub(crate) fn has_token(&self, paid: u64, now: u64) -> bool {
        paid.saturating_add(self.interval) <= now
    }

    /// Whether the bucket is as if nothing had ever left.
    pub(crate) fn is_full(&self, paid: u64, now: u64) -> bool {
        paid.saturating_add(self.saved) <= now
    }

    /// After a packet.
    pub(crate) fn pay(&self, paid: u64, now: u64) -> u64 {
        paid.max(now.saturating_sub(self.saved)) + self.interval
    }

    /// After a packet that was paid for and stayed.
    pub(crate) fn pay_back(&self, paid: u64) -> u64 {
        paid.saturating_sub(self.interval)
    }

    /// When there will be `tokens` in the bucket.
    pub(crate) fn when(&self, paid: u64, tokens: u64) -> u64 {
        paid.saturating_add(self.interval.saturating_mul(tokens))
    }

    /// When there will be one more token than there is.
    pub(crate) fn next(&self, paid: u64, now: u64) -> u64 {
        let from = paid.max(now.saturating_sub(self.saved));
        self.when(from, self.tokens(from, now) + 1)
    }

    /// Keeps what `quantum` nanoseconds give, at most, or one token.
    pub(crate) fn rest(&self, paid: u64, now: u64, quantum: u64) -> u64 {
        paid.max(now.saturating_sub(self.interval.max(quantum)))
    }
}
