//! What goes in and out of an engine: starts and interrupts, rows and ends.

use std::{net::IpAddr, ops::Range, sync::Arc};

use sonde_packet::Permits;
use sonde_plugin_api::abi::FailKind;

/// A measurement, as whoever started it numbers it; never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RunId(pub u64);

/// A plugin in use.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PortId(pub u32);

/// Is shown every probe that leaves and every packet that belongs to a measurement: wall time, ns since
/// 1970, and the packet from its IP header on. Probes have the time at which the kernel took them; its own stamp of
/// their departure comes later. Runs in the engine's thread, so it must not take long.
pub type Tap = Box<dyn FnMut(u64, &[u8]) + Send>;

/// A measurement to begin.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Start {
    /// Its number.
    pub run: RunId,
    /// Who does it.
    pub port: PortId,
    /// Index of the method in the plugin's descriptor.
    pub method: u16,
    /// Values in declared order.
    pub params: Params,
    /// Packets that it may send after an interrupt.
    pub parting_packets: u16,
    /// Who asked for it; a number of the host's choice, for the pace.
    pub client: u64,
    /// Packets that it may send at all; none where only its parameters bound it.
    pub packet_budget: Option<u64>,
    /// What the operator permits it beside what every method may send.
    pub permits: Permits,
    /// Whether its rows are kept, and so bounded.
    pub keeps_rows: bool,
}

/// Encoded parameters. Those of a campaign differ in one value, so the others are there once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Params {
    shared: Arc<[u8]>,
    own: Own,
    /// Where its own octets take the place of shared ones.
    at: Range<usize>,
}

/// Octets of a measurement of its own: an address with its tag, or nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Own {
    octets: [u8; 17],
    length: u8,
}

impl Params {
    /// The same octets for all who share them.
    #[must_use]
    pub fn new(shared: Arc<[u8]>) -> Self {
        Self { shared, own: Own::default(), at: 0..0 }
    }

    /// `own` in the place of the shared octets at `at`.
    ///
    /// # Panics
    ///
    /// Where `own` is longer than an encoded address, or `at` beyond the shared octets.
    #[must_use]
    pub fn with(shared: Arc<[u8]>, at: Range<usize>, own: &[u8]) -> Self {
        assert!(shared.get(at.clone()).is_some(), "the place is one of the shared octets");
        let mut octets = [0; 17];
        octets[..own.len()].copy_from_slice(own);
        Self { shared, own: Own { octets, length: own.len() as u8 }, at }
    }

    /// All of them, at the end of `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.shared[..self.at.start]);
        out.extend_from_slice(&self.own.octets[..usize::from(self.own.length)]);
        out.extend_from_slice(&self.shared[self.at.end..]);
    }
}

impl From<Vec<u8>> for Params {
    fn from(octets: Vec<u8>) -> Self {
        Self::new(octets.into())
    }
}

/// A portion of news.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// In the order in which it happened.
    pub outputs: Vec<Output>,
    pub(crate) octets: Vec<u8>,
    /// Octets of rows that are told and not kept.
    pub(crate) passing: usize,
}

/// Octets and outputs of a portion that room is made for beforehand, at most.
const MOST_ROOM: usize = 1 << 20;

impl News {
    /// Takes this portion; for the next one there is room for as much.
    pub(crate) fn take(&mut self) -> Self {
        let next = Self {
            outputs: Vec::with_capacity(self.outputs.len().min(MOST_ROOM / size_of::<Output>())),
            octets: Vec::with_capacity(self.octets.len().min(MOST_ROOM)),
            passing: 0,
        };
        std::mem::replace(self, next)
    }

    /// The values of a row of this portion.
    #[must_use]
    pub fn values(&self, values: &Range<usize>) -> &[u8] {
        self.octets.get(values.clone()).unwrap_or_default()
    }
}

