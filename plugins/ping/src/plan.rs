//! From parameters to flows and probes, or to what is wrong with them.

use std::fmt::Display;

use sonde_plugin_api::{
    packet::{ip_option, tcp::flags},
    prelude::*,
};

use crate::{kind::Kind, params::PingParams};

/// From one probe's TCP numbers to the next: far apart, and different for 2^32 probes.
const STEP: u32 = 0x9e37_79b1;

/// What all probes have in common.
pub(crate) struct Plan {
    pub(crate) params: PingParams,
    /// Of the whole packet.
    octets: u16,
    /// First TCP sequence and acknowledgement number.
    sequence: u32,
    acknowledgement: u32,
}

impl Plan {
    /// Checks the parameters against each other.
    pub(crate) fn new(params: PingParams, random: u64) -> Result<Self, Fail> {
        fits_family(&params)?;
        let octets = octets(&params)?;
        fits_payload(&params, octets)?;
        let (sequence, acknowledgement) = (random as u32, (random >> 32) as u32);
        Ok(Self { params, octets, sequence, acknowledgement })
    }

    /// The flow of probe `number`.
    pub(crate) fn flow(&self, number: u32) -> FlowSpec {
        let params = &self.params;
        let (destination, kind) = (params.destination, params.method);
        let mut spec = match kind {
            _ if kind.is_icmp() => FlowSpec::icmp(destination),
            _ if kind.is_udp() => FlowSpec::udp(destination),
            _ => FlowSpec::tcp(destination),
        };
        if let Some(key) = kind.key() {
            spec = spec.key(key);
        }
        if let Some(source) = params.source {
            spec = spec.source(source);
        }
        let local = match params.sport {
            0 => 0,
            first if kind.has_own_port() => nth_port(first, number),
            first => first,
        };
        spec.local(local).tos(params.tos)
    }

    /// Probe `number`, from 0.
    pub(crate) fn probe(&self, number: u32) -> Probe {
        let params = &self.params;
        let kind = params.method;
        let probe = match kind {
            Kind::IcmpEcho => Probe::echo(number as u16),
            Kind::IcmpTime => Probe::timestamp(number as u16),
            Kind::UdpDport => Probe::udp(nth_port(params.dport, number)),
            _ if kind.is_udp() => Probe::udp(params.dport),
            _ => self.segment(number),
        };
        let mut probe = probe.ttl(params.ttl()).tos(params.tos).size(usize::from(self.octets));
        if let Some(payload) = params.payload() {
            probe = probe.payload(payload);
        }
        if let Some(pattern) = params.pattern() {
            probe = probe.pattern(pattern);
        }
        if let Some(checksum) = params.checksum {
            probe = probe.checksum(checksum);
        }
        if params.rr {
            probe = probe.ip_options(&ip_option::record_route());
        }
        probe
    }

    fn segment(&self, number: u32) -> Probe {
        let kind = self.params.method;
        let spread = number.wrapping_mul(STEP);
        let bits = kind.tcp_flags();
        let acknowledgement = match bits & flags::ACK {
            0 => 0,
            _ => self.acknowledgement.wrapping_add(spread),
        };
        Probe::tcp(self.params.dport)
            .flags(bits)
            .sequence(self.sequence.wrapping_add(spread))
            .acknowledgement(acknowledgement)
    }

    /// Closes what the SYN of probe `number` opened.
    pub(crate) fn reset(&self, number: u32) -> Probe {
        let spread = number.wrapping_mul(STEP);
        let sequence = self.sequence.wrapping_add(spread).wrapping_add(1);
        let params = &self.params;
        Probe::tcp_rst(params.dport, sequence).ttl(params.ttl()).tos(params.tos).immediate()
    }
}

/// Port `number` behind the first; after 65535 comes 1.
fn nth_port(first: u16, number: u32) -> u16 {
    match u32::from(first) {
        0 => (number % 65_536) as u16,
        first => ((first - 1 + number % 65_535) % 65_535 + 1) as u16,
    }
}

fn refused(element: &str, value: impl Display, accepted: impl Display) -> Fail {
    Fail::bad_params(format!("{element} is {value}, accepted: {accepted}"))
}

fn fits_family(params: &PingParams) -> Result<(), Fail> {
    let is_v4 = params.is_v4();
    if params.method == Kind::IcmpTime && !is_v4 {
        let others: Vec<_> =
            Kind::ALL.iter().filter(|kind| **kind != Kind::IcmpTime).map(|k| k.name()).collect();
        let accepted = format!("with IPv6 {}", others.join(", "));
        return Err(refused("scamper.ping.method", "icmp-time", accepted));
    }
    if params.rr && !is_v4 {
        return Err(refused("scamper.ping.rr", "true", "with IPv6 false"));
    }
    if let Some(source) = params.source.filter(|source| source.is_ipv4() != is_v4) {
        let (element, accepted) = match is_v4 {
            true => ("source.ip4", "an IPv4 address, as the destination"),
            false => ("source.ip6", "an IPv6 address, as the destination"),
        };
        return Err(refused(element, source, accepted));
    }
    Ok(())
}

