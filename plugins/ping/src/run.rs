//! A run: probes by the clock, answers whenever they come.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
};

use sonde_plugin_api::{
    packet::{IpHeader, ip_option},
    prelude::*,
};

use crate::{
    kind::{Meaning, tcp_flags},
    params::PingParams,
    rows::{PingRow, ReplyRow},
    statistics::Statistics,
};

/// What all parts of a run share.
struct Session {
    ctx: Ctx<PingRow>,
    params: PingParams,
    checksum: Option<u16>,
    /// Number of this run that nobody outside can guess.
    secret: u32,
    begin: Time,
    /// Probes so far.
    launched: u32,
    statistics: Statistics,
}

/// What came of a probe with a flow of its own.
type Single = Pin<Box<dyn Future<Output = (u32, Outcome<(Reply, Box<[u8]>)>)>>>;

/// What to do next.
enum Turn<T> {
    /// Somebody was heard.
    Heard(T),
    /// The next probe is due.
    Due,
    /// It shall end.
    Interrupted,
}

/// Sends the probes and tells what came of them.
pub(crate) async fn run(ctx: Ctx<PingRow>, params: PingParams) -> Result<(), Fail> {
    params.check()?;
    let checksum = params.wanted_checksum()?;
    let has_flow_each = params.method.has_flow_each();
    let (secret, begin) = (ctx.random(), ctx.now());
    let statistics = Statistics::default();
    let mut session = Session { ctx, params, checksum, secret, begin, launched: 0, statistics };
    let stop = if has_flow_each {
        session.with_flow_each().await?
    } else {
        session.with_one_flow().await?
    };
    session.ctx.stop(stop);
    let statistics = &mut session.statistics;
    let known = statistics.answered() + statistics.lost + statistics.not_sent;
    statistics.sent = session.launched - statistics.not_sent;
    let pending = session.launched.saturating_sub(known);
    session.ctx.emit(session.statistics.summary(pending));
    Ok(())
}

