//! `sonde_plugin_api::tcp` through a network that loses, doubles and reorders.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::{cell::Cell, rc::Rc};

use sonde_plugin_api::{
    packet::{
        ErrorKind, ErrorMessage, Ip, IpHeader, Packet, Payload, TcpSegment, Transport,
        tcp::{TcpView, flags},
    },
    prelude::*,
    tcp::{Connection, Offer, Opening},
};
use sonde_testkit::{
    Host, Net, Outbox, Sim, Status,
    servers::{Behaviour, PageServer},
};

params! {
    /// Whom to talk to.
    pub struct TalkParams { destination: IpAddr => "destination.{ip}" }
}

row! {
    /// What became of it.
    pub struct TalkRow = "talk" {
        is_acknowledged: bool,
        is_closed: bool,
        is_reset: bool,
        number: u32,
    }
}

/// Sends 20,000 octets and closes.
pub struct Talk;

impl Method for Talk {
    const NAME: &'static str = "talk";
    const DOC: &'static str = "talks to who listens";
    type Params = TalkParams;
    type Row = TalkRow;

    async fn run(ctx: Ctx<TalkRow>, params: TalkParams) -> Result<(), Fail> {
        let spec = FlowSpec::tcp(params.destination).key(Key::None).hear_all();
        let flow = ctx.open(spec).await?;
        let offer = Offer { mss: Some(1200), sack: true, ..Offer::default() };
        // Its numbers wrap around on the way.
        let opening = Opening { offer, sequence: Some(u32::MAX - 5000), ..Opening::to(80) };
        let opened = Connection::open(&ctx, &flow, &opening, None).await;
        let mut connection = opened.map_err(|refusal| Fail::new(format!("{refusal:?}")))?;
        connection.most_repeats = 8;
        connection.write(&[7; 20_000]);
        while connection.sending.is_outstanding() && !connection.is_given_up() {
            connection.receive(Duration::from_secs(120)).await;
        }
        let is_acknowledged = !connection.is_given_up() && connection.sending.waiting() == 0;
        let number = connection.sending.acknowledged();
        connection.close(Duration::from_secs(60)).await;
        ctx.emit(TalkRow {
            is_acknowledged,
            is_closed: connection.sending.is_finished() && connection.received.is_finished(),
            is_reset: connection.is_reset(),
            number,
        });
        Ok(())
    }
}

#[test]
fn all_octets_arrive_and_both_ends_close_whatever_the_network_does() {
    for (target, seeds) in [("198.51.100.9", 1..=15), ("2001:db8:9::9", 1..=15)] {
        for seed in seeds {
            let net = Net::draw(
                "vantage - r1 - target
                 target 198.51.100.9 2001:db8:9::9 tcp 80
                 link r1 target loss 8% duplicate 8% reorder 15% by 7ms corrupt 2%",
            );
            let params = TalkParams::with(target.parse().unwrap());
            let run = Sim::new(net, seed).run::<Talk>(params);
            let row = &run.typed::<TalkRow>("talk")[0];
            assert!(row.is_acknowledged, "{run}");
            assert_eq!(row.number, (u32::MAX - 5000).wrapping_add(20_001), "{run}");
        }
    }
}

#[test]
fn without_losses_the_connection_is_closed_by_both_and_never_reset() {
    let net = Net::draw("vantage - r1 - target\n target 198.51.100.9 tcp 80");
    let run = Sim::new(net, 1).run::<Talk>(TalkParams::with("198.51.100.9".parse().unwrap()));
    let row = &run.typed::<TalkRow>("talk")[0];
    assert!(row.is_closed && !row.is_reset, "{run}");
}

/// Opens a connection, says something, and then makes a mistake.
pub struct Stumbles;

impl Method for Stumbles {
    const NAME: &'static str = "stumbles";
    const DOC: &'static str = "panics in the middle of a connection";
    type Params = TalkParams;
    type Row = TalkRow;

    async fn run(ctx: Ctx<TalkRow>, params: TalkParams) -> Result<(), Fail> {
        let spec = FlowSpec::tcp(params.destination).key(Key::None).hear_all();
        let flow = ctx.open(spec).await?;
        let opened = Connection::open(&ctx, &flow, &Opening::to(80), None).await;
        let mut connection = opened.map_err(|refusal| Fail::new(format!("{refusal:?}")))?;
        connection.write(b"GET / ");
        connection.next(Duration::from_secs(1)).await;
        panic!("of a mistake");
    }
}

