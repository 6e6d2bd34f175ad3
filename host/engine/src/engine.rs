//! The loop: one thread that sends, receives and keeps time, for all measurements.
//!
//! What happened becomes events for the plugins, what they want becomes packets, timers and rows.
//! The parts are in `arrivals`, `actions`, `flows`, `departures`, `departed`, `exchange`, `last_words`,
//! `put_off`, `starts`, `steps` and `ends`.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, TryRecvError},
    },
    time::Duration,
};

use foldhash::quality::RandomState;
use sonde_packet::demux::{Demux, ProbeId};
use sonde_plugin_api::{
    abi::{Event, EventKind},
    port::{Lost, Port},
};

use crate::{
    config::{Config, Rate, Stamps},
    departures::{Bare, HIGH_RATE, ProbeNotes},
    exchange::Wishes,
    flows::Opening,
    identifiers::Identifiers,
    last_words::LastWord,
    link::Link,
    output::{ClockStep, News, Output, PortId, RunId, Start, Statistics, Tap},
    pacing::{self, CLASSES, Class, Pacer, QUANTUM_NS},
    policy::Policy,
    ports::PortState,
    put_off::PutOff,
    recent::Recent,
    tasks::{FlowState, Slab, Task, TaskIndex},
    wheel::Wheel,
};

/// Commands of one turn, so that a campaign that begins does not keep its first probes from leaving.
const MAX_COMMANDS: usize = 256;
/// Longest sleep.
const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// Packets that are worth waking up for.
const WORTH_WAKING: usize = 32;
/// How long may pass until there are as many.
const LONGEST_QUANTUM_NS: u64 = 4_000_000;
/// News waits for more at high rates, so long or until there are so many: waking who reads it
/// costs as much as several probes.
const NEWS_NS: u64 = 4_000_000;
const MUCH_NEWS: usize = 1024;

/// Makes a port on the engine's thread.
pub type PortMaker = Box<dyn FnOnce() -> Result<Box<dyn Port>, Lost> + Send>;

/// What a handle asks of its engine.
pub(crate) enum Command {
    AddPort { id: PortId, plugin: u32, make: PortMaker, rate: Option<Rate> },
    RemovePort(PortId),
    Start(Start),
    Interrupt(RunId),
    Cancel(RunId),
    Fail(RunId, String),
    StopPort(PortId),
    SetPolicy(Arc<Policy>),
    StopAll,
    Shutdown,
}

/// What a timer of a plugin, or of one of its tasks, is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timer {
    /// A plugin's.
    Plugin { task: TaskIndex, generation: u32, token: u32 },
    /// The answer to a probe is overdue.
    Timeout(ProbeId),
    /// The time after an interrupt is over.
    Grace { task: TaskIndex, generation: u32 },
}

