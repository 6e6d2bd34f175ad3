//! The host under a supervisor that is a few lines of this test: killed, restarted, stopped.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sonde_tests::sonde;

/// Without any news for so long, what is waited for does not come.
const LONGEST: Duration = Duration::from_mins(5);

/// What a supervisor has heard and has to say.
#[derive(Default)]
struct Books {
    capabilities: BTreeMap<String, Value>,
    registrations: usize,
    withdrawn: BTreeSet<String>,
    queue: VecDeque<Value>,
    receipts: BTreeSet<String>,
    /// Ends in the order of their arrival.
    ends: Vec<Value>,
}

struct Supervisor {
    address: SocketAddr,
    books: Arc<(Mutex<Books>, Condvar)>,
}

impl Supervisor {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let books: Arc<(Mutex<Books>, Condvar)> = Arc::default();
        let shared = Arc::clone(&books);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let books = Arc::clone(&shared);
                // A connection that breaks off is a host that was killed.
                thread::spawn(move || drop(serve(stream, &books)));
            }
        });
        Self { address, books }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Books) -> T) -> T {
        let result = change(&mut self.books.0.lock().unwrap());
        self.books.1.notify_all();
        result
    }

    /// Waits until something holds.
    fn until<T>(&self, mut holds: impl FnMut(&Books) -> Option<T>) -> T {
        let mut books = self.books.0.lock().unwrap();
        loop {
            if let Some(result) = holds(&books) {
                return result;
            }
            let (next, waited) = self.books.1.wait_timeout(books, LONGEST).unwrap();
            assert!(!waited.timed_out(), "nothing happens any more");
            books = next;
        }
    }

    /// Asks for a ping with a token.
    fn ask(&self, label: &str, when: &str, token: &str) {
        let mut specification = self.until(|books| books.capabilities.get(label).cloned());
        let object = specification.as_object_mut().unwrap();
        object.remove("capability");
        object.insert("specification".into(), "measure".into());
        object.insert("when".into(), when.into());
        object.insert("token".into(), token.into());
        object.insert("label".into(), format!("{label}-7").into());
        let chosen = [
            ("destination.ip4", "127.0.0.1"),
            ("scamper.ping.method", "icmp-echo"),
            ("scamper.ping.rr", "False"),
            ("scamper.ping.size", "84"),
        ];
        for (name, value) in object["parameters"].as_object_mut().unwrap() {
            let own = chosen.iter().find(|(chosen, _)| chosen == name).map(|(_, value)| *value);
            let is_range = value.as_str().unwrap().contains(" ... ");
            let text = own.map(str::to_owned).or(is_range.then(|| "0".to_owned()));
            *value = text.map_or_else(|| value.clone(), Value::from);
        }
        self.change(|books| books.queue.push_back(specification));
    }
}

fn serve(stream: TcpStream, books: &(Mutex<Books>, Condvar)) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(octets) = header.strip_prefix("content-length: ") {
                length = octets.parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let answer = {
            let mut guard = books.0.lock().unwrap();
            let answer = handle(&mut guard, line.split(' ').nth(1).unwrap(), &body);
            books.1.notify_all();
            answer
        };
        let text = answer.to_string();
        let length = text.len();
        write!(
            writer,
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-mplane+json\r\n\
             Content-Length: {length}\r\n\r\n{text}"
        )?;
    }
}

/// That of an exception has another place.
fn token(end: &Value) -> &str {
    end["token"].as_str().or(end["exception"].as_str()).unwrap()
}

fn handle(books: &mut Books, path: &str, body: &Value) -> Value {
    match path {
        "/register/capability" => {
            books.registrations += 1;
            let mut outcomes = json!({});
            for message in body["contents"].as_array().unwrap() {
                let label = message["label"].as_str().unwrap().to_owned();
                if message.get("withdrawal").is_some() {
                    books.capabilities.remove(&label);
                    books.withdrawn.insert(label.clone());
                } else {
                    books.capabilities.insert(label.clone(), message.clone());
                }
                outcomes[label] = json!({"registered": "ok"});
            }
            outcomes
        }
        "/show/specification" => {
            let most = books.queue.len().min(50);
            let contents: Vec<Value> = books.queue.drain(..most).collect();
            json!({"envelope": "message", "version": 1, "contents": contents})
        }
        _ => {
            let token = token(body).to_owned();
            if body.get("receipt").is_some() {
                books.receipts.insert(token);
            } else {
                books.ends.push(body.clone());
            }
            Value::Null
        }
    }
}

