//! Rows out of what was seen.

use sonde_plugin_api::prelude::*;

use crate::{
    flags,
    params::StingParams,
    rows::{Ending, SampleRow, StingRow, SummaryRow},
    tally::{Tally, interval},
};

/// What is known of a run beside its samples.
#[derive(Clone, Debug)]
pub(crate) struct Outline {
    pub(crate) ending: Ending,
    pub(crate) answered: u32,
    source: IpAddr,
    source_port: u16,
    pub(crate) handshake: Option<Duration>,
    pub(crate) ping: Option<Duration>,
    /// How long all samples should take.
    pub(crate) planned: Duration,
    fallback: Duration,
}

impl Outline {
    pub(crate) fn of(params: &StingParams, flow: &Flow) -> Self {
        Self {
            ending: Ending::Interrupted,
            answered: 0,
            source: flow.source,
            source_port: flow.local,
            handshake: None,
            ping: None,
            planned: Duration::ZERO,
            fallback: Duration::from_millis(params.mean.into()),
        }
    }
}

/// Emits all rows and says why the run stopped.
pub(crate) fn emit(ctx: &Ctx<StingRow>, outline: &Outline, tally: &mut Tally) {
    let duplicate_acks = tally.settle();
    if tally.is_complete {
        tally.credit(outline.handshake.unwrap_or(outline.fallback));
    }
    let (is_complete, excess) = (tally.is_complete, tally.acks.len() > tally.arrived());
    let estimate = tally.is_estimate();
    for (number, sample) in tally.samples.iter().enumerate() {
        let is_known = is_complete && sample.sent.is_some();
        let arrived = is_known.then_some(!sample.is_hole);
        let took = |at: Time| {
            let sent = sample.sent.filter(|sent| *sent <= at)?;
            Some(at.since(sent).as_micros() as u64)
        };
        ctx.emit(SampleRow {
            seq: number as u32 + 1,
            time: sample.sent,
            arrived,
            ack_seen: (arrived == Some(true)).then_some(sample.acknowledged.is_some() || excess),
            rtt_us: sample.acknowledged.and_then(took),
            estimate,
        });
    }
    let micros = |time: Duration| time.as_micros() as u64;
    let (sent, holes, arrived) = (tally.sent(), tally.holes(), tally.arrived());
    let lost_back = tally.lost_back();
    let ratio =
        |part: usize, whole: usize| (is_complete && whole > 0).then(|| part as f64 / whole as f64);
    let ends = |part: usize, whole: usize| {
        let both = interval(part, whole).filter(|_| is_complete);
        both.map_or_else(Vec::new, |ends| ends.to_vec())
    };
    let known = |count: usize| is_complete.then_some(count as u32);
    let bursts = if is_complete { tally.bursts() } else { Vec::new() };
    ctx.emit(SummaryRow {
        result: outline.ending,
        answered: outline.answered,
        source: Some(outline.source),
        source_port: outline.source_port,
        samples: sent as u32,
        not_sent: (tally.samples.len() - sent) as u32,
        holes: known(holes),
        arrived: known(arrived),
        acks: tally.acks.len() as u32,
        forward_loss: ratio(holes, sent),
        reverse_loss: ratio(lost_back, arrived),
        forward_ci95: ends(holes, sent),
        reverse_ci95: ends(lost_back, arrived),
        reverse_lost: known(lost_back),
        forward_burst: known(bursts.iter().copied().max().unwrap_or(0) as usize),
        forward_bursts: bursts,
        handshake_rtt_us: outline.handshake.map(micros),
        ping_rtt_us: outline.ping.map(micros),
        duplicate_acks,
        late_acks: tally.late,
        data_segments: tally.data,
        retransmissions: tally.retransmissions,
        flags: flags::of(tally, outline.handshake, outline.ping, outline.planned),
    });
    ctx.stop(outline.ending.name());
}
