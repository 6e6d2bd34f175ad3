//! One measurement: handshake, test, farewell.

use std::cell::Cell;

use sonde_plugin_api::{
    packet::tcp::flags,
    prelude::*,
    tcp::{Connection, Opening, Passage, Refusal},
};

use crate::{
    abc,
    application::Application,
    blind, ecn, fetch, header, icw,
    params::{SACK, TbitParams, Test},
    pmtud,
    rows::{Scope, SummaryRow, TbitRow, Verdict},
    sack,
    session::{Session, log},
    stray,
};

/// How long the server may take to close after us.
const FAREWELL: Duration = Duration::from_secs(2);

pub(crate) async fn run(ctx: Ctx<TbitRow>, params: TbitParams) -> Result<(), Fail> {
    params.check()?;
    if params.has(SACK) && params.counts_a_window() {
        let test = params.test;
        ctx.warn(&format!(
            "{SACK} is not offered: with it a server sends more than its window in {test}"
        ));
    }
    let flow = ctx.open(params.flow()).await?;
    let first = ctx.random();
    let mut application = Application::of(&params, ctx.random())?;
    let on_syn = on_syn(&params, &mut application);
    let opening = Opening {
        offer: params.offer(flow.mtu),
        flags: if params.test == Test::Ecn { flags::ECE | flags::CWR } else { 0 },
        data: on_syn,
        // All but the SYN have it, as with scamper.
        dont_fragment: false,
        ip_options: header::octets(&params),
        ttl: params.ttl,
        sequence: Some(first),
        ..Opening::to(params.port())
    };
    let mut summary =
        SummaryRow { test: Some(params.test), source_port: flow.local, ..SummaryRow::default() };
    // Their first number is known from the first segment with SYN.
    let theirs = Cell::new(None);
    let record = |passage: Passage<'_>| {
        if let Passage::Received(segment) = &passage
            && segment.has(flags::SYN)
            && theirs.get().is_none()
        {
            theirs.set(Some(segment.sequence));
        }
        log(&ctx, (first, theirs.get()), &passage);
    };
    let opened =
        ctx.until_interrupted(Connection::open(&ctx, &flow, &opening, Some(&record))).await;
    let connection = match opened {
        Some(Ok(connection)) => connection,
        Some(Err(Refusal::Unsent(reason))) => {
            report(&ctx, summary, Verdict::LocalError);
            return Err(reason.into());
        }
        Some(Err(refusal)) => {
            summary.answered =
                u32::from(!matches!(refusal, Refusal::Silence | Refusal::Unreachable(..)));
            if let Refusal::Unreachable(from, kind, code) = refusal {
                ctx.log(&format!("{from} says unreachable, ICMP type {kind} code {code}"));
            }
            let is_reset = refusal == Refusal::Reset;
            report(&ctx, summary, if is_reset { Verdict::Refused } else { Verdict::NoConnection });
            return Ok(());
        }
        None => {
            // Half open, perhaps: the last word of the flow ends that.
            report(&ctx, summary, Verdict::Halted);
            return Ok(());
        }
    };
    note(&connection, &opening, &mut summary);
    let mut session = Session {
        ctx: &ctx,
        flow: &flow,
        params: &params,
        connection,
        summary: &mut summary,
        application,
        answer: Vec::new(),
        refusal: None,
    };
    // A verdict says what the server did about segments: no segment may be missing.
    let tested = select(test(&mut session), ctx.refused());
    let verdict = match ctx.until_interrupted(tested).await {
        None => None,
        Some(Either::First(_)) if let Some(reason) = session.refusal.take() => {
            session.connection.reset().await;
            report(&ctx, summary, Verdict::LocalError);
            return Err(reason.into());
        }
        Some(Either::First(verdict)) => Some(verdict),
        Some(Either::Second(reason)) => {
            report(&ctx, summary, Verdict::LocalError);
            return Err(reason.into());
        }
    };
    match verdict {
        // What is on its way is of no use to these, or its end is far away.
        None | Some(Verdict::PmtudSuccess | Verdict::PmtudFail | Verdict::PmtudClearDf) => {
            session.connection.reset().await;
        }
        Some(verdict) if verdict == Verdict::IcwSuccess || verdict.code() >= 70 => {
            session.connection.reset().await;
        }
        Some(_) => {
            if ctx.until_interrupted(session.connection.close(FAREWELL)).await.is_none() {
                session.connection.reset().await;
            }
        }
    }
    let status = session.answer.split(|octet| *octet == b'\r').next().unwrap_or_default();
    let status = String::from_utf8_lossy(&status[..status.len().min(100)]).into_owned();
    session.summary.tls_version = session.application.tls_version();
    session.summary.certificate_verified = session.summary.tls_version.as_ref().map(|_| false);
    session.summary.status = (!status.is_empty()).then_some(status);
    report(&ctx, summary, verdict.unwrap_or(Verdict::Halted));
    Ok(())
}

