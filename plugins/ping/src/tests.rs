use std::collections::BTreeSet;

use sonde_plugin_api::{
    abi::FailKind,
    descriptor::Descriptor,
    glue::{describe_json, describe_method},
    packet::{
        IpHeader,
        tcp::{TcpView, flags},
    },
    prelude::*,
    schema::{Field, Value},
};
use sonde_testkit::{Entry, Net, Run, Sim, Status, json};

use crate::{
    METHODS, Ping,
    kind::Kind::{self, IcmpEcho, IcmpTime, TcpAck, TcpAckSport, TcpSyn, Udp, UdpDport},
    params::PingParams,
    rows::{ReplyRow, SummaryRow},
};

const SEED: u64 = 1;
const TARGET4: &str = "198.51.100.9";
const TARGET6: &str = "2001:db8:9::9";
fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The kinds that exist in the family of an address.
fn kinds(target: &str) -> Vec<Kind> {
    let exists = |kind: &Kind| *kind != IcmpTime || target == TARGET4;
    Kind::ALL.iter().copied().filter(exists).collect()
}

fn ping(destination: &str, count: u32) -> PingParams {
    PingParams { count, ..PingParams::with(destination.parse().unwrap()) }
}

fn ping_by(method: Kind, count: u32) -> PingParams {
    PingParams { method, ..ping(TARGET4, count) }
}

/// Two links of 1 ms each way; every answer of the target takes 4 ms.
fn net() -> Net {
    Net::draw(
        "vantage - r1 - target
         r1 192.0.2.254 2001:db8:1::1
         target 198.51.100.9 2001:db8:9::9",
    )
}

fn run_in(net: Net, params: PingParams) -> Run {
    let run = Sim::new(net, SEED).run::<Ping>(params);
    run.expect_done();
    run
}

fn summary(run: &Run) -> SummaryRow {
    let mut rows = run.typed::<SummaryRow>("summary");
    assert_eq!(rows.len(), 1, "{run}");
    rows.remove(0)
}

/// Sequence numbers of the rows of a kind, in the order in which they were emitted.
fn of_kind(run: &Run, kind: &str) -> Vec<u32> {
    let rows = run.typed::<ReplyRow>("replies");
    rows.iter().filter(|row| row.kind == kind).map(|row| row.seq).collect()
}

fn transports(run: &Run) -> Vec<&[u8]> {
    let transport = |packet| IpHeader::parse(packet).unwrap().transport(packet);
    run.exchange().sent().map(transport).collect()
}

/// Ports or whatever else stands in this word of the transport headers of what was sent.
fn words_at(run: &Run, at: usize) -> Vec<u16> {
    let word = |octets: &[u8]| u16::from_be_bytes([octets[at], octets[at + 1]]);
    transports(run).into_iter().map(word).collect()
}

fn refusal(params: PingParams) -> String {
    let run = Sim::new(net(), SEED).run::<Ping>(params);
    assert_eq!(run.counters.sent, 0, "{run}");
    match &run.status {
        Status::Failed { kind: FailKind::BadParams, text } => text.clone(),
        _ => panic!("not refused\n{run}"),
    }
}

fn view(run: &Run, label: &str) -> Vec<Vec<Value>> {
    let method = describe_method::<Ping>();
    let (_, table) = method.table("replies").unwrap();
    let values = |row: &ReplyRow| match row.to_value() {
        Value::Map(fields) => fields.into_iter().map(|(_, value)| value).collect(),
        other => panic!("a row is no {other:?}"),
    };
    let rows: Vec<Vec<Value>> = run.typed("replies").iter().map(values).collect();
    let view = method.capabilities.iter().find(|view| view.label == label).unwrap();
    view.evaluate(table, &rows)
}

#[test]
fn each_kind_of_probe_is_answered_in_both_families() {
    for target in [TARGET4, TARGET6] {
        for method in kinds(target) {
            let run = run_in(net(), PingParams { method, ..ping(target, 3) });
            let row = |seq| json!({"seq": seq, "kind": "reply", "addr": target, "rtt_us": 4000});
            let rows = run.table("replies").columns(["seq", "kind", "addr", "rtt_us"]);
            assert_eq!(rows, [row(0), row(1), row(2)], "{method:?}");
            let SummaryRow { sent, answered, loss, .. } = summary(&run);
            assert_eq!((sent, answered, loss), (3, 3, Some(0.0)), "{run}");
            assert_eq!((run.stop.as_str(), run.foreign), ("complete", 0), "{run}");
        }
    }
}

