//! A run: one probe at a time, hop after hop, until somebody says that it ends.

mod answers;
mod devices;
mod fragments;

use sonde_plugin_api::{
    packet::{Depth, Ip, Packet, Payload, TcpSegment, Transport},
    prelude::*,
};

use crate::{
    checksums,
    compare::{Comparison, Modification, compare},
    grammar::Spec,
    intervals::{Told, intervals},
    params::TraceboxParams,
    rows::{Change, HopRow, ModificationRow, Origin, QuoteClass, SummaryRow, TraceboxRow},
};
use answers::{is_open, number, of_endpoint, segment, segment_flags};

/// Behind the header of a UDP probe, so that a quote of 8 octets is not all of it.
const UDP_PAYLOAD: usize = 12;
/// Octets of it that nobody else knows.
const SECRET_OCTETS: usize = 8;
/// Where it holds the TTL.
const TTL_AT: usize = UDP_PAYLOAD - 1;

/// What all parts of a run share.
struct Session {
    ctx: Ctx<TraceboxRow>,
    params: TraceboxParams,
    flow: Flow,
    spec: Spec,
    dport: u16,
    ip_id: u16,
    sequence: u32,
    /// What stands in the place of sequence numbers in the probes so far.
    numbers: Vec<u32>,
    payload: [u8; UDP_PAYLOAD],
    sent: u32,
    /// Also those that did not leave.
    launched: u32,
    /// When the next probe may leave.
    next: Time,
    told: Vec<Told>,
    /// What the peer itself says is no answer.
    hears_errors_alone: bool,
    /// Hops that answered.
    answered: u32,
    /// The error of the hop before, which a network may bring twice.
    before: Box<[u8]>,
}

/// What came back.
struct Answer {
    reply: Reply,
    packet: Box<[u8]>,
}

/// Sends the probes and tells what came of them.
pub(crate) async fn run(ctx: Ctx<TraceboxRow>, params: TraceboxParams) -> Result<(), Fail> {
    if params.source.is_some_and(|source| source.is_ipv4() != params.destination.is_ipv4()) {
        return Err(Fail::bad_params("source and destination are of different families"));
    }
    let is_v4 = params.destination.is_ipv4();
    // In range: the low half of it.
    let clock_ms = (ctx.wall(ctx.now()).0 / 1_000_000) as u32;
    let text = params.probe.as_deref();
    let spec = Spec::parse(text, params.udp, is_v4, clock_ms, &mut || ctx.random())
        .map_err(|error| Fail::bad_params(error.to_string()))?;
    if spec.is_udp && (params.proxy || params.stateful) {
        let name = if params.proxy { "proxy" } else { "stateful" };
        return Err(Fail::bad_params(format!(
            "scamper.tracebox.{name} is 1, accepted: 0 with scamper.tracebox.udp, for both modes look at TCP"
        )));
    }
    Session::open(ctx, params, spec).await?.walk().await
}

/// Why it stopped: the host wanted it.
const INTERRUPTED: &str = "interrupted";

/// Why probing ends.
enum Halt {
    /// No packets are left.
    Budget,
    /// It cannot be measured.
    Failed(Fail),
}

impl<E: Into<Fail>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Where an address has answered so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    New,
    /// At the hop before, or for it: a router may answer for several.
    Same,
    /// In front of another one: the probe goes round.
    Before,
}

/// How far it got.
struct Way {
    stop: &'static str,
    hops: u8,
    /// The TTL that the destination's own packet came from, what it is, and whether the sequence number arrived.
    end: Option<u8>,
    tcp_flags: Option<u8>,
    acknowledged: Option<bool>,
}

/// What differs between segments of a run that are no probe of the user's.
#[derive(Clone, Copy)]
struct Shape {
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
}

