//! What can be chosen of a ping.
//!
//! Names are those of the seed system's elements; values that its document, its code and scamper
//! understand differently are taken as the union of all, and a 0 that scamper would refuse is the
//! usual value.

use sonde_plugin_api::prelude::*;

use crate::kind::Kind;

params! {
    pub struct PingParams {
        /// Address to probe.
        destination: IpAddr => "destination.{ip}",
        /// Address to send from, one of the host's; the route decides where it is not given.
        source: Option<IpAddr> => "source.{ip}" { short: 'I' },
        /// Probes to send.
        count: u32 = 4 => "when.count" { range: 1..=65_535, short: 'c' },
        /// Time from one probe to the next.
        period: Duration = Duration::from_secs(1) => "when.period" {
            range: Duration::from_millis(1)..=Duration::from_secs(20), short: 'i', alias: "interval"
        },
        /// Kind of probe.
        method: Kind = Kind::IcmpEcho => "scamper.ping.method" { short: 'P' },
        /// Destination port of TCP and UDP probes, the first one where they differ.
        dport: u16 = 80 => "scamper.ping.dport" { alias: "destination-port", short: 'd' },
        /// Source port or ICMP identifier; 0 lets the host choose.
        sport: u16 = 0 => "scamper.ping.sport" { alias: "source-port" },
        /// TTL or hop limit of the probes; 0 is the usual 64.
        ttl: u8 = 64 => "scamper.ping.ttl" { unit: "hops", short: 't' },
        /// Length of a probe with its IP header; a chosen payload decides instead.
        size: u16 = 84 => "scamper.ping.size" {
            range: 28..=65_535, unit: "octets", default_ip6: 56, short: 's'
        },
        /// ToS or traffic class, the whole octet.
        tos: u8 = 0 => "scamper.ping.tos" { short: 'Q' },
        /// Ask the routers to record the route (IPv4 only).
        rr: bool = false => "scamper.ping.rr",
        /// Exact payload, hexadecimal.
        payload: Option<Hex> => "scamper.ping.payload" { max_length: 1000 },
        /// What the payload is filled with, hexadecimal, again and again.
        pattern: Option<Hex> => "scamper.ping.pattern" { max_length: 16 },
        /// What the ICMP checksum shall be, decimal or 0x and hexadecimal.
        checksum: Option<String> => "scamper.ping.icmp.checksum",
        /// Stop after so many answered probes; 0 is all.
        rcount: u16 = 0 => "scamper.ping.rcount" { short: 'o' },
        /// How long to wait for an answer; 0 is the period, but at least 1 s.
        wait: Duration = Duration::ZERO => "sonde.ping.wait" {
            range: Duration::ZERO..=Duration::from_secs(255), short: 'W'
        },
    }
}

impl PingParams {
    /// How long an answer may take.
    pub(crate) fn timeout(&self) -> Duration {
        if self.wait.is_zero() { self.period.max(Duration::from_secs(1)) } else { self.wait }
    }

    /// The wanted ICMP checksum.
    ///
    /// # Errors
    ///
    /// Where it is no number of 16 bits.
    pub(crate) fn wanted_checksum(&self) -> Result<Option<u16>, Fail> {
        let Some(text) = self.checksum.as_deref().filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let parsed = match text.strip_prefix("0x") {
            Some(digits) => u16::from_str_radix(digits, 16),
            None => text.parse(),
        };
        parsed.map(Some).map_err(|_| {
            let accepted = "0 ... 65535, or 0x0 ... 0xffff";
            Fail::bad_params(format!(
                "scamper.ping.icmp.checksum is {text:?}, accepted: {accepted}"
            ))
        })
    }

    /// What does not fit together.
    ///
    /// # Errors
    ///
    /// Names the parameter, its value and what would be accepted.
    pub(crate) fn check(&self) -> Result<(), Fail> {
        let is_v4 = self.destination.is_ipv4();
        let refuse = |text: &str| Err(Fail::bad_params(text));
        if self.source.is_some_and(|source| source.is_ipv4() != is_v4) {
            return refuse("source and destination are of different families");
        }
        if self.method == Kind::IcmpTime && !is_v4 {
            return refuse("scamper.ping.method is icmp-time, which exists in IPv4 only");
        }
        if self.rr && !is_v4 {
            return refuse("scamper.ping.rr is 1, which exists in IPv4 only");
        }
        if self.payload.is_some() && self.pattern.is_some() {
            return refuse("scamper.ping.payload and scamper.ping.pattern exclude each other");
        }
        if self.payload.is_some() && self.is_udp6() {
            return refuse(
                "scamper.ping.payload with method udp leaves nothing to tell probes over IPv6 \
                 apart, accepted: method udp-dport, or scamper.ping.pattern",
            );
        }
        let least = self.least_octets();
        let size = usize::from(self.size_octets());
        if self.payload.is_none() && size < least {
            let method = self.method.word();
            return refuse(&format!(
                "scamper.ping.size is {size}, accepted: {least} ... 65535 octets with {method}"
            ));
        }
        if self.wanted_checksum()?.is_some() {
            let payload = self.payload.as_ref().map_or(size - least, |payload| payload.0.len());
            if !self.method.is_icmp() || payload < 2 {
                return refuse(
                    "scamper.ping.icmp.checksum takes an ICMP method and 2 octets of payload",
                );
            }
        }
        Ok(())
    }

    /// Probes that only their checksum tells apart.
    pub(crate) fn is_udp6(&self) -> bool {
        self.method == Kind::Udp && self.destination.is_ipv6()
    }

    /// Length of a probe where no payload is given. The usual 56 octets of IPv6 are too few for some
    /// kinds, which then have no payload.
    pub(crate) fn size_octets(&self) -> u16 {
        let usual = if self.destination.is_ipv4() { 84 } else { 56 };
        let least = u16::try_from(self.least_octets()).unwrap_or(u16::MAX);
        if self.size == usual { usual.max(least) } else { self.size }
    }

    fn least_octets(&self) -> usize {
        let ip = match (self.destination.is_ipv4(), self.rr) {
            (true, true) => 60,
            (true, false) => 20,
            (false, _) => 40,
        };
        ip + self.method.header_octets()
    }
}
