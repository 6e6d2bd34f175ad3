//! One direction of a link: how long a packet takes, and what may happen to it on the way.

use std::time::Duration;

use crate::{
    random::Random,
    words::{Numbers, Ratio, TopologyError, Words},
};

/// How a link is where nothing is said.
const DELAY: Duration = Duration::from_millis(1);
/// How much later than its turn a packet comes that is overtaken.
const REORDER_BY: Duration = Duration::from_millis(10);

/// What a drawing says of one direction of a link.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LinkSpec {
    delay: Duration,
    jitter: Duration,
    loss: f64,
    lost: Numbers,
    duplication: f64,
    duplicated: Numbers,
    reordering: f64,
    reordered: Numbers,
    reorder_by: Duration,
    corruption: f64,
    corrupted: Numbers,
    /// Octets; `None` where everything fits.
    pub(crate) mtu: Option<usize>,
    /// MTU that errors about it name; `None` for the true one.
    pub(crate) named_mtu: Option<u32>,
    /// What does not fit disappears without a word.
    pub(crate) is_black_hole: bool,
}

impl Default for LinkSpec {
    fn default() -> Self {
        Self {
            delay: DELAY,
            jitter: Duration::ZERO,
            loss: 0.0,
            lost: Numbers::default(),
            duplication: 0.0,
            duplicated: Numbers::default(),
            reordering: 0.0,
            reordered: Numbers::default(),
            reorder_by: REORDER_BY,
            corruption: 0.0,
            corrupted: Numbers::default(),
            mtu: None,
            named_mtu: None,
            is_black_hole: false,
        }
    }
}

