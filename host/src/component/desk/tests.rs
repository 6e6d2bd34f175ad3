use std::{fs, path::PathBuf, sync::mpsc};

use sonde_mplane::{Registries, Value as Wire};

use super::*;
use crate::component::{
    Delivery, Offering, client,
    fixture::{offers, specification},
    reception::{self, Reception},
};

mod restart;

const NOW: &str = "2026-05-01 12:00:00";
const ROOMY: Options = Options { segment_octets: 1 << 16, cap_octets: 1 << 24 };

/// Measures nothing: a test says when it has ended.
#[derive(Default)]
struct Puppet {
    next: u64,
    running: Vec<RunId>,
    over: Vec<RunId>,
    peers: Vec<String>,
    fails: bool,
    is_unable: bool,
    now: Option<Time>,
}

impl Measurer for Puppet {
    fn start(
        &mut self,
        peer: &str,
        _: &Offered,
        _: BTreeMap<String, Value>,
    ) -> Result<RunId, String> {
        self.peers.push(peer.to_owned());
        self.next += 1;
        self.running.push(RunId(self.next));
        Ok(RunId(self.next))
    }

    fn obey(&mut self, _: Arc<Configuration>) {}

    fn interrupt(&mut self, run: RunId) {
        self.over.push(run);
    }

    fn ended(&mut self, _: Duration) -> Vec<(RunId, Outcome)> {
        let at = self.now.unwrap_or_else(|| NOW.parse().unwrap());
        let over = std::mem::take(&mut self.over);
        self.running.retain(|run| !over.contains(run));
        let rows = || vec![vec![Wire::Natural(412), Wire::Natural(3)]];
        let outcome = |run| match self.fails {
            true => (run, Outcome::Failed("no way there".to_owned())),
            false => (run, Outcome::Measured { from: at, to: at, rows: rows() }),
        };
        over.into_iter().map(outcome).collect()
    }

    fn is_able(&self) -> bool {
        !self.is_unable
    }
}

struct World {
    desk: Desk<Puppet>,
    folder: PathBuf,
    options: Options,
    now: Time,
    uptime: Duration,
    _keep: Arc<tempfile::TempDir>,
}

impl World {
    fn new(options: Options) -> Self {
        let keep = Arc::new(tempfile::tempdir().unwrap());
        Self::in_folder(keep, options, NOW.parse().unwrap())
    }

    fn in_folder(keep: Arc<tempfile::TempDir>, options: Options, now: Time) -> Self {
        let folder = keep.path().to_path_buf();
        let mut desk = Desk::open(
            Puppet::default(),
            Limits::default(),
            &Ledgers {
                folder: &folder,
                options,
                supervisors: &["top".into()],
                registries: &Registries::built_in(),
            },
            now,
            Box::new(|_| {}),
        )
        .unwrap();
        desk.handle(now, Request::Offer(Arc::new(offers(&Offering::default()))));
        Self { desk, folder, options, now, uptime: Duration::ZERO, _keep: keep }
    }

    /// As after a kill: what was written is there, and nothing else.
    fn restarted(self) -> Self {
        let Self { desk, folder, options, now, _keep: keep, .. } = self;
        drop(desk);
        assert_eq!(folder, keep.path());
        Self::in_folder(keep, options, now)
    }

    fn step(&mut self) {
        self.desk.measurer.now = Some(self.now);
        self.desk.step(self.now, self.uptime, Duration::ZERO);
    }

    fn pass(&mut self, seconds: u64) {
        self.uptime += Duration::from_secs(seconds);
        self.now = self.now.plus(Duration::from_secs(seconds));
        self.step();
    }

    fn ask(&mut self, request: impl FnOnce(Reply<String>) -> Request) -> mpsc::Receiver<String> {
        let (sender, receiver) = mpsc::channel();
        // Not every test listens.
        let reply: Reply<String> = Box::new(move |text| drop(sender.send(text)));
        self.desk.handle(self.now, request(reply));
        receiver
    }

    fn specify(&mut self, peer: &str, token: &str) -> mpsc::Receiver<String> {
        self.specify_at("now + 3s / 1s", peer, token)
    }

