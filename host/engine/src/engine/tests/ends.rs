//! How measurements end.

use sonde_plugin_api::abi::{Action, ActionKind, EventKind, FailKind};

use super::world::{Bench, MS, OPEN, Plugin, SECOND, echo, ping};
use crate::{
    engine::Command,
    output::{End, Output, RunId},
};

fn failure(end: &End) -> (FailKind, &str) {
    match end {
        End::Failed { kind, text, .. } => (*kind, text),
        End::NotBegun { .. } | End::Finished { .. } => panic!("{end:?}"),
    }
}

fn running(runs: u64) -> (Bench, Plugin) {
    let mut bench = Bench::new();
    let plugin = bench.plugin();
    (1..=runs).for_each(|run| assert_eq!(u64::from(bench.started(&plugin, run)), run - 1));
    (bench, plugin)
}

#[test]
fn an_interrupted_task_has_its_parting_packets_and_a_second_and_ends_once() {
    let (mut bench, plugin) = running(1);
    let (flow, _) = bench.opened(&plugin, 0, ping(7));
    bench.tell(Command::Interrupt(RunId(1)));
    bench.tell(Command::Interrupt(RunId(1)));
    bench.turn();
    (0..3).for_each(|token| plugin.sends(0, flow, token, SECOND, &echo(7, token as u16)));
    bench.pass(999 * MS);
    let told: Vec<_> = plugin.told().iter().map(|(it, _)| (it.kind, it.code)).collect();
    let refused = (EventKind::SendError, libc::EDQUOT as u8);
    assert_eq!(told, [(EventKind::Interrupt, 0), refused]);
    assert_eq!((bench.core.link.left.len(), bench.ended()), (2, vec![]));
    bench.pass(2 * MS);
    plugin.finishes(0);
    bench.pass(2 * SECOND);
    assert_eq!(plugin.told_of(EventKind::Drop).len(), 1);
    let ended = bench.ended();
    assert_eq!(ended.len(), 1);
    assert_eq!(failure(&ended[0].end), (FailKind::Interrupted, "interrupted"));
    assert_eq!((ended[0].counters.sent, ended[0].counters.not_sent), (2, 1));
}

#[test]
fn a_task_that_finishes_in_time_after_an_interrupt_has_finished() {
    let (mut bench, plugin) = running(1);
    bench.tell(Command::Interrupt(RunId(1)));
    bench.turn();
    bench.pass(500 * MS);
    plugin.wants(Action { kind: ActionKind::Finish, ..Action::ZERO }, b"asked\nto");
    bench.pass(2 * SECOND);
    let ended = bench.ended();
    assert_eq!(ended.len(), 1);
    let stop = Some("asked to".to_owned());
    assert_eq!(ended[0].end, End::Finished { stop, interrupted: true });
    assert_eq!(plugin.told_of(EventKind::Drop).len(), 0);
}

#[test]
fn the_grace_of_an_ended_task_does_not_hit_the_next_of_the_same_index() {
    let (mut bench, plugin) = running(1);
    bench.tell(Command::Interrupt(RunId(1)));
    bench.turn();
    plugin.finishes(0);
    bench.turn();
    assert_eq!(bench.started(&plugin, 2), 0);
    bench.pass(2 * SECOND);
    assert_eq!(bench.ended().len(), 1);
}

#[test]
fn cancel_and_stop_end_runs_within_the_turn_and_nothing_leaves_afterwards() {
    let (mut bench, plugin) = running(4);
    let (flow, _) = bench.opened(&plugin, 0, ping(7));
    bench.tell(Command::Cancel(RunId(1)));
    plugin.sends(0, flow, 1, SECOND, &echo(7, 1));
    bench.turn();
    assert_eq!(bench.ended().iter().map(|ended| ended.run).collect::<Vec<_>>(), [RunId(1)]);
    bench.tell(Command::StopAll);
    bench.tell(Command::StopAll);
    bench.tell(Command::Cancel(RunId(77)));
    bench.turn();
    let mut ended: Vec<u64> = bench.ended().iter().map(|ended| ended.run.0).collect();
    ended.sort_unstable();
    assert_eq!(ended, [2, 3, 4]);
    assert_eq!(plugin.told_of(EventKind::Drop).len(), 4);
    assert_eq!((bench.core.link.left.len(), bench.core.state.tasks.len()), (0, 0));
}

#[test]
fn a_run_that_its_owner_fails_ends_with_the_reason() {
    let (mut bench, _plugin) = running(1);
    bench.tell(Command::Fail(RunId(1), "its rows make no sense".to_owned()));
    bench.turn();
    let ended = bench.ended();
    assert_eq!(failure(&ended[0].end), (FailKind::Error, "its rows make no sense"));
}

