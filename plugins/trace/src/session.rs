//! A trace that is going on: its flow, its probes, what it has heard.

use sonde_plugin_api::prelude::*;

use crate::{
    hop::{Hop, Sight},
    kind::{self, NUMBERS, Secret},
    path::{Path, Stop},
    plan::{Plan, USUAL_SPORT},
    reading::{self, Meaning, ProbeName},
    rounds::Statistics,
    rows::{HopRow, SummaryRow, TraceRow},
};

/// The probe was withdrawn.
const ECANCELED: i32 = 125;
/// The TTL that gets everywhere.
pub(crate) const LARGEST_TTL: u8 = 255;

/// See the module. What outlives an interrupt is here, so that it can be told.
pub(crate) struct Session {
    pub(crate) ctx: Ctx<TraceRow>,
    pub(crate) plan: Plan,
    pub(crate) flow: Flow,
    /// Flows of the rounds to come, where rounds take turns.
    other_flows: Vec<Flow>,
    secret: Secret,
    pub(crate) path: Path,
    /// Hops that are being probed, in the order of their TTL.
    pub(crate) hops: Vec<Hop>,
    pub(crate) leg: Leg,
    /// From far to near: hops that are finished.
    pub(crate) finished: Vec<Hop>,
    pub(crate) round: u32,
    pub(crate) statistics: Option<Box<Statistics>>,
    /// Rows of a trace that goes back, which are told in the order of their TTL.
    #[allow(clippy::box_collection, reason = "few traces have one, and all have the room for it")]
    held: Option<Box<Vec<HopRow>>>,
    pub(crate) pmtu: Option<u32>,
    pub(crate) lss_stop: Option<IpAddr>,
    begin: Time,
    last_sent: Option<Time>,
    /// Probes so far.
    launched: u32,
    /// The first probe of this part of the measurement.
    phase: u32,
    /// And of this round.
    round_began: u32,
    not_sent: u32,
    unsent_in_a_row: u8,
    /// Until then no probe is sent, after one that did not leave.
    rests_until: Time,
    answered: u32,
    late: u32,
    duplicates: u32,
}

/// What hops are probed for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Leg {
    /// They are the path, up to its end.
    Path,
    /// Doubletree looks for where to begin: what it finds on the way is not part of the path yet.
    Search,
    /// Doubletree goes back: the path's end is known.
    Back,
}

/// What became of a probe.
pub(crate) struct News {
    pub(crate) name: ProbeName,
    /// The probe is of this part of the measurement, not of one before.
    pub(crate) is_current: bool,
    /// It is of this round, or of a later part of it.
    pub(crate) is_of_round: bool,
    pub(crate) what: What,
}

/// See [`News`].
pub(crate) enum What {
    Answer(Box<Answer>),
    TimeOut(Box<HopRow>),
    /// It did not leave, and may be tried again.
    Unsent,
    /// It did not leave, nor will others.
    NoBudget,
}

/// An answer: what is told of it, and what depends on it.
pub(crate) struct Answer {
    pub(crate) row: HopRow,
    pub(crate) sight: Sight,
}

/// What was heard, before it is counted.
enum Fate {
    Answer(Box<Answer>, Option<Probe>),
    /// To a probe that had been answered.
    Duplicate,
    /// A packet that cannot be trusted, or none.
    Nothing(Option<Time>),
    Unsent(NotSent),
}

impl Session {
    /// Opens what the probes travel in.
    ///
    /// # Errors
    ///
    /// Where the host cannot or must not.
    pub(crate) async fn open(ctx: Ctx<TraceRow>, mut plan: Plan) -> Result<Box<Self>, Fail> {
        let mut spec = plan.kind.flow(plan.destination, plan.keeps_payload).tos(plan.tos);
        if let Some(ends) = plan.ends.take() {
            let (source, gateway) = *ends;
            spec = source.map_or(spec, |source| spec.source(source));
            spec = gateway.map_or(spec, |gateway| spec.gateway(gateway));
        }
        let sport = plan.sport;
        let flow = match ctx.open(spec.local(sport)).await {
            // Nobody asked for this very port: another trace to the same address may have it.
            Err(_) if sport == USUAL_SPORT => ctx.open(spec.local(0)).await?,
            opened => opened?,
        };
        let mut other_flows = Vec::new();
        for number in 1..plan.flows.into() {
            let first = if sport == USUAL_SPORT { 0 } else { sport };
            other_flows.push(match ctx.open(spec.local_behind(first, number)).await {
                // Nobody asked for this very port.
                Err(_) => ctx.open(spec.local(0)).await?,
                Ok(flow) => flow,
            });
        }
        if plan.dport == 0 {
            // Any checksum but 0 and 0xffff, which are none.
            plan.dport = (ctx.random() % 65_534 + 1) as u16;
        }
        let path = Path::new(plan.first);
        let statistics = (plan.rounds != 1).then(Box::default);
        let goes_back = plan.doubletree.as_ref().is_some_and(|plan| plan.goes_back);
        let held = goes_back.then(Box::default);
        let (secret, begin) = (Secret(ctx.random64()), ctx.now());
        Ok(Box::new(Self {
            ctx,
            plan,
            flow,
            other_flows,
            secret,
            path,
            hops: Vec::new(),
            leg: Leg::Path,
            finished: Vec::new(),
            round: 0,
            statistics,
            held,
            pmtu: None,
            lss_stop: None,
            begin,
            last_sent: None,
            launched: 0,
            phase: 0,
            round_began: 0,
            not_sent: 0,
            unsent_in_a_row: 0,
            rests_until: begin,
            answered: 0,
            late: 0,
            duplicates: 0,
        }))
    }

