//! Answers: whose they are, when they came, and what is said about them.

use sonde_packet::Class;
use sonde_plugin_api::abi::{Event, EventKind, LABEL_TOKEN, flags, stamp};

use super::world::{Bench, EPOCH, MS, Plugin, REMOTE, SECOND, echo, ping, reply};
use crate::config::Stamps;

/// A probe with `token` and sequence number 1 has left, on a flow with `bits`.
fn probed(stamps: Stamps, token: u32, bits: u8) -> (Bench, Plugin) {
    let mut bench = Bench::with(1_000_000.0, stamps);
    let plugin = bench.plugin();
    let task = bench.started(&plugin, 1);
    let spec = sonde_plugin_api::abi::FlowSpecRaw { flags: bits, ..ping(7) };
    let (flow, _) = bench.opened(&plugin, task, spec);
    bench.core.link.now = EPOCH + MS;
    plugin.sends(task, flow, token, 100 * MS, &echo(7, 1));
    bench.turn();
    assert_eq!(bench.core.link.left.len(), 1);
    plugin.told();
    (bench, plugin)
}

#[test]
fn an_echo_reply_comes_with_both_times_and_who_stamped_them() {
    let (mut bench, plugin) = probed(Stamps::Interpolated, 5, 0);
    bench.core.link.now += 20 * MS;
    bench.receives([reply(7, 1), vec![0; 6]].concat());
    bench.core.link.now += MS;
    bench.turn();
    let told = plugin.told();
    assert_eq!(told.len(), 1);
    let (event, payload) = &told[0];
    // Without the padding.
    assert_eq!(*payload, reply(7, 1));
    let expected = Event {
        kind: EventKind::Packet,
        class: Class::EchoReply as u8,
        task: 0,
        token: 5,
        flow: 0,
        at: EPOCH + 21 * MS,
        sent: EPOCH + MS,
        from: sonde_packet::mapped(REMOTE.parse().unwrap()),
        ttl: 57,
        stamps: stamp::KERNEL << 4 | stamp::USER,
        aux: 12,
        ..Event::ZERO
    };
    assert_eq!(*event, expected);
    // It was answered: no time-out.
    bench.pass(200 * MS);
    assert_eq!(plugin.told(), []);
}

#[test]
fn late_and_duplicate_answers_are_counted_and_flagged_where_somebody_listens() {
    let (mut bench, plugin) = probed(Stamps::Interpolated, LABEL_TOKEN | 5, 0);
    bench.pass(101 * MS);
    for _ in 0..2 {
        bench.receives(reply(7, 1));
    }
    bench.turn();
    let told = plugin.told();
    let seen: Vec<_> = told.iter().map(|(it, _)| (it.kind, it.flags)).collect();
    let packet = EventKind::Packet;
    assert_eq!(seen, [(EventKind::Timeout, 0), (packet, flags::LATE), (packet, flags::DUPLICATE)]);
    plugin.finishes(0);
    bench.turn();
    let counters = bench.ended().remove(0).counters;
    assert_eq!((counters.answered, counters.late, counters.duplicates), (0, 1, 1));
    assert_eq!(bench.core.state.statistics.counters.duplicates, 1);
}

#[test]
fn who_waits_for_one_answer_hears_no_second_but_it_counts() {
    let (mut bench, plugin) = probed(Stamps::Interpolated, 5, 0);
    for _ in 0..3 {
        bench.receives(reply(7, 1));
    }
    bench.turn();
    assert_eq!(plugin.told().len(), 1);
    plugin.finishes(0);
    bench.turn();
    let counters = bench.ended().remove(0).counters;
    assert_eq!((counters.answered, counters.duplicates), (1, 2));
}

#[test]
fn no_answer_comes_before_its_probe_has_left() {
    let (mut bench, plugin) = probed(Stamps::Interpolated, 5, 0);
    // As we see it; it may have been up to 1.2 µs earlier or later.
    let left = bench.core.link.left[0].at;
    bench.core.link.now = left - 400;
    bench.receives(reply(7, 1));
    bench.core.link.now = left + MS;
    bench.turn();
    let event = plugin.told_of(EventKind::Packet)[0];
    assert_eq!((event.at, event.sent, event.aux), (left - 400, left - 800, 4));
}

