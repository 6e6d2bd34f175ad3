//! How soon a crashed worker comes back.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Crashes within [`WINDOW`] after which the worker comes back at once.
const FREE: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(60);

/// Counts crashes: the first five within a minute are free, each later one doubles the wait from
/// one second to a minute. A minute in service without a crash forgets all of them.
#[derive(Clone, Debug, Default)]
pub struct BackOff {
    /// Those of the last [`WINDOW`], at most [`FREE`] of them.
    recent: VecDeque<Instant>,
    doublings: u32,
    /// When the last wait was over.
    back: Option<Instant>,
}

impl BackOff {
    /// How long to wait after a crash at `now`; zero where it may come back at once.
    pub fn crashed(&mut self, now: Instant) -> Duration {
        if self.back.is_some_and(|back| now.saturating_duration_since(back) >= WINDOW) {
            *self = Self::default();
        }
        let wait = if self.is_free(now) {
            Duration::ZERO
        } else {
            // 2^6 s is more than the longest wait.
            let wait = Duration::from_secs(1 << self.doublings.min(6)).min(LONGEST);
            self.doublings = self.doublings.saturating_add(1);
            wait
        };
        self.back = now.checked_add(wait);
        wait
    }

    fn is_free(&mut self, now: Instant) -> bool {
        if self.doublings > 0 {
            return false;
        }
        self.recent.retain(|crash| now.saturating_duration_since(*crash) < WINDOW);
        if self.recent.len() == FREE {
            return false;
        }
        self.recent.push_back(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(crashes_at_s: &[u64]) -> Vec<u64> {
        let begin = Instant::now();
        let mut back_off = BackOff::default();
        crashes_at_s
            .iter()
            .map(|at| back_off.crashed(begin + Duration::from_secs(*at)).as_secs())
            .collect()
    }

    #[test]
    fn first_five_crashes_of_a_minute_are_free_and_later_ones_double_the_wait() {
        assert_eq!(
            waits(&[0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67, 127]),
            [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60]
        );
    }

    #[test]
    fn longest_wait_is_a_minute() {
        let at: Vec<u64> = (0..20).collect();
        assert_eq!(waits(&at).last(), Some(&60));
    }

    #[test]
    fn minute_in_service_forgets_earlier_crashes() {
        // The wait of one second does not count: 60 is too early, 62 + 60 is not.
        assert_eq!(waits(&[0, 0, 0, 0, 0, 0, 60, 122, 122]), [0, 0, 0, 0, 0, 1, 2, 0, 0]);
    }

    #[test]
    fn crashes_far_apart_are_free_for_ever() {
        let at: Vec<u64> = (0..50).map(|n| n * 13).collect();
        assert_eq!(waits(&at).iter().max(), Some(&0));
    }
}
