//! Where specifications come in and ends go out: jobs, measurements and ledgers in one place, on one
//! thread.
//!
//! Nothing that was promised is forgotten: a receipt is given when the specification is on disk, an
//! end when the end is. Many of both are brought to disk together.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    path::Path,
    sync::Arc,
    time::Duration,
};

use sonde_mplane::{Exception, Message, Reference, Registries, Specification, Time};
use sonde_plugin_api::schema::Value;
use sonde_spool::{OpenError, Options};
use tokio::sync::oneshot;

use super::{
    jobs::{Answer, End, JobId, Jobs, Left, Order, Outcome, State},
    ledger::{CLIENTS, Ledger, Unfinished, ledger_of, others},
    offered::{Offered, Offers},
    request::{Reply, Request, is_client},
    settings::Limits,
};
use crate::{Configuration, RunId};

/// Who measures: the host, or a test.
pub trait Measurer {
    /// Begins a measurement for `peer`, a supervisor or a client by its name.
    ///
    /// # Errors
    ///
    /// A text for the client.
    fn start(
        &mut self,
        peer: &str,
        offered: &Offered,
        values: BTreeMap<String, Value>,
    ) -> Result<RunId, String>;

    /// From now on this says what methods may do, and who may be measured.
    fn obey(&mut self, configuration: Arc<Configuration>);

    /// Asks one to finish.
    fn interrupt(&mut self, run: RunId);

    /// Which have ended, waiting up to `limit` for it.
    fn ended(&mut self, limit: Duration) -> Vec<(RunId, Outcome)>;

    /// False where nothing can be measured any more.
    fn is_able(&self) -> bool {
        true
    }
}

/// Where ledgers are, and whose: those of the supervisors and that of all clients have a folder each.
#[derive(Clone, Copy, Debug)]
pub struct Ledgers<'a> {
    /// Theirs are below it.
    pub folder: &'a Path,
    /// How much room each may take.
    pub options: Options,
    /// Names in the configuration.
    pub supervisors: &'a [Arc<str>],
    /// Of the elements in what was noted.
    pub registries: &'a Registries,
}

/// From one word about a disk that takes nothing to the next.
const COMPLAIN_AGAIN: Duration = Duration::from_secs(60);

/// See the head of this file.
pub struct Desk<M> {
    measurer: M,
    jobs: Jobs,
    offers: Arc<Offers>,
    ledgers: BTreeMap<Arc<str>, Ledger>,
    runs: HashMap<RunId, (u64, Arc<Offered>)>,
    by_measurement: HashMap<u64, RunId>,
    /// Jobs of an earlier process, until something is offered.
    left: Vec<Left>,
    /// Ends that found no room in the ledger.
    owed: VecDeque<End>,
    /// When it was said last that the disk takes nothing.
    complained: Option<Time>,
    /// Given when their ledger is on disk.
    receipts: Vec<(Arc<str>, Reply<String>, String)>,
    waiters: HashMap<JobId, Vec<oneshot::Sender<String>>>,
    /// Whose end their peer was told, and not only what there was so far.
    told_ends: HashSet<JobId>,
    changed: HashSet<Arc<str>>,
    /// Called with the name of a supervisor for which there is an end.
    on_end: Box<dyn Fn(&str) + Send>,
    stopping: bool,
    when_over: Vec<Reply<()>>,
}