#[test]
fn probes_leave_by_the_clock_while_answers_are_on_their_way() {
    for method in kinds(TARGET4) {
        let params = PingParams { period: ms(7), ..ping_by(method, 100) };
        let run = run_in(net().and("link r1 target delay 150ms jitter 5ms"), params);
        let sent = run.exchange().entries().iter().filter(|(_, e)| matches!(e, Entry::Sent(_)));
        assert!(sent.map(|(at, _)| *at).eq((0..100).map(|n| ms(7) * n)), "{run}");
        assert_eq!(summary(&run).answered, 100, "{run}");
    }
}

#[test]
fn probes_that_are_lost_are_those_without_an_answer() {
    let run = run_in(net().drop("target", [2, 5]).drop_back("target", [4]), ping(TARGET4, 6));
    assert_eq!(of_kind(&run, "timeout"), [1, 4, 5]);
    assert_eq!(of_kind(&run, "reply"), [0, 2, 3]);
    let SummaryRow { sent, answered, lost, loss, .. } = summary(&run);
    assert_eq!((sent, answered, lost, loss), (6, 3, 3, Some(0.5)));
}

#[test]
fn random_loss_is_measured_and_the_same_seed_gives_the_same_rows() {
    let lossy = |seed| {
        let params = PingParams { period: ms(1), ..ping(TARGET4, 3000) };
        Sim::new(net().loss("target", 0.3), seed).run::<Ping>(params)
    };
    let (first, again, other) = (lossy(1), lossy(1), lossy(2));
    assert_eq!(first.tables(), again.tables());
    assert_ne!(first.tables(), other.tables());
    for run in [first, other] {
        let loss = summary(&run).loss.unwrap();
        assert!((0.27..0.33).contains(&loss), "{loss}");
    }
}

#[test]
fn a_second_answer_is_a_duplicate_and_no_answer() {
    let run = run_in(net().duplicate_back("target", [2]), ping(TARGET4, 3));
    let row = |seq, duplicate| json!({"seq": seq, "kind": "reply", "duplicate": duplicate});
    let rows = run.table("replies").columns(["seq", "kind", "duplicate"]);
    assert_eq!(rows, [row(0, false), row(1, false), row(1, true), row(2, false)]);
    let SummaryRow { answered, duplicates, lost, .. } = summary(&run);
    assert_eq!((answered, duplicates, lost), (3, 1, 0));
}

#[test]
fn an_answer_after_the_timeout_is_late_and_its_probe_lost() {
    let net = || net().and("link r1 <- target reorder 2 by 1500ms");
    let patient = PingParams { wait: ms(1600), ..ping(TARGET4, 4) };
    assert_eq!(summary(&run_in(net(), patient)).max_us, Some(1_504_000));
    let run = run_in(net(), ping(TARGET4, 4));
    let row = |seq, kind, late| json!({"seq": seq, "kind": kind, "late": late});
    let rows = run.table("replies").columns(["seq", "kind", "late"]);
    let answer = |seq| row(seq, "reply", false);
    let expected =
        [answer(0), row(1, "timeout", false), answer(2), row(1, "reply", true), answer(3)];
    assert_eq!(rows, expected);
    let SummaryRow { answered, late, lost, max_us, .. } = summary(&run);
    assert_eq!((answered, late, lost, max_us), (3, 1, 1, Some(4000)));
}

#[test]
fn a_router_where_the_ttl_ends_is_an_error_and_the_target_lost() {
    for (target, router, icmp_type) in [(TARGET4, "192.0.2.254", 11), (TARGET6, "2001:db8:1::1", 3)]
    {
        for method in kinds(target) {
            let run = run_in(net(), PingParams { method, ttl: 1, ..ping(target, 20) });
            let rows = run.typed::<ReplyRow>("replies");
            for row in &rows {
                assert_eq!((row.kind.as_str(), row.icmp_type), ("error", Some(icmp_type)), "{run}");
                assert_eq!((row.addr, row.probe_ttl), (router.parse().ok(), 1), "{run}");
            }
            let SummaryRow { answered, errors, lost, loss, min_us, .. } = summary(&run);
            assert_eq!((answered, errors, lost, loss), (0, 20, 20, Some(1.0)), "{run}");
            assert_eq!(min_us, None);
            // Nothing but the probes: there is nobody to take leave of.
            assert_eq!((rows.len(), run.counters.sent), (20, 20), "{run}");
        }
    }
}

