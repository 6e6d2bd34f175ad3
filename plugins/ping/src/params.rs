//! What can be chosen.
//!
//! Names, ranges and defaults are those of the seed system; where it contradicts itself, a zero
//! that makes no sense means the default.

use sonde_plugin_api::prelude::*;

use crate::kind::Kind;

/// TTL where 0 is given.
const USUAL_TTL: u8 = 64;

/// How long to wait for answers unless something is said, if the period is not longer.
const USUAL_WAIT: Duration = Duration::from_secs(1);

/// Whole packet, IPv4, unless something else is said.
pub(crate) const USUAL_SIZE: u16 = 84;
/// Whole packet, IPv6, unless something else is said.
pub(crate) const USUAL_SIZE_IP6: u16 = 56;

params! {
    pub(crate) struct PingParams {
        /// Address to probe.
        destination: IpAddr => "destination.{ip}",
        /// Address to send from; the route decides if not given.
        source: Option<IpAddr> => "source.{ip}",
        /// Probes to send.
        count: u32 = 4 => "when.count" { range: 1..=1_000_000, short: 'c' },
        /// Time from one probe to the next.
        period: Duration = Duration::from_secs(1) => "when.period"
            { range: Duration::from_millis(1)..=Duration::from_secs(20), short: 'i', alias: "interval" },
        /// Time to wait for the answer to each probe, counted from its departure; 1 s or the
        /// period, whichever is longer, if not given.
        wait: Option<Duration> => "sonde.ping.wait"
            { range: Duration::from_millis(1)..=Duration::from_secs(255), short: 'W' },
        /// What a probe is made of.
        method: Kind = Kind::IcmpEcho => "scamper.ping.method" { short: 'P' },
        /// Destination port of TCP and UDP; the first one, if each probe has its own.
        dport: u16 = 80 => "scamper.ping.dport" { short: 'd', alias: "destination-port" },
        /// Source port, or ICMP identifier; the first one, if each probe has its own. 0: a free
        /// one.
        sport: u16 = 0 => "scamper.ping.sport" { short: 'F', alias: "source-port" },
        /// TTL or hop limit; 0 is 64.
        ttl: u8 = 64 => "scamper.ping.ttl" { short: 'm' },
        /// Whole IP packet.
        size: u16 = USUAL_SIZE => "scamper.ping.size"
            { range: 28..=65_535, unit: "octets", short: 's', default_ip6: USUAL_SIZE_IP6 },
        /// ToS or traffic class, the ECN bits included.
        tos: u8 = 0 => "scamper.ping.tos" { short: 'z' },
        /// Have routers record the route (IPv4).
        rr: bool = false => "scamper.ping.rr" { short: 'R', alias: "record-route" },
        /// Stop when so many probes have been answered; 0: when all have been sent.
        rcount: u16 = 0 => "scamper.ping.rcount" { short: 'o' },
        /// Exactly this payload; the packet is as long as it makes it.
        payload: Option<Hex> => "scamper.ping.payload" { max_length: 1000, short: 'B' },
        /// A payload that repeats this.
        pattern: Option<Hex> => "scamper.ping.pattern" { max_length: 16, short: 'p' },
        /// What the ICMP checksum shall be; the first two octets of the payload make up for it.
        checksum: Option<u16> => "scamper.ping.icmp.checksum" { short: 'C' },
    }
}

impl PingParams {
    pub(crate) fn ttl(&self) -> u8 {
        if self.ttl == 0 { USUAL_TTL } else { self.ttl }
    }

    pub(crate) fn wait(&self) -> Duration {
        self.wait.unwrap_or(USUAL_WAIT.max(self.period))
    }

    pub(crate) fn is_v4(&self) -> bool {
        self.destination.is_ipv4()
    }

    /// Whether the size is the default of the family.
    pub(crate) fn has_usual_size(&self) -> bool {
        self.size == if self.is_v4() { USUAL_SIZE } else { USUAL_SIZE_IP6 }
    }

    /// An empty one counts as not given: some clients must give every parameter a value.
    pub(crate) fn payload(&self) -> Option<&[u8]> {
        self.payload.as_deref().filter(|octets| !octets.is_empty())
    }

    /// As [`PingParams::payload`].
    pub(crate) fn pattern(&self) -> Option<&[u8]> {
        self.pattern.as_deref().filter(|octets| !octets.is_empty())
    }
}
