//! An answer that its peer has to have nearly all of before something is done.
//!
//! What a kernel has taken may still be lost on the way, but not a long answer that a slow line or an impatient peer cuts
//! off.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::client_port::Unavailable;

/// Octets that are written at once, and of the end that waits.
pub(crate) const PIECE_OCTETS: usize = 64 << 10;

type Confirm = Pin<Box<dyn Future<Output = Result<(), Unavailable>> + Send>>;

struct Confirmed {
    rest: Bytes,
    confirm: Confirm,
}

/// A body whose end waits for `confirm`, which begins when everything before was written; where that fails the body
/// breaks off.
pub(crate) fn confirmed(
    text: String,
    confirm: impl Future<Output = Result<(), Unavailable>> + Send + 'static,
) -> Body {
    Body::new(Confirmed { rest: text.into(), confirm: Box::pin(confirm) })
}

impl HttpBody for Confirmed {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if self.rest.len() <= PIECE_OCTETS
            && let Err(Unavailable(reason)) = ready!(self.confirm.as_mut().poll(context))
        {
            return Poll::Ready(Some(Err(reason)));
        }
        let length = self.rest.len().min(PIECE_OCTETS);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