#[test]
fn a_lost_plugin_fails_its_tasks_with_the_reason_and_leaves_the_others_alone() {
    let (mut bench, plugin) = running(2);
    let other = bench.plugin();
    bench.started(&other, 3);
    plugin.script().lost = Some("worker of ping died: signal 11".to_owned());
    plugin.finishes(1);
    bench.turn();
    let outputs = bench.outputs();
    let mut crashed = Vec::new();
    let mut lost = 0;
    for output in &outputs {
        match output {
            Output::Ended(ended) if ended.run == RunId(1) => crashed.push(failure(&ended.end)),
            // What it said before it died counts.
            Output::Ended(ended) => assert!(matches!(ended.end, End::Finished { .. })),
            Output::PortLost { port, reason } if *port == plugin.id => {
                assert_eq!(reason, "worker of ping died: signal 11");
                lost += 1;
            }
            _ => panic!("{output:?}"),
        }
    }
    assert_eq!(crashed, [(FailKind::Crashed, "worker of ping died: signal 11")]);
    assert_eq!((outputs.len(), lost), (3, 1));
    // Both go on.
    assert_eq!(bench.started(&plugin, 4), 0);
    other.finishes(0);
    bench.turn();
    assert_eq!(bench.ended().iter().map(|ended| ended.run).collect::<Vec<_>>(), [RunId(3)]);
}

#[test]
fn of_the_tasks_of_a_plugin_that_dies_the_one_it_was_at_is_to_blame_where_that_is_known() {
    for (at, unable) in [(Some(1), [true, false, true]), (Some(9), [false; 3]), (None, [false; 3])]
    {
        let (mut bench, plugin) = running(3);
        plugin.script().lost = Some("worker of ping died".to_owned());
        plugin.script().lost_at = at;
        bench.turn();
        let mut ended = bench.ended();
        ended.sort_by_key(|ended| ended.run);
        assert_eq!(ended.iter().map(|it| it.unable).collect::<Vec<_>>(), unable, "{at:?}");
        assert!(ended.iter().all(|it| failure(&it.end).0 == FailKind::Crashed));
    }
}

#[test]
fn a_plugin_that_is_down_or_not_there_refuses_the_run() {
    let (mut bench, plugin) = running(0);
    plugin.script().down = Some("kept back for 8 s".to_owned());
    bench.start(&plugin, 1, None);
    let mut nobody = plugin.clone();
    nobody.id = crate::output::PortId(9);
    bench.start(&nobody, 2, None);
    bench.turn();
    let ended = bench.ended();
    assert_eq!(ended[0].end, End::NotBegun { text: "kept back for 8 s".to_owned() });
    assert_eq!(failure(&ended[1].end), (FailKind::Crashed, "its plugin is not loaded"));
}

#[test]
fn the_number_of_a_dropped_task_rests_that_of_a_finished_one_does_not() {
    let (mut bench, plugin) = running(2);
    bench.tell(Command::Cancel(RunId(1)));
    plugin.finishes(1);
    bench.turn();
    assert_eq!(bench.started(&plugin, 3), 1);
    assert_eq!(bench.started(&plugin, 4), 2);
    // What the dropped task had on the way is nobody's.
    plugin.finishes(0);
    bench.pass(9_990 * MS);
    assert_eq!(bench.started(&plugin, 5), 3);
    bench.pass(20 * MS);
    assert_eq!(bench.started(&plugin, 6), 0);
    assert_eq!(bench.ended().len(), 2);
}

#[test]
fn a_payload_outside_of_the_batch_fails_its_task_and_no_other() {
    let (mut bench, plugin) = running(6);
    let row = Action { kind: ActionKind::Row, ..Action::ZERO };
    let outside = [(8, 1), (0, 9), (u32::MAX, u32::MAX), (9, 0), (u32::MAX, 1)];
    let mut actions: Vec<Action> =
        (0..5).zip(outside).map(|(task, (off, len))| Action { task, off, len, ..row }).collect();
    actions.push(Action { task: 5, off: 8, len: 0, ..row });
    plugin.wants_all(actions, b"12345678".to_vec());
    bench.turn();
    let outputs = bench.outputs();
    let failed = outputs.iter().filter(|output| matches!(output, Output::Ended(_))).count();
    assert_eq!(failed, 5);
    let rows = |output: &&Output| matches!(output, Output::Row { run: RunId(6), .. });
    assert_eq!(outputs.iter().filter(rows).count(), 1);
}

#[test]
fn what_an_unknown_task_wants_is_ignored_and_what_a_known_one_cannot_want_fails_it() {
    let (mut bench, plugin) = running(2);
    for task in [2, 77, u32::MAX] {
        plugin.finishes(task);
        plugin.sends(task, 0, 1, SECOND, &echo(7, 1));
    }
    bench.turn();
    assert_eq!(bench.outputs(), []);
    plugin.wants(Action { kind: ActionKind(99), task: 1, ..Action::ZERO }, b"");
    bench.turn();
    let ended = bench.ended();
    assert_eq!((ended.len(), ended[0].run), (1, RunId(2)));
}

