//! Bodies: their media type and size.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use http_body_util::BodyExt;
use sonde_mplane::{MEDIA_TYPE, Message};

use crate::client_port::Unavailable;
use crate::confirmed::{self, PIECE_OCTETS};
use crate::limits::{Held, Limits, Peers};
use crate::pages;
use crate::serve::Peer;

/// Whether a body is an mPlane message: the media type is compared as a whole.
pub(crate) fn is_mplane(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes() == MEDIA_TYPE.as_bytes())
}

/// Who sent a request; a router that is served without [`crate::serve`] knows nobody.
pub(crate) fn peer(request: &Request) -> Result<Peer, Box<Response>> {
    request.extensions().get::<Peer>().cloned().ok_or_else(|| {
        let text = "the connection has no identity";
        Box::new(pages::problem(StatusCode::INTERNAL_SERVER_ERROR, text))
    })
}

/// The body of a request, within the limits of size and time, and with what counts it against those of all bodies until it is
/// dropped.
pub(crate) async fn read(request: Request) -> Result<(Vec<u8>, Option<Held>), Box<Response>> {
    let limits = request.extensions().get::<Limits>().copied().unwrap_or_default();
    let address = request.extensions().get::<Peer>().map(|peer| peer.address.ip());
    let peers = request.extensions().get::<Arc<Peers>>();
    let mut held = address.zip(peers).map(|(address, peers)| peers.body(address));
    let body = collect(request.into_body(), &limits, held.as_mut());
    let (status, text) = match tokio::time::timeout(limits.body, body).await {
        Ok(Ok(octets)) => return Ok((octets, held)),
        Ok(Err(Unread::TooLong)) => (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body was cut off or is longer than {} octets", limits.body_octets),
        ),
        Ok(Err(Unread::TooMany)) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many large bodies at the same time; try again later".to_owned(),
        ),
        Err(_) => (
            StatusCode::REQUEST_TIMEOUT,
            format!("the body took longer than {} s", limits.body.as_secs_f64()),
        ),
    };
    Err(Box::new(pages::problem(status, &text)))
}

/// Why a body was not read.
enum Unread {
    TooLong,
    TooMany,
}

async fn collect(
    mut body: Body,
    limits: &Limits,
    mut held: Option<&mut Held>,
) -> Result<Vec<u8>, Unread> {
    let mut octets = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unread::TooLong)?.into_data() else { continue };
        if octets.len() + data.len() > limits.body_octets {
            return Err(Unread::TooLong);
        }
        if held.as_mut().is_some_and(|held| !held.grow(data.len(), limits)) {
            return Err(Unread::TooMany);
        }
        octets.extend_from_slice(&data);
    }
    Ok(octets)
}

/// A message, with the status that the RI's client looks at, exceptions included.
pub(crate) fn message(message: &Message) -> Response {
    mplane(message.to_json())
}

/// A message; its end waits until `confirm` has done something that cannot be undone.
pub(crate) async fn confirmed(
    message: &Message,
    confirm: impl Future<Output = Result<(), Unavailable>> + Send + 'static,
) -> Response {
    let json = message.to_json();
    if json.len() > PIECE_OCTETS {
        return typed(StatusCode::OK, MEDIA_TYPE, confirmed::confirmed(json, confirm));
    }
    match confirm.await {
        Ok(()) => mplane(json),
        Err(Unavailable(reason)) => pages::problem(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

/// A body of the media type of messages.
pub(crate) fn mplane(json: String) -> Response {
    typed(StatusCode::OK, MEDIA_TYPE, json)
}

pub(crate) fn typed(
    status: StatusCode,
    media_type: &'static str,
    body: impl Into<Body>,
) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, axum::http::HeaderValue::from_static(media_type));
    response
}
