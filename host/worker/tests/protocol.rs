//! A worker that writes what it likes into the shared memory, or asks for what makes no sense.
#![allow(clippy::unwrap_used)] // helpers of tests, which the lint does not see

mod common;

use std::time::Duration;

use common::{Engine, Place, limits, plugin};
use sonde_plugin_api::{
    abi::{Action, ActionKind, Event, EventKind, FailKind},
    port::Port,
};
use sonde_worker::{Limits, ProcessPort};

fn raw(place: &Place) -> ProcessPort {
    let limits = Limits { poll: Duration::from_millis(200), ..limits() };
    place.process_with(&plugin("raw"), limits)
}

/// Why the worker is lost after it was told to do `word`, pushed again and again.
fn why_lost(word: &str) -> String {
    let place = Place::new();
    let mut port = raw(&place);
    let mut engine = Engine::default();
    let event = Event { kind: EventKind::Packet, task: 1, ..Event::ZERO };
    while engine.lost.is_empty() {
        port.push(&event, word.as_bytes());
        port.flush(1, 2);
        engine.collect(&mut port);
    }
    // The next worker knows nothing of it.
    let (before, lost) = (engine.transcript.len(), engine.lost.len());
    engine.start(&mut port, 3, b"echo");
    while engine.transcript.len() == before {
        engine.turn(&mut port);
    }
    assert_eq!(engine.lost.len(), lost);
    let (action, payload) = &engine.transcript[before];
    assert_eq!((action.task, payload.as_deref()), (3, Some(&b"echo"[..])));
    engine.lost[0].clone()
}

/// What comes of one batch with `word`.
fn actions(word: &str, expected: usize) -> Vec<(Action, Option<Vec<u8>>)> {
    let place = Place::new();
    let mut port = raw(&place);
    let mut engine = Engine::default();
    engine.start(&mut port, 1, word.as_bytes());
    while engine.transcript.len() < expected {
        engine.turn(&mut port);
        assert_eq!(engine.lost, [""; 0]);
    }
    engine.transcript
}

#[test]
fn counters_that_lie_end_the_worker() {
    let lost = why_lost("scribble-actions");
    assert!(lost.starts_with("worker of fixture broke the protocol: it counts 92233"), "{lost}");
    let lost = why_lost("scribble-done");
    assert!(lost.starts_with("worker of fixture broke the protocol: it counts 92233"), "{lost}");
}

#[test]
fn a_worker_that_spins_and_says_that_it_is_done_is_ended() {
    let place = Place::new();
    let mut port = raw(&place);
    let mut engine = Engine::default();
    engine.start(&mut port, 1, b"restless");
    assert_eq!(
        engine.until_lost(&mut port),
        "worker of fixture used its processor for 2s with nothing to do: ended"
    );
}

#[test]
fn a_worker_that_spins_between_batches_is_ended_while_they_come() {
    let place = Place::new();
    let mut port = raw(&place);
    let mut engine = Engine::default();
    engine.start(&mut port, 1, b"restless");
    let event = Event { kind: EventKind::Packet, task: 1, ..Event::ZERO };
    // On a busy machine that does not give it half a processor this takes longer.
    while engine.lost.is_empty() {
        // One event for each look of the host.
        engine.turn(&mut port);
        engine.collect(&mut port);
        port.push(&event, b"");
        port.flush(1, 2);
    }
    assert_eq!(
        engine.lost,
        ["worker of fixture used its processor for 2s with nothing to do: ended"]
    );
}

#[test]
fn lengths_that_lie_end_the_worker() {
    assert_eq!(
        why_lost("scribble-lengths"),
        "worker of fixture broke the protocol: a batch claims 4294967295 actions and 4294967295 \
         octets, more than 1024 and 262144: ended"
    );
}

#[test]
fn scribbling_over_everything_ends_the_worker() {
    let lost = why_lost("scribble-all");
    assert!(lost.starts_with("worker of fixture "), "{lost}");
}

#[test]
fn a_worker_that_was_loaded_died_whatever_it_says_of_that() {
    let place = Place::new();
    let mut port = raw(&place);
    let mut engine = Engine::default();
    engine.start(&mut port, 1, b"echo");
    while engine.transcript.is_empty() {
        engine.turn(&mut port);
    }
    engine.start(&mut port, 1, b"unready");
    let lost = engine.until_lost(&mut port);
    assert_eq!(lost, "worker of fixture died: signal 6 (aborted)");
}

#[test]
fn panic_below_the_author_layer_ends_the_worker() {
    let lost = why_lost("panic");
    assert!(lost.starts_with("worker of fixture died"), "{lost}");
    assert!(lost.contains("below the author layer"), "{lost}");
}

#[test]
fn wild_ranges_stay_wild_for_the_engine_to_find() {
    let actions = actions("wild-offsets", 4);
    assert_eq!(actions.len(), 4);
    assert!(actions.iter().all(|(_, payload)| payload.is_none()), "{actions:?}");
}

#[test]
fn more_actions_than_fit_a_slot_arrive_in_order_with_their_payloads() {
    let actions = actions("many-actions", 100_000);
    assert_eq!(actions.len(), 100_000);
    for (number, (action, payload)) in (0_u32..).zip(&actions) {
        assert_eq!(action.token, number);
        assert_eq!(payload.as_deref(), Some(&number.to_ne_bytes()[..]));
    }
}

#[test]
fn action_that_fits_no_slot_becomes_a_failure_of_its_task() {
    let actions = actions("long-payload", 2);
    let (failed, text) = &actions[0];
    assert_eq!((failed.kind, failed.code), (ActionKind::Fail, FailKind::Error.0));
    assert_eq!(
        text.as_deref(),
        Some(&b"an action has 1048576 octets of payload, the most is 262144"[..])
    );
    assert_eq!(actions[1], (Action { off: actions[1].0.off, ..actions[1].0 }, Some(vec![7; 8])));
}
