//! Path MTUs: what routers say, what they say wrong, and what they do not say.

use sonde_testkit::json;

use super::*;

/// Kinds that can carry any size.
const KINDS: [Kind; 5] = [Kind::UdpParis, Kind::Udp, Kind::Icmp, Kind::IcmpParis, Kind::TcpAck];

fn find(net: Net, method: Kind, target: &str) -> Run {
    run_in(net, TraceParams { method, pmtud: true, ..trace(target) })
}

fn findings(run: &Run) -> Vec<serde_json::Value> {
    run.table("pmtu")
        .columns(["kind", "pmtu", "ttl", "addr"])
        .iter()
        .map(|row| json!(row))
        .collect()
}

#[test]
fn without_a_narrow_link_one_probe_is_enough() {
    for target in TARGETS {
        for method in KINDS {
            let run = find(net(), method, target);
            let expected = [
                json!({"kind": "interface", "pmtu": 1500, "ttl": null, "addr": null}),
                json!({"kind": "path", "pmtu": 1500, "ttl": 4, "addr": target}),
            ];
            assert_eq!(findings(&run), expected, "{method}\n{run}");
            assert_eq!((summary(&run).pmtu, summary(&run).sent), (Some(1500), 5));
        }
    }
}

#[test]
fn a_router_that_says_what_is_not_too_big_is_believed_and_named() {
    for target in TARGETS {
        for method in KINDS {
            let run = find(net().mtu("target", 1400).mtu("r3", 1450), method, target);
            let [_, second, third, last] = addresses(target);
            let expected = [
                json!({"kind": "interface", "pmtu": 1500, "ttl": null, "addr": null}),
                json!({"kind": "too-big", "pmtu": 1450, "ttl": 2, "addr": second}),
                json!({"kind": "too-big", "pmtu": 1400, "ttl": 3, "addr": third}),
                json!({"kind": "path", "pmtu": 1400, "ttl": 4, "addr": last}),
            ];
            assert_eq!(findings(&run), expected, "{method}\n{run}");
        }
    }
}

#[test]
fn a_black_hole_is_measured_and_placed() {
    for target in TARGETS {
        for (method, mtu) in KINDS.into_iter().zip([1400, 1492, 1280, 1333, 1454]) {
            let net = net().link_there("target", &format!("mtu {mtu} black-hole"));
            let run = find(net, method, target);
            let [_, _, third, last] = addresses(target);
            let expected = [
                json!({"kind": "interface", "pmtu": 1500, "ttl": null, "addr": null}),
                json!({"kind": "silence", "pmtu": mtu, "ttl": 3, "addr": third}),
                json!({"kind": "path", "pmtu": mtu, "ttl": 4, "addr": last}),
            ];
            assert_eq!(findings(&run), expected, "{method}\n{run}");
        }
    }
}

#[test]
fn a_hole_is_placed_with_as_many_probes_as_can_be_asked_for() {
    let net = net().link_there("target", "mtu 1400 black-hole");
    let wait = Duration::from_millis(200);
    let params = TraceParams { pmtud: true, attempts: 255, wait, ..trace(TARGET4) };
    let run = run_in(net, params);
    let row = json!({"kind": "silence", "pmtu": 1400, "ttl": 3, "addr": addresses(TARGET4)[2]});
    assert_eq!(findings(&run)[1], row, "{run}");
}

#[test]
fn a_hole_in_front_of_a_router_that_names_its_size_is_told_beside_it() {
    for target in TARGETS {
        let hole = net().link_there("r3", "mtu 1400 black-hole");
        let run = find(hole.link_there("target", "mtu 1300"), Kind::UdpParis, target);
        let [_, second, third, last] = addresses(target);
        let expected = [
            json!({"kind": "interface", "pmtu": 1500, "ttl": null, "addr": null}),
            json!({"kind": "silence", "pmtu": 1400, "ttl": 2, "addr": second}),
            json!({"kind": "too-big", "pmtu": 1300, "ttl": 3, "addr": third}),
            json!({"kind": "path", "pmtu": 1300, "ttl": 4, "addr": last}),
        ];
        assert_eq!(findings(&run), expected, "{run}");
    }
}

#[test]
fn a_hole_in_front_of_the_first_router_has_no_router() {
    let net = Net::draw(
        "vantage - tunnel - r1 - r2 - target
         tunnel keeps-ttl
         target 198.51.100.9",
    );
    let run = find(net.link_there("r1", "mtu 1400 black-hole"), Kind::UdpParis, TARGET4);
    let row = json!({"kind": "silence", "pmtu": 1400, "ttl": 0, "addr": null});
    assert_eq!(findings(&run)[1], row, "{run}");
}

#[test]
fn a_suggestion_that_makes_no_sense_is_searched_instead() {
    for (target, names) in [(TARGET4, [0, 1500, 30]), (TARGET6, [0, 1500, 600])] {
        for named in names {
            let net = net().link_there("r3", &format!("mtu 1420 names-mtu {named}"));
            let run = find(net, Kind::UdpParis, target);
            let [_, second, _, last] = addresses(target);
            assert_eq!(
                findings(&run)[1..],
                [
                    json!({"kind": "bad-suggestion", "pmtu": 1420, "ttl": 2, "addr": second}),
                    json!({"kind": "path", "pmtu": 1420, "ttl": 4, "addr": last}),
                ],
                "{named}\n{run}"
            );
            assert_eq!(run.table("pmtu").column("suggested")[1], named);
        }
    }
}

#[test]
fn a_path_that_does_not_end_has_no_mtu() {
    let params = TraceParams { pmtud: true, gaplimit: 2, ..trace(TARGET4) };
    let run = run_in(net().silent("r3").silent("target"), params);
    assert_eq!((run.stop.as_str(), run.table("pmtu").len()), ("gap_limit", 0));
}

#[test]
fn a_hop_that_answers_late_is_told_while_the_path_mtu_is_looked_for() {
    // Silence keeps it looking for seconds.
    let net = net().attributes("r3", "slow 1400ms").link_there("target", "mtu 1000 black-hole");
    let run = run_in(net, TraceParams { pmtud: true, attempts: 1, ..trace(TARGET4) });
    let late = run.table("hops").column("late").iter().filter(|it| **it == true).count();
    assert_eq!((late, summary(&run).late), (1, 1), "{run}");
}