impl<M: Measurer> Desk<M> {
    /// Opens the ledgers. Jobs that an earlier process left without an end go on with the first [`Request::Offer`] where
    /// something of them is still to come, and end then where not.
    ///
    /// # Errors
    ///
    /// Where a ledger is in use or cannot be opened.
    pub fn open(
        measurer: M,
        limits: Limits,
        ledgers: &Ledgers<'_>,
        now: Time,
        on_end: Box<dyn Fn(&str) + Send>,
    ) -> Result<Self, OpenError> {
        let mut desk = Self {
            measurer,
            jobs: Jobs::new(limits),
            offers: Arc::default(),
            ledgers: BTreeMap::new(),
            runs: HashMap::new(),
            by_measurement: HashMap::new(),
            left: Vec::new(),
            owed: VecDeque::new(),
            complained: None,
            receipts: Vec::new(),
            waiters: HashMap::new(),
            told_ends: HashSet::new(),
            changed: HashSet::new(),
            on_end,
            stopping: false,
            when_over: Vec::new(),
        };
        let Ledgers { folder, options, supervisors, registries } = *ledgers;
        for left in others(folder, supervisors) {
            let folder = left.display();
            tracing::warn!(%folder, "kept for a supervisor that is not configured; nobody is brought what is in it");
        }
        for name in supervisors.iter().cloned().chain([CLIENTS.into()]) {
            let (ledger, recovery, unfinished) = Ledger::open(&folder.join(&*name), options)?;
            for damage in &recovery.damage {
                tracing::warn!(peer = &*name, "spool: {damage}");
            }
            for job in ledger.ended() {
                desk.jobs.remember(job.clone());
            }
            desk.ledgers.insert(name, ledger);
            for job in unfinished {
                match read(job, registries) {
                    Ok(left) => desk.left.push(left),
                    Err(end) => {
                        desk.jobs.remember(end.job.clone());
                        desk.owed.push_back(*end);
                    }
                }
            }
        }
        desk.keep_owed(now);
        desk.commit(now);
        Ok(desk)
    }

