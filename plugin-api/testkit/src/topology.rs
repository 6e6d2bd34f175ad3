//! Reads a drawing: paths, nodes and links, one statement a line.
//!
//! The grammar stands in the crate's documentation. What an attribute means is decided by the file
//! that knows the thing: `router`, `quote`, `endpoint`, `middlebox`, `link`.

use crate::{
    balancer::Policy,
    middlebox::{self, Way},
    net::{Edge, Identification, Net, VANTAGE},
    words::{Prefix, TopologyError, Words},
};

const CONNECTORS: [&str; 3] = ["-", "->", "<-"];

/// A whole drawing.
pub(crate) fn parse(text: &str) -> Result<Net, TopologyError> {
    let mut net = Net::empty();
    read(&mut net, text)?;
    Ok(net)
}

/// More lines of a drawing.
pub(crate) fn read(net: &mut Net, text: &str) -> Result<(), TopologyError> {
    for (number, line) in text.lines().enumerate() {
        let mut words = Words::of(number + 1, line);
        match words.peek() {
            None => {}
            _ if words.contains(&CONNECTORS) && words.peek() != Some("link") => {
                path(net, &mut words)?;
            }
            Some("link" | "links") => link(net, &mut words)?,
            Some(name) => {
                words.next();
                check_name(name, &words)?;
                let node = net.node(name);
                node_attributes(net, node, &mut words)?;
            }
        }
    }
    Ok(())
}

/// A part of a path between two connectors.
#[derive(Default)]
struct Piece {
    /// Where it begins, with the weight of each.
    entries: Vec<(usize, u32)>,
    /// Where it ends.
    exits: Vec<usize>,
    policy: Option<Policy>,
}

/// `vantage - r1 - { a b - c } per-flow - target`
fn path(net: &mut Net, words: &mut Words<'_>) -> Result<(), TopologyError> {
    let is_first = net.hops.is_empty();
    let whole = pieces(net, words)?;
    if !words.is_empty() {
        words.next();
        return Err(words.wrong("expected -, -> or <-"));
    }
    if is_first && whole.entries.first().is_some_and(|(node, _)| *node == VANTAGE) {
        net.hops = first_path(net);
    }
    Ok(())
}

/// The nodes reached by the link drawn first, again and again.
fn first_path(net: &Net) -> Vec<usize> {
    let mut hops = vec![];
    let mut at = VANTAGE;
    while let Some(edge) = net.edges.iter().find(|e| e.from == at && e.way == Way::There) {
        at = edge.to;
        hops.push(at);
    }
    hops
}

/// Pieces with connectors between them, up to the end of the line, a brace or the next branch.
fn pieces(net: &mut Net, words: &mut Words<'_>) -> Result<Piece, TopologyError> {
    let mut whole = piece(net, words)?;
    while let Some(connector) = words.peek().filter(|word| CONNECTORS.contains(word)) {
        words.next();
        let next = piece(net, words)?;
        for &left in &whole.exits {
            if let Some(policy) = next.policy {
                net.nodes[left].policy = policy;
            }
            for &(right, weight) in &next.entries {
                if connector != "<-" {
                    forbid_circle(net, left, right, words)?;
                    net.edge(left, right, Way::There).weight = weight;
                }
                if connector != "->" {
                    net.edge(right, left, Way::Back);
                }
            }
        }
        whole.exits = next.exits;
    }
    Ok(whole)
}

fn piece(net: &mut Net, words: &mut Words<'_>) -> Result<Piece, TopologyError> {
    let word = words.word("a node")?;
    if word != "{" {
        let (name, weight) = match word.split_once('*') {
            Some((name, weight)) => {
                let weight = weight.parse().ok().filter(|weight| *weight > 0);
                (name, weight.ok_or_else(|| words.wrong("expected a weight such as a*3"))?)
            }
            None => (word, 1),
        };
        check_name(name, words)?;
        let node = net.node(name);
        return Ok(Piece { entries: vec![(node, weight)], exits: vec![node], policy: None });
    }
    let mut all = Piece { policy: Some(Policy::default()), ..Piece::default() };
    while !words.take("}") {
        if words.is_empty() {
            return Err(words.missing("}"));
        }
        let branch = pieces(net, words)?;
        all.entries.extend(branch.entries);
        all.exits.extend(branch.exits);
    }
    if all.entries.is_empty() {
        return Err(words.wrong("nothing between the braces"));
    }
    if let Some(policy) = words.peek().and_then(Policy::of_name) {
        words.next();
        all.policy = Some(policy);
    }
    Ok(all)
}

fn check_name(name: &str, words: &Words<'_>) -> Result<(), TopologyError> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-:".contains(letter);
    if name.is_empty() || !name.chars().all(is_plain) || CONNECTORS.contains(&name) {
        return Err(words.wrong("expected the name of a node"));
    }
    Ok(())
}

