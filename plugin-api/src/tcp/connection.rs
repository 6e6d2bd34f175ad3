//! A connection over a flow: opening, hearing, sending again, closing.

mod hearing;
mod stamped;

use std::time::Duration;

use self::hearing::{Heard, hear};
use super::{
    opening::{Opening, Refusal},
    options::Options,
    receive::{Arrival, ReceiveQueue},
    segment::Segment,
    send::SendQueue,
    sequence::{is_after, is_within},
};
use crate::{
    author::{Ctx, Flow, Probe},
    packet::tcp::{TcpOption, flags},
    row::Rows,
    schema::Time,
};

/// A segment on its way, for a record of all of them.
#[derive(Debug)]
pub enum Passage<'a> {
    /// We sent this.
    Sent {
        /// When it was handed to the host, or left where that is waited for.
        at: Time,
        /// Number of its first octet.
        sequence: u32,
        /// What it acknowledges.
        acknowledgement: u32,
        /// Its flags.
        flags: u8,
        /// Octets of its data.
        octets: usize,
        /// ToS or traffic class.
        tos: u8,
        /// Blocks of its selective acknowledgement.
        blocks: &'a [(u32, u32)],
    },
    /// The peer sent this.
    Received(&'a Segment),
}

/// A connection. It is ended by [`Connection::close`] or [`Connection::reset`]; else its flow is, when
/// that ends, by a last word: a reset with the number that the peer expects as far as is known.
pub struct Connection<'a, R> {
    ctx: &'a Ctx<R>,
    flow: &'a Flow,
    /// Port of the peer.
    pub port: u16,
    /// Our first sequence number, that of the SYN.
    pub first: u32,
    /// The answer to our SYN.
    pub answer: Segment,
    /// What both agreed on.
    pub agreed: Agreed,
    /// From the last SYN to its answer; missing where several were sent.
    pub handshake: Option<Duration>,
    /// What the peer sent.
    pub received: ReceiveQueue,
    /// What we send.
    pub sending: SendQueue,
    /// Set on every acknowledgement: an ECN echo is answered with CWR, for instance.
    pub extra_flags: u8,
    /// Nothing behind the answer to the SYN is acknowledged, not with data either.
    pub withholds: bool,
    /// Of the next segments, not scaled.
    pub window: u16,
    /// ToS or traffic class of data that is sent for the first time.
    pub tos: u8,
    /// How often the oldest octets are sent again before the connection is given up.
    pub most_repeats: u8,
    ttl: u8,
    scale: u8,
    /// The peer's window, scaled.
    peer_window: u32,
    /// The peer's clock that goes back with our segments.
    recent: u32,
    /// The last number that the peer acknowledged, also of what was sent beside `sending`.
    acknowledged: u32,
    record: Option<Record<'a>>,
    is_reset: bool,
    /// Resets of another number than the right one that were answered.
    challenges: u8,
}

/// Resets are asked about so far ahead, whatever our window is.
const LEAST_WINDOW: u32 = 65_536;
/// Who sends resets without end is not asked without end.
const MOST_CHALLENGES: u8 = 10;

type Record<'a> = &'a dyn Fn(Passage<'_>);

/// Options that hold for a connection: offered and answered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Agreed {
    /// Selective acknowledgement.
    pub sack: bool,
    /// Timestamps.
    pub timestamps: bool,
    /// Window scaling.
    pub window_scale: bool,
}

/// The clock of our timestamps, milliseconds.
fn clock(now: Time) -> u32 {
    (now.0 / 1_000_000) as u32
}

impl<'a, R: Rows> Connection<'a, R> {
    /// Sends SYNs until one is answered, and acknowledges the answer. `record` is shown every segment.
    ///
    /// The flow must hear all and tell nothing by keys: `FlowSpec::tcp(…).key(Key::None).hear_all()`.
    ///
    /// # Errors
    ///
    /// See [`Refusal`]. An answer of a wrong number was met with a reset.
    pub async fn open(
        ctx: &'a Ctx<R>,
        flow: &'a Flow,
        opening: &Opening,
        record: Option<Record<'a>>,
    ) -> Result<Self, Refusal> {
        let shaken = Self::shake_hands(ctx, flow, opening, record).await;
        let connection = Self::or_nothing(flow, shaken)?;
        connection.acknowledge();
        Ok(connection)
    }