impl Session {
    async fn with_one_flow(&mut self) -> Result<&'static str, Fail> {
        let ctx = self.ctx.clone();
        let flow = ctx.open(self.params.method.flow(&self.params)).await?;
        self.begin = ctx.now();
        let mut interrupted = pin!(ctx.interrupted());
        loop {
            if self.is_due() {
                let (number, probe) = self.next_probe();
                flow.launch(number, probe, self.params.timeout());
                continue;
            }
            if self.is_all_sent() && flow.outstanding() == 0 {
                return Ok("complete");
            }
            let due = self.next_due();
            let heard = flow.next_with(|heard, packet| self.hear(heard, packet));
            match next_turn(&ctx, heard, due, interrupted.as_mut()).await {
                Turn::Heard(Some(reset)) => flow.send(reset),
                Turn::Heard(None) | Turn::Due => {}
                Turn::Interrupted => return Ok("interrupted"),
            }
            if self.has_enough() {
                return Ok("enough answers");
            }
        }
    }

    async fn with_flow_each(&mut self) -> Result<&'static str, Fail> {
        let ctx = self.ctx.clone();
        let mut interrupted = pin!(ctx.interrupted());
        let mut singles: Vec<Single> = Vec::new();
        loop {
            if self.is_due() {
                let spec = self.params.method.flow(&self.params);
                let spec = match self.params.sport {
                    0 => spec,
                    sport => spec.local(sport.wrapping_add(self.launched as u16)),
                };
                let opened = ctx.open(spec).await;
                let (number, probe) = self.next_probe();
                let wait = self.params.timeout();
                match opened {
                    // Its first poll, below, sends the probe; with it ends the flow.
                    Ok(flow) => singles.push(Box::pin(async move {
                        (number, flow.probe(probe).timeout(wait).capture().await)
                    })),
                    // Without the first one there is nobody to measure, without another a port.
                    Err(fail) if number == 0 => return Err(fail),
                    Err(fail) => self.unsent(number, fail.message),
                }
                continue;
            }
            if self.is_all_sent() && singles.is_empty() {
                return Ok("complete");
            }
            let due = self.next_due();
            match next_turn(&ctx, first_of(&mut singles), due, interrupted.as_mut()).await {
                Turn::Heard((number, outcome)) => match outcome {
                    Outcome::Reply((reply, packet)) => self.answer(number, &reply, &packet),
                    Outcome::Timeout { sent } => self.time_out(number, sent),
                    Outcome::Unsent(reason) => self.not_sent(number, reason),
                },
                Turn::Due => {}
                Turn::Interrupted => return Ok("interrupted"),
            }
            if self.has_enough() {
                return Ok("enough answers");
            }
        }
    }

    /// When the next probe is due; by the first one, so that the rate does not drift.
    fn next_due(&self) -> Option<Time> {
        (!self.is_all_sent()).then(|| self.begin + self.params.period * self.launched)
    }

    fn is_due(&self) -> bool {
        self.next_due().is_some_and(|due| due <= self.ctx.now())
    }

    fn is_all_sent(&self) -> bool {
        self.launched >= self.params.count
    }

    fn has_enough(&self) -> bool {
        let rcount = u32::from(self.params.rcount);
        rcount != 0 && self.statistics.answered() >= rcount
    }

    fn ttl(&self) -> u8 {
        if self.params.ttl == 0 { 64 } else { self.params.ttl }
    }

    fn next_probe(&mut self) -> (u32, Probe) {
        let (params, number) = (&self.params, self.launched);
        self.launched += 1;
        let mut probe =
            params.method.probe(params, number, self.secret).ttl(self.ttl()).tos(params.tos);
        if params.rr {
            probe = probe.ip_options(&ip_option::record_route());
        }
        let size = usize::from(params.size_octets());
        probe = match (&params.payload, &params.pattern) {
            (Some(payload), _) => probe.payload(&payload.0),
            (None, Some(pattern)) => probe.pattern(&pattern.0).size(size),
            (None, None) => probe.size(size),
        };
        let wanted = match self.checksum {
            // Only the checksum tells such probes apart; the first octets of the pattern give way.
            None if params.pattern.is_some() && params.is_udp6() => {
                u16::try_from(number % 65_534 + 1).ok()
            }
            wanted => wanted,
        };
        if let Some(checksum) = wanted {
            probe = probe.checksum(checksum);
        }
        (number, probe)
    }

    /// News of a probe; the packet to send in return, if any.
    fn hear(&mut self, heard: &Heard, packet: &[u8]) -> Option<Probe> {
        let number = heard.label?;
        match &heard.outcome {
            Outcome::Reply(reply) => {
                self.answer(number, reply, packet);
                return self.params.method.parting(&self.params, packet);
            }
            Outcome::Timeout { sent } => self.time_out(number, *sent),
            Outcome::Unsent(reason) => self.not_sent(number, *reason),
        }
        None
    }

    fn answer(&mut self, number: u32, reply: &Reply, packet: &[u8]) {
        let is_answer = self.params.method.meaning(&self.params, reply) == Meaning::Answer;
        let is_first = !reply.is_late() && !reply.is_duplicate();
        match (is_answer, is_first) {
            (true, true) => self.statistics.answer(reply.rtt_us()),
            // The target did not answer, whoever else did.
            (false, true) => {
                self.statistics.errors += 1;
                self.statistics.lost += 1;
            }
            (_, false) => {
                self.statistics.duplicates += u32::from(reply.is_duplicate());
                self.statistics.late += u32::from(reply.is_late());
            }
        }
        let is_icmp = !matches!(reply.class(), Class::Tcp | Class::Udp);
        self.ctx.emit(ReplyRow {
            kind: if is_answer { "reply" } else { "error" }.to_owned(),
            time: Some(reply.at()),
            addr: Some(reply.from()),
            rtt_us: Some(reply.rtt_us()),
            ttl: Some(reply.ttl()),
            size: Some(packet.len() as u32),
            icmp_type: is_icmp.then(|| reply.icmp_type()),
            icmp_code: is_icmp.then(|| reply.icmp_code()),
            tcp_flags: (reply.class() == Class::Tcp).then(|| tcp_flags(packet)).flatten(),
            duplicate: reply.is_duplicate(),
            late: reply.is_late(),
            rtt_ns: Some(reply.rtt().as_nanos() as u64),
            uncertainty_us: Some(reply.uncertainty().as_nanos() as f64 / 1000.0),
            tx: Some(reply.sent_by().name().to_owned()),
            rx: Some(reply.received_by().name().to_owned()),
            rr: self.recorded_route(reply, packet),
            ..self.row(number)
        });
    }

    fn time_out(&mut self, number: u32, sent: Time) {
        self.statistics.lost += 1;
        let kind = "timeout".to_owned();
        self.ctx.emit(ReplyRow { kind, time: Some(sent), ..self.row(number) });
    }

    fn not_sent(&mut self, number: u32, reason: NotSent) {
        self.unsent(number, reason.to_string());
    }

    fn unsent(&mut self, number: u32, reason: String) {
        self.statistics.not_sent += 1;
        let (kind, error) = ("unsent".to_owned(), Some(reason));
        self.ctx.emit(ReplyRow { kind, error, ..self.row(number) });
    }

    /// A row that says nothing yet.
    fn row(&self, number: u32) -> ReplyRow {
        ReplyRow {
            seq: number,
            kind: String::new(),
            time: None,
            addr: None,
            rtt_us: None,
            ttl: None,
            size: None,
            icmp_type: None,
            icmp_code: None,
            tcp_flags: None,
            probe_ttl: self.ttl(),
            duplicate: false,
            late: false,
            rtt_ns: None,
            uncertainty_us: None,
            tx: None,
            rx: None,
            rr: Vec::new(),
            error: None,
        }
    }

    /// From the answer's own header, or from the quoted one.
    fn recorded_route(&self, reply: &Reply, packet: &[u8]) -> Vec<IpAddr> {
        if !self.params.rr {
            return Vec::new();
        }
        let packet = reply.quoted(packet).unwrap_or(packet);
        let header = IpHeader::parse(packet).ok();
        let options = header.and_then(|header| packet.get(header.options)).unwrap_or_default();
        let route = ip_option::parse(options).into_iter().find_map(|option| match option {
            ip_option::IpOption::RecordRoute(route) => Some(route),
            ip_option::IpOption::Timestamps { .. } => None,
        });
        route.unwrap_or_default().into_iter().map(IpAddr::V4).collect()
    }
}

/// Whatever comes first of an answer, the next probe's time, and an interrupt.
async fn next_turn<T>(
    ctx: &Ctx<PingRow>,
    heard: impl Future<Output = T>,
    due: Option<Time>,
    interrupted: impl Future<Output = ()>,
) -> Turn<T> {
    let ends = async {
        match due {
            Some(due) => match select(ctx.sleep_until(due), interrupted).await {
                Either::First(()) => Turn::Due,
                Either::Second(()) => Turn::Interrupted,
            },
            None => {
                interrupted.await;
                Turn::Interrupted
            }
        }
    };
    match select(heard, ends).await {
        Either::First(heard) => Turn::Heard(heard),
        Either::Second(turn) => turn,
    }
}

/// The first of several to end, which is taken out; waits for ever where there are none.
async fn first_of(futures: &mut Vec<Single>) -> (u32, Outcome<(Reply, Box<[u8]>)>) {
    poll_fn(|cx| {
        for at in 0..futures.len() {
            if let Poll::Ready(output) = futures[at].as_mut().poll(cx) {
                drop(futures.remove(at));
                return Poll::Ready(output);
            }
        }
        Poll::Pending
    })
    .await
}
