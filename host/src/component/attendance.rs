//! Component-initiated: registers with one supervisor, asks it for work, brings it receipts and
//! results.
//!
//! Whatever fails is tried again, ever more slowly. Results are brought in their order, each until the
//! supervisor has taken it. A supervisor that does not know us any more (428), or was away, is told
//! everything again, and so is one from time to time: a restart of it may go unnoticed.

use std::{collections::HashSet, sync::Arc, time::Duration};

use sonde_mplane::{
    CALLBACK, Capability, Message, Moment, Outcome, Registries, Specification, Time,
};
use sonde_mplane_http::{Access, Client, ClientError, Polled, Shared};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

use super::{
    back_off::BackOff,
    desk::Request,
    jobs::JobId,
    ledger::Delivery,
    offered::Offers,
    reception::{Reception, now},
    settings::SupervisorAddress,
};

/// Ends that are fetched at a time.
const PORTION: usize = 100;
/// From one registration to the next without need.
const REGISTER_AGAIN: Duration = Duration::from_secs(60);
/// Longest idle time that a supervisor can ask for.
const LONGEST_IDLE: Duration = Duration::from_secs(86_400);
/// A supervisor that fails so often with its own error over one result is not going to take it.
const PATIENCE: u32 = 10;

/// Works for one supervisor.
pub(crate) struct Attendance {
    pub(crate) supervisor: SupervisorAddress,
    pub(crate) client: Arc<Client>,
    pub(crate) reception: Reception,
    pub(crate) offers: watch::Receiver<Arc<Offers>>,
    pub(crate) access: Arc<Shared<Access>>,
    pub(crate) registries: Arc<Shared<Registries>>,
    /// There is an end for this supervisor.
    pub(crate) ends: Arc<Notify>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// What was registered, and when.
struct Registration {
    offers: Arc<Offers>,
    capabilities: Vec<Capability>,
    /// Of the capabilities: what this supervisor may use.
    labels: Arc<HashSet<String>>,
    at: Instant,
}

/// What the supervisor wants to be done next.
#[derive(Default)]
struct Wishes {
    idle: Option<Duration>,
    register: bool,
}

impl Attendance {
    /// Until it is told to stop; then what there is is brought once more.
    pub(crate) async fn run(mut self) {
        let mut back_off = BackOff::default();
        let mut registration = None;
        let mut failures = (0, 0);
        while !*self.stop.borrow() {
            let idle = match self.round(&mut registration, &mut failures).await {
                Ok(wishes) => {
                    if back_off.succeeded() {
                        tracing::info!(supervisor = &*self.supervisor.name, "reached again");
                    }
                    if wishes.register {
                        registration = None;
                    }
                    wishes.idle.unwrap_or(self.supervisor.poll)
                }
                Err(error) => {
                    let wait = back_off.failed();
                    tracing::warn!(supervisor = &*self.supervisor.name, %error, ?wait, "not reached");
                    // It may have forgotten us while it was away.
                    registration = None;
                    wait
                }
            };
            self.rest(idle, registration.is_some(), &mut failures).await;
        }
        let _ = self.bring(&mut failures).await;
    }

