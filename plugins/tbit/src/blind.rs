//! blind-rst, blind-syn: what comes of a segment that somebody guessed, in the window but not exact?
//!
//! Source: Luckie et al. 2015; RFC 5961, sections 3 and 4.

use std::time::Duration;

use sonde_plugin_api::{packet::tcp::flags, prelude::Probe};

use crate::{rows::Verdict, session::Session};

const TRIES: u8 = 3;
/// In any window, and not exact.
const OFFSET: i32 = 10;
/// How long a reaction may take.
const WAIT: Duration = Duration::from_secs(2);
/// How long the server has to go on.
const MORE: Duration = Duration::from_secs(10);

/// Answers the first segments with blind ones.
pub(crate) async fn blind(session: &mut Session<'_>, bits: u8) -> Result<Verdict, Verdict> {
    let request = session.last().await?;
    session.connection.write(&request);
    let tries = session.params.tries(TRIES);
    let mut sent = 0;
    while !session.is_over() {
        let Some(segment) = session.connection.next(MORE).await else { break };
        session.ends_blindly(&segment, sent)?;
        session.take(&segment);
        if !segment.has_data() || sent == tries {
            session.connection.acknowledge();
            continue;
        }
        let next = session.connection.sending.next();
        let at = next.wrapping_add_signed(session.params.offset.unwrap_or(OFFSET));
        sent += 1;
        session.summary.blind_sent = Some(sent);
        let probe = Probe::tcp(session.connection.port)
            .flags(bits)
            .sequence(at)
            .acknowledgement(0)
            .ttl(session.params.ttl);
        session.connection.send(probe, bits, at, 0, 0);
        if let Some(verdict) = reaction(session, at, sent).await? {
            return Ok(verdict);
        }
        session.connection.acknowledge();
    }
    Ok(match sent {
        0 => Verdict::None,
        _ if session.is_over() => Verdict::BlindIgnored,
        _ => Verdict::BlindAccepted,
    })
}

/// What the server says to a blind segment at `at`; nothing of what it sends is acknowledged meanwhile.
async fn reaction(
    session: &mut Session<'_>,
    at: u32,
    sent: u8,
) -> Result<Option<Verdict>, Verdict> {
    let end = session.ctx.now() + WAIT;
    let next = session.connection.sending.next();
    while let Some(segment) = session.connection.next(end.since(session.ctx.now())).await {
        if segment.has(flags::RST) && segment.acknowledgement == at.wrapping_add(1) {
            return Ok(Some(Verdict::BlindRst));
        }
        if segment.has(flags::SYN | flags::ACK)
            && segment.sequence != session.connection.answer.sequence
        {
            return Ok(Some(Verdict::BlindSynNew));
        }
        session.ends_blindly(&segment, sent)?;
        if segment.is_pure_ack() && segment.acknowledgement == next {
            return Ok(Some(Verdict::BlindChallenge));
        }
        session.take(&segment);
    }
    Ok(None)
}

impl Session<'_> {
    /// As [`Session::ends`]; a connection that is gone after a blind segment is the verdict.
    fn ends_blindly(
        &mut self,
        segment: &sonde_plugin_api::tcp::Segment,
        sent: u8,
    ) -> Result<(), Verdict> {
        let ended = self.ends(segment);
        if sent > 0 && ended == Err(Verdict::Reset) {
            return Err(Verdict::BlindAccepted);
        }
        ended
    }
}
