//! What comes out.

use sonde_plugin_api::prelude::*;

choices! {
    /// Who stamped a packet.
    pub(crate) enum Stamp {
        /// Nobody.
        None = "none",
        /// The host, around its system call.
        User = "user",
        /// The kernel.
        Kernel = "kernel",
        /// The network card.
        Hardware = "hardware",
        /// A simulation.
        Virtual = "virtual",
    }
}

impl From<StampSource> for Stamp {
    fn from(source: StampSource) -> Self {
        match source {
            StampSource::None => Self::None,
            StampSource::User => Self::User,
            StampSource::Kernel => Self::Kernel,
            StampSource::Hardware => Self::Hardware,
            StampSource::Virtual => Self::Virtual,
        }
    }
}

row! {
    /// An answer to a probe, an ICMP error about it, or that none came.
    pub(crate) struct ReplyRow = "replies" {
        /// Number of the probe, from 0.
        seq: u32,
        /// When the answer came; without one, when the probe left.
        time: Time => "time",
        /// Who sent the answer or the error; null where none came.
        addr: Option<IpAddr>,
        /// Round-trip time.
        rtt_us: Option<u64> => "delay.twoway.icmp.us",
        /// Round-trip time.
        rtt_ns: Option<u64>,
        /// TTL or hop limit that the answer came with.
        ttl: Option<u8>,
        /// ToS or traffic class that the answer came with.
        tos: Option<u8>,
        /// Octets of the answer, IP header included.
        size: Option<u32> { unit: "octets" },
        /// Null where the answer is no ICMP message.
        icmp_type: Option<u8>,
        /// Null where the answer is no ICMP message.
        icmp_code: Option<u8>,
        /// Null where the answer is no TCP segment.
        tcp_flags: Option<u8>,
        /// TTL or hop limit that the probe left with.
        probe_ttl: u8,
        /// The destination answered; an ICMP error is no answer.
        answered: bool,
        /// The probe had been answered before.
        duplicate: bool,
        /// It came when the time of the probe was over, which had been reported by then.
        late: bool,
        /// Addresses of routers on the way, where they were asked for.
        rr: Vec<IpAddr>,
        /// Who stamped the probe.
        tx: Option<Stamp>,
        /// Who stamped the answer.
        rx: Option<Stamp>,
        /// How far off the stamp of the probe may be.
        uncertainty_us: Option<u64>,
        /// What went wrong here, not in the network: the probe did not leave, or the answer is
        /// damaged.
        error: Option<String>,
        /// Of the system call that did not send the probe.
        errno: Option<u32>,
    }
}

impl ReplyRow {
    /// Of a probe of which nothing is known yet.
    pub(crate) fn new(seq: u32, time: Time, probe_ttl: u8) -> Self {
        Self {
            seq,
            time,
            addr: None,
            rtt_us: None,
            rtt_ns: None,
            ttl: None,
            tos: None,
            size: None,
            icmp_type: None,
            icmp_code: None,
            tcp_flags: None,
            probe_ttl,
            answered: false,
            duplicate: false,
            late: false,
            rr: Vec::new(),
            tx: None,
            rx: None,
            uncertainty_us: None,
            error: None,
            errno: None,
        }
    }
}

row! {
    /// The whole measurement.
    pub(crate) struct SummaryRow = "summary" {
        /// Probes that left, or were about to when the measurement was interrupted.
        sent: u32,
        /// Probes that could not be sent.
        not_sent: u32,
        /// Probes that the destination answered in time.
        answered: u32,
        /// ICMP errors about probes.
        errors: u32,
        /// Probes that the destination did not answer in time.
        lost: u32,
        /// Probes whose time was not over when the measurement ended.
        pending: u32,
        /// Of the probes that are not pending, the part that is lost, 0 to 1; null without any.
        loss: Option<f64>,
        /// Answers after the first to the same probe.
        duplicates: u32,
        /// First answers after the time of their probe was over.
        late: u32,
        /// Of the round-trip times of answered probes, as the others.
        min_us: Option<u64>,
        /// Without its fraction.
        mean_us: Option<u64>,
        /// Of n in ascending order that with index n/2, from 0.
        median_us: Option<u64>,
        /// 95 of 100 are not longer.
        p95_us: Option<u64>,
        max_us: Option<u64>,
        /// Standard deviation.
        stddev_us: Option<f64>,
    }
}

tables! {
    pub(crate) enum PingTables {
        Replies(ReplyRow) = "replies",
        Summary(SummaryRow) = "summary",
    }
}

/// As ping programs have shown it for decades.
pub(crate) fn text() -> TextForm {
    const ANSWER: &str = "{size} octets from {addr}: seq={seq} ttl={ttl} time={rtt_us|ms} ms";
    let answer = |end: &str| format!("{ANSWER}{end}");
    TextForm::new("ping {destination} from {source}: {method}")
        .line("replies", "error addr", &answer(" ({error})"))
        .line("replies", "error", "seq={seq} {error}")
        .line("replies", "answered duplicate", &answer(" (duplicate)"))
        .line("replies", "answered late", &answer(" (late)"))
        .line("replies", "answered rr", &answer("\n    route: {rr}"))
        .line("replies", "answered tcp_flags", &answer(" flags=0x{tcp_flags|hex}"))
        .line("replies", "answered", ANSWER)
        .line("replies", "addr icmp_type", &answer(" ICMP type {icmp_type} code {icmp_code}"))
        .line("replies", "addr", &answer(" (no answer to this probe)"))
        .line("replies", "", "no answer: seq={seq}")
        .line(
            "summary",
            "answered",
            "{sent} sent, {answered} answered, {loss|%} lost\n\
             min/mean/median/p95/max/stddev {min_us|ms}/{mean_us|ms}/{median_us|ms}/{p95_us|ms}/\
             {max_us|ms}/{stddev_us|ms} ms",
        )
        .line("summary", "", "{sent} sent, {answered} answered, {loss|%} lost")
}
