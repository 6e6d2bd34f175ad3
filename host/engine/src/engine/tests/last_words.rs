//! Last words: when they are said, and when not.

use std::{path::Path, sync::Arc};

use sonde_plugin_api::abi::{Action, ActionKind, EventKind, flags};

use super::world::{Bench, MS, Plugin, REMOTE, SECOND, echo, ping};
use crate::{
    config::{Rate, Stamps},
    engine::Command,
    last_words::MOST_WAITING,
    output::RunId,
    policy::{Policy, Prefixes},
    ports::Queued,
};

/// A task with a flow of identifier 7.
fn measuring(bench: &mut Bench, budget: Option<u64>) -> (Plugin, u32, u32) {
    let plugin = bench.plugin();
    bench.start(&plugin, 1, budget);
    bench.turn();
    let task = plugin.told_of(EventKind::Start)[0].task;
    let (flow, _) = bench.opened(&plugin, task, ping(7));
    (plugin, task, flow)
}

fn leaves(plugin: &Plugin, task: u32, flow: u32, word: &[u8]) {
    plugin.wants(Action { kind: ActionKind::LastWord, task, flow, ..Action::ZERO }, word);
}

/// Sequence numbers of the echo requests that left.
fn said(bench: &Bench) -> Vec<u8> {
    bench.core.link.left.iter().map(|left| left.packet[27]).collect()
}

#[test]
fn the_newest_word_is_said_once_whoever_ends_the_flow() {
    type End = fn(&mut Bench, &Plugin, Action);
    let ends: [(&str, End); 7] = [
        ("the plugin dies", |_, plugin, _| plugin.script().lost = Some("killed".to_owned())),
        ("the method closes it", |_, plugin, action| {
            plugin.wants(Action { kind: ActionKind::CloseFlow, ..action }, b"");
        }),
        ("the method finishes", |_, plugin, action| {
            plugin.wants(Action { kind: ActionKind::Finish, ..action }, b"");
        }),
        ("the method fails", |_, plugin, action| {
            plugin.wants(Action { kind: ActionKind::Fail, ..action }, b"");
        }),
        ("the host fails it", |_, plugin, action| {
            plugin.wants(Action { kind: ActionKind(99), ..action }, b"");
        }),
        ("somebody cancels it", |bench, _, _| bench.tell(Command::Cancel(RunId(1)))),
        ("it does not end after an interrupt", |bench, _, _| {
            bench.tell(Command::Interrupt(RunId(1)));
            bench.pass(SECOND + 2 * MS);
        }),
    ];
    for (what, end) in ends {
        let mut bench = Bench::new();
        let (plugin, task, flow) = measuring(&mut bench, None);
        leaves(&plugin, task, flow, &echo(7, 1));
        leaves(&plugin, task, flow, &echo(7, 2));
        bench.turn();
        assert_eq!(said(&bench), [0_u8; 0], "{what}");
        end(&mut bench, &plugin, Action { task, flow, ..Action::ZERO });
        bench.pass(10 * MS);
        assert_eq!(said(&bench), [2], "{what}");
        bench.pass(6 * SECOND);
        assert_eq!(said(&bench), [2], "{what}");
        let queued = bench.core.state.ports[0].queued;
        assert_eq!(format!("{queued:?}"), format!("{:?}", Queued::default()), "{what}");
    }
}

#[test]
fn a_word_that_was_taken_back_is_not_said() {
    let mut bench = Bench::new();
    let (plugin, task, flow) = measuring(&mut bench, None);
    leaves(&plugin, task, flow, &echo(7, 1));
    leaves(&plugin, task, flow, b"");
    plugin.finishes(task);
    bench.pass(10 * MS);
    assert_eq!((said(&bench), bench.ended().len()), (vec![], 1));
}

#[test]
fn a_word_of_another_flow_is_refused_and_one_on_a_foreign_flow_fails_the_task() {
    let mut bench = Bench::new();
    let (plugin, task, flow) = measuring(&mut bench, None);
    leaves(&plugin, task, flow, &echo(8, 1));
    bench.turn();
    let told = plugin.told_of(EventKind::SendError);
    assert_eq!((i32::from(told[0].code), told[0].flags), (libc::EPERM, flags::REFUSED));
    let other = bench.started(&plugin, 2);
    leaves(&plugin, other, flow, &echo(7, 1));
    bench.turn();
    bench.turn();
    assert_eq!(bench.ended().len(), 1);
    plugin.finishes(task);
    bench.pass(10 * MS);
    assert_eq!(said(&bench), [0_u8; 0]);
}

#[test]
fn a_word_is_one_of_the_packets_of_its_measurement() {
    for (budget, wanted) in [(0, vec![]), (1, vec![1])] {
        let mut bench = Bench::new();
        let (plugin, task, flow) = measuring(&mut bench, Some(budget));
        leaves(&plugin, task, flow, &echo(7, 1));
        plugin.finishes(task);
        bench.pass(10 * MS);
        assert_eq!(said(&bench), wanted);
    }
}

#[test]
fn a_word_is_said_after_an_interrupt_whatever_else_was_sent() {
    let mut bench = Bench::new();
    let (plugin, task, flow) = measuring(&mut bench, None);
    leaves(&plugin, task, flow, &echo(7, 9));
    bench.tell(Command::Interrupt(RunId(1)));
    bench.turn();
    // More than it may: two.
    (1..=3).for_each(|token| plugin.sends(task, flow, token, SECOND, &echo(7, token as u16)));
    bench.pass(10 * MS);
    plugin.finishes(task);
    bench.pass(10 * MS);
    assert_eq!(said(&bench), [1, 2, 9]);
}

