//! Balancers that share packets out one by one.

use super::*;

#[test]
fn packets_that_are_shared_out_one_by_one_make_a_cluster() {
    for (balancing, hop, target) in [
        ("per-packet", 2, TARGET4),
        ("per-packet", 2, TARGET6),
        ("round-robin", 2, TARGET4),
        ("per-packet", 1, TARGET4),
    ] {
        let before = if hop == 1 { "vantage - 1" } else { "vantage - 1 - 2" };
        let text = format!("{before} - {{ 3 - 5 4 - 6 }} {balancing} - 7 - target");
        let is_whole = |seed: &u64| {
            let run = explore(&text, target, *seed, towards(target));
            let nodes = run.typed::<NodeRow>("nodes");
            run.expect(nodes.iter().all(|node| node.balancing != "flow"), "split by flow");
            let line = lines(&run).into_iter().find(|line| line.contains('(')).unwrap_or_default();
            let line = line.replace("10.0.0.", "").replace("fd00::", "");
            let line = line.replace("(4, 3)", "(3, 4)").replace("(6, 5)", "(5, 6)");
            line == format!("{hop} -> (3, 4) -> (5, 6) -> 7")
        };
        // At random now and then all packets take one way, at either of the two hops.
        let whole = (0..100).filter(is_whole).count();
        assert!(whole >= 90, "{balancing} behind hop {hop} to {target}: {whole} of 100");
    }
}

/// Addresses by TTL, as far as nodes were met there.
fn met(run: &Run) -> BTreeSet<(u8, String)> {
    let nodes = run.typed::<NodeRow>("nodes").into_iter();
    let name = |node: &NodeRow| node.addr.map_or("*".to_owned(), |it| it.to_string());
    nodes.map(|node| (node.ttl, name(&node).replace("10.0.0.", "").replace(TARGET4, "9"))).collect()
}

#[test]
fn ways_of_different_lengths_that_packets_take_by_turns_lead_on_to_the_target() {
    let longer =
        ["vantage - 1 - 2 - { 3 - 5 4 } per-packet - 7 - 8 - target", "1 2 3,4 5,7 7,8 8,9 9"];
    let round_robin =
        ["vantage - 1 - 2 - { 3 - 5 4 } round-robin - 7 - 8 - target", "1 2 3,4 5,7 7,8 8,9 9"];
    let much_longer = [
        "vantage - 1 - 2 - { 3 - 5 - 6 4 } per-packet - 7 - 8 - 10 - 11 - target",
        "1 2 3,4 5,7 6,8 7,10 8,11 9,10 9,11 9",
    ];
    let refused = [
        "vantage - 1 - 2 - { 3 4 } per-packet - 7 - target\n 3 refuse 198.51.100.0/24",
        "1 2 3,4 3,7 3,9",
    ];
    for [text, hops] in [longer, round_robin, much_longer, refused] {
        let hops = hops.split(' ').enumerate();
        let truth: BTreeSet<(u8, String)> = hops
            .flat_map(|(at, hop)| hop.split(',').map(move |it| (at as u8 + 1, it.to_owned())))
            .collect();
        let is_whole = |seed: &u64| {
            let run = explore(text, TARGET4, *seed, towards(TARGET4));
            // By chance all packets may come to where they are refused.
            run.expect(run.stop == "reached" || text.contains("refuse"), text);
            run.expect(met(&run).is_subset(&truth), text);
            met(&run).len() + 1 >= truth.len()
        };
        let whole = (0..100).filter(is_whole).count();
        assert!(whole >= 80, "{whole} of 100: {text}");
    }
}

#[test]
fn a_cluster_behind_branches_of_different_lengths_is_one() {
    for algorithm in Algorithm::ALL.iter().copied() {
        let text = "vantage - 1 - { 2 3 - 4 } - 5 - { 6 7 } per-packet - 8 - target";
        // At random now and then all packets that look for a second way take the first.
        let alone = (0..50).filter(|seed| {
            let params = TracelbParams { algorithm, ..towards(TARGET4) };
            let run = explore(text, TARGET4, *seed, params);
            run.expect(run.stop == "reached", text);
            let links = short(&run);
            links.contains("1-2") && links.iter().filter(|link| link.starts_with("5-")).count() == 1
        });
        let alone = alone.count();
        assert!(alone >= 40, "{algorithm}: {alone} of 50");
    }
}

#[test]
fn a_loop_inside_of_what_packets_take_by_turns_ends() {
    let text = "vantage - 1 - 2 - { 3 - 5 4 - 6 } per-packet - 7 - target\n \
                5 route 198.51.100.0/24 via 10.0.0.3\n 6 route 198.51.100.0/24 via 10.0.0.4";
    for seed in 0..20 {
        let run = explore(text, TARGET4, seed, towards(TARGET4));
        run.expect(run.stop == "loop" && summary(&run).probes < 200, "no loop");
    }
}
