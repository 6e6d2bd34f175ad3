//! What an event costs the engine's thread: pushed with 60 octets, answered with an action that
//! carries them back. A measurement, not a test: `cargo test --release -p sonde-worker --test speed
//! -- --ignored --nocapture`.

mod common;

use std::time::Duration;

use common::{Place, limits, plugin, wait};
use rustix::time::{ClockId, clock_gettime};
use sonde_plugin_api::{
    abi::{Event, EventKind},
    port::Port,
};
use sonde_worker::Limits;

const EVENTS: usize = 400_000;
const PAYLOAD: [u8; 60] = [7; 60];

/// CPU time of this thread.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Sends and takes back `EVENTS` events, `batch` at a time; nanoseconds per event of this thread,
/// and of the clock on the wall.
fn stream(port: &mut dyn Port, batch: usize) -> (u128, u128) {
    let event = Event { kind: EventKind::Packet, ..Event::ZERO };
    let (mut sent, mut back) = (0, 0);
    let (begin, wall) = (cpu(), clock_gettime(ClockId::Monotonic));
    while back < EVENTS {
        let mut room = true;
        for _ in 0..batch.min(EVENTS - sent) {
            room = port.push(&event, &PAYLOAD);
            if !room {
                break;
            }
            sent += 1;
        }
        port.flush(1, 2);
        let before = back;
        port.collect(&mut |actions, bytes| {
            back += actions.len();
            assert!(bytes.len() >= actions.len() * PAYLOAD.len());
        })
        .expect("the plugin goes on");
        if back == before && (!room || sent == EVENTS) {
            wait(port);
        }
    }
    let (cpu, end) = (cpu() - begin, clock_gettime(ClockId::Monotonic));
    let events = EVENTS as u128;
    let wall = (end - wall).try_into().unwrap_or(Duration::ZERO);
    (cpu.as_nanos() / events, wall.as_nanos() / events)
}

/// One event there and back, again and again: CPU and wall time in nanoseconds.
fn lone(port: &mut dyn Port) -> (u128, u128) {
    const ROUNDS: u32 = 5_000;
    let event = Event { kind: EventKind::Packet, ..Event::ZERO };
    let (begin, wall) = (cpu(), clock_gettime(ClockId::Monotonic));
    for _ in 0..ROUNDS {
        assert!(port.push(&event, &PAYLOAD));
        port.flush(1, 2);
        let mut back = 0;
        loop {
            port.collect(&mut |actions, _| back += actions.len()).expect("the plugin goes on");
            if back > 0 {
                break;
            }
            wait(port);
        }
    }
    let wall: Duration = (clock_gettime(ClockId::Monotonic) - wall).try_into().unwrap_or_default();
    ((cpu() - begin).as_nanos() / u128::from(ROUNDS), wall.as_nanos() / u128::from(ROUNDS))
}

#[test]
#[ignore = "needs a quiet machine: prints what an event costs"]
fn price_of_an_event() {
    let place = Place::new();
    let limits = Limits { poll: Duration::from_secs(10), ..limits() };
    let mut ports: [(&str, Box<dyn Port>); 2] = [
        ("inline", Box::new(place.inline(&plugin("raw")))),
        ("process", Box::new(place.process_with(&plugin("raw"), limits))),
    ];
    for (name, port) in &mut ports {
        for batch in [16, 64, 256] {
            stream(port.as_mut(), batch);
            let best = (0..5).map(|_| stream(port.as_mut(), batch)).min();
            let (cpu, wall) = best.unwrap_or_default();
            println!(
                "{name:7} batches of {batch:3}: {cpu:4} ns of this thread, {wall:4} ns in all"
            );
        }
        let (cpu, wall) = lone(port.as_mut());
        println!("{name:7} alone:          {cpu:4} ns of this thread, {wall:4} ns in all");
    }
}
