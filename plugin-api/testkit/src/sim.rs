//! The host's role in virtual time: tasks, flows, timers, time-outs, matching.
//!
//! A simulation polls the same object that a real host polls, with events in the same order; only
//! the clock and the network are made up.

mod actions;
mod arrivals;
mod plugin;
mod task;

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    time::Duration,
};

use sonde_packet::demux::{Demux, FlowId, ProbeId};
use sonde_plugin_api::{
    Method,
    abi::{Event, EventKind, FailKind, InstanceBox, stamp},
    descriptor::{Descriptor, Need},
    params::{ParamError, Params},
};

use self::{
    actions::{Departing, FlowState},
    plugin::Plugin,
    task::Task,
};
use crate::{
    exchange::{Entry, Exchange},
    net::Net,
    random::Random,
    run::{Run, Status},
    words::Numbers,
    world::{BEGIN_UNIX_NS, World},
};

/// What the host's monotonic clock shows when a simulation begins.
const BEGIN_NS: u64 = 1_000_000_000_000;
/// How long identifiers stay reserved, and late answers are counted, after a flow was closed.
const QUARANTINE_NS: u64 = 5_000_000_000;
/// How long a measurement may go on after an interrupt.
const GRACE: Duration = Duration::from_secs(1);
/// After so many steps a simulation stands still: something goes round in circles.
const MOST_STEPS: u64 = 20_000_000;
/// What is due later never happens, in virtual time, ns: a century.
const NEVER_NS: u64 = 100 * 365 * 86_400 * 1_000_000_000;
/// Entries of the exchange that are kept.
const MOST_ENTRIES: usize = 20_000;
/// Virtual time is exact, so both stamps are.
const VIRTUAL: u8 = stamp::VIRTUAL | stamp::VIRTUAL << 4;

/// A measurement in a simulation.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Measurement(usize);

/// A host in virtual time with a network around it.
pub struct Sim {
    world: World,
    demux: Demux,
    plugins: Vec<Plugin>,
    tasks: Vec<Task>,
    flows: BTreeMap<u32, FlowState>,
    /// What is to happen, by time, then by the order in which it was asked for.
    due: BTreeMap<(u64, u64), Due>,
    /// Where in `due` the timer of a task is.
    timers: BTreeMap<(u32, u32), (u64, u64)>,
    /// Packets that wait for their turn.
    paced: VecDeque<Departing>,
    exchange: Exchange,
    random: Random,
    now_ns: u64,
    count: u64,
    steps: u64,
    /// Packets that were handed over for sending.
    handed: u64,
    foreign: u64,
    unsent: Vec<(i32, Numbers)>,
    gap_ns: u64,
    /// Immediate packets wait for their turn as others do.
    paces_all: bool,
    /// Packets of one measurement.
    budget: u64,
    /// Local identifiers handed out so far.
    next_local: u32,
    next_turn_ns: u64,
    grace: Duration,
    most_entries: usize,
    forbidden: Vec<Need>,
}

#[derive(Clone, Copy, Debug)]
enum Due {
    Timer {
        task: u32,
        token: u32,
    },
    /// The time-out of a probe.
    Timeout(ProbeId),
    /// The turn of the next packet that waits.
    Turn,
    /// A flow that was closed some time ago is forgotten.
    Forget(FlowId),
    /// An interrupted measurement has had time enough.
    Grace {
        task: u32,
    },
}

impl Sim {
    /// A network in motion. The same seed gives the same run.
    #[must_use]
    pub fn new(net: Net, seed: u64) -> Self {
        let mut world = World::new(net, seed);
        world.most_notes = MOST_ENTRIES;
        Self {
            world,
            demux: Demux::new(seed),
            plugins: Vec::new(),
            tasks: Vec::new(),
            flows: BTreeMap::new(),
            due: BTreeMap::new(),
            timers: BTreeMap::new(),
            paced: VecDeque::new(),
            exchange: Exchange::default(),
            random: Random::new(seed).split(3),
            now_ns: 0,
            count: 0,
            steps: 0,
            handed: 0,
            foreign: 0,
            unsent: Vec::new(),
            gap_ns: 0,
            paces_all: false,
            budget: u64::MAX,
            next_local: 0,
            next_turn_ns: 0,
            grace: GRACE,
            most_entries: MOST_ENTRIES,
            forbidden: Vec::new(),
        }
    }

