//! Timers: buckets of one millisecond, sorted only when they are due.
//!
//! Nothing is taken out one by one: what a timer was for may be gone when it is due, which the
//! receiver recognises by the generation in its name. No call takes long, however many timers there are and whenever they
//! are due: [`Wheel::pop`] sorts, and [`Wheel::sweep`] looks through, one portion of them.

/// Nanoseconds of one bucket.
const TICK_NS: u64 = 1_000_000;
/// Buckets: what is due within four seconds lies in one of its own.
const BUCKETS: usize = 4096;
/// What is due later is looked through within so many ticks.
const ROUND: usize = BUCKETS / 4;
/// Timers that are sorted, or looked through in search of those that are due, in one go.
const PORTION: usize = 1024;
/// Room of a bucket is kept for those to come where it is for no more timers.
const ROOM_KEPT: usize = 4 * PORTION;
/// Timers, most of them of answered probes, that are kept without a look; some 40 octets each.
pub(crate) const SWEEP_AT: usize = 1 << 20;
/// Timers that one call of [`Wheel::sweep`] looks at; more than come in a turn.
const SWEPT: usize = 4 * PORTION;

/// Timers with a payload each.
#[derive(Debug)]
pub(crate) struct Wheel<T> {
    /// None before the first timer.
    buckets: Vec<Vec<(u64, T)>>,
    /// Room of buckets that are over, for those to come: few are in use at a time.
    spare: Vec<Vec<(u64, T)>>,
    /// Due later than the wheel reaches, in no order.
    far: Vec<(u64, T)>,
    /// Which of them is looked at next.
    looked: usize,
    /// Tick that is looked at next; all before are empty.
    tick: u64,
    count: usize,
    /// Taken out of the buckets, and how many of them have been handed over.
    due: Vec<(u64, T)>,
    handed: usize,
    /// Nothing else is due before.
    soonest: u64,
    /// From so many timers on a sweep begins, and goes on to its end: the list that it is at, and the place in that.
    sweep_at: usize,
    swept: (usize, usize),
}

impl<T: Copy> Wheel<T> {
    /// Empty, beginning at `now`.
    pub(crate) fn new(now: u64) -> Self {
        Self {
            buckets: Vec::new(),
            spare: Vec::new(),
            far: Vec::new(),
            looked: 0,
            tick: now / TICK_NS,
            count: 0,
            due: Vec::new(),
            handed: 0,
            soonest: u64::MAX,
            sweep_at: SWEEP_AT,
            swept: (0, 0),
        }
    }

    /// Due at `at`, or at once where that is past.
    pub(crate) fn arm(&mut self, at: u64, timer: T) {
        self.count += 1;
        self.soonest = self.soonest.min(at);
        let tick = (at / TICK_NS).max(self.tick);
        if tick - self.tick >= BUCKETS as u64 {
            self.far.push((at, timer));
        } else {
            self.put(tick, (at, timer));
        }
    }

    fn put(&mut self, tick: u64, timer: (u64, T)) {
        if self.buckets.is_empty() {
            self.buckets.resize_with(BUCKETS, Vec::new);
        }
        let bucket = &mut self.buckets[tick as usize % BUCKETS];
        if bucket.capacity() == 0
            && let Some(spare) = self.spare.pop()
        {
            *bucket = spare;
        }
        bucket.push(timer);
    }

    /// Takes out the next of what is due at `now`, in the order of time; where more than a portion is due within one
    /// millisecond, so within each portion.
    #[inline]
    pub(crate) fn pop(&mut self, now: u64) -> Option<(u64, T)> {
        if self.handed == self.due.len() && !self.find_due(now) {
            return None;
        }
        if self.handed.is_multiple_of(PORTION) {
            let end = self.due.len().min(self.handed + PORTION);
            self.due[self.handed..end].sort_by_key(|(at, _)| *at);
        }
        let next = self.due[self.handed];
        self.handed += 1;
        self.count -= 1;
        Some(next)
    }

    /// Takes what is due next out of its bucket; false where nothing is.
    fn find_due(&mut self, now: u64) -> bool {
        let last = now / TICK_NS;
        if now < self.soonest {
            if self.count == 0 {
                self.tick = self.tick.max(last);
            }
            return false;
        }
        self.due.clear();
        self.due.shrink_to(ROOM_KEPT);
        self.handed = 0;
        while self.tick < last && self.count > 0 {
            if let Some(bucket) = self.buckets.get_mut(self.tick as usize % BUCKETS) {
                if bucket.capacity() > ROOM_KEPT {
                    self.due = std::mem::take(bucket);
                } else if bucket.capacity() > 0 {
                    // What has just been read is in the caches for the next that is filled.
                    self.due.append(bucket);
                    self.spare.push(std::mem::take(bucket));
                }
            }
            self.tick += 1;
            self.look_ahead();
            if !self.due.is_empty() {
                return true;
            }
        }
        self.tick = self.tick.max(last);
        // A bucket with more waits until all that is in it is due.
        if let Some(bucket) = self.buckets.get_mut(self.tick as usize % BUCKETS)
            && bucket.len() <= PORTION
        {
            self.due.extend(bucket.extract_if(.., |(at, _)| *at <= now));
        }
        self.soonest = self.find_soonest();
        !self.due.is_empty()
    }

