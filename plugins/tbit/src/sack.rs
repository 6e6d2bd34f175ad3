//! sack-rcvr: does the server tell which octets it has beyond a hole, and does the path leave that alone?
//!
//! Source: Medina, Allman, Floyd 2005, section 4.1; RFC 2018, section 4.

use std::time::Duration;

use sonde_plugin_api::packet::tcp::flags;

use crate::{fetch, rows::Verdict, session::Session};

const WAIT: Duration = Duration::from_secs(2);
/// Octets of the request, from 1: each behind a hole of one.
const OCTETS: [u32; 6] = [3, 5, 7, 9, 11, 13];
/// Blocks of one acknowledgement at least, once there are so many.
const BLOCKS: usize = 3;

/// Sends single octets with holes between them.
pub(crate) async fn sack_rcvr(session: &mut Session<'_>) -> Result<Verdict, Verdict> {
    let request = session.last().await?;
    session.needs(&request, OCTETS[OCTETS.len() - 1] as usize)?;
    let first = session.connection.sending.next().wrapping_sub(1);
    let is_agreed = session.connection.agreed.sack;
    let (mut silent, mut bare, mut told, mut is_shifted) = (0, 0, 0, false);
    let mut sent: Vec<(u32, u32)> = Vec::new();
    for octet in std::iter::once(1).chain(OCTETS) {
        let at = first.wrapping_add(octet);
        let data = &request[octet as usize - 1..octet as usize];
        let bits = flags::PSH | flags::ACK;
        let probe = session.connection.probe(bits, at, data);
        session.connection.send(probe, bits, at, 1, 0);
        if octet > 1 {
            sent.insert(0, (at, at.wrapping_add(1)));
        }
        let end = session.ctx.now() + WAIT;
        loop {
            let Some(segment) = session.connection.next(end.since(session.ctx.now())).await else {
                silent += 1;
                break;
            };
            session.ends(&segment)?;
            session.accept(&segment);
            if segment.has(flags::SYN) || !segment.has(flags::ACK) {
                continue;
            }
            let blocks = &segment.options.sack;
            if segment.has_data() {
                // What the server says by itself, TLS tickets for instance, may have left before our octet
                // arrived.
                is_shifted |= blocks.iter().any(|block| !sent.contains(block));
                continue;
            }
            if octet > 1 && blocks.is_empty() {
                bare += 1;
            } else if octet > 1 {
                told += 1;
                let least = sent.len().min(BLOCKS);
                is_shifted |= blocks.len() < least || !sent.starts_with(blocks);
            }
            break;
        }
    }
    // The whole request: what the server has is sent again, which it must stand.
    session.connection.write(&request);
    fetch::to_the_end(session).await?;
    Ok(match () {
        () if !is_agreed => Verdict::SackIncapable,
        () if is_shifted => Verdict::SackShifted,
        () if bare > 3 => Verdict::SackNoSack,
        () if silent > 2 || told == 0 => Verdict::SackTimeout,
        () => Verdict::SackSuccess,
    })
}