    /// Waits for the next poll, and brings what ends meanwhile.
    async fn rest(&mut self, idle: Duration, reached: bool, failures: &mut (u64, u32)) {
        let end = Instant::now() + idle;
        loop {
            tokio::select! {
                () = sleep_until(end) => return,
                changed = self.stop.changed() => if changed.is_err() || *self.stop.borrow() { return },
                changed = self.offers.changed() => if changed.is_ok() { return },
                () = self.ends.notified(), if reached => {
                    if self.bring(failures).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn round(
        &mut self,
        registration: &mut Option<Registration>,
        failures: &mut (u64, u32),
    ) -> Result<Wishes, ClientError> {
        let offers = Arc::clone(&self.offers.borrow_and_update());
        let is_current = |registered: &Registration| {
            registered.at.elapsed() < REGISTER_AGAIN && Arc::ptr_eq(&registered.offers, &offers)
        };
        if !registration.as_ref().is_some_and(is_current) {
            let before = registration.take();
            *registration = Some(self.register(offers, before).await?);
        }
        let labels = registration.as_ref().map(|it| Arc::clone(&it.labels)).unwrap_or_default();
        self.bring(failures).await?;
        let messages = match self.client.poll(&self.supervisor.specification).await? {
            Polled::Messages(messages) => messages,
            Polled::Register => {
                return Ok(Wishes { register: true, idle: Some(Duration::ZERO) });
            }
        };
        let mut wishes = Wishes::default();
        for message in messages {
            match message {
                Message::Specification(specification) if specification.head.is_callback() => {
                    wishes.idle = Some(idle_time(&specification, now()));
                }
                Message::Specification(specification) => {
                    self.specify(specification, &labels).await?;
                }
                Message::Interrupt(interrupt) => {
                    if let Some(token) = interrupt.head.token {
                        self.interrupt(&token).await?;
                    }
                }
                other => tracing::warn!(
                    supervisor = &*self.supervisor.name,
                    kind = %other.kind(),
                    "a message that is no work is left out"
                ),
            }
        }
        self.bring(failures).await?;
        Ok(wishes)
    }

    /// Registers everything that the supervisor may use, and takes back what it knows and is gone.
    async fn register(
        &self,
        offers: Arc<Offers>,
        before: Option<Registration>,
    ) -> Result<Registration, ClientError> {
        let url = &self.supervisor.registration;
        let identity = self.client.identify(url).await?;
        let access = self.access.get();
        let capabilities: Vec<Capability> = offers
            .offered
            .iter()
            .map(|offered| offered.capability.clone())
            .filter(|capability| access.allows(&identity, capability.head.label()))
            .collect();
        let is_gone =
            |old: &&Capability| !capabilities.iter().any(|new| new.token() == old.token());
        let known = before.map(|before| before.capabilities).unwrap_or_default();
        let mut messages: Vec<Message> =
            known.iter().filter(is_gone).map(Capability::withdrawal).collect();
        let withdrawn = messages.len();
        messages.extend(capabilities.iter().cloned().map(Message::from));
        messages.extend(self.callback(&offers).map(Message::from));
        let outcomes = self.client.register(url, messages).await?;
        for capability in &capabilities {
            let label = capability.head.label();
            if let Some(Outcome::Refused { reason }) = outcomes.get(label) {
                let supervisor = &*self.supervisor.name;
                tracing::warn!(supervisor, label, reason, "a capability was not registered");
            }
        }
        let (supervisor, count) = (&*self.supervisor.name, capabilities.len());
        tracing::info!(supervisor, count, withdrawn, "registered");
        let labels = capabilities.iter().map(|it| it.head.label().to_owned()).collect();
        Ok(Registration { offers, capabilities, labels: Arc::new(labels), at: Instant::now() })
    }

    /// The capability by which a supervisor says when to poll next; the last one, as of the RI.
    fn callback(&self, offers: &Offers) -> Option<Capability> {
        let uri = offers.offered.first().map_or("", |it| it.capability.registry.as_str());
        let built = Capability::build(CALLBACK, "now ... future").registry(uri);
        built.finish(&self.registries.get()).ok()
    }

    async fn specify(
        &self,
        specification: Specification,
        labels: &Arc<HashSet<String>>,
    ) -> Result<(), ClientError> {
        let peer = Arc::clone(&self.supervisor.name);
        let labels = Arc::clone(labels);
        let specification = Box::new(specification);
        let answer = self.reception.ask(|reply| Request::Specify {
            peer,
            specification,
            permits: Box::new(move |label| labels.contains(label)),
            reply,
        });
        self.answer(answer.await).await
    }

    async fn interrupt(&self, token: &str) -> Result<(), ClientError> {
        let job = JobId::new(&self.supervisor.name, token);
        let answer = self.reception.ask(|reply| Request::Interrupt { job, reply }).await;
        // An interrupt that comes after the end was brought is no mistake.
        self.answer(answer.filter(|text| !text.contains("\"exception\""))).await
    }

    async fn answer(&self, text: Option<String>) -> Result<(), ClientError> {
        let Some(text) = text else { return Ok(()) };
        match Message::from_json(text.as_bytes(), &self.registries.get()) {
            Ok(message) => match self.client.deliver(&self.supervisor.result, &message).await {
                Err(ClientError::Status { status, reason, .. }) => {
                    tracing::warn!(supervisor = &*self.supervisor.name, status, reason, "refused");
                    Ok(())
                }
                other => other,
            },
            Err(error) => {
                tracing::error!(%error, "an answer of ours cannot be read");
                Ok(())
            }
        }
    }

    /// Brings every end that waits, oldest first.
    async fn bring(&self, failures: &mut (u64, u32)) -> Result<(), ClientError> {
        loop {
            let peer = Arc::clone(&self.supervisor.name);
            let fetched =
                self.reception.ask(|reply| Request::Fetch { peer, most: PORTION, reply }).await;
            let Some(ends) = fetched.filter(|ends| !ends.is_empty()) else { return Ok(()) };
            for end in ends {
                self.bring_one(end, failures).await?;
            }
        }
    }

    async fn bring_one(&self, end: Delivery, failures: &mut (u64, u32)) -> Result<(), ClientError> {
        let message = match Message::from_json(end.body.as_bytes(), &self.registries.get()) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(%error, "a result of an earlier version cannot be read and is lost");
                self.delivered(end.sequence);
                return Ok(());
            }
        };
        match self.client.deliver(&self.supervisor.result, &message).await {
            Ok(()) => self.delivered(end.sequence),
            Err(error) => {
                if failures.0 != end.sequence {
                    *failures = (end.sequence, 0);
                }
                failures.1 += 1;
                if !is_final(&error, failures.1) {
                    return Err(error);
                }
                let (supervisor, token) = (&*self.supervisor.name, &*end.job.token);
                tracing::error!(supervisor, token, %error, "a result was refused and is given up");
                self.delivered(end.sequence);
            }
        }
        Ok(())
    }

    fn delivered(&self, sequence: u64) {
        let peer = Arc::clone(&self.supervisor.name);
        self.reception.tell(Request::Delivered { peer, sequence });
    }
}

/// Whether it makes no sense to bring a result again.
fn is_final(error: &ClientError, failures: u32) -> bool {
    match error {
        // Time-out, not registered, too many requests: these pass.
        ClientError::Status { status: 404 | 408 | 428 | 429, .. } => false,
        ClientError::Status { status: 400..=499, .. } => true,
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
mod outage;

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
    fn a_result_is_given_up_only_where_bringing_it_again_makes_no_sense() {
        let status = |status| ClientError::Status {
            url: Box::new("http://127.0.0.1/".parse().unwrap()),
            status,
            reason: String::new(),
        };
        assert!(is_final(&status(400), 1));
        assert!(!is_final(&status(428), 99));
        assert!(!is_final(&status(503), 99));
        assert!(!is_final(&status(500), 9));
        assert!(is_final(&status(500), 10));
    }
}
