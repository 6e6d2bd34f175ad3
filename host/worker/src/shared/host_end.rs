//! The engine's end of the rings. The other end is not trusted.
#![allow(unsafe_code)] // copies out of and into shared memory

use std::{
    ptr,
    sync::atomic::{AtomicU32, Ordering},
};

use sonde_plugin_api::abi::{Action, ActionKind, Event, NO_TOKEN, Out, Usage};

use crate::reason::refused_call;

use super::{
    bell::{FOR_ANYTHING, falls_asleep},
    layout::{ACTIONS, EVENTS, PAYLOAD_OCTETS, READY_WITH_LANDLOCK, Region, SLOTS},
};

/// Refused system calls that are told of one worker, so that they do not fill a log.
const MAX_TOLD: usize = 256;
/// Level of a log line.
const WARN: u8 = 2;

/// The worker wrote what no correct worker writes; in words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Violation(pub(crate) String);

/// Writes events, reads actions.
#[derive(Debug)]
pub(crate) struct HostEnd {
    region: Region,
    /// Batches of events handed over, and of these how many are done with.
    written: u64,
    done: u64,
    /// Batches of actions taken.
    taken: u64,
    /// What is in the slot being filled.
    events: usize,
    octets: usize,
    /// An event was turned away since there was room last.
    refused: bool,
    violation: Option<Violation>,
    /// Refused system calls seen so far, and those that were told, each once for a task.
    refused_calls: u64,
    told: Vec<(u32, u32)>,
    /// Copies of the batch being handed to the engine.
    actions: Vec<Action>,
    bytes: Vec<u8>,
}

impl HostEnd {
    pub(crate) fn new(region: Region) -> Self {
        Self {
            region,
            written: 0,
            done: 0,
            taken: 0,
            events: 0,
            octets: 0,
            refused: false,
            violation: None,
            refused_calls: 0,
            told: Vec::new(),
            actions: Vec::new(),
            bytes: Vec::new(),
        }
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    /// The flag that says whether the worker needs to be woken.
    pub(crate) fn plugin_sleeps(&self) -> &AtomicU32 {
        &self.region.control().plugin_sleeps.0
    }

    /// True if the host was woken, or is about to be, since it last fell asleep.
    pub(crate) fn was_rung(&self) -> bool {
        self.region.control().host_sleeps.0.load(Ordering::Relaxed) == 0
    }

    /// Asks for the bell; what was published before must be looked for again.
    pub(crate) fn fall_asleep(&self) {
        falls_asleep(&self.region.control().host_sleeps.0, FOR_ANYTHING);
    }

    /// Puts an event in the slot being filled; false if there is no room.
    pub(crate) fn push(&mut self, event: &Event, payload: &[u8]) -> bool {
        if !self.has_slot() {
            self.refused = true;
            return false;
        }
        if self.events == EVENTS || payload.len() > PAYLOAD_OCTETS - self.octets {
            return false;
        }
        let slot = self.region.events(self.written);
        let event = Event { off: self.octets as u32, len: payload.len() as u32, ..*event };
        // SAFETY: below the capacity of the slot, as was checked above. The worker may write there
        // as well if it breaks the rules; what it then reads is its own affair.
        unsafe {
            slot.items.add(self.events).write(event);
            let target = slot.payload.add(self.octets);
            ptr::copy_nonoverlapping(payload.as_ptr(), target, payload.len());
        }
        self.events += 1;
        self.octets += payload.len();
        true
    }

    /// Hands the slot being filled over; false if there is nothing in it.
    pub(crate) fn publish(&mut self, now: u64, wall: u64) -> bool {
        if self.events == 0 {
            return false;
        }
        let header = self.region.events(self.written).header;
        header.items.store(self.events as u32, Ordering::Relaxed);
        header.octets.store(self.octets as u32, Ordering::Relaxed);
        header.now.store(now, Ordering::Relaxed);
        header.wall.store(wall, Ordering::Relaxed);
        self.written += 1;
        (self.events, self.octets) = (0, 0);
        self.region.control().host.events.store(self.written, Ordering::Release);
        true
    }

    /// Gives every batch of actions that is there to `sink`; true if there was one.
    pub(crate) fn receive(
        &mut self,
        sink: &mut dyn FnMut(&[Action], &[u8]),
    ) -> Result<bool, Violation> {
        if let Some(violation) = self.violation.take() {
            return Err(violation);
        }
        let filled = self.region.control().plugin.actions.load(Ordering::Acquire);
        // After the line above: what was refused is told before the end of the task that tried.
        self.tell_refused(sink);
        if filled == self.taken {
            return Ok(false);
        }
        if filled.wrapping_sub(self.taken) > SLOTS {
            let taken = self.taken;
            let text = format!("it counts {filled} batches of actions after {taken} were taken");
            return Err(Violation(text));
        }
        while self.taken != filled {
            self.copy_out()?;
            sink(&self.actions, &self.bytes);
        }
        Ok(true)
    }

    /// Has the engine hear of refused system calls as of a warning of the task that made them.
    fn tell_refused(&mut self, sink: &mut dyn FnMut(&[Action], &[u8])) {
        let (count, calls) = self.region.control().refused.since(self.refused_calls);
        self.refused_calls = count;
        for (task, call) in calls {
            if self.told.len() == MAX_TOLD || self.told.contains(&(task, call)) {
                continue;
            }
            self.told.push((task, call));
            let text = refused_call(call);
            if task == NO_TOKEN {
                tracing::warn!(reason = text, "refused outside of any measurement");
                continue;
            }
            let len = text.len() as u32;
            let action = Action { kind: ActionKind::Log, code: WARN, task, len, ..Action::ZERO };
            sink(&[action], text.as_bytes());
        }
    }

    /// Copies the next slot and gives it back.
    fn copy_out(&mut self) -> Result<(), Violation> {
        let slot = self.region.actions(self.taken);
        // Read once: the worker could change them between the check and the copy.
        let items = slot.header.items.load(Ordering::Relaxed) as usize;
        let octets = slot.header.octets.load(Ordering::Relaxed) as usize;
        if items > ACTIONS || octets > PAYLOAD_OCTETS {
            return Err(Violation(format!(
                "a batch claims {items} actions and {octets} octets, more than {ACTIONS} and \
                 {PAYLOAD_OCTETS}"
            )));
        }
        self.actions.clear();
        self.actions.reserve(items);
        self.bytes.clear();
        self.bytes.reserve(octets);
        // SAFETY: source and target hold that many, as was checked and reserved above; every bit
        // pattern is an `Action`. If the worker writes at the same time the copy holds some mixture
        // of what it wrote, which is no worse than what it could have written before.
        unsafe {
            ptr::copy_nonoverlapping(slot.items, self.actions.as_mut_ptr(), items);
            self.actions.set_len(items);
            ptr::copy_nonoverlapping(slot.payload, self.bytes.as_mut_ptr(), octets);
            self.bytes.set_len(octets);
        }
        self.taken += 1;
        self.region.control().host.taken.store(self.taken, Ordering::Release);
        Ok(())
    }

    /// True once if there is room again after an event was turned away.
    pub(crate) fn room_again(&mut self) -> bool {
        self.refused && self.has_slot() && std::mem::take(&mut self.refused)
    }

    /// Batches of events that are on their way.
    pub(crate) fn outstanding(&self) -> u64 {
        let done = self.region.control().plugin.done.load(Ordering::Acquire);
        // A counter that lies is found in `has_slot` or at death.
        self.written.saturating_sub(done.max(self.done))
    }

    /// How far the worker has come: grows while it makes progress.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.region.control().plugin.done.load(Ordering::Relaxed), self.taken)
    }