async fn test(session: &mut Session<'_>) -> Verdict {
    let verdict = async {
        if session.connection.answer.options.is_malformed {
            return Err(Verdict::BadOption);
        }
        session.window().await?;
        match session.params.test {
            Test::Null => fetch::null(session).await,
            Test::Pmtud => pmtud::pmtud(session).await,
            Test::Ecn => ecn::ecn(session).await,
            Test::SackRcvr => sack::sack_rcvr(session).await,
            Test::Icw => icw::icw(session).await,
            Test::Abc => abc::abc(session).await,
            Test::BlindRst => blind::blind(session, flags::RST).await,
            Test::BlindSyn => blind::blind(session, flags::SYN).await,
            Test::BlindData | Test::BlindFin => stray::stray(session).await,
        }
    };
    let verdict = verdict.await.unwrap_or_else(|verdict| verdict);
    // Nobody answers what he did not take.
    let is_shut = session.connection.sending.is_shut() && verdict.misses_something();
    if is_shut { Verdict::ZeroWindow } else { verdict }
}

/// What goes with the SYN under a fast open cookie: what the application says unasked. Tests that take their
/// request to pieces, or mark it, keep it.
fn on_syn(params: &TbitParams, application: &mut Application) -> Vec<u8> {
    let is_cut =
        matches!(params.test, Test::Ecn | Test::SackRcvr | Test::BlindData | Test::BlindFin);
    if params.cookie.is_none() || is_cut {
        return Vec::new();
    }
    let mut said = application.hear(&[]).say;
    said.extend(application.last().unwrap_or_default());
    said
}

/// What the handshake says.
fn note(connection: &Connection<'_, TbitRow>, opening: &Opening, summary: &mut SummaryRow) {
    let answer = &connection.answer;
    summary.answered = 1;
    summary.server_mss = answer.options.mss;
    if !opening.ip_options.is_empty() {
        (summary.ip_option_back, summary.ip_recorded) = header::read(&opening.ip_options, answer);
    }
    summary.handshake_rtt_us = connection.handshake.map(|rtt| rtt.as_micros() as u64);
    let cookie = answer.options.fast_open.as_deref().filter(|cookie| !cookie.is_empty());
    summary.cookie = cookie.map(|cookie| Hex(cookie.to_vec()));
    let data_behind = opening.data.len() as u32 + 1;
    let took_data = !opening.data.is_empty()
        && answer.acknowledgement == connection.first.wrapping_add(data_behind);
    let granted = [
        (connection.agreed.timestamps, "tcpts"),
        (connection.agreed.sack, "sack"),
        (connection.agreed.window_scale, "wscale"),
        (cookie.is_some(), "fo"),
        (took_data, "fo-data"),
    ];
    let granted = granted.into_iter().filter(|(holds, _)| *holds);
    summary.granted = granted.map(|(_, name)| name.to_owned()).collect();
}

fn report(ctx: &Ctx<TbitRow>, summary: SummaryRow, verdict: Verdict) {
    // Only who agreed to it marks segments: its word came changed.
    let is_belied = verdict == Verdict::EcnIncapable && summary.ect_segments > Some(0);
    if is_belied {
        ctx.warn("segments say that ECN is in use: something on the path takes it from the answer to the SYN");
    }
    ctx.emit(SummaryRow {
        result: verdict,
        result_code: verdict.code(),
        scope: if is_belied { Scope::Path } else { verdict.scope() },
        ..summary
    });
    ctx.stop(verdict.name());
}
