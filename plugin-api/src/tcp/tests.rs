//! The parts against models of them; conversations are in the tests of the simulated network.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::schema::Time;

/// A stream, and segments of it in any order: from where, how long, and whether they have its end.
fn segments() -> impl Strategy<Value = (u32, usize, Vec<(usize, usize)>)> {
    (any::<u32>(), 1_usize..120).prop_flat_map(|(first, length)| {
        let one = (0..length + 1, 0_usize..40);
        (Just(first), Just(length), prop::collection::vec(one, 0..40))
    })
}

fn stream(length: usize) -> Vec<u8> {
    (0..length).map(|at| at as u8).collect()
}

proptest! {
    #[test]
    fn a_receive_queue_holds_what_a_table_of_octets_holds((first, length, parts) in segments()) {
        let whole = stream(length);
        let mut queue = ReceiveQueue::new(first, 1000);
        let mut has = vec![false; length];
        let (mut has_end, mut read) = (false, Vec::new());
        for (from, octets) in parts {
            let to = (from + octets).min(length);
            let fin = to == length;
            queue.insert(first.wrapping_add(from as u32), &whole[from..to], fin);
            has[from..to].fill(true);
            has_end |= fin;
            read.extend(queue.read());
            let in_order = has.iter().take_while(|it| **it).count();
            let is_over = has_end && in_order == length;
            prop_assert_eq!(&read[..], &whole[..in_order]);
            let expected = first.wrapping_add(in_order as u32 + u32::from(is_over));
            prop_assert_eq!((queue.expected(), queue.is_finished()), (expected, is_over));
            // The blocks are the runs beyond the first hole.
            let mut blocks: Vec<(usize, usize)> = queue
                .blocks(usize::MAX)
                .into_iter()
                .map(|(one, other)| {
                    (one.wrapping_sub(first) as usize, other.wrapping_sub(first) as usize)
                })
                .collect();
            blocks.sort_unstable();
            let mut runs = Vec::new();
            for (at, is_here) in has.iter().enumerate().skip(in_order) {
                match runs.last_mut() {
                    Some((_, behind)) if *is_here && *behind == at => *behind = at + 1,
                    _ if *is_here => runs.push((at, at + 1)),
                    _ => {}
                }
            }
            prop_assert_eq!(blocks, runs);
        }
    }

    #[test]
    fn no_segment_makes_a_receive_queue_panic_or_grow_beyond_its_window(
        parts in prop::collection::vec((any::<u32>(), 0_usize..300, any::<bool>()), 0..60),
        first in any::<u32>(),
        near in any::<bool>(),
    ) {
        let mut queue = ReceiveQueue::new(first, 100);
        for (number, octets, fin) in parts {
            let number = if near { first.wrapping_add(number % 300).wrapping_sub(100) } else { number };
            queue.insert(number, &vec![7; octets], fin);
            let held: u32 = queue.blocks(usize::MAX).iter().map(|it| it.1.wrapping_sub(it.0)).sum();
            prop_assert!(held <= 100);
        }
    }

    #[test]
    fn a_send_queue_gives_every_octet_in_order_and_ends_when_all_is_acknowledged(
        first in any::<u32>(),
        length in 0_usize..500,
        steps in prop::collection::vec((1_usize..60, 0_u32..200, any::<bool>(), 0_u32..80), 0..200),
    ) {
        let whole = stream(length);
        let mut queue = SendQueue::new(first);
        queue.append(&whole);
        queue.end();
        let mut now = Time(1);
        let mut next = 0;
        for (most, window, again, acknowledged) in steps {
            now = now + Duration::from_millis(10);
            let taken = if again { queue.take_again(most, now) } else { queue.take(most, window, now) };
            if let Some((number, data, fin)) = taken {
                let at = number.wrapping_sub(first) as usize;
                prop_assert_eq!(&data[..], &whole[at..at + data.len()]);
                prop_assert!(data.len() <= most);
                prop_assert_eq!(fin && at + data.len() != length, false);
                if !again {
                    prop_assert_eq!(at, next);
                    next = at + data.len() + usize::from(fin);
                }
            }
            let outstanding = queue.next().wrapping_sub(queue.acknowledged());
            let number = queue.acknowledged().wrapping_add(acknowledged);
            prop_assert_eq!(queue.acknowledge(number, now), acknowledged <= outstanding);
            prop_assert_eq!(queue.is_finished(), queue.acknowledged().wrapping_sub(first) as usize == length + 1);
            prop_assert!(queue.due().is_some() || !queue.is_outstanding());
            prop_assert!(queue.due().is_none() || queue.is_outstanding() || queue.is_shut());
            prop_assert_eq!(queue.waiting(), length + 1 - next);
        }
    }

    #[test]
    fn arbitrary_options_never_panic(octets in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = Options::parse(&octets);
    }
}

