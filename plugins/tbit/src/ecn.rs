//! ecn: does the server agree to explicit congestion notification, and echo congestion?
//!
//! Source: RFC 3168, section 6.1.

use sonde_plugin_api::packet::tcp::flags;

use crate::{
    rows::Verdict,
    session::{SILENCE, Session},
};

/// ECN bits of a packet that met congestion.
const CONGESTION: u8 = 3;

/// Sends the request as one that met congestion.
pub(crate) async fn ecn(session: &mut Session<'_>) -> Result<Verdict, Verdict> {
    let answer = &session.connection.answer;
    let agreed = match (answer.has(flags::ECE), answer.has(flags::CWR)) {
        (true, false) => None,
        (false, false) => Some(Verdict::EcnIncapable),
        _ => Some(Verdict::EcnBadSynAck),
    };
    let request = session.last().await?;
    if agreed.is_none() {
        session.connection.tos = CONGESTION;
    }
    session.connection.write(&request);
    let (mut echoes, mut capable) = (0, 0);
    let mut ended = Ok(());
    while !session.is_over() {
        let Some(segment) = session.connection.next(SILENCE).await else { break };
        ended = session.ends(&segment);
        if ended.is_err() {
            break;
        }
        let is_echo = segment.has(flags::ECE) && !segment.has(flags::SYN);
        echoes += u32::from(is_echo);
        capable += u32::from(segment.has_data() && segment.tos & 3 != 0);
        // The server echoes until it hears that we slowed down.
        session.connection.extra_flags = if is_echo { flags::CWR } else { 0 };
        session.accept(&segment);
        session.connection.extra_flags = 0;
    }
    session.summary.ect_segments = Some(capable);
    Ok(match agreed {
        Some(verdict) => verdict,
        None if echoes > 0 => Verdict::EcnSuccess,
        None if let Err(verdict) = ended => verdict,
        None if !session.is_acknowledged() => Verdict::EcnNoAck,
        None if !session.has_data() => Verdict::EcnNoData,
        // What met congestion may be what was lost.
        None if session.connection.sending.all_repeats() > 0 => {
            session.ctx.warn(
                "the segment that met congestion was sent again: the path may lose what is so marked",
            );
            Verdict::None
        }
        None => Verdict::EcnNoEce,
    })
}