/// INVARIANT: links on the way there make no circle, so that every packet gets somewhere.
fn forbid_circle(
    net: &Net,
    from: usize,
    to: usize,
    words: &Words<'_>,
) -> Result<(), TopologyError> {
    let mut reached = vec![false; net.nodes.len()];
    let mut open = vec![to];
    while let Some(node) = open.pop() {
        if node == from {
            let name = &net.nodes[from].name;
            return Err(words.wrong(format!(
                "{name} comes before itself; a loop is drawn with `{name} route default via NODE`"
            )));
        }
        if !std::mem::replace(&mut reached[node], true) {
            let next = net.edges.iter().filter(|e| e.from == node && e.way == Way::There);
            open.extend(next.map(|edge| edge.to));
        }
    }
    Ok(())
}

/// `link r1 r2 delay 10ms`, `link r1 -> r2 loss 5%`, `links delay 5ms`
fn link(net: &mut Net, words: &mut Words<'_>) -> Result<(), TopologyError> {
    if words.next() == Some("links") {
        return link_attributes(net.edges.iter_mut(), words);
    }
    let one = known_node(net, words)?;
    let connector = words.peek().filter(|word| CONNECTORS.contains(word));
    if connector.is_some() {
        words.next();
    }
    let other = known_node(net, words)?;
    let is_meant = |edge: &Edge| match connector {
        Some("->") => (edge.from, edge.to) == (one, other),
        Some("<-") => (edge.to, edge.from) == (one, other),
        _ => [(one, other), (other, one)].contains(&(edge.from, edge.to)),
    };
    if !net.edges.iter().any(is_meant) {
        return Err(words.wrong(format!(
            "no path was drawn between {} and {}",
            net.nodes[one].name, net.nodes[other].name
        )));
    }
    link_attributes(net.edges.iter_mut().filter(|edge| is_meant(edge)), words)
}

/// The same attributes for each of the links.
pub(crate) fn link_attributes<'a>(
    edges: impl Iterator<Item = &'a mut Edge>,
    words: &mut Words<'_>,
) -> Result<(), TopologyError> {
    let start = words.position();
    for edge in edges {
        words.rewind(start);
        while !words.is_empty() {
            if !edge.spec.attribute(words)? {
                words.next();
                return Err(words.wrong(
                    "expected delay, jitter, loss, drop, duplicate, reorder, corrupt, mtu, names-mtu or black-hole",
                ));
            }
        }
    }
    Ok(())
}

fn known_node(net: &Net, words: &mut Words<'_>) -> Result<usize, TopologyError> {
    let name = words.word("a node")?;
    let node = net.nodes.iter().position(|node| node.name == name);
    node.ok_or_else(|| words.wrong("no such node was drawn"))
}

/// All that follows the name of a node.
pub(crate) fn node_attributes(
    net: &mut Net,
    node: usize,
    words: &mut Words<'_>,
) -> Result<(), TopologyError> {
    while !words.is_empty() {
        if let Some(prefix) = words.optional() {
            add_address(net, node, prefix, words)?;
            continue;
        }
        let spec = &mut net.nodes[node];
        if spec.router.attribute(words)? || spec.endpoint.attribute(words)? {
            continue;
        }
        if let Some(middlebox) = middlebox::attribute(words)? {
            spec.boxes.push(middlebox);
            continue;
        }
        match words.next() {
            Some("balance") => spec.policy = policy(words)?,
            Some("balance-back") => spec.policy_back = Some(policy(words)?),
            Some("salt") => spec.salt = Some(words.value()?),
            Some("records") => {
                let there = words.value()?;
                spec.records = [Some(there), Some(words.optional().unwrap_or(there))];
            }
            Some("ip-id") => {
                spec.identification = match words.word("counter, random or zero")? {
                    "counter" => Identification::Counter,
                    "random" => Identification::Random,
                    "zero" => Identification::Zero,
                    _ => return Err(words.wrong("expected counter, random or zero")),
                };
            }
            Some("route") => {
                let everything = [Prefix::of_all(true), Prefix::of_all(false)];
                let prefixes = match words.take("default") {
                    true => everything.to_vec(),
                    false => vec![words.value()?],
                };
                if !words.take("via") {
                    words.next();
                    return Err(words.wrong("expected via and the name of a node"));
                }
                let via = known_node(net, words)?;
                let exists = net.edges.iter().any(|edge| (edge.from, edge.to) == (node, via));
                if !exists {
                    net.edge(node, via, Way::Back);
                }
                net.nodes[node].routes.extend(prefixes.into_iter().map(|prefix| (prefix, via)));
            }
            _ => return Err(words.wrong("no attribute of a node")),
        }
    }
    Ok(())
}

fn policy(words: &mut Words<'_>) -> Result<Policy, TopologyError> {
    let word = words.word("a way to share out")?;
    Policy::of_name(word).ok_or_else(|| {
        words.wrong(
            "expected per-flow, per-flow-and-tos, per-ports, per-packet, round-robin, \
             per-destination or per-addresses",
        )
    })
}

