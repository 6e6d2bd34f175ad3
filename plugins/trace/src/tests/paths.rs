//! Where paths end, and what they look like on the way: the rules of `path.rs` in drawn networks.

use sonde_testkit::json;

use super::*;

#[test]
fn a_silent_hop_has_a_row_for_every_attempt() {
    for target in TARGETS {
        let run = run_in(net().silent("r2"), trace(target));
        let [first, _, third, last] = addresses(target);
        let expected =
            [(1, first), (2, "*"), (2, "*"), (3, third), (4, last)].map(|(n, a)| (n, a.to_owned()));
        assert_eq!(hops(&run), expected, "{run}");
        assert_eq!(run.table("hops").column("attempt"), [1, 1, 2, 1, 1]);
        assert_eq!(run.stop, "reached");
    }
}

#[test]
fn the_gap_limit_counts_silent_hops_in_a_row() {
    for target in TARGETS {
        let net = net().silent("r2").silent("r3").silent("target");
        let params = TraceParams { gaplimit: 3, attempts: 1, ..trace(target) };
        let run = run_in(net, params);
        assert_eq!(hops(&run), path([addresses(target)[0], "*", "*", "*"]));
        assert_eq!(run.stop, "gap_limit");
        assert_eq!((summary(&run).gap_hops, summary(&run).hop_count), (3, 4));
        assert!(run.table("lastditch").is_empty());
    }
}

#[test]
fn last_ditch_probes_tell_whether_anything_answers_at_all() {
    for target in TARGETS {
        let silent = net().silent("r1").silent("r2").silent("r3");
        let params = || TraceParams { gaplimit: 2, gapaction: 2, ..trace(target) };
        let run = run_in(silent, params());
        assert_eq!((run.stop.as_str(), summary(&run).reached), ("gap_limit", true), "{run}");
        let row = json!({"attempt": 1, "addr": target, "rtt_us": 8000});
        assert_eq!(run.table("lastditch").columns(["attempt", "addr", "rtt_us"]), [row]);
        let nobody =
            run_in(net().silent("r1").silent("r2").silent("r3").silent("target"), params());
        assert!(nobody.table("lastditch").is_empty(), "{nobody}");
        assert!(!summary(&nobody).reached, "{nobody}");
        assert_eq!(summary(&nobody).sent, 2 * 2 + 2, "{nobody}");
    }
}

#[test]
fn a_refusal_ends_the_path_with_its_reason() {
    for (target, network, codes) in [
        (TARGET4, "198.51.100.0/24", [(13, "!X"), (1, "!H")]),
        (TARGET6, "2001:db8:9::/48", [(1, "!P"), (3, "!A")]),
    ] {
        for (code, mark) in codes {
            for method in Kind::ALL.iter().copied() {
                let net = net().attributes("r3", &format!("refuse {network} code {code}"));
                let run = run_in(net, TraceParams { method, ..trace(target) });
                let [first, second, third, _] = addresses(target);
                // A router looks at the TTL first, and at where a packet goes afterwards.
                assert_eq!(hops(&run), path([first, second, third, third]), "{run}");
                assert_eq!(run.stop, "unreachable");
                assert_eq!(run.table("hops").column("mark")[3], mark);
                let SummaryRow { stop_code, reached, .. } = summary(&run);
                assert_eq!((stop_code, reached), (Some(code), false));
            }
        }
    }
}

#[test]
fn one_address_at_two_hops_in_a_row_is_no_loop() {
    for (target, address) in [(TARGET4, "203.0.113.2"), (TARGET6, "2001:db8:2::2")] {
        let net = net().attributes("r3", &format!("reply-from {address}"));
        let run = run_in(net, trace(target));
        let [first, second, _, last] = addresses(target);
        assert_eq!(hops(&run), path([first, second, second, last]));
        assert_eq!(run.stop, "reached");
    }
}

#[test]
fn the_first_repeats_that_are_no_zero_ttl_forwarding_can_be_passed_over() {
    let net = || {
        net()
            .attributes("r2", "reply-from 192.0.2.254")
            .attributes("target", "reply-from 203.0.113.3")
    };
    let by = |loopaction| run_in(net(), TraceParams { loopaction, maxttl: 4, ..trace(TARGET4) });
    // Both repeats are passed over, the first one only, or none is there to be passed over.
    assert_eq!(by(0).stop, "reached");
    assert_eq!(by(2).stop, "reached");
    assert_eq!(by(1).stop, "reached", "the far end ends the path before the loop does");
    let icmp = |loopaction| {
        let net = Net::draw(
            "vantage - r1 - r2 - r3 - r4 - target
             r1 192.0.2.254
             r2 192.0.2.2 reply-from 192.0.2.254
             r3 203.0.113.3
             r4 203.0.113.4 reply-from 203.0.113.3
             target 198.51.100.9",
        );
        run_in(net, TraceParams { loopaction, ..trace(TARGET4) })
    };
    assert_eq!((icmp(2).stop.as_str(), hops(&icmp(2)).len()), ("reached", 5));
    assert_eq!((icmp(1).stop.as_str(), hops(&icmp(1)).len()), ("loop", 4));
}

