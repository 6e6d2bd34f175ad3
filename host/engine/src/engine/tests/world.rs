//! A link and a plugin that do what a test says, and a bench to put the core on.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::IpAddr,
    os::fd::RawFd,
    sync::{Arc, Mutex, MutexGuard, atomic::Ordering, mpsc},
    time::Duration,
};

use sonde_packet::{Ip, Key, Packet, Payload, Permits, Protocol, Transport, mapped};
use sonde_plugin_api::{
    abi::{Action, ActionKind, Event, EventKind, FlowInfo, FlowSpecRaw, Proto, Usage, stamp},
    port::{Lost, Port},
};

use crate::{
    config::{Config, Limits, Rate, Stamps},
    engine::{Command, Core},
    link::{Arrival, Held, Link},
    output::{Ended, News, Output, PortId, RunId, Start},
    pacing::Pacer,
    ports::PortState,
    route::{Lookup, Query, Route},
    sys::{Departure, Egress, Full},
};

pub(super) const LOCAL: &str = "192.0.2.1";
pub(super) const REMOTE: &str = "198.51.100.9";
pub(super) const MS: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000_000_000;
/// When everything begins.
pub(super) const EPOCH: u64 = 100 * SECOND;
/// Wall time minus monotonic time.
const WALL_OFFSET: u64 = 1_700_000_000 * SECOND;

/// A packet that left.
#[derive(Clone, Debug)]
pub(super) struct Left {
    pub(super) at: u64,
    pub(super) tag: u64,
    pub(super) precise: bool,
    pub(super) packet: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct FakeLink {
    pub(super) now: u64,
    /// By how much the wall clock was set.
    pub(super) wall_step: i64,
    /// What is not here is reached at once.
    pub(super) lookups: HashMap<IpAddr, Lookup>,
    /// How often a way was asked for.
    pub(super) looked_up: usize,
    /// Neighbours that have to be asked for and answer at once, and when they were.
    pub(super) strangers: BTreeSet<IpAddr>,
    pub(super) asked: Vec<(u64, IpAddr)>,
    /// There is no room to ask for any.
    pub(super) is_full: bool,
    pub(super) broadcast: Option<IpAddr>,
    /// What it is now, instead of `LOCAL`.
    pub(super) address: Option<IpAddr>,
    /// What the kernel says of the next packets; then it takes all, or says `always`.
    pub(super) results: VecDeque<Result<(), i32>>,
    pub(super) always: Option<i32>,
    /// How long a packet of a batch takes to leave.
    pub(super) lag: u64,
    pub(super) attempts: usize,
    pub(super) left: Vec<Left>,
    batch: Vec<(Vec<u8>, u64, bool)>,
    pub(super) arrivals: VecDeque<(Vec<u8>, Arrival)>,
    pub(super) stamps: VecDeque<(u64, u64, u8)>,
    pub(super) held: BTreeSet<u16>,
    pub(super) interfaces: Vec<Box<str>>,
    /// Packets that it had no room for.
    pub(super) drops: u64,
    pub(super) is_reading: bool,
    next_port: u16,
}

impl Link for FakeLink {
    type Hold = u16;

