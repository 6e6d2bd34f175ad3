//! What is read from an answer beside its time.

use super::*;

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

fn times(form: &str, recording: &str) -> Run {
    let params = PingParams { timestamp: Some(form.to_owned()), ..ping(TARGET4, 1) };
    run_in(net().and(recording), params)
}

#[test]
fn the_timestamp_option_comes_back_in_its_three_forms() {
    let recorded = "r1 records 198.51.100.1 192.0.2.254\n target records 198.51.100.9";
    let stamps = |run: &Run| -> Vec<(Option<IpAddr>, u32)> {
        let rows = run.typed::<ReplyRow>("replies");
        rows[0].ts.iter().map(|stamp| (stamp.addr, stamp.ms)).collect()
    };
    let only = stamps(&times("tsonly", recorded));
    assert_eq!(only.len(), 4);
    assert!(only.iter().all(|(addr, ms)| addr.is_none() && *ms < 86_400_000), "{only:?}");
    assert!(only.is_sorted_by_key(|(_, ms)| *ms), "{only:?}");
    let pairs = stamps(&times("tsandaddr", recorded));
    let addresses: Vec<String> = pairs.iter().map(|(addr, _)| addr.unwrap().to_string()).collect();
    assert_eq!(addresses, ["198.51.100.1", TARGET4, TARGET4, "192.0.2.254"]);
    // Filled in the given order alone: the target's slot waits for that of somebody else.
    let given = stamps(&times("tsprespec=192.0.2.254,203.0.113.9,198.51.100.9", recorded));
    assert_eq!(given.len(), 1, "{given:?}");
    assert_eq!(given[0].0, "192.0.2.254".parse().ok());
}

#[test]
fn routers_that_found_no_room_for_their_time_are_counted() {
    let net = Net::draw(
        "vantage - r1 - r2 - r3 - target
         target 198.51.100.9",
    );
    let run =
        run_in(net, PingParams { timestamp: Some("tsandaddr".to_owned()), ..ping(TARGET4, 1) });
    // Four of the eight that the probe and its answer pass.
    let rows = run.typed::<ReplyRow>("replies");
    assert_eq!((rows[0].ts.len(), rows[0].ts_overflow), (4, Some(4)), "{run}");
}

#[test]
fn an_answer_shows_the_interface_that_it_came_in_by_and_a_lost_probe_none() {
    let rows = run_in(net().drop("target", [2]), ping(TARGET4, 2)).typed::<ReplyRow>("replies");
    let interfaces: Vec<_> = rows.iter().map(|row| row.rx_interface.as_deref()).collect();
    assert_eq!(interfaces, [Some("sim0"), None]);
}

#[test]
fn a_timestamp_reply_shows_its_three_times() {
    let rows = run_in(net(), ping_by(IcmpTime, 1)).typed::<ReplyRow>("replies");
    let [originate, receive, transmit] =
        [rows[0].icmp_originate_ms, rows[0].icmp_receive_ms, rows[0].icmp_transmit_ms]
            .map(Option::unwrap);
    assert_eq!((receive - originate, transmit - receive), (2, 0));
}

#[test]
fn a_timestamp_request_that_waited_for_its_turn_was_sent_when_it_left() {
    let params = PingParams { period: ms(10), ..ping_by(IcmpTime, 20) };
    let rows = Sim::new(net(), SEED).pacing(10.0).run::<Ping>(params).typed::<ReplyRow>("replies");
    let ways = rows.iter().map(|row| row.icmp_receive_ms.unwrap() - row.icmp_originate_ms.unwrap());
    assert_eq!(ways.collect::<Vec<_>>(), [2; 20]);
}

#[test]
fn what_an_error_quotes_and_carries_is_in_its_row() {
    let net = net().and("r1 mpls 24001:1 rewrite tos 8");
    let run = run_in(net, PingParams { ttl: 1, tos: 4, ..ping(TARGET4, 1) });
    let row = &run.typed::<ReplyRow>("replies")[0];
    let sent = IpHeader::parse(run.exchange().sent().next().unwrap()).unwrap();
    assert_eq!(row.quoted_ip_id, sent.identification, "{run}");
    assert_eq!((row.quoted_ttl, row.quoted_dst), (Some(1), TARGET4.parse().ok()));
    assert_eq!((row.mpls[0].label, row.mpls[0].ttl, row.mpls[0].s), (24_001, 1, true), "{run}");
}

#[test]
fn an_error_names_the_mtu_of_the_next_hop() {
    for (target, name) in [(TARGET4, 1), (TARGET6, 2)] {
        let net = net().and("link r1 target mtu 1300");
        let run = run_in(net, PingParams { size: Some(1400), ..ping(target, 1) });
        let row = &run.typed::<ReplyRow>("replies")[0];
        assert_eq!((row.kind.name(), row.mtu), ("error", Some(1300)), "{name} {run}");
        assert_eq!(summary(&run).errors, 1);
    }
}

#[test]
fn a_segment_shows_its_window_and_largest_segment() {
    for method in [TcpSyn, TcpSynSport] {
        let run = run_in(net().attributes("target", "tcp 80 server-mss 1220"), ping_by(method, 1));
        let row = &run.typed::<ReplyRow>("replies")[0];
        assert_eq!(row.tcp_mss, Some(1220), "{run}");
        assert!(row.tcp_window.is_some_and(|window| window > 0), "{run}");
    }
}

#[test]
fn an_answer_shows_its_tos_identification_and_both_clocks() {
    let rows =
        run_in(net(), PingParams { tos: 8, ..ping(TARGET4, 2) }).typed::<ReplyRow>("replies");
    assert!(rows[0].tos.is_some() && rows[0].ip_id != rows[1].ip_id, "{rows:?}");
    assert_eq!((rows[0].tx, rows[0].rx), (Some(Clock::Virtual), Some(Clock::Virtual)));
    let (time, sent) = (rows[1].time.unwrap(), rows[1].sent.unwrap());
    assert_eq!(time - sent, ms(4));
}
