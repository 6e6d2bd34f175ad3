//! Component-initiated: registers with one supervisor, asks it for work, brings it receipts and
//! results.
//!
//! Whatever fails is tried again, ever more slowly. Results are brought in their order, each until the
//! supervisor has taken it. A supervisor that does not know us any more (428), or was away, is told
//! everything again, and so is one from time to time: a restart of it may go unnoticed. In between it is told
//! what has changed. What is offered and measured is decided by the [`Registrant`].

mod registered;
mod registration;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sonde_mplane::{
    CALLBACK, Capability, Message, Moment, Outcome, Registries, Specification, Time, Unreadable,
};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use crate::back_off::BackOff;
use crate::client::{Client, ClientError, Polled};
use crate::component_port::ComponentPaths;
use crate::exception;
use crate::identity::Identity;
use crate::serve::Shared;

pub use self::registered::{read_registered, write_registered};

/// Ends that are fetched at a time.
const PORTION: usize = 100;
/// From one registration of everything to the next without need.
const REGISTER_AGAIN: Duration = Duration::from_secs(60);
/// Longest idle time that a supervisor can ask for.
const LONGEST_IDLE: Duration = Duration::from_secs(86_400);
/// A supervisor that fails so often with its own error over one result is not going to take it.
const PATIENCE: u32 = 10;

/// A supervisor to register with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SupervisorAddress {
    /// In logs, and of what is kept for it.
    pub name: Arc<str>,
    /// URL for capabilities and withdrawals.
    pub registration: String,
    /// URL that is polled.
    pub specification: String,
    /// URL for receipts and results. The link of a specification is not followed: a supervisor must
    /// not make anybody send results to others.
    pub result: String,
    /// From one poll to the next, unless the supervisor says otherwise.
    pub poll: Duration,
}

impl SupervisorAddress {
    /// From one poll to the next. RI supervisors of the branch `sdk` forget who is silent for 10 s.
    pub const POLL: Duration = Duration::from_secs(5);

    /// With the URLs below `base`, `http://HOST:PORT` or `https://HOST:PORT`.
    #[must_use]
    pub fn new(name: &str, base: &str, paths: &ComponentPaths, poll: Duration) -> Self {
        let base = base.trim_end_matches('/');
        let url = |path: &str| format!("{base}/{}", path.trim_start_matches('/'));
        Self {
            name: Arc::from(name),
            registration: url(&paths.registration),
            specification: url(&paths.specification),
            result: url(&paths.result),
            poll,
        }
    }
}

/// The end of a specification, on its way to its supervisor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct End {
    /// Its number, by which it is told that it has arrived.
    pub sequence: u64,
    /// That of the specification.
    pub token: String,
    /// A result, an exception or an envelope of results, JSON.
    pub body: String,
}

/// Who registers with supervisors: a host, or a supervisor that has others above it.
pub trait Registrant: Send + Sync + 'static {
    /// What a supervisor of this identity may use, in order.
    fn capabilities(&self, supervisor: &Identity) -> Vec<Capability>;

    /// Takes on a specification for a capability with one of the labels. The answer, where there is one,
    /// is brought at once: a receipt or an exception.
    fn specify(
        &self,
        supervisor: &Arc<str>,
        specification: Specification,
        labels: &Arc<HashSet<String>>,
    ) -> impl Future<Output = Option<Message>> + Send;

    /// Ends a specification before its time. An answer is brought at once.
    fn interrupt(
        &self,
        supervisor: &Arc<str>,
        token: &str,
    ) -> impl Future<Output = Option<Message>> + Send;

    /// Ends that wait for a supervisor and were not [delivered](Self::delivered), oldest first, `most` at most.
    fn ends(&self, supervisor: &Arc<str>, most: usize) -> impl Future<Output = Vec<End>> + Send;

    /// The supervisor has taken an end, or never will.
    fn delivered(&self, supervisor: &Arc<str>, sequence: u64);

    /// What the supervisor may know of us from an earlier process.
    fn registered(&self, _supervisor: &Arc<str>) -> Vec<Capability> {
        Vec::new()
    }

    /// To be remembered for the next process: what the supervisor may know of us from now on.
    fn note_registered(&self, _supervisor: &Arc<str>, _capabilities: Vec<Capability>) {}
}

