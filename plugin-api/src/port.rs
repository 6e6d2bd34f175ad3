//! A plugin as the engine sees it: events go in, actions come out, perhaps later.
//!
//! `sonde-worker` implements it twice, in the engine's thread and in a process of its own; the
//! engine does not know which. Neither side is trusted with the other's memory: what
//! [`Port::collect`] hands over has been copied, and is still to be checked.

use std::os::fd::RawFd;

use crate::abi::{Action, Event, Usage};

/// The plugin's tasks are gone; what runs there has failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub struct Lost {
    /// One line for the operator, such as `worker of ping died: signal 11 (segmentation fault)`.
    pub reason: String,
}

/// The way to one plugin and back.
pub trait Port {
    /// Puts `event` with its payload (its `off` and `len` are set here) in the batch being filled.
    ///
    /// False when there is no room: flush, collect and come again; or the plugin is not there, see
    /// [`Port::ready`].
    fn push(&mut self, event: &Event, payload: &[u8]) -> bool;

    /// Hands over the batch being filled, if it is not empty and the plugin can take one. What
    /// cannot go now goes with the next call.
    fn flush(&mut self, now: u64, wall: u64);

    /// Gives every batch of actions that came back to `sink`, with the bytes they point to, in
    /// the order of the batches. Never waits.
    ///
    /// # Errors
    ///
    /// [`Lost`] once for every time that the plugin died or was ended because it was stuck. All
    /// its tasks are gone by then and everything pushed and not yet answered with them.
    fn collect(&mut self, sink: &mut dyn FnMut(&[Action], &[u8])) -> Result<(), Lost>;

    /// The number of the task that the plugin was at when it was lost last, as it said itself; `None` where it was at none,
    /// or that is not known.
    fn lost_at(&self) -> Option<u32> {
        None
    }

    /// Whether tasks can be started now.
    ///
    /// # Errors
    ///
    /// [`Lost`] with the reason while a crashed plugin is kept from coming back.
    fn ready(&mut self) -> Result<(), Lost>;

    /// Ends a plugin that takes no events, with all its tasks, and brings it back as after a crash; [`Port::collect`] says
    /// nothing of it. False where it cannot be ended by itself.
    fn restart(&mut self, _reason: &str) -> bool {
        false
    }

    /// Descriptors that become readable when [`Port::collect`] has something to say.
    fn wake_fds(&self) -> Vec<RawFd>;

    /// True while a batch is on its way: collect again soon.
    fn busy(&self) -> bool;

    /// As the plugin last said.
    fn usage(&self) -> Usage;
}
