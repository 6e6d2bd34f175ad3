//! A process that writes to the spool is killed, again and again.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use sonde_spool::{OpenError, Options, Spool};

/// Cargo builds examples beside the tests.
fn writer(folder: &Path) -> Child {
    let tests = std::env::current_exe().expect("the test knows its own file");
    let built = tests.ancestors().nth(2).expect("it lies in a folder of a build folder");
    let program = built.join("examples/writer");
    Command::new(program).arg(folder).stdout(Stdio::piped()).spawn().expect("it was built")
}

#[test]
fn twenty_kills_lose_nothing_that_counted_and_bring_back_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let (mut counts, mut acknowledged) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..20 {
        let mut child = writer(folder.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Killed in the middle of its work; what it said until then holds.
        let mut heard: Vec<String> =
            lines.by_ref().take(40 + round * 3).map(Result::unwrap).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        heard.extend(lines.map_while(Result::ok));
        for line in heard {
            let mut words = line.split(' ');
            let word = words.next();
            let numbers: Vec<u64> = words.filter_map(|number| number.parse().ok()).collect();
            match (word, numbers.as_slice()) {
                (Some("counts"), [empty, full]) => counts.extend([*empty, *full]),
                (Some("acknowledged"), [empty]) => drop(acknowledged.insert(*empty)),
                _ => {}
            }
        }
        let (mut spool, _) = Spool::open(folder.path(), Options::default()).unwrap();
        let waiting: BTreeSet<u64> = spool.waiting().collect();
        let expected: BTreeSet<u64> = counts.difference(&acknowledged).copied().collect();
        assert!(expected.is_subset(&waiting), "lost: {:?}", expected.difference(&waiting));
        assert!(waiting.is_disjoint(&acknowledged), "came back");
        for number in waiting {
            let body = spool.read(number).unwrap();
            assert!(body.is_empty() || body == (number - 1).to_le_bytes().repeat(30));
        }
    }
    assert!(counts.len() > 400 && acknowledged.len() > 50);
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