    /// As [`Sim::new`], with a plugin that was loaded from a file; its measurements are started
    /// with [`Sim::start_named`].
    #[must_use]
    pub fn with_instance(
        instance: InstanceBox,
        descriptor: Descriptor,
        net: Net,
        seed: u64,
    ) -> Self {
        let mut sim = Self::new(net, seed);
        sim.plugins.push(Plugin::loaded(instance, descriptor));
        sim
    }

    /// The packets with these numbers, from 1 in the order in which they are handed over, are not
    /// sent: the system call says `errno`.
    #[must_use]
    pub fn unsent(mut self, errno: i32, numbers: impl IntoIterator<Item = u64>) -> Self {
        self.unsent.push((errno, numbers.into_iter().collect()));
        self
    }

    /// At most so many packets a second leave, in the order in which they are handed over;
    /// immediate ones do not wait.
    ///
    /// # Panics
    ///
    /// Unless the rate is positive.
    #[must_use]
    #[track_caller]
    pub fn pacing(mut self, packets_per_second: f64) -> Self {
        assert!(packets_per_second > 0.0, "{packets_per_second} packets per second");
        self.gap_ns = (1e9 / packets_per_second) as u64;
        self
    }

    /// As [`Sim::pacing`], and immediate packets wait too, as behind what others of the host want to send.
    #[must_use]
    #[track_caller]
    pub fn pacing_all(mut self, packets_per_second: f64) -> Self {
        self.paces_all = true;
        self.pacing(packets_per_second)
    }

    /// How long a measurement may go on after an interrupt; one second unless said.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// An operator who does not permit this; what methods need or want is permitted unless said.
    #[must_use]
    pub fn forbid(mut self, need: Need) -> Self {
        self.forbidden.push(need);
        self
    }

    /// An operator who lets a measurement send no more packets than these, or the method's own budget.
    #[must_use]
    pub fn budget(mut self, packets: u64) -> Self {
        self.budget = packets;
        self
    }

    /// How many packets and notes of the exchange are kept; 20000 unless said.
    #[must_use]
    pub fn keep_entries(mut self, most: usize) -> Self {
        self.most_entries = most;
        self.world.most_notes = most;
        self
    }

    /// Runs one measurement to its end, and for five seconds more: answers that come too late are
    /// counted.
    #[must_use]
    pub fn run<M: Method>(mut self, params: M::Params) -> Run {
        let measurement = self.start::<M>(params);
        self.finish(measurement)
    }

    /// As [`Sim::run`], of a method by its name, with parameters by flag or element as text.
    ///
    /// # Errors
    ///
    /// Where a parameter is unknown or not acceptable.
    ///
    /// # Panics
    ///
    /// Where there is no such method.
    pub fn run_named<'a>(
        mut self,
        method: &str,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Run, ParamError> {
        let measurement = self.start_named(method, parameters)?;
        Ok(self.finish(measurement))
    }

    /// Starts a measurement; it goes on as virtual time does.
    // Taken by value: a test makes them for this call.
    #[allow(clippy::needless_pass_by_value)]
    pub fn start<M: Method>(&mut self, params: M::Params) -> Measurement {
        let of_method = self.plugins.iter().position(Plugin::is_of::<M>);
        let plugin = of_method.unwrap_or_else(|| {
            self.plugins.push(Plugin::of::<M>());
            self.plugins.len() - 1
        });
        self.start_encoded(plugin, 0, &params.to_bytes())
    }

