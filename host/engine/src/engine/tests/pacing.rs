//! The pace of everything together, and who gets how much of it.

use std::time::Duration;

use proptest::prelude::*;
use sonde_plugin_api::abi::{Action, ActionKind, flags};

use super::world::{Bench, MS, Plugin, SECOND, echo, ping};
use crate::config::{Rate, Stamps};

/// Tasks with `packets` packets to send each; the task is the identifier's last digit.
fn crowd(bench: &mut Bench, tasks: u16, packets: u16) -> (Plugin, Vec<u32>) {
    let plugin = bench.plugin();
    let mut flows = Vec::new();
    for task in 0..tasks {
        bench.started(&plugin, u64::from(task));
        flows.push(bench.opened(&plugin, u32::from(task), ping(100 + task)).0);
    }
    for task in 0..tasks {
        for sequence in 0..packets {
            let (flow, token) = (flows[usize::from(task)], u32::from(sequence));
            plugin.sends(u32::from(task), flow, token, SECOND, &echo(100 + task, sequence));
        }
    }
    (plugin, flows)
}

/// How many packets each task sent.
fn shares(bench: &Bench, tasks: usize) -> Vec<usize> {
    let mut shares = vec![0; tasks];
    bench.core.link.left.iter().for_each(|left| shares[usize::from(left.packet[25]) - 100] += 1);
    shares
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_window_of_a_second_holds_more_than_the_cap_and_what_a_bucket_saves(
        cap in prop::sample::select(vec![5u16, 20, 50, 200, 1000]),
        steps in prop::collection::vec(1u64..40, 50..200),
        full in prop::collection::vec(any::<bool>(), 0..50),
    ) {
        let mut bench = Bench::with(f64::from(cap), Stamps::Interpolated);
        let room = |is_full: bool| if is_full { Err(libc::ENOBUFS) } else { Ok(()) };
        bench.core.link.results = full.into_iter().map(room).collect();
        crowd(&mut bench, 5, cap);
        steps.into_iter().for_each(|step| bench.after(step * MS));
        let left: Vec<u64> = bench.core.link.left.iter().map(|left| left.at).collect();
        // A bucket saves up 6 ms beside its one token, so a window holds what 1.006 s give, and one.
        let most = usize::from(cap) * 1006 / 1000 + 1;
        for (from, begin) in left.iter().enumerate() {
            let within = left[from..].iter().take_while(|at| **at < begin + SECOND).count();
            prop_assert!(within <= most, "{within} of {cap}");
        }
    }
}

#[test]
fn the_pace_is_reached_although_one_task_alone_has_all_the_packets() {
    let mut bench = Bench::with(1_000.0, Stamps::Interpolated);
    crowd(&mut bench, 1, 2_000);
    // Five packets a turn.
    (0..200).for_each(|_| bench.after(5 * MS));
    let left = bench.core.link.left.len();
    assert!((990..=1_001).contains(&left), "{left}");
}

#[test]
fn who_waits_for_the_pace_of_the_host_is_looked_at_once_for_many_packets() {
    for (rate, tasks, expected) in [
        (2_000.0, 40, 4_000),
        (5_000.0, 10, 2_000),
        (10_000.0, 40, 3_200),
        (10_000.0, 10, 1_000),
        (40_000.0, 40, 1_000),
    ] {
        let mut bench = Bench::with(rate, Stamps::Interpolated);
        let rests = |bench: &Bench| bench.core.state.quantum(Duration::from_millis(50));
        assert_eq!(rests(&bench), None, "nothing has been sent");
        let (plugin, flows) = crowd(&mut bench, tasks, 24_000 / tasks);
        bench.pass(300 * MS);
        assert_eq!(rests(&bench), Some(Duration::from_micros(expected)), "{rate}");
        // A peer is not kept waiting for the next word.
        let word = Action { kind: ActionKind::Send, flags: flags::IMMEDIATE, ..Action::ZERO };
        plugin.wants(Action { flow: flows[0], token: 1, ..word }, &echo(100, 1));
        bench.turn();
        assert_eq!(rests(&bench), Some(Duration::from_millis(1)), "{rate}");
        bench.pass(200 * MS);
        assert_eq!(rests(&bench), Some(Duration::from_micros(expected)), "{rate}");
        (0..u32::from(tasks)).for_each(|task| plugin.finishes(task));
        bench.after(MS);
        assert_eq!(rests(&bench), Some(Duration::from_millis(1)), "nobody waits");
    }
}

