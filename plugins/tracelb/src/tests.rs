use std::collections::BTreeSet;

use sonde_plugin_api::{packet, prelude::*};
use sonde_testkit::{Middlebox, Net, Run, Sim, Verdict, Way, edit};

use crate::{
    Tracelb,
    kind::Kind,
    params::{Algorithm, Scope, TracelbParams},
    rows::{DiamondRow, LineRow, LinkRow, NodeRow, SummaryRow},
};

mod answers;
mod ends;
mod graphs;
mod loss;
mod per_packet;
mod silence;

const TARGET4: &str = "198.51.100.9";
const TARGET6: &str = "2001:db8:9::9";

fn towards(target: &str) -> TracelbParams {
    TracelbParams { waitprobe: 0, waittimeout: 1, ..TracelbParams::with(target.parse().unwrap()) }
}

fn run(drawing: &str, seed: u64, params: TracelbParams) -> Run {
    let run = Sim::new(Net::draw(drawing), seed).run::<Tracelb>(params);
    run.expect_done();
    run
}

fn links(run: &Run) -> BTreeSet<(String, String)> {
    run.typed::<LinkRow>("links").into_iter().map(|link| (link.from, link.to)).collect()
}

fn lines(run: &Run) -> Vec<String> {
    run.typed::<LineRow>("lines").into_iter().map(|row| row.line).collect()
}

fn summary(run: &Run) -> SummaryRow {
    run.typed::<SummaryRow>("summary").remove(0)
}

/// A drawing in which `7` stands for 10.0.0.7 or fd00::7.
fn drawn(text: &str, target: &str) -> String {
    let prefix = if target == TARGET6 { "fd00::" } else { "10.0.0." };
    let mut drawing = String::new();
    for line in text.lines() {
        let mut before = "";
        for word in line.split_whitespace() {
            let is_number = word.split('*').next().is_some_and(|name| name.parse::<u8>().is_ok());
            let is_node = is_number && before != "burst";
            before = word;
            drawing += if is_node { prefix } else { "" };
            drawing += if word == "target" { target } else { word };
            drawing.push(' ');
        }
        drawing.push('\n');
    }
    drawing
}

fn explore(text: &str, target: &str, seed: u64, params: TracelbParams) -> Run {
    run(&drawn(text, target), seed, params)
}

/// `1-2` for a link from 10.0.0.1 to 10.0.0.2.
fn short(run: &Run) -> BTreeSet<String> {
    let cut = |name: &str| match name.rsplit(['.', ':']).next() {
        Some(last) if !name.starts_with('(') => last.to_owned(),
        _ => name.replace("10.0.0.", "").replace(", ", ","),
    };
    links(run).iter().map(|(from, to)| format!("{}-{}", cut(from), cut(to))).collect()
}

fn set(links: &str) -> BTreeSet<String> {
    links.split_whitespace().map(str::to_owned).collect()
}

const UNIFORM: &str = "vantage - 1 - 2 - { 3 - 6 4 - 7 5 - 8 } - target";
const UNIFORM_LINKS: &str = "1-2 2-3 2-4 2-5 3-6 4-7 5-8 6-9 7-9 8-9";
const SPLIT_FIRST: &str = "vantage - 1 - { 2 3 4 } - 6 - target";
const SPLIT_FIRST_LINKS: &str = "1-2 1-3 1-4 2-6 3-6 4-6 6-9";
const MESH: &str = "vantage - 1 - { 2 3 } - { 4 5 } - 6 - target";
const MESH_LINKS: &str = "1-2 1-3 2-4 2-5 3-4 3-5 4-6 5-6 6-9";
const UNEVEN: &str = "vantage - 1 - 2 - { 3 - 4 - 5 6 } - 7 - target";
const UNEVEN_LINKS: &str = "1-2 2-3 2-6 3-4 4-5 5-7 6-7 7-9";
const NESTED: &str = "vantage - 1 - 2 - { 3 - { 10 11 } - 5 4 - 6 } - 7 - target";
const NESTED_LINKS: &str = "1-2 2-3 2-4 3-10 3-11 10-5 11-5 4-6 5-7 6-7 7-9";
const WIDE: &str = "vantage - 1 - 2 - \
     { 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 } - 7 - target";
const WIDE_LINKS: &str = "1-2 2-11 2-12 2-13 2-14 2-15 2-16 2-17 2-18 2-19 2-20 2-21 2-22 2-23 \
     2-24 2-25 2-26 11-7 12-7 13-7 14-7 15-7 16-7 17-7 18-7 19-7 20-7 21-7 22-7 23-7 24-7 25-7 \
     26-7 7-9";