/// Works for one supervisor.
pub struct Attendance<R> {
    /// Which.
    pub supervisor: SupervisorAddress,
    /// Opens the connections.
    pub client: Arc<Client>,
    /// Has something to offer.
    pub registrant: Arc<R>,
    /// For what the registrant's ends are read with.
    pub registries: Arc<Shared<Registries>>,
    /// Another number whenever something else is offered.
    pub changes: watch::Receiver<u64>,
    /// Told where there is an end for this supervisor.
    pub ends: Arc<Notify>,
    /// Wall time.
    pub clock: fn() -> Time,
    /// True at the end.
    pub stop: watch::Receiver<bool>,
}

/// What was registered, and when.
struct Registration {
    /// Number of the change.
    change: u64,
    /// Of the capabilities: what this supervisor may use.
    labels: Arc<HashSet<String>>,
    /// When everything was registered.
    at: Instant,
}

impl Registration {
    fn is_due(&self) -> bool {
        self.at.elapsed() >= REGISTER_AGAIN
    }
}

/// What is known of the supervisor.
#[derive(Default)]
struct Standing {
    /// What it may know of us, by token: also what it has forgotten, or was told in vain.
    known: BTreeMap<String, Capability>,
    /// Labels of what it refused: it cannot mean them, and among supervisors in a circle it is somebody else's work.
    refused: HashSet<String>,
    /// None where it may have forgotten us.
    registration: Option<Registration>,
    /// Receipts and exceptions that it has not taken yet, in order: an RI supervisor says nothing twice.
    answers: VecDeque<Message>,
    /// Counts how often in a row it did not know who had just registered.
    unknown: BackOff,
    failing: Failing,
    /// When ends have to wait for a poll.
    due: Option<Instant>,
}

impl Standing {
    /// It does not know us: how long to wait before registering again. Where that was done just now it helps nothing.
    fn is_unknown(&mut self, was_registered_just_now: bool) -> Duration {
        self.known.clear();
        self.refused.clear();
        self.registration = None;
        if was_registered_just_now { self.unknown.failed() } else { Duration::ZERO }
    }
}

/// The end that a supervisor failed over last.
#[derive(Default)]
struct Failing {
    sequence: u64,
    times: u32,
    back_off: BackOff,
    /// Not before that again.
    again: Option<Instant>,
}

impl Failing {
    fn failed(&mut self, sequence: u64) -> u32 {
        if self.sequence != sequence {
            *self = Self { sequence, ..Self::default() };
        }
        self.times += 1;
        self.times
    }

    fn is_resting(&self) -> bool {
        self.again.is_some_and(|again| Instant::now() < again)
    }
}

impl<R: Registrant> Attendance<R> {
    /// Until it is told to stop; then what there is is brought once more.
    pub async fn run(mut self) {
        let mut back_off = BackOff::default();
        let mut standing = Standing::default();
        let known = self.registrant.registered(&self.supervisor.name).into_iter();
        standing.known.extend(known.map(|capability| (capability.token(), capability)));
        while !*self.stop.borrow() {
            let idle = match self.round(&mut standing).await {
                Ok(idle) => {
                    if back_off.succeeded() {
                        tracing::info!(supervisor = &*self.supervisor.name, "reached again");
                    }
                    idle.unwrap_or(self.supervisor.poll)
                }
                Err(error) => {
                    let wait = back_off.failed();
                    let what = match &error {
                        ClientError::Connection { .. } | ClientError::Timeout { .. } => {
                            "not reached"
                        }
                        _ => "an answer that does not count",
                    };
                    tracing::warn!(supervisor = &*self.supervisor.name, %error, ?wait, "{what}");
                    // It may have forgotten us while it was away, and an end that it did not take then was not at fault.
                    standing.registration = None;
                    standing.failing.again = None;
                    wait
                }
            };
            self.rest(idle, &mut standing).await;
        }
        standing.failing.again = None;
        if self.answer(&mut standing.answers).await.is_ok() {
            self.bring(&mut standing.failing, None).await;
        }
    }

    /// Waits for the next poll, and brings what ends meanwhile.
    async fn rest(&mut self, idle: Duration, standing: &mut Standing) {
        let end = Instant::now() + idle;
        let reached = standing.registration.is_some();
        loop {
            let again = standing.failing.again;
            tokio::select! {
                () = sleep_until(end) => return,
                changed = self.stop.changed() => if changed.is_err() || *self.stop.borrow() { return },
                Ok(()) = self.changes.changed() => return,
                () = self.ends.notified(), if reached => {
                    self.bring(&mut standing.failing, Some(end)).await;
                }
                () = sleep_until(again.unwrap_or(end)), if reached && again.is_some() => {
                    self.bring(&mut standing.failing, Some(end)).await;
                }
            }
        }
    }

