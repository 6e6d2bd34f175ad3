//! What a flow heard and nobody asked for yet: outcomes of launched probes, unsolicited packets.
//!
//! An event for a queue in which somebody waits is handed over in place; it is copied here only
//! if nobody took it. A queue is bounded, and that something was lost is told.

use std::{collections::VecDeque, task::Waker};

use super::{
    context::{Level, log},
    head::{Aside, Head, Listening},
    reply::{Departure, NotSent},
    slots::unless_root,
};
use crate::abi::{Event, EventKind, LABEL_TOKEN, NO_TOKEN, flags};

/// Of unsolicited, late and duplicate packets, and of departures. First outcomes are always kept:
/// there are no more of them than the task launched probes.
const MOST_WAITING: usize = 1024;

/// See the module.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) flow: u32,
    /// Packets that answer no probe are wanted.
    hears_all: bool,
    heard: VecDeque<Aside>,
    /// Few methods ask for them.
    departures: Option<Box<Departures>>,
    /// Somebody awaits what is heard; the waker only of futures between them and the executor.
    waits: bool,
    waker: Option<Waker>,
    /// Launched, and what became of them was not yet handed over.
    outstanding: u32,
    /// There was no room for something.
    is_lossy: bool,
    /// Whoever listens was told so.
    is_told: bool,
}

/// Departures of launched probes that were not handed over.
#[derive(Default)]
struct Departures {
    left: VecDeque<(u32, Departure)>,
    /// As of [`Queue`].
    waits: bool,
    waker: Option<Waker>,
}

impl Queue {
    /// Something was lost, which is to be told once.
    fn is_to_tell(&mut self) -> bool {
        self.is_lossy && !std::mem::replace(&mut self.is_told, true)
    }
}

/// It says what became of a launched probe in the first place.
fn settles(event: &Event) -> bool {
    let later = event.flags & (flags::LATE | flags::DUPLICATE) != 0;
    event.token != NO_TOKEN
        && event.token & LABEL_TOKEN != 0
        && match event.kind {
            EventKind::Packet => !later,
            kind => kind != EventKind::Sent,
        }
}

/// What became of an event for a queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Arrival {
    /// Somebody waits for it: poll the task with the event in place.
    Awaited,
    /// Somebody waits for departures, or may for refusals: poll the task.
    Departed,
    /// Kept or lost: nobody waits.
    Kept,
}

impl Head {
    fn queue<T>(&self, flow: u32, f: impl FnOnce(&mut Queue) -> T) -> Option<T> {
        self.if_listening(|it| it.queues.iter_mut().find(|queue| queue.flow == flow).map(f))
    }

    /// From here on events for `flow` are kept.
    pub(super) fn open_queue(&self, flow: u32, hears_all: bool) {
        if self.queue(flow, |queue| queue.hears_all |= hears_all).is_none() {
            let queue = Queue { flow, hears_all, ..Queue::default() };
            self.listening(|Listening { queues, .. }| {
                if queues.is_empty() {
                    // Most measurements have one flow, and there are many measurements.
                    queues.reserve_exact(1);
                }
                queues.push(queue);
            });
        }
    }

    pub(super) fn close_queue(&self, flow: u32) {
        // Dropped outside of the borrow: it may hold wakers.
        let _queue = self.if_listening(|Listening { queues, .. }| {
            let at = queues.iter().position(|queue| queue.flow == flow)?;
            Some(queues.swap_remove(at))
        });
    }

    /// One more probe was launched on `flow`.
    pub(super) fn count_launched(&self, flow: u32) {
        let counted = |queue: &mut Queue| queue.outstanding = queue.outstanding.saturating_add(1);
        if self.queue(flow, counted).is_none() {
            self.open_queue(flow, false);
            self.queue(flow, counted);
        }
    }

    pub(super) fn outstanding(&self, flow: u32) -> u32 {
        self.queue(flow, |queue| queue.outstanding).unwrap_or_default()
    }