    fn specify_at(&mut self, when: &str, peer: &str, token: &str) -> mpsc::Receiver<String> {
        let offered = offers(&Offering::default()).offered;
        let mut made = specification(&offered, "knock-average-ip4", when);
        made.head.token = Some(token.to_owned());
        let (peer, specification) = (peer.into(), Box::new(made));
        self.ask(|reply| Request::Specify {
            peer,
            specification,
            permits: Box::new(|_| true),
            reply,
        })
    }

    fn redeem(&mut self, peer: &str, token: &str) -> Message {
        let job = JobId::new(peer, token);
        read(&self.ask(|reply| Request::Redeem { job, reply }).try_recv().unwrap())
    }

    fn redeemed(&mut self, peer: &str, token: &str) {
        let job = JobId::new(peer, token);
        self.desk.handle(self.now, Request::Redeemed { job });
    }

    fn fetch(&mut self) -> Vec<Delivery> {
        let (sender, receiver) = mpsc::channel();
        let reply: Reply<Vec<Delivery>> = Box::new(move |it| sender.send(it).unwrap());
        let peer = "top".into();
        self.desk.handle(self.now, Request::Fetch { peer, most: 10_000, reply });
        receiver.try_recv().unwrap()
    }

    /// A job ends with something long.
    fn owe(&mut self, token: &str, octets: usize) {
        let exception = Exception { token: None, message: "x".repeat(octets) };
        let job = JobId::new("top", token);
        self.desk.owed.push_back(End { job, link: None, message: exception.into() });
    }

    fn delivered(&mut self, sequence: u64) {
        let peer = "top".into();
        self.desk.handle(self.now, Request::Delivered { peer, sequence });
    }

    /// Asks it to stop; what was written by then is there for the next process.
    fn stopped(mut self) -> Self {
        self.desk.handle(self.now, Request::Stop(Box::new(|()| {})));
        for _ in 0..3 {
            self.step();
        }
        assert!(self.desk.is_over());
        self.restarted()
    }

    /// Everything that runs ends.
    fn finish(&mut self) {
        let puppet = &mut self.desk.measurer;
        puppet.over.extend(puppet.running.iter().copied());
        self.step();
    }
}

fn read(text: &str) -> Message {
    Message::from_json(text.as_bytes(), &Registries::built_in()).unwrap()
}

