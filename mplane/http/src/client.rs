//! The side that opens connections: clients towards servers, components towards supervisors.
//!
//! Only replies with status 200 and exactly the right media type count. No redirect is followed and no
//! proxy used; a reply is read within the limits of a message.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, StatusCode, Url};
use rustls::pki_types::ServerName;
use sonde_mplane::{
    Envelope, MAX_OCTETS, MEDIA_TYPE, Message, MessageError, Outcomes, Registries, Unreadable,
};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::identity::{Identity, IdentityError};
use crate::limits::on_the_line;
use crate::serve::Shared;
use crate::tls::ClientTls;

/// Octets of a refusal's text that are kept.
const REASON_OCTETS: usize = 500;

/// How long is waited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For a whole exchange, and a second for each 16 KiB that are sent. A supervisor of the RI takes 5 s for each POST.
    pub exchange: Duration,
}

impl Default for Timeouts {
    /// 10 s and 30 s.
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), exchange: Duration::from_secs(30) }
    }
}

/// A URL, with a scheme where it has none, of a peer that is spoken to with a certificate or without.
///
/// # Errors
///
/// Where it is none of http or https with a host, or of the other scheme.
pub fn usable(url: &str, has_tls: bool) -> Result<Url, ClientError> {
    let scheme = if has_tls { "https" } else { "http" };
    let whole = if url.contains("://") { url.to_owned() } else { format!("{scheme}://{url}") };
    let parsed = Url::parse(&whole).ok().filter(Url::has_host);
    let parsed = parsed.filter(|parsed| matches!(parsed.scheme(), "http" | "https"));
    let parsed = parsed.ok_or_else(|| ClientError::Url { url: url.to_owned() })?;
    let reason = match (parsed.scheme(), has_tls) {
        ("https", false) => "https needs a certificate, and none is configured",
        ("http", true) => "a certificate is configured, but the URL is not https",
        _ => return Ok(parsed),
    };
    Err(ClientError::Scheme { url: Box::new(parsed), reason })
}

/// Why there is no answer that counts.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not a URL that can be fetched.
    #[error("{url:?} is no URL with scheme http or https and a host")]
    Url {
        /// As given.
        url: String,
    },
    /// A certificate is configured, but the URL does not ask for TLS; or the other way round.
    #[error("{url}: {reason}")]
    Scheme {
        /// Where to.
        url: Box<Url>,
        /// What is missing.
        reason: &'static str,
    },
    /// No connection, or it broke; the peer may come back.
    #[error("{url}: {reason}")]
    Connection {
        /// Where to.
        url: Box<Url>,
        /// With its causes.
        reason: String,
    },
    /// It took too long.
    #[error("{url}: no answer in time")]
    Timeout {
        /// Where to.
        url: Box<Url>,
    },
    /// Another status than 200.
    #[error("{url}: status {status}: {reason}")]
    Status {
        /// Where to.
        url: Box<Url>,
        /// As received.
        status: u16,
        /// The beginning of the body.
        reason: String,
    },
    /// Another media type.
    #[error("{url}: the reply is {media_type:?}, accepted: {MEDIA_TYPE:?}")]
    MediaType {
        /// Where to.
        url: Box<Url>,
        /// As received.
        media_type: String,
    },
    /// More octets than a message may have.
    #[error("{url}: the reply has more than {MAX_OCTETS} octets")]
    TooLong {
        /// Where to.
        url: Box<Url>,
    },
    /// A message that cannot be read.
    #[error("{url}: {error}")]
    Message {
        /// Where to.
        url: Box<Url>,
        /// What is wrong with it.
        error: MessageError,
    },
    /// A certificate that names nobody.
    #[error("{url}: {error}")]
    Identity {
        /// Where to.
        url: Box<Url>,
        /// What is wrong with it.
        error: IdentityError,
    },
    /// The HTTP client could not be made.
    #[error("the HTTP client cannot be set up: {reason}")]
    Setup {
        /// With its causes.
        reason: String,
    },
}

/// What a supervisor answered to a poll.
#[derive(Clone, Debug, PartialEq)]
pub enum Polled {
    /// To be done in order; mostly nothing.
    Messages(Vec<Result<Message, Unreadable>>),
    /// It does not know us; register again.
    Register,
}

/// Opens connections.
#[derive(Debug)]
pub struct Client {
    http: Arc<Shared<reqwest::Client>>,
    tls: Option<Arc<ClientTls>>,
    pub(crate) registries: Arc<Shared<Registries>>,
    timeouts: Timeouts,
}