/// Length of a packet without payload.
fn header_octets(params: &PingParams) -> usize {
    let options = if params.rr { 40 } else { 0 };
    (if params.is_v4() { 20 } else { 40 }) + options + params.method.header_octets()
}

/// Length of a packet. The usual size gives way: to the payload, and to headers that it has no
/// room for. A SYN carries no data unless asked to: some stacks and firewalls drop it then.
fn octets(params: &PingParams) -> Result<u16, Fail> {
    let headers = header_octets(params);
    let size = usize::from(params.size);
    let octets = match params.payload() {
        Some(payload) => headers + payload.len(),
        None if params.method.opens() => headers,
        None => size.max(headers),
    };
    if !params.has_usual_size() {
        let accepted = match params.payload() {
            Some(_) if size != octets => format!("with this payload {octets}"),
            None if size < headers => {
                let method = params.method;
                format!("with {method} {headers} and more")
            }
            _ => return Ok(params.size),
        };
        return Err(refused("scamper.ping.size", size, accepted));
    }
    u16::try_from(octets).map_err(|_| refused("scamper.ping.size", octets, "up to 65535"))
}

fn fits_payload(params: &PingParams, octets: u16) -> Result<(), Fail> {
    if params.payload().is_some() && params.pattern().is_some() {
        let accepted = "a payload or a pattern, not both";
        return Err(refused("scamper.ping.pattern", "given with a payload", accepted));
    }
    let Some(checksum) = params.checksum else { return Ok(()) };
    let refused = |accepted| Err(refused("scamper.ping.icmp.checksum", checksum, accepted));
    if !params.method.is_icmp() {
        return refused("nothing unless scamper.ping.method is icmp-echo or icmp-time");
    }
    if usize::from(octets) < header_octets(params) + 2 {
        return refused("with two octets of payload or more");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> PingParams {
        PingParams::with("198.51.100.9".parse().unwrap())
    }

    fn refusal(params: PingParams) -> String {
        Plan::new(params, 0).err().map(|fail| fail.message).unwrap_or_default()
    }

    #[test]
    fn ports_go_round_without_port_zero() {
        assert_eq!([0, 1, 2].map(|number| nth_port(65_534, number)), [65_534, 65_535, 1]);
        assert_eq!(nth_port(80, 65_535), 80);
    }

    #[test]
    fn the_usual_size_gives_way_where_headers_or_payload_need_another() {
        let octets = |change: fn(&mut PingParams)| {
            let mut params = params();
            change(&mut params);
            Plan::new(params, 0).unwrap().octets
        };
        assert_eq!(octets(|_| ()), 84);
        assert_eq!(octets(|p| p.payload = Some(Hex(vec![1; 100]))), 128);
        assert_eq!(octets(|p| p.method = Kind::TcpSyn), 40);
        assert_eq!(octets(|p| (p.method, p.size) = (Kind::TcpSyn, 50)), 50);
        let six = "2001:db8::9".parse().unwrap();
        let params = PingParams { method: Kind::TcpAck, ..PingParams::with(six) };
        assert_eq!(Plan::new(params, 0).unwrap().octets, 60);
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_name() {
        let six = || PingParams::with("2001:db8::9".parse().unwrap());
        let payload = Some(Hex(vec![1; 12]));
        let cases = [
            (
                PingParams { method: Kind::IcmpTime, ..six() },
                "scamper.ping.method is icmp-time, accepted: with IPv6 icmp-echo, tcp-ack",
            ),
            (PingParams { rr: true, ..six() }, "scamper.ping.rr is true, accepted: with IPv6 false"),
            (
                PingParams { source: Some("192.0.2.1".parse().unwrap()), ..six() },
                "source.ip6 is 192.0.2.1, accepted: an IPv6 address, as the destination",
            ),
            (
                PingParams { size: 30, method: Kind::TcpAck, ..params() },
                "scamper.ping.size is 30, accepted: with tcp-ack 40 and more",
            ),
            (
                PingParams { size: 60, payload: payload.clone(), ..params() },
                "scamper.ping.size is 60, accepted: with this payload 40",
            ),
            (
                PingParams { payload: payload.clone(), pattern: payload, ..params() },
                "scamper.ping.pattern is given with a payload, accepted: a payload or a pattern",
            ),
            (
                PingParams { checksum: Some(7), method: Kind::Udp, ..params() },
                "scamper.ping.icmp.checksum is 7, accepted: nothing unless scamper.ping.method",
            ),
            (
                PingParams { checksum: Some(7), size: 28, ..params() },
                "scamper.ping.icmp.checksum is 7, accepted: with two octets of payload",
            ),
        ];
        for (params, expected) in cases {
            let text = refusal(params);
            assert!(text.starts_with(expected), "{text}");
        }
    }
}