impl Session {
    async fn open(ctx: Ctx<TraceboxRow>, params: TraceboxParams, spec: Spec) -> Result<Self, Fail> {
        let peer = params.destination;
        let flow = if spec.is_udp { FlowSpec::udp(peer) } else { FlowSpec::tcp(peer) };
        // Whatever a middlebox does to the probe, its answer is that to the only one on its way.
        let flow = flow.key(Key::None).hear_all().local(params.sport).tos(spec.tos);
        let talks = params.stateful || params.proxy;
        let flow = if talks { flow } else { flow.kernel_may_answer() };
        let flow = ctx.open(params.source.map_or(flow, |source| flow.source(source))).await?;
        let mut payload = [0; UDP_PAYLOAD];
        payload[..SECRET_OCTETS].copy_from_slice(&ctx.random64().to_be_bytes());
        Ok(Self {
            ip_id: spec.ip_id.unwrap_or((ctx.random() as u16).max(1)),
            sequence: spec.sequence.unwrap_or_else(|| ctx.random()),
            numbers: Vec::new(),
            dport: if params.dport == 0 { 80 } else { params.dport },
            next: ctx.now(),
            ctx,
            params,
            flow,
            spec,
            payload,
            sent: 0,
            launched: 0,
            told: Vec::new(),
            hears_errors_alone: false,
            answered: 0,
            before: Box::default(),
        })
    }

    /// The largest TTL.
    fn last(&self) -> u8 {
        if self.params.maxttl == 0 { 255 } else { self.params.maxttl }
    }

    /// The last hop in front of `ttl` that answered.
    fn nearest_before(&self, ttl: u8) -> Option<(u8, IpAddr)> {
        let told = self.told.iter().rev().find(|told| told.ttl < ttl)?;
        Some((told.ttl, told.addr))
    }

    async fn walk(&mut self) -> Result<(), Fail> {
        let (end, tcp_flags, acknowledged) = (None, None, None);
        let mut way = Way { stop: "max_ttl", hops: 0, end, tcp_flags, acknowledged };
        let end = match Box::pin(self.follow(&mut way)).await {
            Ok(()) => Ok(()),
            Err(Halt::Budget) => {
                way.stop = "budget";
                Ok(())
            }
            Err(Halt::Failed(fail)) => {
                way.stop = "failed";
                Err(fail)
            }
        };
        // What was found is told however it ended: it cost packets.
        let rows = intervals(&self.told);
        let modifications = rows.len() as u32;
        for row in rows {
            self.ctx.emit(row);
        }
        self.ctx.stop(way.stop);
        self.ctx.emit(SummaryRow {
            stop: way.stop.to_owned(),
            probe: Hex(self.packet(way.hops.max(1))?),
            hop_count: way.hops,
            tcp_flags: way.tcp_flags,
            ecn_granted: self.grants_ecn(way.tcp_flags),
            sequence_arrived: way.acknowledged,
            modifications,
            sent: self.sent,
            answered: self.answered,
        });
        end
    }

    async fn follow(&mut self, way: &mut Way) -> Result<(), Halt> {
        let (ctx, last) = (self.ctx.clone(), self.last());
        let (mut silent, mut loops) = (0, 0);
        for ttl in 1..=last {
            let probe = self.packet(ttl)?;
            let Some(asked) = ctx.until_interrupted(self.ask(&probe)).await else {
                way.stop = INTERRUPTED;
                break;
            };
            let (answer, attempts) = asked?;
            way.hops = ttl;
            let Some(answer) = answer else {
                self.ctx.emit(blank(ttl, attempts));
                silent += 1;
                if self.params.gaplimit != 0 && silent >= self.params.gaplimit {
                    way.stop = "gap_limit";
                    break;
                }
                continue;
            };
            silent = 0;
            self.answered += 1;
            let place = self.place_of(answer.reply.from());
            self.tell(ttl, attempts, &probe, &answer);
            match answer.reply.class() {
                Class::Tcp | Class::Udp => {
                    way.tcp_flags = segment_flags(&answer.packet);
                    way.acknowledged = self.acknowledges(&answer.packet);
                    way.stop = "reached";
                    way.end = Some(ttl);
                    if self.params.stateful {
                        let work = Box::pin(devices::stateful(self, &answer, ttl));
                        let row = ctx.until_interrupted(work).await;
                        self.hears_errors_alone = false;
                        self.reset(&answer).await;
                        if let Some(row) = row {
                            self.ctx.emit(row?);
                        }
                    } else {
                        self.reset(&answer).await;
                    }
                    break;
                }
                Class::Unreachable | Class::PacketTooBig => {
                    way.stop = if self.is_end(&answer.reply) { "reached" } else { "unreachable" };
                    break;
                }
                // It is thrown away, and so is the next.
                Class::ParameterProblem if answer.reply.from() == self.flow.peer => {
                    way.stop = "reached";
                    break;
                }
                Class::ParameterProblem if place == Place::Same => {
                    way.stop = "unreachable";
                    break;
                }
                _ => loops += u8::from(place == Place::Before),
            }
            if self.params.loops != 0 && loops >= self.params.loops {
                way.stop = "loop";
                break;
            }
            self.before = answer.packet;
        }
        self.before = Box::default();
        if self.params.proxy && way.stop != INTERRUPTED {
            let work = Box::pin(devices::proxy(self, way.end, way.tcp_flags));
            if let Some(row) = ctx.until_interrupted(work).await {
                self.ctx.emit(row?);
            }
        }
        if self.params.fragments && way.stop != INTERRUPTED {
            let work = Box::pin(fragments::look(self, way.end));
            for row in ctx.until_interrupted(work).await.transpose()?.into_iter().flatten() {
                self.ctx.emit(row);
            }
        }
        Ok(())
    }