/// The part of all links that each of many runs finds; none may find one that is not there.
fn shares_found(text: &str, expected: &str, seeds: u64, params: &TracelbParams) -> Vec<f64> {
    let expected = set(expected);
    let share = |seed: u64| {
        let run = explore(text, TARGET4, seed, params.clone());
        let found = short(&run);
        assert!(found.is_subset(&expected), "seed {seed}: {found:?}\n{run}");
        found.len() as f64 / expected.len() as f64
    };
    (0..seeds).map(share).collect()
}

fn mean(shares: &[f64]) -> f64 {
    shares.iter().sum::<f64>() / shares.len() as f64
}

fn recall_of(text: &str, expected: &str, seeds: u64) {
    for algorithm in Algorithm::ALL.iter().copied() {
        for confidence in [95, 99] {
            let params = TracelbParams { algorithm, confidence, ..towards(TARGET4) };
            let shares = shares_found(text, expected, seeds, &params);
            let (found, nominal) = (mean(&shares), f64::from(confidence) / 100.0);
            let squares: f64 = shares.iter().map(|share| (share - found).powi(2)).sum();
            let standard_error = (squares / (seeds * (seeds - 1)) as f64).sqrt();
            // One-sided test at 1 %: a mean of independent runs that is below by more than this many of its
            // standard errors is no chance.
            let margin = 2.33 * standard_error;
            assert!(found + margin >= nominal, "{algorithm} at {confidence} %: {found}");
        }
    }
}

#[test]
fn a_uniform_diamond_is_found_with_the_nominal_confidence() {
    recall_of(UNIFORM, UNIFORM_LINKS, 200);
}

#[test]
fn a_split_right_behind_the_first_hop_is_found_with_the_nominal_confidence() {
    recall_of(SPLIT_FIRST, SPLIT_FIRST_LINKS, 200);
}

#[test]
fn a_mesh_is_found_with_the_nominal_confidence() {
    recall_of(MESH, MESH_LINKS, 200);
}

#[test]
fn branches_of_different_lengths_are_found_with_the_nominal_confidence() {
    recall_of(UNEVEN, UNEVEN_LINKS, 200);
}

#[test]
fn a_diamond_in_a_diamond_is_found_with_the_nominal_confidence() {
    recall_of(NESTED, NESTED_LINKS, 200);
}

#[test]
fn a_hop_16_wide_is_found_with_the_nominal_confidence() {
    recall_of(WIDE, WIDE_LINKS, 200);
}

#[test]
fn a_higher_confidence_misses_less() {
    let missed = |confidence| {
        let params = TracelbParams { confidence, ..towards(TARGET4) };
        1.0 - mean(&shares_found(NESTED, NESTED_LINKS, 100, &params))
    };
    let (at_95, at_99) = (missed(95), missed(99));
    assert!(at_99 < at_95 && at_99 <= 0.01, "{at_95} {at_99}");
}

#[test]
fn each_kind_of_probe_finds_the_diamond_in_both_families() {
    for target in [TARGET4, TARGET6] {
        for method in Kind::ALL.iter().copied() {
            let scope = Scope::Graph;
            let params = TracelbParams { method, scope, confidence: 99, ..towards(target) };
            let run = explore(UNIFORM, target, 1, params);
            run.expect(short(&run) == set(UNIFORM_LINKS), method.name());
            run.expect(run.stop == "reached" && run.foreign == 0, method.name());
        }
    }
}

#[test]
fn a_flow_keeps_its_first_four_octets_at_every_hop() {
    for method in Kind::ALL.iter().copied() {
        let run = explore(UNIFORM, TARGET4, 1, TracelbParams { method, ..towards(TARGET4) });
        let flows: BTreeSet<Vec<u8>> =
            run.exchange().sent().map(|packet| packet[20..24].to_vec()).collect();
        let used = summary(&run).flows as usize;
        run.expect(flows.len() <= used, &format!("{method}: {} of {used}", flows.len()));
    }
}

#[test]
fn the_data_of_an_echo_is_the_same_in_all_but_for_what_makes_its_checksum() {
    let params = TracelbParams { method: Kind::IcmpEcho, ..towards(TARGET4) };
    let run = explore(UNIFORM, TARGET4, 1, params);
    let data: BTreeSet<&[u8]> = run.exchange().sent().map(|packet| &packet[30..]).collect();
    run.expect(data.len() == 1, "data varies");
}