    /// Whether everything is over after [`Request::Stop`].
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stopping && self.jobs.is_idle() && self.owed.is_empty() && self.changed.is_empty()
    }

    /// When [`Desk::step`] has something to do by itself.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        self.jobs.next_due()
    }

    /// False where nothing can be measured any more.
    #[must_use]
    pub fn is_able(&self) -> bool {
        self.measurer.is_able()
    }

    /// Whether something is being measured, so that [`Desk::step`] should wait for it.
    #[must_use]
    pub fn is_measuring(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Does what a peer wants. Receipts are given by the next [`Desk::step`].
    pub fn handle(&mut self, now: Time, request: Request) {
        match request {
            Request::Specify { peer, specification, permits, reply } => {
                self.specify(now, peer, &specification, &*permits, reply);
            }
            Request::Interrupt { job, reply } => {
                let mut orders = Vec::new();
                let state = self.jobs.state(&job);
                self.jobs.interrupt(now, &job, &mut orders);
                self.obey(now, orders);
                let is_noted = self.note_interrupt(now, &job);
                match self.told(&job, state) {
                    Some(text) if is_noted => self.receipts.push((job.peer, reply, text)),
                    Some(text) => reply(text),
                    None => {}
                }
            }
            Request::Redeem { job, reply } => {
                // In answer to this alone: a supervisor takes whatever it is brought for the end.
                let so_far = self.jobs.so_far(&job, now).map(|message| message.to_json());
                let state = self.jobs.state(&job);
                let is_open = matches!(state, State::Open(_));
                match so_far.or_else(|| self.told(&job, state)) {
                    Some(text) if is_open => self.promise(job.peer, reply, text),
                    Some(text) => reply(text),
                    None => {}
                }
            }
            Request::Redeemed { job } => {
                // An envelope is confirmed in the same way where more is to come.
                if self.told_ends.contains(&job) {
                    self.discard(&job);
                    self.jobs.forget(&job);
                }
            }
            Request::Await { job, reply } => {
                match self.ledger(&job.peer).and_then(|it| it.of(&job)) {
                    Some(delivery) => drop(reply.send(delivery.body)),
                    None => {
                        let waiters = self.waiters.entry(job).or_default();
                        waiters.retain(|waiter| !waiter.is_closed());
                        waiters.push(reply);
                    }
                }
            }
            Request::Fetch { peer, most, reply } => {
                reply(self.ledger(&peer).map(|it| it.next(most)).unwrap_or_default());
            }
            Request::Delivered { peer, sequence } => {
                if let Some(ledger) = self.ledger(&peer) {
                    ledger.delivered(sequence);
                }
            }
            Request::Offer(offers) => {
                self.jobs.offer(now, &offers.offered);
                self.offers = offers;
                self.resume(now);
            }
            Request::Obey(configuration) => self.measurer.obey(configuration),
            Request::Stop(reply) => {
                self.stopping = true;
                self.when_over.push(reply);
                let mut orders = Vec::new();
                self.jobs.stop(now, &mut orders);
                let open = self.jobs.open();
                if open > 0 {
                    tracing::info!(
                        open,
                        "specifications of which more is to come go on with the next start"
                    );
                }
                self.obey(now, orders);
            }
        }
    }

    /// Begins what is due, takes in what has ended (waiting up to `limit` for it), and brings
    /// everything to disk. `uptime` is since the desk was opened, and no clock that is set.
    pub fn step(&mut self, now: Time, uptime: Duration, limit: Duration) {
        let mut orders = Vec::new();
        self.jobs.tick(now, uptime, &mut orders);
        self.forget();
        self.obey(now, orders);
        let mut orders = Vec::new();
        for (run, outcome) in self.measurer.ended(limit) {
            if let Some((measurement, _)) = self.runs.remove(&run) {
                self.by_measurement.remove(&measurement);
                self.jobs.ended(now, measurement, outcome, &mut orders);
            }
        }
        self.obey(now, orders);
        self.keep_owed(now);
        self.commit(now);
        if self.is_over() {
            for reply in std::mem::take(&mut self.when_over) {
                reply(());
            }
        }
    }

    /// Takes up what an earlier process left.
    fn resume(&mut self, now: Time) {
        let mut orders = Vec::new();
        for left in std::mem::take(&mut self.left) {
            self.jobs.resume(now, left, &self.offers.offered, &mut orders);
        }
        if !orders.is_empty() {
            self.obey(now, orders);
            self.keep_owed(now);
            self.commit(now);
        }
    }

    fn specify(
        &mut self,
        now: Time,
        peer: Arc<str>,
        specification: &Specification,
        permits: &dyn Fn(&str) -> bool,
        reply: Reply<String>,
    ) {
        let token = specification.token();
        let refused = |message: String| {
            Message::Exception(Exception { token: Some(token.clone()), message }).to_json()
        };
        let permitted: Vec<Arc<Offered>> = self
            .offers
            .offered
            .iter()
            .filter(|offered| permits(offered.capability.head.label()))
            .cloned()
            .collect();
        let job = JobId::new(&peer, &token);
        // Jobs forget their ends after a while, but what waits for a supervisor is there however long that takes.
        let answer = match self.has_end(&job) {
            true => Answer::Ended(job.clone()),
            false => self.jobs.specify(now, &peer, specification, &permitted),
        };
        match answer {
            Answer::Refused(exception) => reply(Message::Exception(exception).to_json()),
            Answer::Known(receipt) => self.promise(peer, reply, receipt.to_json()),
            Answer::Ended(job) => {
                // Supervisors are told the end by its delivery; a client may ask as often as it likes.
                let end = self.ledger(&job.peer).and_then(|ledger| ledger.of(&job));
                reply(match end {
                    Some(delivery) => delivery.body,
                    // An RI one asks so for an absolute scope that it has the end of, and would wait for ever.
                    None if !is_client(&job.peer) && !self.has_end(&job) => refused(
                        "measured before, and its result was delivered; ask for another scope"
                            .to_owned(),
                    ),
                    None => specification.receipt().to_json(),
                });
            }
            Answer::Accepted(receipt) => {
                let stopping = self.stopping;
                // The end of a job that was interrupted a moment ago is no sign of a full disk.
                self.keep_owed(now);
                let name = ledger_of(&peer);
                let has_debts = self.owed.iter().any(|end| ledger_of(&end.job.peer) == name);
                let text = Message::from(specification.clone()).to_json();
                let ledger = self.ledger(&peer);
                let noted = match ledger {
                    _ if stopping => Err("busy: the host is being stopped".to_owned()),
                    _ if has_debts => Err("busy: the spool has no room for results".to_owned()),
                    None => Err("the host keeps no results for this peer".to_owned()),
                    Some(ledger) => ledger
                        .has_room()
                        .and_then(|()| ledger.accept(&job, now, &text))
                        .map_err(|error| format!("busy: {error}")),
                };
                match noted {
                    Ok(()) => {
                        self.changed.insert(Arc::clone(&peer));
                        self.receipts.push((peer, reply, receipt.to_json()));
                    }
                    Err(text) => {
                        self.jobs.abandon(&job);
                        reply(refused(text));
                    }
                }
            }
        }
    }

    /// Says something about a job that is open: when it is on disk, which may not be so yet.
    fn promise(&mut self, peer: Arc<str>, reply: Reply<String>, text: String) {
        match self.changed.contains(&peer) {
            true => self.receipts.push((peer, reply, text)),
            false => reply(text),
        }
    }

    /// What still runs of an interrupted job must not go on in the next process. Whether there is something to be brought
    /// to disk.
    fn note_interrupt(&mut self, now: Time, job: &JobId) -> bool {
        if !matches!(self.jobs.state(job), State::Open(_)) {
            return false;
        }
        let Some(ledger) = self.ledger(&job.peer) else { return false };
        match ledger.interrupt(job) {
            Ok(is_new) => {
                if is_new {
                    self.changed.insert(Arc::clone(&job.peer));
                }
                is_new
            }
            Err(error) => {
                if self.may_complain(now) {
                    tracing::error!(peer = &*job.peer, %error, "an interrupt is not noted");
                }
                false
            }
        }
    }

    /// Whether the end of a job waits, on disk or for room there.
    fn has_end(&mut self, job: &JobId) -> bool {
        self.owed.iter().any(|end| end.job == *job)
            || self.ledger(&job.peer).is_some_and(|ledger| ledger.has_end(job))
    }

    /// What is said about a job. Nothing to a supervisor that has the end already.
    fn told(&mut self, job: &JobId, state: State) -> Option<String> {
        let unknown = || {
            let token = Some(job.token.to_string());
            Message::Exception(Exception { token, message: "Unknown job".to_owned() }).to_json()
        };
        let is_brought = matches!(state, State::Ended) && !is_client(&job.peer);
        if let State::Open(message) = state {
            return Some(message.to_json());
        }
        // An end that was forgotten, for there are many, may still be on disk.
        let Some(ledger) = self.ledger(&job.peer) else { return Some(unknown()) };
        let Some(delivery) = ledger.of(job) else {
            let is_on_its_way = self.has_end(job);
            let receipt = || Message::Receipt(Reference::to_token("measure", &job.token)).to_json();
            return match is_on_its_way {
                true => Some(receipt()),
                false if is_brought => None,
                false => Some(unknown()),
            };
        };
        if is_client(&job.peer) {
            self.told_ends.insert(job.clone());
        }
        Some(delivery.body)
    }

    /// Nobody will ask a client's end again.
    fn discard(&mut self, job: &JobId) {
        self.told_ends.remove(job);
        if let Some(ledger) = self.ledger(&job.peer) {
            ledger.discard(job);
        }
    }

    fn obey(&mut self, now: Time, orders: Vec<Order>) {
        let mut orders = VecDeque::from(orders);
        while let Some(order) = orders.pop_front() {
            match order {
                Order::Start { measurement, peer, offered, values } => {
                    match self.measurer.start(&peer, &offered, values) {
                        Ok(run) => {
                            self.by_measurement.insert(measurement, run);
                            self.runs.insert(run, (measurement, offered));
                        }
                        Err(text) => {
                            let mut more = Vec::new();
                            self.jobs.ended(now, measurement, Outcome::Failed(text), &mut more);
                            orders.extend(more);
                        }
                    }
                }
                Order::Interrupt { measurement } => {
                    if let Some(run) = self.by_measurement.get(&measurement) {
                        self.measurer.interrupt(*run);
                    }
                }
                Order::Keep { job, part, kept } => self.keep_part(now, &job, &part, kept),
                Order::End(end) => self.owed.push_back(*end),
            }
        }
    }

    /// A client need not redeem what it was told at once, and may ask for an exception as often as it likes. What nobody
    /// has redeemed goes when its token is forgotten; a supervisor is brought its ends however long that takes.
    fn forget(&mut self) {
        for job in self.jobs.take_forgotten() {
            if is_client(&job.peer) {
                self.discard(&job);
            }
        }
    }

    /// What finds no room is only in memory until its job ends.
    fn keep_part(&mut self, now: Time, job: &JobId, part: &Message, kept: usize) {
        let Some(ledger) = self.ledger(&job.peer) else { return };
        match ledger.part(job, &part.to_json(), kept) {
            Ok(()) => drop(self.changed.insert(Arc::clone(&job.peer))),
            Err(error) if self.may_complain(now) => {
                tracing::error!(peer = &*job.peer, %error, "results of a repetition wait in memory");
            }
            Err(_) => {}
        }
    }

    /// Writes ends to their ledgers, in their order, as far as there is room.
    fn keep_owed(&mut self, now: Time) {
        let mut full: HashMap<Arc<str>, String> = HashMap::new();
        for end in std::mem::take(&mut self.owed) {
            if full.contains_key(&end.job.peer) {
                self.owed.push_back(end);
                continue;
            }
            let mut body = end.message.to_json();
            let Some(ledger) = self.ledger(&end.job.peer) else { continue };
            if body.len() + (1 << 16) > sonde_spool::RECORD_LIMIT_OCTETS {
                let message = format!("the result has {} octets, which is too long", body.len());
                let token = Some(end.job.token.to_string());
                body = Message::Exception(Exception { token, message }).to_json();
            }
            match ledger.end(&end.job, end.link.as_deref(), &body) {
                Ok(()) => drop(self.changed.insert(Arc::clone(&end.job.peer))),
                Err(error) => {
                    full.insert(Arc::clone(&end.job.peer), error.to_string());
                    self.owed.push_back(end);
                }
            }
        }
        if !full.is_empty() && self.may_complain(now) {
            for (peer, error) in full {
                let waiting = self.owed.iter().filter(|end| end.job.peer == peer).count();
                tracing::error!(peer = &*peer, error, waiting, "results wait in memory");
            }
        }
    }

    /// It is tried again at every step, and not always said.
    fn may_complain(&mut self, now: Time) -> bool {
        let silent = self.complained.map(|before| now.since(before).max(before.since(now)));
        let may = silent.is_none_or(|silent| silent >= COMPLAIN_AGAIN || silent.is_zero());
        if may {
            self.complained = Some(now);
        }
        may
    }

    fn commit(&mut self, now: Time) {
        let mut committed = HashSet::new();
        for peer in std::mem::take(&mut self.changed) {
            let Some(ledger) = self.ledger(&peer) else { continue };
            match ledger.commit() {
                Ok(ended) => {
                    for job in ended {
                        self.tell(&job);
                    }
                    committed.insert(peer);
                }
                Err(error) => {
                    if self.may_complain(now) {
                        tracing::error!(peer = &*peer, %error, "results are not on disk yet");
                    }
                    self.changed.insert(peer);
                }
            }
        }
        for (peer, reply, receipt) in std::mem::take(&mut self.receipts) {
            if committed.contains(&peer) {
                reply(receipt);
            } else {
                self.receipts.push((peer, reply, receipt));
            }
        }
    }

    /// The end of a job counts.
    fn tell(&mut self, job: &JobId) {
        if let Some(waiters) = self.waiters.remove(job) {
            let end = self.ledger(&job.peer).and_then(|ledger| ledger.of(job));
            for reply in waiters {
                if let Some(delivery) = &end {
                    drop(reply.send(delivery.body.clone()));
                }
            }
        }
        (self.on_end)(&job.peer);
    }

    fn ledger(&mut self, peer: &str) -> Option<&mut Ledger> {
        self.ledgers.get_mut(ledger_of(peer))
    }
}

/// A job as it was noted, or its end where the note cannot be used.
fn read(unfinished: Unfinished, registries: &Registries) -> Result<Left, Box<End>> {
    let Unfinished { job, accepted, interrupted, specification, parts } = unfinished;
    let message = |text: &str| Message::from_json(text.as_bytes(), registries).ok();
    match (message(&specification), accepted) {
        (Some(Message::Specification(specification)), Some(accepted)) => {
            let parts = parts.iter().filter_map(|part| message(part)).collect();
            Ok(Left { job, accepted, interrupted, specification, parts })
        }
        _ => {
            let token = Some(job.token.to_string());
            let message = "the host was stopped before the measurement had ended".to_owned();
            Err(Box::new(End { job, link: None, message: Exception { token, message }.into() }))
        }
    }
}

#[cfg(test)]
mod tests;
