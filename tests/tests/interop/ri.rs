//! Processes of the reference implementation, driven by `tests/interop/ri.py`.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

/// Of this repository.
fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The registry that our programs have built in.
pub(crate) fn registry() -> PathBuf {
    in_repository("registry.json").canonicalize().unwrap()
}

/// The interpreter with the reference implementation, as `scripts/setup test` makes it.
fn python() -> PathBuf {
    let python = in_repository("target/interop/bin/python");
    assert!(python.is_file(), "{} is missing: run `scripts/setup test` first", python.display());
    python
}

/// One process; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Ri {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What it printed.
    log: PathBuf,
}

impl Ri {
    /// Starts it with a configuration of its own form, and waits until it is ready.
    pub(crate) fn start(folder: &Path, role: &str, name: &str, configuration: &str) -> Self {
        let file = folder.join(format!("{name}.conf"));
        fs::write(&file, configuration).unwrap();
        let log = folder.join(format!("{name}.log"));
        let services = in_repository("tests/interop");
        let mut child = Command::new(python())
            .args(["-B", "-u"])
            .arg(services.join("ri.py"))
            .args([role, &file.display().to_string()])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::options().append(true).create(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        let requests = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut started = Self { child, requests, answers, log };
        assert_eq!(started.line()["ready"], true, "{}", started.printed());
        started
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}: {}", self.printed()))
    }

    fn printed(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn try_ask(&mut self, request: &Value) -> Result<Value, String> {
        writeln!(self.requests, "{request}").unwrap();
        let mut line = self.line();
        match line.get("error") {
            Some(error) => Err(error.as_str().unwrap().to_owned()),
            None => Ok(line["answer"].take()),
        }
    }

    /// The answer to a request that cannot fail.
    pub(crate) fn ask(&mut self, request: &Value) -> Value {
        let answer = self.try_ask(request);
        answer.unwrap_or_else(|error| panic!("{request}: {error}\n{}", self.printed()))
    }

    /// Reads on until a supervisor says that a message of this kind came from a component.
    pub(crate) fn until_it_has(&mut self, kind: &str) {
        while self.line()["came"] != kind {}
    }
}

impl Drop for Ri {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}:\n{}", self.log.display(), self.printed());
        }
    }
}

/// What a client of the reference implementation is asked to do.
impl Ri {
    /// Looks until all these labels are there; every capability.
    pub(crate) fn capabilities(&mut self, labels: &[&str]) -> Vec<Value> {
        self.ask(&json!({"do": "capabilities", "labels": labels})).as_array().unwrap().clone()
    }

    /// Labels that are listed at this moment.
    pub(crate) fn listed(&mut self) -> Vec<String> {
        let listed = self.ask(&json!({"do": "crawl"}));
        let label = |it: &Value| it["label"].as_str().unwrap().to_owned();
        listed.as_array().unwrap().iter().map(label).collect()
    }

    /// Sends a specification; its token.
    pub(crate) fn invoke(&mut self, label: &str, when: &str, parameters: &Value) -> String {
        let request =
            json!({"do": "invoke", "label": label, "when": when, "parameters": parameters});
        self.ask(&request).as_str().unwrap().to_owned()
    }

    /// Why a specification cannot be made.
    pub(crate) fn refuses(&mut self, label: &str, when: &str, parameters: &Value) -> String {
        let request =
            json!({"do": "invoke", "label": label, "when": when, "parameters": parameters});
        self.try_ask(&request).unwrap_err()
    }

    /// Asks until there is an end; it.
    pub(crate) fn end_of(&mut self, token: &str) -> Value {
        self.ask(&json!({"do": "redeem", "token": token}))
    }

    /// Asks until there is an envelope of so many; its messages.
    pub(crate) fn repetitions_of(&mut self, token: &str, least: usize) -> Vec<Value> {
        let end = self.ask(&json!({"do": "redeem", "token": token, "least": least}));
        assert_eq!(end["envelope"], "message", "{end}");
        end["contents"].as_array().unwrap().clone()
    }

    /// Sends an interrupt.
    pub(crate) fn interrupt(&mut self, token: &str) {
        self.ask(&json!({"do": "interrupt", "token": token}));
    }

    /// The answer to a message of which the reference implementation would hold its tongue.
    pub(crate) fn post(&mut self, message: &Value) -> Value {
        self.ask(&json!({"do": "post", "message": message}))
    }
}
