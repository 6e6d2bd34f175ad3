//! A packet in one line, for people.

use std::fmt::Write;

use sonde_packet::{
    Class, Family, IpHeader, Received, Verdict, classify, protocol,
    tcp::{TcpOption, TcpView, flags},
    verify,
};

/// As `192.0.2.1 > 198.51.100.9 ICMP echo request id 1 seq 0, ttl 64, 84 octets`.
#[must_use]
pub fn describe(packet: &[u8]) -> String {
    let Ok(header) = IpHeader::parse(packet) else {
        return format!("no IP packet, {} octets", packet.len());
    };
    let (source, destination) = (header.source, header.destination);
    let transport = header.transport(packet);
    let mut line = match (header.fragment, header.has_transport()) {
        (Some(part), false) => {
            format!("{source} > {destination} part from octet {}", part.offset_octets)
        }
        (part, _) => {
            let what = transport_line(packet, &header, transport);
            let first = if part.is_some() { "first part of " } else { "" };
            format!("{source} > {destination} {first}{what}")
        }
    };
    let mut add = |text: String| line.push_str(&text);
    add(format!(", ttl {}", header.ttl));
    if header.tos != 0 {
        add(format!(", tos {}", header.tos));
    }
    if header.flow_label != 0 {
        add(format!(", flow {}", header.flow_label));
    }
    if !header.options.is_empty() {
        add(format!(", {} octets of options", header.options.len()));
    }
    add(format!(", {} octets", packet.len()));
    if verify(packet, &header) == Verdict::Bad {
        add(", wrong checksum".to_owned());
    }
    line
}

fn transport_line(packet: &[u8], header: &IpHeader, transport: &[u8]) -> String {
    match (header.family(), header.protocol) {
        (_, protocol::TCP) => tcp_line(transport),
        (_, protocol::UDP) => {
            let (from, to) = ports(transport);
            let data = transport.len().saturating_sub(8);
            format!("UDP {from} > {to}, data {data}")
        }
        (Family::V4, protocol::ICMP) | (Family::V6, protocol::ICMPV6) => {
            match classify(packet).filter(|received| received.class.is_error()) {
                Some(received) => error_line(packet, &received),
                None => icmp_line(header.family(), transport),
            }
        }
        (_, number) => format!("protocol {number}"),
    }
}

fn ports(transport: &[u8]) -> (String, String) {
    let view = TcpView::new(transport);
    (known(view.source_port()), known(view.destination_port()))
}

/// `?` where the packet is cut short.
fn known<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "?".to_owned(), |value| value.to_string())
}

fn tcp_line(transport: &[u8]) -> String {
    let view = TcpView::new(transport);
    let (from, to) = ports(transport);
    let names = [
        (flags::SYN, "SYN"),
        (flags::FIN, "FIN"),
        (flags::RST, "RST"),
        (flags::PSH, "PSH"),
        (flags::ACK, "ACK"),
        (flags::URG, "URG"),
        (flags::ECE, "ECE"),
        (flags::CWR, "CWR"),
    ];
    let bits = view.flags().unwrap_or_default();
    let set = names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name);
    let mut line = format!("TCP {from} > {to} {}", set.collect::<Vec<_>>().join("|"));
    // Writing to a string cannot fail.
    let _ = write!(line, " seq {}", known(view.sequence()));
    if bits & flags::ACK != 0 {
        let _ = write!(line, " ack {}", known(view.acknowledgement()));
    }
    let _ = write!(line, " win {}", known(view.window()));
    for option in view.options() {
        let _ = match option {
            TcpOption::NoOperation => Ok(()),
            TcpOption::MaximumSegmentSize(octets) => write!(line, " mss {octets}"),
            TcpOption::WindowScale(shift) => write!(line, " scale {shift}"),
            TcpOption::SackPermitted => write!(line, " sack-permitted"),
            TcpOption::Sack(blocks) => write!(line, " sack of {}", blocks.len() / 8),
            TcpOption::Timestamps { value, echo } => write!(line, " ts {value}/{echo}"),
            TcpOption::FastOpen(_) => write!(line, " fast-open"),
            TcpOption::Multipath(_) => write!(line, " multipath"),
            TcpOption::Other { kind, .. } => write!(line, " option {kind}"),
        };
    }
    let _ = write!(line, ", data {}", view.payload().len());
    line
}

