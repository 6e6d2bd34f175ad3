//! From the specification of a client to the result of a host.
//!
//! A job is the client's specification on one side and one of ours to the host on the other, with a
//! token of ours. What the host says comes back under the client's label and token. Pure: it
//! says what has to be durable before anybody is answered, and what hosts and clients said counts once it is.

mod job;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use sonde_mplane::{Capability, Exception, Message, Registries, Specification, Time, ValueError};
use ulid::Ulid;

use self::job::Job;
use crate::{
    above::is_above,
    clock::Step,
    roster::{NoHost, Offer},
    store::{Change, Progress, StoredJob},
};

/// Octets of specifications that one poll gives, and of one: less than a host reads in one message, also where all of
/// them are keys, and little enough to come through a slow line in time.
const PORTION_OCTETS: usize = 1 << 20;

/// What a job counts for at least: a small specification takes more in memory than it is long.
const LEAST_OCTETS: usize = 1 << 10;

/// Text for a token that stands for nothing, as the RI has it.
pub const UNKNOWN_JOB: &str = "Unknown job";

/// Why a specification is not taken on; the client reads this text.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotTaken {
    /// Nobody can do it.
    #[error(transparent)]
    NoHost(#[from] NoHost),
    /// Its host could not read it.
    #[error("{name}: {error}")]
    Value {
        /// Of the parameter.
        name: String,
        /// What is wrong.
        error: ValueError,
    },
    /// It would fill more than one poll.
    #[error("the specification has {octets} octets, accepted: at most {PORTION_OCTETS}")]
    TooLong {
        /// Of it, or of what its host would get.
        octets: usize,
    },
    /// Too much is open.
    #[error("busy: more than {most} octets of specifications {whose} are not redeemed")]
    Busy {
        /// Of one client or of all.
        whose: &'static str,
        /// That would be accepted.
        most: usize,
    },
    /// It is not on the disk.
    #[error("{0}")]
    Later(String),
}

/// What a client gets at once.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// This message.
    Message(Box<Message>),
    /// The outcome of a job, which is in the store.
    Outcome {
        /// Which job.
        number: u64,
    },
}

/// Octets of jobs that were not redeemed. They are in memory, twice; some 50,000 pings of one client.
#[derive(Debug)]
struct Most {
    of_client: usize,
    of_all: usize,
}

impl Default for Most {
    fn default() -> Self {
        Self { of_client: 64 << 20, of_all: 256 << 20 }
    }
}

/// Every job that was not redeemed.
#[derive(Debug, Default)]
pub struct Relay {
    most: Most,
    /// Of all jobs, and by client.
    octets: usize,
    octets_of: HashMap<String, usize>,
    jobs: BTreeMap<u64, Job>,
    by_client: HashMap<(String, String), u64>,
    by_host: HashMap<(String, String), u64>,
    /// By host: numbers of jobs that it has to be told of, or that they shall end.
    waiting: HashMap<String, BTreeSet<u64>>,
    /// By supervisor above: numbers of jobs whose outcome it has to be brought.
    ended: HashMap<String, BTreeSet<u64>>,
    next_number: u64,
}

impl Relay {
    /// With what the store remembers, but for jobs that are damaged there.
    #[must_use]
    pub fn restore(jobs: Vec<StoredJob>, next_number: u64, registries: &Registries) -> Self {
        let mut relay = Self { next_number, ..Self::default() };
        for stored in jobs {
            let read = |text: &str| match Message::from_json(text.as_bytes(), registries) {
                Ok(Message::Specification(specification)) => Ok(specification),
                Ok(other) => Err(format!("is {}, accepted: specification", other.kind())),
                Err(error) => Err(error.to_string()),
            };
            let both = read(&stored.specification)
                .and_then(|own| Ok((own, read(&stored.host_specification)?)));
            let (specification, forwarded) = match both {
                Ok(both) => both,
                Err(reason) => {
                    let StoredJob { number, client, token, .. } = &stored;
                    tracing::error!(number, client, token, reason, "a job in the store is damaged");
                    continue;
                }
            };
            let job = Job {
                client: stored.client,
                specification,
                host: stored.host,
                forwarded,
                octets: weight(&stored.specification, &stored.host_specification),
                progress: stored.progress,
                told: None,
                may_be_known: true,
                is_interrupted: stored.is_interrupted,
                since: of_ms(stored.since_ms),
                ended: stored.ended_ms.map(of_ms),
            };
            relay.insert(stored.number, job);
        }
        relay
    }

