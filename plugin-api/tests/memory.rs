//! What a measurement keeps, seen from a plugin: another crate than that of the executor.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use sonde_plugin_api::{
    abi::{ActionKind, Batch, Event, EventKind, NO_TOKEN, Out},
    alloc::Counted,
    glue::{MethodEntry, instance_of},
    prelude::*,
};

#[global_allocator]
static ALLOCATOR: Counted = Counted;

struct Waits;

impl Method for Waits {
    const NAME: &'static str = "waits";
    const DOC: &'static str = "Sleeps until it is interrupted";
    type Params = ();
    type Row = ();

    async fn run(ctx: Ctx, (): ()) -> Result<(), Fail> {
        let waits = async {
            loop {
                ctx.sleep(Duration::from_millis(1)).await;
            }
        };
        ctx.until_interrupted(waits).await;
        Ok(())
    }
}

#[test]
fn a_measurement_keeps_no_more_the_longer_it_waits_for_an_interrupt() {
    let mut instance = instance_of(const { &[MethodEntry::of::<Waits>()] });
    let mut out = Out::default();
    let mut event = Event { kind: EventKind::Start, ..Event::ZERO };
    let mut held = [0; 2];
    for round in 1..=20_000u64 {
        out.actions.clear();
        out.bytes.clear();
        let now = round * 1_000_000;
        let events = [Event { at: now, ..event }];
        let batch = Batch { now, wall: now, events: events[..].into(), bytes: [][..].into() };
        instance.poll(batch, &mut out);
        let timer = out.actions.iter().find(|action| action.kind == ActionKind::Timer).unwrap();
        assert_ne!(timer.token, NO_TOKEN);
        event = Event { kind: EventKind::Timer, token: timer.token, ..Event::ZERO };
        if round.is_multiple_of(10_000) {
            held[(round / 10_000 - 1) as usize] = instance.usage().heap_octets;
        }
    }
    assert!(held[0] > 0);
    assert_eq!(held[0], held[1]);
}
