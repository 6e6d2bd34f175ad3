//! Whether losses alone explain that nobody answered some flows.
//!
//! A flow that a later try than its first brings an answer to lost probes before. Tries up to the answer are
//! distributed geometrically, cut off at the last, so those flows tell the share of probes that is lost, whatever
//! became of flows that nobody answers. Pure arithmetic: what follows from it is decided in `explorer.rs`.
//!
//! Source: Chapman, Robson, "The analysis of a catch curve", 1960; Hoeffding, "Probability inequalities for sums of
//! bounded random variables", 1963.

use std::ops::Add;

/// What losses explain with less than this probability is somebody who is silent.
const UNLIKELY: f64 = 0.001;

/// Answers below which a share means nothing.
const ENOUGH: u32 = 6;

/// Flows that were answered.
#[derive(Clone, Copy, Debug, Default)]
struct Answered {
    /// By an earlier try than the last one there would have been.
    early: u32,
    /// By a later try than the first.
    late: u32,
}

impl Answered {
    /// The share of probes, or of their answers, that is lost; a half where nothing is known.
    fn lost(self) -> f64 {
        (f64::from(self.late + 1) / f64::from(self.early + 2)).min(1.0)
    }
}

/// What is known of the losses up to a TTL.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loss {
    quick: Answered,
    /// Apart from probes that follow each other quickly: a router that limits its errors leaves many of those unanswered.
    patient: Answered,
}

impl Loss {
    /// Notes an answer behind so many tries without one, out of so many that there would have been.
    pub(crate) fn note(&mut self, is_patient: bool, failed: u8, tries: u8) {
        let answered = if is_patient { &mut self.patient } else { &mut self.quick };
        answered.early += u32::from(failed + 1 < tries);
        answered.late += u32::from(failed > 0);
    }

    /// Whether there are enough answers to tell anything.
    pub(crate) fn is_known(self) -> bool {
        self.quick.early + self.quick.late + self.patient.early + self.patient.late >= ENOUGH
    }

    /// The share of flows that lose every one of so many tries.
    pub(crate) fn of_flows(self, quick: u8, patient: u8) -> f64 {
        let lost = self.quick.lost();
        lost.powi(quick.into()) * lost.min(self.patient.lost()).powi(patient.into())
    }
}

impl Add for Loss {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let sum = |one: Answered, other: Answered| Answered {
            early: one.early + other.early,
            late: one.late + other.late,
        };
        Self { quick: sum(self.quick, other.quick), patient: sum(self.patient, other.patient) }
    }
}

/// Whether so many flows out of all can have been lost, where such a share of flows is.
pub(crate) fn explains(lost: f64, silent: usize, all: usize) -> bool {
    let share = silent as f64 / all as f64;
    if share <= lost {
        return true;
    }
    // Hoeffding's first bound.
    let answered =
        if share < 1.0 { (1.0 - share) * ((1.0 - share) / (1.0 - lost)).ln() } else { 0.0 };
    (-(all as f64) * (share * (share / lost).ln() + answered)).exp() > UNLIKELY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_a_loss_where_many_are_and_a_router_where_few_are() {
        let mut calm = Loss::default();
        (0..6).for_each(|_| calm.note(false, 0, 2));
        assert!(!explains(calm.of_flows(2, 4), 1, 7));
        assert!(!explains(calm.of_flows(2, 4), 3, 6));
        let mut lossy = Loss::default();
        (0..6).for_each(|flow| lossy.note(false, flow % 2, 2));
        (0..6).for_each(|flow| lossy.note(true, flow % 3, 4));
        assert!(explains(lossy.of_flows(2, 4), 1, 7));
        assert!(!explains(lossy.of_flows(2, 4), 9, 15), "so many are none");
    }

    #[test]
    fn a_router_that_limits_its_errors_loses_nothing_of_what_is_asked_slowly() {
        let mut limited = Loss::default();
        (0..6).for_each(|_| limited.note(false, 1, 2));
        assert!(
            explains(limited.of_flows(2, 4), 1, 7),
            "nothing is known of probes that are sent slowly"
        );
        (0..12).for_each(|_| limited.note(true, 0, 4));
        assert!(!explains(limited.of_flows(2, 4), 2, 14));
    }
}
