//! The packet that an ICMP error quotes: where it is, and how much of it.
//!
//! Source: RFC 792, RFC 4443, RFC 4884; the deviations are seen in the wild.

use std::ops::Range;

use crate::{Family, IpHeader, extension, word};

/// Where a padded quote ends and extensions begin in the form older than RFC 4884.
const LEGACY_OCTETS: usize = 128;

/// A quoted packet inside an ICMP error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Quote {
    /// The quoted packet inside the whole, without padding.
    pub range: Range<usize>,
    /// Where an extension structure begins, if there is one.
    pub extensions: Option<Range<usize>>,
    /// How much of the packet came back.
    pub depth: Depth,
}

/// How much of a packet an error quotes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Depth {
    /// Not even an IP header.
    Empty,
    /// The IP header, and less than 8 octets behind it.
    Network,
    /// The IP header and 8 octets.
    Eight,
    /// More, but not all.
    Partial,
    /// The whole packet.
    Full,
}

impl Quote {
    /// Reads the quote of an error whose ICMP header begins at `icmp` in `packet`; `end` is where
    /// the message ends.
    #[must_use]
    pub fn parse(packet: &[u8], icmp: usize, end: usize, family: Family) -> Self {
        let begin = (icmp + 8).min(packet.len());
        let body = begin..end.clamp(begin, packet.len());
        let octets = packet.get(body.clone()).unwrap_or_default();
        let (quoted, extensions) = split(packet, icmp, octets, family);
        let at = |range: Range<usize>| body.start + range.start..body.start + range.end;
        let (useful, depth) = measure(&octets[..quoted]);
        Self { range: at(0..useful), extensions: extensions.map(at), depth }
    }
}

/// Length of the quote with its padding, and where the extensions are.
fn split(packet: &[u8], icmp: usize, body: &[u8], family: Family) -> (usize, Option<Range<usize>>) {
    let kind = packet.get(icmp).copied().unwrap_or_default();
    let field = match family {
        Family::V4 if [3, 11, 12].contains(&kind) => packet.get(icmp + 5).map(|words| (*words, 4)),
        Family::V6 if [1, 3].contains(&kind) => packet.get(icmp + 4).map(|longs| (*longs, 8)),
        _ => None,
    };
    match field.map(|(count, unit)| usize::from(count) * unit) {
        Some(quoted) if quoted != 0 && quoted <= body.len() => {
            let rest = quoted..body.len();
            let is_there = extension::parse(&body[rest.clone()]).is_some();
            (quoted, is_there.then_some(rest))
        }
        Some(0) if body.len() > LEGACY_OCTETS => {
            let rest = LEGACY_OCTETS..body.len();
            match extension::parse(&body[rest.clone()]) {
                Some(_) => (LEGACY_OCTETS, Some(rest)),
                None => (body.len(), None),
            }
        }
        _ => (body.len(), None),
    }
}

/// Octets of the quote that are of the packet, and what that is.
fn measure(quote: &[u8]) -> (usize, Depth) {
    let Ok(header) = IpHeader::parse(quote) else {
        return (quote.len(), Depth::Empty);
    };
    let total = claimed(quote, &header);
    let useful = quote.len().min(total);
    let behind = useful.saturating_sub(header.header_octets);
    let depth = match behind {
        0..8 if useful < total => Depth::Network,
        8 if useful < total => Depth::Eight,
        _ if useful < total => Depth::Partial,
        _ => Depth::Full,
    };
    (useful, depth)
}

/// Length of the quoted packet: as claimed, or as it must have been meant. Some stacks quote the
/// length with its octets swapped or without the header.
fn claimed(quote: &[u8], header: &IpHeader) -> usize {
    let least = header.header_octets + 8;
    let plausible = |octets: usize| (least..=quote.len().max(1500)).contains(&octets);
    if header.family() == Family::V6 || plausible(header.total_octets) {
        return header.total_octets.max(header.header_octets);
    }
    let swapped = word(quote, 2).map_or(0, |octets| usize::from(octets.swap_bytes()));
    let [swapped_there, reduced] = [swapped, header.total_octets + header.header_octets];
    if plausible(swapped_there) && !plausible(reduced) {
        swapped_there
    } else if plausible(reduced) && header.total_octets < least {
        reduced
    } else if plausible(swapped_there) {
        swapped_there
    } else {
        quote.len()
    }
}

#[cfg(test)]
mod tests;
