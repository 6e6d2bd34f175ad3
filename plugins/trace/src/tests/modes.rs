//! Windows, from far to near, rounds, doubletree, interrupts.

use std::fmt::Write as _;

use proptest::prelude::*;
use sonde_testkit::json;

use super::*;

/// What must be the same however many hops are probed at a time.
const SAME: [&str; 9] = [
    "ttl",
    "attempt",
    "addr",
    "rtt_us",
    "icmp_type",
    "icmp_code",
    "quoted_ttl",
    "mark",
    "reply_ttl",
];

fn same_rows(sequential: &Run, parallel: &Run) {
    let rows = |run: &Run| {
        let rows = run.table("hops").columns(SAME);
        rows.iter().map(|row| json!(row)).collect::<Vec<_>>()
    };
    assert_eq!(rows(sequential), rows(parallel), "{sequential}\n{parallel}");
    let end = |run: &Run| {
        let SummaryRow { stop, hop_count, stop_code, loop_ttl, gap_hops, reached, .. } =
            summary(run);
        (stop, hop_count, stop_code, loop_ttl, gap_hops, reached)
    };
    assert_eq!(end(sequential), end(parallel), "{sequential}\n{parallel}");
}

/// A chain of routers of all sorts, some of which refuse the target, send it back, or say nothing.
fn drawing(kinds: &[u8], target_kind: u8) -> Net {
    let names: Vec<String> = (1..=kinds.len()).map(|number| format!("r{number}")).collect();
    let mut text = format!("vantage - {} - target\n", names.join(" - "));
    for (at, kind) in kinds.iter().enumerate() {
        let number = at + 1;
        let back = number.saturating_sub(2).max(1);
        let attributes = match kind {
            0 => "silent".to_owned(),
            1 => "forwards-zero-ttl".to_owned(),
            2 => "keeps-ttl".to_owned(),
            3 => "quote 28".to_owned(),
            4 if number > 1 => format!("reply-from 203.0.113.{at}"),
            5 => "refuse 198.51.100.0/24 code 10".to_owned(),
            6 if number > 2 => format!("route 198.51.100.0/24 via r{back}"),
            7 => format!("slow {}ms", 7 * number),
            8 => "mpls 24001 padded".to_owned(),
            _ => String::new(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "r{number} 203.0.113.{number} {attributes}");
    }
    let end = match target_kind {
        0 => "silent silent-udp",
        1 => "reply-from 203.0.113.1",
        _ => "",
    };
    Net::draw(&format!("{text}target 198.51.100.9 {end}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_window_of_hops_gives_the_rows_of_one_after_the_other(
        kinds in prop::collection::vec(0u8..16, 1..12),
        target_kind in 0u8..6,
        window in 2u8..=6,
        gaplimit in 6u8..8,
        attempts in 1u8..=3,
        confidence in prop::sample::select(vec![0u8, 0, 0, 95]),
        loops in 0u8..3,
        method in prop::sample::select(Kind::ALL.to_vec()),
    ) {
        let params = TraceParams {
            gaplimit, attempts, confidence, loops, method, maxttl: 20, ..trace(TARGET4)
        };
        let sequential = run_in(drawing(&kinds, target_kind), params.clone());
        let parallel = run_in(drawing(&kinds, target_kind), TraceParams { hopwindow: window, ..params });
        same_rows(&sequential, &parallel);
        // At the end it looks for probes that have not left.
        prop_assert!(parallel.took() <= sequential.took() + Duration::from_nanos(1));
    }
}

#[test]
fn a_window_takes_less_time_and_few_probes_go_beyond_the_end() {
    for target in TARGETS {
        let net = || net().silent("r2");
        let one = run_in(net(), trace(target));
        let four = run_in(net(), TraceParams { hopwindow: 4, ..trace(target) });
        same_rows(&one, &four);
        assert!(four.took() < one.took(), "{four}");
        let counts = |run: &Run| summary(run).sent;
        assert_eq!((counts(&one), counts(&four)), (5, 6), "{four}");
    }
}

#[test]
fn probes_that_wait_for_their_turn_when_the_path_has_ended_are_not_sent() {
    let pacing = || Sim::new(net(), SEED).pacing(50.0);
    let run = pacing().run::<Trace>(TraceParams { hopwindow: 5, ..trace(TARGET4) });
    assert_eq!(run.expect_done().stop, "reached");
    let left = run.exchange().sent().count();
    assert_eq!((summary(&run).sent as usize, run.counters.sent as usize), (left, left), "{run}");
    assert!(left < 9, "{run}");
    for window in [1, 5] {
        let mut sim = pacing();
        let measurement = sim.start::<Trace>(TraceParams { hopwindow: window, ..trace(TARGET4) });
        sim.run_until(ms(50));
        sim.interrupt(measurement);
        let run = sim.finish(measurement);
        assert_eq!(run.stop, "interrupted");
        assert_eq!(summary(&run).sent as usize, run.exchange().sent().count(), "{run}");
    }
}

#[test]
fn all_that_a_budget_is_enough_for_is_told() {
    for window in [1, 4] {
        for budget in 1..=6 {
            let sim = Sim::new(net(), SEED).budget(budget);
            let run = sim.run::<Trace>(TraceParams { hopwindow: window, ..trace(TARGET4) });
            let expected = if budget < 4 { ("budget", budget as usize) } else { ("reached", 4) };
            assert_eq!((run.stop.as_str(), hops(&run).len()), expected, "{window} {budget}: {run}");
            assert!(summary(&run).sent <= budget as u32, "{run}");
        }
    }
}

#[test]
fn from_far_to_near_the_path_ends_where_it_does_from_near_to_far() {
    for target in TARGETS {
        for window in [1, 3] {
            let params = TraceParams { back: true, maxttl: 7, hopwindow: window, ..trace(target) };
            let run = run_in(net().silent("r2"), params);
            let [first, _, third, last] = addresses(target);
            let expected = [(1, first), (2, "*"), (2, "*"), (3, third), (4, last)];
            assert_eq!(hops(&run), expected.map(|(n, a)| (n, a.to_owned())), "{run}");
            assert_eq!(run.stop, "reached");
            let first_sent = run.exchange().sent().next().unwrap();
            let header = sonde_plugin_api::packet::IpHeader::parse(first_sent).unwrap();
            assert_eq!(header.ttl, 7);
        }
    }
}

#[test]
fn gaps_between_probes_are_kept() {
    let params = TraceParams { waitprobe: 5, ..trace(TARGET4) };
    let run = run_in(net(), params);
    // Four probes, 50 ms apart, the last one answered after 8 ms.
    assert_eq!(run.took(), ms(158), "{run}");
    let params =
        TraceParams { hopgap: ms(100), attempts: 3, all: true, hopwindow: 4, ..trace(TARGET4) };
    let run = run_in(net(), params);
    assert_eq!(run.took(), ms(208), "{run}");
}

#[test]
fn rounds_repeat_the_trace_and_sum_it_up_by_hop() {
    for target in TARGETS {
        let params = TraceParams { rounds: 5, period: ms(2500), attempts: 1, ..trace(target) };
        // The probe for the second hop in the second round.
        let run = run_in(net().drop("r1", [6]), params);
        assert_eq!(hops(&run).len(), 20, "{run}");
        assert_eq!(run.table("hops").column("round")[19], 5);
        let statistics =
            run.table("statistics").columns(["ttl", "addr", "sent", "answered", "loss", "mean_us"]);
        let row = |ttl: u64, answered: u64| {
            let addr = addresses(target)[ttl as usize - 1];
            let loss = (5 - answered) as f64 / 5.0;
            json!({"ttl": ttl, "addr": addr, "sent": 5, "answered": answered, "loss": loss, "mean_us": 2000 * ttl})
        };
        assert_eq!(statistics, [row(1, 5), row(2, 4), row(3, 5), row(4, 5)], "{run}");
        assert_eq!(summary(&run).rounds, 5);
    }
}

#[test]
fn every_probe_of_a_round_counts_where_answers_are_late() {
    let slow = net().attributes("r2", "slow 1500ms");
    let params = TraceParams { rounds: 2, period: ms(9000), wait: ms(1000), ..trace(TARGET4) };
    let run = run_in(slow, params);
    let sent: u64 =
        run.typed::<crate::rows::StatisticsRow>("statistics").iter().map(|row| row.sent).sum();
    assert_eq!(sent, u64::from(summary(&run).sent), "{run}");
    assert!(summary(&run).late >= 2, "{run}");
}

#[test]
fn rounds_take_flows_by_turns() {
    let params = TraceParams { rounds: 4, flows: 2, sport: 40_000, maxttl: 1, ..trace(TARGET4) };
    let run = run_in(net(), params);
    assert_eq!(run.table("hops").column("flow"), [40_000, 40_001, 40_000, 40_001]);
}

#[test]
fn an_endless_trace_is_ended_by_an_interrupt_with_all_that_it_knows() {
    let mut sim = Sim::new(net(), SEED);
    let measurement =
        sim.start::<Trace>(TraceParams { rounds: 0, period: ms(100), ..trace(TARGET4) });
    sim.run_until(ms(350));
    sim.interrupt(measurement);
    let run = sim.finish(measurement);
    assert_eq!(run.expect_done().stop, "interrupted");
    assert_eq!((summary(&run).rounds, run.table("statistics").len()), (4, 4), "{run}");
}

#[test]
fn an_interrupt_keeps_what_a_window_has_heard() {
    let mut sim = Sim::new(net().silent("r1"), SEED);
    let measurement = sim.start::<Trace>(TraceParams { hopwindow: 4, ..trace(TARGET4) });
    sim.run_until(ms(500));
    sim.interrupt(measurement);
    let run = sim.finish(measurement);
    let [_, second, third, last] = addresses(TARGET4);
    let expected = [(2, second), (3, third), (4, last)].map(|(n, a)| (n, a.to_owned()));
    assert_eq!((hops(&run), run.stop.as_str()), (expected.to_vec(), "interrupted"), "{run}");
}

#[test]
fn doubletree_goes_forward_to_what_is_known_elsewhere_and_back_to_what_is_known_here() {
    for target in TARGETS {
        let [first, second, third, last] = addresses(target);
        let local = || Some(format!("back {target}"));
        let start = || TraceParams { firsthop: 3, lssname: local(), ..trace(target) };
        let known = vec![third.parse().unwrap()];
        let mut sim = Sim::new(net(), SEED);
        let one = sim.start::<Trace>(start());
        sim.run_to_end();
        let one = sim.result(one);
        let rows = |list: &[(u8, &str)]| {
            list.iter().map(|(n, a)| (*n, (*a).to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(hops(&one), rows(&[(1, first), (2, second), (3, third), (4, last)]), "{one}");
        assert_eq!((one.stop.as_str(), summary(&one).lss_stop), ("reached", None));
        for window in [3, 5] {
            let lssname = Some(format!("window {window} {target}"));
            let window = run_in(net(), TraceParams { hopwindow: window, lssname, ..start() });
            assert_eq!(hops(&window), hops(&one), "{window}");
        }
        // The next one finds on its way back what the first has seen.
        let two = sim.start::<Trace>(TraceParams { sport: 0, gssentry: known, ..start() });
        sim.run_to_end();
        let two = sim.result(two);
        assert_eq!(hops(&two), rows(&[(2, second), (3, third)]), "{two}");
        let SummaryRow { stop, gss_stop, lss_stop, .. } = summary(&two);
        assert_eq!((stop.as_str(), gss_stop), ("stop_set", third.parse().ok()));
        assert_eq!(lss_stop, second.parse().ok());
    }
}

#[test]
fn doubletree_begins_nearer_where_it_began_too_far() {
    let params = |firsthop| TraceParams {
        firsthop,
        gssentry: vec!["192.0.2.99".parse().unwrap()],
        ..trace(TARGET4)
    };
    let run = run_in(net(), params(9));
    // 9 and 4 are the far end; 2 is a router.
    let [first, second, third, last] = addresses(TARGET4);
    let expected = [(1, first), (2, second), (3, third), (4, last)];
    assert_eq!(hops(&run), expected.map(|(n, a)| (n, a.to_owned())), "{run}");
    let silent = run_in(net().silent("r1"), params(1));
    assert_eq!(hops(&silent)[2], (2, second.to_owned()), "{silent}");
}

#[test]
fn two_traces_to_one_destination_at_once_keep_apart() {
    for method in Kind::ALL.iter().copied() {
        let mut sim = Sim::new(net(), SEED);
        let params = || TraceParams { method, ..trace(TARGET4) };
        let (one, two) = (sim.start::<Trace>(params()), sim.start::<Trace>(params()));
        sim.run_to_end();
        for measurement in [one, two] {
            let run = sim.result(measurement);
            assert_eq!(hops(&run), path(addresses(TARGET4)), "{method}\n{run}");
            assert_eq!((summary(&run).sent, run.foreign), (4, 0));
        }
        let sports = [one, two].map(|it| summary(&sim.result(it)).sport);
        assert_ne!(sports[0], sports[1]);
    }
}

#[test]
fn a_probe_that_does_not_leave_is_tried_again_and_then_it_is_a_failure() {
    let run = Sim::new(net(), SEED).unsent(105, [2]).run::<Trace>(trace(TARGET4));
    assert_eq!(hops(run.expect_done()), path(addresses(TARGET4)), "{run}");
    assert_eq!(summary(&run).sent, 4);
    let never = Sim::new(net(), SEED).unsent(105, 2..=9).run::<Trace>(trace(TARGET4));
    match &never.status {
        Status::Failed { text, .. } => {
            assert_eq!(text, "not sent: No buffer space available (os error 105)");
        }
        other => panic!("{other:?}\n{never}"),
    }
    let SummaryRow { stop, sent, .. } = summary(&never);
    assert_eq!((stop.as_str(), sent, hops(&never).len()), ("failed", 1, 1), "{never}");
    let broke = Sim::new(net(), SEED).unsent(122, 3..=9).run::<Trace>(trace(TARGET4));
    assert_eq!((broke.stop.as_str(), hops(&broke).len()), ("budget", 2), "{broke}");
}

#[test]
fn a_network_that_is_down_for_a_moment_costs_no_hop_and_one_that_stays_down_no_statistics() {
    for hopwindow in [1, 4] {
        let down = Sim::new(net(), SEED).unsent(100, 3..=6);
        let run = down.run::<Trace>(TraceParams { hopwindow, ..trace(TARGET4) });
        assert_eq!(hops(run.expect_done()), path(addresses(TARGET4)), "{run}");
        run.expect(run.took() >= ms(100) && run.took() < ms(2_000), "too soon, or too late");
    }
    let down = Sim::new(net(), SEED).unsent(100, 11..=1_000);
    let run = down.run::<Trace>(TraceParams { rounds: 0, ..trace(TARGET4) });
    assert!(matches!(run.status, Status::Failed { .. }), "{run}");
    let statistics = run.typed::<crate::rows::StatisticsRow>("statistics");
    let SummaryRow { stop, rounds, .. } = summary(&run);
    assert_eq!((statistics.len(), rounds, stop.as_str()), (4, 3, "failed"));
}

#[test]
fn hops_behind_the_end_of_the_path_are_in_no_statistics() {
    for (slow, first) in [("slow 60ms", (3, 0.0)), ("silent", (6, 1.0))] {
        let params = TraceParams {
            rounds: 3,
            period: ms(5000),
            hopwindow: 6,
            gaplimit: 6,
            ..trace(TARGET4)
        };
        // While the first hop is waited for, hops behind the last are probed.
        let run = run_in(net().attributes("r1", slow), params);
        let statistics = run.typed::<crate::rows::StatisticsRow>("statistics");
        let seen: Vec<_> = statistics.iter().map(|row| (row.ttl, row.sent, row.loss)).collect();
        assert!(run.exchange().sent().count() > 3 * 4, "{run}");
        assert_eq!(seen, [(1, first.0, first.1), (2, 3, 0.0), (3, 3, 0.0), (4, 3, 0.0)], "{run}");
    }
}

#[test]
fn the_end_that_answers_late_ends_the_round_and_the_next_one_begins() {
    for flows in [1, 2] {
        for hopwindow in [1, 3] {
            let params = TraceParams {
                rounds: 3,
                flows,
                hopwindow,
                attempts: 1,
                period: ms(9000),
                ..trace(TARGET4)
            };
            let run = run_in(net().link_back("target", "delay 1500ms"), params);
            assert_eq!(run.expect_done().stop, "reached", "{run}");
            assert_eq!((summary(&run).hop_count, summary(&run).rounds), (4, 3), "{run}");
            // Hops that were given up before it came have a row each.
            let last = hops(&run).iter().map(|(ttl, _)| *ttl).max();
            assert_eq!(last, Some(3 + hopwindow), "{run}");
        }
    }
}

#[test]
fn doubletree_goes_on_where_the_far_end_answers_late() {
    let params = TraceParams {
        firsthop: 8,
        attempts: 1,
        lssname: Some("late".to_owned()),
        gssentry: vec!["192.0.2.99".parse().unwrap()],
        ..trace(TARGET4)
    };
    let run = run_in(net().link_back("target", "delay 1500ms"), params);
    let [first, second, third, last] = addresses(TARGET4);
    // The late answers to probes of the search say nothing; that to the one of the path ends it.
    let mut answered = hops(&run);
    answered.retain(|(_, addr)| addr != "*");
    assert_eq!(answered, path([first, second, third, last]), "{run}");
    assert_eq!((run.expect_done().stop.as_str(), summary(&run).first_hop), ("reached", 1), "{run}");
}

#[test]
fn a_budget_that_ends_on_the_way_back_is_told() {
    let params = TraceParams { firsthop: 3, lssname: Some("budget".to_owned()), ..trace(TARGET4) };
    // Two on the way to the target, one on the way back.
    let run = Sim::new(net(), SEED).budget(3).run::<Trace>(params);
    assert_eq!(run.expect_done().stop, "budget", "{run}");
    assert_eq!(summary(&run).first_hop, 2, "{run}");
}
