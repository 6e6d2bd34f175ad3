//! A run: probes by the clock, answers whenever they come.

use std::{collections::VecDeque, future::pending, pin::pin};

use sonde_plugin_api::prelude::*;

use crate::{
    alteration,
    answer::Answer,
    check::Shape,
    kind::{Kind, Meaning, Secret},
    params::PingParams,
    rows::{PingRow, ReplyRow, RowKind},
    statistics::Statistics,
    too_big,
};

/// Flows with one probe each that are kept for answers that come again, or late.
const MAX_KEPT_FLOWS: usize = 256;

/// Flows at a time: more are none of a host's.
const MOST_FLOWS: usize = 1000;

/// Probes that may wait for the host's pace, beside those that may be on their way.
const MOST_KEPT: usize = 32;

/// How much later than its time a probe may leave, or a period: those behind it catch up.
const LATEST: Duration = Duration::from_millis(100);

/// How long answers that come twice are listened for at least, where there were any.
const SHORTEST_REST: Duration = Duration::from_millis(10);

/// Why a run is over: the host wanted it.
const INTERRUPTED: &str = "interrupted";

/// What all parts of a run share.
struct Session {
    ctx: Ctx<PingRow>,
    params: PingParams,
    shape: Shape,
    secret: Secret,
    begin: Time,
    /// Probes so far.
    launched: u32,
    /// Those of them of which nothing was heard yet, in their order.
    pending: VecDeque<u32>,
    /// So many of them at most, unless the host's pace keeps some.
    most_pending: usize,
    statistics: Statistics,
    /// Since these probes waited together an answer came to one of them, and nobody knows to which.
    is_mixed: bool,
    /// Probes of which an error came first: the target may still answer.
    failed: Vec<u32>,
    /// The SYN before, on the one port of all, may have opened a connection half: the next would be taken for a part of it.
    is_half_open: bool,
    /// The first answer was none that the too-big trick works with.
    is_useless: bool,
    /// Address, and port or identifier, that the first probe left with.
    origin: Option<(IpAddr, u16)>,
}

/// A flow that is open, for all probes or for one.
struct Open {
    flow: Flow,
    /// The first probe on it.
    number: u32,
    /// Until when it is kept, where it is for one.
    until: Time,
}

/// Sends the probes and tells what came of them.
// Not an `async fn`: that would keep its arguments beside the session.
pub(crate) fn run(
    ctx: Ctx<PingRow>,
    params: PingParams,
) -> impl Future<Output = Result<(), Fail>> + 'static {
    let mut session = Session::new(ctx, params);
    async move {
        match &mut session {
            Ok(session) => session.run().await,
            Err(fail) => Err(fail.clone()),
        }
    }
}

impl Session {
    fn new(ctx: Ctx<PingRow>, params: PingParams) -> Result<Self, Fail> {
        let shape = params.shape()?;
        let on_their_way = params.timeout().as_micros() / params.period.as_micros();
        Ok(Self {
            secret: Secret::of(&params, &shape, ctx.random64(), ctx.random() as u16),
            begin: ctx.now(),
            statistics: Statistics::new(params.every != 0),
            ctx,
            params,
            shape,
            launched: 0,
            pending: VecDeque::new(),
            most_pending: on_their_way as usize + MOST_KEPT,
            is_mixed: false,
            failed: Vec::new(),
            is_half_open: false,
            is_useless: false,
            origin: None,
        })
    }

    async fn run(&mut self) -> Result<(), Fail> {
        let stop = self.measure().await?;
        self.ctx.stop(stop);
        self.summarize();
        Ok(())
    }

