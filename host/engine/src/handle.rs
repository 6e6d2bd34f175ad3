//! Opening an engine, starting its thread, and talking to it.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::{
    config::{Config, Rate},
    engine::{Command, Core, PortMaker},
    link::Kernel,
    output::{News, PortId, RunId, Start, Statistics, Tap},
    policy::Policy,
    privileges,
    sys::{self, Wake},
};

/// Why an engine cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operator has to grant a capability; the text says how.
    #[error("{0}")]
    NotPermitted(String),
    /// The kernel refused.
    #[error("cannot open the {what}: {source}")]
    Kernel {
        /// Which socket or table.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// Privileges that are not needed any more cannot be given up.
    #[error("{0}")]
    Privileges(String),
}

impl From<sys::OpenError> for OpenError {
    fn from(error: sys::OpenError) -> Self {
        match error {
            sys::OpenError::NotPermitted(missing) => Self::NotPermitted(missing.to_string()),
            sys::OpenError::Kernel { what, source } => Self::Kernel { what, source },
        }
    }
}

/// Gives up every capability of the process, for good. To be called between [`Engine::open`] and
/// [`Engine::start`].
///
/// # Errors
///
/// [`OpenError::Privileges`]; the process should not go on then.
pub fn drop_capabilities() -> Result<(), OpenError> {
    privileges::drop_all().map_err(|error| OpenError::Privileges(error.to_string()))
}

/// An engine with its sockets open, not yet running.
pub struct Engine {
    kernel: Kernel,
    config: Config,
    tap: Option<Tap>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Engine").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens every socket that will ever be needed, in the network namespace of the calling
    /// thread. Needs `CAP_NET_RAW`.
    ///
    /// # Errors
    ///
    /// [`OpenError::NotPermitted`] without the capability, else what the kernel said.
    pub fn open(config: Config) -> Result<Self, OpenError> {
        Ok(Self { kernel: Kernel::open()?, config, tap: None })
    }

    /// Shows packets to `tap` from the start on.
    pub fn show_packets(&mut self, tap: Tap) {
        self.tap = Some(tap);
    }

    /// Begins to run, on a thread of its own.
    ///
    /// # Errors
    ///
    /// Where the thread cannot be had.
    pub fn start(self) -> Result<Handle, OpenError> {
        let fail = |what| move |source| OpenError::Kernel { what, source };
        let wake = Wake::new().map_err(fail("wake-up descriptor"))?;
        let (commands, received) = channel();
        let (sent, outputs) = channel();
        let shared = Arc::new(Mutex::new(Statistics::default()));
        let stopping = Arc::new(AtomicBool::new(false));
        let (own_wake, own_shared) = (wake.clone(), Arc::clone(&shared));
        let passing = Arc::<AtomicUsize>::default();
        let (own_stopping, own_passing) = (Arc::clone(&stopping), Arc::clone(&passing));
        let Self { kernel, config, tap } = self;
        let run = move || {
            sys::set_timer_slack(1_000);
            let channels = (received, sent, own_shared);
            let mut core = Core::new(kernel, config, sys::random(), channels, own_wake.fd());
            core.stopping = own_stopping;
            core.state.passing = own_passing;
            core.state.tap = tap;
            // The others are for workers, connections and files.
            core.state.identifiers.most = sys::most_descriptors() / 4 * 3;
            core.run(|| own_wake.clear());
        };
        let thread = std::thread::Builder::new().name("engine".into()).spawn(run);
        let thread = Some(thread.map_err(fail("engine's thread"))?);
        Ok(Handle { commands, outputs, wake, shared, thread, next_port: 0, stopping, passing })
    }
}

/// The way to a running engine; it ends with this.
#[derive(Debug)]
pub struct Handle {
    commands: Sender<Command>,
    outputs: Receiver<News>,
    wake: Wake,
    shared: Arc<Mutex<Statistics>>,
    thread: Option<JoinHandle<()>>,
    next_port: u32,
    stopping: Arc<AtomicBool>,
    /// Octets of rows that are not kept and not read yet.
    passing: Arc<AtomicUsize>,
}

impl Handle {
    /// Brings in a plugin, or another version of it; the port is made on the engine's thread. Versions of one `plugin` have one
    /// rate together, the last that was said. `rate` is instead of what the limits say of plugins.
    pub fn add_port(&mut self, plugin: u32, make: PortMaker, rate: Option<Rate>) -> PortId {
        let id = PortId(self.next_port);
        self.next_port += 1;
        self.tell(Command::AddPort { id, plugin, make, rate });
        id
    }

    /// Lets a plugin go once its measurements have ended.
    pub fn remove_port(&mut self, port: PortId) {
        self.tell(Command::RemovePort(port));
    }

    /// Ends all measurements of a plugin at once and lets it go: it was switched off.
    pub fn stop_port(&mut self, port: PortId) {
        self.tell(Command::StopPort(port));
    }

    /// Begins a measurement; [`Output::Ended`] follows exactly once.
    pub fn start(&mut self, start: Start) {
        self.tell(Command::Start(start));
    }

    /// Asks a measurement to finish with what it knows; it has a second for that.
    pub fn interrupt(&mut self, run: RunId) {
        self.tell(Command::Interrupt(run));
    }

    /// Ends a measurement at once.
    pub fn cancel(&mut self, run: RunId) {
        self.tell(Command::Cancel(run));
    }

    /// Ends a measurement as failed, for a reason that the engine cannot see.
    pub fn fail(&mut self, run: RunId, text: &str) {
        self.tell(Command::Fail(run, text.to_owned()));
    }

    /// Who may be measured from now on, running measurements included.
    pub fn set_policy(&mut self, policy: Arc<Policy>) {
        self.tell(Command::SetPolicy(policy));
    }

    /// To say the same from another thread.
    #[must_use]
    pub fn policy_setter(&self) -> PolicySetter {
        PolicySetter { commands: self.commands.clone(), wake: self.wake.clone() }
    }

    /// Ends everything at once; nothing more is sent but the last words of connections, so that no peer keeps one: those
    /// that their pace lets go within 100 ms.
    pub fn stop_all(&mut self) {
        self.stopping.store(true, Ordering::Release);
        self.tell(Command::StopAll);
    }

    /// What has happened since; waits for it up to `limit`. Empty after that, and when the engine
    /// has ended.
    pub fn outputs(&mut self, limit: Duration) -> Vec<News> {
        let news: Vec<News> = match self.outputs.recv_timeout(limit) {
            Ok(news) => [news].into_iter().chain(self.outputs.try_iter()).collect(),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Vec::new(),
        };
        let passing = news.iter().map(|news| news.passing).sum();
        self.passing.fetch_sub(passing, Ordering::Relaxed);
        news
    }

    /// Whether the engine still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Counters of the whole engine.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.shared.lock().map(|statistics| *statistics).unwrap_or_default()
    }

    fn tell(&self, command: Command) {
        // It has ended; `is_running` and `outputs` say so.
        let _ = self.commands.send(command);
        self.wake.wake();
    }
}

/// Tells an engine who may be measured.
#[derive(Debug)]
pub struct PolicySetter {
    commands: Sender<Command>,
    wake: Wake,
}

impl PolicySetter {
    /// From now on, running measurements included; false where the engine has ended.
    pub fn set(&self, policy: Arc<Policy>) -> bool {
        let is_there = self.commands.send(Command::SetPolicy(policy)).is_ok();
        self.wake.wake();
        is_there
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.tell(Command::Shutdown);
        if let Some(thread) = self.thread.take() {
            // A panic was printed when it happened.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Command")
    }
}