    fn insert(&mut self, number: u64, job: Job) {
        let client = (job.client.clone(), job.specification.token());
        let host = (job.host.clone(), job.forwarded.token());
        self.octets += job.octets;
        *self.octets_of.entry(job.client.clone()).or_default() += job.octets;
        self.by_client.insert(client, number);
        self.by_host.insert(host, number);
        let is_to_be_told = job.progress == Progress::Waiting
            || (job.is_interrupted && job.progress == Progress::Accepted);
        if is_to_be_told {
            self.waiting.entry(job.host.clone()).or_default().insert(number);
        }
        if job.progress == Progress::Ended && is_above(&job.client) {
            self.ended.entry(job.client.clone()).or_default().insert(number);
        }
        self.jobs.insert(number, job);
    }

    /// Jobs that have not come to their end.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.jobs.values().filter(|job| job.progress != Progress::Ended).count()
    }

    /// Jobs of a host that have not come to their end.
    #[must_use]
    pub fn unfinished_of(&self, host: &str) -> usize {
        let is_it = |job: &&Job| job.host == host && job.progress != Progress::Ended;
        self.jobs.values().filter(is_it).count()
    }

    /// Takes on a specification. The same token again is answered alike, and nothing is done twice.
    ///
    /// # Errors
    ///
    /// [`NotTaken`] where `choose` finds nobody, a value is none of its type, it is too long, or too many are open.
    pub fn take_on<'a>(
        &mut self,
        client: &str,
        mut specification: Specification,
        result_link: &str,
        now: Time,
        choose: impl FnOnce(&Specification) -> Result<&'a Offer, NoHost>,
    ) -> Result<(Answer, Vec<Change>), NotTaken> {
        let token = specification.token();
        specification.head.token = Some(token.clone());
        specification.head.link = None;
        if let Some(number) = self.by_client.get(&(client.to_owned(), token)) {
            return Ok((self.answer(*number), Vec::new()));
        }
        let offer = choose(&specification)?;
        let number = self.next_number;
        let mut forwarded = as_host_knows_it(&specification, &offer.capability, number)?;
        forwarded.head.token = Some(Ulid::new().to_string());
        forwarded.head.link = Some(result_link.to_owned());
        let host_specification = Message::from(forwarded.clone()).to_json();
        let own_specification = Message::from(specification.clone()).to_json();
        let octets = weight(&own_specification, &host_specification);
        if octets > PORTION_OCTETS {
            return Err(NotTaken::TooLong { octets });
        }
        let Most { of_client, of_all } = self.most;
        let own = self.octets_of.get(client).copied().unwrap_or_default();
        for (open, most, whose) in
            [(own, of_client, "of yours"), (self.octets, of_all, "of all clients")]
        {
            if open + octets > most {
                return Err(NotTaken::Busy { whose, most });
            }
        }
        self.next_number += 1;
        let stored = StoredJob {
            number,
            client: client.to_owned(),
            token: specification.token(),
            specification: own_specification,
            host: offer.host.clone(),
            host_token: forwarded.token(),
            host_specification,
            progress: Progress::Waiting,
            is_interrupted: false,
            since_ms: ms(now),
            ended_ms: None,
        };
        let receipt = specification.receipt();
        let job = Job {
            client: client.to_owned(),
            specification,
            host: offer.host.clone(),
            forwarded,
            octets,
            progress: Progress::Waiting,
            told: None,
            may_be_known: false,
            is_interrupted: false,
            since: now,
            ended: None,
        };
        self.insert(number, job);
        Ok((Answer::Message(Box::new(receipt)), vec![Change::Started(Box::new(stored))]))
    }

    /// Messages for a host that polls: specifications, then interrupts; a portion of them, those first that it was never
    /// told.
    ///
    /// One that the host does not acknowledge comes again after a while, and so does an interrupt of a job that goes
    /// on: the reply may have been lost. Hosts start a job once, whatever the number of specifications with its token.
    pub fn poll(&mut self, host: &str, now: Time) -> Vec<Message> {
        let Some(numbers) = self.waiting.get_mut(host) else { return Vec::new() };
        let jobs = &mut self.jobs;
        numbers.retain(|number| jobs.get(number).is_some_and(|job| job.is_to_be_told(now)));
        let told = |number: &u64| Some((jobs.get(number)?, *number));
        let due = numbers.iter().filter_map(told).filter(|(job, _)| job.is_due(now));
        let mut due: Vec<_> = due.map(|(job, number)| (job.told, number)).collect();
        due.sort_unstable();
        let (mut specifications, mut interrupts, mut octets) = (Vec::new(), Vec::new(), 0);
        for (_, number) in due {
            let Some(job) = jobs.get_mut(&number) else { continue };
            // One of an earlier version may be longer than that.
            if octets > 0 && octets + job.octets > PORTION_OCTETS {
                break;
            }
            octets += job.octets;
            job.told = Some(now);
            job.may_be_known = true;
            if job.progress == Progress::Accepted && job.is_interrupted {
                interrupts.push(job.forwarded.reference().interrupt());
            } else {
                specifications.push(Message::from(job.forwarded.clone()));
            }
        }
        specifications.append(&mut interrupts);
        specifications
    }

    /// After the clock was set.
    pub fn put_right(&mut self, step: Step) {
        for job in self.jobs.values_mut() {
            job.told = job.told.map(|told| step.of(told));
            job.ended = job.ended.map(|ended| step.of(ended));
        }
    }

    /// Sees to it that hosts are told again of jobs that are overdue.
    pub fn remind(&mut self, now: Time) {
        for (number, job) in self.jobs.iter().filter(|(_, job)| job.is_overdue(now)) {
            self.waiting.entry(job.host.clone()).or_default().insert(*number);
        }
    }

    /// A receipt, result, exception or envelope of a host. What belongs to no job of this host is let go.
    #[must_use]
    pub fn deliver(&self, host: &str, message: Message, now: Time) -> Vec<Change> {
        let number = message
            .token()
            .and_then(|token| self.by_host.get(&(host.to_owned(), token.to_owned())).copied());
        let Some(number) = number else {
            // The RI packs results for one delivery into an envelope without a token.
            let Message::Envelope(envelope) = message else { return Vec::new() };
            let contents = envelope.contents.into_iter();
            return contents.flat_map(|message| self.deliver(host, message, now)).collect();
        };
        let job = self.jobs.get(&number).filter(|job| job.progress != Progress::Ended);
        let Some(job) = job else { return Vec::new() };
        match message {
            Message::Receipt(_) if job.progress == Progress::Waiting => {
                vec![Change::Accepted { number }]
            }
            Message::Result(_) | Message::Exception(_) | Message::Envelope(_) => {
                let outcome = as_client_knows_it(message, &job.specification).to_json();
                vec![Change::Ended { number, outcome, at_ms: ms(now) }]
            }
            _ => Vec::new(),
        }
    }

    /// A client asks for the result.
    #[must_use]
    pub fn redeem(&self, client: &str, token: &str) -> Answer {
        match self.by_client.get(&(client.to_owned(), token.to_owned())) {
            Some(number) => self.answer(*number),
            None => unknown_job(token),
        }
    }

    /// A client wants a job to end. One that its host never heard of ends at once.
    #[must_use]
    pub fn interrupt(&mut self, client: &str, token: &str, now: Time) -> (Answer, Vec<Change>) {
        let Some(&number) = self.by_client.get(&(client.to_owned(), token.to_owned())) else {
            return (unknown_job(token), Vec::new());
        };
        let job = self.jobs.get_mut(&number);
        let job = job.filter(|it| it.progress != Progress::Ended && !it.is_interrupted);
        match job {
            Some(job) if !job.may_be_known => {
                // Nor shall it hear of it while that comes to the disk.
                job.told = Some(now);
                let why = "interrupted before its host was told";
                (Answer::Outcome { number }, vec![job.failed(number, why, now)])
            }
            Some(_) => (self.answer(number), vec![Change::Interrupted { number }]),
            None => (self.answer(number), Vec::new()),
        }
    }

    /// Whether a client has a job of this token.
    #[must_use]
    pub fn knows(&self, client: &str, token: &str) -> bool {
        self.by_client.contains_key(&(client.to_owned(), token.to_owned()))
    }

    /// Changes that could not be made durable did not happen: whoever caused them tries again.
    pub fn revert(&mut self, changes: &[Change]) {
        for change in changes {
            if let Change::Started(stored) = change {
                self.remove(stored.number);
            }
        }
    }

    /// Changes are durable, and count. The same one twice, of a host that repeated itself meanwhile, does no harm.
    pub fn settle(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Accepted { number } => self.move_on(*number, |job| {
                    job.progress = Progress::Accepted;
                }),
                Change::Interrupted { number } => self.move_on(*number, |job| {
                    job.is_interrupted = true;
                }),
                Change::Ended { number, at_ms, .. } => self.move_on(*number, |job| {
                    job.progress = Progress::Ended;
                    job.ended = Some(of_ms(*at_ms));
                }),
                Change::Redeemed { number } => self.remove(*number),
                Change::Started(_) | Change::Offered(_) | Change::Withdrawn { .. } => {}
            }
        }
    }

    /// Moves a job on that has not come to its end, and notes who has to be told of it next.
    fn move_on(&mut self, number: u64, change: impl FnOnce(&mut Job)) {
        let job = self.jobs.get_mut(&number).filter(|job| job.progress != Progress::Ended);
        let Some(job) = job else { return };
        change(job);
        match job.progress {
            // An interrupt waits for the receipt.
            Progress::Accepted => {
                job.told = None;
                if job.is_interrupted {
                    self.waiting.entry(job.host.clone()).or_default().insert(number);
                }
            }
            Progress::Ended if is_above(&job.client) => {
                self.ended.entry(job.client.clone()).or_default().insert(number);
            }
            Progress::Waiting | Progress::Ended => {}
        }
    }

    /// The client was told why a job failed: what is kept of it, to be told again, is not the client's to give back.
    pub fn told_failure(&mut self, number: u64) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        let (client, octets) = (job.client.clone(), std::mem::take(&mut job.octets));
        self.free(&client, octets);
    }

    fn free(&mut self, client: &str, octets: usize) {
        self.octets -= octets;
        if let Some(of_client) = self.octets_of.get_mut(client) {
            *of_client -= octets;
            if *of_client == 0 {
                self.octets_of.remove(client);
            }
        }
    }

    fn remove(&mut self, number: u64) {
        if let Some(job) = self.jobs.remove(&number) {
            if let Some(ended) = self.ended.get_mut(&job.client) {
                ended.remove(&number);
            }
            self.free(&job.client, job.octets);
            self.by_client.remove(&(job.client, job.specification.token()));
            self.by_host.remove(&(job.host, job.forwarded.token()));
        }
    }

    /// Jobs of a supervisor above whose outcome it has to be brought: numbers and tokens, oldest first, `most` at most.
    #[must_use]
    pub fn ends(&self, client: &str, most: usize) -> Vec<(u64, String)> {
        let numbers = self.ended.get(client).into_iter().flatten().take(most);
        let token = |number: &u64| Some((*number, self.jobs.get(number)?.specification.token()));
        numbers.filter_map(token).collect()
    }

    /// A supervisor above has an outcome, or will never take it.
    pub fn brought(&mut self, number: u64) -> Vec<Change> {
        self.remove(number);
        vec![Change::Redeemed { number }]
    }

    /// Outcomes that nobody asked for in `most` after the end are let go; they stay in the archive. Jobs that should have
    /// ended, and whose host was not `heard` of, each for as long, end.
    #[must_use]
    pub fn sweep(
        &self,
        now: Time,
        most: Duration,
        heard: impl Fn(&str) -> Option<Time>,
    ) -> Vec<Change> {
        let is_long_ago = |time: Time| now.since(time) > most;
        let changed = |(number, job): (&u64, &Job)| match job.progress {
            Progress::Ended => is_long_ago(job.ended.unwrap_or(job.since))
                .then_some(Change::Redeemed { number: *number }),
            Progress::Waiting | Progress::Accepted => {
                let end = job.forwarded.when.end_time(job.since);
                // A host that has begun what has no end goes on when it is back, unless it is told to stop.
                let is_untold = job.is_interrupted && job.progress == Progress::Waiting;
                let end = end.or(is_untold.then_some(job.since));
                let is_lost =
                    end.is_some_and(is_long_ago) && heard(&job.host).is_none_or(is_long_ago);
                is_lost.then(|| job.failed(*number, "nothing was heard of its host since", now))
            }
        };
        self.jobs.iter().filter_map(changed).collect()
    }

    fn answer(&self, number: u64) -> Answer {
        match self.jobs.get(&number) {
            Some(job) if job.progress == Progress::Ended => Answer::Outcome { number },
            Some(job) => Answer::Message(Box::new(job.specification.receipt())),
            None => unknown_job(""),
        }
    }
}

