//! A supervisor with many hosts: `cargo test --release -p sonde-supervisor --test load -- --ignored --nocapture`.
//!
//! Hosts and clients, each with a certificate and connections of its own, in this process; the
//! processor time of the supervisor's threads is counted apart.
#![allow(clippy::unwrap_used, reason = "a measurement ends with a panic")]

use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
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
use sonde_mplane::{CORE_URI, Capability, Kind, Message, Reference, Registries, Time, When};
use sonde_mplane_http::{
    Access, Client, ClientTls, ComponentPaths, Limits, Polled, ServerTls, Shared, Timeouts,
    TlsFiles, client_port, component_port, serve,
};
use sonde_supervisor::{
    service::{Policy, Service},
    store::Sqlite,
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    task::JoinSet,
};

/// How much is done.
#[derive(Clone, Copy)]
struct Load {
    hosts: usize,
    clients: usize,
    /// Of each client.
    specifications: usize,
}

/// For ours.
const MUCH: Load = Load { hosts: 200, clients: 50, specifications: 100 };
/// For one that takes in a capability every 0.1 s, holds each specification for 5 s, and takes hosts with the same
/// capability for one.
const LITTLE: Load = Load { hosts: 1, clients: 1, specifications: 10 };
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
        let mut builder =
            Capability::build(&text(&row["label"]), &text(&row["when"])).registry(CORE_URI);
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
            let Message::Specification(specification) = message.unwrap() else { continue };
            host.deliver(&result, &specification.receipt()).await.unwrap();
            let at = clock();
            let measured = specification.result(When::measured(at, at), Vec::new());
            host.deliver(&result, &measured.into()).await.unwrap();
        }
        tokio::time::sleep(POLL.saturating_sub(began.elapsed())).await;
    }
}

