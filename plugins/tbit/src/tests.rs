//! Runs in the simulated network, against a server with each behaviour.

mod applications;
mod endings;
mod header;

use std::{cell::RefCell, rc::Rc};

use sonde_plugin_api::{
    packet::{
        Ip, IpHeader, Packet, Payload, TcpSegment, Transport, protocol,
        tcp::{TcpOption, TcpView, flags},
    },
    prelude::*,
    tcp::{Options, ReceiveQueue, distance},
};
use sonde_testkit::{Host, Net, Outbox, Run, Sim};

use crate::{
    Tbit,
    params::{TbitParams, Test},
    rows::{Counts, Scope, SummaryRow, Verdict},
};

const TARGET: &str = "198.51.100.9";
const MSS: usize = 1460;
const ISN: u32 = 0xffff_ff00;

/// How a server behaves; unless said as Linux does.
#[derive(Clone, Copy, Debug)]
struct Behaviour {
    page: usize,
    window_segments: usize,
    /// Answers a SYN with ECE with these flags beside SYN and ACK.
    synack: u8,
    echoes_congestion: bool,
    sack: bool,
    /// Adds this to the edges of blocks.
    shift: u32,
    tells_blocks: bool,
    obeys_too_big: bool,
    clears_df: bool,
    sets_df: bool,
    /// What comes of a reset or SYN in the window.
    blind: Blind,
    /// What an acknowledgement adds to the window.
    growth: Growth,
    /// Never acknowledges data.
    is_deaf: bool,
    /// Has an old connection between the same ports.
    has_old: bool,
    /// What it does with a SYN that has options of IP.
    ip_options: IpOptions,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum IpOptions {
    /// Sends them back, as Linux does.
    Echoes,
    Strips,
    /// Drops the SYN.
    Drops,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Growth {
    /// What it acknowledges, but not more than so many segments.
    Octets(usize),
    /// A segment.
    Acks,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Blind {
    Accepts,
    Challenges,
    Ignores,
    Resets,
    OpensAnew,
}

const LINUX: Behaviour = Behaviour {
    page: 100_000,
    window_segments: 10,
    synack: flags::ECE,
    echoes_congestion: true,
    sack: true,
    shift: 0,
    tells_blocks: true,
    obeys_too_big: true,
    clears_df: false,
    sets_df: true,
    blind: Blind::Challenges,
    growth: Growth::Octets(usize::MAX / MSS),
    is_deaf: false,
    has_old: false,
    ip_options: IpOptions::Echoes,
};

/// One connection of a server that sends a page to whoever sends it a whole request.
struct Server {
    behaviour: Behaviour,
    queue: Option<ReceiveQueue>,
    request: Vec<u8>,
    peer: Option<(IpAddr, IpAddr, u16, u16)>,
    acknowledged: usize,
    sent: usize,
    window: usize,
    segment: usize,
    df: bool,
    echo: bool,
    is_gone: bool,
    has_sack: bool,
    ip_options: Vec<u8>,
    resets: Rc<RefCell<usize>>,
}

impl Server {
    fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            queue: None,
            request: Vec::new(),
            peer: None,
            acknowledged: 0,
            sent: 0,
            window: behaviour.window_segments * MSS,
            segment: MSS,
            df: behaviour.sets_df,
            echo: false,
            is_gone: false,
            has_sack: false,
            ip_options: Vec::new(),
            resets: Rc::default(),
        }
    }

    fn answer(&self, net: &mut Outbox<'_>, bits: u8, sequence: u32, options: &[u8], data: &[u8]) {
        let (server, client, port, remote) = self.peer.unwrap();
        let echo = if self.echo && bits & flags::SYN == 0 { flags::ECE } else { 0 };
        let segment = TcpSegment {
            source_port: port,
            destination_port: remote,
            sequence,
            acknowledgement: self.queue.as_ref().map_or(0, ReceiveQueue::expected),
            flags: bits | echo,
            window: 60_000,
            urgent: 0,
            options,
        };
        let options = if bits & flags::SYN != 0 { &self.ip_options[..] } else { &[] };
        let ip = Ip { dont_fragment: self.df, options, ..Ip::plain(server, client) };
        let transport = Transport::Tcp(segment);
        let packet = Packet { ip, transport, payload: Payload::Octets(data), checksum: None };
        net.send(packet.to_vec().unwrap());
    }

    fn next(&self) -> u32 {
        ISN.wrapping_add(1).wrapping_add(self.sent as u32)
    }

    fn acknowledge(&self, net: &mut Outbox<'_>) {
        let blocks = self.queue.as_ref().unwrap().blocks(3);
        let edges: Vec<u8> = blocks
            .iter()
            .flat_map(|(one, other)| [one, other])
            .flat_map(|edge| edge.wrapping_add(self.behaviour.shift).to_be_bytes())
            .collect();
        let shown = self.has_sack && self.behaviour.tells_blocks && !edges.is_empty();
        let option = TcpOption::list(&[TcpOption::Sack(&edges)]);
        self.answer(net, flags::ACK, self.next(), if shown { &option } else { &[] }, &[]);
    }

    /// Sends what the window lets it, from `sent` on; the end goes with the last octet.
    fn transmit(&mut self, net: &mut Outbox<'_>) {
        if !self.request.ends_with(b"\r\n\r\n") {
            return;
        }
        let limit = self.behaviour.page.min(self.acknowledged + self.window);
        while self.sent < limit {
            let octets = self.segment.min(limit - self.sent);
            let is_last = self.sent + octets == self.behaviour.page;
            let bits = flags::ACK | if is_last { flags::FIN } else { 0 };
            self.answer(net, bits, self.next(), &[], &vec![b'x'; octets]);
            self.sent += octets;
        }
        net.wake(Duration::from_secs(1), self.acknowledged as u64);
    }

    fn blind(&mut self, view: &TcpView<'_>, net: &mut Outbox<'_>) {
        match self.behaviour.blind {
            Blind::Accepts => self.is_gone = true,
            Blind::Challenges => self.answer(net, flags::ACK, self.next(), &[], &[]),
            Blind::Ignores => {}
            Blind::Resets | Blind::OpensAnew => {
                let mut queue = ReceiveQueue::new(view.sequence().unwrap().wrapping_add(1), 60_000);
                std::mem::swap(self.queue.as_mut().unwrap(), &mut queue);
                let bits = match self.behaviour.blind {
                    Blind::Resets => flags::RST | flags::ACK,
                    _ => flags::SYN | flags::ACK,
                };
                self.answer(net, bits, ISN.wrapping_add(77_777), &[], &[]);
                self.queue = Some(queue);
                self.is_gone = true;
            }
        }
    }
}

impl Host for Server {
    fn receive(&mut self, packet: &[u8], _: Duration, net: &mut Outbox<'_>) {
        let header = IpHeader::parse(packet).unwrap();
        let transport = header.transport(packet);
        if header.protocol == protocol::ICMP && transport.starts_with(&[3, 4]) {
            let mtu = usize::from(u16::from_be_bytes([transport[6], transport[7]]));
            if self.behaviour.obeys_too_big {
                self.segment = mtu - 40;
            } else if self.behaviour.clears_df {
                self.df = false;
            }
            self.sent = self.acknowledged;
            self.transmit(net);
            return;
        }
        let view = TcpView::new(transport);
        let (bits, sequence) = (view.flags().unwrap(), view.sequence().unwrap());
        let ports = (view.destination_port().unwrap(), view.source_port().unwrap());
        *self.resets.borrow_mut() += usize::from(bits & flags::RST != 0);
        if self.is_gone {
            return;
        }
        let Some(queue) = &mut self.queue else {
            self.peer = Some((header.destination, header.source, ports.0, ports.1));
            if self.behaviour.has_old {
                self.behaviour.has_old = bits & flags::RST == 0;
                if self.behaviour.has_old {
                    self.answer(net, flags::ACK, ISN, &[], &[]);
                }
                return;
            }
            let options = &packet[20..header.header_octets];
            self.ip_options = match self.behaviour.ip_options {
                IpOptions::Echoes => options.to_vec(),
                IpOptions::Drops if !options.is_empty() => return,
                IpOptions::Strips | IpOptions::Drops => Vec::new(),
            };
            self.queue = Some(ReceiveQueue::new(sequence.wrapping_add(1), 60_000));
            let mut options = vec![TcpOption::MaximumSegmentSize(MSS as u16)];
            self.has_sack = self.behaviour.sack && Options::parse(&transport[20..]).sack_permitted;
            if self.has_sack {
                options.push(TcpOption::SackPermitted);
            }
            let ecn = if bits & flags::ECE != 0 { self.behaviour.synack } else { 0 };
            let options = TcpOption::list(&options);
            self.answer(net, flags::SYN | flags::ACK | ecn, ISN, &options, &[]);
            return;
        };
        let is_exact = sequence == queue.expected();
        if bits & flags::SYN != 0 || bits & flags::RST != 0 && !is_exact {
            self.blind(&view, net);
            return;
        }
        if bits & flags::RST != 0 {
            self.is_gone = true;
            return;
        }
        let data = view.payload();
        let acknowledged = view.acknowledgement().unwrap();
        if distance(ISN, acknowledged) < -60_000 && self.behaviour.blind != Blind::Accepts {
            match self.behaviour.blind {
                Blind::Challenges => self.acknowledge(net),
                Blind::Resets => self.answer(net, flags::RST, acknowledged, &[], &[]),
                _ => {}
            }
            return;
        }
        if self.behaviour.is_deaf && !data.is_empty() {
            return;
        }
        queue.insert(sequence, data, bits & flags::FIN != 0);
        let read = queue.read();
        self.request.extend(read);
        let known = distance(ISN.wrapping_add(1), view.acknowledgement().unwrap()).max(0) as usize;
        if known > self.acknowledged {
            self.window += match self.behaviour.growth {
                Growth::Octets(most) => (known - self.acknowledged).min(most * MSS),
                Growth::Acks => MSS,
            };
            self.acknowledged = known.min(self.behaviour.page);
        }
        if bits & flags::CWR != 0 {
            self.echo = false;
        }
        if header.tos & 3 == 3 && self.behaviour.echoes_congestion {
            self.echo = true;
        }
        if !data.is_empty() || bits & flags::FIN != 0 {
            self.acknowledge(net);
        }
        self.transmit(net);
    }

