use std::time::Duration;

use sonde_mplane::Kind;

use super::*;
use crate::component::{
    Offering,
    fixture::{offers, specification, texts},
};

const NOW: &str = "2026-05-01 12:00:00";

/// Jobs in virtual time.
struct World {
    jobs: Jobs,
    now: Time,
    offered: Vec<Arc<Offered>>,
    orders: Vec<Order>,
}

impl World {
    fn new(limits: Limits) -> Self {
        let offered = offers(&Offering::default()).offered;
        Self { jobs: Jobs::new(limits), now: NOW.parse().unwrap(), offered, orders: Vec::new() }
    }

    fn make(&self, label: &str, when: &str, token: &str) -> Specification {
        let mut made = specification(&self.offered, label, when);
        made.head.token = Some(token.to_owned());
        made
    }

    fn specify(&mut self, specification: &Specification) -> Answer {
        self.jobs.specify(self.now, "top", specification, &self.offered)
    }

    fn accept(&mut self, when: &str, token: &str) -> JobId {
        self.accept_of("top", when, token).unwrap()
    }

    fn accept_of(&mut self, peer: &str, when: &str, token: &str) -> Result<JobId, String> {
        let specification = self.make("knock-average-ip4", when, token);
        match self.jobs.specify(self.now, peer, &specification, &self.offered) {
            Answer::Accepted(_) => Ok(JobId::new(peer, token)),
            Answer::Refused(exception) => Err(exception.message),
            other => panic!("{other:?}"),
        }
    }

    fn refusal(&mut self, specification: &Specification) -> String {
        match self.specify(specification) {
            Answer::Refused(exception) => exception.message,
            other => panic!("{other:?}"),
        }
    }

    fn tick(&mut self) {
        let uptime = self.now.since(NOW.parse().unwrap());
        self.jobs.tick(self.now, uptime, &mut self.orders);
    }

    /// Lets time pass, from one due time to the next.
    fn pass(&mut self, seconds: u64) {
        let end = self.now.plus(Duration::from_secs(seconds));
        loop {
            self.tick();
            match self.jobs.next_due() {
                Some(due) if due <= end => self.now = due,
                _ => break,
            }
        }
        self.now = end;
    }

    /// Measurements that were begun since the last call.
    fn started(&mut self) -> Vec<u64> {
        let mut started = Vec::new();
        self.orders.retain(|order| match order {
            Order::Start { measurement, .. } => {
                started.push(*measurement);
                false
            }
            _ => true,
        });
        started
    }

    fn measured(&mut self, measurement: u64) {
        let rows = vec![vec![Wire::Natural(412), Wire::Natural(3)]];
        let outcome = Outcome::Measured { from: self.now, to: self.now, rows };
        self.jobs.ended(self.now, measurement, outcome, &mut self.orders);
    }

    fn ends(&mut self) -> Vec<End> {
        let mut ends = Vec::new();
        for order in std::mem::take(&mut self.orders) {
            match order {
                Order::End(end) => ends.push(*end),
                other => self.orders.push(other),
            }
        }
        ends
    }
}

#[test]
fn a_specification_gets_a_receipt_and_one_result_with_its_token() {
    let mut world = World::new(Limits::default());
    world.accept("now + 3s / 1s", "t1");
    world.pass(0);
    let [Order::Start { measurement, values, .. }] = &world.orders[..] else { panic!() };
    assert_eq!(
        texts(values),
        "destination.{ip}=198.51.100.9 scamper.ping.ttl=9 when.count=3 when.period=1s"
    );
    assert_eq!((*measurement, world.started()), (0, vec![0]));
    world.pass(3);
    world.measured(0);
    world.measured(0);
    let ends = world.ends();
    assert_eq!(ends.len(), 1);
    let Message::Result(result) = &ends[0].message else { panic!() };
    assert_eq!(result.head.token.as_deref(), Some("t1"));
    assert_eq!(result.head.label(), "knock-average-ip4-0");
    assert_eq!(
        result.when.to_string(),
        "2026-05-01 12:00:03.000000 ... 2026-05-01 12:00:03.000000"
    );
    assert_eq!(result.rows, [[Wire::Natural(412), Wire::Natural(3)]]);
    assert!(world.jobs.next_due().is_none() && world.jobs.open() == 0);
}

