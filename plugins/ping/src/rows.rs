//! What a ping tells: a row for each answer and each probe without one, counts on the way, and a
//! summary.

use sonde_plugin_api::prelude::*;

choices! {
    /// What a row of `replies` tells.
    #[derive(Default)]
    pub enum RowKind {
        /// The target answered.
        Reply = "reply",
        /// An ICMP error came instead.
        Error = "error",
        /// Nothing came in time.
        Timeout = "timeout",
        /// The probe did not leave.
        Unsent = "unsent",
        /// The run ended before the time for an answer was over.
        #[default]
        Pending = "pending",
    }
}

choices! {
    /// What of a reply of ICMP is not as its request was.
    pub enum Alteration {
        /// Its code is not 0.
        Code = "code",
        /// It brings back less data.
        Truncated = "truncated",
        /// It brings back other data, or more.
        Data = "data",
    }
}

choices! {
    /// Whose clock gave a time.
    pub enum Clock {
        /// Nobody's.
        None = "none",
        /// The host's, around its system call.
        User = "user",
        /// The kernel's.
        Kernel = "kernel",
        /// The network card's.
        Hardware = "hardware",
        /// A simulation's.
        Virtual = "virtual",
    }
}

impl From<StampSource> for Clock {
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
    /// A slot of an IP timestamp option.
    pub struct Stamp {
        /// Who filled it; missing where only times were asked for.
        addr: Option<IpAddr>,
        /// Milliseconds since midnight UTC; with the highest bit set some other clock's.
        ms: u32,
    }
}

row! {
    /// An entry of an MPLS label stack.
    pub struct Label {
        /// 20 bits.
        label: u32,
        /// Traffic class.
        tc: u8,
        /// The last of the stack.
        s: bool,
        /// Of the label.
        ttl: u8,
    }
}

row! {
    /// An answer, or the lack of one.
    #[derive(Default)]
    pub struct ReplyRow {
        /// Number of the probe, from 0.
        seq: u32,
        /// What it is: reply, error (ICMP), timeout, unsent or pending.
        kind: RowKind,
        /// When the answer came; without one when the probe left.
        time: Option<Time> => "time",
        /// Who answered; missing where nobody did.
        addr: Option<IpAddr>,
        /// Round-trip time, microseconds, rounded down; missing where an answer may be to any of several probes.
        rtt_us: Option<u64> => "delay.twoway.icmp.us",
        /// TTL or hop limit that the answer came with.
        ttl: Option<u8>,
        /// Length of the answer with its IP header, octets.
        size: Option<u32>,
        /// IP protocol of the answer: 1 or 58 is ICMP, 6 TCP, 17 UDP.
        protocol: Option<u8>,
        /// ICMP type of the answer.
        icmp_type: Option<u8>,
        /// ICMP code of the answer.
        icmp_code: Option<u8>,
        /// TCP flags of the answer.
        tcp_flags: Option<u8>,
        /// TTL or hop limit that the probe left with.
        probe_ttl: u8,
        /// IPv4 identification that the probe left with.
        probe_ip_id: Option<u16>,
        /// The probe had been answered before.
        duplicate: bool,
        /// It came after the time to wait for it.
        late: bool,
        /// A later probe was answered before (RFC 4737).
        reordered: bool,
        /// Round-trip time, nanoseconds.
        rtt_ns: Option<u64>,
        /// How wrong the time of departure may be, microseconds.
        uncertainty_us: Option<f64>,
        /// When the probe left.
        sent: Option<Time>,
        /// Whose clock gave the departure.
        tx: Option<Clock>,
        /// Whose clock gave the arrival.
        rx: Option<Clock>,
        /// ToS or traffic class of the answer.
        tos: Option<u8>,
        /// IP identification of the answer; in IPv6 of one that came in fragments.
        ip_id: Option<u32>,
        /// It came in fragments.
        fragmented: bool,
        /// Credited to its probe by the IP identification or the checksum alone, as the only one that waits, or as an echo
        /// reply of another address, which counts as an answer too, as with iputils.
        weak: bool,
        /// What of an ICMP reply is not as the request was: code (not 0), truncated (less data) or data (other, or more); such
        /// a reply counts as an answer too, as with iputils.
        altered: Option<Alteration>,
        /// The first octet of the data, from 0, that is not as it was sent.
        altered_octet: Option<u32>,
        /// MTU of the next hop as an ICMP error gives it, octets.
        mtu: Option<u32>,
        /// Largest segment that the other end takes, octets.
        tcp_mss: Option<u16>,
        /// TCP window of the answer, not scaled.
        tcp_window: Option<u16>,
        /// Recorded route.
        rr: Vec<IpAddr>,
        /// Slots of the IP timestamp option that are filled.
        ts: Vec<Stamp>,
        /// Routers that found no room in the timestamp option.
        ts_overflow: Option<u8>,
        /// Timestamp reply: when the request was sent, milliseconds since midnight UTC.
        icmp_originate_ms: Option<u32>,
        /// Timestamp reply: when it was received.
        icmp_receive_ms: Option<u32>,
        /// Timestamp reply: when the answer was sent.
        icmp_transmit_ms: Option<u32>,
        /// TTL or hop limit of the probe where it was quoted.
        quoted_ttl: Option<u8>,
        /// ToS or traffic class of the probe where it was quoted.
        quoted_tos: Option<u8>,
        /// IPv4 identification of the probe where it was quoted.
        quoted_ip_id: Option<u32>,
        /// Destination of the probe where it was quoted; another one was translated on the way.
        quoted_dst: Option<IpAddr>,
        /// MPLS labels in an ICMP error (RFC 4950).
        mpls: Vec<Label>,
        /// Network interface of the host that the answer came in by.
        rx_interface: Option<String>,
        /// Why a probe was not sent.
        error: Option<String>,
    }
}

