//! Accepting connections: TLS, identity, limits; then axum.
//!
//! A connection that closes right after its handshake is no error: RI peers open such ones to read our
//! certificate.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header::HOST, uri::Authority};
use axum::response::Response;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::access::Access;
use crate::counted::counted;
use crate::identity::Identity;
use crate::impatient::Impatient;
use crate::limits::{Limits, Peers, on_the_line};
use crate::pages;
use crate::tls::ServerTls;

/// Time that connections get to end at a shutdown.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// Time without accepting after the system refused a connection, mostly for want of descriptors.
const REFUSED: Duration = Duration::from_millis(100);

/// Who sent a request, and what it may.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Of its certificate.
    pub identity: Identity,
    /// Of its connection.
    pub address: SocketAddr,
    /// By which name or address, and port, it reached us, where its request says so.
    pub reached_at: Option<Authority>,
    access: Arc<Access>,
}

impl Peer {
    /// For handlers that are called without a connection, as in tests.
    #[must_use]
    pub fn new(identity: Identity, address: SocketAddr, access: Arc<Access>) -> Self {
        Self { identity, address, reached_at: None, access }
    }

    /// Whether it may use the capability with this label.
    #[must_use]
    pub fn may_use(&self, label: &str) -> bool {
        self.access.allows(&self.identity, label)
    }

    /// Whether it may register, poll and deliver.
    #[must_use]
    pub fn is_component(&self) -> bool {
        self.access.allows_component(&self.identity)
    }
}

/// Something that is replaced as a whole at a reload. Each request sees one state of it.
#[derive(Debug, Default)]
pub struct Shared<T>(RwLock<Arc<T>>);

impl<T> Shared<T> {
    /// With a first state.
    #[must_use]
    pub fn new(value: T) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(value))))
    }

    /// The state of now.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces it.
    pub fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Port {
    router: Router,
    tls: Option<Arc<ServerTls>>,
    access: Arc<Shared<Access>>,
    limits: Limits,
    peers: Arc<Peers>,
}

/// Serves until `shutdown` is ready, then lets connections finish their requests for 5 s.
///
/// With TLS every peer needs a certificate; without, all are [`Identity::unauthenticated`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Arc<ServerTls>>,
    access: Arc<Shared<Access>>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let port = Port { router, tls, access, limits, peers: Arc::default() };
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, address)) => port.accept(stream, address, graceful.watcher()),
            Err(error) => {
                warn!(%error, "a connection was not accepted");
                tokio::time::sleep(REFUSED).await;
            }
        }
    }
    drop(listener);
    if timeout(SHUTDOWN, graceful.shutdown()).await.is_err() {
        debug!("connections were still busy at the end");
    }
}

impl Port {
    fn accept(&self, stream: TcpStream, address: SocketAddr, watcher: Watcher) {
        let Some(counted) = self.peers.connect(address.ip(), &self.limits) else {
            debug!(%address, "refused: too many connections");
            return;
        };
        let port = self.clone();
        tokio::spawn(async move {
            if let Err(error) = port.connection(stream, address, watcher).await {
                debug!(%address, %error, "connection ended");
            }
            drop(counted);
        });
    }

    async fn connection(
        self,
        stream: TcpStream,
        address: SocketAddr,
        watcher: Watcher,
    ) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let stream = Impatient::new(stream, self.limits.write);
        let Some(tls) = &self.tls else {
            return self.http(stream, Identity::unauthenticated(), address, watcher).await;
        };
        let handshake = TlsAcceptor::from(tls.config()).accept(stream);
        let stream = timeout(self.limits.handshake, handshake)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let certificates = stream.get_ref().1.peer_certificates();
        let certificate = certificates.and_then(|chain| chain.first());
        let certificate = certificate.ok_or(io::ErrorKind::PermissionDenied)?;
        let identity = Identity::of_certificate(certificate).map_err(io::Error::other)?;
        self.http(stream, identity, address, watcher).await
    }

    async fn http<S>(
        self,
        stream: S,
        identity: Identity,
        address: SocketAddr,
        watcher: Watcher,
    ) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let limits = self.limits;
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let port = self.clone();
            let identity = identity.clone();
            async move { Ok::<_, Infallible>(port.request(request, identity, address).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header)
            .max_buf_size(64 << 10)
            // Who will ask nothing more still waits for the answer.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        watcher.watch(connection).await.map_err(io::Error::other)
    }

    async fn request(
        self,
        request: hyper::Request<Incoming>,
        identity: Identity,
        address: SocketAddr,
    ) -> Response {
        let by_address = self.tls.is_none().then(|| address.ip());
        if !self.peers.request((identity.clone(), by_address), &self.limits, Instant::now()) {
            return pages::problem(
                StatusCode::TOO_MANY_REQUESTS,
                &format!("more than {} requests a second", self.limits.requests_per_second),
            );
        }
        let mut request: Request = request.map(Body::new);
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let reached_at = host.and_then(|host| host.parse().ok());
        let access = self.access.get();
        request.extensions_mut().insert(Peer { identity, address, reached_at, access });
        let mut limits = self.limits;
        let said = request.body().size_hint().exact().unwrap_or_default();
        // One that is too long is refused anyway.
        limits.body += on_the_line(said.min(limits.body_octets as u64));
        request.extensions_mut().insert(limits);
        request.extensions_mut().insert(Arc::clone(&self.peers));
        let mut router = self.router;
        let reply = tower_call(&mut router, request);
        match timeout(limits.body + limits.reply, reply).await {
            Ok(response) => counted(response, &self.peers, address.ip(), &self.limits),
            Err(_) => pages::problem(StatusCode::SERVICE_UNAVAILABLE, "no answer in time"),
        }
    }
}

/// A router is always ready and never fails.
async fn tower_call(router: &mut Router, request: Request) -> Response {
    use hyper_util::service::TowerToHyperService;
    let service = TowerToHyperService::new(router.clone());
    match hyper::service::Service::call(&service, request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
