use sonde_mplane::{Envelope, Field, Kind, Value, When};

use super::*;
use crate::{
    fixtures::{at, average, registries, wanted},
    roster::Roster,
};

const HOST: &str = "org.mplane.Components.One";
const CLIENT: &str = "org.mplane.Clients.One";
const LINK: &str = "https://127.0.0.1:8889/register/result";

/// A relay, and everything that it wanted to be durable.
struct Scene {
    roster: Roster,
    relay: Relay,
    changes: Vec<Change>,
}

impl Scene {
    fn new() -> Self {
        let mut roster = Roster::new(None);
        roster.offer(HOST, average("192.0.2.1"), at(0));
        Self { roster, relay: Relay::default(), changes: Vec::new() }
    }

    fn take_on(&mut self, client: &str, token: &str) -> Answer {
        self.take_on_specification(client, wanted("192.0.2.1", token))
    }

    fn take_on_specification(&mut self, client: &str, specification: Specification) -> Answer {
        let roster = &self.roster;
        let choose = |it: &Specification| roster.choose(it, at(1), |_| true);
        let taken = self.relay.take_on(client, specification, LINK, at(1), choose);
        let (answer, changes) = taken.unwrap();
        self.store(changes);
        answer
    }

    fn poll(&mut self) -> Vec<Message> {
        self.relay.poll(HOST, at(2))
    }

    fn deliver(&mut self, message: Message) {
        self.store(self.relay.deliver(HOST, message, at(9)));
    }

    fn interrupt(&mut self) -> Answer {
        let (answer, changes) = self.relay.interrupt(CLIENT, "mine", at(3));
        self.store(changes);
        answer
    }

    /// With a host that is there.
    fn sweep(&self, now: Time) -> Vec<Change> {
        self.relay.sweep(now, Duration::from_secs(3600), |_| Some(now))
    }

    fn store(&mut self, changes: Vec<Change>) {
        self.relay.settle(&changes);
        self.changes.extend(changes);
    }

    fn outcomes(&self) -> Vec<Message> {
        let outcome = |change: &Change| match change {
            Change::Ended { outcome, .. } => {
                Some(Message::from_json(outcome.as_bytes(), &registries()).unwrap())
            }
            _ => None,
        };
        self.changes.iter().filter_map(outcome).collect()
    }
}

fn specification(message: &Message) -> &Specification {
    match message {
        Message::Specification(specification) => specification,
        other => panic!("{} instead of a specification", other.kind()),
    }
}

fn measured(specification: &Specification) -> Message {
    let when = When::measured(at(2), at(5));
    Message::from(specification.result(when, Vec::new()))
}

fn text(answer: &Answer) -> String {
    match answer {
        Answer::Message(message) => match &**message {
            Message::Exception(exception) => exception.message.clone(),
            other => other.kind().to_string(),
        },
        Answer::Outcome { number } => format!("outcome {number}"),
    }
}

#[test]
fn a_result_comes_back_under_the_label_and_token_of_the_client() {
    let mut scene = Scene::new();
    assert_eq!(text(&scene.take_on(CLIENT, "mine")), "receipt");
    let polled = scene.poll();
    let forwarded = specification(&polled[0]).clone();
    assert_eq!(forwarded.head.label(), "ping-average-ip4-0");
    assert_eq!(forwarded.head.link(), Some(LINK));
    assert_ne!(forwarded.token(), "mine");
    assert_eq!(scene.poll(), []);
    scene.deliver(forwarded.receipt());
    assert_eq!(text(&scene.relay.redeem(CLIENT, "mine")), "receipt");
    scene.deliver(measured(&forwarded));
    assert_eq!(text(&scene.relay.redeem(CLIENT, "mine")), "outcome 0");
    let outcomes = scene.outcomes();
    assert_eq!(outcomes.len(), 1);
    assert_eq!(
        (outcomes[0].token(), outcomes[0].label()),
        (Some("mine"), Some("ping-average-ip4-0"))
    );
    let redeemed = [Change::Redeemed { number: 0 }];
    // Where that does not reach the disk the outcome is there for the next time.
    scene.relay.revert(&redeemed);
    assert_eq!(text(&scene.relay.redeem(CLIENT, "mine")), "outcome 0");
    scene.relay.settle(&redeemed);
    assert_eq!(text(&scene.relay.redeem(CLIENT, "mine")), UNKNOWN_JOB);
}