#[test]
fn a_plain_path_takes_few_probes_and_has_no_diamond() {
    let run = explore("vantage - 1 - 2 - 3 - 4 - target", TARGET4, 1, towards(TARGET4));
    assert_eq!(
        lines(&run),
        [
            "10.0.0.1 -> 10.0.0.2",
            "10.0.0.2 -> 10.0.0.3",
            "10.0.0.3 -> 10.0.0.4",
            "10.0.0.4 -> 198.51.100.9"
        ]
    );
    let SummaryRow { probes, nodes, links, diamonds, reached, .. } = summary(&run);
    run.expect(probes <= 25, "four routers take four times six probes, the target one");
    assert_eq!((nodes, links, diamonds, reached), (5, 4, 0, true));
}

#[test]
fn a_diamond_is_described_by_where_it_begins_and_ends() {
    let run = explore(MESH, TARGET4, 1, towards(TARGET4));
    let expected = DiamondRow {
        divergence: "10.0.0.1".to_owned(),
        convergence: Some("10.0.0.6".to_owned()),
        ttl: 1,
        max_width: 2,
        max_length: 3,
        min_length: 3,
        meshed: true,
        symmetric: true,
    };
    assert_eq!(run.typed::<DiamondRow>("diamonds"), [expected]);
    let uneven = explore(UNEVEN, TARGET4, 1, towards(TARGET4));
    let row = uneven.typed::<DiamondRow>("diamonds").remove(0);
    assert_eq!((row.max_length, row.min_length, row.symmetric), (4, 2, false), "{uneven}");
}

#[test]
fn a_branch_that_refuses_hides_no_diamond_behind_it() {
    let text = "vantage - 1 - { 2 3 } - 4 - { 5 6 } - 7 - target\n 2 refuse 198.51.100.0/24";
    let run = explore(text, TARGET4, 1, towards(TARGET4));
    let diamonds = run.typed::<DiamondRow>("diamonds").into_iter();
    let ends = diamonds.map(|it| (it.divergence, it.convergence)).collect::<Vec<_>>();
    assert_eq!(ends, [("10.0.0.4".to_owned(), Some("10.0.0.7".to_owned()))], "{run}");
}

#[test]
fn neither_loss_nor_a_split_behind_the_first_hop_makes_a_cluster() {
    let text = format!("{SPLIT_FIRST}\n links loss 5%");
    for seed in 0..30 {
        let run = explore(&text, TARGET4, seed, towards(TARGET4));
        let nodes = run.typed::<NodeRow>("nodes");
        run.expect(nodes.iter().all(|node| !node.cluster), "there is a cluster");
        run.expect(short(&run).is_subset(&set(SPLIT_FIRST_LINKS)), "there is a false link");
    }
}

#[test]
fn a_branch_ends_after_as_many_silent_hops_as_are_allowed() {
    let text = "vantage - 1 - 2 - target\n target silent";
    let run = explore(text, TARGET4, 1, TracelbParams { gaplimit: 3, ..towards(TARGET4) });
    assert_eq!(
        (run.stop.as_str(), lines(&run)),
        ("gap_limit", vec!["10.0.0.1 -> 10.0.0.2".into()])
    );
    let most = run.exchange().sent().map(|packet| packet[8]).max();
    assert_eq!(most, Some(5), "{run}");
    let nodes = run.typed::<NodeRow>("nodes");
    let stops: Vec<Option<&str>> = nodes.iter().map(|node| node.stop.as_deref()).collect();
    assert_eq!(stops, [None, Some("gap_limit")], "{run}");
    assert_eq!((nodes[1].out_degree, summary(&run).links), (0, 1), "{run}");
}

#[test]
fn a_branch_into_silence_beside_one_that_goes_on_is_told() {
    let text =
        "vantage - 1 - 2 - { 3 4 } - 5 - { 6 7 } - 8 - target\n 4 silent refuse 198.51.100.0/24";
    let run = explore(text, TARGET4, 1, TracelbParams { gaplimit: 2, ..towards(TARGET4) });
    let truth = set("1-2 2-3 2-* 3-5 5-6 5-7 6-8 7-8 8-9");
    run.expect(short(&run) == truth, "not every link, or too many");
    let silent = run.typed::<NodeRow>("nodes").into_iter().find(|node| node.addr.is_none());
    assert_eq!(silent.and_then(|node| node.stop).as_deref(), Some("gap_limit"), "{run}");
    let diamonds = run.typed::<DiamondRow>("diamonds");
    assert_eq!(diamonds.len(), 1, "{run}");
    assert_eq!(diamonds[0].convergence.as_deref(), Some("10.0.0.8"), "{run}");
    let form = Tracelb::text();
    let texts = run.table("nodes");
    let texts: Vec<String> =
        texts.iter().filter_map(|row| form.row("nodes", row, None)).map(|line| line.text).collect();
    assert!(texts.contains(&"end at hop 3, *: gap_limit".to_owned()), "{texts:?}");
}

