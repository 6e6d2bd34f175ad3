//! Jobs: what becomes of a specification, from its receipt to its one end.
//!
//! A state machine without clock, network and disk: the present is given, and what is to be done
//! comes back as [`Order`]s. Whoever runs it measures, keeps the ends, and delivers them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use sonde_mplane::{
    Envelope, Exception, MAX_OCTETS, MAX_VALUES, Message, Mismatch, Specification, Strictness,
    Time, Value as Wire, When,
};
use sonde_plugin_api::schema::Value;

mod restart;
mod turns;

use super::{
    offered::Offered,
    schedule::{Sampling, Schedule},
    settings::Limits,
};

pub(crate) use self::restart::Left;
use self::turns::{Turns, has_share};

/// Octets of the results of one repeated specification that are kept. In their envelope they are indented, and that
/// has to be a message.
const MOST_OCTETS: usize = MAX_OCTETS / 2;
/// Octets and values of one result, with room for what stands around its rows: nobody could read one that is larger, ourselves
/// included.
const MOST_OF_ONE: usize = MAX_OCTETS / 64 * 63;
const MOST_VALUES_OF_ONE: usize = MAX_VALUES / 64 * 63;
/// Ends that are remembered at most.
const MEMORY: usize = 100_000;
/// How far the end of a repeated measurement that runs lies ahead at least; clocks of clients may differ by it.
const AHEAD: Duration = Duration::from_secs(60);
/// How far the end of a repeated measurement that is over lies behind at least: more than clocks differ that are set by NTP.
const BEHIND: Duration = Duration::from_secs(1);

/// Who asked, and the token of what they asked for.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct JobId {
    /// A supervisor by its name in the configuration, or a client by its identity.
    pub peer: Arc<str>,
    /// As the specification has it, or as computed from it.
    pub token: Arc<str>,
}

impl JobId {
    pub(crate) fn new(peer: &str, token: &str) -> Self {
        Self { peer: peer.into(), token: token.into() }
    }
}

/// Something to be done.
#[derive(Debug)]
pub(crate) enum Order {
    /// Begin a measurement with these parameters.
    Start {
        measurement: u64,
        /// Who asked.
        peer: Arc<str>,
        offered: Arc<Offered>,
        values: BTreeMap<String, Value>,
    },
    /// Ask a measurement to finish.
    Interrupt { measurement: u64 },
    /// Keep what a repetition gave until its job ends: with it so many are kept, the last ones.
    Keep { job: JobId, part: Box<Message>, kept: usize },
    /// Keep this and deliver it. It comes once for every job.
    End(Box<End>),
}

/// How a job ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) job: JobId,
    /// Where the specification wants it, if it says so.
    pub(crate) link: Option<String>,
    /// Result, exception, or envelope of results.
    pub(crate) message: Message,
}

/// How a measurement ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// With rows, complete or until it was interrupted.
    Measured {
        /// When it began.
        from: Time,
        /// When it ended.
        to: Time,
        /// In the order of the capability's columns.
        rows: Vec<Vec<Wire>>,
    },
    /// It could not measure.
    Failed(String),
}

/// What is said to a specification.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A job was made of it.
    Accepted(Message),
    /// There is a job with that token already, and this is its receipt.
    Known(Message),
    /// There was a job with that token, and it has ended.
    Ended(JobId),
    /// It cannot be measured.
    Refused(Exception),
}

/// What is known of a job.
#[derive(Debug)]
pub(crate) enum State {
    /// It waits or runs: its receipt.
    Open(Box<Message>),
    /// Its end has been ordered.
    Ended,
    /// There is no such job.
    Unknown,
}

struct Job {
    specification: Specification,
    /// `None` where that is not offered since the host was started again.
    offered: Option<Arc<Offered>>,
    schedule: Schedule,
    accepted: Time,
    running: BTreeSet<u64>,
    /// Due, but there are too many measurements.
    queued: usize,
    /// Ends of repetitions, oldest first.
    parts: VecDeque<Message>,
    /// How much of a message each of them takes, octets.
    part_octets: VecDeque<usize>,
    interrupted: bool,
}