/// All that the engine knows, apart from the world outside.
pub(crate) struct State<H> {
    pub(crate) now: u64,
    pub(crate) wall_offset_ns: i64,
    /// When the wall clock was set, monotonic, and how.
    pub(crate) clock_steps: VecDeque<(u64, ClockStep)>,
    pub(crate) config: Config,
    pub(crate) demux: Demux,
    /// Gates of the pacer that will have tokens.
    pub(crate) gates: Wheel<pacing::Opening>,
    pub(crate) tasks: Slab<Task>,
    /// Beside the flows of `demux`, by their number.
    pub(crate) flows: Vec<Option<FlowState>>,
    pub(crate) ports: Vec<PortState>,
    pub(crate) runs: HashMap<RunId, TaskIndex, RandomState>,
    pub(crate) identifiers: Identifiers<H>,
    /// In the order in which they are tried again.
    pub(crate) opening: VecDeque<Opening>,
    pub(crate) pacer: Pacer,
    pub(crate) policy: Arc<Policy>,
    /// Counts the versions of `policy`.
    pub(crate) policy_version: u32,
    /// Tasks that have packets of the class waiting, in turn.
    pub(crate) ready: [VecDeque<(TaskIndex, u32)>; 2],
    /// Flows opened so far.
    pub(crate) serial: u32,
    /// Tasks that have not sent anything.
    pub(crate) unsent: usize,
    /// Packets that could not leave, in the order of time.
    pub(crate) later: VecDeque<PutOff>,
    /// What ended flows still have to say.
    pub(crate) last_words: VecDeque<LastWord>,
    /// Of these, those that were dropped since the operator was told.
    pub(crate) unsaid: u64,
    /// Beside the probes of `demux`, by their slot.
    pub(crate) notes: Vec<ProbeNotes>,
    /// Slot and generation of probes whose departure the kernel was to tell, and the plugin wants to hear of.
    pub(crate) untold: HashMap<u32, u32, RandomState>,
    /// Packets on their way that expect no answer.
    pub(crate) bare: Slab<Bare>,
    /// Copies of the packets of the batch, for those that have to be sent again.
    pub(crate) flight: Vec<u8>,
    pub(crate) batched: usize,
    /// Number of the batch that is being filled.
    pub(crate) batch: u64,
    pub(crate) recent: Recent,
    pub(crate) news: News,
    /// Parameters of the task that begins; kept for its memory.
    pub(crate) params: Vec<u8>,
    pub(crate) statistics: Statistics,
    /// When the operator was told last that packets were lost here, and how many were lost by then.
    pub(crate) warned: (u64, u64),
    /// What the plugin whose turn it is has cost in it, in actions.
    pub(crate) work: usize,
    /// Octets of rows that are not kept, on their way to who reads them.
    pub(crate) passing: Arc<AtomicUsize>,
    /// Names of interfaces by their number, the first is 1.
    pub(crate) interfaces: Vec<Box<str>>,
    /// Who wants to see packets.
    pub(crate) tap: Option<Tap>,
}

/// The engine on its own thread.
pub(crate) struct Core<L: Link> {
    pub(crate) link: L,
    pub(crate) state: State<L::Hold>,
    commands: Receiver<Command>,
    outputs: Sender<News>,
    shared: Arc<Mutex<Statistics>>,
    others: Vec<std::os::fd::RawFd>,
    wake: std::os::fd::RawFd,
    /// Of no plugin; kept for its memory.
    pub(crate) wishes: Wishes,
    /// There may be more of them than the last turn took.
    has_commands: bool,
    /// Identifiers have rested that the last turn did not let go.
    is_tidying: bool,
    /// When news was sent last.
    reported: u64,
    /// Everything shall end: commands before that are not taken in portions.
    pub(crate) stopping: Arc<AtomicBool>,
}

impl<H> State<H> {
    pub(crate) fn new(now: u64, config: Config, seed: u64) -> Self {
        Self {
            now,
            wall_offset_ns: 0,
            clock_steps: VecDeque::new(),
            config,
            demux: Demux::new(seed),
            gates: Wheel::new(now),
            tasks: Slab::default(),
            flows: Vec::new(),
            ports: Vec::new(),
            runs: HashMap::default(),
            identifiers: Identifiers::new(seed.rotate_left(32)),
            opening: VecDeque::new(),
            pacer: Pacer::new(config.packets_per_second, &config.limits, now),
            policy: Arc::default(),
            policy_version: 0,
            ready: Default::default(),
            serial: 0,
            unsent: 0,
            later: VecDeque::new(),
            last_words: VecDeque::new(),
            unsaid: 0,
            notes: Vec::new(),
            untold: HashMap::default(),
            bare: Slab::default(),
            flight: Vec::new(),
            batched: 0,
            batch: 1,
            recent: Recent::default(),
            news: News::default(),
            params: Vec::new(),
            statistics: Statistics::default(),
            warned: (0, 0),
            work: 0,
            passing: Arc::default(),
            interfaces: Vec::new(),
            tap: None,
        }
    }

    /// Shows a packet to whoever wants to see them.
    #[inline]
    pub(crate) fn show(&mut self, at: u64, packet: &[u8]) {
        if let Some(tap) = &mut self.tap {
            tap(at.saturating_add_signed(self.wall_offset_ns), packet);
        }
    }

    /// Gives an event to the task's plugin, now or as soon as it has room.
    pub(crate) fn deliver(&mut self, task: TaskIndex, event: Event, payload: &[u8]) {
        let Some(entry) = self.tasks.get(task) else { return };
        let event = Event { task: entry.number, ..event };
        let wall = self.now.saturating_add_signed(self.wall_offset_ns);
        let port = &mut self.ports[entry.port as usize];
        if event.kind == EventKind::Packet && usize::from(event.code) > port.named {
            port.name_interfaces(self.now, wall, &self.interfaces);
        }
        port.put(self.now, wall, event, payload);
    }

