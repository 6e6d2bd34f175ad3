//! Probes on their way: flow by flow, at their pace, tried again where nobody answers.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use sonde_plugin_api::{
    packet::{
        IpHeader,
        extension::{Extension, MplsEntry},
        tcp,
    },
    prelude::*,
};

use crate::{
    kind::{FLOWS_OPEN, Kind},
    loss::{self, Loss},
    params::TracelbParams,
    rows::TracelbRow,
};

/// Probes in flight at a time.
pub(crate) const WINDOW: usize = 64;

/// Probes of a flow before its silence counts as a router's, where others are answered: a few losses in a row are no
/// branch.
const TRIES_FOR_SILENCE: u8 = 6;

/// Between probes that are sent again: Linux grants a host one error a second unless told otherwise (`icmp_ratelimit`),
/// others more.
const PATIENCE: Duration = Duration::from_millis(1_100);

/// Who answered, and how.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) from: IpAddr,
    /// The quoted TTL is 0: the router before passed on what it should have answered.
    pub(crate) zero_ttl: bool,
    /// An answer behind which there is nothing: of the target, or an error other than time exceeded.
    pub(crate) last: bool,
    pub(crate) rtt_us: u64,
    /// TTL that the answer came with.
    pub(crate) ttl: u8,
    pub(crate) quoted_ttl: Option<u8>,
    pub(crate) mpls: Vec<MplsEntry>,
}

/// Why probing ends.
#[derive(Debug)]
pub(crate) enum Halt {
    /// As many probes as were allowed.
    Budget,
    /// Too many were lost.
    Loss,
    /// It cannot be measured.
    Failed(Fail),
}

impl From<Fail> for Halt {
    fn from(fail: Fail) -> Self {
        Self::Failed(fail)
    }
}

/// Sends and listens.
pub(crate) struct Prober {
    pub(crate) ctx: Ctx<TracelbRow>,
    pub(crate) params: TracelbParams,
    secret: u32,
    /// By number of the flow; those that share one are at 0.
    flows: RefCell<Vec<Option<Rc<Flow>>>>,
    next_at: Cell<Time>,
    /// Probes so far, with those that wait for their turn and those that did not leave.
    numbered: Cell<u32>,
    unsent: Cell<u32>,
    sent: Cell<u32>,
    losses: RefCell<[Loss; 256]>,
}

impl Prober {
    pub(crate) fn new(ctx: Ctx<TracelbRow>, params: TracelbParams) -> Self {
        let (secret, now) = (ctx.random(), ctx.now());
        let flows = RefCell::new(Vec::new());
        let next_at = Cell::new(now);
        let (numbered, unsent, sent) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let losses = RefCell::new([Loss::default(); 256]);
        Self { ctx, params, secret, flows, next_at, numbered, unsent, sent, losses }
    }

    /// Whether losses explain that so many flows out of all met nobody at a TTL; `again` where they were asked again.
    pub(crate) fn is_loss(&self, ttl: u8, silent: usize, all: usize, again: bool) -> bool {
        let tries = self.params.tries();
        let patient = if again { TRIES_FOR_SILENCE.saturating_sub(tries) } else { 0 };
        let lost = self.losses.borrow()[usize::from(ttl)].of_flows(tries, patient);
        loss::explains(lost, silent, all)
    }

    /// The share of flows that are lost on the way to a TTL though they are asked again: no more than to those behind it,
    /// for a router that hardly ever answers loses nothing.
    pub(crate) fn path_loss(&self, ttl: u8) -> f64 {
        let tries = self.params.tries();
        let patient = TRIES_FOR_SILENCE.saturating_sub(tries);
        let losses = self.losses.borrow();
        let (here, behind) = losses[usize::from(ttl)..].split_at(1);
        let behind = behind.iter().fold(Loss::default(), |sum, loss| sum + *loss);
        let share = here[0].of_flows(tries, patient);
        if behind.is_known() { share.min(behind.of_flows(tries, patient)) } else { share }
    }

    /// Probes so far.
    pub(crate) fn sent(&self) -> u32 {
        self.sent.get()
    }

    /// What answers to a flow at a TTL, after `tries` probes at most; `None` where nobody does.
    pub(crate) async fn ask(&self, flow: u32, ttl: u8, tries: u8) -> Result<Option<Answer>, Halt> {
        self.ask_at_pace(flow, ttl, tries, false).await
    }