#[test]
fn every_branch_says_why_it_ends() {
    let stop_of = |run: &Run, address: &str| {
        let nodes = run.typed::<NodeRow>("nodes");
        let address: IpAddr = address.parse().unwrap();
        nodes.into_iter().find(|node| node.addr == Some(address)).and_then(|node| node.stop)
    };
    let refusing = "vantage - 1 - { 2 3 } - 4 - target\n 2 refuse 198.51.100.0/24";
    let run = explore(refusing, TARGET4, 1, towards(TARGET4));
    assert_eq!(stop_of(&run, "10.0.0.2").as_deref(), Some("unreachable"), "{run}");
    assert_eq!(stop_of(&run, TARGET4).as_deref(), Some("reached"), "{run}");
    assert_eq!((stop_of(&run, "10.0.0.3"), run.stop.as_str()), (None, "reached"), "{run}");
    let round = "vantage - 1 - 2 - 3 - target\n 3 route 198.51.100.0/24 via 10.0.0.2";
    let round = explore(round, TARGET4, 1, towards(TARGET4));
    assert_eq!(round.stop, "loop", "{round}");
    assert!(short(&round).contains("3-2"), "{round}");
    let twice = "vantage - 1 - 2 - 3 - target\n 3 reply-from 10.0.0.2";
    let twice = explore(twice, TARGET4, 1, towards(TARGET4));
    assert_eq!(lines(&twice), ["10.0.0.1 -> 10.0.0.2", "10.0.0.2 -> 10.0.0.2"], "{twice}");
    assert_eq!((twice.stop.as_str(), summary(&twice).links), ("loop", 2), "{twice}");
}

#[test]
fn probes_leave_one_after_the_other_with_the_gap_between() {
    let run = explore(MESH, TARGET4, 1, TracelbParams { waitprobe: 5, ..towards(TARGET4) });
    let least = Duration::from_millis(50) * (summary(&run).probes - 1);
    run.expect(run.took() >= least, "faster than allowed");
}

#[test]
fn a_router_that_passes_on_what_it_should_answer_is_kept_apart() {
    let text = "vantage - 1 - 2 - 3 - target\n 2 forwards-zero-ttl";
    let run = explore(text, TARGET4, 1, towards(TARGET4));
    assert_eq!(
        lines(&run),
        ["10.0.0.1 -> 10.0.0.3", "10.0.0.3 -> 10.0.0.3", "10.0.0.3 -> 198.51.100.9"],
        "{run}"
    );
    let quoted: Vec<Option<u8>> =
        run.typed::<NodeRow>("nodes").into_iter().take(3).map(|node| node.quoted_ttl).collect();
    assert_eq!(quoted, [Some(1), Some(0), Some(1)], "{run}");
}

#[test]
fn a_balancer_with_weights_is_noticed_and_more_flows_find_its_light_branch() {
    let text = "vantage - 1 - { 2*9 3 } - 4 - target";
    let params = TracelbParams { factor: 8.0, ..towards(TARGET4) };
    let run = explore(text, TARGET4, 1, params);
    let node = run.typed::<NodeRow>("nodes").remove(0);
    assert_eq!((node.out_degree, node.weighted), (2, true), "{run}");
    let even = explore(UNIFORM, TARGET4, 1, towards(TARGET4));
    even.expect(even.typed::<NodeRow>("nodes").iter().all(|node| !node.weighted), "weighted");
}

#[test]
fn more_flows_than_ports_of_ours_vary_the_other_port_too() {
    let text = "vantage - 1 - { 2*8 3*4 4 } - 5 - target\n target tcp 443";
    for method in [Kind::UdpSport, Kind::TcpSport, Kind::TcpAckSport] {
        let params = TracelbParams { method, factor: 20.0, dport: 443, ..towards(TARGET4) };
        let run = explore(text, TARGET4, 1, TracelbParams { maxprobec: 6000, ..params });
        run.expect(short(&run) == set("1-2 1-3 1-4 2-5 3-5 4-5 5-9"), method.name());
        let sent = run.exchange().sent();
        let ports: BTreeSet<&[u8]> = sent.map(|packet| &packet[20..22]).collect();
        let flows = summary(&run).flows;
        assert!(ports.len() <= 1000 && flows > 1000, "{method}: {} {flows}", ports.len());
    }
}

