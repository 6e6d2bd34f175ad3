//! A plugin that dies takes its own measurements with it, and nothing else.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use sonde_tests::{Finished, Lab, TARGET4, run, sonde, wait_until};

fn start(lab: &Lab, count: &str) -> Child {
    let mut command = lab.command("src", sonde());
    command.args(["run", "ping", "--format", "json", "--pps", "200", "-i", "0.05", "-c", count]);
    command.arg(TARGET4).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).spawn().unwrap()
}

/// A network in which sonde has run once: the first run after a build asks every plugin file what it
/// is, in a process that looks like a worker.
fn lab() -> Lab {
    let lab = Lab::chain(1);
    assert_eq!(record(start(&lab, "1")).0, 0);
    lab
}

/// The worker processes of a host.
fn workers(host: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let parent =
            status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let is_worker = command.split(|octet| *octet == 0).any(|word| word == b"worker");
        if parent == Some(host) && is_worker {
            found.push(id);
        }
    }
    found
}

fn record(child: Child) -> (i32, Value) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let code = output.status.code().unwrap_or(-1);
    (code, serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}")))
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_killed_worker_ends_its_run_with_a_reason_and_nothing_beside_it() {
    let lab = lab();
    let (hit, beside) = (start(&lab, "200"), start(&lab, "40"));
    wait_until("a worker", Duration::from_secs(10), || !workers(hit.id()).is_empty());
    std::thread::sleep(Duration::from_millis(500));
    for worker in workers(hit.id()) {
        run(Command::new("kill").args(["-KILL", &worker.to_string()]));
    }
    let (code, record_of_hit) = record(hit);
    assert_eq!(code, 5, "{record_of_hit}");
    assert_eq!(record_of_hit["status"], "failed");
    let error = record_of_hit["error"].as_str().unwrap();
    assert!(error.contains("signal 9") || error.to_lowercase().contains("kill"), "{error}");
    let (code, record_beside) = record(beside);
    assert_eq!(code, 0);
    assert_eq!(record_beside["counters"]["answered"], 40, "{record_beside}");
    let (code, next) = record(start(&lab, "3"));
    assert_eq!((code, &next["counters"]["answered"]), (0, &Value::from(3)));
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn neither_host_nor_worker_keeps_a_capability_and_the_worker_is_jailed() {
    let lab = lab();
    let child = start(&lab, "40");
    let host = child.id();
    wait_until("a worker", Duration::from_secs(10), || !workers(host).is_empty());
    std::thread::sleep(Duration::from_millis(500));
    let worker = workers(host)[0];
    for process in [host, worker] {
        for thread in fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten() {
            let status = fs::read_to_string(thread.path().join("status")).unwrap();
            let field = |name: &str| {
                let line = status.lines().find(|line| line.starts_with(name)).unwrap();
                line.split_whitespace().last().unwrap().to_owned()
            };
            for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
                assert_eq!(field(set), "0000000000000000", "{set} of {process}");
            }
            assert_eq!(field("NoNewPrivs:"), "1");
            if process == worker {
                assert_eq!(field("Seccomp:"), "2");
            }
        }
    }
    let environment = fs::read(format!("/proc/{worker}/environ")).unwrap();
    for variable in environment.split(|octet| *octet == 0).filter(|it| !it.is_empty()) {
        // The operator's choice of how memory is allocated, and nothing else.
        assert!(variable.starts_with(b"GLIBC_TUNABLES="), "{}", String::from_utf8_lossy(variable));
    }
    // Nothing but memory, wake-ups, the pipe of its last words, and as its standard input the
    // socket that tells it when the host has gone.
    for entry in fs::read_dir(format!("/proc/{worker}/fd")).unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap().display().to_string();
        let kinds = ["eventfd", "memfd", "pipe:", "/dev/null"];
        let is_input = entry.file_name() == "0" && target.starts_with("socket:");
        assert!(
            is_input || kinds.iter().any(|kind| target.contains(kind)),
            "the worker holds {target}"
        );
    }
    let (code, _) = record(child);
    assert_eq!(code, 0);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn files_that_are_no_plugins_are_named_in_one_line_each_and_the_others_work() {
    let lab = Lab::chain(1);
    let folder = tempfile::tempdir().unwrap();
    fs::copy(sonde_tests::plugin("ping"), folder.path().join("ping.so")).unwrap();
    fs::write(folder.path().join("garbage.so"), b"not a library").unwrap();
    fs::write(folder.path().join("empty.so"), b"").unwrap();
    let half = fs::read(sonde_tests::plugin("ping")).unwrap();
    fs::write(folder.path().join("half.so"), &half[..half.len() / 2]).unwrap();
    let listed =
        Finished::of(Command::new(sonde()).args(["methods", "--plugins"]).arg(folder.path()));
    assert!(listed.output.contains("ping"), "{}", listed.output);
    for file in ["garbage.so", "empty.so", "half.so"] {
        let lines: Vec<_> = listed.errors.lines().filter(|line| line.contains(file)).collect();
        assert_eq!(lines.len(), 1, "{}", listed.errors);
    }
    let nowhere = folder.path().join("nowhere");
    let listed = Finished::of(Command::new(sonde()).args(["methods", "--plugins"]).arg(nowhere));
    let told = "nowhere: the folder with plugins cannot be read: No such file";
    assert!(listed.errors.contains(told), "{}", listed.errors);
    let mut command = lab.command("src", sonde());
    command.arg("--plugins").arg(folder.path());
    let run = Finished::of(command.args(["run", "ping", "-c", "1", "--format", "json", TARGET4]));
    assert_eq!(run.code, 0, "{}", run.errors);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn an_interrupted_run_ends_with_what_it_knows_whoever_else_is_interrupted() {
    let lab = lab();
    // The host alone, its group as a terminal does, and each of its processes as a service manager does.
    for whom in ["host", "group", "all"] {
        let child = start(&lab, "1000");
        std::thread::sleep(Duration::from_millis(1500));
        let host = child.id();
        let processes = match whom {
            "host" => vec![host.to_string()],
            "group" => vec![format!("-{host}")],
            _ => workers(host).into_iter().chain([host]).map(|it| it.to_string()).collect(),
        };
        assert_eq!(processes.len(), if whom == "all" { 2 } else { 1 });
        let signal = if whom == "all" { "-TERM" } else { "-INT" };
        run(Command::new("kill").args([signal, "--"]).args(processes));
        let (code, record) = record(child);
        assert_eq!(code, 0, "{whom}: {record}");
        assert_eq!(record["status"], "interrupted", "{whom}");
        let summary = &record["tables"]["summary"][0];
        assert!(summary["answered"].as_u64().unwrap() >= 10, "{whom}: {summary}");
        assert_eq!(summary["lost"], 0);
    }
}
