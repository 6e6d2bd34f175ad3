//! What a supervisor hears of who registers with it, in order.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

mod common;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{Served, capability, specification};
use sonde_mplane::{Capability, Kind, Message, Outcome, Outcomes, Registries, Specification, Time};
use sonde_mplane_http::{
    Access, Attendance, ComponentPaths, ComponentPort, End, Identity, Limits, Peer, Refusal,
    Registrant, Shared, SupervisorAddress, Work, component_port, exception,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// What a supervisor hears.
#[derive(Debug)]
enum Heard {
    Registration(Vec<Message>),
    Poll,
    Delivery(Box<Message>),
}

struct Supervisor {
    heard: mpsc::UnboundedSender<Heard>,
    /// Told once.
    work: Mutex<Vec<Message>>,
    /// Deliveries that it cannot take yet.
    busy: AtomicUsize,
}

impl ComponentPort for Supervisor {
    async fn register(&self, _: &Peer, messages: Vec<Message>) -> Result<Outcomes, Refusal> {
        let labels = messages.iter().filter_map(Message::label);
        // As an RI supervisor that does not know an element.
        if labels.clone().any(|label| label.starts_with("strange")) {
            return Err(Refusal::Invalid("an element is unknown".to_owned()));
        }
        let outcomes = labels.map(|label| (label.to_owned(), Outcome::Registered)).collect();
        self.heard.send(Heard::Registration(messages)).unwrap();
        Ok(Outcomes(outcomes))
    }

    async fn poll(&self, _: &Peer) -> Work {
        self.heard.send(Heard::Poll).unwrap();
        Work::Messages(std::mem::take(&mut self.work.lock().unwrap()))
    }

    async fn deliver(&self, _: &Peer, message: Message) -> Result<(), Refusal> {
        let less = |busy: usize| busy.checked_sub(1);
        if self.busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
            return Err(Refusal::Later("the disk is full".to_owned()));
        }
        self.heard.send(Heard::Delivery(Box::new(message))).unwrap();
        Ok(())
    }
}

/// Has this to offer.
#[derive(Default)]
struct Offering {
    offered: Vec<Capability>,
    /// What the supervisor may know from an earlier process.
    registered: Vec<Capability>,
    /// There is always one more.
    has_ends: bool,
}

impl Registrant for Offering {
    fn capabilities(&self, _: &Identity) -> Vec<Capability> {
        self.offered.clone()
    }

    async fn specify(
        &self,
        _: &Arc<str>,
        specification: Specification,
        _: &Arc<HashSet<String>>,
    ) -> Option<Message> {
        Some(specification.receipt())
    }

    async fn interrupt(&self, _: &Arc<str>, _: &str) -> Option<Message> {
        None
    }

    async fn ends(&self, _: &Arc<str>, _: usize) -> Vec<End> {
        let exception = exception(Some("t1"), "no route").to_json();
        let end = End { sequence: 1, token: "t1".to_owned(), body: exception };
        if self.has_ends { vec![end] } else { Vec::new() }
    }

    fn delivered(&self, _: &Arc<str>, _: u64) {}

    fn registered(&self, _: &Arc<str>) -> Vec<Capability> {
        self.registered.clone()
    }
}

/// Somebody who registers with a supervisor, and what that one hears.
struct World {
    heard: mpsc::UnboundedReceiver<Heard>,
    stop: watch::Sender<bool>,
    attends: JoinHandle<()>,
    _port: Served,
}

impl World {
    async fn new(offering: Offering) -> Self {
        Self::with(offering, Vec::new(), 0).await
    }

    /// With work from a supervisor that cannot take so many deliveries yet.
    async fn with(offering: Offering, work: Vec<Message>, busy: usize) -> Self {
        let (told, heard) = mpsc::unbounded_channel();
        let (work, busy) = (Mutex::new(work), AtomicUsize::new(busy));
        let supervisor = Arc::new(Supervisor { heard: told, work, busy });
        let registries = Shared::new(Registries::built_in());
        let paths = ComponentPaths::default();
        let router = component_port(supervisor, Arc::clone(&registries), paths.clone());
        let open = Shared::new(Access::open());
        let port = Served::new(router, None, open, Limits::default()).await;
        let (stop, stopped) = watch::channel(false);
        let poll = Duration::from_millis(10);
        let attendance = Attendance {
            supervisor: SupervisorAddress::new("top", &port.url(""), &paths, poll),
            client: Arc::new(common::client(None)),
            registrant: Arc::new(offering),
            registries,
            changes: watch::channel(0).1,
            ends: Arc::default(),
            clock: || Time::from_unix_us(0),
            stop: stopped,
        };
        let attends = tokio::spawn(attendance.run());
        Self { heard, stop, attends, _port: port }
    }