    /// Whether the kernel shall stamp the next departures.
    pub(crate) fn is_precise(&self) -> bool {
        match self.config.stamps {
            Stamps::Precise => true,
            Stamps::Interpolated => false,
            Stamps::Auto => !self.recent.is_busy(),
        }
    }

    /// How long not to look at what happens, where there is nothing to do for `limit`: waking for each packet
    /// would cost more than the packet. `None` where the rate is so low that each is looked at, or so high that
    /// there is always something to do.
    fn quantum(&self, limit: Duration) -> Option<Duration> {
        let rate = self.config.packets_per_second;
        if !self.recent.is_busy() || rate >= HIGH_RATE {
            return None;
        }
        // Who waits for the host's rate waits no longer if the tokens of a while are spent together.
        let waiting = self.ready[Class::Probe as usize].len().min(WORTH_WAKING);
        if waiting == 0 || self.recent.is_talking(self.now) {
            return Some(limit.min(Duration::from_nanos(QUANTUM_NS)));
        }
        let until_sent = (waiting as f64 / rate * 1e9) as u64;
        let longest = self.pacer.patience().clamp(QUANTUM_NS, LONGEST_QUANTUM_NS);
        Some(Duration::from_nanos(until_sent.clamp(QUANTUM_NS, longest)))
    }

    fn is_behind(&self) -> bool {
        self.ports.iter().any(|port| port.is_behind(self.now))
    }
}

impl<L: Link> Core<L> {
    pub(crate) fn new(
        mut link: L,
        config: Config,
        seed: u64,
        channels: (Receiver<Command>, Sender<News>, Arc<Mutex<Statistics>>),
        wake: std::os::fd::RawFd,
    ) -> Self {
        let now = link.poll();
        let (commands, outputs, shared) = channels;
        let state = State::new(now, config, seed);
        let (others, wishes) = (Vec::new(), Wishes::default());
        Self {
            link,
            state,
            commands,
            outputs,
            shared,
            others,
            wake,
            wishes,
            has_commands: true,
            is_tidying: false,
            reported: 0,
            stopping: Arc::default(),
        }
    }

    /// Until it is told to end.
    pub(crate) fn run(mut self, clear_wake: impl Fn()) {
        loop {
            clear_wake();
            if !self.turn() {
                break self.say_rest();
            }
            let limit = self.idle_for();
            if limit > Duration::ZERO {
                match self.state.quantum(limit) {
                    Some(quantum) => self.link.rest(quantum),
                    None => self.link.wait(&self.others, limit),
                }
            }
        }
    }

    /// One turn of the loop; false where it was the last.
    pub(crate) fn turn(&mut self) -> bool {
        let now = self.link.poll();
        self.state.now = now;
        self.state.compare_clocks(self.link.wall_of(now));
        self.state.recent.look(now);
        // Before anything times out for want of what was lost.
        self.state.handle_losses(self.link.losses());
        let interfaces = self.link.interfaces();
        if self.state.interfaces.len() < interfaces.len() {
            self.state.interfaces = interfaces.to_vec();
        }
        let goes_on = self.handle_commands();
        let state = &mut self.state;
        // First the departures: an answer may be in the ring already.
        self.link.stamps(&mut |tag, at, stamp| state.stamped(tag, at, stamp));
        if !state.is_behind() {
            self.link.receive(&mut |packet, arrival| state.arrived(packet, arrival));
        }
        state.now = self.link.now();
        state.fire_timers();
        self.open_flows();
        self.exchange();
        self.send();
        self.tell();
        self.is_tidying = self.state.identifiers.tidy(&mut self.link, now);
        self.report();
        goes_on
    }

