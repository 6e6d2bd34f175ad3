//! The wall clock against the monotonic one: noticing, for the records, that somebody set it.
//!
//! Times of probes do not come from here; see `clock`.

use crate::{engine::State, output::ClockStep, tasks::Task};

/// The wall clock was set where it is off by so much from one turn to the next.
const STEP_NS: u64 = 1_000_000;
/// Steps that are remembered.
const MAX_STEPS: usize = 16;

impl<H> State<H> {
    /// Notes what time it is on the wall at `now`, and where that is not what it should be.
    pub(crate) fn compare_clocks(&mut self, wall_ns: u64) {
        let offset = wall_ns.wrapping_sub(self.now).cast_signed();
        let step_ns = offset.wrapping_sub(self.wall_offset_ns);
        // Nothing is known before the first turn.
        if self.wall_offset_ns != 0 && step_ns.unsigned_abs() >= STEP_NS {
            if self.clock_steps.len() == MAX_STEPS {
                self.clock_steps.pop_front();
            }
            self.clock_steps.push_back((self.now, ClockStep { wall_ns, step_ns }));
        }
        self.wall_offset_ns = offset;
    }

    /// Those that came while the task ran.
    pub(crate) fn steps_during(&self, task: &Task) -> Vec<ClockStep> {
        let since = self.clock_steps.iter().filter(|(at, _)| *at > task.started);
        since.map(|(_, step)| *step).collect()
    }
}
