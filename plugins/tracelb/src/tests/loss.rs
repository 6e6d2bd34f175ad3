//! Networks that lose much of what is sent, and of what comes back.

use std::collections::BTreeMap;

use super::*;

#[test]
fn losses_are_no_silent_branch() {
    for (text, truth) in [(UNIFORM, UNIFORM_LINKS), (MESH, MESH_LINKS)] {
        let text = format!("{text}\n links loss 10%");
        let is_false = |seed: &u64| {
            let run = explore(&text, TARGET4, *seed, towards(TARGET4));
            run.expect(run.stop == "reached", "not reached");
            !short(&run).is_subset(&set(truth))
        };
        let wrong = (0..20).filter(is_false).count();
        assert!(wrong <= 1, "{wrong} of 20: {text}");
    }
}

#[test]
fn who_is_silent_is_told_from_who_loses_much() {
    let text = "vantage - 1 - 2 - { 3 - 4 5 - 6 } - 7 - target\n 3 silent\n links loss 3%";
    let truth = set("1-2 2-5 2-* *-4 5-6 4-7 6-7 7-9");
    let is_whole = |seed: &u64| short(&explore(text, TARGET4, *seed, towards(TARGET4))) == truth;
    let whole = (0..50).filter(is_whole).count();
    assert!(whole >= 42, "{whole} of 50");
}

#[test]
fn where_most_is_lost_a_run_is_given_up_and_says_nothing_false() {
    let mut ends = BTreeMap::<String, u32>::new();
    for (loss, seed) in (1..=9).flat_map(|tenths| (0..4).map(move |seed| (tenths * 10, seed))) {
        for (text, truth) in [(UNIFORM, UNIFORM_LINKS), (MESH, MESH_LINKS)] {
            let text = format!("{text}\n links loss {loss}%");
            let run = explore(&text, TARGET4, seed, towards(TARGET4));
            let mut links = short(&run);
            links.retain(|link| !link.contains('*'));
            run.expect(links.is_subset(&set(truth)), "there is a false link");
            let nodes = run.typed::<NodeRow>("nodes");
            run.expect(nodes.iter().all(|node| !node.cluster), "there is a cluster");
            run.expect(nodes.iter().all(|node| node.balancing != "packet"), "packet by packet");
            *ends.entry(run.stop).or_default() += 1;
        }
    }
    let of = |end: &str| ends.get(end).copied().unwrap_or_default();
    assert!(of("loss") > 5 * of("budget"), "{ends:?}");
}
