//! How much a plugin may ask for at a time.

use sonde_plugin_api::abi::{
    Action, ActionKind, EventKind, FailKind, FlowSpecRaw, NO_TOKEN, Proto, flags,
};

use sonde_packet::{FlowKey, Protocol, Transport};

use super::world::{
    Bench, LOCAL, MS, OPEN, Plugin, REMOTE, SECOND, echo, flow, many, packet, ping, reply,
};
use crate::{
    config::Stamps,
    engine::Core,
    exchange::MAX_WORK,
    identifiers::MAX_QUARANTINE,
    output::{End, Ended, Output},
    ports::Kept,
};

/// A row of no values.
const ROW: Action = Action { kind: ActionKind::Row, ..Action::ZERO };

/// A slow bench, so that packets wait, with one task that has a flow.
fn slow() -> (Bench, Plugin, u32) {
    let mut bench = Bench::with(2.0, Stamps::Interpolated);
    let plugin = bench.plugin();
    bench.started(&plugin, 1);
    let (flow, _) = bench.opened(&plugin, 0, ping(7));
    (bench, plugin, flow)
}

fn failure(bench: &mut Bench) -> String {
    let ended = bench.ended();
    assert_eq!(ended.len(), 1, "{ended:?}");
    match &ended[0].end {
        End::Failed { kind: FailKind::Error, text, refused: false } => text.clone(),
        end => panic!("{end:?}"),
    }
}

#[test]
fn a_cancelled_timer_neither_fires_nor_counts() {
    let (mut bench, plugin, _) = slow();
    let timer = Action { kind: ActionKind::Timer, arg: bench.core.link.now + MS, ..Action::ZERO };
    let cancel = Action { kind: ActionKind::Cancel, flow: NO_TOKEN, ..Action::ZERO };
    for _ in 0..3 {
        plugin.wants_all(many(timer, 40_000), Vec::new());
        plugin.wants_all(many(cancel, 40_000), Vec::new());
        bench.turn();
    }
    plugin.wants(Action { token: 7, ..timer }, b"");
    bench.pass(5 * MS);
    let fired: Vec<u32> = plugin.told_of(EventKind::Timer).iter().map(|it| it.token).collect();
    assert_eq!(fired, [7]);
    assert_eq!(bench.ended(), []);
}

#[test]
fn what_does_not_fit_in_a_turn_waits_for_the_next_in_its_order() {
    let (mut bench, plugin, _) = slow();
    let timer = Action { kind: ActionKind::Timer, arg: bench.core.link.now + MS, ..Action::ZERO };
    plugin.wants_all(many(timer, 1500), Vec::new());
    plugin.wants_all(many(timer, 1500), Vec::new());
    plugin.finishes(0);
    let before = bench.core.state.ports[0].wheel.len();
    for timers in [MAX_WORK, 2 * MAX_WORK] {
        bench.one_turn();
        assert_eq!(bench.core.state.ports[0].wheel.len() - before, timers);
        assert_eq!(bench.ended(), []);
    }
    bench.one_turn();
    assert!(matches!(bench.ended()[..], [Ended { end: End::Finished { .. }, .. }]));
}

#[test]
fn a_cancel_that_looks_through_a_long_queue_is_much_work() {
    let (mut bench, plugin, flow) = slow();
    let packet = echo(7, 1);
    let len = packet.len() as u32;
    let send = Action { kind: ActionKind::Send, flow, len, ..Action::ZERO };
    plugin.wants_all(many(send, 10_000), packet);
    bench.turn();
    let cancel = Action { kind: ActionKind::Cancel, flow, token: 1_000_000, ..Action::ZERO };
    plugin.wants_all(vec![cancel; 70], Vec::new());
    let turns = bench.turns();
    // Each is worth the 10,000 packets that it looks at.
    assert!((9..=12).contains(&turns), "{turns}");
}

