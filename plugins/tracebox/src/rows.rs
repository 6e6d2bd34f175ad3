//! What a run tells: a row for each hop, one for each modification, and a summary.

use sonde_plugin_api::prelude::*;

choices! {
    /// What became of a field.
    pub enum Change {
        /// It is there with another value.
        Changed = "changed",
        /// It was not in the probe.
        Added = "added",
        /// It was in the probe and is there no more.
        Removed = "removed",
    }
}

choices! {
    /// Who says it.
    pub enum Origin {
        /// A quote: it happened on the way.
        Path = "path",
        /// The destination's own answer: it may be the destination's choice.
        Endpoint = "endpoint",
    }
}

choices! {
    /// How much of the probe is quoted.
    pub enum QuoteClass {
        /// Less than its IP header.
        Empty = "empty",
        /// Its IP header.
        Network = "network",
        /// Its IP header and 8 octets.
        Eight = "eight",
        /// More, but not all.
        Partial = "partial",
        /// All of it.
        Full = "full",
    }
}

choices! {
    /// How sure it is that a quote is of the probe.
    pub enum Certainty {
        /// Its identification or sequence number came back.
        Exact = "exact",
        /// All that nobody could have guessed was rewritten, but for the port or the checksum.
        Weak = "weak",
    }
}

choices! {
    /// What the transport's checksum says of a probe that is quoted whole.
    pub enum Checksum {
        /// It is right: whoever changed something calculated it anew.
        Good = "good",
        /// It is right for the addresses that were sent: they were translated and it was not.
        Sent = "sent_addresses",
        /// It is wrong: something was changed by somebody who did not care.
        Wrong = "wrong",
    }
}

choices! {
    /// What a modification means.
    pub enum Meaning {
        /// A mark of ECN or of services was set to 0.
        Bleached = "bleached",
        /// Congestion experienced: a queue on the way says so.
        Congestion = "congestion",
        /// A mark was replaced by another one.
        Remarked = "remarked",
        /// An address or a port is another one.
        Translated = "translated",
        /// A segment size was made smaller.
        Clamped = "clamped",
        /// An option is gone.
        Stripped = "stripped",
    }
}

choices! {
    /// What may stand on the way.
    pub enum Device {
        /// It answers for the destination.
        Proxy = "proxy",
        /// It keeps account of connections, and stops what is part of none.
        Stateful = "stateful",
        /// It stops fragments.
        FragmentFilter = "fragment_filter",
        /// It puts fragments together.
        Reassembler = "reassembler",
    }
}

choices! {
    /// Whether it does.
    pub enum Verdict {
        /// It does.
        Found = "found",
        /// It does not, as far as routers answer.
        NotFound = "not_found",
        /// Too little answered.
        Unknown = "unknown",
    }
}

row! {
    /// A device that was looked for.
    pub struct DeviceRow {
        /// Which.
        device: Device,
        /// What was found.
        verdict: Verdict,
        /// The last hop in front of it that answered; 0 is here.
        after_ttl: Option<u8>,
        /// That hop.
        after_addr: Option<IpAddr>,
        /// The first hop that shows it: routers there and behind answer one kind of probe and not the other.
        first_ttl: Option<u8>,
        /// That hop.
        first_addr: Option<IpAddr>,
    }
}

row! {
    /// A field that is not as it was sent.
    pub struct ModificationRow {
        /// As TCP::Options::MSS.
        field: String,
        /// What became of it.
        change: Change,
        /// In the probe, hexadecimal.
        sent: Option<String>,
        /// As it was seen, hexadecimal.
        seen: Option<String>,
        /// It changes at every hop, by nature.
        expected: bool,
    }
}