#[test]
fn the_first_copy_of_an_octet_counts() {
    let mut queue = ReceiveQueue::new(10, 100);
    assert_eq!(queue.insert(12, b"cd", false), Arrival::Held);
    assert_eq!(queue.insert(11, b"bXXe", false), Arrival::Held);
    assert_eq!(queue.insert(12, b"cd", false), Arrival::Duplicate);
    assert_eq!(queue.insert(10, b"a", false), Arrival::Advanced);
    assert_eq!(queue.read(), b"abcde");
    assert_eq!(queue.insert(10, b"abc", false), Arrival::Duplicate);
    assert_eq!(queue.insert(200, b"z", false), Arrival::Outside);
    assert_eq!(queue.insert(15, b"", false), Arrival::Empty);
    assert_eq!(queue.insert(15, b"", true), Arrival::Advanced);
    assert!(queue.is_finished() && queue.expected() == 16);
}

#[test]
fn the_latest_block_stands_first() {
    let mut queue = ReceiveQueue::new(0, 100);
    for number in [3, 5, 7, 9, 5] {
        queue.insert(number, b"x", false);
    }
    assert_eq!(queue.blocks(3), [(5, 6), (9, 10), (7, 8)]);
}

#[test]
fn the_timer_doubles_and_what_was_sent_twice_gives_no_round_trip_time() {
    let mut queue = SendQueue::new(0);
    queue.measured(Duration::from_millis(400));
    queue.append(b"abc");
    let at = |ms: u64| Time(ms * 1_000_000);
    assert_eq!(queue.take(10, 10, at(0)), Some((0, b"abc".to_vec(), false)));
    assert_eq!(queue.due(), Some(at(1200)), "mean and four times the deviation");
    assert_eq!(queue.take_again(2, at(1200)), Some((0, b"ab".to_vec(), false)));
    assert_eq!((queue.due(), queue.repeats()), (Some(at(3600)), 1));
    assert!(queue.acknowledge(3, at(3500)));
    queue.append(b"d");
    queue.take(10, 10, at(4000));
    assert_eq!(queue.due(), Some(at(6400)), "the acknowledgement after 3.5 s measured nothing");
}

#[test]
fn an_offer_reads_back_and_contradictions_are_told() {
    let offer = Offer {
        mss: Some(1460),
        window_scale: Some(7),
        sack: true,
        timestamps: true,
        fast_open: Some(b"cookie!!".to_vec()),
        fast_open_experimental: false,
    };
    let octets = offer.octets(99);
    assert!(octets.len() <= 40 && octets.len().is_multiple_of(4));
    let read = Options::parse(&octets);
    let wanted = Options {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some((99, 0)),
        fast_open: Some((*b"cookie!!").into()),
        ..Options::default()
    };
    assert_eq!(read, wanted);
    let experimental = Offer { fast_open_experimental: true, ..offer };
    assert_eq!(Options::parse(&experimental.octets(99)), wanted);
    for wrong in [&[2, 4, 5][..], &[2, 0], &[3], &[4, 3, 1], &[2, 3, 1]] {
        assert!(Options::parse(wrong).is_malformed, "{wrong:?}");
    }
    assert!(!Options::parse(&[1, 1, 0, 9]).is_malformed);
}