#[test]
fn a_precise_stamp_is_known_before_the_answer_is_delivered() {
    let (mut bench, plugin) = probed(Stamps::Precise, 5, 0);
    let left = bench.core.link.left[0].clone();
    assert!(left.precise);
    bench.core.link.now += MS;
    bench.receives(reply(7, 1));
    bench.core.link.stamps.push_back((left.tag, left.at + 70_000, stamp::HARDWARE));
    bench.turn();
    let event = plugin.told_of(EventKind::Packet)[0];
    assert_eq!((event.sent, event.aux), (left.at + 70_000, 0));
    assert_eq!(event.stamps, stamp::KERNEL << 4 | stamp::HARDWARE);
    plugin.finishes(0);
    bench.turn();
    assert_eq!(bench.ended()[0].stamps, ("hardware", "kernel"));
}

#[test]
fn a_stamp_that_comes_after_its_flow_was_given_up_restamps_nothing() {
    let (mut bench, plugin) = probed(Stamps::Precise, 5, 0);
    let tag = bench.core.link.left[0].tag;
    plugin.finishes(0);
    bench.turn();
    let task = bench.started(&plugin, 2);
    let (flow, _) = bench.opened(&plugin, task, ping(8));
    plugin.sends(task, flow, 1, 100 * MS, &echo(8, 1));
    bench.core.link.now += MS;
    bench.turn();
    bench.core.link.stamps.push_back((tag, 1, stamp::HARDWARE));
    bench.core.link.now += MS;
    bench.receives(reply(8, 1));
    bench.turn();
    let event = plugin.told_of(EventKind::Packet)[0];
    assert_eq!((event.sent, event.stamps & 15), (bench.core.link.left[1].at, stamp::USER));
}

#[test]
fn foreign_and_damaged_packets_are_counted_and_delivered_to_nobody() {
    let (mut bench, plugin) = probed(Stamps::Interpolated, 5, flags::HEAR_ALL);
    bench.receives(reply(8, 1));
    let mut damaged = reply(7, 1);
    damaged[29] ^= 1;
    bench.receives(damaged);
    bench.receives(b"no packet".to_vec());
    bench.receives(Vec::new());
    bench.turn();
    assert_eq!(plugin.told(), []);
    let statistics = bench.core.state.statistics;
    assert_eq!((statistics.foreign, statistics.bad_checksum), (1, 1));
    assert_eq!(statistics.counters.answered, 0);
}

#[test]
fn a_plugin_without_room_gets_every_event_later_and_in_order() {
    let mut bench = Bench::new();
    let plugin = bench.plugin();
    let task = bench.started(&plugin, 1);
    let (flow, _) = bench.opened(&plugin, task, ping(7));
    for token in 0..40 {
        plugin.sends(task, flow, token, 5 * SECOND, &echo(7, token as u16));
        bench.after(MS);
    }
    plugin.told();
    plugin.script().room = Some(3);
    (0..40).for_each(|sequence| bench.receives(reply(7, sequence)));
    bench.turn();
    let mut tokens = Vec::new();
    for _ in 0..40 {
        bench.turn();
        tokens.extend(plugin.told_of(EventKind::Packet).iter().map(|event| event.token));
    }
    assert_eq!(tokens, (0..40).collect::<Vec<u32>>());
}

#[test]
fn a_plugin_that_refuses_everything_for_a_while_loses_nothing() {
    let (mut bench, plugin) = probed(Stamps::Interpolated, 5, 0);
    plugin.script().room = Some(0);
    bench.pass(150 * MS);
    assert_eq!(plugin.told(), []);
    plugin.script().room = None;
    bench.turn();
    assert_eq!(plugin.told_of(EventKind::Timeout).len(), 1);
}