#[test]
fn the_connection_of_a_method_that_panics_is_reset_with_the_number_that_the_server_expects() {
    for target in ["198.51.100.9", "2001:db8:9::9"] {
        let net = Net::draw("vantage - r1 - target\n target 198.51.100.9 2001:db8:9::9");
        let server = PageServer::new(Behaviour::LINUX);
        let resets = server.resets();
        let params = TalkParams::with(target.parse().unwrap());
        let run = Sim::new(net.host("target", server), 1).run::<Stumbles>(params);
        assert!(matches!(&run.status, Status::Failed { text, .. } if text.contains("mistake")));
        assert_eq!(resets.get(), 1, "{run}");
        let number = |packet: &[u8]| {
            let header = IpHeader::parse(packet).unwrap();
            TcpView::new(header.transport(packet)).sequence().unwrap()
        };
        let sent: Vec<u32> = run.exchange().sent().map(number).collect();
        let (syn, reset) = (sent[0], sent[sent.len() - 1]);
        assert_eq!(reset, syn.wrapping_add(1 + b"GET / ".len() as u32), "{run}");
    }
}

#[test]
fn a_peer_that_stops_acknowledging_is_given_up_and_reset() {
    let net = Net::draw("vantage - target\n target 198.51.100.9 tcp 80");
    let run = Sim::new(net.drop("target", 5..500), 1)
        .run::<Talk>(TalkParams::with("198.51.100.9".parse().unwrap()));
    let row = &run.typed::<TalkRow>("talk")[0];
    assert!(!row.is_acknowledged && !row.is_closed && row.is_reset, "{run}");
}

/// A segment back to where `packet` came from.
fn back(packet: &[u8], segment: TcpSegment<'_>) -> Vec<u8> {
    let header = IpHeader::parse(packet).unwrap();
    let view = TcpView::new(header.transport(packet));
    let transport = Transport::Tcp(TcpSegment {
        source_port: view.destination_port().unwrap(),
        destination_port: view.source_port().unwrap(),
        ..segment
    });
    let ip = Ip::plain(header.destination, header.source);
    let packet = Packet { ip, transport, payload: Payload::Octets(&[]), checksum: None };
    packet.to_vec().unwrap()
}

/// Answers a SYN as who guesses its ports would, and then as the server does.
struct Forged(PageServer);

impl Host for Forged {
    fn receive(&mut self, packet: &[u8], now: Duration, net: &mut Outbox<'_>) {
        let header = IpHeader::parse(packet).unwrap();
        let view = TcpView::new(header.transport(packet));
        if view.flags() == Some(flags::SYN) {
            let mut guessed = packet.to_vec();
            guessed[header.header_octets + 4] ^= 1;
            let error = ErrorMessage {
                source: header.destination,
                destination: header.source,
                ttl: 64,
                kind: ErrorKind::Unreachable(1),
                quoted: &guessed,
                quoted_octets: 28,
                extensions: &[],
            };
            net.send(error.to_vec().unwrap());
            let wrong = TcpSegment {
                sequence: 99,
                acknowledgement: 99,
                flags: flags::SYN | flags::ACK,
                ..TcpSegment::default()
            };
            net.send(back(packet, wrong));
        }
        self.0.receive(packet, now, net);
    }
}

#[test]
fn who_guesses_the_ports_of_a_syn_cannot_keep_it_from_its_connection() {
    let net = Net::draw("vantage - target\n target 198.51.100.9");
    let net = net.host("target", Forged(PageServer::new(Behaviour::LINUX)));
    let run = Sim::new(net, 1).run::<Talk>(TalkParams::with("198.51.100.9".parse().unwrap()));
    run.expect_done();
    assert!(run.typed::<TalkRow>("talk")[0].is_acknowledged, "{run}");
    let resets = run.exchange().sent().filter(|packet| packet[20 + 13] == flags::RST);
    assert_eq!(resets.count(), 1, "to whom the wrong answer may be from: {run}");
}

/// Takes what comes in order in a small window, says nothing of its largest segment, and an acknowledgement of its comes late,
/// with the window of before.
#[derive(Default)]
struct OutOfDate {
    expected: u32,
    longest: Rc<Cell<usize>>,
}