#[test]
fn flows_that_hold_ports_are_opened_and_flows_are_closed_in_portions() {
    let (mut bench, plugin, _) = slow();
    let peer = |number: u32| std::net::Ipv4Addr::from(0xcb00_7100 + number).to_string();
    let spec = |number| flow(Proto::Udp, &peer(number), 0).to_octets().to_vec();
    let octets: Vec<u8> = (0..1000).flat_map(spec).collect();
    let len = octets.len() as u32 / 1000;
    let opens = (0..1000).map(|at| Action { off: at * len, len, ..OPEN });
    plugin.wants_all(opens.collect(), octets);
    assert!((8..=10).contains(&bench.turns()));
    let close = Action { kind: ActionKind::CloseFlow, ..Action::ZERO };
    let opened = plugin.told_of(EventKind::FlowOpen);
    assert_eq!(opened.iter().filter(|event| event.code == 0).count(), 1000);
    plugin
        .wants_all(opened.iter().map(|it| Action { flow: it.flow, ..close }).collect(), Vec::new());
    assert_eq!(bench.turns(), 2, "a flow is as much work as an action");
}

#[test]
fn more_timers_than_anybody_needs_fail_their_task() {
    let (mut bench, plugin, _) = slow();
    let never = Action { kind: ActionKind::Timer, arg: u64::MAX, ..Action::ZERO };
    plugin.wants_all(many(never, 65_537), Vec::new());
    bench.turn();
    assert_eq!(failure(&mut bench), "it has 65536 timers already");
}

#[test]
fn timers_that_never_come_do_not_outlive_their_tasks_for_long() {
    let (mut bench, plugin, _) = slow();
    let never = Action { kind: ActionKind::Timer, arg: u64::MAX, ..Action::ZERO };
    for run in 2..40 {
        let task = bench.started(&plugin, run);
        plugin.wants_all(many(Action { task, ..never }, 60_000), Vec::new());
        plugin.finishes(task);
        bench.turn();
    }
    bench.turn();
    let timers = bench.core.state.ports[0].wheel.len();
    assert!(timers <= (1 << 20) + MAX_WORK, "{timers}");
}

#[test]
fn what_a_plugin_wanted_before_it_died_is_done_first() {
    let mut bench = Bench::new();
    let plugin = bench.plugin();
    bench.started(&plugin, 1);
    plugin.wants_all(many(ROW, 5000), Vec::new());
    plugin.script().lost = Some("worker died".to_owned());
    bench.one_turn();
    assert_eq!(bench.ended(), []);
    bench.turn();
    let outputs = bench.outputs();
    let ended = outputs.iter().position(|output| matches!(output, Output::Ended(_)));
    let last_row = outputs.iter().rposition(|output| matches!(output, Output::Row { .. }));
    assert!(last_row.is_some() && last_row < ended, "{last_row:?} {ended:?}");
    // Its successor is told of what begins then.
    assert_eq!(bench.started(&plugin, 2), 0);
}

#[test]
fn more_flows_than_a_task_may_have_fail_it() {
    let (mut bench, plugin, _) = slow();
    let octets = ping(0).to_octets();
    let open = Action { len: octets.len() as u32, ..OPEN };
    plugin.wants_all(many(open, 1024), octets.to_vec());
    bench.turn();
    assert_eq!(failure(&mut bench), "it has 1024 flows already");
    assert!(bench.core.state.flows.iter().all(Option::is_none));
}

#[test]
fn packets_that_wait_are_bounded_by_their_octets_too() {
    let mut bench = Bench::with(2.0, Stamps::Interpolated);
    let (greedy, other) = (bench.plugin(), bench.plugin());
    bench.started(&greedy, 1);
    let (flow, _) = bench.opened(&greedy, 0, ping(7));
    let packet = sonde_packet::Packet {
        ip: sonde_packet::Ip::plain(LOCAL.parse().unwrap(), REMOTE.parse().unwrap()),
        transport: Transport::Icmp { kind: 8, code: 0, rest: [0, 7, 0, 1] },
        payload: sonde_packet::Payload::Zeros(1400),
        checksum: None,
    };
    let packet = packet.to_vec().unwrap();
    let kind = ActionKind::Send;
    let send = Action { kind, flow, arg: SECOND, len: packet.len() as u32, ..Action::ZERO };
    greedy.wants_all(many(send, 60_000), packet.clone());
    bench.turn();
    let refused = greedy.told_of(EventKind::SendError);
    let room = (64 << 20) / packet.len();
    assert!((60_000 - room).abs_diff(refused.len()) <= 1, "{}", refused.len());
    assert!(refused.iter().all(|event| i32::from(event.code) == libc::ENOBUFS));
    // Another plugin has its own room, and what is let go makes room again.
    bench.started(&other, 2);
    let (own, _) = bench.opened(&other, 0, ping(8));
    other.sends(0, own, 1, SECOND, &echo(8, 1));
    greedy.wants(Action { kind: ActionKind::CloseFlow, flow, ..Action::ZERO }, b"");
    bench.turn();
    let (flow, _) = bench.opened(&greedy, 0, ping(9));
    greedy.sends(0, flow, 1, SECOND, &echo(9, 1));
    bench.pass(2 * SECOND);
    assert_eq!(bench.core.link.left.len(), 3, "one before, and one of each");
}

