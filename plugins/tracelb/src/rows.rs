//! What a multipath trace tells: nodes, links, diamonds, the lines of the seed system, a summary.

use sonde_plugin_api::prelude::*;

row! {
    /// An entry of an MPLS label stack.
    pub struct LabelRow {
        label: u32,
        tc: u8,
        s: bool,
        ttl: u8,
    }
}

row! {
    /// An address of the graph, or a silent hop.
    pub struct NodeRow {
        /// Number of the node; the addresses of a cluster share one.
        id: u32,
        /// TTL at which it was found first.
        ttl: u8,
        /// Largest TTL at which it was found.
        ttl_max: u8,
        /// Missing where the hop is silent.
        addr: Option<IpAddr>,
        /// How it shares packets out: none, flow, packet or unknown.
        balancing: String,
        /// One of several that cannot be told apart by flow.
        cluster: bool,
        /// Next hops.
        out_degree: u32,
        /// Nodes before it.
        in_degree: u32,
        /// Flows that were seen to come by.
        flows: u32,
        /// Smallest round-trip time, microseconds.
        rtt_min_us: Option<u64>,
        /// TTL or hop limit that its answers came with.
        reply_ttl: Option<u8>,
        /// TTL or hop limit that the probe had there, as it was quoted.
        quoted_ttl: Option<u8>,
        /// Label stack, outermost first.
        mpls: Vec<LabelRow>,
        /// Flows are not shared out evenly among its next hops (chi-square test, 1 %).
        weighted: bool,
        /// Why nothing was looked for behind it; missing where something was.
        stop: Option<String>,
    }
}

row! {
    /// Two nodes of which one comes behind the other.
    pub struct LinkRow {
        /// Address, `*` where it is silent, `(a, b)` where it is a cluster.
        from: String,
        /// As `from`.
        to: String,
        /// TTL of the far end.
        ttl: u8,
        /// Probes that showed it, one of each flow.
        probes: u32,
        /// Flows that took it.
        flows: u32,
        /// Number of the node.
        from_id: u32,
        /// Number of the node.
        to_id: u32,
    }
}

row! {
    /// A part of the graph between two nodes that every path goes through.
    pub struct DiamondRow {
        /// Where paths part.
        divergence: String,
        /// Where they meet again; missing where they do not.
        convergence: Option<String>,
        /// TTL of the divergence.
        ttl: u8,
        /// Most nodes at one TTL.
        max_width: u32,
        /// Links of the longest way through it.
        max_length: u32,
        /// Links of the shortest.
        min_length: u32,
        /// Links between hops that are not side by side.
        meshed: bool,
        /// All ways are of one length.
        symmetric: bool,
    }
}

row! {
    /// A line of the seed system's result.
    pub struct LineRow {
        /// `node -> hop -> …`.
        line: String => "scamper.tracelb.result",
    }
}

row! {
    /// The whole run.
    pub struct SummaryRow {
        /// Probes sent.
        probes: u32,
        /// Flows used.
        flows: u32,
        /// Nodes found, silent ones left out.
        nodes: u32,
        /// Links found.
        links: u32,
        /// Diamonds found.
        diamonds: u32,
        /// Why it stopped: reached, unreachable, loop, gap_limit, max_ttl, budget, loss, interrupted or failed.
        stop: String,
        /// The target answered.
        reached: bool,
        /// As many probes as were allowed were not enough.
        budget_exhausted: bool,
        /// How it was explored.
        algorithm: String,
        /// Per cent.
        confidence: u8,
        /// How long it took, milliseconds.
        duration_ms: u64,
        /// As given.
        userid: u32,
    }
}

tables! {
    /// Rows of all tables.
    pub enum TracelbRow {
        Node(NodeRow) = "nodes",
        Link(LinkRow) = "links",
        Diamond(DiamondRow) = "diamonds",
        Line(LineRow) = "lines",
        Summary(SummaryRow) = "summary",
    }
}

/// How the rows read on a terminal: the lines, as users of scamper know them.
pub(crate) fn text() -> TextForm {
    TextForm::new("tracelb to {target} ({destination})")
        .line("lines", "", "{line}")
        .line("nodes", "stop", "end at hop {ttl}, {addr}: {stop}")
        .line(
            "diamonds",
            "convergence",
            "diamond from {divergence} to {convergence}: {max_width} wide, {max_length} long",
        )
        .line("diamonds", "", "diamond from {divergence} without an end: {max_width} wide")
        .line("summary", "stop=interrupted", &format!("--- interrupted; {COUNTS} ---"))
        .line("summary", "stop=loss", &format!("--- too much is lost; {COUNTS} ---"))
        .line("summary", "budget_exhausted", &format!("--- all probes used up; {COUNTS} ---"))
        .line("summary", "reached", &format!("--- reached; {COUNTS} ---"))
        .line("summary", "", &format!("--- not reached; {COUNTS} ---"))
}

const COUNTS: &str = "nodes: {nodes}, links: {links}, diamonds: {diamonds}, probes: {probes}, confidence: {confidence} %";

/// What is drawn: links by their nodes, diamonds as parts.
pub(crate) fn graph() -> GraphForm {
    GraphForm {
        links: "links".to_owned(),
        from: "from".to_owned(),
        to: "to".to_owned(),
        from_id: "from_id".to_owned(),
        to_id: "to_id".to_owned(),
        label: "{flows} flows".to_owned(),
        parts: Some(GraphParts {
            table: "diamonds".to_owned(),
            begin: "divergence".to_owned(),
            end: "convergence".to_owned(),
            label: "{max_width} wide, {max_length} long".to_owned(),
        }),
    }
}