    fn poll(&mut self) -> u64 {
        self.now
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn wall_of(&self, at: u64) -> u64 {
        (at + WALL_OFFSET).saturating_add_signed(self.wall_step)
    }

    fn lookup(&mut self, now: u64, query: &Query, may_ask: &mut dyn FnMut() -> bool) -> Lookup {
        self.looked_up += 1;
        if self.strangers.contains(&query.destination) {
            if !may_ask() || self.is_full {
                return Lookup::Unasked;
            }
            self.strangers.remove(&query.destination);
            self.asked.push((now, query.destination));
        }
        self.lookups.get(&query.destination).copied().unwrap_or(Lookup::Ready(Route {
            interface: 2,
            source: self.address.unwrap_or(LOCAL.parse().unwrap()),
            next_hop: query.destination,
            mtu: 1500,
            egress: Egress::Raw { interface: 2 },
        }))
    }

    fn interfaces(&self) -> &[Box<str>] {
        &self.interfaces
    }

    fn is_local(&self, address: IpAddr) -> bool {
        address == self.address.unwrap_or(LOCAL.parse().unwrap())
    }

    fn is_broadcast(&self, address: IpAddr) -> bool {
        self.broadcast == Some(address)
    }

    fn hold(&mut self, _protocol: Protocol, port: Option<u16>, quiet: bool) -> Held<u16> {
        port.map_or(Ok(()), |port| self.check_hold(&port, quiet))?;
        let port = port.unwrap_or_else(|| {
            self.next_port += 1;
            40_000 + self.next_port
        });
        match self.held.insert(port) {
            true => Ok((port, port)),
            false => Err((libc::EADDRINUSE, format!("port {port} is in use"))),
        }
    }

    /// As for a program without privileges.
    fn check_hold(&self, port: &u16, quiet: bool) -> Result<(), (i32, String)> {
        match quiet && *port < 1024 {
            true => Err((libc::EADDRINUSE, format!("port {port} is reserved"))),
            false => Ok(()),
        }
    }

    fn release(&mut self, hold: u16) {
        assert!(self.held.remove(&hold), "port {hold} is released twice");
    }

    fn queue(&mut self, _: Egress, packet: &[u8], tag: u64, precise: bool) -> Result<(), Full> {
        if self.batch.len() == 16 {
            return Err(Full);
        }
        self.batch.push((packet.to_vec(), tag, precise));
        Ok(())
    }

    fn flush(&mut self, sink: &mut dyn FnMut(u64, Result<Departure, i32>)) {
        for (packet, tag, precise) in self.batch.drain(..) {
            self.attempts += 1;
            let otherwise = self.always.map_or(Ok(()), Err);
            if let Err(errno) = self.results.pop_front().unwrap_or(otherwise) {
                sink(tag, Err(errno));
                continue;
            }
            let at = self.now + self.lag;
            self.left.push(Left { at, tag, precise, packet });
            sink(tag, Ok(Departure { at, uncertainty: 1_200 }));
        }
    }

    fn receive(&mut self, sink: &mut dyn FnMut(&[u8], &Arrival)) {
        self.arrivals.drain(..).for_each(|(packet, arrival)| sink(&packet, &arrival));
    }

    fn stamps(&mut self, sink: &mut dyn FnMut(u64, u64, u8)) {
        self.stamps.drain(..).for_each(|(tag, at, source)| sink(tag, at, source));
    }

    fn wait(&mut self, _others: &[RawFd], _limit: Duration) {}

    fn rest(&mut self, time: Duration) {
        self.now += time.as_nanos() as u64;
    }

    fn is_reading(&self) -> bool {
        self.is_reading
    }

    fn losses(&mut self) -> (u64, u64) {
        (self.drops, 0)
    }
}

/// What a plugin was told and what it says.
#[derive(Debug, Default)]
pub(super) struct Script {
    filling: Vec<(Event, Vec<u8>)>,
    told: Vec<(Event, Vec<u8>)>,
    actions: Vec<(Vec<Action>, Vec<u8>)>,
    /// Events that a batch holds; none where there is no limit.
    pub(super) room: Option<usize>,
    pub(super) lost: Option<String>,
    /// The task that it was at then.
    pub(super) lost_at: Option<u32>,
    pub(super) down: Option<String>,
    pub(super) busy: bool,
    /// Why it was started again.
    pub(super) restarts: Vec<String>,
    /// It cannot be ended by itself.
    pub(super) is_inline: bool,
}

/// The test's end of a plugin.
#[derive(Clone, Debug)]
pub(super) struct Plugin {
    pub(super) id: PortId,
    script: Arc<Mutex<Script>>,
}

struct FakePort(Arc<Mutex<Script>>);

impl Port for FakePort {
    fn push(&mut self, event: &Event, payload: &[u8]) -> bool {
        let mut script = self.0.lock().unwrap();
        let has_room = script.room.is_none_or(|room| script.filling.len() < room);
        if has_room {
            script.filling.push((*event, payload.to_vec()));
        }
        has_room
    }

    fn flush(&mut self, _now: u64, _wall: u64) {
        let mut script = self.0.lock().unwrap();
        // As a worker that has not answered the last batch yet.
        if script.room.is_none() || script.told.is_empty() {
            let filling = std::mem::take(&mut script.filling);
            script.told.extend(filling);
        }
    }

    fn collect(&mut self, sink: &mut dyn FnMut(&[Action], &[u8])) -> Result<(), Lost> {
        let mut script = self.0.lock().unwrap();
        let (batches, lost) = (std::mem::take(&mut script.actions), script.lost.take());
        drop(script);
        batches.iter().for_each(|(actions, bytes)| sink(actions, bytes));
        lost.map_or(Ok(()), |reason| Err(Lost { reason }))
    }

    fn lost_at(&self) -> Option<u32> {
        self.0.lock().unwrap().lost_at
    }

    fn ready(&mut self) -> Result<(), Lost> {
        let down = self.0.lock().unwrap().down.clone();
        down.map_or(Ok(()), |reason| Err(Lost { reason }))
    }

    fn restart(&mut self, reason: &str) -> bool {
        let mut script = self.0.lock().unwrap();
        script.restarts.push(reason.to_owned());
        script.filling.clear();
        script.room = None;
        !script.is_inline
    }

