//! Delays in figures.
//!
//! The median of n values is that with index n/2 in ascending order, counted from 0, and the mean of
//! whole microseconds has no fraction, as in the seed system; the 95th percentile is the nearest rank.

/// Of a set of delays, microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Statistics {
    pub(crate) min: u64,
    pub(crate) mean: u64,
    pub(crate) median: u64,
    pub(crate) p95: u64,
    pub(crate) max: u64,
    /// Of the whole population.
    pub(crate) stddev: f64,
}

impl Statistics {
    /// `None` where there are no delays. Puts them in order.
    pub(crate) fn of(delays_us: &mut [u32]) -> Option<Self> {
        delays_us.sort_unstable();
        let (min, max) = (*delays_us.first()?, *delays_us.last()?);
        let count = delays_us.len();
        let sum: u64 = delays_us.iter().map(|delay| u64::from(*delay)).sum();
        let mean = sum as f64 / count as f64;
        let squares: f64 = delays_us.iter().map(|delay| (f64::from(*delay) - mean).powi(2)).sum();
        let rank = (count * 95).div_ceil(100);
        Some(Self {
            min: min.into(),
            mean: sum / count as u64,
            median: delays_us[count / 2].into(),
            p95: delays_us[rank - 1].into(),
            max: max.into(),
            stddev: (squares / count as f64).sqrt(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_loses_its_fraction_and_the_median_is_the_upper_one() {
        let statistics = Statistics::of(&mut [30, 10, 20, 41]).unwrap();
        assert_eq!((statistics.min, statistics.max), (10, 41));
        assert_eq!((statistics.mean, statistics.median), (25, 30));
    }

    #[test]
    fn the_deviation_is_that_of_the_whole_population() {
        let statistics = Statistics::of(&mut [2, 4, 4, 4, 5, 5, 7, 9]).unwrap();
        assert!((statistics.stddev - 2.0).abs() < 1e-9);
    }

    #[test]
    fn of_a_hundred_the_95th_is_the_95th_percentile() {
        let mut delays: Vec<u32> = (1..=100).rev().collect();
        assert_eq!(Statistics::of(&mut delays).unwrap().p95, 95);
        assert_eq!(Statistics::of(&mut [7]).unwrap().p95, 7);
    }

    #[test]
    fn without_delays_there_are_no_figures() {
        assert_eq!(Statistics::of(&mut []), None);
    }
}