    async fn next(&mut self) -> Heard {
        self.heard.recv().await.unwrap()
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        self.attends.await.unwrap();
    }
}

#[tokio::test]
async fn many_capabilities_are_registered_in_portions_and_the_callback_is_the_last() {
    let labels: Vec<String> = (0..450).map(|number| format!("ping-{number}")).collect();
    let offered = labels.iter().map(|label| capability(label, "destination.ip4")).collect();
    let mut world = World::new(Offering { offered, ..<_>::default() }).await;
    let mut sizes = Vec::new();
    let mut registered = Vec::new();
    while let Heard::Registration(messages) = world.next().await {
        assert!(messages.iter().all(|it| it.kind() == Kind::Capability));
        sizes.push(messages.len());
        registered.extend(messages.iter().map(|it| it.label().unwrap().to_owned()));
    }
    world.stop().await;
    assert_eq!(sizes, [200, 200, 51]);
    assert_eq!(registered.pop().unwrap(), "callback");
    assert_eq!(registered, labels);
}

#[tokio::test]
async fn nothing_is_taken_back_that_a_supervisor_may_not_know() {
    let (registered, offered) =
        (vec![capability("old", "destination.ip4")], vec![capability("new", "source.port")]);
    let mut world = World::new(Offering { offered, registered, ..<_>::default() }).await;
    let mut seen = Vec::new();
    while let Heard::Registration(messages) = world.next().await {
        let of = |it: &Message| (it.kind(), it.label().unwrap().to_owned());
        seen.extend(messages.iter().map(of));
    }
    world.stop().await;
    let expected = [
        (Kind::Capability, "old"),
        (Kind::Withdrawal, "old"),
        (Kind::Capability, "new"),
        (Kind::Capability, "callback"),
    ];
    assert_eq!(seen, expected.map(|(kind, label)| (kind, label.to_owned())));
}

#[tokio::test]
async fn a_receipt_that_could_not_be_given_is_given_before_there_is_more_work() {
    let offered = capability("ping", "destination.ip4");
    let tokens = ["t1", "t2", "t3"];
    let work = tokens.map(|token| specification(&offered, token).into()).to_vec();
    let mut world =
        World::with(Offering { offered: vec![offered], ..<_>::default() }, work, 1).await;
    let mut given = Vec::new();
    let mut polls = 0;
    while polls < 2 {
        match world.next().await {
            Heard::Delivery(receipt) => given.push(receipt.token().unwrap().to_owned()),
            Heard::Poll => polls += 1,
            Heard::Registration(_) => {}
        }
    }
    world.stop().await;
    assert_eq!(given, tokens);
}

#[tokio::test]
async fn work_is_no_callback_whatever_its_verb() {
    let offered = capability("ping", "destination.ip4");
    let mut work = specification(&offered, "t1");
    work.head.verb = "callback".to_owned();
    work.when = "now".parse().unwrap();
    let offering = Offering { offered: vec![offered], ..<_>::default() };
    let mut world = World::with(offering, vec![work.into()], 0).await;
    let mut polls = 0;
    let receipt = loop {
        match world.next().await {
            Heard::Delivery(receipt) => break Some(*receipt),
            Heard::Poll if polls == 1 => break None,
            Heard::Poll => polls += 1,
            Heard::Registration(_) => {}
        }
    };
    world.stop().await;
    assert_eq!(receipt.map(|it| it.kind()), Some(Kind::Receipt));
}

#[tokio::test]
async fn a_capability_that_a_supervisor_cannot_read_costs_no_other() {
    let labels = ["first", "strange-1", "second", "third", "strange-2", "strange-3", "fourth"];
    let offered = labels.map(|label| capability(label, "destination.ip4"));
    let mut world = World::new(Offering { offered: offered.to_vec(), ..<_>::default() }).await;
    let mut registered = Vec::new();
    while let Heard::Registration(messages) = world.next().await {
        registered.extend(messages.iter().map(|it| it.label().unwrap().to_owned()));
    }
    world.stop().await;
    assert_eq!(registered, ["first", "second", "third", "fourth", "callback"]);
}

#[tokio::test]
async fn ends_without_an_end_keep_nobody_from_polling() {
    let mut world = World::new(Offering { has_ends: true, ..<_>::default() }).await;
    let (mut polls, mut ends) = (0, 0);
    while polls < 3 {
        match world.next().await {
            Heard::Poll => polls += 1,
            Heard::Delivery(_) => ends += 1,
            Heard::Registration(_) => {}
        }
    }
    world.attends.abort();
    // After 5000 requests the supervisor wants a rest.
    assert!((1..4000).contains(&ends), "{ends}");
}
