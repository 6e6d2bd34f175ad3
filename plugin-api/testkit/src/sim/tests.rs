use std::net::IpAddr;

use serde_json::{Value as Json, json};
use sonde_packet::IpHeader;
use sonde_packet::tcp::{TcpView, flags as tcp_flags};
use sonde_plugin_api::{glue::MethodEntry, prelude::*};

use super::*;
use crate::{Counters, Host};

const SEED: u64 = 42;

params! {
    pub struct EchoParams {
        /// Address to probe.
        destination: IpAddr => "destination.{ip}",
        /// Probes to send.
        count: u16 = 1 => "when.count" { range: 1..=10_000 },
        /// Gap between them.
        period: Duration = Duration::from_secs(1) => "when.period",
        /// How long to wait for each.
        wait: Duration = Duration::from_secs(1) => "test.wait",
        /// Local identifier.
        local: u16 = 0 => "test.local",
    }
}

row! {
    pub struct ReplyRow = "replies" {
        seq: u16,
        addr: Option<IpAddr>,
        rtt_us: Option<u64>,
        errno: Option<u32>,
    }
}

fn reply_row(seq: u16, outcome: &Outcome) -> ReplyRow {
    let reply = outcome.as_reply();
    ReplyRow {
        seq,
        addr: reply.map(Reply::from),
        rtt_us: reply.map(Reply::rtt_us),
        errno: outcome.not_sent().map(|not_sent| not_sent.errno as u32),
    }
}

/// One echo after the other.
struct Echo;

impl Method for Echo {
    const NAME: &'static str = "echo";
    const DOC: &'static str = "Echo requests";
    type Params = EchoParams;
    type Row = ReplyRow;

    async fn run(ctx: Ctx<ReplyRow>, params: EchoParams) -> Result<(), Fail> {
        let flow = ctx.open(FlowSpec::icmp(params.destination).local(params.local)).await?;
        let begin = ctx.now();
        for seq in 0..params.count {
            ctx.sleep_until(begin + params.period * u32::from(seq)).await;
            let outcome = flow.probe(Probe::echo(seq)).timeout(params.wait).await;
            ctx.emit(reply_row(seq, &outcome));
        }
        ctx.stop("complete");
        Ok(())
    }
}

/// All echoes at once; hears late and duplicate answers too.
struct Flood;

impl Method for Flood {
    const NAME: &'static str = "flood";
    const DOC: &'static str = "Echo requests at once";
    const PACKET_BUDGET: Option<u64> = Some(50);
    type Params = EchoParams;
    type Row = ReplyRow;

    async fn run(ctx: Ctx<ReplyRow>, params: EchoParams) -> Result<(), Fail> {
        let flow = ctx.open(FlowSpec::icmp(params.destination)).await?;
        for seq in 0..params.count {
            flow.launch(u32::from(seq), Probe::echo(seq), params.wait);
        }
        let end = ctx.now() + Duration::from_secs(3);
        while let Either::First(heard) = select(flow.next(), ctx.sleep_until(end)).await {
            let Some(label) = heard.label else { continue };
            ctx.emit(reply_row(label as u16, &heard.outcome));
        }
        Ok(())
    }
}

row! {
    pub struct HopRow = "hops" {
        ttl: u8,
        addr: Option<IpAddr>,
        rtt_us: Option<u64>,
    }
}

/// A traceroute without any comfort.
struct Walk;

impl Method for Walk {
    const NAME: &'static str = "walk";
    const DOC: &'static str = "UDP probes with rising TTL";
    type Params = EchoParams;
    type Row = HopRow;

    async fn run(ctx: Ctx<HopRow>, params: EchoParams) -> Result<(), Fail> {
        let flow = ctx.open(FlowSpec::udp(params.destination)).await?;
        for ttl in 1..=30 {
            let probe = Probe::udp(33_435).ttl(ttl).checksum(u16::from(ttl));
            let reply = flow.probe(probe).timeout(params.wait).await.reply();
            let (addr, rtt_us) = (reply.map(|r| r.from()), reply.map(|r| r.rtt_us()));
            ctx.emit(HopRow { ttl, addr, rtt_us });
            if reply.is_some_and(|reply| reply.class() == Class::Unreachable) {
                ctx.stop("reached");
                break;
            }
        }
        Ok(())
    }
}