#[test]
fn a_host_gets_nothing_of_what_a_client_writes_but_scope_and_values() {
    let mut scene = Scene::new();
    let mut strange = wanted("192.0.2.1", "mine");
    strange.head.verb = sonde_mplane::CALLBACK.to_owned();
    let element = strange.parameters[0].element.clone();
    strange.head.metadata = vec![Field { element, value: Value::Missing }];
    scene.take_on_specification(CLIENT, strange);
    let polled = scene.poll();
    let forwarded = specification(&polled[0]);
    assert_eq!((&*forwarded.head.verb, &forwarded.head.metadata), ("measure", &Vec::new()));
    let wanted = wanted("192.0.2.1", "mine");
    assert_eq!((&forwarded.when, &forwarded.parameters), (&wanted.when, &wanted.parameters));
}

#[test]
fn a_host_gets_only_values_of_their_type() {
    let built = Capability::build("ping", "now ... future / 1s");
    let built = built.parameter("scamper.ping.ttl", "*").parameter("scamper.ping.rr", "*");
    let capability = built.result("delay.twoway.icmp.us.min").finish(&registries()).unwrap();
    let mut scene = Scene::new();
    scene.roster.offer(HOST, capability.clone(), at(0));
    let mut wanted = capability.specification("ping-0", "now + 3s / 1s".parse().unwrap());
    let mut values = |ttl: Value, rr: Value| {
        for field in &mut wanted.parameters {
            let is_ttl = field.element.name() == "scamper.ping.ttl";
            field.value = if is_ttl { ttl.clone() } else { rr.clone() };
        }
        let choose = |it: &Specification| scene.roster.choose(it, at(1), |_| true);
        scene.relay.take_on(CLIENT, wanted.clone(), LINK, at(1), choose).map(drop)
    };
    let refused = values(Value::from(1_u64), Value::from(5_u64)).unwrap_err().to_string();
    assert_eq!(refused, "scamper.ping.rr: \"5\" is no boolean, accepted: True, False, 1, 0");
    assert!(values(Value::from(f64::NAN), Value::from(true)).is_err());
    values(Value::from(true), Value::from(1_u64)).unwrap();
    let polled = scene.poll();
    let parameters = specification(&polled[0]).parameters.iter();
    let texts: Vec<String> = parameters.map(|it| it.value.to_string()).collect();
    assert_eq!(texts, ["1", "1"]);
}

#[test]
fn the_same_token_again_is_answered_alike_and_done_once() {
    let mut scene = Scene::new();
    scene.take_on(CLIENT, "mine");
    assert_eq!(text(&scene.take_on(CLIENT, "mine")), "receipt");
    let polled = scene.poll();
    assert_eq!(polled.len(), 1);
    scene.deliver(measured(specification(&polled[0])));
    assert_eq!(text(&scene.take_on(CLIENT, "mine")), "outcome 0");
    assert_eq!(scene.poll(), []);
}

#[test]
fn a_result_that_comes_twice_counts_once() {
    let mut scene = Scene::new();
    scene.take_on(CLIENT, "mine");
    let polled = scene.poll();
    for _ in 0..2 {
        scene.deliver(measured(specification(&polled[0])));
    }
    assert_eq!(scene.outcomes().len(), 1);
}

