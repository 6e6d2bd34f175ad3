//! What a tbit tells: a row for each packet, and a summary with the verdict.

use sonde_plugin_api::prelude::*;

use crate::params::Test;

choices! {
    /// What came out.
    #[derive(Default)]
    pub enum Verdict {
        /// Nothing can be said.
        None = "none",
        /// Nobody answered the SYN, or with something else.
        NoConnection = "tcp-noconn",
        /// The server reset the connection.
        Reset = "tcp-rst",
        /// The application broke its protocol.
        ProtocolError = "tcp-error",
        /// We could not send.
        LocalError = "sys-error",
        /// The application did not come to what the test is about.
        #[default]
        Aborted = "aborted",
        /// The measurement was interrupted.
        Halted = "halted",
        /// The server refused the connection.
        Refused = "tcp-noconn-rst",
        /// The options of the server contradict themselves.
        BadOption = "tcp-badopt",
        /// The server closed the connection before it was asked for anything.
        Fin = "tcp-fin",
        /// The server opened no window.
        ZeroWindow = "tcp-zerowin",
        /// The server did not acknowledge the request.
        PmtudNoAck = "pmtud-noack",
        /// No data came.
        PmtudNoData = "pmtud-nodata",
        /// No segment was larger than the MTU.
        PmtudTooSmall = "pmtud-toosmall",
        /// Large segments came, but may be cut on the way.
        PmtudNoDf = "pmtud-nodf",
        /// Segments stayed large.
        PmtudFail = "pmtud-fail",
        /// Segments became small.
        PmtudSuccess = "pmtud-success",
        /// Segments may be cut on the way from then on.
        PmtudClearDf = "pmtud-cleardf",
        /// Congestion was echoed.
        EcnSuccess = "ecn-success",
        /// The server does not take part.
        EcnIncapable = "ecn-incapable",
        /// The answer to the SYN makes no sense.
        EcnBadSynAck = "ecn-badsynack",
        /// Congestion was not echoed.
        EcnNoEce = "ecn-noece",
        /// The server did not acknowledge the request.
        EcnNoAck = "ecn-noack",
        /// No data came.
        EcnNoData = "ecn-nodata",
        /// It was fetched.
        NullSuccess = "null-success",
        /// No data came.
        NullNoData = "null-nodata",
        /// The server does not offer selective acknowledgements.
        SackIncapable = "sack-rcvr-incapable",
        /// The blocks are those that were sent.
        SackSuccess = "sack-rcvr-success",
        /// Some are not: something on the path changes numbers, and forgets the blocks.
        SackShifted = "sack-rcvr-shifted",
        /// The server kept silent.
        SackTimeout = "sack-rcvr-timeout",
        /// The server agreed, but tells no blocks.
        SackNoSack = "sack-rcvr-nosack",
        /// The window is known.
        IcwSuccess = "icw-success",
        /// The answer ended before the window did.
        IcwTooShort = "icw-tooshort",
        /// It is known what makes the window grow.
        AbcSuccess = "abc-success",
        /// The answer ended before that was known.
        AbcTooShort = "abc-tooshort",
        /// The initial window is too small for it, which needs five segments, or the server's timer ran
        /// out; no word on whether that is a good one.
        AbcBadIcw = "abc-badicw",
        /// The server believed a blind segment.
        BlindAccepted = "blind-accepted",
        /// It asked whether it was meant (RFC 5961).
        BlindChallenge = "blind-challenge",
        /// It went on as if nothing had come.
        BlindIgnored = "blind-ignored",
        /// It answered with a reset.
        BlindRst = "blind-rst",
        /// It answered a SYN as that of a new connection.
        BlindSynNew = "blind-synnew",
    }
}

choices! {
    /// What makes a window grow.
    pub enum Counts {
        /// Octets that are acknowledged, or whole segments of them.
        Octets = "octets",
        /// Acknowledgements, whatever they say.
        Acks = "acks",
    }
}

choices! {
    /// Whom a verdict is about.
    #[derive(Default)]
    pub enum Scope {
        /// The server.
        Endpoint = "endpoint",
        /// The server, or something on the path to it.
        Path = "path",
        /// Nobody: it was not measured.
        #[default]
        Local = "local",
    }
}