#[test]
fn an_answer_in_fragments_is_delivered_once_and_whole() {
    let (mut bench, plugin) = probed(Stamps::Interpolated, 5, 0);
    let whole = reply(7, 1);
    let mut first = whole[..28].to_vec();
    first[2..8].copy_from_slice(&[0, 28, 0, 9, 0x20, 0]);
    let mut last = [&whole[..20], &whole[28..]].concat();
    last[2..8].copy_from_slice(&[0, 28, 0, 9, 0, 1]);
    let mut stranger = first.clone();
    stranger[12..16].copy_from_slice(&[203, 0, 113, 1]);
    // With padding behind, as Ethernet has it.
    for packet in [[last.clone(), vec![0; 2]].concat(), stranger.clone(), last.clone()] {
        bench.receives(packet);
    }
    bench.turn();
    assert_eq!(plugin.told(), []);
    bench.core.link.now += MS;
    bench.receives(first);
    bench.turn();
    let told = plugin.told();
    assert_eq!(told.len(), 1);
    let (event, payload) = &told[0];
    assert_eq!((event.token, event.flags, payload.len()), (5, flags::FRAGMENTED, 36));
    assert_eq!(payload[20..], whole[20..]);
    assert_eq!(event.at, bench.core.link.now);
}

#[test]
fn a_wall_clock_set_by_ten_years_is_told_and_changes_no_difference() {
    const TEN_YEARS: i64 = 3652 * 86_400 * SECOND.cast_signed();
    for step in [TEN_YEARS, -TEN_YEARS] {
        let (mut bench, plugin) = probed(Stamps::Interpolated, 5, 0);
        bench.core.link.wall_step = step;
        bench.core.link.now += 3 * MS;
        bench.receives(reply(7, 1));
        bench.turn();
        let event = plugin.told_of(EventKind::Packet)[0];
        assert_eq!((event.sent, event.at - event.sent), (EPOCH + MS, 3 * MS));
        plugin.finishes(0);
        bench.after(MS);
        let ended = bench.ended().remove(0);
        assert_eq!(ended.clock_steps.len(), 1);
        assert_eq!(ended.clock_steps[0].step_ns, step);
        let passed = ended.ended_wall_ns.wrapping_sub(ended.started_wall_ns).cast_signed();
        // From the start, at EPOCH, on the clock as it was, to the end on the clock as it is.
        assert_eq!(passed - step, (5 * MS).cast_signed());
        assert_eq!(ended.clock_steps[0].wall_ns, ended.ended_wall_ns - MS);

        // What begins later has not seen it.
        let task = bench.started(&plugin, 2);
        plugin.finishes(task);
        bench.turn();
        assert_eq!(bench.ended()[0].clock_steps, []);
    }
}

#[test]
fn a_plugin_is_told_the_name_of_an_interface_once_before_the_first_packet_of_it() {
    let (mut bench, plugin) = probed(Stamps::Interpolated, LABEL_TOKEN | 5, flags::HEAR_ALL);
    bench.core.link.interfaces = vec!["eth0".into(), "eth1".into()];
    bench.turn();
    assert_eq!(plugin.told(), []);
    bench.interface = 2;
    bench.receives(reply(7, 1));
    bench.receives(reply(7, 1));
    bench.turn();
    let told = plugin.told();
    let heard: Vec<_> = told.iter().map(|(event, _)| (event.kind, event.code)).collect();
    let (named, packet) = (EventKind::Interface, EventKind::Packet);
    assert_eq!(heard, [(named, 1), (named, 2), (packet, 2), (packet, 2)]);
    assert_eq!((&*told[0].1, &*told[1].1), (&b"eth0"[..], &b"eth1"[..]));
    // One of which nothing is known.
    bench.interface = 0;
    bench.receives(reply(7, 1));
    bench.turn();
    assert_eq!(plugin.told()[0].0.code, 0);
}

#[test]
fn what_was_merged_says_of_how_large_segments_where_that_is_known() {
    for (octets, told_octets) in [(536, 536), (1, 0)] {
        let (mut bench, plugin) = probed(Stamps::Interpolated, 5, 0);
        bench.receives_merged(reply(7, 1), octets);
        bench.turn();
        let (event, _) = plugin.told().remove(0);
        assert_eq!((event.flags & flags::MERGED, event.quote), (flags::MERGED, told_octets));
    }
}
