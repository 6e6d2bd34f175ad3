//! Events go to the plugins, and what they want is done, in portions: none keeps the engine from the others.

use std::collections::VecDeque;

use sonde_plugin_api::{abi::Action, port::Lost};

use crate::{
    engine::Core,
    link::Link,
    ports::{GONE, PortState},
};

/// Work for one plugin in a turn, in actions: a few milliseconds at most. What is left waits for the next turn, and what
/// comes after it in the plugin's ring.
pub(crate) const MAX_WORK: usize = 1024;
/// Packets looked through that are as much work as an action.
pub(crate) const LOOKED_THROUGH: usize = 64;
/// Taking a local port, or giving it back, is as much work as so many actions: the kernel makes a socket with a filter for it, some 20 µs.
pub(crate) const SOCKET_WORK: usize = 8;

/// What a plugin wants, copied out of its batches.
#[derive(Default)]
pub(crate) struct Wishes {
    actions: Vec<Action>,
    bytes: Vec<u8>,
    /// Where each batch ends: actions and octets.
    ends: VecDeque<(usize, usize)>,
    /// Actions that are done, and octets before the batch whose turn it is.
    done: usize,
    begin: usize,
    /// The plugin has died with them.
    lost: Option<Lost>,
}

impl Wishes {
    fn collect(&mut self, port: &mut PortState) {
        let Self { actions, bytes, ends, lost, .. } = self;
        let collected = port.port.collect(&mut |more, octets| {
            actions.extend_from_slice(more);
            bytes.extend_from_slice(octets);
            ends.push_back((actions.len(), bytes.len()));
        });
        *lost = collected.err();
        port.has_died = lost.is_some();
    }

    fn clear(&mut self) {
        self.actions.clear();
        self.bytes.clear();
        self.ends.clear();
        (self.done, self.begin) = (0, 0);
    }
}

impl<L: Link> Core<L> {
    /// Hands events to the plugins and does what they want.
    pub(crate) fn exchange(&mut self) {
        let wall = self.state.now.saturating_add_signed(self.state.wall_offset_ns);
        for index in 0..self.state.ports.len() {
            let now = self.state.now;
            let port = &mut self.state.ports[index];
            port.hand_over(now, wall);
            let mut wishes = match port.wishes.take() {
                Some(left) => *left,
                None => {
                    let mut wishes = std::mem::take(&mut self.wishes);
                    wishes.collect(port);
                    wishes
                }
            };
            if self.fulfil(index as u32, &mut wishes) {
                if let Some(Lost { reason }) = wishes.lost.take() {
                    // What is in the batch leaves, and counts.
                    self.flush();
                    let at = self.state.ports[index].port.lost_at();
                    self.state.lose_port(index as u32, &reason, at);
                }
                wishes.clear();
                self.wishes = wishes;
            } else {
                self.state.ports[index].wishes = Some(Box::new(wishes));
            }
            // Events that the actions caused should not wait for the next turn.
            self.state.ports[index].hand_over(now, wall);
            if self.state.ports[index].is_lost() {
                self.flush();
                self.state.restart_port(index as u32);
            }
        }
        self.drop_ports();
    }

    /// Does what a plugin wants, in order, as much as fits in the turn; true where nothing is left.
    fn fulfil(&mut self, port: u32, wishes: &mut Wishes) -> bool {
        self.state.work = 0;
        let Wishes { actions, bytes, ends, done, begin, .. } = wishes;
        while let Some((last, end)) = ends.front().copied() {
            for action in &actions[*done..last] {
                if self.state.work >= MAX_WORK {
                    return false;
                }
                self.state.work += 1;
                *done += 1;
                self.act(port, action, &bytes[*begin..end]);
            }
            *begin = end;
            ends.pop_front();
        }
        true
    }

    /// Departures are told at once: nothing else may happen for a long time.
    pub(crate) fn tell(&mut self) {
        let (now, wall_offset_ns) = (self.state.now, self.state.wall_offset_ns);
        for port in self.state.ports.iter_mut().filter(|port| port.has_events) {
            port.hand_over(now, now.saturating_add_signed(wall_offset_ns));
        }
    }

    /// Lets plugins go that were replaced, from the end, so that the numbers of the others stay.
    fn drop_ports(&mut self) {
        let has_gone = |port: &PortState| port.tasks == 0 && (port.leaving || port.id == GONE);
        while self.state.ports.last().is_some_and(has_gone) {
            self.state.ports.pop();
        }
        for port in &mut self.state.ports {
            if port.leaving && port.tasks == 0 {
                *port = PortState::missing(GONE, port.plugin, "it was replaced".to_owned());
            }
        }
    }
}