/// Every job.
#[derive(Default)]
pub(crate) struct Jobs {
    limits: Limits,
    open: HashMap<JobId, Job>,
    timetable: BTreeSet<(Time, JobId)>,
    ready: Turns,
    measurements: HashMap<u64, JobId>,
    next_measurement: u64,
    /// Since the desk was opened, at the last [`Jobs::tick`]: wall clocks are set, by decades where a host has no battery.
    uptime: Duration,
    /// When each ended, in uptime.
    ended: HashMap<JobId, Duration>,
    endings: VecDeque<JobId>,
    /// Ends that were forgotten since [`Jobs::take_forgotten`].
    forgotten: Vec<JobId>,
}

impl Jobs {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// How many jobs have not ended.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// Takes a specification on. `offered` is what the peer may use.
    pub(crate) fn specify(
        &mut self,
        now: Time,
        peer: &str,
        specification: &Specification,
        offered: &[Arc<Offered>],
    ) -> Answer {
        let id = JobId::new(peer, &specification.token());
        if let Some(job) = self.open.get(&id) {
            return Answer::Known(job.receipt(&id));
        }
        if self.ended.contains_key(&id) {
            return Answer::Ended(id);
        }
        match self.accept(now, &id, specification, offered) {
            Ok(receipt) => Answer::Accepted(receipt),
            Err(text) => {
                let token = Some(id.token.to_string());
                Answer::Refused(Exception { token, message: text })
            }
        }
    }

    fn accept(
        &mut self,
        now: Time,
        id: &JobId,
        specification: &Specification,
        offered: &[Arc<Offered>],
    ) -> Result<Message, String> {
        let offered = choose(specification, offered, now)?;
        let schedule = Schedule::of(&specification.when, &specification.head.verb, now)
            .map_err(|error| error.to_string())?;
        // Before it is promised: nothing can be refused later.
        if let Some(first) = schedule.clone().take_due(schedule.next().unwrap_or(now)) {
            values(&offered, specification, first)?;
        }
        let (open, most) = (self.open.len(), self.limits.specifications);
        let own = self.open.keys().filter(|other| other.peer == id.peer).count();
        if open >= most {
            return Err(format!(
                "busy: {open} specifications wait or run, accepted: at most {most}; try again later"
            ));
        }
        if !has_share(&id.peer, own, open, most) {
            return Err(format!(
                "busy: {own} specifications of yours wait or run, and others need room; try again later"
            ));
        }
        let next = schedule.next();
        let job = Job::new(specification.clone(), Some(offered), schedule, now);
        let receipt = job.receipt(id);
        self.timetable.extend(next.map(|next| (next, id.clone())));
        self.open.insert(id.clone(), job);
        Ok(receipt)
    }

    /// Takes back what was accepted a moment ago, because it could not be noted.
    pub(crate) fn abandon(&mut self, id: &JobId) {
        if let Some(job) = self.open.remove(id)
            && let Some(next) = job.schedule.next()
        {
            self.timetable.remove(&(next, id.clone()));
        }
    }

    /// Stops a job: running measurements finish with what they know, nothing else begins.
    pub(crate) fn interrupt(&mut self, now: Time, id: &JobId, orders: &mut Vec<Order>) {
        let Some(job) = self.open.get_mut(id) else { return };
        if let Some(next) = job.schedule.next() {
            self.timetable.remove(&(next, id.clone()));
        }
        job.schedule.stop();
        job.interrupted = true;
        if job.queued > 0 {
            job.queued = 0;
            self.ready.remove(id);
        }
        orders.extend(
            job.running.iter().map(|measurement| Order::Interrupt { measurement: *measurement }),
        );
        self.finish(now, id, orders);
    }

