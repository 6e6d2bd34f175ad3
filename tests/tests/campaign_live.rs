//! What `sonde run` does beside measuring: going on where it was, names, drawings.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use sonde_tests::{Finished, Lab, TARGET4, TARGET6, sonde, wait_until};

/// Targets of a campaign.
const COUNT: u32 = 1500;

fn list(path: &Path, count: u32) {
    let base = u32::from(Ipv4Addr::new(198, 18, 1, 0));
    let lines: String =
        (0..count).map(|number| format!("{}\n", Ipv4Addr::from(base + number * 7))).collect();
    std::fs::write(path, lines).unwrap();
}

/// How often each target has a result, every one of which is whole.
fn times(output: &Path) -> BTreeMap<String, u32> {
    let mut times = BTreeMap::new();
    for line in std::fs::read_to_string(output).unwrap().lines() {
        let record: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(record["stop"], "reached", "{line}");
        *times.entry(record["destination"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    times
}

fn lines(path: &Path) -> usize {
    std::fs::read(path).map_or(0, |text| text.iter().filter(|octet| **octet == b'\n').count())
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_campaign_that_is_killed_or_interrupted_again_and_again_has_every_result_once() {
    let lab = Lab::chain(2);
    let folder = tempfile::tempdir().unwrap();
    let [targets, output, journal] =
        ["targets", "output", "journal"].map(|it| folder.path().join(it));
    list(&targets, COUNT);
    let begin = || {
        let mut command = lab.command("src", sonde());
        command.args(["run", "trace", "--format", "json", "--pps", "3000", "--targets"]);
        command.arg(&targets).arg("--resume").arg(&journal);
        let output = OpenOptions::new().create(true).append(true).open(&output).unwrap();
        command.stdout(output).stderr(Stdio::null()).stdin(Stdio::null());
        command.spawn().unwrap()
    };
    for kill in 1..=4 {
        let mut child = begin();
        wait_until("results", Duration::from_secs(60), || lines(&output) > kill * 200);
        // `ip netns exec` becomes the program, so this is a signal for sonde itself.
        let signal = if kill % 2 == 0 { "-INT" } else { "-KILL" };
        let process = child.id().to_string();
        assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
        let code = child.wait().unwrap().code();
        assert_eq!(code, (kill % 2 == 0).then_some(130));
        let written = std::fs::read_to_string(&output).unwrap();
        assert!(!written.contains("\"interrupted\""), "what is measured again has a record");
    }
    assert!(lines(&output) < COUNT as usize, "it was over before it was killed");
    assert!(begin().wait().unwrap().success());
    let times = times(&output);
    assert_eq!(times.len(), COUNT as usize);
    assert!(times.values().all(|count| *count == 1), "{times:?}");
    // Nothing is left, and nothing is sent.
    let length = output.metadata().unwrap().len() as usize;
    assert!(begin().wait().unwrap().success());
    assert_eq!(output.metadata().unwrap().len() as usize, length);
    // The list has changed: another campaign.
    std::fs::write(&targets, "198.18.0.1\n").unwrap();
    assert_eq!(begin().wait().unwrap().code(), Some(2));
    // The results are gone.
    list(&targets, COUNT);
    File::create(&output).unwrap();
    assert_eq!(begin().wait().unwrap().code(), Some(2));
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn thousands_at_a_time_have_every_result_once_after_a_kill_in_the_middle() {
    const TARGETS: u32 = 5_000;
    let lab = Lab::chain(2);
    let folder = tempfile::tempdir().unwrap();
    let [targets, output, journal] =
        ["targets", "output", "journal"].map(|it| folder.path().join(it));
    list(&targets, TARGETS);
    let begin = || {
        let mut command = lab.command("src", sonde());
        command.args(["run", "trace", "--format", "json", "--pps", "6000", "--window", "2000"]);
        command.arg("--targets").arg(&targets).arg("--resume").arg(&journal);
        let output = OpenOptions::new().create(true).append(true).open(&output).unwrap();
        command.stdout(output).stderr(Stdio::null()).stdin(Stdio::null());
        command.spawn().unwrap()
    };
    let mut child = begin();
    let middle = TARGETS as usize / 2;
    wait_until("half of the results", Duration::from_secs(60), || lines(&output) >= middle);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(lines(&output) < TARGETS as usize, "it was over before it was killed");
    assert!(begin().wait().unwrap().success());
    let times = times(&output);
    assert_eq!(times.len(), TARGETS as usize);
    assert!(times.values().all(|count| *count == 1), "{times:?}");
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn what_fails_for_this_host_has_no_result_and_is_measured_when_the_campaign_goes_on() {
    let lab = Lab::chain(2);
    let folder = tempfile::tempdir().unwrap();
    let [targets, journal] = ["targets", "journal"].map(|it| folder.path().join(it));
    list(&targets, 3);
    let run = || {
        let mut command = lab.command("src", sonde());
        command.args(["run", "trace", "--format", "json", "--pps", "500", "--targets"]);
        Finished::of(command.arg(&targets).arg("--resume").arg(&journal))
    };
    lab.ip("src", "route del default");
    lab.ip("src", "-6 route del default");
    let away = run();
    assert_eq!((away.code, away.output.as_str()), (5, ""), "{}", away.errors);
    assert_eq!(away.errors.matches("left for later: ").count(), 3, "{}", away.errors);
    lab.ip("src", "route add default via 198.51.100.2");
    for results in [3, 0] {
        let back = run();
        assert_eq!((back.code, back.records().len()), (0, results), "{}", back.errors);
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_family_that_the_host_does_not_have_keeps_no_campaign_from_its_end() {
    let lab = Lab::chain(2);
    let folder = tempfile::tempdir().unwrap();
    let [targets, journal] = ["targets", "journal"].map(|it| folder.path().join(it));
    std::fs::write(&targets, format!("{TARGET4}\n2001:db8:ffff::9\n")).unwrap();
    let run = || {
        let mut command = lab.command("src", sonde());
        command.args(["run", "trace", "--format", "json", "--pps", "500", "--targets"]);
        Finished::of(command.arg(&targets).arg("--resume").arg(&journal))
    };
    lab.ip("src", "-6 route del default");
    let first = run();
    let status = |record: &Value| record["status"].as_str().unwrap().to_owned();
    let mut statuses: Vec<String> = first.records().iter().map(status).collect();
    statuses.sort();
    assert_eq!(
        (first.code, statuses),
        (5, vec!["done".into(), "failed".into()]),
        "{}",
        first.errors
    );
    let second = run();
    assert_eq!((second.code, second.output.as_str()), (0, ""), "{}", second.errors);
}

#[test]
#[ignore = "needs root: packet sockets"]
fn what_fails_for_this_host_again_has_a_result_and_keeps_no_campaign_from_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let [targets, journal] = ["targets", "journal"].map(|it| folder.path().join(it));
    std::fs::write(&targets, "127.0.0.1\n127.0.0.2\n").unwrap();
    let run = || {
        let mut command = Command::new(sonde());
        command.args(["run", "ping", "-c", "1", "--source", "192.0.2.77", "--format", "json"]);
        Finished::of(command.arg("--targets").arg(&targets).arg("--resume").arg(&journal))
    };
    for (code, left, failed) in [(5, 2, 0), (5, 0, 2), (0, 0, 0)] {
        let run = run();
        assert_eq!(run.errors.matches("left for later: ").count(), left, "{}", run.errors);
        assert_eq!((run.code, run.records().len()), (code, failed), "{}", run.errors);
        assert!(run.records().iter().all(|record| record["status"] == "failed"), "{}", run.output);
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn names_stand_beside_addresses_and_who_has_none_keeps_nobody_waiting() {
    let lab = Lab::chain(2);
    let hosts = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(hosts.path(), format!("127.0.0.1 localhost\n{TARGET4} target.example\n"))
        .unwrap();
    let run = |form: &str| {
        // `ip netns exec` has mounts of its own, which end with it.
        let line = format!(
            "mount --bind {} /etc/hosts && exec {} run trace --dns --format {form} {TARGET4}",
            hosts.path().display(),
            sonde().display()
        );
        let run = Finished::of(lab.command("src", "sh").args(["-c", &line]));
        assert_eq!(run.code, 0, "{}", run.errors);
        run
    };
    let text = run("text").output;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[1].starts_with("  1  198.51.100.2  "), "{text}");
    assert!(lines[3].starts_with(&format!("  3  target.example ({TARGET4})  ")), "{text}");
    let record = run("json").records().remove(0);
    assert_eq!(record["names"][TARGET4], "target.example", "{record}");
    assert_eq!(record["tables"]["hops"][2]["addr"], TARGET4);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_graph_is_drawn_and_who_finds_none_says_so() {
    let lab = Lab::chain(2);
    let folder = tempfile::tempdir().unwrap();
    let [dot, svg] = ["paths.dot", "paths.svg"].map(|it| folder.path().join(it));
    let mut command = lab.command("src", sonde());
    command.args(["run", "tracelb", "--pps", "500", "--waitprobe", "0", "--dot"]).arg(&dot);
    let run = Finished::of(command.arg("--svg").arg(&svg).arg(TARGET4));
    assert_eq!(run.code, 0, "{}", run.errors);
    let text = std::fs::read_to_string(dot).unwrap();
    assert!(text.contains(&format!("label=\"{TARGET4}\"")), "{text}");
    assert_eq!(text.matches(" -> ").count(), 2, "{text}");
    assert_eq!(std::fs::read_to_string(svg).unwrap().matches("<path").count(), 2);
    let none =
        lab.command("src", sonde()).args(["run", "ping", "--dot", "x", TARGET4]).output().unwrap();
    assert_eq!(none.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&none.stderr).contains("ping finds no graph"));
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn a_recording_holds_every_probe_and_its_answer_whole() {
    let lab = Lab::chain(2);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.pcap");
    let seconds = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    // Each error of IPv4 is shown with the request that it quotes.
    for (target, requests) in [(TARGET4, 5), (TARGET6, 3)] {
        let begin = seconds();
        let mut command = lab.command("src", sonde());
        command.args(["run", "trace", "--method", "ICMP-paris", "--pcap"]).arg(&file).arg(target);
        assert_eq!(Finished::of(&mut command).code, 0);
        let end = seconds();
        let mut command = lab.command("src", "tcpdump");
        let read = sonde_tests::run(command.args(["-n", "-vv", "-tt", "-r"]).arg(&file));
        let text = String::from_utf8_lossy(&read.stdout).into_owned();
        for (words, count) in
            [("echo request", requests), ("time exceeded in-transit", 2), ("echo reply", 1)]
        {
            assert_eq!(text.matches(words).count(), count, "{words}: {text}");
        }
        assert!(!text.contains("bad cksum") && !text.contains("wrong"), "{text}");
        let packets = text.lines().filter(|line| line.starts_with(|first: char| first != '\t'));
        let times = packets.filter_map(|line| line.split(' ').next()?.parse::<f64>().ok());
        let times: Vec<f64> = times.collect();
        assert_eq!(times.len(), 6, "{text}");
        assert!(times.iter().all(|time| (begin..end).contains(time)), "{begin} {end} {text}");
    }
}

#[test]
#[ignore = "needs root: packet sockets"]
fn a_program_that_is_replaced_while_it_runs_still_starts_workers() {
    let folder = tempfile::tempdir().unwrap();
    let [program, output, next] = ["sonde", "output", "next"].map(|it| folder.path().join(it));
    std::fs::copy(sonde(), &program).unwrap();
    let mut command = Command::new(&program);
    command.args(["run", "ping", "-c", "1", "--format", "json", "--targets", "-", "--plugins"]);
    command.arg(sonde().parent().unwrap());
    let command = command.stdin(Stdio::piped()).stdout(File::create(&output).unwrap());
    let mut child = command.spawn().unwrap();
    let mut targets = child.stdin.take().unwrap();
    writeln!(targets, "127.0.0.1").unwrap();
    wait_until("a result", Duration::from_secs(60), || lines(&output) == 1);
    std::fs::write(&next, "another program").unwrap();
    std::fs::rename(&next, &program).unwrap();
    let shell = |script: String| Command::new("sh").args(["-c", &script]).output().unwrap().stdout;
    let workers = || shell(format!("cat /proc/{}/task/*/children", child.id()));
    let worker = workers();
    shell(format!("kill -KILL {}", String::from_utf8(worker.clone()).unwrap()));
    wait_until("the next worker", Duration::from_secs(60), || {
        let workers = workers();
        !workers.is_empty() && workers != worker
    });
    writeln!(targets, "127.0.0.2").unwrap();
    drop(targets);
    assert!(child.wait().unwrap().success());
    let records = std::fs::read_to_string(&output).unwrap();
    assert_eq!(records.matches("\"status\":\"done\"").count(), 2, "{records}");
}

#[test]
#[ignore = "needs root: packet sockets"]
fn a_plugin_that_is_kept_down_costs_a_campaign_only_what_was_running() {
    const TARGETS: u32 = 300;
    let folder = tempfile::tempdir().unwrap();
    let [targets, output] = ["targets", "output"].map(|it| folder.path().join(it));
    let base = u32::from(Ipv4Addr::new(127, 0, 1, 0));
    let addresses = (0..TARGETS).map(|number| format!("{}\n", Ipv4Addr::from(base + number)));
    std::fs::write(&targets, addresses.collect::<String>()).unwrap();
    let mut command = Command::new(sonde());
    command.args(["run", "ping", "-c", "2", "-i", "0.2", "--pps", "300", "--window", "8"]);
    command.args(["--format", "json", "--plugins"]).arg(sonde().parent().unwrap());
    command.arg("--targets").arg(&targets).stdout(File::create(&output).unwrap());
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    wait_until("a result", Duration::from_secs(60), || lines(&output) > 0);
    let shell = |script: String| Command::new("sh").args(["-c", &script]).output().unwrap().stdout;
    let mut last = Vec::new();
    // Five times the worker is back at once, the sixth time in a second.
    for _ in 0..6 {
        wait_until("a worker", Duration::from_secs(60), || {
            let worker = shell(format!("cat /proc/{}/task/*/children", child.id()));
            let is_next = !worker.is_empty() && worker != last;
            last = if is_next { worker } else { std::mem::take(&mut last) };
            is_next
        });
        shell(format!("kill -KILL {}", String::from_utf8_lossy(&last)));
    }
    let ended = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
    let records = std::fs::read_to_string(&output).unwrap();
    let count = |status: &str| records.matches(&format!("\"status\":\"{status}\"")).count();
    assert_eq!(count("done") + count("failed"), TARGETS as usize, "{errors}");
    assert!((1..=6 * 8).contains(&count("failed")), "{} failed: {errors}", count("failed"));
    assert_eq!(errors.matches("the other targets wait for it").count(), 1, "{errors}");
    assert_eq!(ended.status.code(), Some(5), "{errors}");
}

#[test]
#[ignore = "needs root: packet sockets"]
fn a_third_signal_ends_a_run_whose_results_nobody_reads() {
    let (_unread, mut pipe) = std::io::pipe().unwrap();
    pipe.write_all(&[b'\n'; 1 << 16]).unwrap();
    let mut command = Command::new(sonde());
    command.args(["run", "ping", "-c", "1000", "--format", "json", "no/name", "127.0.0.1"]);
    command.arg("--plugins").arg(sonde().parent().unwrap());
    let mut child = command.stdout(pipe).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    // Now it measures, and hears signals.
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut told).unwrap();
    assert!(told.contains("no/name is no target"), "{told}");
    wait_until("the end", Duration::from_secs(20), || {
        let process = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &process]).status().unwrap().success());
        child.try_wait().unwrap().is_some()
    });
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