#[test]
fn flows_beyond_what_a_plugin_may_hold_share_its_ports_with_other_peers() {
    let mut bench = Bench::new();
    let plugin = bench.plugin();
    for run in 0..17 {
        let task = bench.started(&plugin, run);
        let open = |number: u32| {
            let mut spec = ping(0);
            spec.proto = Proto::Udp;
            let peer = std::net::Ipv4Addr::from(0xcb00_0000 + task * 1000 + number);
            spec.peer = sonde_packet::mapped(peer.into());
            spec.to_octets().to_vec()
        };
        let octets: Vec<u8> = (0..1000).flat_map(open).collect();
        let each = octets.len() as u32 / 1000;
        let actions = (0..1000).map(|at| Action { task, off: at * each, len: each, ..OPEN });
        plugin.wants_all(actions.collect(), octets);
        bench.turn();
        let opened = plugin.told_of(EventKind::FlowOpen);
        assert_eq!(opened.iter().filter(|event| event.code == 0).count(), 1000);
    }
    assert_eq!(bench.core.link.held.len(), 16_384);
    for task in 0..17 {
        plugin.finishes(task);
    }
    bench.pass(6 * SECOND);
    assert_eq!(bench.core.link.held.len(), 0, "each is let go once");
}

#[test]
fn a_plugin_holds_no_more_ports_than_it_leaves_to_others() {
    let mut bench = Bench::new();
    bench.core.state.identifiers.most = 100;
    let (greedy, other) = (bench.plugin(), bench.plugin());
    let open = |bench: &mut Bench, plugin: &Plugin| {
        for number in 0..200 {
            let peer = format!("203.0.113.{number}");
            bench.opened(plugin, 0, flow(Proto::Udp, &peer, 0));
        }
        bench.core.link.held.len()
    };
    bench.started(&greedy, 1);
    assert_eq!(open(&mut bench, &greedy), 50);
    bench.started(&other, 2);
    assert_eq!(open(&mut bench, &other), 75);
}

#[test]
fn a_plugin_with_flows_without_end_cuts_no_others_quarantine_short() {
    let mut bench = Bench::new();
    let Core { state, link, .. } = &mut bench.core;
    let key = |number: u32| {
        let peer = std::net::Ipv4Addr::from(number).into();
        FlowKey::new(Protocol::Icmp, LOCAL.parse().unwrap(), peer, 7)
    };
    let most = MAX_QUARANTINE as u32;
    state.identifiers.retire(1, key(0), false, state.now);
    (1..=most + 1).for_each(|number| state.identifiers.retire(0, key(number), false, state.now));
    state.identifiers.tidy(link, state.now);
    let rests = |number| state.identifiers.quarantined(&key(number), state.now).is_some();
    assert_eq!([0, 1, 2, most + 1].map(rests), [true, false, true, true]);
}

#[test]
fn rows_without_end_fail_their_task_even_where_they_are_empty() {
    for octets in [0, 200_000] {
        let (mut bench, plugin, _) = slow();
        let row = Action { len: octets, ..ROW };
        let mut rows = 0;
        let ended = (0..40).find_map(|_| {
            plugin.wants_all(many(row, 50_000), vec![0; octets as usize]);
            bench.turn();
            let outputs = bench.outputs();
            rows += outputs.iter().filter(|output| matches!(output, Output::Row { .. })).count();
            outputs.into_iter().find_map(|output| match output {
                Output::Ended(ended) => Some(ended.end),
                _ => None,
            })
        });
        let Some(End::Failed { text, .. }) = ended else { panic!("{ended:?}") };
        assert_eq!(text, "the plugin put out more than 72 MiB of rows");
        assert_eq!(rows, (72 << 20) / (octets as usize + 64));
    }
}