    /// As [`Connection::open`], without the acknowledgement of the answer.
    ///
    /// # Errors
    ///
    /// As [`Connection::open`].
    pub async fn half_open(
        ctx: &'a Ctx<R>,
        flow: &'a Flow,
        opening: &Opening,
        record: Option<Record<'a>>,
    ) -> Result<Self, Refusal> {
        let shaken = Self::shake_hands(ctx, flow, opening, record).await;
        Self::or_nothing(flow, shaken)
    }

    /// A connection has a last word, and where there is none it needs none.
    fn or_nothing(flow: &Flow, shaken: Result<Self, Refusal>) -> Result<Self, Refusal> {
        match &shaken {
            Ok(connection) => connection.leave_last_word(),
            Err(_) => flow.last_word(None),
        }
        shaken
    }

    async fn shake_hands(
        ctx: &'a Ctx<R>,
        flow: &'a Flow,
        opening: &Opening,
        record: Option<Record<'a>>,
    ) -> Result<Self, Refusal> {
        let first = opening.sequence.unwrap_or_else(|| ctx.random());
        // Until it is answered the peer expects, if it heard of it, the number behind the SYN.
        let reset = Probe::tcp_rst(opening.port, first.wrapping_add(1)).ttl(opening.ttl);
        flow.last_word(Some(reset));
        let mut wrong = None;
        for number in 0..opening.tries {
            let options = opening.offer.octets(clock(ctx.now()));
            let mut syn = Probe::tcp_syn(opening.port, first)
                .flags(flags::SYN | opening.flags)
                .window(opening.window)
                .tcp_options(&options)
                .ttl(opening.ttl)
                .dont_fragment(opening.dont_fragment)
                .payload(&opening.data);
            if !opening.ip_options.is_empty() {
                syn = syn.ip_options(&opening.ip_options);
            }
            let sent = flow.send_stamped(syn).await.map_err(Refusal::Unsent)?.at;
            if let Some(record) = record {
                record(Passage::Sent {
                    at: sent,
                    sequence: first,
                    acknowledgement: 0,
                    flags: flags::SYN | opening.flags,
                    octets: opening.data.len(),
                    tos: 0,
                    blocks: &[],
                });
            }
            let mut end = ctx.sleep(opening.wait);
            while let Some(heard) = hear(flow, &mut end).await {
                let segment = match heard {
                    // Ports are soon guessed (RFC 5927, section 4.1).
                    Heard::Error { sequence, .. } if sequence != first => continue,
                    Heard::Error { from, kind, code, .. } => {
                        return Err(Refusal::Unreachable(from, kind, code));
                    }
                    Heard::Segment(segment) if segment.port == opening.port => segment,
                    Heard::Segment(_) => continue,
                };
                if let Some(record) = record {
                    record(Passage::Received(&segment));
                }
                let behind = first.wrapping_add(opening.data.len() as u32 + 1);
                let reaches = segment.acknowledgement.wrapping_sub(first).wrapping_sub(1);
                let is_ours = reaches <= behind.wrapping_sub(first).wrapping_sub(1);
                if segment.has(flags::RST) {
                    // Only who saw the SYN can acknowledge it.
                    if segment.has(flags::ACK) && is_ours {
                        return Err(Refusal::Reset);
                    }
                    continue;
                }
                if !segment.has(flags::SYN | flags::ACK) || !is_ours {
                    if segment.has(flags::ACK) {
                        let reset = Probe::tcp_rst(opening.port, segment.acknowledgement);
                        let _ = flow.send_stamped(reset.immediate().ttl(opening.ttl)).await;
                    }
                    if segment.has(flags::SYN | flags::ACK) {
                        wrong = Some(Box::new(segment));
                    }
                    // Who guessed the ports, or an old connection between the same ones: the reset ends it
                    // (RFC 9293, section 3.5.1), the next SYN opens the new one.
                    continue;
                }
                let handshake = (number == 0).then(|| segment.at.since(sent));
                return Ok(Self::opened(ctx, flow, opening, first, segment, handshake, record));
            }
        }
        Err(wrong.map_or(Refusal::Silence, Refusal::WrongNumber))
    }

