//! Both ports of a supervisor: hosts register, poll and deliver on one, clients ask on the other.
//!
//! Nobody is answered before what the answer says is durable.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sonde_mplane::{
    Capability, Message, Outcome, Outcomes, Reference, Registries, Specification, Time, When,
};
use sonde_mplane_http::{
    ClientPort, ComponentPort, End, Identity, Peer, Refusal, Shared, Unavailable, Work,
};
use tokio::sync::{Notify, oneshot};

use crate::{
    above,
    clock::Clock,
    relay::{Answer, NotTaken, Relay},
    roster::{Offer, Roster},
    store::{Change, Store, StoreError, StoredCapability, Writer},
};

/// How old the list of capabilities that clients see may be.
const LIST_AGE: Duration = Duration::from_secs(1);

/// Why an outcome is lost that somebody deleted.
const NOT_THERE: &str = "it is not in the store";

/// What an operator decides about a supervisor, beyond addresses and certificates.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Where hosts deliver results, as they reach us; stands in every specification.
    pub result_link: String,
    /// A host is told the name by which it reached us in its place: that one it can resolve, and finds in our certificate.
    pub link_follows_host: bool,
    /// Hosts that are silent for so long are hidden from clients; `None`: never.
    pub expiry: Option<Duration>,
    /// An unknown host that polls is told to register (RI `sdk`); else it gets nothing to do (RI 0.9.0).
    pub unknown_must_register: bool,
    /// Outcomes that nobody asked for are let go after this time.
    pub retention: Duration,
    /// Polls a second of all hosts together; beyond, hosts are asked to poll less often.
    pub polls_per_second: f64,
    /// Names of supervisors that this one registers with.
    pub above: Vec<Arc<str>>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            result_link: String::new(),
            link_follows_host: false,
            expiry: Some(Duration::from_secs(60)),
            unknown_must_register: false,
            retention: Duration::from_secs(7 * 24 * 3600),
            polls_per_second: 200.0,
            above: Vec::new(),
        }
    }
}

impl Policy {
    fn link_for(&self, peer: &Peer) -> String {
        let said = self.result_link.split_once("://");
        match (said, &peer.reached_at) {
            (Some((scheme, rest)), Some(authority)) if self.link_follows_host => {
                let path = rest.find('/').map_or("", |at| &rest[at..]);
                format!("{scheme}://{authority}{path}")
            }
            _ => self.result_link.clone(),
        }
    }
}

/// Why a supervisor cannot go on where it ended.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No thread for the store.
    #[error("the store's thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// What is known at the moment.
struct State {
    roster: Roster,
    relay: Relay,
    clock: Clock,
    /// For the pages, and when it was made; none after a change.
    list: Option<(Time, Arc<Vec<Capability>>)>,
}

impl State {
    /// The store may know what the roster does not: where a withdrawal is not stored it comes again.
    fn withdraw(&mut self, host: &str, capability: &Capability) -> Change {
        self.roster.withdraw(host, capability);
        Change::Withdrawn { host: host.to_owned(), token: capability.token() }
    }
}

/// A supervisor behind its ports.
pub struct Service {
    state: Arc<Mutex<State>>,
    writer: Writer,
    policy: Policy,
    registries: Arc<Shared<Registries>>,
    /// By client that is a supervisor above: told where it has to be brought something.
    ends: HashMap<String, Arc<Notify>>,
}