    /// Starts a measurement of a loaded plugin, as [`Sim::run_named`].
    ///
    /// # Errors
    ///
    /// As [`Sim::run_named`].
    ///
    /// # Panics
    ///
    /// Where there is no such method.
    #[track_caller]
    pub fn start_named<'a>(
        &mut self,
        method: &str,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Measurement, ParamError> {
        let found = self
            .plugins
            .iter()
            .enumerate()
            .find_map(|(plugin, loaded)| loaded.method(method).map(|index| (plugin, index)));
        let Some((plugin, index)) = found else { panic!("no plugin has the method {method}") };
        let described = &self.plugins[plugin].methods[usize::from(index)];
        let encoded = plugin::encode(described, parameters)?;
        Ok(self.start_encoded(plugin, index, &encoded))
    }

    /// Asks a measurement to finish: its parting packets and a short time are left.
    pub fn interrupt(&mut self, measurement: Measurement) {
        let task = measurement.0 as u32;
        let grace_ns = self.grace.as_nanos() as u64;
        let Some(interrupted) = self.tasks.get_mut(measurement.0).filter(|task| task.is_running())
        else {
            return;
        };
        if interrupted.parting_packets.is_some() {
            return;
        }
        interrupted.parting_packets = Some(interrupted.method.parting_packets);
        self.note(format!("measurement {task} is interrupted"));
        self.push(Event { kind: EventKind::Interrupt, task, ..Event::ZERO }, &[]);
        self.report_unqueued(task, None);
        self.at(self.now_ns.saturating_add(grace_ns), Due::Grace { task });
        self.settle();
    }

    /// Lets a measurement go without a word.
    pub fn cancel(&mut self, measurement: Measurement) {
        let failed =
            Status::Failed { kind: FailKind::Interrupted, text: "the host let it go".to_owned() };
        self.let_go(measurement.0 as u32, failed);
        self.settle();
    }

    /// Goes on until this time after the beginning.
    pub fn run_until(&mut self, time: Duration) {
        let until_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.settle();
        while self.next_ns().is_some_and(|next_ns| next_ns <= until_ns) && self.step() {}
        self.now_ns = self.now_ns.max(until_ns);
    }

    /// Goes on until nothing is left to happen.
    pub fn run_to_end(&mut self) {
        self.settle();
        while self.step() {}
    }

    /// Goes on until the measurement is over and for five seconds more; what came of it.
    #[must_use]
    pub fn finish(&mut self, measurement: Measurement) -> Run {
        self.settle();
        while self.tasks[measurement.0].is_running() && self.step() {}
        if let Some(ended_ns) = self.tasks[measurement.0].ended_ns {
            let until_ns = ended_ns + QUARANTINE_NS;
            while self.next_ns().is_some_and(|next_ns| next_ns <= until_ns) && self.step() {}
        }
        self.result(measurement)
    }

    /// What came of a measurement so far.
    #[must_use]
    pub fn result(&self, measurement: Measurement) -> Run {
        let task = &self.tasks[measurement.0];
        let ended_ns = task.ended_ns.unwrap_or(self.now_ns);
        Run {
            status: task.status.clone(),
            stop: task.stop.clone(),
            counters: task.counters,
            foreign: self.foreign,
            logs: task.logs.clone(),
            progress: task.progress,
            method: Rc::clone(&task.method),
            rows: task.rows.clone(),
            wall_offset_ns: i128::from(BEGIN_UNIX_NS) - i128::from(BEGIN_NS),
            took: Duration::from_nanos(ended_ns - task.began_ns),
            exchange: self.exchange.clone(),
        }
    }

