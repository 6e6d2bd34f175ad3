//! The port for clients: discovery, specifications, redemptions, interrupts.
//!
//! Status 200 for everything that a client of the RI should see, exceptions too; it drops the rest.
//! Access is checked here for whatever the handler lists, and again by the handler where it chooses a
//! capability. A job is its owner's: to others its token is unknown.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use sonde_mplane::{
    Capability, Message, MessageError, Reference, Registries, Specification, Unreadable,
};

use crate::serve::{Peer, Shared};
use crate::{NO_SERVICE, NOT_PERMITTED, UNEXPECTED_TYPE, UNKNOWN_JOB, body, exception, pages};

/// Who offers capabilities to clients: a component that listens, or a supervisor.
///
/// A handler answers at once or soon; what it answers is sent as it is.
pub trait ClientPort: Send + Sync + 'static {
    /// Everything that is offered to anybody, in order.
    fn capabilities(&self) -> Arc<Vec<Capability>>;

    /// Offered capabilities of a schema, for the check whether the peer may use one of them. Those that
    /// differ only in the host behind an `@` in their labels may be left out.
    fn of_schema(&self, schema: &str) -> Vec<Capability> {
        let capabilities = self.capabilities();
        capabilities.iter().filter(|offered| offered.schema_hash() == schema).cloned().collect()
    }

    /// Whether the peer sent a specification with this token. Tokens of absolute scopes are computed,
    /// so two peers may have jobs with the same one.
    fn owns(&self, peer: &Peer, token: &str) -> bool;

    /// Accepts a specification: a receipt, a result, an exception or a withdrawal.
    ///
    /// `allowed` are the capabilities of its schema that the peer may use, at least one, in order.
    fn specification(
        &self,
        peer: &Peer,
        specification: Specification,
        allowed: Vec<Capability>,
    ) -> impl Future<Output = Message> + Send;

    /// Answers with a receipt, a result, an envelope of results or an exception. The peer owns the job.
    fn redemption(
        &self,
        peer: &Peer,
        redemption: Reference,
    ) -> impl Future<Output = Result<Message, Unavailable>> + Send;

    /// The result of a redemption is on its way, but for its end, which waits for this: the job may be forgotten.
    fn redeemed(
        &self,
        _peer: &Peer,
        _token: &str,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send {
        std::future::ready(Ok(()))
    }

    /// Answers with a receipt, a result or an exception. The peer owns the job.
    fn interrupt(
        &self,
        peer: &Peer,
        interrupt: Reference,
    ) -> impl Future<Output = Result<Message, Unavailable>> + Send;
}

/// Not now, and nothing is lost: who asks again later is answered. It is no message (status 503), for an exception would be
/// taken for the end of the job.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unavailable(pub String);

struct Port<H> {
    handler: Arc<H>,
    registries: Arc<Shared<Registries>>,
}

impl<H> Clone for Port<H> {
    fn clone(&self) -> Self {
        Self { handler: Arc::clone(&self.handler), registries: Arc::clone(&self.registries) }
    }
}

/// The port's paths: `/`, `/capability`, `/capability/TOKEN`.
pub fn client_port<H: ClientPort>(handler: Arc<H>, registries: Arc<Shared<Registries>>) -> Router {
    Router::new()
        .route("/", get(front::<H>).post(message::<H>))
        .route("/capability", get(links::<H>))
        .route("/capability/", get(links::<H>))
        .route("/capability/{token}", get(capability::<H>))
        .fallback(nothing)
        .with_state(Port { handler, registries })
}

pub(crate) async fn nothing(request: Request) -> Response {
    let text = format!("nothing at {}; see /", request.uri().path());
    pages::problem(StatusCode::NOT_FOUND, &text)
}

fn permitted<'a>(peer: &Peer, capabilities: &'a [Capability]) -> Vec<&'a Capability> {
    capabilities.iter().filter(|capability| peer.may_use(capability.head.label())).collect()
}

async fn front<H: ClientPort>(State(port): State<Port<H>>, request: Request) -> Response {
    let capabilities = port.handler.capabilities();
    body::peer(&request)
        .map_or_else(|no| *no, |peer| pages::front(&peer, &permitted(&peer, &capabilities)))
}

