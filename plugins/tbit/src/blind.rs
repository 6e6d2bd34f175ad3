//! blind-rst, blind-syn: what comes of a segment that somebody guessed, in the window but not exact?
//!
//! Source: Luckie et al. 2015; RFC 5961, sections 3 and 4.

use std::time::Duration;

use sonde_plugin_api::{
    packet::tcp::flags,
    prelude::{Probe, Time},
    tcp::{Segment, is_after},
};

use crate::{
    rows::Verdict,
    session::{SILENCE, Session},
};

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
    let (mut sent, mut is_alive) = (0, false);
    while !session.is_over() {
        let wait = if sent == 0 { SILENCE } else { MORE };
        let Some(segment) = session.connection.next(wait).await else { break };
        session.ends_blindly(&segment, sent)?;
        // What was on its way when the blind segment left was taken by its reaction.
        is_alive |= sent > 0 && says_more(&segment);
        let end = segment.sequence.wrapping_add(segment.data.len() as u32);
        // What comes again tells nothing: the server may have no more to say.
        let is_new = is_after(end, session.connection.received.expected());
        session.take(&segment);
        if !segment.has_data() || !is_new || sent == tries {
            acknowledge(session).await?;
            continue;
        }
        let next = session.connection.sending.next();
        let at = next.wrapping_add_signed(session.params.offset(OFFSET));
        sent += 1;
        session.summary.blind_sent = Some(sent);
        let probe = Probe::tcp(session.connection.port)
            .flags(bits)
            .sequence(at)
            .acknowledgement(0)
            .ttl(session.params.ttl);
        let departure = session.connection.send_stamped(probe, bits, at, 0).await;
        let begin = session.left(departure)?;
        is_alive = match reaction(session, begin, (at, end), sent).await? {
            Reaction::Verdict(verdict) => return Ok(verdict),
            Reaction::Alive => true,
            Reaction::Silence => false,
        };
        acknowledge(session).await?;
    }
    if sent > 0 && !is_alive && session.is_over() {
        // All of it may have left before the blind segment arrived. A connection that is no more answers the acknowledgement.
        let until = session.ctx.now() + WAIT;
        while let Some(segment) = session.connection.next(until.since(session.ctx.now())).await {
            session.ends_blindly(&segment, sent)?;
            is_alive |= says_more(&segment);
        }
    }
    if !session.has_data() {
        session.nothing_came();
    }
    Ok(match sent {
        0 => Verdict::None,
        // A connection that is kept open falls silent when all is said.
        _ if is_alive => Verdict::BlindIgnored,
        _ if session.is_over() => Verdict::None,
        _ => Verdict::BlindAccepted,
    })
}

/// What comes of it, and that nothing does, is told from when it leaves.
async fn acknowledge(session: &mut Session<'_>) -> Result<(), Verdict> {
    let number = session.connection.received.expected();
    let departure = session.connection.acknowledge_to_stamped(number).await;
    session.left(departure).map(|_| ())
}

/// Whether it is of a server that goes on with what it has to say.
fn says_more(segment: &Segment) -> bool {
    segment.has_data() || segment.has(flags::FIN)
}

/// What became of a blind segment.
enum Reaction {
    Verdict(Verdict),
    /// The server went on, with what it cannot have sent before.
    Alive,
    Silence,
}

/// What the server says to a blind segment at `at`, before which it had sent what is in front of `behind`; nothing of what it
/// sends is acknowledged meanwhile.
async fn reaction(
    session: &mut Session<'_>,
    begin: Time,
    (at, behind): (u32, u32),
    sent: u8,
) -> Result<Reaction, Verdict> {
    let end = begin + WAIT;
    let late = begin + session.on_its_way();
    let mut reaction = Reaction::Silence;
    let next = session.connection.sending.next();
    while let Some(segment) = session.connection.next(end.since(session.ctx.now())).await {
        if segment.has(flags::RST) && segment.acknowledgement == at.wrapping_add(1) {
            return Ok(Reaction::Verdict(Verdict::BlindRst));
        }
        if segment.has(flags::SYN | flags::ACK)
            && segment.sequence != session.connection.answer.sequence
        {
            return Ok(Reaction::Verdict(Verdict::BlindSynNew));
        }
        session.ends_blindly(&segment, sent)?;
        // One that the network kept back has an older number (RFC 5961, 3.2).
        let is_late = is_after(behind, segment.sequence);
        if segment.is_pure_ack() && segment.acknowledgement == next && !is_late {
            return Ok(Reaction::Verdict(Verdict::BlindChallenge));
        }
        if says_more(&segment) && segment.at > late {
            reaction = Reaction::Alive;
        }
        session.take(&segment);
    }
    Ok(reaction)
}

impl Session<'_> {
    /// As [`Session::ends`]; a connection that is gone after a blind segment is the verdict. It answers what we acknowledge
    /// later by a reset without acknowledgement (RFC 9293, 3.10.7.1); one with it is the server's own end.
    fn ends_blindly(&mut self, segment: &Segment, sent: u8) -> Result<(), Verdict> {
        let ended = self.ends(segment);
        if sent > 0 && ended == Err(Verdict::Reset) && !segment.has(flags::ACK) {
            return Err(Verdict::BlindAccepted);
        }
        ended
    }
}
