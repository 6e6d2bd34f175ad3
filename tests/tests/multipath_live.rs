//! tracelb through real kernels that share packets out, in both families, beside scamper.
//!
//! What is drawn is what has to be found. Over IPv4 every router speaks from the address of its link back to us,
//! over IPv6 from that of the link by which a probe came: there a router with several of them is several nodes.
//! The balancers' seeds and the ports are fixed, so a run finds the same each time.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::{
    collections::BTreeSet,
    process::{Child, Stdio},
};

use serde_json::Value;
use sonde_tests::{Finished, Lab, TARGET4, TARGET6, sonde};

/// Addresses of both ends of links.
type Links = BTreeSet<(String, String)>;

/// A drawn network: links from `src` to `dst`, each as `near-far`.
struct Drawn {
    lab: Lab,
    links: Vec<(String, String)>,
}

impl Drawn {
    fn new(drawing: &str) -> Self {
        let pair = |link: &str| link.split_once('-').map(|(a, b)| (a.to_owned(), b.to_owned()));
        let links: Vec<_> = drawing.split_whitespace().filter_map(pair).collect();
        let mut lab = Lab::new();
        lab.node("src", false);
        for far in unique(links.iter().map(|link| link.1.as_str())) {
            lab.node(far, far != "dst");
        }
        for (number, (near, far)) in links.iter().enumerate() {
            lab.link(near, far, number);
        }
        let drawn = Self { lab, links };
        for (number, near) in
            unique(drawn.links.iter().map(|link| link.0.as_str())).iter().enumerate()
        {
            drawn.route(near, number);
        }
        drawn.back("dst");
        drawn.lab.ip("dst", &format!("addr add {TARGET4}/32 dev lo"));
        drawn.lab.ip("dst", &format!("-6 addr add {TARGET6}/128 dev lo nodad"));
        // scamper leaves the checksums of UDP over IPv6 to the device; its probes get whole ones too.
        let first = format!("src-{}", drawn.links[0].1);
        drawn.lab.shell("src", &format!("ethtool -K {first} tx off >/dev/null"));
        drawn
    }

    /// Towards the target over all links of a node, by ports; back over its first.
    fn route(&self, node: &str, seed: usize) {
        let out = self.links.iter().enumerate().filter(|(_, link)| link.0 == node);
        let out: Vec<usize> = out.map(|(number, _)| number).collect();
        let hops = |address: &dyn Fn(usize) -> String| {
            out.iter().map(|link| format!(" nexthop via {}", address(*link))).collect::<String>()
        };
        let four = hops(&|link| format!("198.51.100.{}", 4 * link + 2));
        let six = hops(&|link| format!("2001:db8:0:{link:x}::2"));
        let seed = 1000 + 77 * seed;
        self.lab.shell(
            node,
            &format!(
                "sysctl -qw net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1 \
                 net.ipv4.fib_multipath_hash_seed={seed}"
            ),
        );
        self.lab.ip(node, &format!("route add {TARGET4}/32{four}"));
        self.lab.ip(node, &format!("-6 route add {TARGET6}/128{six}"));
        if node != "src" {
            self.back(node);
        }
    }

    fn back(&self, node: &str) {
        let link = self.links.iter().position(|link| link.1 == node).unwrap();
        self.lab.ip(node, &format!("route add default via 198.51.100.{}", 4 * link + 1));
        self.lab.ip(node, &format!("-6 route add default via 2001:db8:0:{link:x}::1"));
    }