/// News of a measurement.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A row; its values are still to be decoded and checked.
    Row {
        /// Whose.
        run: RunId,
        /// Index of the table in the method's descriptor.
        table: u8,
        /// In the order of the columns: what [`News::values`] finds.
        values: Range<usize>,
        /// Wall time minus monotonic time, for the times among the values.
        wall_offset_ns: i64,
    },
    /// What the method says.
    Log {
        /// Whose.
        run: RunId,
        /// 1 (error) to 5 (trace).
        level: u8,
        /// One line.
        text: String,
    },
    /// How far it is.
    Progress {
        /// Whose.
        run: RunId,
        /// Of the whole.
        per_mille: u16,
    },
    /// It is over. Comes exactly once for each start.
    Ended(Box<Ended>),
    /// A plugin died or was stuck; its measurements end each for itself.
    PortLost {
        /// Which.
        port: PortId,
        /// One line.
        reason: String,
    },
    /// A plugin that was lost does not come back by itself.
    PortGone(PortId),
}

/// Number of the reason of packets that waited for their turn when nobody wanted them any more.
pub const CANCELED: i32 = libc::ECANCELED;
/// Errno of packets beyond the measurement's budget.
pub const NO_BUDGET: i32 = libc::EDQUOT;

/// Number, which is no errno, of the reason of packets whose address a list does not permit, or not any more.
pub const FORBIDDEN: i32 = -1;

/// The end of a measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Whose.
    pub run: RunId,
    /// How.
    pub end: End,
    /// Of packets.
    pub counters: Counters,
    /// Packets that were not sent, by errno, [`CANCELED`] where nobody wanted them any more, [`FORBIDDEN`].
    pub not_sent_errno: Vec<(i32, u64)>,
    /// Who stamped departures and arrivals: the least exact of those of a round-trip time.
    pub stamps: (&'static str, &'static str),
    /// Address that its first flow sent from.
    pub source: Option<IpAddr>,
    /// This host had no way or no means for something that it wanted, or its plugin died of another measurement.
    pub unable: bool,
    /// Wall time, ns since 1970, as the clock was set then.
    pub started_wall_ns: u64,
    /// As `started_wall_ns`.
    pub ended_wall_ns: u64,
    /// Times that the wall clock was set while it ran; the last ones of many.
    pub clock_steps: Vec<ClockStep>,
    /// Packets that the kernel, or the way to its plugin, had no room for while it ran: any of them may have been for it.
    pub host_drops: u64,
}

/// The wall clock was set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClockStep {
    /// When that was noticed, on the clock as it is since; ns since 1970.
    pub wall_ns: u64,
    /// By how much, forwards where positive.
    pub step_ns: i64,
}

/// How a measurement ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// By itself, perhaps because it was asked to.
    Finished {
        /// Why, in the method's words.
        stop: Option<String>,
        /// It was asked to.
        interrupted: bool,
    },
    /// Its plugin is kept down for a while, after too many crashes: it was not begun, and may be later.
    NotBegun {
        /// One line.
        text: String,
    },
    /// It could not measure.
    Failed {
        /// What kind of failure.
        kind: FailKind,
        /// One line.
        text: String,
        /// Policy forbade all that it wanted to send.
        refused: bool,
    },
}

/// Packets of one measurement, or of the whole engine.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Handed to the kernel, which took them.
    pub sent: u64,
    /// Not sent, whatever the reason; never counted as lost.
    pub not_sent: u64,
    /// Probes that something came back for in time, ICMP errors too.
    pub answered: u64,
    /// Of these, ICMP errors.
    pub errors: u64,
    /// Answers after the time-out.
    pub late: u64,
    /// Answers after the first.
    pub duplicates: u64,
}

/// Counters of the whole engine.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Statistics {
    /// Sum over all measurements, the ended ones too.
    pub counters: Counters,
    /// Measurements that were begun, or refused.
    pub started: u64,
    /// Measurements that wait for their turn to send.
    pub waiting: u64,
    /// Packets sent.
    pub sent: u64,
    /// Received packets that are no business of ours.
    pub foreign: u64,
    /// Received packets with a wrong checksum.
    pub bad_checksum: u64,
    /// Packets that the kernel had no room for: our loss, not the network's.
    pub kernel_drops: u64,
    /// Times that the wall clock was set.
    pub clock_steps: u64,
}