impl Verdict {
    /// The number that other tools have for it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::NoConnection => 1,
            Self::Reset => 2,
            Self::ProtocolError => 3,
            Self::LocalError => 4,
            Self::Aborted => 5,
            Self::Refused => 6,
            Self::Halted => 7,
            Self::BadOption => 8,
            Self::Fin => 9,
            Self::ZeroWindow => 10,
            Self::PmtudNoAck => 20,
            Self::PmtudNoData => 21,
            Self::PmtudTooSmall => 22,
            Self::PmtudNoDf => 23,
            Self::PmtudFail => 24,
            Self::PmtudSuccess => 25,
            Self::PmtudClearDf => 26,
            Self::EcnSuccess => 30,
            Self::EcnIncapable => 31,
            Self::EcnBadSynAck => 32,
            Self::EcnNoEce => 33,
            Self::EcnNoAck => 34,
            Self::EcnNoData => 35,
            Self::NullSuccess => 40,
            Self::NullNoData => 41,
            Self::SackIncapable => 50,
            Self::SackSuccess => 51,
            Self::SackShifted => 52,
            Self::SackTimeout => 53,
            Self::SackNoSack => 54,
            Self::IcwSuccess => 60,
            Self::IcwTooShort => 61,
            Self::AbcSuccess => 70,
            Self::AbcTooShort => 71,
            Self::AbcBadIcw => 72,
            Self::BlindAccepted => 80,
            Self::BlindChallenge => 81,
            Self::BlindIgnored => 82,
            Self::BlindRst => 83,
            Self::BlindSynNew => 84,
        }
    }

    /// Something of the server did not come that is waited for.
    pub(crate) fn misses_something(self) -> bool {
        matches!(
            self,
            Self::None
                | Self::Aborted
                | Self::PmtudNoAck
                | Self::PmtudNoData
                | Self::EcnNoAck
                | Self::EcnNoData
                | Self::NullNoData
                | Self::SackTimeout
                | Self::IcwTooShort
                | Self::AbcTooShort
        )
    }

    pub(crate) fn scope(self) -> Scope {
        match self {
            Self::None | Self::LocalError | Self::Aborted | Self::Halted => Scope::Local,
            Self::NoConnection
            | Self::PmtudNoAck
            | Self::PmtudFail
            | Self::EcnBadSynAck
            | Self::EcnNoEce
            | Self::EcnNoAck
            | Self::SackShifted
            | Self::SackTimeout
            | Self::BlindIgnored => Scope::Path,
            _ => Scope::Endpoint,
        }
    }
}

choices! {
    /// Which way a packet went.
    pub enum Way {
        /// From us.
        Sent = "tx",
        /// To us.
        Received = "rx",
    }
}

row! {
    /// One packet.
    pub struct PacketRow {
        /// When it was sent or arrived.
        time: Option<Time> => "time",
        /// Which way it went.
        way: Way,
        /// TCP flags, or the name of an ICMP message.
        flags: String,
        /// Octets of data; of an ICMP message the MTU that it tells.
        octets: u32,
        /// Number of its first octet, from the sender's SYN on.
        seq: i64,
        /// What it acknowledges, from the other side's SYN on.
        ack: i64,
        /// Blocks of its selective acknowledgement, as FIRST:BEHIND.
        sack: Vec<String>,
        /// ECN bits.
        ecn: u8,
        /// The IPv4 flag DF.
        df: Option<bool>,
        /// Octets of the IP packet that arrived.
        size: Option<u32>,
        /// The network card or kernel made it of several.
        merged: bool,
    }
}

row! {
    /// The whole run.
    #[derive(Default)]
    pub struct SummaryRow {
        /// What was tested.
        test: Option<Test>,
        /// What came out.
        result: Verdict,
        /// The number that other tools have for it.
        result_code: u8,
        /// Whom it is about.
        scope: Scope,
        /// Segments of the server that came, or 1 where it refused.
        answered: u32,
        /// Port that was sent from.
        source_port: u16,
        /// Largest segment that the server takes, octets.
        server_mss: Option<u16>,
        /// Options that the server granted: tcpts, sack, wscale, fo, fo-data.
        granted: Vec<String>,
        /// The fast open cookie that it gave.
        cookie: Option<Hex>,
        /// The answer to a SYN with an option of IP bears it too; null where the SYN had none.
        ip_option_back: Option<bool>,
        /// What the option of the answer gathered: addresses, or milliseconds since midnight UTC.
        ip_recorded: Vec<String>,
        /// From the SYN to its answer, microseconds.
        handshake_rtt_us: Option<u64>,
        /// Octets of the answer that came.
        octets: u64,
        /// Version of TLS that was agreed on.
        tls_version: Option<String>,
        /// Of https: no, certificates are not verified.
        certificate_verified: Option<bool>,
        /// The first line of the answer.
        status: Option<String>,
        /// Initial window, octets.
        icw_octets: Option<u32>,
        /// Initial window, segments.
        icw_segments: Option<u32>,
        /// Packets-too-big that were sent.
        ptb_sent: Option<u8>,
        /// Octets of the packet that they were about.
        size_before: Option<u32>,
        /// Octets of the first packet that came instead.
        size_after: Option<u32>,
        /// Segments of the server that say that they take part in ECN.
        ect_segments: Option<u32>,
        /// What makes the server's window grow.
        abc_counts: Option<Counts>,
        /// Segments by which its window grew when four were acknowledged at once; at least, for it may not have
        /// had more to send in its buffer.
        abc_limit: Option<u32>,
        /// Blind segments that were sent.
        blind_sent: Option<u8>,
    }
}

tables! {
    /// Rows of all tables.
    pub enum TbitRow {
        Summary(SummaryRow) = "summary",
        Packet(PacketRow) = "packets",
    }
}

/// How the rows read on a terminal.
pub(crate) fn text() -> TextForm {
    TextForm::new("tbit {target} ({destination})")
        .line("packets", "df", "  {way} {flags} {octets} seq {seq} ack {ack} {sack} DF")
        .line("packets", "", "  {way} {flags} {octets} seq {seq} ack {ack} {sack}")
        .line(
            "summary",
            "icw_segments",
            "{test}: {result} ({scope}), {icw_segments} segments, {icw_octets} octets, server mss {server_mss}",
        )
        .line(
            "summary",
            "abc_limit",
            "{test}: {result} ({scope}), counts {abc_counts}, at least {abc_limit} more for 4 at once, server mss {server_mss}",
        )
        .line("summary", "server_mss", "{test}: {result} ({scope}), server mss {server_mss}")
        .line("summary", "", "{test}: {result} ({scope})")
}
