//! Flows: when they open, why they do not, and what of them is kept afterwards.

use sonde_plugin_api::abi::{Action, ActionKind, EventKind, FlowSpecRaw, Proto, flags};

use super::world::{Bench, MS, OPEN, Plugin, REMOTE, SECOND, flow, ping};
use crate::{config::Stamps, output::End, route::Lookup};

fn task() -> (Bench, Plugin, u32) {
    let mut bench = Bench::new();
    let plugin = bench.plugin();
    let task = bench.started(&plugin, 1);
    (bench, plugin, task)
}

fn asks(plugin: &Plugin, task: u32, spec: FlowSpecRaw) {
    plugin.wants(Action { task, token: 3, ..OPEN }, &spec.to_octets());
}

/// Answers to `OpenFlow`: errno, flags, reason.
fn answers(plugin: &Plugin) -> Vec<(i32, u8, String)> {
    let told = plugin.told().into_iter().filter(|(event, _)| event.kind == EventKind::FlowOpen);
    let told = told.map(|(event, payload)| {
        (i32::from(event.code), event.flags, String::from_utf8_lossy(&payload).into_owned())
    });
    told.collect()
}

#[test]
fn a_tcp_flow_holds_its_port_until_five_seconds_after_it_was_given_up() {
    let (mut bench, plugin, task) = task();
    let (id, port) = bench.opened(&plugin, task, flow(Proto::Tcp, REMOTE, 0));
    assert!(bench.core.link.held.contains(&port));
    plugin.wants(Action { kind: ActionKind::CloseFlow, task, flow: id, ..Action::ZERO }, b"");
    bench.turn();
    bench.pass(4_999 * MS);
    assert!(bench.core.link.held.contains(&port));
    bench.pass(MS);
    assert!(bench.core.link.held.is_empty());
}

#[test]
fn a_conversation_has_no_port_that_the_kernel_answers_for() {
    let (mut bench, plugin, task) = task();
    let quiet = FlowSpecRaw { flags: flags::QUIET_KERNEL, ..flow(Proto::Tcp, REMOTE, 33) };
    plugin.wants(Action { task, ..OPEN }, &quiet.to_octets());
    bench.turn();
    let reason = "port 33 is reserved".to_owned();
    assert_eq!(answers(&plugin), [(libc::EADDRINUSE, 0, reason.clone())]);
    let (_, port) = bench.opened(&plugin, task, flow(Proto::Tcp, REMOTE, 33));
    assert_eq!(port, 33);
    // Nor one that others have opened.
    plugin.wants(Action { task, ..OPEN }, &quiet.to_octets());
    bench.turn();
    assert_eq!(answers(&plugin), [(libc::EADDRINUSE, 0, reason)]);
}

#[test]
fn flows_to_two_peers_share_a_port_and_the_last_gives_it_back() {
    let (mut bench, plugin, task) = task();
    bench.opened(&plugin, task, flow(Proto::Tcp, REMOTE, 443));
    bench.opened(&plugin, task, flow(Proto::Tcp, "198.51.100.10", 443));
    assert_eq!(bench.core.link.held.len(), 1);
    plugin.finishes(task);
    bench.turn();
    bench.pass(6 * SECOND);
    assert!(bench.core.link.held.is_empty());
}

#[test]
fn a_chosen_identifier_in_quarantine_delays_conversations_alone() {
    for (hears, expected) in [(flags::HEAR_ALL, 0), (0, 1)] {
        let (mut bench, plugin, task) = task();
        let spec = FlowSpecRaw { flags: hears, ..ping(7) };
        let (id, _) = bench.opened(&plugin, task, spec);
        plugin.wants(Action { kind: ActionKind::CloseFlow, task, flow: id, ..Action::ZERO }, b"");
        bench.turn();
        asks(&plugin, task, spec);
        bench.pass(4_999 * MS);
        assert_eq!(answers(&plugin).len(), expected);
        bench.pass(2 * MS);
        assert_eq!(answers(&plugin).len(), 1 - expected);
    }
}

