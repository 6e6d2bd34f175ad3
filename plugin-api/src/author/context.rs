//! What a method has of the world: time, randomness, results, flows.

use std::{
    future::{Future, poll_fn},
    marker::PhantomData,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use sonde_packet::unmapped;

use super::{
    Fail,
    combinators::{Until, until},
    flow::{Flow, FlowSpec, heard},
    head::{Handle, Head},
    reply::{Heard, NotSent, Reply},
    wall::WallTime,
};
use crate::{
    abi::{Action, ActionKind, FlowInfo, NO_TOKEN},
    row::Rows,
    schema::{Time, nanoseconds},
};

/// Of a line in the log; the rest is cut.
const MOST_LOG_OCTETS: usize = 4096;

/// A method's handle to the host. Clones are the same task.
///
/// `R` is what the method emits: a row, or an enum of the rows of several tables.
pub struct Ctx<R = ()> {
    head: Handle,
    rows: PhantomData<fn(R)>,
}

impl<R> Clone for Ctx<R> {
    fn clone(&self) -> Self {
        Self { head: self.head.clone(), rows: PhantomData }
    }
}

/// How much a line in the log matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Level {
    Error = 1,
    Warn = 2,
    Info = 3,
    Debug = 4,
    Trace = 5,
}

pub(super) fn log(head: &Head, level: u8, text: &str) {
    let mut end = text.len().min(MOST_LOG_OCTETS);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let action = Action { kind: ActionKind::Log, code: level, ..Action::ZERO };
    head.write(action, |arena| arena.put(&text.as_bytes()[..end]));
}

impl<R: Rows> Ctx<R> {
    pub(super) fn new(head: Handle) -> Self {
        Self { head, rows: PhantomData }
    }