    /// What is known of a job.
    pub(crate) fn state(&self, id: &JobId) -> State {
        match self.open.get(id) {
            Some(job) => State::Open(Box::new(job.receipt(id))),
            None if self.ended.contains_key(id) => State::Ended,
            None => State::Unknown,
        }
    }

    /// The results of the repetitions so far, of a job that has some and has not ended.
    pub(crate) fn so_far(&self, id: &JobId, now: Time) -> Option<Message> {
        let job = self.open.get(id).filter(|job| !job.parts.is_empty())?;
        Some(job.envelope(id, now, false))
    }

    /// Notes the end of a job that an earlier process had.
    pub(crate) fn remember(&mut self, id: JobId) {
        if self.ended.insert(id.clone(), self.uptime).is_none() {
            self.endings.push_back(id);
        }
        while self.endings.len() > MEMORY {
            self.forget_oldest();
        }
    }

    /// Forgets an end: its token may be used again.
    pub(crate) fn forget(&mut self, id: &JobId) {
        self.ended.remove(id);
    }

    fn forget_oldest(&mut self) {
        if let Some(id) = self.endings.pop_front()
            && self.ended.remove(&id).is_some()
        {
            self.forgotten.push(id);
        }
    }

    /// Jobs whose ends nobody can ask for any more.
    pub(crate) fn take_forgotten(&mut self) -> Vec<JobId> {
        std::mem::take(&mut self.forgotten)
    }

    /// When [`Jobs::tick`] has something to do; `None` where only news can change that.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.timetable.first().map(|(time, _)| *time)
    }

    /// Begins what is due.
    pub(crate) fn tick(&mut self, now: Time, uptime: Duration, orders: &mut Vec<Order>) {
        self.uptime = uptime;
        while self.timetable.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, id)) = self.timetable.pop_first() else { break };
            let Some(job) = self.open.get_mut(&id) else { continue };
            let sampling = job.schedule.take_due(now);
            self.timetable.extend(job.schedule.next().map(|next| (next, id.clone())));
            let Some(sampling) = sampling else { continue };
            // A repetition that still waits for a free place when the next one is due is missed, and not made up for.
            if job.queued == 0 {
                job.queued += 1;
                self.ready.push(id, sampling);
            } else if let Some(before) = self.ready.find(&id) {
                *before = sampling;
            }
        }
        while let Some((id, sampling)) =
            self.ready.next(&self.measurements.values(), self.limits.measurements)
        {
            self.start(now, id, sampling, orders);
        }
        let memory = self.limits.memory;
        while let Some(id) = self.endings.front()
            && self.ended.get(id).is_none_or(|ended| uptime.saturating_sub(*ended) > memory)
        {
            self.forget_oldest();
        }
    }

    fn start(&mut self, now: Time, id: JobId, sampling: Sampling, orders: &mut Vec<Order>) {
        let Some(job) = self.open.get_mut(&id) else { return };
        job.queued -= 1;
        let Some(offered) = job.offered.clone() else {
            let label = job.specification.head.label();
            let text = format!("{label} is not offered since the host was started again");
            return self.add_part(now, &id, Outcome::Failed(text), orders);
        };
        match values(&offered, &job.specification, sampling) {
            Ok(values) => {
                let measurement = self.next_measurement;
                self.next_measurement += 1;
                job.running.insert(measurement);
                let peer = Arc::clone(&id.peer);
                self.measurements.insert(measurement, id);
                orders.push(Order::Start { measurement, peer, offered, values });
            }
            Err(text) => self.add_part(now, &id, Outcome::Failed(text), orders),
        }
    }

    /// Takes note of the end of a measurement.
    pub(crate) fn ended(
        &mut self,
        now: Time,
        measurement: u64,
        outcome: Outcome,
        orders: &mut Vec<Order>,
    ) {
        let Some(id) = self.measurements.remove(&measurement) else { return };
        let Some(job) = self.open.get_mut(&id) else { return };
        job.running.remove(&measurement);
        self.add_part(now, &id, outcome, orders);
    }

    fn add_part(&mut self, now: Time, id: &JobId, outcome: Outcome, orders: &mut Vec<Order>) {
        let Some(job) = self.open.get_mut(id) else { return };
        job.add_part(id, outcome, self.limits.repetitions);
        // At its end a job gives everything at once.
        if !job.is_over()
            && let Some(part) = job.parts.back()
        {
            let (part, kept) = (Box::new(part.clone()), job.parts.len());
            orders.push(Order::Keep { job: id.clone(), part, kept });
        }
        self.finish(now, id, orders);
    }

    /// Ends the job if nothing is to come any more.
    fn finish(&mut self, now: Time, id: &JobId, orders: &mut Vec<Order>) {
        if !self.open.get(id).is_some_and(Job::is_over) {
            return;
        }
        let Some(job) = self.open.remove(id) else { return };
        let link = job.specification.head.link().map(str::to_owned);
        let message = job.end(id, now);
        orders.push(Order::End(Box::new(End { job: id.clone(), link, message })));
        self.remember(id.clone());
    }
}