    /// An event came that no slot waits for.
    pub(super) fn arrive(&self, event: &Event, payload: &[u8]) -> Arrival {
        let is_label = event.token != NO_TOKEN && event.token & LABEL_TOKEN != 0;
        if event.kind == EventKind::Sent && is_label {
            let departed = (event.token & !LABEL_TOKEN, Departure::of(event));
            let woken = self.queue(event.flow, |queue| {
                let departures = queue.departures.get_or_insert_default();
                if departures.left.len() < MOST_WAITING {
                    departures.left.push_back(departed);
                } else {
                    queue.is_lossy = true;
                }
                (std::mem::take(&mut departures.waits), departures.waker.take())
            });
            return woken.map_or(Arrival::Kept, |(waits, waker)| {
                waker.into_iter().for_each(Waker::wake);
                if waits { Arrival::Departed } else { Arrival::Kept }
            });
        }
        let is_bare = event.kind == EventKind::SendError && event.token == NO_TOKEN;
        if is_bare && event.flags & flags::REFUSED != 0 {
            self.rare(|rare| rare.refused.get_or_insert(NotSent::of(event)).errno);
            return Arrival::Departed;
        }
        let woken = self.if_listening(|Listening { queues, any }| {
            let queue = queues.iter_mut().find(|queue| queue.flow == event.flow)?;
            let wanted = is_label || queue.hears_all && event.kind == EventKind::Packet;
            wanted.then(|| {
                let own = (std::mem::take(&mut queue.waits), queue.waker.take());
                (own, any.take())
            })
        });
        let Some(((waits, waker), any)) = woken else { return Arrival::Kept };
        if !waits && any.is_none() {
            self.enqueue(event, payload);
            return Arrival::Kept;
        }
        waker.into_iter().chain(any.flatten()).for_each(Waker::wake);
        Arrival::Awaited
    }

    /// Copies an event to the end of the queue of its flow.
    pub(super) fn enqueue(&self, event: &Event, payload: &[u8]) {
        self.queue(event.flow, |queue| {
            if settles(event) || queue.heard.len() < MOST_WAITING {
                queue.heard.push_back(Aside { event: *event, payload: payload.into() });
            } else {
                queue.is_lossy = true;
            }
        });
    }

    /// What came next of the queue of `flow`, as `pop` takes it; where something was lost, that is told.
    fn pop<T>(&self, flow: u32, pop: impl FnOnce(&mut Queue) -> Option<T>) -> Option<T> {
        let (popped, is_to_tell) = self.queue(flow, |queue| (pop(queue), queue.is_to_tell()))?;
        if is_to_tell {
            let text =
                format!("packets were lost: {MOST_WAITING} of a flow waited, and nobody listened");
            log(self, Level::Warn as u8, &text);
        }
        popped
    }

    /// The next event for the queue of `flow`: the oldest that is kept, else the one being
    /// delivered.
    pub(super) fn hear<T>(&self, flow: u32, f: impl FnOnce(&Event, &[u8]) -> T) -> Option<T> {
        let settle = |event: &Event| {
            if settles(event) {
                self.queue(flow, |queue| queue.outstanding = queue.outstanding.saturating_sub(1));
            }
        };
        if let Some(aside) = self.pop(flow, |queue| queue.heard.pop_front()) {
            settle(&aside.event);
            return Some(f(&aside.event, &aside.payload));
        }
        self.take_queued(flow, |event, payload| {
            settle(event);
            f(event, payload)
        })
    }

    /// As [`Head::hear`], of whichever flow has something; the oldest flow first.
    pub(super) fn hear_any<T>(&self, f: impl FnOnce(&Event, &[u8]) -> T) -> Option<T> {
        let kept = self.if_listening(|Listening { queues, .. }| {
            let has_some = |queue: &&Queue| !queue.heard.is_empty();
            queues.iter().find(has_some).map(|queue| queue.flow)
        });
        self.hear(kept.or_else(|| self.queued_flow())?, f)
    }

    /// Somebody waits for the next event of any queue.
    pub(super) fn wait_to_hear_any(&self, waker: &Waker) {
        let kept = unless_root(waker);
        let _old = self.listening(|listening| listening.any.replace(kept));
    }

    /// Somebody waits for the next event of the queue of `flow`.
    pub(super) fn wait_to_hear(&self, flow: u32, waker: &Waker) {
        let kept = unless_root(waker);
        self.open_queue(flow, false);
        let _old = self.queue(flow, |queue| {
            queue.waits = true;
            std::mem::replace(&mut queue.waker, kept)
        });
    }

    /// The next departure on `flow`.
    pub(super) fn departed(&self, flow: u32) -> Option<(u32, Departure)> {
        self.pop(flow, |queue| queue.departures.as_mut()?.left.pop_front())
    }

    /// Somebody waits for the next departure on `flow`.
    pub(super) fn wait_for_departure(&self, flow: u32, waker: &Waker) {
        let kept = unless_root(waker);
        self.open_queue(flow, false);
        let _old = self.queue(flow, |queue| {
            let departures = queue.departures.get_or_insert_default();
            departures.waits = true;
            std::mem::replace(&mut departures.waker, kept)
        });
    }
}
