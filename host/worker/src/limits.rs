//! How much of everything a plugin may have.

use std::time::Duration;

/// The largest plugin file that is looked at, in octets.
pub const MAX_IMAGE_OCTETS: u64 = 128 << 20;

/// What one plugin may use before its worker is ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Memory on top of what is mapped once the plugin is loaded, in octets.
    pub heap_octets: u64,
    /// How long one batch of events may take.
    ///
    /// A worker is ended between once and one and a half times this after it stopped answering.
    pub poll: Duration,
    /// How long it may take until the plugin is loaded and ready for its first batch.
    pub start: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            heap_octets: 256 << 20,
            poll: Duration::from_secs(1),
            start: Duration::from_secs(10),
        }
    }
}
