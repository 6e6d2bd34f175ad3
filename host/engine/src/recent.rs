//! How much leaves at the moment.

use crate::pacing::Class;

/// Packets of the last tenths of a second.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    since: u64,
    pub(crate) packets: u64,
    before: u64,
    /// When an answer inside a conversation asked to leave last.
    spoke: Option<u64>,
}

/// How long after its last word a conversation is presumed to go on.
const SILENCE_NS: u64 = 200_000_000;

impl Recent {
    /// Whether clearly more than a thousand packets a second leave. Then their times are shared out,
    /// and there is one turn, and one portion of news, for all that happens within a while.
    pub(crate) fn is_busy(&self) -> bool {
        self.packets.max(self.before) >= 110
    }

    /// To be called in every turn.
    pub(crate) fn look(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.since);
        if elapsed > 100_000_000 {
            let before = if elapsed < 200_000_000 { self.packets } else { 0 };
            *self = Self { since: now, packets: 0, before, spoke: self.spoke };
        }
    }

    /// A packet of the class asks to leave.
    pub(crate) fn speak(&mut self, class: Class, now: u64) {
        if class == Class::Immediate {
            self.spoke = Some(now);
        }
    }

    /// Whether somebody is presumed to wait for the next answer of a peer.
    pub(crate) fn is_talking(&self, now: u64) -> bool {
        self.spoke.is_some_and(|spoke| now < spoke + SILENCE_NS)
    }
}
