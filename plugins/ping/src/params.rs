//! What can be chosen of a ping.
//!
//! Names are those of the seed system's elements; values that its document, its code and scamper
//! understand differently are taken as the union of all, and a 0 that scamper would refuse is the
//! usual value. What does not fit together is refused in `check`.

use sonde_plugin_api::{
    packet::ip_option::{self, TimestampForm},
    prelude::*,
};

use crate::kind::Kind;

/// Probes of one run: as many round-trip times are kept, of 8 octets each.
const MOST_PROBES: u32 = 10_000_000;

params! {
    pub struct PingParams {
        /// Address to probe.
        destination: IpAddr => "destination.{ip}",
        /// Address to send from, one of the host's; the route decides where it is not given.
        source: Option<IpAddr> => "source.{ip}" { short: 'I' },
        /// Router on the same link to send through; the route decides where it is not given.
        gateway: Option<IpAddr> => "sonde.ping.gateway" { short: 'r' },
        /// Probes to send.
        count: u32 = 4 => "when.count" { range: 1..=MOST_PROBES, short: 'c' },
        /// Time from one probe to the next.
        period: Duration = Duration::from_secs(1) => "when.period" {
            range: Duration::from_millis(1)..=Duration::from_secs(20), short: 'i', alias: "interval"
        },
        /// Kind of probe.
        method: Kind = Kind::IcmpEcho => "scamper.ping.method" { short: 'P' },
        /// Destination port of TCP and UDP probes, the first one where they differ.
        dport: u16 = 80 => "scamper.ping.dport" { alias: "destination-port", short: 'd' },
        /// Source port or ICMP identifier, the first one where they differ; 0 lets the host choose.
        sport: u16 = 0 => "scamper.ping.sport" { alias: "source-port" },
        /// TTL or hop limit of the probes; 0 is the usual 64.
        ttl: u8 = 64 => "scamper.ping.ttl" { unit: "hops", short: 't' },
        /// Length of a probe with its IP header. Unless given it is that of the payload, usually 56
        /// octets of an echo (8 over IPv6), 44 of icmp-time, 12 of UDP, none of TCP.
        size: Option<u16> => "scamper.ping.size" { range: 28..=65_535, unit: "octets", short: 's' },
        /// Length of the payload instead of that of the whole probe.
        payload_octets: Option<u16> => "sonde.ping.payloadsize" { unit: "octets", short: 'b' },
        /// ToS or traffic class, the whole octet.
        tos: u8 = 0 => "scamper.ping.tos" { short: 'Q' },
        /// Ask the routers to record the route (IPv4 only).
        rr: bool = false => "scamper.ping.rr" { short: 'R' },
        /// Ask the routers for the time (IPv4 only): tsonly (nine times), tsandaddr (four with
        /// addresses), or tsprespec=A,B,C,D (of up to four given addresses, in this order).
        timestamp: Option<String> => "sonde.ping.timestamp" { max_length: 80, short: 'T' },
        /// Exact payload, hexadecimal.
        payload: Option<Hex> => "scamper.ping.payload" { max_length: 1000, short: 'B' },
        /// What the payload is filled with, hexadecimal, again and again; an odd count of digits gets
        /// a leading 0.
        pattern: Option<Hex> => "scamper.ping.pattern" {
            max_length: 16, odd_digits: true, short: 'p'
        },
        /// What the ICMP checksum shall be, decimal or 0x and hexadecimal.
        checksum: Option<String> => "scamper.ping.icmp.checksum" { short: 'C' },
        /// Sequence number of the first probe, TCP (32 bits) or ICMP (16 bits); others follow. Usually a random one, but 0
        /// of an echo with eight random octets of payload.
        sequence: Option<u32> => "sonde.ping.sequence",
        /// Acknowledgement number of the first TCP probe; those from one port follow.
        acknowledgement: Option<u32> => "sonde.ping.acknowledgement" { short: 'A' },
        /// Largest segment that SYN probes offer, octets; 0 offers none.
        mss: u16 = 0 => "sonde.ping.mss" { unit: "octets" },
        /// Meet echo replies longer than this with "packet too big", so that later ones come in
        /// fragments; 0 does not.
        mtu: u16 = 0 => "sonde.ping.mtu" { unit: "octets", short: 'M' },
        /// Count answers in fragments alone for rcount, and give up where the first answer is no echo
        /// reply (IPv6 only, with an mtu).
        tbt: bool = false => "sonde.ping.tbt",
        /// Stop after so many answered probes; 0 is all.
        rcount: u16 = 0 => "scamper.ping.rcount" { short: 'o' },
        /// How long to wait for an answer; 0 is the period, but at least 1 s.
        wait: Duration = Duration::ZERO => "sonde.ping.wait" {
            range: Duration::ZERO..=Duration::from_secs(255), short: 'W'
        },
        /// Tell what is known so far after each so many probes; 0 does not.
        every: u32 = 0 => "sonde.ping.every" { range: 0..=65_535, short: 'y' },
        /// Any number, which is in the record and changes nothing.
        userid: u32 = 0 => "sonde.ping.userid" { short: 'U' },
    }
}

/// What IP options a probe carries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Gathering {
    None,
    Route,
    Times(TimestampForm, Vec<Ipv4Addr>),
}

impl Gathering {
    /// The options as they stand in the header; empty where there are none.
    pub(crate) fn octets(&self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Route => ip_option::record_route(),
            Self::Times(form, addresses) => ip_option::timestamps(*form, addresses),
        }
    }
}

impl PingParams {
    /// How long an answer may take.
    pub(crate) fn timeout(&self) -> Duration {
        if self.wait.is_zero() { self.period.max(Duration::from_secs(1)) } else { self.wait }
    }

    /// TTL of the probes.
    pub(crate) fn probe_ttl(&self) -> u8 {
        if self.ttl == 0 { 64 } else { self.ttl }
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

    /// What the routers are asked for.
    ///
    /// # Errors
    ///
    /// Where the text of the timestamp option is none of the three forms.
    pub(crate) fn gathering(&self) -> Result<Gathering, Fail> {
        let Some(text) = self.timestamp.as_deref().filter(|text| !text.is_empty()) else {
            return Ok(if self.rr { Gathering::Route } else { Gathering::None });
        };
        let times = |form, addresses| Ok(Gathering::Times(form, addresses));
        match text.split_once('=') {
            None if text == "tsonly" => return times(TimestampForm::Only, Vec::new()),
            None if text == "tsandaddr" => return times(TimestampForm::WithAddress, Vec::new()),
            Some(("tsprespec", list)) => {
                let parsed: Result<Vec<Ipv4Addr>, _> = list.split(',').map(str::parse).collect();
                if let Ok(addresses) = parsed
                    && addresses.len() <= 4
                {
                    return times(TimestampForm::Prespecified, addresses);
                }
            }
            _ => {}
        }
        Err(Fail::bad_params(format!(
            "sonde.ping.timestamp is {text:?}, accepted: tsonly, tsandaddr, or tsprespec= and one \
             to four IPv4 addresses with commas between them"
        )))
    }

    /// Probes that have to differ behind their ports, over IPv6.
    pub(crate) fn is_udp6(&self) -> bool {
        self.method == Kind::Udp && self.destination.is_ipv6()
    }
}
