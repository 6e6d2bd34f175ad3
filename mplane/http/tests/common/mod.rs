//! A certificate authority, a supervisor that answers, and servers on the loopback interface.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses some; a test ends with a panic"
)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, SanType,
};
use sonde_mplane::{
    Capability, Message, Outcome, Outcomes, Reference, Registries, Specification, Time, Value, When,
};
use sonde_mplane_http::{
    Access, Client, ClientPort, ClientTls, ComponentPaths, ComponentPort, Identity, Limits, Peer,
    Refusal, ServerTls, Shared, Timeouts, TlsFiles, Unavailable, Work, client_port, component_port,
    exception, serve,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A certificate authority with a directory for its files.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    pub(crate) directory: TempDir,
}

/// What is unusual about a certificate.
#[derive(Clone, Copy, Default)]
pub(crate) struct Oddity {
    pub(crate) expired: bool,
    pub(crate) host: Option<&'static str>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = name(&["org", "mplane", "Authority"]);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let directory = TempDir::new().unwrap();
        Self { issuer: Issuer::new(params, key), certificate, directory }
    }

    /// Files of a certificate with the subject `DC=org, DC=mplane, O=Test, OU=unit, CN=common`.
    pub(crate) fn issue(&self, unit: &str, common: &str, oddity: Oddity) -> TlsFiles {
        self.issue_as(unit, common, common, oddity)
    }

    /// As [`Authority::issue`], in files of another name.
    pub(crate) fn issue_as(
        &self,
        unit: &str,
        common: &str,
        file: &str,
        oddity: Oddity,
    ) -> TlsFiles {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&["org", "mplane", "Test", unit, common]);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = match oddity.host {
            Some(host) => vec![SanType::DnsName(host.try_into().unwrap())],
            None => vec![SanType::IpAddress([127, 0, 0, 1].into())],
        };
        if oddity.expired {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let write = |ending: &str, text: String| -> PathBuf {
            let path = self.directory.path().join(format!("{file}.{ending}"));
            std::fs::write(&path, text).unwrap();
            path
        };
        TlsFiles {
            // As of `openssl x509 -text`: what stands before the PEM is skipped.
            certificate: write("crt", format!("Certificate:\n    Data: x\n{}", certificate.pem())),
            key: write("key", key.serialize_pem()),
            authority: write("ca", self.certificate.clone()),
        }
    }
}

fn name(values: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    let kinds = [
        DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 25]),
        DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 24]),
        DnType::OrganizationName,
        DnType::OrganizationalUnitName,
        DnType::CommonName,
    ];
    for (kind, value) in kinds.into_iter().zip(values) {
        name.push(kind, *value);
    }
    name
}

pub(crate) fn registries() -> Arc<Shared<Registries>> {
    Shared::new(Registries::built_in())
}

pub(crate) fn capability(label: &str, parameter: &str) -> Capability {
    Capability::build(label, "now ... future / 1s")
        .parameter("source.ip4", "192.0.2.1")
        .parameter(parameter, "*")
        .result("rtt.us")
        .finish(&Registries::built_in())
        .unwrap()
}

pub(crate) fn specification(capability: &Capability, token: &str) -> Specification {
    let mut specification = capability.specification("s-0", "now + 3s / 1s".parse().unwrap());
    for parameter in capability.questions() {
        let text = match parameter.element.primitive() {
            sonde_mplane::Primitive::Address => "198.51.100.7",
            _ => "5",
        };
        specification.set(parameter.element.name(), text).unwrap();
    }
    specification.head.token = Some(token.to_owned());
    specification
}

/// A supervisor that keeps jobs and answers with receipts, then with results.
#[derive(Default)]
pub(crate) struct Supervisor {
    pub(crate) offered: Mutex<Arc<Vec<Capability>>>,
    pub(crate) jobs: Mutex<HashMap<String, (Identity, Specification)>>,
    pub(crate) used: Mutex<Vec<(Identity, String)>>,
    pub(crate) redeemed: Mutex<Vec<String>>,
    pub(crate) registered: Mutex<Vec<(Identity, Message)>>,
    pub(crate) delivered: Mutex<Vec<(Identity, Message)>>,
    pub(crate) work: Mutex<Vec<Message>>,
    pub(crate) knows_nobody: Mutex<bool>,
}

impl Supervisor {
    pub(crate) fn offering(capabilities: Vec<Capability>) -> Arc<Self> {
        Arc::new(Self { offered: Mutex::new(Arc::new(capabilities)), ..Self::default() })
    }

