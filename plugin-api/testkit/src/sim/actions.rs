//! What the tasks want, checked and done.

use std::net::IpAddr;

use sonde_packet::{
    FlowKey, Key, NotOwn, Permits, Protocol, check_own,
    demux::{Departure, FlowId},
    unmapped,
};
use sonde_plugin_api::{
    abi::{
        Action, ActionKind, Event, EventKind, FailKind, FlowInfo, FlowSpecRaw, NO_TOKEN, Out,
        flags, stamp,
    },
    descriptor::Need,
};

use super::{BEGIN_NS, Due, QUARANTINE_NS, Sim, VIRTUAL};
use crate::{
    exchange::Entry,
    run::{LogLine, Status},
};

const EPERM: u8 = 1;
const EINVAL: u8 = 22;
const EMSGSIZE: u8 = 90;
const EPROTONOSUPPORT: u8 = 93;
const EADDRINUSE: u8 = 98;
const EADDRNOTAVAIL: u8 = 99;
const ENETUNREACH: u8 = 101;
const EHOSTUNREACH: u8 = 113;
const EDQUOT: u8 = 122;
const ECANCELED: u8 = 125;

/// Local identifiers that are handed out, as Linux does.
const FIRST_LOCAL: u16 = 32_768;
const LOCALS: u64 = 28_232;

/// A flow of a task.
#[derive(Debug)]
pub(super) struct FlowState {
    task: u32,
    source: IpAddr,
    peer: IpAddr,
    local: u16,
    proto: Protocol,
    mtu: usize,
    /// Neighbour that its packets go through, where the route does not decide.
    gateway: Option<IpAddr>,
    pub(super) hears_all: bool,
    /// False once its task gave it up; late answers are counted for a while.
    pub(super) is_open: bool,
    /// What is sent when it ends.
    last_word: Option<(Action, Vec<u8>)>,
}

/// A packet that may leave.
#[derive(Debug)]
pub(super) struct Departing {
    action: Action,
    packet: Vec<u8>,
}

impl Sim {
    pub(super) fn act(&mut self, plugin: usize, out: &Out) {
        for action in out.actions.iter() {
            let begin = action.off as usize;
            let end = begin.saturating_add(action.len as usize);
            let payload = out.bytes.get(begin..end);
            let task = self.tasks.get(action.task as usize);
            match (task, payload) {
                (Some(task), Some(payload)) if task.plugin == plugin => {
                    // What a task wants behind its end, nobody hears.
                    if task.is_running() {
                        self.act_one(action, payload);
                    }
                }
                _ => self.note(format!("the plugin wants the impossible: {action:?}")),
            }
        }
    }

    fn act_one(&mut self, action: &Action, payload: &[u8]) {
        let number = action.task;
        match action.kind {
            ActionKind::OpenFlow => self.open_flow(action, payload),
            ActionKind::Send => self.send(action, payload),
            ActionKind::Timer => {
                let at_ns = action.arg.saturating_sub(BEGIN_NS);
                let token = action.token;
                let key = self.at(at_ns, Due::Timer { task: number, token });
                if let Some(before) = self.timers.insert((number, token), key) {
                    self.due.remove(&before);
                }
            }
            ActionKind::Cancel => self.forget(action),
            ActionKind::Row => self.take_row(action, payload),
            ActionKind::Log => {
                let text = String::from_utf8_lossy(payload).into_owned();
                self.note(format!("measurement {number} says: {text}"));
                self.tasks[number as usize].logs.push(LogLine { level: action.code, text });
            }
            ActionKind::Progress => self.tasks[number as usize].progress = action.arg,
            ActionKind::Finish => {
                self.tasks[number as usize].stop = String::from_utf8_lossy(payload).into_owned();
                self.end(number, Status::Done);
            }
            ActionKind::Fail => {
                let text = String::from_utf8_lossy(payload).into_owned();
                self.end(number, Status::Failed { kind: FailKind(action.code), text });
            }
            ActionKind::LastWord => {
                let flow = self.flows.get_mut(&action.flow).filter(|flow| flow.task == number);
                if let Some(flow) = flow {
                    flow.last_word = Some((*action, payload.to_vec()));
                }
            }
            ActionKind::CloseFlow => {
                if self.flows.get(&action.flow).is_some_and(|flow| flow.task == number) {
                    self.close_flow(action.flow);
                }
            }
            other => self.note(format!("measurement {number} wants something unknown: {other:?}")),
        }
    }