/// A TCP connection that is closed again, also after an interrupt.
struct Talk;

impl Method for Talk {
    const NAME: &'static str = "talk";
    const DOC: &'static str = "A TCP connection";
    const PARTING_PACKETS: u16 = 1;
    const NEEDS: &'static [Need] = &[Need::QuietKernel];
    type Params = EchoParams;
    type Row = HopRow;

    async fn run(ctx: Ctx<HopRow>, params: EchoParams) -> Result<(), Fail> {
        let flow = ctx.open(FlowSpec::tcp(params.destination).hear_all()).await?;
        let (reply, packet) = flow
            .probe(Probe::tcp_syn(80, 100))
            .timeout(params.wait)
            .capture()
            .await
            .reply()
            .ok_or_else(|| Fail::new("no connection"))?;
        let at = if reply.from().is_ipv4() { 20 } else { 40 };
        let view = TcpView::new(&packet[at..]);
        if view.flags().unwrap() & tcp_flags::RST != 0 {
            return Err(Fail::new("refused"));
        }
        let theirs = view.sequence().unwrap().wrapping_add(1);
        flow.send(Probe::tcp_ack(80, 101, theirs).immediate());
        flow.send(Probe::tcp_ack(80, 102, theirs).payload(b"b").immediate());
        let (_, packet) =
            flow.recv(params.wait).await.ok_or_else(|| Fail::new("no acknowledgement"))?;
        ctx.log(&format!("they expect {:?}", TcpView::new(&packet[at..]).acknowledgement()));
        ctx.until_interrupted(ctx.sleep(Duration::from_secs(60))).await;
        flow.send(Probe::tcp_rst(80, 101));
        flow.send(Probe::tcp_rst(80, 101));
        Ok(())
    }
}

fn to(destination: &str) -> EchoParams {
    EchoParams::with(destination.parse().unwrap())
}

fn v4_and_v6(test: impl Fn(&str)) {
    test("198.51.100.9");
    test("2001:db8:9::9");
}

fn line() -> Net {
    Net::draw("vantage - r1 - r2 - target\ntarget 198.51.100.9 2001:db8:9::9")
}

fn answered(seq: u16, addr: &str, rtt_us: u64) -> Json {
    json!({"seq": seq, "addr": addr, "rtt_us": rtt_us, "errno": null})
}

fn lost(seq: u16) -> Json {
    json!({"seq": seq, "addr": null, "rtt_us": null, "errno": null})
}

#[test]
fn an_echo_is_answered_after_the_delay_of_the_path() {
    v4_and_v6(|target| {
        let run = Sim::new(line(), SEED).run::<Echo>(EchoParams { count: 2, ..to(target) });
        run.expect_done();
        assert_eq!(run.table("replies"), [answered(0, target, 6_000), answered(1, target, 6_000)]);
        assert_eq!(run.took(), Duration::from_millis(1_006));
        assert_eq!(run.stop, "complete");
        assert_eq!((run.counters.sent, run.counters.answered), (2, 2));
    });
}

#[test]
fn rows_are_there_in_their_own_type_too() {
    let run = Sim::new(line(), SEED).run::<Echo>(to("198.51.100.9"));
    let addr = Some("198.51.100.9".parse().unwrap());
    let expected = ReplyRow { seq: 0, addr, rtt_us: Some(6_000), errno: None };
    assert_eq!(run.typed::<ReplyRow>("replies"), [expected]);
    assert_eq!(run.table("replies").column("rtt_us"), [json!(6_000)]);
    assert_eq!(run.table("replies").columns(["seq"]), [json!({"seq": 0})]);
}

#[test]
fn a_lost_probe_times_out_counted_from_its_departure() {
    v4_and_v6(|target| {
        let run = Sim::new(line().drop("target", [1]), SEED).run::<Echo>(to(target));
        assert_eq!(run.table("replies"), [lost(0)]);
        assert_eq!(run.took(), Duration::from_secs(1));
    });
}

