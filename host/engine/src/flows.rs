//! Opening and closing flows: the way there, an identifier of our own, and the kernel kept out.

use std::net::IpAddr;

use sonde_packet::{
    FlowKey, Key, Protocol,
    demux::{Flow, FlowId},
    mapped, unmapped,
};
use sonde_plugin_api::abi::{Event, EventKind, FlowInfo, FlowSpecRaw, Proto, flags};

use crate::{
    asks::{may_ask, scope_of},
    engine::{Core, State},
    exchange::{LOOKED_THROUGH, MAX_WORK, SOCKET_WORK},
    link::Link,
    pacing::QUANTUM_NS,
    policy::check_peer,
    route::{Lookup, Query, Route},
    tasks::{FlowState, TaskIndex, is_of_this_host},
};

/// How long a neighbour may take to answer for itself.
const RESOLVE_NS: u64 = 3_000_000_000;
/// How long an identifier that was asked for may be in use or in quarantine.
const BUSY_NS: u64 = 6_000_000_000;
/// Flows that a task may have at a time; each with a port holds a descriptor of the host.
const MAX_FLOWS: usize = 1024;
/// Attempts to find an identifier that is free.
const ATTEMPTS: u32 = 64;

/// A flow that is not open yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    task: TaskIndex,
    generation: u32,
    token: u32,
    spec: FlowSpecRaw,
    asked: u64,
    /// When it is tried again.
    pub(crate) again: u64,
}

/// What came of an attempt to open a flow.
enum Attempt {
    Opened(FlowId, FlowInfo),
    Later,
    /// It is not its turn to ask for a neighbour.
    Held,
    Refused(Refused),
}

/// Why a flow is not opened.
struct Refused {
    errno: i32,
    text: String,
    is_policy: bool,
}

impl Refused {
    fn kernel(errno: i32, query: &Query) -> Attempt {
        let what = std::io::Error::from_raw_os_error(errno);
        let text = match query.gateway {
            Some(gateway) => format!("through {gateway}: {what}"),
            None => what.to_string(),
        };
        Attempt::Refused(Self { errno, text, is_policy: false })
    }

    fn because(errno: i32, text: impl Into<String>) -> Attempt {
        Attempt::Refused(Self { errno, text: text.into(), is_policy: false })
    }
}

impl<H> State<H> {
    /// Whether `flow` is one of the task's.
    pub(crate) fn owns(&self, task: TaskIndex, flow: FlowId) -> bool {
        let state = self.flows.get(flow.0 as usize).and_then(Option::as_ref);
        state.is_some_and(|flow| flow.task == task)
    }

    /// Forgets a flow; its identifier rests.
    pub(crate) fn close_flow(&mut self, flow: FlowId) {
        let waiting = self.demux.flow(flow).map_or(0, Flow::waiting);
        self.demux.close(flow);
        if let Some(mut state) = self.flows.get_mut(flow.0 as usize).and_then(Option::take) {
            self.end_waiting(state.task, waiting);
            self.work += 1 + waiting as usize / LOOKED_THROUGH;
            let owner = self.port_of(state.task).map_or(0, |port| port.plugin);
            self.identifiers.retire(owner, state.key, state.has_port, self.now);
            let lanes =
                || state.lanes.iter().flat_map(|lanes| lanes.iter().flat_map(|lane| &lane.packets));
            let (packets, octets) =
                (lanes().count(), lanes().map(|waiting| waiting.packet.len()).sum());
            if let Some(port) = self.port_of(state.task) {
                port.queued.leave(packets, octets);
            }
            if let Some(packet) = state.last_word.take() {
                self.end_with(packet, state);
            }
        }
    }

    fn add_flow(&mut self, task: TaskIndex, id: FlowId, state: FlowState) {
        let at = id.0 as usize;
        if self.flows.len() <= at {
            self.flows.resize_with(at + 1, || None);
        }
        if let Some(entry) = self.tasks.get_mut(task) {
            entry.flows.push(id);
            entry.source.get_or_insert(state.source());
        }
        self.flows[at] = Some(state);
    }
}

impl<L: Link> Core<L> {
    /// A task wants a flow.
    pub(crate) fn open_flow(&mut self, task: TaskIndex, token: u32, payload: &[u8]) {
        let Some(spec) = FlowSpecRaw::from_octets(payload) else {
            return self.fail(task, "the plugin described a flow with too few octets");
        };
        let generation = self.state.tasks.generation(task);
        let Some(entry) = self.state.tasks.get_mut(task) else { return };
        if entry.flows.len() + entry.opening >= MAX_FLOWS {
            return self.fail(task, &format!("it has {MAX_FLOWS} flows already"));
        }
        entry.opening += 1;
        let port = entry.port;
        self.state.ports[port as usize].kept.flows += 1;
        if !self.is_within_bounds(port, task) {
            return;
        }
        let asked = self.state.now;
        let opening = Opening { task, generation, token, spec, asked, again: asked };
        self.try_open(opening);
    }

