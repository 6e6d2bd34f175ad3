//! The worker's end of the rings. It trusts the host, which has all rights over it anyway.
#![allow(unsafe_code)] // copies out of and into shared memory

use std::{
    ptr, slice,
    sync::atomic::{AtomicU32, Ordering},
};

use abi_stable::std_types::RSlice;
use sonde_plugin_api::abi::{Action, ActionKind, Batch, FailKind, Out, Usage};

use crate::jail::Refused;

use super::{
    bell::falls_asleep,
    layout::{ACTIONS, EVENTS, PAYLOAD_OCTETS, READY, READY_WITH_LANDLOCK, Region, SLOTS},
};

/// Reads events, writes actions.
#[derive(Debug)]
pub(crate) struct PluginEnd {
    region: Region,
    /// Batches of events done with.
    done: u64,
    /// Batches of actions handed over.
    written: u64,
}

impl PluginEnd {
    pub(crate) fn new(region: Region) -> Self {
        let out = region.control().out.get();
        // SAFETY: within the region and aligned; nobody else uses it but for its atomic cursor.
        unsafe { (*out).write(Out::default()) };
        Self { region, done: 0, written: 0 }
    }

    /// The output buffer that lives in the region; valid as long as `self`.
    pub(crate) fn out(&self) -> *mut Out {
        self.region.control().out.get().cast()
    }

    /// Where refused system calls are noted; valid as long as `self`.
    pub(crate) fn refused(&self) -> *const Refused {
        &raw const self.region.control().refused
    }

    /// The flag that says whether the host wants to be woken.
    pub(crate) fn host_sleeps(&self) -> &AtomicU32 {
        &self.region.control().host_sleeps.0
    }

    pub(crate) fn say_ready(&self, has_landlock: bool) {
        let ready = if has_landlock { READY_WITH_LANDLOCK } else { READY };
        self.region.control().plugin.ready.store(ready, Ordering::Release);
    }

    /// The next batch of events, where it lies.
    pub(crate) fn batch(&self) -> Option<Batch<'_>> {
        if self.region.control().host.events.load(Ordering::Acquire) == self.done {
            return None;
        }
        let slot = self.region.events(self.done);
        let events = (slot.header.items.load(Ordering::Relaxed) as usize).min(EVENTS);
        let octets = (slot.header.octets.load(Ordering::Relaxed) as usize).min(PAYLOAD_OCTETS);
        // SAFETY: within the slot, which the host leaves alone until `finish`.
        let (events, bytes) = unsafe {
            (slice::from_raw_parts(slot.items, events), slice::from_raw_parts(slot.payload, octets))
        };
        Some(Batch {
            now: slot.header.now.load(Ordering::Relaxed),
            wall: slot.header.wall.load(Ordering::Relaxed),
            events: RSlice::from_slice(events),
            bytes: RSlice::from_slice(bytes),
        })
    }

    /// Gives the batch of events back; true if the host may be waiting for room.
    pub(crate) fn finish(&mut self, usage: Usage) -> bool {
        let control = self.region.control();
        control.plugin.tasks.store(usage.tasks, Ordering::Relaxed);
        control.plugin.panics.store(usage.panics, Ordering::Relaxed);
        control.plugin.heap_octets.store(usage.heap_octets, Ordering::Relaxed);
        let waiting = control.host.events.load(Ordering::Relaxed).wrapping_sub(self.done);
        self.done += 1;
        control.plugin.done.store(self.done, Ordering::Release);
        waiting + 1 >= SLOTS
    }

    /// True if there is a free slot for actions.
    pub(crate) fn has_room(&self) -> bool {
        let taken = self.region.control().host.taken.load(Ordering::Acquire);
        self.written.wrapping_sub(taken) < SLOTS
    }

    /// Announces that this side is about to sleep for `what`.
    pub(crate) fn fall_asleep(&self, what: u32) {
        falls_asleep(&self.region.control().plugin_sleeps.0, what);
    }

    pub(crate) fn wake_up(&self) {
        self.region.control().plugin_sleeps.0.store(0, Ordering::Relaxed);
    }

    /// Hands over all of `actions`, in as many slots as it takes; returns how many that were.
    /// `publish` is called after each, `wait` where there is no free slot.
    pub(crate) fn send(
        &mut self,
        actions: &[Action],
        bytes: &[u8],
        mut wait: impl FnMut(&Self),
    ) -> usize {
        let mut slots = 0;
        let mut rest = actions;
        while !rest.is_empty() {
            while !self.has_room() {
                wait(self);
            }
            let whole = rest.len() == actions.len()
                && actions.len() <= ACTIONS
                && bytes.len() <= PAYLOAD_OCTETS;
            let sent = if whole { self.fill(rest, bytes) } else { self.fill_part(rest, bytes) };
            self.written += 1;
            self.region.control().plugin.actions.store(self.written, Ordering::Release);
            rest = &rest[sent..];
            slots += 1;
        }
        slots
    }

    fn fill(&self, actions: &[Action], bytes: &[u8]) -> usize {
        let slot = self.region.actions(self.written);
        // SAFETY: both fit the slot, which the host leaves alone until it is published.
        unsafe {
            ptr::copy_nonoverlapping(actions.as_ptr(), slot.items, actions.len());
            ptr::copy_nonoverlapping(bytes.as_ptr(), slot.payload, bytes.len());
        }
        slot.header.items.store(actions.len() as u32, Ordering::Relaxed);
        slot.header.octets.store(bytes.len() as u32, Ordering::Relaxed);
        actions.len()
    }

    /// As many of `actions` as fit one slot, each with its own payload.
    fn fill_part(&self, actions: &[Action], bytes: &[u8]) -> usize {
        let slot = self.region.actions(self.written);
        let mut items = 0;
        let mut octets = 0;
        for action in actions.iter().take(ACTIONS) {
            let from = action.off as usize;
            let payload = from.checked_add(action.len as usize).and_then(|to| bytes.get(from..to));
            let too_long;
            let (mut action, payload) = match payload {
                Some(payload) if payload.len() > PAYLOAD_OCTETS => {
                    too_long = too_long_text(*action);
                    (failed(*action), too_long.as_bytes())
                }
                Some(payload) => (*action, payload),
                // The engine says what is wrong with it: it must stay as wrong as it is.
                None => (Action { off: u32::MAX, ..*action }, &[][..]),
            };
            if payload.len() > PAYLOAD_OCTETS - octets {
                break;
            }
            if action.off != u32::MAX {
                (action.off, action.len) = (octets as u32, payload.len() as u32);
            }
            // SAFETY: `items` is below `ACTIONS` and `octets + payload.len()` not above
            // `PAYLOAD_OCTETS`; the host leaves the slot alone until it is published.
            unsafe {
                slot.items.add(items).write(action);
                let target = slot.payload.add(octets);
                ptr::copy_nonoverlapping(payload.as_ptr(), target, payload.len());
            }
            items += 1;
            octets += payload.len();
        }
        slot.header.items.store(items as u32, Ordering::Relaxed);
        slot.header.octets.store(octets as u32, Ordering::Relaxed);
        items
    }
}

/// In place of an action that fits no slot: the task cannot go on as if it had been done.
fn failed(action: Action) -> Action {
    let (task, code) = (action.task, FailKind::Error.0);
    Action { kind: ActionKind::Fail, code, task, ..Action::ZERO }
}

fn too_long_text(action: Action) -> String {
    format!("an action has {} octets of payload, the most is {PAYLOAD_OCTETS}", action.len)
}