#[test]
fn answer_after_timeout_is_not_counted_twice() {
    let net = Net::line(["192.0.2.254", "198.51.100.9"]).delay_us(1, 1_200_000);
    let run = Sim::new(net, SEED).run::<Echo>(to("198.51.100.9"));
    assert_eq!(run.counters.late, 1);
    assert_eq!(run.counters.answered, 0);
    assert_eq!(run.table("replies"), [lost(0)]);
}

#[test]
fn late_and_duplicate_answers_are_heard_where_the_method_asked_for_them() {
    let net = line().duplicate_back("target", [1]).link_back("r1", "reorder 3 by 2s");
    let run = Sim::new(net, SEED).run::<Flood>(EchoParams { count: 3, ..to("198.51.100.9") });
    let seqs: Vec<Json> = run.table("replies").column("seq");
    // The duplicate comes behind all three answers; probe 2 times out before its answer comes.
    assert_eq!(seqs, [0, 1, 0, 2, 2]);
    let Counters { answered, late, duplicates, .. } = run.counters;
    assert_eq!((answered, late, duplicates), (2, 1, 1));
}

#[test]
fn a_walk_finds_every_hop_of_the_drawing() {
    v4_and_v6(|target| {
        let net = line().silent("r1").and("r2 192.0.2.2 2001:db8:2::2");
        let run = Sim::new(net, SEED).run::<Walk>(to(target));
        let r2 = if target.contains(':') { "2001:db8:2::2" } else { "192.0.2.2" };
        assert_eq!(
            run.table("hops"),
            [
                json!({"ttl": 1, "addr": null, "rtt_us": null}),
                json!({"ttl": 2, "addr": r2, "rtt_us": 4_000}),
                json!({"ttl": 3, "addr": target, "rtt_us": 6_000}),
            ]
        );
        assert_eq!(run.stop, "reached");
    });
}

#[test]
fn a_connection_is_opened_acknowledged_and_reset() {
    v4_and_v6(|target| {
        let run = Sim::new(line().and("target tcp 80"), SEED).run::<Talk>(to(target));
        run.expect_done();
        // Octet 101 is missing, so 102 is acknowledged with 101.
        assert_eq!(run.logs[0].text, "they expect Some(101)");
        assert_eq!(run.took(), Duration::from_millis(60_012));
        assert_eq!(run.counters.sent, 5);
    });
}

#[test]
fn an_interrupted_method_has_its_parting_packets_and_no_more() {
    let mut sim = Sim::new(line().and("target tcp 80"), SEED);
    let measurement = sim.start::<Talk>(to("198.51.100.9"));
    sim.run_until(Duration::from_secs(10));
    sim.interrupt(measurement);
    let run = sim.finish(measurement);
    run.expect_done();
    assert_eq!(run.took(), Duration::from_secs(10));
    assert_eq!((run.counters.sent, run.counters.not_sent), (4, 1));
    assert!(run.exchange().to_string().contains("beyond the packets that are left"));
}

#[test]
fn a_method_that_does_not_look_after_interrupts_ends_at_once_and_keeps_its_rows() {
    let mut sim = Sim::new(line(), SEED);
    let measurement = sim.start::<Echo>(EchoParams { count: 10, ..to("198.51.100.9") });
    sim.run_until(Duration::from_millis(1_500));
    sim.interrupt(measurement);
    let run = sim.finish(measurement);
    let text = "interrupted".to_owned();
    assert_eq!(run.status, Status::Failed { kind: FailKind::Interrupted, text });
    assert_eq!(run.table("replies").len(), 2);
}

#[test]
fn a_measurement_that_is_let_go_ends_without_a_word() {
    let mut sim = Sim::new(line(), SEED);
    let measurement = sim.start::<Echo>(EchoParams { count: 10, ..to("198.51.100.9") });
    sim.run_until(Duration::from_millis(1_500));
    sim.cancel(measurement);
    sim.run_to_end();
    assert_eq!(sim.result(measurement).took(), Duration::from_millis(1_500));
    assert_eq!(sim.result(measurement).counters.sent, 2);
}