#[test]
fn two_measurements_of_one_address_do_not_need_the_same_port() {
    for method in Kind::ALL.iter().copied() {
        let mut sim = Sim::new(Net::draw(&drawn(UNIFORM, TARGET4)), 1);
        let params = || TracelbParams { method, confidence: 99, ..towards(TARGET4) };
        let both = [sim.start::<Tracelb>(params()), sim.start::<Tracelb>(params())];
        sim.run_to_end();
        for one in both {
            let run = sim.result(one);
            run.expect(run.stop == "reached" && short(&run) == set(UNIFORM_LINKS), method.name());
        }
    }
}

#[test]
fn labels_of_tunnels_are_told() {
    let text = "vantage - 1 - { 2 3 } - 4 - target\n 2 mpls 24001,24002:255";
    let run = explore(text, TARGET4, 1, towards(TARGET4));
    let nodes = run.typed::<NodeRow>("nodes");
    let two: IpAddr = "10.0.0.2".parse().unwrap();
    let labelled = nodes.iter().find(|node| node.addr == Some(two)).unwrap();
    let labels: Vec<u32> = labelled.mpls.iter().map(|entry| entry.label).collect();
    assert_eq!(labels, [24_001, 24_002], "{run}");
}

#[test]
fn a_connection_that_a_probe_opened_half_is_reset() {
    let text = format!("{SPLIT_FIRST}\n target tcp 443");
    let params = TracelbParams { method: Kind::TcpSport, dport: 443, ..towards(TARGET4) };
    let run = explore(&text, TARGET4, 1, params);
    run.expect(short(&run) == set(SPLIT_FIRST_LINKS), "links are missing");
    let flags: Vec<u8> = run.exchange().sent().map(|packet| packet[33]).collect();
    let opened = run.exchange().received().filter(|packet| packet[9] == 6).count();
    assert_eq!(flags.iter().filter(|flags| **flags == 4).count(), opened, "{run}");
    assert!(opened > 0, "{run}");
}

#[test]
fn a_confidence_between_the_two_is_refused() {
    let params = TracelbParams { confidence: 97, ..towards(TARGET4) };
    let run = Sim::new(Net::draw(&drawn(MESH, TARGET4)), 1).run::<Tracelb>(params);
    assert_eq!(run.counters.sent, 0);
    assert!(run.to_string().contains("--confidence is 97, accepted: 95 or 99"), "{run}");
}

#[test]
fn two_runs_with_one_seed_are_alike_and_lite_saves_probes() {
    let probes = |algorithm| {
        let params = TracelbParams { algorithm, ..towards(TARGET4) };
        let (one, other) =
            (explore(UNIFORM, TARGET4, 3, params.clone()), explore(UNIFORM, TARGET4, 3, params));
        assert_eq!(one.tables(), other.tables());
        summary(&one).probes
    };
    assert!(probes(Algorithm::MdaLite) < probes(Algorithm::Mda));
}

#[test]
fn the_text_says_where_ways_end_and_why() {
    let form = Tracelb::text();
    let text = |run: &Run, table: &str| -> Vec<String> {
        let lines = run.table(table);
        let lines = lines.iter().filter_map(|row| form.row(table, row, None));
        lines.map(|line| line.text).collect()
    };
    let refusing = "vantage - 1 - { 2 3 } - 4 - target\n 2 refuse 198.51.100.0/24";
    let run = explore(refusing, TARGET4, 1, towards(TARGET4));
    let mut ends = text(&run, "nodes");
    ends.sort();
    assert_eq!(
        ends,
        ["end at hop 2, 10.0.0.2: unreachable", "end at hop 4, 198.51.100.9: reached"],
        "{run}"
    );
    let summary = text(&run, "summary").remove(0);
    assert!(summary.starts_with("--- reached; nodes: 5, "), "{summary}");
    let all = explore(WIDE, TARGET4, 1, TracelbParams { maxprobec: 50, ..towards(TARGET4) });
    let summary = text(&all, "summary").remove(0);
    assert!(summary.starts_with("--- all probes used up; "), "{summary}");
}
