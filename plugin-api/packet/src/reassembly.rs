//! Answers that come in fragments, put together.
//!
//! What comes in is foreign: there is a bound to everything, and a packet whose fragments overlap is
//! given up. The whole keeps the headers of its first fragment, in IPv6 with the fragment header, so
//! that the identification can be seen. Pure; whose fragments are worth keeping is for the caller to
//! say.
//!
//! Source: RFC 791, section 3.2; RFC 8200, section 4.5; RFC 5722 (overlaps).

use std::{collections::VecDeque, net::IpAddr};

use crate::{Family, Fragment, IpHeader, checksum, ip::extension_octets, protocol};

/// Packets that wait for more of their fragments; the oldest is given up for one more.
const MAX_WAITING: usize = 64;
/// Octets of all that waits.
const MAX_OCTETS: usize = 1 << 20;
/// Fragments of one packet: so many does a link of 68 octets, the smallest of IPv4, make of the largest.
const MAX_FRAGMENTS: usize = MAX_DATA.div_ceil(48);
/// How long a packet may wait for the rest (RFC 791 proposes 15 s).
const LIFETIME_NS: u64 = 15_000_000_000;
/// What the length fields can say.
const MAX_DATA: usize = 65_535;

/// What tells the fragments of one packet from others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Whole {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    identification: u32,
}

#[derive(Debug)]
struct Waiting {
    whole: Whole,
    since: u64,
    /// Of all parts, with their headers.
    octets: usize,
    /// Of the whole, so far.
    data: usize,
    /// By offset; without overlaps.
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    fragment: Fragment,
    packet: Box<[u8]>,
    /// Where its share of the whole begins in it.
    data_at: usize,
}

impl Part {
    /// Where its share ends in the whole.
    fn end(&self) -> usize {
        self.fragment.offset_octets + self.packet.len() - self.data_at
    }
}

/// Fragments that wait for the rest.
#[derive(Debug, Default)]
pub struct Reassembly {
    waiting: VecDeque<Waiting>,
    octets: usize,
}

impl IpHeader {
    /// Only a part of a packet is here. An IPv6 packet that is whole may have a fragment header all
    /// the same.
    #[must_use]
    pub fn is_part(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.more || fragment.offset_octets != 0)
    }
}

impl Reassembly {
    /// Takes a fragment; `now` is monotonic, ns. The whole packet once all of it is there.
    ///
    /// `header` is that of `packet`, from which padding behind the packet has been cut.
    pub fn receive(&mut self, packet: &[u8], header: &IpHeader, now: u64) -> Option<Vec<u8>> {
        while self.waiting.front().is_some_and(|oldest| now - oldest.since.min(now) > LIFETIME_NS) {
            self.give_up(0);
        }
        let fragment = header.fragment?;
        let data_at = data_at(packet, header)?;
        let data = packet.len().checked_sub(data_at)?;
        // All fragments but the last are whole eights of octets.
        let is_odd = fragment.more && (data == 0 || !data.is_multiple_of(8));
        let is_too_much = fragment.offset_octets + data > MAX_DATA;
        if is_odd || is_too_much || packet.len() != header.total_octets {
            return None;
        }
        let whole = Whole {
            source: header.source,
            destination: header.destination,
            // In IPv6 that of the first fragment may be behind yet another header.
            protocol: if header.source.is_ipv4() { header.protocol } else { 0 },
            identification: header.identification.unwrap_or_default(),
        };
        let at = match self.waiting.iter().position(|waiting| waiting.whole == whole) {
            Some(at) => at,
            None => {
                let waiting = Waiting { whole, since: now, octets: 0, data: 0, parts: Vec::new() };
                self.waiting.push_back(waiting);
                self.waiting.len() - 1
            }
        };
        let part = Part { fragment, packet: packet.into(), data_at };
        match self.waiting[at].place(part) {
            Placed::Again => return None,
            Placed::Nonsense => {
                self.give_up(at);
                return None;
            }
            Placed::New => self.octets += packet.len(),
        }
        if let Some(made) = self.waiting[at].put_together() {
            self.give_up(at);
            return Some(made);
        }
        while self.waiting.len() > MAX_WAITING || self.octets > MAX_OCTETS {
            self.give_up(0);
        }
        None
    }

    fn give_up(&mut self, at: usize) {
        if let Some(gone) = self.waiting.remove(at) {
            self.octets -= gone.octets;
        }
    }
}

/// What became of a fragment among the others of its packet.
enum Placed {
    New,
    /// It is there already.
    Again,
    /// It overlaps with another one, or there are too many.
    Nonsense,
}

impl Waiting {
    fn place(&mut self, part: Part) -> Placed {
        let begin = part.fragment.offset_octets;
        let at = self.parts.partition_point(|other| other.fragment.offset_octets < begin);
        // The network may bring one twice, on ways of different length: what it carries counts.
        let is_again = |other: &Part| {
            other.fragment == part.fragment
                && other.packet[other.data_at..] == part.packet[part.data_at..]
        };
        if self.parts.get(at).is_some_and(is_again) {
            return Placed::Again;
        }
        let is_behind = |other: &Part| other.end() <= begin && other.fragment.more;
        let is_before =
            |other: &Part| part.end() <= other.fragment.offset_octets && part.fragment.more;
        let fits_behind = at == 0 || self.parts.get(at - 1).is_some_and(is_behind);
        let fits_before = self.parts.get(at).is_none_or(is_before);
        if !fits_behind || !fits_before || self.parts.len() >= MAX_FRAGMENTS {
            return Placed::Nonsense;
        }
        self.octets += part.packet.len();
        self.data += part.packet.len() - part.data_at;
        self.parts.insert(at, part);
        Placed::New
    }

    /// The whole packet, if nothing of it is missing.
    fn put_together(&self) -> Option<Vec<u8>> {
        let (first, last) = (self.parts.first()?, self.parts.last()?);
        // They do not overlap.
        if last.fragment.more || last.end() != self.data {
            return None;
        }
        let headers = first.data_at;
        let mut whole = Vec::with_capacity(headers + self.data);
        whole.extend_from_slice(&first.packet[..headers]);
        for part in &self.parts {
            whole.extend_from_slice(&part.packet[part.data_at..]);
        }
        if self.whole.source.is_ipv4() {
            let octets = u16::try_from(whole.len()).ok()?;
            whole[2..4].copy_from_slice(&octets.to_be_bytes());
            // Neither more fragments nor an offset; DF stays.
            whole[6] &= 0x40;
            whole[7] = 0;
            whole[10..12].fill(0);
            let sum = checksum::finish(checksum::sum(&whole[..headers], 0));
            whole[10..12].copy_from_slice(&sum.to_be_bytes());
        } else {
            let octets = u16::try_from(whole.len() - 40).ok()?;
            whole[4..6].copy_from_slice(&octets.to_be_bytes());
            // The fragment header is the last one: offset 0, no more.
            whole[headers - 6..headers - 4].fill(0);
        }
        Some(whole)
    }
}

/// Where the share of the whole begins in a fragment: in IPv6 behind the fragment header.
fn data_at(packet: &[u8], header: &IpHeader) -> Option<usize> {
    if header.family() == Family::V4 {
        return Some(header.header_octets);
    }
    let (mut next, mut at) = (*packet.get(6)?, 40);
    while next != protocol::FRAGMENT {
        let octets = extension_octets(next, *packet.get(at + 1)?)?;
        next = *packet.get(at)?;
        at += octets;
    }
    Some(at + 8).filter(|data| *data <= packet.len())
}

#[cfg(test)]
mod tests;
