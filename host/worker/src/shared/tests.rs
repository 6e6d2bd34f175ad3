//! Both ends of the rings in one process, and a peer that scribbles over them.
#![allow(unsafe_code)] // the scribbling

use std::{collections::VecDeque, os::fd::AsFd};

use proptest::prelude::*;
use sonde_plugin_api::abi::{Action, ActionKind, Event, EventKind, Usage};

use super::{
    layout::{ACTIONS, EVENTS, SLOTS},
    *,
};

/// Tokens with their payloads; none where the range of an action is wild.
type Read = Vec<(u32, Vec<u8>)>;
type Collected = Vec<(u32, Option<Vec<u8>>)>;

fn ends() -> (HostEnd, PluginEnd) {
    let region = Region::new().unwrap();
    let fd = region.as_fd().try_clone_to_owned().unwrap();
    (HostEnd::new(region), PluginEnd::new(Region::attach(fd).unwrap()))
}

fn event(token: u32) -> Event {
    Event { kind: EventKind::Packet, token, ..Event::ZERO }
}

fn action(token: u32, off: usize, len: usize) -> Action {
    let (off, len) = (off as u32, len as u32);
    Action { kind: ActionKind::Row, token, off, len, ..Action::ZERO }
}

/// What the worker finds in its next batch.
fn read(end: &mut PluginEnd) -> Option<(u64, Read)> {
    let batch = end.batch()?;
    let events = batch.events.iter().map(|event| {
        let begin = event.off as usize;
        (event.token, batch.bytes[begin..begin + event.len as usize].to_vec())
    });
    let read = (batch.now, events.collect());
    end.finish(Usage::default());
    Some(read)
}

/// What the host collects.
fn collect(end: &mut HostEnd) -> Result<Collected, Violation> {
    let mut all = Vec::new();
    end.receive(&mut |actions, bytes| {
        all.extend(actions.iter().map(|action| {
            let begin = action.off as usize;
            let payload = bytes.get(begin..begin.saturating_add(action.len as usize));
            (action.token, payload.map(<[u8]>::to_vec))
        }));
    })?;
    Ok(all)
}

#[test]
fn batch_arrives_as_it_was_pushed() {
    let (mut host, mut plugin) = ends();
    assert!(host.push(&event(1), b"one"));
    assert!(host.push(&event(2), b""));
    assert!(plugin.batch().is_none());
    assert!(host.publish(77, 88));
    assert!(!host.publish(78, 89));
    assert_eq!(host.outstanding(), 1);
    let batch = read(&mut plugin).unwrap();
    assert_eq!(batch, (77, vec![(1, b"one".to_vec()), (2, Vec::new())]));
    assert_eq!(host.outstanding(), 0);
    assert!(plugin.batch().is_none());
}

#[test]
fn full_slot_and_full_ring_turn_events_away_until_there_is_room() {
    let (mut host, mut plugin) = ends();
    for _ in 0..EVENTS {
        assert!(host.push(&event(0), b""));
    }
    assert!(!host.push(&event(0), b""));
    assert!(!host.room_again());
    host.publish(0, 0);
    for _ in 1..SLOTS {
        assert!(host.push(&event(0), b""));
        host.publish(0, 0);
    }
    assert!(!host.push(&event(0), b""));
    assert!(!host.room_again());
    read(&mut plugin).unwrap();
    assert!(host.room_again());
    assert!(!host.room_again());
    assert!(host.push(&event(0), b""));
}

#[test]
fn payload_that_does_not_fit_beside_the_others_goes_into_the_next_slot() {
    let (mut host, mut plugin) = ends();
    assert!(host.push(&event(1), &vec![1; PAYLOAD_OCTETS - 10]));
    assert!(!host.push(&event(2), &[2; 11]));
    assert!(host.push(&event(2), &[2; 10]));
    host.publish(0, 0);
    assert!(!host.push(&event(3), &vec![3; PAYLOAD_OCTETS + 1]));
    assert!(host.push(&event(3), &vec![3; PAYLOAD_OCTETS]));
    host.publish(0, 0);
    assert_eq!(read(&mut plugin).unwrap().1.len(), 2);
    assert_eq!(read(&mut plugin).unwrap().1[0].1.len(), PAYLOAD_OCTETS);
}

