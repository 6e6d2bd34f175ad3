//! What of a ping's parameters does not fit together, and how long its probes are.

use sonde_plugin_api::prelude::*;

use crate::{
    kind::Kind,
    params::{Gathering, PingParams},
};

/// All that a probe has beside what differs from one to the next.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) checksum: Option<u16>,
    pub(crate) ip_options: Box<[u8]>,
    /// Of the whole probe, octets.
    pub(crate) octets: usize,
    /// Of its payload.
    pub(crate) payload_octets: usize,
    /// Too little of the payload is random to be a secret, or to tell probes apart.
    pub(crate) is_alike: bool,
    /// Probes that have little else to tell them apart have a checksum each.
    pub(crate) counts_checksums: bool,
}

/// Octets of a payload that are different enough by themselves.
const TELLING: usize = 8;

impl PingParams {
    /// The shape of the probes, where all fits together.
    ///
    /// # Errors
    ///
    /// Names the parameter, its value and what would be accepted.
    pub(crate) fn shape(&self) -> Result<Shape, Fail> {
        let gathering = self.gathering()?;
        self.check_family(&gathering)?;
        self.check_tcp()?;
        self.check_too_big()?;
        let ip_options = gathering.octets().into_boxed_slice();
        let headers = self.header_octets(ip_options.len());
        let octets = self.octets(headers)?;
        if self.payload.is_some() && self.pattern.is_some() {
            return refuse("scamper.ping.payload and scamper.ping.pattern exclude each other");
        }
        if self.payload.is_some() && self.is_udp6() {
            return refuse(
                "scamper.ping.payload with method udp leaves nothing to tell probes over IPv6 \
                 apart, accepted: method udp-dport, or scamper.ping.pattern",
            );
        }
        if self.is_udp6() && octets - headers < 2 {
            return refuse(&format!(
                "a packet of {octets} octets with method udp leaves nothing to tell probes over IPv6 apart, accepted: \
                 method udp-dport, or at least {} octets of scamper.ping.size or 2 of sonde.ping.payloadsize",
                headers + 2
            ));
        }
        let checksum = self.wanted_checksum()?;
        if checksum.is_some() && (!self.method.is_icmp() || octets - headers < 2) {
            return refuse(
                "scamper.ping.icmp.checksum takes an ICMP method and 2 octets of payload",
            );
        }
        if octets <= usize::from(self.mtu) {
            return refuse(&format!(
                "sonde.ping.mtu is {}, accepted: less than the {octets} octets of a probe",
                self.mtu
            ));
        }
        let room = octets - headers;
        let is_alike = self.payload.is_some() || self.pattern.is_some() || room < TELLING;
        let may_count = self.method == Kind::Udp && self.payload.is_none() && room >= 2;
        Ok(Shape {
            checksum,
            ip_options,
            octets,
            payload_octets: room,
            is_alike,
            counts_checksums: may_count && is_alike,
        })
    }

    fn check_family(&self, gathering: &Gathering) -> Result<(), Fail> {
        let is_v4 = self.destination.is_ipv4();
        if self.source.is_some_and(|source| source.is_ipv4() != is_v4) {
            return refuse("source and destination are of different families");
        }
        if let Some(gateway) = self.gateway.filter(|gateway| gateway.is_ipv4() != is_v4) {
            let family = if is_v4 { "IPv4" } else { "IPv6" };
            return refuse(&format!("sonde.ping.gateway is {gateway}, accepted: {family}"));
        }
        if self.method == Kind::IcmpTime && !is_v4 {
            return refuse("scamper.ping.method is icmp-time, which exists in IPv4 only");
        }
        if self.rr && !is_v4 {
            return refuse("scamper.ping.rr is 1, which exists in IPv4 only");
        }
        if let Gathering::Times(..) = gathering {
            if !is_v4 {
                return refuse("sonde.ping.timestamp is given, which exists in IPv4 only");
            }
            if self.rr {
                return refuse("scamper.ping.rr and sonde.ping.timestamp exclude each other");
            }
        }
        Ok(())
    }

