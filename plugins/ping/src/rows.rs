//! What a ping tells: a row for each answer and each probe without one, and a summary.

use sonde_plugin_api::prelude::*;

row! {
    /// An answer, or the lack of one.
    pub struct ReplyRow {
        /// Number of the probe, from 0.
        seq: u32,
        /// What it is: reply, error (ICMP), timeout or unsent.
        kind: String,
        /// When the answer came; without one when the probe left.
        time: Option<Time> => "time",
        /// Who answered; missing where nobody did.
        addr: Option<IpAddr>,
        /// Round-trip time, microseconds, rounded down.
        rtt_us: Option<u64> => "delay.twoway.icmp.us",
        /// TTL or hop limit that the answer came with.
        ttl: Option<u8>,
        /// Length of the answer with its IP header, octets.
        size: Option<u32>,
        /// ICMP type of the answer.
        icmp_type: Option<u8>,
        /// ICMP code of the answer.
        icmp_code: Option<u8>,
        /// TCP flags of the answer.
        tcp_flags: Option<u8>,
        /// TTL or hop limit that the probe left with.
        probe_ttl: u8,
        /// The probe had been answered before.
        duplicate: bool,
        /// It came after the time to wait for it.
        late: bool,
        /// Round-trip time, nanoseconds.
        rtt_ns: Option<u64>,
        /// How wrong the time of departure may be, microseconds.
        uncertainty_us: Option<f64>,
        /// Who stamped the departure: user, kernel, hardware.
        tx: Option<String>,
        /// Who stamped the arrival.
        rx: Option<String>,
        /// Recorded route.
        rr: Vec<IpAddr>,
        /// Why a probe was not sent.
        error: Option<String>,
    }
}

row! {
    /// The whole run.
    pub struct SummaryRow {
        /// Probes that left.
        sent: u32,
        /// Probes that the target answered in time.
        answered: u32,
        /// Probes that an ICMP error came for instead.
        errors: u32,
        /// Probes that left and that the target did not answer in time.
        lost: u32,
        /// Probes whose time was not over at the end.
        pending: u32,
        /// Probes that did not leave.
        not_sent: u32,
        /// Answers after the first one of a probe.
        duplicates: u32,
        /// Answers after the time to wait for them.
        late: u32,
        /// Lost of all whose fate is known, 0 to 1.
        loss: Option<f64>,
        /// Smallest round-trip time, microseconds.
        min_us: Option<u64>,
        /// Mean, microseconds.
        mean_us: Option<u64>,
        /// Element n/2 of the sorted times, microseconds.
        median_us: Option<u64>,
        /// Element 0.95 n of the sorted times, microseconds.
        p95_us: Option<u64>,
        /// Largest, microseconds.
        max_us: Option<u64>,
        /// Standard deviation, microseconds.
        stddev_us: Option<f64>,
    }
}

tables! {
    /// Rows of both tables.
    pub enum PingRow {
        Reply(ReplyRow) = "replies",
        Summary(SummaryRow) = "summary",
    }
}

/// How the rows read on a terminal.
pub(crate) fn text() -> TextForm {
    let answer = "{size} octets from {addr}: seq={seq} ttl={ttl} time={rtt_us|ms} ms";
    TextForm::new("PING {target} ({destination})")
        .line("replies", "kind=reply duplicate", &format!("{answer} (duplicate)"))
        .line("replies", "kind=reply late", &format!("{answer} (late)"))
        .line("replies", "kind=reply rr", &format!("{answer}\nroute: {{rr}}"))
        .line("replies", "kind=reply", answer)
        .line(
            "replies",
            "kind=error",
            "from {addr}: seq={seq} ICMP type {icmp_type} code {icmp_code} ttl={ttl} \
             time={rtt_us|ms} ms",
        )
        .line("replies", "kind=timeout", "seq={seq}: no answer")
        .line("replies", "kind=unsent", "seq={seq}: {error}")
        .line(
            "summary",
            "answered",
            "--- statistics ---\n{sent} probes sent, {answered} answered, {loss|%} lost, {errors} \
             errors, {duplicates} duplicates\nround-trip min/mean/median/max/stddev = \
             {min_us|ms}/{mean_us|ms}/{median_us|ms}/{max_us|ms}/{stddev_us|ms} ms",
        )
        .line(
            "summary",
            "",
            "--- statistics ---\n{sent} probes sent, {answered} answered, {loss|%} lost, {errors} \
             errors",
        )
}