row! {
    /// What is known so far; with `sonde.ping.every` a row for so many probes.
    #[derive(Default)]
    pub struct InterimRow {
        /// Probes that left so far.
        sent: u32,
        /// Probes that the target answered in time.
        answered: u32,
        /// Probes that left and that the target did not answer in time.
        lost: u32,
        /// Probes whose time is not over.
        pending: u32,
        /// Answers after the first one of a probe.
        duplicates: u32,
        /// Lost of all whose fate is known, 0 to 1.
        loss: Option<f64>,
        /// Smallest round-trip time, microseconds.
        min_us: Option<u64>,
        /// Mean, microseconds.
        mean_us: Option<u64>,
        /// Element n/2 of the sorted times, microseconds.
        median_us: Option<u64>,
        /// Largest, microseconds.
        max_us: Option<u64>,
        /// Mean difference of the times of consecutive probes, microseconds.
        jitter_us: Option<f64>,
    }
}

row! {
    /// The whole run.
    #[derive(Default)]
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
        /// Answers that a later probe's came before.
        reordered: u32,
        /// Answers that came in fragments.
        fragmented: u32,
        /// Packets-too-big that were sent.
        too_big_sent: u32,
        /// Lost of all whose fate is known, 0 to 1.
        loss: Option<f64>,
        /// Lower end of the 95 % interval of the loss (Wilson).
        loss_low: Option<f64>,
        /// Upper end of it.
        loss_high: Option<f64>,
        /// Smallest round-trip time, microseconds.
        min_us: Option<u64>,
        /// Mean, microseconds.
        mean_us: Option<u64>,
        /// Element n/2 of the sorted times, microseconds.
        median_us: Option<u64>,
        /// Element 0.95 n of the sorted times, microseconds.
        p95_us: Option<u64>,
        /// Element 0.99 n of the sorted times, microseconds.
        p99_us: Option<u64>,
        /// Largest, microseconds.
        max_us: Option<u64>,
        /// Standard deviation, microseconds.
        stddev_us: Option<f64>,
        /// Mean difference of the times of consecutive probes (RFC 3393), microseconds.
        jitter_us: Option<f64>,
        /// Address that was sent from.
        source: Option<IpAddr>,
        /// Source port or ICMP identifier; the first one where each probe has its own.
        local: Option<u16>,
        /// Octets of a probe with its IP header.
        size: u32,
        /// TCP SYN probes shared one port, and so one connection of the other end.
        reused: bool,
    }
}

