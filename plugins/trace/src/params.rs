//! What can be chosen of a trace.
//!
//! Names are those of the seed system's elements; a 0 that scamper would refuse is the usual value
//! or "no limit", as each says.

use sonde_plugin_api::prelude::*;

use crate::kind::Kind;

params! {
    pub struct TraceParams {
        /// Address whose path is looked for.
        destination: IpAddr => "destination.{ip}",
        /// Address to send from, one of the host's; the route decides where it is not given.
        source: Option<IpAddr> => "source.{ip}" { short: 'I' },
        /// Kind of probe.
        method: Kind = Kind::UdpParis => "scamper.trace.method" { short: 'P' },
        /// Probe each hop until no more interfaces are expected, per cent; 0 is off. The flow is
        /// constant, so this finds balancing packet by packet, not that by flows.
        confidence: u8 = 0 => "scamper.trace.confidence" {
            one_of: &[0, 95, 99], unit: "%", short: 'c'
        },
        /// Destination port, the first one where they differ; 33435 where it is 0 or not given. Of ICMP-paris the
        /// checksum, which the host chooses then.
        dport: Option<u16> => "scamper.trace.dport" { alias: "destination-port", short: 'd' },
        /// Source port or ICMP identifier; 0 lets the host choose.
        sport: u16 = 33_436 => "scamper.trace.sport" { alias: "source-port", short: 's' },
        /// First TTL; 0 is 1.
        firsthop: u8 = 1 => "scamper.trace.firsthop" { unit: "hops", short: 'f' },
        /// Last TTL; 0 is 255.
        maxttl: u8 = 255 => "scamper.trace.maxttl" { unit: "hops", short: 'm' },
        /// Probes to a hop that does not answer; 0 is 1.
        attempts: u8 = 2 => "scamper.trace.attempts" { short: 'q' },
        /// Send all attempts to every hop.
        all: bool = false => "scamper.trace.Q" { short: 'Q' },
        /// Silent hops in a row that end the trace; 0 is no limit.
        gaplimit: u8 = 5 => "scamper.trace.gaplimit" { unit: "hops", short: 'g' },
        /// At the limit: 1 stop, 2 send last-ditch probes with the largest TTL first.
        gapaction: u8 = 1 => "scamper.trace.gapaction" { one_of: &[1, 2], short: 'G' },
        /// The so-many-th loop ends the trace; 0 does not look for loops.
        loops: u8 = 1 => "scamper.trace.loops" { short: 'l' },
        /// Repeats of an address at the next hop that are no loops; 0 is all of them.
        loopaction: u8 = 0 => "scamper.trace.loopaction" { short: 'L' },
        /// Find the path MTU afterwards.
        pmtud: bool = false => "scamper.trace.M" { short: 'M' },
        /// A time exceeded from the destination does not end the trace.
        through: bool = false => "scamper.trace.T" { short: 'T' },
        /// ToS or traffic class, the whole octet.
        tos: u8 = 0 => "scamper.trace.tos" { short: 't' },
        /// How long to wait for an answer; 0 is 5 s.
        wait: Duration = Duration::from_secs(5) => "scamper.trace.wait" {
            range: Duration::ZERO..=Duration::from_secs(255), short: 'w'
        },
        /// Least time from one probe to the next, in units of 10 ms.
        waitprobe: u32 = 0 => "scamper.trace.waitprobe" {
            range: 0..=2_550_000, unit: "10 ms", short: 'W'
        },
        /// Payload, hexadecimal; the first two octets give way in UDP-paris and ICMP-paris. Usually zeros, with ICMP, over
        /// IPv6 and with constpayload behind eight octets that are random and the same in all probes.
        payload: Option<Hex> => "scamper.trace.payload" { max_length: 1400, short: 'p' },
        /// The same as source, by the name that scamper has for it.
        srcaddr: Option<IpAddr> => "scamper.trace.srcaddr" { short: 'S' },
        /// Doubletree: addresses that end the way there.
        gssentry: Vec<IpAddr> = Vec::new() => "scamper.trace.gssentry" {
            max_length: 65_535, short: 'z'
        },
        /// Doubletree: name of the set of addresses that end the way back, shared by all traces of
        /// this host that name it.
        lssname: Option<String> => "scamper.trace.lssname" { max_length: 64, short: 'Z' },
        /// A number that comes back in the summary.
        userid: u32 = 0 => "scamper.trace.userid" { short: 'U' },
        /// Hops that are probed at the same time, at most the gap limit.
        hopwindow: u8 = 1 => "scamper.trace.hopwindow" { range: 1..=255, short: 'N' },
        /// Least time between two probes to one hop.
        hopgap: Duration = Duration::ZERO => "scamper.trace.hopgap" {
            range: Duration::ZERO..=Duration::from_secs(60), short: 'H'
        },
        /// From the last TTL down to the first.
        back: bool = false => "scamper.trace.back",
        /// Doubletree: only the way there.
        noback: bool = false => "scamper.trace.noback",
        /// UDP-paris: leave the payload alone, which makes the checksum constant too (IPv4).
        constpayload: bool = false => "scamper.trace.constpayload",
        /// IPv6 flow label of all probes.
        flowlabel: u32 = 0 => "scamper.trace.flowlabel" { range: 0..=0xf_ffff },
        /// Neighbour to send through; the route decides where it is not given.
        router: Option<IpAddr> => "scamper.trace.router" { short: 'r' },
        /// Traces one after the other, with statistics of all; 0 is until interrupted.
        rounds: u32 = 1 => "scamper.trace.rounds",
        /// Time from one round to the next.
        period: Duration = Duration::from_secs(1) => "scamper.trace.period" {
            range: Duration::ZERO..=Duration::from_secs(86_400), short: 'i'
        },
        /// Flows that rounds take by turns, from as many source ports.
        flows: u8 = 1 => "scamper.trace.flows" { range: 1..=64 },
    }
}
