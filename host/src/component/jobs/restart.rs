//! What becomes of jobs when the host stops, and when it starts again.

use sonde_mplane::Exception;

use super::{
    Arc, Job, JobId, Jobs, Message, Offered, Order, Outcome, Schedule, Specification, Time, choose,
    size,
};

/// Before the number of repetitions that are missing.
const MISSING: &str = "repetitions without a result, since the host was stopped: ";
/// So many are counted.
const MOST_MISSING: usize = 10_000;

/// A job that an earlier process had accepted and not ended.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) job: JobId,
    pub(crate) accepted: Time,
    /// Nothing of it begins any more.
    pub(crate) interrupted: bool,
    pub(crate) specification: Specification,
    /// What its repetitions gave, oldest first.
    pub(crate) parts: Vec<Message>,
}

impl Jobs {
    /// Ends what runs, with what is known by then; nothing else begins. Jobs of which more is to come stay
    /// open: the next process takes them up again.
    pub(crate) fn stop(&mut self, now: Time, orders: &mut Vec<Order>) {
        self.timetable.clear();
        self.ready.clear();
        let mut all: Vec<JobId> = self.open.keys().cloned().collect();
        all.sort_unstable();
        for id in all {
            let Some(job) = self.open.get_mut(&id) else { continue };
            job.queued = 0;
            job.interrupted |= job.schedule.next().is_none();
            let running = job.running.iter();
            orders.extend(running.map(|it| Order::Interrupt { measurement: *it }));
            self.finish(now, &id, orders);
        }
    }

    /// Whether nothing is being measured, or about to be.
    pub(crate) fn is_idle(&self) -> bool {
        self.measurements.is_empty() && self.ready.is_empty()
    }

    /// These are offered from now on: jobs that were taken up again may have waited for them.
    pub(crate) fn offer(&mut self, now: Time, offered: &[Arc<Offered>]) {
        for job in self.open.values_mut().filter(|job| job.offered.is_none()) {
            job.offered = choose(&job.specification, offered, now).ok();
        }
    }

    /// Takes a job up again. What was missed in the meantime is not made up for, but told, once, in the log and among what
    /// the repetitions gave; where nothing is to come it ends with what there is.
    pub(crate) fn resume(
        &mut self,
        now: Time,
        left: Left,
        offered: &[Arc<Offered>],
        orders: &mut Vec<Order>,
    ) {
        let Left { job: id, accepted, interrupted, specification, parts } = left;
        let (when, verb) = (&specification.when, &specification.head.verb);
        let mut schedule = Schedule::resumed(when, verb, accepted, now);
        if interrupted {
            schedule.stop();
        }
        // What its network gives a host may come later.
        let offered = choose(&specification, offered, now).ok();
        let mut job = Job::new(specification, offered, schedule, accepted);
        job.interrupted = interrupted;
        for part in parts {
            let size = size(&part);
            job.take_part(part, size, self.limits.repetitions);
        }
        let mut missing = job.missing(now);
        let next = job.schedule.next();
        if next.is_none() && job.parts.is_empty() {
            missing = 0;
            let text = "the host was stopped before the measurement had ended".to_owned();
            job.add_part(&id, Outcome::Failed(text), self.limits.repetitions);
        }
        self.timetable.extend(next.map(|next| (next, id.clone())));
        self.open.insert(id.clone(), job);
        if missing == 0 {
            return self.finish(now, &id, orders);
        }
        let (peer, token) = (&*id.peer, &*id.token);
        tracing::warn!(
            peer,
            token,
            missing,
            "repetitions have no result, since the host was stopped"
        );
        self.add_part(now, &id, Outcome::Failed(format!("{MISSING}{missing}")), orders);
    }
}

impl Job {
    /// Repetitions that were to begin before `now` and that no part is of: they ran or were due while the host was
    /// stopped. Counted from the last result on, for other parts bear no time.
    fn missing(&self, now: Time) -> usize {
        let when = &self.specification.when;
        if self.interrupted || !when.is_repeated() {
            return 0;
        }
        let of_result = |part: &Message| match part {
            Message::Result(measured) => measured.when.start.time(),
            _ => None,
        };
        let since = self.parts.iter().rev().find_map(of_result);
        let behind = self.parts.iter().rev().take_while(|part| of_result(part).is_none());
        let told = |part: &Message| match part {
            Message::Exception(Exception { message, .. }) => {
                message.strip_prefix(MISSING).and_then(|count| count.parse().ok()).unwrap_or(1)
            }
            _ => 1,
        };
        let due = Schedule::repetitions(when, self.accepted, since, now, MOST_MISSING);
        due.saturating_sub(behind.map(told).sum())
    }
}