    fn handle_commands(&mut self) -> bool {
        self.has_commands = true;
        let mut taken = 0;
        while taken < MAX_COMMANDS || self.stopping.load(Ordering::Acquire) {
            taken += 1;
            let command = match self.commands.try_recv() {
                Ok(command) => command,
                Err(TryRecvError::Empty) => {
                    self.has_commands = false;
                    return true;
                }
                Err(TryRecvError::Disconnected) => return false,
            };
            let state = &mut self.state;
            match command {
                Command::AddPort { id, plugin, make, rate } => {
                    state.pacer.limit_plugin(plugin, rate);
                    match make() {
                        Ok(port) => state.ports.push(PortState::new(id, plugin, port)),
                        Err(Lost { reason }) => {
                            state.ports.push(PortState::missing(id, plugin, reason.clone()));
                            let lost = Output::PortLost { port: id, reason };
                            state.news.outputs.extend([lost, Output::PortGone(id)]);
                        }
                    }
                }
                Command::RemovePort(id) => {
                    for port in state.ports.iter_mut().filter(|port| port.id == id) {
                        port.leaving = true;
                    }
                }
                Command::Start(start) => {
                    state.statistics.started += 1;
                    state.start(&start);
                }
                Command::Interrupt(run) => {
                    if let Some(task) = state.runs.get(&run) {
                        state.interrupt(*task);
                    }
                }
                Command::Cancel(run) => state.cancel(run),
                Command::Fail(run, text) => {
                    if let Some(task) = state.runs.get(&run).copied() {
                        state.fail(task, &text);
                    }
                }
                Command::StopPort(id) => state.stop_port(id),
                Command::SetPolicy(policy) => {
                    state.policy = policy;
                    state.policy_version = state.policy_version.wrapping_add(1);
                }
                Command::StopAll => {
                    let runs: Vec<RunId> = state.runs.keys().copied().collect();
                    runs.into_iter().for_each(|run| state.cancel(run));
                    state.hurry_last_words();
                    self.stopping.store(false, Ordering::Release);
                }
                Command::Shutdown => return false,
            }
        }
        true
    }

    fn report(&mut self) {
        let ready: usize = self.state.ready.iter().map(VecDeque::len).sum();
        self.state.statistics.waiting = self.state.unsent.max(ready) as u64;
        if let Ok(mut shared) = self.shared.lock() {
            *shared = self.state.statistics;
        }
        let state = &self.state;
        let waits = state.recent.is_busy()
            && !state.runs.is_empty()
            && state.news.outputs.len() < MUCH_NEWS
            && state.now < self.reported + NEWS_NS;
        if !self.state.news.outputs.is_empty() && !waits {
            self.reported = self.state.now;
            // Nobody listens any more: the end is near, and nothing is left to be said.
            let _ = self.outputs.send(self.state.news.take());
        }
    }

    /// How long there is nothing to do.
    fn idle_for(&mut self) -> Duration {
        let wants_more = |port: &PortState| port.wishes.is_some();
        if self.has_commands || self.is_tidying || self.state.ports.iter().any(wants_more) {
            return Duration::ZERO;
        }
        let state = &self.state;
        let now = self.link.now();
        let mut until = now + LONGEST_WAIT.as_nanos() as u64;
        let wheels = state.ports.iter().map(|port| port.wheel.next());
        if let Some(next) = wheels.chain([state.gates.next()]).flatten().min() {
            until = until.min(next);
        }
        for class in CLASSES {
            if !state.ready[class as usize].is_empty() {
                until = until.min(state.pacer.next(class, now));
            }
        }
        if !state.last_words.is_empty() {
            until = until.min(state.pacer.next(Class::Immediate, now));
        }
        if !state.news.outputs.is_empty() {
            until = until.min(self.reported + NEWS_NS);
        }
        if let Some(put_off) = state.later.front() {
            until = until.min(put_off.again);
        }
        if let Some(opening) = state.opening.front() {
            until = until.min(opening.again);
        }
        let is_behind = state.ports.iter().any(|port| !port.behind.is_empty());
        if is_behind || self.link.is_reading() {
            until = until.min(now + QUANTUM_NS);
        }
        self.others.clear();
        self.others.push(self.wake);
        for port in &state.ports {
            let wake_fds = port.port.wake_fds();
            if wake_fds.is_empty() && port.port.busy() {
                // Nothing else says that its actions wait already.
                until = now;
            }
            self.others.extend(wake_fds);
        }
        Duration::from_nanos(until.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests;
