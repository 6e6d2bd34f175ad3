//! A supervisor that is away while results pile up, and one that has forgotten its hosts.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicUsize, atomic::Ordering, mpsc},
    time::Duration,
};

use sonde_mplane::{Kind, Message, Outcome, Outcomes, Time, Value as Wire};
use sonde_mplane_http::{
    Attendance, Client, ComponentPaths, ComponentPort, Limits as PortLimits, Peer, Refusal,
    SupervisorAddress, Timeouts, Work, component_port, serve,
};
use sonde_plugin_api::schema::Value;
use sonde_spool::Options;
use tokio::sync::oneshot;

use super::*;
use crate::{
    RunId,
    component::{
        Offering,
        desk::{Desk, Ledgers, Measurer},
        fixture::{offers, specification},
        jobs::Outcome as Measured,
        offered::Offered,
        reception::{self, now},
        settings::{Limits, Override},
    },
};

const RESULTS: usize = 10_000;

/// Every measurement is over at once; its result is its number.
#[derive(Default)]
struct Instantly {
    next: u64,
    over: Vec<RunId>,
}

impl Measurer for Instantly {
    fn start(&mut self, _: &str, _: &Offered, _: BTreeMap<String, Value>) -> Result<RunId, String> {
        self.next += 1;
        self.over.push(RunId(self.next));
        Ok(RunId(self.next))
    }

    fn obey(&mut self, _: Arc<crate::Configuration>) {}

    fn interrupt(&mut self, _: RunId) {}

    fn ended(&mut self, _: Duration) -> Vec<(RunId, Measured)> {
        let at: Time = "2026-05-01 12:00:00".parse().unwrap();
        let measured = |run: RunId| {
            let rows = vec![vec![Wire::from(run.0), Wire::Natural(1)]];
            (run, Measured::Measured { from: at, to: at, rows })
        };
        std::mem::take(&mut self.over).into_iter().map(measured).collect()
    }
}

/// Notes what is delivered.
#[derive(Default)]
struct Supervisor {
    registrations: AtomicUsize,
    /// Registrations that it wants before it answers a poll.
    wanted: usize,
    /// The result of this token is not taken.
    fails_over: Option<&'static str>,
    /// The result of this token is never answered.
    silent_over: Option<&'static str>,
    polls: AtomicUsize,
    /// Registrations that fail.
    failing: usize,
    withdrawn: Mutex<Vec<String>>,
    delivered: Mutex<Vec<Message>>,
    /// Told when everything is there, or at the first poll that is answered.
    all: Mutex<Option<oneshot::Sender<()>>>,
}

impl Supervisor {
    fn is_done(&self) {
        if let Some(all) = self.all.lock().unwrap().take() {
            let _ = all.send(());
        }
    }
}

impl ComponentPort for Supervisor {
    async fn register(&self, _: &Peer, messages: Vec<Message>) -> Result<Outcomes, Refusal> {
        if self.registrations.fetch_add(1, Ordering::Relaxed) < self.failing {
            return Err(Refusal::Later("away".to_owned()));
        }
        let withdrawals = messages.iter().filter(|message| message.kind() == Kind::Withdrawal);
        let labels = withdrawals.map(|message| message.label().unwrap_or_default().to_owned());
        self.withdrawn.lock().unwrap().extend(labels);
        let label = |message: &Message| message.label().unwrap_or_default().to_owned();
        Ok(Outcomes(messages.iter().map(|it| (label(it), Outcome::Registered)).collect()))
    }

    async fn poll(&self, _: &Peer) -> Work {
        self.polls.fetch_add(1, Ordering::Relaxed);
        if self.registrations.load(Ordering::Relaxed) < self.wanted {
            return Work::Register;
        }
        if self.wanted > 0 {
            self.is_done();
        }
        Work::Messages(Vec::new())
    }

