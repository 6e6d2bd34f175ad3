//! What answers say of the probe, and which ones are not believed.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc, time::Duration};

use sonde_plugin_api::packet::{IpHeader, classify};
use sonde_testkit::{Middlebox, Verdict, Way, edit, json};

use super::*;
use crate::rows::{HopRow, QuoteDepth};

fn of_hop(run: &Run, ttl: u8) -> HopRow {
    let rows = run.typed::<HopRow>("hops");
    rows.into_iter()
        .find(|row| row.ttl == ttl && row.addr.is_some())
        .unwrap_or_else(|| panic!("{run}"))
}

#[test]
fn how_much_is_quoted_is_told_and_short_quotes_are_still_credited() {
    for (attribute, depth, quality) in [
        ("quote full", QuoteDepth::Full, "exact"),
        ("quote 36", QuoteDepth::Partial, "exact"),
        ("quote 28", QuoteDepth::Eight, "exact"),
        ("quote header", QuoteDepth::Network, "weak"),
    ] {
        for method in Kind::ALL.iter().copied() {
            let net = net().attributes("r2", attribute);
            let run = run_in(net, TraceParams { method, ..trace(TARGET4) });
            // A TCP segment of 40 octets without options has 36 of them quoted: not all.
            assert_eq!(hops(&run), path(addresses(TARGET4)), "{attribute} {method}\n{run}");
            let hop = of_hop(&run, 2);
            assert_eq!((hop.quote, hop.r#match.unwrap().name()), (Some(depth), quality), "{run}");
            assert_eq!(hop.quoted_ttl, Some(1));
        }
    }
    for method in Kind::ALL.iter().copied() {
        let net = net().attributes("r2", "quote header+8");
        let six = run_in(net, TraceParams { method, ..trace(TARGET6) });
        assert_eq!(hops(&six), path(addresses(TARGET6)), "{method}\n{six}");
        assert_eq!(of_hop(&six, 2).quote, Some(QuoteDepth::Eight), "{method}\n{six}");
    }
    // Without any quote nobody can tell whose it is.
    let run = run_in(net().attributes("r2", "quote none"), trace(TARGET4));
    assert_eq!(hops(&run)[1..3], [(2, "*".to_owned()), (2, "*".to_owned())]);
    assert_eq!(run.foreign, 2, "{run}");
}

#[test]
fn identifications_that_a_router_spoils_lose_no_hop() {
    for spoilt in ["incremented", "swapped", "zero"] {
        for method in Kind::ALL.iter().copied() {
            for window in [1, 4] {
                let net = net().attributes("r2", &format!("quoted-id {spoilt}"));
                let run = run_in(net, TraceParams { method, hopwindow: window, ..trace(TARGET4) });
                assert_eq!(hops(&run), path(addresses(TARGET4)), "{spoilt} {method}\n{run}");
                assert_eq!(of_hop(&run, 2).rewritten, ["id"], "{spoilt} {method}");
                assert!(of_hop(&run, 3).rewritten.is_empty());
            }
        }
    }
}

#[test]
fn a_spoilt_checksum_in_a_quote_loses_no_hop() {
    for spoilt in ["zero", "incremented"] {
        for id in ["", "quoted-id incremented", "quoted-id swapped"] {
            let net = net().attributes("r2", &format!("quoted-checksum {spoilt} quote 28 {id}"));
            let run = run_in(net, TraceParams { hopwindow: 4, ..trace(TARGET4) });
            assert_eq!(hops(&run), path(addresses(TARGET4)), "{spoilt} {id}\n{run}");
        }
    }
}

#[test]
fn label_stacks_interfaces_and_other_objects_are_read_in_both_forms() {
    for target in TARGETS {
        for form in ["", " legacy"] {
            let objects = "mpls 24001,24002:255 interface name=eth7,index=7,mtu=1500,role=incoming";
            let net = net().attributes("r2", &format!("{objects} padded{form}"));
            let run = run_in(net, trace(target));
            assert_eq!(hops(&run), path(addresses(target)));
            let mpls = &run.table("hops").column("mpls")[1];
            let label = |label, s, ttl| json!({"label": label, "tc": 0, "s": s, "ttl": ttl});
            assert_eq!(mpls[0]["label"], 24_001, "{run}");
            assert_eq!(mpls[1], label(24_002, true, 255), "{run}");
            let interface = &of_hop(&run, 2).interfaces[0];
            assert_eq!((interface.role.as_str(), interface.index), ("incoming", Some(7)));
            assert_eq!((interface.name.as_deref(), interface.mtu), (Some("eth7"), Some(1500)));
            assert!(of_hop(&run, 3).mpls.is_empty());
        }
    }
}

#[test]
fn a_changed_tos_shows_in_the_quotes_behind_the_change() {
    for target in TARGETS {
        let net = net().attributes("r2", "rewrite tos 8 there");
        let run = run_in(net, TraceParams { tos: 184, ..trace(target) });
        let tos = run.table("hops").column("quoted_tos");
        assert_eq!((&tos[0], &tos[1], &tos[2]), (&json!(184), &json!(184), &json!(8)), "{run}");
    }
}

#[test]
fn hops_behind_a_translator_are_kept_and_what_it_changed_is_told() {
    // Without fix-up scamper sees none of the hops behind it.
    for (rule, rewritten) in [
        ("nat-source 203.0.113.77 fix-up none", vec!["source", "checksum"]),
        ("nat-source 203.0.113.77 fix-up addresses", vec!["checksum"]),
        ("nat-source 203.0.113.77 fix-up full", vec![]),
        ("nat-destination 198.51.100.9 10.0.0.9 fix-up none", vec!["destination", "checksum"]),
    ] {
        let net = Net::draw(
            "vantage - r1 - r2 - r3 - target
             r1 192.0.2.254
             r2 203.0.113.2
             r3 203.0.113.3
             target 198.51.100.9 10.0.0.9",
        );
        let run = run_in(net.attributes("r1", rule), trace(TARGET4));
        assert_eq!(hops(&run)[..3], path(addresses(TARGET4))[..3], "{rule}\n{run}");
        let hop = of_hop(&run, 2);
        assert_eq!(hop.rewritten, rewritten, "{rule}\n{run}");
        let destination = if rule.contains("10.0.0.9") { "10.0.0.9" } else { TARGET4 };
        assert_eq!(hop.quoted_dst, destination.parse().ok(), "{rule}");
        assert_eq!(run.stop, "reached", "{rule}\n{run}");
    }
}

#[test]
fn a_translator_that_puts_the_addresses_back_is_told_by_the_checksum() {
    for method in [Kind::UdpParis, Kind::Udp] {
        let net = net().attributes("r1", "nat-source 203.0.113.77 fix-up addresses");
        let run =
            run_in(net.attributes("r2", "quote 28"), TraceParams { method, ..trace(TARGET4) });
        assert_eq!(of_hop(&run, 2).rewritten, ["checksum"], "{method}\n{run}");
    }
}

#[test]
fn hops_behind_two_translators_one_of_each_end_are_kept() {
    for method in Kind::ALL.iter().copied() {
        let net = Net::draw(
            "vantage - r1 - r2 - r3 - target
             r1 192.0.2.254
             r2 203.0.113.2
             r3 203.0.113.3
             target 198.51.100.9 10.0.0.9
             r1 nat-source 203.0.113.77 fix-up none
             r2 nat-destination 198.51.100.9 10.0.0.9 fix-up none",
        );
        let run = run_in(net, TraceParams { method, ..trace(TARGET4) });
        assert_eq!(hops(&run)[..3], path(addresses(TARGET4))[..3], "{method}\n{run}");
    }
}

#[test]
fn sequence_numbers_that_a_box_shifts_are_told() {
    for method in [Kind::Tcp, Kind::TcpAck] {
        let net = net().attributes("r1", "shift-sequence 1000");
        let run = run_in(net, TraceParams { method, ..trace(TARGET4) });
        assert_eq!(hops(&run), path(addresses(TARGET4)), "{method}\n{run}");
        assert!(of_hop(&run, 2).rewritten.contains(&"sequence".to_owned()), "{method}\n{run}");
    }
}

/// Changes answers on their way back, or takes their place.
struct Forger(Forgery);

type Forgery = fn(&mut Vec<u8>);

impl Middlebox for Forger {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _: Duration) -> Verdict {
        if way == Way::Back {
            (self.0)(packet);
        }
        Verdict::Pass
    }
}

/// Where the transport header of the quoted probe is.
fn quoted_transport(packet: &[u8]) -> Option<(usize, usize)> {
    let quote = classify(packet)?.quote?;
    let header = IpHeader::parse(&packet[quote.clone()]).ok()?;
    Some((quote.start, quote.start + header.header_octets))
}

/// Somebody who knows addresses and ports, but has not seen the probe.
fn blind(packet: &mut Vec<u8>) {
    edit::edit(packet, |packet| {
        let Some((ip, transport)) = quoted_transport(packet) else { return };
        if packet[ip] >> 4 == 4 {
            packet[ip + 4] ^= 0x55;
        }
        let end = packet.len().min(transport + 12);
        packet[transport + 4..end].iter_mut().for_each(|octet| *octet ^= 0x55);
    });
}

/// Somebody who asks another host.
fn of_another_flow(packet: &mut Vec<u8>) {
    edit::edit(packet, |packet| {
        let Some((ip, transport)) = quoted_transport(packet) else { return };
        let destination = if packet[ip] >> 4 == 4 { ip + 19 } else { ip + 39 };
        packet[destination] ^= 1;
        packet[transport] ^= 0x40;
        packet[transport + 4] ^= 0x40;
    });
}

fn corrupt(packet: &mut [u8]) {
    let header = IpHeader::parse(packet).unwrap().header_octets;
    packet[header + 2] ^= 0x10;
}

fn truncated(packet: &mut Vec<u8>) {
    let header = IpHeader::parse(packet).unwrap().header_octets;
    edit::edit(packet, |packet| {
        packet.truncate(header + 8 + 3);
        edit::put_length(packet);
    });
}

#[test]
fn hostile_answers_are_not_believed() {
    let forgers: [(&str, Forgery); 4] = [
        ("blind", blind),
        ("of another flow", of_another_flow),
        ("corrupt", |packet| corrupt(packet)),
        ("truncated", truncated),
    ];
    for target in TARGETS {
        for method in Kind::ALL.iter().copied() {
            for (name, forge) in forgers {
                let net = net().silent("target").middlebox("r1", Forger(forge));
                let params = TraceParams { method, maxttl: 3, attempts: 1, ..trace(target) };
                let run = run_in(net, params);
                // What the first router says itself does not pass the forger behind it.
                let expected = path([addresses(target)[0], "*", "*"]);
                assert_eq!(hops(&run), expected, "{name} {method}\n{run}");
            }
        }
    }
}

/// A router that knows a better way, or wants less.
fn advice(packet: &mut Vec<u8>, kind: u8) {
    edit::edit(packet, |packet| {
        let header = IpHeader::parse(packet).unwrap().header_octets;
        packet[header..header + 2].copy_from_slice(&[kind, 0]);
    });
}

#[test]
fn advice_of_a_router_is_no_answer() {
    let forgers: [Forgery; 2] = [|packet| advice(packet, 5), |packet| advice(packet, 4)];
    for forge in forgers {
        let net = net().silent("target").middlebox("r1", Forger(forge));
        let params = TraceParams { maxttl: 3, attempts: 1, ..trace(TARGET4) };
        let run = run_in(net, params);
        assert_eq!(hops(&run), path([addresses(TARGET4)[0], "*", "*"]), "{run}");
    }
}

#[test]
fn duplicates_are_counted_and_not_told_twice() {
    for target in TARGETS {
        for method in Kind::ALL.iter().copied() {
            let run = run_in(
                net().duplicate_back("r1", [1, 2, 3]),
                TraceParams { method, ..trace(target) },
            );
            assert_eq!(hops(&run), path(addresses(target)), "{method}\n{run}");
            assert!(summary(&run).duplicates >= 2, "{run}");
        }
    }
}

/// First octets of transport headers, flow labels and lengths of what was sent.
#[derive(Clone, Default)]
struct Seen(Rc<RefCell<BTreeSet<(u32, u32)>>>);

impl Middlebox for Seen {
    fn forward(&mut self, packet: &mut Vec<u8>, way: Way, _: Duration) -> Verdict {
        let header = IpHeader::parse(packet).unwrap();
        let first = header.transport(packet).first_chunk::<4>().copied().unwrap_or_default();
        if way == Way::There {
            self.0.borrow_mut().insert((u32::from_be_bytes(first), header.flow_label));
        }
        Verdict::Pass
    }
}

#[test]
fn the_flow_is_constant_for_paris_and_tcp_and_as_chosen() {
    for target in TARGETS {
        for method in Kind::ALL.iter().copied() {
            let seen = Seen::default();
            let net = net().middlebox("r1", seen.clone());
            let flowlabel = if target == TARGET6 { 0x12345 } else { 0 };
            let params = TraceParams { method, flowlabel, attempts: 3, all: true, ..trace(target) };
            let run = run_in(net, params);
            let flows = seen.0.borrow();
            let varies = matches!(method, Kind::Udp | Kind::Icmp);
            assert_eq!(flows.len() == 1, !varies, "{method} {flows:?}\n{run}");
            assert!(flows.iter().all(|flow| flow.1 == flowlabel));
        }
    }
}

#[test]
fn probes_carry_zeros_or_always_the_same_behind_what_makes_their_checksum() {
    for target in TARGETS {
        for (method, steered) in
            [(Kind::UdpParis, 2), (Kind::Udp, 2), (Kind::Icmp, 0), (Kind::IcmpParis, 2)]
        {
            let run = run_in(net(), TraceParams { method, ..trace(target) });
            let payload = |packet: &[u8]| {
                let header = IpHeader::parse(packet).unwrap();
                header.transport(packet)[8 + steered..].to_vec()
            };
            let payloads: BTreeSet<_> = run.exchange().sent().map(payload).collect();
            assert_eq!(payloads.len(), 1, "{method}\n{run}");
            let is_zero = payloads.iter().flatten().all(|octet| *octet == 0);
            let has_secret = method.is_icmp() || target == TARGET6;
            assert_eq!(is_zero, !has_secret, "{method}\n{run}");
        }
    }
}

#[test]
fn a_constant_payload_makes_the_checksum_constant() {
    let chosen = Some(Hex(vec![1, 2]));
    for payload in [None, chosen] {
        let run = run_in(net(), TraceParams { constpayload: true, payload, ..trace(TARGET4) });
        let datagrams: BTreeSet<&[u8]> =
            run.exchange().sent().map(|packet| &packet[20..]).collect();
        assert_eq!((datagrams.len(), hops(&run).len()), (1, 4), "{run}");
        // Whoever knows the payload knows the checksum.
        let is_zero = |datagram: &&[u8]| datagram[8..].iter().all(|octet| *octet == 0);
        assert!(!datagrams.iter().all(is_zero), "{run}");
    }
}

#[test]
fn behind_three_branches_a_constant_flow_sees_one_and_ports_that_vary_see_several() {
    let net = || {
        Net::draw(
            "vantage - r1 - { a b c } per-flow - r5 - target
             target 198.51.100.9 2001:db8:9::9",
        )
    };
    for target in TARGETS {
        for method in Kind::ALL.iter().copied() {
            let mut widest = 0;
            for seed in 0..20 {
                let params = TraceParams { method, attempts: 6, all: true, ..trace(target) };
                let run = Sim::new(net(), seed).run::<Trace>(params);
                let rows = hops(run.expect_done());
                let seen: BTreeSet<&String> =
                    rows.iter().filter(|row| row.0 == 2).map(|row| &row.1).collect();
                widest = widest.max(seen.len());
            }
            let varies = matches!(method, Kind::Udp | Kind::Icmp);
            assert_eq!(widest > 1, varies, "{method} over {target} saw {widest}");
        }
    }
}

#[test]
fn a_connection_that_was_opened_is_reset() {
    for target in TARGETS {
        let params = TraceParams { method: Kind::Tcp, dport: Some(80), ..trace(target) };
        let run = run_in(net().attributes("target", "tcp 80"), params.clone());
        assert_eq!(run.table("hops").column("mark")[3], "[open]");
        assert_eq!(run.exchange().sent().count(), 5, "four probes and a reset\n{run}");
        let closed = run_in(net(), params);
        assert_eq!(closed.table("hops").column("mark")[3], "[closed]");
        assert_eq!(closed.exchange().sent().count(), 4);
    }
}
