//! A plugin that wants anything: the engine stands, and every run ends exactly once.

use std::collections::HashMap;

use proptest::prelude::*;
use sonde_packet::{FlowKey, unmapped};
use sonde_plugin_api::abi::{Action, ActionKind, Proto};

use super::world::{Bench, LOCAL, MS, OPEN, Plugin, REMOTE, SECOND, echo, flow, ping, reply};
use crate::{
    config::Stamps,
    engine::Command,
    output::{Output, RunId},
    route::Lookup,
};

/// No flow has this identifier.
const NOBODYS: u16 = 8;

/// What happens in one turn.
#[derive(Clone, Debug)]
enum Happening {
    Actions(bool, Vec<Action>),
    /// A packet on a flow that is open, of that flow or not.
    Probe {
        nth: usize,
        fits: bool,
        action: Action,
    },
    Start(bool),
    Interrupt(u64),
    Cancel(u64),
    Fail(u64),
    Lost,
    Room(Option<usize>),
    Kernel(Option<i32>),
    Neighbour(bool),
    Reply(u16),
    Stamp(u64),
    Time(u64),
}

/// Flows and packets that make sense, one behind the other.
fn bytes() -> (Vec<u8>, Vec<(u32, u32)>) {
    let specs = [ping(7), ping(0), flow(Proto::Tcp, REMOTE, 443), flow(Proto::Udp, REMOTE, 0)];
    let mut parts: Vec<Vec<u8>> = specs.iter().map(|spec| spec.to_octets().to_vec()).collect();
    parts.extend([
        echo(7, 1),
        echo(7, 2),
        echo(NOBODYS, 1),
        b"\x1b[2Jtext\xff".to_vec(),
        Vec::new(),
    ]);
    let (mut bytes, mut ranges) = (Vec::new(), Vec::new());
    for part in parts {
        ranges.push((bytes.len() as u32, part.len() as u32));
        bytes.extend(part);
    }
    (bytes, ranges)
}

fn action() -> impl Strategy<Value = Action> {
    // Rarely what ends a task, so that something happens before.
    let kind = prop_oneof![
        2 => Just(1u8), 6 => Just(2u8), 2 => 3u8..=7, 1 => Just(10u8), 1 => any::<u8>(),
    ];
    let range = prop_oneof![
        12 => prop::sample::select(bytes().1),
        1 => (0u32..600, 0u32..600),
        1 => any::<(u32, u32)>(),
    ];
    let arg = prop_oneof![0u64..3, 0u64..200 * MS, any::<u64>(), 100 * SECOND..102 * SECOND];
    let small = || prop_oneof![8 => 0u32..4, 1 => any::<u32>()];
    let words = (any::<u8>(), 0u16..4);
    (kind, range, arg, small(), small(), small(), words).prop_map(
        |(kind, (off, len), arg, task, token, flow, (code, flags))| Action {
            kind: ActionKind(kind),
            code,
            flags,
            task,
            token,
            flow,
            off,
            len,
            arg,
        },
    )
}

fn probe() -> impl Strategy<Value = Action> {
    let timeout = prop_oneof![Just(0), 0u64..3 * SECOND, any::<u64>()];
    (0u32..4, timeout, 0u16..4).prop_map(|(token, arg, flags)| Action {
        kind: ActionKind::Send,
        token,
        arg,
        flags,
        ..Action::ZERO
    })
}

fn happening() -> impl Strategy<Value = Happening> {
    let errno = prop::sample::select(vec![libc::ENOBUFS, libc::EAGAIN, libc::EPERM]);
    prop_oneof![
        10 => (any::<bool>(), prop::collection::vec(action(), 1..12))
            .prop_map(|(port, actions)| Happening::Actions(port, actions)),
        20 => (0usize..4, prop::bool::weighted(0.8), probe())
            .prop_map(|(nth, fits, action)| Happening::Probe { nth, fits, action }),
        4 => any::<bool>().prop_map(Happening::Start),
        1 => (0u64..12).prop_map(Happening::Interrupt),
        1 => (0u64..12).prop_map(Happening::Cancel),
        1 => (0u64..12).prop_map(Happening::Fail),
        1 => Just(Happening::Lost),
        1 => prop::option::of(0usize..4).prop_map(Happening::Room),
        1 => prop::option::of(errno).prop_map(Happening::Kernel),
        1 => any::<bool>().prop_map(Happening::Neighbour),
        4 => (0u16..3).prop_map(Happening::Reply),
        1 => any::<u64>().prop_map(Happening::Stamp),
        3 => (0u64..2_000).prop_map(Happening::Time),
    ]
}