#[test]
fn a_packet_that_is_not_sent_is_not_lost() {
    let sim = Sim::new(line(), SEED).unsent(105, [2]);
    let params = EchoParams { count: 3, ..to("198.51.100.9") };
    let run = sim.run::<Echo>(params);
    let errnos = run.table("replies").column("errno");
    assert_eq!(errnos, [json!(null), json!(105), json!(null)]);
    assert_eq!((run.counters.sent, run.counters.not_sent), (2, 1));
}

#[test]
fn a_measurement_cannot_send_beyond_its_budget() {
    let params = EchoParams { count: 60, ..to("198.51.100.9") };
    let run = Sim::new(line(), SEED).run::<Flood>(params);
    assert_eq!((run.counters.sent, run.counters.not_sent), (50, 10));
}

#[test]
fn paced_packets_leave_one_by_one_and_time_out_from_their_own_departure() {
    let sim = Sim::new(line().silent("target"), SEED).pacing(10.0);
    let run = sim.run::<Flood>(EchoParams { count: 5, ..to("198.51.100.9") });
    let sent = run.exchange().entries().iter().filter(|(_, e)| matches!(e, Entry::Sent(_)));
    let sent: Vec<u128> = sent.map(|(at, _)| at.as_millis()).collect();
    assert_eq!(sent, [0, 100, 200, 300, 400]);
    assert_eq!(run.table("replies").column("seq"), [0, 1, 2, 3, 4]);
}

#[test]
fn two_measurements_to_one_target_do_not_mix() {
    let mut sim = Sim::new(line().drop("target", [1, 4]), SEED);
    let params = || EchoParams { count: 3, ..to("198.51.100.9") };
    let first = sim.start::<Echo>(params());
    sim.run_until(Duration::from_millis(500));
    let second = sim.start::<Echo>(params());
    sim.run_to_end();
    let rtts = |measurement| sim.result(measurement).table("replies").column("rtt_us");
    assert_eq!(rtts(first), [json!(null), json!(6_000), json!(6_000)]);
    assert_eq!(rtts(second), [json!(6_000), json!(null), json!(6_000)]);
}

#[test]
fn a_local_identifier_cannot_be_used_twice() {
    let mut sim = Sim::new(line(), SEED);
    let params = || EchoParams { count: 3, local: 7, ..to("198.51.100.9") };
    let first = sim.start::<Echo>(params());
    let second = sim.start::<Echo>(params());
    sim.run_to_end();
    sim.result(first).expect_done();
    let Status::Failed { kind, text } = sim.result(second).status else { panic!("not failed") };
    assert_eq!(kind, FailKind::Error);
    assert!(text.contains("cannot open a flow to 198.51.100.9"), "{text}");
}

#[test]
fn without_an_address_of_the_family_no_flow_opens() {
    let net = line().and("vantage 192.0.2.77");
    let run = Sim::new(net, SEED).run::<Echo>(to("2001:db8:9::9"));
    let Status::Failed { text, .. } = &run.status else { panic!("{run}") };
    assert_eq!(text, "cannot open a flow to 2001:db8:9::9: no IPv6 address");
}

#[test]
fn a_method_that_panics_fails_alone() {
    struct Panics;
    impl Method for Panics {
        const NAME: &'static str = "panics";
        const DOC: &'static str = "Panics";
        type Params = EchoParams;
        type Row = HopRow;

        async fn run(ctx: Ctx<HopRow>, params: EchoParams) -> Result<(), Fail> {
            ctx.sleep(Duration::from_millis(2)).await;
            assert_eq!(params.count, 0, "on purpose");
            Ok(())
        }
    }
    let mut sim = Sim::new(line(), SEED);
    let other = sim.start::<Echo>(to("198.51.100.9"));
    let panics = sim.start::<Panics>(to("198.51.100.9"));
    sim.run_to_end();
    sim.result(other).expect_done();
    let Status::Failed { kind, text } = sim.result(panics).status else { panic!("not failed") };
    assert_eq!(kind, FailKind::Panic);
    assert!(text.contains("on purpose"), "{text}");
}