    /// The next round, in the flow whose turn it is.
    pub(crate) fn begin_round(&mut self) {
        if self.round > 0 && !self.other_flows.is_empty() {
            let next = self.other_flows.remove(0);
            self.other_flows.push(std::mem::replace(&mut self.flow, next));
        }
        self.round += 1;
        self.path = Path::new(self.plan.first);
        self.begin_phase();
        self.round_began = self.phase;
    }

    /// Answers to probes before this moment are of the past; what has not left stays here.
    pub(crate) fn begin_phase(&mut self) {
        if self.flow.outstanding() > 0 {
            self.flow.withdraw();
        }
        self.phase = self.launched;
    }

    pub(crate) fn wait(&self) -> Duration {
        Duration::from_millis(u64::from(self.plan.wait_ms))
    }

    /// When the next probe may leave.
    pub(crate) fn next_turn(&self) -> Time {
        let gap = Duration::from_millis(u64::from(self.plan.gap_ms));
        self.last_sent.map_or(self.begin, |last| last + gap).max(self.rests_until)
    }

    /// Sends a probe of so many octets.
    pub(crate) fn send(&mut self, ttl: u8, attempt: u8, octets: u32) -> ProbeName {
        let number = (self.launched % NUMBERS) as u16;
        let name = ProbeName { ttl, attempt, number };
        let probe = kind::probe(&self.plan, self.secret, number, octets).ttl(ttl);
        self.launched += 1;
        self.last_sent = Some(self.ctx.now());
        self.flow.launch(name.label(), probe, self.wait());
        name
    }

    /// As [`Session::send`], when its turn has come.
    pub(crate) async fn send_in_turn(&mut self, ttl: u8, attempt: u8, octets: u32) -> ProbeName {
        self.ctx.sleep_until(self.next_turn()).await;
        self.send(ttl, attempt, octets)
    }

    /// What becomes of a probe next; `None` at `due`, or where nothing is on its way.
    ///
    /// # Errors
    ///
    /// Where probes do not leave, again and again.
    pub(crate) async fn hear(&mut self, due: Option<Time>) -> Result<Option<News>, Fail> {
        loop {
            if due.is_none() && self.flow.outstanding() == 0 {
                return Ok(None);
            }
            let heard = self.flow.next_with(|heard, packet| self.read(heard, packet));
            let heard = match due {
                None => heard.await,
                Some(due) => match select(heard, self.ctx.sleep_until(due)).await {
                    Either::First(heard) => heard,
                    Either::Second(()) => return Ok(None),
                },
            };
            if let Some((name, heard)) = heard
                && let Some(news) = self.count(name, heard)?
            {
                return Ok(Some(news));
            }
        }
    }

    fn count(&mut self, name: ProbeName, heard: Fate) -> Result<Option<News>, Fail> {
        let what = match heard {
            Fate::Answer(answer, reset) => {
                self.unsent_in_a_row = 0;
                self.answered += 1;
                self.late += u32::from(answer.row.late);
                if let Some(reset) = reset {
                    self.flow.send(reset);
                }
                What::Answer(answer)
            }
            Fate::Duplicate => {
                self.duplicates += 1;
                return Ok(None);
            }
            Fate::Nothing(sent) => {
                self.unsent_in_a_row = 0;
                let mut row = Box::new(self.blank(name));
                row.time = sent;
                What::TimeOut(row)
            }
            Fate::Unsent(reason) => {
                self.not_sent += 1;
                if reason.is_out_of_budget() {
                    What::NoBudget
                } else {
                    // Those of a window do not leave together.
                    if reason.errno != ECANCELED && self.ctx.now() >= self.rests_until {
                        let pause = reason.pause(self.unsent_in_a_row).ok_or(reason)?;
                        self.unsent_in_a_row += 1;
                        self.rests_until = self.ctx.now() + pause;
                    }
                    What::Unsent
                }
            }
        };
        Ok(Some(News {
            name,
            is_current: self.is_since(self.phase, name),
            is_of_round: self.is_since(self.round_began, name),
            what,
        }))
    }

    /// Whether a probe is that with the index `first`, or a later one.
    fn is_since(&self, first: u32, name: ProbeName) -> bool {
        let newest = self.launched.wrapping_sub(1);
        let age = (newest % NUMBERS + NUMBERS - u32::from(name.number)) % NUMBERS;
        newest.checked_sub(age).is_some_and(|index| index >= first)
    }