fn message_of(text: &str) -> String {
    match read(text) {
        Message::Exception(exception) => exception.message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_receipt_is_given_when_the_specification_is_on_disk_and_not_before() {
    let mut world = World::new(ROOMY);
    let receipt = world.specify("top", "t1");
    assert!(receipt.try_recv().is_err());
    world.step();
    assert!(matches!(read(&receipt.try_recv().unwrap()), Message::Receipt(_)));
}

#[test]
fn a_receipt_that_waits_for_the_disk_is_not_given_to_who_asks_again() {
    let mut world = World::new(ROOMY);
    let peer = client("org.example.Somebody");
    world.specify(&peer, "t1");
    let job = JobId::new(&peer, "t1");
    let again = [world.specify(&peer, "t1"), world.ask(|reply| Request::Redeem { job, reply })];
    assert!(again.iter().all(|receipt| receipt.try_recv().is_err()));
    world.step();
    for receipt in again {
        assert!(matches!(read(&receipt.try_recv().unwrap()), Message::Receipt(_)));
    }
}

#[test]
fn an_end_is_delivered_until_it_is_acknowledged_also_by_the_next_process() {
    let mut world = World::new(ROOMY);
    for token in ["t1", "t2", "t3"] {
        world.specify("top", token);
    }
    world.step();
    assert_eq!(world.fetch(), []);
    world.finish();
    let ends = world.fetch();
    let tokens: Vec<&str> = ends.iter().map(|end| &*end.job.token).collect();
    assert_eq!(tokens, ["t1", "t2", "t3"]);
    assert!(matches!(read(&ends[0].body), Message::Result(_)));
    world.delivered(ends[0].sequence);
    let mut world = world.restarted();
    assert_eq!(world.fetch(), ends[1..]);
    world.delivered(ends[1].sequence);
    world.delivered(ends[2].sequence);
    assert_eq!(world.restarted().fetch(), []);
}

#[test]
fn what_ran_when_the_host_was_killed_ends_once_as_an_exception() {
    let mut world = World::new(ROOMY);
    world.specify("top", "done");
    world.step();
    world.finish();
    world.specify("top", "cut-off");
    world.step();
    let mut world = world.restarted().restarted();
    let ends = world.fetch();
    let tokens: Vec<&str> = ends.iter().map(|end| &*end.job.token).collect();
    assert_eq!(tokens, ["done", "cut-off"]);
    assert_eq!(message_of(&ends[1].body), "the host was stopped before the measurement had ended");
}

#[test]
fn a_token_that_has_ended_is_not_measured_again_by_the_next_process() {
    let mut world = World::new(ROOMY);
    world.specify("top", "t1");
    world.step();
    world.finish();
    let mut world = world.restarted();
    let again = world.specify("top", "t1");
    assert!(matches!(read(&again.try_recv().unwrap()), Message::Result(_)));
    world.step();
    assert!(world.desk.measurer.running.is_empty());
}

#[test]
fn who_asks_again_for_what_was_delivered_waits_for_nothing() {
    let mut world = World::new(ROOMY);
    world.specify("top", "t1");
    world.step();
    world.finish();
    let sequence = world.fetch()[0].sequence;
    world.delivered(sequence);
    let again = world.specify("top", "t1").try_recv().unwrap();
    assert!(message_of(&again).starts_with("measured before"), "{again}");
    world.step();
    assert_eq!(world.desk.measurer.next, 1);
}

#[test]
fn a_job_whose_end_waits_longer_than_tokens_are_remembered_is_not_measured_again() {
    let mut world = World::new(ROOMY);
    world.specify("top", "t1");
    world.step();
    world.finish();
    world.pass(Limits::default().memory.as_secs() + 1);
    let again = world.specify("top", "t1");
    world.step();
    assert!(matches!(read(&again.try_recv().unwrap()), Message::Result(_)));
    assert_eq!(world.desk.measurer.next, 1);
    assert_eq!(world.fetch().len(), 1);
}

/// Changes an octet in the middle of the last record that is in the spool of a peer.
fn damage(folder: &Path) {
    let segments = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let has_results = |file: &PathBuf| {
        fs::read(file).is_ok_and(|octets| find(&octets, b"resultvalues").is_some())
    };
    let file = segments.into_iter().find(has_results).unwrap();
    let mut octets = fs::read(&file).unwrap();
    let at = find(&octets, b"resultvalues").unwrap();
    octets[at] ^= 0x20;
    fs::write(file, octets).unwrap();
}

fn find(octets: &[u8], part: &[u8]) -> Option<usize> {
    octets.windows(part.len()).position(|window| window == part)
}

#[test]
fn a_result_that_is_damaged_on_disk_ends_its_job_with_an_exception() {
    for is_restarted in [false, true] {
        let mut world = World::new(ROOMY);
        world.specify("top", "t1");
        world.step();
        world.finish();
        damage(&world.folder.join("top"));
        if is_restarted {
            world = world.restarted();
        }
        let fetched = world.fetch();
        let [end] = &fetched[..] else { panic!("{fetched:?}") };
        let Message::Exception(exception) = read(&end.body) else { panic!("{}", end.body) };
        assert_eq!(exception.token.as_deref(), Some("t1"));
    }
}

#[test]
fn a_client_redeems_an_end_until_it_has_it() {
    let mut world = World::new(ROOMY);
    let peer = client("org.example.Somebody");
    world.specify(&peer, "t1");
    world.step();
    assert_eq!(world.desk.measurer.peers, [&*peer], "who has a rate of its own");
    assert!(matches!(world.redeem(&peer, "t1"), Message::Receipt(_)));
    assert_eq!(world.fetch(), []);
    let job = JobId::new(&peer, "t1");
    let mut waiting = |job| {
        let (reply, waiting) = oneshot::channel();
        world.desk.handle(NOW.parse().unwrap(), Request::Await { job, reply });
        waiting
    };
    drop(waiting(job.clone()));
    let mut immediate = waiting(job.clone());
    assert_eq!(world.desk.waiters[&job].len(), 1, "one has gone");
    world.finish();
    assert!(matches!(read(&immediate.try_recv().unwrap()), Message::Result(_)));
    let mut world = world.restarted();
    assert!(matches!(world.redeem(&client("org.example.Other"), "t1"), Message::Exception(_)));
    for _ in 0..2 {
        assert!(matches!(world.redeem(&peer, "t1"), Message::Result(_)), "it may not have come");
    }
    world.redeemed(&peer, "t1");
    let gone = world.redeem(&peer, "t1");
    assert!(matches!(gone, Message::Exception(it) if it.message == "Unknown job"));
}

#[test]
fn an_end_that_comes_while_a_client_is_told_what_there_was_so_far_stays() {
    let mut world = World::new(ROOMY);
    let peer = client("org.example.Somebody");
    world.specify_at("repeat now + 10s / 10s { now + 1s / 1s }", &peer, "t1");
    world.step();
    world.finish();
    assert!(matches!(world.redeem(&peer, "t1"), Message::Envelope(_)));
    world.pass(10);
    world.finish();
    world.redeemed(&peer, "t1");
    assert!(matches!(world.redeem(&peer, "t1"), Message::Envelope(_)));
    world.redeemed(&peer, "t1");
    assert!(matches!(world.redeem(&peer, "t1"), Message::Exception(_)));
}

#[test]
fn a_client_hears_of_a_failed_job_as_often_as_it_asks() {
    let mut world = World::new(ROOMY);
    let peer = client("org.example.Somebody");
    world.specify(&peer, "t1");
    world.step();
    world.desk.measurer.fails = true;
    world.finish();
    for _ in 0..3 {
        let failed = world.redeem(&peer, "t1");
        assert!(matches!(failed, Message::Exception(it) if it.message == "no way there"));
    }
}

#[test]
fn what_a_client_never_redeems_goes_when_its_token_is_forgotten() {
    let mut world = World::new(ROOMY);
    let peer = client("org.example.Somebody");
    for (token, fails) in [("t1", false), ("t2", true)] {
        world.specify(&peer, token);
        world.specify("top", token);
        world.step();
        world.desk.measurer.fails = fails;
        world.finish();
    }
    let memory = Limits::default().memory.as_secs();
    world.pass(memory);
    assert_eq!(world.desk.ledger(&peer).unwrap().waiting(), 4, "ends and what was promised");
    world.pass(1);
    assert_eq!(world.desk.ledger(&peer).unwrap().waiting(), 0);
    assert_eq!(world.fetch().len(), 2, "a supervisor is brought all");
    let again = world.specify(&peer, "t1");
    world.step();
    assert!(matches!(read(&again.try_recv().unwrap()), Message::Receipt(_)));
}

#[test]
fn a_wall_clock_that_is_set_costs_no_result() {
    let mut world = World::new(ROOMY);
    let peer = client("org.example.Somebody");
    world.specify(&peer, "t1");
    world.step();
    world.finish();
    world.now = "2056-05-01 12:00:00".parse().unwrap();
    world.step();
    assert!(matches!(world.redeem(&peer, "t1"), Message::Result(_)));
}

#[test]
fn an_interrupt_of_a_job_that_nobody_knows_ends_it_and_one_of_a_brought_end_is_not_answered() {
    let mut world = World::new(ROOMY);
    let interrupt = |world: &mut World, token: &str| {
        let job = JobId::new("top", token);
        world.ask(|reply| Request::Interrupt { job, reply }).try_recv()
    };
    let unknown = interrupt(&mut world, "t0").unwrap();
    assert!(matches!(read(&unknown), Message::Exception(it) if it.token.as_deref() == Some("t0")));
    world.specify("top", "t1");
    world.step();
    world.finish();
    let end = world.fetch().remove(0);
    let waiting = interrupt(&mut world, "t1").unwrap();
    assert!(matches!(read(&waiting), Message::Result(_)), "it may not have arrived");
    let peer = "top".into();
    let delivered = Request::Delivered { peer, sequence: end.sequence };
    world.desk.handle(NOW.parse().unwrap(), delivered);
    assert!(interrupt(&mut world, "t1").is_err());
}

#[test]
fn an_end_that_was_not_written_yet_makes_nobody_busy() {
    let mut world = World::new(ROOMY);
    world.specify_at("2026-05-01 13:00:00 + 3s / 1s", "top", "t1");
    world.step();
    let job = JobId::new("top", "t1");
    world.ask(|reply| Request::Interrupt { job, reply });
    let receipt = world.specify("top", "t2");
    world.step();
    assert!(matches!(read(&receipt.try_recv().unwrap()), Message::Receipt(_)));
}

#[test]
fn an_interrupt_is_answered_with_the_receipt_and_gives_a_result() {
    let mut world = World::new(ROOMY);
    world.specify("top", "t1");
    world.step();
    let job = JobId::new("top", "t1");
    let receipt = world.ask(|reply| Request::Interrupt { job, reply });
    assert!(receipt.try_recv().is_err(), "it is not on disk yet");
    world.step();
    assert!(matches!(read(&receipt.try_recv().unwrap()), Message::Receipt(_)));
    assert!(matches!(read(&world.fetch()[0].body), Message::Result(_)));
}

#[test]
fn capabilities_that_are_not_permitted_are_not_there() {
    let mut world = World::new(ROOMY);
    let offered = offers(&Offering::default()).offered;
    let made = specification(&offered, "knock-average-ip4", "now + 3s / 1s");
    let refused = world.ask(|reply| Request::Specify {
        peer: client("stranger"),
        specification: Box::new(made),
        permits: Box::new(|label| label != "knock-average-ip4"),
        reply,
    });
    assert_eq!(
        message_of(&refused.try_recv().unwrap()),
        "No service registered for specification knock-average-ip4-0"
    );
}

#[test]
fn without_room_for_its_end_a_specification_is_refused_as_busy_until_there_is_room() {
    let options = Options { segment_octets: 1 << 14, cap_octets: 80 << 10 };
    let mut world = World::new(options);
    let mut accepted = 0;
    let refusal = loop {
        let answer = world.specify("top", &format!("t{accepted}"));
        world.step();
        let answer = answer.try_recv().unwrap();
        match read(&answer) {
            Message::Receipt(_) => accepted += 1,
            _ => break message_of(&answer),
        }
        world.finish();
    };
    assert!(refusal.starts_with("busy: the spool is full: "), "{refusal}");
    assert!(accepted > 5);
    let ends = world.fetch();
    assert_eq!(ends.len(), accepted);
    for end in ends {
        world.delivered(end.sequence);
    }
    let answer = world.specify("top", "later");
    world.step();
    assert!(matches!(read(&answer.try_recv().unwrap()), Message::Receipt(_)));
}

#[test]
fn one_peer_whose_spool_is_full_makes_nobody_else_busy() {
    let mut world = World::new(Options { segment_octets: 1 << 14, cap_octets: 80 << 10 });
    world.owe("long", 80 << 10);
    let refused = world.specify("top", "t1").try_recv().unwrap();
    assert_eq!(message_of(&refused), "busy: the spool has no room for results");
    let receipt = world.specify(&client("org.example.Somebody"), "t1");
    world.step();
    assert!(matches!(read(&receipt.try_recv().unwrap()), Message::Receipt(_)));
}

#[test]
fn long_ends_are_fetched_a_few_at_a_time() {
    let mut world = World::new(ROOMY);
    for token in ["t1", "t2", "t3"] {
        world.owe(token, 3 << 20);
    }
    world.step();
    let fetched = world.fetch();
    assert_eq!(fetched.len(), 2);
    fetched.iter().for_each(|end| world.delivered(end.sequence));
    assert_eq!(&*world.fetch()[0].job.token, "t3");
}

#[test]
fn stopping_interrupts_what_runs_and_ends_when_everything_is_on_disk() {
    let mut world = World::new(ROOMY);
    world.specify("top", "t1");
    world.step();
    let now = NOW.parse().unwrap();
    world.desk.handle(now, Request::Stop(Box::new(|()| {})));
    assert!(!world.desk.is_over());
    let late = world.specify("top", "t2");
    assert_eq!(message_of(&late.try_recv().unwrap()), "busy: the host is being stopped");
    world.step();
    assert!(world.desk.is_over());
    assert!(matches!(read(&world.restarted().fetch()[0].body), Message::Result(_)));
}

#[test]
fn a_desk_whose_measurer_has_ended_works_no_more() {
    let mut world = World::new(Options::default());
    world.desk.measurer.is_unable = true;
    let (_reception, requests) = Reception::new();
    let (sender, over) = mpsc::channel();
    std::thread::spawn(move || {
        reception::serve(&mut world.desk, &requests);
        sender.send(()).unwrap();
    });
    assert_eq!(over.recv_timeout(Duration::from_secs(60)), Ok(()));
}