#[test]
fn no_rest_is_longer_than_what_the_tightest_bucket_saves() {
    for (burst, expected) in [(1.0, 1_000), (6.0, 2_000), (20.0, 3_200)] {
        let mut bench = Bench::with(10_000.0, Stamps::Interpolated);
        bench.limited_plugin(Some(Rate { packets_per_second: 3_000.0, burst }));
        crowd(&mut bench, 40, 100);
        bench.pass(200 * MS);
        let rests = bench.core.state.quantum(Duration::from_millis(50)).unwrap();
        assert!(
            rests.abs_diff(Duration::from_micros(expected)) < Duration::from_micros(1),
            "{rests:?}"
        );
    }
}

#[test]
fn a_plugin_with_a_rate_of_its_own_keeps_to_it_and_is_in_nobodys_way() {
    let mut bench = Bench::with(1_000.0, Stamps::Interpolated);
    let slow = bench.limited_plugin(Some(Rate { packets_per_second: 5.0, burst: 3.0 }));
    let fast = bench.plugin();
    for (run, plugin) in [(0, &slow), (1, &fast)] {
        let task = bench.started(plugin, run);
        let identifier = 100 + run as u16;
        let (flow, _) = bench.opened(plugin, task, ping(identifier));
        for sequence in 0..300 {
            let packet = echo(identifier, sequence);
            plugin.sends(task, flow, u32::from(sequence), SECOND, &packet);
        }
    }
    bench.pass(2 * SECOND);
    assert_eq!(shares(&bench, 2), [13, 300]);
}

#[test]
fn versions_of_a_plugin_have_one_rate_together() {
    let mut bench = Bench::with(1_000.0, Stamps::Interpolated);
    let rate = Some(Rate { packets_per_second: 5.0, burst: 3.0 });
    for run in 0..3 {
        let plugin = bench.version_of(0, rate);
        let task = bench.started(&plugin, run);
        let identifier = 100 + run as u16;
        let (flow, _) = bench.opened(&plugin, task, ping(identifier));
        for sequence in 0..100 {
            let packet = echo(identifier, sequence);
            plugin.sends(task, flow, u32::from(sequence), SECOND, &packet);
        }
    }
    bench.pass(2 * SECOND);
    assert_eq!(shares(&bench, 3).iter().sum::<usize>(), 13);
}

#[test]
fn tasks_that_wait_send_in_turn() {
    let mut bench = Bench::with(100.0, Stamps::Interpolated);
    crowd(&mut bench, 4, 50);
    bench.pass(805 * MS);
    let shares = shares(&bench, 4);
    let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
    assert!(*least >= 18 && most - least <= 1, "{shares:?}");
}

#[test]
fn a_task_that_lets_packets_go_and_sends_again_gets_no_second_turn() {
    let mut bench = Bench::with(100.0, Stamps::Interpolated);
    let (plugin, flows) = crowd(&mut bench, 2, 0);
    let flow = flows[0];
    // A token must not be there, or the packets would not wait.
    plugin.sends(0, flow, 999, SECOND, &echo(100, 999));
    bench.turn();
    for token in 0..20 {
        plugin.sends(0, flow, token, SECOND, &echo(100, 0));
        let kind = ActionKind::Cancel;
        plugin.wants(Action { kind, task: 0, flow, token, ..Action::ZERO }, b"");
    }
    for token in 100..150 {
        plugin.sends(0, flow, token, SECOND, &echo(100, token as u16));
        plugin.sends(1, flows[1], token, SECOND, &echo(101, token as u16));
    }
    bench.pass(500 * MS);
    let shares = shares(&bench, 2);
    assert!(shares[0].abs_diff(shares[1]) <= 2, "{shares:?}");
}

#[test]
fn a_flow_whose_packets_were_let_go_at_a_gate_sends_again() {
    let mut bench = Bench::with(1_000.0, Stamps::Interpolated);
    let plugin = bench.limited_plugin(Some(Rate { packets_per_second: 5.0, burst: 1.0 }));
    let task = bench.started(&plugin, 1);
    let (flow, _) = bench.opened(&plugin, task, ping(7));
    (0..3).for_each(|token| plugin.sends(task, flow, token, SECOND, &echo(7, token as u16)));
    // The others reach the gate.
    bench.pass(5 * MS);
    for token in 1..3 {
        let kind = ActionKind::Cancel;
        plugin.wants(Action { kind, task, flow, token, ..Action::ZERO }, b"");
    }
    bench.pass(SECOND);
    plugin.sends(task, flow, 9, SECOND, &echo(7, 9));
    bench.pass(SECOND);
    let sequences: Vec<u8> = bench.core.link.left.iter().map(|left| left.packet[27]).collect();
    assert_eq!(sequences, [0, 9]);
}
