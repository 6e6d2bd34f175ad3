//! A window of probes as one future.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    answer::{Sent, USUAL_WAIT_NS},
    context::at_least_1_ns,
    flow::{Flow, outcome},
    probe::Probe,
    reply::{Outcome, Reply},
    slots::unless_root,
};
use crate::abi::NO_TOKEN;

/// Reads an answer without looking into the packet.
pub type AsReply = fn(&Reply, &[u8]) -> Reply;

/// Reads an answer and keeps a copy of the packet.
pub type Captured = fn(&Reply, &[u8]) -> (Reply, Box<[u8]>);

/// See [`Flow::burst`]. Dropping it cancels what is not answered.
#[must_use = "the probes are sent when awaited"]
pub struct Burst<'a, T, F> {
    flow: &'a Flow,
    wait: u64,
    probes: Vec<Probe>,
    sent: Vec<Sent<'a>>,
    outcomes: Vec<Option<Outcome<T>>>,
    unanswered: usize,
    read: F,
}

// Nothing in it is pinned.
impl<T, F> Unpin for Burst<'_, T, F> {}

impl<'a, T, F> Burst<'a, T, F> {
    pub(super) fn new(flow: &'a Flow, probes: Vec<Probe>, read: F) -> Self {
        Self {
            flow,
            wait: USUAL_WAIT_NS,
            probes,
            sent: Vec::new(),
            outcomes: Vec::new(),
            unanswered: 0,
            read,
        }
    }

    /// How long to wait for each answer, from the moment that its probe leaves. 1 s unless said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.wait = at_least_1_ns(timeout);
        self
    }

    /// Reads packets where they lie, without copying them.
    pub fn read<U, G: FnMut(&Reply, &[u8]) -> U>(self, read: G) -> Burst<'a, U, G> {
        Burst {
            flow: self.flow,
            wait: self.wait,
            probes: self.probes,
            sent: self.sent,
            outcomes: Vec::new(),
            unanswered: 0,
            read,
        }
    }

    /// Keeps copies of the packets.
    pub fn capture(self) -> Burst<'a, (Reply, Box<[u8]>), Captured> {
        self.read(|reply, packet| (*reply, packet.into()))
    }
}

impl<T, F: FnMut(&Reply, &[u8]) -> T> Burst<'_, T, F> {
    fn start(&mut self, context: &Context<'_>) {
        let (flow, head) = (self.flow, &self.flow.head);
        for probe in self.probes.drain(..) {
            let mut token = NO_TOKEN;
            let mut outcome = None;
            if let Some(reserved) = head.reserve(context.waker()) {
                match flow.emit(&probe, reserved, self.wait, 0) {
                    Ok(()) => token = reserved,
                    Err(reason) => {
                        head.release(reserved);
                        outcome = Some(Outcome::Unsent(reason));
                    }
                }
            }
            self.unanswered += usize::from(outcome.is_none());
            self.sent.push(Sent { flow, token });
            self.outcomes.push(outcome);
        }
    }

    /// Which probe waits with `token`. Slots of a window mostly lie side by side, in rising order.
    fn index(&self, token: u32) -> Option<usize> {
        let first = self.sent.first()?.token;
        let near = ((token & 0xffff) as usize).wrapping_sub((first & 0xffff) as usize);
        if self.sent.get(near).is_some_and(|sent| sent.token == token) {
            return Some(near);
        }
        self.sent.iter().position(|sent| sent.token == token)
    }

    fn settle(&mut self, index: usize) {
        let (sent, read) = (&mut self.sent[index], &mut self.read);
        let taken = sent
            .flow
            .head
            .take(sent.token, |event, packet| outcome(event, |reply| read(&reply, packet)));
        if taken.is_some() {
            sent.token = NO_TOKEN;
            self.outcomes[index] = taken;
            self.unanswered -= 1;
        }
    }
}

impl<T, F: FnMut(&Reply, &[u8]) -> T> Future for Burst<'_, T, F> {
    type Output = Vec<Outcome<T>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let head = &this.flow.head;
        if this.sent.is_empty() {
            this.start(context);
        } else {
            match head.current_token() {
                NO_TOKEN => {}
                token => {
                    if let Some(index) = this.index(token) {
                        this.settle(index);
                    }
                }
            }
            if head.has_aside() {
                for index in 0..this.sent.len() {
                    this.settle(index);
                }
            }
            if this.unanswered > 0 && unless_root(context.waker()).is_some() {
                for sent in this.sent.iter().filter(|sent| sent.token != NO_TOKEN) {
                    head.park(sent.token, context.waker());
                }
            }
        }
        if this.unanswered > 0 {
            return Poll::Pending;
        }
        Poll::Ready(std::mem::take(&mut this.outcomes).into_iter().flatten().collect())
    }
}