    /// The timer: what was not acknowledged meanwhile goes out again, one segment.
    fn wake(&mut self, acknowledged: u64, _: Duration, net: &mut Outbox<'_>) {
        let is_due = acknowledged as usize == self.acknowledged && self.sent > self.acknowledged;
        if is_due && !self.is_gone && self.acknowledged < self.behaviour.page {
            let octets = self.segment.min(self.behaviour.page - self.acknowledged);
            let sequence = ISN.wrapping_add(1).wrapping_add(self.acknowledged as u32);
            let is_last = self.acknowledged + octets == self.behaviour.page;
            let bits = flags::ACK | if is_last { flags::FIN } else { 0 };
            self.answer(net, bits, sequence, &[], &vec![b'x'; octets]);
            net.wake(Duration::from_secs(1), acknowledged);
        }
    }
}

fn run(test: Test, behaviour: Behaviour) -> (Run, SummaryRow) {
    let params = TbitParams { test, ..TbitParams::with(TARGET.parse().unwrap()) };
    let net = Net::draw(
        "vantage - r1 - target
         target 198.51.100.9",
    );
    let server = Server::new(behaviour);
    let resets = server.resets.clone();
    let run = Sim::new(net.host("target", server), 1).run::<Tbit>(params);
    run.expect_done();
    let mut rows = run.typed::<SummaryRow>("summary");
    assert_eq!(rows.len(), 1, "{run}");
    assert!(*resets.borrow() <= 4, "{run}");
    let row = rows.remove(0);
    assert_eq!((run.stop.as_str(), row.result_code), (row.result.name(), row.result.code()));
    (run, row)
}

fn verdict(test: Test, behaviour: Behaviour) -> Verdict {
    run(test, behaviour).1.result
}

#[test]
fn every_test_gives_the_verdict_of_a_server_like_linux() {
    for (test, wanted) in [
        (Test::Null, Verdict::NullSuccess),
        (Test::Ecn, Verdict::EcnSuccess),
        (Test::SackRcvr, Verdict::SackSuccess),
        (Test::Icw, Verdict::IcwSuccess),
        (Test::Abc, Verdict::AbcSuccess),
        (Test::Pmtud, Verdict::PmtudSuccess),
        (Test::BlindRst, Verdict::BlindChallenge),
        (Test::BlindSyn, Verdict::BlindChallenge),
    ] {
        let (run, row) = run(test, LINUX);
        assert_eq!((row.result, row.scope), (wanted, Scope::Endpoint), "{run}");
        assert_eq!(row.server_mss, Some(1460));
    }
}

#[test]
fn a_page_comes_whole_through_loss_reordering_and_duplicates_in_both_directions() {
    let params = || TbitParams {
        option: Some("sack,tcpts".to_owned()),
        ..TbitParams::with(TARGET.parse().unwrap())
    };
    for seed in 1..=20 {
        // The handshake gets through: this server does not repeat it.
        let net = Net::draw(
            "vantage - r1 - target
             target 198.51.100.9
             link r1 -> target drop 3,6,11-13 duplicate 9 reorder 10%
             link r1 <- target drop 2,5,8-9,20 duplicate 10% reorder 10% by 5ms",
        );
        let server = Server::new(Behaviour { page: 60_001, ..LINUX });
        let run = Sim::new(net.host("target", server), seed).run::<Tbit>(params());
        let row = &run.typed::<SummaryRow>("summary")[0];
        assert_eq!((row.result, row.octets), (Verdict::NullSuccess, 60_001), "{run}");
    }
}

#[test]
fn initial_windows_of_any_size_are_counted_and_short_pages_are_told() {
    for segments in [1, 2, 4, 10, 30] {
        let (run, row) = run(Test::Icw, Behaviour { window_segments: segments, ..LINUX });
        assert_eq!(row.result, Verdict::IcwSuccess, "{run}");
        assert_eq!(row.icw_segments, Some(segments as u32));
        assert_eq!(row.icw_octets, Some((segments * MSS) as u32));
    }
    assert_eq!(verdict(Test::Icw, Behaviour { page: 5 * MSS, ..LINUX }), Verdict::IcwTooShort);
}

#[test]
fn what_makes_the_window_grow_is_told_with_its_limit() {
    let abc = |growth| run(Test::Abc, Behaviour { growth, ..LINUX });
    for (limit, wanted) in [(1, 1), (2, 2), (usize::MAX / MSS, 4)] {
        let (run, row) = abc(Growth::Octets(limit));
        assert_eq!(
            (row.result, row.abc_counts),
            (Verdict::AbcSuccess, Some(Counts::Octets)),
            "{run}"
        );
        assert_eq!(row.abc_limit, Some(wanted), "{run}");
    }
    let (run, row) = abc(Growth::Acks);
    assert_eq!((row.result, row.abc_counts), (Verdict::AbcSuccess, Some(Counts::Acks)), "{run}");
    assert_eq!(row.abc_limit, Some(1), "one acknowledgement, one segment: {run}");
    assert_eq!(verdict(Test::Abc, Behaviour { page: 5 * MSS, ..LINUX }), Verdict::AbcTooShort);
    assert_eq!(verdict(Test::Abc, Behaviour { window_segments: 4, ..LINUX }), Verdict::AbcBadIcw);
}

#[test]
fn each_way_to_do_ecn_wrong_has_a_verdict() {
    let with = |synack, echoes_congestion| Behaviour { synack, echoes_congestion, ..LINUX };
    assert_eq!(verdict(Test::Ecn, with(0, true)), Verdict::EcnIncapable);
    assert_eq!(verdict(Test::Ecn, with(flags::ECE | flags::CWR, true)), Verdict::EcnBadSynAck);
    assert_eq!(verdict(Test::Ecn, with(flags::CWR, true)), Verdict::EcnBadSynAck);
    assert_eq!(verdict(Test::Ecn, with(flags::ECE, false)), Verdict::EcnNoEce);
    assert_eq!(verdict(Test::Ecn, Behaviour { is_deaf: true, ..LINUX }), Verdict::EcnNoAck);
}

#[test]
fn blocks_that_are_missing_or_shifted_are_told() {
    let sack = |behaviour| verdict(Test::SackRcvr, behaviour);
    assert_eq!(sack(Behaviour { sack: false, ..LINUX }), Verdict::SackIncapable);
    assert_eq!(sack(Behaviour { tells_blocks: false, ..LINUX }), Verdict::SackNoSack);
    assert_eq!(sack(Behaviour { shift: 1000, ..LINUX }), Verdict::SackShifted);
    assert_eq!(sack(Behaviour { is_deaf: true, ..LINUX }), Verdict::SackTimeout);
}

#[test]
fn path_mtu_discovery_that_fails_clears_df_or_never_was_is_told() {
    let deaf = Behaviour { obeys_too_big: false, ..LINUX };
    let (run, row) = run(Test::Pmtud, deaf);
    assert_eq!(
        (row.result, row.scope, row.ptb_sent),
        (Verdict::PmtudFail, Scope::Path, Some(4)),
        "{run}"
    );
    let clears = Behaviour { clears_df: true, ..deaf };
    assert_eq!(verdict(Test::Pmtud, clears), Verdict::PmtudClearDf);
    assert_eq!(verdict(Test::Pmtud, Behaviour { sets_df: false, ..LINUX }), Verdict::PmtudNoDf);
    assert_eq!(verdict(Test::Pmtud, Behaviour { page: 500, ..LINUX }), Verdict::PmtudTooSmall);
    assert_eq!(verdict(Test::Pmtud, Behaviour { is_deaf: true, ..LINUX }), Verdict::PmtudNoAck);
}

#[test]
fn what_comes_of_blind_segments_is_told() {
    for test in [Test::BlindRst, Test::BlindSyn] {
        let blind = |blind| verdict(test, Behaviour { blind, ..LINUX });
        assert_eq!(blind(Blind::Accepts), Verdict::BlindAccepted);
        assert_eq!(blind(Blind::Ignores), Verdict::BlindIgnored);
        assert_eq!(blind(Blind::Resets), Verdict::BlindRst);
        assert_eq!(blind(Blind::OpensAnew), Verdict::BlindSynNew);
    }
}

#[test]
fn what_comes_of_data_and_ends_with_a_wrong_acknowledgement_is_told() {
    for test in [Test::BlindData, Test::BlindFin] {
        for (blind, wanted) in [
            (Blind::Accepts, Verdict::BlindAccepted),
            (Blind::Challenges, Verdict::BlindChallenge),
            (Blind::Ignores, Verdict::BlindIgnored),
            (Blind::Resets, Verdict::BlindRst),
        ] {
            let (run, row) = run(test, Behaviour { blind, ..LINUX });
            assert_eq!(row.result, wanted, "{test:?} {blind:?} {run}");
            let sent = if blind == Blind::Resets { 1 } else { 3 };
            assert_eq!(row.blind_sent, Some(sent), "{test:?} {blind:?}");
        }
    }
}

#[test]
fn an_old_connection_between_the_same_ports_is_reset_and_a_new_one_opened() {
    let (run, row) = run(Test::Null, Behaviour { has_old: true, ..LINUX });
    assert_eq!(row.result, Verdict::NullSuccess, "{run}");
    assert_eq!(row.handshake_rtt_us, None, "two SYNs were sent");
}

#[test]
fn who_refuses_or_is_silent_is_a_row_and_wrong_parameters_are_named() {
    let net = |ports: &str| Net::draw(&format!("vantage - target\n target 198.51.100.9 {ports}"));
    let run = |net, params: TbitParams| Sim::new(net, 1).run::<Tbit>(params);
    let plain = || TbitParams::with(TARGET.parse().unwrap());
    assert_eq!(run(net("closed-tcp"), plain()).stop, "tcp-noconn-rst");
    assert_eq!(run(net("silent-tcp"), plain()).stop, "tcp-noconn");
    assert_eq!(run(net("open-tcp"), plain()).stop, "null-nodata");
    let refused = |params: TbitParams| format!("{:?}", run(net("open-tcp"), params).status);
    let wrong = refused(TbitParams { option: Some("sack,nope".to_owned()), ..plain() });
    assert!(wrong.contains("nope") && wrong.contains("accepted: tcpts"), "{wrong}");
    let wrong = refused(TbitParams { url: "ftp://x/".to_owned(), ..plain() });
    assert!(wrong.contains("scamper.tbit.url"), "{wrong}");
}
