//! What goes in and out of an engine: starts and interrupts, rows and ends.

use std::net::IpAddr;

use sonde_plugin_api::abi::FailKind;

/// A measurement, as whoever started it numbers it; never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RunId(pub u64);

/// A plugin in use.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PortId(pub u32);

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
    pub params: Vec<u8>,
    /// Packets that it may send after an interrupt.
    pub parting_packets: u16,
    /// Who asked for it; a number of the host's choice, for the pace.
    pub client: u64,
    /// Packets that it may send at all; none where only its parameters bound it.
    pub packet_budget: Option<u64>,
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
        /// In the order of the columns.
        values: Vec<u8>,
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
}

/// The end of a measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Whose.
    pub run: RunId,
    /// How.
    pub end: End,
    /// Of packets.
    pub counters: Counters,
    /// Packets that were not sent, by errno.
    pub not_sent_errno: Vec<(i32, u64)>,
    /// Who stamped departures and arrivals.
    pub stamps: (&'static str, &'static str),
    /// Address that its first flow sent from.
    pub source: Option<IpAddr>,
    /// Wall time, ns since 1970.
    pub started_wall_ns: u64,
    /// As `started_wall_ns`.
    pub ended_wall_ns: u64,
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
