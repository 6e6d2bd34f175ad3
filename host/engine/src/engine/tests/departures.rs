//! What leaves, what does not, and from when on an answer is waited for.

use std::sync::mpsc;

use sonde_plugin_api::abi::{Action, ActionKind, EventKind, NO_TOKEN, flags, stamp};

use super::world::{Bench, EPOCH, LOCAL, MS, OPEN, REMOTE, SECOND, echo, packet, ping, reply};
use crate::{
    config::Stamps,
    engine::Command,
    link::Link,
    output::{End, RunId},
    route::Lookup,
};

/// A bench with one task that has a flow: plugin, task, flow.
fn measuring(bench: &mut Bench) -> (super::world::Plugin, u32, u32) {
    let plugin = bench.plugin();
    let task = bench.started(&plugin, 1);
    let (flow, local) = bench.opened(&plugin, task, ping(7));
    assert_eq!(local, 7);
    (plugin, task, flow)
}

#[test]
fn a_time_out_counts_from_the_departure_not_from_the_wait_for_the_pacer() {
    let mut bench = Bench::with(2.0, Stamps::Interpolated);
    let (plugin, task, flow) = measuring(&mut bench);
    for token in 0..4 {
        plugin.sends(task, flow, token, 300 * MS, &echo(7, token as u16));
    }
    let mut timeouts = Vec::new();
    for _ in 0..2_500 {
        bench.after(MS);
        timeouts.extend(plugin.told_of(EventKind::Timeout));
    }
    let left: Vec<u64> = bench.core.link.left.iter().map(|left| left.at).collect();
    assert!(left[3] >= EPOCH + 1_500 * MS, "{left:?}");
    let seen: Vec<(u32, u64, u64)> = timeouts.iter().map(|it| (it.token, it.sent, it.at)).collect();
    let expected: Vec<(u32, u64, u64)> =
        (0..4).zip(&left).map(|(token, at)| (token, *at, at + 300 * MS)).collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_packet_of_another_source_identifier_or_length_is_refused_and_costs_nothing_else() {
    let mut bench = Bench::new();
    let (plugin, task, flow) = measuring(&mut bench);
    let other = sonde_packet::Transport::Echo { identifier: 7, sequence: 1 };
    plugin.sends(task, flow, 1, MS, &packet("192.0.2.2", REMOTE, other, 8));
    plugin.sends(task, flow, 2, MS, &echo(8, 1));
    plugin.sends(task, flow, 3, MS, &packet(LOCAL, REMOTE, other, 1_473));
    plugin.sends(task, flow, 4, MS, &echo(7, 1)[..20]);
    plugin.sends(task, flow, 5, 0, &echo(7, 1));
    bench.turn();
    bench.after(10 * MS);
    let errors = plugin.told_of(EventKind::SendError);
    let seen: Vec<_> = errors.iter().map(|it| (it.token, i32::from(it.code), it.flags)).collect();
    let refused = flags::REFUSED;
    let (foreign, long, broken) = (libc::EPERM, libc::EMSGSIZE, libc::EINVAL);
    assert_eq!(seen, [(1, foreign, refused), (2, foreign, refused), (3, long, 0), (4, broken, 0)]);
    assert_eq!(bench.core.link.left.len(), 1);
    plugin.finishes(task);
    bench.turn();
    let ended = bench.ended();
    assert_eq!((ended[0].counters.sent, ended[0].counters.not_sent), (1, 4));
    assert_eq!(ended[0].not_sent_errno, [(foreign, 2), (long, 1), (broken, 1)]);
}

#[test]
fn a_task_that_sends_on_the_flow_of_another_or_on_none_fails_alone() {
    let mut bench = Bench::new();
    let (plugin, first, flow) = measuring(&mut bench);
    let second = bench.started(&plugin, 2);
    let third = bench.started(&plugin, 3);
    plugin.sends(second, flow, 1, SECOND, &echo(7, 1));
    plugin.sends(third, 77, 1, SECOND, &echo(7, 1));
    plugin.sends(first, flow, 1, SECOND, &echo(7, 2));
    bench.turn();
    assert_eq!(bench.core.link.left.len(), 1);
    let ended = bench.ended();
    let mut failed: Vec<_> = ended.iter().map(|ended| (ended.run.0, &ended.end)).collect();
    failed.sort_by_key(|(run, _)| *run);
    for ((run, end), (expected, why)) in failed.iter().zip([(2, "not its own"), (3, "not open")]) {
        let End::Failed { text, .. } = end else { panic!("{end:?}") };
        assert!(*run == expected && text.contains(why), "{run} {text}");
    }
    assert_eq!(failed.len(), 2);
}

#[test]
fn a_packet_beyond_the_budget_is_refused() {
    let mut bench = Bench::new();
    let plugin = bench.plugin();
    bench.start(&plugin, 1, Some(2));
    bench.turn();
    let (flow, _) = bench.opened(&plugin, 0, ping(7));
    (0..4).for_each(|token| plugin.sends(0, flow, token, SECOND, &echo(7, token as u16)));
    bench.turn();
    bench.turn();
    let errors = plugin.told_of(EventKind::SendError);
    let seen: Vec<_> = errors.iter().map(|it| (it.token, i32::from(it.code), it.flags)).collect();
    assert_eq!(seen, [(2, libc::EDQUOT, flags::REFUSED), (3, libc::EDQUOT, flags::REFUSED)]);
    assert_eq!(bench.core.link.left.len(), 2);
}

#[test]
fn a_device_without_room_delays_a_packet_by_a_quantum_for_each_try() {
    let mut bench = Bench::new();
    let (plugin, task, flow) = measuring(&mut bench);
    bench.core.link.results.extend([Err(libc::ENOBUFS), Err(libc::EAGAIN)]);
    plugin.sends(task, flow, 1, 50 * MS, &echo(7, 1));
    plugin.sends(task, flow, 2, 0, &echo(7, 2));
    let before = bench.core.link.attempts;
    // Turns without time between them are not tries.
    (0..20).for_each(|_| bench.turn());
    assert_eq!(bench.core.link.attempts - before, 2);
    bench.after(MS);
    let left = &bench.core.link.left;
    assert_eq!(
        left.iter().map(|left| left.packet.clone()).collect::<Vec<_>>(),
        [echo(7, 1), echo(7, 2)]
    );
    let departed = left[0].at;
    bench.pass(60 * MS);
    let timeouts = plugin.told_of(EventKind::Timeout);
    assert_eq!((timeouts.len(), timeouts[0].sent), (1, departed));
}

#[test]
fn who_sees_packets_sees_each_that_left_once_and_when() {
    let mut bench = Bench::new();
    let (plugin, task, flow) = measuring(&mut bench);
    let (seen, shown) = mpsc::channel();
    let tap = move |at, packet: &[u8]| seen.send((at, packet.to_vec())).unwrap();
    bench.core.state.tap = Some(Box::new(tap));
    bench.core.link.results.extend([Err(libc::ENOBUFS), Err(libc::EPERM), Ok(()), Ok(())]);
    for sequence in 1..=4 {
        // One of them expects no answer.
        let timeout = if sequence == 3 { 0 } else { 50 * MS };
        plugin.sends(task, flow, sequence, timeout, &echo(7, sequence as u16));
    }
    bench.core.link.lag = 70_000;
    bench.turn();
    bench.after(MS);
    let left: Vec<_> = bench.core.link.left.iter().map(|left| left.packet.clone()).collect();
    assert_eq!(left, [echo(7, 3), echo(7, 4), echo(7, 1)]);
    let departures = bench.core.link.left.iter().map(|left| bench.core.link.wall_of(left.at));
    assert_eq!(shown.try_iter().collect::<Vec<_>>(), departures.zip(left).collect::<Vec<_>>());
}

#[test]
fn a_packet_that_never_finds_room_is_not_sent_and_never_lost() {
    let mut bench = Bench::with(20.0, Stamps::Interpolated);
    let (plugin, task, flow) = measuring(&mut bench);
    bench.core.link.always = Some(libc::ENOBUFS);
    plugin.sends(task, flow, 5, 10 * MS, &echo(7, 1));
    bench.pass(SECOND);
    let told = plugin.told();
    let kinds: Vec<_> = told.iter().map(|(it, _)| (it.kind, it.token, it.code)).collect();
    assert_eq!(kinds, [(EventKind::SendError, 5, libc::ENOBUFS as u8)]);
    plugin.finishes(task);
    bench.turn();
    let ended = bench.ended().remove(0);
    assert_eq!((ended.counters.sent, ended.counters.not_sent), (0, 1));
    assert_eq!(ended.not_sent_errno, [(libc::ENOBUFS, 1)]);
}

#[test]
fn what_the_kernel_forbids_is_reported_with_its_errno_and_not_tried_again() {
    let mut bench = Bench::new();
    let (plugin, task, flow) = measuring(&mut bench);
    bench.core.link.results.extend([Err(libc::EPERM), Err(libc::ENETDOWN)]);
    plugin.sends(task, flow, 1, SECOND, &echo(7, 1));
    plugin.sends(task, flow, 2, 0, &echo(7, 2));
    bench.turn();
    bench.pass(20 * MS);
    let errors = plugin.told_of(EventKind::SendError);
    let seen: Vec<_> = errors.iter().map(|it| (it.token, i32::from(it.code), it.flags)).collect();
    assert_eq!(seen, [(1, libc::EPERM, 0), (2, libc::ENETDOWN, 0)]);
    assert_eq!(bench.core.link.attempts, 2);
}

#[test]
fn a_neighbour_that_is_looked_for_holds_up_one_task_and_no_other() {
    let mut bench = Bench::with(20.0, Stamps::Interpolated);
    let (plugin, task, flow) = measuring(&mut bench);
    let other = bench.started(&plugin, 2);
    let spec = super::world::flow(sonde_plugin_api::abi::Proto::Icmp, "198.51.100.77", 9);
    let (there, _) = bench.opened(&plugin, other, spec);
    let lookups = &mut bench.core.link.lookups;
    lookups.insert(REMOTE.parse().unwrap(), Lookup::Pending);
    let transport = sonde_packet::Transport::Echo { identifier: 9, sequence: 1 };
    plugin.sends(task, flow, 1, SECOND, &echo(7, 1));
    plugin.sends(other, there, 2, SECOND, &packet(LOCAL, "198.51.100.77", transport, 8));
    bench.turn();
    // The first token was not spent on what cannot leave.
    assert_eq!(bench.core.link.left.len(), 1);
    bench.pass(300 * MS);
    let errors = plugin.told_of(EventKind::SendError);
    assert_eq!((errors.len(), i32::from(errors[0].code)), (1, libc::EHOSTUNREACH));
}

#[test]
fn a_departure_is_told_once_and_only_where_it_was_asked_for() {
    let mut bench = Bench::new();
    let (plugin, task, flow) = measuring(&mut bench);
    let send = Action { kind: ActionKind::Send, task, flow, ..Action::ZERO };
    for (token, arg, flags) in [(1, SECOND, flags::WANT_SENT), (2, 0, flags::WANT_SENT), (3, 0, 0)]
    {
        plugin.wants(Action { token, arg, flags, ..send }, &echo(7, token as u16));
    }
    // In the same turn: there may not be another one for a while.
    bench.turn();
    let sent = plugin.told_of(EventKind::Sent);
    let seen: Vec<_> = sent.iter().map(|it| (it.token, it.sent, it.stamps, it.aux)).collect();
    let at = bench.core.link.left[0].at;
    assert_eq!(seen, [(1, at, stamp::USER, 12), (2, at, stamp::USER, 12)]);
}

#[test]
fn a_departure_that_the_kernel_does_not_stamp_in_time_is_told_before_what_comes_of_the_probe() {
    let mut bench = Bench::with(1_000_000.0, Stamps::Precise);
    let (plugin, task, flow) = measuring(&mut bench);
    let flags = flags::WANT_SENT;
    let send = Action { kind: ActionKind::Send, task, flow, arg: SECOND, flags, ..Action::ZERO };
    (1..4).for_each(|token| plugin.wants(Action { token, ..send }, &echo(7, token as u16)));
    bench.after(MS);
    bench.after(MS);
    let left: Vec<_> = bench.core.link.left.iter().map(|left| (left.tag, left.at)).collect();
    assert_eq!(plugin.told_of(EventKind::Sent), []);
    bench.core.link.stamps.push_back((left[0].0, left[0].1 + 5, stamp::KERNEL));
    (1..3).for_each(|sequence| bench.receives(reply(7, sequence)));
    bench.after(MS);
    // It comes all the same.
    bench.core.link.stamps.push_back((left[1].0, left[1].1 + 5, stamp::KERNEL));
    bench.pass(2 * SECOND);
    let told: Vec<_> =
        plugin.told().iter().map(|(it, _)| (it.kind, it.token, it.stamps & 0xf)).collect();
    assert_eq!(
        told,
        [
            (EventKind::Sent, 1, stamp::KERNEL),
            (EventKind::Packet, 1, stamp::KERNEL),
            (EventKind::Sent, 2, stamp::USER),
            (EventKind::Packet, 2, stamp::USER),
            (EventKind::Sent, 3, stamp::USER),
            (EventKind::Timeout, 3, stamp::USER),
        ]
    );
}

#[test]
fn a_packet_that_was_let_go_while_it_waited_does_not_leave() {
    let mut bench = Bench::with(2.0, Stamps::Interpolated);
    let (plugin, task, flow) = measuring(&mut bench);
    bench.core.link.results.push_back(Err(libc::ENOBUFS));
    (0..4).for_each(|token| plugin.sends(task, flow, token, MS, &echo(7, token as u16)));
    bench.turn();
    let cancel = Action { kind: ActionKind::Cancel, task, flow, ..Action::ZERO };
    // One is put off, the other waits for the pacer.
    plugin.wants(Action { token: 0, ..cancel }, b"");
    plugin.wants(Action { token: 2, ..cancel }, b"");
    bench.pass(3 * SECOND);
    let sequences: Vec<u8> = bench.core.link.left.iter().map(|left| left.packet[27]).collect();
    assert_eq!(sequences, [1, 3]);
}

#[test]
fn packets_that_are_put_off_when_their_task_ends_count_as_not_sent_and_never_leave() {
    for ends in [Command::StopAll, Command::Interrupt(RunId(1)), Command::Cancel(RunId(1))] {
        let mut bench = Bench::new();
        let (plugin, task, flow) = measuring(&mut bench);
        bench.core.link.always = Some(libc::ENOBUFS);
        (0..5).for_each(|token| plugin.sends(task, flow, token, SECOND, &echo(7, token as u16)));
        bench.turn();
        assert_eq!(bench.core.state.later.len(), 5);
        let cancel = Action { kind: ActionKind::Cancel, task, flow, token: 3, ..Action::ZERO };
        plugin.wants(cancel, b"");
        bench.turn();
        bench.tell(ends);
        bench.turn();
        plugin.finishes(task);
        bench.core.link.always = None;
        bench.pass(20 * MS);
        assert_eq!((bench.core.state.later.len(), bench.core.link.left.len()), (0, 0));
        let ended = bench.ended().remove(0);
        assert_eq!((ended.counters.sent, ended.counters.not_sent), (0, 4));
    }
}

#[test]
fn what_waits_on_a_flow_that_is_given_up_never_leaves_on_the_next_one() {
    let mut bench = Bench::new();
    let (plugin, task, flow) = measuring(&mut bench);
    bench.core.link.always = Some(libc::ENOBUFS);
    let immediate = Action { kind: ActionKind::Send, flags: flags::IMMEDIATE, ..Action::ZERO };
    plugin.wants(Action { task, flow, token: 1, ..immediate }, &echo(7, 1));
    plugin.sends(task, flow, 2, SECOND, &echo(7, 2));
    bench.turn();
    plugin.wants(Action { kind: ActionKind::CloseFlow, task, flow, ..Action::ZERO }, b"");
    plugin.wants(Action { task, token: 3, ..OPEN }, &ping(8).to_octets());
    bench.turn();
    bench.core.link.always = None;
    bench.pass(20 * MS);
    // The same number, another identifier.
    assert_eq!(plugin.told_of(EventKind::FlowOpen)[0].flow, flow);
    assert_eq!(bench.core.link.left.len(), 0);
}

#[test]
fn a_packet_that_is_sent_with_the_last_breath_is_counted() {
    for last in [ActionKind::CloseFlow, ActionKind::Finish, ActionKind::Fail, ActionKind(99)] {
        let mut bench = Bench::new();
        let (plugin, task, flow) = measuring(&mut bench);
        plugin.sends(task, flow, 1, SECOND, &echo(7, 1));
        plugin.wants(Action { kind: last, task, flow, ..Action::ZERO }, b"");
        plugin.finishes(task);
        bench.turn();
        let ended = bench.ended().remove(0);
        assert_eq!((bench.core.link.left.len(), ended.counters.sent), (1, 1), "{last:?}");
        assert_eq!((ended.stamps, ended.source), (("user", "none"), LOCAL.parse().ok()));
    }
}

#[test]
fn what_waits_when_an_interrupt_comes_is_reported_as_not_sent() {
    let mut bench = Bench::with(1.0, Stamps::Interpolated);
    let (plugin, task, flow) = measuring(&mut bench);
    (0..3).for_each(|token| plugin.sends(task, flow, token, SECOND, &echo(7, token as u16)));
    bench.turn();
    plugin.told();
    bench.tell(Command::Interrupt(RunId(1)));
    bench.turn();
    let told = plugin.told();
    let seen: Vec<_> = told.iter().map(|(it, _)| (it.kind, i32::from(it.code))).collect();
    let unsent = (EventKind::SendError, libc::ECANCELED);
    assert_eq!(seen, [(EventKind::Interrupt, 0), unsent, unsent]);
}

#[test]
fn probes_that_are_withdrawn_are_reported_and_others_leave() {
    let mut bench = Bench::with(1.0, Stamps::Interpolated);
    let (plugin, task, flow) = measuring(&mut bench);
    let (other, _) = bench.opened(&plugin, task, ping(8));
    (0..3).for_each(|token| plugin.sends(task, flow, token, SECOND, &echo(7, token as u16)));
    bench.turn();
    let withdraw =
        Action { kind: ActionKind::Cancel, task, flow: other, token: NO_TOKEN, ..Action::ZERO };
    plugin.wants(withdraw, b"");
    bench.turn();
    assert!(plugin.told_of(EventKind::SendError).is_empty(), "nothing waits on that flow");
    plugin.wants(Action { flow, ..withdraw }, b"");
    bench.turn();
    let told = plugin.told_of(EventKind::SendError);
    let told: Vec<_> = told.iter().map(|event| (event.token, i32::from(event.code))).collect();
    assert_eq!(told, [(1, libc::ECANCELED), (2, libc::ECANCELED)]);
    bench.pass(5 * SECOND);
    assert_eq!(bench.core.link.left.len(), 1);
}

#[test]
fn nothing_leaves_with_an_address_that_the_machine_has_lost_until_it_is_back() {
    let mut bench = Bench::new();
    let (plugin, task, flow) = measuring(&mut bench);
    bench.core.link.address = Some("192.0.2.77".parse().unwrap());
    plugin.sends(task, flow, 1, MS, &echo(7, 1));
    bench.turn();
    let errors = plugin.told_of(EventKind::SendError);
    assert_eq!(i32::from(errors[0].code), libc::EADDRNOTAVAIL);
    assert_eq!(bench.core.link.left.len(), 0);
    bench.core.link.address = None;
    plugin.sends(task, flow, 2, MS, &echo(7, 2));
    bench.turn();
    assert_eq!(bench.core.link.left.len(), 1);
}