#[test]
fn a_task_with_many_rows_is_asked_to_finish_and_says_what_it_knows() {
    let (mut bench, plugin, _) = slow();
    let row = Action { len: 200_000, ..ROW };
    plugin.wants_all(many(row, 336), vec![0; 200_000]);
    bench.turn();
    assert_eq!(plugin.told_of(EventKind::Interrupt).len(), 1);
    plugin.wants_all(many(row, 10), vec![0; 200_000]);
    plugin.finishes(0);
    bench.turn();
    let outputs = bench.outputs();
    assert!(outputs.iter().any(|it| matches!(it, Output::Log { level: 2, .. })));
    assert_eq!(outputs.iter().filter(|it| matches!(it, Output::Row { .. })).count(), 346);
    let Some(Output::Ended(ended)) = outputs.last() else { panic!("{outputs:?}") };
    assert_eq!(ended.end, End::Finished { stop: None, interrupted: true });
}

#[test]
fn what_many_tasks_keep_together_is_bounded_and_free_again_when_they_end() {
    let mut bench = Bench::new();
    let plugin = bench.plugin();
    for round in 0..2 {
        let tasks: Vec<u32> = (0..20).map(|at| bench.started(&plugin, round * 20 + at)).collect();
        for task in &tasks {
            let timer =
                Action { kind: ActionKind::Timer, task: *task, arg: u64::MAX, ..Action::ZERO };
            let timers = (0..60_000).map(|token| Action { token, ..timer });
            plugin.wants_all(timers.collect(), Vec::new());
            bench.turn();
        }
        let ended = bench.ended();
        // 17 times 60,000 are fewer than 2^20, 18 are not; what fails leaves its room to the next.
        assert_eq!(ended.len(), 3, "{round}");
        assert!(ended.iter().all(|ended| matches!(&ended.end, End::Failed { text, .. }
            if text == "the plugin's measurements have more than 1048576 timers")));
        tasks.iter().for_each(|task| plugin.finishes(*task));
        bench.turn();
        assert_eq!(bench.ended().len(), 17);
        assert_eq!(bench.core.state.ports[0].kept.timers, 0);
    }
}

#[test]
fn probes_that_nobody_answers_are_bounded_for_each_flow() {
    let mut bench = Bench::new();
    let plugin = bench.plugin();
    bench.started(&plugin, 1);
    let (flow, _) = bench.opened(&plugin, 0, ping(7));
    let packet = echo(7, 1);
    let kind = ActionKind::Send;
    let forever = Action { kind, flow, arg: u64::MAX, len: packet.len() as u32, ..Action::ZERO };
    plugin.wants_all(many(forever, 65_540), packet.clone());
    bench.pass(100 * MS);
    let refused = plugin.told_of(EventKind::SendError);
    let refused: Vec<_> = refused.iter().map(|it| (it.token, i32::from(it.code))).collect();
    let expected: Vec<_> = (65_536..65_540).map(|token| (token, libc::ENOBUFS)).collect();
    assert_eq!(refused, expected);
    // Of what expects no answer there is no such bound, nor of another flow.
    let (other, _) = bench.opened(&plugin, 0, ping(8));
    plugin.sends(0, flow, 1, 0, &packet);
    plugin.sends(0, other, 1, MS, &echo(8, 1));
    bench.turn();
    assert_eq!(plugin.told_of(EventKind::SendError), []);
    let cancel = Action { kind: ActionKind::Cancel, flow, token: 7, ..Action::ZERO };
    plugin.wants_all(vec![cancel], Vec::new());
    plugin.sends(0, flow, 7, MS, &packet);
    bench.turn();
    assert_eq!(plugin.told_of(EventKind::SendError), []);
}

