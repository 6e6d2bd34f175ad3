//! One probe and its answer, as a future.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    context::at_least_1_ns,
    flow::{Flow, outcome},
    probe::Probe,
    reply::{Outcome, Reply},
    window::Captured,
};
use crate::abi::NO_TOKEN;

/// How long probes wait for their answer unless something else is said.
pub(super) const USUAL_WAIT_NS: u64 = 1_000_000_000;

/// A probe on its way. Dropping it cancels it.
pub(super) struct Sent<'a> {
    pub(super) flow: &'a Flow,
    pub(super) token: u32,
}

impl Drop for Sent<'_> {
    #[inline]
    fn drop(&mut self) {
        self.flow.head.cancel(self.token, self.flow.id);
    }
}

/// See [`Flow::probe`]. Dropping it cancels the probe: a late answer is ignored.
#[must_use = "the probe is sent when awaited"]
pub struct ProbeFuture<'a, F> {
    sent: Sent<'a>,
    probe: Option<Probe>,
    wait: u64,
    read: Option<F>,
}

// Nothing in it is pinned.
impl<F> Unpin for ProbeFuture<'_, F> {}

impl<'a, F> ProbeFuture<'a, F> {
    #[inline]
    pub(super) fn new(flow: &'a Flow, probe: Probe, read: F) -> Self {
        let sent = Sent { flow, token: NO_TOKEN };
        Self { sent, probe: Some(probe), wait: USUAL_WAIT_NS, read: Some(read) }
    }

    /// How long to wait for an answer, from the moment that the probe leaves. 1 s unless said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.wait = at_least_1_ns(timeout);
        self
    }

    /// As [`Probe::immediate`].
    pub fn immediate(mut self) -> Self {
        self.probe = self.probe.map(Probe::immediate);
        self
    }

    /// Reads the packet where it lies, without copying it; what `read` gives is the answer.
    pub fn read<T, G: FnOnce(&Reply, &[u8]) -> T>(self, read: G) -> ProbeFuture<'a, G> {
        ProbeFuture { sent: self.sent, probe: self.probe, wait: self.wait, read: Some(read) }
    }

    /// Keeps a copy of the packet.
    pub fn capture(self) -> ProbeFuture<'a, Captured> {
        self.read(|reply, packet| (*reply, packet.into()))
    }
}

impl<T, F: FnOnce(&Reply, &[u8]) -> T> Future for ProbeFuture<'_, F> {
    type Output = Outcome<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome<T>> {
        let this = self.get_mut();
        let flow = this.sent.flow;
        if let Some(probe) = &this.probe {
            let Some(token) = flow.head.reserve(context.waker()) else { return Poll::Pending };
            if let Err(reason) = flow.emit(probe, token, this.wait, 0) {
                flow.head.release(token);
                return Poll::Ready(Outcome::Unsent(reason));
            }
            this.sent.token = token;
            this.probe = None;
            return Poll::Pending;
        }
        let read = &mut this.read;
        let answer = flow.head.take(this.sent.token, |event, packet| {
            outcome(event, |reply| {
                let read = read.take().expect("a future is not polled after it finished");
                read(&reply, packet)
            })
        });
        match answer {
            Some(answer) => {
                this.sent.token = NO_TOKEN;
                Poll::Ready(answer)
            }
            None => {
                flow.head.park(this.sent.token, context.waker());
                Poll::Pending
            }
        }
    }
}