/// Octets and values of a part. Each row is a value, too.
fn size(part: &Message) -> (usize, usize) {
    let values = match part {
        Message::Result(measured) => measured.rows.iter().map(|row| row.len() + 1).sum(),
        _ => 0,
    };
    (part.to_json().len(), values)
}

/// In place of a result that no message holds.
fn too_large(id: &JobId, values: usize, octets: usize) -> Message {
    let message = format!(
        "the result has {values} values and takes {octets} octets, accepted: {MAX_VALUES} values and {MAX_OCTETS} octets \
         in a message; ask for fewer probes at a time, or for a capability with fewer columns"
    );
    Exception { token: Some(id.token.to_string()), message }.into()
}

impl Job {
    fn new(
        specification: Specification,
        offered: Option<Arc<Offered>>,
        schedule: Schedule,
        accepted: Time,
    ) -> Self {
        Self {
            specification,
            offered,
            schedule,
            accepted,
            running: BTreeSet::new(),
            queued: 0,
            parts: VecDeque::new(),
            part_octets: VecDeque::new(),
            interrupted: false,
        }
    }

    fn is_over(&self) -> bool {
        self.running.is_empty() && self.queued == 0 && self.schedule.next().is_none()
    }

    fn receipt(&self, id: &JobId) -> Message {
        let mut receipt = self.specification.receipt();
        receipt.set_token(&id.token);
        receipt
    }

    fn add_part(&mut self, id: &JobId, outcome: Outcome, most: usize) {
        let message: Message = match outcome {
            Outcome::Measured { from, to, rows } => {
                let mut measured = self.specification.result(When::measured(from, to), rows);
                // Rows are in the capability's order, and a specification may have another one.
                if let Some(offered) = &self.offered {
                    measured.head.results.clone_from(&offered.capability.head.results);
                }
                measured.head.token = Some(id.token.to_string());
                measured.into()
            }
            Outcome::Failed(message) => {
                Exception { token: Some(id.token.to_string()), message }.into()
            }
        };
        let (octets, values) = size(&message);
        match octets > MOST_OF_ONE || values > MOST_VALUES_OF_ONE {
            true => self.take_part(too_large(id, values, octets), (0, 0), most),
            false => self.take_part(message, (octets, values), most),
        }
    }

    /// One more part of so many octets and values, in place of the oldest ones where there are more than `most` or too many for
    /// a message.
    fn take_part(&mut self, message: Message, (octets, values): (usize, usize), most: usize) {
        // A message is limited in values, too.
        let octets = octets.max(values * MAX_OCTETS.div_ceil(MAX_VALUES));
        self.part_octets.push_back(octets);
        self.parts.push_back(message);
        let is_much = |octets: &VecDeque<usize>| octets.iter().sum::<usize>() > MOST_OCTETS;
        while self.parts.len() > most.max(1) || self.parts.len() > 1 && is_much(&self.part_octets) {
            self.parts.pop_front();
            self.part_octets.pop_front();
        }
    }

