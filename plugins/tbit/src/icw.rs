//! icw: how much does the server send before the first acknowledgement?
//!
//! Nothing is acknowledged until the first segment comes again. The last one must have been full, and then it must go on, or
//! the answer and not the window was the limit.
//!
//! Source: Padhye and Floyd 2001, section 3.1; RFC 6928.

use std::time::Duration;

use sonde_plugin_api::tcp::distance;

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
    let request = session.last().await?;
    session.connection.write(&request);
    let start = session.connection.received.expected();
    let offered = usize::from(session.params.offer(session.flow.mtu).mss.unwrap_or(u16::MAX));
    let stamps = if session.connection.agreed.timestamps { 12 } else { 0 };
    let mss = offered.saturating_sub(stamps).max(1);
    let full = session.connection.mss().min(mss).saturating_sub(MOST_OPTIONS);
    let (mut behind, mut segments, mut is_ended) = (start, 0_u32, false);
    let (mut last, mut most) = (0, 0);
    let mut seen = std::collections::BTreeSet::new();
    let mut begin = None;
    loop {
        let Some(segment) = session.connection.next(SILENCE).await else {
            let is_answerless = seen.is_empty() && session.is_acknowledged();
            return Ok(if is_answerless { Verdict::IcwTooShort } else { Verdict::None });
        };
        session.ends(&segment)?;
        let is_fin = segment.has(sonde_plugin_api::packet::tcp::flags::FIN);
        if is_fin && !segment.has_data() && segment.sequence == start {
            // There is nothing that could come again.
            return Ok(Verdict::IcwTooShort);
        }
        if segment.sequence == start && segment.has_data() {
            let now = session.ctx.now();
            if now.since(*begin.get_or_insert(now)) >= SOONEST {
                session.take(&segment);
                break;
            }
        }
        is_ended |= is_fin;
        if segment.has_data() && distance(start, segment.sequence) >= 0 {
            let offset = distance(start, segment.sequence);
            if seen.insert(offset) {
                segments += segment.pieces(mss).count() as u32;
            }
            let end = segment.sequence.wrapping_add(segment.data.len() as u32);
            most = most.max(segment.data.len());
            if distance(behind, end) > 0 {
                behind = end;
                last = segment.data.len();
            }
        }
        session.take(&segment);
    }
    session.summary.icw_octets = Some(behind.wrapping_sub(start));
    session.summary.icw_segments = Some(segments);
    // A server that has more to send and no more window fills its segments up; what it sends later, it did not have yet. Where
    // the path wants smaller ones they are alike.
    let is_full = last >= full || segments > 1 && last == most;
    if is_ended || !is_full {
        return Ok(Verdict::IcwTooShort);
    }
    session.connection.acknowledge();
    let end = session.ctx.now() + MORE;
    while let Some(segment) = session.connection.next(end.since(session.ctx.now())).await {
        session.ends(&segment)?;
        session.accept(&segment);
        let last = segment.sequence.wrapping_add(segment.data.len() as u32);
        if segment.has_data() && distance(behind, last) > 0 {
            return Ok(Verdict::IcwSuccess);
        }
        if session.connection.received.is_finished() {
            break;
        }
    }
    Ok(Verdict::IcwTooShort)
}
