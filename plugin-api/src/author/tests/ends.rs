//! How tasks end: by themselves, by an interrupt, by the host, by a panic.

use std::{cell::RefCell, panic::panic_any};

use super::*;
use crate::{Probe, abi::FailKind};

fn interrupt() -> Event {
    Event { kind: EventKind::Interrupt, ..Event::ZERO }
}

fn failure(did: &[Did]) -> (FailKind, String) {
    let fail = only(did, ActionKind::Fail);
    (FailKind(fail.action.code), fail.text().to_owned())
}

#[test]
fn why_a_method_stopped_goes_along_with_its_end() {
    method!(Stops, ctx {
        ctx.stop("too early");
        ctx.stop("gap_limit");
        Ok(())
    });
    let (driver, did) = Driver::started::<Stops>();
    assert_eq!(only(&did, ActionKind::Finish).text(), "gap_limit");
    assert_eq!(driver.tasks(), 0);
}

#[test]
fn an_error_is_a_failure_with_its_text() {
    method!(Errs, ctx {
        ctx.say("before");
        let _: IpAddr = "nowhere".parse()?;
        Ok(())
    });
    let (_, did) = Driver::started::<Errs>();
    assert_eq!(said(&did), ["before"]);
    assert_eq!(failure(&did), (FailKind::Error, "invalid IP address syntax".to_owned()));
}

#[test]
fn a_method_that_never_asked_is_ended_by_an_interrupt_and_its_rows_are_kept() {
    method!(Unaware, ctx {
        ctx.say("kept");
        ctx.sleep(ms(100)).await;
        ctx.say("never");
        Ok(())
    });
    let (mut driver, did) = Driver::started::<Unaware>();
    assert_eq!(said(&did), ["kept"]);
    let did = driver.event(interrupt());
    assert_eq!(failure(&did), (FailKind::Interrupted, "interrupted".to_owned()));
    assert_eq!(did.len(), 1);
    assert_eq!(driver.tasks(), 0);
}

#[test]
fn a_method_that_asked_says_goodbye_by_itself() {
    method!(Polite, ctx {
        let flow = ctx.open(FlowSpec::tcp(peer())).await?;
        let work = async {
            loop {
                flow.probe(Probe::tcp_syn(80, 1)).await;
            }
        };
        let done: Option<()> = ctx.until_interrupted(work).await;
        ctx.say(format!("{done:?}"));
        flow.send(Probe::tcp_rst(80, 2));
        ctx.sleep(ms(1)).await;
        ctx.say(format!("{}", ctx.is_interrupted()));
        Ok(())
    });
    let (mut driver, did) = Driver::opened::<Polite>();
    let token = only(&did, ActionKind::Send).action.token;
    let did = driver.event(interrupt());
    assert_eq!(said(&did), ["None"]);
    assert_eq!(only(&did, ActionKind::Cancel).action.token, token);
    assert_eq!(only(&did, ActionKind::Send).action.arg, 0);
    let did = driver.timer(only(&did, ActionKind::Timer).action.token);
    assert_eq!(said(&did), ["true"]);
    assert_eq!(only(&did, ActionKind::Finish).text(), "interrupted");
}

#[test]
fn a_task_that_the_host_drops_says_nothing_any_more() {
    thread_local!(static DROPPED: RefCell<Vec<Ctx<Said>>> = const { RefCell::new(Vec::new()) });
    struct Speaks(Ctx<Said>);
    impl Drop for Speaks {
        fn drop(&mut self) {
            self.0.say("last words");
            DROPPED.with_borrow_mut(|dropped| dropped.push(self.0.clone()));
        }
    }
    method!(Talks, ctx {
        let _speaks = Speaks(ctx.clone());
        let flow = ctx.udp().await?;
        flow.probe(Probe::udp(1)).await;
        Ok(())
    });
    let (mut driver, _) = Driver::opened::<Talks>();
    assert_eq!(driver.event(Event { kind: EventKind::Drop, ..Event::ZERO }), []);
    assert_eq!(driver.tasks(), 0);
    // The handle that escaped is inert, and outlives the instance.
    let escaped = DROPPED.take();
    assert_eq!(escaped.len(), 1);
    escaped[0].say("still here");
    assert_eq!(driver.answer(0), []);
    drop(driver);
    escaped[0].say("still here");
    assert_eq!(escaped[0].now(), crate::Time(1000 * MS));
}

