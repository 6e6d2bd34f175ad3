//! The packet that an ICMP error quotes: where it is, and how much of it.
//!
//! Source: RFC 792, RFC 4443, RFC 4884; the deviations are seen in the wild.

use std::ops::Range;

use crate::{Family, IpHeader, Verdict, extension, protocol, received::verify_transport, word};

/// Where a padded quote ends and extensions begin in the form older than RFC 4884.
const LEGACY_OCTETS: usize = 128;

/// A quoted packet inside an ICMP error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Quote {
    /// The quoted packet inside the whole, without padding.
    pub range: Range<usize>,
    /// As `range`, with its padding.
    pub padded: Range<usize>,
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
        let (range, padded) = (at(0..useful), at(0..quoted));
        Self { range, padded, extensions: extensions.map(at), depth }
    }

    /// The same about a packet that is known: a quoted length that is less by the IP header than that of the packet
    /// is one that lacks it where more of the packet is there, or its transport header says so.
    #[must_use]
    pub fn about(self, sent: &[u8], packet: &[u8]) -> Self {
        let octets = packet.get(self.padded.clone()).unwrap_or_default();
        let Some(claimed) = reduced(octets, sent).filter(|_| self.depth == Depth::Full) else {
            return self;
        };
        let mut there = octets.len().min(sent.len());
        let more = &octets[claimed.min(there)..there];
        let is_padding = more.iter().all(|octet| *octet == 0);
        let is_of_it = !is_padding && sent[..there].ends_with(more);
        if !is_of_it && transport_end(octets) <= Some(claimed) {
            return self;
        }
        if is_padding {
            there = there.min(claimed);
        }
        let depth = if there == sent.len() { Depth::Full } else { Depth::Partial };
        Self { range: self.padded.start..self.padded.start + there, depth, ..self }
    }
}

/// The length that is quoted, where it is that of the packet without its IP header.
fn reduced(quoted: &[u8], sent: &[u8]) -> Option<usize> {
    let header = IpHeader::parse(quoted).ok().filter(|header| header.family() == Family::V4)?;
    (header.total_octets + header.header_octets == sent.len()).then_some(header.total_octets)
}

/// Where the TCP header or the UDP datagram ends, by what it says itself.
fn transport_end(quoted: &[u8]) -> Option<usize> {
    let header = IpHeader::parse(quoted).ok()?;
    let octets = match header.protocol {
        protocol::TCP => usize::from(quoted.get(header.header_octets + 12)? >> 4) * 4,
        protocol::UDP => usize::from(word(quoted, header.header_octets + 4)?),
        _ => 0,
    };
    Some(header.header_octets + octets)
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
    let mut useful = quote.len().min(total);
    if is_padded(&quote[..useful], &header) && quote.len() >= LEGACY_OCTETS {
        useful = header.header_octets + 8;
    }
    let behind = useful.saturating_sub(header.header_octets);
    let depth = match behind {
        0..8 if useful < total => Depth::Network,
        8 if useful < total => Depth::Eight,
        _ if useful < total => Depth::Partial,
        _ => Depth::Full,
    };
    (useful, depth)
}

/// Whether all behind 8 octets are zeros that cannot be the packet's: some routers quote no more, and fill up to
/// [`LEGACY_OCTETS`] where extensions follow.
fn is_padded(quoted: &[u8], header: &IpHeader) -> bool {
    let behind = quoted.get(header.header_octets + 8..).unwrap_or_default();
    let is_possible = || match header.protocol {
        // Its header cannot be of no length.
        protocol::TCP => false,
        _ => verify_transport(quoted, header) != Verdict::Bad,
    };
    !behind.is_empty() && behind.iter().all(|octet| *octet == 0) && !is_possible()
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
