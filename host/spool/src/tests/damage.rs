//! Bits flip and files are cut: no panic, and every record that was not touched is delivered.

use std::collections::BTreeMap;

use super::{
    delivered,
    disk::{Dice, Memory},
    open,
};
use crate::{
    frame::Kind,
    segment::{Found, Name, scan},
};

const RECORDS: u32 = 24;

fn body(number: u32) -> Vec<u8> {
    let mut body = number.to_le_bytes().to_vec();
    body.extend((0..number * 5).map(|index| (number * 31 + index) as u8));
    body
}

/// Several segments with records of many lengths, some acknowledged.
fn written() -> BTreeMap<String, Vec<u8>> {
    let disk = Memory::default();
    let mut spool = open(&disk);
    for number in 0..RECORDS {
        let sequence = spool.append(&body(number)).unwrap();
        spool.commit().unwrap();
        if number % 5 == 3 {
            spool.acknowledge(sequence);
        }
    }
    disk.files()
}

/// Numbers of the records whose octets are as they were.
fn untouched(before: &BTreeMap<String, Vec<u8>>, after: &BTreeMap<String, Vec<u8>>) -> Vec<u32> {
    let mut numbers = Vec::new();
    for (file, octets) in before {
        let changed = &after[file];
        for found in scan(octets, Name::parse(file).unwrap().salt) {
            if let Found::Frame(frame, offset) = found {
                let range = offset as usize..offset as usize + frame.octets();
                if frame.kind == Kind::Result
                    && changed.get(range.clone()) == octets.get(range.clone())
                {
                    let body = &octets[range][crate::frame::HEADER_OCTETS..];
                    numbers.push(u32::from_le_bytes(body[..4].try_into().unwrap()));
                }
            }
        }
    }
    numbers.retain(|number| number % 5 != 3);
    numbers
}

#[test]
fn ten_thousand_damages_lose_only_what_they_touch() {
    let before = written();
    assert!(before.len() > 3);
    let names: Vec<String> = before.keys().cloned().collect();
    let mut dice = Dice(2026);
    let (mut reported, mut touched) = (0, 0);
    for round in 0..10_000 {
        let mut after = before.clone();
        for _ in 0..=dice.below(3) {
            let octets = after.get_mut(&names[dice.below(names.len())]).unwrap();
            if octets.is_empty() {
                continue;
            }
            let at = dice.below(octets.len());
            match dice.below(4) {
                0 => octets.truncate(at),
                1 => drop(octets.drain(at..(at + 1 + dice.below(90)).min(octets.len()))),
                _ => octets[at] ^= 1 << dice.below(8),
            }
        }
        let (mut spool, recovery) = crate::Spool::on(Memory::with(&after), super::SMALL).unwrap();
        let bodies = delivered(&mut spool);
        for found in &bodies {
            let number = u32::from_le_bytes(found[..4].try_into().unwrap());
            assert_eq!(*found, body(number), "round {round}: made up");
        }
        let untouched = untouched(&before, &after);
        for number in &untouched {
            assert!(bodies.contains(&body(*number)), "round {round}: {number} was lost");
        }
        reported += usize::from(!recovery.damage.is_empty());
        touched += usize::from(before != after);
        spool.append(b"goes on").unwrap();
        spool.commit().unwrap();
    }
    // A cut between two records cannot be seen.
    assert!(touched > 9_000 && reported > touched * 9 / 10, "{reported} of {touched}");
}

#[test]
fn damage_is_reported_with_its_place() {
    let mut files = written();
    let (name, octets) = files.iter_mut().next().unwrap();
    octets[30] ^= 4;
    let name = name.clone();
    let (_, recovery) = crate::Spool::on(Memory::with(&files), super::SMALL).unwrap();
    let texts: Vec<String> = recovery.damage.iter().map(ToString::to_string).collect();
    assert_eq!(texts, [format!("32 octets at 0 of {name} are damaged")]);
}

#[test]
fn a_record_that_is_damaged_while_it_waits_is_skipped_once() {
    let disk = Memory::with(&written());
    let mut spool = open(&disk);
    let before = spool.waiting().count();
    let first = spool.waiting().next().unwrap();
    let mut files = disk.files();
    files.values_mut().next().unwrap()[30] ^= 1;
    disk.0.borrow_mut().clone_from(&Memory::with(&files).0.borrow());
    assert_eq!(
        spool.read(first).unwrap_err().to_string(),
        format!("result {first} is damaged on disk and was skipped")
    );
    assert_eq!(spool.waiting().count(), before - 1);
}