    fn opened(
        ctx: &'a Ctx<R>,
        flow: &'a Flow,
        opening: &Opening,
        first: u32,
        answer: Segment,
        handshake: Option<Duration>,
        record: Option<Record<'a>>,
    ) -> Self {
        let Options { sack_permitted, window_scale, timestamps, .. } = answer.options;
        let agreed = Agreed {
            sack: opening.offer.sack && sack_permitted,
            timestamps: opening.offer.timestamps && timestamps.is_some(),
            window_scale: opening.offer.window_scale.is_some() && window_scale.is_some(),
        };
        let own_scale = opening.offer.window_scale.filter(|_| agreed.window_scale).unwrap_or(0);
        let mut sending = SendQueue::new(answer.acknowledgement);
        if let Some(rtt) = handshake {
            sending.measured(rtt);
        }
        // Data of the SYN that the peer did not take goes out again.
        let taken = answer.acknowledgement.wrapping_sub(first).wrapping_sub(1) as usize;
        sending.append(opening.data.get(taken..).unwrap_or_default());
        let mut received = ReceiveQueue::new(
            answer.sequence.wrapping_add(1),
            u32::from(opening.window) << own_scale,
        );
        received.insert(answer.sequence.wrapping_add(1), &answer.data, false);
        Self {
            ctx,
            flow,
            port: opening.port,
            first,
            agreed,
            handshake,
            received,
            sending,
            extra_flags: 0,
            withholds: false,
            window: opening.window,
            tos: 0,
            most_repeats: 3,
            ttl: opening.ttl,
            scale: if agreed.window_scale { window_scale.unwrap_or(0) } else { 0 },
            peer_window: u32::from(answer.window),
            recent: timestamps.map_or(0, |(value, _)| value),
            acknowledged: answer.acknowledgement,
            record,
            is_reset: false,
            challenges: 0,
            answer,
        }
    }

