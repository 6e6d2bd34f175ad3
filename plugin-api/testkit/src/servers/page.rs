//! A web server over a TCP as that of Linux, and all the ways to differ from it.

use std::{cell::Cell, rc::Rc, time::Duration};

use sonde_packet::{
    Ip, IpHeader, TcpSegment, protocol,
    tcp::{TcpOption, flags},
};
use sonde_plugin_api::tcp::{Options, ReceiveQueue, distance};

use super::{
    FIRST_SEQUENCE,
    incoming::{Ends, Incoming},
};
use crate::{
    endpoint::{Host, Outbox},
    fragment::split,
};

const WINDOW: u16 = 60_000;
/// Its retransmission timer, which doubles each time in vain up to the second (RFC 6298, section 5).
const TIMER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// An acknowledgement that is so much older than what was sent is of no connection (RFC 5961, section 5).
const OLD: i32 = -60_000;

/// How a [`PageServer`] behaves.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// Octets that it sends to who asked for something with an empty line at the end; then it closes.
    pub page: usize,
    /// Largest segment, octets of data, which the SYN/ACK tells. It takes none that is larger, and sends none that is larger than
    /// the client's.
    pub mss: usize,
    /// Initial window, segments.
    pub window_segments: usize,
    /// Grants a window scale, so that the client's window may be more than 65,535 octets.
    pub scales: bool,
    /// Octets of the client that it takes in all: behind them its window is shut.
    pub takes: usize,
    /// Octets of the page that it sends before it is asked.
    pub greeting: usize,
    /// Octets that a box on the way back cuts its segments to.
    pub cut_to: usize,
    /// Octets that it has to send at first, where these are fewer; the rest comes when they are acknowledged.
    pub head: usize,
    /// Answers a SYN with ECE with these flags beside SYN and ACK.
    pub synack: u8,
    /// Sends ECE after a packet that met congestion, until CWR comes.
    pub echoes_congestion: bool,
    /// Agrees to selective acknowledgements.
    pub sack: bool,
    /// Adds this to the edges of blocks, as a box that shifts sequence numbers does.
    pub shift: u32,
    /// Tells blocks once they were agreed on.
    pub tells_blocks: bool,
    /// So many of them at most.
    pub most_blocks: usize,
    /// Tells the newest block first and the others by their numbers; else they are in the order of their age.
    pub sorts_blocks: bool,
    /// Sends smaller segments after "packet too big".
    pub obeys_too_big: bool,
    /// Clears the flag DF instead; IPv4.
    pub clears_df: bool,
    /// Sends in fragments what is too big.
    pub cuts: bool,
    /// Sets the flag DF; IPv4.
    pub sets_df: bool,
    /// What comes of a blind segment.
    pub blind: Blind,
    /// What an acknowledgement adds to the window.
    pub growth: Growth,
    /// Keeps the connection when the page is sent.
    pub stays: bool,
    /// Ends the connection with a reset.
    pub resets: bool,
    /// Never acknowledges data.
    pub is_deaf: bool,
    /// Says nothing to who speaks to a connection that is no more; others answer with a reset.
    pub is_mute: bool,
    /// Has an old connection between the same ports, until a reset comes.
    pub has_old: bool,
    /// What it does with a SYN that has options of IPv4.
    pub ip_options: IpOptions,
}

/// What makes the window grow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Growth {
    /// What is acknowledged, but not more than so many segments.
    Octets(usize),
    /// Every acknowledgement, by a segment.
    Acks,
}

/// What comes of a reset or SYN in the window, and of segments with a very old acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Blind {
    /// Takes them for true.
    Accepts,
    /// Asks whether they were meant (RFC 5961).
    Challenges,
    /// Drops them.
    Ignores,
    /// Answers with a reset.
    Resets,
    /// Takes a SYN for that of a new connection.
    OpensAnew,
}