    async fn deliver(&self, _: &Peer, message: Message) -> Result<(), Refusal> {
        if self.silent_over.is_some() && message.token() == self.silent_over {
            std::future::pending::<()>().await;
        }
        let mut delivered = self.delivered.lock().unwrap();
        if self.fails_over.is_some() && message.token() == self.fails_over {
            return Err(Refusal::Later("the disk is full".to_owned()));
        }
        delivered.push(message);
        if delivered.len() == RESULTS {
            self.is_done();
        }
        Ok(())
    }
}

/// A desk on its thread, and an attendance for a supervisor at this address.
struct World {
    reception: Reception,
    offers: Arc<Offers>,
    stop: watch::Sender<bool>,
    attends: tokio::task::JoinHandle<()>,
    worker: std::thread::JoinHandle<()>,
}

const TOP: &str = "top";

impl World {
    fn new(base: &str, folder: &Path, offering: &Offering) -> Self {
        Self::with(base, folder, offering, Timeouts::default())
    }

    fn with(base: &str, folder: &Path, offering: &Offering, timeouts: Timeouts) -> Self {
        let limits = Limits { specifications: 2 * RESULTS, ..Limits::default() };
        let names = [TOP.into()];
        let (measurer, options) = (Instantly::default(), Options::default());
        let on_end = Box::new(|_: &str| {});
        let registries = &Registries::built_in();
        let ledgers = Ledgers { folder, options, supervisors: &names, registries };
        let mut desk = Desk::open(measurer, limits, &ledgers, now(), on_end).unwrap();
        let (reception, requests) = Reception::new();
        let worker = std::thread::spawn(move || reception::serve(&mut desk, &requests));
        let offers = Arc::new(offers(offering));
        reception.tell(Request::Offer(Arc::clone(&offers)));
        let registries = Shared::new(Registries::built_in());
        let client = Client::new(None, Arc::clone(&registries), timeouts).unwrap();
        let (stop, stopped) = watch::channel(false);
        let attendance = Attendance {
            supervisor: SupervisorAddress::new(
                TOP,
                base,
                &ComponentPaths::default(),
                Duration::from_millis(200),
            ),
            client: Arc::new(client),
            registrant: Arc::new(Measures {
                reception: reception.clone(),
                offers: watch::channel(Arc::clone(&offers)).1,
                access: Shared::new(Access::open()),
                registries: Arc::clone(&registries),
                folder: folder.to_owned(),
            }),
            registries,
            changes: watch::channel(0).1,
            ends: Arc::default(),
            clock: now,
            stop: stopped,
        };
        let attends = tokio::spawn(attendance.run());
        Self { reception, offers, stop, attends, worker }
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        self.attends.await.unwrap();
        drop(self.reception);
        self.worker.join().unwrap();
    }
}

/// Begins to take the connections that wait at a port.
fn begin(listener: std::net::TcpListener, supervisor: &Arc<Supervisor>) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let registries = Shared::new(Registries::built_in());
    let router = component_port(Arc::clone(supervisor), registries, ComponentPaths::default());
    let (requests_per_second, request_burst) = (1_000_000, 1_000_000);
    let roomy = PortLimits { requests_per_second, request_burst, ..PortLimits::default() };
    let open = Shared::new(Access::open());
    tokio::spawn(serve(listener, router, None, open, roomy, std::future::pending()));
}

