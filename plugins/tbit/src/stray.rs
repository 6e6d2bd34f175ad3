//! blind-data, blind-fin: does the server take data, or an end, with an acknowledgement that nobody who
//! sees the connection would send?
//!
//! The end of the request goes first, with an acknowledgement far in the past; then what is missing before
//! it. What the server acknowledges then shows whether it had taken the end.
//!
//! Source: Luckie et al. 2015; RFC 5961, section 5.

use std::time::Duration;

use sonde_plugin_api::{
    packet::tcp::flags,
    tcp::{distance, is_after},
};

use crate::{
    params::Test,
    rows::Verdict,
    session::{SILENCE, Session},
};

const TRIES: u8 = 3;
/// How long a reaction may take.
const WAIT: Duration = Duration::from_secs(2);
/// Farther back than any acknowledgement that RFC 5961 lets pass: a window and more.
const OFFSET: i32 = -70_000;

/// Sends the end of the request before its middle, with a wrong acknowledgement.
pub(crate) async fn stray(session: &mut Session<'_>) -> Result<Verdict, Verdict> {
    let request = session.last().await?;
    session.needs(&request, 3)?;
    session.has_room(request.len())?;
    let base = session.connection.sending.next();
    let is_fin = session.params.test == Test::BlindFin;
    let third = request.len() / 3;
    // Of a request whose end is blind the rest is sent in two parts.
    let (begin, end) = (third, if is_fin { request.len() } else { third * 2 });
    let number = |offset: usize| base.wrapping_add(offset as u32);
    let at = number(end);
    session.connection.write(&request[..begin]);
    while !session.is_acknowledged() {
        let Some(segment) = session.connection.next(SILENCE).await else {
            return Ok(Verdict::None);
        };
        session.ends(&segment)?;
    }
    // An acknowledgement that comes twice, or news of the window, is no challenge.
    let settled = session.ctx.now() + session.on_its_way();
    while let Some(segment) = session.connection.next(settled.since(session.ctx.now())).await {
        session.ends(&segment)?;
    }
    let data = &request[end..];
    let bits = flags::ACK | if is_fin { flags::FIN } else { flags::PSH };
    let offset = session.params.offset(OFFSET);
    let wrong = session.connection.received.expected().wrapping_add_signed(offset);
    let mut is_challenged = false;
    for sent in 1..=session.params.tries(TRIES) {
        session.summary.blind_sent = Some(sent);
        let left = session.connection.send_acknowledging_stamped(wrong, bits, at, data).await;
        let begin = session.left(left)?;
        let until = begin + WAIT;
        while let Some(segment) = session.connection.next(until.since(session.ctx.now())).await {
            if segment.has(flags::RST) && segment.sequence == wrong {
                return Ok(Verdict::BlindRst);
            }
            session.ends(&segment)?;
            is_challenged |= segment.is_pure_ack();
        }
    }
    session.connection.write(&request[begin..end]);
    loop {
        let Some(segment) = session.connection.next(WAIT).await else { return Ok(Verdict::None) };
        session.ends(&segment)?;
        if segment.has(flags::ACK) && distance(at, segment.acknowledgement) >= 0 {
            let is_taken = is_after(segment.acknowledgement, at);
            return Ok(match (is_taken, is_challenged) {
                (true, _) => Verdict::BlindAccepted,
                (false, true) => Verdict::BlindChallenge,
                (false, false) => Verdict::BlindIgnored,
            });
        }
    }
}