    /// When the events were handed out that the method works on at the moment. It stands still
    /// between two awaits.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Time {
        Time(self.head.now())
    }

    /// The wall time of a moment. The distance of the two clocks is that of [`Ctx::now`].
    #[must_use]
    pub fn wall(&self, time: Time) -> WallTime {
        let (now, wall) = (self.head.now(), self.head.wall());
        WallTime(match time.0.checked_sub(now) {
            Some(later) => wall.saturating_add(later),
            None => wall.saturating_sub(now - time.0),
        })
    }

    /// 32 random bits. The host gives the seed: a run is repeated by giving the same again.
    #[inline]
    #[must_use]
    pub fn random(&self) -> u32 {
        (self.head.random() >> 32) as u32
    }

    /// 64 random bits, as [`Ctx::random`].
    #[inline]
    #[must_use]
    pub fn random64(&self) -> u64 {
        self.head.random()
    }

    /// A random number from 0 up to, but not including, 1.
    #[must_use]
    pub fn random_unit(&self) -> f64 {
        (self.head.random() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Name of the network interface of the host that `reply` came in by, where that is known.
    #[must_use]
    pub fn interface(&self, reply: &Reply) -> Option<Rc<str>> {
        self.head.interface(reply.interface_number())
    }

    /// One more row of the result. The host has it for good: a failure later on does not take it
    /// back.
    #[inline]
    pub fn emit(&self, row: impl Into<R>) {
        let row = row.into();
        let action = Action { kind: ActionKind::Row, code: row.table(), ..Action::ZERO };
        self.head.write(action, |arena| row.encode(arena));
    }

    /// How much is done, from 0 to 1.
    pub fn progress(&self, done: f64) {
        // What is out of range or no number ends up in range: `as` saturates.
        let arg = (done.clamp(0.0, 1.0) * 1000.0) as u64;
        self.head.act(Action { kind: ActionKind::Progress, arg, ..Action::ZERO });
    }

    /// A line in the measurement's log.
    pub fn log(&self, text: &str) {
        log(&self.head, Level::Info as u8, text);
    }

    /// A line for the operator: what went wrong, though the method goes on.
    pub fn error(&self, text: &str) {
        log(&self.head, Level::Error as u8, text);
    }

    /// A line for the operator: what may be wrong.
    pub fn warn(&self, text: &str) {
        log(&self.head, Level::Warn as u8, text);
    }

    /// A line for who looks for a mistake: every decision.
    pub fn debug(&self, text: &str) {
        log(&self.head, Level::Debug as u8, text);
    }

    /// A line for who looks for a mistake: every packet.
    pub fn trace(&self, text: &str) {
        log(&self.head, Level::Trace as u8, text);
    }

    /// Why the method is about to stop, such as `gap_limit`: part of the record. It does not end
    /// the method; the last word counts.
    pub fn stop(&self, reason: &str) {
        self.head.set_stop(reason);
    }

    /// Waits for `duration` from [`Ctx::now`] on.
    pub fn sleep(&self, duration: Duration) -> Sleep<'_> {
        Sleep::at(&self.head, duration)
    }

    /// Waits until `time`, which may have passed.
    pub fn sleep_until(&self, time: Time) -> Sleep<'_> {
        Sleep { head: &self.head, at: time.0, token: NO_TOKEN }
    }

    /// Reserves a local identifier (port or ICMP identifier) towards a peer and begins to listen.
    /// The flow is closed when it is dropped.
    ///
    /// # Errors
    ///
    /// Where the host cannot or must not: no route, no address of this family, the identifier is
    /// taken, refused by policy.
    // Not an `async fn`: that would keep its arguments beside the opening.
    pub fn open(&self, spec: FlowSpec) -> impl Future<Output = Result<Flow, Fail>> {
        Opening { head: &self.head, spec, token: NO_TOKEN }
    }

    /// As [`Flow::next_with`], of all flows of the measurement: what any of them hears first. For
    /// methods with a flow for each probe, which tell them by their labels.
    pub fn next_with<T, F: FnOnce(&Heard, &[u8]) -> T>(&self, read: F) -> NextOfAny<'_, F> {
        NextOfAny { head: &self.head, read: Some(read) }
    }

    /// The host wants the measurement to finish: packets are limited and time is short.
    ///
    /// A method that called this, [`Ctx::until_interrupted`] or [`Ctx::is_interrupted`] must end by
    /// itself then. Any other is ended where it stands; its rows are kept.
    pub fn interrupted(&self) -> Interrupted<'_> {
        self.head.ask_for_interrupts();
        Interrupted { head: &self.head }
    }

    /// Whether the host wants the measurement to finish, as [`Ctx::interrupted`].
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.head.ask_for_interrupts();
        self.head.is_interrupted()
    }

    /// Why a packet that nobody waits for ([`Flow::send`]) did not leave, as soon as the operator or a budget keeps one:
    /// for conversations, which go wrong without it. Only the future of the measurement itself may wait for it, and
    /// not one that is joined with others.
    pub async fn refused(&self) -> NotSent {
        poll_fn(|_| match self.head.if_rare(|rare| rare.refused) {
            Some(reason) => Poll::Ready(reason),
            None => Poll::Pending,
        })
        .await
    }

    /// Runs `future` to its end, or up to an interrupt: then it is dropped, which cancels its
    /// probes and timers, and this is `None`. As [`Ctx::interrupted`].
    pub fn until_interrupted<'a, F: Future>(&'a self, future: F) -> Until<F, Interrupted<'a>> {
        until(future, self.interrupted())
    }
}

/// See [`Ctx::interrupted`].
#[must_use = "it waits when awaited"]
pub struct Interrupted<'a> {
    head: &'a Head,
}

impl Future for Interrupted<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.head.is_interrupted() {
            return Poll::Ready(());
        }
        self.head.wait_for_interrupt(context.waker());
        Poll::Pending
    }
}

/// See [`Ctx::sleep`]. Dropping it cancels the timer.
#[must_use = "it waits when awaited"]
pub struct Sleep<'a> {
    head: &'a Head,
    at: u64,
    token: u32,
}

