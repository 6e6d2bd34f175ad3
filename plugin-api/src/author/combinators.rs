//! Several things at once inside one measurement.
//!
//! They poll everything unfinished each time something happens: right for a few dozen futures. For
//! a window of probes on one flow [`super::Flow::burst`] costs less.
#![allow(unsafe_code)] // pinned parts of `Select`

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
};

/// The result of [`select`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Either<A, B> {
    /// The first one finished.
    First(A),
    /// The second one finished.
    Second(B),
}

/// A future, and then its result.
enum Part<F: Future> {
    Running(Pin<Box<F>>),
    Finished(F::Output),
    Taken,
}

impl<F: Future> Part<F> {
    /// True once it is finished.
    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        if let Self::Running(future) = self {
            match future.as_mut().poll(context) {
                Poll::Ready(output) => *self = Self::Finished(output),
                Poll::Pending => return false,
            }
        }
        true
    }

    fn take(&mut self) -> Option<F::Output> {
        match std::mem::replace(self, Self::Taken) {
            Self::Finished(output) => Some(output),
            Self::Running(_) | Self::Taken => None,
        }
    }
}

/// Runs all of them at once; results in their order.
pub async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut parts: Vec<Part<F>> =
        futures.into_iter().map(|future| Part::Running(Box::pin(future))).collect();
    poll_fn(|context| {
        let mut unfinished = 0_usize;
        for part in &mut parts {
            unfinished += usize::from(!part.poll(context));
        }
        if unfinished == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    parts.iter_mut().filter_map(Part::take).collect()
}

/// Runs two at once and waits for both.
pub async fn join<A: Future, B: Future>(first: A, second: B) -> (A::Output, B::Output) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut one, mut two) = (None, None);
    poll_fn(|context| {
        if one.is_none()
            && let Poll::Ready(output) = first.as_mut().poll(context)
        {
            one = Some(output);
        }
        if two.is_none()
            && let Poll::Ready(output) = second.as_mut().poll(context)
        {
            two = Some(output);
        }
        match (one.take(), two.take()) {
            (Some(left), Some(right)) => Poll::Ready((left, right)),
            (left, right) => {
                (one, two) = (left, right);
                Poll::Pending
            }
        }
    })
    .await
}

/// The first of two to finish, the first one where both do. The other is dropped: its probe or
/// timer is cancelled. To keep it, pass `&mut` to it (pinned, if it is not `Unpin`).
pub fn select<A: Future, B: Future>(first: A, second: B) -> Select<A, B> {
    Select { first, second }
}

/// See [`select`]. Not an `async fn`: that would keep both twice.
#[must_use = "both are polled when it is awaited"]
#[derive(Debug)]
pub struct Select<A, B> {
    first: A,
    second: B,
}

impl<A: Future, B: Future> Future for Select<A, B> {
    type Output = Either<A::Output, B::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: neither is ever moved out of `self`, which has no destructor of its own and is
        // `Unpin` only where both are.
        let (first, second) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.first), Pin::new_unchecked(&mut this.second))
        };
        if let Poll::Ready(output) = first.poll(context) {
            return Poll::Ready(Either::First(output));
        }
        second.poll(context).map(Either::Second)
    }
}

/// The output of a future that another one may cut short: see
/// [`Ctx::until_interrupted`](super::Ctx::until_interrupted).
#[must_use = "it runs when it is awaited"]
#[derive(Debug)]
pub struct Until<F, E>(Select<F, E>);

/// `None` where `end` finished first.
pub(super) fn until<F: Future, E: Future>(future: F, end: E) -> Until<F, E> {
    Until(select(future, end))
}

impl<F: Future, E: Future> Future for Until<F, E> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: as for `Select`, which is all that is in it.
        let select = unsafe { self.map_unchecked_mut(|this| &mut this.0) };
        select.poll(context).map(|either| match either {
            Either::First(output) => Some(output),
            Either::Second(_) => None,
        })
    }
}