/// What comes of a SYN with options in its IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum IpOptions {
    /// They stand in the SYN/ACK again, with what they gathered, as with Linux.
    Echoes,
    /// They are left out of it.
    Strips,
    /// The SYN is dropped.
    Drops,
}

impl Behaviour {
    /// As Linux, with a page of 100,000 octets.
    pub const LINUX: Self = Self {
        page: 100_000,
        mss: 1460,
        window_segments: 10,
        scales: true,
        takes: usize::MAX,
        greeting: 0,
        cut_to: usize::MAX,
        head: usize::MAX,
        synack: flags::ECE,
        echoes_congestion: true,
        sack: true,
        shift: 0,
        tells_blocks: true,
        most_blocks: 3,
        sorts_blocks: false,
        obeys_too_big: true,
        clears_df: false,
        cuts: false,
        sets_df: true,
        blind: Blind::Challenges,
        growth: Growth::Octets(usize::MAX),
        stays: false,
        resets: false,
        is_deaf: false,
        is_mute: false,
        has_old: false,
        ip_options: IpOptions::Echoes,
    };
}

/// One connection of a server that sends a page to whoever sends it a whole request. Its SYN/ACK is not
/// repeated.
#[derive(Debug)]
pub struct PageServer {
    behaviour: Behaviour,
    connection: Option<Connection>,
    resets: Rc<Cell<usize>>,
}

#[derive(Debug)]
struct Connection {
    behaviour: Behaviour,
    /// Octets of its largest segments, before any MTU is told.
    mss: usize,
    ends: Ends,
    queue: ReceiveQueue,
    request: Vec<u8>,
    /// Octets of the page.
    acknowledged: usize,
    sent: usize,
    window: usize,
    /// Of the client, octets.
    their_window: usize,
    /// What its windows are shifted by.
    their_scale: u8,
    segment: usize,
    df: bool,
    /// Octets of the packets that it cuts its own to.
    mtu: usize,
    echo: bool,
    has_sack: bool,
    ip_options: Vec<u8>,
    /// Number of the timer that runs; all before it were stopped.
    timer: Option<u64>,
    timers: u64,
    timeout: Duration,
    is_gone: bool,
}

impl PageServer {
    /// One that behaves like this.
    #[must_use]
    pub fn new(behaviour: Behaviour) -> Self {
        Self { behaviour, connection: None, resets: Rc::default() }
    }

    /// Resets that came, counted while it runs.
    #[must_use]
    pub fn resets(&self) -> Rc<Cell<usize>> {
        Rc::clone(&self.resets)
    }