impl<'a> Sleep<'a> {
    pub(super) fn at(head: &'a Head, wait: Duration) -> Self {
        Self { head, at: head.now().saturating_add(nanoseconds(wait)), token: NO_TOKEN }
    }
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let head = self.head;
        if self.token == NO_TOKEN {
            if self.at <= head.now() {
                return Poll::Ready(());
            }
            if let Some(token) = head.reserve(context.waker()) {
                self.token = token;
                let arg = self.at;
                head.act(Action { kind: ActionKind::Timer, token, arg, ..Action::ZERO });
            }
            return Poll::Pending;
        }
        match head.take(self.token, |_, _| ()) {
            Some(()) => {
                self.token = NO_TOKEN;
                self.at = 0;
                Poll::Ready(())
            }
            None => {
                head.park(self.token, context.waker());
                Poll::Pending
            }
        }
    }
}

impl Drop for Sleep<'_> {
    #[inline]
    fn drop(&mut self) {
        self.head.cancel(self.token, NO_TOKEN);
    }
}

/// See [`Ctx::next_with`].
#[must_use = "it listens when awaited"]
pub struct NextOfAny<'a, F> {
    head: &'a Head,
    read: Option<F>,
}

// Nothing in it is pinned.
impl<F> Unpin for NextOfAny<'_, F> {}

impl<T, F: FnOnce(&Heard, &[u8]) -> T> Future for NextOfAny<'_, F> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = self.get_mut();
        let (head, read) = (this.head, &mut this.read);
        let output = head.hear_any(|event, packet| {
            let read = read.take().expect("a future is not polled after it finished");
            read(&heard(event), packet)
        });
        if output.is_none() {
            head.wait_to_hear_any(context.waker());
        }
        output.map_or(Poll::Pending, Poll::Ready)
    }
}

/// A flow that is being opened. Given up early, it is closed again when the host has opened it.
struct Opening<'a> {
    head: &'a Handle,
    spec: FlowSpec,
    token: u32,
}

impl Opening<'_> {
    fn opened(&self, id: u32, info: &FlowInfo) -> Flow {
        let spec = &self.spec;
        if spec.hears_all() {
            self.head.open_queue(id, true);
        }
        Flow::new(self.head.clone(), id, spec, info)
    }
}

impl Future for Opening<'_> {
    type Output = Result<Flow, Fail>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.token == NO_TOKEN {
            if let Some(token) = self.head.reserve(context.waker()) {
                self.token = token;
                let action = Action { kind: ActionKind::OpenFlow, token, ..Action::ZERO };
                self.head.write(action, |arena| arena.put(&self.spec.to_octets()));
            }
            return Poll::Pending;
        }
        let answer = self.head.take(self.token, |event, payload| match event.code {
            0 => FlowInfo::from_octets(payload)
                .map(|info| (event.flow, info))
                .ok_or_else(|| "the host's answer makes no sense".to_owned()),
            code if payload.is_empty() => Err(format!("errno {code}")),
            _ => Err(String::from_utf8_lossy(payload).into_owned()),
        });
        let Some(answer) = answer else {
            self.head.park(self.token, context.waker());
            return Poll::Pending;
        };
        self.token = NO_TOKEN;
        let peer = unmapped(self.spec.peer());
        Poll::Ready(match answer {
            Ok((id, info)) => Ok(self.opened(id, &info)),
            Err(reason) => Err(Fail::new(format!("cannot open a flow to {peer}: {reason}"))),
        })
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        // No `Cancel`: the answer is on its way, and closes the flow when nobody waits for it.
        if self.head.is_live(self.token) {
            self.head.release(self.token);
        }
    }
}

/// A duration as the binary interface has it, where 0 has a meaning of its own.
pub(super) fn at_least_1_ns(duration: Duration) -> u64 {
    nanoseconds(duration).max(1)
}
