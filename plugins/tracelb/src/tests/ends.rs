//! Runs that end before everything is explored.

use sonde_testkit::Status;

use super::*;

#[test]
fn the_budget_is_kept_and_what_was_found_by_then_is_told() {
    let run = explore(WIDE, TARGET4, 1, TracelbParams { maxprobec: 50, ..towards(TARGET4) });
    assert_eq!((run.stop.as_str(), run.counters.sent), ("budget", 50));
    let SummaryRow { probes, budget_exhausted, nodes, .. } = summary(&run);
    assert!(probes == 50 && budget_exhausted && nodes > 4, "{run}");
}

#[test]
fn an_interrupted_run_tells_what_it_knows() {
    // While a batch waits for its turns, and while flows are looked up one by one.
    for (after, most) in [(Duration::from_secs(1), 21), (Duration::from_secs(2), 41)] {
        let mut sim = Sim::new(Net::draw(&drawn(WIDE, TARGET4)), 1);
        let started = sim.start::<Tracelb>(TracelbParams { waitprobe: 5, ..towards(TARGET4) });
        sim.run_until(after);
        sim.interrupt(started);
        let run = sim.finish(started);
        assert_eq!(run.stop, "interrupted", "{run}");
        run.expect(
            !lines(&run).is_empty() && summary(&run).probes <= most,
            "too much or too little",
        );
        let text = Tracelb::text();
        let rows = run.table("summary");
        let said = rows.iter().find_map(|row| text.row("summary", row, None)).unwrap().text;
        assert!(said.starts_with("--- interrupted; nodes: "), "{said}");
    }
}

#[test]
fn a_network_that_is_down_for_a_moment_costs_no_link_and_one_that_stays_down_is_a_failure() {
    let net = || Net::draw(&drawn(UNIFORM, TARGET4));
    let params = TracelbParams { confidence: 99, ..towards(TARGET4) };
    let run = Sim::new(net(), 1).unsent(100, 5..=8).run::<Tracelb>(params);
    run.expect_done().expect(short(&run) == set(UNIFORM_LINKS), "links are missing");
    assert_eq!(u64::from(summary(&run).probes), run.counters.sent, "{run}");
    let run = Sim::new(net(), 1).unsent(100, 20..=10_000).run::<Tracelb>(towards(TARGET4));
    run.expect(matches!(run.status, Status::Failed { .. }), "no failure");
    run.expect(short(&run).contains("1-2") && summary(&run).stop == "failed", "nothing is told");
}