/// Octets that a job counts for.
fn weight(own: &str, forwarded: &str) -> usize {
    own.len().max(forwarded.len()).max(LEAST_OCTETS)
}

fn ms(time: Time) -> u64 {
    (time.unix_us() / 1000) as u64
}

fn of_ms(ms: u64) -> Time {
    Time::from_unix_us(ms as i64 * 1000)
}

fn unknown_job(token: &str) -> Answer {
    let token = (!token.is_empty()).then(|| token.to_owned());
    let exception = Exception { token, message: UNKNOWN_JOB.to_owned() };
    Answer::Message(Box::new(exception.into()))
}

/// The host's own capability with the client's scope and values. Nothing else that a client writes is a host's business:
/// verbs may mean something to it, and RI components end over metadata that they do not know, or values of another type.
fn as_host_knows_it(
    specification: &Specification,
    capability: &Capability,
    number: u64,
) -> Result<Specification, NotTaken> {
    let label = format!("{}-{number}", capability.head.label());
    let mut forwarded = capability.specification(&label, specification.when.clone());
    for field in &mut forwarded.parameters {
        let name = field.element.name();
        if let Some(value) = specification.value(name) {
            let readable = value.readable(field.element.primitive());
            field.value =
                readable.map_err(|error| NotTaken::Value { name: name.to_owned(), error })?;
        }
    }
    Ok(forwarded)
}

/// Under the client's label and token. Results inside an envelope keep their tokens.
fn as_client_knows_it(mut message: Message, specification: &Specification) -> Message {
    message.set_token(&specification.token());
    let label = specification.head.label.clone();
    match &mut message {
        Message::Envelope(envelope) => {
            envelope.label.clone_from(&label);
            for inner in &mut envelope.contents {
                if let Some(head) = inner.head_mut() {
                    head.label.clone_from(&label);
                }
            }
        }
        other => {
            if let Some(head) = other.head_mut() {
                head.label = label;
            }
        }
    }
    message
}

#[cfg(test)]
mod tests;
