//! Routers that say nothing, and routers that say little.

use super::*;

#[test]
fn a_silent_branch_stands_in_the_line_between_its_neighbours() {
    let text = "vantage - 1 - 2 - { 3 - 4 5 - 6 } - 7 - target\n 3 silent";
    for algorithm in Algorithm::ALL.iter().copied() {
        let params = TracelbParams { algorithm, ..towards(TARGET4) };
        let run = explore(text, TARGET4, 7, params);
        let expected = set("1-2 2-5 2-* *-4 5-6 4-7 6-7 7-9");
        run.expect(short(&run) == expected, "the silent branch is not there");
        run.expect(lines(&run).contains(&"10.0.0.2 -> * -> 10.0.0.4".to_owned()), "no such line");
    }
}

#[test]
fn a_silent_branch_that_comes_up_late_leaves_no_node_without_one_before_it() {
    let text = "vantage - 1 - 2 - { 3 - { 5 6 } 4 - { 7 8 } } - 10 - target\n 3 silent";
    let truth = set("1-2 2-* 2-4 *-5 *-6 4-7 4-8 5-10 6-10 7-10 8-10 10-9");
    for (loss, seeds) in [("", 200), ("\n links loss 2%", 60)] {
        let text = format!("{text}{loss}");
        let whole = (0..seeds).filter(|seed| {
            let run = explore(&text, TARGET4, *seed, towards(TARGET4));
            let nodes = run.typed::<NodeRow>("nodes");
            let is_reached_from_somewhere = |node: &NodeRow| node.ttl == 1 || node.in_degree > 0;
            run.expect(nodes.iter().all(is_reached_from_somewhere), "a node hangs in the air");
            run.expect(short(&run).is_subset(&truth), "there is a false link");
            short(&run) == truth
        });
        // At each of five nodes one way may be missed with 5 %.
        let whole = whole.count() as f64;
        assert!(whole >= 0.95_f64.powi(5) * seeds as f64 * 0.9, "{whole} of {seeds}{loss}");
    }
}

#[test]
fn a_silent_first_hop_and_silence_in_the_middle_are_bridged() {
    for (silent, line) in
        [("1", "* -> 10.0.0.2"), ("2 silent\n 3", "10.0.0.1 -> * -> * -> 10.0.0.4")]
    {
        let text = format!("vantage - 1 - 2 - 3 - 4 - target\n {silent} silent");
        let run = explore(&text, TARGET4, 1, towards(TARGET4));
        run.expect(lines(&run).contains(&line.to_owned()), line);
        run.expect(run.stop == "reached", "not reached");
    }
}

#[test]
fn a_router_that_limits_its_errors_is_no_silent_one() {
    let narrow =
        ("vantage - 1 - 2 - { 3 4 5 } - 6 - 7 - target", "1-2 2-3 2-4 2-5 3-6 4-6 5-6 6-7 7-9");
    for (limited, burst, rate) in [(6, 1, 1), (6, 6, 1), (2, 1, 1), (3, 1, 1), (6, 1, 5)] {
        for algorithm in Algorithm::ALL.iter().copied() {
            let text = format!("{}\n {limited} rate-limit {rate}/s burst {burst}", narrow.0);
            let usual = TracelbParams::with(TARGET4.parse().unwrap());
            let params = TracelbParams { algorithm, ..usual };
            let shares = shares_found(&text, narrow.1, 20, &params);
            assert!(mean(&shares) > 0.95, "{text}: {shares:?}");
        }
    }
    let shares = shares_found(
        &format!("{WIDE}\n 7 rate-limit 1/s burst 6"),
        WIDE_LINKS,
        5,
        &towards(TARGET4),
    );
    assert!(mean(&shares) > 0.95, "{shares:?}");
}

#[test]
fn a_silent_branch_makes_no_even_balancer_weighted() {
    let text = "vantage - 1 - { 2 - { 4 5 6 } 3 } - 7 - target\n 4 silent";
    for seed in 1..=24 {
        let run = explore(text, TARGET4, seed, towards(TARGET4));
        let parent = run.typed::<NodeRow>("nodes").into_iter().find(|node| node.out_degree == 3);
        run.expect(parent.is_some_and(|node| !node.weighted), "not found, or weighted");
    }
}
