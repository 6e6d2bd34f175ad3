//! The machine's own network changes while a ping runs: afterwards it goes on, and what could not leave
//! meanwhile is told as not sent, never as lost.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use sonde_tests::{Lab, TARGET4, TARGET6, sonde};

/// Probes of a run, 50 ms apart.
const PROBES: usize = 80;
/// When the change is made and taken back, by the rows seen.
const CHANGED: usize = 5;
const RESTORED: usize = 15;
/// Probes of two seconds: by then it must have recovered.
const RECOVERED: usize = RESTORED + 40;

/// What became of a probe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Answered,
    NotSent,
    Lost,
}

/// `src` and `dst` with two links; the targets are reached by the first one.
fn two_links() -> Lab {
    let mut lab = Lab::new();
    for node in ["src", "dst"] {
        lab.node(node, false);
        // Who has a new address says so.
        lab.shell(
            node,
            "sysctl -qw net.ipv4.conf.default.arp_notify=1 net.ipv6.conf.default.ndisc_notify=1",
        );
    }
    lab.link("src", "dst", 0);
    lab.shell(
        "src",
        "ip link add other type veth peer name rehto
         ip link set rehto netns $(ip netns identify $$ | sed s/src$/dst/)
         ip addr add 198.51.100.5/30 dev other
         ip -6 addr add 2001:db8:0:1::1/64 dev other nodad
         ip link set other up",
    );
    lab.ip("dst", "addr add 198.51.100.6/30 dev rehto");
    lab.ip("dst", "-6 addr add 2001:db8:0:1::2/64 dev rehto nodad");
    lab.ip("dst", "link set rehto up");
    lab.ip("dst", &format!("addr add {TARGET4}/32 dev lo"));
    lab.ip("dst", &format!("-6 addr add {TARGET6}/128 dev lo nodad"));
    first_link(&lab);
    lab
}

fn first_link(lab: &Lab) {
    lab.ip("src", "route replace default via 198.51.100.2");
    lab.ip("src", "-6 route replace default via 2001:db8::2");
}

/// Pings while `change` is made and `restore` takes it back.
fn ping_through(
    lab: &Lab,
    target: &str,
    more: &[&str],
    change: impl Fn(&Lab),
    restore: impl Fn(&Lab),
) -> Vec<Fate> {
    let mut command = lab.command("src", sonde());
    command.args(["run", "ping", "--format", "text", "-i", "0.05", "--pps", "100"]);
    command.args(["-c", &PROBES.to_string(), "--wait", "300ms"]).args(more).arg(target);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut fates = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if !line.contains("seq=") {
            continue;
        }
        fates.push(match () {
            () if line.contains("time=") => Fate::Answered,
            () if line.contains("not sent") => Fate::NotSent,
            () => Fate::Lost,
        });
        match fates.len() {
            CHANGED => change(lab),
            RESTORED => restore(lab),
            _ => {}
        }
    }
    child.wait().unwrap();
    assert_eq!(fates.len(), PROBES, "{target}: {fates:?}");
    assert_eq!(fates[..CHANGED], [Fate::Answered; CHANGED], "{target}");
    assert_eq!(fates[RECOVERED..], [Fate::Answered; PROBES - RECOVERED], "{target}: {fates:?}");
    fates
}

/// The change keeps probes from leaving: so it is told, and none of them is lost.
fn assert_not_sent_meanwhile(fates: &[Fate], what: &str) {
    assert!(fates.contains(&Fate::NotSent), "{what}: {fates:?}");
    assert!(!fates.contains(&Fate::Lost), "{what}: {fates:?}");
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn an_interface_that_goes_down_and_up_loses_no_probe_and_those_meanwhile_are_not_sent() {
    let lab = two_links();
    for target in [TARGET4, TARGET6] {
        let fates = ping_through(
            &lab,
            target,
            &[],
            |lab| lab.ip("src", "link set src-dst down"),
            |lab| {
                lab.ip("src", "link set src-dst up");
                lab.ip("src", "-6 addr replace 2001:db8::1/64 dev src-dst nodad");
                first_link(lab);
            },
        );
        assert_not_sent_meanwhile(&fates, target);
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn an_address_that_is_taken_away_sends_nothing_until_it_is_back() {
    let lab = two_links();
    for (target, family, address) in
        [(TARGET4, "-4", "198.51.100.1/30"), (TARGET6, "-6", "2001:db8::1/64")]
    {
        let fates = ping_through(
            &lab,
            target,
            &[],
            |lab| lab.ip("src", &format!("{family} addr del {address} dev src-dst")),
            |lab| {
                lab.ip("src", &format!("{family} addr add {address} dev src-dst"));
                first_link(lab);
            },
        );
        assert_not_sent_meanwhile(&fates, target);
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_route_that_moves_to_another_link_and_back_loses_no_probe() {
    let lab = two_links();
    for target in [TARGET4, TARGET6] {
        let fates = ping_through(
            &lab,
            target,
            &[],
            |lab| {
                lab.ip("src", "route replace default via 198.51.100.6");
                lab.ip("src", "-6 route replace default via 2001:db8:0:1::2");
            },
            first_link,
        );
        assert_eq!(fates, [Fate::Answered; PROBES], "{target}");
        // The probes did take the other link: its neighbour was asked for.
        let family = if target == TARGET4 { "-4" } else { "-6" };
        let neighbours = lab.shell("src", &format!("ip {family} neigh show dev other"));
        assert!(neighbours.contains("lladdr"), "{target}: {neighbours}");
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn probes_larger_than_a_link_has_become_are_not_sent_until_it_is_wider_again() {
    let lab = two_links();
    for target in [TARGET4, TARGET6] {
        let fates = ping_through(
            &lab,
            target,
            &["-s", "1400"],
            |lab| lab.ip("src", "link set src-dst mtu 1280"),
            |lab| lab.ip("src", "link set src-dst mtu 1500"),
        );
        assert_not_sent_meanwhile(&fates, target);
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_neighbour_with_another_ethernet_address_is_found_again() {
    let lab = two_links();
    for (number, target) in [TARGET4, TARGET6].into_iter().enumerate() {
        let set = |lab: &Lab, last: usize| {
            lab.ip("dst", &format!("link set dst-src address 02:00:00:00:00:{number}{last}"));
        };
        let fates = ping_through(&lab, target, &[], |lab| set(lab, 1), |lab| set(lab, 2));
        assert!(!fates.contains(&Fate::NotSent), "{target}: {fates:?}");
    }
}
