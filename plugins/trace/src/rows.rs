//! What a trace tells: a row for each answer and each probe without one, findings about the path
//! MTU, last-ditch answers, statistics of rounds, and a summary.

use sonde_plugin_api::prelude::*;

choices! {
    /// Why an answer was credited to its probe.
    pub enum Match {
        /// By what tells probes apart.
        Exact = "exact",
        /// By the IPv4 identification alone, or because nothing else was waiting.
        Weak = "weak",
    }
}

choices! {
    /// How much of a probe an error quotes.
    pub enum QuoteDepth {
        /// Not even an IP header.
        Empty = "empty",
        /// The IP header, and less than 8 octets behind it.
        Network = "network",
        /// The IP header and 8 octets.
        Eight = "eight",
        /// More, but not all.
        Partial = "partial",
        /// The whole packet.
        Full = "full",
    }
}

choices! {
    /// What a row about the path MTU says.
    pub enum Finding {
        /// The link that probes leave by.
        Interface = "interface",
        /// A router says that a packet is too big, and what is not.
        TooBig = "too-big",
        /// A router says so with a size that makes no sense; the MTU was searched for.
        BadSuggestion = "bad-suggestion",
        /// Larger packets vanish behind this router without a word.
        Silence = "silence",
        /// The whole path.
        Path = "path",
        /// No size was answered.
        Unknown = "unknown",
    }
}