    fn wake_fds(&self) -> Vec<RawFd> {
        Vec::new()
    }

    fn busy(&self) -> bool {
        self.0.lock().unwrap().busy
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }
}

impl Plugin {
    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// What it was told since it was last asked.
    pub(super) fn told(&self) -> Vec<(Event, Vec<u8>)> {
        std::mem::take(&mut self.script().told)
    }

    /// As `told`, without what does not matter.
    pub(super) fn told_of(&self, kind: EventKind) -> Vec<Event> {
        let told = self.told().into_iter().map(|(event, _)| event);
        told.filter(|event| event.kind == kind).collect()
    }

    pub(super) fn wants(&self, action: Action, payload: &[u8]) {
        let action = Action { off: 0, len: payload.len() as u32, ..action };
        self.wants_all(vec![action], payload.to_vec());
    }

    /// One batch, whatever it points to.
    pub(super) fn wants_all(&self, actions: Vec<Action>, bytes: Vec<u8>) {
        self.script().actions.push((actions, bytes));
    }

    pub(super) fn sends(&self, task: u32, flow: u32, token: u32, timeout: u64, packet: &[u8]) {
        let kind = ActionKind::Send;
        self.wants(Action { kind, task, flow, token, arg: timeout, ..Action::ZERO }, packet);
    }

    pub(super) fn finishes(&self, task: u32) {
        self.wants(Action { kind: ActionKind::Finish, task, ..Action::ZERO }, b"");
    }
}

/// The core, and both ends of everything it is connected to.
pub(super) struct Bench {
    pub(super) core: Core<FakeLink>,
    commands: mpsc::Sender<Command>,
    outputs: mpsc::Receiver<News>,
    ports: u32,
    /// What is permitted to runs that begin.
    pub(super) permits: Permits,
    /// Whether the rows of runs that begin are kept.
    pub(super) keeps_rows: bool,
    /// Number of the one that packets come in by.
    pub(super) interface: u8,
}

impl Bench {
    /// So fast that nothing waits for the pacer.
    pub(super) fn new() -> Self {
        let mut bench = Self::with(1_000_000.0, Stamps::Interpolated);
        bench.core.state.pacer = Pacer::new(1_000_000.0, &Limits::NONE, EPOCH - 10 * MS);
        bench
    }

    pub(super) fn with(packets_per_second: f64, stamps: Stamps) -> Self {
        Self::of(Config { packets_per_second, limits: Limits::NONE, stamps })
    }

    pub(super) fn of(config: Config) -> Self {
        let (commands, received) = mpsc::channel();
        let (sent, outputs) = mpsc::channel();
        let link = FakeLink { now: EPOCH, ..FakeLink::default() };
        let channels = (received, sent, Arc::default());
        let core = Core::new(link, config, 42, channels, -1);
        let permits = Permits::default();
        Self { core, commands, outputs, ports: 0, permits, keeps_rows: true, interface: 0 }
    }

    pub(super) fn plugin(&mut self) -> Plugin {
        self.limited_plugin(None)
    }

    /// With a rate of its own.
    pub(super) fn limited_plugin(&mut self, rate: Option<Rate>) -> Plugin {
        self.version_of(self.ports, rate)
    }

    /// One more version of the plugin with that number.
    pub(super) fn version_of(&mut self, plugin: u32, rate: Option<Rate>) -> Plugin {
        let version = Plugin { id: PortId(self.ports), script: Arc::default() };
        self.ports += 1;
        let script = Arc::clone(&version.script);
        let make = Box::new(move || Ok(Box::new(FakePort(script)) as Box<dyn Port>));
        self.tell(Command::AddPort { id: version.id, plugin, make, rate });
        version
    }

    pub(super) fn tell(&mut self, command: Command) {
        self.commands.send(command).unwrap();
    }

    pub(super) fn start(&mut self, plugin: &Plugin, run: u64, budget: Option<u64>) {
        let start = Start {
            run: RunId(run),
            port: plugin.id,
            method: 0,
            params: b"parameters".to_vec().into(),
            parting_packets: 2,
            client: 0,
            packet_budget: budget,
            permits: self.permits,
            keeps_rows: self.keeps_rows,
        };
        self.tell(Command::Start(start));
    }

    /// Starts a run; the number that the plugin knows it by.
    pub(super) fn started(&mut self, plugin: &Plugin, run: u64) -> u32 {
        self.start(plugin, run, None);
        self.turn();
        plugin.told_of(EventKind::Start)[0].task
    }