    /// Tries those again whose time has come, as many as fit in a turn.
    pub(crate) fn open_flows(&mut self) {
        self.state.work = 0;
        let now = self.state.now;
        while self.state.work < MAX_WORK
            && let Some(opening) = self.state.opening.pop_front_if(|it| it.again <= now)
        {
            self.state.work += 1;
            let is_there = self.state.tasks.generation(opening.task) == opening.generation;
            if is_there && self.state.tasks.get(opening.task).is_some() {
                self.try_open(opening);
            }
        }
    }

    /// A task gives up a flow.
    pub(crate) fn handle_close(&mut self, task: TaskIndex, flow: FlowId) {
        if self.state.owns(task, flow) {
            // What is in the batch belongs to it and goes first; what waits for the pacer stays.
            self.flush_of(task);
            self.state.leave_unsent(task, Some(flow));
            if let Some(entry) = self.state.tasks.get_mut(task) {
                entry.flows.retain(|open| *open != flow);
                self.state.ports[entry.port as usize].kept.flows -= 1;
            }
            self.state.close_flow(flow);
        }
    }

    fn try_open(&mut self, opening: Opening) {
        let Opening { task, token, .. } = opening;
        let attempt = self.attempt(&opening);
        if !matches!(attempt, Attempt::Later | Attempt::Held)
            && let Some(entry) = self.state.tasks.get_mut(task)
        {
            entry.opening -= 1;
        }
        match attempt {
            Attempt::Later => {
                let again = self.state.now + QUANTUM_NS;
                self.state.opening.push_back(Opening { again, ..opening });
            }
            Attempt::Held => {
                let (asked, again) = (self.state.now, self.state.now + QUANTUM_NS);
                self.state.opening.push_back(Opening { asked, again, ..opening });
            }
            Attempt::Opened(flow, info) => {
                let now = self.state.now;
                let kind = EventKind::FlowOpen;
                let event = Event { kind, token, flow: flow.0, at: now, ..Event::ZERO };
                self.state.deliver(task, event, &info.to_octets());
            }
            Attempt::Refused(refused) => {
                if let Some(entry) = self.state.tasks.get_mut(task) {
                    entry.refused |= refused.is_policy;
                    entry.unable |= is_of_this_host(refused.errno);
                    self.state.ports[entry.port as usize].kept.flows -= 1;
                }
                let event = Event {
                    kind: EventKind::FlowOpen,
                    token,
                    code: u8::try_from(refused.errno).unwrap_or(u8::MAX),
                    flags: if refused.is_policy { flags::REFUSED } else { 0 },
                    at: self.state.now,
                    ..Event::ZERO
                };
                self.state.deliver(task, event, refused.text.as_bytes());
            }
        }
    }

    fn attempt(&mut self, opening: &Opening) -> Attempt {
        let spec = &opening.spec;
        let now = self.state.now;
        let peer = unmapped(spec.peer);
        let permitted = check_peer(peer, self.link.is_broadcast(peer))
            .and_then(|()| self.state.policy.check(peer));
        if let Err(refusal) = permitted {
            let (errno, text) = (refusal.errno(), refusal.to_string());
            return Attempt::Refused(Refused { errno, text, is_policy: true });
        }
        let Some(protocol) = protocol_of(spec.proto) else {
            return Refused::because(libc::EPROTONOSUPPORT, "flows are icmp, tcp or udp");
        };
        let given = |octets: [u8; 16]| Some(unmapped(octets)).filter(|it| !it.is_unspecified());
        let (source, gateway) = (given(spec.source), given(spec.gateway));
        if let Some(source) = source {
            if source.is_ipv4() != peer.is_ipv4() {
                return Refused::because(
                    libc::EINVAL,
                    format!("{source} and {peer} are of different families"),
                );
            }
            if !self.link.is_local(source) {
                let text = format!("{source} is no address of this host");
                return Refused::because(libc::EADDRNOTAVAIL, text);
            }
        }
        // RFC 1122, section 3.2.1.3; RFC 4291, section 2.5.3.
        let inner = [Some(peer), source].into_iter().flatten().find(IpAddr::is_loopback);
        if let Some(inner) = inner
            && (gateway.is_some() || !(peer.is_loopback() || self.link.is_local(peer)))
        {
            return Refused::because(libc::EINVAL, format!("{inner} does not leave this host"));
        }
        let (destination, tos) = (peer, spec.tos);
        let query = Query { destination, source, gateway, tos, protocol: Some(protocol) };
        let State { tasks, ports, pacer, .. } = &mut self.state;
        let neighbour = gateway.unwrap_or(peer);
        let Some(scope) = scope_of(tasks, ports, opening.task, neighbour) else {
            return Refused::because(libc::ECANCELED, "its measurement is over");
        };
        let mut asks = false;
        let found = self.link.lookup(now, &query, &mut || {
            asks = may_ask(pacer, ports, scope, now);
            asks
        });
        if found == Lookup::Unasked && asks {
            pacer.give_back_ask(&scope.1);
        }
        match found {
            Lookup::Ready(route) => self.identify(opening, query, &route, protocol),
            Lookup::Unasked => Attempt::Held,
            Lookup::Pending if now - opening.asked < RESOLVE_NS => Attempt::Later,
            Lookup::Pending => Refused::kernel(libc::EHOSTUNREACH, &query),
            Lookup::Unreachable(errno) => Refused::kernel(errno, &query),
        }
    }

