//! How much leaves at the moment.

/// Packets of the last tenths of a second.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    since: u64,
    pub(crate) packets: u64,
    before: u64,
}

impl Recent {
    /// Whether more than about a thousand packets a second leave. Then their times are shared out,
    /// and there is one turn, and one portion of news, for all that happens within a while.
    pub(crate) fn is_busy(&self) -> bool {
        self.packets.max(self.before) >= 100
    }

    /// To be called in every turn.
    pub(crate) fn look(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.since);
        if elapsed > 100_000_000 {
            let before = if elapsed < 200_000_000 { self.packets } else { 0 };
            *self = Self { since: now, packets: 0, before };
        }
    }
}
