//! What a sting tells: a row for each sample, and a summary.

use sonde_plugin_api::prelude::*;

choices! {
    /// How it ended.
    #[derive(Default)]
    pub enum Ending {
        /// The server listed all that it missed.
        Completed = "completed",
        /// Nobody answered the SYN.
        NoConnection = "no_connection",
        /// The server refused the connection.
        Refused = "refused",
        /// An ICMP error said that the server cannot be reached.
        Unreachable = "unreachable",
        /// The answer to the SYN acknowledged something else.
        BadSynAck = "bad_synack",
        /// The server opened no window.
        ZeroWindow = "zero_window",
        /// The server reset the connection.
        Reset = "reset",
        /// The server closed the connection.
        Fin = "fin",
        /// The server acknowledged what it cannot have.
        UnexpectedAck = "unexpected_ack",
        /// The same octets were sent five times in vain.
        Timeout = "timeout",
        /// Somebody wanted it to end.
        #[default]
        Interrupted = "interrupted",
    }
}

choices! {
    /// What makes a result doubtful.
    pub enum Flag {
        /// The lost samples are all the last ones, or some were behind the window: the server kept no more out of order.
        ReceiverLimited = "receiver_limited",
        /// Every second acknowledgement is missing: something acknowledges for two.
        AckThinning = "ack_thinning",
        /// The handshake was much quicker than an echo: something nearer answers for the server.
        Proxy = "proxy",
        /// There were more acknowledgements than samples: the network doubles some.
        AckExcess = "ack_excess",
        /// Acknowledgements came while the hole was filled: the pause is too short.
        LateAcks = "late_acks",
        /// The server sent data into a window of 0.
        ServerData = "server_data",
        /// Samples left later than they should: the host's pace is slower than the mean gap.
        Slowed = "slowed",
    }
}

row! {
    /// One sample.
    pub struct SampleRow {
        /// From 1.
        seq: u32,
        /// When it left; null where it did not.
        time: Option<Time> => "time",
        /// Whether it arrived; null where that is not known.
        arrived: Option<bool>,
        /// Whether its acknowledgement came back; null where it did not arrive or that is not known.
        ack_seen: Option<bool>,
        /// From the sample to the acknowledgement that was credited to it, microseconds; null where that came first.
        rtt_us: Option<u64>,
        /// Not one acknowledgement came for each sample, so which sample one is for is an estimate.
        estimate: bool,
    }
}

row! {
    /// The whole run.
    #[derive(Default)]
    pub struct SummaryRow {
        /// How it ended.
        result: Ending,
        /// Segments of the server that came.
        answered: u32,
        /// Address that was sent from.
        source: Option<IpAddr>,
        /// Port that was sent from.
        source_port: u16,
        /// Samples that left.
        samples: u32,
        /// Samples that did not leave: they count nowhere else.
        not_sent: u32,
        /// Samples that were lost on the way there.
        holes: Option<u32>,
        /// Samples that arrived.
        arrived: Option<u32>,
        /// Acknowledgements of samples that came back; up to four for each octet of the request are counted.
        acks: u32,
        /// Lost on the way there, of those that left, 0 to 1.
        forward_loss: Option<f64>,
        /// Lost on the way back, of the acknowledgements of those that arrived, 0 to 1.
        reverse_loss: Option<f64>,
        /// 95 % interval of the loss on the way there (Wilson): lower and upper end.
        forward_ci95: Vec<f64>,
        /// 95 % interval of the loss on the way back.
        reverse_ci95: Vec<f64>,
        /// Acknowledgements that were lost on the way back.
        reverse_lost: Option<u32>,
        /// Longest run of samples that were lost on the way there.
        forward_burst: Option<u32>,
        /// Lengths of all such runs, in their order.
        forward_bursts: Vec<u32>,
        /// From the SYN to its answer, microseconds; null where it was sent more than once.
        handshake_rtt_us: Option<u64>,
        /// Shortest of three echoes, microseconds.
        ping_rtt_us: Option<u64>,
        /// Acknowledgements that the network brought twice, which count once; null where they cannot be told, over IPv6 or where the
        /// server has one identification for its packets, and may hide losses on the way back.
        duplicate_acks: Option<u32>,
        /// Acknowledgements that came while the hole was filled.
        late_acks: u32,
        /// Segments with data that came in spite of a window of 0.
        data_segments: u32,
        /// Octets of the hole that were sent again.
        retransmissions: u32,
        /// What makes the result doubtful.
        flags: Vec<Flag>,
    }
}

tables! {
    /// Rows of all tables.
    pub enum StingRow {
        Summary(SummaryRow) = "summary",
        Sample(SampleRow) = "samples",
    }
}

/// How the rows read on a terminal.
pub(crate) fn text() -> TextForm {
    let there = "there {holes} of {samples} lost ({forward_loss|%}, 95% interval {forward_ci95|%})";
    let back =
        "back {reverse_lost} of {arrived} lost ({reverse_loss|%}, 95% interval {reverse_ci95|%})";
    let counts = format!("--- {{result}} ---\n{there}\n{back}");
    TextForm::new("STING {target} ({destination})")
        .line("samples", "arrived=false", "sample {seq} was lost on the way there")
        .line(
            "samples",
            "ack_seen=false estimate=false",
            "acknowledgement of sample {seq} was lost on the way back",
        )
        .line(
            "samples",
            "ack_seen=false",
            "acknowledgement of about sample {seq} was lost on the way back",
        )
        .line("summary", "result=completed flags", &format!("{counts}\ndoubtful: {{flags}}"))
        .line("summary", "result=completed", &counts)
        .line("summary", "", "--- {result} --- {samples} samples, {acks} acknowledged")
}
