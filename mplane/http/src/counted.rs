//! Long answers, which take memory until their peer has read them, count against the same limits as bodies.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::confirmed::PIECE_OCTETS;
use crate::limits::{Held, Limits, Peers};
use crate::pages;

/// Given away in pieces: whoever writes it keeps a single one.
struct Counted {
    body: Body,
    rest: Bytes,
    _held: Held,
}

/// The answer, or that it has to wait where its peer, or all of them, leave too much unread.
pub(crate) fn counted(
    response: Response,
    peers: &Arc<Peers>,
    address: IpAddr,
    limits: &Limits,
) -> Response {
    let octets = response.body().size_hint().lower();
    let octets = usize::try_from(octets).unwrap_or(usize::MAX);
    if octets <= PIECE_OCTETS {
        return response;
    }
    let mut held = peers.body(address);
    if !held.grow(octets, limits) {
        let text = "too many long answers are not read; try again later";
        return pages::problem(StatusCode::SERVICE_UNAVAILABLE, text);
    }
    response.map(|body| Body::new(Counted { body, rest: Bytes::new(), _held: held }))
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return Poll::Ready(other),
            }
        }
        let length = self.rest.len().min(PIECE_OCTETS);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        match self.body.size_hint().exact() {
            Some(octets) => SizeHint::with_exact(octets + rest),
            None => SizeHint::new(),
        }
    }
}
