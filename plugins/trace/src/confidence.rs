//! How many probes rule out one more interface at a hop.
//!
//! After `n(k)` probes that showed `k - 1` interfaces, a hidden k-th one is less likely than the
//! confidence allows. With a constant flow that is about balancing packet by packet, and about
//! routers that answer from several addresses.
//!
//! Source: Augustin, Friedman, Teixeira, "Measuring load-balanced paths in the Internet", 2007.

/// Probes for 2, 3, … supposed interfaces at 95 %.
const AT_95: [u8; 24] = [
    6, 11, 16, 21, 27, 33, 38, 44, 51, 57, 63, 70, 76, 83, 90, 96, 103, 110, 117, 124, 131, 138,
    145, 152,
];
/// As [`AT_95`], at 99 %.
const AT_99: [u8; 24] = [
    8, 15, 21, 28, 36, 43, 51, 58, 66, 74, 82, 90, 98, 106, 115, 123, 132, 140, 149, 157, 166, 175,
    183, 192,
];

/// Probes that a hop needs which has shown `interfaces` so far. Beyond 24 interfaces no more are
/// looked for.
pub(crate) fn probes(confidence: u8, interfaces: usize) -> u8 {
    let table = if confidence >= 99 { &AT_99 } else { &AT_95 };
    // One interface: is there a second?
    let at = interfaces.saturating_sub(1).min(table.len() - 1);
    table[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probability that one of `k` equally likely interfaces stays unseen in `n` probes, all of them
    /// counted.
    fn unseen(k: u32, n: u32) -> f64 {
        let k = f64::from(k);
        let mut seen = vec![1.0];
        for _ in 0..n {
            let mut next = vec![0.0; (seen.len() + 1).min(k as usize + 1)];
            for (count, share) in seen.iter().enumerate() {
                let known = count as f64 / k;
                next[count] += share * known;
                if count + 1 < next.len() {
                    next[count + 1] += share * (1.0 - known);
                }
            }
            seen = next;
        }
        1.0 - seen.get(k as usize).copied().unwrap_or_default()
    }

    #[test]
    fn the_numbers_are_the_smallest_that_meet_the_confidence() {
        for (confidence, limit) in [(95, 0.05), (99, 0.01)] {
            for interfaces in 1..=24 {
                let probes = u32::from(probes(confidence, interfaces));
                let k = interfaces as u32 + 1;
                assert!(unseen(k, probes) <= limit, "{confidence} {k} {probes}");
                assert!(unseen(k, probes - 1) > limit, "{confidence} {k} {probes}");
            }
        }
    }
}