    /// Answers a SYN, or anything else from nowhere.
    fn open(&mut self, segment: &Incoming<'_>, packet: &[u8], net: &mut Outbox<'_>) {
        if self.behaviour.has_old {
            self.behaviour.has_old = !segment.has(flags::RST);
            if self.behaviour.has_old {
                let old = TcpSegment {
                    sequence: FIRST_SEQUENCE,
                    flags: flags::ACK,
                    window: WINDOW,
                    ..TcpSegment::default()
                };
                net.send(segment.ends.plain(old, &[]));
            }
            return;
        }
        if !segment.has(flags::SYN) {
            return;
        }
        let header = &segment.ends.header;
        let is_v4 = header.source.is_ipv4();
        let options = packet.get(20..header.header_octets).filter(|_| is_v4).unwrap_or_default();
        let ip_options = match self.behaviour.ip_options {
            IpOptions::Echoes => options.to_vec(),
            IpOptions::Drops if !options.is_empty() => return,
            IpOptions::Strips | IpOptions::Drops => Vec::new(),
        };
        let offered = header.transport(packet);
        let behind = segment.view.header_octets().unwrap_or(20);
        let offered = Options::parse(offered.get(20..behind).unwrap_or_default());
        let usual = if is_v4 { 536 } else { 1220 };
        let mss = self.behaviour.mss.min(usize::from(offered.mss.unwrap_or(usual)));
        let connection = Connection {
            behaviour: self.behaviour,
            mss,
            ends: segment.ends.clone(),
            queue: ReceiveQueue::new(segment.first(), u32::from(WINDOW)),
            request: Vec::new(),
            acknowledged: 0,
            sent: 0,
            window: self.behaviour.head.min(self.behaviour.window_segments * mss),
            their_window: usize::from(segment.view.window().unwrap_or(0)),
            their_scale: offered.window_scale.filter(|_| self.behaviour.scales).unwrap_or(0),
            segment: mss,
            df: self.behaviour.sets_df,
            mtu: usize::MAX,
            echo: false,
            has_sack: self.behaviour.sack && offered.sack_permitted,
            ip_options,
            timer: None,
            timers: 0,
            timeout: TIMER[0],
            is_gone: false,
        };
        let mut options = vec![TcpOption::MaximumSegmentSize(self.behaviour.mss as u16)];
        if connection.has_sack {
            options.push(TcpOption::SackPermitted);
        }
        if self.behaviour.scales && offered.window_scale.is_some() {
            options.extend([TcpOption::NoOperation, TcpOption::WindowScale(0)]);
        }
        let ecn = if segment.has(flags::ECE) { self.behaviour.synack } else { 0 };
        let bits = flags::SYN | flags::ACK | ecn;
        connection.answer(net, bits, FIRST_SEQUENCE, &TcpOption::list(&options), &[]);
        self.connection = Some(connection);
    }
}

impl Host for PageServer {
    fn receive(&mut self, packet: &[u8], _: Duration, net: &mut Outbox<'_>) {
        if let Some(mtu) = too_big(packet) {
            if let Some(connection) = &mut self.connection {
                connection.shrink(mtu, net);
            }
            return;
        }
        let Some(segment) = Incoming::parse(packet) else { return };
        self.resets.set(self.resets.get() + usize::from(segment.has(flags::RST)));
        match &mut self.connection {
            None => self.open(&segment, packet, net),
            Some(connection) if connection.is_gone => connection.refuse(&segment, net),
            Some(connection) => connection.receive(&segment, net),
        }
    }

    /// The timer: what was not acknowledged meanwhile goes out again, one segment.
    fn wake(&mut self, timer: u64, _: Duration, net: &mut Outbox<'_>) {
        let Some(connection) = &mut self.connection else { return };
        let is_due = connection.timer == Some(timer) && !connection.is_gone;
        if is_due && connection.sent > connection.acknowledged {
            connection.piece(connection.acknowledged, connection.behaviour.page, net);
            connection.timeout = (connection.timeout * 2).min(TIMER[1]);
            connection.arm(net);
        } else if is_due {
            connection.timer = None;
        }
    }
}

impl Connection {
    fn answer(&self, net: &mut Outbox<'_>, bits: u8, sequence: u32, options: &[u8], data: &[u8]) {
        let is_syn = bits & flags::SYN != 0;
        let echo = if self.echo && !is_syn { flags::ECE } else { 0 };
        let segment = TcpSegment {
            sequence,
            acknowledgement: self.queue.expected(),
            flags: bits | echo,
            window: self.room() as u16,
            options,
            ..TcpSegment::default()
        };
        let plain = Ip::plain(self.ends.header.destination, self.ends.header.source);
        let options = if is_syn { &self.ip_options[..] } else { &[] };
        let ip = Ip { dont_fragment: self.df, options, ..plain };
        for part in split(&self.ends.packet(ip, segment, data), self.mtu, sequence) {
            net.send(part);
        }
    }

    /// The window that it tells, and keeps to.
    fn room(&self) -> usize {
        self.behaviour.takes.saturating_sub(self.request.len()).min(usize::from(WINDOW))
    }

    fn next(&self) -> u32 {
        FIRST_SEQUENCE.wrapping_add(1).wrapping_add(self.sent as u32)
    }

