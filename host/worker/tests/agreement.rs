//! The two ports are one to the engine: same events, same actions.
#![allow(clippy::unwrap_used)] // helpers of tests, which the lint does not see

mod common;

use std::time::Duration;

use common::{Engine, Place, plugin};
use sonde_plugin_api::{
    abi::{Action, Event, EventKind},
    port::Port,
};
use sonde_worker::Limits;

/// Every action of a few tasks.
fn transcript(port: &mut dyn Port, place: &Place) -> Vec<(Action, Option<Vec<u8>>)> {
    let mut engine = Engine::default();
    let hows = ["fine", "hash-map", "fine", "panic", "panic-in-destructor"];
    for (task, how) in (0..).zip(hows) {
        engine.see(port, task, &place.parameters(how)).unwrap();
    }
    engine.start(port, 9, b"not parameters");
    engine.run(port, &[9]);
    // Where they lie depends on the batches.
    let placeless = |(action, payload)| (Action { off: 0, ..action }, payload);
    engine.transcript.into_iter().map(placeless).collect()
}

#[test]
fn same_events_give_the_same_actions_inline_and_in_a_process() {
    let place = Place::new();
    let inline = transcript(&mut place.inline(&plugin("hostile")), &place);
    let process = transcript(&mut place.process(&plugin("hostile")), &place);
    assert!(inline.len() > 20, "{inline:?}");
    assert_eq!(inline, process);
}

/// Sends `payloads` as events of consecutive tokens and takes what comes back.
fn echoed(port: &mut dyn Port, payloads: &[Vec<u8>]) -> Vec<(u32, Vec<u8>)> {
    let mut back = Vec::new();
    let mut rest = (0..).zip(payloads).peekable();
    while back.len() < payloads.len() {
        while let Some((token, payload)) = rest.peek() {
            let event = Event { kind: EventKind::Packet, token: *token, ..Event::ZERO };
            if !port.push(&event, payload) {
                break;
            }
            rest.next();
        }
        port.flush(1, 2);
        let before = back.len();
        port.collect(&mut |actions, bytes| {
            for action in actions {
                let begin = action.off as usize;
                back.push((action.token, bytes[begin..begin + action.len as usize].to_vec()));
            }
        })
        .unwrap();
        if back.len() == before && port.busy() {
            common::wait(port);
        }
    }
    back
}

#[test]
fn everything_that_goes_in_comes_back_once_and_in_order() {
    let place = Place::new();
    let payloads: Vec<Vec<u8>> =
        (0..20_000_usize).map(|n| vec![n as u8; (n * 7919) % 1500]).collect();
    let expected: Vec<_> = (0..).zip(payloads.clone()).collect();
    assert_eq!(echoed(&mut place.inline(&plugin("raw")), &payloads), expected);
    assert_eq!(echoed(&mut place.process(&plugin("raw")), &payloads), expected);
}

#[test]
fn the_bell_is_never_missed() {
    let place = Place::new();
    // So that the watch over a stuck worker does not wake the host in place of the bell.
    let limits = Limits { poll: Duration::from_secs(3600), ..common::limits() };
    let mut port = place.process_with(&plugin("raw"), limits);
    for number in 0..20_000_u32 {
        // In batches of their own, so that one is worked on while the one before it is collected.
        for token in 0..4 {
            assert!(port.push(&Event { kind: EventKind::Packet, token, ..Event::ZERO }, b"ding"));
            port.flush(1, 2);
        }
        let mut back = 0;
        while back < 4 {
            let before = back;
            port.collect(&mut |actions, _| back += actions.len()).unwrap();
            if back == before {
                common::wait(&port);
            }
        }
        assert_eq!(back, 4, "in round {number}");
    }
}

#[test]
fn largest_packets_fit_and_more_than_a_slot_never_does() {
    let place = Place::new();
    for port in [
        &mut place.inline(&plugin("raw")) as &mut dyn Port,
        &mut place.process(&plugin("raw")) as &mut dyn Port,
    ] {
        let payloads = vec![vec![1; 65_535]; 40];
        assert_eq!(echoed(port, &payloads).len(), 40);
        assert!(!port.push(&Event::ZERO, &vec![0; (256 << 10) + 1]));
        assert_eq!(echoed(port, &[vec![2; 256 << 10]]), [(0, vec![2; 256 << 10])]);
    }
}

#[test]
fn plugin_says_what_it_uses() {
    let place = Place::new();
    let mut port = place.process(&plugin("hostile"));
    let mut engine = Engine::default();
    engine.see(&mut port, 1, &place.parameters("panic")).unwrap();
    let usage = port.usage();
    assert_eq!((usage.tasks, usage.panics), (0, 1));
    assert!(usage.heap_octets > 0);
}