#[test]
fn columns_of_a_result_are_named_as_its_rows_are_whatever_the_order_of_the_specification() {
    let mut world = World::new(Limits::default());
    let mut reversed = world.make("knock-average-ip4", "now + 3s / 1s", "t1");
    reversed.head.results.reverse();
    assert!(matches!(world.specify(&reversed), Answer::Accepted(_)));
    world.pass(0);
    world.measured(0);
    let ends = world.ends();
    let Message::Result(result) = &ends[0].message else { panic!() };
    let cells = result.cells(&result.rows[0]);
    let cells: Vec<_> = cells.map(|(element, value)| (element.name(), value)).collect();
    let expected = [
        ("delay.twoway.icmp.us.min", &Wire::Natural(412)),
        ("delay.twoway.icmp.count", &Wire::Natural(3)),
    ];
    assert_eq!(cells, expected);
}

#[test]
fn what_the_capability_does_not_allow_is_refused_with_parameter_value_and_constraint() {
    let mut world = World::new(Limits::default());
    let refused = |world: &mut World, name: &str, value: &str| {
        let mut made = world.make("knock-average-ip4", "now + 3s / 1s", "t");
        made.set(name, value).unwrap();
        world.refusal(&made)
    };
    for (name, value, text) in [
        ("scamper.ping.ttl", "256", "scamper.ping.ttl is 256, accepted: 0 ... 255"),
        ("source.ip4", "192.0.2.9", "source.ip4 is 192.0.2.9, accepted: 192.0.2.1"),
        ("scamper.ping.ttl", "*", "scamper.ping.ttl is missing, accepted: 0 ... 255"),
    ] {
        assert_eq!(refused(&mut world, name, value), text);
    }
    let text = refused(&mut world, "destination.ip4", "2001:db8::9");
    assert!(text.contains("destination") && text.contains("2001:db8::9"), "{text}");
    assert_eq!(world.jobs.open(), 0);
}

#[test]
fn what_the_method_cannot_do_in_the_scope_is_refused_before_it_is_promised() {
    let mut world = World::new(Limits::default());
    let refusal = |world: &mut World, when: &str| {
        let made = world.make("knock-average-ip4", when, "t");
        world.refusal(&made)
    };
    let count = refusal(&mut world, "now + 1h / 1s");
    assert!(count.contains("when.count") && count.contains("3600"), "{count}");
    let period = refusal(&mut world, "now + 2m / 1m");
    assert!(period.contains("when.period") && period.contains("1m"), "{period}");
    let scope = refusal(&mut world, "now + 3s");
    assert!(scope.contains("does not follow \"now ... future / 1s\""), "{scope}");
    let over = refusal(&mut world, "2020-01-01 ... 2020-01-02 / 1s");
    assert!(over.contains("2020-01-01"), "{over}");
}

#[test]
fn an_unknown_schema_is_told_apart_from_a_wrong_value() {
    let mut world = World::new(Limits::default());
    let mut other = world.make("knock-average-ip4", "now + 3s / 1s", "t");
    other.parameters.retain(|field| field.element.name() != "scamper.ping.ttl");
    assert_eq!(world.refusal(&other), "parameter scamper.ping.ttl is missing, accepted: 0 ... 255");
    other.head.label = Some("else-0".to_owned());
    assert_eq!(world.refusal(&other), "No service registered for specification else-0");
}

#[test]
fn the_same_token_is_answered_alike_and_measured_once() {
    let mut world = World::new(Limits::default());
    let id = world.accept("now + 3s / 1s", "t1");
    let again = world.make("knock-average-ip4", "now + 3s / 1s", "t1");
    world.pass(0);
    let Answer::Known(receipt) = world.specify(&again) else { panic!() };
    assert_eq!(receipt.token(), Some("t1"));
    assert_eq!(world.started(), [0]);
    world.measured(0);
    assert!(matches!(world.specify(&again), Answer::Ended(ended) if ended == id));
    world.pass(10);
    assert_eq!(world.started(), [0; 0]);
    assert_eq!(world.ends().len(), 1);
    // Another supervisor may use the same token.
    let other = world.jobs.specify(world.now, "other", &again, &world.offered);
    assert!(matches!(other, Answer::Accepted(_)));
}

