//! Boxes on the way that change or drop what passes them.
//!
//! A box works on packets behind the check of the TTL and before the choice of the next hop, so an
//! error from the box itself quotes the packet as it came in.

use std::{net::IpAddr, time::Duration};

use crate::{
    nat::Nat,
    rewrite::Rewrite,
    sequence::SequenceShift,
    words::{TopologyError, Words},
};

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// Away from the vantage point.
    There,
    /// Towards it.
    Back,
}

/// What a box decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Let it go on.
    Pass,
    /// Nobody hears of it again.
    Drop,
}

/// A box that a test wrote, or one of those that a drawing names.
pub trait Middlebox {
    /// A packet passes. A box that changes it sees to lengths and checksums, see
    /// [`crate::edit`].
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, now: Duration) -> Verdict;

    /// Addresses that the box stands for: packets for them come to it.
    fn addresses(&self) -> Vec<IpAddr> {
        Vec::new()
    }
}

/// Takes a box from a drawing; `None` where the next word is none.
pub(crate) fn attribute(
    words: &mut Words<'_>,
) -> Result<Option<Box<dyn Middlebox>>, TopologyError> {
    if let Some(rewrite) = Rewrite::attribute(words)? {
        return Ok(Some(Box::new(rewrite)));
    }
    Ok(Some(match words.next() {
        Some("shift-sequence") => Box::new(SequenceShift(words.value()?)),
        Some("nat-source") => Box::new(Nat::source(words)?),
        Some("nat-destination") => Box::new(Nat::destination(words)?),
        Some(_) => {
            words.back();
            return Ok(None);
        }
        None => return Ok(None),
    }))
}