impl Client {
    /// With a certificate, or without TLS.
    ///
    /// # Errors
    ///
    /// [`ClientError::Setup`] if the system has no room for it.
    pub fn new(
        tls: Option<Arc<ClientTls>>,
        registries: Arc<Shared<Registries>>,
        timeouts: Timeouts,
    ) -> Result<Self, ClientError> {
        let http = Shared::new(build(tls.as_deref(), timeouts)?);
        Ok(Self { http, tls, registries, timeouts })
    }

    /// Reads the certificate files again, for new connections.
    ///
    /// # Errors
    ///
    /// [`ClientError::Setup`]; what was read before stays in use.
    pub fn reload(&self) -> Result<(), ClientError> {
        if let Some(tls) = &self.tls {
            tls.reload().map_err(|error| ClientError::Setup { reason: causes(&error) })?;
        }
        self.http.set(build(self.tls.as_deref(), self.timeouts)?);
        Ok(())
    }

    /// Reads a URL; without a scheme it means https where a certificate is configured, else http.
    ///
    /// # Errors
    ///
    /// [`ClientError::Url`] or [`ClientError::Scheme`]: nothing is sent in the clear by mistake.
    pub fn url(&self, url: &str) -> Result<Url, ClientError> {
        usable(url, self.tls.is_some())
    }

    /// Who listens at a URL. Opens a connection for its certificate alone.
    ///
    /// # Errors
    ///
    /// [`ClientError`] if there is no connection or the certificate is not accepted.
    pub async fn identify(&self, url: &str) -> Result<Identity, ClientError> {
        let url = self.url(url)?;
        let Some(tls) = &self.tls else { return Ok(Identity::unauthenticated()) };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let failed =
            |reason: String| ClientError::Connection { url: Box::new(url.clone()), reason };
        let name = ServerName::try_from(host.clone()).map_err(|error| failed(error.to_string()))?;
        let connect = async {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            TlsConnector::from(tls.config()).connect(name, stream).await
        };
        let stream = timeout(self.timeouts.connect, connect)
            .await
            .map_err(|_| ClientError::Timeout { url: Box::new(url.clone()) })?
            .map_err(|error| failed(causes(&error)))?;
        let certificates = stream.get_ref().1.peer_certificates();
        let certificate = certificates.and_then(|chain| chain.first());
        let certificate = certificate.ok_or_else(|| failed("no certificate".to_owned()))?;
        Identity::of_certificate(certificate)
            .map_err(|error| ClientError::Identity { url: Box::new(url.clone()), error })
    }

    /// As a client: sends a specification, redemption or interrupt.
    ///
    /// # Errors
    ///
    /// [`ClientError`] for anything but status 200 with a message; an exception is a message.
    pub async fn post(&self, url: &str, message: &Message) -> Result<Message, ClientError> {
        let url = self.url(url)?;
        let response = self.send(&url, Some(message)).await?;
        let octets = octets_of(&url, response).await?;
        self.read(&url, &octets)
    }

    /// As a component: registers or withdraws capabilities.
    ///
    /// # Errors
    ///
    /// [`ClientError`] for anything but status 200 with outcomes.
    pub async fn register(
        &self,
        url: &str,
        messages: Vec<Message>,
    ) -> Result<Outcomes, ClientError> {
        let url = self.url(url)?;
        let envelope = Message::Envelope(Envelope { contents: messages, ..Envelope::default() });
        let response = self.send(&url, Some(&envelope)).await?;
        let octets = octets_of(&url, response).await?;
        Outcomes::from_json(&octets)
            .map_err(|error| ClientError::Message { url: Box::new(url), error })
    }

    /// As a component: asks for work.
    ///
    /// # Errors
    ///
    /// [`ClientError`] for anything but 428, or 200 with an envelope.
    pub async fn poll(&self, url: &str) -> Result<Polled, ClientError> {
        let url = self.url(url)?;
        let response = self.send(&url, None).await?;
        if response.status() == StatusCode::PRECONDITION_REQUIRED {
            return Ok(Polled::Register);
        }
        let octets = octets_of(&url, response).await?;
        Envelope::contents_from_json(&octets, &self.registries.get())
            .map(Polled::Messages)
            .map_err(|error| ClientError::Message { url: Box::new(url), error })
    }

