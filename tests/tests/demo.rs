//! The demo: certificates, supervisor, host and client, and a measurement through all of them.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
};

use sonde_tests::{Finished, sonde};

fn demo(temporary: &Path, words: &[&str]) -> Finished {
    let mut command = Command::new(sonde());
    command.arg("demo").args(words).env("TMPDIR", temporary);
    Finished::of(&mut command)
}

#[test]
#[ignore = "needs root: packet sockets"]
fn a_measurement_comes_back_through_supervisor_and_host_and_nothing_is_left() {
    let temporary = tempfile::tempdir().unwrap();
    let finished = demo(temporary.path(), &[]);
    assert_eq!(finished.code, 0, "{}\n{}", finished.output, finished.errors);
    for part in [
        "org.mplane.Demo.Components.host-1",
        "* supervisor: for clients https://127.0.0.1:",
        "Capability ping-average-ip4 (token ",
        "result: measure",
        "delay.twoway.icmp.count: 3",
        " from client to supervisor to host to plugin and back.",
    ] {
        assert!(finished.output.contains(part), "{part} is not in\n{}", finished.output);
    }
    let left = fs::read_dir(temporary.path()).unwrap().flatten();
    let left: Vec<String> =
        left.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert!(!left.iter().any(|name| name.starts_with("sonde-demo")), "{left:?}");
}

#[test]
#[ignore = "needs root: packet sockets"]
fn who_ends_it_early_leaves_no_key_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Command::new(sonde());
    command.arg("demo").env("TMPDIR", temporary.path()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert!(line.starts_with("* certificates: "), "{line}");
    let process = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    output.read_to_string(&mut line).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5), "{line}");
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
#[ignore = "needs root: packet sockets"]
fn what_is_kept_can_be_used_again_and_is_not_written_over() {
    let temporary = tempfile::tempdir().unwrap();
    let kept = temporary.path().join("kept");
    let words = ["--keep", &kept.display().to_string()];
    let finished = demo(temporary.path(), &words);
    assert_eq!(finished.code, 0, "{}\n{}", finished.output, finished.errors);
    for file in ["supervisor.toml", "host.toml", "client.toml"] {
        let file = kept.join(file).display().to_string();
        let checked = Finished::of(Command::new(sonde()).args(["check", "--config", &file]));
        assert_eq!(checked.code, 0, "{file}: {}", checked.errors);
    }
    assert_eq!(demo(temporary.path(), &words).code, 2, "it is there");
    assert!(!finished.errors.contains("valid"), "{}", finished.errors);

    let mut command = Command::new(sonde());
    command.arg("supervisor").arg("--config").arg(kept.join("supervisor.toml"));
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut listening = String::new();
    let output = BufReader::new(child.stdout.take().unwrap());
    for line in output.lines().take(2) {
        listening += &line.unwrap();
    }
    for file in ["host.toml", "client.toml"] {
        let text = fs::read_to_string(kept.join(file)).unwrap();
        let url = text.lines().find_map(|line| line.strip_prefix("url = ")).unwrap();
        let url = url.trim_matches('"');
        assert!(listening.contains(url), "{file} names {url}, not {listening}");
    }
    let process = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    child.wait().unwrap();
}
