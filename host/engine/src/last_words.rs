//! The last word of a flow: a packet that leaves when the flow ends, whoever ends it.
//!
//! Who opens a connection says beforehand how it is to be closed. When the method fails, or its plugin
//! dies, nobody else could: a reset with any other sequence number than the right one is refused
//! (RFC 5961). It is checked as every packet of the flow, when it is said and when it leaves, counts
//! against the budget of its measurement, and leaves at the pace of conversations, in all scopes, within the
//! time that the flow's identifier rests, or before stop-all is over. The operator is told how many did not.

use std::time::Duration;

use sonde_packet::demux::FlowId;
use sonde_plugin_api::abi::{Action, NO_TOKEN, flags};

use crate::{
    engine::{Core, State},
    link::Link,
    output::FORBIDDEN,
    pacing::{Class, Scope, Verdict},
    policy::check_packet,
    route::Lookup,
    tasks::{FlowState, Phase, Send, TaskIndex},
};

/// How long one may wait for its turn; the port is held a little longer.
const PATIENCE_NS: u64 = 4_000_000_000;

/// As [`PATIENCE_NS`], of all once everything is stopped.
const STOP_NS: u64 = 100_000_000;

/// Between two looks at the pace, at the end of the engine.
const REST: Duration = Duration::from_millis(1);

/// So many wait at most, of all plugins: each is looked at in every turn. The others are not said.
pub(crate) const MOST_WAITING: usize = 4096;

/// A last word whose time has come.
#[derive(Debug)]
pub(crate) struct LastWord {
    packet: Box<[u8]>,
    /// As it was; its task may be over.
    flow: FlowState,
    generation: u32,
    scope: Scope,
    /// It is not said any more after that.
    until: u64,
}

impl<H> State<H> {
    /// Whether a packet may be sent on a flow of the task, now or later: errno or [`FORBIDDEN`], and whether it is a
    /// question of what is permitted.
    pub(crate) fn admit(
        &mut self,
        task: TaskIndex,
        flow: FlowId,
        packet: &[u8],
    ) -> Result<(), (i32, bool)> {
        let permits = self.tasks.get(task).map(|task| task.permits).unwrap_or_default();
        let Some(state) = self.flows.get(flow.0 as usize).and_then(Option::as_ref) else {
            return Err((libc::EPERM, true));
        };
        check_packet(packet, &state.key, state.mtu, permits)
            .map_err(|refusal| (refusal.errno(), refusal.is_policy()))?;
        let is_spoof = permits.spoof && self.policy.check_source(packet, &state.key).is_err();
        match () {
            () if is_spoof => Err((libc::EPERM, true)),
            () if !self.is_permitted(flow) => Err((FORBIDDEN, true)),
            () => Ok(()),
        }
    }

    /// Takes a packet from those that are left to a task; false where none is.
    pub(crate) fn spend(&mut self, task: TaskIndex) -> bool {
        let Some(entry) = self.tasks.get_mut(task) else { return false };
        if entry.budget == 0 || entry.phase == (Phase::Parting { packets: 0 }) {
            return false;
        }
        entry.budget -= 1;
        if let Phase::Parting { packets } = &mut entry.phase {
            *packets -= 1;
        }
        true
    }

    /// As [`State::spend`] for a last word, which a task that was asked to finish may say whatever else it may send: one
    /// for each flow, and without it the other side would keep the connection.
    fn spend_last_word(&mut self, task: TaskIndex) -> bool {
        let Some(entry) = self.tasks.get_mut(task).filter(|task| task.budget > 0) else {
            return false;
        };
        entry.budget -= 1;
        true
    }

    /// A flow has ended that had a last word.
    pub(crate) fn end_with(&mut self, packet: Box<[u8]>, flow: FlowState) {
        let task = flow.task;
        let Some((port, client)) = self.tasks.get(task).map(|task| (task.port, task.client)) else {
            return;
        };
        let port = &mut self.ports[port as usize];
        let plugin = port.plugin;
        port.queued.leave(1, packet.len());
        if self.last_words.len() == MOST_WAITING || !self.spend_last_word(task) {
            return self.leave_unsaid();
        }
        let scope = Scope { plugin, client, destination: flow.peer() };
        let generation = self.tasks.generation(task);
        let until = self.now + PATIENCE_NS;
        self.last_words.push_back(LastWord { packet, flow, generation, scope, until });
    }
}