    fn job(&self, reference: &Reference) -> Option<Specification> {
        let jobs = self.jobs.lock().unwrap();
        jobs.get(reference.head.token.as_deref()?).map(|(_, specification)| specification.clone())
    }
}

impl ClientPort for Supervisor {
    fn capabilities(&self) -> Arc<Vec<Capability>> {
        Arc::clone(&self.offered.lock().unwrap())
    }

    fn owns(&self, peer: &Peer, token: &str) -> bool {
        let jobs = self.jobs.lock().unwrap();
        jobs.get(token).is_some_and(|(owner, _)| *owner == peer.identity)
    }

    async fn specification(
        &self,
        peer: &Peer,
        specification: Specification,
        allowed: Vec<Capability>,
    ) -> Message {
        let label = allowed[0].head.label().to_owned();
        self.used.lock().unwrap().push((peer.identity.clone(), label));
        let receipt = specification.receipt();
        let job = (peer.identity.clone(), specification.clone());
        self.jobs.lock().unwrap().insert(specification.token(), job);
        receipt
    }

    async fn redemption(&self, _: &Peer, redemption: Reference) -> Result<Message, Unavailable> {
        let Some(job) = self.job(&redemption) else { return Ok(exception(None, "no job")) };
        let time = |text: &str| text.parse::<Time>().unwrap();
        let when = When::measured(time("2015-07-01 10:00"), time("2015-07-01 10:01"));
        Ok(job.result(when, vec![vec![Value::from(412_u64)]]).into())
    }

    async fn redeemed(&self, _: &Peer, token: &str) -> Result<(), Unavailable> {
        self.redeemed.lock().unwrap().push(token.to_owned());
        Ok(())
    }

    async fn interrupt(&self, _: &Peer, interrupt: Reference) -> Result<Message, Unavailable> {
        Ok(self.job(&interrupt).map_or_else(|| exception(None, "no job"), |job| job.receipt()))
    }
}

impl ComponentPort for Supervisor {
    async fn register(&self, peer: &Peer, messages: Vec<Message>) -> Result<Outcomes, Refusal> {
        let mut outcomes = Outcomes::default();
        for message in messages {
            let outcome = match &message {
                Message::Capability(_) => Outcome::Registered,
                Message::Withdrawal(_) => Outcome::Refused { reason: "Withdrawn".to_owned() },
                _ => Outcome::Refused { reason: "Not a capability".to_owned() },
            };
            outcomes.0.push((message.label().unwrap_or_default().to_owned(), outcome));
            self.registered.lock().unwrap().push((peer.identity.clone(), message));
        }
        Ok(outcomes)
    }

    async fn poll(&self, _: &Peer) -> Work {
        if *self.knows_nobody.lock().unwrap() {
            return Work::Register;
        }
        Work::Messages(std::mem::take(&mut *self.work.lock().unwrap()))
    }

    async fn deliver(&self, peer: &Peer, message: Message) -> Result<(), Refusal> {
        if matches!(&message, Message::Exception(body) if body.message == "later") {
            return Err(Refusal::Later("the disk is full".to_owned()));
        }
        self.delivered.lock().unwrap().push((peer.identity.clone(), message));
        Ok(())
    }
}

/// A port on the loopback interface, until it is dropped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) task: tokio::task::JoinHandle<()>,
}

impl Served {
    pub(crate) async fn new(
        router: axum::Router,
        tls: Option<Arc<ServerTls>>,
        access: Arc<Shared<Access>>,
        limits: Limits,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap_or(()) };
            serve(listener, router, tls, access, limits, stopped).await;
        });
        Self { address, stop: Some(stop), task }
    }

    /// The port for clients, without TLS.
    pub(crate) async fn clients(supervisor: &Arc<Supervisor>, limits: Limits) -> Self {
        let router = client_port(Arc::clone(supervisor), registries());
        Self::new(router, None, Shared::new(Access::open()), limits).await
    }

    /// The port for components, without TLS.
    pub(crate) async fn components(supervisor: &Arc<Supervisor>) -> Self {
        let router =
            component_port(Arc::clone(supervisor), registries(), ComponentPaths::default());
        Self::new(router, None, Shared::new(Access::open()), Limits::default()).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }
}

pub(crate) fn client(tls: Option<Arc<ClientTls>>) -> Client {
    Client::new(tls, registries(), Timeouts::default()).unwrap()
}