impl Host for OutOfDate {
    fn receive(&mut self, packet: &[u8], _: Duration, net: &mut Outbox<'_>) {
        let header = IpHeader::parse(packet).unwrap();
        let view = TcpView::new(header.transport(packet));
        let mut answer = |bits: u8, acknowledgement: u32, window: u16, after_ms: u64| {
            let segment = TcpSegment {
                sequence: if bits & flags::SYN == 0 { 100 } else { 99 },
                acknowledgement,
                flags: bits,
                window,
                ..TcpSegment::default()
            };
            net.send_after(Duration::from_millis(after_ms), back(packet, segment));
        };
        let (sequence, octets) = (view.sequence().unwrap(), view.payload().len());
        if view.flags() == Some(flags::SYN) {
            self.expected = sequence.wrapping_add(1);
            answer(flags::SYN | flags::ACK, self.expected, 4000, 0);
        } else if octets > 0 && sequence == self.expected {
            answer(flags::ACK, self.expected, 0, 5);
            self.expected = self.expected.wrapping_add(octets as u32);
            answer(flags::ACK, self.expected, 4000, 0);
            self.longest.set(self.longest.get().max(octets));
        }
    }
}

/// Says something, hears what comes of it, and says something else.
pub struct Pauses;

impl Method for Pauses {
    const NAME: &'static str = "pauses";
    const DOC: &'static str = "talks in two parts";
    type Params = TalkParams;
    type Row = TalkRow;

    async fn run(ctx: Ctx<TalkRow>, params: TalkParams) -> Result<(), Fail> {
        let spec = FlowSpec::tcp(params.destination).key(Key::None).hear_all();
        let flow = ctx.open(spec).await?;
        let opened = Connection::open(&ctx, &flow, &Opening::to(80), None).await;
        let mut connection = opened.map_err(|refusal| Fail::new(format!("{refusal:?}")))?;
        for _ in 0..2 {
            connection.write(&[7; 1300]);
            while connection.next(Duration::from_millis(50)).await.is_some() {}
        }
        ctx.emit(TalkRow {
            is_acknowledged: connection.sending.waiting() == 0,
            is_closed: false,
            is_reset: connection.is_reset(),
            number: connection.sending.acknowledged(),
        });
        Ok(())
    }
}

#[test]
fn the_window_is_that_of_the_newest_acknowledgement_and_segments_are_as_long_as_everybody_takes() {
    for (target, longest) in [("198.51.100.9", 536), ("2001:db8:9::9", 1220)] {
        let net = Net::draw("vantage - target\n target 198.51.100.9 2001:db8:9::9");
        let server = OutOfDate::default();
        let seen = Rc::clone(&server.longest);
        let run = Sim::new(net.host("target", server), 1)
            .run::<Pauses>(TalkParams::with(target.parse().unwrap()));
        assert!(run.typed::<TalkRow>("talk")[0].is_acknowledged, "{run}");
        assert_eq!(seen.get(), longest, "{run}");
    }
}

/// Resets what it hears of, as who has guessed a number in the window.
struct Guesses {
    server: PageServer,
    off: u32,
}

impl Host for Guesses {
    fn receive(&mut self, packet: &[u8], now: Duration, net: &mut Outbox<'_>) {
        self.server.receive(packet, now, net);
        let header = IpHeader::parse(packet).unwrap();
        let view = TcpView::new(header.transport(packet));
        let guess = TcpSegment {
            sequence: view.acknowledgement().unwrap().wrapping_add(self.off),
            flags: flags::RST,
            ..TcpSegment::default()
        };
        if view.flags() != Some(flags::SYN) {
            net.send(back(packet, guess));
        }
    }
}

#[test]
fn a_reset_that_only_lies_in_the_window_is_not_believed_and_asked_about_a_few_times() {
    for off in [1, 1000, 60_000, u32::MAX] {
        let net = Net::draw("vantage - target\n target 198.51.100.9");
        let server = PageServer::new(Behaviour::LINUX);
        let net = net.host("target", Guesses { server, off });
        let run = Sim::new(net, 1).run::<Pauses>(TalkParams::with("198.51.100.9".parse().unwrap()));
        let row = &run.typed::<TalkRow>("talk")[0];
        assert!(row.is_acknowledged && !row.is_reset, "{off} {run}");
        assert!(run.exchange().sent().count() <= 2 + 2 + 10 + 1, "{run}");
    }
    let net = Net::draw("vantage - target\n target 198.51.100.9");
    let net = net.host("target", Guesses { server: PageServer::new(Behaviour::LINUX), off: 0 });
    let run = Sim::new(net, 1).run::<Pauses>(TalkParams::with("198.51.100.9".parse().unwrap()));
    assert!(run.typed::<TalkRow>("talk")[0].is_reset, "the number that is due: {run}");
}
