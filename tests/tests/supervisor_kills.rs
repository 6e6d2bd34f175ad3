//! A supervisor that is killed again and again while clients ask and a host delivers: a receipt is a promise. No
//! privilege, loopback only.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::{
    collections::BTreeSet,
    fs, io,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Condvar, Mutex},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use sonde_tests::sonde;

const KILLS: usize = 10;
/// Receipts from one kill to the next.
const RECEIPTS: usize = 40;
const CLIENTS: usize = 4;
/// Without any news for so long, what is waited for does not come.
const LONGEST: Duration = Duration::from_mins(5);

/// What everybody knows.
#[derive(Default)]
struct Books {
    /// Ports for clients and hosts; none while there is no supervisor.
    ports: Option<(SocketAddr, SocketAddr)>,
    receipts: BTreeSet<String>,
    /// Tokens that were asked with.
    asked: usize,
    /// No more is asked.
    is_over: bool,
    /// Every receipt has its result.
    is_done: bool,
    redeemed: BTreeSet<String>,
}

#[derive(Default)]
struct World {
    books: Mutex<Books>,
    changed: Condvar,
}

impl World {
    fn change<T>(&self, change: impl FnOnce(&mut Books) -> T) -> T {
        let result = change(&mut self.books.lock().unwrap());
        self.changed.notify_all();
        result
    }

    fn until<T>(&self, mut holds: impl FnMut(&Books) -> Option<T>) -> T {
        let mut books = self.books.lock().unwrap();
        loop {
            if let Some(result) = holds(&books) {
                return result;
            }
            let (next, waited) = self.changed.wait_timeout(books, LONGEST).unwrap();
            assert!(!waited.timed_out(), "nothing happens any more");
            books = next;
        }
    }

    /// To the supervisor that there is, and whoever comes after it, until one answers.
    fn ask(&self, is_host: bool, method: &str, path: &str, body: &Value) -> Value {
        loop {
            let (clients, hosts) = self.until(|books| books.ports);
            let address = if is_host { hosts } else { clients };
            match exchange(address, method, path, body) {
                Ok(answer) => return answer,
                // It was killed: until there is another one, or none that it was.
                Err(_) => self.until(|books| {
                    (books.ports.is_none() || books.ports != Some((clients, hosts))).then_some(())
                }),
            }
        }
    }
}

/// One request on a connection of its own; an error unless the whole answer came.
fn exchange(address: SocketAddr, method: &str, path: &str, body: &Value) -> io::Result<Value> {
    let mut stream = TcpStream::connect(address)?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: application/x-mplane+json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let length = head.to_ascii_lowercase();
    let length = length.lines().find_map(|line| line.strip_prefix("content-length: "));
    if length.and_then(|length| length.parse().ok()) != Some(body.len()) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    assert!(head.starts_with("HTTP/1.1 200 "), "{method} {path}: {answer}");
    Ok(serde_json::from_str(body).unwrap_or(Value::Null))
}

fn start(file: &Path, world: &World) -> Child {
    let mut child = Command::new(sonde())
        .args(["supervisor", "--config"])
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut port = |name: &str| -> SocketAddr {
        let line = lines.next().unwrap();
        line.strip_prefix(name).unwrap().trim_end_matches('/').parse().unwrap()
    };
    let ports = (port("clients http://"), port("hosts http://"));
    world.change(|books| books.ports = Some(ports));
    child
}

fn capability() -> Value {
    json!({
        "capability": "measure", "version": 1, "registry": "", "label": "ping-average-ip4",
        "when": "now ... future / 1s", "parameters": {"destination.ip4": "*"},
        "results": ["delay.twoway.icmp.us.min"],
    })
}

fn specification(token: &str) -> Value {
    json!({
        "specification": "measure", "version": 1, "registry": "", "label": "ping-average-ip4-0",
        "when": "now + 1s / 1s", "parameters": {"destination.ip4": "198.51.100.9"},
        "results": ["delay.twoway.icmp.us.min"], "token": token,
    })
}

