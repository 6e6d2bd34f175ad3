//! The batches between engine and worker: one region of shared memory, written by both.
//!
//! Two rings of slots, one for events and one for actions. A slot belongs to its writer until the
//! writer's counter has passed it, then to its reader until the reader's counter has. Counters only
//! grow; `counter % SLOTS` is the slot. Whoever finds nothing to do says so in a flag and sleeps on
//! an eventfd, which the other side rings only then.
//!
//! The host trusts nothing in the region: what it has written it remembers by itself, what the
//! worker wrote is copied out once, checked, and used from the copy. The region is sealed at its
//! size, so no access can fault.

mod bell;
mod host_end;
mod layout;
mod plugin_end;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    bell::{Bell, FOR_ANYTHING, FOR_EVENTS, FOR_ROOM},
    host_end::{HostEnd, Violation},
    layout::{EVENTS, PAYLOAD_OCTETS, REGION_OCTETS, Region},
    plugin_end::PluginEnd,
};
