//! Filling the hole: the server lists what it never received.
//!
//! The first octets that were left out go first, then whatever the server says is missing. A server
//! acknowledges at once what fills a part of a gap, so each step takes one round trip; a step that is
//! lost is repeated, which makes the list reliable. Pure: what to send and when is decided in `phases`.
//!
//! Source: Savage 1999, section 3.1; RFC 5681, section 4.2.

use sonde_plugin_api::tcp::distance;

/// The gaps of the server, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Hole {
    /// Number of the first octet of all.
    first: u32,
    hole: u32,
    count: u32,
    /// The number that the server is known to expect.
    edge: u32,
    lost: Vec<u16>,
}

/// What an acknowledgement says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// The server has all.
    Full,
    /// It moved on: something else is missing.
    Missing,
    /// Nothing new.
    Old,
    /// It acknowledges what was never sent, or takes back what it had.
    Absurd,
}

impl Hole {
    pub(crate) fn new(first: u32, hole: u8, count: u16) -> Self {
        let (hole, count) = (u32::from(hole), u32::from(count));
        Self { first, hole, count, edge: first, lost: Vec::new() }
    }

    /// The number that the server is known to expect.
    pub(crate) fn edge(&self) -> u32 {
        self.edge
    }

    /// Offsets in the request of what is to be sent next: the hole at once, samples one by one.
    pub(crate) fn missing(&self) -> std::ops::Range<usize> {
        let at = self.edge.wrapping_sub(self.first);
        let end = if at < self.hole { self.hole } else { at + 1 };
        at as usize..end as usize
    }

    /// Samples that were lost on the way there, from 0, as far as is known.
    pub(crate) fn lost(&self) -> &[u16] {
        &self.lost
    }

    /// Takes a cumulative acknowledgement.
    pub(crate) fn acknowledged(&mut self, number: u32) -> Step {
        let at = distance(self.first, number);
        let end = (self.hole + self.count) as i32;
        if at < 0 || at > end {
            return Step::Absurd;
        }
        if distance(self.edge, number) <= 0 {
            return Step::Old;
        }
        self.edge = number;
        if at == end {
            return Step::Full;
        }
        if at as u32 >= self.hole {
            self.lost.push((at as u32 - self.hole) as u16);
        }
        Step::Missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jumps_of_the_acknowledgement_list_the_lost_samples_across_the_end_of_the_numbers() {
        let first = u32::MAX - 4;
        let mut hole = Hole::new(first, 3, 10);
        let number = |offset: u32| first.wrapping_add(offset);
        assert_eq!(hole.missing(), 0..3);
        assert_eq!(hole.acknowledged(first), Step::Old);
        assert_eq!(hole.acknowledged(number(5)), Step::Missing);
        assert_eq!(hole.missing(), 5..6);
        assert_eq!(hole.acknowledged(number(5)), Step::Old);
        assert_eq!(hole.acknowledged(number(6)), Step::Missing);
        assert_eq!(hole.acknowledged(number(4)), Step::Old);
        assert_eq!(hole.acknowledged(number(14)), Step::Absurd);
        assert_eq!(hole.acknowledged(first.wrapping_sub(1)), Step::Absurd);
        assert_eq!(hole.acknowledged(number(13)), Step::Full);
        assert_eq!(hole.lost(), [2, 3]);
    }

    #[test]
    fn a_server_that_takes_a_part_of_the_hole_is_given_the_rest() {
        let mut hole = Hole::new(7, 4, 2);
        assert_eq!(hole.acknowledged(9), Step::Missing);
        assert_eq!(hole.missing(), 2..4);
        assert_eq!(hole.acknowledged(11), Step::Missing);
        assert_eq!((hole.missing(), hole.lost()), (4..5, &[0][..]));
    }
}
