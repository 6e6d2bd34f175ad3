//! The port for components that connect by themselves: registration, specifications, results.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use sonde_mplane::{
    Envelope, Kind, Message, MessageError, Outcome, Outcomes, Registries, Unreadable,
};

use crate::client_port::nothing;
use crate::limits::Held;
use crate::serve::{Peer, Shared};
use crate::{body, exception, pages};

/// Who takes registrations: a supervisor, or a client that listens.
pub trait ComponentPort: Send + Sync + 'static {
    /// Capabilities and withdrawals of a component, in order; other kinds are not acceptable.
    fn register(
        &self,
        peer: &Peer,
        messages: Vec<Message>,
    ) -> impl Future<Output = Result<Outcomes, Refusal>> + Send;

    /// What a component is to do: specifications and interrupts, a callback last.
    fn poll(&self, peer: &Peer) -> impl Future<Output = Work> + Send;

    /// A receipt, a result, an exception or an envelope of results. It counts as received once this
    /// has returned.
    fn deliver(
        &self,
        peer: &Peer,
        message: Message,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// What a component is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// These, in order.
    Messages(Vec<Message>),
    /// Register first: status 428, which the RI's branch `sdk` obeys. It ends the polling of the RI
    /// 0.9.0 for ever; for it, answer with no messages.
    Register,
}

/// Why a component's message was not taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// It is wrong and will stay so.
    Invalid(String),
    /// Not now; the component keeps it and tries again.
    Later(String),
}

/// Where the port's paths are; each is served with a `/` at its end as well.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ComponentPaths {
    /// Of registrations.
    pub registration: String,
    /// Of specifications.
    pub specification: String,
    /// Of results.
    pub result: String,
}

impl Default for ComponentPaths {
    fn default() -> Self {
        Self {
            registration: "/register/capability".to_owned(),
            specification: "/show/specification".to_owned(),
            result: "/register/result".to_owned(),
        }
    }
}

struct Port<H> {
    handler: Arc<H>,
    registries: Arc<Shared<Registries>>,
    paths: Arc<ComponentPaths>,
}

impl<H> Clone for Port<H> {
    fn clone(&self) -> Self {
        Self {
            handler: Arc::clone(&self.handler),
            registries: Arc::clone(&self.registries),
            paths: Arc::clone(&self.paths),
        }
    }
}

/// The port's three paths, and a page at `/` that names them.
pub fn component_port<H: ComponentPort>(
    handler: Arc<H>,
    registries: Arc<Shared<Registries>>,
    paths: ComponentPaths,
) -> Router {
    Router::new().route("/", get(front::<H>)).fallback(component_request::<H>).with_state(Port {
        handler,
        registries,
        paths: Arc::new(paths),
    })
}

async fn front<H: ComponentPort>(State(port): State<Port<H>>) -> Response {
    pages::components(&port.paths.registration, &port.paths.specification, &port.paths.result)
}

/// Paths are compared as texts, for a configured one may be any text.
async fn component_request<H: ComponentPort>(
    State(port): State<Port<H>>,
    request: Request,
) -> Response {
    let path = request.uri().path().trim_end_matches('/').to_owned();
    let is = |configured: &str| path == configured.trim_end_matches('/');
    let (register, poll) = (is(&port.paths.registration), is(&port.paths.specification));
    if !register && !poll && !is(&port.paths.result) {
        return nothing(request).await;
    }
    let method = if poll { "GET" } else { "POST" };
    if request.method().as_str() != method {
        let text = format!("{path} takes {method}");
        return pages::problem(StatusCode::METHOD_NOT_ALLOWED, &text);
    }
    let peer = match body::peer(&request) {
        Ok(peer) => peer,
        Err(response) => return *response,
    };
    if !peer.is_component() {
        let text = format!("{} may not register here", peer.identity);
        return pages::problem(StatusCode::FORBIDDEN, &text);
    }
    if poll {
        return port.poll(&peer).await;
    }
    let octets = match read(request).await {
        Ok(octets) => octets,
        Err(response) => return *response,
    };
    if register {
        port.register(&peer, &octets.0).await
    } else {
        port.deliver(&peer, &octets.0).await
    }
}