#[test]
fn an_end_is_forgotten_after_its_time() {
    let mut world = World::new(Limits { memory: Duration::from_secs(60), ..Limits::default() });
    let id = world.accept("now + 3s / 1s", "t1");
    world.pass(0);
    world.measured(0);
    world.pass(60);
    assert!(matches!(world.jobs.state(&id), State::Ended));
    world.pass(1);
    world.pass(0);
    assert!(matches!(world.jobs.state(&id), State::Unknown));
}

#[test]
fn a_full_queue_is_busy_and_says_so() {
    let mut world = World::new(Limits { specifications: 2, ..Limits::default() });
    world.accept("now + 3s / 1s", "t1");
    world.accept("2026-05-01 13:00:00 + 3s / 1s", "t2");
    let third = world.make("knock-average-ip4", "now + 3s / 1s", "t3");
    assert_eq!(
        world.refusal(&third),
        "busy: 2 specifications wait or run, accepted: at most 2; try again later"
    );
    world.pass(0);
    world.measured(0);
    assert!(matches!(world.specify(&third), Answer::Accepted(_)));
}

#[test]
fn measurements_beyond_the_limit_wait_for_their_turn() {
    let mut world = World::new(Limits { measurements: 2, ..Limits::default() });
    for token in ["t1", "t2", "t3", "t4"] {
        world.accept("now + 3s / 1s", token);
    }
    world.pass(0);
    assert_eq!(world.started(), [0, 1]);
    world.measured(1);
    world.pass(0);
    assert_eq!(world.started(), [2]);
    assert_eq!(&*world.ends()[0].job.token, "t2");
}

#[test]
fn a_result_that_no_message_holds_is_an_exception_that_says_so() {
    let mut world = World::new(Limits::default());
    world.accept("now + 1s / 1s", "t1");
    world.pass(1);
    let measurement = world.started()[0];
    // Two columns, and the row itself.
    let rows = vec![vec![Wire::Natural(1), Wire::Natural(3)]; MAX_VALUES / 3 + 1];
    let outcome = Outcome::Measured { from: world.now, to: world.now, rows };
    world.jobs.ended(world.now, measurement, outcome, &mut world.orders);
    let Message::Exception(exception) = &world.ends()[0].message else { panic!() };
    assert!(exception.message.starts_with("the result has 1000002 values"), "{exception:?}");
    assert_eq!(exception.token.as_deref(), Some("t1"));
}

#[test]
fn a_result_that_a_message_just_holds_can_be_read() {
    let mut world = World::new(Limits::default());
    world.accept("now + 1s / 1s", "t1");
    world.pass(1);
    let measurement = world.started()[0];
    let rows = vec![vec![Wire::Natural(1), Wire::Natural(3)]; MOST_VALUES_OF_ONE / 3];
    let outcome = Outcome::Measured { from: world.now, to: world.now, rows };
    world.jobs.ended(world.now, measurement, outcome, &mut world.orders);
    let text = world.ends()[0].message.to_json();
    let read = Message::from_json(text.as_bytes(), &sonde_mplane::Registries::built_in());
    assert_eq!(read.map(|it| it.kind()), Ok(Kind::Result));
}

#[test]
fn a_repeated_scope_ends_with_one_envelope_of_all_its_results() {
    let mut world = World::new(Limits::default());
    let id = world.accept("repeat now + 6s / 3s { now + 1s / 1s }", "t1");
    for expected in 0..3 {
        world.pass(if expected == 0 { 1 } else { 3 });
        assert_eq!(world.started(), [expected]);
        world.measured(expected);
        if expected == 1 {
            let so_far = world.jobs.so_far(&id, world.now).unwrap();
            let Message::Envelope(so_far) = so_far else { panic!() };
            assert_eq!(so_far.contents.len(), 2);
            let end = so_far.when.unwrap().end_time(world.now);
            assert!(end > Some(world.now), "a client of the RI would not ask again");
            // In answer to an interrupt it would pass for the end.
            let State::Open(answer) = world.jobs.state(&id) else { panic!() };
            assert_eq!(answer.kind(), Kind::Receipt);
        }
    }
    let ends = world.ends();
    assert_eq!(ends.len(), 1);
    let Message::Envelope(envelope) = &ends[0].message else { panic!() };
    assert_eq!(envelope.contents.len(), 3);
    assert_eq!(envelope.token.as_deref(), Some("t1"));
    assert_eq!(
        envelope.when.as_ref().unwrap().to_string(),
        "2026-05-01 12:00:00.000000 ... 2026-05-01 12:00:06.000000 / 3s"
    );
}

