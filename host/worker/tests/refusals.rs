//! Files that are no plugins for this host: each is refused in one line that says why, and none of
//! their code runs outside of a jail.
#![allow(clippy::unwrap_used)] // helpers of tests, which the lint does not see

mod common;

use std::{fs, path::PathBuf, time::Duration};

use common::{End, Engine, Place, limits, make_pipe, plugin, program};
use sonde_plugin_api::port::Port;
use sonde_worker::{InlinePort, Limits, LoadError, ProcessPort, Spawn, describe_within};

#[test]
fn good_plugin_is_described() {
    let place = Place::new();
    let described = place.describe(&plugin("hostile")).unwrap();
    assert_eq!(described.descriptor.plugin, "sonde-worker");
    assert_eq!(described.descriptor.methods[0].name, "hostile");
    assert_eq!(described.api, sonde_worker::host_api());
    assert!(described.build.unwinds);
    assert_eq!(described.refused_calls, [""; 0]);
    assert!(described.build.rustc.starts_with("rustc 1."), "{}", described.build.rustc);
    assert!(described.kept.path.starts_with(place.store().canonicalize().unwrap()));
}

#[test]
fn files_that_are_no_library_are_named_for_what_they_are() {
    let place = Place::new();
    let image = fs::read(plugin("raw")).unwrap();
    let cases: [(&str, &[u8], &str); 5] = [
        ("text", b"hello", "is not a shared library: it is not an ELF file"),
        ("empty", b"", "is not a shared library: it is empty"),
        ("head", &image[..40], "is not a shared library: its ELF header is cut off"),
        ("half", &image[..image.len() / 2], "is not a shared library: it is cut off: it has "),
        ("less", &image[..image.len() - 1], "is not a shared library: it is cut off: it has "),
    ];
    for (name, content, expected) in cases {
        let path = place.path(name);
        fs::write(&path, content).unwrap();
        let line = place.refusal(&path);
        assert!(line.starts_with(expected), "{name}: {line}");
    }
    assert_eq!(place.refusal(&program()), "is not a shared library: it is a program");
    assert_eq!(
        place.refusal(&place.path("none.so")),
        "cannot be read: No such file or directory (os error 2)"
    );
    make_pipe(&place.path("pipe.so"));
    assert_eq!(
        place.refusal(&place.path("pipe.so")),
        "is not a shared library: it is not a regular file"
    );
}

#[test]
fn library_of_another_kind_is_refused() {
    let place = Place::new();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let library = maps
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .find(|path| path.contains("libgcc_s"))
        .map(PathBuf::from)
        .expect("a test links to libgcc");
    assert_eq!(
        place.refusal(&library),
        "is not a sonde plugin: it does not export the symbol `sonde_plugin`"
    );
}

#[test]
fn library_whose_needs_are_missing_is_refused_with_the_name() {
    let place = Place::new();
    let mut image = fs::read(plugin("raw")).unwrap();
    // Its C library under a name that nobody has.
    let name = b"libc.so.6\0";
    let at = image.windows(name.len()).position(|window| window == name).unwrap();
    image[at..at + 4].copy_from_slice(b"libX");
    let path = place.path("needy.so");
    fs::write(&path, image).unwrap();
    let line = place.refusal(&path);
    assert!(line.starts_with("is not a sonde plugin: "), "{line}");
    assert!(line.contains("libX.so.6"), "{line}");
    assert!(!line.contains("needy-"), "{line}");
}

#[test]
fn constructors_run_in_the_jail() {
    let place = Place::new();
    let described = place.describe(&place.plugin_as("raw", "early_escape")).unwrap();
    assert_eq!(
        described.descriptor.methods[0].doc,
        "file PermissionDenied, home PermissionDenied, write PermissionDenied, \
         socket PermissionDenied, exec PermissionDenied, thread PermissionDenied"
    );
    // Reading files is a matter of paths, not of calls.
    for call in ["openat", "socket", "clone3"] {
        let line = format!("the plugin tried the system call {call}, which its jail refuses");
        assert!(described.refused_calls.contains(&line), "{:?}", described.refused_calls);
    }
}

#[test]
fn constructors_that_crash_or_hang_are_refused() {
    let place = Place::new();
    for (name, expected) in [
        ("early_abort", "could not be examined: signal 6 (aborted)"),
        ("early_exit", "could not be examined: exit status 0"),
        ("describe_crash", "could not be examined: signal 6 (aborted)"),
    ] {
        assert_eq!(place.refusal(&place.plugin_as("raw", name)), expected, "{name}");
    }
    let limits = Limits { start: Duration::from_millis(500), ..limits() };
    let looping = place.plugin_as("raw", "early_loop");
    let error = describe_within(&program(), &looping, &place.store(), &limits).unwrap_err();
    assert_eq!(error.to_string(), "could not be examined: it was not ready after 500ms");
}