    /// Virtual time since the beginning.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.now_ns)
    }

    /// Every packet so far.
    #[must_use]
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    fn start_encoded(&mut self, plugin: usize, method: u16, parameters: &[u8]) -> Measurement {
        let number = self.tasks.len();
        let described = &self.plugins[plugin].methods[usize::from(method)];
        let mut task = Task::new(plugin, Rc::clone(described), self.now_ns);
        task.budget = task.budget.min(self.budget);
        self.tasks.push(task);
        let start = Event {
            kind: EventKind::Start,
            task: number as u32,
            sent: self.random.split(number as u64).next_u64(),
            aux: method,
            ..Event::ZERO
        };
        self.push(start, parameters);
        Measurement(number)
    }

    fn next_ns(&self) -> Option<u64> {
        let own_ns = self.due.first_key_value().map(|((at_ns, _), _)| *at_ns);
        self.world.next_ns().into_iter().chain(own_ns).min()
    }

    /// Lets the next thing happen; false where nothing is left, or too much has happened.
    fn step(&mut self) -> bool {
        let own_ns = self.due.first_key_value().map(|((at_ns, _), _)| *at_ns);
        let world_ns = self.world.next_ns();
        let next_ns = world_ns.into_iter().chain(own_ns).min().filter(|ns| *ns < NEVER_NS);
        let Some(next_ns) = next_ns else { return false };
        self.steps += 1;
        if self.steps > MOST_STEPS {
            self.note("gave up: this goes on for ever".to_owned());
            return false;
        }
        self.now_ns = self.now_ns.max(next_ns);
        // An answer that comes at the very moment of the time-out is in time.
        if world_ns == Some(next_ns) {
            let packet = self.world.step();
            self.take_notes();
            if let Some(packet) = packet {
                self.receive(packet);
            }
        } else if let Some((_, due)) = self.due.pop_first() {
            self.handle_due(due);
        }
        self.settle();
        true
    }

    fn handle_due(&mut self, due: Due) {
        match due {
            Due::Timer { task, token } => {
                self.timers.remove(&(task, token));
                self.push(Event { kind: EventKind::Timer, task, token, ..Event::ZERO }, &[]);
            }
            Due::Timeout(probe) => {
                let Some(expired) = self.demux.expire(probe) else { return };
                if self.flows.get(&expired.flow.0).is_some_and(|flow| flow.is_open) {
                    let timeout = Event {
                        kind: EventKind::Timeout,
                        task: expired.owner,
                        token: expired.token,
                        flow: expired.flow.0,
                        sent: expired.departure.at,
                        stamps: VIRTUAL,
                        ..Event::ZERO
                    };
                    self.push(timeout, &[]);
                }
            }
            Due::Turn => {
                if let Some(departing) = self.paced.pop_front() {
                    self.depart(departing);
                }
            }
            Due::Forget(flow) => {
                self.flows.remove(&flow.0);
                self.demux.close(flow);
            }
            Due::Grace { task } => {
                let text = "was interrupted and did not finish in time".to_owned();
                self.let_go(task, Status::Failed { kind: FailKind::Interrupted, text });
            }
        }
    }

    /// Hands all events over that wait, and does what the tasks want, until nobody wants anything.
    fn settle(&mut self) {
        while let Some(plugin) = self.plugins.iter().position(Plugin::has_events) {
            self.steps += 1;
            if self.steps > MOST_STEPS {
                return;
            }
            let wall_ns = BEGIN_UNIX_NS + self.now_ns;
            let out = self.plugins[plugin].poll(BEGIN_NS + self.now_ns, wall_ns);
            self.act(plugin, &out);
        }
    }

    fn push(&mut self, mut event: Event, payload: &[u8]) {
        let Some(task) = self.tasks.get(event.task as usize) else { return };
        if task.is_running() || event.kind == EventKind::Drop {
            event.at = BEGIN_NS + self.now_ns;
            self.plugins[task.plugin].push(event, payload);
        }
    }

    fn at(&mut self, at_ns: u64, due: Due) -> (u64, u64) {
        self.count += 1;
        let key = (at_ns.max(self.now_ns), self.count);
        self.due.insert(key, due);
        key
    }

    /// Ends a task that did not end itself.
    fn let_go(&mut self, task: u32, status: Status) {
        if self.tasks.get(task as usize).is_some_and(Task::is_running) {
            self.end(task, status);
            self.push(Event { kind: EventKind::Drop, task, ..Event::ZERO }, &[]);
        }
    }

    fn record(&mut self, entry: impl FnOnce() -> Entry) {
        self.exchange.add(self.now_ns, self.most_entries, entry);
    }

    fn note(&mut self, text: String) {
        self.record(|| Entry::Note(text));
    }

    fn take_notes(&mut self) {
        for note in self.world.take_notes() {
            self.exchange.add(note.at_ns, self.most_entries, || Entry::Note(note.text));
        }
    }
}

#[cfg(test)]
mod tests;