fn icmp_line(family: Family, transport: &[u8]) -> String {
    let &[kind, code, _, _, a, b, c, d, ..] = transport else {
        return "ICMP, cut short".to_owned();
    };
    let name = match (family, kind) {
        (Family::V4, 8) | (Family::V6, 128) => "echo request",
        (Family::V4, 0) | (Family::V6, 129) => "echo reply",
        (Family::V4, 13) => "timestamp request",
        (Family::V4, 14) => "timestamp reply",
        _ => return format!("ICMP type {kind} code {code}"),
    };
    let (id, sequence) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    format!("ICMP {name} id {id} seq {sequence}")
}

fn error_line(packet: &[u8], received: &Received) -> String {
    let name = match received.class {
        Class::TimeExceeded => "time exceeded",
        Class::Unreachable => "unreachable",
        Class::PacketTooBig => "packet too big",
        Class::ParameterProblem => "parameter problem",
        _ => "error",
    };
    let quote = received.quote.clone().and_then(|range| packet.get(range)).unwrap_or_default();
    let Ok(quoted) = IpHeader::parse(quote) else {
        return format!("ICMP {name} code {}, nothing quoted", received.icmp_code);
    };
    let what = match quoted.protocol {
        protocol::ICMP | protocol::ICMPV6 => icmp_line(quoted.family(), quoted.transport(quote)),
        protocol::TCP => tcp_quote("TCP", quoted.transport(quote)),
        protocol::UDP => tcp_quote("UDP", quoted.transport(quote)),
        number => format!("protocol {number}"),
    };
    format!(
        "ICMP {name} code {} about [{} > {} {what}, ttl {}, {} octets quoted]",
        received.icmp_code,
        quoted.source,
        quoted.destination,
        quoted.ttl,
        quote.len()
    )
}

fn tcp_quote(name: &str, transport: &[u8]) -> String {
    let (from, to) = ports(transport);
    format!("{name} {from} > {to}")
}

#[cfg(test)]
mod tests {
    use sonde_packet::{ErrorKind, ErrorMessage, Ip, Packet, Payload, TcpSegment, Transport};

    use super::*;

    fn built(transport: Transport<'_>) -> Vec<u8> {
        let packet = Packet {
            ip: Ip::plain("192.0.2.1".parse().unwrap(), "198.51.100.9".parse().unwrap()),
            transport,
            payload: Payload::Zeros(4),
            checksum: None,
        };
        packet.to_vec().unwrap()
    }

    #[test]
    fn a_request_says_who_asks_whom_for_what() {
        let echo = built(Transport::Echo { identifier: 7, sequence: 3 });
        assert_eq!(
            describe(&echo),
            "192.0.2.1 > 198.51.100.9 ICMP echo request id 7 seq 3, ttl 64, 32 octets"
        );
        let segment = TcpSegment {
            source_port: 40_000,
            destination_port: 80,
            flags: flags::SYN,
            options: &[2, 4, 5, 180],
            ..TcpSegment::default()
        };
        assert_eq!(
            describe(&built(Transport::Tcp(segment))),
            "192.0.2.1 > 198.51.100.9 TCP 40000 > 80 SYN seq 0 win 0 mss 1460, data 4, ttl 64, 48 octets"
        );
    }

    #[test]
    fn an_error_says_what_it_is_about() {
        let quoted = built(Transport::Udp { source_port: 40_000, destination_port: 33_435 });
        let message = ErrorMessage {
            source: "192.0.2.254".parse().unwrap(),
            destination: "192.0.2.1".parse().unwrap(),
            ttl: 255,
            kind: ErrorKind::TimeExceeded,
            quoted: &quoted,
            quoted_octets: 28,
            extensions: &[],
        };
        assert_eq!(
            describe(&message.to_vec().unwrap()),
            "192.0.2.254 > 192.0.2.1 ICMP time exceeded code 0 about [192.0.2.1 > 198.51.100.9 \
             UDP 40000 > 33435, ttl 64, 28 octets quoted], ttl 255, 56 octets"
        );
    }

    #[test]
    fn whatever_it_is_it_has_a_description() {
        assert_eq!(describe(&[]), "no IP packet, 0 octets");
        for cut in 0..60 {
            let segment = built(Transport::Tcp(TcpSegment::default()));
            assert!(!describe(&segment[..cut.min(segment.len())]).is_empty());
        }
    }
}