    /// How long to wait for the next one, where the supervisor has a wish.
    async fn round(&mut self, standing: &mut Standing) -> Result<Option<Duration>, ClientError> {
        let change = *self.changes.borrow_and_update();
        let is_current = |it: &Registration| !it.is_due() && it.change == change;
        let is_current = standing.registration.as_ref().is_some_and(is_current);
        if !is_current {
            self.register(change, standing).await?;
        }
        let labels = standing.registration.as_ref().map(|it| Arc::clone(&it.labels));
        let labels = labels.unwrap_or_default();
        self.answer(&mut standing.answers).await?;
        let due = standing.due.unwrap_or_else(|| Instant::now() + self.supervisor.poll);
        self.bring(&mut standing.failing, Some(due)).await;
        let messages = match self.client.poll(&self.supervisor.specification).await? {
            Polled::Messages(messages) => messages,
            Polled::Register => {
                let wait = standing.is_unknown(!is_current);
                tracing::info!(supervisor = &*self.supervisor.name, ?wait, "not known there");
                return Ok(Some(wait));
            }
        };
        standing.unknown.succeeded();
        let mut idle = None;
        // All work is taken on before anything is answered: a supervisor that cannot be reached any more may never
        // say it again.
        let answers = &mut standing.answers;
        for message in messages {
            let message = match message {
                Ok(message) => message,
                Err(Unreadable { token, error, .. }) => {
                    let supervisor = &*self.supervisor.name;
                    tracing::warn!(supervisor, token, %error, "a message cannot be read");
                    answers.extend(token.map(|token| exception(Some(&token), error.to_string())));
                    continue;
                }
            };
            match message {
                // Not by its verb, which those who send work through a supervisor may choose.
                Message::Specification(specification) if specification.head.label() == CALLBACK => {
                    idle = Some(idle_time(&specification, (self.clock)()));
                }
                Message::Specification(specification) => {
                    answers.extend(self.specify(specification, &labels).await);
                }
                Message::Interrupt(interrupt) => {
                    if let Some(token) = interrupt.head.token {
                        let supervisor = &self.supervisor.name;
                        answers.extend(self.registrant.interrupt(supervisor, &token).await);
                    }
                }
                other => tracing::warn!(
                    supervisor = &*self.supervisor.name,
                    kind = %other.kind(),
                    "a message that is no work is left out"
                ),
            }
        }
        // An end is brought anyway, and may be long.
        answers.retain(|it| matches!(it, Message::Receipt(_) | Message::Exception(_)));
        self.answer(answers).await?;
        // Some forget who is silent for 10 s, and one end alone may take half of that.
        let due = Instant::now() + idle.unwrap_or(self.supervisor.poll) / 2;
        standing.due = Some(due);
        match self.bring(&mut standing.failing, Some(due)).await {
            true => Ok(Some(Duration::ZERO)),
            false => Ok(idle),
        }
    }

    async fn specify(
        &self,
        specification: Specification,
        labels: &Arc<HashSet<String>>,
    ) -> Option<Message> {
        self.registrant.specify(&self.supervisor.name, specification, labels).await
    }

    /// Sends what a supervisor has to hear before there is more work, and before the ends of it.
    async fn answer(&self, answers: &mut VecDeque<Message>) -> Result<(), ClientError> {
        while let Some(answer) = answers.front() {
            match self.client.deliver(&self.supervisor.result, answer).await {
                Err(error) if is_final(&error, PATIENCE) => {
                    tracing::warn!(supervisor = &*self.supervisor.name, %error, "refused");
                }
                other => other?,
            }
            answers.pop_front();
        }
        Ok(())
    }

    /// Brings every end that waits, oldest first. One that is not taken holds up those behind it, but no work: whether
    /// the supervisor is there at all is told by the next poll, for one end alone may be too long for the line.
    ///
    /// True where some may still wait at `until`; one is brought at least.
    async fn bring(&self, failing: &mut Failing, until: Option<Instant>) -> bool {
        while !failing.is_resting() {
            failing.again = None;
            let ends = self.registrant.ends(&self.supervisor.name, PORTION).await;
            if ends.is_empty() {
                return false;
            }
            for end in ends {
                self.bring_one(end, failing).await;
                if failing.is_resting() {
                    break;
                }
                if until.is_some_and(|until| until <= Instant::now()) {
                    return true;
                }
            }
        }
        false
    }

