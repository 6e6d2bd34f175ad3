//! A turn has an end, however much of a plugin is due in it.

use sonde_packet::Transport;
use sonde_plugin_api::abi::{Action, ActionKind, EventKind, NO_TOKEN, Proto};

use super::world::{Bench, LOCAL, MS, OPEN, REMOTE, SECOND, echo, flow, many, packet, ping};
use crate::{
    exchange::{MAX_WORK, SOCKET_WORK},
    route::Lookup,
};

#[test]
fn what_is_due_at_once_is_told_in_portions_that_keep_no_other_plugin_waiting() {
    let mut bench = Bench::new();
    let (many_at_once, other) = (bench.plugin(), bench.plugin());
    bench.started(&many_at_once, 1);
    bench.started(&other, 2);
    let (flow, _) = bench.opened(&many_at_once, 0, ping(7));
    let packet = echo(7, 1);
    let probe = Action { kind: ActionKind::Send, flow, arg: 5 * MS, ..Action::ZERO };
    let probe = Action { len: packet.len() as u32, ..probe };
    many_at_once.wants_all(many(probe, 1000), packet);
    let due = bench.core.link.now + 5 * MS;
    let timer = Action { kind: ActionKind::Timer, arg: due, ..Action::ZERO };
    many_at_once.wants_all(many(timer, 30_000), Vec::new());
    bench.turn();
    other.wants(Action { token: 7, ..timer }, b"");
    bench.turn();
    let mut told = many_at_once.told();
    assert_eq!(told.len(), 0);
    bench.core.link.now += 6 * MS;
    bench.one_turn();
    assert_eq!(other.told_of(EventKind::Timer).len(), 1);
    told.extend(many_at_once.told());
    assert_eq!(told.len(), MAX_WORK);
    // What is let go meanwhile does not come.
    let cancel = Action { kind: ActionKind::Cancel, flow: NO_TOKEN, token: 29_999, ..Action::ZERO };
    many_at_once.wants(cancel, b"");
    assert_eq!(bench.turns(), 31_000 / MAX_WORK);
    told.extend(many_at_once.told());
    let tokens = |kind| -> Vec<u32> {
        let of_kind = told.iter().filter(|(event, _)| event.kind == kind);
        of_kind.map(|(event, _)| event.token).collect()
    };
    assert_eq!(tokens(EventKind::Timer), (0..29_999).collect::<Vec<_>>());
    assert_eq!(tokens(EventKind::Timeout), (0..1000).collect::<Vec<_>>());
}

#[test]
fn timers_that_nobody_waits_for_are_let_go_in_portions_too() {
    let mut bench = Bench::new();
    let plugin = bench.plugin();
    bench.started(&plugin, 1);
    let due = bench.core.link.now + 5 * MS;
    let timer = Action { kind: ActionKind::Timer, arg: due, ..Action::ZERO };
    let cancel = Action { kind: ActionKind::Cancel, flow: NO_TOKEN, ..Action::ZERO };
    plugin.wants_all(many(timer, 60_000), Vec::new());
    plugin.wants_all(many(cancel, 60_000), Vec::new());
    bench.turn();
    bench.core.link.now += 6 * MS;
    assert_eq!(bench.turns(), 60_000_usize.div_ceil(16 * MAX_WORK));
    assert_eq!(bench.core.state.ports[0].wheel.len(), 0);
}

#[test]
fn ports_that_have_rested_are_let_go_in_portions() {
    let mut bench = Bench::new();
    let plugin = bench.plugin();
    bench.started(&plugin, 1);
    let peer = |number: u32| std::net::Ipv4Addr::from(0xcb00_7100 + number).to_string();
    let spec = |number| flow(Proto::Udp, &peer(number), 0).to_octets().to_vec();
    let octets: Vec<u8> = (0..1000).flat_map(spec).collect();
    let len = octets.len() as u32 / 1000;
    let opens = (0..1000).map(|at| Action { off: at * len, len, ..OPEN });
    plugin.wants_all(opens.collect(), octets);
    plugin.finishes(0);
    bench.turn();
    assert_eq!(bench.core.link.held.len(), 1000);
    bench.core.link.now += 6 * SECOND;
    let mut turns = 0;
    while !bench.core.link.held.is_empty() {
        let before = bench.core.link.held.len();
        bench.one_turn();
        assert!(before - bench.core.link.held.len() <= MAX_WORK / SOCKET_WORK);
        turns += 1;
    }
    assert!(turns < 12, "{turns}");
}

#[test]
fn packets_for_a_neighbour_that_is_gone_count_as_waiting() {
    let mut bench = Bench::new();
    let plugin = bench.plugin();
    bench.started(&plugin, 1);
    let (flow, _) = bench.opened(&plugin, 0, ping(7));
    bench.core.link.lookups.insert(REMOTE.parse().unwrap(), Lookup::Pending);
    let echo = Transport::Icmp { kind: 8, code: 0, rest: [0, 7, 0, 1] };
    let packet = packet(LOCAL, REMOTE, echo, 1400);
    let (kind, len) = (ActionKind::Send, packet.len() as u32);
    let send = Action { kind, flow, arg: SECOND, len, ..Action::ZERO };
    plugin.wants_all(many(send, 60_000), packet.clone());
    bench.turn();
    let room = (64 << 20) / packet.len();
    let refused = plugin.told_of(EventKind::SendError);
    assert_eq!(refused.len(), 60_000 - room);
    assert!(refused.iter().all(|event| i32::from(event.code) == libc::ENOBUFS));
    // When their time has come they are tried in portions, and for no longer than a few.
    bench.core.link.now += MS;
    let before = bench.core.link.looked_up;
    bench.one_turn();
    assert_eq!(bench.core.link.looked_up - before, MAX_WORK);
    bench.pass(350 * MS);
    let refused = plugin.told_of(EventKind::SendError);
    assert_eq!(refused.len(), room);
    assert!(refused.iter().all(|event| i32::from(event.code) == libc::EHOSTUNREACH));
    bench.core.link.lookups.clear();
    plugin.wants_all(many(send, 40_000), packet);
    bench.turn();
    assert!(plugin.told_of(EventKind::SendError).is_empty(), "there is room again");
}

#[test]
fn what_is_put_off_of_a_task_that_ends_leaves_its_room_to_others() {
    let mut bench = Bench::new();
    let plugin = bench.plugin();
    for run in 0..2 {
        let task = bench.started(&plugin, run);
        let (flow, _) = bench.opened(&plugin, task, ping(7));
        bench.core.link.always = Some(libc::ENOBUFS);
        let packet = echo(7, 1);
        let (kind, len) = (ActionKind::Send, packet.len() as u32);
        let send = Action { kind, task, flow, arg: SECOND, len, ..Action::ZERO };
        plugin.wants_all(many(send, 262_144), packet);
        bench.turn();
        assert!(plugin.told_of(EventKind::SendError).is_empty(), "{run}");
        plugin.finishes(task);
        bench.turn();
        bench.core.link.always = None;
        bench.pass(300 * MS);
        assert_eq!(bench.core.state.later.len(), 0);
    }
}
