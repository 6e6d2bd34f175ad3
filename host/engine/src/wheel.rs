//! Timers: buckets of one millisecond, sorted only when they are due.
//!
//! Nothing is taken out one by one: what a timer was for may be gone when it fires, which the
//! receiver recognises by the generation in its name. [`Wheel::retain`] looks at all of them.

/// Nanoseconds of one bucket.
const TICK_NS: u64 = 1_000_000;
/// Buckets: what is due within four seconds lies in one of its own.
const BUCKETS: usize = 4096;

/// Timers with a payload each.
#[derive(Debug)]
pub(crate) struct Wheel<T> {
    buckets: Vec<Vec<(u64, T)>>,
    /// Room of buckets that are over, for those to come: few are in use at a time.
    spare: Vec<Vec<(u64, T)>>,
    /// Due later than the wheel reaches; looked through once a turn.
    far: Vec<(u64, T)>,
    /// Tick that is looked at next; all before are empty.
    tick: u64,
    count: usize,
    due: Vec<(u64, T)>,
    /// Nothing is due before.
    soonest: u64,
}

impl<T> Wheel<T> {
    /// Empty, beginning at `now`.
    pub(crate) fn new(now: u64) -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| Vec::new()).collect(),
            spare: Vec::new(),
            far: Vec::new(),
            tick: now / TICK_NS,
            count: 0,
            due: Vec::new(),
            soonest: u64::MAX,
        }
    }

    /// Fires at `at`, or at once where that is past.
    pub(crate) fn arm(&mut self, at: u64, timer: T) {
        self.count += 1;
        self.soonest = self.soonest.min(at);
        let tick = (at / TICK_NS).max(self.tick);
        if tick - self.tick >= BUCKETS as u64 {
            self.far.push((at, timer));
        } else {
            let bucket = &mut self.buckets[tick as usize % BUCKETS];
            if bucket.capacity() == 0
                && let Some(spare) = self.spare.pop()
            {
                *bucket = spare;
            }
            bucket.push((at, timer));
        }
    }

    /// Hands over what is due at `now`, in the order of time.
    pub(crate) fn fire(&mut self, now: u64, mut sink: impl FnMut(u64, T)) {
        let last = now / TICK_NS;
        if now < self.soonest {
            if self.count == 0 {
                self.tick = self.tick.max(last);
            }
            return;
        }
        let mut due = std::mem::take(&mut self.due);
        while self.tick <= last && self.count > 0 {
            let bucket = &mut self.buckets[self.tick as usize % BUCKETS];
            if self.tick < last {
                due.append(bucket);
                if bucket.capacity() > 0 {
                    self.spare.push(std::mem::take(bucket));
                }
            } else {
                due.extend(bucket.extract_if(.., |(at, _)| *at <= now));
                break;
            }
            self.tick += 1;
            if self.tick.is_multiple_of(BUCKETS as u64 / 2) {
                self.count -= self.far.len();
                for (at, timer) in std::mem::take(&mut self.far) {
                    self.arm(at, timer);
                }
            }
        }
        self.tick = self.tick.max(last);
        self.count -= due.len();
        due.sort_by_key(|(at, _)| *at);
        for (at, timer) in due.drain(..) {
            sink(at, timer);
        }
        self.due = due;
        self.soonest = self.find_soonest();
    }

    /// Timers that have not fired.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Forgets the timers that `keeps` does not want, of which it is told when they are due.
    pub(crate) fn retain(&mut self, keeps: impl Fn(u64, &T) -> bool) {
        for timers in self.buckets.iter_mut().chain([&mut self.far]) {
            timers.retain(|(at, timer)| keeps(*at, timer));
        }
        self.count = self.buckets.iter().map(Vec::len).sum::<usize>() + self.far.len();
    }

    /// When to come again; `None` where there is nothing to come for.
    pub(crate) fn next(&self) -> Option<u64> {
        (self.count > 0).then_some(self.soonest)
    }

    fn find_soonest(&self) -> u64 {
        if self.count == 0 {
            return u64::MAX;
        }
        let ticks = (self.tick..self.tick + BUCKETS as u64).take(1000);
        for tick in ticks {
            let bucket = &self.buckets[tick as usize % BUCKETS];
            if let Some(first) = bucket.iter().map(|(at, _)| *at).min() {
                return first;
            }
        }
        // Nothing within a second: look again then.
        (self.tick + 1000) * TICK_NS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_timer_fires_once_in_order_and_never_early(
            delays in prop::collection::vec(0u64..20_000_000_000, 1..200),
            steps in prop::collection::vec(1u64..700_000_000, 1..100),
        ) {
            let start = 7_000_000_123;
            let mut wheel = Wheel::new(start);
            for delay in &delays {
                wheel.arm(start + delay, start + delay);
            }
            let (mut now, mut fired) = (start, Vec::new());
            for step in steps.into_iter().chain([25_000_000_000]) {
                now += step;
                let mut last = 0;
                wheel.fire(now, |at, timer| {
                    assert_eq!(at, timer);
                    assert!(at <= now && at >= last);
                    last = at;
                    fired.push(timer);
                });
                if let Some(next) = wheel.next() {
                    assert!(next + TICK_NS > now);
                }
            }
            fired.sort_unstable();
            let mut expected: Vec<u64> = delays.iter().map(|delay| start + delay).collect();
            expected.sort_unstable();
            prop_assert_eq!(fired, expected);
            prop_assert_eq!(wheel.next(), None);
        }
    }

    #[test]
    fn what_is_not_retained_neither_fires_nor_counts() {
        let mut wheel = Wheel::new(0);
        (0..1000u64).for_each(|number| wheel.arm(number * 20_000_000, number));
        wheel.retain(|at, number| {
            assert_eq!(at, number * 20_000_000);
            number % 3 == 0
        });
        assert_eq!(wheel.len(), 334);
        let mut fired = Vec::new();
        wheel.fire(30_000_000_000, |_, number| fired.push(number));
        assert_eq!(fired, (0..1000).step_by(3).collect::<Vec<_>>());
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn room_follows_the_timers_that_wait_and_not_those_that_have_fired() {
        let mut wheel = Wheel::new(0);
        for round in 0..5000u64 {
            let at = round * TICK_NS;
            (0..100).for_each(|number| wheel.arm(at + 3 * TICK_NS, number));
            wheel.fire(at, |_, _| {});
        }
        let room = wheel.buckets.iter().chain(&wheel.spare).map(Vec::capacity).sum::<usize>();
        assert!(room <= 6 * 128, "{room} for {} timers", wheel.len());
    }

    #[test]
    fn a_timer_in_the_past_fires_at_once() {
        let mut wheel = Wheel::new(5_000_000_000);
        wheel.arm(1, "late");
        let mut fired = Vec::new();
        wheel.fire(5_000_000_000, |_, timer| fired.push(timer));
        assert_eq!(fired, ["late"]);
    }
}
