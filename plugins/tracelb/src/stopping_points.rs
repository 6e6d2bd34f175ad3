//! How many flows rule out one more next hop.
//!
//! After `n(k)` flows through a node that showed fewer than `k` next hops, that there are `k` is less
//! likely than the confidence allows, if the balancer shares flows out evenly.
//!
//! Source: Veitch, Augustin, Teixeira, Friedman, "Failure control in multipath route tracing", 2009.

/// Branching points of a graph over which a bound on the whole of it is shared out, as in the paper.
const BRANCHING_POINTS: f64 = 30.0;

/// The numbers of one run.
#[derive(Clone, Debug)]
pub(crate) struct StoppingPoints {
    failure: f64,
    /// More flows than the theory asks for, for balancers that do not share out evenly.
    factor: f64,
    /// `n(2)`, `n(3)`, …, as far as they were asked for.
    known: Vec<u32>,
}

impl StoppingPoints {
    /// `confidence` in per cent: of each decision, or of the whole graph.
    pub(crate) fn new(confidence: u8, whole_graph: bool, factor: f64) -> Self {
        let failure = 1.0 - f64::from(confidence) / 100.0;
        let failure =
            if whole_graph { 1.0 - (1.0 - failure).powf(1.0 / BRANCHING_POINTS) } else { failure };
        Self { failure, factor, known: Vec::new() }
    }

    /// Flows after which no next hop beside the `seen` ones is to be expected; at least two are always looked for.
    pub(crate) fn after(&mut self, seen: usize) -> usize {
        let hops = seen.max(1) + 1;
        while self.known.len() + 2 <= hops {
            let from = self.known.last().copied().unwrap_or(0);
            let next = smallest(self.known.len() + 2, from, self.failure);
            self.known.push(next);
        }
        (f64::from(self.known[hops - 2]) * self.factor).ceil() as usize
    }
}

/// Smallest number of flows above `from` that miss one of `hops` next hops with at most the probability `failure`.
fn smallest(hops: usize, from: u32, failure: f64) -> u32 {
    let mut flows = from + 1;
    while missed(hops, flows) > failure {
        flows += 1;
    }
    flows
}

/// Probability that `flows` even choices among `hops` leave at least one out (inclusion and exclusion).
///
/// Exact enough where it matters: the terms fall off quickly once it is below one half, and the
/// search for `n(k)` begins at `n(k - 1)`, where it is.
fn missed(hops: usize, flows: u32) -> f64 {
    let all = hops as f64;
    let (mut sum, mut binomial) = (0.0, 1.0);
    for left_out in 1..hops {
        let some = left_out as f64;
        binomial *= (all - some + 1.0) / some;
        let term = binomial * ((all - some) / all).powi(flows as i32);
        sum += if left_out % 2 == 1 { term } else { -term };
        if term < 1e-12 {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(confidence: u8, whole_graph: bool, hops: &[usize]) -> Vec<usize> {
        let mut points = StoppingPoints::new(confidence, whole_graph, 1.0);
        hops.iter().map(|hops| points.after(hops - 1)).collect()
    }

    #[test]
    fn the_numbers_are_those_of_the_published_tables() {
        let hops = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16, 20, 32, 64, 96];
        assert_eq!(
            numbers(95, false, &hops),
            [6, 11, 16, 21, 27, 33, 38, 44, 51, 57, 63, 90, 117, 203, 453, 720]
        );
        assert_eq!(
            numbers(99, false, &hops),
            [8, 15, 21, 28, 36, 43, 51, 58, 66, 74, 82, 115, 149, 255, 557, 876]
        );
    }

    #[test]
    fn a_bound_on_the_whole_graph_asks_for_more() {
        let hops: Vec<usize> = (2..=11).collect();
        assert_eq!(numbers(95, true, &hops), [11, 19, 27, 36, 45, 54, 64, 73, 83, 93]);
    }

    #[test]
    fn the_table_does_not_end_where_others_do() {
        let found = numbers(95, false, &[99, 100, 101, 200]);
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{found:?}");
    }
}