fn add_address(
    net: &mut Net,
    node: usize,
    prefix: Prefix,
    words: &Words<'_>,
) -> Result<(), TopologyError> {
    if !prefix.is_one() {
        net.nodes[node].prefixes.push(prefix);
        return Ok(());
    }
    let owner = net.nodes.iter().position(|other| other.addresses.contains(&prefix.address));
    match owner {
        Some(other) if other != node => {
            Err(words.wrong(format!("{} has this address already", net.nodes[other].name)))
        }
        Some(_) => Ok(()),
        None => {
            net.nodes[node].addresses.push(prefix.address);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn edges(net: &Net, way: Way) -> Vec<String> {
        let name = |node: usize| net.nodes[node].name.as_str();
        net.edges
            .iter()
            .filter(|edge| edge.way == way)
            .map(|edge| format!("{}>{}", name(edge.from), name(edge.to)))
            .collect()
    }

    fn refusal(text: &str) -> TopologyError {
        parse(text).err().unwrap()
    }

    #[test]
    fn a_path_is_drawn_with_branches_inside_branches() {
        let net = parse("vantage - r1 - { a b - { c d*3 } per-packet - e } per-flow - t").unwrap();
        let there = edges(&net, Way::There);
        assert_eq!(there, ["vantage>r1", "b>c", "b>d", "c>e", "d>e", "r1>a", "r1>b", "a>t", "e>t"]);
        let b = net.nodes.iter().find(|node| node.name == "b").unwrap();
        assert_eq!(b.policy, Policy::PerPacket);
        let weight = |to| net.edges.iter().find(|e| net.nodes[e.to].name == to).unwrap().weight;
        assert_eq!((weight("c"), weight("d")), (1, 3));
        let hops: Vec<_> = net.hops.iter().map(|hop| net.nodes[*hop].name.as_str()).collect();
        assert_eq!(hops, ["r1", "a", "t"]);
    }

    #[test]
    fn two_stages_of_branches_are_a_mesh() {
        let net = parse("vantage - r1 - { a b } - { c d } - t").unwrap();
        let there = edges(&net, Way::There);
        assert!(
            ["a>c", "a>d", "b>c", "b>d"].iter().all(|edge| there.contains(&(*edge).to_owned()))
        );
    }

    #[test]
    fn arrows_draw_one_way_only() {
        let net = parse("vantage - r1 -> r2 -> t\nr1 <- r3 <- t").unwrap();
        assert_eq!(edges(&net, Way::There), ["vantage>r1", "r1>r2", "r2>t"]);
        assert_eq!(edges(&net, Way::Back), ["r1>vantage", "r3>r1", "t>r3"]);
    }

    #[test]
    fn an_error_names_line_and_word() {
        let error = refusal("vantage - r1 - t\n\nr1 192.0.2.254 qoute 28");
        assert_eq!(error.to_string(), "line 3, \"qoute\": no attribute of a node");
        let error = refusal("vantage - r1 - t\nlink r1 r9 delay 1ms");
        assert_eq!((error.line, error.word.as_str()), (2, "r9"));
        let error = refusal("vantage - r1 - t\nlink r1 t delay 10");
        assert_eq!((error.line, error.word.as_str()), (2, "10"));
        let error = refusal("vantage - r1 - t\nlink vantage t mtu 1400");
        assert!(error.problem.contains("no path was drawn between vantage and t"), "{error}");
        assert_eq!(refusal("vantage - { a b").problem, "} is missing at the end of the line");
        assert_eq!(refusal("vantage - r1 r2").word, "r2");
        assert_eq!(refusal("r1 192.0.2.9\nr2 192.0.2.9").line, 2);
    }

    #[test]
    fn a_circle_is_refused_with_the_way_to_draw_a_loop() {
        let error = refusal("vantage - r1 - r2\nr2 - r1");
        assert!(error.problem.contains("route default via"), "{error}");
        let net = parse("vantage - r1 - r2 - t\nr2 route default via r1").unwrap();
        assert_eq!(net.nodes[2].routes.len(), 2);
    }

    proptest! {
        #[test]
        fn any_words_make_a_drawing_or_an_error(words in prop::collection::vec(prop::sample::select(vec![
            "vantage", "-", "->", "<-", "{", "}", "a", "b", "c*2", "d*0", "\n", "\n", "link", "links", "delay", "1ms",
            "loss", "5%", "drop", "3,7-9", "per-packet", "quote", "28", "header+8", "mpls", "16:1", "192.0.2.1",
            "2001:db8::/32", "route", "default", "via", "rewrite", "tos", "strip", "all", "nat-source", "tcp", "80",
            "udp", "echo", "silent", "balance", "by", "reorder", "refuse", "code", "interface", "name=e,mtu=5", "#",
        ]), 0..60)) {
            if let Ok(net) = parse(&words.join(" ")) {
                let mut world = crate::world::World::new(net, 1);
                prop_assert!(world.step().is_none());
            }
        }
    }
}