#[test]
fn probes_that_wait_count_for_their_plugin_until_they_are_over() {
    let mut bench = Bench::new();
    let plugin = bench.plugin();
    bench.started(&plugin, 1);
    let (flow, _) = bench.opened(&plugin, 0, ping(7));
    let waiting = |bench: &Bench| bench.core.state.ports[0].kept.waiting;
    bench.core.link.results.push_back(Err(libc::EPERM));
    for token in 0..6 {
        plugin.sends(0, flow, token, 10 * MS, &echo(7, token as u16));
    }
    bench.turn();
    assert_eq!(waiting(&bench), 5, "one did not leave");
    for _ in 0..2 {
        bench.receives(reply(7, 1));
    }
    let cancel = Action { kind: ActionKind::Cancel, flow, token: 2, ..Action::ZERO };
    plugin.wants_all(vec![cancel; 2], Vec::new());
    bench.turn();
    assert_eq!(waiting(&bench), 3);
    bench.pass(20 * MS);
    assert_eq!(waiting(&bench), 0);
    bench.core.state.ports[0].kept.waiting = Kept::MOST.waiting - 1;
    plugin.told();
    for token in 6..8 {
        plugin.sends(0, flow, token, SECOND, &echo(7, token as u16));
    }
    bench.turn();
    let refused = plugin.told_of(EventKind::SendError);
    assert_eq!(refused.iter().map(|it| it.token).collect::<Vec<_>>(), [7]);
    plugin.wants(Action { kind: ActionKind::CloseFlow, flow, ..Action::ZERO }, b"");
    bench.turn();
    assert_eq!(waiting(&bench), Kept::MOST.waiting - 1);
    let (flow, _) = bench.opened(&plugin, 0, ping(9));
    plugin.sends(0, flow, 9, SECOND, &echo(9, 9));
    plugin.finishes(0);
    bench.turn();
    assert_eq!(bench.ended()[0].counters.sent, 8 - 1);
    assert_eq!(waiting(&bench), Kept::MOST.waiting - 1);
}

#[test]
fn rows_that_nobody_keeps_have_no_bound_but_while_nobody_reads_them() {
    let (mut bench, plugin, _) = slow();
    bench.keeps_rows = false;
    let task = bench.started(&plugin, 2);
    let row = Action { task, len: 1 << 20, ..ROW };
    for _ in 0..8 {
        plugin.wants_all(many(row, 10), vec![0; 1 << 20]);
        bench.turn();
        assert_eq!(bench.outputs().len(), 10);
    }
    for _ in 0..8 {
        plugin.wants_all(many(row, 10), vec![0; 1 << 20]);
        bench.turn();
    }
    let ended = bench.ended();
    assert!(
        matches!(&ended[..], [Ended { end: End::Failed { text, .. }, .. }]
        if text == "nobody reads the rows as fast as the plugin puts them out"),
        "{ended:?}"
    );
}