async fn links<H: ClientPort>(State(port): State<Port<H>>, request: Request) -> Response {
    let capabilities = port.handler.capabilities();
    body::peer(&request)
        .map_or_else(|no| *no, |peer| pages::links(&permitted(&peer, &capabilities)))
}

/// To one who may not use it, a capability does not exist.
async fn capability<H: ClientPort>(
    State(port): State<Port<H>>,
    Path(token): Path<String>,
    request: Request,
) -> Response {
    let peer = match body::peer(&request) {
        Ok(peer) => peer,
        Err(response) => return *response,
    };
    let capabilities = port.handler.capabilities();
    let is_it = |offered: &&Capability| match &offered.head.token {
        Some(known) => *known == token,
        None => offered.computed_token() == token,
    };
    let may = |offered: &&Capability| peer.may_use(offered.head.label());
    match capabilities.iter().filter(is_it).find(may) {
        Some(capability) => {
            let mut capability = capability.clone();
            capability.head.token = Some(token);
            body::message(&Message::Capability(capability))
        }
        None => pages::problem(StatusCode::NOT_FOUND, "no capability with this token"),
    }
}

async fn message<H: ClientPort>(State(port): State<Port<H>>, request: Request) -> Response {
    let peer = match body::peer(&request) {
        Ok(peer) => peer,
        Err(response) => return *response,
    };
    if !body::is_mplane(request.headers()) {
        let text = format!("the body must be of type {}", sonde_mplane::MEDIA_TYPE);
        return pages::problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, &text);
    }
    let (octets, _held) = match body::read(request).await {
        Ok(octets) => octets,
        Err(response) => return *response,
    };
    let read: Result<Message, MessageError> = Message::from_json(&octets, &port.registries.get());
    let redeemed = match &read {
        Ok(Message::Redemption(redemption)) => redemption.head.token.clone(),
        _ => None,
    };
    let answer = match read {
        Ok(message) => port.answer(&peer, message).await,
        Err(error) => {
            let text = error.to_string();
            let token = Unreadable::of(&octets, error).and_then(|message| message.token);
            Ok(exception(token.as_deref(), text))
        }
    };
    match (answer, redeemed) {
        (Ok(answer @ (Message::Result(_) | Message::Envelope(_))), Some(token)) => {
            let confirm = async move { port.handler.redeemed(&peer, &token).await };
            body::confirmed(&answer, confirm).await
        }
        (Ok(answer), _) => body::message(&answer),
        (Err(Unavailable(reason)), _) => pages::problem(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

impl<H: ClientPort> Port<H> {
    async fn answer(&self, peer: &Peer, message: Message) -> Result<Message, Unavailable> {
        match message {
            Message::Specification(specification) => {
                Ok(self.specification(peer, specification).await)
            }
            Message::Redemption(redemption) => match self.stranger(peer, &redemption) {
                Some(refusal) => Ok(refusal),
                None => self.handler.redemption(peer, redemption).await,
            },
            Message::Interrupt(interrupt) => match self.stranger(peer, &interrupt) {
                Some(refusal) => Ok(refusal),
                None => self.handler.interrupt(peer, interrupt).await,
            },
            _ => Ok(exception(None, UNEXPECTED_TYPE)),
        }
    }

    async fn specification(&self, peer: &Peer, specification: Specification) -> Message {
        let mut allowed = self.handler.of_schema(&specification.schema_hash());
        let is_offered = !allowed.is_empty();
        allowed.retain(|offered| peer.may_use(offered.head.label()));
        if allowed.is_empty() {
            let text = if is_offered { NOT_PERMITTED } else { NO_SERVICE };
            return Message::Exception(specification.exception(text));
        }
        self.handler.specification(peer, specification, allowed).await
    }

    /// What is said about the token of nobody's job, or of another one's.
    fn stranger(&self, peer: &Peer, reference: &Reference) -> Option<Message> {
        let token = reference.head.token.as_deref();
        let is_own = token.is_some_and(|token| self.handler.owns(peer, token));
        (!is_own).then(|| exception(token, UNKNOWN_JOB))
    }
}
