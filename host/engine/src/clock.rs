//! The engine's clock: the only place where probe times are read.
//!
//! All times of probes and answers are nanoseconds of the monotonic clock, which nobody can set.
//! The kernel stamps packets with the wall clock, so their stamps are converted with the difference
//! of both. When the wall clock is set, stamps from before and after need different differences;
//! the right one is the one that puts the packet where it can have been: not in the future, and
//! not long before we last looked.

use crate::sys::read_clock;

/// Two samples of the difference may differ by so much without the wall clock having been set.
const NOISE_NS: i64 = 50_000;
/// A packet that we have just been given arrived at most this long before the poll before the last:
/// the ring hands over what is 1 ms old, give or take the kernel's ticks.
const RING_DELAY_NS: u64 = 20_000_000;
/// For how long after a step stamps from before it may still come.
const BACKLOG_NS: u64 = 2_000_000_000;
/// A stamp may be ahead of our own reading by so much, for the error of the difference.
const AHEAD_NS: u64 = 20_000;
/// Attempts to sample both clocks without being interrupted between.
const ATTEMPTS: usize = 4;

/// Wall clock minus monotonic clock, nanoseconds; wraps, like the times it is used with.
type Difference = i64;

/// The clock of one engine thread.
#[derive(Debug)]
pub(crate) struct Clock {
    difference: Difference,
    /// What it was before the last step, and when the step was seen.
    before: Option<(Difference, u64)>,
    /// When we looked last and the time before that.
    polled: [u64; 2],
    steps: u64,
}

impl Clock {
    /// Reads both clocks.
    pub(crate) fn new() -> Self {
        let (now, difference) = sample(monotonic, realtime);
        Self { difference, before: None, polled: [now, now], steps: 0 }
    }

    /// Monotonic nanoseconds.
    pub(crate) fn now(&self) -> u64 {
        monotonic()
    }

    /// Nanoseconds since 1970 of a monotonic time.
    pub(crate) fn wall_of(&self, at: u64) -> u64 {
        at.wrapping_add_signed(self.difference)
    }

    /// Compares the clocks; to be called once in every turn of the engine's loop, before packets
    /// are taken from the ring. Returns the monotonic time.
    pub(crate) fn poll(&mut self) -> u64 {
        let (now, difference) = sample(monotonic, realtime);
        self.look(now, difference);
        now
    }

    /// The time of the last [`Clock::poll`].
    pub(crate) fn polled(&self) -> u64 {
        self.polled[1]
    }

    /// How often the wall clock was set since the start.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// Monotonic time of a packet that was just taken from the ring, from its kernel stamp.
    ///
    /// `None` where the wall clock was set and the stamp cannot be told from one before or after;
    /// the time of the poll is the best guess then.
    pub(crate) fn arrival(&self, realtime: u64) -> Option<u64> {
        self.monotonic_of(realtime, self.polled[0].saturating_sub(RING_DELAY_NS))
    }

    /// Monotonic time of a kernel stamp that cannot be from before `not_before`.
    ///
    /// `None` where that cannot be said, see [`Clock::arrival`].
    pub(crate) fn monotonic_of(&self, realtime: u64, not_before: u64) -> Option<u64> {
        let at = realtime.wrapping_add_signed(self.difference.wrapping_neg());
        let recent = self.before.filter(|(_, seen)| self.polled[1] < seen + BACKLOG_NS);
        match recent {
            // A stamp from before its window came out of a backlog.
            None if at <= self.polled[1] => {
                (at.saturating_add(BACKLOG_NS) >= not_before).then_some(at)
            }
            None => (at <= self.now() + AHEAD_NS).then_some(at),
            Some((before, _)) => {
                let other = realtime.wrapping_add_signed(before.wrapping_neg());
                let end = self.now() + AHEAD_NS;
                let fits = |at: u64| (not_before..=end).contains(&at);
                match (fits(at), fits(other)) {
                    (true, false) => Some(at),
                    (false, true) => Some(other),
                    // Both can be, or neither: an error as large as the step is worse than none.
                    _ => None,
                }
            }
        }
    }

    fn look(&mut self, now: u64, difference: Difference) {
        self.polled = [self.polled[1], now];
        let change = difference.wrapping_sub(self.difference);
        if change.unsigned_abs() > NOISE_NS.unsigned_abs() {
            self.before = Some((self.difference, now));
            self.steps += 1;
        }
        self.difference = difference;
    }
}

fn monotonic() -> u64 {
    read_clock(libc::CLOCK_MONOTONIC)
}

