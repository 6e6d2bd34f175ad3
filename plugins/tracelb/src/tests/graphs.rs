//! Random diamonds: meshed, or joined one to one.

use sonde_testkit::Random;

use super::*;
use crate::stopping_points::StoppingPoints;

/// Enough that two of a hundred cannot be taken for five.
const RUNS: u64 = 200;

type Links = BTreeSet<(usize, usize)>;

/// How the layers of a diamond are joined.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Joined {
    /// One to one.
    Evenly,
    /// With some links across, and all there can be before the last layer, where everybody sees them.
    Across,
}

/// A diamond of random width and depth between 10.0.0.1 and 10.0.0.8, before the target.
fn random_diamond(seed: u64, joined: Joined) -> Links {
    let mut random = Random::new(seed);
    let depth = 3 + random.below(2);
    let width = 2 + random.below(3) as usize;
    let (mut links, mut layer, mut next) = (Links::from([(8, 9)]), vec![], 10);
    for number in 0..depth {
        let behind: Vec<usize> = (next..next + width).collect();
        next += width;
        let is_last = number == depth - 1;
        for (place, node) in behind.iter().enumerate() {
            let before = layer.get(place).copied().unwrap_or(1);
            links.insert((before, *node));
            let chance = if is_last { 1.0 } else { 0.2 };
            let is_across = |_: &&usize| joined == Joined::Across && random.chance(chance);
            links.extend(layer.iter().filter(is_across).map(|other| (*other, *node)));
        }
        layer = behind;
    }
    links.extend(layer.iter().map(|node| (*node, 8)));
    links
}

fn explored(links: &Links, seed: u64, algorithm: Algorithm) -> Run {
    let name = |node: usize| if node == 9 { "target".to_owned() } else { node.to_string() };
    let draw = |(from, to): &(usize, usize)| format!("\n{} - {}", name(*from), name(*to));
    let text = format!("vantage - 1{}", links.iter().map(draw).collect::<String>());
    let run = explore(&text, TARGET4, seed, TracelbParams { algorithm, ..towards(TARGET4) });
    let truth: BTreeSet<String> = links.iter().map(|(from, to)| format!("{from}-{to}")).collect();
    run.expect(short(&run).is_subset(&truth), "there is a false link");
    run
}

/// The mean part of the links that many runs miss, its standard error, and the probes they take.
fn missed(joined: Joined, algorithm: Algorithm) -> (f64, f64, u32) {
    let (mut shares, mut probes) = (Vec::new(), 0);
    for seed in 0..RUNS {
        let links = random_diamond(seed, joined);
        let run = explored(&links, seed, algorithm);
        shares.push(1.0 - short(&run).len() as f64 / links.len() as f64);
        probes += summary(&run).probes;
    }
    let missed = mean(&shares);
    let squares: f64 = shares.iter().map(|share| (share - missed).powi(2)).sum();
    (missed, (squares / (RUNS * (RUNS - 1)) as f64).sqrt(), probes)
}

#[test]
fn random_meshed_diamonds_are_found_with_the_nominal_confidence() {
    let (mda, ..) = missed(Joined::Across, Algorithm::Mda);
    let (lite, error, _) = missed(Joined::Across, Algorithm::MdaLite);
    assert!(lite - 2.33 * error <= 0.05, "{lite}");
    assert!(lite - 2.33 * error <= mda, "{lite} {mda}");
}

#[test]
fn random_even_diamonds_are_found_with_the_nominal_confidence_and_fewer_probes() {
    let (.., all) = missed(Joined::Evenly, Algorithm::Mda);
    let (lite, error, probes) = missed(Joined::Evenly, Algorithm::MdaLite);
    assert!(lite - 2.33 * error <= 0.05, "{lite}");
    assert!(f64::from(probes) <= 0.8 * f64::from(all), "{probes} of {all}");
}

#[test]
fn all_of_a_meshed_diamond_is_asked_for_by_node() {
    let mut points = StoppingPoints::new(95, false, 1.0);
    for (algorithm, seed) in Algorithm::ALL.iter().flat_map(|it| (0..RUNS).map(move |at| (*it, at)))
    {
        let run = explored(&random_diamond(seed, Joined::Across), seed, algorithm);
        let diamonds = run.typed::<DiamondRow>("diamonds").into_iter();
        let uneven = diamonds.filter(|it| it.meshed || !it.symmetric);
        let hops: BTreeSet<u32> = uneven
            .flat_map(|it| (0..it.max_length).map(move |hop| u32::from(it.ttl) + hop))
            .collect();
        let links = run.typed::<LinkRow>("links");
        let is_inside = |node: &NodeRow| node.stop.is_none() && hops.contains(&node.ttl.into());
        for node in run.typed::<NodeRow>("nodes").into_iter().filter(is_inside) {
            let behind = links.iter().filter(|link| link.from_id == node.id);
            let flows: u32 = behind.map(|link| link.flows).sum();
            let fewest = points.after(node.out_degree as usize) as u32;
            run.expect(flows >= fewest, &format!("{algorithm}, seed {seed}, node {}", node.id));
        }
    }
}
