//! A plugin in the engine's own thread.
//!
//! For tests, for debugging and for plugins that an operator has reviewed: a crash of it is a crash
//! of the host, and it has all the rights of the host.

use std::os::fd::RawFd;

use abi_stable::std_types::RSlice;
use sonde_plugin_api::{
    abi::{Action, Batch, Event, InstanceBox, Out, Usage},
    port::{Lost, Port},
};

use crate::{
    LoadError, Loaded,
    shared::{EVENTS, PAYLOAD_OCTETS},
};

/// Runs the batches where they are flushed.
pub struct InlinePort {
    instance: InstanceBox,
    events: Vec<Event>,
    bytes: Vec<u8>,
    out: Out,
    /// `out` has not been collected.
    pending: bool,
    usage: Usage,
}

impl InlinePort {
    /// Sets the plugin up for this thread.
    ///
    /// # Errors
    ///
    /// [`LoadError::Start`] with what the plugin says.
    // By value: one `Loaded` is one port in the engine.
    #[expect(clippy::needless_pass_by_value)]
    pub fn new(loaded: Loaded) -> Result<Self, LoadError> {
        loaded.instance().map(Self::of_instance)
    }

    /// The same for an instance that was made elsewhere on this thread.
    #[must_use]
    pub fn of_instance(instance: InstanceBox) -> Self {
        Self {
            usage: instance.usage(),
            instance,
            events: Vec::with_capacity(EVENTS),
            bytes: Vec::new(),
            out: Out::default(),
            pending: false,
        }
    }
}

impl Port for InlinePort {
    fn push(&mut self, event: &Event, payload: &[u8]) -> bool {
        let octets = self.bytes.len();
        if self.events.len() == EVENTS || payload.len() > PAYLOAD_OCTETS - octets {
            return false;
        }
        self.events.push(Event { off: octets as u32, len: payload.len() as u32, ..*event });
        self.bytes.extend_from_slice(payload);
        true
    }

    fn flush(&mut self, now: u64, wall: u64) {
        if self.pending || self.events.is_empty() {
            return;
        }
        let batch = Batch {
            now,
            wall,
            events: RSlice::from_slice(&self.events),
            bytes: RSlice::from_slice(&self.bytes),
        };
        self.instance.poll(batch, &mut self.out);
        self.usage = self.instance.usage();
        self.events.clear();
        self.bytes.clear();
        self.pending = !self.out.actions.is_empty();
        if !self.pending {
            self.out.bytes.clear();
        }
    }

    fn collect(&mut self, sink: &mut dyn FnMut(&[Action], &[u8])) -> Result<(), Lost> {
        if std::mem::take(&mut self.pending) {
            sink(&self.out.actions, &self.out.bytes);
            self.out.actions.clear();
            self.out.bytes.clear();
        }
        Ok(())
    }

    fn ready(&mut self) -> Result<(), Lost> {
        Ok(())
    }

    fn wake_fds(&self) -> Vec<RawFd> {
        Vec::new()
    }

    fn busy(&self) -> bool {
        self.pending
    }

    fn usage(&self) -> Usage {
        self.usage
    }
}
