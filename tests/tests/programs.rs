//! Certificates, configuration files, supervisor and shell from the command line. No privilege, loopback only.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
};

use sonde_tests::{Finished, sonde};
use tempfile::TempDir;

/// A section with the certificate of this name.
fn tls(name: &str) -> String {
    format!(
        "[tls]\ncertificate = 'certificates/{name}.crt'\nkey = 'certificates/{name}.key'\n\
         authority = 'certificates/ca.crt'\n"
    )
}

fn run(folder: &Path, words: &[&str]) -> Finished {
    Finished::of(Command::new(sonde()).args(words).current_dir(folder))
}

/// What must go well.
fn done(folder: &Path, words: &[&str]) -> String {
    let finished = run(folder, words);
    assert_eq!(finished.code, 0, "{words:?}: {} {}", finished.output, finished.errors);
    finished.output
}

/// An authority, and certificates of a supervisor and two clients.
fn certificates() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    done(folder.path(), &["ca", "init", "--organisation", "SSB"]);
    done(folder.path(), &["ca", "issue", "supervisor", "s-1"]);
    done(folder.path(), &["ca", "issue", "client", "c-1"]);
    done(folder.path(), &["ca", "issue", "client", "stranger"]);
    folder
}

/// A supervisor at ports that the kernel chose; ended at the end of the test.
struct Supervisor {
    child: Child,
    clients: String,
    log: BufReader<ChildStderr>,
}