    /// Puts those of a tick's share of the far timers in their buckets that the wheel reaches.
    fn look_ahead(&mut self) {
        for _ in 0..self.far.len().div_ceil(ROUND) {
            let Some((at, _)) = self.far.get(self.looked) else {
                self.looked = 0;
                continue;
            };
            let tick = (at / TICK_NS).max(self.tick);
            if tick - self.tick < BUCKETS as u64 {
                let timer = self.far.swap_remove(self.looked);
                self.put(tick, timer);
            } else {
                self.looked += 1;
            }
        }
    }

    /// Timers that have not been handed over.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Once there are many, forgets those that `keeps` does not want, of which it is told when they are due; a portion at a
    /// time.
    pub(crate) fn sweep(&mut self, keeps: impl Fn(u64, &T) -> bool) {
        if self.count < self.sweep_at && self.swept == (0, 0) {
            return;
        }
        let buckets = self.buckets.len();
        for _ in 0..SWEPT {
            let (list, place) = self.swept;
            let timers = self.buckets.get_mut(list).unwrap_or(&mut self.far);
            match timers.get(place) {
                Some((at, timer)) if keeps(*at, timer) => self.swept.1 += 1,
                Some(_) => {
                    timers.swap_remove(place);
                    self.count -= 1;
                }
                None if list < buckets => self.swept = (list + 1, 0),
                None => {
                    self.swept = (0, 0);
                    self.sweep_at = (2 * self.count).max(SWEEP_AT);
                    return;
                }
            }
        }
    }

    /// When to come again; `None` where there is nothing to come for.
    pub(crate) fn next(&self) -> Option<u64> {
        let waits = self.handed < self.due.len();
        (self.count > 0).then_some(if waits { 0 } else { self.soonest })
    }

    fn find_soonest(&self) -> u64 {
        if self.count == 0 {
            return u64::MAX;
        }
        let ticks = (self.tick..self.tick + BUCKETS as u64).take(1000);
        for tick in ticks {
            let Some(bucket) = self.buckets.get(tick as usize % BUCKETS) else { break };
            if bucket.len() > PORTION {
                return (tick + u64::from(tick == self.tick)) * TICK_NS;
            }
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
                while let Some((at, timer)) = wheel.pop(now) {
                    assert_eq!(at, timer);
                    assert!(at <= now && at >= last);
                    last = at;
                    fired.push(timer);
                }
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
    fn what_is_swept_neither_fires_nor_counts() {
        let mut wheel = Wheel::new(0);
        wheel.sweep_at = 1000;
        (0..1000u64).for_each(|number| wheel.arm(number * 20_000_000, number));
        for _ in 0..3 {
            wheel.sweep(|at, number| {
                assert_eq!(at, number * 20_000_000);
                number % 3 == 0
            });
        }
        assert_eq!(wheel.len(), 334);
        let fired: Vec<u64> = all(&mut wheel, 30_000_000_000).collect();
        assert_eq!(fired, (0..1000).step_by(3).collect::<Vec<_>>());
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn room_follows_the_timers_that_wait_and_not_those_that_have_fired() {
        let mut wheel = Wheel::new(0);
        for round in 0..5000u64 {
            let at = round * TICK_NS;
            (0..100).for_each(|number| wheel.arm(at + 3 * TICK_NS, number));
            assert!(all(&mut wheel, at).count() <= 100);
        }
        let room = wheel.buckets.iter().chain(&wheel.spare).map(Vec::capacity).sum::<usize>();
        assert!(room <= 6 * 128, "{room} for {} timers", wheel.len());
    }

    #[test]
    fn a_timer_in_the_past_fires_at_once() {
        let mut wheel = Wheel::new(5_000_000_000);
        wheel.arm(1, "late");
        assert_eq!(all(&mut wheel, 5_000_000_000).collect::<Vec<_>>(), ["late"]);
    }

    #[test]
    fn many_that_are_due_within_a_millisecond_come_when_it_is_over_and_one_at_a_time() {
        let mut wheel = Wheel::new(0);
        let at = |number: u64| 7 * TICK_NS + number % 1000;
        (0..10_000u64).for_each(|number| wheel.arm(at(number), number));
        wheel.arm(7 * TICK_NS + 5000, 10_000);
        assert_eq!(wheel.pop(7 * TICK_NS + 10_000), None);
        assert_eq!(wheel.next(), Some(8 * TICK_NS));
        assert_eq!(wheel.pop(8 * TICK_NS), Some((7 * TICK_NS, 0)));
        assert_eq!(wheel.next(), Some(0), "the others are due already");
        let mut fired: Vec<u64> = all(&mut wheel, 8 * TICK_NS).collect();
        fired.sort_unstable();
        assert_eq!(fired, (1..=10_000).collect::<Vec<_>>());
        assert_eq!(wheel.next(), None);
    }

    fn all<T: Copy>(wheel: &mut Wheel<T>, now: u64) -> impl Iterator<Item = T> {
        std::iter::from_fn(move || wheel.pop(now).map(|(_, timer)| timer))
    }
}