fn realtime() -> u64 {
    read_clock(libc::CLOCK_REALTIME)
}

/// The monotonic time and the difference; of several attempts the one with the least between the
/// readings, so that being interrupted does not look like a step.
fn sample(monotonic: impl Fn() -> u64, realtime: impl Fn() -> u64) -> (u64, Difference) {
    let mut best = (u64::MAX, 0, 0);
    for _ in 0..ATTEMPTS {
        let begin = monotonic();
        let wall = realtime();
        let end = monotonic();
        let width = end.saturating_sub(begin);
        if width < best.0 {
            let middle = begin + width / 2;
            best = (width, end, wall.wrapping_sub(middle).cast_signed());
        }
        if best.0 < 1_000 {
            break;
        }
    }
    (best.1, best.2)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const YEAR: i64 = 365 * 86_400 * 1_000_000_000;

    /// A clock that was polled at 1 s and 1.001 s, whose wall clock then was 1000 s.
    fn clock_at(now: u64) -> Clock {
        let difference = (999 * SECOND).cast_signed();
        Clock { difference, before: None, polled: [now - 1_000_000, now], steps: 0 }
    }

    #[test]
    fn stamps_of_a_quiet_clock_convert_exactly() {
        let clock = clock_at(monotonic());
        let at = clock.polled[1] - 300_000;
        assert_eq!(clock.arrival(clock.wall_of(at)), Some(at));
    }

    #[test]
    fn a_step_of_years_changes_no_time() {
        for step in [YEAR, -YEAR, 30 * SECOND.cast_signed(), -40_000_000] {
            let now = monotonic();
            let mut clock = clock_at(now);
            let (old, new) = (now - 300_000, now + 700_000);
            let before = clock.wall_of(old);
            let difference = clock.difference + step;
            clock.look(now + 1_000_000, difference);
            let after = clock.wall_of(new);
            // Real time has not moved on as far as the test pretends.
            while clock.now() < now + 1_000_000 {
                std::hint::spin_loop();
            }
            assert_eq!(clock.arrival(before), Some(old), "stamped before a step of {step}");
            assert_eq!(clock.arrival(after), Some(new), "stamped after a step of {step}");
            assert_eq!(clock.steps(), 1);
        }
    }

    #[test]
    fn a_step_of_ten_years_inside_a_batch_changes_no_round_trip_time() {
        for step in [10 * YEAR, -10 * YEAR] {
            let now = monotonic();
            let mut clock = clock_at(now);
            let departures = [now - 300_000, now - 200_000].map(|at| clock.wall_of(at));
            let first = clock.wall_of(now - 100_000);
            let difference = clock.difference + step;
            clock.look(now + 1_000_000, difference);
            let second = clock.wall_of(now + 500_000);
            while clock.now() < now + 1_000_000 {
                std::hint::spin_loop();
            }
            let left = departures.map(|stamp| clock.monotonic_of(stamp, now - 500_000).unwrap());
            let came = [first, second].map(|stamp| clock.arrival(stamp).unwrap());
            assert_eq!([came[0] - left[0], came[1] - left[1]], [200_000, 700_000], "{step}");
        }
    }

    #[test]
    fn a_stamp_that_could_be_from_either_side_of_a_step_is_refused() {
        let now = monotonic();
        let mut clock = clock_at(now);
        let before = clock.wall_of(now - 500_000);
        let difference = clock.difference - 300_000;
        clock.look(now + 100_000, difference);
        assert_eq!(clock.arrival(before), None);
    }

    #[test]
    fn noise_between_the_clocks_is_no_step() {
        let mut clock = clock_at(monotonic());
        let difference = clock.difference + 4_000;
        clock.look(clock.polled[1] + 1_000_000, difference);
        assert_eq!(clock.steps(), 0);
    }

    #[test]
    fn a_stamp_ahead_of_now_is_refused() {
        let clock = Clock::new();
        assert_eq!(clock.arrival(clock.wall_of(clock.now() + SECOND)), None);
    }

    #[test]
    fn an_interrupted_reading_is_repeated() {
        let ticks = Cell::new(0u64);
        let monotonic = || {
            ticks.set(ticks.get() + 1);
            // The second reading comes 3 ms after the first.
            if ticks.get() == 1 { 0 } else { 3_000_000 + ticks.get() * 100 }
        };
        let wall = || 1_003_000_000 + ticks.get() * 100;
        let (_, difference) = sample(monotonic, wall);
        assert!((difference - 1_000_000_000).abs() < 200, "{difference}");
    }
}