#[test]
fn port_unreachable_is_an_answer_of_the_target_and_an_error_of_a_router() {
    for (target, network, code) in
        [(TARGET4, "198.51.100.0/24", 3), (TARGET6, "2001:db8:9::/48", 4)]
    {
        for method in [Udp, UdpDport] {
            let params = PingParams { method, ..ping(target, 2) };
            let by_target = run_in(net(), params.clone());
            assert_eq!(by_target.table("replies").column("icmp_code"), [code, code]);
            assert_eq!(of_kind(&by_target, "reply"), [0, 1]);
            let refusing = format!("r1 refuse {network} code {code}");
            let by_router = run_in(net().and(&refusing), params);
            assert_eq!(by_router.table("replies").column("icmp_code"), [code, code]);
            assert_eq!(of_kind(&by_router, "error"), [0, 1]);
        }
    }
}

#[test]
fn udp_data_is_an_answer() {
    let run = run_in(net().attributes("target", "echo-udp"), ping_by(Udp, 2));
    assert_eq!(run.table("replies").column("kind"), ["reply", "reply"]);
    assert_eq!(run.table("replies").column("icmp_type"), [json!(null), json!(null)]);
}

#[test]
fn a_connection_is_reset_once_where_it_was_accepted() {
    for target in [TARGET4, TARGET6] {
        let params = PingParams { method: TcpSyn, ..ping(target, 3) };
        let run = run_in(net().attributes("target", "tcp 80"), params);
        let both = flags::SYN | flags::ACK;
        assert_eq!(run.table("replies").column("tcp_flags"), [both, both, both]);
        let sent: Vec<TcpView<'_>> = transports(&run).into_iter().map(TcpView::new).collect();
        let bits: Vec<u8> = sent.iter().filter_map(TcpView::flags).collect();
        let (syn, rst) = (flags::SYN, flags::RST);
        assert_eq!(bits, [syn, rst, syn, rst, syn, rst], "{run}");
        for pair in sent.chunks(2) {
            let next = pair[0].sequence().map(|sequence| sequence.wrapping_add(1));
            assert_eq!((pair[1].sequence(), pair[1].source_port()), (next, pair[0].source_port()));
        }
    }
    assert_eq!(run_in(net(), ping_by(TcpSyn, 3)).counters.sent, 3, "a refusal needs no reset");
}

#[test]
fn answers_that_overtake_each_other_find_their_probes() {
    let row = |seq, rtt_us| json!({"seq": seq, "rtt_us": rtt_us});
    for target in [TARGET4, TARGET6] {
        for method in kinds(target) {
            let params = PingParams { method, period: ms(10), ..ping(target, 4) };
            let run = run_in(net().and("link r1 <- target reorder 1 by 25ms"), params);
            let rows = run.table("replies").columns(["seq", "rtt_us"]);
            let expected = [row(1, 4000), row(2, 4000), row(0, 29_000), row(3, 4000)];
            assert_eq!(rows, expected, "{method:?}");
        }
    }
}

#[test]
fn tcp_ack_probes_share_a_port_and_differ_in_their_number() {
    let run = run_in(net(), ping_by(TcpAck, 3));
    let ports = words_at(&run, 0);
    assert!(ports.iter().all(|port| *port == ports[0]), "{run}");
    let number = |octets| TcpView::new(octets).acknowledgement().unwrap();
    let numbers: Vec<u32> = transports(&run).into_iter().map(number).collect();
    assert_eq!(numbers, [0, 1, 2].map(|n| numbers[0].wrapping_add(n)));
}

#[test]
fn tcp_ack_sport_probes_have_a_port_each() {
    let ports: BTreeSet<u16> =
        words_at(&run_in(net(), ping_by(TcpAckSport, 20)), 0).into_iter().collect();
    assert_eq!(ports.len(), 20);
    let params = PingParams { sport: 40_000, ..ping_by(TcpAckSport, 3) };
    assert_eq!(words_at(&run_in(net(), params), 0), [40_000, 40_001, 40_002]);
}

#[test]
fn udp_dport_probes_count_the_destination_port_up() {
    let params = PingParams { dport: 65_534, ..ping_by(UdpDport, 4) };
    assert_eq!(words_at(&run_in(net(), params), 2), [65_534, 65_535, 0, 1]);
}