    /// Where an address has answered so far.
    fn place_of(&self, addr: IpAddr) -> Place {
        let mut before = self.told.iter().rev().map(|told| told.addr);
        match before.next() {
            Some(last) if last == addr => Place::Same,
            _ if before.any(|earlier| earlier == addr) => Place::Before,
            _ => Place::New,
        }
    }

    /// The probe, to the last octet.
    fn packet(&self, ttl: u8) -> Result<Vec<u8>, Fail> {
        let spec = &self.spec;
        self.shaped(ttl, self.shape(ttl), self.ip_id_of(ttl), spec)
    }

    /// The IPv4 identification tells a late answer from that to the probe on its way.
    fn ip_id_of(&self, ttl: u8) -> u16 {
        match self.spec.ip_id {
            Some(chosen) => chosen,
            None => self.ip_id.wrapping_add(u16::from(ttl) << 1).max(1),
        }
    }

    /// What a UDP probe carries; the TTL in it does in IPv6 what the identification does in IPv4.
    fn udp_payload(&self, ttl: u8) -> [u8; UDP_PAYLOAD] {
        let mut payload = self.payload;
        payload[TTL_AT] = ttl;
        payload
    }

    fn shape(&self, ttl: u8) -> Shape {
        let Spec { acknowledgement, flags, .. } = self.spec;
        let sequence = self.sequence.wrapping_add(self.apart(ttl.into()));
        Shape { sequence, acknowledgement, flags }
    }

    /// By how much sequence numbers differ, so that a late answer is told from that to the probe on its way: nothing else of
    /// a segment does that in IPv6. So little, and upwards, that devices which keep account take it for one connection.
    fn apart(&self, by: u32) -> u32 {
        let is_needed = self.flow.peer.is_ipv6() && self.spec.sequence.is_none();
        if is_needed { by } else { 0 }
    }

    /// A segment of the probe's flow without options or payload.
    fn bare(&self, ttl: u8, shape: Shape, ip_id: u16) -> Result<Vec<u8>, Fail> {
        let plain = Spec { tos: self.spec.tos, ..Spec::default() };
        self.shaped(ttl, shape, ip_id, &plain)
    }

    fn shaped(&self, ttl: u8, shape: Shape, ip_id: u16, spec: &Spec) -> Result<Vec<u8>, Fail> {
        let (source_port, destination_port) = (self.flow.local, self.dport);
        let transport = if spec.is_udp {
            Transport::Udp { source_port, destination_port }
        } else {
            Transport::Tcp(TcpSegment {
                source_port,
                destination_port,
                sequence: shape.sequence,
                acknowledgement: shape.acknowledgement,
                flags: shape.flags,
                window: spec.window.unwrap_or(65_535),
                urgent: spec.urgent,
                options: &spec.options,
            })
        };
        let headers = spec.extension_headers.as_ref();
        let udp_payload = self.udp_payload(ttl);
        let packet = Packet {
            ip: Ip {
                ttl,
                tos: spec.tos,
                identification: ip_id,
                dont_fragment: spec.dont_fragment,
                flow_label: spec.flow_label,
                options: &spec.ip_options,
                extension_headers: headers.map(|(first, all)| (*first, all.as_slice())),
                ..Ip::plain(self.flow.source, self.flow.peer)
            },
            transport,
            payload: match &spec.payload {
                Some(octets) => Payload::Octets(octets),
                None if spec.is_udp => Payload::Octets(&udp_payload),
                None => Payload::Zeros(0),
            },
            checksum: None,
        };
        let mut packet = packet.to_vec()?;
        spec.unusual.write(&mut packet);
        Ok(packet)
    }

