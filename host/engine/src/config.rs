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

/// How fast packets may leave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// In the long run; more than 0.
    pub packets_per_second: f64,
    /// Packets that may leave at once after a rest; 1 or more.
    pub burst: f64,
}

/// How fast packets may leave within each scope beside the host; none is as fast as the host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Of each plugin.
    pub plugin: Option<Rate>,
    /// Of each client who asks for measurements.
    pub client: Option<Rate>,
    /// To the addresses of each /24 (IPv4) or /48 (IPv6).
    pub prefix: Option<Rate>,
    /// To each address.
    pub address: Option<Rate>,
    /// Answers inside conversations, which do not count as probes, of the whole host; none is as
    /// many as probes, and at least 100 a second. Of each plugin, client and prefix they are as many as probes.
    pub immediate: Option<f64>,
    /// Of these, to each address.
    pub immediate_address: Option<Rate>,
}

impl Limits {
    /// Nothing but the host's own.
    pub const NONE: Self = Self {
        plugin: None,
        client: None,
        prefix: None,
        address: None,
        immediate: None,
        immediate_address: None,
    };
}

impl Default for Limits {
    /// Two packets a second to an address, after the first twenty.
    fn default() -> Self {
        let rate = |packets_per_second, burst| Some(Rate { packets_per_second, burst });
        Self { address: rate(2.0, 20.0), immediate_address: rate(100.0, 20.0), ..Self::NONE }
    }
}

/// Everything that an engine is opened with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Of all measurements together.
    pub packets_per_second: f64,
    /// Of the scopes within.
    pub limits: Limits,
    /// Who stamps departures.
    pub stamps: Stamps,
}

impl Default for Config {
    fn default() -> Self {
        Self { packets_per_second: 20.0, limits: Limits::default(), stamps: Stamps::default() }
    }
}