    /// True once the plugin is loaded.
    pub(crate) fn is_ready(&self) -> bool {
        self.region.control().plugin.ready.load(Ordering::Relaxed) != 0
    }

    /// False where the worker's kernel could not keep files away from it.
    pub(crate) fn has_landlock(&self) -> bool {
        self.region.control().plugin.ready.load(Ordering::Relaxed) & READY_WITH_LANDLOCK
            == READY_WITH_LANDLOCK
    }

    pub(crate) fn usage(&self) -> Usage {
        let plugin = &self.region.control().plugin;
        Usage {
            tasks: plugin.tasks.load(Ordering::Relaxed),
            panics: plugin.panics.load(Ordering::Relaxed),
            heap_octets: plugin.heap_octets.load(Ordering::Relaxed),
        }
    }

    /// The task that the plugin is at, as it says.
    pub(crate) fn cursor(&self) -> Option<u32> {
        if !self.is_ready() {
            return None;
        }
        let out = self.region.control().out.get().cast::<Out>();
        // SAFETY: within the region, aligned, and any value is an `AtomicU32`; nothing else of
        // `Out`, which belongs to the worker, is touched.
        let cursor = unsafe { &*ptr::addr_of!((*out).cursor) };
        Some(cursor.load(Ordering::Relaxed)).filter(|task| *task != NO_TOKEN)
    }

    /// Whether there is a slot to fill.
    fn has_slot(&mut self) -> bool {
        if self.written - self.done < SLOTS {
            return true;
        }
        let done = self.region.control().plugin.done.load(Ordering::Acquire);
        if done < self.done || done > self.written {
            let (written, before) = (self.written, self.done);
            let text =
                format!("it counts {done} batches of events done, of {written}, after {before}");
            self.violation.get_or_insert(Violation(text));
            return false;
        }
        self.done = done;
        self.written - self.done < SLOTS
    }
}
