//! A plugin in a process of its own, watched and brought back.
//!
//! The engine's thread never waits for the worker: events go into shared memory, actions come out
//! of it, and one epoll descriptor tells when there is something to collect: actions, the
//! worker's death, or the time to look whether it is stuck.

use std::{
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::{
    event::epoll,
    io::Errno,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};
use sonde_plugin_api::{
    abi::{Action, Event, Usage},
    port::{Lost, Port},
};

use crate::{
    BackOff, Kept, Limits, Store,
    effort::Effort,
    reason::{self, Death},
    shared::{Bell, FOR_EVENTS, FOR_ROOM, HostEnd, Region, Violation},
    spawn::{Child, Hello, Mode},
};

/// The limit on a batch is watched in steps of a fifth.
const STEPS: u32 = 5;
/// Limits on a batch after which it is judged what a worker computes that says that it has nothing to do.
const RESTS: u32 = 10;
/// Collections with actions in them after which the other descriptors are looked at all the same.
const PATIENCE: u32 = 64;
/// Times that one collection looks for more.
const ROUNDS: usize = 8;

/// How to run a plugin in a process of its own.
#[derive(Clone, Debug, Default)]
pub struct Spawn {
    /// The program whose command `worker` calls [`worker_main`](crate::worker_main). The host's own
    /// is best given as `/proc/self/exe`, which stays the same when its file is replaced.
    pub program: PathBuf,
    /// Where the operator put the plugin.
    pub plugin: PathBuf,
    /// The folder for its private copy, see [`Store`].
    pub store: PathBuf,
    /// The copy, where it has been made already; of the file of then, whatever `plugin` is now.
    pub kept: Option<Kept>,
    /// What it may use.
    pub limits: Limits,
    /// For the process list and the log.
    pub name: String,
}

/// Exchanges batches with a worker process.
///
/// To be made and used on one thread: the kernel ends the worker with the thread that started it.
#[derive(Debug)]
pub struct ProcessPort {
    program: PathBuf,
    name: String,
    limits: Limits,
    plugin: PathBuf,
    store: PathBuf,
    kept: Kept,
    signals: OwnedFd,
    /// Watches the worker while there is one that has work, counts the back-off otherwise.
    timer: Timer,
    worker: Option<Worker>,
    back_off: BackOff,
    /// What the last worker was at when it died.
    lost_at: Option<u32>,
    /// Why there is no worker.
    down: Option<Lost>,
    unlooked: u32,
}

#[derive(Debug)]
struct Worker {
    child: Child,
    end: HostEnd,
    /// Wakes the worker.
    theirs: Bell,
    /// Wakes the host.
    ours: Bell,
    /// Why it was ended by us; its actions are not heard any more.
    ended: Option<String>,
    ready: bool,
    /// How far it had come, and how many steps ago.
    progress: (u64, u64),
    steps: u32,
    effort: Effort,
}

/// What an event of the epoll descriptor is about.
const BELL: u64 = 1;
const DEATH: u64 = 2;
const TIMER: u64 = 3;

impl ProcessPort {
    /// Starts the worker. It loads the plugin while events are pushed already; if that fails,
    /// [`Port::collect`] says so. Where no process can be started now, it is tried again later.
    ///
    /// # Errors
    ///
    /// [`Lost`] where the file cannot be a plugin, or the port itself cannot be made.
    pub fn spawn(spawn: Spawn) -> Result<Self, Lost> {
        let Spawn { program, plugin, store, kept, limits, name } = spawn;
        let keep = || {
            let kept = Store::open(&store).and_then(|store| store.keep(&plugin));
            kept.map_err(|error| Lost { reason: format!("{} {error}", plugin.display()) })
        };
        let kept = kept.map_or_else(keep, Ok)?;
        let failed = |error: Errno| cannot_start(&name, &error);
        let signals = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        let timer = Timer::new().map_err(failed)?;
        register(&signals, timer.fd.as_fd(), TIMER).map_err(failed)?;
        let mut port = Self {
            program,
            name,
            limits,
            plugin,
            store,
            kept,
            signals,
            timer,
            worker: None,
            back_off: BackOff::default(),
            lost_at: None,
            down: None,
            unlooked: 0,
        };
        if let Err(error) = port.start() {
            // For want of processes, memory or descriptors perhaps, which will pass.
            let lost = cannot_start(&port.name, &error);
            port.keep_down(&lost);
        }
        Ok(port)
    }

    /// The process of the worker, for a test or an operator to look at.
    #[must_use]
    pub fn worker_id(&self) -> Option<u32> {
        self.worker.as_ref().map(|worker| worker.child.id())
    }

    fn start(&mut self) -> std::io::Result<()> {
        self.keep_again()?;
        let (theirs, ours) = (Bell::new()?, Bell::new()?);
        let end = HostEnd::new(Region::new()?);
        let hello = Hello {
            mode: Mode::Serve,
            parent: std::process::id(),
            heap_octets: self.limits.heap_octets,
            plugin: self.kept.path.clone(),
        };
        let fds = [end.region().as_fd(), theirs.as_fd(), ours.as_fd()];
        let child = Child::start(&self.program, &self.name, &hello, &fds)?;
        register(&self.signals, ours.as_fd(), BELL)?;
        register(&self.signals, child.pidfd(), DEATH)?;
        end.fall_asleep();
        self.worker = Some(Worker {
            child,
            end,
            theirs,
            ours,
            ended: None,
            ready: false,
            progress: (0, 0),
            steps: 0,
            effort: Effort::since(Instant::now(), Duration::ZERO),
        });
        self.down = None;
        self.timer.every(self.limits.start / STEPS);
        Ok(())
    }

    /// Makes the copy again where it is gone: its folder may be of a session that has ended, or one whose files age.
    fn keep_again(&self) -> std::io::Result<()> {
        if self.kept.path.exists() {
            return Ok(());
        }
        let kept = Store::open(&self.store).and_then(|store| store.keep(&self.plugin));
        let error = match kept {
            Ok(kept) if kept == self.kept => return Ok(()),
            Ok(_) => "its copy is gone, and its file is another one".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(std::io::Error::other(error))
    }

    /// Takes the actions that are there; true if there were any.
    fn take(&mut self, sink: &mut dyn FnMut(&[Action], &[u8])) -> bool {
        let Some(worker) = self.worker.as_mut().filter(|worker| worker.ended.is_none()) else {
            return false;
        };
        let received = worker.receive(sink).unwrap_or_else(|violation| {
            worker.put_down(reason::broke_protocol(&self.name, &violation.0));
            false
        });
        if !worker.ready && worker.end.is_ready() {
            self.on_ready();
        }
        received
    }

    /// Looks at everything but actions, and at those if the bell rang.
    fn look(&mut self, sink: &mut dyn FnMut(&[Action], &[u8])) -> Result<(), Lost> {
        self.unlooked = 0;
        let mut space = [MaybeUninit::<epoll::Event>::uninit(); 4];
        let now = Timespec::default();
        let Ok((events, _)) = epoll::wait(&self.signals, &mut space, Some(&now)) else {
            return Ok(());
        };
        let (mut died, mut rang) = (false, false);
        for event in events {
            match event.data.u64() {
                DEATH => died = true,
                TIMER => self.on_timer(),
                _ => rang = true,
            }
        }
        if died {
            return self.bury(sink);
        }
        if rang && let Some(worker) = &self.worker {
            worker.ours.clear();
            // What it rang for may have come after the actions were taken.
            self.take(sink);
        }
        Ok(())
    }

    fn on_timer(&mut self) {
        // A stopped and continued host finds many at once, when the worker had stopped as well.
        let steps = self.timer.expired().min(2);
        if steps == 0 {
            return;
        }
        let Some(worker) = &mut self.worker else {
            self.timer.stop();
            if let Err(error) = self.start() {
                let lost = cannot_start(&self.name, &error);
                self.keep_down(&lost);
            }
            return;
        };
        worker.child.drain_stderr();
        if worker.ended.is_some() {
            return;
        }
        if !worker.ready {
            worker.steps += steps;
            if worker.steps > STEPS {
                worker.put_down(reason::too_slow(&self.name, self.limits.start));
            }
            return;
        }
        let (rest, is_at_work) = (self.limits.poll * RESTS, worker.end.outstanding() > 0);
        let used = || worker.child.processor_time();
        if worker.effort.is_excessive(Instant::now(), is_at_work, rest, used) {
            worker.put_down(reason::restless(&self.name, rest));
            return;
        }
        if !is_at_work {
            worker.steps = 0;
            self.timer.rest(rest);
            return;
        }
        let progress = worker.end.progress();
        if progress != worker.progress {
            (worker.progress, worker.steps) = (progress, 0);
            return;
        }
        worker.steps += steps;
        // One more, since the first may have come right after the batch.
        if worker.steps > STEPS {
            let reason = reason::stuck(&self.name, worker.end.cursor(), self.limits.poll);
            worker.put_down(reason);
        }
    }

    /// The worker is dead: says why, and starts the next or keeps it down.
    fn bury(&mut self, sink: &mut dyn FnMut(&[Action], &[u8])) -> Result<(), Lost> {
        let Some(mut worker) = self.worker.take() else { return Ok(()) };
        self.lost_at = worker.end.cursor();
        let reason = match worker.ended.take() {
            Some(reason) => {
                worker.child.end();
                reason
            }
            None => {
                // What it published before it died is as good as ever. A violation here changes
                // nothing: the worker is dead for another reason.
                let _ = worker.end.receive(sink);
                let status = worker.child.end();
                let stderr = worker.child.stderr();
                Death {
                    name: &self.name,
                    status,
                    // The plugin can unsay it: that lies where it writes.
                    ready: worker.ready || worker.end.is_ready(),
                    task: worker.end.cursor(),
                    stderr: &stderr,
                    limits: &self.limits,
                }
                .reason()
            }
        };
        self.let_go(worker);
        let lost = Lost { reason };
        tracing::debug!(reason = %lost.reason, "worker lost");
        self.keep_down(&lost);
        Err(lost)
    }

    /// Nothing is heard of a worker any more, which ends.
    fn let_go(&self, worker: Worker) {
        // Closing them would do it, but for copies that another process may hold.
        for fd in [worker.ours.as_fd(), worker.child.pidfd()] {
            let _ = epoll::delete(&self.signals, fd);
        }
        drop(worker);
    }

    /// Counts a crash; starts the worker again now or later.
    fn keep_down(&mut self, lost: &Lost) {
        let wait = self.back_off.crashed(Instant::now());
        if wait.is_zero() {
            match self.start() {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, worker = self.name, "cannot start"),
            }
        }
        let wait = wait.max(Duration::from_secs(1));
        self.timer.once(wait);
        self.down = Some(Lost { reason: format!("{}; it comes back in {wait:?}", lost.reason) });
    }

    fn on_ready(&mut self) {
        let Some(worker) = &mut self.worker else { return };
        worker.ready = true;
        worker.steps = 0;
        worker.effort =
            Effort::since(Instant::now(), worker.child.processor_time().unwrap_or_default());
        if !worker.end.has_landlock() {
            let text = "no Landlock: it can read what this user can read, until it is loaded, or longer if it means harm";
            tracing::warn!(worker = self.name, "{text}");
        }
        // Events may have waited for this; without any the first step finds nothing and stops.
        self.timer.every(self.limits.poll / STEPS);
    }

    fn serving(&mut self) -> Option<&mut Worker> {
        self.worker.as_mut().filter(|worker| worker.ended.is_none())
    }
}

impl Worker {
    /// Everything that is there; afterwards the bell rings for what comes later. True if there was
    /// anything.
    fn receive(&mut self, sink: &mut dyn FnMut(&[Action], &[u8])) -> Result<bool, Violation> {
        if self.end.was_rung() {
            self.ours.clear();
        }
        let mut any = false;
        for _ in 0..ROUNDS {
            if self.end.receive(sink)? {
                any = true;
                self.theirs.ring_if(self.end.plugin_sleeps(), FOR_ROOM);
            } else if self.end.was_rung() {
                self.end.fall_asleep();
            } else {
                // Asleep, and nothing came before the worker could know.
                if self.end.room_again() {
                    self.ours.ring();
                }
                return Ok(any);
            }
        }
        // It is faster than this thread: come back, but let others have their turn.
        self.ours.ring();
        Ok(any)
    }

    /// Ends it; its death is noticed as any other.
    fn put_down(&mut self, reason: String) {
        self.child.kill();
        self.ended = Some(reason);
    }
}

impl Port for ProcessPort {
    fn push(&mut self, event: &Event, payload: &[u8]) -> bool {
        self.serving().is_some_and(|worker| worker.end.push(event, payload))
    }

    fn flush(&mut self, now: u64, wall: u64) {
        let Some(worker) = self.serving() else { return };
        if worker.end.publish(now, wall) {
            worker.theirs.ring_if(worker.end.plugin_sleeps(), FOR_EVENTS);
            if worker.ready && !self.timer.is_running {
                self.timer.watch(self.limits.poll / STEPS, now);
            }
        }
    }

    fn collect(&mut self, sink: &mut dyn FnMut(&[Action], &[u8])) -> Result<(), Lost> {
        let any = self.take(sink);
        self.unlooked += 1;
        if any && self.unlooked < PATIENCE {
            return Ok(());
        }
        self.look(sink)
    }

    fn lost_at(&self) -> Option<u32> {
        self.lost_at
    }

    fn ready(&mut self) -> Result<(), Lost> {
        match &self.down {
            Some(lost) => Err(lost.clone()),
            None => Ok(()),
        }
    }

    fn restart(&mut self, reason: &str) -> bool {
        if let Some(worker) = self.worker.take() {
            self.let_go(worker);
            self.keep_down(&Lost { reason: reason.to_owned() });
        }
        true
    }

    fn wake_fds(&self) -> Vec<RawFd> {
        vec![self.signals.as_raw_fd()]
    }

    fn busy(&self) -> bool {
        self.worker
            .as_ref()
            .is_some_and(|worker| worker.ended.is_none() && worker.end.outstanding() > 0)
    }

    fn usage(&self) -> Usage {
        self.worker.as_ref().map_or_else(Usage::default, |worker| worker.end.usage())
    }
}

fn cannot_start(name: &str, error: &dyn std::fmt::Display) -> Lost {
    Lost { reason: format!("worker of {name} cannot be started: {error}") }
}

fn register(signals: &OwnedFd, fd: BorrowedFd<'_>, number: u64) -> Result<(), Errno> {
    epoll::add(signals, fd, epoll::EventData::new_u64(number), epoll::EventFlags::IN)
}

/// A timerfd.
#[derive(Debug)]
struct Timer {
    fd: OwnedFd,
    /// It watches a worker that has work.
    is_running: bool,
}

impl Timer {
    fn new() -> Result<Self, Errno> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { fd, is_running: false })
    }

    fn every(&mut self, step: Duration) {
        self.set(step, step);
    }

    fn once(&mut self, wait: Duration) {
        self.set(wait, Duration::ZERO);
    }

    /// As [`Timer::every`], but from some time within a step on: a method may work equally long at each batch, and would
    /// always be found at rest. `seed` tells one time from the next, as a time does.
    fn watch(&mut self, step: Duration, seed: u64) {
        let part = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        self.set(step.mul_f64(part as f64 / (1u64 << 32) as f64), step);
    }

    /// As [`Timer::every`], for the time when there is nothing to be watched closely.
    fn rest(&mut self, step: Duration) {
        self.every(step);
        self.is_running = false;
    }

    fn stop(&mut self) {
        let zero = Timespec::default();
        self.settle(&Itimerspec { it_interval: zero, it_value: zero });
        self.is_running = false;
    }

    /// How often it fired since it was asked last.
    fn expired(&self) -> u32 {
        let mut count = [0; 8];
        match rustix::io::read(&self.fd, &mut count) {
            Ok(8) => u32::try_from(u64::from_ne_bytes(count)).unwrap_or(u32::MAX),
            _ => 0,
        }
    }

    fn set(&mut self, first: Duration, interval: Duration) {
        // Zero would stop it.
        let first = first.max(Duration::from_millis(1));
        let timespec = |duration| Timespec::try_from(duration).unwrap_or_default();
        self.settle(&Itimerspec { it_interval: timespec(interval), it_value: timespec(first) });
        self.is_running = true;
    }

    fn settle(&self, value: &Itimerspec) {
        let set = timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), value);
        debug_assert!(set.is_ok(), "the descriptor is a timer and the times are normalised");
    }
}
