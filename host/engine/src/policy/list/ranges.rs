//! Disjoint ranges of numbers, and whether one holds a number.
//!
//! Lists have a million ranges, and a binary search guesses wrong at every other of its twenty steps. So the
//! place is computed first: a node cuts the span of its ranges into equal slots, half as many as
//! there are ranges, and a slot that is crowded is cut again.

use std::ops::{Shr, Sub};

/// Ranges of a slot that are looked at one after the other.
const CROWD: usize = 8;

/// An address of either family.
pub(super) trait Number: Copy + Ord + Shr<u32, Output = Self> + Sub<Output = Self> {
    const BITS: u32;
    fn leading_zeros(self) -> u32;
    fn next(self) -> Option<Self>;
    /// The lowest bits; the rest is 0 where this is asked for.
    fn low(self) -> usize;
}

impl Number for u32 {
    const BITS: u32 = u32::BITS;

    fn leading_zeros(self) -> u32 {
        self.leading_zeros()
    }

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn low(self) -> usize {
        self as usize
    }
}

impl Number for u128 {
    const BITS: u32 = u128::BITS;

    fn leading_zeros(self) -> u32 {
        self.leading_zeros()
    }

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn low(self) -> usize {
        self as usize
    }
}

/// Disjoint ranges in order.
#[derive(Clone, Debug)]
pub(super) struct Ranges<T> {
    starts: Vec<T>,
    /// The last of each.
    ends: Vec<T>,
    /// The first is the whole.
    nodes: Vec<Node<T>>,
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self { starts: Vec::new(), ends: Vec::new(), nodes: Vec::new() }
    }
}

/// A piece of the ranges, cut into slots.
#[derive(Clone, Debug)]
struct Node<T> {
    /// Start of its first range, and that range's index.
    low: T,
    first: u32,
    /// A slot is so many bits wide.
    shift: u32,
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    /// From one range to before another.
    Ranges(u32, u32),
    Node(u32),
}

impl<T: Number> Ranges<T> {
    /// Joins those that touch or overlap.
    pub(super) fn new(mut ranges: Vec<(T, T)>) -> Self {
        ranges.sort_unstable();
        let mut all = Self::default();
        for (first, last) in ranges {
            match all.ends.last_mut() {
                Some(end) if end.next().is_none_or(|next| first <= next) => *end = last.max(*end),
                _ => {
                    all.starts.push(first);
                    all.ends.push(last);
                }
            }
        }
        if !all.starts.is_empty() {
            all.cut(0, all.starts.len());
        }
        all
    }

    /// What is in one of both.
    pub(super) fn union(&self, other: &Self) -> Self {
        Self::new(self.iter().chain(other.iter()).collect())
    }

    /// What is in both.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        let (mut ones, mut others) = (self.iter().peekable(), other.iter().peekable());
        let mut shared = Vec::new();
        while let (Some(one), Some(other)) = (ones.peek(), others.peek()) {
            let (first, last) = (one.0.max(other.0), one.1.min(other.1));
            if first <= last {
                shared.push((first, last));
            }
            // The one that ends first has nothing in common with what follows.
            if one.1 < other.1 {
                ones.next()
            } else {
                others.next()
            };
        }
        Self::new(shared)
    }

    /// First and last of each.
    fn iter(&self) -> impl Iterator<Item = (T, T)> {
        self.starts.iter().copied().zip(self.ends.iter().copied())
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    pub(super) fn contains(&self, number: T) -> bool {
        let Some(mut node) = self.nodes.first() else { return false };
        // How many ranges begin at the number or before it.
        let behind = loop {
            if number < node.low {
                break node.first as usize;
            }
            // Beyond the last slot nothing begins.
            let beyond = (number - node.low) >> node.shift;
            let last = node.slots.len() - 1;
            let is_far = T::BITS - beyond.leading_zeros() > usize::BITS - 1;
            let slot = if is_far { last } else { beyond.low().min(last) };
            match node.slots[slot] {
                Slot::Node(inner) => node = &self.nodes[inner as usize],
                Slot::Ranges(from, to) => {
                    let within = &self.starts[from as usize..to as usize];
                    // Counted to the end: faster than to stop in time.
                    break from as usize + within.iter().filter(|start| **start <= number).count();
                }
            }
        };
        behind.checked_sub(1).is_some_and(|range| number <= self.ends[range])
    }

    /// Makes the node of the ranges from `first` to before `end`, of which there is one at least.
    fn cut(&mut self, first: usize, end: usize) -> u32 {
        let (low, high) = (self.starts[first], self.starts[end - 1]);
        let span = high - low;
        let wanted = ((end - first) / 2).next_power_of_two().trailing_zeros();
        let shift = (T::BITS - span.leading_zeros()).saturating_sub(wanted);
        // The first and the last range are in different slots, so each slot holds less than all.
        let count = (span >> shift.min(T::BITS - 1)).low() + 1;
        let shift = shift.min(T::BITS - 1);
        let index = self.nodes.len();
        self.nodes.push(Node { low, first: first as u32, shift, slots: Vec::new() });
        let mut slots = Vec::with_capacity(count);
        let mut from = first;
        for slot in 0..count {
            let is_in = |start: &T| ((*start - low) >> shift).low() == slot;
            let to = from + self.starts[from..end].iter().take_while(|start| is_in(start)).count();
            slots.push(match to - from > CROWD && to - from < end - first {
                true => Slot::Node(self.cut(from, to)),
                false => Slot::Ranges(from as u32, to as u32),
            });
            from = to;
        }
        self.nodes[index].slots = slots;
        index as u32
    }
}
