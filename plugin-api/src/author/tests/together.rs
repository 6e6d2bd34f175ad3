//! Several things at once.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use super::*;
use crate::{
    Probe,
    author::{Either, Outcome, join, join_all, select},
};

fn tokens(did: &[Did]) -> Vec<u32> {
    of_kind(did, ActionKind::Send).iter().map(|send| send.action.token).collect()
}

fn shown<T>(outcomes: &[Outcome<T>]) -> String {
    let letter = |outcome: &Outcome<T>| match outcome {
        Outcome::Reply(_) => 'r',
        Outcome::Timeout { .. } => 't',
        Outcome::Unsent(_) => 'u',
    };
    outcomes.iter().map(letter).collect()
}

#[test]
fn a_window_resolves_once_when_every_probe_is_settled() {
    method!(Window, ctx {
        let flow = ctx.udp().await?;
        for _ in 0..2 {
            let probes = [Probe::udp(1), Probe::udp(2), Probe::udp(3).size(1), Probe::udp(4)];
            let outcomes = flow.burst(probes).timeout(ms(70)).read(|_, packet| packet.len()).await;
            ctx.say(shown(&outcomes));
        }
        let none = flow.burst([]).await;
        ctx.say(format!("{}", none.len()));
        Ok(())
    });
    let (mut driver, did) = Driver::opened::<Window>();
    let first = tokens(&did);
    assert_eq!(first.len(), 3);
    assert_eq!(said(&driver.answer(first[2])), Vec::<String>::new());
    assert_eq!(said(&driver.timeout(first[0])), Vec::<String>::new());
    let did = driver.answer(first[1]);
    assert_eq!(said(&did), ["trur"]);
    // Slots are used again, in another order, and old answers are ignored.
    let second = tokens(&did);
    assert_eq!(driver.answer(first[0]), []);
    driver.answer(second[0]);
    driver.answer(second[1]);
    assert_eq!(said(&driver.timeout(second[2])), ["rrut", "0"]);
}

#[test]
fn a_window_that_is_dropped_cancels_what_is_not_answered() {
    method!(Cancels, ctx {
        let flow = ctx.udp().await?;
        let window = flow.burst([Probe::udp(1), Probe::udp(2)]);
        let is_first = matches!(select(window, ctx.sleep(ms(5))).await, Either::First(_));
        ctx.say(format!("{is_first}"));
        ctx.sleep(ms(5)).await;
        Ok(())
    });
    let (mut driver, did) = Driver::opened::<Cancels>();
    let sent = tokens(&did);
    driver.answer(sent[0]);
    let did = driver.timer(only(&did, ActionKind::Timer).action.token);
    assert_eq!(said(&did), ["false"]);
    let cancelled = only(&did, ActionKind::Cancel).action;
    assert_eq!((cancelled.token, cancelled.flow), (sent[1], 5));
}

#[test]
fn join_all_gives_results_in_the_order_of_its_futures() {
    method!(Joins, ctx {
        let flow = ctx.udp().await?;
        let outcomes = join_all((0..3).map(|port| flow.probe(Probe::udp(port)))).await;
        ctx.say(shown(&outcomes));
        let (one, ()) = join(flow.probe(Probe::udp(1)), ctx.sleep(ms(1))).await;
        ctx.say(shown(&[one]));
        Ok(())
    });
    let (mut driver, did) = Driver::opened::<Joins>();
    let sent = tokens(&did);
    driver.timeout(sent[2]);
    driver.answer(sent[0]);
    let did = driver.answer(sent[1]);
    assert_eq!(said(&did), ["rrt"]);
    driver.timer(only(&did, ActionKind::Timer).action.token);
    assert_eq!(said(&driver.answer(tokens(&did)[0])), ["r"]);
}

#[test]
fn select_drops_the_slower_one_which_cancels_it() {
    method!(Races, ctx {
        let flow = ctx.udp().await?;
        let mut tick = ctx.sleep(ms(9));
        for _ in 0..2 {
            match select(&mut tick, flow.probe(Probe::udp(1))).await {
                Either::First(()) => ctx.say("tick"),
                Either::Second(_) => ctx.say("answer"),
            }
        }
        Ok(())
    });
    let (mut driver, did) = Driver::opened::<Races>();
    let tick = only(&did, ActionKind::Timer).action.token;
    let did = driver.answer(tokens(&did)[0]);
    assert_eq!(said(&did), ["answer"]);
    assert_eq!(of_kind(&did, ActionKind::Timer), Vec::<&Did>::new());
    let second = tokens(&did)[0];
    let did = driver.timer(tick);
    assert_eq!(said(&did), ["tick"]);
    assert_eq!(only(&did, ActionKind::Cancel).action.token, second);
}

