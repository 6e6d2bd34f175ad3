//! The researcher's path: a method of one's own, outside of this workspace, measured with.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::{fs, path::Path, process::Command};

use sonde_tests::{Finished, sonde, target_folder};

#[test]
#[ignore = "needs root: opens packet sockets"]
fn a_new_method_builds_passes_its_test_and_measures() {
    let folder = tempfile::tempdir().unwrap();
    let made = Finished::of(
        Command::new(sonde()).current_dir(folder.path()).args(["plugin", "new", "my-probe"]),
    );
    assert_eq!(made.code, 0, "{}", made.errors);
    let project = folder.path().join("my-probe");
    let source = fs::read_to_string(project.join("src/lib.rs")).unwrap();
    assert!(source.lines().count() < 60, "{} lines", source.lines().count());

    // Built where the rest is built, so that it is quick the second time.
    let target = target_folder().join("scaffold");
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&project).env("CARGO_TARGET_DIR", &target).args(arguments);
        let run = Finished::of(&mut command);
        assert_eq!(run.code, 0, "{}{}", run.output, run.errors);
        run
    };
    assert!(cargo(&["test"]).output.contains("1 passed"));
    cargo(&["build", "--release"]);

    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    let library = target.join("release/libmy_probe.so");
    fs::copy(library, plugins.join("my-probe.so")).unwrap();
    let run = Finished::of(Command::new(sonde()).arg("--plugins").arg(&plugins).args([
        "run",
        "my-probe",
        "--format",
        "json",
        "127.0.0.1",
        "::1",
    ]));
    assert_eq!(run.code, 0, "{}{}", run.output, run.errors);
    for record in run.records() {
        assert_eq!(record["tables"]["rows"][0]["addr"], record["destination"], "{record}");
        assert!(record["tables"]["rows"][0]["rtt_us"].is_number());
    }
}

#[test]
fn a_name_that_cannot_be_a_method_or_is_taken_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let new = |name: &str| {
        let arguments = ["plugin", "new", name];
        Finished::of(Command::new(sonde()).current_dir(folder.path()).args(arguments))
    };
    for name in ["My-Probe", "1st", "a b", "ünicode"] {
        let run = new(name);
        assert_eq!(run.code, 2, "{name}");
        assert!(run.errors.contains("accepted"), "{}", run.errors);
    }
    assert_eq!(new("twice").code, 0);
    fs::write(folder.path().join("twice/src/lib.rs"), "mine").unwrap();
    assert_eq!(new("twice").code, 2);
    let kept = fs::read_to_string(Path::new(folder.path()).join("twice/src/lib.rs")).unwrap();
    assert_eq!(kept, "mine");
}