tables! {
    /// Rows of all tables.
    pub enum PingRow {
        Reply(ReplyRow) = "replies",
        Summary(SummaryRow) = "summary",
        Interim(InterimRow) = "interim",
    }
}

/// How the rows read on a terminal.
pub(crate) fn text() -> TextForm {
    let answer = "{size} octets from {addr}: seq={seq} ttl={ttl} time={rtt_us|ms} ms";
    let tcp = "{size} octets from {addr}: seq={seq} tcp={tcp_flags|hex} ttl={ttl} \
               time={rtt_us|ms} ms";
    let clocks = " originate={icmp_originate_ms} receive={icmp_receive_ms} \
                  transmit={icmp_transmit_ms} ms since midnight";
    let counts = "--- statistics ---\n{sent} probes sent, {answered} answered, \
                  {loss|%} loss (95% interval {loss_low|%} to {loss_high|%}), {errors} errors, \
                  {duplicates} duplicates, {reordered} reordered, {late} late";
    let times = "\nround-trip min/mean/max/stddev = \
                 {min_us|ms}/{mean_us|ms}/{max_us|ms}/{stddev_us|ms} ms, jitter {jitter_us|ms} \
                 ms\nround-trip median/95%/99% = {median_us|ms}/{p95_us|ms}/{p99_us|ms} ms";
    TextForm::new("PING {target} ({destination})")
        .line("replies", "kind=reply duplicate", &format!("{answer} (duplicate)"))
        .line("replies", "kind=reply late", &format!("{answer} (late)"))
        .line("replies", "kind=reply altered=truncated", &format!("{answer} (truncated)"))
        .line(
            "replies",
            "kind=reply altered=data",
            &format!("{answer}\nwrong data octet #{{altered_octet}}"),
        )
        .line("replies", "kind=reply altered=code", &format!("{answer} (code {{icmp_code}})"))
        .line("replies", "kind=reply rr", &format!("{answer}\nroute: {{rr}}"))
        .line(
            "replies",
            "kind=reply ts",
            &format!("{answer}\ntimestamps: {{ts}} overflow {{ts_overflow}}"),
        )
        .line("replies", "kind=reply fragmented", &format!("{answer} (in fragments, id {{ip_id}})"))
        .line("replies", "kind=reply tcp_flags reordered", &format!("{tcp} (reordered)"))
        .line("replies", "kind=reply tcp_flags", tcp)
        .line("replies", "kind=reply reordered", &format!("{answer} (reordered)"))
        .line("replies", "kind=reply icmp_transmit_ms", &format!("{answer}{clocks}"))
        .line("replies", "kind=reply rtt_us", answer)
        .line(
            "replies",
            "kind=reply",
            "{size} octets from {addr}: ttl={ttl}, to one of several probes",
        )
        .line(
            "replies",
            "kind=error",
            "from {addr}: seq={seq} ICMP type {icmp_type} code {icmp_code} ttl={ttl} \
             time={rtt_us|ms} ms",
        )
        .line("replies", "kind=timeout", "seq={seq}: no answer")
        .line("replies", "kind=pending", "seq={seq}: no answer yet")
        .line("replies", "kind=unsent", "seq={seq}: {error}")
        .line(
            "interim",
            "",
            "[{sent} sent, {answered} answered, {loss|%} loss, \
             min/mean/median/max = {min_us|ms}/{mean_us|ms}/{median_us|ms}/{max_us|ms} ms]",
        )
        .line("summary", "answered", &format!("{counts}{times}"))
        .line("summary", "", counts)
}