    fn blank(&self, name: ProbeName) -> HopRow {
        reading::blank(name, self.flow.local, self.round)
    }

    fn read(&self, heard: &Heard, packet: &[u8]) -> Option<(ProbeName, Fate)> {
        let name = ProbeName::of(heard.label?);
        let heard = match &heard.outcome {
            Outcome::Reply(reply) if reply.is_duplicate() => Fate::Duplicate,
            Outcome::Reply(reply) if reply.bad_checksum() => Fate::Nothing(Some(reply.sent())),
            Outcome::Reply(reply) => {
                let answer = Box::new(self.answer(name, reply, packet));
                Fate::Answer(answer, kind::parting(&self.plan, packet))
            }
            Outcome::Timeout { sent } => Fate::Nothing(Some(*sent)),
            Outcome::Unsent(reason) => Fate::Unsent(*reason),
        };
        Some((name, heard))
    }

    fn answer(&self, name: ProbeName, reply: &Reply, packet: &[u8]) -> Answer {
        let (plan, blank) = (&self.plan, self.blank(name));
        let sent = reading::Sent::new(plan, self.secret, &self.flow, name.number);
        let rx_interface = self.ctx.interface(reply).map(|name| name.to_string());
        let row = HopRow { rx_interface, ..reading::answer(&sent, blank, reply, packet) };
        let meaning = reading::meaning(plan, reply);
        let is_zero_ttl = row.quoted_ttl == Some(0);
        Answer { row, sight: Sight { addr: reply.from(), meaning, is_zero_ttl } }
    }

    /// A row of the path.
    pub(crate) fn emit(&mut self, row: HopRow) {
        if let Some(statistics) = &mut self.statistics {
            statistics.note(&row);
        }
        match &mut self.held {
            Some(held) => held.push(row),
            None => self.ctx.emit(row),
        }
    }

    /// A hop of the path that was probed, and what is not told of it yet.
    pub(crate) fn tell(&mut self, hop: Hop) {
        if let Some(statistics) = &mut self.statistics {
            statistics.sent(hop.ttl, hop.sent);
        }
        for row in hop.rows {
            self.emit(row);
        }
    }

    /// Rows that were held back, in the order of their TTL.
    pub(crate) fn release(&mut self) {
        let mut held = self.held.take().map(|held| *held).unwrap_or_default();
        held.sort_by_key(|row| row.ttl);
        held.into_iter().for_each(|row| self.ctx.emit(row));
    }

    /// Whatever is known of hops that are not finished, in the order of their TTL.
    pub(crate) fn emit_pending(&mut self) {
        let mut hops = std::mem::take(&mut self.finished);
        hops.append(&mut self.hops);
        hops.sort_by_key(|hop| hop.ttl);
        for mut hop in hops {
            if !hop.sights.is_empty() {
                self.path.hops = self.path.hops.max(hop.ttl);
            }
            // What becomes of a probe that is on its way is not known.
            hop.sent -= u8::from(hop.waits);
            self.tell(hop);
        }
    }

    /// The end of the measurement.
    pub(crate) fn summarise(&mut self, stop: Stop) {
        for row in self.statistics.take().iter().flat_map(|statistics| statistics.rows()) {
            self.ctx.emit(row);
        }
        let (stop_type, stop_code) = match stop {
            Stop::Unreachable { icmp_type, code } => (Some(icmp_type), Some(code)),
            _ => (None, None),
        };
        let (loop_ttl, loop_addr) = match stop {
            Stop::Loop { ttl, addr } => (Some(ttl), Some(addr)),
            _ => (None, None),
        };
        let gss_stop = match stop {
            Stop::Known(addr) => Some(addr),
            _ => None,
        };
        self.ctx.stop(stop.name());
        self.ctx.emit(SummaryRow {
            stop: stop.name().to_owned(),
            reached: self.path.has_reached,
            hop_count: self.path.hops,
            first_hop: self.path.first,
            stop_type,
            stop_code,
            loop_ttl,
            loop_addr,
            gap_hops: self.path.gap,
            gss_stop,
            lss_stop: self.lss_stop,
            pmtu: self.pmtu,
            sent: self.launched - self.not_sent,
            answered: self.answered,
            late: self.late,
            duplicates: self.duplicates,
            probe_octets: self.plan.octets(),
            sport: self.flow.local,
            dport: self.plan.dport,
            flow_label: self.plan.flow_label,
            rounds: self.round,
            duration_us: (self.ctx.now() - self.begin).as_micros() as u64,
            userid: self.plan.userid,
        });
    }
}

impl Answer {
    /// It is of the end of the path, or of who speaks for it.
    pub(crate) fn is_of_the_end(&self, destination: IpAddr) -> bool {
        self.sight.meaning != Meaning::Hop || self.sight.addr == destination
    }
}