#[test]
fn of_results_that_are_too_much_for_a_message_the_last_ones_are_kept() {
    let mut world = World::new(Limits::default());
    world.accept("repeat now + 6s / 3s { now + 1s / 1s }", "t1");
    for number in 0..3_u64 {
        world.pass(if number == 0 { 1 } else { 3 });
        world.started();
        let rows = vec![vec![Wire::from(number), Wire::Natural(7)]; MAX_VALUES / 6];
        let (from, to) = (world.now, world.now);
        let outcome = Outcome::Measured { from, to, rows };
        world.jobs.ended(world.now, number, outcome, &mut world.orders);
    }
    let ends = world.ends();
    let message = ends[0].message.to_json();
    let registries = sonde_mplane::Registries::built_in();
    let read = Message::from_json(message.as_bytes(), &registries).unwrap();
    let Message::Envelope(envelope) = read else { panic!("{}", read.kind()) };
    let first = |message: &Message| match message {
        Message::Result(result) => result.rows[0][0].to_string(),
        other => panic!("{}", other.kind()),
    };
    assert_eq!(envelope.contents.iter().map(first).collect::<Vec<_>>(), ["2"]);
}

#[test]
fn a_crontab_begins_measurements_at_its_seconds() {
    let mut world = World::new(Limits::default());
    world.accept("repeat now + 1m cron 10,30 * * * * * { now + 5s / 1s }", "t1");
    world.pass(9);
    assert_eq!(world.started(), [0; 0]);
    world.pass(1);
    assert_eq!(world.started(), [0]);
    world.pass(20);
    assert_eq!(world.started(), [1]);
}

#[test]
fn a_repeated_scope_without_any_result_ends_with_an_exception() {
    let mut world = World::new(Limits::default());
    world.accept("repeat now + 3s / 3s { now + 1s / 1s }", "t1");
    world.pass(4);
    for measurement in world.started() {
        let outcome = Outcome::Failed("no route".to_owned());
        world.jobs.ended(world.now, measurement, outcome, &mut world.orders);
    }
    let ends = world.ends();
    assert_eq!(ends.len(), 1);
    let Message::Exception(exception) = &ends[0].message else { panic!() };
    assert_eq!((exception.token.as_deref(), exception.message.as_str()), (Some("t1"), "no route"));
}

#[test]
fn an_interrupt_asks_what_runs_to_finish_and_ends_what_waits() {
    let mut world = World::new(Limits { measurements: 1, ..Limits::default() });
    let running = world.accept("now ... future / 1s", "t1");
    world.accept("now + 3s / 1s", "t2");
    world.accept("2026-05-01 13:00:00 + 3s / 1s", "t3");
    world.pass(5);
    assert_eq!(world.started(), [0]);
    let World { jobs, now, orders, .. } = &mut world;
    jobs.interrupt(*now, &running, orders);
    assert!(matches!(orders[..], [Order::Interrupt { measurement: 0 }]));
    for token in ["t2", "t3"] {
        jobs.interrupt(*now, &JobId::new("top", token), orders);
    }
    let ends = world.ends();
    let tokens: Vec<&str> = ends.iter().map(|end| &*end.job.token).collect();
    assert_eq!(tokens, ["t2", "t3"]);
    assert!(matches!(&ends[0].message, Message::Exception(exception)
        if exception.message == "interrupted before anything was measured"));
    world.measured(0);
    assert!(matches!(&world.ends()[..], [End { message: Message::Result(_), .. }]));
    world.pass(7200);
    assert_eq!(world.started(), [0; 0]);
}

