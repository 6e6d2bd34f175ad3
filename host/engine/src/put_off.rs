//! Packets that could not leave and are tried again: the device, or the search for a neighbour, does not keep up.
//!
//! They count as waiting, and no more of them are tried in a turn than fit in it.

use crate::{
    departures::class_of,
    engine::State,
    exchange::MAX_WORK,
    pacing::QUANTUM_NS,
    tasks::{Place, TaskIndex, Waiting},
};

/// Attempts to send, a quantum between each.
pub(crate) const MAX_TRIES: u8 = 250;
/// Quanta that passed without an attempt and count as attempts, at a time.
const MOST_MISSED: u64 = 64;

/// A packet that could not leave.
#[derive(Debug)]
pub(crate) struct PutOff {
    /// When it is tried again.
    pub(crate) again: u64,
    pub(crate) task: TaskIndex,
    pub(crate) generation: u32,
    /// Where it counts as waiting, whatever becomes of the task.
    port: u32,
    pub(crate) waiting: Waiting,
}

impl<H> State<H> {
    /// Keeps a packet that cannot leave for a quantum; others have its place in the meantime.
    pub(crate) fn put_off(&mut self, task: TaskIndex, waiting: Waiting) {
        self.give_back(&waiting.send);
        if !self.has_room_for(task, &waiting) {
            return self.not_sent(task, waiting.send, libc::ENOBUFS, false);
        }
        let generation = self.tasks.generation(task);
        let Some(entry) = self.tasks.get_mut(task) else { return };
        entry.put_off += 1;
        let (port, again) = (entry.port, self.now + QUANTUM_NS);
        self.later.push_back(PutOff { again, task, generation, port, waiting });
    }

    /// What was put off goes first once its time has come, as much as fits in a turn.
    pub(crate) fn take_up_again(&mut self) {
        let due = self.later.partition_point(|put_off| put_off.again <= self.now).min(MAX_WORK);
        // From the last to the first, so that each is put before those that came after it.
        let again: Vec<_> = self.later.drain(..due).rev().collect();
        for PutOff { again, task, generation, port, mut waiting } in again {
            let is_its = self.tasks.generation(task) == generation;
            if let Some(entry) = self.tasks.get_mut(task).filter(|_| is_its) {
                entry.put_off -= 1;
            }
            let (flow, class) = (waiting.send.flow, class_of(waiting.send.flags));
            if !is_its || !self.owns(task, flow) {
                if let Some(port) = self.ports.get_mut(port as usize) {
                    port.queued.leave(1, waiting.packet.len());
                }
                continue;
            }
            // Where many are put off, each is tried less often and not for longer.
            let missed = (self.now - again) / QUANTUM_NS;
            let tries = &mut waiting.send.tries;
            *tries = tries.saturating_add(missed.min(MOST_MISSED) as u8).min(MAX_TRIES);
            let Some(queue) = self.queue(flow, class) else { continue };
            queue.packets.push_front(waiting);
            if queue.place == Place::Nowhere {
                self.take_turn(task, flow, class, Place::Turn);
            }
        }
    }
}
