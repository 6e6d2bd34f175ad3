//! A supervisor with many hosts: `cargo test --release -p sonde-supervisor --test load -- --ignored --nocapture`.
//!
//! Two hundred hosts and ten clients, each with a certificate and connections of its own, in this process; the
//! processor time of the supervisor's threads is counted apart.
#![allow(clippy::unwrap_used, reason = "a measurement ends with a panic")]

use std::{
    collections::HashSet,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use serde_json::Value as Json;
use sonde_mplane::{Capability, Kind, Message, Reference, Registries, Time, When};
use sonde_mplane_http::{
    Access, Client, ClientTls, ComponentPaths, Limits, Polled, ServerTls, Shared, Timeouts,
    TlsFiles, client_port, component_port, serve,
};
use sonde_supervisor::{
    service::{Policy, Service},
    store::Sqlite,
};
use tokio::{net::TcpListener, runtime::Builder, task::JoinSet};

const HOSTS: usize = 200;
const CLIENTS: usize = 10;
/// Specifications of each client.
const SPECIFICATIONS: usize = 500;
/// From one poll of a host to the next.
const POLL: Duration = Duration::from_millis(500);
/// Of this kind each host has one capability, which is asked for.
const ASKED: &str = "ping-average-ip4";

fn clock() -> Time {
    Time::from(std::time::SystemTime::now())
}

struct Authority<'a> {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    folder: &'a Path,
}

impl<'a> Authority<'a> {
    fn new(folder: &'a Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), certificate, folder }
    }

    /// Its identity is `Load.NAME`.
    fn issue(&self, name: &str) -> TlsFiles {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Load");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let write = |ending: &str, text: String| {
            let file = self.folder.join(format!("{name}.{ending}"));
            fs::write(&file, text).unwrap();
            file
        };
        TlsFiles {
            certificate: write("crt", certificate.pem()),
            key: write("key", key.serialize_pem()),
            authority: write("ca", self.certificate.clone()),
        }
    }

    fn client(&self, name: &str) -> Client {
        let tls = ClientTls::load(self.issue(name)).unwrap();
        let registries = Shared::new(Registries::built_in());
        Client::new(Some(tls), registries, Timeouts::default()).unwrap()
    }
}

/// Processor time of the threads with this name, seconds.
fn cpu_s(name: &str) -> f64 {
    let mut ns = 0_u64;
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        let Ok(comm) = fs::read_to_string(task.join("comm")) else { continue };
        if comm.trim() == name {
            let text = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
            ns += text.split(' ').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    ns as f64 / 1e9
}

fn supervisor_s() -> f64 {
    cpu_s("supervisor") + cpu_s("store")
}

fn source(host: usize) -> String {
    format!("192.0.2.{host}")
}

/// The fourteen capabilities of the seed system, of a host with this address.
fn capabilities(host: usize) -> Vec<Capability> {
    let golden: Vec<Json> =
        serde_json::from_str(include_str!("../../tests/golden/seed-capabilities.json")).unwrap();
    let registries = Registries::built_in();
    let text = |json: &Json| json.as_str().unwrap().to_owned();
    let build = |row: &Json| {
        let mut builder = Capability::build(&text(&row["label"]), &text(&row["when"])).registry("");
        for pair in row["parameters"].as_array().unwrap() {
            let constraint = match &*text(&pair[0]) {
                "source.ip4" => source(host),
                "source.ip6" => format!("2001:db8::{host:x}"),
                _ => text(&pair[1]),
            };
            builder = builder.parameter(&text(&pair[0]), &constraint);
        }
        for name in row["results"].as_array().unwrap() {
            builder = builder.result(&text(name));
        }
        for pair in row["metadata"].as_array().unwrap() {
            builder = builder.metadata(&text(&pair[0]), &text(&pair[1]));
        }
        builder.finish(&registries).unwrap()
    };
    golden.iter().map(build).collect()
}

/// Polls until it is over; what it is asked for it delivers at once.
async fn attend(host: Arc<Client>, base: String, polls: Arc<AtomicUsize>, over: Arc<AtomicBool>) {
    let result = format!("{base}/register/result");
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let polled = host.poll(&format!("{base}/show/specification")).await.unwrap();
        polls.fetch_add(1, Ordering::Relaxed);
        let Polled::Messages(messages) = polled else { panic!("not registered") };
        for message in messages {
            let Message::Specification(specification) = message else { continue };
            host.deliver(&result, &specification.receipt()).await.unwrap();
            let at = clock();
            let measured = specification.result(When::measured(at, at), Vec::new());
            host.deliver(&result, &measured.into()).await.unwrap();
        }
        tokio::time::sleep(POLL.saturating_sub(began.elapsed())).await;
    }
}

