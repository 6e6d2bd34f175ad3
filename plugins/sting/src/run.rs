//! One measurement: handshake, samples, filling, reset, and an echo beside it.

use std::cell::RefCell;

use sonde_plugin_api::{
    packet::tcp::flags,
    prelude::*,
    tcp::{Connection, Opening, Refusal},
};

use crate::{
    hole::Hole,
    params::StingParams,
    phases::{self, Early, Wire},
    report::{self, Outline},
    request,
    rows::{Ending, StingRow},
    tally::Tally,
};

/// How long a reset waits for a server that expects another number.
const FAREWELL: Duration = Duration::from_secs(1);
/// The same after an interrupt, when time is short.
const SHORT_FAREWELL: Duration = Duration::from_millis(300);
const ECHOES: u16 = 3;

pub(crate) async fn run(ctx: Ctx<StingRow>, params: StingParams) -> Result<(), Fail> {
    let request = request::octets(&params)?;
    let flow = ctx.open(params.flow()).await?;
    let first = ctx.random();
    let opening =
        Opening { window: 0, ttl: params.ttl, sequence: Some(first), ..Opening::to(params.dport) };
    let mut outline = Outline::of(&params, &flow);
    let opened = ctx.until_interrupted(Connection::open(&ctx, &flow, &opening, None)).await;
    let mut connection = match opened {
        Some(Ok(connection)) => connection,
        Some(Err(Refusal::Unsent(reason))) => return Err(reason.into()),
        Some(Err(refusal)) => {
            outline.ending = ending(&ctx, &refusal);
            outline.answered = u32::from(refusal != Refusal::Silence);
            report::emit(&ctx, &outline, &mut Tally::default());
            return Ok(());
        }
        None => {
            // Half open, perhaps: the server expects the number behind the SYN.
            let reset = Probe::tcp_rst(params.dport, first.wrapping_add(1)).ttl(params.ttl);
            let _ = flow.send_stamped(reset.immediate()).await;
            report::emit(&ctx, &outline, &mut Tally::default());
            return Ok(());
        }
    };
    outline.handshake = connection.handshake;
    let wire = Wire {
        flow: &flow,
        port: params.dport,
        ttl: params.ttl,
        first: first.wrapping_add(1),
        theirs: connection.received.expected(),
        request: &request,
        hole: usize::from(params.hole),
    };
    let gaps = gaps(&ctx, &params);
    outline.planned = gaps.iter().skip(1).sum();
    let mut tally = Tally::default();
    let samples = RefCell::default();
    let mut hole = Hole::new(wire.first, params.hole, params.count);
    let pause = Duration::from_millis(params.inter.into());
    let conversation = async {
        let seen = (&samples, &mut tally);
        phases::seed(&ctx, &wire, &mut connection, &gaps, pause, seen).await?;
        ctx.progress(0.9);
        let filled = phases::fill(&ctx, &wire, &mut connection, &mut hole, &mut tally).await;
        filled.map_err(Early::Ending)
    };
    let conversed = ctx.until_interrupted(conversation).await;
    outline.ending = match conversed {
        Some(Ok(())) => Ending::Completed,
        Some(Err(Early::Ending(ending))) => ending,
        Some(Err(Early::Failed(fail))) => {
            part(&ctx, &wire, &mut connection, hole.edge(), SHORT_FAREWELL).await;
            return Err(fail);
        }
        None => Ending::Interrupted,
    };
    tally.samples = samples.into_inner();
    for lost in hole.lost() {
        if let Some(sample) = tally.samples.get_mut(usize::from(*lost)) {
            sample.is_hole = true;
        }
    }
    tally.is_complete = outline.ending == Ending::Completed;
    outline.answered = 1 + tally.acks.len() as u32 + tally.data;
    let is_short = outline.ending == Ending::Interrupted;
    let farewell = if is_short { SHORT_FAREWELL } else { FAREWELL };
    part(&ctx, &wire, &mut connection, hole.edge(), farewell).await;
    if params.ping && tally.is_complete {
        outline.ping = ctx.until_interrupted(echo(&ctx, &params)).await.flatten();
    }
    report::emit(&ctx, &outline, &mut tally);
    Ok(())
}

/// The gap before each sample.
fn gaps(ctx: &Ctx<StingRow>, params: &StingParams) -> Vec<Duration> {
    let mean = Duration::from_millis(params.mean.into());
    let spacing = params.spacing();
    let gap = |number| match number {
        0 => Duration::ZERO,
        _ => spacing.gap(mean, ctx.random_unit()),
    };
    (0..params.count).map(gap).collect()
}

fn ending(ctx: &Ctx<StingRow>, refusal: &Refusal) -> Ending {
    match refusal {
        Refusal::Silence | Refusal::Unsent(_) => Ending::NoConnection,
        Refusal::Reset => Ending::Refused,
        Refusal::Unreachable(from, kind, code) => {
            ctx.log(&format!("{from} says unreachable, ICMP type {kind} code {code}"));
            Ending::Unreachable
        }
        Refusal::WrongNumber(_) => Ending::BadSynAck,
    }
}

/// Resets the connection at the number that the server is known to expect; where it expects another
/// one, it says so (RFC 5961), and is told once more.
async fn part(
    ctx: &Ctx<StingRow>,
    wire: &Wire<'_>,
    connection: &mut Connection<'_, StingRow>,
    edge: u32,
    wait: Duration,
) {
    if connection.is_reset() {
        return;
    }
    let _ = wire.flow.send_stamped(wire.reset(edge)).await;
    let end = ctx.now() + wait;
    while let Some(segment) = connection.next(end.since(ctx.now())).await {
        let is_challenge = segment.is_pure_ack() && segment.acknowledgement != edge;
        if segment.has(flags::RST) {
            return;
        }
        if is_challenge {
            let _ = wire.flow.send_stamped(wire.reset(segment.acknowledgement)).await;
            return;
        }
    }
}

/// The shortest of a few echoes.
async fn echo(ctx: &Ctx<StingRow>, params: &StingParams) -> Option<Duration> {
    let spec = FlowSpec::icmp(params.destination);
    let spec = params.source.map_or(spec, |source| spec.source(source));
    let flow = ctx.open(spec).await.ok()?;
    let mut best = None;
    for sequence in 0..ECHOES {
        let probe = flow.probe(Probe::echo(sequence)).timeout(Duration::from_secs(1));
        let reply = probe.await.reply().filter(|reply| reply.class() == Class::EchoReply);
        best = [best, reply.map(|reply| reply.rtt())].into_iter().flatten().min();
    }
    best
}
