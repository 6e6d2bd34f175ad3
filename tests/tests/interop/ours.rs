//! Our programs beside those of the reference implementation, and the files of both.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};

use sonde_tests::{Finished, sonde};
use tempfile::TempDir;

use crate::ri::{Ri, registry};

/// For a line in the log of a program that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// What every scenario is tried with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transport {
    Plain,
    /// Certificates on both sides, made by `sonde ca`.
    MutualTls,
}

/// A folder with everybody's files, and ports that nobody has.
#[derive(Debug)]
pub(crate) struct Place {
    folder: TempDir,
    transport: Transport,
    /// Of supervisor (or host that listens) for clients.
    pub(crate) clients: u16,
    /// Of supervisor for components.
    pub(crate) components: u16,
    /// Of a supervisor below it, for components.
    below: u16,
}

/// One that no other test was given.
fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

impl Place {
    pub(crate) fn new(transport: Transport) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if transport == Transport::MutualTls {
            let make = |words: &[&str]| {
                let mut command = Command::new(sonde());
                let made = Finished::of(command.args(words).current_dir(folder.path()));
                assert_eq!(made.code, 0, "{words:?}: {}", made.errors);
            };
            make(&["ca", "init", "--organisation", "Test"]);
            make(&["ca", "issue", "supervisor", "supervisor-1"]);
            make(&["ca", "issue", "supervisor", "supervisor-2"]);
            make(&["ca", "issue", "host", "component-1"]);
            make(&["ca", "issue", "client", "client-1"]);
            make(&["ca", "issue", "client", "stranger-1"]);
        }
        let [clients, components, below] = [(); 3].map(|()| free_port());
        Self { folder, transport, clients, components, below }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn is_secure(&self) -> bool {
        self.transport == Transport::MutualTls
    }

    fn url(&self, port: u16) -> String {
        format!("http{}://127.0.0.1:{port}", if self.is_secure() { "s" } else { "" })
    }

    /// `[TLS]` of the reference implementation, and who may use everything.
    fn ri_tls(&self, name: &str, peer: &str) -> String {
        if !self.is_secure() {
            return String::new();
        }
        format!(
            "[TLS]\ncert = certificates/{name}.crt\nkey = certificates/{name}.key\n\
             ca-chain = certificates/ca.crt\n[Roles]\norg.mplane.Test.{peer} = user\n\
             [Authorizations]\nping = user\nsim = user\n"
        )
    }

    /// The same for ours; `section` begins the names of sections.
    fn tls(&self, section: &str, name: &str) -> String {
        if !self.is_secure() {
            return String::new();
        }
        format!(
            "[{section}tls]\ncertificate = 'certificates/{name}.crt'\n\
             key = 'certificates/{name}.key'\nauthority = 'certificates/ca.crt'\n"
        )
    }

    fn rights(section: &str, peer: &str) -> String {
        format!(
            "[{section}roles]\n'org.mplane.Test.{peer}' = ['user']\n\
             [{section}authorizations]\n'*' = ['user']\n"
        )
    }

    /// Their supervisor.
    pub(crate) fn ri_supervisor(&self) -> Ri {
        self.ri_supervisor_of(&registry())
    }

    /// Their supervisor, with a registry of its own.
    pub(crate) fn ri_supervisor_of(&self, registry: &Path) -> Ri {
        let registry = ri_registry(registry);
        let (clients, components) = (self.clients, self.components);
        let configuration = format!(
            "[client]\n{registry}workflow = component-initiated\nlisten-port = {components}\n\
             listen-spec-link = {}/register/result\nregistration-path = register/capability\n\
             specification-path = show/specification\nresult-path = register/result\n\
             [component]\n{registry}workflow = client-initiated\nlisten-port = {clients}\n\
             listen-cap-link = {}/\n{}",
            self.url(components),
            self.url(clients),
            self.ri_tls("supervisor-1", "Clients.client-1"),
        );
        Ri::start(self.path(), "supervisor", "ri-supervisor", &configuration)
    }

