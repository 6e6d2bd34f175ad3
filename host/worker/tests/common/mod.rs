//! The fixtures, built once for a run of the tests, and an engine of a few lines.
#![allow(dead_code, unreachable_pub)] // each test uses its part
#![allow(clippy::unwrap_used)] // part of tests, which the lint does not see

use std::{
    collections::BTreeMap,
    fs,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::CWD,
};
use sonde_plugin_api::{
    abi::{Action, ActionKind, Event, EventKind, FailKind},
    packet::Family,
    port::{Lost, Port},
    schema::Value,
};
use sonde_worker::{Described, InlinePort, Limits, LoadError, ProcessPort, Spawn};
use tempfile::TempDir;

/// Nothing here takes this long, unless it hangs.
const PATIENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// Where cargo puts what it builds for these tests.
fn built() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("tmp is in target");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "-p", "sonde-worker", "--examples", "--target-dir"]);
        cargo.arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        if profile == "release" {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "the fixtures do not build");
        target.join(profile).join("examples")
    })
}

/// The program that becomes a worker.
pub fn program() -> PathBuf {
    built().join("worker")
}

/// The plugin of a fixture: `hostile` or `raw`.
pub fn plugin(name: &str) -> PathBuf {
    built().join(format!("lib{name}.so"))
}

/// A store and a folder of plugins, removed at the end.
pub struct Place {
    folder: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// A copy of a fixture under a name of its own.
    pub fn plugin_as(&self, fixture: &str, name: &str) -> PathBuf {
        let path = self.path(&format!("lib{name}.so"));
        fs::copy(plugin(fixture), &path).unwrap();
        path
    }

    pub fn describe(&self, plugin: &Path) -> Result<Described, LoadError> {
        sonde_worker::describe(&program(), plugin, &self.store())
    }

    /// The one line that the operator reads.
    pub fn refusal(&self, plugin: &Path) -> String {
        let line = self.describe(plugin).unwrap_err().to_string();
        assert!(!line.contains('\n'), "{line}");
        line
    }

    pub fn process(&self, plugin: &Path) -> ProcessPort {
        self.process_with(plugin, limits())
    }

    pub fn process_with(&self, plugin: &Path, limits: Limits) -> ProcessPort {
        ProcessPort::spawn(Spawn {
            program: program(),
            plugin: plugin.to_owned(),
            store: self.store(),
            kept: None,
            limits,
            name: "fixture".into(),
        })
        .unwrap()
    }

    pub fn inline(&self, plugin: &Path) -> InlinePort {
        InlinePort::new(sonde_worker::load(plugin, &self.store()).unwrap()).unwrap()
    }

    /// What starts a task of the fixture `hostile`.
    pub fn parameters(&self, how: &str) -> Vec<u8> {
        let described = self.describe(&plugin("hostile")).unwrap();
        let given = BTreeMap::from([("how".to_owned(), Value::Text(how.to_owned()))]);
        described.descriptor.methods[0].encode(&given, Family::V4).unwrap()
    }
}

/// Short enough for a test, long enough for a busy machine.
pub fn limits() -> Limits {
    Limits {
        heap_octets: 64 << 20,
        poll: Duration::from_millis(500),
        start: Duration::from_secs(20),
    }
}

/// How a task ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    Finished(String),
    Failed(FailKind, String),
}

/// An engine without a network: timers fire at once.
#[derive(Debug, Default)]
pub struct Engine {
    pub ends: BTreeMap<u32, End>,
    pub logs: Vec<String>,
    /// Logged as warnings, by whom.
    pub warnings: Vec<(u32, String)>,
    pub lost: Vec<String>,
    /// Every action with its payload, in order.
    pub transcript: Vec<(Action, Option<Vec<u8>>)>,
    now: u64,
    due: Vec<(u32, u32)>,
}

impl Engine {
    /// Begins the task number `task`.
    pub fn start(&mut self, port: &mut dyn Port, task: u32, parameters: &[u8]) {
        let event = Event { kind: EventKind::Start, task, sent: 42, ..Event::ZERO };
        assert!(port.push(&event, parameters), "no room for a start");
        self.flush(port);
    }