    /// Packets in turn over both of the links of `node`, whatever their flow.
    fn per_packet(&self, node: &str) {
        self.lab.nft(
            node,
            &format!(
                "table inet turn {{
                    chain pre {{ type filter hook prerouting priority -150;
                        ip daddr {TARGET4} meta mark set numgen inc mod 2 offset 100
                        ip6 daddr {TARGET6} meta mark set numgen inc mod 2 offset 100
                    }}
                }}"
            ),
        );
        let out = self.links.iter().enumerate().filter(|(_, link)| link.0 == node);
        for (table, (link, _)) in (100..).zip(out) {
            self.lab.ip(node, &format!("rule add fwmark {table} lookup {table}"));
            self.lab.ip(node, &format!("-6 rule add fwmark {table} lookup {table}"));
            let far = 4 * link + 2;
            self.lab.ip(node, &format!("route add {TARGET4} via 198.51.100.{far} table {table}"));
            let six = format!("-6 route add {TARGET6} via 2001:db8:0:{link:x}::2 table {table}");
            self.lab.ip(node, &six);
        }
    }

    /// The addresses that a node speaks from.
    fn addresses(&self, node: &str, target: &str) -> Vec<String> {
        if node == "dst" {
            return vec![target.to_owned()];
        }
        let into = self.links.iter().enumerate().filter(|(_, link)| link.1 == node);
        let shown = |(link, _): (usize, _)| match target {
            TARGET4 => format!("198.51.100.{}", 4 * link + 2),
            // Zeros are left out of an address.
            _ if link == 0 => "2001:db8::2".to_owned(),
            _ => format!("2001:db8:0:{link:x}::2"),
        };
        let most = if target == TARGET4 { 1 } else { usize::MAX };
        into.take(most).map(shown).collect()
    }

    /// Those of a link's far end, where a probe came by this link.
    fn far_end(&self, link: usize, target: &str) -> String {
        let far = &self.links[link].1;
        let addresses = self.addresses(far, target);
        let into = self.links[..link].iter().filter(|link| link.1 == *far).count();
        addresses.get(into).unwrap_or(&addresses[0]).clone()
    }

    /// What is to be found.
    fn expected(&self, target: &str) -> Links {
        let mut expected = Links::new();
        for (number, (near, _)) in self.links.iter().enumerate().filter(|(_, link)| link.0 != "src")
        {
            for from in self.addresses(near, target) {
                expected.insert((from, self.far_end(number, target)));
            }
        }
        expected
    }

    fn record(&self, target: &str, arguments: &[&str]) -> Value {
        let mut command = self.lab.command("src", sonde());
        command
            .args(["run", "tracelb", "--format", "json", "--pps", "1000", "--waitprobe", "0"])
            .args(["--confidence", "99", "--waittimeout", "1"])
            .args(arguments)
            .arg(target);
        let run = Finished::of(&mut command);
        assert_eq!(run.code, 0, "{}{}", run.output, run.errors);
        run.records().remove(0)
    }

    /// scamper on the same way; it takes its time, so it begins before ours.
    fn scamper(&self, target: &str) -> Child {
        let job = "tracelb -c 99 -P udp-dport -d 33435 -s 44000 -W 15 -w 1";
        let mut command = self.lab.command("src", "scamper");
        command.args(["-p", "1000", "-c", job, "-i", target]).stdout(Stdio::piped());
        command.spawn().expect("scamper is installed")
    }
}

fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

fn links(record: &Value) -> Links {
    let end = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let rows = record["tables"]["links"].as_array().unwrap();
    rows.iter().map(|row| (end(row, "from"), end(row, "to"))).collect()
}

/// Lines of `node -> hop { -> hop }`, taken apart.
fn theirs(scamper: Child) -> Links {
    let output = scamper.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut links = Links::new();
    for line in text.lines().filter(|line| line.contains(" -> ")) {
        let hops: Vec<&str> = line.split(" -> ").collect();
        links.extend(hops.windows(2).map(|two| (two[0].to_owned(), two[1].to_owned())));
    }
    assert!(!links.is_empty(), "{text}");
    links
}

/// A diamond's greatest width, greatest and smallest length, and whether it is meshed.
type Diamond = (u64, u64, u64, bool);