    /// Sends a probe until it is answered, and how many that took.
    async fn ask(&mut self, probe: &[u8]) -> Result<(Option<Answer>, u8), Halt> {
        self.ask_in_parts(probe, None).await
    }

    /// As [`Session::ask`], with what follows the probe each time it is sent.
    async fn ask_in_parts(
        &mut self,
        probe: &[u8],
        rest: Option<&[u8]>,
    ) -> Result<(Option<Answer>, u8), Halt> {
        let wait = match self.params.wait {
            Duration::ZERO => Duration::from_secs(3),
            wait => wait,
        };
        let attempts = self.params.attempts.max(1);
        self.numbers.extend(number(probe).filter(|number| !self.numbers.contains(number)));
        let mut was_repeated = false;
        let (mut tried, mut refused) = (0, 0);
        'attempts: while tried < attempts {
            self.ctx.sleep_until(self.next).await;
            self.next = self.ctx.now() + Duration::from_millis(10) * self.params.waitprobe;
            // What comes of a probe must not be taken for what comes of the next to this hop.
            let label = self.launched;
            self.launched += 1;
            self.flow.launch(label, Probe::raw(probe), wait);
            if let Some(rest) = rest
                && let Err(reason) = self.flow.send_stamped(Probe::raw(rest)).await
            {
                // Half a probe is none, whatever becomes of it.
                self.pause(probe, reason, &mut refused).await?;
                continue;
            }
            self.sent += 1;
            // Set where an error that came twice was taken for the answer, which then counts as the duplicate.
            let mut displaced = None;
            loop {
                let heard = self.flow.next_with(|heard, packet| {
                    (heard.label, heard.outcome.clone(), Box::<[u8]>::from(packet))
                });
                let (heard, outcome, packet) = match displaced {
                    None => heard.await,
                    Some(until) => match select(heard, self.ctx.sleep_until(until)).await {
                        Either::First(heard) => heard,
                        Either::Second(()) => break,
                    },
                };
                let is_it = heard.is_none_or(|heard| heard == label);
                match outcome {
                    Outcome::Reply(_) if *packet == *self.before => {
                        if heard == Some(label) && displaced.is_none() {
                            // No network brings it three times: a router that answers for two hops, as behind a box
                            // that takes more than one off the hop limit.
                            if std::mem::replace(&mut was_repeated, true)
                                && let Outcome::Reply(reply) = outcome
                            {
                                return Ok((Some(Answer { reply, packet }), tried + 1));
                            }
                            displaced = Some(self.ctx.now() + wait);
                        }
                    }
                    Outcome::Reply(reply) if reply.is_duplicate() && displaced.is_none() => {}
                    Outcome::Reply(reply)
                        if is_it && self.is_believable(probe, &reply, &packet) =>
                    {
                        return Ok((Some(Answer { reply, packet }), tried + 1));
                    }
                    // It was the one outcome of its probe, or of none.
                    Outcome::Reply(_) if heard == Some(label) && displaced.is_none() => break,
                    Outcome::Reply(_) => {}
                    Outcome::Timeout { .. } if is_it => break,
                    Outcome::Timeout { .. } => {}
                    Outcome::Unsent(reason) if is_it => {
                        self.sent -= 1;
                        self.pause(probe, reason, &mut refused).await?;
                        continue 'attempts;
                    }
                    Outcome::Unsent(_) => {}
                }
            }
            (tried, refused) = (tried + 1, 0);
        }
        Ok((None, attempts))
    }

    /// Waits before a probe that did not leave is sent again, `refused` in a row so far.
    async fn pause(&self, probe: &[u8], reason: NotSent, refused: &mut u8) -> Result<(), Halt> {
        let pause = reason.pause(*refused).ok_or_else(|| self.not_sent(probe, reason))?;
        *refused += 1;
        self.ctx.sleep(pause).await;
        Ok(())
    }

    /// Why a probe did not leave, and what an operator could do about it.
    fn not_sent(&self, probe: &[u8], reason: NotSent) -> Halt {
        if reason.is_out_of_budget() {
            return Halt::Budget;
        }
        let is_plain = self.spec.ip_options.is_empty() && self.spec.extension_headers.is_none();
        if !reason.refused_by_policy || is_plain {
            return reason.into();
        }
        let octets = probe.len();
        Halt::Failed(Fail::new(format!(
            "a probe of {octets} octets with options of IP was {reason}; an operator permits them by ip_options"
        )))
    }

    fn tell(&mut self, ttl: u8, attempts: u8, probe: &[u8], answer: &Answer) {
        let Answer { reply, packet } = answer;
        let addr = reply.from();
        let mut row = HopRow {
            addr: Some(addr),
            rtt_us: Some(reply.rtt_us()).filter(|_| reply.sent() != Time(0)),
            reply_ttl: Some(reply.ttl()),
            ..blank(ttl, attempts)
        };
        if !reply.class().is_error() {
            row.origin = Origin::Endpoint;
            row.certainty = Some(self.quality_of_end(probe, packet));
            let (comparison, word) = of_endpoint(probe, packet);
            row.changes = word.unwrap_or_else(|| self.line(&comparison));
            row.modifications = rows(&comparison);
            row.unknown = comparison.unknown;
            return self.ctx.emit(row);
        }
        let Some(quote) = reply.quote(packet) else { return self.ctx.emit(row) };
        let quote = quote.about(probe, packet);
        let quoted = packet.get(quote.range).unwrap_or_default();
        let comparison = compare(probe, quoted);
        row.icmp_type = Some(reply.icmp_type());
        row.icmp_code = Some(reply.icmp_code());
        row.quoted_octets = u16::try_from(quoted.len()).ok();
        row.certainty = Some(self.quality(probe, quoted));
        row.quote_class = Some(class(quote.depth));
        row.ip_checksum_good = checksums::header(quoted);
        row.checksum = checksums::transport(probe, quoted);
        row.quote = Some(depth(quote.depth, comparison.has_transport).to_owned());
        row.changes = self.line(&comparison);
        row.modifications = rows(&comparison);
        row.unknown.clone_from(&comparison.unknown);
        row.translated = comparison.modifications.iter().any(|it| it.field.ends_with("Addr"));
        self.told.push(Told { ttl, addr, comparison });
        self.ctx.emit(row);
    }

    /// The modifications in one line, as the seed system writes them.
    fn line(&self, comparison: &Comparison) -> String {
        let names = comparison.modifications.iter().map(|modification| {
            let sign = match modification.change {
                Change::Changed => "",
                Change::Added => "+",
                Change::Removed => "-",
            };
            match modification.seen.as_ref().filter(|_| self.params.values) {
                Some(seen) => format!("{sign}{}({seen})", modification.field),
                None => format!("{sign}{}", modification.field),
            }
        });
        names.collect::<Vec<_>>().join(" ")
    }

    /// Closes what a SYN opened half, behind whatever of its data was taken.
    async fn reset(&mut self, answer: &Answer) {
        let sequence = segment(&answer.packet).and_then(|it| it.acknowledgement());
        if let Some(sequence) = sequence.filter(|_| is_open(answer)) {
            let reset = Probe::tcp_rst(self.dport, sequence).immediate();
            // Nobody is left to be told that it did not leave.
            let _ = self.flow.send_stamped(reset).await;
        }
    }
}