/// A host that is killed when the test ends.
struct Host {
    child: Child,
    file: PathBuf,
}

impl Host {
    fn new(folder: &Path, supervisor: &Supervisor, more: &str) -> Self {
        let file = folder.join("host.toml");
        let text = format!(
            "[limits]\npackets_per_second = 50000\n[limits.address]\npackets_per_second = 50000\n\
             burst = 1000\n[methods.ping]\npermit = ['ip_options']\n\
             [component]\nip4addr = '127.0.0.1'\n\
             [[component.supervisors]]\nname = 'top'\nurl = 'http://{}'\npoll_s = 1\n{more}",
            supervisor.address
        );
        std::fs::write(&file, text).unwrap();
        Self { child: Self::start(&file), file }
    }

    fn start(file: &Path) -> Child {
        let mut command = Command::new(sonde());
        command.arg("--config").arg(file).arg("host").stdout(Stdio::null());
        command.spawn().unwrap()
    }

    /// From the kill until the next process has registered.
    fn kill_and_start(&mut self, supervisor: &Supervisor) -> Duration {
        let began = Instant::now();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let before = supervisor.change(|books| books.registrations);
        self.child = Self::start(&self.file);
        supervisor.until(|books| (books.registrations > before).then_some(()));
        began.elapsed()
    }

    fn signal(&self, name: &str) {
        let process = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &process]).status().unwrap().success());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs root: packet sockets"]
fn twenty_kills_during_a_thousand_measurements_lose_no_end_and_make_up_none() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::new();
    let mut host = Host::new(folder.path(), &supervisor, "");
    for number in 0..1000 {
        supervisor.ask("ping-average-ip4", "now + 1s / 1s", &format!("t{number:04}"));
    }
    let mut away: Vec<Duration> = (1..=20)
        .map(|kill| {
            supervisor.until(|books| (books.ends.len() >= kill * 40).then_some(()));
            host.kill_and_start(&supervisor)
        })
        .collect();
    away.sort_unstable();
    eprintln!("registered again after {:?} in the median, {:?} at most", away[10], away[19]);
    // What was handed out and never promised is nobody's any more: the supervisor would ask again.
    supervisor.until(|books| books.queue.is_empty().then_some(()));
    let ended = |books: &Books| -> BTreeSet<String> {
        books.ends.iter().map(|end| end["token"].as_str().unwrap().to_owned()).collect()
    };
    supervisor.until(|books| books.receipts.is_subset(&ended(books)).then_some(()));
    supervisor.change(|books| {
        let mut by_token: BTreeMap<&str, &Value> = BTreeMap::new();
        let mut again = 0;
        for end in &books.ends {
            if let Some(first) = by_token.insert(end["token"].as_str().unwrap(), end) {
                assert_eq!(first, end, "two ends for one token");
                again += 1;
            }
        }
        // A few for each kill: what was brought in the turn of the desk that did not come to note it.
        assert!(again <= 100, "{again} brought again");
        let results = by_token.values().filter(|end| end.get("result").is_some()).count();
        eprintln!("{} receipts, {results} results, {again} again", books.receipts.len());
        assert!(results > 500);
    });
}

#[test]
#[ignore = "needs root: packet sockets"]
fn a_reload_withdraws_and_adds_capabilities_and_a_job_that_runs_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::new();
    let host = Host::new(folder.path(), &supervisor, "");
    supervisor.ask("ping-average-ip4", "now + 4s / 1s", "runs");
    supervisor.until(|books| books.receipts.contains("runs").then_some(()));
    let text = std::fs::read_to_string(&host.file).unwrap();
    let changed = text.replace("[component]\n", "[component]\nlabel_prefix = 'new-'\n");
    std::fs::write(&host.file, changed.replace("[methods.ping]", "[methods.ping]\nenabled = true"))
        .unwrap();
    host.signal("HUP");
    supervisor.until(|books| books.capabilities.contains_key("new-ping-average-ip4").then_some(()));
    std::fs::write(&host.file, text.replace("[methods.ping]", "[methods.ping]\nenabled = false"))
        .unwrap();
    host.signal("HUP");
    supervisor.until(|books| books.withdrawn.contains("new-ping-average-ip4").then_some(()));
    let end = supervisor.until(|books| books.ends.first().cloned());
    assert_eq!((&end["token"], &end["resultvalues"][0][3]), (&json!("runs"), &json!("4")));
}