    fn take_row(&mut self, action: &Action, payload: &[u8]) {
        let task = &mut self.tasks[action.task as usize];
        let index = usize::from(action.code);
        let row = match task.method.tables.get(index) {
            Some(table) => table
                .decode_row(payload)
                .map_err(|error| format!("a row of table {} is not valid: {error}", table.name)),
            None => Err(format!("a row for table {index}, which is not declared")),
        };
        match row {
            Ok(values) => task.rows.push((index, values)),
            Err(text) => self.end(action.task, Status::Failed { kind: FailKind::Error, text }),
        }
    }

    fn forget(&mut self, action: &Action) {
        let owns = self.flows.get(&action.flow).is_some_and(|flow| flow.task == action.task);
        if action.token == NO_TOKEN && owns {
            return self.report_unqueued(action.task, Some(action.flow));
        }
        if let Some(key) = self.timers.remove(&(action.task, action.token)) {
            self.due.remove(&key);
        }
        if self.flows.get(&action.flow).is_some_and(|flow| flow.task == action.task)
            && let Some(probe) = self.demux.waiting(FlowId(action.flow), action.token)
        {
            self.demux.cancel(probe);
        }
        // A packet whose turn has not come does not leave; its turn passes.
        for waiting in &mut self.paced {
            if (waiting.action.task, waiting.action.token) == (action.task, action.token) {
                waiting.packet.clear();
            }
        }
    }

    // ---- flows ----

    fn open_flow(&mut self, action: &Action, payload: &[u8]) {
        let opened = match FlowSpecRaw::from_octets(payload) {
            Some(spec) => self.try_open(action.task, &spec),
            None => Err((EPROTONOSUPPORT, "the flow makes no sense".to_owned())),
        };
        let event = Event {
            kind: EventKind::FlowOpen,
            task: action.task,
            token: action.token,
            ..Event::ZERO
        };
        match opened {
            Ok((flow, info)) => self.push(Event { flow, ..event }, &info.to_octets()),
            Err((code, text)) => self.push(Event { code, ..event }, text.as_bytes()),
        }
    }

    fn try_open(&mut self, task: u32, spec: &FlowSpecRaw) -> Result<(u32, FlowInfo), (u8, String)> {
        let proto = Protocol::from_number(spec.proto.0)
            .ok_or_else(|| (EPROTONOSUPPORT, format!("unknown protocol {}", spec.proto.0)))?;
        let peer = unmapped(spec.peer);
        let source = if spec.source == [0; 16] {
            let family = if peer.is_ipv4() { "IPv4" } else { "IPv6" };
            let none = || (EADDRNOTAVAIL, format!("no {family} address"));
            self.world.source(peer.is_ipv4()).ok_or_else(none)?
        } else {
            unmapped(spec.source)
        };
        if !self.world.is_source(source) || source.is_ipv4() != peer.is_ipv4() {
            return Err((EADDRNOTAVAIL, format!("cannot send to {peer} from {source}")));
        }
        let gateway = (spec.gateway != [0; 16]).then(|| unmapped(spec.gateway));
        if let Some(gateway) = gateway.filter(|gateway| !self.world.is_neighbour(*gateway)) {
            return Err((EHOSTUNREACH, format!("{gateway} is no neighbour")));
        }
        let Some(mtu) = self.world.source_mtu(peer) else {
            return Err((ENETUNREACH, format!("no route to {peer}")));
        };
        let hears_all = spec.flags & flags::HEAR_ALL != 0;
        let field = Key::from_number(spec.key, spec.reserved);
        let mut open = |local| {
            let key = FlowKey::new(proto, source, peer, local);
            self.demux.open(key, field, task, hears_all).map(|flow| (flow, local))
        };
        let opened = if spec.local == 0 {
            let mut locals = self.random.split(0x6c6f_6361_6c00 + u64::from(self.next_local));
            self.next_local = self.next_local.wrapping_add(1);
            (0..1_000)
                .map(|_| open(FIRST_LOCAL + locals.below(LOCALS) as u16))
                .find(Result::is_ok)
                .unwrap_or(Err(sonde_packet::demux::Busy))
        } else {
            open(spec.local)
        };
        let (flow, local) = opened.map_err(|busy| (EADDRINUSE, busy.to_string()))?;
        let state = FlowState {
            task,
            source,
            peer,
            local,
            proto,
            mtu,
            gateway,
            hears_all,
            is_open: true,
            last_word: None,
        };
        self.flows.insert(flow.0, state);
        self.tasks[task as usize].flows.insert(flow.0);
        let source = sonde_packet::mapped(source);
        Ok((flow.0, FlowInfo { source, local, reserved: 0, mtu: mtu as u32 }))
    }