    /// Their component, which registers.
    pub(crate) fn ri_component(&self) -> Ri {
        let workflow = format!(
            "workflow = component-initiated\nclient_host = 127.0.0.1\nclient_port = {}\n\
             registration_path = register/capability\nspecification_path = show/specification\n\
             result_path = register/result\n{}",
            self.components,
            self.ri_tls("component-1", "Supervisors.supervisor-1")
        );
        self.start_ri_component(&workflow)
    }

    /// Their component, which listens where clients look.
    pub(crate) fn ri_listening_component(&self) -> Ri {
        let rights = self.ri_tls("component-1", "Clients.client-1");
        let workflow =
            format!("workflow = client-initiated\nlisten-port = {}\n{rights}", self.clients);
        self.start_ri_component(&workflow)
    }

    fn start_ri_component(&self, workflow: &str) -> Ri {
        let configuration = format!(
            "[module_test]\nmodule = services\naddress = 127.0.0.1\n\
             [component]\n{}{workflow}",
            ri_registry(&registry())
        );
        Ri::start(self.path(), "component", "ri-component", &configuration)
    }

    /// Their client.
    pub(crate) fn ri_client(&self) -> Ri {
        self.ri_client_named("client-1")
    }

    /// Their client, with another certificate.
    pub(crate) fn ri_client_named(&self, name: &str) -> Ri {
        let configuration = format!(
            "[client]\n{}default-url = {}/\n{}",
            ri_registry(&registry()),
            self.url(self.clients),
            self.ri_tls(name, "nobody")
        );
        Ri::start(self.path(), "client", name, &configuration)
    }

    /// Their client to whom components come, where a supervisor would be.
    pub(crate) fn ri_listening_client(&self) -> Ri {
        let configuration = format!(
            "[client]\n{}workflow = component-initiated\nlisten-port = {}\n\
             listen-spec-link = {}/register/result\nregistration-path = register/capability\n\
             specification-path = show/specification\nresult-path = register/result\n{}",
            ri_registry(&registry()),
            self.components,
            self.url(self.components),
            self.ri_tls("supervisor-1", "nobody")
        );
        Ri::start(self.path(), "listener", "ri-listener", &configuration)
    }

    /// Our host, with more for its section and more sections.
    fn host(&self, component: &str, peer: &str, more: &str) -> Program {
        let rights =
            if self.is_secure() { Self::rights("component.", peer) } else { String::new() };
        let text = format!(
            "[limits]\npackets_per_second = 1000\n[limits.address]\npackets_per_second = 100\n\
             [policy]\ndeny = ['deny.txt']\n[methods.ping]\nenabled = true\n\
             permit = ['ip_options']\n\
             [component]\nip4addr = '127.0.0.1'\nip6addr = '::1'\n{component}\n{}{rights}{more}",
            self.tls("component.", "component-1")
        );
        fs::write(self.path().join("deny.txt"), "192.0.2.0/24\n").unwrap();
        Program::start(self.path(), "host", &text)
    }

    /// Our host under a supervisor.
    pub(crate) fn registering_host(&self, more: &str) -> Program {
        self.host_of(self.components, "supervisor-1", more)
    }

    /// Our host under a [supervisor below](Self::supervisor_below).
    pub(crate) fn host_below(&self, more: &str) -> Program {
        self.host_of(self.below, "supervisor-2", more)
    }

    fn host_of(&self, port: u16, supervisor: &str, more: &str) -> Program {
        let section = format!(
            "[[component.supervisors]]\nname = 'top'\nurl = '{}'\npoll_s = 1\n",
            self.url(port)
        );
        self.host("", &format!("Supervisors.{supervisor}"), &(section + more))
    }