    async fn measure(&mut self) -> Result<&'static str, Fail> {
        let ctx = self.ctx.clone();
        let mut interrupted = pin!(ctx.interrupted());
        // Mostly one for all.
        let mut flows: VecDeque<Open> = VecDeque::with_capacity(1);
        // Why it is over and until when it still listens.
        let mut end: Option<(&'static str, Time)> = None;
        loop {
            self.close_settled(&mut flows);
            let is_crowded = flows.len() >= MOST_FLOWS || self.is_held_back();
            if end.is_none() && self.is_due() && !is_crowded {
                if flows.is_empty() || self.params.method.has_flow_each() {
                    let number = self.launched;
                    match ctx.open(self.flow_of(number)).await {
                        Ok(flow) => flows.push_back(self.opened(flow, number)),
                        // Without the first one there is nobody to measure, without another a port.
                        Err(fail) if number == 0 => return Err(fail),
                        Err(fail) => {
                            self.launched += 1;
                            self.unsent(number, fail.message);
                            continue;
                        }
                    }
                }
                if let Some(open) = flows.back() {
                    self.launch(&open.flow);
                }
                continue;
            }
            if end.is_none()
                && let Some(stop) = self.is_over()
            {
                let Some(rest) = self.rest() else { return Ok(stop) };
                end = Some((stop, ctx.now() + rest));
            }
            let due = match end {
                // What is there already, above all which probes did not leave any more. Several come at once: it
                // is over when the host answers and nothing came with it.
                Some((INTERRUPTED, _)) => Some(ctx.now() + Duration::from_nanos(1)),
                Some((_, until)) => Some(until),
                // It goes on when something is heard: a flow is closed when its probe has its answer, or none in time.
                None if is_crowded => None,
                None => self.next_due(),
            };
            let heard = ctx.next_with(|heard, packet| self.hear(heard, packet));
            let is_told = matches!(end, Some((INTERRUPTED, _)));
            let told = async { if is_told { pending().await } else { interrupted.as_mut().await } };
            let due = async {
                match due {
                    Some(due) => ctx.sleep_until(due).await,
                    None => pending().await,
                }
            };
            match (select(heard, select(due, told)).await, end) {
                (Either::First(reply), _) => send(&flows, reply),
                (Either::Second(Either::First(())), None) => {}
                (Either::Second(Either::Second(())), None) => end = Some((INTERRUPTED, ctx.now())),
                (Either::Second(_), Some((stop, _))) => return Ok(stop),
            }
        }
    }

    /// How long it still listens when all is known: an answer of the last probe may come twice, like those before.
    fn rest(&self) -> Option<Duration> {
        let rtt = self.statistics.longest_us().map(Duration::from_micros)?;
        let is_complete = self.is_all_sent() && self.pending.is_empty();
        (is_complete && self.launched > 1)
            .then(|| rtt.max(SHORTEST_REST).min(self.params.timeout()))
    }

    /// The flow of a probe; those with one each count their ports up where the first was chosen.
    fn flow_of(&self, number: u32) -> FlowSpec {
        self.params
            .method
            .flow(&self.params)
            .kernel_may_answer()
            .local_behind(self.params.sport, number)
    }

    fn opened(&mut self, flow: Flow, number: u32) -> Open {
        let now = self.ctx.now();
        if number == 0 {
            self.begin = now;
            self.origin = Some((flow.source, flow.local));
        }
        Open { flow, number, until: now + self.params.timeout() * 2 }
    }

    /// Closes flows for one probe that has its answer where nothing more is expected.
    fn close_settled(&self, flows: &mut VecDeque<Open>) {
        if !self.params.method.has_flow_each() {
            return;
        }
        let now = self.ctx.now();
        while let Some(open) = flows.front() {
            let is_enough = open.until <= now || flows.len() > MAX_KEPT_FLOWS;
            if !is_enough || open.flow.outstanding() > 0 {
                return;
            }
            flows.pop_front();
        }
    }

    /// When the next probe is due; by the first one, so that the rate does not drift.
    fn next_due(&self) -> Option<Time> {
        (!self.is_all_sent()).then(|| self.begin + self.params.period * self.launched)
    }

    fn is_due(&self) -> bool {
        self.next_due().is_some_and(|due| due <= self.ctx.now())
    }

    /// The host's pace keeps some already: more would only wait as well.
    fn is_held_back(&self) -> bool {
        self.pending.len() > self.most_pending
    }

    fn is_all_sent(&self) -> bool {
        self.launched >= self.params.count
    }