row! {
    /// A hop, or its silence.
    pub struct HopRow {
        /// TTL that the probe left with.
        ttl: u8,
        /// Who answered; missing where nobody did.
        addr: Option<IpAddr> => "scamper.tracebox.hop.{ip}",
        /// How much of the probe is quoted: Empty, Layer 3 header, Layer 3 Header + First 8 L3 payload
        /// bytes, Full packet.
        quote: Option<String>,
        /// Whether a quote is certainly of the probe, or what the destination itself sent an answer to it.
        certainty: Option<Certainty>,
        /// As `quote`, with what lies between 8 octets and everything.
        quote_class: Option<QuoteClass>,
        /// The quoted IPv4 header's own checksum is right.
        ip_checksum_good: Option<bool>,
        /// The quoted transport's checksum; missing where not everything is quoted.
        checksum: Option<Checksum>,
        /// Fields that are not as they were sent.
        modifications: Vec<ModificationRow>,
        /// Fields that are not quoted, or stand behind an option that makes no sense, so that nothing is known of them.
        unknown: Vec<String>,
        /// The modifications in one line, `-` in front of what was removed and `+` of what was added.
        changes: String,
        /// Round-trip time, microseconds, rounded down; missing for the destination's own segment.
        rtt_us: Option<u64> { unit: "us" },
        /// ICMP type of the answer.
        icmp_type: Option<u8>,
        /// ICMP code of the answer.
        icmp_code: Option<u8>,
        /// TTL or hop limit that the answer came with.
        reply_ttl: Option<u8>,
        /// Octets of the probe that are quoted.
        quoted_octets: Option<u16> { unit: "octets" },
        /// Who says so.
        origin: Origin,
        /// Probes that it took.
        attempts: u8,
        /// An address of the quoted probe is not the one that was sent.
        translated: bool,
    }
}

row! {
    /// A modification, and between which hops it happened.
    pub struct IntervalRow {
        /// As TCP::Options::MSS.
        field: String,
        /// What became of it.
        change: Change,
        /// The last hop that quotes the field as it was sent; 0 is here.
        after_ttl: u8,
        /// That hop.
        after_addr: Option<IpAddr>,
        /// The first hop that quotes it otherwise.
        first_ttl: u8,
        /// That hop.
        first_addr: Option<IpAddr>,
        /// What it means, where that can be told.
        meaning: Option<Meaning>,
        /// As it was sent, hexadecimal.
        sent: Option<String>,
        /// As it was seen first, hexadecimal.
        seen: Option<String>,
        /// A hop behind quotes it as it was sent: more likely one router's mistake than a middlebox.
        reverted: bool,
    }
}

row! {
    /// The whole run.
    pub struct SummaryRow {
        /// Why it stopped: reached, unreachable, gap_limit, loop, max_ttl, budget, interrupted or
        /// failed.
        stop: String,
        /// The probe of the last hop, hexadecimal.
        probe: Hex,
        /// Hops up to the end.
        hop_count: u8 { unit: "hops" },
        /// TCP flags of the destination's answer.
        tcp_flags: Option<u8>,
        /// The destination grants the ECN that was asked for; missing where it was not, or nobody answered.
        ecn_granted: Option<bool>,
        /// The destination acknowledges the sequence number that was sent; missing where it acknowledges none.
        sequence_arrived: Option<bool>,
        /// Modifications that do not happen by nature.
        modifications: u32,
        /// Probes that left.
        sent: u32,
        /// Hops that answered.
        answered: u32,
    }
}

tables! {
    /// Rows of all tables.
    pub enum TraceboxRow {
        Hop(HopRow) = "hops",
        Interval(IntervalRow) = "intervals",
        Device(DeviceRow) = "devices",
        Summary(SummaryRow) = "summary",
    }
}

/// How the rows read on a terminal: as the tool of that name prints them.
pub(crate) fn text() -> TextForm {
    TextForm::new("tracebox to {target} ({destination})")
        .line("hops", "origin=endpoint changes=", "{ttl|3}: {addr} (its own answer)")
        .line("hops", "origin=endpoint", "{ttl|3}: {addr} (its own answer) {changes}")
        .line("hops", "addr changes=", "{ttl|3}: {addr} [{quote}]")
        .line("hops", "addr", "{ttl|3}: {addr} [{quote}] {changes}")
        .line("hops", "", "{ttl|3}: *")
        .line(
            "intervals",
            "reverted",
            "{field} {change} at hop {first_ttl} ({first_addr}) alone, as before behind it",
        )
        .line(
            "intervals",
            "after_ttl",
            "{field} {change} between hop {after_ttl} ({after_addr}) and hop {first_ttl} ({first_addr})",
        )
        .line("intervals", "", "{field} {change} before hop {first_ttl} ({first_addr})")
        .line(
            "devices",
            "first_ttl after_ttl",
            "{device}: {verdict} between hop {after_ttl} ({after_addr}) and hop {first_ttl} ({first_addr})",
        )
        .line("devices", "first_ttl", "{device}: {verdict} before hop {first_ttl} ({first_addr})")
        .line("devices", "", "{device}: {verdict}")
        .line("summary", "", "--- {stop} after {hop_count} hops, modifications: {modifications} ---")
}