#[test]
fn descriptors_that_make_no_sense_are_refused() {
    let place = Place::new();
    for (name, expected) in [
        ("describe_garbage", "has no usable descriptor: descriptor: "),
        ("describe_much", "has no usable descriptor: 3145728 octets, more than 1 MiB"),
        ("describe_no_text", "has no usable descriptor: it is not UTF-8"),
        ("instance_fails", "failed to initialise: no licence for this machine"),
    ] {
        let line = place.refusal(&place.plugin_as("raw", name));
        assert!(line.starts_with(expected), "{name}: {line}");
    }
}

#[test]
fn plugin_that_does_not_load_any_more_is_lost_with_the_reason() {
    let place = Place::new();
    for (name, expected) in [
        ("early_abort", "worker of fixture could not load it: signal 6 (aborted)"),
        (
            "instance_fails",
            "worker of fixture could not load it: failed to initialise: no licence for this machine",
        ),
    ] {
        let mut port = place.process(&place.plugin_as("raw", name));
        assert_eq!(Engine::default().until_lost(&mut port), expected);
    }
    let limits = Limits { start: Duration::from_millis(500), ..limits() };
    let mut port = place.process_with(&place.plugin_as("raw", "early_loop"), limits);
    assert_eq!(
        Engine::default().until_lost(&mut port),
        "worker of fixture was not ready after 500ms: ended"
    );
}

#[test]
fn program_that_is_no_worker_is_lost_with_what_it_says() {
    let place = Place::new();
    let spawn = |program: &str| Spawn {
        program: program.into(),
        plugin: plugin("raw"),
        store: place.store(),
        kept: None,
        limits: limits(),
        name: "fixture".into(),
    };
    let mut port = ProcessPort::spawn(spawn("/bin/false")).unwrap();
    assert_eq!(
        Engine::default().until_lost(&mut port),
        "worker of fixture could not load it: exit status 1"
    );
}

#[test]
fn worker_that_could_not_be_started_is_started_later() {
    let place = Place::new();
    let later = place.path("later");
    let mut port = ProcessPort::spawn(Spawn {
        program: later.clone(),
        plugin: plugin("hostile"),
        store: place.store(),
        kept: None,
        limits: limits(),
        name: "fixture".into(),
    })
    .unwrap();
    assert_eq!(
        port.ready().unwrap_err().reason,
        "worker of fixture cannot be started: No such file or directory (os error 2); it comes back in 1s"
    );
    std::os::unix::fs::symlink(program(), later).unwrap();
    let mut engine = Engine::default();
    while port.ready().is_err() {
        engine.turn(&mut port);
    }
    let fine = place.parameters("fine");
    assert_eq!(engine.see(&mut port, 1, &fine), Ok(End::Finished("fine".into())));
}

#[test]
fn worker_that_no_host_has_started_says_so() {
    let output = std::process::Command::new(program()).args(["worker", "x"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("a worker is started by its host alone: "), "{text}");
}

#[test]
fn what_was_described_is_loaded_inline_whatever_the_file_is_by_then() {
    let place = Place::new();
    let file = place.plugin_as("hostile", "replaced");
    let described = place.describe(&file).unwrap();
    fs::write(&file, "no library").unwrap();
    let loaded = sonde_worker::load_kept(&described.kept).unwrap();
    let mut port = InlinePort::new(loaded).unwrap();
    let fine = place.parameters("fine");
    assert_eq!(Engine::default().see(&mut port, 1, &fine), Ok(End::Finished("fine".into())));
}

#[test]
fn replaced_plugin_leaves_the_running_one_alone() {
    let place = Place::new();
    let path = place.plugin_as("hostile", "changing");
    let fine = place.parameters("fine");
    let mut port = place.process(&path);
    let mut engine = Engine::default();
    engine.see(&mut port, 1, &fine).unwrap();
    fs::write(&path, b"overwritten in place").unwrap();
    engine.see(&mut port, 1, &fine).unwrap();
    // It comes back as what it was, too.
    engine.see(&mut port, 1, &place.parameters("abort")).unwrap_err();
    engine.see(&mut port, 1, &fine).unwrap();
    assert_eq!(place.refusal(&path), "is not a shared library: it is not an ELF file");
}

#[test]
fn store_of_another_user_is_refused() {
    let place = Place::new();
    // Not ours, and not to be made ours: nobody but the owner may put plugins in front of us.
    if rustix::process::geteuid().is_root() {
        let store = place.store();
        fs::create_dir(&store).unwrap();
        std::os::unix::fs::chown(&store, Some(65534), None).unwrap();
        let error = place.describe(&plugin("raw")).unwrap_err();
        assert!(matches!(error, LoadError::Store(_)), "{error}");
        assert!(error.to_string().contains("belongs to user 65534"), "{error}");
    }
}