#[test]
fn whoever_sleeps_is_rung_once() {
    let (host, plugin) = ends();
    let bell = Bell::new().unwrap();
    assert!(host.was_rung());
    host.fall_asleep();
    assert!(!host.was_rung());
    bell.ring_if(plugin.host_sleeps(), FOR_ANYTHING);
    assert!(host.was_rung());
    plugin.fall_asleep(FOR_ROOM);
    bell.ring_if(host.plugin_sleeps(), FOR_EVENTS);
    bell.clear();
    assert_eq!(host.plugin_sleeps().load(std::sync::atomic::Ordering::Relaxed), FOR_ROOM);
    bell.ring_if(host.plugin_sleeps(), FOR_ROOM);
    assert_eq!(host.plugin_sleeps().load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn region_of_another_size_is_not_mapped() {
    let fd = rustix::fs::memfd_create("small", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&fd, REGION_OCTETS as u64 - 1).unwrap();
    assert_eq!(Region::attach(fd).unwrap_err(), rustix::io::Errno::INVAL);
}

#[test]
fn region_cannot_be_cut_under_the_host() {
    let region = Region::new().unwrap();
    let refused = rustix::fs::ftruncate(region.as_fd(), 0);
    assert_eq!(refused, Err(rustix::io::Errno::PERM));
    let refused = rustix::fs::ftruncate(region.as_fd(), 2 * REGION_OCTETS as u64);
    assert_eq!(refused, Err(rustix::io::Errno::PERM));
}

#[test]
fn cursor_names_the_task_once_the_worker_is_ready() {
    let (host, plugin) = ends();
    assert_eq!(host.cursor(), None);
    plugin.say_ready(false);
    assert!(host.is_ready() && !host.has_landlock());
    assert_eq!(host.cursor(), None);
    // SAFETY: nobody else uses the buffer.
    let out = unsafe { &mut *plugin.out() };
    out.cursor.store(9, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(host.cursor(), Some(9));
    plugin.say_ready(true);
    assert!(host.has_landlock());
}

/// One step of either side.
#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    Publish,
    Answer(Vec<usize>),
    Collect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = prop_oneof![9 => 0..200_usize, 1 => 0..70_000_usize];
    let step = prop_oneof![
        4 => length.clone().prop_map(Step::Push),
        2 => Just(Step::Publish),
        2 => proptest::collection::vec(length, 0..40).prop_map(Step::Answer),
        2 => Just(Step::Collect),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_doubled_or_changed_whatever_the_order(steps in steps()) {
        let (mut host, mut plugin) = ends();
        let (mut pushed, mut unread, mut sent) = (Vec::new(), VecDeque::new(), VecDeque::new());
        let (mut next_event, mut next_action) = (0, 0);
        for step in steps {
            match step {
                Step::Push(length) => {
                    let payload = vec![next_event as u8; length];
                    if host.push(&event(next_event), &payload) {
                        pushed.push((next_event, payload));
                        next_event += 1;
                    }
                }
                Step::Publish => {
                    prop_assert_eq!(host.publish(5, 6), !pushed.is_empty());
                    if !pushed.is_empty() {
                        unread.push_back(std::mem::take(&mut pushed));
                    }
                }
                Step::Answer(lengths) => {
                    prop_assert_eq!(read(&mut plugin).map(|batch| batch.1), unread.pop_front());
                    let (mut actions, mut bytes) = (Vec::new(), Vec::new());
                    for length in lengths {
                        actions.push(action(next_action, bytes.len(), length));
                        bytes.resize(bytes.len() + length, next_action as u8);
                        sent.push_back((next_action, Some(vec![next_action as u8; length])));
                        next_action += 1;
                    }
                    let mut early = Vec::new();
                    plugin.send(&actions, &bytes, |_| early.extend(collect(&mut host).unwrap()));
                    for one in early {
                        prop_assert_eq!(Some(one), sent.pop_front());
                    }
                }
                Step::Collect => {
                    for one in collect(&mut host).unwrap() {
                        prop_assert_eq!(Some(one), sent.pop_front());
                    }
                    prop_assert!(sent.is_empty());
                }
            }
        }
    }

    #[test]
    fn no_scribbling_makes_the_host_panic_or_read_elsewhere(
        words in proptest::collection::vec((0..64_usize, any::<u64>()), 0..12),
        headers in proptest::collection::vec((0..SLOTS, any::<u32>(), any::<u32>()), 0..12),
        claimed in prop_oneof![Just(None), (0..2 * SLOTS).prop_map(Some)],
        rounds in 1..4_usize,
    ) {
        let region = Region::new().unwrap();
        let fd = region.as_fd().try_clone_to_owned().unwrap();
        let mut host = HostEnd::new(region);
        let theirs = Region::attach(fd).unwrap();
        for _ in 0..rounds {
            for number in 0..SLOTS as u32 {
                host.push(&event(number), b"x");
                host.publish(1, 2);
            }
            let control = std::ptr::from_ref(theirs.control()).cast::<u64>().cast_mut();
            for (at, word) in &words {
                // SAFETY: within the first page; the words are plain integers to the host.
                unsafe { control.add(*at).write_volatile(*word) };
            }
            for (slot, items, octets) in &headers {
                let header = theirs.actions(*slot).header;
                header.items.store(*items, std::sync::atomic::Ordering::Relaxed);
                header.octets.store(*octets, std::sync::atomic::Ordering::Relaxed);
            }
            if let Some(claimed) = claimed {
                theirs.control().plugin.actions.store(claimed, std::sync::atomic::Ordering::Relaxed);
            }
            let mut most = (0, 0);
            let received = host.receive(&mut |actions, bytes| {
                most = (most.0.max(actions.len()), most.1.max(bytes.len()));
            });
            prop_assert!(most.0 <= ACTIONS && most.1 <= PAYLOAD_OCTETS);
            if let Err(Violation(text)) = received {
                prop_assert!(!text.is_empty());
            }
            let _ = (host.usage(), host.cursor(), host.outstanding(), host.progress());
            let _ = (host.room_again(), host.is_ready(), host.was_rung());
        }
    }
}
