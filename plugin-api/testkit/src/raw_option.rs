//! TCP options octet by octet, for boxes that leave the others as they are.

use sonde_packet::tcp::TcpView;

/// One TCP option as it stands in the segment.
pub(crate) struct RawOption {
    pub(crate) kind: u8,
    pub(crate) octets: Vec<u8>,
}

/// The options of a TCP header up to the end of the list, fillers included.
pub(crate) fn options(transport: &[u8]) -> Vec<RawOption> {
    let end = TcpView::new(transport).header_octets().unwrap_or(20).min(transport.len());
    let mut rest = transport.get(20..end).unwrap_or_default();
    let mut found = Vec::new();
    while let Some(&kind) = rest.first() {
        let octets = match kind {
            0 => break,
            1 => 1,
            _ => rest.get(1).map_or(0, |octets| usize::from(*octets)),
        };
        if octets == 0 || octets > rest.len() || kind > 1 && octets < 2 {
            break;
        }
        found.push(RawOption { kind, octets: rest[..octets].to_vec() });
        rest = &rest[octets..];
    }
    found
}