    /// A turn, and those that follow at once because a plugin wants more than fits in one.
    pub(super) fn turn(&mut self) {
        self.turns();
    }

    /// As `turn`; how many there were.
    pub(super) fn turns(&mut self) -> usize {
        self.one_turn();
        let mut turns = 1;
        while self.wants_more() {
            self.one_turn();
            turns += 1;
        }
        turns
    }

    /// One turn, whatever is left for the next.
    pub(super) fn one_turn(&mut self) {
        assert!(self.core.turn());
    }

    fn wants_more(&self) -> bool {
        let now = self.core.link.now;
        let is_due = |port: &PortState| port.wheel.next().is_some_and(|at| at <= now);
        self.core.state.ports.iter().any(|port| port.wishes.is_some() || is_due(port))
    }

    /// The next turn, so much later.
    pub(super) fn after(&mut self, pause: u64) {
        self.core.link.now += pause;
        self.turn();
    }

    /// Turns of a millisecond each.
    pub(super) fn pass(&mut self, time: u64) {
        for _ in 0..time / MS {
            self.after(MS);
        }
    }

    /// Opens a flow; its number and what the host chose.
    pub(super) fn opened(&mut self, plugin: &Plugin, task: u32, spec: FlowSpecRaw) -> (u32, u16) {
        plugin.wants(Action { task, token: 900, ..OPEN }, &spec.to_octets());
        self.turn();
        self.turn();
        let told = plugin.told();
        let (event, payload) = told.iter().find(|(it, _)| it.kind == EventKind::FlowOpen).unwrap();
        assert_eq!((event.code, event.token, event.task), (0, 900, task));
        (event.flow, FlowInfo::from_octets(payload).unwrap().local)
    }

    pub(super) fn receives(&mut self, packet: Vec<u8>) {
        self.receives_merged(packet, 0);
    }

    pub(super) fn receives_merged(&mut self, packet: Vec<u8>, merged_octets: u16) {
        let (at, stamp) = (self.core.link.now, stamp::KERNEL);
        let arrival = Arrival {
            at,
            stamp,
            checksum_not_ready: false,
            merged_octets,
            interface: self.interface,
        };
        self.core.link.arrivals.push_back((packet, arrival));
    }

    pub(super) fn outputs(&mut self) -> Vec<Output> {
        let news: Vec<_> = self.outputs.try_iter().collect();
        let passing = news.iter().map(|news| news.passing).sum();
        self.core.state.passing.fetch_sub(passing, Ordering::Relaxed);
        news.into_iter().flat_map(|news| news.outputs).collect()
    }

    pub(super) fn ended(&mut self) -> Vec<Ended> {
        let outputs = self.outputs().into_iter();
        let ended = outputs.filter_map(|output| match output {
            Output::Ended(ended) => Some(*ended),
            _ => None,
        });
        ended.collect()
    }
}

/// To open a flow.
pub(super) const OPEN: Action = Action { kind: ActionKind::OpenFlow, ..Action::ZERO };

pub(super) fn flow(proto: Proto, peer: &str, local: u16) -> FlowSpecRaw {
    let key = match proto {
        Proto::Icmp => Key::IcmpSequence,
        Proto::Tcp => Key::TcpSequence,
        _ => Key::UdpChecksum,
    };
    FlowSpecRaw {
        proto,
        key: key.number().0,
        flags: 0,
        tos: 0,
        local,
        reserved: 0,
        peer: mapped(peer.parse().unwrap()),
        source: [0; 16],
        gateway: [0; 16],
    }
}

pub(super) fn ping(local: u16) -> FlowSpecRaw {
    flow(Proto::Icmp, REMOTE, local)
}

pub(super) fn packet(from: &str, to: &str, transport: Transport<'_>, octets: usize) -> Vec<u8> {
    let ip = Ip { ttl: 57, ..Ip::plain(from.parse().unwrap(), to.parse().unwrap()) };
    let payload = Payload::Zeros(octets);
    Packet { ip, transport, payload, checksum: None }.to_vec().unwrap()
}

pub(super) fn echo(identifier: u16, sequence: u16) -> Vec<u8> {
    packet(LOCAL, REMOTE, Transport::Echo { identifier, sequence }, 8)
}

pub(super) fn reply(identifier: u16, sequence: u16) -> Vec<u8> {
    let ([a, b], [c, d]) = (identifier.to_be_bytes(), sequence.to_be_bytes());
    packet(REMOTE, LOCAL, Transport::Icmp { kind: 0, code: 0, rest: [a, b, c, d] }, 8)
}

/// As many of an action, told by their tokens.
pub(super) fn many(action: Action, count: u32) -> Vec<Action> {
    (0..count).map(|token| Action { token, ..action }).collect()
}