#[test]
fn nobody_gets_what_another_client_asked_for_nor_ends_it() {
    let mut scene = Scene::new();
    scene.take_on(CLIENT, "mine");
    let other = "org.mplane.Clients.Two";
    assert_eq!(text(&scene.relay.redeem(other, "mine")), UNKNOWN_JOB);
    let (answer, changes) = scene.relay.interrupt(other, "mine", at(3));
    assert_eq!((text(&answer).as_str(), changes), (UNKNOWN_JOB, Vec::new()));
    assert_eq!(text(&scene.take_on(other, "mine")), "receipt");
    assert_eq!(scene.poll().len(), 2);
}

#[test]
fn nobody_delivers_for_another_host() {
    let mut scene = Scene::new();
    scene.take_on(CLIENT, "mine");
    let polled = scene.poll();
    let result = measured(specification(&polled[0]));
    assert_eq!(scene.relay.deliver("org.mplane.Components.Two", result, at(9)), []);
    assert_eq!(text(&scene.relay.redeem(CLIENT, "mine")), "receipt");
}

#[test]
fn an_interrupt_waits_for_the_receipt_of_the_host() {
    let mut scene = Scene::new();
    scene.take_on(CLIENT, "mine");
    let polled = scene.poll();
    assert_eq!(text(&scene.interrupt()), "receipt");
    assert_eq!(scene.poll(), []);
    scene.deliver(specification(&polled[0]).receipt());
    let interrupts = scene.poll();
    assert_eq!(interrupts.len(), 1);
    assert_eq!(interrupts[0].kind(), Kind::Interrupt);
    assert_eq!(interrupts[0].token(), polled[0].token());
    assert_eq!(scene.poll(), []);
    // The reply to the poll may have been lost: until the job ends the host is told again.
    assert_eq!(scene.relay.poll(HOST, at(31)), []);
    assert_eq!(scene.relay.poll(HOST, at(32)), interrupts);
    assert_eq!(scene.relay.poll(HOST, at(61)), []);
    scene.deliver(measured(specification(&polled[0])));
    assert_eq!(scene.relay.poll(HOST, at(99)), []);
}