/// One result is not taken; the supervisor is asked for work all the same.
async fn holds_up_no_work(supervisor: Supervisor, timeouts: Timeouts) -> Arc<Supervisor> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Arc::new(supervisor);
    begin(listener, &supervisor);
    let world = World::with(&base, folder.path(), &Offering::default(), timeouts);
    let mut wanted = specification(&world.offers.offered, "knock-average-ip4", "now + 1s / 1s");
    wanted.head.token = Some("bad".to_owned());
    world.reception.tell(Request::Specify {
        peer: TOP.into(),
        specification: Box::new(wanted),
        permits: Box::new(|_| true),
        reply: Box::new(|_| {}),
    });
    let look = async {
        while supervisor.polls.load(Ordering::Relaxed) < 20 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), look).await.expect("it goes on polling");
    world.stop().await;
    supervisor
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_is_not_taken_holds_up_no_work() {
    let supervisor = Supervisor { fails_over: Some("bad"), ..<_>::default() };
    let supervisor = holds_up_no_work(supervisor, Timeouts::default()).await;
    assert_eq!(supervisor.registrations.load(Ordering::Relaxed), 1, "it is not taken for away");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_is_too_long_for_the_line_holds_up_no_work() {
    let supervisor = Supervisor { silent_over: Some("bad"), ..<_>::default() };
    let exchange = Duration::from_secs(1);
    holds_up_no_work(supervisor, Timeouts { exchange, ..<_>::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_results_wait_for_a_supervisor_that_is_away_and_come_once_and_in_order() {
    // Nobody takes its connections yet.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(&base, folder.path(), &Offering::default());
    let (told, receipts) = mpsc::channel();
    let given = Arc::new(AtomicUsize::new(0));
    for number in 0..RESULTS {
        let mut wanted = specification(&world.offers.offered, "knock-average-ip4", "now + 1s / 1s");
        wanted.head.token = Some(number.to_string());
        let (told, given) = (told.clone(), Arc::clone(&given));
        world.reception.tell(Request::Specify {
            peer: TOP.into(),
            specification: Box::new(wanted),
            permits: Box::new(|_| true),
            reply: Box::new(move |text| {
                assert!(text.contains("\"receipt\""), "{text}");
                if given.fetch_add(1, Ordering::Relaxed) + 1 == RESULTS {
                    told.send(()).unwrap();
                }
            }),
        });
    }
    tokio::task::spawn_blocking(move || receipts.recv().unwrap()).await.unwrap();

    let (all, over) = oneshot::channel();
    let supervisor = Arc::new(Supervisor { all: Mutex::new(Some(all)), ..Supervisor::default() });
    begin(listener, &supervisor);
    over.await.unwrap();
    world.stop().await;
    let delivered = supervisor.delivered.lock().unwrap();
    assert_eq!(delivered.len(), RESULTS, "once each");
    for (number, message) in delivered.iter().enumerate() {
        assert_eq!(message.kind(), Kind::Result);
        assert_eq!(message.token(), Some(&*number.to_string()), "in order");
    }
}

#[tokio::test]
async fn a_host_that_its_supervisor_does_not_know_registers_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(&base, folder.path(), &Offering::default());
    let (all, over) = oneshot::channel();
    let all = Mutex::new(Some(all));
    let supervisor = Arc::new(Supervisor { wanted: 3, all, ..Supervisor::default() });
    begin(listener, &supervisor);
    over.await.unwrap();
    assert_eq!(supervisor.registrations.load(Ordering::Relaxed), 3);
    world.stop().await;
}

#[tokio::test]
async fn capabilities_that_go_while_the_host_is_down_or_the_supervisor_away_are_taken_back_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Arc::new(Supervisor { failing: 3, ..Supervisor::default() });
    begin(listener, &supervisor);
    // Another constraint makes another capability.
    let limited = |most: u8| {
        let constraint = Some(format!("0 ... {most}"));
        let ttl = ("scamper.ping.ttl".to_owned(), Override { constraint, ..<_>::default() });
        let overrides = [("knock".to_owned(), [ttl].into())].into();
        Offering { overrides, ..<_>::default() }
    };
    let withdrawn = || std::mem::take(&mut *supervisor.withdrawn.lock().unwrap());
    for (most, is_gone) in [(255, false), (64, true), (32, true), (32, false)] {
        let before = supervisor.registrations.load(Ordering::Relaxed);
        let wanted = supervisor.failing.max(before) + 1 + usize::from(is_gone);
        let world = World::new(&base, folder.path(), &limited(most));
        while supervisor.registrations.load(Ordering::Relaxed) < wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let offers = Arc::clone(&world.offers);
        world.stop().await;
        let labels = offers.offered.iter().map(|it| it.capability.head.label().to_owned());
        let mut expected: Vec<String> = labels.filter(|_| is_gone).collect();
        let mut seen = withdrawn();
        expected.sort();
        seen.sort();
        assert_eq!(seen, expected, "{most}");
    }
}