impl Supervisor {
    fn start(folder: &Path, more: &str) -> Self {
        let file = folder.join("supervisor.toml");
        let text = format!(
            "[listen]\nclients = '127.0.0.1:0'\nhosts = '127.0.0.1:0'\n[store]\nfile = 's.db'\n{more}"
        );
        fs::write(&file, text).unwrap();
        let mut child = Command::new(sonde())
            .args(["supervisor", "--config"])
            .arg(&file)
            .env("SONDE_LOG", "info")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let clients = line.trim().strip_prefix("clients ").unwrap().to_owned();
        Self { child, clients, log }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    fn terminate(&mut self) -> Option<i32> {
        self.signal("-TERM");
        self.child.wait().unwrap().code()
    }

    /// Reads its log until a line has this in it; the line.
    fn logs(&mut self, part: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "it ended without {part}");
            if line.contains(part) {
                return line;
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn certificates_tell_who_they_are_of_and_who_signed_them() {
    let folder = certificates();
    let own = folder.path().join("certificates");
    let show = |file: &str, ca: &str| run(&own, &["ca", "show", file, "--ca", ca]);
    let shown = show("s-1.crt", "ca.crt");
    assert_eq!(shown.code, 0, "{}", shown.errors);
    for part in [
        "identity   org.mplane.SSB.Supervisors.s-1",
        "subject    DC=org, DC=mplane, O=SSB, OU=Supervisors, CN=s-1",
        "(valid)",
        "addresses  localhost, 127.0.0.1, ::1",
        "signed by  ca.crt",
    ] {
        assert!(shown.output.contains(part), "{part}\n{}", shown.output);
    }
    let text = fs::read_to_string(own.join("s-1.crt")).unwrap();
    let subject = text.lines().find(|line| line.trim_start().starts_with("Subject:")).unwrap();
    assert_eq!(subject.trim(), "Subject: DC=org, DC=mplane, O=SSB, OU=Supervisors, CN=s-1");
    done(folder.path(), &["ca", "init", "--folder", "other"]);
    let foreign = show("s-1.crt", "../other/ca.crt");
    assert!(foreign.code == 1 && foreign.output.contains("not ../other/ca.crt"));
    for key in ["ca.key", "s-1.key"] {
        assert_eq!(fs::metadata(own.join(key)).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn no_certificate_is_written_over() {
    let folder = certificates();
    let own = folder.path().join("certificates");
    let before = fs::read(own.join("s-1.key")).unwrap();
    for words in [&["ca", "init"][..], &["ca", "issue", "supervisor", "s-1"]] {
        let finished = run(folder.path(), words);
        assert_eq!(finished.code, 2);
        assert!(finished.errors.contains("is there is not written over"), "{}", finished.errors);
    }
    assert_eq!(fs::read(own.join("s-1.key")).unwrap(), before);
    fs::remove_file(own.join("s-1.key")).unwrap();
    assert_eq!(run(folder.path(), &["ca", "issue", "supervisor", "s-1"]).code, 2);
    assert!(!own.join("s-1.key").exists(), "no key without its certificate");
}

#[test]
fn the_shell_sees_what_its_role_may_see_and_nobody_else_gets_in() {
    let folder = certificates();
    let rights =
        "[roles]\n'org.mplane.SSB.Clients.c-1' = ['guest']\n[authorizations]\n'*' = ['guest']\n";
    let mut supervisor = Supervisor::start(folder.path(), &(tls("s-1") + rights));
    assert!(supervisor.clients.starts_with("https://127.0.0.1:"), "{}", supervisor.clients);
    let shell = |file: &str, words: &[&str]| {
        let own = ["shell", "--config", file, &supervisor.clients];
        run(folder.path(), &[&own[..], words].concat())
    };
    fs::write(folder.path().join("client.toml"), tls("c-1")).unwrap();
    let listed = shell("client.toml", &["-c", "listcap", "--format", "json"]);
    assert_eq!((listed.code, listed.output.trim()), (0, "[]"), "{}", listed.errors);
    let mistyped = shell("client.toml", &["-c", "lstcap"]);
    assert!(mistyped.code == 2 && mistyped.errors.contains("no command lstcap"));
    let script = folder.path().join("script");
    fs::write(&script, b"\xff\nlstmeas\nexit\n").unwrap();
    let mut command = Command::new(sonde());
    command.args(["shell", "--config", "client.toml", &supervisor.clients]);
    command.current_dir(folder.path()).stdin(fs::File::open(script).unwrap());
    let read = Finished::of(&mut command);
    assert!(read.output.contains("Ciao!"), "{} {}", read.output, read.errors);
    let unknown = shell("client.toml", &["-c", "runcap ping"]);
    assert!(unknown.code == 2 && unknown.errors.contains("no such token or label ping"));
    // A certificate of another authority, and none at all.
    done(folder.path(), &["ca", "init", "--folder", "other"]);
    done(folder.path(), &["ca", "issue", "client", "c-1", "--folder", "other"]);
    let other = tls("c-1").replace("'certificates/c-1", "'other/c-1");
    fs::write(folder.path().join("other.toml"), other).unwrap();
    assert_eq!(shell("other.toml", &["-c", "listcap"]).code, 5);
    let plain = supervisor.clients.replace("https", "http");
    assert_eq!(run(folder.path(), &["shell", &plain, "-c", "listcap"]).code, 5);
    assert_eq!(supervisor.terminate(), Some(0), "SIGTERM is no failure");
}

#[test]
fn certificates_are_read_again_on_sighup_unless_the_new_ones_cannot_be_used() {
    let folder = certificates();
    fs::write(folder.path().join("client.toml"), tls("c-1")).unwrap();
    let mut supervisor = Supervisor::start(folder.path(), &tls("s-1"));
    let url = supervisor.clients.clone();
    let list = || run(folder.path(), &["shell", "--config", "client.toml", &url, "-c", "listcap"]);
    assert_eq!(list().code, 0);
    // A key of another certificate.
    let own = folder.path().join("certificates");
    fs::rename(own.join("s-1.key"), own.join("kept.key")).unwrap();
    fs::copy(own.join("c-1.key"), own.join("s-1.key")).unwrap();
    supervisor.signal("-HUP");
    supervisor.logs("not reloaded: certificates");
    assert_eq!(list().code, 0, "the old ones stay in force");
    // Another authority and what it signed.
    fs::rename(&own, folder.path().join("before")).unwrap();
    done(folder.path(), &["ca", "init", "--organisation", "SSB"]);
    done(folder.path(), &["ca", "issue", "supervisor", "s-1"]);
    done(folder.path(), &["ca", "issue", "client", "c-1"]);
    assert_eq!(list().code, 5, "the supervisor has the old one");
    supervisor.signal("-HUP");
    supervisor.logs("are read again");
    let listed = list();
    assert_eq!(listed.code, 0, "{}", listed.errors);
    // Without certificates everybody might do everything.
    let file = folder.path().join("supervisor.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.split("[tls]").next().unwrap()).unwrap();
    supervisor.signal("-HUP");
    supervisor.logs("not reloaded: tls begins or ends with the next start");
    assert_eq!(list().code, 0);
}

#[test]
fn a_supervisor_that_is_not_there_and_a_port_that_is_taken_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let file = folder.path().join("supervisor.toml");
    let text =
        format!("[listen]\nclients = '{address}'\nhosts = '127.0.0.1:0'\n[store]\nfile = 's.db'\n");
    fs::write(file, text).unwrap();
    let finished = run(folder.path(), &["supervisor", "--config", "supervisor.toml"]);
    assert_eq!(finished.code, 2);
    assert!(
        finished.errors.contains(&format!("cannot listen at {address}")),
        "{}",
        finished.errors
    );
    drop(taken);
    let finished = run(folder.path(), &["shell", &address, "-c", "listcap"]);
    assert!(finished.code == 5 && finished.errors.contains(&address), "{}", finished.errors);
    assert_eq!(run(folder.path(), &["supervisor"]).code, 2);
}

#[test]
fn the_samples_of_all_three_programs_have_no_mistakes() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf");
    for name in ["host.toml", "supervisor.toml", "client.toml"] {
        let file = samples.join(name);
        let text = done(&samples, &["check", "--config", &file.display().to_string()]);
        assert!(text.starts_with(&format!("{}: no mistakes", file.display())), "{text}");
    }
}

#[test]
fn files_of_the_reference_implementation_are_checked_with_their_odd_roles() {
    let folder = certificates();
    let common = "[TLS]\ncert = certificates/s-1.crt\nkey = certificates/s-1.key\n\
                  ca-chain = certificates/ca.crt\n[Roles]\norg.mplane.SSB.Clients.c-1 = guest, admin\n\
                  [Authorizations]\nping = guest\n";
    let supervisor = "[component]\nworkflow = client-initiated\n[client]\nworkflow = \
                      component-initiated\n";
    fs::write(folder.path().join("supervisor.conf"), common.to_owned() + supervisor).unwrap();
    let text = done(folder.path(), &["check", "--config", "supervisor.conf"]);
    assert!(text.contains("role \" admin\" begins or ends with a blank"), "{text}");
    assert!(text.contains("ping: matches more than one label: ping-average-ip4"), "{text}");
    let client = "[client]\nworkflow = client-initiated\ndefault-url = https://h/\nx = y\n";
    fs::write(folder.path().join("client.conf"), client).unwrap();
    let text = done(folder.path(), &["check", "--config", "client.conf"]);
    assert!(text.contains("warning: client.conf:4: x does nothing here"), "{text}");
    let host = "[module_scamper]\nmodule = x\nip4addr = 192.0.2.1\n[component]\nworkflow = \
                client-initiated\nregistry_uri =\n";
    fs::write(folder.path().join("scamper.conf"), common.to_owned() + host).unwrap();
    let text = done(folder.path(), &["check", "--config", "scamper.conf"]);
    assert!(text.contains("ping is enabled"), "{text}");
    assert!(text.contains("ping: matches more than one label: ping-average-ip4"), "{text}");
    let text = done(folder.path(), &["host", "--capabilities", "--config", "scamper.conf"]);
    assert!(text.contains("\"source.ip4\": \"192.0.2.1\""), "{text}");
    // A key that is not the certificate's is found before the start.
    let other = common.replace("s-1.key", "c-1.key");
    for (name, rest) in [("supervisor.conf", supervisor), ("scamper.conf", host)] {
        fs::write(folder.path().join(name), other.clone() + rest).unwrap();
        let finished = run(folder.path(), &["check", "--config", name]);
        assert_eq!(finished.code, 2);
        assert!(finished.errors.contains("cannot be used together"), "{}", finished.errors);
    }
    let broken = common.replace("s-1.key", "s-2.key") + supervisor;
    fs::write(folder.path().join("supervisor.conf"), broken).unwrap();
    let finished = run(folder.path(), &["check", "--config", "supervisor.conf"]);
    assert_eq!(finished.code, 2);
    assert!(finished.errors.contains("supervisor.conf:3: TLS.key: is"), "{}", finished.errors);
}