    fn acknowledge(&self, net: &mut Outbox<'_>) {
        let mut blocks = self.queue.blocks(usize::MAX);
        if self.behaviour.sorts_blocks && !blocks.is_empty() {
            blocks[1..].sort_unstable();
        }
        blocks.truncate(self.behaviour.most_blocks);
        let edges: Vec<u8> = blocks
            .iter()
            .flat_map(|(one, other)| [one, other])
            .flat_map(|edge| edge.wrapping_add(self.behaviour.shift).to_be_bytes())
            .collect();
        let shown = self.has_sack && self.behaviour.tells_blocks && !edges.is_empty();
        let option = TcpOption::list(&[TcpOption::Sack(&edges)]);
        self.answer(net, flags::ACK, self.next(), if shown { &option } else { &[] }, &[]);
    }

    /// One segment of the page from an octet on, but not beyond `limit`; how long it is.
    fn piece(&self, from: usize, limit: usize, net: &mut Outbox<'_>) -> usize {
        let octets = self.segment.min(limit - from);
        let is_last = from + octets == self.behaviour.page && !self.behaviour.stays;
        let resets = is_last && self.behaviour.resets;
        let bits = flags::ACK | if is_last && !resets { flags::FIN } else { 0 };
        let sequence = FIRST_SEQUENCE.wrapping_add(1).wrapping_add(from as u32);
        let most = self.behaviour.cut_to.min(octets.max(1));
        for at in (0..octets.max(1)).step_by(most) {
            let number = sequence.wrapping_add(at as u32);
            let bits = if at + most < octets { flags::ACK } else { bits };
            self.answer(net, bits, number, &[], &vec![b'x'; most.min(octets - at)]);
        }
        if resets {
            let end = sequence.wrapping_add(octets as u32);
            self.answer(net, flags::RST | flags::ACK, end, &[], &[]);
        }
        octets
    }

    /// Sends what the window lets it; the end goes with the last octet.
    fn transmit(&mut self, net: &mut Outbox<'_>) {
        let is_asked = self.request.ends_with(b"\r\n\r\n");
        let ready = if is_asked { self.behaviour.page } else { self.behaviour.greeting };
        let window = self.window.min(self.their_window);
        let limit = ready.min(self.acknowledged + window);
        while self.sent < limit {
            self.sent += self.piece(self.sent, limit, net);
        }
        // A connection that was reset is no more.
        self.is_gone |= self.behaviour.resets && self.sent == self.behaviour.page;
        if self.sent > self.acknowledged && self.timer.is_none() {
            self.arm(net);
        }
    }

    /// Starts the timer, again where it runs.
    fn arm(&mut self, net: &mut Outbox<'_>) {
        self.timers += 1;
        self.timer = Some(self.timers);
        net.wake(self.timeout, self.timers);
    }

    /// A router, or who speaks for one, says that segments do not fit.
    fn shrink(&mut self, mtu: usize, net: &mut Outbox<'_>) {
        let headers = if self.ends.header.source.is_ipv4() { 40 } else { 60 };
        if self.behaviour.obeys_too_big {
            self.segment = mtu.saturating_sub(headers).clamp(1, self.mss);
        } else if self.behaviour.clears_df {
            self.df = false;
        } else if self.behaviour.cuts {
            self.df = false;
            self.mtu = mtu;
        }
        self.sent = self.acknowledged;
        self.transmit(net);
    }

