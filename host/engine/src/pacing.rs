//! How fast packets may leave.
//!
//! A token bucket that is looked at in quanta of a millisecond. One scope for now, the whole host;
//! what a packet belongs to beyond that is in [`Scope`], so that more buckets change nothing
//! outside of this file.

use std::net::IpAddr;

/// Sleeping and waking is expensive: no more often than this.
pub(crate) const QUANTUM_NS: u64 = 1_000_000;
/// What a bucket saves up while the engine is kept from its work, of a second.
const SAVED: f64 = 0.006;

/// What a packet belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Scope {
    /// The plugin.
    pub(crate) port: u32,
    /// Whom it is for.
    pub(crate) destination: IpAddr,
}

/// All buckets.
#[derive(Debug)]
pub(crate) struct Pacer {
    host: Bucket,
    /// Answers inside a conversation go first, with a cap of their own.
    immediate: Bucket,
}

/// The cap of what goes first, beside that of probes.
const IMMEDIATE: f64 = 1.0;

impl Pacer {
    /// `packets_per_second` for the whole host.
    pub(crate) fn new(packets_per_second: f64, now: u64) -> Self {
        let immediate = Bucket::new((packets_per_second * IMMEDIATE).max(100.0), now);
        Self { host: Bucket::new(packets_per_second, now), immediate }
    }

    /// Takes a token of every scope that the packet belongs to; false where one has none.
    pub(crate) fn take(&mut self, now: u64, _scope: &Scope, is_immediate: bool) -> bool {
        if is_immediate { self.immediate.take(now) } else { self.host.take(now) }
    }

    /// What was taken for a packet that then stayed here.
    pub(crate) fn give_back(&mut self, is_immediate: bool) {
        let bucket = if is_immediate { &mut self.immediate } else { &mut self.host };
        bucket.tokens = (bucket.tokens + 1.0).min(bucket.burst);
    }

    /// Nobody waits: what is saved up now would only be a burst later.
    pub(crate) fn rest(&mut self, now: u64) {
        self.host.rest(now);
        self.immediate.rest(now);
    }

    /// When to try again.
    pub(crate) fn next(&self, now: u64) -> u64 {
        self.host.next().max(now + QUANTUM_NS)
    }
}

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled: u64,
}

impl Bucket {
    fn new(per_second: f64, now: u64) -> Self {
        // One more, so that waking a little late loses nothing at low rates.
        let burst = per_second * SAVED + 1.0;
        Self { per_second, burst, tokens: 1.0, filled: now }
    }

    fn take(&mut self, now: u64) -> bool {
        self.fill(now);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }

    /// Keeps what a quantum gives, at most.
    fn rest(&mut self, now: u64) {
        self.fill(now);
        let quantum = self.per_second * QUANTUM_NS as f64 * 1e-9;
        self.tokens = self.tokens.min(quantum.max(1.0));
    }

    fn fill(&mut self, now: u64) {
        if now > self.filled {
            let gained = (now - self.filled) as f64 * 1e-9 * self.per_second;
            self.tokens = (self.tokens + gained).min(self.burst);
            self.filled = now;
        }
    }

    fn next(&self) -> u64 {
        let missing = (1.0 - self.tokens).max(0.0);
        self.filled + (missing / self.per_second * 1e9).ceil() as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SCOPE: Scope = Scope { port: 0, destination: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST) };

    proptest! {
        #[test]
        fn no_window_of_a_second_holds_more_than_the_rate_and_a_burst(
            rate in 1.0f64..50_000.0, steps in prop::collection::vec(1u64..30_000_000, 10..400),
        ) {
            let mut pacer = Pacer::new(rate, 0);
            let (mut now, mut sent) = (0, Vec::new());
            for step in steps {
                now += step;
                while pacer.take(now, &SCOPE, false) {
                    sent.push(now);
                }
            }
            let most = (rate * 1.01 + rate * SAVED + 2.0) as usize;
            let mut end = 0;
            for (from, begin) in sent.iter().enumerate() {
                while sent.get(end).is_some_and(|time| *time < begin + 1_000_000_000) {
                    end += 1;
                }
                prop_assert!(end - from <= most);
            }
        }
    }

    #[test]
    fn the_rate_is_kept_although_the_engine_wakes_late_now_and_then() {
        let mut pacer = Pacer::new(20_000.0, 0);
        let (mut now, mut sent) = (0u64, 0);
        while now < 1_000_000_000 {
            now += if now.is_multiple_of(50) { 1_050_000 } else { 5_000_001 };
            while pacer.take(now, &SCOPE, false) {
                sent += 1;
            }
        }
        assert!((19_800..=20_200).contains(&sent), "{sent}");
    }
}
