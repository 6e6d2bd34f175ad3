//! Which packets answer which probes.

use super::*;

#[test]
fn each_kind_of_probe_is_answered_in_both_families() {
    for target in [TARGET4, TARGET6] {
        for method in answered_kinds(target) {
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
    for method in answered_kinds(TARGET4) {
        let params = PingParams { period: ms(7), ..ping_by(method, 100) };
        let run = run_in(net().and("link r1 target delay 150ms jitter 5ms"), params);
        let sent = run.exchange().entries().iter().filter(|(_, e)| matches!(e, Entry::Sent(_)));
        let mut times: Vec<Duration> = sent.map(|(at, _)| *at).collect();
        // A SYN leaves together with the reset of the one before.
        times.dedup();
        assert!(times.into_iter().eq((0..100).map(|n| ms(7) * n)), "{run}");
        assert_eq!(summary(&run).answered, 100, "{run}");
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
fn answers_of_the_last_probe_that_come_twice_are_told_and_nothing_else_waits_for_them() {
    let far = || net().and("link r1 target delay 150ms");
    for (net, took) in [(net(), ms(2014)), (far(), ms(2604))] {
        let run = run_in(net.duplicate_back("target", [3]), ping(TARGET4, 3));
        let SummaryRow { answered, duplicates, .. } = summary(&run);
        assert_eq!((answered, duplicates, run.took()), (3, 1, took), "{run}");
    }
    let once = run_in(net(), ping(TARGET4, 1));
    assert_eq!(once.took(), ms(4), "one answer is all that is wanted of one probe");
    let interrupted = {
        let mut sim = Sim::new(far(), SEED);
        let measurement = sim.start::<Ping>(ping(TARGET4, 2));
        sim.run_until(ms(1500));
        sim.interrupt(measurement);
        sim.finish(measurement)
    };
    let stopped = (interrupted.stop.as_str(), interrupted.took());
    assert_eq!(stopped, ("complete", ms(1500)), "{interrupted}");
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
                assert_eq!((row.kind.name(), row.icmp_type), ("error", Some(icmp_type)), "{run}");
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
fn errors_that_quote_eight_octets_are_those_of_their_probes() {
    for target in [TARGET4, TARGET6] {
        for method in kinds(target) {
            let net = net().attributes("r1", "quote header+8");
            let run = run_in(net, PingParams { method, ttl: 1, ..ping(target, 5) });
            assert_eq!(of_kind(&run, "error"), [0, 1, 2, 3, 4], "{method}\n{run}");
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
fn answers_that_overtake_each_other_find_their_probes() {
    let row = |seq, rtt_us| json!({"seq": seq, "rtt_us": rtt_us});
    for target in [TARGET4, TARGET6] {
        for method in answered_kinds(target) {
            let params = PingParams { method, period: ms(10), ..ping(target, 4) };
            let run = run_in(net().and("link r1 <- target reorder 1 by 25ms"), params);
            let rows = run.table("replies").columns(["seq", "rtt_us"]);
            let expected = [row(1, 4000), row(2, 4000), row(0, 29_000), row(3, 4000)];
            assert_eq!(rows, expected, "{method:?}");
        }
    }
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
fn udp_data_that_brings_the_payload_back_finds_its_probe_also_out_of_order() {
    for target in [TARGET4, TARGET6] {
        let params = PingParams { method: Udp, period: ms(10), ..ping(target, 4) };
        let net = net()
            .attributes("target", "echo-udp")
            .and("link r1 <- target duplicate 3 reorder 1 by 25ms");
        let run = run_in(net, params);
        let row = |seq, rtt_us, duplicate| json!({"seq": seq, "rtt_us": rtt_us, "duplicate": duplicate, "weak": false});
        let rows = run.table("replies").columns(["seq", "rtt_us", "duplicate", "weak"]);
        let expected = [
            row(1, 4000, false),
            row(2, 4000, false),
            row(2, 4001, true),
            row(0, 29_000, false),
            row(3, 4000, false),
        ];
        assert_eq!(rows, expected);
    }
}

#[test]
fn udp_data_that_may_answer_any_of_several_probes_counts_and_has_no_time() {
    let params = |period| PingParams {
        method: Udp,
        period: ms(period),
        payload_octets: Some(0),
        ..ping(TARGET4, 20)
    };
    let net = || net().attributes("target", "echo-udp").and("link r1 <- target delay 200ms");
    for (period, rtt_us) in [(10, None), (300, Some(203_000))] {
        let run = run_in(net(), params(period));
        let SummaryRow { answered, lost, duplicates, reordered, min_us, max_us, .. } =
            summary(&run);
        assert_eq!((answered, lost, duplicates, reordered), (20, 0, 0, 0), "{run}");
        assert_eq!((min_us, max_us), (rtt_us, rtt_us), "{run}");
    }
    // One that is lost makes no other doubtful for longer than it is waited for.
    let run = run_in(net().drop("target", [3]), params(900));
    let SummaryRow { answered, lost, min_us, max_us, .. } = summary(&run);
    assert_eq!((answered, lost, min_us, max_us), (19, 1, Some(203_000), Some(203_000)), "{run}");
}

#[test]
fn echoed_datagrams_of_one_pattern_find_their_probes_and_nobody_guesses_what_tells_them_apart() {
    let first_sums: BTreeSet<u16> = [TARGET4, TARGET6]
        .into_iter()
        .map(|target| {
            let params = PingParams {
                method: Udp,
                period: ms(10),
                pattern: Some(Hex(vec![0xab])),
                ..ping(target, 20)
            };
            let net = net().attributes("target", "echo-udp");
            let run = run_in(net.and("link r1 <- target delay 200ms"), params);
            let SummaryRow { answered, lost, duplicates, min_us, max_us, .. } = summary(&run);
            assert_eq!((answered, lost, duplicates), (20, 0, 0), "{run}");
            assert_eq!((min_us, max_us), (Some(203_000), Some(203_000)), "{run}");
            words_at(&run, 6)[0]
        })
        .collect();
    assert!(!first_sums.contains(&1), "{first_sums:?}");
}

#[test]
fn datagrams_over_ipv6_are_told_apart_with_two_octets_of_payload_and_refused_with_fewer() {
    let params = |octets| PingParams {
        method: Udp,
        period: ms(10),
        payload_octets: Some(octets),
        ..ping(TARGET6, 200)
    };
    for octets in 0..4 {
        let run =
            Sim::new(net().and("link r1 <- target delay 200ms"), SEED).run::<Ping>(params(octets));
        if octets < 2 {
            assert!(format!("{:?}", run.status).contains("accepted: method udp-dport"), "{run}");
            continue;
        }
        let SummaryRow { answered, min_us, max_us, .. } = summary(&run);
        assert_eq!((answered, min_us, max_us), (200, Some(203_000), Some(203_000)), "{run}");
    }
}

#[test]
fn nobody_answers_a_reset() {
    for target in [TARGET4, TARGET6] {
        let run = run_in(net(), PingParams { method: TcpRst, ..ping(target, 3) });
        assert_eq!(of_kind(&run, "timeout"), [0, 1, 2]);
        assert_eq!((summary(&run).lost, run.stop.as_str()), (3, "complete"));
    }
}

#[test]
fn an_open_port_resets_what_claims_to_be_its_answer() {
    let params = PingParams { method: TcpSynAck, ..ping(TARGET4, 3) };
    for net in [net(), net().attributes("target", "tcp 80")] {
        let run = run_in(net, params.clone());
        assert_eq!(run.table("replies").column("tcp_flags"), [flags::RST; 3]);
        assert_eq!(of_kind(&run, "reply"), [0, 1, 2]);
    }
}

#[test]
fn answers_that_come_twice_or_late_are_rows_of_every_kind() {
    for target in [TARGET4, TARGET6] {
        for method in answered_kinds(target) {
            let net =
                net().and("link r1 <- target duplicate 1\nlink vantage <- r1 reorder 3 by 1500ms");
            let run = run_in(net, PingParams { method, ..ping(target, 4) });
            let row = |seq, kind, duplicate, late| json!({"seq": seq, "kind": kind, "duplicate": duplicate, "late": late});
            let rows = run.table("replies").columns(["seq", "kind", "duplicate", "late"]);
            let expected = [
                row(0, "reply", false, false),
                row(0, "reply", true, false),
                row(1, "timeout", false, false),
                row(2, "reply", false, false),
                row(1, "reply", false, true),
                row(3, "reply", false, false),
            ];
            assert_eq!(rows, expected, "{method}");
            let SummaryRow { answered, duplicates, late, lost, .. } = summary(&run);
            assert_eq!((answered, duplicates, late, lost), (3, 1, 1, 1), "{method}");
        }
    }
}

#[test]
fn an_answer_behind_that_of_a_later_probe_is_marked_as_reordered() {
    for method in answered_kinds(TARGET4) {
        let params = PingParams { period: ms(10), ..ping_by(method, 4) };
        let run = run_in(net().and("link r1 <- target reorder 1 by 25ms"), params);
        let marks = run.table("replies").column("reordered");
        assert_eq!(marks, [false, false, true, false].map(|mark| json!(mark)), "{method}");
        assert_eq!(summary(&run).reordered, 1);
    }
}

#[test]
fn sequence_numbers_of_icmp_wrap_and_their_answers_find_their_probes() {
    for target in [TARGET4, TARGET6] {
        // Four probes wait for their answers at any time.
        let params = PingParams { sequence: Some(65_530), period: ms(1), ..ping(target, 12) };
        let run = run_in(net(), params);
        let sent: Vec<u16> = (0..12).map(|number| 65_530u16.wrapping_add(number)).collect();
        assert_eq!(words_at(&run, 6), sent);
        assert_eq!(of_kind(&run, "reply"), (0..12).collect::<Vec<_>>());
        assert_eq!(run.table("replies").column("rtt_us"), [4000; 12]);
    }
}

#[test]
fn sequence_numbers_and_ports_wrap_and_confuse_nothing() {
    for method in [IcmpEcho, UdpDport] {
        let params = PingParams { period: ms(1), ..ping_by(method, 66_000) };
        let run =
            Sim::new(net().drop("target", [65_540]), SEED).keep_entries(0).run::<Ping>(params);
        let SummaryRow { answered, lost, duplicates, late, .. } = summary(&run);
        assert_eq!((answered, lost, duplicates, late), (65_999, 1, 0, 0), "{method}");
        assert_eq!(of_kind(&run, "timeout"), [65_539], "{method}");
        assert_eq!(summary(&run).max_us, Some(4000), "{method}");
    }
}

/// Its firewall refuses every probe so late, milliseconds, and it answers all the same.
struct Refused(u64);

impl Host for Refused {
    fn receive(&mut self, request: &[u8], _: Duration, net: &mut Outbox<'_>) {
        let mut reply = request.to_vec();
        reply[12..20].rotate_left(4);
        let mut refusal = [&reply[..20], &[3, 13, 0, 0, 0, 0, 0, 0], request].concat();
        put_length(&mut refusal);
        put_header_checksum(&mut refusal);
        let checksum = checksum::finish(checksum::sum(&refusal[20..], 0));
        refusal[22..24].copy_from_slice(&checksum.to_be_bytes());
        net.send_after(ms(self.0), refusal);
        edit(&mut reply, |reply| reply[20] = 0);
        net.send_after(ms(5), reply.clone());
        net.send_after(ms(9), reply);
    }
}

#[test]
fn a_target_that_answers_behind_an_error_has_answered() {
    let run = run_in(net().host("target", Refused(0)), ping(TARGET4, 2));
    let found = summary(&run);
    let counts = [found.answered, found.lost, found.errors, found.duplicates];
    assert_eq!((counts, found.loss), ([2, 0, 2, 2], Some(0.0)), "{run}");
    assert_eq!(run.table("replies").column("duplicate").len(), 6, "{run}");
}

#[test]
fn errors_are_no_answers_whenever_they_come() {
    let counts = |net, params| {
        let found = summary(&run_in(net, params));
        (found.answered, found.lost, found.errors, found.duplicates, found.late)
    };
    let behind = counts(net().host("target", Refused(7)), ping(TARGET4, 2));
    assert_eq!(behind, (2, 0, 0, 2, 0), "of the two answers one comes twice");
    let slow = net().attributes("r1", "refuse 198.51.100.0/24 slow 1500ms");
    assert_eq!(counts(slow, ping(TARGET4, 4)), (0, 4, 3, 0, 0), "nobody waits for the last one");
    let impatient = PingParams { wait: ms(6), ..ping(TARGET4, 2) };
    let refused = || net().host("target", Refused(0));
    assert_eq!(counts(refused(), impatient.clone()), (0, 2, 2, 1, 1));
    let run = run_in(refused(), impatient);
    assert_eq!(view(&run, "ping-average-{ip}")[0][3], Value::U64(0), "as in the summary\n{run}");
}

#[test]
fn a_port_for_each_probe_is_given_back_in_time_for_the_next() {
    let params = PingParams { period: ms(1), wait: ms(3000), ..ping_by(TcpSynSport, 2500) };
    let run = run_in(net().silent("target"), params);
    let found = summary(&run);
    assert_eq!((found.sent, found.lost, found.not_sent), (2500, 2500, 0), "{}", run.stop);
}

/// Answers with another ICMP code, and as many octets as are kept of the request; one octet of them is another.
struct Careless {
    code: u8,
    octets: usize,
    changed: Option<usize>,
}

impl Host for Careless {
    fn receive(&mut self, request: &[u8], _: Duration, net: &mut Outbox<'_>) {
        let mut reply = request.to_vec();
        let header = IpHeader::parse(request).unwrap();
        let (ip, addresses, at) =
            if header.source.is_ipv4() { (20, 12..20, 4) } else { (40, 8..40, 16) };
        edit(&mut reply, |reply| {
            reply[addresses].rotate_left(at);
            reply[ip] = if ip == 20 { 0 } else { 129 };
            reply[ip + 1] = self.code;
            reply.resize(ip + 8 + self.octets, 0);
            if let Some(at) = self.changed {
                reply[ip + 8 + at] ^= 0x55;
            }
            put_length(reply);
        });
        net.send(reply);
    }
}

#[test]
fn an_echo_reply_that_is_not_as_its_request_counts_and_is_marked() {
    let form = Ping::text();
    for target in [TARGET4, TARGET6] {
        for (code, octets, changed, expected, mark) in [
            (0, 32, None, json!([null, null]), ""),
            (7, 32, None, json!(["code", null]), " (code 7)"),
            (7, 31, None, json!(["truncated", null]), " (truncated)"),
            (0, 32, Some(31), json!(["data", 31]), "\nwrong data octet #31"),
            (0, 33, None, json!(["data", 32]), "\nwrong data octet #32"),
        ] {
            for (payload, pattern) in [
                (None, None),
                (Some(Hex((0..32).collect())), None),
                (None, Some(Hex(vec![1, 2, 3]))),
            ] {
                let payload_octets = Some(32);
                let net = net().host("target", Careless { code, octets, changed });
                let params = PingParams { payload, pattern, payload_octets, ..ping(target, 1) };
                let run = run_in(net, params);
                let rows = run.table("replies");
                let row = rows.iter().next().unwrap();
                assert_eq!(json!([row["altered"], row["altered_octet"]]), expected, "{run}");
                assert_eq!(summary(&run).answered, 1, "{run}");
                let text = form.row("replies", row, None).unwrap().text;
                assert!(text.ends_with(&format!(" ms{mark}")), "{text}");
            }
        }
    }
}

/// Answers a timestamp request with so many octets behind the header.
struct Stamps(usize);

impl Host for Stamps {
    fn receive(&mut self, request: &[u8], _: Duration, net: &mut Outbox<'_>) {
        let mut reply = request.to_vec();
        edit(&mut reply, |reply| {
            reply[12..20].rotate_left(4);
            reply[20] = 14;
            reply.resize(28 + self.0, 0);
            put_length(reply);
        });
        net.send(reply);
    }
}

#[test]
fn a_timestamp_reply_has_its_three_times_and_no_data() {
    for (octets, altered) in [(11, json!("truncated")), (12, json!(null)), (44, json!(null))] {
        let run = run_in(net().host("target", Stamps(octets)), ping_by(IcmpTime, 1));
        assert_eq!(run.table("replies").column("altered"), [altered], "{run}");
    }
}