    /// The last word: of a job that is not repeated, what its measurement gave. An envelope without a
    /// result would keep the RI's relay waiting for ever, so there the last exception stands alone.
    fn end(mut self, id: &JobId, now: Time) -> Message {
        let has_result = self.parts.iter().any(|part| matches!(part, Message::Result(_)));
        if self.specification.when.is_repeated() && has_result {
            return self.envelope(id, now, true);
        }
        self.parts.pop_back().unwrap_or_else(|| {
            let message = "interrupted before anything was measured".to_owned();
            Exception { token: Some(id.token.to_string()), message }.into()
        })
    }

    /// `is_last` where no result will follow; until then the end of its scope lies ahead.
    fn envelope(&self, id: &JobId, now: Time, is_last: bool) -> Message {
        let when = &self.specification.when;
        let start = when.start.resolved(self.accepted).time().unwrap_or(self.accepted);
        let planned = when.end_time(self.accepted).filter(|_| !self.interrupted);
        let end = if is_last {
            // The RI's relay waits for ever where the end lies in its future.
            let past = now.minus(BEHIND);
            planned.map_or(past, |end| end.min(past))
        } else {
            // The RI's client asks no more where it does not.
            let ahead = now.plus(AHEAD);
            planned.map_or(ahead, |end| end.max(ahead))
        };
        let mut scope = When::measured(start, end.max(start));
        scope.period = when.period;
        Message::Envelope(Envelope {
            token: Some(id.token.to_string()),
            label: self.specification.head.label.clone(),
            when: Some(scope),
            contents: self.parts.iter().cloned().collect(),
        })
    }
}

fn values(
    offered: &Offered,
    specification: &Specification,
    sampling: Sampling,
) -> Result<BTreeMap<String, Value>, String> {
    let samples = sampling.samples.or_else(|| offered.most_samples());
    let period = sampling.period.map(|period| u64::try_from(period.as_nanos()).unwrap_or(u64::MAX));
    offered.parameters(specification, samples, period)
}

/// The capability that a specification is for: of those with its schema that of its label, else the
/// first that it fulfils.
fn choose(
    specification: &Specification,
    offered: &[Arc<Offered>],
    now: Time,
) -> Result<Arc<Offered>, String> {
    let schema = specification.schema_hash();
    let label = specification.head.label();
    let mut refusal: Option<Mismatch> = None;
    let mut candidates: Vec<&Arc<Offered>> =
        offered.iter().filter(|offered| offered.capability.schema_hash() == schema).collect();
    // Clients of the RI add a number to the label; of two that it begins with the longer one is meant.
    let meant = |offered: &Offered| {
        let own = offered.capability.head.label();
        if label.starts_with(own) { own.len() } else { 0 }
    };
    candidates.sort_by_key(|offered| Reverse(meant(offered)));
    for offered in candidates {
        match specification.fulfils(&offered.capability, Strictness::Constraints, now) {
            Ok(()) => return Ok(Arc::clone(offered)),
            Err(mismatch) => drop(refusal.get_or_insert(mismatch)),
        }
    }
    if let Some(mismatch) = refusal {
        return Err(mismatch.to_string());
    }
    // Nothing has its schema; where the label says what was meant, say what is wrong with it.
    let meant = offered.iter().filter(|offered| label.starts_with(offered.capability.head.label()));
    let meant = meant.max_by_key(|offered| offered.capability.head.label().len());
    match meant.map(|it| specification.fulfils(&it.capability, Strictness::Constraints, now)) {
        Some(Err(mismatch)) => Err(mismatch.to_string()),
        _ => Err(format!("No service registered for specification {label}")),
    }
}

#[cfg(test)]
mod tests;