#[test]
fn a_chosen_port_that_stays_in_use_is_refused_and_not_kept() {
    let (mut bench, plugin, task) = task();
    bench.opened(&plugin, task, flow(Proto::Udp, REMOTE, 5000));
    asks(&plugin, task, flow(Proto::Udp, REMOTE, 5000));
    bench.pass(5_900 * MS);
    assert_eq!(answers(&plugin), []);
    bench.pass(200 * MS);
    let answers = answers(&plugin);
    assert_eq!((answers.len(), answers[0].0, answers[0].1), (1, libc::EADDRINUSE, 0));
    plugin.finishes(task);
    bench.turn();
    bench.pass(6 * SECOND);
    assert!(bench.core.link.held.is_empty());
}

#[test]
fn a_neighbour_that_is_looked_for_delays_the_flow() {
    let (mut bench, plugin, task) = task();
    let peer = REMOTE.parse().unwrap();
    bench.core.link.lookups.insert(peer, Lookup::Pending);
    asks(&plugin, task, ping(0));
    bench.pass(2_900 * MS);
    assert_eq!(answers(&plugin), []);
    bench.core.link.lookups.remove(&peer);
    bench.pass(2 * MS);
    assert_eq!(answers(&plugin)[0].0, 0);
}

#[test]
fn flows_that_wait_for_a_neighbour_are_tried_again_once_a_millisecond_and_in_portions() {
    let mut bench = Bench::new();
    let plugin = bench.plugin();
    let peer = REMOTE.parse().unwrap();
    bench.core.link.lookups.insert(peer, Lookup::Pending);
    let octets = ping(0).to_octets();
    for run in 1..=3 {
        let task = bench.started(&plugin, run);
        let open = Action { task, len: octets.len() as u32, ..OPEN };
        plugin.wants_all(vec![open; 1000], octets.to_vec());
        bench.turn();
    }
    let looked_up = |bench: &mut Bench| std::mem::take(&mut bench.core.link.looked_up);
    assert_eq!(looked_up(&mut bench), 3000);
    bench.turn();
    assert_eq!(looked_up(&mut bench), 0, "no time has passed");
    bench.core.link.now += MS;
    let portions: Vec<usize> = (0..4)
        .map(|_| {
            bench.one_turn();
            looked_up(&mut bench)
        })
        .collect();
    assert_eq!(portions, [1024, 1024, 952, 0]);
    bench.core.link.lookups.remove(&peer);
    bench.core.link.now += MS;
    (0..3).for_each(|_| bench.one_turn());
    assert_eq!(answers(&plugin).len(), 3000);
}

#[test]
fn a_neighbour_that_does_not_answer_is_unreachable_after_three_seconds() {
    let (mut bench, plugin, task) = task();
    bench.core.link.lookups.insert(REMOTE.parse().unwrap(), Lookup::Pending);
    asks(&plugin, task, ping(0));
    bench.turn();
    bench.pass(2_999 * MS);
    assert_eq!(answers(&plugin), []);
    bench.pass(2 * MS);
    let answers = answers(&plugin);
    assert_eq!((answers[0].0, answers[0].1), (libc::EHOSTUNREACH, 0));
}

/// A task that asks for a flow to each of `number` neighbours that nobody has asked for.
fn strangers(bench: &mut Bench, run: u64, number: u8) -> Plugin {
    let plugin = bench.plugin();
    let task = bench.started(&plugin, run);
    for last in 0..number {
        let peer = format!("203.0.{run}.{last}");
        bench.core.link.strangers.insert(peer.parse().unwrap());
        asks(&plugin, task, flow(Proto::Icmp, &peer, 0));
    }
    plugin
}

#[test]
fn neighbours_are_asked_for_at_the_pace_of_probes_and_who_waits_for_that_is_not_unreachable() {
    let mut bench = Bench::with(10.0, Stamps::Interpolated);
    let plugin = strangers(&mut bench, 1, 100);
    bench.pass(SECOND);
    assert!((10..=12).contains(&bench.core.link.asked.len()), "{:?}", bench.core.link.asked);
    bench.pass(9 * SECOND);
    let answers = answers(&plugin);
    assert!((98..=100).contains(&answers.len()), "{}", answers.len());
    assert!(answers.iter().all(|(errno, ..)| *errno == 0), "{answers:?}");
}