    /// Our supervisor, which registers with the one that clients know.
    pub(crate) fn supervisor_below(&self) -> Program {
        let top = self.url(self.components);
        let mut text = format!(
            "[listen]\nclients = '127.0.0.1:0'\nhosts = '127.0.0.1:{}'\n[store]\nfile = 'below.db'\n\
             [[supervisors]]\nname = 'top'\nurl = '{top}'\npoll_s = 1\n",
            self.below
        );
        if self.is_secure() {
            let own = self.tls("", "supervisor-2");
            let rights = Self::rights("", "Supervisors.supervisor-1");
            let hosts = "[hosts]\nregister = ['org.mplane.Test.Components.*']\n";
            let _ = write!(text, "{own}{rights}{hosts}");
        }
        Program::start(self.path(), "supervisor", &text).until_it_listens()
    }

    /// Our host where clients look.
    pub(crate) fn listening_host(&self) -> Program {
        let listen = format!("listen = '127.0.0.1:{}'\nimmediate_ms = 200", self.clients);
        self.host(&listen, "Clients.client-1", "")
    }

    /// Our supervisor.
    pub(crate) fn supervisor(&self) -> Program {
        let mut text = format!(
            "[listen]\nclients = '127.0.0.1:{}'\nhosts = '127.0.0.1:{}'\n[store]\nfile = 's.db'\n",
            self.clients, self.components
        );
        if self.is_secure() {
            let own = self.tls("", "supervisor-1");
            let rights = Self::rights("", "Clients.client-1");
            let hosts = "[hosts]\nregister = ['org.mplane.Test.Components.*']\n";
            let _ = write!(text, "{own}{rights}{hosts}");
        }
        let program = Program::start(self.path(), "supervisor", &text);
        program.until_it_listens()
    }

    /// Commands to our shell, with answers in JSON.
    pub(crate) fn shell(&self, commands: &[&str]) -> Finished {
        fs::write(self.path().join("client.toml"), self.tls("", "client-1")).unwrap();
        let mut command = Command::new(sonde());
        command.args(["shell", "--config", "client.toml", "--format", "json"]);
        command.arg(self.url(self.clients)).current_dir(self.path());
        for said in commands {
            command.args(["-c", said]);
        }
        Finished::of(&mut command)
    }
}

/// Keys of each section that names a registry.
fn ri_registry(file: &Path) -> String {
    let uri = "http://ict-mplane.eu/registry/core";
    format!("registry_preload = {}\nregistry_uri = {uri}\n", file.display())
}

/// A program of ours; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    file: PathBuf,
    /// Lines that it wrote to standard error, read at once so that it never waits for the test.
    log: mpsc::Receiver<String>,
}

impl Program {
    fn start(folder: &Path, name: &str, text: &str) -> Self {
        let file = folder.join(format!("{name}.toml"));
        fs::write(&file, text).unwrap();
        let mut child = Command::new(sonde())
            .args([name, "--config"])
            .arg(&file)
            .env("SONDE_LOG", "info")
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (lines, log) = mpsc::channel();
        thread::spawn(move || {
            errors.lines().map_while(Result::ok).try_for_each(|it| lines.send(it))
        });
        Self { child, file, log }
    }

    /// A supervisor says its two addresses when it listens there.
    fn until_it_listens(mut self) -> Self {
        let mut said = String::new();
        let mut output = BufReader::new(self.child.stdout.take().unwrap());
        for _ in 0..2 {
            assert_ne!(output.read_line(&mut said).unwrap(), 0, "it ended after {said:?}");
        }
        self
    }

    /// Reads its log until a line has this in it.
    pub(crate) fn logs(&self, part: &str) {
        let line = || self.log.recv_timeout(PATIENCE).unwrap_or_else(|it| panic!("{part}: {it}"));
        while !line().contains(part) {}
    }

    /// Writes its configuration with one part for another, and lets it read it.
    pub(crate) fn change(&self, from: &str, to: &str) {
        let text = fs::read_to_string(&self.file).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&self.file, text.replace(from, to)).unwrap();
        let process = self.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &process]).status().unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{}:", self.file.display());
            self.log.try_iter().for_each(|line| eprintln!("{line}"));
        }
    }
}
