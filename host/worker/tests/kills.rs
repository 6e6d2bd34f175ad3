//! A thousand workers that are killed while they work: each time their task is lost with a reason, and the
//! next one is there at once.
#![allow(clippy::unwrap_used)] // helpers of tests, which the lint does not see

mod common;

use std::time::{Duration, Instant};

use common::{End, Engine, Place, plugin};
use rustix::process::{Pid, Signal};
use sonde_plugin_api::port::Port;

/// Each of these ports has as many crashes as a plugin may have without a wait.
const PORTS: usize = 200;
const KILLS: usize = 5;

#[test]
#[ignore = "needs a minute: kills a thousand workers"]
fn a_thousand_killed_workers_are_lost_with_a_reason_and_followed_at_once_by_the_next() {
    let place = Place::new();
    let (hostile, fine, busy) =
        (plugin("hostile"), place.parameters("fine"), place.parameters("loop"));
    let mut back: Vec<Duration> = Vec::new();
    for _ in 0..PORTS {
        let mut port = place.process(&hostile);
        let mut engine = Engine::default();
        assert_eq!(engine.see(&mut port, 1, &fine), Ok(End::Finished("fine".into())));
        for _ in 0..KILLS {
            engine.start(&mut port, 2, &busy);
            let worker = Pid::from_raw(port.worker_id().unwrap().cast_signed()).unwrap();
            let begin = Instant::now();
            rustix::process::kill_process(worker, Signal::KILL).unwrap();
            let lost = engine.until_lost(&mut port);
            assert!(lost.starts_with("worker of fixture died"), "{lost}");
            assert!(lost.contains("signal 9 (killed from outside"), "{lost}");
            assert_eq!(port.ready(), Ok(()));
            assert_eq!(engine.see(&mut port, 1, &fine), Ok(End::Finished("fine".into())));
            back.push(begin.elapsed());
        }
    }
    back.sort_unstable();
    let at = |share: usize| back[(back.len() - 1) * share / 100];
    println!(
        "{} kills; from the kill to the end of the next task: median {:?}, 90 % {:?}, 99 % {:?}, most {:?}",
        back.len(),
        at(50),
        at(90),
        at(99),
        at(100)
    );
    assert_eq!(back.len(), 1000);
}

#[test]
fn a_worker_comes_back_whose_copy_was_cleared_away_unless_the_plugin_is_another_one() {
    let place = Place::new();
    let (library, fine) = (place.plugin_as("hostile", "cleared"), place.parameters("fine"));
    let mut port = place.process(&library);
    let mut lose = |engine: &mut Engine| {
        std::fs::remove_dir_all(place.store()).unwrap();
        let worker = Pid::from_raw(port.worker_id().unwrap().cast_signed()).unwrap();
        rustix::process::kill_process(worker, Signal::KILL).unwrap();
        engine.until_lost(&mut port);
        port.ready().map(|()| engine.see(&mut port, 1, &fine))
    };
    let mut engine = Engine::default();
    assert_eq!(lose(&mut engine), Ok(Ok(End::Finished("fine".into()))));
    let mut other = std::fs::read(&library).unwrap();
    other.push(0);
    std::fs::write(&library, other).unwrap();
    let reason = lose(&mut engine).unwrap_err().reason;
    assert!(reason.contains("died"), "{reason}");
}