/// Both find what is drawn, in both families; ours tells the diamonds over IPv4 and over IPv6.
#[track_caller]
fn both_find(drawing: &str, diamonds: [&[Diamond]; 2]) {
    let drawn = Drawn::new(drawing);
    for (target, diamonds) in [TARGET4, TARGET6].into_iter().zip(diamonds) {
        let scamper = drawn.scamper(target);
        let record = drawn.record(target, &[]);
        let theirs = theirs(scamper);
        assert_eq!(links(&record), drawn.expected(target), "{target}: {record}");
        assert_eq!(record["stop"], "reached");
        let rows = record["tables"]["diamonds"].as_array().unwrap();
        let number = |row: &Value, name: &str| row[name].as_u64().unwrap();
        let found: Vec<_> = rows
            .iter()
            .map(|row| {
                let width = number(row, "max_width");
                let lengths = (number(row, "max_length"), number(row, "min_length"));
                (width, lengths.0, lengths.1, row["meshed"] == true)
            })
            .collect();
        assert_eq!(found, diamonds, "{target}: {record}");
        // It may miss a way with the confidence that both promise. Presumably its IPv6 probes carry the hash of their
        // socket from one of these kernels to the next, too: then all balancers choose alike, whatever their seeds,
        // and it sees half of what lies behind the second.
        assert!(theirs.is_subset(&links(&record)), "{target}: {theirs:?}");
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn two_branches_are_found_as_scamper_finds_them() {
    both_find(
        "src-r0 r0-r1 r1-a r1-b a-j b-j j-k k-dst",
        [&[(2, 2, 2, false)], &[(2, 3, 3, false)]],
    );
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn nested_diamonds_are_found_as_scamper_finds_them() {
    both_find(
        "src-r0 r0-r1 r1-a r1-b a-c a-d c-e d-e e-j b-f f-g g-j j-k k-m k-n m-q n-q q-z z-dst",
        [&[(3, 4, 4, false), (2, 2, 2, false)], &[(3, 5, 5, false), (2, 3, 3, false)]],
    );
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn branches_of_different_lengths_are_found_as_scamper_finds_them() {
    both_find(
        "src-r0 r0-r1 r1-a r1-b a-j b-c c-j j-k k-dst",
        [&[(2, 3, 2, false)], &[(2, 4, 3, false)]],
    );
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_mesh_of_two_by_two_is_found_as_scamper_finds_it() {
    // Where every link shows an address of its own, no two links meet in one.
    both_find(
        "src-r0 r0-r1 r1-a r1-b a-c a-d b-c b-d c-j d-j j-k k-dst",
        [&[(2, 3, 3, true)], &[(4, 4, 4, false)]],
    );
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_hop_of_sixteen_routers_is_found_as_scamper_finds_it() {
    let branches: String = (0..16).map(|number| format!(" r1-w{number} w{number}-j")).collect();
    both_find(
        &format!("src-r0 r0-r1{branches} j-k k-dst"),
        [&[(16, 2, 2, false)], &[(16, 3, 3, false)]],
    );
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_split_right_behind_the_first_hop_is_no_cluster_as_it_is_for_scamper() {
    let drawn = Drawn::new("src-r0 r0-a r0-b r0-c a-j b-j c-j j-dst");
    for target in [TARGET4, TARGET6] {
        let scamper = drawn.scamper(target);
        let record = drawn.record(target, &[]);
        let theirs = theirs(scamper);
        assert_eq!(links(&record), drawn.expected(target), "{target}: {record}");
        // It does not test flows there: its cluster has no links, though each flow has one way. Over IPv6 it was seen
        // to miss branches; presumably because the seed of the balancer cannot be chosen there.
        let expected = drawn.expected(target);
        let is_drawn = if target == TARGET6 {
            !theirs.is_empty() && theirs.is_subset(&expected)
        } else {
            theirs == expected
        };
        let is_cluster = theirs.iter().any(|link| link.1.starts_with('('));
        assert!(is_drawn || is_cluster, "{target}: {theirs:?}");
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn what_is_shared_out_packet_by_packet_is_a_cluster_as_for_scamper() {
    let drawn = Drawn::new("src-r0 r0-r1 r1-a r1-b a-c b-d c-j d-j j-k k-dst");
    drawn.per_packet("r1");
    for target in [TARGET4, TARGET6] {
        let scamper = drawn.scamper(target);
        let record = drawn.record(target, &[]);
        let theirs = theirs(scamper);
        let hop = |nodes: &[&str]| {
            let all: BTreeSet<String> =
                nodes.iter().flat_map(|node| drawn.addresses(node, target)).collect();
            let all: Vec<String> = all.into_iter().collect();
            if all.len() == 1 { all[0].clone() } else { format!("({})", all.join(", ")) }
        };
        let hops = [&["r0"][..], &["r1"], &["a", "b"], &["c", "d"], &["j"], &["k"], &["dst"]];
        let way: Vec<String> = hops.into_iter().map(hop).collect();
        let expected: Links = way.windows(2).map(|two| (two[0].clone(), two[1].clone())).collect();
        assert_eq!(sorted(links(&record)), sorted(expected.clone()), "{target}: {record}");
        assert_eq!(sorted(theirs), sorted(expected), "{target}");
    }
}

/// Addresses of clusters in one order, for they stand in that of their discovery.
fn sorted(links: Links) -> Links {
    let name = |name: String| match name.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => {
            let parts: BTreeSet<&str> = inner.split(", ").collect();
            format!("({})", parts.into_iter().collect::<Vec<_>>().join(", "))
        }
        None => name,
    };
    links.into_iter().map(|(from, to)| (name(from), name(to))).collect()
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn every_kind_of_probe_finds_the_branches_and_echo_requests_the_one_way_that_linux_gives_them() {
    let drawn = Drawn::new("src-r0 r0-r1 r1-a r1-b a-j b-j j-k k-dst");
    for target in [TARGET4, TARGET6] {
        for method in ["udp-dport", "udp-sport", "tcp-sport", "tcp-ack-sport"] {
            for algorithm in ["mda", "mda-lite"] {
                let arguments = ["--method", method, "--algorithm", algorithm];
                let record = drawn.record(target, &arguments);
                assert_eq!(links(&record), drawn.expected(target), "{arguments:?}: {record}");
            }
        }
        let record = drawn.record(target, &["--method", "icmp-echo"]);
        let found = links(&record);
        assert!(found.is_subset(&drawn.expected(target)) && found.len() == 5, "{record}");
    }
}