    fn check_tcp(&self) -> Result<(), Fail> {
        let method = self.method;
        if self.mss != 0 && !method.may_name_mss() {
            return refuse(&format!(
                "sonde.ping.mss is {}, accepted: 0 with {method}, others with tcp-syn, \
                 tcp-syn-sport, tcp-synack",
                self.mss
            ));
        }
        if let Some(number) = self.acknowledgement.filter(|_| !method.acknowledges()) {
            return refuse(&format!(
                "sonde.ping.acknowledgement is {number}, accepted: with tcp-ack, tcp-ack-sport, \
                 tcp-synack"
            ));
        }
        let most = match method {
            _ if method.is_tcp() => u32::MAX,
            _ if method.is_icmp() => 65_535,
            _ => {
                return match self.sequence {
                    Some(number) => refuse(&format!(
                        "sonde.ping.sequence is {number}, accepted: with ICMP and TCP methods"
                    )),
                    None => Ok(()),
                };
            }
        };
        match self.sequence.filter(|number| *number > most) {
            Some(number) => refuse(&format!(
                "sonde.ping.sequence is {number}, accepted: 0 ... {most} with {method}"
            )),
            None => Ok(()),
        }
    }

    fn check_too_big(&self) -> Result<(), Fail> {
        let (mtu, is_v4) = (self.mtu, self.destination.is_ipv4());
        if self.tbt && (is_v4 || mtu == 0) {
            return refuse("sonde.ping.tbt is 1, accepted: over IPv6, with a sonde.ping.mtu");
        }
        // What every link takes: RFC 791, RFC 8200.
        let least = if is_v4 { 68 } else { 1280 };
        if mtu != 0 && mtu < least {
            return refuse(&format!("sonde.ping.mtu is {mtu}, accepted: 0, {least} ... 65535"));
        }
        if mtu != 0 && self.method != Kind::IcmpEcho {
            let method = self.method;
            return refuse(&format!(
                "sonde.ping.mtu is {mtu}, accepted: 0 with {method}, others with icmp-echo"
            ));
        }
        Ok(())
    }

    /// Octets of a probe without its payload.
    fn header_octets(&self, ip_options: usize) -> usize {
        let ip = if self.destination.is_ipv4() { 20 + ip_options } else { 40 };
        let tcp_options = if self.mss == 0 { 0 } else { 4 };
        ip + self.method.header_octets() + tcp_options
    }

    /// Octets of a payload that nobody chose.
    ///
    /// Segments have none: a SYN with data is dropped by many that answer one without.
    fn usual_payload(&self) -> usize {
        match self.method {
            Kind::IcmpEcho if self.destination.is_ipv4() => 56,
            Kind::IcmpEcho => 8,
            Kind::IcmpTime => 44,
            Kind::Udp | Kind::UdpDport | Kind::UdpSport => 12,
            _ => 0,
        }
    }

    /// Octets of a whole probe. What the seed system sends always, whatever the kind, is raised to what
    /// the headers take.
    fn octets(&self, headers: usize) -> Result<usize, Fail> {
        let of_seed = if self.destination.is_ipv4() { 84 } else { 56 };
        let size = self.size.map(|size| match usize::from(size) {
            size if size == of_seed => size.max(headers),
            size => size,
        });
        let payload = match (&self.payload, self.payload_octets.map(usize::from)) {
            (Some(payload), Some(octets)) if payload.0.len() != octets => {
                return refuse(&format!(
                    "sonde.ping.payloadsize is {octets}, accepted: {} with this \
                     scamper.ping.payload",
                    payload.0.len()
                ));
            }
            // The seed system sends its size beside a payload, which decides.
            (Some(payload), None) => return Ok(headers + payload.0.len()),
            (_, octets) => octets,
        };
        let given = match (size, payload) {
            (None, payload) => headers + payload.unwrap_or(self.usual_payload()),
            (Some(size), None) => size,
            (Some(size), Some(payload)) if size == headers + payload => size,
            (Some(size), Some(payload)) => {
                return refuse(&format!(
                    "scamper.ping.size is {size}, accepted: {} with this sonde.ping.payloadsize",
                    headers + payload
                ));
            }
        };
        if !(headers..=65_535).contains(&given) {
            let name = match self.payload_octets {
                Some(octets) => format!("sonde.ping.payloadsize is {octets}, a packet of {given}"),
                None => format!("scamper.ping.size is {given}"),
            };
            let method = self.method;
            return refuse(&format!("{name}, accepted: {headers} ... 65535 octets with {method}"));
        }
        Ok(given)
    }
}

fn refuse<T>(text: &str) -> Result<T, Fail> {
    Err(Fail::bad_params(text))
}
