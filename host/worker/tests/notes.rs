//! What a plugin said is noted: nobody asks it twice, until it or the program is another one.

#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

mod common;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, thread, time::Duration};

use common::{Place, plugin, program};

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
