//! The power is cut at every step of random work: whatever part of what was not synced has reached the
//! disk, nothing that counted is lost, nothing is made up, the order is kept.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    delivered,
    disk::{Dice, Memory},
    open,
};
use crate::Spool;

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Commit,
    /// One of those that wait.
    Acknowledge(usize),
    SyncFails,
    Room(usize),
    RoomForAll,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..300).prop_map(Step::Append),
        5 => Just(Step::Commit),
        4 => (0usize..12).prop_map(Step::Acknowledge),
        1 => Just(Step::SyncFails),
        1 => (0usize..600).prop_map(Step::Room),
        1 => Just(Step::RoomForAll),
        1 => Just(Step::Restart),
    ]
}

/// What must and what may be delivered, by the number that each body begins with.
#[derive(Default)]
struct Model {
    bodies: Vec<Vec<u8>>,
    /// Appended, not committed.
    fresh: Vec<usize>,
    counted: BTreeSet<usize>,
    acknowledged: BTreeSet<usize>,
    /// Acknowledged, the volume had room to note it, and a commit has succeeded since.
    gone: BTreeSet<usize>,
}

fn number_of(body: &[u8]) -> usize {
    u32::from_le_bytes(body[..4].try_into().unwrap()) as usize
}

impl Model {
    fn body(&mut self, octets: usize) -> Vec<u8> {
        let number = self.bodies.len();
        let mut body = (number as u32).to_le_bytes().to_vec();
        body.extend((0..octets).map(|index| (number * 7 + index) as u8));
        self.bodies.push(body.clone());
        body
    }

    fn check(&self, spool: &mut Spool<Memory>) {
        let bodies = delivered(spool);
        let numbers: Vec<usize> = bodies.iter().map(|body| number_of(body)).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "out of order: {numbers:?}");
        for (number, body) in numbers.iter().zip(&bodies) {
            assert_eq!(self.bodies.get(*number), Some(body), "made up");
            assert!(!self.gone.contains(number), "{number} was delivered again");
        }
        let delivered: BTreeSet<usize> = numbers.into_iter().collect();
        let lost: Vec<_> = self
            .counted
            .difference(&delivered)
            .filter(|n| !self.acknowledged.contains(n))
            .collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn nothing_that_counted_is_lost_wherever_the_power_is_cut(
        steps in prop::collection::vec(step(), 1..60),
        seed in any::<u64>(),
    ) {
        let disk = Memory::default();
        let mut dice = Dice(seed);
        disk.0.borrow_mut().dice = Some(Dice(seed ^ 77));
        let mut spool = open(&disk);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Append(octets) => {
                    let number = model.bodies.len();
                    let body = model.body(octets);
                    if spool.append(&body).is_ok() {
                        model.fresh.push(number);
                    }
                }
                Step::Commit => {
                    if spool.commit().is_ok() {
                        model.counted.extend(model.fresh.drain(..));
                        if spool.owed.is_empty() {
                            model.gone.extend(&model.acknowledged);
                        }
                    }
                }
                Step::Acknowledge(index) => {
                    let chosen = spool.waiting().nth(index);
                    if let Some(sequence) = chosen {
                        model.acknowledged.insert(number_of(&spool.read(sequence).unwrap()));
                        spool.acknowledge(sequence);
                    }
                }
                Step::SyncFails => disk.0.borrow_mut().failing_syncs = 1,
                Step::Room(octets) => disk.0.borrow_mut().room = Some(octets),
                Step::RoomForAll => disk.0.borrow_mut().room = None,
                Step::Restart => {
                    // The process is killed: what was written is there, what failed is not.
                    drop(spool);
                    model.fresh.clear();
                    spool = open(&disk);
                    model.check(&mut spool);
                    for sequence in spool.waiting().collect::<Vec<_>>() {
                        let number = number_of(&spool.read(sequence).unwrap());
                        model.counted.insert(number);
                        // Its acknowledgement found no room on the volume.
                        model.acknowledged.remove(&number);
                    }
                }
            }
            for _ in 0..4 {
                let copy = disk.after_power_cut(&mut dice);
                let mut after = open(&copy);
                model.check(&mut after);
                // It goes on working, and a second cut changes nothing.
                let kept = delivered(&mut after);
                if after.append(&[0xFF; 40]).is_ok() && after.commit().is_ok() {
                    let mut again = open(&copy.after_power_cut(&mut dice));
                    let mut bodies = delivered(&mut again);
                    prop_assert_eq!(bodies.pop(), Some(vec![0xFF; 40]));
                    prop_assert_eq!(bodies, kept);
                }
            }
        }
    }
}