fn send_probe(bench: &Bench, plugins: &[Plugin; 2], nth: usize, fits: bool, action: Action) {
    let state = &bench.core.state;
    let Some((flow, open)) = state.flows.iter().enumerate().filter(|(_, it)| it.is_some()).nth(nth)
    else {
        return;
    };
    let open = open.as_ref().unwrap();
    let task = state.tasks.get(open.task).unwrap();
    let identifier = if fits { open.key.local } else { NOBODYS };
    let action = Action { task: task.number, flow: flow as u32, ..action };
    plugins[task.port as usize].wants(action, &echo(identifier, action.token as u16));
}

/// Everything in turn; how many runs were started.
fn play(bench: &mut Bench, plugins: &[Plugin; 2], story: Vec<Happening>) -> u64 {
    // So that there is something to spoil.
    let mut runs = 2;
    for (run, plugin) in plugins.iter().enumerate() {
        bench.start(plugin, run as u64, Some(50));
        plugin.wants(OPEN, &flow(Proto::Icmp, REMOTE, 7 + 2 * run as u16).to_octets());
    }
    bench.turn();
    for happening in story {
        match happening {
            Happening::Actions(port, actions) => {
                plugins[usize::from(port)].wants_all(actions, bytes().0);
            }
            Happening::Probe { nth, fits, action } => {
                send_probe(bench, plugins, nth, fits, action);
            }
            Happening::Start(port) => {
                bench.start(&plugins[usize::from(port)], runs, Some(50));
                runs += 1;
            }
            Happening::Interrupt(run) => bench.tell(Command::Interrupt(RunId(run))),
            Happening::Cancel(run) => bench.tell(Command::Cancel(RunId(run))),
            Happening::Fail(run) => bench.tell(Command::Fail(RunId(run), "why".to_owned())),
            Happening::Lost => plugins[0].script().lost = Some("it died".to_owned()),
            Happening::Room(room) => plugins[1].script().room = room,
            Happening::Kernel(errno) => bench.core.link.always = errno,
            Happening::Neighbour(is_there) => {
                let lookups = &mut bench.core.link.lookups;
                match is_there {
                    true => lookups.remove(&REMOTE.parse().unwrap()),
                    false => lookups.insert(REMOTE.parse().unwrap(), Lookup::Pending),
                };
            }
            Happening::Reply(sequence) => bench.receives(reply(7, sequence)),
            Happening::Stamp(tag) => {
                let known = bench.core.link.left.last().map_or(tag, |left| left.tag);
                let now = bench.core.link.now;
                bench.core.link.stamps.extend([(tag, now, 2), (known, now, 2)]);
            }
            Happening::Time(pause) => bench.core.link.now += pause * MS,
        }
        bench.turn();
    }
    runs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn every_run_ends_once_whatever_its_plugin_wants(
        story in prop::collection::vec(happening(), 1..60), precise in any::<bool>(),
    ) {
        let stamps = if precise { Stamps::Precise } else { Stamps::Auto };
        let mut bench = Bench::with(300.0, stamps);
        let plugins = [bench.plugin(), bench.plugin()];
        let runs = play(&mut bench, &plugins, story);
        bench.tell(Command::StopAll);
        bench.turn();
        let mut ends: HashMap<u64, u32> = HashMap::new();
        for output in bench.outputs() {
            if let Output::Ended(ended) = output {
                *ends.entry(ended.run.0).or_default() += 1;
            }
        }
        let expected: HashMap<u64, u32> = (0..runs).map(|run| (run, 1)).collect();
        prop_assert_eq!(ends, expected);

        // Nothing stays behind, and nothing leaves any more.
        let left = bench.core.link.left.len();
        bench.core.link.always = None;
        bench.after(2 * SECOND);
        bench.after(6 * SECOND);
        let state = &bench.core.state;
        prop_assert_eq!(bench.core.link.left.len(), left);
        prop_assert_eq!((state.tasks.len(), state.runs.len(), state.bare.len()), (0, 0, 0));
        prop_assert!(state.flows.iter().all(Option::is_none));
        prop_assert!(state.opening.is_empty() && state.later.is_empty());
        prop_assert!(state.ready.iter().all(std::collections::VecDeque::is_empty));
        prop_assert!(bench.core.link.held.is_empty());
    }

    #[test]
    fn nothing_leaves_that_is_not_of_a_flow(
        story in prop::collection::vec(happening(), 1..60),
    ) {
        let mut bench = Bench::with(300.0, Stamps::Auto);
        let plugins = [bench.plugin(), bench.plugin()];
        play(&mut bench, &plugins, story);
        for left in &bench.core.link.left {
            let key = FlowKey::of_probe(&left.packet).unwrap();
            let (from, to) = (unmapped(key.local_address), unmapped(key.remote_address));
            prop_assert_eq!((from.to_string(), to.to_string()), (LOCAL.into(), REMOTE.into()));
            prop_assert_ne!(key.local, NOBODYS);
        }
    }
}