/// Asks, one host after the other, and redeems everything; times from receipt to result.
async fn ask(client: Client, number: usize, url: String, asked: Vec<Capability>, load: Load) {
    let mut open = HashSet::new();
    for count in 0..load.specifications {
        let capability = &asked[(number + count * load.clients) % asked.len()];
        let when = "now + 3s / 1s".parse().unwrap();
        let mut wanted =
            capability.specification(&format!("{}-{count}", capability.head.label()), when);
        for parameter in capability.questions() {
            // The supervisor of the RI drops what is 0, False or empty.
            let text = match parameter.element.name() {
                "destination.ip4" => "198.51.100.9",
                "scamper.ping.method" => "icmp-echo",
                "scamper.ping.rr" => "True",
                "scamper.ping.size" => "84",
                _ => "1",
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

/// A supervisor that is measured.
struct Tested {
    /// For clients.
    url: String,
    /// For hosts.
    base: String,
    /// Processor time that it took so far, seconds.
    cpu: Box<dyn Fn() -> f64>,
}

fn runtime(name: &str) -> Runtime {
    Builder::new_multi_thread().thread_name(name).enable_all().build().unwrap()
}

/// Ours, on threads of its own.
fn ours(authority: &Authority<'_>, runtime: &Runtime, load: Load) -> Tested {
    let tls = ServerTls::load(authority.issue("supervisor")).unwrap();
    let mut access = Access::closed().authorize("*", &["guest"]).component("Load.host-*");
    for client in 0..load.clients {
        access = access.role(&format!("Load.client-{client}"), &["guest"]);
    }
    let access = Shared::new(access);
    let roomy =
        Limits { requests_per_second: 1_000_000, request_burst: 1_000_000, ..Limits::default() };
    let listen = || runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let (to_clients, to_hosts) = (listen(), listen());
    let url = format!("https://{}/", to_clients.local_addr().unwrap());
    let base = format!("https://{}", to_hosts.local_addr().unwrap());
    let registries = Shared::new(Registries::built_in());
    let store = Box::new(Sqlite::open(&authority.folder.join("supervisor.db")).unwrap());
    let policy = Policy { result_link: format!("{base}/register/result"), ..Policy::default() };
    let service = Arc::new(Service::open(store, policy, registries.clone(), clock).unwrap());
    for (listener, router) in [
        (to_clients, client_port(service.clone(), registries.clone())),
        (to_hosts, component_port(service, registries, ComponentPaths::default())),
    ] {
        let (tls, access) = (Some(tls.clone()), access.clone());
        runtime.spawn(serve(listener, router, tls, access, roomy, std::future::pending()));
    }
    Tested { url, base, cpu: Box::new(|| cpu_s("supervisor") + cpu_s("store")) }
}

/// That of the reference implementation (RI), as `scripts/setup test` installs it; killed at the end.
struct Theirs {
    child: Child,
    log: PathBuf,
}

impl Theirs {
    fn start(authority: &Authority<'_>) -> (Self, Tested) {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
        let port = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let (clients, hosts) = (port(), port());
        let tls = authority.issue("supervisor");
        let registry = format!(
            "registry_preload = {}\nregistry_uri = {CORE_URI}\n",
            repository.join("registry.json").display()
        );
        let text = format!(
            "[TLS]\ncert = {}\nkey = {}\nca-chain = {}\n[Roles]\nLoad.client-0 = guest\n\
             [Authorizations]\nip = guest\n\
             [client]\n{registry}workflow = component-initiated\nlisten-port = {hosts}\n\
             listen-spec-link = https://127.0.0.1:{hosts}/register/result\n\
             registration-path = register/capability\nspecification-path = show/specification\n\
             result-path = register/result\n\
             [component]\n{registry}workflow = client-initiated\nlisten-port = {clients}\n\
             listen-cap-link = https://127.0.0.1:{clients}/\n",
            tls.certificate.display(),
            tls.key.display(),
            tls.authority.display(),
        );
        let file = authority.folder.join("supervisor.conf");
        fs::write(&file, text).unwrap();
        let log = authority.folder.join("supervisor.log");
        let mut child = Command::new(repository.join("target/interop/bin/python"))
            .args(["-B", "-u"])
            .arg(repository.join("tests/interop/ri.py"))
            .arg("supervisor")
            .arg(&file)
            .current_dir(authority.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.next().unwrap().unwrap();
        assert!(ready.contains("ready"), "{ready}");
        // It tells what comes to it, and must not wait for us.
        std::thread::spawn(move || lines.for_each(drop));
        let process = child.id();
        let cpu = move || {
            // Ticks of 10 ms in user and system mode. Source: proc_pid_stat(5).
            let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
            let fields: Vec<&str> = text.rsplit(')').next().unwrap().split(' ').collect();
            let ticks = |field: usize| fields[field].parse::<f64>().unwrap();
            (ticks(12) + ticks(13)) / 100.0
        };
        let [url, base] = [clients, hosts].map(|port| format!("https://127.0.0.1:{port}"));
        (Self { child, log }, Tested { url: url + "/", base, cpu: Box::new(cpu) })
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// Registers, until a client finds everything; then has everything measured.
fn measure(authority: &Authority<'_>, tested: &Tested, offered: Vec<Vec<Capability>>, load: Load) {
    let (url, base, cpu) = (&tested.url, &tested.base, &tested.cpu);
    let hosts: Vec<Arc<Client>> =
        (0..load.hosts).map(|host| Arc::new(authority.client(&format!("host-{host}")))).collect();
    let clients: Vec<Client> =
        (0..load.clients).map(|client| authority.client(&format!("client-{client}"))).collect();
    let all = offered.iter().map(Vec::len).sum::<usize>();
    let runtime = runtime("load");
    let (began, used) = (Instant::now(), cpu());
    runtime.block_on(async {
        let mut registering = JoinSet::new();
        for (host, offered) in hosts.iter().zip(offered) {
            let (host, url) = (Arc::clone(host), format!("{base}/register/capability"));
            registering.spawn(async move {
                let messages = offered.into_iter().map(Message::from).collect();
                host.register(&url, messages).await.unwrap().0.len()
            });
        }
        assert_eq!(registering.join_all().await.iter().sum::<usize>(), all);
    });
    let wall_s = began.elapsed().as_secs_f64();
    println!(
        "{} hosts, {all} capabilities, TLS: registered in {wall_s:.2} s, {:.2} s of CPU",
        load.hosts,
        cpu() - used
    );

    let fetching = Instant::now();
    let mut listed = Vec::new();
    while listed.len() < all {
        // The RI answers with 500 where a capability comes while it lists them.
        listed = runtime.block_on(clients[0].discover(url)).unwrap_or_default();
    }
    println!(
        "all fetched by one client {:.2} s later, {:.2} s in all; {:.2} s of CPU",
        fetching.elapsed().as_secs_f64(),
        began.elapsed().as_secs_f64(),
        cpu() - used,
    );
    let tokens: HashSet<String> = listed.iter().map(Capability::token).collect();
    let labels: HashSet<&str> = listed.iter().map(|it| it.head.label()).collect();
    assert_eq!([tokens.len(), labels.len()], [all; 2], "each can be told from the others");
    let asked: Vec<Capability> =
        listed.into_iter().filter(|it| it.head.label().starts_with(ASKED)).collect();
    assert_eq!(asked.len(), load.hosts);

    let (over, polls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (began, used) = (Instant::now(), cpu());
    runtime.block_on(async {
        let mut attending = JoinSet::new();
        for host in hosts {
            attending.spawn(attend(host, base.clone(), polls.clone(), over.clone()));
        }
        let mut asking = JoinSet::new();
        for (number, client) in clients.into_iter().enumerate() {
            asking.spawn(ask(client, number, url.clone(), asked.clone(), load));
        }
        asking.join_all().await;
        over.store(true, Ordering::Relaxed);
        attending.join_all().await;
    });
    let (wall_s, used_s) = (began.elapsed().as_secs_f64(), cpu() - used);
    let count = (load.clients * load.specifications) as f64;
    println!(
        "{count} specifications from receipt to redeemed result: {wall_s:.2} s, {:.1}/s; {used_s:.2} s of CPU, \
         {:.0} us each, {} polls among it",
        count / wall_s,
        used_s / count * 1e6,
        polls.load(Ordering::Relaxed),
    );
}

#[test]
#[ignore = "a measurement: release build, little else on the machine"]
fn two_hundred_hosts_register_and_specifications_are_relayed() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let runtime = runtime("supervisor");
    let tested = ours(&authority, &runtime, MUCH);
    let offered = (0..MUCH.hosts).map(capabilities).collect();
    measure(&authority, &tested, offered, MUCH);
}

#[test]
#[ignore = "a measurement: needs the reference implementation, see scripts/setup; takes a minute"]
fn the_same_with_less_of_it_and_the_supervisor_of_the_reference_implementation() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let (_killed, tested) = Theirs::start(&authority);
    // It knows capabilities by their labels alone.
    let of = |host: usize| {
        let mut offered = capabilities(host);
        for capability in &mut offered {
            capability.head.label = Some(format!("{}-of-{host}", capability.head.label()));
        }
        offered
    };
    measure(&authority, &tested, (0..LITTLE.hosts).map(of).collect(), LITTLE);
}