#[test]
#[ignore = "needs root: packet sockets"]
fn a_message_that_cannot_be_read_takes_no_other_of_its_poll_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::new();
    let _host = Host::new(folder.path(), &supervisor, "");
    supervisor.until(|books| books.capabilities.get("ping-average-ip4").map(drop));
    supervisor.change(|books| {
        let nameless = json!({"specification": "measure", "version": 1, "registry": 7});
        let named =
            json!({"specification": "measure", "version": 1, "token": "bad", "when": "soon"});
        books.queue.extend([nameless, named, json!("none")]);
    });
    supervisor.ask("ping-average-ip4", "now + 1s / 1s", "good");
    let ends = supervisor.until(|books| (books.ends.len() > 1).then(|| books.ends.clone()));
    let bad = ends.iter().find(|end| token(end) == "bad").unwrap();
    assert_eq!(bad["message"], "contents[1].registry: is missing");
    assert!(ends.iter().any(|end| token(end) == "good" && end.get("result").is_some()), "{ends:?}");
}

#[test]
#[ignore = "needs root: packet sockets"]
fn a_reload_obeys_other_lists_of_prefixes() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::new();
    let host = Host::new(folder.path(), &supervisor, "");
    let measured = |name: &str| {
        supervisor.ask("ping-average-ip4", "now + 1s / 1s", name);
        let is_it = |end: &&Value| token(end) == name;
        let end = supervisor.until(|books| books.ends.iter().find(is_it).cloned());
        end.get("result").is_some()
    };
    assert!(measured("before"));
    let text = std::fs::read_to_string(&host.file).unwrap();
    std::fs::write(folder.path().join("deny"), "127.0.0.0/8\n").unwrap();
    for (round, (policy, may)) in
        [("\n[policy]\ndeny = ['deny']\n", false), ("", true)].into_iter().enumerate()
    {
        std::fs::write(&host.file, format!("{text}{policy}")).unwrap();
        host.signal("HUP");
        // Nothing tells a peer when that is done.
        let mut tried = 0..20;
        assert!(tried.any(|at| measured(&format!("{round}-{at}")) == may), "{policy}");
    }
}

#[test]
#[ignore = "needs root: packet sockets"]
fn a_reload_keeps_the_worker_of_a_plugin_that_has_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::new();
    let host = Host::new(folder.path(), &supervisor, "");
    let workers_after = |label: &str| {
        supervisor.until(|books| books.capabilities.get(label).map(drop));
        supervisor.ask(label, "now + 1s / 1s", label);
        supervisor.until(|books| books.ends.iter().any(|end| token(end) == label).then_some(()));
        let children = format!("cat /proc/{}/task/*/children", host.child.id());
        let output = Command::new("sh").args(["-c", &children]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let before = workers_after("ping-average-ip4");
    let text = std::fs::read_to_string(&host.file).unwrap();
    let changed = text.replace("[component]\n", "[component]\nlabel_prefix = 'new-'\n");
    std::fs::write(&host.file, changed).unwrap();
    host.signal("HUP");
    assert_eq!(workers_after("new-ping-average-ip4"), before);
    assert_eq!(before.split_whitespace().count(), 1, "{before}");
}

#[test]
#[ignore = "needs root: packet sockets"]
fn termination_interrupts_what_runs_and_brings_its_result() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::new();
    let mut host = Host::new(folder.path(), &supervisor, "");
    supervisor.ask("ping-average-ip4", "now ... future / 1s", "endless");
    supervisor.until(|books| books.receipts.contains("endless").then_some(()));
    host.signal("TERM");
    assert!(host.child.wait().unwrap().success());
    let end = supervisor.until(|books| books.ends.first().cloned());
    assert!(end.get("result").is_some(), "{end}");
}