#[test]
fn zero_ttl_forwarding_shows_in_the_quoted_ttl_and_is_no_loop() {
    for target in TARGETS {
        let run = run_in(net().attributes("r2", "forwards-zero-ttl"), trace(target));
        let [first, _, third, last] = addresses(target);
        assert_eq!(hops(&run), path([first, third, third, last]), "{run}");
        assert_eq!(run.table("hops").column("quoted_ttl")[..3], [1, 0, 1]);
        let strict = run_in(
            net().attributes("r2", "forwards-zero-ttl"),
            TraceParams { loopaction: 1, ..trace(target) },
        );
        assert_eq!(strict.stop, "reached", "{strict}");
    }
}

/// The last router of a chain sends what is for the target back to the one so many before.
fn looping(back: usize) -> Net {
    let to = ["r3", "r2", "r1"][back - 1];
    Net::draw(&format!(
        "vantage - r1 - r2 - r3 - r4 - target
         r1 192.0.2.254 2001:db8:1::1
         r2 203.0.113.2 2001:db8:2::2
         r3 203.0.113.3 2001:db8:3::3
         r4 203.0.113.4 2001:db8:4::4 route 198.51.100.0/24 via {to} route 2001:db8:9::/48 via {to}
         target 198.51.100.9 2001:db8:9::9"
    ))
}

#[test]
fn two_routers_that_send_a_packet_to_each_other_are_a_loop_at_the_third_answer() {
    for target in TARGETS {
        let run = run_in(looping(1), trace(target));
        let [first, second, third, _] = addresses(target);
        let fourth = if target == TARGET4 { "203.0.113.4" } else { "2001:db8:4::4" };
        assert_eq!(hops(&run), path([first, second, third, fourth, third]), "{run}");
        assert_eq!(run.stop, "loop");
        let SummaryRow { loop_ttl, loop_addr, .. } = summary(&run);
        assert_eq!((loop_ttl, loop_addr), (Some(5), third.parse().ok()));
    }
}

#[test]
fn a_longer_loop_ends_at_its_first_repeat_or_the_chosen_one() {
    for target in TARGETS {
        let by = |loops| run_in(looping(2), TraceParams { loops, maxttl: 12, ..trace(target) });
        let once = by(1);
        assert_eq!((once.stop.as_str(), hops(&once).len()), ("loop", 5), "{once}");
        let thrice = by(3);
        assert_eq!((thrice.stop.as_str(), hops(&thrice).len()), ("loop", 7), "{thrice}");
        let unchecked = by(0);
        assert_eq!((unchecked.stop.as_str(), hops(&unchecked).len()), ("max_ttl", 12));
    }
}

#[test]
fn it_begins_and_ends_at_the_chosen_hops() {
    let run = run_in(net(), TraceParams { firsthop: 2, maxttl: 3, ..trace(TARGET4) });
    assert_eq!(hops(&run), [(2, "203.0.113.2".to_owned()), (3, "203.0.113.3".to_owned())]);
    assert_eq!((run.stop.as_str(), summary(&run).first_hop), ("max_ttl", 2));
    let zeros = TraceParams {
        firsthop: 0,
        maxttl: 0,
        attempts: 0,
        gaplimit: 0,
        dport: Some(0),
        ..trace(TARGET4)
    };
    assert_eq!(hops(&run_in(net(), zeros)), path(addresses(TARGET4)));
}

#[test]
fn a_time_exceeded_of_the_destination_ends_the_path_unless_told_otherwise() {
    let net = || net().attributes("r3", "reply-from 198.51.100.9");
    let run = run_in(net(), trace(TARGET4));
    assert_eq!((run.stop.as_str(), hops(&run).len()), ("reached", 3));
    let through = run_in(net(), TraceParams { through: true, ..trace(TARGET4) });
    assert_eq!((through.stop.as_str(), hops(&through).len()), ("reached", 4), "{through}");
}

#[test]
fn a_late_answer_is_told_of_the_hop_it_is_for() {
    for target in TARGETS {
        let net = net().attributes("r2", "slow 2500ms");
        let run = run_in(net.silent("r3"), trace(target));
        let [first, second, _, last] = addresses(target);
        let rows = hops(&run);
        assert_eq!(rows.iter().filter(|row| **row == (2, second.to_owned())).count(), 2, "{run}");
        assert_eq!((rows[0].1.as_str(), rows.last().unwrap().1.as_str()), (first, last));
        let late = run.table("hops").column("late").iter().filter(|it| **it == true).count();
        assert_eq!((late, summary(&run).late), (2, 2));
        assert_eq!(run.stop, "reached");
        let rows = run.table("hops");
        let text = Trace::text();
        let lines = rows.iter().filter_map(|row| text.row("hops", row, None)).map(|it| it.text);
        let told = lines.filter(|line| line.ends_with("2504.000 ms, late")).count();
        assert_eq!(told, 2, "{run}");
    }
}

