//! What a plugin said is noted: nobody asks it twice, until it or the program is another one.

#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

mod common;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, thread, time::Duration};

use common::{Place, limits, plugin, program};
use sonde_worker::{Limits, describe_within};

/// A program that is the worker, and writes down that it was called.
fn counting(place: &Place) -> std::path::PathBuf {
    let (script, calls) = (place.path("program"), place.path("calls"));
    let text = format!(
        "#!/bin/sh\necho >> '{}'\nexec '{}' \"$@\"\n",
        calls.display(),
        program().display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    script
}

fn calls(place: &Place) -> usize {
    fs::read(place.path("calls")).map_or(0, |calls| calls.len())
}

/// What is noted of files that changed a moment ago would not be certain.
fn settle() {
    thread::sleep(Duration::from_millis(2100));
}

#[test]
fn a_plugin_is_asked_once_until_it_or_the_program_changes() {
    let place = Place::new();
    let (program, library) = (counting(&place), place.plugin_as("hostile", "once"));
    let ask = |library: &Path| {
        sonde_worker::describe(&program, library, &place.store()).unwrap().descriptor.to_json()
    };
    let first = ask(&library);
    assert_eq!(ask(&library), first);
    assert_eq!(calls(&place), 2, "too new to be sure");

    settle();
    let noted = || {
        let before = calls(&place);
        assert_eq!(ask(&library), first);
        calls(&place) == before
    };
    assert!(!noted());
    assert!(noted());

    // Another one under its name, and then the same again.
    fs::copy(plugin("raw"), &library).unwrap();
    assert_ne!(ask(&library), first);
    fs::copy(plugin("hostile"), &library).unwrap();
    assert!(!noted());

    settle();
    assert!(!noted());
    assert!(noted());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    settle();
    assert!(!noted(), "the program has changed");
    assert!(noted());
}

#[test]
fn a_plugin_that_does_not_answer_holds_up_one_start_an_hour() {
    let place = Place::new();
    let (program, library) = (counting(&place), place.plugin_as("raw", "early_loop"));
    settle();
    let limits = Limits { start: Duration::from_millis(500), ..limits() };
    let ask =
        || describe_within(&program, &library, &place.store(), &limits).unwrap_err().to_string();
    let told = "could not be examined: it was not ready after 500ms";
    for _ in 0..2 {
        assert_eq!((ask(), calls(&place)), (told.to_owned(), 1));
    }
    let mut notes = fs::read_dir(place.store()).unwrap().flatten().map(|entry| entry.path());
    let note = notes.find(|path| path.extension().is_some_and(|it| it == "said")).unwrap();
    let hour_ago = std::time::SystemTime::now() - Duration::from_hours(1);
    fs::File::open(note).unwrap().set_modified(hour_ago).unwrap();
    assert_eq!((ask(), calls(&place)), (told.to_owned(), 2));
    // Another one in its place.
    fs::copy(plugin("raw"), place.path("other")).unwrap();
    fs::rename(place.path("other"), &library).unwrap();
    assert_eq!((ask(), calls(&place)), (told.to_owned(), 3));
}
