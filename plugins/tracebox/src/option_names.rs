//! Names of TCP options, as results spell them.
//!
//! Source: the IANA registry of TCP option kinds.

/// Of a kind; its number where it has none. Experiments have an identifier, the first two octets of
/// their content in hexadecimal (RFC 6994).
pub(crate) fn name(kind: u8, content: Option<&str>) -> String {
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
