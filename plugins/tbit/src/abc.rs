//! abc: does the server's window grow by the octets that are acknowledged, or by the acknowledgements?
//!
//! Once the initial window is here, its first full segment is acknowledged in quarters: who counts
//! acknowledgements sends a segment more for each. Then four segments are acknowledged at once: who counts
//! octets sends as many segments more as its limit L lets it, and as it has in its buffer. Nothing of this takes long enough for the
//! server's timer to run out, which would make its window small.
//!
//! Source: RFC 3465, section 2.

use std::time::Duration;

use sonde_plugin_api::{
    packet::tcp::flags,
    tcp::{distance, is_after},
};

use crate::{
    rows::{Counts, Verdict},
    session::{SILENCE, Session},
};

/// Nothing more comes after a silence of half a round-trip time, but at least the first and at most the
/// second: servers wait 200 ms and a round-trip time for acknowledgements.
const QUIET: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(150)];
/// The round-trip time where the handshake did not tell it.
const USUAL: Duration = Duration::from_millis(200);
/// Options that segments of a connection may carry, octets.
const MOST_OPTIONS: u32 = 40;
/// Parts of the first segment that are acknowledged one by one.
const PARTS: u32 = 4;
/// Segments that are acknowledged at once.
const STRETCH: u32 = 4;
/// Segments that the window grows by at most, from the first to the last.
const MOST_GROWTH: u32 = PARTS + STRETCH;

/// Acknowledges the initial window in small pieces, then in a large one.
pub(crate) async fn abc(session: &mut Session<'_>) -> Result<Verdict, Verdict> {
    let request = session.last().await?;
    session.connection.write(&request);
    let start = session.connection.received.expected();
    let offered = session.params.offer(session.flow.mtu).mss.unwrap_or(u16::MAX);
    let stamps = if session.connection.agreed.timestamps { 12 } else { 0 };
    let mut seen = Seen {
        start,
        behind: start,
        segment: 0,
        last: 0,
        first_full: start,
        most: u32::from(offered).saturating_sub(stamps),
        is_ended: false,
        is_again: false,
    };
    let window = seen.burst(session, SILENCE).await?;
    let segment = seen.segment;
    if seen.is_ended {
        return Ok(Verdict::AbcTooShort);
    }
    if window == 0 {
        session.nothing_came();
    }
    // What is acknowledged must be here: a server may believe that all before it is.
    if window == 0 || session.connection.received.has_hole() {
        return Ok(Verdict::None);
    }
    if segment < PARTS {
        session.ctx.warn(&format!(
            "segments have {segment} octets, and cannot be acknowledged in {PARTS} parts"
        ));
        return Ok(Verdict::None);
    }
    // Servers that write their headers by themselves begin with a short segment.
    let begin = seen.first_full;
    let least = i64::from((1 + STRETCH) * segment);
    let octets = i64::from(distance(begin, seen.behind));
    if octets < least || seen.is_again {
        // Who has more to send fills segments up.
        let largest = (session.connection.mss() as u32).min(seen.most);
        let is_lone = window == segment && segment + MOST_OPTIONS < largest;
        if (seen.last < segment || is_lone) && !seen.is_again {
            return Ok(Verdict::AbcTooShort);
        }
        if octets < least {
            session.ctx.warn(&format!(
                "the initial window has {octets} octets from its first full segment on, needed are {least}"
            ));
        }
        return Ok(Verdict::AbcBadIcw);
    }
    if session.is_limited(window, MOST_GROWTH * segment) {
        return Ok(Verdict::None);
    }
    let first = rtt(session) + QUIET[0];
    if begin != start {
        acknowledge(session, begin).await?;
        seen.burst(session, first).await?;
    }
    for part in 1..=PARTS {
        acknowledge(session, begin.wrapping_add(segment * part / PARTS)).await?;
    }
    let divided = seen.burst(session, first).await?;
    let growth = divided.div_ceil(segment).saturating_sub(1);
    session.summary.abc_counts = Some(if growth > 1 { Counts::Acks } else { Counts::Octets });
    acknowledge(session, begin.wrapping_add(segment * (1 + STRETCH))).await?;
    let stretched = seen.burst(session, first).await?;
    if seen.is_ended {
        session.summary.abc_counts = None;
        return Ok(Verdict::AbcTooShort);
    }
    session.summary.abc_limit = Some(stretched.div_ceil(segment).saturating_sub(STRETCH));
    Ok(Verdict::AbcSuccess)
}

/// Acknowledges all before `number`. One that the limits of this host hold back finds a server whose timer has run out.
async fn acknowledge(session: &mut Session<'_>, number: u32) -> Result<(), Verdict> {
    let asked = session.ctx.now();
    let sent = session.connection.acknowledge_to_stamped(number).await;
    let waited = session.left(sent)?.since(asked);
    if waited > QUIET[0] {
        let waited = waited.as_millis();
        session
            .ctx
            .warn(&format!("an acknowledgement left {waited} ms late by the limits of this host"));
        return Err(Verdict::None);
    }
    Ok(())
}

fn rtt(session: &Session<'_>) -> Duration {
    session.connection.handshake.unwrap_or(USUAL)
}

/// What came of the server.
struct Seen {
    start: u32,
    behind: u32,
    /// Octets of the largest segment.
    segment: u32,
    /// Octets of the last one, by number.
    last: u32,
    /// Number of the first octet of the first one that is as large, by number.
    first_full: u32,
    /// Octets of the largest one that it may send.
    most: u32,
    is_ended: bool,
    /// The first segment came twice: the server's timer ran out.
    is_again: bool,
}

impl Seen {
    /// Octets that come until nothing comes any more; the first may take as long as `first`.
    async fn burst(&mut self, session: &mut Session<'_>, first: Duration) -> Result<u32, Verdict> {
        let before = self.behind;
        let mut wait = first;
        while let Some(segment) = session.connection.next(wait).await {
            session.ends(&segment)?;
            // The path may bring the first one behind others.
            let has_first = session.connection.received.expected() != self.start;
            session.take(&segment);
            self.is_ended |= segment.has(flags::FIN);
            // An end that is not acknowledged comes again and again.
            if segment.has_data() || self.is_ended {
                wait = (rtt(session) / 2).clamp(QUIET[0], QUIET[1]);
            }
            if !segment.has_data() {
                continue;
            }
            self.is_again |= segment.sequence == self.start && has_first;
            let mut at = segment.sequence;
            for octets in segment.pieces(self.most as usize) {
                let octets = octets as u32;
                let behind = at.wrapping_add(octets);
                let is_larger = octets > self.segment;
                if is_larger || octets == self.segment && is_after(self.first_full, at) {
                    (self.segment, self.first_full) = (octets, at);
                }
                if is_after(behind, self.behind) {
                    (self.behind, self.last) = (behind, octets);
                }
                at = behind;
            }
        }
        Ok(distance(before, self.behind).unsigned_abs())
    }
}
