//! icw: how much does the server send before the first acknowledgement?
//!
//! Nothing is acknowledged until the first segment comes again, whatever is spoken meanwhile: what the server says before the
//! answer, of TLS for instance, is a part of its window, and would make it grow once it is acknowledged. The last segment must
//! have been full, and then it must go on, or the answer and not the window was the limit. Where the server grants no window
//! scale, ours may be.
//!
//! Source: Padhye and Floyd 2001, section 3.1; RFC 6928.

use std::{collections::BTreeMap, time::Duration};

use sonde_plugin_api::{
    packet::tcp::flags,
    tcp::{Segment, distance},
};

use crate::{
    rows::Verdict,
    session::{SILENCE, Session},
};

/// What comes again sooner was not sent again, but brought twice by the network: no server retransmits so soon.
const SOONEST: Duration = Duration::from_millis(100);
/// Options that segments of a connection may carry, octets.
const MOST_OPTIONS: usize = 40;
/// How long the server has to go on once all is acknowledged.
const MORE: Duration = Duration::from_secs(10);

/// Withholds acknowledgements.
pub(crate) async fn icw(session: &mut Session<'_>) -> Result<Verdict, Verdict> {
    let start = session.connection.received.expected();
    session.connection.withholds = true;
    let offered = usize::from(session.params.offer(session.flow.mtu).mss.unwrap_or(u16::MAX));
    let stamps = if session.connection.agreed.timestamps { 12 } else { 0 };
    let mss = offered.saturating_sub(stamps).max(1);
    let largest = session.connection.mss().min(mss);
    let full = largest.saturating_sub(MOST_OPTIONS);
    let mut flight = Flight::default();
    let (mut begin, mut is_ended) = (None, false);
    let mut is_asked = session.begin()?;
    loop {
        let Some(segment) = session.connection.next(SILENCE).await else {
            return nothing(session, is_asked);
        };
        session.ends(&segment)?;
        let is_fin = segment.has(flags::FIN);
        if is_fin && !segment.has_data() && segment.sequence == start {
            // There is nothing that could come again.
            return if is_asked { Ok(Verdict::IcwTooShort) } else { Err(Verdict::Fin) };
        }
        if segment.sequence == start && segment.has_data() {
            let now = session.ctx.now();
            if now.since(*begin.get_or_insert(now)) >= SOONEST {
                break;
            }
        }
        is_ended |= is_fin;
        flight.take(start, &segment, mss);
        session.take(&segment);
        is_asked = is_asked || session.ask()?;
    }
    let segments = flight.segments();
    let behind = start.wrapping_add(flight.octets());
    // A server that has more to send and no more window fills its segments up; what it sends later, it did not have yet. Where
    // the path wants smaller ones they are alike.
    let last = segments.last().copied().unwrap_or(0);
    let is_full = last >= full || segments.len() > 1 && segments.iter().max() == Some(&last);
    let is_answered = is_asked && !session.answer.is_empty();
    if !is_answered && !is_full {
        session.ctx.warn(
            "the server's timer ran out before it answered: what it sends then is no initial window",
        );
        return Ok(Verdict::None);
    }
    if !is_ended && session.is_limited(flight.octets(), largest as u32) {
        return Ok(Verdict::None);
    }
    session.summary.icw_octets = Some(flight.octets());
    session.summary.icw_segments = Some(segments.len() as u32);
    if is_ended || session.is_over() {
        return Ok(Verdict::IcwTooShort);
    }
    if is_full && last < full {
        session.ctx.warn(&format!(
            "segments have {last} octets, not {largest}: the path wants such ones, or cuts larger ones, which were fewer then"
        ));
    }
    session.connection.withholds = false;
    let sent = session.connection.acknowledge_to_stamped(session.connection.received.expected());
    let sent = sent.await;
    let end = session.left(sent)? + MORE;
    while let Some(segment) = session.connection.next(end.since(session.ctx.now())).await {
        session.ends(&segment)?;
        session.accept(&segment);
        let last = segment.sequence.wrapping_add(segment.data.len() as u32);
        if segment.has_data() && distance(behind, last) > 0 {
            return Ok(if is_full { Verdict::IcwSuccess } else { Verdict::IcwTooShort });
        }
        if session.is_over() {
            return Ok(Verdict::IcwTooShort);
        }
    }
    session.ctx.warn(
        "neither more nor an end came: the server keeps the connection, or the path loses large segments",
    );
    Ok(Verdict::None)
}

/// The verdict where nothing comes any more, and nothing came again.
fn nothing(session: &Session<'_>, is_asked: bool) -> Result<Verdict, Verdict> {
    if !is_asked {
        return Err(session.waited_in_vain());
    }
    session.nothing_came();
    Ok(Verdict::None)
}

/// What came before anything was acknowledged, by its distance from the first octet: octets, and those of each segment of them
/// but the last, for the network card puts some together.
#[derive(Debug, Default)]
struct Flight(BTreeMap<i32, (usize, usize)>);

impl Flight {
    /// Takes a segment that has not come before; `mss` is how long those are of which nothing else is known.
    fn take(&mut self, start: u32, segment: &Segment, mss: usize) {
        let offset = distance(start, segment.sequence);
        if let Some(octets) = segment.pieces(mss).next()
            && offset >= 0
        {
            self.0.entry(offset).or_insert((segment.data.len(), octets));
        }
    }

    /// From the first octet to the last.
    fn octets(&self) -> u32 {
        let ends = self.0.iter().map(|(offset, (octets, _))| *offset as u32 + *octets as u32);
        ends.max().unwrap_or(0)
    }

    /// Octets of each segment that the server sent; those that were lost were as long as the longest.
    fn segments(&self) -> Vec<usize> {
        let longest = self.0.values().map(|(_, each)| *each).max().unwrap_or(0);
        let (mut segments, mut behind) = (Vec::new(), 0);
        for (offset, (octets, each)) in &self.0 {
            let offset = *offset as usize;
            segments.extend(pieces(offset.saturating_sub(behind), longest));
            segments.extend(pieces(*octets, *each));
            behind = behind.max(offset + octets);
        }
        segments
    }
}

/// Parts of so many octets that have `most`, but for the last.
fn pieces(octets: usize, most: usize) -> impl Iterator<Item = usize> {
    let most = most.max(1);
    (0..octets).step_by(most).map(move |at| most.min(octets - at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_merged_or_lost_counts_as_the_segments_that_were_sent() {
        let mut flight = Flight(BTreeMap::from([(0, (40_800, 1360)), (42_160, (1360, 1360))]));
        assert_eq!((flight.segments(), flight.octets()), (vec![1360; 32], 43_520));
        flight.0.insert(43_520, (3 * 1360 + 200, 1360));
        assert_eq!(flight.segments().last(), Some(&200), "the server had no more");
    }
}