#[test]
fn two_pings_at_once_keep_apart() {
    let net = net().and("vantage - other\n other 203.0.113.7");
    let mut sim = Sim::new(net.drop("target", [3]), SEED);
    let first = sim.start::<Ping>(PingParams { sport: 7, ..ping(TARGET4, 3) });
    let same_target = sim.start::<Ping>(ping(TARGET4, 3));
    let same_identifier = sim.start::<Ping>(PingParams { sport: 7, ..ping("203.0.113.7", 3) });
    sim.run_to_end();
    // The third packet towards the target is the second one of the first ping.
    for (measurement, lost) in [(first, 1), (same_target, 0), (same_identifier, 0)] {
        let run = sim.result(measurement);
        let SummaryRow { answered, duplicates, .. } = summary(&run);
        assert_eq!((answered, duplicates, run.foreign), (3 - lost, 0, 0), "{run}");
    }
}

#[test]
fn the_largest_count_of_probes_is_answered_to_the_last() {
    let params = PingParams { period: ms(1), ..ping(TARGET4, 65_535) };
    let run = Sim::new(net(), SEED).keep_entries(0).run::<Ping>(params);
    assert_eq!(summary(&run).answered, 65_535);
    assert_eq!(of_kind(&run, "reply"), (0..65_535).collect::<Vec<_>>());
}

#[test]
fn it_stops_after_enough_answers() {
    for method in [IcmpEcho, TcpAckSport] {
        let params = PingParams { rcount: 2, ..ping_by(method, 10) };
        let run = run_in(net().drop("target", [1]), params);
        assert_eq!(run.stop, "enough answers");
        let SummaryRow { sent, answered, lost, .. } = summary(&run);
        assert_eq!((sent, answered, lost), (3, 2, 1), "{run}");
    }
}

#[test]
fn an_interrupt_ends_it_with_a_summary_that_calls_no_pending_probe_lost() {
    for method in [IcmpEcho, TcpAckSport] {
        let mut sim = Sim::new(net().drop("target", [2, 3]), SEED);
        let params = PingParams { wait: ms(1500), ..ping_by(method, 100) };
        let measurement = sim.start::<Ping>(params);
        sim.run_until(ms(2700));
        sim.interrupt(measurement);
        let run = sim.finish(measurement);
        assert_eq!(run.expect_done().stop, "interrupted");
        assert_eq!(run.took(), ms(2700));
        let SummaryRow { sent, answered, lost, pending, loss, .. } = summary(&run);
        assert_eq!((sent, answered, lost, pending, loss), (3, 1, 1, 1, Some(0.5)), "{run}");
    }
}

#[test]
fn probes_that_do_not_leave_are_rows_but_not_lost() {
    for method in kinds(TARGET4) {
        let run = Sim::new(net(), SEED).unsent(105, [2]).run::<Ping>(ping_by(method, 3));
        assert_eq!(run.expect_done().stop, "complete");
        assert_eq!(run.table("replies").column("kind"), ["reply", "unsent", "reply"]);
        assert_eq!(run.table("replies").column("error")[1], "not sent: errno 105");
        let SummaryRow { sent, answered, lost, not_sent, loss, .. } = summary(&run);
        assert_eq!((sent, answered, lost, not_sent, loss), (2, 2, 0, 1, Some(0.0)), "{run}");
    }
}

#[test]
fn the_recorded_route_goes_there_and_back() {
    let recorded = "r1 records 198.51.100.1 192.0.2.254\n target records 198.51.100.9";
    let net = || net().and(recorded);
    let params = PingParams { rr: true, ..ping(TARGET4, 1) };
    let run = run_in(net(), params.clone());
    let there_and_back = json!(["198.51.100.1", TARGET4, TARGET4, "192.0.2.254"]);
    assert_eq!(run.table("replies").column("rr"), [there_and_back]);
    let quoted = run_in(net(), PingParams { method: Udp, ..params });
    assert_eq!(quoted.table("replies").column("rr")[0][0], "198.51.100.1", "{quoted}");
}

#[test]
fn payload_pattern_and_checksum_are_on_the_wire() {
    let payload = PingParams { payload: Some(Hex(vec![1, 2, 3])), ..ping(TARGET4, 1) };
    assert_eq!(transports(&run_in(net(), payload))[0][8..], [1, 2, 3]);
    let pattern = PingParams { pattern: Some(Hex(vec![7, 8])), size: 33, ..ping(TARGET4, 1) };
    assert_eq!(transports(&run_in(net(), pattern))[0][8..], [7, 8, 7, 8, 7]);
    for target in [TARGET4, TARGET6] {
        for (text, word) in [("0x1234", 0x1234), ("77", 77), ("0", 0)] {
            let params = PingParams { checksum: Some(text.to_owned()), ..ping(target, 3) };
            let run = run_in(net(), params);
            assert_eq!(words_at(&run, 2), [word, word, word]);
            assert_eq!(of_kind(&run, "reply"), [0, 1, 2], "a wrong checksum has no answer\n{run}");
        }
    }
}