    /// Why it is over, if it is.
    fn is_over(&self) -> Option<&'static str> {
        let rcount = u32::from(self.params.rcount);
        let counted = match self.params.tbt {
            true => self.statistics.fragmented,
            false => self.statistics.answered(),
        };
        if rcount != 0 && counted >= rcount {
            return Some("enough answers");
        }
        if self.is_useless {
            return Some("no echo reply");
        }
        (self.is_all_sent() && self.pending.is_empty()).then_some("complete")
    }

    fn launch(&mut self, flow: &Flow) {
        let (params, number) = (&self.params, self.launched);
        let mut probe = params
            .method
            .probe(params, number, self.secret)
            .ttl(params.probe_ttl())
            .tos(params.tos)
            .size(self.shape.octets);
        if let Some(ip_id) = self.ip_id(number) {
            probe = probe.ip_id(ip_id);
        }
        if !self.shape.ip_options.is_empty() {
            probe = probe.ip_options(&self.shape.ip_options);
        }
        if let Some(payload) = &params.payload {
            probe = probe.payload(&payload.0);
        }
        if let Some(pattern) = &params.pattern {
            probe = probe.pattern(&pattern.0);
        }
        let wanted = match self.shape.checksum {
            // Only the checksum tells such probes apart; the first octets of the pattern give way.
            None if self.shape.counts_checksums => Some(self.secret.checksum(number)),
            wanted => wanted,
        };
        if let Some(checksum) = wanted {
            probe = probe.checksum(checksum);
        }
        // After a pause they do not come closer together than they should.
        let late = self.ctx.now().since(self.begin + params.period * number);
        if late > params.period.max(LATEST) {
            self.begin = self.begin + late;
        }
        if self.is_half_open {
            flow.send(Kind::reset(params, number - 1, self.secret));
        }
        self.is_half_open = params.method == Kind::TcpSyn;
        self.launched += 1;
        self.pending.push_back(number);
        flow.launch(number, probe, params.timeout());
    }

    fn ip_id(&self, number: u32) -> Option<u16> {
        self.params.destination.is_ipv4().then(|| self.secret.ip_id(number))
    }

    /// News of a probe; the packet to send in return, if any, and the probe on whose flow.
    fn hear(&mut self, heard: &Heard, packet: &[u8]) -> Option<(u32, Probe)> {
        let number = heard.label?;
        match &heard.outcome {
            Outcome::Reply(reply) => {
                // The reset before the next SYN has closed what an earlier one opened, unless it was lost.
                let is_last = number + 1 == self.launched;
                let is_closed =
                    self.params.method == Kind::TcpSyn && !is_last && !reply.is_duplicate();
                self.is_half_open &= !is_last;
                let answer = Answer::new(reply, packet);
                let is_answer = self.answer(number, reply, &answer);
                let too_big = too_big::about(reply, packet, self.params.mtu);
                if let Some(too_big) = too_big.filter(|_| is_answer) {
                    self.statistics.too_big_sent += 1;
                    return Some((number, too_big));
                }
                let segment = answer.segment().filter(|_| !is_closed)?;
                let reset = self.params.method.parting(&self.params, &segment)?;
                return Some((number, reset));
            }
            Outcome::Timeout { sent } => {
                self.statistics.lost += 1;
                let row = ReplyRow { time: Some(*sent), sent: Some(*sent), ..ReplyRow::default() };
                self.emit(number, RowKind::Timeout, row);
                self.settle(number);
            }
            Outcome::Unsent(reason) => {
                self.is_half_open &= number + 1 != self.launched;
                self.unsent(number, reason.to_string());
                self.settle(number);
            }
        }
        None
    }

    /// Something came for a probe; whether it is an answer of the target.
    fn answer(&mut self, number: u32, reply: &Reply, answer: &Answer<'_>) -> bool {
        let is_answer = self.params.method.meaning(&self.params, reply) == Meaning::Answer;
        let is_first = !reply.is_late() && !reply.is_duplicate();
        let mut row = answer.row(!self.shape.ip_options.is_empty());
        let altered = answer
            .icmp_reply()
            .and_then(|message| alteration::of(&self.params, self.shape.payload_octets, message));
        row.altered = altered.map(|(what, _)| what);
        row.altered_octet = altered.and_then(|(_, octet)| octet);
        let is_in_time = reply.rtt() <= self.params.timeout();
        let is_failed = |failed: &u32| is_answer && *failed == number;
        let failed = self.failed.iter().position(is_failed);
        if let Some(at) = failed {
            self.failed.swap_remove(at);
            self.statistics.lost -= u32::from(is_in_time);
            row.duplicate = false;
            row.late = !is_in_time;
        }
        // A datagram without the payload of a probe is an answer to any of those that wait.
        let is_weak = reply.class() == Class::Udp && reply.is_weak();
        let is_untold =
            is_weak && self.params.method == Kind::Udp && (self.is_mixed || self.pending.len() > 1);
        if is_untold {
            self.is_mixed = true;
            row = ReplyRow { rtt_us: None, rtt_ns: None, uncertainty_us: None, sent: None, ..row };
        }
        match (is_answer, is_first || failed.is_some() && is_in_time) {
            (true, true) => {
                if is_untold {
                    self.statistics.untold += 1;
                } else {
                    row.reordered = self.statistics.answer(number, reply.rtt());
                }
                self.statistics.fragmented += u32::from(row.fragmented);
            }
            // The target did not answer, whoever else did.
            (false, true) => {
                self.is_useless |= self.params.tbt && self.statistics.answered() == 0;
                self.statistics.errors += 1;
                self.statistics.lost += 1;
                self.failed.push(number);
            }
            (true, false) => {
                self.statistics.duplicates += u32::from(row.duplicate);
                self.statistics.late += u32::from(row.late);
            }
            // Instead of an answer that was given up; one behind an answer changes nothing.
            (false, false) => self.statistics.errors += u32::from(row.late && !row.duplicate),
        }
        row.rx_interface = self.ctx.interface(reply).map(|name| name.to_string());
        // The request itself bears the time at which it was made, before it waited for its turn.
        row.icmp_originate_ms = (reply.class() == Class::TimestampReply)
            .then(|| self.ctx.wall(reply.sent()).milliseconds_of_day());
        self.emit(number, if is_answer { RowKind::Reply } else { RowKind::Error }, row);
        if is_first {
            self.settle(number);
        }
        is_answer
    }

    fn unsent(&mut self, number: u32, reason: String) {
        self.statistics.not_sent += 1;
        self.emit(number, RowKind::Unsent, ReplyRow { error: Some(reason), ..ReplyRow::default() });
    }

    fn emit(&self, seq: u32, kind: RowKind, row: ReplyRow) {
        let probe_ip_id = self.ip_id(seq);
        self.ctx.emit(ReplyRow {
            seq,
            kind,
            probe_ttl: self.params.probe_ttl(),
            probe_ip_id,
            ..row
        });
    }

    /// It is known what became of a probe.
    fn settle(&mut self, number: u32) {
        if let Some(at) = self.pending.iter().position(|pending| *pending == number) {
            self.pending.remove(at);
        }
        self.is_mixed &= !self.pending.is_empty();
        let settled = self.launched - self.pending.len() as u32;
        let every = self.params.every;
        if every != 0 && settled.is_multiple_of(every) {
            let interim = self.statistics.interim(self.launched, self.pending.len() as u32);
            self.ctx.emit(interim);
        }
    }

    fn summarize(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        for number in &pending {
            self.emit(*number, RowKind::Pending, ReplyRow::default());
        }
        let mut row = self.statistics.summary(self.launched, pending.len() as u32);
        row.source = self.origin.map(|(source, _)| source);
        row.local = self.origin.map(|(_, local)| local);
        row.size = self.shape.octets as u32;
        row.reused = self.params.method == Kind::TcpSyn && self.launched > 1;
        self.ctx.emit(row);
    }
}

/// Sends what is to be sent in return, on the flow of its probe.
fn send(flows: &VecDeque<Open>, reply: Option<(u32, Probe)>) {
    let Some((number, probe)) = reply else { return };
    let at = flows.partition_point(|open| open.number <= number);
    if let Some(open) = at.checked_sub(1).and_then(|at| flows.get(at)) {
        open.flow.send(probe);
    }
}