#[test]
fn an_interrupted_repetition_gives_what_there_is() {
    let mut world = World::new(Limits::default());
    let id = world.accept("repeat now ... future / 10s { now + 1s / 1s }", "t1");
    world.pass(15);
    for measurement in world.started() {
        world.measured(measurement);
    }
    let World { jobs, now, orders, .. } = &mut world;
    jobs.interrupt(*now, &id, orders);
    let ends = world.ends();
    let Message::Envelope(envelope) = &ends[0].message else { panic!() };
    assert_eq!(envelope.contents.len(), 2);
    assert_eq!(
        envelope.when.as_ref().unwrap().to_string(),
        "2026-05-01 12:00:00.000000 ... 2026-05-01 12:00:14.000000 / 10s",
        "also past where a clock is behind"
    );
}

#[test]
fn no_client_takes_the_room_of_others() {
    let limits = Limits { specifications: 8, measurements: 4, ..Limits::default() };
    let mut world = World::new(limits);
    let greedy = "client:org.example.Greedy";
    let endless = "now ... future / 1s";
    let accepted = |world: &mut World, peer: &str| {
        let mut all = (0..9).map(|number| world.accept_of(peer, endless, &number.to_string()));
        all.position(|accepted| accepted.is_err())
    };
    assert_eq!(accepted(&mut world, greedy), Some(6));
    let refusal = world.accept_of(greedy, endless, "more").unwrap_err();
    assert!(refusal.starts_with("busy: 6 specifications of yours wait or run"), "{refusal}");
    world.tick();
    assert_eq!(world.started().len(), 3, "one place is left");
    world.accept("now + 3s / 1s", "t1");
    world.accept_of("client:org.example.Other", endless, "t1").unwrap();
    world.tick();
    assert_eq!(world.started(), [3]);
    world.measured(3);
    world.tick();
    assert_eq!(world.started(), [4]);
    let of = |peer: &str| world.jobs.measurements.values().filter(|id| *id.peer == *peer).count();
    assert_eq!((of(greedy), of("client:org.example.Other") + of("top")), (3, 1));
}

#[test]
fn peers_take_turns_where_there_is_one_place() {
    let mut world = World::new(Limits { measurements: 1, ..Limits::default() });
    for (peer, token) in [("alpha", "1"), ("alpha", "2"), ("beta", "1"), ("beta", "2")] {
        world.accept_of(peer, "now ... future / 1s", token).unwrap();
    }
    let mut turns = Vec::new();
    for number in 0..4 {
        world.tick();
        assert_eq!(world.started(), [number]);
        turns.extend(world.jobs.measurements.values().map(|id| id.peer.to_string()));
        world.measured(number);
    }
    assert_eq!(turns, ["alpha", "beta", "alpha", "beta"]);
}

#[test]
fn of_two_labels_that_a_specification_begins_with_the_longer_one_is_meant() {
    let world = World::new(Limits::default());
    let mut made = world.make("knock-average-ip4", "now + 3s / 1s", "t1");
    let of_label = |it: &&Arc<Offered>| it.capability.head.label() == "knock-average-ip4";
    let plain = world.offered.iter().find(of_label).unwrap();
    let mut fine = Offered::clone(plain);
    fine.capability.head.label = Some("knock-average-ip4-fine".to_owned());
    let offered = [Arc::clone(plain), Arc::new(fine)];
    for (label, meant) in [
        ("knock-average-ip4-3", "knock-average-ip4"),
        ("knock-average-ip4-fine-3", "knock-average-ip4-fine"),
        ("of my own", "knock-average-ip4"),
    ] {
        made.head.label = Some(label.to_owned());
        let chosen = choose(&made, &offered, world.now).unwrap();
        assert_eq!(chosen.capability.head.label(), meant);
    }
}

#[test]
fn repetitions_that_find_no_place_do_not_pile_up() {
    let mut world = World::new(Limits { measurements: 1, ..Limits::default() });
    world.accept("now ... future / 1s", "always");
    world.accept("repeat now ... future / 1s { now + 1s / 1s }", "repeats");
    world.pass(60);
    world.accept("now + 3s / 1s", "once");
    world.pass(1);
    assert_eq!(world.started(), [0]);
    for measurement in [0, 1] {
        world.measured(measurement);
        world.tick();
    }
    let once = |order: &Order| matches!(order, Order::Start { values, .. } if texts(values).contains("when.count=3"));
    assert!(world.orders.iter().any(once), "it waited for one repetition, not for sixty");
}