#[test]
fn lines_without_end_are_cut_off_with_a_word_and_the_task_goes_on() {
    let (mut bench, plugin, _) = slow();
    let log = Action { kind: ActionKind::Log, code: 3, len: 4, ..Action::ZERO };
    let progress = Action { kind: ActionKind::Progress, arg: 500, ..Action::ZERO };
    plugin.wants_all(many(log, 5000), b"line".to_vec());
    plugin.wants_all(many(progress, 5000), Vec::new());
    bench.turn();
    let outputs = bench.outputs();
    let texts: Vec<&str> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Log { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(texts.len(), 1001);
    assert_eq!(texts[1000], "more than 1000 lines: the others are not kept");
    assert_eq!(outputs.len(), 1002, "progress that does not progress is no news");
    plugin.finishes(0);
    bench.turn();
    assert!(matches!(bench.ended()[0].end, End::Finished { .. }));
}

#[test]
fn packets_that_wait_on_a_flow_that_is_closed_count_as_not_sent() {
    let (mut bench, plugin, flow) = slow();
    (0..6).for_each(|token| plugin.sends(0, flow, token, SECOND, &echo(7, token as u16)));
    plugin.wants(Action { kind: ActionKind::CloseFlow, flow, ..Action::ZERO }, b"");
    plugin.finishes(0);
    bench.turn();
    let ended = bench.ended().remove(0);
    let left = bench.core.link.left.len() as u64;
    assert_eq!((ended.counters.sent, ended.counters.not_sent), (left, 6 - left));
    assert_eq!(ended.not_sent_errno, [(libc::ECANCELED, 6 - left)]);
    assert_eq!(bench.core.state.statistics.counters.not_sent, 6 - left);
    assert_eq!(plugin.told_of(EventKind::SendError), []);
}

#[test]
fn packets_that_wait_when_their_task_ends_count_as_not_sent() {
    let (mut bench, plugin, flow) = slow();
    (0..6).for_each(|token| plugin.sends(0, flow, token, SECOND, &echo(7, token as u16)));
    plugin.finishes(0);
    bench.turn();
    let counters = bench.ended()[0].counters;
    assert_eq!(counters.sent + counters.not_sent, 6, "{counters:?}");
}

#[test]
fn a_plugin_that_takes_no_events_and_cannot_be_ended_is_refused_from_then_on() {
    let (mut bench, plugin, flow) = slow();
    plugin.script().room = Some(0);
    plugin.script().is_inline = true;
    let send = Action { kind: ActionKind::Send, flow, ..Action::ZERO };
    (0..9).for_each(|_| plugin.wants_all(many(send, 60_000), Vec::new()));
    bench.turn();
    let text = "the plugin does not take the events that it causes: ended";
    let outputs = bench.outputs();
    let is_gone = |output: &Output| matches!(output, Output::PortGone(id) if *id == plugin.id);
    assert_eq!(outputs.iter().filter(|output| is_gone(output)).count(), 1);
    let says_so = |output: &Output| {
        matches!(output, Output::Ended(ended)
            if matches!(&ended.end, End::Failed { text: said, .. } if said == text))
    };
    assert_eq!(outputs.iter().filter(|output| says_so(output)).count(), 1);
    bench.start(&plugin, 3, None);
    bench.turn();
    assert!(matches!(&bench.ended()[..], [Ended { end: End::Failed { text: said, .. }, .. }]
        if said.contains(text)));
}

#[test]
fn a_plugin_that_takes_no_events_keeps_no_answer_from_others_and_is_started_again_at_last() {
    let mut bench = Bench::new();
    let (bad, good) = (bench.plugin(), bench.plugin());
    bench.started(&bad, 1);
    bench.started(&good, 2);
    let (flow, _) = bench.opened(&bad, 0, ping(8));
    let (own, _) = bench.opened(&good, 0, ping(7));
    bad.script().room = Some(0);
    // None of them is a packet: each is refused with an event.
    let send = Action { kind: ActionKind::Send, flow, ..Action::ZERO };
    bad.wants_all(many(send, 70_000), Vec::new());
    good.sends(0, own, 1, 500 * MS, &echo(7, 1));
    bench.turn();
    bench.receives(reply(7, 1));
    bench.pass(100 * MS);
    assert_eq!(good.told_of(EventKind::Packet).len(), 1);
    assert_eq!(bench.ended(), []);
    (0..8).for_each(|_| bad.wants_all(many(send, 60_000), Vec::new()));
    bench.turn();
    let ended = bench.ended();
    let End::Failed { kind: FailKind::Crashed, text, .. } = &ended[0].end else {
        panic!("{ended:?}")
    };
    assert_eq!(text, "the plugin does not take the events that it causes: ended");
    // Both go on.
    assert_eq!(bad.script().restarts, [text.as_str()]);
    bad.told();
    bench.started(&bad, 3);
    [good, bad].iter().for_each(|plugin| plugin.finishes(0));
    bench.turn();
    let ended = bench.ended();
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().all(|ended| matches!(ended.end, End::Finished { .. })), "{ended:?}");
}

#[test]
fn what_a_peer_pours_in_is_not_kept_without_bound_for_a_plugin_that_does_not_take_it() {
    let mut bench = Bench::new();
    let plugin = bench.plugin();
    bench.started(&plugin, 1);
    let spec = FlowSpecRaw { flags: flags::HEAR_ALL, ..ping(7) };
    bench.opened(&plugin, 0, spec);
    plugin.sends(0, 0, 5, 60 * SECOND, &echo(7, 5));
    bench.turn();
    plugin.script().room = Some(0);
    let unasked =
        packet(REMOTE, LOCAL, Transport::Icmp { kind: 0, code: 0, rest: [0, 7, 0, 1] }, 60_000);
    for _ in 0..20 {
        (0..100).for_each(|_| bench.receives(unasked.clone()));
        bench.after(30 * MS);
    }
    bench.receives(reply(7, 5));
    bench.after(30 * MS);
    let kept: usize = bench.core.state.ports[0].behind.iter().map(|(_, packet)| packet.len()).sum();
    assert!((64 << 20..65 << 20).contains(&kept), "{kept}");
    plugin.script().room = None;
    bench.turn();
    let told = plugin.told_of(EventKind::Packet);
    assert_eq!(told.last().unwrap().token, 5, "an answer to a probe is kept");
    plugin.finishes(0);
    bench.turn();
    let drops = bench.ended()[0].host_drops as usize;
    assert_eq!(drops + told.len(), 2001);
}