#[test]
fn an_interrupt_ends_what_its_host_never_heard_of() {
    let mut scene = Scene::new();
    scene.take_on(CLIENT, "mine");
    assert_eq!(text(&scene.interrupt()), "outcome 0");
    assert_eq!(scene.poll(), []);
    let outcomes = scene.outcomes();
    let [Message::Exception(exception)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!(exception.token.as_deref(), Some("mine"));
    // An earlier process may have told the host.
    let Some(Change::Started(job)) = scene.changes.first() else { panic!("not started") };
    scene.relay = Relay::restore(vec![(**job).clone()], 1, &registries());
    assert_eq!(text(&scene.interrupt()), "receipt");
}

#[test]
fn a_job_whose_host_never_comes_back_ends_when_outcomes_are_let_go() {
    let hour = Duration::from_secs(3600);
    let mut scene = Scene::new();
    scene.take_on(CLIENT, "mine");
    // Its scope ends with second 4.
    let swept = |scene: &Scene, now, heard| scene.relay.sweep(at(now), hour, |_| Some(at(heard)));
    assert_eq!(swept(&scene, 3604, 0), []);
    assert_eq!(swept(&scene, 3605, 5), [], "it may come back");
    let ended = swept(&scene, 3605, 4);
    scene.store(ended);
    let outcomes = scene.outcomes();
    assert!(
        matches!(&outcomes[..], [Message::Exception(it)] if it.token.as_deref() == Some("mine"))
    );
}

#[test]
fn what_is_not_stored_does_not_count_and_may_be_said_again() {
    let mut scene = Scene::new();
    scene.take_on(CLIENT, "mine");
    let polled = scene.poll();
    let forwarded = specification(&polled[0]);
    let accepted = [Change::Accepted { number: 0 }];
    for _ in 0..2 {
        assert_eq!(scene.relay.deliver(HOST, forwarded.receipt(), at(3)), accepted);
    }
    scene.relay.settle(&accepted);
    assert_eq!(scene.relay.deliver(HOST, forwarded.receipt(), at(3)), []);
    let (_, interrupted) = scene.relay.interrupt(CLIENT, "mine", at(3));
    assert_eq!(scene.poll(), []);
    assert_eq!(scene.relay.interrupt(CLIENT, "mine", at(3)).1, interrupted);
    scene.relay.settle(&interrupted);
    assert_eq!(scene.poll()[0].kind(), Kind::Interrupt);
    assert_eq!(scene.relay.deliver(HOST, measured(forwarded), at(9)).len(), 1);
    assert_eq!(text(&scene.relay.redeem(CLIENT, "mine")), "receipt");
    scene.deliver(measured(forwarded));
    assert_eq!(text(&scene.relay.redeem(CLIENT, "mine")), "outcome 0");
    assert_eq!(scene.outcomes().len(), 1);
}

#[test]
fn an_outcome_is_kept_for_as_long_after_the_end_however_long_it_took() {
    let mut scene = Scene::new();
    scene.take_on(CLIENT, "mine");
    let polled = scene.poll();
    assert_eq!(scene.sweep(at(9999)), [], "not ended");
    let ended = scene.relay.deliver(HOST, measured(specification(&polled[0])), at(9999));
    scene.relay.settle(&ended);
    let swept = [Change::Redeemed { number: 0 }];
    assert_eq!(scene.sweep(at(9999 + 3600)), []);
    assert_eq!(scene.sweep(at(9999 + 3601)), swept);
    // As it is known after a restart.
    let Some(Change::Ended { at_ms, .. }) = ended.first() else { panic!("{ended:?}") };
    let Some(Change::Started(job)) = scene.changes.first() else { panic!("not started") };
    let stored = StoredJob { progress: Progress::Ended, ended_ms: Some(*at_ms), ..(**job).clone() };
    scene.relay = Relay::restore(vec![stored], 1, &registries());
    assert_eq!(scene.sweep(at(9999 + 3600)), []);
    assert_eq!(scene.sweep(at(9999 + 3601)), swept);
}

#[test]
fn a_clock_that_is_set_makes_no_outcome_old_and_no_host_wait() {
    let mut scene = Scene::new();
    for token in ["ended", "told"] {
        scene.take_on(CLIENT, token);
    }
    let polled = scene.poll();
    scene.deliver(measured(specification(&polled[0])));
    let uptime = Duration::from_secs(10);
    let step = Step::between((at(9), uptime), (at(99_999), uptime)).unwrap();
    scene.relay.put_right(step);
    assert_eq!(scene.sweep(at(99_999)), []);
    let step = Step::between((at(99_999), uptime), (at(9), uptime)).unwrap();
    scene.relay.put_right(step);
    assert_eq!(scene.relay.poll(HOST, at(9 + 29)), []);
    assert_eq!(scene.relay.poll(HOST, at(9 + 30)), polled[1..]);
    assert_eq!(scene.sweep(at(9 + 3601)), [Change::Redeemed { number: 0 }]);
}

#[test]
fn an_envelope_of_repeated_results_is_the_outcome_and_one_without_a_token_is_unpacked() {
    let mut scene = Scene::new();
    scene.take_on(CLIENT, "repeated");
    scene.take_on(CLIENT, "single");
    let polled = scene.poll();
    let (repeated, single) = (specification(&polled[0]), specification(&polled[1]));
    let results = vec![measured(repeated), measured(repeated)];
    let envelope =
        Envelope { token: repeated.head.token.clone(), contents: results, ..<_>::default() };
    scene.deliver(envelope.into());
    let packed = Envelope { contents: vec![measured(single)], ..Envelope::default() };
    scene.deliver(packed.into());
    let outcomes = scene.outcomes();
    let kinds: Vec<Kind> = outcomes.iter().map(Message::kind).collect();
    assert_eq!(kinds, [Kind::Envelope, Kind::Result]);
    assert_eq!((outcomes[0].token(), outcomes[1].token()), (Some("repeated"), Some("single")));
}

#[test]
fn what_a_host_does_not_acknowledge_it_gets_again_after_a_while() {
    let mut scene = Scene::new();
    scene.take_on(CLIENT, "mine");
    let polled = scene.poll();
    assert_eq!(scene.relay.poll(HOST, at(31)), []);
    assert_eq!(scene.relay.poll(HOST, at(32)), polled);
    scene.deliver(specification(&polled[0]).receipt());
    assert_eq!(scene.relay.poll(HOST, at(99)), []);
}

#[test]
fn a_host_is_told_again_of_a_job_that_should_have_ended_an_hour_ago_and_may_know_nothing_of_it() {
    let mut scene = Scene::new();
    scene.take_on(CLIENT, "mine");
    let polled = scene.poll();
    scene.deliver(specification(&polled[0]).receipt());
    // Its scope ends with second 4.
    for (now, is_told) in [(3603, false), (3604, true), (3605, false), (7203, false), (7204, true)]
    {
        scene.relay.remind(at(now));
        assert_eq!(!scene.relay.poll(HOST, at(now)).is_empty(), is_told, "{now}");
    }
    let forgotten = specification(&polled[0]).exception(UNKNOWN_JOB).into();
    scene.deliver(forgotten);
    assert_eq!(text(&scene.relay.redeem(CLIENT, "mine")), "outcome 0");
    scene.relay.remind(at(99_999));
    assert_eq!(scene.relay.poll(HOST, at(99_999)), []);
}

#[test]
fn a_damaged_job_of_the_store_costs_no_other() {
    let mut scene = Scene::new();
    for token in ["damaged", "whole"] {
        scene.take_on(CLIENT, token);
    }
    let started = scene.changes.iter().filter_map(|change| match change {
        Change::Started(job) => Some((**job).clone()),
        _ => None,
    });
    let mut stored: Vec<StoredJob> = started.collect();
    stored[0].host_specification.truncate(40);
    scene.relay = Relay::restore(stored, 2, &registries());
    assert_eq!(text(&scene.relay.redeem(CLIENT, "damaged")), UNKNOWN_JOB);
    assert_eq!(text(&scene.relay.redeem(CLIENT, "whole")), "receipt");
}

#[test]
fn every_receipt_is_worth_the_same_after_a_restart() {
    let mut scene = Scene::new();
    for token in ["told", "accepted", "ended"] {
        scene.take_on(CLIENT, token);
    }
    // What the store would hold.
    let mut stored: Vec<StoredJob> = Vec::new();
    let polled = scene.poll();
    scene.deliver(specification(&polled[1]).receipt());
    scene.deliver(measured(specification(&polled[2])));
    for change in std::mem::take(&mut scene.changes) {
        match change {
            Change::Started(job) => stored.push(*job),
            Change::Accepted { number } => stored[number as usize].progress = Progress::Accepted,
            Change::Ended { number, .. } => stored[number as usize].progress = Progress::Ended,
            _ => {}
        }
    }
    scene.relay = Relay::restore(stored, 3, &registries());
    assert_eq!(text(&scene.relay.redeem(CLIENT, "told")), "receipt");
    assert_eq!(text(&scene.relay.redeem(CLIENT, "accepted")), "receipt");
    assert_eq!(text(&scene.relay.redeem(CLIENT, "ended")), "outcome 2");
    // Whether it came to the host nobody knows.
    let again = scene.poll();
    assert_eq!((again.len(), again[0].token()), (1, polled[0].token()));
    scene.deliver(measured(specification(&polled[0])));
    assert_eq!(text(&scene.relay.redeem(CLIENT, "told")), "outcome 0");
    assert_eq!(scene.relay.unfinished(), 1);
}

#[test]
fn a_specification_that_could_not_be_stored_was_not_taken_on() {
    let mut scene = Scene::new();
    scene.take_on(CLIENT, "mine");
    let started = std::mem::take(&mut scene.changes);
    scene.relay.revert(&started);
    assert!(!scene.relay.knows(CLIENT, "mine"));
    assert_eq!(scene.poll(), []);
    scene.take_on(CLIENT, "mine");
    assert_eq!(scene.poll().len(), 1);
}

#[test]
fn a_poll_gives_a_portion_and_what_was_never_told_comes_before_what_is_told_again() {
    const JOBS: usize = 5000;
    let mut scene = Scene::new();
    for number in 0..JOBS {
        scene.take_on(CLIENT, &format!("job-{number}"));
    }
    let mut told = Vec::new();
    for second in 2.. {
        // Nothing is acknowledged, so from the thirtieth second on what was told first is due again.
        let portion = scene.relay.poll(HOST, at(20 * second));
        let octets: usize = portion.iter().map(|it| it.to_json().len()).sum();
        assert!(octets <= PORTION_OCTETS, "{octets}");
        told.extend(portion.iter().filter_map(Message::token).map(str::to_owned));
        if told.len() >= JOBS {
            break;
        }
        assert!(!portion.is_empty());
    }
    told.truncate(JOBS);
    told.sort();
    told.dedup();
    assert_eq!(told.len(), JOBS, "everything was told before anything was told again");
}

#[test]
fn a_specification_that_would_fit_into_no_poll_is_refused() {
    let mut scene = Scene::new();
    let roster = &scene.roster;
    let choose = |it: &Specification| roster.choose(it, at(1), |_| true);
    let mut long = wanted("192.0.2.1", "long");
    long.head.label = Some("x".repeat(PORTION_OCTETS));
    let refused = scene.relay.take_on(CLIENT, long, LINK, at(1), choose).unwrap_err();
    assert!(refused.to_string().ends_with("accepted: at most 1048576"), "{refused}");
    scene.take_on(CLIENT, "short");
    assert_eq!(specification(&scene.poll()[0]).head.label(), "ping-average-ip4-0");
}

#[test]
fn no_more_is_open_than_one_client_and_all_may_have() {
    let mut scene = Scene::new();
    scene.relay.most = Most { of_client: 2 * LEAST_OCTETS, of_all: 3 * LEAST_OCTETS };
    let refused = |scene: &mut Scene, client: &str, token: &str| {
        let roster = &scene.roster;
        let choose = |it: &Specification| roster.choose(it, at(1), |_| true);
        let wanted = wanted("192.0.2.1", token);
        scene.relay.take_on(client, wanted, LINK, at(1), choose).unwrap_err().to_string()
    };
    for token in ["first", "second"] {
        scene.take_on(CLIENT, token);
    }
    assert_eq!(
        refused(&mut scene, CLIENT, "third"),
        "busy: more than 2048 octets of specifications of yours are not redeemed"
    );
    assert_eq!(text(&scene.take_on(CLIENT, "first")), "receipt", "it is open");
    let other = "org.mplane.Clients.Two";
    scene.take_on(other, "first");
    let all = refused(&mut scene, other, "second");
    assert!(all.starts_with("busy: more than 3072 octets of specifications of all"), "{all}");
    scene.relay.settle(&[Change::Redeemed { number: 0 }]);
    scene.take_on(CLIENT, "third");
    // What failed stays to be told again, and counts for nobody once it was told.
    scene.relay.told_failure(1);
    scene.relay.told_failure(1);
    scene.take_on(CLIENT, "fourth");
    scene.relay.settle(&[Change::Redeemed { number: 1 }]);
    let fifth = refused(&mut scene, CLIENT, "fifth");
    assert!(fifth.starts_with("busy: more than 2048 octets"), "{fifth}");
}