#[test]
fn a_plugin_cannot_say_that_it_crashed_nor_that_policy_forbade_what_it_sent() {
    let (mut bench, plugin) = running(1);
    let (flow, _) = bench.opened(&plugin, 0, ping(7));
    plugin.sends(0, flow, 1, SECOND, &echo(7, 1));
    plugin.sends(0, flow, 2, SECOND, &echo(8, 1));
    let code = FailKind::Crashed.0;
    plugin.wants(Action { kind: ActionKind::Fail, code, ..Action::ZERO }, b"it broke");
    bench.turn();
    let end = bench.ended().remove(0).end;
    let (kind, text) = (FailKind::Error, "it broke".to_owned());
    assert_eq!(end, End::Failed { kind, text, refused: false });
}

#[test]
fn a_replaced_plugin_goes_with_its_last_task_and_leaves_no_place_behind() {
    let (mut bench, plugin) = running(1);
    bench.tell(Command::RemovePort(plugin.id));
    let next = bench.plugin();
    bench.started(&next, 2);
    assert_eq!(bench.core.state.ports.len(), 2);
    plugin.finishes(0);
    bench.turn();
    next.finishes(0);
    bench.turn();
    assert_eq!(bench.ended().len(), 2);
    bench.tell(Command::RemovePort(next.id));
    bench.turn();
    assert_eq!(bench.core.state.ports.len(), 0);
}

#[test]
fn timers_fire_for_their_task_and_never_for_the_next_one() {
    let (mut bench, plugin) = running(1);
    let at = bench.core.link.now + 10 * MS;
    let timer = Action { kind: ActionKind::Timer, token: 4, arg: at, ..Action::ZERO };
    plugin.wants(timer, b"");
    plugin.wants(Action { token: 5, arg: at + SECOND, ..timer }, b"");
    bench.turn();
    bench.pass(11 * MS);
    let fired = plugin.told_of(EventKind::Timer);
    assert_eq!(fired.iter().map(|it| (it.token, it.at)).collect::<Vec<_>>(), [(4, at)]);
    plugin.finishes(0);
    bench.turn();
    assert_eq!(bench.started(&plugin, 2), 0);
    bench.pass(2 * SECOND);
    assert_eq!(plugin.told_of(EventKind::Timer), []);
}

#[test]
fn the_engine_does_not_sleep_on_actions_that_no_descriptor_announces() {
    let (mut bench, plugin) = running(1);
    assert!(bench.core.idle_for() > std::time::Duration::from_millis(100));
    plugin.script().busy = true;
    assert_eq!(bench.core.idle_for(), std::time::Duration::ZERO);
}

#[test]
fn a_successor_hears_nothing_of_the_last_wishes_of_a_worker_that_died() {
    let (mut bench, plugin) = running(1);
    let (flow, _) = bench.opened(&plugin, 0, ping(7));
    plugin.sends(0, flow, 1, SECOND, &echo(7, 1));
    plugin.sends(0, flow, 2, SECOND, b"no packet");
    plugin.wants(Action { task: 0, token: 3, ..OPEN }, &ping(8).to_octets());
    plugin.script().lost = Some("it died".to_owned());
    bench.turn();
    assert_eq!(plugin.told(), []);
    let ended = bench.ended().remove(0);
    assert_eq!((ended.counters.sent, ended.counters.not_sent), (1, 1));
    assert_eq!(bench.started(&plugin, 2), 0);
}

#[test]
fn nobody_sleeps_long_while_tables_are_being_read() {
    let (mut bench, _plugin) = running(0);
    bench.turn();
    assert!(bench.core.idle_for() > std::time::Duration::from_millis(100));
    bench.core.link.is_reading = true;
    assert!(bench.core.idle_for() <= std::time::Duration::from_millis(1));
}

#[test]
fn packets_lost_by_this_host_are_told_by_the_measurements_that_ran() {
    let (mut bench, plugin) = running(1);
    bench.core.link.drops = 7;
    bench.after(MS);
    assert_eq!(bench.started(&plugin, 2), 1);
    bench.core.link.drops = 9;
    // They were lost before the turn in which the measurements end.
    (0..2).for_each(|task| plugin.finishes(task));
    bench.after(MS);
    let next = bench.started(&plugin, 3);
    plugin.finishes(next);
    bench.after(MS);
    let drops: Vec<_> = bench.ended().iter().map(|ended| (ended.run.0, ended.host_drops)).collect();
    assert_eq!(drops, [(1, 9), (2, 2), (3, 0)]);
}