    /// As a component: sends a receipt, result, exception or envelope of results. It is acknowledged
    /// once this has returned without error.
    ///
    /// # Errors
    ///
    /// [`ClientError`] for anything but status 200, and for a page with text in it: supervisors say nothing more, a proxy that
    /// wants a login does.
    pub async fn deliver(&self, url: &str, message: &Message) -> Result<(), ClientError> {
        let url = self.url(url)?;
        let response = self.send(&url, Some(message)).await?;
        let response = accepted(&url, response).await?;
        let media_type = media_type(&response);
        if media_type.starts_with("text/html") && !beginning(response).await.is_empty() {
            let media_type = printable(media_type.as_bytes());
            return Err(ClientError::MediaType { url: Box::new(url), media_type });
        }
        Ok(())
    }

    /// Media type and body of a page.
    pub(crate) async fn fetch(&self, url: &Url) -> Result<(String, Vec<u8>), ClientError> {
        let response = self.send(url, None).await?;
        let response = accepted(url, response).await?;
        let media_type = media_type(&response);
        Ok((media_type, body(url, response).await?))
    }

    pub(crate) fn read(&self, url: &Url, octets: &[u8]) -> Result<Message, ClientError> {
        Message::from_json(octets, &self.registries.get())
            .map_err(|error| ClientError::Message { url: Box::new(url.clone()), error })
    }

    async fn send(&self, url: &Url, message: Option<&Message>) -> Result<Response, ClientError> {
        let http = self.http.get();
        let request = match message {
            None => http.get(url.clone()),
            Some(message) => {
                let text = message.to_json();
                let limit = self.timeouts.exchange + on_the_line(text.len() as u64);
                let request = http.post(url.clone()).header(CONTENT_TYPE, MEDIA_TYPE);
                request.timeout(limit).body(text)
            }
        };
        request.send().await.map_err(|error| failure(url, &error))
    }
}

/// A reply with status 200.
async fn accepted(url: &Url, response: Response) -> Result<Response, ClientError> {
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response);
    }
    let reason = beginning(response).await;
    Err(ClientError::Status {
        url: Box::new(url.clone()),
        status: status.as_u16(),
        reason: printable(&reason),
    })
}

async fn octets_of(url: &Url, response: Response) -> Result<Vec<u8>, ClientError> {
    let response = accepted(url, response).await?;
    let media_type = media_type(&response);
    if media_type != MEDIA_TYPE {
        let media_type = printable(media_type.as_bytes());
        return Err(ClientError::MediaType { url: Box::new(url.clone()), media_type });
    }
    body(url, response).await
}

/// A whole body, if it is not longer than a message may be.
async fn body(url: &Url, mut response: Response) -> Result<Vec<u8>, ClientError> {
    let mut octets = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(url, &error))? {
        if octets.len() + chunk.len() > MAX_OCTETS {
            return Err(ClientError::TooLong { url: Box::new(url.clone()) });
        }
        octets.extend_from_slice(&chunk);
    }
    Ok(octets)
}

/// What can be had of a refusal's text.
async fn beginning(mut response: Response) -> Vec<u8> {
    let mut octets = Vec::new();
    while octets.len() < REASON_OCTETS
        && let Ok(Some(chunk)) = response.chunk().await
    {
        octets.extend_from_slice(&chunk);
    }
    octets
}

fn build(tls: Option<&ClientTls>, timeouts: Timeouts) -> Result<reqwest::Client, ClientError> {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(timeouts.connect)
        .timeout(timeouts.exchange);
    let builder = match tls {
        Some(tls) => builder.tls_backend_preconfigured((*tls.config()).clone()),
        // Nobody is trusted; URLs with https are refused before.
        None => builder.tls_backend_preconfigured(crate::tls::nobody()),
    };
    builder.build().map_err(|error| ClientError::Setup { reason: causes(&error) })
}

fn media_type(response: &Response) -> String {
    let value = response.headers().get(CONTENT_TYPE);
    value.map_or_else(String::new, |value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn failure(url: &Url, error: &reqwest::Error) -> ClientError {
    let url = Box::new(url.clone());
    if error.is_timeout() {
        return ClientError::Timeout { url };
    }
    ClientError::Connection { url, reason: causes(&error) }
}

/// An error with all its causes, since the outermost mostly says nothing.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let next = inner.to_string();
        if !text.contains(&next) {
            text += ": ";
            text += &next;
        }
        cause = inner.source();
    }
    text
}

/// The beginning of a foreign text, on one line.
fn printable(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(&octets[..octets.len().min(REASON_OCTETS)]).into_owned();
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").chars().filter(|character| !character.is_control()).collect()
}
