//! What can be chosen of a multipath trace.
//!
//! Names and ranges are those of the seed system's elements; a 0 that scamper would refuse is the
//! usual value, or no limit.

use sonde_plugin_api::prelude::*;

use crate::kind::Kind;

choices! {
    /// How the graph is explored.
    pub enum Algorithm {
        /// Node by node, with node control.
        Mda = "mda",
        /// Hop by hop, and node by node only where a diamond is meshed or uneven.
        MdaLite = "mda-lite",
    }
}

choices! {
    /// What the confidence is of.
    pub enum Scope {
        /// Of every decision that a node has no further next hop.
        Node = "node",
        /// Of the whole graph.
        Graph = "graph",
    }
}

params! {
    pub struct TracelbParams {
        /// Address whose paths are looked for.
        destination: IpAddr => "destination.{ip}",
        /// Address to send from, one of the host's; the route decides where it is not given.
        source: Option<IpAddr> => "source.{ip}" { short: 'I' },
        /// What probes are made of, and what varies from flow to flow.
        method: Kind = Kind::UdpDport => "scamper.tracelb.method" { short: 'P' },
        /// Confidence that no next hop was missed, per cent: 95 or 99.
        confidence: u8 = 95 => "scamper.tracelb.confidence" { range: 95..=99, unit: "%", short: 'c' },
        /// Destination port, the first one where they differ; 0 is 33435.
        dport: u16 = TracelbParams::DPORT => "scamper.tracelb.dport" {
            alias: "destination-port", short: 'd'
        },
        /// Source port, the first one where they differ, or ICMP identifier; 0 lets the host choose.
        sport: u16 = TracelbParams::SPORT => "scamper.tracelb.sport" { alias: "source-port", short: 's' },
        /// First TTL or hop limit; 0 is 1.
        firsthop: u8 = 1 => "scamper.tracelb.firsthop" {
            range: 0..=254, unit: "hops", short: 'f'
        },
        /// Silent hops in a row after which a branch is given up; 0 is no limit.
        gaplimit: u8 = 5 => "scamper.tracelb.gaplimit" { unit: "hops", short: 'g' },
        /// Probes of a flow to a hop that does not answer; 0 is 1.
        attempts: u8 = 2 => "scamper.tracelb.attempts" { short: 'q' },
        /// Probes of the whole run at most.
        maxprobec: u16 = 3000 => "scamper.tracelb.maxprobec" {
            range: 1..=65_535, short: 'Q'
        },
        /// How long to wait for an answer, seconds; 0 is 5.
        waittimeout: u8 = 0 => "scamper.tracelb.waittimeout" { unit: "s", short: 'w' },
        /// Time from one probe to the next, in units of 10 ms; 0 leaves it to the host's pace.
        waitprobe: u32 = 5 => "scamper.tracelb.waitprobe" {
            range: 0..=2_550_000, unit: "10 ms", short: 'W'
        },
        /// ToS or traffic class, the whole octet.
        tos: u8 = 0 => "scamper.tracelb.tos" { short: 't' },
        /// Neighbour to send through; the route decides where it is not given.
        gateway: Option<IpAddr> => "sonde.tracelb.gateway.{ip}" { short: 'r' },
        /// How the graph is explored.
        algorithm: Algorithm = Algorithm::Mda => "sonde.tracelb.algorithm",
        /// What the confidence is of: each node, or the whole graph.
        scope: Scope = Scope::Node => "sonde.tracelb.confidence.scope",
        /// Times as many flows as the theory asks for, for balancers with weights.
        factor: f64 = 1.0 => "sonde.tracelb.factor" { range: 1.0..=20.0 },
        /// A number that comes back in the summary.
        userid: u32 = 0 => "scamper.tracelb.userid" { short: 'U' },
    }
}

impl TracelbParams {
    /// As traceroute's.
    pub(crate) const DPORT: u16 = 33_435;
    /// As scamper's.
    pub(crate) const SPORT: u16 = 33_436;

    /// What a range cannot say.
    pub(crate) fn check(&self) -> Result<(), Fail> {
        if !matches!(self.confidence, 95 | 99) {
            let text = format!("--confidence is {}, accepted: 95 or 99", self.confidence);
            return Err(Fail::bad_params(text));
        }
        Ok(())
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(if self.waittimeout == 0 { 5 } else { self.waittimeout.into() })
    }

    pub(crate) fn gap(&self) -> Duration {
        Duration::from_millis(10) * self.waitprobe
    }

    pub(crate) fn first_hop(&self) -> u8 {
        self.firsthop.max(1)
    }

    /// Probes of a flow to one hop.
    pub(crate) fn tries(&self) -> u8 {
        self.attempts.max(1)
    }
}