#[test]
fn a_method_that_waits_for_ever_is_still_running_when_nothing_is_left() {
    struct Waits;
    impl Method for Waits {
        const NAME: &'static str = "waits";
        const DOC: &'static str = "Waits";
        type Params = EchoParams;
        type Row = HopRow;

        async fn run(ctx: Ctx<HopRow>, params: EchoParams) -> Result<(), Fail> {
            match params.count {
                1 => ctx.sleep(Duration::MAX).await,
                _ => std::future::pending().await,
            }
            Ok(())
        }
    }
    for count in [1, 2] {
        let params = EchoParams { count, ..to("198.51.100.9") };
        assert_eq!(Sim::new(line(), SEED).run::<Waits>(params).status, Status::Running);
    }
}

#[test]
fn an_instance_behind_its_interface_runs_as_the_method_itself() {
    static METHODS: &[MethodEntry] = &[MethodEntry::of::<Walk>(), MethodEntry::of::<Echo>()];
    let methods = METHODS.iter().map(MethodEntry::describe).collect();
    let descriptor = Descriptor::new("test", "1.0.0", methods);
    let instance = sonde_plugin_api::glue::instance_of(METHODS);
    let sim = Sim::with_instance(instance, descriptor, line(), SEED);
    let run = sim.run_named("echo", [("destination", "198.51.100.9"), ("count", "2")]).unwrap();
    let own = Sim::new(line(), SEED).run::<Echo>(EchoParams { count: 2, ..to("198.51.100.9") });
    assert_eq!(run.tables(), own.tables());
    assert_eq!(run.exchange(), own.exchange());
}