    /// Patiently, or as the parameters have it.
    async fn ask_at_pace(
        &self,
        flow: u32,
        ttl: u8,
        tries: u8,
        is_patient: bool,
    ) -> Result<Option<Answer>, Halt> {
        let gap = self.params.gap().max(if is_patient { PATIENCE } else { Duration::ZERO });
        let opened = self.open(flow).await?;
        let (mut tried, mut refused) = (0, 0);
        while tried < tries {
            let number = self.numbered.get();
            if number - self.unsent.get() >= u32::from(self.params.maxprobec) {
                return Err(Halt::Budget);
            }
            self.numbered.set(number + 1);
            self.take_turn(gap).await;
            self.sent.set(self.sent.get() + 1);
            let probe = self.params.method.probe(&self.params, flow, number, self.secret).ttl(ttl);
            let destination = self.params.destination;
            let asked = opened.probe(probe).timeout(self.params.timeout());
            let outcome = asked.read(|reply, packet| {
                let answer = read_answer(reply, packet, destination);
                ((!reply.bad_checksum()).then_some(answer), reset(reply, packet))
            });
            match outcome.await {
                Outcome::Reply((Some(answer), acknowledged)) => {
                    if let Some(sequence) = acknowledged.filter(|_| self.is_syn()) {
                        let port = self.params.method.dport(&self.params, flow);
                        let reset = Probe::tcp_rst(port, sequence).immediate();
                        // Waited for: what has not left when the run ends never does.
                        let _ = opened.send_stamped(reset).await;
                    }
                    let losses = &mut self.losses.borrow_mut()[usize::from(ttl)];
                    losses.note(is_patient, tried, tries);
                    return Ok(Some(answer));
                }
                Outcome::Reply((None, _)) | Outcome::Timeout { .. } => {
                    (tried, refused) = (tried + 1, 0);
                }
                Outcome::Unsent(reason) => {
                    self.sent.set(self.sent.get() - 1);
                    self.unsent.set(self.unsent.get() + 1);
                    if reason.is_out_of_budget() {
                        return Err(Halt::Budget);
                    }
                    let pause = reason.pause(refused).ok_or(Halt::Failed(reason.into()))?;
                    refused += 1;
                    self.ctx.sleep(pause).await;
                }
            }
        }
        Ok(None)
    }

    /// Asks for many flows at a time; in their order.
    pub(crate) async fn ask_all(
        &self,
        flows: &[(u32, u8)],
        tries: u8,
    ) -> Vec<Result<Option<Answer>, Halt>> {
        let mut answers = Vec::with_capacity(flows.len());
        for window in flows.chunks(WINDOW) {
            let asked = window.iter().map(|&(flow, ttl)| self.ask(flow, ttl, tries));
            answers.extend(join_all(asked).await);
        }
        answers
    }

    /// Asks once more for flows that nobody answered, so slowly that a router which limits its errors has one for each.
    pub(crate) async fn ask_again(&self, flows: &[(u32, u8)]) -> Vec<Result<Option<Answer>, Halt>> {
        let left = TRIES_FOR_SILENCE.saturating_sub(self.params.tries());
        join_all(flows.iter().map(|&(flow, ttl)| self.ask_at_pace(flow, ttl, left, true))).await
    }

    fn is_syn(&self) -> bool {
        self.params.method == Kind::TcpSport
    }

    /// Waits until it is this probe's turn, and keeps the next one off for the gap.
    async fn take_turn(&self, gap: Duration) {
        let at = self.next_at.get().max(self.ctx.now());
        self.next_at.set(at + gap);
        self.ctx.sleep_until(at).await;
    }

    async fn open(&self, flow: u32) -> Result<Rc<Flow>, Halt> {
        let each = self.params.method.has_port_each();
        let slot = if each { (flow % FLOWS_OPEN) as usize } else { 0 };
        if let Some(Some(open)) = self.flows.borrow().get(slot) {
            return Ok(open.clone());
        }
        let spec = self.params.method.spec(&self.params, flow);
        let opened = match self.ctx.open(spec).await {
            // Nobody asked for this very port: another program, or measurement of the same address, may have it.
            Err(_) if flow > 0 || self.params.sport == TracelbParams::SPORT => {
                self.ctx.open(spec.local(0)).await?
            }
            opened => opened?,
        };
        let opened = Rc::new(opened);
        let mut flows = self.flows.borrow_mut();
        if flows.len() <= slot {
            flows.resize_with(slot + 1, || None);
        }
        Ok(flows[slot].get_or_insert(opened).clone())
    }
}

fn read_answer(reply: &Reply, packet: &[u8], destination: IpAddr) -> Answer {
    let ttl_at = if destination.is_ipv4() { 8 } else { 7 };
    let quoted_ttl = reply.quoted(packet).and_then(|quoted| quoted.get(ttl_at)).copied();
    let mpls = reply.extensions(packet).into_iter().find_map(|extension| match extension {
        Extension::Mpls(stack) => Some(stack),
        _ => None,
    });
    let is_expired = reply.class() == Class::TimeExceeded && reply.icmp_code() == 0;
    // Also what says nothing of the way behind it: a fragment that was missing, a header that was not understood.
    let is_of_router = matches!(reply.class(), Class::TimeExceeded | Class::ParameterProblem);
    Answer {
        from: reply.from(),
        zero_ttl: is_expired && quoted_ttl == Some(0),
        last: !is_of_router || reply.from() == destination,
        rtt_us: reply.rtt_us(),
        ttl: reply.ttl(),
        quoted_ttl,
        mpls: mpls.unwrap_or_default(),
    }
}

/// The sequence number of the reset that closes what a SYN opened half.
fn reset(reply: &Reply, packet: &[u8]) -> Option<u32> {
    if reply.class() != Class::Tcp {
        return None;
    }
    let header = IpHeader::parse(packet).ok()?;
    let segment = tcp::TcpView::new(header.transport(packet));
    let both = tcp::flags::SYN | tcp::flags::ACK;
    (segment.flags()? & both == both).then(|| segment.acknowledgement()).flatten()
}