impl Service {
    /// With everything that the store remembers; what is damaged there is named and left out. Hosts that it knows
    /// count as just heard of.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: rather no supervisor than one that forgot everything.
    pub fn open(
        mut store: Box<dyn Store>,
        policy: Policy,
        registries: Arc<Shared<Registries>>,
        clock: fn() -> Time,
    ) -> Result<Self, OpenError> {
        let stored = store.load()?;
        let known = registries.get();
        let mut roster = Roster::new(policy.expiry).named(&policy.result_link);
        for StoredCapability { host, token, message } in &stored.capabilities {
            match Message::from_json(message.as_bytes(), &known) {
                // One that is refused today was taken by an earlier version, and goes with its host's next word.
                Ok(Message::Capability(capability)) => {
                    drop(roster.offer(host, capability, clock()));
                }
                Ok(other) => {
                    let kind = other.kind();
                    tracing::error!(host, token, %kind, "no capability in the store, left out");
                }
                // Its host registers it again.
                Err(error) => {
                    tracing::error!(host, token, %error, "a capability in the store is damaged");
                }
            }
        }
        let relay = Relay::restore(stored.jobs, stored.next_number, &known);
        let writer = Writer::start(store)?;
        let state =
            Arc::new(Mutex::new(State { roster, relay, clock: Clock::new(clock), list: None }));
        let above = policy.above.iter().map(|name| (above::client(name), Arc::default()));
        let ends = above.collect();
        Ok(Self { state, writer, policy, registries, ends })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The state as it is now.
    fn present(&self) -> (MutexGuard<'_, State>, Time) {
        let mut state = self.state();
        let (now, step) = state.clock.look();
        if let Some(step) = step {
            tracing::warn!(%now, "the clock was set");
            state.roster.put_right(step);
            state.relay.put_right(step);
            state.list = None;
        }
        (state, now)
    }

    /// Hosts with the time since they were heard of, and their unfinished jobs.
    pub fn hosts(&self) -> Vec<(String, Option<Duration>, usize)> {
        let (state, now) = self.present();
        let hosts = state.roster.hosts().map(|(host, heard)| {
            let silent = heard.map(|heard| now.since(heard));
            (host.to_owned(), silent, state.relay.unfinished_of(host))
        });
        hosts.collect()
    }

    /// Jobs that have not come to their end.
    pub fn unfinished(&self) -> usize {
        self.state().relay.unfinished()
    }

    /// Lets go what nobody asked for in time, and has hosts reminded of what they owe.
    ///
    /// # Errors
    ///
    /// Where the store does not take it.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let changes = {
            let (mut state, now) = self.present();
            let State { roster, relay, .. } = &mut *state;
            relay.remind(now);
            relay.sweep(now, self.policy.retention, |host| roster.heard(host))
        };
        let is_old = |change: &&Change| matches!(change, Change::Redeemed { .. });
        let count = changes.iter().filter(is_old).count();
        self.commit(changes).await?;
        if count > 0 {
            tracing::warn!(count, "outcomes that nobody asked for in time were let go");
        }
        Ok(())
    }

    /// What a supervisor of this identity may be offered: nothing that came from itself.
    pub(crate) fn offered_to(&self, supervisor: &Identity) -> Vec<Capability> {
        let (state, now) = self.present();
        // Without certificates all have the same identity.
        let is_known = *supervisor != Identity::unauthenticated();
        let offers = state.roster.offers(now);
        let offers = offers.filter(|it| !(is_known && it.host == supervisor.as_str()));
        offers.map(|offer| offer.published.clone()).collect()
    }

    /// Where a supervisor above waits to be told of ends.
    #[must_use]
    pub fn ends_of(&self, supervisor: &str) -> Arc<Notify> {
        self.ends.get(&above::client(supervisor)).cloned().unwrap_or_default()
    }

    /// Says a receipt or an exception; nothing where there is an outcome, which is brought as any other, or where the
    /// store does not take it: then the specification comes again.
    pub(crate) async fn specify_from_above(
        &self,
        client: &str,
        specification: Specification,
        labels: &HashSet<String>,
    ) -> Option<Message> {
        let token = specification.token();
        let may = |offer: &Offer| labels.contains(offer.published.head.label());
        match self.take_on(client, specification, may).await {
            Ok(answer) => message_above(answer),
            Err(NotTaken::Later(reason)) => {
                tracing::error!(reason, "a specification of a supervisor is left out");
                None
            }
            Err(error) => Some(sonde_mplane_http::exception(Some(&token), error.to_string())),
        }
    }

    pub(crate) async fn interrupt_from_above(&self, client: &str, token: &str) -> Option<Message> {
        let (answer, changes) = {
            let (mut state, now) = self.present();
            state.relay.interrupt(client, token, now)
        };
        if let Err(error) = self.commit(changes).await {
            tracing::error!(%error, "an interrupt of a supervisor is left out");
            return None;
        }
        message_above(answer)
    }

    /// Outcomes that wait for a supervisor above, oldest first.
    pub(crate) async fn ends(&self, client: &str, most: usize) -> Vec<End> {
        let numbers = self.state().relay.ends(client, most);
        let mut ends = Vec::with_capacity(numbers.len());
        for (sequence, token) in numbers {
            match self.outcome(sequence).await {
                Ok(body) => {
                    let body = body.unwrap_or_else(|| lost(Some(&token), NOT_THERE).to_json());
                    ends.push(End { sequence, token, body });
                }
                Err(error) => {
                    tracing::error!(%error, "an outcome cannot be read");
                    break;
                }
            }
        }
        ends
    }

    /// A supervisor above has an outcome, or will never take it. Where that does not reach the disk it is brought
    /// again by the next process.
    pub(crate) fn delivered(&self, number: u64) {
        let changes = self.state().relay.brought(number);
        let told = move |done: Result<(), StoreError>| {
            if let Err(error) = done {
                tracing::error!(%error, number, "it is not noted that an outcome was brought");
            }
        };
        self.writer.commit(changes, Box::new(told));
    }

    async fn take_on(
        &self,
        client: &str,
        specification: Specification,
        may: impl Fn(&Offer) -> bool,
    ) -> Result<Answer, NotTaken> {
        let token = specification.token();
        let (answer, changes) = {
            let (mut state, now) = self.present();
            let State { roster, relay, .. } = &mut *state;
            let choose = |wanted: &Specification| roster.choose(wanted, now, may);
            relay.take_on(client, specification, &self.policy.result_link, now, choose)?
        };
        self.commit(changes).await.map_err(|error| NotTaken::Later(error.to_string()))?;
        if self.state().relay.knows(client, &token) {
            return Ok(answer);
        }
        // It was the second one of its token, and the first one was taken back.
        Err(NotTaken::Later("it could not be stored; send it again".to_owned()))
    }

    async fn outcome(&self, number: u64) -> Result<Option<String>, StoreError> {
        let (told, tells) = oneshot::channel();
        self.writer.outcome(number, move |outcome| drop(told.send(outcome)));
        tells.await.unwrap_or(Err(StoreError::Gone))
    }

    /// Waits until changes are durable, and all that were made before.
    async fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let (told, tells) = oneshot::channel();
        let (copy, state) = (changes.clone(), Arc::clone(&self.state));
        // They count also where nobody waits any more: a handler that takes too long is given up.
        let count = move |done: Result<(), StoreError>| {
            match &done {
                Ok(()) => lock(&state).relay.settle(&copy),
                Err(_) => lock(&state).relay.revert(&copy),
            }
            drop(told.send(done));
        };
        self.writer.commit(changes, Box::new(count));
        tells.await.unwrap_or(Err(StoreError::Gone))
    }

    /// The message of an answer; that of an outcome comes from the store.
    async fn message_of(&self, answer: Answer) -> Result<Message, Unavailable> {
        match answer {
            Answer::Message(message) => Ok(*message),
            Answer::Outcome { number } => {
                let outcome = self.stored(number).await?;
                if matches!(outcome, Message::Exception(_)) {
                    self.state().relay.told_failure(number);
                }
                Ok(outcome)
            }
        }
    }

    async fn stored(&self, number: u64) -> Result<Message, Unavailable> {
        let text = self.outcome(number).await.map_err(|error| not_now(&error))?;
        let Some(text) = text else { return Ok(lost(None, NOT_THERE)) };
        let message = Message::from_json(text.as_bytes(), &self.registries.get());
        Ok(message.unwrap_or_else(|error| lost(None, &error.to_string())))
    }

    /// What tells a host to poll less often, where all of them together poll too often.
    fn callback(&self, state: &State, host: &str, now: Time) -> Option<Message> {
        /// Poll interval that hosts have of themselves.
        const USUAL: Duration = Duration::from_secs(5);
        if !state.roster.has_callback(host) {
            return None;
        }
        let interval = state.roster.poll_interval(self.policy.polls_per_second, now);
        if interval <= USUAL {
            return None;
        }
        let when: When = format!("now + {}s", interval.as_secs()).parse().ok()?;
        let callback = Capability::build(sonde_mplane::CALLBACK, "now ... future")
            .finish(&self.registries.get())
            .ok()?;
        Some(callback.specification(sonde_mplane::CALLBACK, when).into())
    }
}

