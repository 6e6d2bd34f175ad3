//! Chance that comes out the same every time.
//!
//! Every link and every balancer has a generator of its own, split off the seed of the simulation:
//! what happens on one link does not change what happens on another.
//!
//! Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A small generator; no secrets can be made with it.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(mix(seed ^ STEP))
    }

    /// A generator of its own for each `label`; this one stays as it is.
    #[must_use]
    pub fn split(&self, label: u64) -> Self {
        Self(mix(self.0 ^ mix(label.wrapping_add(STEP))))
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number below `bound`; 0 where that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True in so many cases of one; never at 0.0, always at 1.0.
    pub fn chance(&mut self, ratio: f64) -> bool {
        // Nothing is drawn for what cannot happen: a link without loss stays as it is.
        ratio > 0.0 && ((self.next_u64() >> 11) as f64) < ratio * (1u64 << 53) as f64
    }
}

/// Spreads a number over all its bits.
pub(crate) fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chance_of_a_fifth_comes_up_in_a_fifth_of_the_cases() {
        let mut random = Random::new(1);
        let hits = (0..10_000).filter(|_| random.chance(0.2)).count();
        assert!((1_900..2_100).contains(&hits), "{hits} of 10000");
        assert!(!random.chance(0.0));
        assert!(random.chance(1.0));
    }

    #[test]
    fn a_split_generator_does_not_depend_on_what_its_parent_drew() {
        let parent = Random::new(7);
        let mut first = parent.split(3);
        let mut drawn = parent.clone();
        drawn.next_u64();
        assert_eq!(first.next_u64(), parent.split(3).next_u64());
        assert_ne!(parent.split(3).next_u64(), parent.split(4).next_u64());
    }
}