    fn close_flow(&mut self, number: u32) {
        if let Some(flow) = self.flows.get_mut(&number).filter(|flow| flow.is_open) {
            flow.is_open = false;
            let word = flow.last_word.take().filter(|(_, packet)| !packet.is_empty());
            self.tasks[flow.task as usize].flows.remove(&number);
            self.at(self.now_ns + QUARANTINE_NS, Due::Forget(FlowId(number)));
            if let Some((action, packet)) = word {
                match self.may_send(&action, &packet) {
                    Ok(()) => self.depart(Departing { action, packet }),
                    Err((code, bits, why)) => self.refuse(&action, &packet, code, bits, &why),
                }
            }
        }
    }

    /// Ends a task: its flows are closed, its timers forgotten.
    pub(super) fn end(&mut self, number: u32, status: Status) {
        let task = &mut self.tasks[number as usize];
        task.status = status;
        task.ended_ns = Some(self.now_ns);
        for flow in std::mem::take(&mut task.flows) {
            self.close_flow(flow);
        }
        let timers: Vec<_> =
            self.timers.extract_if((number, 0)..=(number, u32::MAX), |_, _| true).collect();
        for (_, key) in timers {
            self.due.remove(&key);
        }
        let unsent = self.unqueue(number, None).len() as u64;
        self.tasks[number as usize].counters.not_sent += unsent;
    }

    /// Nothing that waits leaves any more, and the task hears that.
    pub(super) fn report_unqueued(&mut self, task: u32, flow: Option<u32>) {
        for Departing { action, packet } in self.unqueue(task, flow) {
            self.refuse(&action, &packet, ECANCELED, 0, "nobody wants it any more");
        }
    }

    /// Packets of a task, or on one flow of it, whose turn has not come; it passes.
    fn unqueue(&mut self, task: u32, flow: Option<u32>) -> Vec<Departing> {
        let is_its = |it: &&mut Departing| {
            it.action.task == task
                && flow.is_none_or(|flow| it.action.flow == flow)
                && !it.packet.is_empty()
        };
        let take = |it: &mut Departing| Departing {
            action: it.action,
            packet: std::mem::take(&mut it.packet),
        };
        self.paced.iter_mut().filter(is_its).map(take).collect()
    }

    // ---- packets ----

    fn send(&mut self, action: &Action, packet: &[u8]) {
        let flow = self.flows.get(&action.flow);
        if !flow.is_some_and(|flow| flow.task == action.task && flow.is_open) {
            let text = "the plugin sent on a flow that is not open".to_owned();
            return self.let_go(action.task, Status::Failed { kind: FailKind::Error, text });
        }
        self.handed += 1;
        if let Err((code, bits, why)) = self.may_send(action, packet) {
            return self.refuse(action, packet, code, bits, &why);
        }
        let departing = Departing { action: *action, packet: packet.to_vec() };
        let waits = self.paces_all || action.flags & flags::IMMEDIATE == 0;
        if self.gap_ns == 0 || !waits {
            return self.depart(departing);
        }
        let turn_ns = self.next_turn_ns.max(self.now_ns);
        self.next_turn_ns = turn_ns + self.gap_ns;
        self.paced.push_back(departing);
        self.at(turn_ns, Due::Turn);
    }

