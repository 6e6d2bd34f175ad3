//! The log on a disk in memory.

mod damage;
mod disk;
mod power_cut;

use disk::Memory;

use crate::{AppendError, OpenError, Options, Spool};

const SMALL: Options = Options { segment_octets: 400, cap_octets: 4000 };

fn open(disk: &Memory) -> Spool<Memory> {
    Spool::on(disk.clone(), SMALL).unwrap().0
}

/// Every record that waits, oldest first.
fn delivered(spool: &mut Spool<Memory>) -> Vec<Vec<u8>> {
    let waiting: Vec<u64> = spool.waiting().collect();
    waiting.into_iter().filter_map(|sequence| spool.read(sequence).ok()).collect()
}

#[test]
fn a_record_counts_when_it_is_committed_and_not_before() {
    let mut spool = open(&Memory::default());
    let first = spool.append(b"one").unwrap();
    assert_eq!(spool.waiting().count(), 0);
    assert!(!spool.acknowledge(first));
    spool.commit().unwrap();
    assert_eq!(delivered(&mut spool), [b"one"]);
}

#[test]
fn records_are_delivered_in_order_until_they_are_acknowledged() {
    let disk = Memory::default();
    let mut spool = open(&disk);
    let numbers: Vec<u64> = (0..5u8).map(|body| spool.append(&[body]).unwrap()).collect();
    spool.commit().unwrap();
    assert!(spool.acknowledge(numbers[2]));
    assert!(!spool.acknowledge(numbers[2]));
    drop(spool);
    let mut again = open(&disk);
    assert_eq!(delivered(&mut again), [[0], [1], [3], [4]]);
    assert!(again.append(b"later").unwrap() > numbers[4]);
}

#[test]
fn segments_go_when_everything_in_them_is_acknowledged() {
    let disk = Memory::default();
    let mut spool = open(&disk);
    let numbers: Vec<u64> = (0..20u8).map(|body| spool.append(&[body; 100]).unwrap()).collect();
    spool.commit().unwrap();
    let before = disk.files().len();
    assert!(before >= 5, "{before} segments");
    for number in &numbers[1..6] {
        spool.acknowledge(*number);
    }
    assert!(disk.files().len() >= before, "the oldest record still waits");
    for number in [&numbers[6..], &numbers[..1]].concat() {
        spool.acknowledge(number);
    }
    assert_eq!(disk.files().len(), 1);
    assert!(spool.used_octets() < 1000);
}

#[test]
fn a_record_that_waits_for_weeks_keeps_no_others() {
    let disk = Memory::default();
    let mut spool = open(&disk);
    for _ in 0..3 {
        spool.append(b"waits").unwrap();
        for number in 0..300u32 {
            let passing = spool.append(&number.to_le_bytes().repeat(20)).unwrap();
            spool.commit().unwrap();
            assert!(spool.acknowledge(passing));
            assert!(spool.used_octets() < 2000, "{}", spool.used_octets());
        }
        spool = open(&disk);
    }
    assert_eq!(delivered(&mut spool), [b"waits"; 3]);
}

#[test]
fn what_does_not_fit_below_the_cap_is_refused_until_there_is_room() {
    let disk = Memory::default();
    let mut spool = open(&disk);
    let mut numbers = Vec::new();
    let refused = loop {
        match spool.append(&[7; 100]) {
            Ok(number) => numbers.push(number),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::Cap { cap: 4000, used } if used > 3800), "{refused}");
    assert_eq!(numbers.len(), 31);
    spool.commit().unwrap();
    for number in numbers {
        assert!(spool.acknowledge(number));
    }
    assert!(spool.append(&[8; 3900]).is_ok());
    let text = spool.append(&vec![0; (16 << 20) + 1]).unwrap_err().to_string();
    assert_eq!(
        text,
        "a result of 16777217 octets is longer than the 16777216 that the spool accepts"
    );
}

#[test]
fn a_full_volume_refuses_and_works_again_without_reopening() {
    let disk = Memory::default();
    disk.0.borrow_mut().room = Some(520);
    let mut spool = open(&disk);
    let numbers: Vec<u64> = (0..3u8).map(|body| spool.append(&[body; 100]).unwrap()).collect();
    spool.commit().unwrap();
    assert!(matches!(spool.append(&[3; 100]), Ok(3)));
    assert!(matches!(spool.append(&[4; 100]), Err(AppendError::VolumeFull)));
    assert!(matches!(spool.append(&[4; 100]), Err(AppendError::VolumeFull)));
    spool.commit().unwrap();
    assert_eq!(delivered(&mut spool).len(), 4);
    // Nothing fits, not even a note; acknowledging everything frees the segment all the same.
    disk.0.borrow_mut().room = Some(0);
    for number in numbers {
        assert!(spool.acknowledge(number));
    }
    assert!(spool.acknowledge(3));
    disk.0.borrow_mut().room = Some(500);
    let next = spool.append(&[9; 100]).unwrap();
    spool.commit().unwrap();
    assert_eq!(spool.waiting().collect::<Vec<_>>(), [next]);
    drop(spool);
    assert_eq!(delivered(&mut open(&disk)), [[9; 100]]);
}

#[test]
fn on_a_full_volume_one_record_that_waits_keeps_no_others() {
    let disk = Memory::default();
    disk.0.borrow_mut().room = Some(3000);
    let mut spool = open(&disk);
    spool.append(b"waits").unwrap();
    let mut passing = Vec::new();
    while let Ok(number) = spool.append(&[passing.len() as u8; 100]) {
        passing.push(number);
    }
    spool.commit().unwrap();
    disk.0.borrow_mut().room = Some(0);
    for number in passing {
        assert!(spool.acknowledge(number));
    }
    assert!(spool.used_octets() < 1000, "{}", spool.used_octets());
    spool.append(b"later").unwrap();
    spool.commit().unwrap();
    drop(spool);
    assert_eq!(delivered(&mut open(&disk)), [b"waits", b"later"]);
}

#[test]
fn after_a_failed_sync_the_records_go_to_another_segment() {
    let disk = Memory::default();
    let mut spool = open(&disk);
    spool.append(b"first").unwrap();
    disk.0.borrow_mut().failing_syncs = 2;
    assert!(spool.commit().is_err());
    assert!(spool.commit().is_err());
    assert_eq!(spool.waiting().count(), 0);
    spool.append(b"second").unwrap();
    spool.commit().unwrap();
    assert_eq!(delivered(&mut spool), [b"first".to_vec(), b"second".to_vec()]);
    let mut dice = disk::Dice(5);
    let mut after = open(&disk.after_power_cut(&mut dice));
    assert_eq!(delivered(&mut after), [b"first".to_vec(), b"second".to_vec()]);
}

#[test]
fn a_second_writer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(folder.path(), Options::default()).unwrap();
    let refused = Spool::open(folder.path(), Options::default()).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    drop(spool);
    assert!(Spool::open(folder.path(), Options::default()).is_ok());
}
