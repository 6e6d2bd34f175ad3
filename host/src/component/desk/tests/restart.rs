//! What of a job goes on in the next process.

use super::*;

/// Number of results in the only end that waits.
fn results(world: &mut World) -> usize {
    let fetched = world.fetch();
    let [end] = &fetched[..] else { panic!("{fetched:?}") };
    match read(&end.body) {
        Message::Envelope(envelope) => {
            let is_result = |it: &&Message| matches!(it, Message::Result(_));
            envelope.contents.iter().filter(is_result).count()
        }
        Message::Result(_) => 1,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_repetition_gave_outlives_the_host_and_the_rest_follows() {
    for stop in [World::restarted, World::stopped] {
        let mut world = World::new(ROOMY);
        world.specify_at("repeat now + 40s / 10s { now + 1s / 1s }", "top", "t1");
        for _ in 0..2 {
            world.step();
            world.finish();
            world.pass(10);
            world.finish();
        }
        // At 0, 10 and 20 s. What is due at 30 s is missed.
        assert_eq!(world.desk.measurer.next, 3);
        world = stop(world);
        assert_eq!(world.fetch(), []);
        world.now = world.now.plus(Duration::from_secs(15));
        world = stop(world);
        world.step();
        assert_eq!((world.desk.measurer.next, world.desk.jobs.open()), (0, 1));
        world.pass(5);
        assert_eq!(world.desk.measurer.peers, ["top"]);
        world.finish();
        assert_eq!((results(&mut world), exceptions(&mut world).len()), (4, 1));
        // Nothing else is left of it on disk.
        let sequence = world.fetch()[0].sequence;
        world.delivered(sequence);
        world.desk.handle(world.now, Request::Stop(Box::new(|()| {})));
        let ledger = world.desk.ledger("top").unwrap();
        assert_eq!(ledger.waiting(), 0);
    }
}

/// What the exceptions in the only end that waits say.
fn exceptions(world: &mut World) -> Vec<String> {
    let Message::Envelope(envelope) = read(&world.fetch()[0].body) else { panic!() };
    let exceptions = envelope.contents.into_iter().filter_map(|it| match it {
        Message::Exception(exception) => Some(exception.message),
        _ => None,
    });
    exceptions.collect()
}

#[test]
fn repetitions_that_were_due_while_the_host_was_dead_are_told_once() {
    let mut world = World::new(ROOMY);
    world.specify_at("repeat now + 60s / 10s { now + 1s / 1s }", "top", "t1");
    world.step();
    world.finish();
    // Killed while the second one runs; the third is due after that, the fourth after the next kill.
    world.pass(10);
    for seconds in [15, 10] {
        world = world.restarted();
        world.now = world.now.plus(Duration::from_secs(seconds));
    }
    world = world.restarted();
    for _ in 0..3 {
        world.pass(10);
        world.finish();
    }
    let told = ["2", "1"]
        .map(|count| format!("repetitions without a result, since the host was stopped: {count}"));
    assert_eq!((results(&mut world), exceptions(&mut world)), (4, told.to_vec()));
}

#[test]
fn what_was_to_begin_later_begins_later_also_in_the_next_process() {
    for stop in [World::restarted, World::stopped] {
        let mut world = World::new(ROOMY);
        let peer = client("org.example.Somebody");
        world.specify_at("2026-05-01 13:00:00 + 3s / 1s", &peer, "t1");
        world.step();
        world = stop(world);
        assert!(matches!(world.redeem(&peer, "t1"), Message::Receipt(_)));
        world.pass(3599);
        assert_eq!(world.desk.measurer.next, 0);
        world.pass(1);
        assert_eq!(world.desk.measurer.peers, [&*peer]);
        world.finish();
        assert!(matches!(world.redeem(&peer, "t1"), Message::Result(_)));
    }
}

#[test]
fn a_repetition_whose_end_passed_while_the_host_was_down_gives_what_there_is() {
    let mut world = World::new(ROOMY);
    world.specify_at("repeat now + 40s / 10s { now + 1s / 1s }", "top", "t1");
    world.step();
    world.finish();
    world.now = world.now.plus(Duration::from_secs(3600));
    let mut world = world.restarted();
    assert_eq!(results(&mut world), 1);
}

#[test]
fn a_job_waits_for_its_capability_until_it_is_due() {
    for comes in [true, false] {
        let mut world = World::new(ROOMY);
        world.specify_at("2026-05-01 13:00:00 + 3s / 1s", "top", "t1");
        world.step();
        // Without addresses nothing is offered.
        let World { desk, folder, options, now, uptime, _keep } = world;
        drop(desk);
        let registries = Registries::built_in();
        let names = ["top".into()];
        let ledgers =
            Ledgers { folder: &folder, options, supervisors: &names, registries: &registries };
        let puppet = Puppet::default();
        let desk = Desk::open(puppet, Limits::default(), &ledgers, now, Box::new(|_| {}));
        let mut world = World { desk: desk.unwrap(), folder, options, now, uptime, _keep };
        world.desk.handle(now, Request::Offer(Arc::default()));
        if comes {
            let all = Request::Offer(Arc::new(offers(&Offering::default())));
            world.desk.handle(now, all);
        }
        world.pass(3600);
        assert_eq!(world.desk.measurer.next, u64::from(comes));
        if !comes {
            assert_eq!(
                message_of(&world.fetch()[0].body),
                "knock-average-ip4-0 is not offered since the host was started again"
            );
        }
    }
}

#[test]
fn an_interrupted_job_does_not_go_on_in_the_next_process() {
    let mut world = World::new(ROOMY);
    world.specify_at("repeat now ... future / 10s { now + 1s / 1s }", "top", "t1");
    world.step();
    world.finish();
    world.pass(10);
    for _ in 0..2 {
        let job = JobId::new("top", "t1");
        let receipt = world.ask(|reply| Request::Interrupt { job, reply });
        // What runs takes its time to finish.
        world.desk.measurer.over.clear();
        world.step();
        assert!(matches!(read(&receipt.try_recv().unwrap()), Message::Receipt(_)));
        assert_eq!(world.desk.ledger("top").unwrap().waiting(), 2, "its note, and a part");
    }
    let mut world = world.restarted();
    world.step();
    assert_eq!((results(&mut world), world.desk.jobs.open()), (1, 0));
}
