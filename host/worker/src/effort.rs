//! Whether a worker computes while it says that it has nothing to do.
//!
//! What it says is looked at every now and then; how long it was at work is judged by that. The times of the looks are
//! up to `process.rs`: they must have nothing to do with the times of its batches.

use std::time::{Duration, Instant};

/// What a worker has used since some time.
#[derive(Debug)]
pub(crate) struct Effort {
    /// When that was, and processor time that it had used by then.
    since: (Instant, Duration),
    looked: Instant,
    /// How long it said that it was at work.
    at_work: Duration,
}

impl Effort {
    /// Of a worker that has used so much processor time.
    pub(crate) fn since(now: Instant, used: Duration) -> Self {
        Self { since: (now, used), looked: now, at_work: Duration::ZERO }
    }

    /// A look. True once in each `period` in which, for half of it, the worker used its processor without saying that it
    /// was at work. `used` is asked once in each as well.
    pub(crate) fn is_excessive(
        &mut self,
        now: Instant,
        is_at_work: bool,
        period: Duration,
        used: impl FnOnce() -> Option<Duration>,
    ) -> bool {
        if is_at_work {
            self.at_work += now.saturating_duration_since(self.looked);
        }
        self.looked = now;
        let (since, before) = self.since;
        let time = now.saturating_duration_since(since);
        if time < period {
            return false;
        }
        let Some(used) = used() else { return false };
        let idle = used.saturating_sub(before).saturating_sub(self.at_work);
        *self = Self::since(now, used);
        idle > time / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    /// Looks at so many ms, and what of each is found at work, of a worker that computes so many ms in a second.
    fn is_found(looks: impl Iterator<Item = (u64, bool)>, per_second: u64) -> bool {
        let begin = Instant::now();
        let mut effort = Effort::since(begin, Duration::from_secs(7));
        looks.fold(false, |found, (ms, is_at_work)| {
            let used = Duration::from_secs(7) + Duration::from_millis(ms * per_second / 1000);
            let now = begin + Duration::from_millis(ms);
            effort.is_excessive(now, is_at_work, PERIOD, || Some(used)) || found
        })
    }

    #[test]
    fn who_spins_between_batches_is_found_and_who_is_at_work_is_not() {
        let looks = |work: u64| (1..=50).map(move |look| (look * 200, look % 10 < work));
        assert!(is_found(looks(0), 1000));
        assert!(is_found(looks(3), 1000));
        assert!(!is_found(looks(0), 450));
        assert!(!is_found(looks(6), 1000));
        assert!(!is_found(looks(9), 900));
    }

    #[test]
    fn a_rest_counts_for_as_long_as_it_is() {
        let busy = || (1..=10).map(|look| (look * 200, true));
        assert!(is_found(busy().chain([(12_000, false)]), 1000));
        assert!(!is_found(busy().chain([(12_000, false)]), 500));
        assert!(!is_found(busy(), 1000), "too early to say");
    }
}