    /// Whether the address that the flow sends from is still this machine's.
    pub(crate) fn has_source(&self, flow: &FlowState, route: &Route) -> bool {
        let source = flow.source();
        // What the kernel has chosen just now is.
        !flow.has_chosen_source && route.source == source || self.link.is_local(source)
    }

    /// Finds a local identifier, and opens the flow.
    fn identify(
        &mut self,
        opening: &Opening,
        query: Query,
        route: &Route,
        protocol: Protocol,
    ) -> Attempt {
        let spec = &opening.spec;
        let now = self.state.now;
        let has_port = protocol != Protocol::Icmp;
        let wanted = Some(spec.local).filter(|local| *local != 0);
        let hear_all = spec.flags & flags::HEAR_ALL != 0;
        let quiet = spec.flags & flags::QUIET_KERNEL != 0;
        for _ in 0..ATTEMPTS {
            let local = if has_port {
                let state = &mut self.state;
                state.work += SOCKET_WORK;
                let plugin = state.port_of(opening.task).map_or(u32::MAX, |port| port.plugin);
                match state.identifiers.take_port(&mut self.link, plugin, protocol, wanted, quiet) {
                    Ok(port) => port,
                    Err((errno, text)) => return Refused::because(errno, text),
                }
            } else {
                wanted.unwrap_or((self.state.identifiers.random() as u16).max(1))
            };
            let key = FlowKey::new(protocol, route.source, query.destination, local);
            // Who repeats a measurement with a number of their own wants it on time. Late answers are still told by what
            // nobody chose; a conversation would hear the end of the one before.
            let is_free = wanted.is_some() && !hear_all
                || self.state.identifiers.quarantined(&key, now).is_none();
            let field = Key::from_number(spec.key, spec.reserved);
            let opened = is_free
                .then(|| self.state.demux.open(key, field, opening.task, hear_all).ok())
                .flatten();
            if let Some(id) = opened {
                self.state.serial = self.state.serial.wrapping_add(1);
                let flow = FlowState {
                    task: opening.task,
                    key,
                    gateway: query.gateway,
                    tos: query.tos,
                    has_chosen_source: query.source.is_some(),
                    mtu: route.mtu,
                    has_port,
                    serial: self.state.serial,
                    permitted: (self.state.policy_version, true),
                    lanes: None,
                    last_word: None,
                };
                self.state.add_flow(opening.task, id, flow);
                let (source, mtu) = (mapped(route.source), route.mtu);
                return Attempt::Opened(id, FlowInfo { source, local, reserved: 0, mtu });
            }
            if has_port {
                self.state.identifiers.give_back(&mut self.link, protocol, local);
            }
            if wanted.is_some() {
                // Somebody measures with it, or has just done so.
                if now - opening.asked < BUSY_NS {
                    return Attempt::Later;
                }
                break;
            }
        }
        let what = if has_port { "port" } else { "identifier" };
        let text =
            format!("{what} {}: another measurement of {} uses it", spec.local, query.destination);
        Refused::because(libc::EADDRINUSE, text)
    }
}

fn protocol_of(proto: Proto) -> Option<Protocol> {
    match proto {
        Proto::Icmp => Some(Protocol::Icmp),
        Proto::Tcp => Some(Protocol::Tcp),
        Proto::Udp => Some(Protocol::Udp),
        _ => None,
    }
}