impl LinkSpec {
    /// Takes one attribute from a drawing; false where the next word is none of a link.
    pub(crate) fn attribute(&mut self, words: &mut Words<'_>) -> Result<bool, TopologyError> {
        match words.peek() {
            Some("delay") => self.delay = after(words)?,
            Some("jitter") => self.jitter = after(words)?,
            Some("loss") => self.loss = ratio_after(words)?,
            Some("drop") => self.lost.add(after(words)?),
            Some("duplicate") => {
                ratio_or_numbers(words, &mut self.duplication, &mut self.duplicated)?;
            }
            Some("reorder") => {
                ratio_or_numbers(words, &mut self.reordering, &mut self.reordered)?;
                if words.take("by") {
                    self.reorder_by = words.value()?;
                }
            }
            Some("corrupt") => ratio_or_numbers(words, &mut self.corruption, &mut self.corrupted)?,
            Some("mtu") => self.mtu = Some(usize::from(after::<u16>(words)?).max(68)),
            Some("names-mtu") => self.named_mtu = Some(after(words)?),
            Some("black-hole") => {
                words.next();
                self.is_black_hole = true;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn after<T: crate::words::Written>(words: &mut Words<'_>) -> Result<T, TopologyError> {
    words.next();
    words.value()
}

fn ratio_after(words: &mut Words<'_>) -> Result<f64, TopologyError> {
    after::<Ratio>(words).map(|ratio| ratio.0)
}

/// `5%` is a ratio, `5` or `3,7-9` are numbers of packets.
fn ratio_or_numbers(
    words: &mut Words<'_>,
    ratio: &mut f64,
    numbers: &mut Numbers,
) -> Result<(), TopologyError> {
    words.next();
    match words.peek() {
        Some(word) if word.ends_with('%') || word.contains('.') => {
            *ratio = words.value::<Ratio>()?.0;
        }
        _ => numbers.add(words.value()?),
    }
    Ok(())
}

/// One direction of a link, with what has happened on it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) spec: LinkSpec,
    random: Random,
    /// Packets so far, lost ones included.
    pub(crate) count: u64,
    /// When the last one in turn arrives.
    last_ns: u64,
}

/// What became of a packet.
#[derive(Debug, PartialEq)]
pub(crate) enum Passage {
    /// It arrives, perhaps twice.
    Arrives {
        at_ns: u64,
        again_ns: Option<u64>,
    },
    Lost,
}

impl Link {
    pub(crate) fn new(spec: LinkSpec, random: Random) -> Self {
        Self { spec, random, count: 0, last_ns: 0 }
    }

    /// Sends a packet on its way.
    pub(crate) fn pass(&mut self, now_ns: u64, packet: &mut [u8]) -> Passage {
        let (spec, random) = (&self.spec, &mut self.random);
        self.count += 1;
        // Both are always drawn, so that a number in the list does not shift the chances of others.
        if random.chance(spec.loss) | spec.lost.contains(self.count) {
            return Passage::Lost;
        }
        if random.chance(spec.corruption) | spec.corrupted.contains(self.count) {
            corrupt(packet, random);
        }
        let jitter_ns = random.below(ns(spec.jitter));
        let arrival_ns = now_ns + ns(spec.delay) + jitter_ns;
        let at_ns = if random.chance(spec.reordering) | spec.reordered.contains(self.count) {
            arrival_ns + ns(spec.reorder_by)
        } else {
            // Jitter alone does not let packets overtake one another.
            self.last_ns = self.last_ns.max(arrival_ns);
            self.last_ns
        };
        let is_duplicated = random.chance(spec.duplication) | spec.duplicated.contains(self.count);
        Passage::Arrives { at_ns, again_ns: is_duplicated.then_some(at_ns + 1_000) }
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4)
}

/// Flips one bit behind the IP header; a router would have dropped a wrong header.
fn corrupt(packet: &mut [u8], random: &mut Random) {
    let start = sonde_packet::IpHeader::parse(packet).map_or(0, |header| header.header_octets);
    let Some(behind) = packet.len().checked_sub(start).filter(|behind| *behind > 0) else { return };
    let at = start + random.below(behind as u64) as usize;
    packet[at] ^= 1 << random.below(8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(text: &str) -> Link {
        let mut spec = LinkSpec::default();
        let mut words = Words::of(1, text);
        while spec.attribute(&mut words).unwrap() {}
        assert!(words.is_empty());
        Link::new(spec, Random::new(1))
    }

    fn arrivals(link: &mut Link, count: u64) -> Vec<Option<u64>> {
        let pass = |number| match link.pass(number * 1_000_000, &mut [0; 40]) {
            Passage::Arrives { at_ns, .. } => Some(at_ns / 1_000_000),
            Passage::Lost => None,
        };
        (0..count).map(pass).collect()
    }

    #[test]
    fn packets_at_given_numbers_are_lost() {
        let arrived = arrivals(&mut link("drop 2,4-5"), 6);
        assert_eq!(arrived, [Some(1), None, Some(3), None, None, Some(6)]);
    }

    #[test]
    fn a_loss_of_a_fifth_loses_a_fifth() {
        let arrived = arrivals(&mut link("loss 20%"), 10_000);
        let lost = arrived.iter().filter(|at| at.is_none()).count();
        assert!((1_900..2_100).contains(&lost), "{lost} of 10000");
    }

    #[test]
    fn a_reordered_packet_is_overtaken() {
        let arrived = arrivals(&mut link("delay 5ms reorder 2 by 3ms"), 4);
        assert_eq!(arrived, [Some(5), Some(9), Some(7), Some(8)]);
    }

    #[test]
    fn jitter_delays_but_keeps_the_order() {
        let arrived = arrivals(&mut link("delay 5ms jitter 20ms"), 50);
        assert!(arrived.is_sorted());
        assert!(arrived.iter().zip(0..).any(|(at, number)| *at > Some(number + 10)));
    }

    #[test]
    fn a_duplicate_follows_at_once() {
        let mut link = link("duplicate 1");
        let passage = link.pass(0, &mut [0; 40]);
        assert_eq!(passage, Passage::Arrives { at_ns: 1_000_000, again_ns: Some(1_001_000) });
    }
}