    /// The peer closed the connection with a reset.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.is_reset
    }

    /// Octets that the peer takes, from the first one that it has not acknowledged.
    #[must_use]
    pub fn peer_window(&self) -> u32 {
        self.peer_window
    }

    /// The largest segment that we may send: what the peer said, or what RFC 9293 has for who says nothing, and never more than
    /// the route takes.
    #[must_use]
    pub fn mss(&self) -> usize {
        let (headers, usual) = if self.flow.peer.is_ipv4() { (40, 536) } else { (60, 1220) };
        let stamps = if self.agreed.timestamps { 12 } else { 0 };
        let said = usize::from(self.answer.options.mss.unwrap_or(usual));
        let route = (self.flow.mtu as usize).saturating_sub(headers);
        said.min(route).saturating_sub(stamps).max(1)
    }

    /// A segment with these flags and data at `sequence`, with the acknowledgement and the options of
    /// the connection; it may be changed before it is sent with [`Connection::send`].
    pub fn probe(&self, bits: u8, sequence: u32, data: &[u8]) -> Probe {
        let blocks = self.blocks(data.len());
        let probe = Probe::tcp_ack(self.port, sequence, self.known())
            .flags(bits | self.extra_flags)
            .window(self.window)
            .ttl(self.ttl)
            .payload(data);
        let mut options = Vec::new();
        if self.agreed.timestamps {
            options.extend([TcpOption::NoOperation, TcpOption::NoOperation]);
            let value = clock(self.ctx.now());
            options.push(TcpOption::Timestamps { value, echo: self.recent });
        }
        let edges: Vec<u8> = blocks
            .iter()
            .flat_map(|(first, behind)| [first.to_be_bytes(), behind.to_be_bytes()])
            .flatten()
            .collect();
        if !edges.is_empty() {
            options.extend([TcpOption::NoOperation, TcpOption::NoOperation]);
            options.push(TcpOption::Sack(&edges));
        }
        if options.is_empty() { probe } else { probe.tcp_options(&TcpOption::list(&options)) }
    }

    /// What our segments acknowledge.
    fn known(&self) -> u32 {
        if self.withholds { self.answer.behind() } else { self.received.expected() }
    }

    /// Blocks of our next acknowledgement: three with timestamps, else four, where they were agreed.
    fn blocks(&self, octets: usize) -> Vec<(u32, u32)> {
        // The option has four octets, and eight for each block; beside data no more than the route takes.
        let room = self.mss().saturating_sub(octets + 4) / 8;
        let most = match (self.agreed.sack, self.agreed.timestamps) {
            (false, _) => 0,
            (true, true) => 3,
            (true, false) => 4,
        };
        self.received.blocks(most.min(room))
    }

    /// Sends a segment that [`Connection::probe`] made of the same arguments, at once.
    pub fn send(&self, probe: Probe, bits: u8, sequence: u32, octets: usize, tos: u8) {
        self.note_sent((sequence, self.known()), bits, octets, tos);
        self.flow.send(probe.immediate());
    }

    /// As [`Connection::probe`] and [`Connection::send`], but acknowledges what the caller says.
    pub fn send_acknowledging(&self, number: u32, bits: u8, sequence: u32, data: &[u8]) {
        let probe = self.probe(bits, sequence, data).acknowledgement(number);
        self.note_sent((sequence, number), bits, data.len(), 0);
        self.flow.send(probe.immediate());
    }

    /// Shows the record a segment with these numbers, its own and what it acknowledges.
    fn note_sent(&self, numbers: (u32, u32), bits: u8, octets: usize, tos: u8) {
        if let Some(record) = self.record {
            record(Passage::Sent {
                at: self.ctx.now(),
                sequence: numbers.0,
                acknowledgement: numbers.1,
                flags: bits | self.extra_flags,
                octets,
                tos,
                blocks: &self.blocks(octets),
            });
        }
    }

    /// Acknowledges what is here, at once, with blocks where that was agreed; nothing where that is withheld.
    pub fn acknowledge(&self) {
        if !self.withholds {
            self.acknowledge_to(self.received.expected());
        }
    }

    /// Acknowledges all before `number`, at once, whatever is here.
    pub fn acknowledge_to(&self, number: u32) {
        self.send_acknowledging(number, flags::ACK, self.sending.next(), &[]);
    }

    /// Sends data as far as the peer's window lets it; it is sent again until it is acknowledged.
    pub fn write(&mut self, data: &[u8]) {
        self.sending.append(data);
        self.transmit();
    }

    /// Sends what waits and fits.
    pub fn transmit(&mut self) {
        let now = self.ctx.now();
        let before = self.sending.next();
        while let Some((sequence, data, fin)) = self.sending.take(self.mss(), self.peer_window, now)
        {
            self.send_data(sequence, &data, fin, self.tos);
        }
        if self.sending.next() != before {
            self.leave_last_word();
        }
    }

    /// The number that the peer expects, as far as is known: that of a reset that it takes.
    fn end(&self) -> u32 {
        let beyond = self.acknowledged.wrapping_sub(self.sending.next());
        if beyond <= u32::from(u16::MAX) { self.acknowledged } else { self.sending.next() }
    }

    fn leave_last_word(&self) {
        let reset = Probe::tcp_rst(self.port, self.end()).ttl(self.ttl);
        self.flow.last_word(Some(reset));
    }

    fn send_data(&self, sequence: u32, data: &[u8], fin: bool, tos: u8) {
        let end = if fin { flags::FIN } else { 0 };
        let bits = flags::ACK | if data.is_empty() { 0 } else { flags::PSH } | end;
        let probe = self.probe(bits, sequence, data);
        let probe = if tos == 0 { probe } else { probe.tos(tos) };
        self.send(probe, bits, sequence, data.len(), tos);
    }

    /// The next segment of the peer, or `None` after `wait`, which never ends where it is
    /// [`Duration::MAX`], or when our data was sent again in vain (see
    /// [`Connection::is_given_up`]). What it acknowledges is noted; its data is not taken: that is
    /// [`Connection::take`].
    pub async fn next(&mut self, wait: Duration) -> Option<Segment> {
        // No timer for what does not end: the host keeps each.
        let end = (wait != Duration::MAX).then(|| self.ctx.now() + wait);
        loop {
            let due = self.sending.due().filter(|_| !self.is_given_up());
            let next = [due, end].into_iter().flatten().min();
            let heard = match next.map(|next| self.ctx.sleep_until(next)) {
                Some(mut timer) => hear(self.flow, &mut timer).await,
                None => hear(self.flow, std::future::pending()).await,
            };
            match heard {
                Some(Heard::Segment(segment)) if segment.port == self.port => {
                    if let Some(record) = self.record {
                        record(Passage::Received(&segment));
                    }
                    self.note(&segment);
                    return Some(segment);
                }
                Some(_) => {}
                None if end.is_some_and(|end| self.ctx.now() >= end) => return None,
                None if self.sending.repeats() >= self.most_repeats => {
                    self.sending.give_up();
                    return None;
                }
                None => {
                    let again = self.sending.take_again(self.mss(), self.ctx.now());
                    match again {
                        Some((sequence, data, fin)) => self.send_data(sequence, &data, fin, 0),
                        None => self.ask_for_window(),
                    }
                }
            }
        }
    }

    /// Makes the peer tell its window: news of it may have been lost. A number that it has already is answered by what it expects.
    ///
    /// Source: RFC 9293, section 3.8.6.1.
    pub fn ask_for_window(&self) {
        let number = self.sending.acknowledged().wrapping_sub(1);
        self.send(self.probe(flags::ACK, number, &[]), flags::ACK, number, 0, 0);
    }

    /// Our oldest data was sent so often as may be and not acknowledged, or the window asked for and not opened.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.sending.is_given_up()
    }

    fn note(&mut self, segment: &Segment) {
        if segment.has(flags::RST) {
            self.note_reset(segment.sequence);
            return;
        }
        if segment.has(flags::ACK) && !segment.has(flags::SYN) {
            let end = self.end();
            // What is older tells the window of then.
            let is_old = is_after(self.sending.acknowledged(), segment.acknowledgement);
            let is_known = self.sending.acknowledge(segment.acknowledgement, segment.at);
            if is_after(segment.acknowledgement, self.acknowledged) {
                self.acknowledged = segment.acknowledgement;
            }
            if !self.is_reset && self.end() != end {
                self.leave_last_word();
            }
            if is_known && !is_old {
                self.peer_window = u32::from(segment.window) << self.scale;
                self.transmit();
            }
        }
        if let Some((value, _)) = segment.options.timestamps
            && segment.sequence == self.received.expected()
        {
            self.recent = value;
        }
    }

    /// A reset: whoever sees the connection knows the number that is due, or that we acknowledged. One in the window may be of
    /// a server that sent what was lost, or withheld: it is asked by an acknowledgement, and answers with the right number
    /// where it has no connection any more.
    ///
    /// Source: RFC 5961, section 3.2.
    fn note_reset(&mut self, number: u32) {
        if [self.received.expected(), self.known()].contains(&number) {
            self.is_reset = true;
            self.flow.last_word(None);
        } else if is_within(
            number,
            self.received.expected(),
            self.received.window().max(LEAST_WINDOW),
        ) && self.challenges < MOST_CHALLENGES
        {
            self.challenges += 1;
            self.acknowledge_to(self.known());
        }
    }

    /// Takes the data of a segment, without acknowledging it.
    pub fn take(&mut self, segment: &Segment) -> Arrival {
        let first = segment.sequence.wrapping_add(u32::from(segment.has(flags::SYN)));
        self.received.insert(first, &segment.data, segment.has(flags::FIN))
    }

    /// The next segment, taken and acknowledged where it holds data or an end or comes again.
    pub async fn receive(&mut self, wait: Duration) -> Option<(Segment, Arrival)> {
        let segment = self.next(wait).await?;
        if segment.has(flags::RST) {
            return Some((segment, Arrival::Empty));
        }
        let arrival = self.take(&segment);
        if arrival != Arrival::Empty || segment.has(flags::SYN) {
            self.acknowledge();
        }
        Some((segment, arrival))
    }

    /// Ends the connection: our FIN, and whatever the peer still says until its own; a reset where that
    /// takes longer than `wait`. Nothing is sent to a peer that has reset it.
    pub async fn close(&mut self, wait: Duration) {
        let end = self.ctx.now() + wait;
        self.withholds = false;
        self.sending.end();
        self.transmit();
        while !(self.is_reset || self.sending.is_finished() && self.received.is_finished()) {
            let left = end.since(self.ctx.now());
            if left.is_zero() || self.receive(left).await.is_none() {
                self.reset().await;
            }
        }
        self.flow.last_word(None);
    }

    /// Ends the connection at once, with one packet: the one that is allowed after an interrupt.
    pub async fn reset(&mut self) {
        if std::mem::replace(&mut self.is_reset, true) {
            return;
        }
        self.withholds = false;
        let sequence = self.end();
        let reset = self.probe(flags::RST | flags::ACK, sequence, &[]);
        if let Some(record) = self.record {
            record(Passage::Sent {
                at: self.ctx.now(),
                sequence,
                acknowledgement: self.received.expected(),
                flags: flags::RST | flags::ACK,
                octets: 0,
                tos: 0,
                blocks: &[],
            });
        }
        // Awaited: what still waits for its turn when the flow is closed is not sent.
        let _ = self.flow.send_stamped(reset.immediate()).await;
        self.flow.last_word(None);
    }
}