    async fn bring_one(&self, end: End, failing: &mut Failing) {
        let message = match Message::from_json(end.body.as_bytes(), &self.registries.get()) {
            Ok(message) => message,
            Err(error) => {
                let token = &*end.token;
                tracing::error!(token, %error, "a result cannot be read and is lost");
                exception(Some(token), format!("the result is lost: {error}"))
            }
        };
        match self.client.deliver(&self.supervisor.result, &message).await {
            Ok(()) => self.delivered(end.sequence),
            Err(error) => {
                let times = failing.failed(end.sequence);
                let (supervisor, token) = (&*self.supervisor.name, &*end.token);
                if !is_final(&error, times) {
                    let wait = failing.back_off.failed();
                    failing.again = Some(Instant::now() + wait);
                    tracing::warn!(supervisor, token, %error, ?wait, "a result was not taken");
                    return;
                }
                tracing::error!(supervisor, token, %error, "a result was refused and is given up");
                // Whoever waits for it should not wait for ever. Where that is refused as well nothing is left to be said.
                let refused = exception(Some(token), format!("the result was refused: {error}"));
                drop(self.client.deliver(&self.supervisor.result, &refused).await);
                self.delivered(end.sequence);
            }
        }
    }

    fn delivered(&self, sequence: u64) {
        self.registrant.delivered(&self.supervisor.name, sequence);
    }
}

/// Whether it makes no sense to say it again.
fn is_final(error: &ClientError, failures: u32) -> bool {
    match error {
        // About what is in the message. The others pass: who may register is put right by an operator, a path by who runs a proxy.
        ClientError::Status { status: 400 | 413 | 415 | 422, .. } => true,
        ClientError::Status { status: 500, .. } => failures >= PATIENCE,
        _ => false,
    }
}

/// Time to the next poll that a callback specification asks for: until the end of its scope.
fn idle_time(specification: &Specification, now: Time) -> Duration {
    let when = &specification.when;
    let idle = match (when.start, when.end, when.duration) {
        (_, Some(Moment::At(end)), _) => end.since(now),
        (Moment::At(start), None, duration) => start.plus(duration.unwrap_or_default()).since(now),
        (_, None, duration) => duration.unwrap_or_default(),
        (_, Some(Moment::Future), _) => LONGEST_IDLE,
        (_, Some(Moment::Now | Moment::Past), _) => Duration::ZERO,
    };
    idle.min(LONGEST_IDLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_says_when_to_poll_next() {
        let now: Time = "2026-05-01 12:00:00".parse().unwrap();
        for (when, seconds) in [
            ("now", 0),
            ("now + 30s", 30),
            ("2026-05-01 12:00:45", 45),
            ("now ... 2026-05-01 12:01:00", 60),
            ("2020-01-01", 0),
            ("now ... future", 86_400),
        ] {
            let capability = Capability::build(CALLBACK, "now ... future");
            let capability = capability.finish(&Registries::built_in()).unwrap();
            let specification = capability.specification(CALLBACK, when.parse().unwrap());
            assert_eq!(idle_time(&specification, now), Duration::from_secs(seconds), "{when}");
        }
    }

    #[test]
    fn a_supervisor_that_never_knows_us_is_registered_with_ever_more_seldom() {
        let mut standing = Standing::default();
        assert_eq!(standing.is_unknown(false), Duration::ZERO, "it may have been restarted");
        let waits = [(); 7].map(|()| standing.is_unknown(true).as_secs_f64());
        assert!(waits[0] > 0.0 && waits[6] > 16.0, "{waits:?}");
    }

    #[test]
    fn a_result_is_given_up_only_where_bringing_it_again_makes_no_sense() {
        let status = |status| ClientError::Status {
            url: Box::new("http://127.0.0.1/".parse().unwrap()),
            status,
            reason: String::new(),
        };
        assert!(is_final(&status(400), 1));
        for passes in [401, 403, 404, 405, 407, 428, 429, 503] {
            assert!(!is_final(&status(passes), 99), "{passes}");
        }
        assert!(!is_final(&status(500), 9));
        assert!(is_final(&status(500), 10));
    }
}