/// An outcome is brought as any other.
fn message_above(answer: Answer) -> Option<Message> {
    match answer {
        Answer::Message(message) => Some(*message),
        Answer::Outcome { .. } => None,
    }
}

/// What is damaged stays so: whoever waits has to know.
fn lost(token: Option<&str>, why: &str) -> Message {
    sonde_mplane_http::exception(token, format!("the outcome is lost: {why}"))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Whoever panicked did so between two whole changes, or not at all.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_now(reason: &(impl std::fmt::Display + ?Sized)) -> Unavailable {
    Unavailable(format!("the supervisor cannot do it now: {reason}"))
}

impl ComponentPort for Service {
    async fn register(&self, peer: &Peer, messages: Vec<Message>) -> Result<Outcomes, Refusal> {
        let host = peer.identity.as_str();
        let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
        {
            let (mut state, now) = self.present();
            state.list = None;
            for message in messages {
                let label = message.label().unwrap_or_default().to_owned();
                let outcome = match message {
                    Message::Capability(capability) => {
                        let before = state.roster.reordered(host, &capability);
                        changes.extend(before.map(|known| state.withdraw(host, &known)));
                        let outcome = state.roster.offer(host, capability.clone(), now);
                        changes.extend(match outcome {
                            _ if capability.head.is_callback() => None,
                            Outcome::Registered => Some(Change::Offered(StoredCapability {
                                host: host.to_owned(),
                                token: capability.token(),
                                message: Message::from(capability).to_json(),
                            })),
                            // It may have been taken before a supervisor got another name.
                            Outcome::Refused { .. }
                                if state.roster.is_passed_on(host, &capability.token()) =>
                            {
                                Some(state.withdraw(host, &capability))
                            }
                            Outcome::Refused { .. } => None,
                        });
                        outcome
                    }
                    Message::Withdrawal(capability) => {
                        changes.push(state.withdraw(host, &capability));
                        Outcome::Refused { reason: "Withdrawn".to_owned() }
                    }
                    _ => Outcome::Refused { reason: "Not a capability".to_owned() },
                };
                outcomes.push((label, outcome));
            }
        }
        self.commit(changes).await.map_err(|error| Refusal::Later(error.to_string()))?;
        Ok(Outcomes(outcomes))
    }

    async fn poll(&self, peer: &Peer) -> Work {
        let host = peer.identity.as_str();
        let (mut state, now) = self.present();
        if !state.roster.hear(host, now) && self.policy.unknown_must_register {
            return Work::Register;
        }
        let mut messages = state.relay.poll(host, now);
        let link = self.policy.link_for(peer);
        for message in &mut messages {
            if let Message::Specification(specification) = message {
                specification.head.link = Some(link.clone());
            }
        }
        messages.extend(self.callback(&state, host, now));
        Work::Messages(messages)
    }

    async fn deliver(&self, peer: &Peer, message: Message) -> Result<(), Refusal> {
        let host = peer.identity.as_str();
        let changes = {
            let (mut state, now) = self.present();
            state.roster.hear(host, now);
            state.relay.deliver(host, message, now)
        };
        let is_end = changes.iter().any(|change| matches!(change, Change::Ended { .. }));
        self.commit(changes).await.map_err(|error| Refusal::Later(error.to_string()))?;
        if is_end {
            self.ends.values().for_each(|ends| ends.notify_one());
        }
        Ok(())
    }
}

impl ClientPort for Service {
    fn capabilities(&self) -> Arc<Vec<Capability>> {
        let (mut state, now) = self.present();
        if let Some((made, list)) = &state.list
            && now.since(*made) < LIST_AGE
        {
            return Arc::clone(list);
        }
        let offers = state.roster.offers(now).map(|offer| offer.published.clone());
        let list = Arc::new(offers.collect::<Vec<_>>());
        state.list = Some((now, Arc::clone(&list)));
        list
    }

    fn of_schema(&self, schema: &str) -> Vec<Capability> {
        let (state, now) = self.present();
        state.roster.of_schema(schema, now)
    }

    fn owns(&self, peer: &Peer, token: &str) -> bool {
        self.state().relay.knows(peer.identity.as_str(), token)
    }

    async fn specification(
        &self,
        peer: &Peer,
        specification: Specification,
        _: Vec<Capability>,
    ) -> Message {
        let token = specification.token();
        let may = |offer: &Offer| peer.may_use(offer.capability.head.label());
        let refused = |why: String| sonde_mplane_http::exception(Some(&token), why);
        match self.take_on(peer.identity.as_str(), specification, may).await {
            Ok(answer) => {
                self.message_of(answer).await.unwrap_or_else(|Unavailable(why)| refused(why))
            }
            Err(error) => refused(error.to_string()),
        }
    }

    async fn redemption(&self, peer: &Peer, redemption: Reference) -> Result<Message, Unavailable> {
        let token = redemption.head.token.unwrap_or_default();
        let answer = self.state().relay.redeem(peer.identity.as_str(), &token);
        self.message_of(answer).await
    }

    /// Only who redeems it says that no more is wanted.
    async fn redeemed(&self, peer: &Peer, token: &str) -> Result<(), Unavailable> {
        let answer = self.state().relay.redeem(peer.identity.as_str(), token);
        let Answer::Outcome { number } = answer else { return Ok(()) };
        let forgotten = self.commit(vec![Change::Redeemed { number }]).await;
        forgotten.map_err(|error| not_now(&error))
    }

    async fn interrupt(&self, peer: &Peer, interrupt: Reference) -> Result<Message, Unavailable> {
        let token = interrupt.head.token.unwrap_or_default();
        let (answer, changes) = {
            let (mut state, now) = self.present();
            state.relay.interrupt(peer.identity.as_str(), &token, now)
        };
        match self.commit(changes).await {
            Ok(()) => self.message_of(answer).await,
            Err(error) => Err(not_now(&error)),
        }
    }
}