#[test]
fn a_panic_fails_its_task_alone_with_file_and_line() {
    method!(Panics, ctx {
        ctx.say("before");
        ctx.sleep(ms(1)).await;
        let empty: [u8; 0] = [];
        ctx.say(format!("{}", empty[ctx.random() as usize | 1]));
        Ok(())
    });
    let (mut driver, did) = Driver::started::<Panics>();
    let timer = only(&did, ActionKind::Timer).action.token;
    let neighbour = driver.start(1);
    let did = driver.timer(timer);
    let (kind, text) = failure(&did);
    assert_eq!(kind, FailKind::Panic);
    assert!(text.contains("index out of bounds"), "{text}");
    assert!(text.contains("author/tests/ends.rs:"), "{text}");
    assert_eq!((driver.tasks(), driver.instance.usage().panics), (1, 1));
    let token = only(&neighbour, ActionKind::Timer).action.token;
    let did = driver.event(Event { kind: EventKind::Timer, task: 1, token, ..Event::ZERO });
    assert_eq!(failure(&did).0, FailKind::Panic);
    assert_eq!(driver.tasks(), 0);
}

struct PanicsWhenDropped(&'static str);

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

#[test]
fn a_destructor_that_panics_makes_the_end_a_failure() {
    method!(DropPanics, ctx {
        struct Holder;
        impl Future for Holder {
            type Output = ();
            fn poll(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<()> {
                std::task::Poll::Pending
            }
        }
        let _bomb = PanicsWhenDropped("bang");
        ctx.say("before");
        Holder.await;
        Ok(())
    });
    // By an interrupt: the task would have ended with another failure.
    let (mut driver, _) = Driver::started::<DropPanics>();
    let (kind, text) = failure(&driver.event(interrupt()));
    assert_eq!(kind, FailKind::Panic);
    assert!(text.starts_with("bang at "), "{text}");
    assert_eq!(driver.tasks(), 0);
    // By the host: nobody listens, but the text is there for the log.
    let (mut driver, _) = Driver::started::<DropPanics>();
    let did = driver.event(Event { kind: EventKind::Drop, ..Event::ZERO });
    assert_eq!(failure(&did).0, FailKind::Panic);
    assert_eq!(driver.tasks(), 0);
}

#[test]
fn a_second_panic_leaks_rather_than_taking_the_host_along() {
    /// Both its poll and its destructor panic, and so does the destructor of the payload.
    struct Worst;
    impl Future for Worst {
        type Output = ();
        fn poll(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<()> {
            panic_any(PanicsWhenDropped("payload"));
        }
    }
    impl Drop for Worst {
        fn drop(&mut self) {
            panic!("second");
        }
    }
    struct Method2;
    impl Method for Method2 {
        const NAME: &'static str = "test";
        const DOC: &'static str = "test";
        type Params = ();
        type Row = Said;
        #[allow(clippy::manual_async_fn)]
        fn run(_: Ctx<Said>, (): ()) -> impl Future<Output = Result<(), Fail>> + 'static {
            Mapped(Worst)
        }
    }
    struct Mapped(Worst);
    impl Future for Mapped {
        type Output = Result<(), Fail>;
        fn poll(
            self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Self::Output> {
            std::pin::Pin::new(&mut self.get_mut().0).poll(context).map(Ok)
        }
    }
    let (driver, did) = Driver::started::<Method2>();
    let (kind, text) = failure(&did);
    assert_eq!(kind, FailKind::Panic);
    assert!(text.starts_with("panic at "), "{text}");
    assert_eq!((driver.tasks(), driver.instance.usage().panics), (0, 2));
}

#[test]
fn a_panic_before_the_first_await_is_caught_too() {
    struct Early;
    impl Method for Early {
        const NAME: &'static str = "test";
        const DOC: &'static str = "test";
        type Params = ();
        type Row = Said;
        fn run(ctx: Ctx<Said>, (): ()) -> impl Future<Output = Result<(), Fail>> + 'static {
            let number: Result<u8, _> = "x".parse();
            let number: u8 = number.expect("a number");
            async move {
                ctx.say(format!("{number}"));
                Ok(())
            }
        }
    }
    let (driver, did) = Driver::started::<Early>();
    assert!(failure(&did).1.starts_with("a number: ParseIntError"));
    assert_eq!(driver.tasks(), 0);
}

#[test]
fn a_loop_that_never_awaits_is_ended_before_it_fills_the_memory_of_the_host() {
    method!(Floods, ctx {
        for _ in 0..10_000_000 {
            ctx.say("x".repeat(1000));
        }
        ctx.sleep(ms(1)).await;
        Ok(())
    });
    let (driver, did) = Driver::started::<Floods>();
    let octets: usize = did.iter().map(|did| did.octets.len() + 32).sum();
    assert!(octets < (16 << 20) + 10_000, "{octets}");
    assert_eq!(failure(&did).1, "more than 16777216 octets of output in one step");
    assert_eq!(driver.tasks(), 0);
}

#[test]
fn one_payload_beyond_the_limit_is_not_handed_over() {
    method!(Huge, ctx {
        ctx.say("x".repeat(17 << 20));
        ctx.sleep(ms(1)).await;
        Ok(())
    });
    let (_, did) = Driver::started::<Huge>();
    assert_eq!(kinds(&did).last(), Some(&ActionKind::Fail));
    assert_eq!(of_kind(&did, ActionKind::Row), Vec::<&Did>::new());
}

#[test]
fn more_waiting_than_there_are_slots_fails_the_measurement() {
    method!(Many, ctx {
        let flow = ctx.udp().await?;
        flow.burst((0..70_000_u32).map(|_| Probe::udp(1).payload_octets(0))).await;
        Ok(())
    });
    let (driver, did) = Driver::opened::<Many>();
    let text = "more than 65536 probes, timers and flows at the same time";
    assert_eq!(failure(&did), (FailKind::Error, text.to_owned()));
    assert_eq!(driver.tasks(), 0);
}

#[test]
fn parameters_that_make_no_sense_are_refused() {
    method!(Plain, ctx {
        ctx.say("ran");
        Ok(())
    });
    let mut driver = Driver::of::<Plain>();
    let start = Event { kind: EventKind::Start, task: 3, ..Event::ZERO };
    let did = driver.with_payload(start, b"\xff");
    assert_eq!(failure(&did).0, FailKind::BadParams);
    let did = driver.event(Event { aux: 1, ..start });
    assert_eq!(failure(&did), (FailKind::BadParams, "no method has the index 1".to_owned()));
    let did = driver.event(Event { task: u32::MAX, ..start });
    assert_eq!(failure(&did).0, FailKind::BadParams);
    assert_eq!(said(&driver.event(start)), ["ran"]);
}

#[test]
fn events_that_make_no_sense_are_ignored() {
    method!(Waits, ctx {
        let flow = ctx.udp().await?;
        flow.probe(Probe::udp(1)).await;
        Ok(())
    });
    let (mut driver, did) = Driver::opened::<Waits>();
    let token = only(&did, ActionKind::Send).action.token;
    for kind in 0..=255 {
        for (task, token) in [(7, token), (0, 0xffff), (0, NO_TOKEN), (0, 0x8000_0001)] {
            let kind = EventKind(kind);
            let makes_sense = match kind {
                EventKind::Start => true,
                EventKind::Interrupt | EventKind::Drop => task == 0,
                _ => false,
            };
            if makes_sense {
                continue;
            }
            let did = driver.event(Event { kind, task, token, flow: 99, ..Event::ZERO });
            // A flow that nobody asked for is closed.
            let closes = kind == EventKind::FlowOpen && task == 0;
            assert_eq!(did.len(), usize::from(closes), "{kind:?} {token}");
        }
    }
    // A payload outside of the batch is an empty one.
    let event = Event { off: 5, len: u32::MAX, ..driver.packet(token) };
    let batch = Batch {
        now: driver.now,
        wall: WALL,
        events: std::slice::from_ref(&event).into(),
        bytes: (&[] as &[u8]).into(),
    };
    driver.instance.poll(batch, &mut driver.out);
    assert_eq!(driver.tasks(), 0);
}

#[test]
fn a_number_that_is_started_again_begins_anew() {
    method!(Counts, ctx {
        ctx.say("begun");
        ctx.sleep(ms(1)).await;
        ctx.say("over");
        Ok(())
    });
    let (mut driver, did) = Driver::started::<Counts>();
    let old = only(&did, ActionKind::Timer).action.token;
    assert_eq!(said(&driver.start(0)), ["begun"]);
    assert_eq!(driver.tasks(), 1);
    // Tokens are per task: the host has forgotten the old timer with the old task.
    assert_eq!(said(&driver.timer(old)), ["over"]);
}