#[test]
fn hops_that_all_answer_late_are_no_gap() {
    let net = Net::draw(
        "vantage - r1 - r2 - r3 - r4 - r5 - r6 - r7 - target
         link vantage r1 delay 600ms
         target 198.51.100.9",
    );
    let run = run_in(net, TraceParams { attempts: 1, ..trace(TARGET4) });
    assert_eq!(run.stop, "reached", "{run}");
    assert_eq!((summary(&run).hop_count, summary(&run).gap_hops), (8, 0), "{run}");
}

#[test]
fn a_lost_probe_is_sent_again() {
    for target in TARGETS {
        // The probe for the second hop, and the answer of the third.
        let run = run_in(net().drop("r1", [2]).drop_back("r3", [1]), trace(target));
        let [first, second, third, last] = addresses(target);
        let expected = [(1, first), (2, "*"), (2, second), (3, "*"), (3, third), (4, last)];
        assert_eq!(hops(&run), expected.map(|(n, a)| (n, a.to_owned())), "{run}");
    }
}

#[test]
fn all_attempts_are_sent_where_asked_for() {
    let params = TraceParams { all: true, attempts: 3, ..trace(TARGET4) };
    let run = run_in(net().silent("r2"), params);
    let counts: Vec<usize> =
        (1..=4).map(|ttl| hops(&run).iter().filter(|row| row.0 == ttl).count()).collect();
    assert_eq!(counts, [3, 3, 3, 3], "{run}");
    assert_eq!(summary(&run).sent, 12);
}

#[test]
fn confidence_takes_six_probes_for_one_interface_and_eleven_for_two() {
    let net = net().attributes("r2", "reply-from 203.0.113.2 203.0.113.22");
    let run = run_in(net.silent("r3"), TraceParams { confidence: 95, ..trace(TARGET4) });
    let count = |ttl| hops(&run).iter().filter(|row| row.0 == ttl).count();
    // The silent hop is asked as often as without confidence.
    assert_eq!([count(1), count(2), count(3), count(4)], [6, 11, 2, 6], "{run}");
}

#[test]
fn what_does_not_fit_together_is_refused_by_name() {
    let usual = || trace(TARGET4);
    let octets = |count| Some(Hex(vec![1; count]));
    let local = || Some("here".to_owned());
    for (params, begin) in [
        (TraceParams { confidence: 95, all: true, ..usual() }, "Q is 1"),
        (TraceParams { firsthop: 9, maxttl: 8, ..usual() }, "firsthop is 9, accepted: 0 ... 8"),
        (TraceParams { hopwindow: 6, ..usual() }, "hopwindow is 6, accepted: 1 ... 5"),
        (TraceParams { pmtud: true, firsthop: 2, ..usual() }, "M is 1"),
        (TraceParams { pmtud: true, lssname: local(), ..usual() }, "M is 1"),
        (TraceParams { pmtud: true, method: Kind::Tcp, ..usual() }, "M is 1"),
        (TraceParams { back: true, ..usual() }, "back is 1"),
        (TraceParams { back: true, maxttl: 9, lssname: local(), ..usual() }, "back is 1"),
        (TraceParams { payload: octets(4), method: Kind::TcpAck, ..usual() }, "payload takes"),
        (TraceParams { payload: octets(1), ..usual() }, "payload is of 1 octets"),
        (TraceParams { constpayload: true, ..trace(TARGET6) }, "constpayload is 1"),
        (TraceParams { dport: Some(65_535), method: Kind::IcmpParis, ..usual() }, "dport is 65535"),
        (TraceParams { flows: 2, ..usual() }, "flows is 2"),
        (TraceParams { rounds: 2, lssname: local(), ..usual() }, "rounds is not 1"),
    ] {
        let text = refusal(params);
        assert!(
            text.strip_prefix("scamper.trace.").is_some_and(|t| t.starts_with(begin)),
            "{text}"
        );
    }
    let other = TraceParams { router: TARGET6.parse().ok(), ..usual() };
    assert_eq!(refusal(other), "router and destination are of different families");
    let labelled = TraceParams { flowlabel: 5, ..trace(TARGET4) };
    assert_eq!(refusal(labelled), "scamper.trace.flowlabel is 5, accepted: 0 over IPv4");
}

#[test]
fn the_checksum_of_echo_requests_is_the_hosts_choice_unless_given() {
    let sums = |dport| {
        let params = |seed| {
            let params = TraceParams { method: Kind::IcmpParis, dport, ..trace(TARGET4) };
            summary(Sim::new(net(), seed).run::<Trace>(params).expect_done()).dport
        };
        [params(1), params(2)]
    };
    assert_eq!(sums(Some(7)), [7, 7]);
    let [one, other] = sums(None);
    assert!(one != other && one != 0 && other != 0, "{one} {other}");
}
