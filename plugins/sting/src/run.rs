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

// What few runs come to, or only at their end, is boxed: it takes no room while a thousand others run.
#[allow(clippy::manual_async_fn, reason = "an `async fn` would keep its arguments twice")]
pub(crate) fn run(
    ctx: Ctx<StingRow>,
    params: StingParams,
) -> impl Future<Output = Result<(), Fail>> + 'static {
    async move {
        let request = request::octets(&params)?;
        let flow = ctx.open(params.flow()).await?;
        let mut outline = Outline::of(&params, &flow);
        let mut tally = Tally::default();
        let opened = open(&ctx, &flow, &params, &mut outline).await?;
        let mut conversed = Ok(());
        if let Some(mut connection) = opened {
            let wire = Wire {
                flow: &flow,
                port: params.dport,
                ttl: params.ttl,
                first: connection.first.wrapping_add(1),
                theirs: connection.received.expected(),
                request: &request,
                hole: params.hole,
            };
            let seen = (&mut outline, &mut tally);
            conversed = converse(&ctx, &params, &wire, &mut connection, seen).await;
        }
        if params.ping && tally.is_complete {
            outline.ping = ctx.until_interrupted(Box::pin(echo(&ctx, &params))).await.flatten();
        }
        report::emit(&ctx, &outline, &mut tally);
        conversed.map_err(|fail| *fail)
    }
}

/// Opens the connection; nothing where there is none, as the outline says then.
async fn open<'a>(
    ctx: &'a Ctx<StingRow>,
    flow: &'a Flow,
    params: &StingParams,
    outline: &mut Outline,
) -> Result<Option<Box<Connection<'a, StingRow>>>, Fail> {
    let opening = Opening { window: 0, ttl: params.ttl, ..Opening::to(params.dport) };
    match ctx.until_interrupted(Connection::open(ctx, flow, &opening, None)).await {
        Some(Ok(connection)) => {
            outline.handshake = connection.handshake;
            Ok(Some(Box::new(connection)))
        }
        Some(Err(Refusal::Unsent(reason))) => Err(reason.into()),
        Some(Err(refusal)) => {
            outline.ending = ending(ctx, &refusal);
            outline.answered =
                u32::from(!matches!(refusal, Refusal::Silence | Refusal::Unreachable(..)));
            Ok(None)
        }
        // Half open, perhaps: the last word of the flow ends that.
        None => Ok(None),
    }
}

/// Samples, filling, farewell.
async fn converse(
    ctx: &Ctx<StingRow>,
    params: &StingParams,
    wire: &Wire<'_>,
    connection: &mut Connection<'_, StingRow>,
    (outline, tally): (&mut Outline, &mut Tally),
) -> Result<(), Box<Fail>> {
    let count = usize::from(params.count);
    tally.acks.reserve_exact(count);
    let samples = RefCell::new(Vec::with_capacity(count));
    let mut hole = Hole::new(wire.first, params.hole, params.count);
    let pause = Duration::from_millis(params.inter.into());
    let conversed = ctx
        .until_interrupted(async {
            Box::pin(phases::open(ctx, connection)).await?;
            tally.is_cut = wire.is_behind(connection.peer_window());
            let gaps = gaps(ctx, params, &mut outline.planned);
            let seen = (&samples, &mut *tally);
            phases::seed(ctx, wire, connection, gaps, pause, seen).await?;
            ctx.progress(0.9);
            let filled = phases::fill(ctx, wire, connection, &mut hole, tally).await;
            filled.map_err(Early::Ending)
        })
        .await;
    let mut failed = Ok(());
    outline.ending = match conversed {
        Some(Ok(())) => Ending::Completed,
        Some(Err(Early::Ending(ending))) => ending,
        Some(Err(Early::Failed(fail))) => {
            failed = Err(Box::new(fail));
            Ending::Interrupted
        }
        None => Ending::Interrupted,
    };
    tally.samples = samples.into_inner().into_iter().map(Into::into).collect();
    for lost in hole.lost() {
        if let Some(sample) = tally.samples.get_mut(usize::from(*lost)) {
            sample.is_hole = true;
        }
    }
    tally.is_complete = outline.ending == Ending::Completed;
    outline.answered = 1 + tally.acks.len() as u32 + tally.data;
    let is_short = outline.ending == Ending::Interrupted;
    let farewell = if is_short { SHORT_FAREWELL } else { FAREWELL };
    Box::pin(part(ctx, wire, connection, hole.edge(), farewell)).await;
    failed
}

/// The gap before each sample, none before the first; `sum` is that of all.
fn gaps(
    ctx: &Ctx<StingRow>,
    params: &StingParams,
    sum: &mut Duration,
) -> impl Iterator<Item = Duration> {
    let (mean, spacing) = (Duration::from_millis(params.mean.into()), params.spacing());
    (0..params.count).map(move |number| {
        let gap = match number {
            0 => Duration::ZERO,
            _ => spacing.gap(mean, ctx.random_unit()),
        };
        *sum += gap;
        gap
    })
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
    if !connection.is_reset() {
        let _ = wire.flow.send_stamped(wire.reset(edge)).await;
    }
    wire.flow.last_word(None);
    let end = ctx.now() + wait;
    while !connection.is_reset()
        && let Some(segment) = connection.next(end.since(ctx.now())).await
    {
        let is_challenge = segment.is_pure_ack() && segment.acknowledgement != edge;
        if segment.has(flags::RST) {
            break;
        }
        if is_challenge {
            let _ = wire.flow.send_stamped(wire.reset(segment.acknowledgement)).await;
            break;
        }
    }
    // What came meanwhile may have left another one.
    wire.flow.last_word(None);
}

/// The shortest of a few echoes.
async fn echo(ctx: &Ctx<StingRow>, params: &StingParams) -> Option<Duration> {
    let spec = FlowSpec::icmp(params.destination);
    let spec = params.source.map_or(spec, |source| spec.source(source));
    let flow = ctx.open(spec).await.ok()?;
    let mut best = None;
    for sequence in 0..ECHOES {
        let probe = Probe::echo(sequence).ttl(params.ttl);
        let probe = flow.probe(probe).timeout(Duration::from_secs(1));
        let reply = probe.await.reply().filter(|reply| reply.class() == Class::EchoReply);
        best = [best, reply.map(|reply| reply.rtt())].into_iter().flatten().min();
    }
    best
}
