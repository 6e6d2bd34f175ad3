//! Misdeeds of plugins, each through the real path: a host with its sockets open, a plugin in a
//! worker of its own, a network. Each is harmless and named in one line, while a measurement of
//! another plugin in the same host loses no answer.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

use serde_json::Value;
use sonde_tests::{Capture, Lab, TARGET4, sonde, target_folder};

use self::Expected::{Beside, Fails, Goes, Refused, Stopped, Unloaded, Warns};

/// The plugin that did it, what it did, what is to come of it.
type Misdeed = (&'static str, &'static str, Expected);

/// What a misdeed leads to, with a part of the one line about it.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// The measurement fails with this error.
    Fails(&'static str),
    /// It ends as forbidden by policy.
    Refused(&'static str),
    /// It goes on, with a warning that names one of these system calls.
    Warns(&'static str),
    /// It goes on as if nothing had been, and stops for this reason.
    Goes(&'static str),
    /// It does not end by itself; after an interrupt it has a second.
    Stopped,
    /// The file is not loaded.
    Unloaded(&'static str),
    /// The file is not loaded, another one beside it is.
    Beside(&'static str),
}

const MISDEEDS: &[Misdeed] = &[
    // What a program can do to itself.
    ("hostile", "panic", Fails("boom at host/worker/fixtures/hostile.rs:")),
    ("hostile", "panic-in-destructor", Fails("panic in a destructor at ")),
    ("hostile", "double-panic", Fails("thread caused non-unwinding panic")),
    ("hostile", "segfault", Fails("signal 11 (segmentation fault)")),
    ("hostile", "abort", Fails("signal 6 (aborted)")),
    ("hostile", "exit", Fails("exit status 3")),
    ("hostile", "stack", Fails("its stack overflowed")),
    (
        "hostile",
        "allocate",
        Fails("memory allocation of 1048576 bytes failed (its limit is 256 MiB)"),
    ),
    ("hostile", "allocate-at-once", Fails("memory allocation of 70368744177664 bytes failed")),
    ("hostile", "loop", Fails("was stuck in task 0: ended after 1s")),
    ("hostile", "sleep", Fails("was stuck in task 0: ended after 1s")),
    ("hostile", "flood", Goes("fine")),
    // What it can ask the kernel for.
    ("hostile", "fork", Warns("clone3 clone fork")),
    ("hostile", "exec", Warns("clone3 clone vfork fork")),
    ("hostile", "thread", Warns("clone3 clone")),
    ("hostile", "file", Warns("openat")),
    ("hostile", "proc", Warns("openat")),
    ("hostile", "write-file", Warns("openat")),
    ("hostile", "remove", Warns("unlink unlinkat")),
    ("hostile", "udp", Warns("socket")),
    ("hostile", "tcp", Warns("socket")),
    ("hostile", "packet-socket", Warns("socket")),
    ("hostile", "kill-all", Warns("kill")),
    ("hostile", "kill-init", Warns("kill")),
    ("hostile", "ptrace", Warns("ptrace")),
    ("hostile", "host-memory", Warns("process_vm_readv")),
    ("hostile", "other-descriptors", Warns("pidfd_getfd")),
    ("hostile", "close-descriptors", Warns("close")),
    ("hostile", "write-to-host", Warns("write")),
    ("hostile", "executable-memory", Warns("mmap")),
    ("hostile", "make-executable", Warns("mprotect")),
    ("hostile", "memfd", Warns("memfd_create")),
    ("hostile", "shared-memory", Warns("shmget")),
    ("hostile", "io-uring", Warns("io_uring_setup")),
    ("hostile", "bpf", Warns("bpf")),
    ("hostile", "perf-events", Warns("perf_event_open")),
    ("hostile", "userfaultfd", Warns("userfaultfd")),
    ("hostile", "undo-limits", Warns("prctl")),
    ("hostile", "raise-limits", Warns("prlimit64 setrlimit")),
    ("hostile", "become-root", Warns("setuid")),
    ("hostile", "unshare", Warns("unshare")),
    ("hostile", "clock", Warns("clock_adjtime adjtimex")),
    ("hostile", "own-handler", Warns("rt_sigaction")),
    ("hostile", "block-trap", Fails("signal 31 (forbidden system call)")),
    ("hostile", "environment", Goes("fine")),
    // What it can say to the engine.
    ("reckless", "wild-range", Fails("the plugin pointed outside of its batch")),
    ("reckless", "wild-tasks", Goes("fine")),
    ("reckless", "wild-tokens", Goes("fine")),
    ("reckless", "wild-flows", Fails("the plugin sent on a flow that is not open")),
    ("reckless", "other-flows", Fails("the plugin sent on a flow that is not its own")),
    ("reckless", "unknown-action", Fails("the plugin wanted ActionKind(99), which is not known")),
    ("reckless", "unknown-table", Fails("a row for table 9, which is not declared")),
    ("reckless", "garbage-row", Fails("a row of table rows is not valid")),
    ("reckless", "short-row", Fails("a row of table rows is not valid")),
    ("reckless", "last-row", Fails("a row of table rows is not valid")),
    ("reckless", "wrong-row", Fails("a row of table rows is not valid")),
    ("reckless", "not-a-number", Fails("a row of table rows is not valid")),
    ("reckless", "no-text", Fails("a row of table rows is not valid")),
    ("reckless", "deep-row", Fails("a row of table rows is not valid")),
    ("reckless", "long-list", Fails("a row of table rows is not valid")),
    ("reckless", "steering-text", Goes("fine [31m ")),
    ("reckless", "says-it-crashed", Fails("worker died: signal 11")),
    ("reckless", "flood-rows", Fails("the plugin put out more than 72 MiB of rows")),
    ("reckless", "flood-lines", Goes("fine")),
    ("reckless", "flood-timers", Fails("it has 65536 timers already")),
    ("reckless", "flood-flows", Fails("it has 1024 flows already")),
    ("reckless", "flood-packets", Stopped),
    ("reckless", "never-answers", Stopped),
    ("reckless", "after-drop", Stopped),
    ("reckless", "no-flow", Fails("the plugin described a flow with too few octets")),
    ("reckless", "odd-flow", Fails("flows are icmp, tcp or udp")),
    ("reckless", "multicast", Refused("224.0.0.1 is a multicast address")),
    ("reckless", "foreign-source", Fails("198.18.0.66 is no address of this host")),
    ("reckless", "spoofed-source", Goes("errno 1")),
    ("reckless", "foreign-destination", Goes("errno 1")),
    ("reckless", "other-identifier", Goes("errno 1")),
    ("reckless", "one-octet", Goes("errno 22")),
    ("reckless", "cut-off", Goes("errno 22")),
    ("reckless", "too-long", Goes("errno 90")),
    ("reckless", "changes-packet", Fails("exit status 9")),
    // What it can be.
    ("raw", "early_abort", Unloaded("could not be examined: signal 6 (aborted)")),
    ("raw", "early_exit", Unloaded("could not be examined: exit status 0")),
    ("raw", "describe_crash", Unloaded("could not be examined: signal 6 (aborted)")),
    ("raw", "describe_garbage", Unloaded("has no usable descriptor: ")),
    ("raw", "describe_much", Unloaded("has no usable descriptor: 3145728 octets, more than 1 MiB")),
    ("raw", "describe_no_text", Unloaded("has no usable descriptor: it is not UTF-8")),
    ("raw", "instance_fails", Unloaded("failed to initialise: no licence for this machine")),
    ("hostile", "file-of-garbage", Unloaded("is not a shared library: it is not an ELF file")),
    ("hostile", "file-cut-off", Unloaded("is not a shared library: it is cut off: it has ")),
    ("hostile", "file-with-noise", Unloaded("")),
    ("hostile", "file-twice", Beside("the method hostile is that of ")),
    ("hostile", "file-replaced", Goes("fine")),
];

#[test]
#[ignore = "needs root: makes network namespaces"]
fn every_misdeed_is_contained_and_named_while_a_measurement_beside_it_loses_nothing() {
    let lab = Lab::chain(1);
    let stranger = Capture::start(&lab, "src", "src-r1", "host 198.18.0.66");
    let mut host = Host::start(&lab);
    let mut escaped = Vec::new();
    for (number, (plugin, how, expected)) in (1..).zip(MISDEEDS) {
        let outcome = host.commit(plugin, how, matches!(expected, Stopped));
        match outcome.fits(*expected) {
            Ok(line) => println!("{number:2} {how:20} {line}"),
            Err(why) => escaped.push(format!("{how}: expected {expected:?}: {why}")),
        }
    }
    let all = MISDEEDS.len();
    println!("{} of {all} contained", all - escaped.len());
    let steady = host.finish();
    println!("beside them: {steady}");
    assert_eq!(escaped, [""; 0]);
    assert!(steady["sent"].as_u64().unwrap() > 500, "{steady}");
    assert_eq!(steady["answered"], steady["sent"], "{steady}");
    assert_eq!((&steady["not_sent"], &steady["late"]), (&Value::from(0), &Value::from(0)));
    // Neither a spoofed source nor a foreign destination was ever on the wire.
    assert_eq!(stranger.finish().lines, [""; 0]);
}

#[test]
fn the_table_in_the_documents_is_that_of_this_test() {
    let text = include_str!("../../docs/containment.md");
    let misdeeds = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, how, _, line, _] = cells[..] else { return None };
        Some((how.strip_prefix('`')?.strip_suffix('`')?.to_owned(), line.to_owned()))
    });
    let documented: Vec<(String, String)> = misdeeds.collect();
    let expected = MISDEEDS.iter().map(|(_, how, expected)| {
        let line = match expected {
            Fails(part) => format!("fails: {part}"),
            Refused(part) => format!("refused: {part}"),
            Warns(call) => format!("warning: the plugin tried the system call {}", first(call)),
            Goes(part) => format!("goes on: {part}"),
            Stopped => "interrupted".to_owned(),
            Unloaded(part) | Beside(part) => format!("not loaded: {part}"),
        };
        ((*how).to_owned(), line.trim().to_owned())
    });
    assert_eq!(documented, expected.collect::<Vec<_>>());
    assert!(text.contains(&format!("{} misdeeds", MISDEEDS.len())));
}

fn first(words: &str) -> &str {
    words.split(' ').next().unwrap_or_default()
}

/// The program of `fixtures/beside.rs`, running.
struct Host {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    place: tempfile::TempDir,
    count: u32,
}

/// What came of a misdeed.
#[derive(Debug)]
struct Outcome {
    end: Value,
    logs: Vec<String>,
}

impl Host {
    fn start(lab: &Lab) -> Self {
        let place = tempfile::tempdir().unwrap();
        let steady = place.path().join("steady");
        fs::create_dir(&steady).unwrap();
        fs::copy(sonde_tests::plugin("ping"), steady.join("ping.so")).unwrap();
        let mut command = lab.command("src", fixture("beside"));
        command.arg(sonde()).arg(steady).arg(place.path().join("store")).arg(TARGET4);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let input = child.stdin.take();
        let mut host = Self { child, input, output, place, count: 0 };
        assert!(host.line()["ready"].is_u64());
        host
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Puts the plugin where it is found, and lets it do one thing.
    fn commit(&mut self, plugin: &str, how: &str, is_stopped: bool) -> Outcome {
        self.count += 1;
        let folder = self.place.path().join(self.count.to_string());
        fs::create_dir(&folder).unwrap();
        let file = provide(&folder, plugin, how);
        let when = if is_stopped { "at-log" } else { "never" };
        let how = if how.starts_with("file-") { "slow" } else { how };
        let line = format!("{}\t{plugin}\t{how}\t{when}\n", folder.display());
        self.input.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        let mut logs = Vec::new();
        loop {
            let mut line = self.line();
            match line["log"].take() {
                Value::String(log) => {
                    if how == "slow" {
                        // In place: the file that was read is another one from now on.
                        fs::write(&file, b"replaced").unwrap();
                    }
                    logs.push(log);
                }
                _ => return Outcome { end: line, logs },
            }
        }
    }

    /// How the measurement beside all of them ended.
    fn finish(&mut self) -> Value {
        drop(self.input.take());
        let end = self.line();
        assert!(self.child.wait().unwrap().success());
        end
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Outcome {
    /// The line that names the misdeed.
    fn fits(&self, expected: Expected) -> Result<String, String> {
        let end = &self.end;
        let text = |name: &str| end[name].as_str().unwrap_or_default().to_owned();
        let refusal = end["refusals"][0].as_str().unwrap_or_default().to_owned();
        let (status, part, line) = match expected {
            Fails(part) => ("failed", part, text("error")),
            Refused(part) => ("refused", part, text("error")),
            Goes(part) => ("done", part, text("stop")),
            Stopped => ("interrupted", "", text("stop")),
            Unloaded(part) => ("none", part, refusal),
            Beside(part) => ("done", part, refusal),
            Warns(calls) => {
                let is_named = |log: &&String| {
                    let tried = |call| format!("the plugin tried the system call {call}, which");
                    calls.split(' ').any(|call| log.starts_with(&tried(call)))
                };
                let line = self.logs.iter().find(is_named).cloned();
                ("done", "the plugin tried", line.unwrap_or_default())
            }
        };
        let is_one_line = !line.is_empty() && !line.contains(char::is_control);
        if end["status"] == status && line.contains(part) && is_one_line {
            return Ok(line);
        }
        Err(format!("{end}, logged {:?}", self.logs.get(..10).unwrap_or(&self.logs)))
    }
}

/// The file of a misdeed in `folder`.
fn provide(folder: &Path, plugin: &str, how: &str) -> PathBuf {
    let name = if plugin == "raw" { how } else { plugin };
    let file = folder.join(format!("{name}.so"));
    let mut image = fs::read(fixture(&format!("lib{plugin}.so"))).unwrap();
    match how {
        "file-of-garbage" => image = b"not a library".to_vec(),
        "file-cut-off" => image.truncate(image.len() / 2),
        // Behind the headers, so that only the dynamic linker can notice.
        "file-with-noise" => image[4096..65_536].fill(0xa5),
        "file-twice" => fs::write(folder.join("twice.so"), &image).unwrap(),
        _ => {}
    }
    fs::write(&file, image).unwrap();
    file
}

/// What cargo makes of the fixtures of this crate and of the worker's.
fn fixture(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let folder = target_folder();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "-p", "sonde-worker", "-p", "sonde-tests", "--examples"]);
        cargo.arg("--target-dir").arg(folder.parent().unwrap());
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(cargo.status().unwrap().success(), "the fixtures do not build");
        folder.join("examples")
    });
    built.join(name)
}
