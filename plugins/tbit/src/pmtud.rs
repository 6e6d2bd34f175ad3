//! pmtud: does the server send smaller segments when it is told that large ones do not fit?
//!
//! Large segments are treated as lost, and the first of them is answered with "packet too big". Segments
//! that the network card put together tell no size; they are treated as lost too, for what a server
//! sends again after its timer it sends alone.
//!
//! Source: Medina, Allman, Floyd 2005; Luckie and Stasiewicz 2010; RFC 1191, RFC 8201.

use std::time::Duration;

use sonde_plugin_api::{prelude::*, tcp::Segment};

use crate::{
    rows::{PacketRow, Verdict, Way},
    session::{SILENCE, Session},
};

const TRIES: u8 = 4;
/// How long a server may take to send the segment again that it was told about.
const AGAIN: Duration = Duration::from_secs(30);
/// How long it may go on to send large ones into a black hole.
const PATIENCE: Duration = Duration::from_secs(120);

/// Fetches, as if there were a link with a small MTU.
pub(crate) async fn pmtud(session: &mut Session<'_>) -> Result<Verdict, Verdict> {
    let request = session.last().await?;
    session.connection.write(&request);
    let is_black_hole = session.params.has("blackhole");
    let (mtu, tries) = (u32::from(session.params.mtu()), session.params.tries(TRIES));
    // Whether there were large segments, and since when the one that is due has been among them.
    let (mut has_large, mut refused) = (false, None);
    let (mut told, mut may_be_cut) = (0, false);
    // Before that nothing is here that the server sent when it had heard.
    let mut heard = None;
    // Where segments that were put together were not taken; and whether what came alone there was small.
    let (mut untaken, mut are_small) = (None, false);
    while !session.is_over() {
        let wait = if told > 0 { AGAIN } else { SILENCE };
        let Some(segment) = session.connection.next(wait).await else { break };
        if let Err(verdict) = session.ends(&segment) {
            let is_fail = verdict == Verdict::Reset && told >= 2;
            return Err(if is_fail { Verdict::PmtudFail } else { verdict });
        }
        let (size, is_data) = (segment.octets as u32, segment.has_data());
        let is_next = segment.sequence == session.connection.received.expected();
        let is_over = is_data && size > mtu && !segment.is_fragmented;
        // None of different DF are put together: without it the sum will do.
        if segment.is_merged && is_over && segment.dont_fragment && !are_small {
            if is_next {
                untaken = Some(segment.sequence);
            }
            continue;
        }
        are_small |= is_data && !is_over && untaken == Some(segment.sequence);
        if is_over && !segment.is_merged && segment.dont_fragment {
            // As if it had been lost. Only the one that is due is worth a word: the others of its
            // window are on their way.
            has_large = true;
            if is_next {
                let now = session.ctx.now();
                if now.since(*refused.get_or_insert(now)) > PATIENCE {
                    return Ok(Verdict::PmtudFail);
                }
            }
            let is_too_early = heard.is_some_and(|heard| segment.at < heard);
            if !is_next || is_black_hole || is_too_early {
                continue;
            }
            if told == tries {
                return Ok(Verdict::PmtudFail);
            }
            told += 1;
            session.summary.size_before.get_or_insert(size);
            too_big(session, &segment, mtu).await?;
            let rtt = session.connection.handshake.unwrap_or_default();
            heard = Some(session.ctx.now() + rtt);
            session.summary.ptb_sent = Some(told);
            continue;
        }
        may_be_cut |= is_over && !segment.dont_fragment;
        if is_data && is_next && refused.is_some() {
            session.summary.size_after = Some(size);
            session.accept(&segment);
            // In fragments it came whole, whoever cut it.
            let cleared = !segment.dont_fragment && !segment.is_fragmented;
            return Ok(if cleared { Verdict::PmtudClearDf } else { Verdict::PmtudSuccess });
        }
        session.accept(&segment);
    }
    Ok(match () {
        () if refused.is_some() => Verdict::PmtudFail,
        // What was to come before the large ones never did.
        () if has_large => Verdict::None,
        () if may_be_cut => Verdict::PmtudNoDf,
        () if session.has_data() => Verdict::PmtudTooSmall,
        () if session.is_acknowledged() => Verdict::PmtudNoData,
        () => Verdict::PmtudNoAck,
    })
}

/// Says that a segment was too big, as a router would.
///
/// # Errors
///
/// The verdict where we may not, or cannot.
async fn too_big(session: &mut Session<'_>, segment: &Segment, mtu: u32) -> Result<(), Verdict> {
    let probe = if session.flow.peer.is_ipv4() {
        let [high, low] = (mtu as u16).to_be_bytes();
        Probe::icmp(3, 4, [0, 0, high, low])
    } else {
        Probe::icmp(2, 0, mtu.to_be_bytes())
    };
    let probe = probe.payload(&segment.quote).ttl(session.params.ttl).immediate();
    let sent = match session.params.ptbsrc {
        Some(source) => session.flow.send_stamped(probe.source(source)).await,
        None => session.flow.send_stamped(probe).await,
    };
    if let Err(reason) = sent {
        let hint =
            if session.params.ptbsrc.is_some() { ": the operator has to permit spoof" } else { "" };
        session.ctx.error(&format!("packet too big: {reason}{hint}"));
        session.refusal = Some(reason).filter(|reason| reason.refused_by_policy);
        return Err(Verdict::LocalError);
    }
    session.ctx.emit(PacketRow {
        time: Some(session.ctx.now()),
        way: Way::Sent,
        flags: "PTB".to_owned(),
        octets: mtu,
        seq: 0,
        ack: 0,
        sack: Vec::new(),
        ecn: 0,
        df: None,
        size: None,
        merged: false,
    });
    Ok(())
}
