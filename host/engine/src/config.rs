//! What an operator decides about the engine.

/// Who stamps the departure of probes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Stamps {
    /// The kernel while few packets are sent, else as [`Stamps::Interpolated`].
    #[default]
    Auto,
    /// The kernel, for every packet; costs about 1 µs each.
    Precise,
    /// The time of the system call, shared out over the packets that it took.
    Interpolated,
}

/// Everything that an engine is opened with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Of all measurements together.
    pub packets_per_second: f64,
    /// Who stamps departures.
    pub stamps: Stamps,
}

impl Default for Config {
    fn default() -> Self {
        Self { packets_per_second: 20.0, stamps: Stamps::default() }
    }
}