    fn receive(&mut self, segment: &Incoming<'_>, net: &mut Outbox<'_>) {
        let is_exact = segment.sequence == self.queue.expected();
        if segment.has(flags::SYN) || segment.has(flags::RST) && !is_exact {
            return self.receive_blind(segment, net);
        }
        if segment.has(flags::RST) {
            self.is_gone = true;
            return;
        }
        let window = usize::from(segment.view.window().unwrap_or(0));
        self.their_window = window << self.their_scale;
        let acknowledged = segment.acknowledgement;
        let is_old = distance(FIRST_SEQUENCE, acknowledged) < OLD;
        if is_old && self.behaviour.blind != Blind::Accepts {
            return match self.behaviour.blind {
                Blind::Challenges => self.acknowledge(net),
                Blind::Resets => self.answer(net, flags::RST, acknowledged, &[], &[]),
                _ => {}
            };
        }
        let data = segment.view.payload();
        let is_large =
            data.len() + segment.view.header_octets().unwrap_or(20) - 20 > self.behaviour.mss;
        if (self.behaviour.is_deaf || is_large) && !data.is_empty() {
            return;
        }
        let begin = distance(self.queue.expected(), segment.sequence);
        if begin < 0 && data.is_empty() {
            // Who asks for the window.
            return self.acknowledge(net);
        }
        let room = (self.room() as i64 - i64::from(begin)).clamp(0, data.len() as i64) as usize;
        let data = data.get(..room).unwrap_or_default();
        self.queue.insert(segment.sequence, data, segment.has(flags::FIN));
        self.request.extend(self.queue.read());
        self.hear(distance(FIRST_SEQUENCE.wrapping_add(1), acknowledged).max(0) as usize);
        if segment.has(flags::CWR) {
            self.echo = false;
        }
        let met_congestion = segment.ends.header.tos & 3 == 3;
        self.echo |= met_congestion && self.behaviour.echoes_congestion;
        if !segment.view.payload().is_empty() || segment.has(flags::FIN) {
            self.acknowledge(net);
        }
        self.transmit(net);
    }

    /// So many octets of the page arrived.
    fn hear(&mut self, known: usize) {
        if known > self.acknowledged {
            let mss = self.mss;
            self.window += match self.behaviour.growth {
                Growth::Octets(most) => (known - self.acknowledged).min(most.saturating_mul(mss)),
                Growth::Acks => mss,
            };
            self.acknowledged = known.min(self.behaviour.page);
            (self.timer, self.timeout) = (None, TIMER[0]);
        }
    }

    /// A connection that is no more: who acknowledges something of it hears so (RFC 9293, section 3.10.7.1).
    fn refuse(&self, segment: &Incoming<'_>, net: &mut Outbox<'_>) {
        if segment.has(flags::ACK) && !segment.has(flags::RST) && !self.behaviour.is_mute {
            let reset = TcpSegment {
                sequence: segment.acknowledgement,
                flags: flags::RST,
                ..TcpSegment::default()
            };
            net.send(self.ends.plain(reset, &[]));
        }
    }

    /// A reset or a SYN that is in the window, but not exact.
    fn receive_blind(&mut self, segment: &Incoming<'_>, net: &mut Outbox<'_>) {
        let anew = match self.behaviour.blind {
            Blind::Accepts => {
                self.is_gone = true;
                return;
            }
            Blind::Challenges => return self.answer(net, flags::ACK, self.next(), &[], &[]),
            Blind::Ignores => return,
            Blind::Resets => flags::RST,
            Blind::OpensAnew => flags::SYN,
        };
        self.queue = ReceiveQueue::new(segment.sequence.wrapping_add(1), u32::from(WINDOW));
        self.ip_options.clear();
        self.answer(net, anew | flags::ACK, FIRST_SEQUENCE.wrapping_add(77_777), &[], &[]);
        self.is_gone = true;
    }
}

/// The MTU of a "packet too big" of either family.
fn too_big(packet: &[u8]) -> Option<usize> {
    let header = IpHeader::parse(packet).ok()?;
    let message = header.transport(packet);
    let rest: [u8; 4] = message.get(4..8)?.try_into().ok()?;
    match (header.protocol, message) {
        (protocol::ICMP, [3, 4, ..]) => Some(usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
        (protocol::ICMPV6, [2, ..]) => Some(u32::from_be_bytes(rest) as usize),
        _ => None,
    }
}