    /// Why a packet may not leave: errno, flags of the event, and in words.
    fn may_send(&mut self, action: &Action, packet: &[u8]) -> Result<(), (u8, u8, String)> {
        let refused = |code, why: &str| (code, flags::REFUSED, why.to_owned());
        let Some(flow) = self.flows.get(&action.flow) else {
            return Err(refused(EPERM, "the flow is not open"));
        };
        let permits = Permits {
            ip_options: self.permits(action.task, Need::IpOptions),
            spoof: self.permits(action.task, Need::Spoof),
        };
        match check_own(packet, &flow.key(), permits) {
            Ok(()) => {}
            Err(reason @ NotOwn::Malformed) => return Err((EINVAL, 0, reason.to_string())),
            Err(reason) => return Err(refused(EPERM, &reason.to_string())),
        }
        if packet.len() > flow.mtu {
            let why = format!("{} octets are more than the {} of the link", packet.len(), flow.mtu);
            return Err((EMSGSIZE, 0, why));
        }
        let taken = self.tasks[action.task as usize].take_packet();
        taken.map_err(|why| refused(EDQUOT, why))?;
        let handed = self.handed;
        let unsent = self.unsent.iter().find(|(_, numbers)| numbers.contains(handed));
        match unsent {
            Some((errno, _)) => {
                Err((u8::try_from(*errno).unwrap_or(u8::MAX), 0, format!("errno {errno}")))
            }
            None => Ok(()),
        }
    }

    /// Whether a task has something that its method asks for.
    fn permits(&self, task: u32, need: Need) -> bool {
        let method = &self.tasks[task as usize].method;
        let asks = method.needs.contains(&need) || method.wants.contains(&need);
        asks && !self.forbidden.contains(&need)
    }

    fn refuse(&mut self, action: &Action, packet: &[u8], code: u8, bits: u8, why: &str) {
        self.record(|| Entry::NotSent(packet.to_vec(), why.to_owned()));
        self.tasks[action.task as usize].counters.not_sent += 1;
        let event = Event {
            kind: EventKind::SendError,
            code,
            flags: bits,
            task: action.task,
            token: action.token,
            flow: action.flow,
            ..Event::ZERO
        };
        self.push(event, &[]);
    }

    pub(super) fn depart(&mut self, departing: Departing) {
        let Departing { action, packet } = departing;
        // Cancelled while it waited.
        if packet.is_empty() {
            return;
        }
        let sent = BEGIN_NS + self.now_ns;
        if self.tasks[action.task as usize].is_running() {
            self.tasks[action.task as usize].counters.sent += 1;
        }
        if action.arg > 0 {
            let departure = Departure { at: sent, stamp: stamp::VIRTUAL, uncertainty: 0 };
            let flow = FlowId(action.flow);
            let probe = self.demux.sent(flow, action.token, &packet, departure);
            if let Some(probe) = probe {
                self.at(self.now_ns.saturating_add(action.arg), Due::Timeout(probe));
            }
        }
        if action.flags & flags::WANT_SENT != 0 {
            let event = Event {
                kind: EventKind::Sent,
                task: action.task,
                token: action.token,
                flow: action.flow,
                sent,
                stamps: VIRTUAL,
                ..Event::ZERO
            };
            self.push(event, &[]);
        }
        self.record(|| Entry::Sent(packet.clone()));
        let gateway = self.flows.get(&action.flow).and_then(|flow| flow.gateway);
        self.world.send(self.now_ns, packet, gateway);
    }
}

impl FlowState {
    fn key(&self) -> FlowKey {
        FlowKey::new(self.proto, self.source, self.peer, self.local)
    }
}