#[test]
fn nothing_is_said_to_whom_the_operator_has_denied_since() {
    let mut bench = Bench::new();
    let (plugin, task, flow) = measuring(&mut bench, None);
    leaves(&plugin, task, flow, &echo(7, 1));
    bench.turn();
    let deny = Prefixes::parse(REMOTE, Path::new("deny.txt")).unwrap();
    bench.tell(Command::SetPolicy(Arc::new(Policy { deny, ..Policy::default() })));
    plugin.script().lost = Some("killed".to_owned());
    bench.pass(10 * MS);
    assert_eq!((said(&bench), bench.ended().len()), (vec![], 1));
}

#[test]
fn who_opens_and_closes_without_end_does_not_fill_the_memory() {
    let mut bench = Bench::with(10.0, Stamps::Interpolated);
    let plugin = bench.plugin();
    let task = bench.started(&plugin, 1);
    for identifier in 1..=MOST_WAITING as u16 + 200 {
        let (flow, _) = bench.opened(&plugin, task, ping(identifier));
        leaves(&plugin, task, flow, &echo(identifier, 1));
        let close = Action { kind: ActionKind::CloseFlow, task, flow, ..Action::ZERO };
        plugin.wants(close, b"");
        bench.turn();
    }
    let state = &bench.core.state;
    assert_eq!(state.last_words.len(), MOST_WAITING);
    let left = bench.core.link.left.len();
    assert!((1..200).contains(&left), "{left}");
    assert_eq!(state.statistics.counters.not_sent as usize, 200 - left);
}

#[test]
fn words_of_many_leave_at_the_pace_of_conversations_and_not_after_the_ports_have_rested() {
    // Conversations have 100 packets a second where the probes have fewer.
    let mut bench = Bench::with(10.0, Stamps::Interpolated);
    let plugin = bench.plugin();
    for run in 0..500 {
        let task = bench.started(&plugin, run);
        let (flow, local) = bench.opened(&plugin, task, ping(1 + run as u16));
        leaves(&plugin, task, flow, &echo(local, 1));
    }
    bench.turn();
    plugin.script().lost = Some("killed".to_owned());
    bench.turn();
    assert!((1..=2).contains(&said(&bench).len()), "{:?}", said(&bench).len());
    bench.pass(SECOND);
    assert!((100..=102).contains(&said(&bench).len()), "{:?}", said(&bench).len());
    bench.pass(9 * SECOND);
    assert!((400..=402).contains(&said(&bench).len()), "{:?}", said(&bench).len());
    assert_eq!(bench.core.state.last_words.len(), 0);
}

#[test]
fn who_opens_and_closes_without_end_keeps_to_the_rate_of_its_plugin() {
    let mut bench = Bench::with(1_000.0, Stamps::Interpolated);
    let plugin = bench.limited_plugin(Some(Rate { packets_per_second: 2.0, burst: 3.0 }));
    let task = bench.started(&plugin, 1);
    for identifier in 1..=100 {
        let (flow, _) = bench.opened(&plugin, task, ping(identifier));
        leaves(&plugin, task, flow, &echo(identifier, 1));
        let close = Action { kind: ActionKind::CloseFlow, task, flow, ..Action::ZERO };
        plugin.wants(close, b"");
        bench.turn();
    }
    bench.pass(10 * SECOND);
    // Three at once, two a second as long as they may wait.
    assert!((10..=11).contains(&said(&bench).len()), "{}", said(&bench).len());
    assert_eq!(bench.core.state.last_words.len(), 0);
}

/// Fifty tasks with a last word each, and the pace of conversations is 100 a second.
fn fifty() -> Bench {
    let mut bench = Bench::with(100.0, Stamps::Interpolated);
    let plugin = bench.plugin();
    for task in 0..50_u16 {
        bench.started(&plugin, u64::from(task));
        let (flow, _) = bench.opened(&plugin, u32::from(task), ping(100 + task));
        leaves(&plugin, u32::from(task), flow, &echo(100 + task, 200));
    }
    bench.turn();
    bench
}

#[test]
fn what_has_not_left_soon_after_everything_was_stopped_does_not_leave() {
    for is_end in [false, true] {
        let mut bench = fifty();
        bench.tell(Command::StopAll);
        if is_end {
            bench.tell(Command::Shutdown);
            bench.core.turn();
            bench.core.say_rest();
        } else {
            bench.pass(101 * MS);
        }
        let left = said(&bench).len();
        assert!((5..=15).contains(&left), "{left}");
        let state = &bench.core.state;
        assert_eq!((state.last_words.len(), state.unsaid), (0, 0));
        assert_eq!(state.statistics.counters.not_sent as usize, 50 - left);
        bench.pass(SECOND);
        assert_eq!(said(&bench).len(), left);
    }
}

#[test]
fn the_end_of_the_engine_waits_for_last_words_at_their_pace() {
    let mut bench = fifty();
    (0..50).for_each(|run| bench.tell(Command::Cancel(RunId(run))));
    bench.tell(Command::Shutdown);
    assert!(!bench.core.turn());
    assert!(said(&bench).len() < 50, "they have a pace");
    bench.core.say_rest();
    assert_eq!(said(&bench), [200; 50]);
    let at: Vec<u64> = bench.core.link.left.iter().map(|left| left.at).collect();
    assert!(at[49] - at[0] > 100 * MS, "{at:?}");
}