#[test]
fn a_stop_ends_what_runs_or_is_late_and_leaves_open_what_is_still_to_come() {
    let mut world = World::new(Limits { measurements: 2, ..Limits::default() });
    world.accept("now ... future / 1s", "runs");
    world.accept("repeat now ... future / 10s { now + 1s / 1s }", "repeats");
    world.accept("now + 3s / 1s", "late");
    world.accept("2026-05-01 13:00:00 + 3s / 1s", "to come");
    world.pass(1);
    assert_eq!(world.started(), [0, 1]);
    let World { jobs, now, orders, .. } = &mut world;
    jobs.stop(*now, orders);
    assert!(!jobs.is_idle());
    for wanted in [0, 1] {
        let asks = |order: &Order| matches!(order, Order::Interrupt { measurement } if *measurement == wanted);
        assert!(world.orders.iter().any(asks));
        world.measured(wanted);
    }
    let kept = |order: &Order| matches!(order, Order::Keep { job, kept: 1, .. } if &*job.token == "repeats");
    assert!(world.orders.iter().any(kept), "what it gave so far is on disk");
    let mut ended: Vec<String> =
        world.ends().into_iter().map(|end| end.job.token.to_string()).collect();
    ended.sort();
    assert_eq!(ended, ["late", "runs"]);
    assert_eq!((world.jobs.open(), world.jobs.is_idle()), (2, true));
    world.pass(7200);
    assert_eq!(world.started(), [0; 0]);
}

#[test]
fn every_accepted_specification_ends_exactly_once_whatever_happens() {
    use proptest::prelude::*;
    let step = (0u8..6, 0usize..6, 0u64..8);
    proptest!(|(steps in prop::collection::vec(step, 1..80))| {
        let mut world = World::new(Limits { measurements: 2, specifications: 4, ..Limits::default() });
        let scopes = [
            "now + 3s / 1s",
            "repeat now + 6s / 3s { now + 1s / 1s }",
            "now ... future / 1s",
            "2026-05-01 12:00:09 + 2s / 1s",
            "repeat now ... future cron 0,7 * * * * * { now + 1s / 1s }",
        ];
        let (mut accepted, mut ended, mut running) = (Vec::new(), Vec::new(), Vec::new());
        for (number, (what, which, seconds)) in steps.into_iter().enumerate() {
            match what {
                0 | 1 => {
                    let token = number.to_string();
                    let made = world.make("knock-average-ip4", scopes[which % 5], &token);
                    if let Answer::Accepted(_) = world.specify(&made) {
                        accepted.push(token);
                    }
                }
                2 if !accepted.is_empty() => {
                    let id = JobId::new("top", &accepted[which % accepted.len()]);
                    let World { jobs, now, orders, .. } = &mut world;
                    jobs.interrupt(*now, &id, orders);
                }
                3 if !running.is_empty() => {
                    let measurement = running.remove(which % running.len());
                    let outcome = Outcome::Failed(String::new());
                    world.jobs.ended(world.now, measurement, outcome, &mut world.orders);
                }
                4 if !running.is_empty() => {
                    let measurement = running.remove(which % running.len());
                    world.measured(measurement);
                }
                _ => world.pass(seconds),
            }
            running.extend(world.started());
            ended.extend(world.ends());
            prop_assert!(running.len() <= 2);
            prop_assert_eq!(accepted.len(), ended.len() + world.jobs.open());
        }
        let World { jobs, now, orders, .. } = &mut world;
        for token in &accepted {
            jobs.interrupt(*now, &JobId::new("top", token), orders);
        }
        for measurement in running {
            world.measured(measurement);
        }
        ended.extend(world.ends());
        let mut tokens: Vec<String> = ended.iter().map(|end| end.job.token.to_string()).collect();
        tokens.sort();
        accepted.sort();
        prop_assert_eq!(tokens, accepted);
    });
}