impl<L: Link> Core<L> {
    /// A task says, or takes back, what is to be sent when its flow ends.
    pub(crate) fn handle_last_word(&mut self, task: TaskIndex, action: &Action, packet: &[u8]) {
        let (state, flow) = (&mut self.state, FlowId(action.flow));
        if !state.owns(task, flow) {
            return self.fail(task, "the plugin left a last word on a flow that is not its own");
        }
        state.forget_last_word(task, flow);
        if packet.is_empty() {
            return;
        }
        let (token, flags) = (action.token, action.flags);
        let send = Send { flow, token, timeout_ns: 0, flags, tries: 0 };
        if let Err((errno, is_policy)) = state.admit(task, flow, packet) {
            return state.not_sent(task, send, errno, is_policy);
        }
        match state.port_of(task) {
            Some(port) if port.queued.has_room(packet.len()) => port.queued.come(packet.len()),
            _ => return state.not_sent(task, send, libc::ENOBUFS, false),
        }
        if let Some(flow) = state.flows.get_mut(flow.0 as usize).and_then(Option::as_mut) {
            flow.last_word = Some(packet.into());
        }
    }

    /// Puts last words in the batch, those that the pacer lets go.
    pub(crate) fn say_last_words(&mut self) {
        let now = self.state.now;
        for _ in 0..self.state.last_words.len() {
            let Some(word) = self.state.last_words.pop_front() else { break };
            if now >= word.until {
                self.state.leave_unsaid();
                continue;
            }
            match self.state.pacer.take_at_once(now, &word.scope, Class::Immediate) {
                Verdict::Go => self.say(&word),
                Verdict::Full => return self.state.last_words.push_front(word),
                Verdict::Held(_) => self.state.last_words.push_back(word),
            }
        }
        if self.state.last_words.is_empty() && self.state.unsaid > 0 {
            let count = std::mem::take(&mut self.state.unsaid);
            tracing::warn!(
                count,
                "connections were left without their reset: its turn did not come"
            );
        }
    }

    /// At the end of the engine: those that wait for their turn, for as long as they may.
    pub(crate) fn say_rest(&mut self) {
        while !self.state.last_words.is_empty() {
            self.link.rest(REST);
            self.state.now = self.link.poll();
            self.say_last_words();
            self.flush();
        }
    }

    fn say(&mut self, word: &LastWord) {
        let LastWord { packet, flow, generation, scope, .. } = word;
        let is_permitted = self.state.policy.check(scope.destination).is_ok();
        let egress = match self.link.lookup(self.state.now, &flow.query(), &mut || false) {
            Lookup::Ready(route) if is_permitted && self.has_source(flow, &route) => route.egress,
            _ => {
                self.state.pacer.give_back(scope, Class::Immediate);
                self.state.statistics.counters.not_sent += 1;
                return;
            }
        };
        // A number that no flow has: nobody is to hear of it.
        let (flow, flags) = (FlowId(NO_TOKEN), flags::IMMEDIATE);
        let send = Send { flow, token: NO_TOKEN, timeout_ns: 0, flags, tries: u8::MAX };
        let tag = self.state.note_bare((word.flow.task, *generation), send, packet);
        self.put_in_batch(egress, packet, tag, false);
    }
}

impl<H> State<H> {
    /// Everything was stopped: what does not leave soon does not leave.
    pub(crate) fn hurry_last_words(&mut self) {
        let until = self.now + STOP_NS;
        self.last_words.iter_mut().for_each(|word| word.until = word.until.min(until));
    }

    fn leave_unsaid(&mut self) {
        self.statistics.counters.not_sent += 1;
        self.unsaid += 1;
    }

    fn forget_last_word(&mut self, task: TaskIndex, flow: FlowId) {
        let flow = self.flows.get_mut(flow.0 as usize).and_then(Option::as_mut);
        if let Some(old) = flow.and_then(|flow| flow.last_word.take())
            && let Some(port) = self.port_of(task)
        {
            port.queued.leave(1, old.len());
        }
    }
}