#[test]
fn the_same_seed_gives_the_same_exchange_and_another_seed_another() {
    let run = |seed| {
        let net = line().and("links loss 10% jitter 3ms duplicate 5%");
        let run = Sim::new(net, seed).run::<Echo>(EchoParams { count: 50, ..to("198.51.100.9") });
        (run.tables(), run.exchange().clone())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn a_failed_comparison_shows_every_packet() {
    let run = Sim::new(line(), SEED).run::<Echo>(to("198.51.100.9"));
    let shown = format!("{:?}", run.table("replies"));
    assert!(shown.contains("0.000000 -> 192.0.2.1 > 198.51.100.9 ICMP echo request"), "{shown}");
    assert!(shown.contains("0.006000 <- 198.51.100.9 > 192.0.2.1 ICMP echo reply"), "{shown}");
    let panicked = std::panic::catch_unwind(|| run.expect(false, "all wrong")).unwrap_err();
    let text = panicked.downcast_ref::<String>().unwrap();
    assert!(text.contains("all wrong\necho: Done") && text.contains("echo reply"), "{text}");
}

#[test]
fn a_server_with_a_fault_is_written_in_a_few_lines() {
    /// Answers every segment with a reset.
    struct Resets;
    impl Host for Resets {
        fn receive(&mut self, packet: &[u8], _: Duration, net: &mut crate::Outbox<'_>) {
            let header = IpHeader::parse(packet).unwrap();
            let view = TcpView::new(header.transport(packet));
            let reset = sonde_packet::Packet {
                ip: sonde_packet::Ip::plain(header.destination, header.source),
                transport: sonde_packet::Transport::Tcp(sonde_packet::TcpSegment {
                    source_port: view.destination_port().unwrap(),
                    destination_port: view.source_port().unwrap(),
                    acknowledgement: view.sequence().unwrap().wrapping_add(1),
                    flags: tcp_flags::RST | tcp_flags::ACK,
                    ..sonde_packet::TcpSegment::default()
                }),
                payload: sonde_packet::Payload::Zeros(0),
                checksum: None,
            };
            net.send(reset.to_vec().unwrap());
        }
    }
    v4_and_v6(|target| {
        let run = Sim::new(line().host("target", Resets), SEED).run::<Talk>(to(target));
        let Status::Failed { text, .. } = &run.status else { panic!("{run}") };
        assert_eq!(text, "refused");
        assert_eq!(run.counters.answered, 1);
    });
}

#[test]
fn probes_leave_through_the_neighbour_that_the_flow_names() {
    struct Through;
    impl Method for Through {
        const NAME: &'static str = "through";
        const DOC: &'static str = "One echo through a neighbour";
        type Params = EchoParams;
        type Row = ReplyRow;

        async fn run(ctx: Ctx<ReplyRow>, params: EchoParams) -> Result<(), Fail> {
            for gateway in ["192.0.2.2", "192.0.2.9"] {
                let gateway = gateway.parse()?;
                let spec = FlowSpec::icmp(params.destination).gateway(gateway);
                let flow = ctx.open(spec).await?;
                let outcome = flow.probe(Probe::echo(1).ttl(1)).timeout(params.wait).await;
                ctx.emit(reply_row(1, &outcome));
            }
            Ok(())
        }
    }
    let net = line().and("vantage - other - target\nother 192.0.2.2");
    let run = Sim::new(net, SEED).run::<Through>(to("198.51.100.9"));
    assert_eq!(run.table("replies"), [answered(1, "192.0.2.2", 2_000)]);
    let Status::Failed { text, .. } = &run.status else { panic!("{run}") };
    assert!(text.contains("192.0.2.9 is no neighbour"), "{text}");
}

#[test]
fn ten_thousand_measurements_run_side_by_side() {
    let net = Net::draw("vantage - r1 - many\nmany 10.64.0.0/16\nlinks loss 5%");
    let mut sim = Sim::new(net, SEED).keep_entries(0);
    let started: Vec<_> = (0..10_000u16)
        .map(|number| {
            let [high, low] = number.to_be_bytes();
            sim.start::<Echo>(to(&format!("10.64.{high}.{low}")))
        })
        .collect();
    sim.run_to_end();
    let answered: u64 = started.iter().map(|one| sim.result(*one).counters.answered).sum();
    // Four crossings of a link: 0.95^4 is 0.8145.
    assert!((7_900..8_400).contains(&answered), "{answered} answered");
}

#[test]
fn a_plugin_that_wants_the_impossible_fails_and_the_simulation_goes_on() {
    use sonde_plugin_api::{
        __private::abi_stable::sabi_trait::TD_Opaque,
        abi::{Action, ActionKind, Batch, Instance, Instance_TO, Out, Usage},
    };

    struct Hostile;
    impl Instance for Hostile {
        fn poll(&mut self, _: Batch<'_>, out: &mut Out) {
            let action = |kind, len, flow| Action { kind, len, flow, ..Action::ZERO };
            out.actions.push(action(ActionKind::Row, 1_000, 0));
            out.actions.push(action(ActionKind(99), 0, 0));
            out.actions.push(action(ActionKind::OpenFlow, 0, 0));
            out.actions.push(Action { task: 77, ..action(ActionKind::Finish, 0, 0) });
            out.actions.push(action(ActionKind::CloseFlow, 0, 5));
            out.actions.push(action(ActionKind::Cancel, 0, 5));
            out.actions.push(action(ActionKind::Send, 0, 5));
            out.actions.push(action(ActionKind::Finish, 0, 0));
        }

        fn usage(&self) -> Usage {
            Usage::default()
        }
    }
    let methods = vec![sonde_plugin_api::glue::describe_method::<Echo>()];
    let descriptor = Descriptor::new("hostile", "1.0.0", methods);
    let instance = Instance_TO::from_value(Hostile, TD_Opaque);
    let sim = Sim::with_instance(instance, descriptor, line(), SEED);
    let run = sim.run_named("echo", [("destination", "198.51.100.9")]).unwrap();
    let Status::Failed { text, .. } = &run.status else { panic!("{run}") };
    assert_eq!(text, "the plugin sent on a flow that is not open");
    assert!(run.exchange().to_string().contains("the plugin wants the impossible"), "{run}");
}
