//! A process that writes to the spool is killed, again and again.
//!
//! Alone in its program: a process that is being started holds every lock of this one for a moment.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use sonde_spool::{Options, Spool};

/// Cargo builds examples beside the tests.
fn writer(folder: &Path) -> Child {
    let tests = std::env::current_exe().expect("the test knows its own file");
    let built = tests.ancestors().nth(2).expect("it lies in a folder of a build folder");
    let program = built.join("examples/writer");
    Command::new(program)
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("built by `cargo test` without --test")
}

#[test]
fn twenty_kills_lose_nothing_that_counted_and_bring_back_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let (mut counts, mut acknowledged) = (BTreeSet::new(), BTreeSet::new());
    // Those in the middle of whose acknowledgement the writer was killed: both ends are right.
    let mut open = BTreeSet::new();
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
                (Some("acknowledging"), [empty]) => drop(open.insert(*empty)),
                (Some("acknowledged"), [empty]) => {
                    open.remove(empty);
                    acknowledged.insert(*empty);
                }
                _ => {}
            }
        }
        let (mut spool, _) = Spool::open(folder.path(), Options::default()).unwrap();
        let waiting: BTreeSet<u64> = spool.waiting().collect();
        assert!(open.len() <= 1, "one writer acknowledges one at a time: {open:?}");
        // What the reopened log says of it holds from now on.
        for number in std::mem::take(&mut open).difference(&waiting) {
            acknowledged.insert(*number);
        }
        let lost: Vec<u64> = counts
            .difference(&acknowledged)
            .copied()
            .filter(|number| !waiting.contains(number))
            .collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        assert!(waiting.is_disjoint(&acknowledged), "came back");
        for number in waiting {
            let body = spool.read(number).unwrap();
            assert!(body.is_empty() || body == (number - 1).to_le_bytes().repeat(30));
        }
    }
    assert!(counts.len() > 400 && acknowledged.len() > 50);
}