async fn read(request: Request) -> Result<(Vec<u8>, Option<Held>), Box<Response>> {
    if !body::is_mplane(request.headers()) {
        return Err(Box::new(pages::problem(StatusCode::BAD_REQUEST, "Invalid format")));
    }
    body::read(request).await
}

/// The messages of a registration, and what becomes of those that cannot be read: a component of the RI ends where all are
/// refused for one.
fn registration(
    octets: &[u8],
    registries: &Registries,
) -> Result<(Vec<Message>, Outcomes), MessageError> {
    let error = match Message::from_json(octets, registries) {
        Ok(Message::Envelope(Envelope { contents, .. })) => return Ok((contents, <_>::default())),
        Ok(other) => return Ok((vec![other], <_>::default())),
        Err(error) => error,
    };
    let contents = Envelope::contents_from_json(octets, registries).map_err(|_| error)?;
    let (mut messages, mut outcomes) = (Vec::new(), Outcomes::default());
    for message in contents {
        match message {
            Ok(message) => messages.push(message),
            Err(Unreadable { label, error, .. }) => {
                let refused = Outcome::Refused { reason: error.to_string() };
                outcomes.0.push((label.unwrap_or_default(), refused));
            }
        }
    }
    Ok((messages, outcomes))
}

impl<H: ComponentPort> Port<H> {
    async fn register(&self, peer: &Peer, octets: &[u8]) -> Response {
        let (messages, unread) = match registration(octets, &self.registries.get()) {
            Ok(read) => read,
            Err(error) => return pages::problem(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        for (label, outcome) in &unread.0 {
            tracing::warn!(peer = %peer.identity, label, ?outcome, "a capability cannot be read");
        }
        match self.handler.register(peer, messages).await {
            Ok(mut outcomes) => {
                outcomes.0.extend(unread.0);
                body::mplane(outcomes.to_json())
            }
            Err(refusal) => refused(&refusal),
        }
    }

    async fn poll(&self, peer: &Peer) -> Response {
        match self.handler.poll(peer).await {
            Work::Messages(contents) => {
                body::message(&Message::Envelope(Envelope { contents, ..Envelope::default() }))
            }
            Work::Register => pages::problem(StatusCode::PRECONDITION_REQUIRED, "not registered"),
        }
    }

    async fn deliver(&self, peer: &Peer, octets: &[u8]) -> Response {
        let message = match Message::from_json(octets, &self.registries.get()) {
            Ok(message) => message,
            Err(error) => {
                let text = error.to_string();
                // Who waits for it should not wait for ever, and a component of the RI does not say it again.
                match Unreadable::of(octets, error) {
                    Some(Unreadable {
                        kind: Some(Kind::Result | Kind::Envelope),
                        token: Some(token),
                        ..
                    }) => {
                        tracing::warn!(peer = %peer.identity, token, text, "a result cannot be read");
                        exception(Some(&token), format!("the result cannot be read: {text}"))
                    }
                    _ => return pages::problem(StatusCode::BAD_REQUEST, &text),
                }
            }
        };
        let kind = message.kind();
        if !matches!(kind, Kind::Receipt | Kind::Result | Kind::Exception | Kind::Envelope) {
            let text = format!("{kind} is no receipt, result, exception or envelope of results");
            return pages::problem(StatusCode::BAD_REQUEST, &text);
        }
        match self.handler.deliver(peer, message).await {
            Ok(()) => body::typed(StatusCode::OK, "text/html; charset=UTF-8", String::new()),
            Err(refusal) => refused(&refusal),
        }
    }
}

fn refused(refusal: &Refusal) -> Response {
    match refusal {
        Refusal::Invalid(text) => pages::problem(StatusCode::BAD_REQUEST, text),
        Refusal::Later(text) => pages::problem(StatusCode::SERVICE_UNAVAILABLE, text),
    }
}