#[test]
fn an_answer_that_is_not_taken_at_once_is_put_aside() {
    method!(Late, ctx {
        let flow = ctx.udp().await?;
        let mut probe = flow.probe(Probe::udp(1)).capture();
        // Sends it, and gives up waiting without dropping it.
        select(&mut probe, ctx.sleep(ms(1))).await;
        ctx.sleep(ms(5)).await;
        let (_, packet) = probe.await.reply().ok_or_else(|| Fail::new("?"))?;
        ctx.say(format!("{packet:?}"));
        Ok(())
    });
    let (mut driver, did) = Driver::opened::<Late>();
    let token = tokens(&did)[0];
    let did = driver.timer(only(&did, ActionKind::Timer).action.token);
    assert_eq!(driver.answer(token), []);
    let did = driver.timer(only(&did, ActionKind::Timer).action.token);
    assert_eq!(said(&did), [format!("{:?}", b"answer")]);
}

/// A combinator of the kind that polls only what was woken.
struct Woken<F> {
    futures: Vec<Option<Pin<Box<F>>>>,
    flags: Vec<Arc<Flag>>,
}

struct Flag {
    woken: AtomicU32,
    outer: Mutex<Option<Waker>>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::Relaxed);
        if let Some(outer) = &*self.outer.lock().unwrap() {
            outer.wake_by_ref();
        }
    }
}

impl<F: Future> Woken<F> {
    fn new(futures: impl IntoIterator<Item = F>) -> Self {
        let futures: Vec<_> = futures.into_iter().map(|future| Some(Box::pin(future))).collect();
        let flag = || Arc::new(Flag { woken: AtomicU32::new(1), outer: Mutex::new(None) });
        let flags = futures.iter().map(|_| flag()).collect();
        Self { futures, flags }
    }
}

impl<F: Future> Future for Woken<F> {
    type Output = Vec<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut outputs = Vec::new();
        for (future, flag) in this.futures.iter_mut().zip(&this.flags) {
            *flag.outer.lock().unwrap() = Some(context.waker().clone());
            if future.is_none() || flag.woken.swap(0, Ordering::Relaxed) == 0 {
                continue;
            }
            let waker = Waker::from(Arc::clone(flag));
            let mut inner = Context::from_waker(&waker);
            if let Some(running) = future
                && let Poll::Ready(output) = running.as_mut().poll(&mut inner)
            {
                outputs.push(output);
                *future = None;
            }
        }
        if outputs.is_empty() { Poll::Pending } else { Poll::Ready(outputs) }
    }
}

#[test]
fn foreign_combinators_that_poll_what_was_woken_work() {
    method!(Foreign, ctx {
        let flow = Rc::new(ctx.udp().await?);
        let mut futures = Woken::new((0..3_u16).map(|port| {
            let (flow, ctx) = (Rc::clone(&flow), ctx.clone());
            async move {
                let outcome = flow.probe(Probe::udp(port)).await;
                ctx.sleep(ms(1)).await;
                format!("{port} {}", shown(&[outcome]))
            }
        }));
        for _ in 0..3 {
            let outputs = (&mut futures).await;
            ctx.say(outputs.join(" "));
        }
        Ok(())
    });
    let (mut driver, did) = Driver::opened::<Foreign>();
    let sent = tokens(&did);
    assert_eq!(sent.len(), 3);
    let mut timers = Vec::new();
    for token in [sent[1], sent[2], sent[0]] {
        let did = driver.answer(token);
        timers.push(only(&did, ActionKind::Timer).action.token);
    }
    assert_eq!(said(&driver.timer(timers[1])), ["2 r"]);
    assert_eq!(said(&driver.timer(timers[0])), ["1 r"]);
    assert_eq!(said(&driver.timer(timers[2])), ["0 r"]);
    assert_eq!(driver.tasks(), 0);
}