/// Receipt and result of whatever it is asked for.
fn host(world: &World) {
    let envelope = json!({"envelope": "message", "version": 1, "contents": [capability()]});
    world.ask(true, "POST", "/register/capability", &envelope);
    let mut seen = (0, None);
    loop {
        // Polls when somebody has asked since, or when there is another supervisor.
        let state = world.until(|books| {
            let state = (books.asked, books.ports);
            (books.is_done || state != seen || books.is_over).then_some((state, books.is_done))
        });
        if state.1 {
            return;
        }
        seen = state.0;
        let polled = world.ask(true, "GET", "/show/specification", &Value::Null);
        for mut message in polled["contents"].as_array().unwrap().clone() {
            let object = message.as_object_mut().unwrap();
            object.remove("specification");
            object.remove("link");
            object.insert("receipt".into(), "measure".into());
            world.ask(true, "POST", "/register/result", &message);
            let object = message.as_object_mut().unwrap();
            object.remove("receipt");
            object.insert("result".into(), "measure".into());
            object.insert("when".into(), "2026-05-01 ... 2026-05-01 00:00:01".into());
            object.insert("resultvalues".into(), json!([["412"]]));
            world.ask(true, "POST", "/register/result", &message);
        }
    }
}

fn client(world: &World, name: usize) {
    for number in 0.. {
        if world.change(|books| books.is_over) {
            return;
        }
        let token = format!("client{name}-{number}");
        let answer = world.ask(false, "POST", "/", &specification(&token));
        assert_eq!(answer["token"], *token, "{answer}");
        let is_result = answer.get("result").is_some();
        assert!(is_result || answer.get("receipt").is_some(), "{answer}");
        world.change(|books| {
            books.asked += 1;
            books.receipts.insert(token.clone());
            if is_result {
                books.redeemed.insert(token);
            }
        });
    }
}

#[test]
fn ten_kills_of_the_supervisor_leave_every_receipt_redeemable() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("supervisor.toml");
    let text = "[listen]\nclients = '127.0.0.1:0'\nhosts = '127.0.0.1:0'\n[store]\nfile = 's.db'\n\
                [clients]\nrequests_per_second = 1000000\nrequest_burst = 1000000\n";
    fs::write(&file, text).unwrap();
    let world = World::default();
    let mut supervisor = start(&file, &world);
    thread::scope(|scope| {
        scope.spawn(|| host(&world));
        // Nobody can be asked before somebody offers.
        let offered = || {
            let (clients, _) = world.until(|books| books.ports);
            let page = exchange_text(clients, "/capability");
            page.contains("/capability/")
        };
        while !offered() {
            thread::yield_now();
        }
        for name in 0..CLIENTS {
            let world = &world;
            scope.spawn(move || client(world, name));
        }
        for kill in 1..=KILLS {
            world.until(|books| (books.receipts.len() >= kill * RECEIPTS).then_some(()));
            world.change(|books| books.ports = None);
            supervisor.kill().unwrap();
            supervisor.wait().unwrap();
            supervisor = start(&file, &world);
        }
        let receipts = world.change(|books| {
            books.is_over = true;
            books.receipts.clone()
        });
        let mut redeemed = world.change(|books| books.redeemed.clone());
        while redeemed.len() < receipts.len() {
            for token in receipts.difference(&redeemed.clone()) {
                let redemption = json!({"redemption": "measure", "token": token});
                let answer = world.ask(false, "POST", "/", &redemption);
                assert_eq!(answer["token"], **token, "{answer}");
                if answer.get("result").is_some() {
                    assert_eq!(answer["resultvalues"], json!([["412"]]), "{answer}");
                    redeemed.insert(token.clone());
                } else {
                    assert!(answer.get("receipt").is_some(), "{answer}");
                }
            }
        }
        eprintln!("{} receipts over {KILLS} kills, each redeemed", receipts.len());
        world.change(|books| books.is_done = true);
    });
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
}

/// A page, whatever it is.
fn exchange_text(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