#[test]
fn size_ttl_and_tos_are_those_of_the_packet() {
    for (target, usual, size) in [(TARGET4, 84, 200), (TARGET6, 56, 140)] {
        for method in [IcmpEcho, Udp] {
            let params = PingParams { method, ..ping(target, 1) };
            let chosen = PingParams { size, ttl: 9, tos: 184, ..params.clone() };
            for (params, expected) in [(params, (usual, 64, 0)), (chosen, (size, 9, 184))] {
                let run = run_in(net(), params);
                let packet = run.exchange().sent().next().unwrap();
                let header = IpHeader::parse(packet).unwrap();
                assert_eq!((packet.len() as u16, header.ttl, header.tos), expected, "{run}");
            }
        }
    }
}

#[test]
fn parameters_that_do_not_fit_are_refused_by_name() {
    let usual = || ping(TARGET4, 1);
    let octets = || Some(Hex(vec![1]));
    let sum = || Some("7".to_owned());
    for (params, begin) in [
        (PingParams { method: IcmpTime, ..ping(TARGET6, 1) }, "method is icmp-time"),
        (PingParams { rr: true, ..ping(TARGET6, 1) }, "rr is 1"),
        (PingParams { size: 39, ..ping_by(TcpSyn, 1) }, "size is 39, accepted: 40 "),
        (PingParams { size: 67, rr: true, ..usual() }, "size is 67, accepted: 68 "),
        (PingParams { size: 47, ..ping(TARGET6, 1) }, "size is 47, accepted: 48 "),
        (PingParams { payload: octets(), pattern: octets(), ..usual() }, "payload and scamper"),
        (PingParams { checksum: sum(), ..ping_by(Udp, 1) }, "icmp.checksum takes"),
        (PingParams { checksum: sum(), payload: octets(), ..usual() }, "icmp.checksum takes"),
        (PingParams { checksum: sum(), size: 29, ..usual() }, "icmp.checksum takes"),
        (PingParams { checksum: Some("x".to_owned()), ..usual() }, "icmp.checksum is \"x\""),
    ] {
        let text = refusal(params);
        assert!(text.strip_prefix("scamper.ping.").is_some_and(|t| t.starts_with(begin)), "{text}");
    }
    let other_family = PingParams { source: TARGET6.parse().ok(), ..usual() };
    assert_eq!(refusal(other_family), "source and destination are of different families");
}

#[test]
fn the_average_is_over_answers_of_the_target_in_time() {
    let net = net()
        .and("link r1 <- target drop 3 duplicate 1 reorder 2 by 1500ms")
        .and("link vantage <- r1 reorder 4 by 7ms");
    let run = run_in(net, ping(TARGET4, 5));
    assert_eq!(summary(&run).late, 1, "{run}");
    assert_eq!(view(&run, "ping-average-{ip}"), [[4000, 6333, 11_000, 3].map(Value::U64)]);
}

#[test]
fn an_average_of_no_answers_counts_0_and_has_no_delays() {
    for net in [net().silent("target"), net().attributes("target", "no-echo")] {
        let run = run_in(net, ping(TARGET4, 3));
        let expected = [Value::None, Value::None, Value::None, Value::U64(0)];
        assert_eq!(view(&run, "ping-average-{ip}"), [expected]);
        assert_eq!(view(&run, "ping-detail-{ip}"), Vec::<Vec<Value>>::new());
    }
    let errors = run_in(net(), PingParams { ttl: 1, ..ping(TARGET4, 3) });
    assert_eq!(view(&errors, "ping-average-{ip}")[0][3], Value::U64(0));
}

#[test]
fn the_detail_is_in_the_order_of_the_probes() {
    let params = PingParams { period: ms(10), ..ping(TARGET4, 3) };
    let run = run_in(net().and("link r1 <- target reorder 1 by 25ms"), params);
    let delays: Vec<Value> =
        view(&run, "ping-detail-{ip}").into_iter().map(|row| row[1].clone()).collect();
    assert_eq!(delays, [29_000, 4000, 4000].map(Value::U64));
}

#[test]
fn the_descriptor_is_acceptable() {
    let descriptor = Descriptor::from_json(&describe_json("sonde-ping", "0.1.0", METHODS)).unwrap();
    let (_, method) = descriptor.method("ping").unwrap();
    let labels: Vec<&str> = method.capabilities.iter().map(|view| view.label.as_str()).collect();
    assert_eq!(labels, ["ping-average-{ip}", "ping-detail-{ip}", "ping-full-{ip}"]);
}