    /// Goes on until every one of `tasks` has ended or the plugin is lost.
    pub fn run(&mut self, port: &mut dyn Port, tasks: &[u32]) {
        let lost = self.lost.len();
        while tasks.iter().any(|task| !self.ends.contains_key(task)) && self.lost.len() == lost {
            self.turn(port);
        }
    }

    /// Goes on until the plugin is lost; why.
    pub fn until_lost(&mut self, port: &mut dyn Port) -> String {
        let lost = self.lost.len();
        while self.lost.len() == lost {
            self.turn(port);
        }
        self.lost[lost].clone()
    }

    /// Begins a task and sees it through; how it ended, or why the plugin was lost.
    pub fn see(
        &mut self,
        port: &mut dyn Port,
        task: u32,
        parameters: &[u8],
    ) -> Result<End, String> {
        let lost = self.lost.len();
        self.ends.remove(&task);
        self.start(port, task, parameters);
        self.run(port, &[task]);
        match self.lost.get(lost) {
            Some(reason) => Err(reason.clone()),
            None => Ok(self.ends[&task].clone()),
        }
    }

    /// Waits for something, collects it and answers it.
    pub fn turn(&mut self, port: &mut dyn Port) {
        if !self.collect(port) && self.due.is_empty() {
            wait(port);
        }
        let due = std::mem::take(&mut self.due);
        // Time passes with events alone, so that it is the same for both ports.
        if due.is_empty() {
            return;
        }
        for (task, token) in due {
            let at = self.now;
            let event = Event { kind: EventKind::Timer, task, token, at, ..Event::ZERO };
            assert!(port.push(&event, &[]), "no room for a timer");
        }
        self.flush(port);
    }

    /// True if anything came.
    pub fn collect(&mut self, port: &mut dyn Port) -> bool {
        let mut any = false;
        let collected = port.collect(&mut |actions, bytes| {
            any = true;
            for action in actions {
                let begin = action.off as usize;
                let payload = bytes.get(begin..begin.saturating_add(action.len as usize));
                self.handle(*action, payload);
            }
        });
        if let Err(Lost { reason }) = collected {
            assert!(!reason.contains('\n'), "{reason}");
            self.lost.push(reason);
            self.due.clear();
            any = true;
        }
        any
    }

    fn handle(&mut self, action: Action, payload: Option<&[u8]>) {
        let text = || String::from_utf8_lossy(payload.unwrap_or_default()).into_owned();
        match action.kind {
            ActionKind::Timer => self.due.push((action.task, action.token)),
            ActionKind::Log if action.code == 2 => self.warnings.push((action.task, text())),
            ActionKind::Log => self.logs.push(text()),
            ActionKind::Finish => {
                self.ends.insert(action.task, End::Finished(text()));
            }
            ActionKind::Fail => {
                self.ends.insert(action.task, End::Failed(FailKind(action.code), text()));
            }
            _ => {}
        }
        self.transcript.push((action, payload.map(<[u8]>::to_vec)));
    }

    fn flush(&mut self, port: &mut dyn Port) {
        self.now += 1_000_000;
        port.flush(self.now, 1_700_000_000_000_000_000 + self.now);
    }
}

/// Sleeps until the port has something to say.
pub fn wait(port: &dyn Port) {
    let fds = port.wake_fds();
    // SAFETY: the port is borrowed, so its descriptors stay open.
    #[allow(unsafe_code)]
    let fds: Vec<_> = fds.into_iter().map(|fd| unsafe { BorrowedFd::borrow_raw(fd) }).collect();
    let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    if fds.is_empty() {
        return;
    }
    let woken = rustix::event::poll(&mut fds, Some(&PATIENCE)).unwrap();
    assert!(woken > 0, "nothing came");
}

/// A named pipe.
pub fn make_pipe(path: &Path) {
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}
