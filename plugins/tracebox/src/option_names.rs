//! Names of options and extension headers, as results spell them.
//!
//! Source: the IANA registries of TCP option kinds, IPv4 options and IPv6 extension header types.

use sonde_plugin_api::packet::protocol;

/// Options of TCP; a field of one of them begins with this.
pub(crate) const TCP_OPTIONS: &str = "TCP::Options";
/// Options of IPv4, likewise.
pub(crate) const IP_OPTIONS: &str = "IP::Options";
/// What is unknown where not all extension headers of IPv6 are there; each has a name of its own.
pub(crate) const EXTENSION_HEADERS: &str = "IPv6::ExtensionHeaders";

const HEADERS: [(u8, &str); 5] = [
    (protocol::HOP_BY_HOP, "IPv6::HopByHopOptions"),
    (protocol::ROUTING, "IPv6::Routing"),
    (protocol::FRAGMENT, "IPv6::Fragment"),
    (protocol::AUTHENTICATION, "IPv6::Authentication"),
    (protocol::DESTINATION_OPTIONS, "IPv6::DestinationOptions"),
];

/// The list that a field is of, where it is an option or an extension header.
pub(crate) fn list_of(field: &str) -> Option<&'static str> {
    let lists = [TCP_OPTIONS, IP_OPTIONS];
    let of = |list: &&str| field.strip_prefix(*list).is_some_and(|rest| rest.starts_with("::"));
    let is_header = HEADERS.iter().any(|(_, name)| *name == field);
    lists.into_iter().find(of).or(is_header.then_some(EXTENSION_HEADERS))
}

/// Whether the number of a next header is that of an extension header.
pub(crate) fn is_extension_header(number: u8) -> bool {
    HEADERS.iter().any(|(known, _)| *known == number)
}

/// Of an extension header.
pub(crate) fn extension_header(number: u8) -> String {
    let known = HEADERS.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("IPv6::{number}"), |(_, name)| (*name).to_owned())
}

/// Of an IPv4 option; its number where it has none.
pub(crate) fn ipv4(kind: u8) -> String {
    let name = match kind {
        7 => "RecordRoute",
        25 => "QuickStart",
        68 => "Timestamp",
        82 => "Traceroute",
        130 => "Security",
        131 => "LooseSourceRoute",
        134 => "CIPSO",
        136 => "StreamIdentifier",
        137 => "StrictSourceRoute",
        148 => "RouterAlert",
        kind => return kind.to_string(),
    };
    name.to_owned()
}

/// Of a TCP option; its number where it has none. Experiments have an identifier, the first two octets of
/// their content in hexadecimal (RFC 6994).
pub(crate) fn tcp(kind: u8, content: Option<&str>) -> String {
    let name = match kind {
        0 => "EOL",
        1 => "NOP",
        2 => "MSS",
        3 => "WSOPT-WindowScale",
        4 => "SACKPermitted",
        5 => "SACK",
        6 => "Echo",
        7 => "EchoReply",
        8 => "TSOPT-TimeStampOption",
        9 => "PartialOrderConnectionPermitted",
        10 => "PartialOrderServiceProfile",
        11 => "CC",
        12 => "CC.NEW",
        13 => "CC.ECHO",
        14 => "TCPAlternateChecksumRequest",
        15 => "TCPAlternateChecksumData",
        16 => "Skeeter",
        17 => "Bubba",
        18 => "TrailerChecksumOption",
        19 => "MD5SignatureOption",
        20 => "SCPSCapabilities",
        21 => "SelectiveNegativeAck",
        22 => "RecordBoundaries",
        23 => "CorruptionExperienced",
        24 => "SNAP",
        26 => "TCPCompressionFilter",
        27 => "Quick-StartResponse",
        28 => "UserTimeoutOption",
        29 => "TCPAuthenticationOption",
        30 => "MultipathTCP",
        34 => "FastOpenCookie",
        69 => "ENO",
        172 | 174 => "AccECN",
        253 | 254 => {
            let identifier = content.and_then(|content| content.get(..4)).unwrap_or("none");
            return format!("Experiment-{identifier}");
        }
        kind => return kind.to_string(),
    };
    name.to_owned()
}