fn class(depth: Depth) -> QuoteClass {
    match depth {
        Depth::Empty => QuoteClass::Empty,
        Depth::Network => QuoteClass::Network,
        Depth::Eight => QuoteClass::Eight,
        Depth::Partial => QuoteClass::Partial,
        Depth::Full => QuoteClass::Full,
    }
}

fn depth(depth: Depth, has_transport: bool) -> &'static str {
    match depth {
        Depth::Empty => "Empty",
        Depth::Network => "Layer 3 header",
        Depth::Full | Depth::Partial if has_transport => "Full packet",
        Depth::Eight | Depth::Partial | Depth::Full => "Layer 3 Header + First 8 L3 payload bytes",
    }
}

fn rows(comparison: &Comparison) -> Vec<ModificationRow> {
    let row = |it: &Modification| ModificationRow {
        field: it.field.clone(),
        change: it.change,
        sent: it.sent.clone(),
        seen: it.seen.clone(),
        expected: it.is_expected,
    };
    comparison.modifications.iter().map(row).collect()
}

fn blank(ttl: u8, attempts: u8) -> HopRow {
    HopRow {
        ttl,
        addr: None,
        quote: None,
        certainty: None,
        quote_class: None,
        ip_checksum_good: None,
        checksum: None,
        modifications: Vec::new(),
        unknown: Vec::new(),
        changes: String::new(),
        rtt_us: None,
        icmp_type: None,
        icmp_code: None,
        reply_ttl: None,
        quoted_octets: None,
        origin: Origin::Path,
        attempts,
        translated: false,
    }
}