row! {
    /// An entry of an MPLS label stack (RFC 4950).
    pub struct LabelRow {
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
    /// What a router says of one of its interfaces (RFC 5837).
    pub struct InterfaceRow {
        /// incoming, sub-incoming, outgoing or next-hop.
        role: String,
        /// As in SNMP.
        index: Option<u32>,
        /// An address of it.
        address: Option<IpAddr>,
        /// Its name.
        name: Option<String>,
        /// Octets.
        mtu: Option<u32>,
    }
}

row! {
    /// Any other object behind a quote (RFC 4884).
    pub struct ExtensionRow {
        /// Class number.
        class: u8,
        /// Subtype.
        subtype: u8,
        /// What it holds, hexadecimal.
        payload: Hex,
    }
}

row! {
    /// An answer, or the lack of one.
    pub struct HopRow {
        /// TTL that the probe left with.
        ttl: u8,
        /// Number of the probe at this hop, from 1.
        attempt: u8,
        /// Who answered; missing where nobody did.
        addr: Option<IpAddr> => "scamper.trace.hop.{ip}",
        /// Round-trip time, microseconds, rounded down.
        rtt_us: Option<u64> => "rtt.us" { unit: "us" },
        /// ICMP type of the answer.
        icmp_type: Option<u8>,
        /// ICMP code of the answer.
        icmp_code: Option<u8>,
        /// TTL or hop limit that the answer came with.
        reply_ttl: Option<u8>,
        /// TTL of the probe as it is quoted: 1 mostly, 0 behind a router that passed it on all the
        /// same, more inside a tunnel.
        quoted_ttl: Option<u8>,
        /// ToS of the probe as it is quoted.
        quoted_tos: Option<u8>,
        /// Destination of the probe as it is quoted; another one than asked for is a translation.
        quoted_dst: Option<IpAddr>,
        /// Why it was credited to its probe.
        r#match: Option<Match>,
        /// Label stack that the probe came in with.
        mpls: Vec<LabelRow>,
        /// What the answer means where it is not just a hop: !N, !H, !P and others, [open], [closed].
        mark: Option<String>,
        /// TCP flags of the answer.
        tcp_flags: Option<u8>,
        /// When the answer came; without one when the probe left.
        time: Option<Time> => "time",
        /// ToS or traffic class of the answer.
        reply_tos: Option<u8>,
        /// IPv4 identification of the answer.
        reply_id: Option<u16>,
        /// Length of the answer with its IP header, octets.
        reply_octets: Option<u32> { unit: "octets" },
        /// Routers on the way back, guessed from the TTL of the answer.
        hops_back: Option<u8>,
        /// How much of the probe is quoted.
        quote: Option<QuoteDepth>,
        /// The same in octets.
        quoted_octets: Option<u16> { unit: "octets" },
        /// What was changed in the probe, as far as it is quoted: source, destination, port, checksum,
        /// sequence, id.
        rewritten: Vec<String>,
        /// MTU of the next link, where the answer tells it.
        next_mtu: Option<u32> { unit: "octets" },
        /// Interfaces of the router.
        interfaces: Vec<InterfaceRow>,
        /// Other objects behind the quote.
        extensions: Vec<ExtensionRow>,
        /// It came after the time to wait for it.
        late: bool,
        /// Source port or ICMP identifier of the flow.
        flow: u16,
        /// Number of the round, from 1.
        round: u32,
        /// Round-trip time, nanoseconds.
        rtt_ns: Option<u64> { unit: "ns" },
        /// How wrong the time of departure may be, microseconds.
        uncertainty_us: Option<f64> { unit: "us" },
        /// Network interface of the host that the answer came in by.
        rx_interface: Option<String>,
    }
}

row! {
    /// A last-ditch probe, with the largest TTL, that was answered after the gap limit.
    pub struct LastDitchRow {
        /// Number of the probe, from 1.
        attempt: u8,
        /// Who answered.
        addr: IpAddr,
        /// Round-trip time, microseconds, rounded down.
        rtt_us: u64 { unit: "us" },
        /// ICMP type of the answer.
        icmp_type: Option<u8>,
        /// ICMP code of the answer.
        icmp_code: Option<u8>,
        /// TTL or hop limit that the answer came with.
        reply_ttl: u8,
        /// What the answer means, as in the hops.
        mark: Option<String>,
    }
}

row! {
    /// Something found out about the path MTU.
    pub struct PmtuRow {
        /// The largest packet that passes from here on, as far as this finding goes; missing where
        /// that could not be found out.
        pmtu: Option<u32> { unit: "octets" },
        /// Distance of the router that the finding is about, of the destination in the last row.
        ttl: Option<u8>,
        /// That router, or the destination.
        addr: Option<IpAddr>,
        /// What it says.
        kind: Finding,
        /// Size of the probe that led to it.
        size: u32 { unit: "octets" },
        /// MTU that the router named.
        suggested: Option<u32> { unit: "octets" },
    }
}

row! {
    /// What rounds tell of an address at a hop.
    pub struct StatisticsRow {
        /// The hop.
        ttl: u8,
        /// Who answered; missing where nobody ever did.
        addr: Option<IpAddr>,
        /// Probes to the hop.
        sent: u64,
        /// Probes to the hop that this address answered in time.
        answered: u64,
        /// Probes to the hop that nobody answered in time, of all, 0 to 1.
        loss: f64,
        /// Smallest round-trip time, microseconds.
        min_us: Option<u64> { unit: "us" },
        /// Mean, microseconds.
        mean_us: Option<u64> { unit: "us" },
        /// Largest, microseconds.
        max_us: Option<u64> { unit: "us" },
        /// Standard deviation, microseconds.
        stddev_us: Option<f64> { unit: "us" },
        /// The last one, microseconds.
        last_us: Option<u64> { unit: "us" },
    }
}

row! {
    /// The whole trace; of several rounds the last one, with the counts of all.
    pub struct SummaryRow {
        /// Why it stopped: reached, unreachable, gap_limit, loop, max_ttl, stop_set, budget,
        /// interrupted or failed.
        stop: String,
        /// The destination itself answered.
        reached: bool,
        /// Hops up to the one where it stopped.
        hop_count: u8 { unit: "hops" },
        /// The first TTL that was probed.
        first_hop: u8 { unit: "hops" },
        /// ICMP type that made the destination unreachable.
        stop_type: Option<u8>,
        /// ICMP code that made the destination unreachable.
        stop_code: Option<u8>,
        /// The hop where a loop closed.
        loop_ttl: Option<u8>,
        /// The address that came again.
        loop_addr: Option<IpAddr>,
        /// Silent hops in a row at the end.
        gap_hops: u8 { unit: "hops" },
        /// Doubletree: the address that ended the way there.
        gss_stop: Option<IpAddr>,
        /// Doubletree: the address that ended the way back.
        lss_stop: Option<IpAddr>,
        /// Path MTU, where it was found.
        pmtu: Option<u32> { unit: "octets" },
        /// Probes that left.
        sent: u32,
        /// Probes that were answered, also late.
        answered: u32,
        /// Answers after the time to wait for them.
        late: u32,
        /// Answers after the first one of a probe.
        duplicates: u32,
        /// Length of a probe with its IP header, octets.
        probe_octets: u32 { unit: "octets" },
        /// Source port or ICMP identifier.
        sport: u16,
        /// Destination port; of ICMP-paris the checksum.
        dport: u16,
        /// IPv6 flow label.
        flow_label: u32,
        /// Rounds that were begun.
        rounds: u32,
        /// From the first probe to the end, microseconds.
        duration_us: u64 { unit: "us" },
        /// As given.
        userid: u32,
    }
}

tables! {
    /// Rows of all tables.
    pub enum TraceRow {
        Hop(HopRow) = "hops",
        LastDitch(LastDitchRow) = "lastditch",
        Pmtu(PmtuRow) = "pmtu",
        Statistics(StatisticsRow) = "statistics",
        Summary(SummaryRow) = "summary",
    }
}

/// How the rows read on a terminal: a line for each hop, as traceroutes print them.
pub(crate) fn text() -> TextForm {
    TextForm::new("trace to {target} ({destination})")
        // Not where it would stand in time.
        .line("hops", "late mark", "{ttl|3}  {addr}  {rtt_us|ms} ms {mark}, late")
        .line("hops", "late", "{ttl|3}  {addr}  {rtt_us|ms} ms, late")
        .line("hops", "addr mark", "  {rtt_us|ms} ms {mark}")
        .continues("round ttl addr")
        .line("hops", "addr", "  {rtt_us|ms} ms")
        .continues("round ttl addr")
        .line("hops", "addr mark", "  {addr}  {rtt_us|ms} ms {mark}")
        .continues("round ttl")
        .line("hops", "addr", "  {addr}  {rtt_us|ms} ms")
        .continues("round ttl")
        .line("hops", "!addr", "  *")
        .continues("round ttl")
        .line("hops", "addr mark", "{ttl|3}  {addr}  {rtt_us|ms} ms {mark}")
        .line("hops", "addr", "{ttl|3}  {addr}  {rtt_us|ms} ms")
        .line("hops", "", "{ttl|3}  *")
        .line("lastditch", "mark", "at last  {addr}  {rtt_us|ms} ms {mark}")
        .line("lastditch", "", "at last  {addr}  {rtt_us|ms} ms")
        .line("pmtu", "kind=interface", "mtu {pmtu} of the first link")
        .line("pmtu", "kind=too-big", "mtu {pmtu} said by {addr}, hop {ttl}")
        .line("pmtu", "kind=bad-suggestion", "mtu {pmtu} searched for, {addr} said {suggested}")
        .line("pmtu", "kind=silence", "mtu {pmtu} behind {addr}, hop {ttl}, which keeps silent")
        .line("pmtu", "kind=path", "mtu {pmtu} of the path")
        .line("pmtu", "", "mtu unknown")
        .line(
            "statistics",
            "addr",
            "{ttl|3}  {addr}  {answered} of {sent}, {loss|%} lost, min/mean/max/stddev \
             {min_us|ms}/{mean_us|ms}/{max_us|ms}/{stddev_us|ms} ms",
        )
        .line("statistics", "", "{ttl|3}  *  {sent} sent, no answer in time")
        // A firewall refuses in its own name.
        .line(
            "summary",
            "stop=reached !reached",
            "--- refused after {hop_count} hops by another address than the target, {sent} probes ---",
        )
        .line("summary", "pmtu", "--- {stop} after {hop_count} hops, {sent} probes, mtu {pmtu} ---")
        .line("summary", "", "--- {stop} after {hop_count} hops, {sent} probes ---")
}