#[test]
fn a_plugin_that_asks_for_many_neighbours_keeps_no_other_from_its_own() {
    let mut bench = Bench::with(10.0, Stamps::Interpolated);
    strangers(&mut bench, 1, 200);
    bench.pass(SECOND);
    let plugin = strangers(&mut bench, 2, 3);
    bench.pass(SECOND);
    assert_eq!(answers(&plugin).len(), 3);
}

#[test]
fn a_neighbour_that_there_is_no_room_to_ask_for_is_asked_for_as_soon_as_there_is() {
    let mut bench = Bench::with(1.0, Stamps::Interpolated);
    bench.core.link.is_full = true;
    let plugin = strangers(&mut bench, 1, 1);
    bench.pass(4 * SECOND);
    assert_eq!(answers(&plugin), []);
    bench.core.link.is_full = false;
    bench.pass(2 * MS);
    assert_eq!(answers(&plugin)[0].0, 0);
}

#[test]
fn a_way_that_is_not_there_is_told_with_its_errno() {
    let (mut bench, plugin, task) = task();
    let unreachable = Lookup::Unreachable(libc::ENETUNREACH);
    bench.core.link.lookups.insert(REMOTE.parse().unwrap(), unreachable);
    asks(&plugin, task, ping(0));
    bench.turn();
    bench.turn();
    assert_eq!(answers(&plugin)[0].0, libc::ENETUNREACH);
    let fail = Action { kind: ActionKind::Fail, task, code: 1, ..Action::ZERO };
    plugin.wants(fail, b"no way");
    bench.turn();
    assert!(bench.ended()[0].unable, "it is not the target's");
}

#[test]
fn peers_that_stand_for_many_or_for_nobody_are_refused_as_policy() {
    let (mut bench, plugin, task) = task();
    bench.core.link.broadcast = "192.0.2.255".parse().ok();
    let peers = ["224.0.0.1", "ff02::1", "255.255.255.255", "192.0.2.255", "0.0.0.0", "::"];
    peers.iter().for_each(|peer| asks(&plugin, task, flow(Proto::Icmp, peer, 0)));
    bench.turn();
    bench.turn();
    let answers = answers(&plugin);
    assert_eq!(answers.len(), peers.len());
    for (errno, bits, text) in answers {
        assert_eq!((errno, bits), (libc::EPERM, flags::REFUSED), "{text}");
    }
    let fail = Action { kind: ActionKind::Fail, task, code: 1, ..Action::ZERO };
    plugin.wants(fail, b"may not measure");
    bench.turn();
    let end = bench.ended().remove(0).end;
    assert!(matches!(end, End::Failed { refused: true, .. }), "{end:?}");
}

#[test]
fn a_source_that_is_not_of_this_host_or_family_is_refused() {
    let (mut bench, plugin, task) = task();
    let from = |source: &str| sonde_packet::mapped(source.parse().unwrap());
    asks(&plugin, task, FlowSpecRaw { source: from("192.0.2.99"), ..ping(0) });
    asks(&plugin, task, FlowSpecRaw { source: from("2001:db8::1"), ..ping(0) });
    asks(&plugin, task, FlowSpecRaw { proto: Proto(132), ..ping(0) });
    bench.turn();
    bench.turn();
    let seen: Vec<i32> = answers(&plugin).iter().map(|(errno, ..)| *errno).collect();
    assert_eq!(seen, [libc::EADDRNOTAVAIL, libc::EINVAL, libc::EPROTONOSUPPORT]);
}

#[test]
fn a_flow_that_waits_is_forgotten_with_its_task() {
    let (mut bench, plugin, task) = task();
    bench.core.link.lookups.insert(REMOTE.parse().unwrap(), Lookup::Pending);
    asks(&plugin, task, flow(Proto::Tcp, REMOTE, 0));
    bench.turn();
    plugin.finishes(task);
    bench.turn();
    bench.core.link.lookups.clear();
    bench.started(&plugin, 2);
    bench.pass(10 * MS);
    assert_eq!(answers(&plugin), []);
    assert!(bench.core.link.held.is_empty());
}
