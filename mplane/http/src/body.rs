//! Bodies: their media type and size.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use sonde_mplane::{MEDIA_TYPE, Message};

use crate::limits::Limits;
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

/// The body of a request, within the limits of size and time.
pub(crate) async fn read(request: Request) -> Result<axum::body::Bytes, Box<Response>> {
    let limits = request.extensions().get::<Limits>().copied().unwrap_or_default();
    let body = axum::body::to_bytes(request.into_body(), limits.body_octets);
    let (status, text) = match tokio::time::timeout(limits.body, body).await {
        Ok(Ok(octets)) => return Ok(octets),
        Ok(Err(_)) => (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body was cut off or is longer than {} octets", limits.body_octets),
        ),
        Err(_) => (
            StatusCode::REQUEST_TIMEOUT,
            format!("the body took longer than {} s", limits.body.as_secs_f64()),
        ),
    };
    Err(Box::new(pages::problem(status, &text)))
}

/// A message, with the status that the RI's client looks at, exceptions included.
pub(crate) fn message(message: &Message) -> Response {
    mplane(message.to_json())
}

/// A body of the media type of messages.
pub(crate) fn mplane(json: String) -> Response {
    typed(StatusCode::OK, MEDIA_TYPE, json)
}

pub(crate) fn typed(status: StatusCode, media_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, axum::http::HeaderValue::from_static(media_type));
    response
}
