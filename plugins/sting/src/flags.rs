//! What makes a result doubtful: receivers, paths and hosts that do not do what the method relies on.
//!
//! Source: Savage 1999, section 5.

use std::time::Duration;

use crate::{rows::Flag, tally::Tally};

/// Fewer lost samples at the end say nothing.
const SUFFIX: usize = 4;
/// Fewer arrived samples say nothing of a pattern.
const PATTERN: usize = 16;

/// Of a run whose samples should have taken `planned`.
pub(crate) fn of(
    tally: &Tally,
    handshake: Option<Duration>,
    ping: Option<Duration>,
    planned: Duration,
) -> Vec<Flag> {
    let is_limited = is_limited(tally);
    // What a receiver throws away it acknowledges too.
    let most = if is_limited { tally.sent() } else { tally.arrived() };
    let found = [
        (is_limited, Flag::ReceiverLimited),
        (is_thinned(tally), Flag::AckThinning),
        (is_proxied(tally, handshake, ping), Flag::Proxy),
        (tally.is_complete && tally.acks.len() > most, Flag::AckExcess),
        (tally.late > 0, Flag::LateAcks),
        (tally.data > 0, Flag::ServerData),
        (is_slowed(tally, planned), Flag::Slowed),
    ];
    found.into_iter().filter(|(holds, _)| *holds).map(|(_, flag)| flag).collect()
}

/// Samples were behind the window, or all lost ones are the last ones, with none lost on the way back but a few.
fn is_limited(tally: &Tally) -> bool {
    let holes = tally.holes();
    let last = tally.samples.iter().rev().filter(|sample| sample.sent.is_some());
    let is_suffix = holes >= SUFFIX
        && last.take_while(|sample| sample.is_hole).count() == holes
        && tally.lost_back() * 10 <= tally.arrived();
    tally.is_complete && (tally.is_cut || is_suffix)
}

/// Half of the acknowledgements are missing, and every second one: of each pair of samples one was
/// acknowledged. By chance that holds for half of the pairs.
fn is_thinned(tally: &Tally) -> bool {
    let seen: Vec<bool> = tally
        .samples
        .iter()
        .filter(|sample| sample.sent.is_some() && !sample.is_hole)
        .map(|sample| sample.acknowledged.is_some())
        .collect();
    let pairs = seen.len() / 2;
    let one = seen.chunks_exact(2).filter(|pair| pair[0] != pair[1]).count();
    tally.is_complete && seen.len() >= PATTERN && one * 10 >= pairs * 9
}

fn is_proxied(tally: &Tally, handshake: Option<Duration>, ping: Option<Duration>) -> bool {
    let (Some(handshake), Some(ping)) = (handshake, ping) else { return false };
    tally.is_complete && tally.holes() == 0 && handshake * 2 + Duration::from_millis(1) < ping
}

/// The samples took half as long again as planned.
fn is_slowed(tally: &Tally, planned: Duration) -> bool {
    let mut sent = tally.samples.iter().filter_map(|sample| sample.sent);
    let (Some(first), Some(last)) = (sent.next(), sent.next_back()) else { return false };
    last.since(first) > planned * 3 / 2 + Duration::from_millis(100)
}
