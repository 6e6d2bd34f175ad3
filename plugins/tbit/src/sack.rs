//! sack-rcvr: does the server tell which octets it has beyond a hole, and does the path leave that alone?
//!
//! Source: Medina, Allman, Floyd 2005, section 4.1; RFC 2018, section 4.

use std::time::Duration;

use sonde_plugin_api::packet::tcp::flags;

use crate::{fetch, rows::Verdict, session::Session};

const WAIT: Duration = Duration::from_secs(2);
/// Octets of the request, from 1: each behind a hole of one.
const OCTETS: [u32; 6] = [3, 5, 7, 9, 11, 13];

/// All blocks but one in front that tells of octets which came twice. Source: RFC 2883, section 4.
fn without_duplicate(blocks: &[(u32, u32)], first: u32) -> &[(u32, u32)] {
    match blocks {
        [one, rest @ ..] if one.0 == first || rest.contains(one) => rest,
        _ => blocks,
    }
}

/// Sends single octets with holes between them.
pub(crate) async fn sack_rcvr(session: &mut Session<'_>) -> Result<Verdict, Verdict> {
    let request = session.last().await?;
    let behind = OCTETS[OCTETS.len() - 1] as usize;
    session.needs(&request, behind)?;
    session.has_room(behind)?;
    let first = session.connection.sending.next().wrapping_sub(1);
    let is_agreed = session.connection.agreed.sack;
    let (mut silent, mut bare, mut told, mut is_shifted) = (0, 0, 0, false);
    let mut sent: Vec<(u32, u32)> = Vec::new();
    for octet in std::iter::once(1).chain(OCTETS) {
        let at = first.wrapping_add(octet);
        let data = &request[octet as usize - 1..octet as usize];
        let bits = flags::PSH | flags::ACK;
        let probe = session.connection.probe(bits, at, data);
        let sent_octet = session.connection.send_stamped(probe, bits, at, 1).await;
        let end = session.left(sent_octet)? + WAIT;
        if octet > 1 {
            sent.push((at, at.wrapping_add(1)));
        }
        let has_foreign = |blocks: &[(u32, u32)]| blocks.iter().any(|block| !sent.contains(block));
        // An acknowledgement that the network brought twice, or that is of before, is followed by the right one. Which of the
        // older blocks that tells, and in which order, is the server's affair (RFC 2018, section 4).
        loop {
            let Some(segment) = session.connection.next(end.since(session.ctx.now())).await else {
                silent += 1;
                break;
            };
            session.ends(&segment)?;
            session.accept(&segment);
            let others = flags::SYN | flags::RST;
            if segment.flags & others != 0 || !segment.has(flags::ACK) {
                continue;
            }
            let blocks = without_duplicate(&segment.options.sack, first.wrapping_add(1));
            if segment.has_data() {
                // What the server says by itself, TLS tickets for instance, may have left before our octet
                // arrived.
                is_shifted |= has_foreign(blocks);
                continue;
            }
            let newest = (at, at.wrapping_add(1));
            if octet > 1 && !blocks.is_empty() && !has_foreign(blocks) && !blocks.contains(&newest)
            {
                continue;
            }
            if octet > 1 && blocks.is_empty() {
                bare += 1;
            } else if octet > 1 {
                told += 1;
                is_shifted |= has_foreign(blocks);
            }
            break;
        }
    }
    // The whole request: what the server has is sent again, which it must stand.
    session.connection.write(&request);
    // However that ends, what was seen stays true.
    let _ = fetch::to_the_end(session).await;
    Ok(match () {
        () if !is_agreed => Verdict::SackIncapable,
        () if is_shifted => Verdict::SackShifted,
        () if bare > 3 => Verdict::SackNoSack,
        () if silent > 2 || told == 0 => Verdict::SackTimeout,
        () => Verdict::SackSuccess,
    })
}