/// Asks, one host after the other, and redeems everything; times from receipt to result.
async fn ask(client: Client, number: usize, url: String, asked: Vec<Capability>) {
    let mut open = HashSet::new();
    for count in 0..SPECIFICATIONS {
        let capability = &asked[(number + count * CLIENTS) % asked.len()];
        let when = "now + 3s / 1s".parse().unwrap();
        let mut wanted =
            capability.specification(&format!("{}-{count}", capability.head.label()), when);
        for parameter in capability.questions() {
            let text = match parameter.element.name() {
                "destination.ip4" => "198.51.100.9",
                "scamper.ping.method" => "icmp-echo",
                "scamper.ping.rr" => "False",
                "scamper.ping.size" => "84",
                _ => "0",
            };
            wanted.set(parameter.element.name(), text).unwrap();
        }
        let token = format!("{number}-{count}");
        wanted.head.token = Some(token.clone());
        let answer = client.post(&url, &wanted.into()).await.unwrap();
        assert_eq!(answer.kind(), Kind::Receipt, "{answer:?}");
        open.insert(token);
    }
    while !open.is_empty() {
        let began = Instant::now();
        for token in open.iter().cloned().collect::<Vec<_>>() {
            let redemption = Message::Redemption(Reference::to_token("measure", &token));
            let answer = client.post(&url, &redemption).await.unwrap();
            match answer.kind() {
                Kind::Result => {
                    assert_eq!(answer.token(), Some(&*token));
                    open.remove(&token);
                }
                Kind::Receipt => break,
                other => panic!("{other}: {answer:?}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(100).saturating_sub(began.elapsed())).await;
    }
}

#[test]
#[ignore = "a measurement: release build, little else on the machine"]
fn two_hundred_hosts_register_and_specifications_are_relayed() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let tls = ServerTls::load(authority.issue("supervisor")).unwrap();
    let hosts: Vec<Arc<Client>> =
        (0..HOSTS).map(|host| Arc::new(authority.client(&format!("host-{host}")))).collect();
    let clients: Vec<Client> =
        (0..CLIENTS).map(|client| authority.client(&format!("client-{client}"))).collect();
    let mut access = Access::closed().authorize("*", &["guest"]);
    for host in 0..HOSTS {
        access = access.component(&format!("Load.host-{host}"));
    }
    for client in 0..CLIENTS {
        access = access.role(&format!("Load.client-{client}"), &["guest"]);
    }
    let access = Shared::new(access);
    let roomy =
        Limits { requests_per_second: 1_000_000, request_burst: 1_000_000, ..Limits::default() };

    let runtime =
        |name: &str| Builder::new_multi_thread().thread_name(name).enable_all().build().unwrap();
    let (theirs, ours) = (runtime("supervisor"), runtime("load"));
    let listen = || theirs.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let (to_clients, to_hosts) = (listen(), listen());
    let url = format!("https://{}/", to_clients.local_addr().unwrap());
    let base = format!("https://{}", to_hosts.local_addr().unwrap());
    let registries = Shared::new(Registries::built_in());
    let store = Box::new(Sqlite::open(&folder.path().join("supervisor.db")).unwrap());
    let policy = Policy { result_link: format!("{base}/register/result"), ..Policy::default() };
    let service = Arc::new(Service::open(store, policy, registries.clone(), clock).unwrap());
    for (listener, router) in [
        (to_clients, client_port(service.clone(), registries.clone())),
        (to_hosts, component_port(service, registries, ComponentPaths::default())),
    ] {
        let (tls, access) = (Some(tls.clone()), access.clone());
        theirs.spawn(serve(listener, router, tls, access, roomy, std::future::pending()));
    }

    let offered: Vec<Vec<Capability>> = (0..HOSTS).map(capabilities).collect();
    let (began, cpu) = (Instant::now(), supervisor_s());
    ours.block_on(async {
        let mut registering = JoinSet::new();
        for (host, offered) in hosts.iter().zip(offered) {
            let (host, url) = (Arc::clone(host), format!("{base}/register/capability"));
            registering.spawn(async move {
                let messages = offered.into_iter().map(Message::from).collect();
                host.register(&url, messages).await.unwrap().0.len()
            });
        }
        assert_eq!(registering.join_all().await.iter().sum::<usize>(), HOSTS * 14);
    });
    let (wall_s, cpu_s) = (began.elapsed().as_secs_f64(), supervisor_s() - cpu);
    println!(
        "{HOSTS} hosts with 14 capabilities each, TLS: registered in {wall_s:.2} s, {cpu_s:.2} s of CPU"
    );

    let (began, cpu) = (Instant::now(), supervisor_s());
    let listed = ours.block_on(clients[0].discover(&url)).unwrap();
    let (wall_s, cpu_s) = (began.elapsed().as_secs_f64(), supervisor_s() - cpu);
    println!(
        "{} capabilities fetched by one client: {wall_s:.2} s, {cpu_s:.2} s of CPU",
        listed.len()
    );
    let tokens: HashSet<String> = listed.iter().map(Capability::token).collect();
    let labels: HashSet<&str> = listed.iter().map(|it| it.head.label()).collect();
    assert_eq!([tokens.len(), labels.len()], [HOSTS * 14; 2], "each can be told from the others");
    let is_asked = |it: &Capability| it.head.label().split('@').next() == Some(ASKED);
    let asked: Vec<Capability> = listed.into_iter().filter(is_asked).collect();
    assert_eq!(asked.len(), HOSTS);

    let (over, polls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (began, cpu) = (Instant::now(), supervisor_s());
    ours.block_on(async {
        let mut attending = JoinSet::new();
        for host in hosts {
            attending.spawn(attend(host, base.clone(), polls.clone(), over.clone()));
        }
        let mut asking = JoinSet::new();
        for (number, client) in clients.into_iter().enumerate() {
            asking.spawn(ask(client, number, url.clone(), asked.clone()));
        }
        asking.join_all().await;
        over.store(true, Ordering::Relaxed);
        attending.join_all().await;
    });
    let (wall_s, cpu_s) = (began.elapsed().as_secs_f64(), supervisor_s() - cpu);
    let count = (CLIENTS * SPECIFICATIONS) as f64;
    println!(
        "{count} specifications from receipt to redeemed result: {wall_s:.2} s, {:.0}/s; {cpu_s:.2} s of CPU, \
         {:.0} us each, {} polls among it",
        count / wall_s,
        cpu_s / count * 1e6,
        polls.load(Ordering::Relaxed),
    );
}
