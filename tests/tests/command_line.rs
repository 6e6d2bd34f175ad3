//! What the command line promises: messages, exit codes, records.
#![allow(clippy::unwrap_used, reason = "a test ends with a panic")]

use sonde_tests::{Finished, sonde};
use std::{
    io::Read,
    process::{Command, Stdio},
};

fn sonde_with(arguments: &[&str]) -> Finished {
    Finished::of(Command::new(sonde()).args(arguments))
}

#[test]
fn a_wrong_value_is_answered_with_the_parameter_and_what_is_accepted() {
    let run = sonde_with(&["run", "ping", "--method", "icmp-ecko", "127.0.0.1"]);
    assert_eq!(run.code, 2);
    for word in ["method", "icmp-ecko", "icmp-echo", "tcp-syn"] {
        assert!(run.errors.contains(word), "{}", run.errors);
    }
    let run = sonde_with(&["run", "ping", "--size", "7", "127.0.0.1"]);
    assert_eq!(run.code, 2);
    assert_eq!(run.errors, "sonde: --size is 7, accepted: 28 ... 65535\n");
}

#[test]
fn parameters_that_do_not_go_together_are_a_mistake_of_usage_and_named_as_they_were_typed() {
    for (arguments, said) in [
        (&["trace", "-N", "9"][..], "--hopwindow is 9, accepted: 1 ... 5, which is --gaplimit"),
        (&["trace", "-f", "9", "-m", "3"], "--firsthop is 9, accepted: 0 ... 3, which is --maxttl"),
        (&["tracelb", "-c", "97"], "--confidence is 97, accepted: 95 or 99"),
    ] {
        let all = [&["run"], arguments, &["127.0.0.1"]].concat();
        let text = sonde_with(&[&all[..], &["--format", "text"]].concat());
        assert_eq!(text.code, 2, "{arguments:?}: {}", text.output);
        assert!(text.output.contains(&format!("127.0.0.1: failed: {said}")), "{}", text.output);
        let json = sonde_with(&[&all[..], &["--format", "json"]].concat());
        assert_eq!((json.code, &json.records()[0]["status"]), (2, &"failed".into()));
    }
}

#[test]
fn an_unknown_method_or_option_is_a_mistake_of_usage() {
    assert_eq!(sonde_with(&["run", "pinng", "127.0.0.1"]).code, 2);
    assert_eq!(sonde_with(&["run", "ping", "--no-such", "1", "127.0.0.1"]).code, 2);
    assert_eq!(sonde_with(&["run", "ping"]).code, 2);
    assert_eq!(sonde_with(&["methods", "pinng"]).code, 2);
}

#[test]
fn help_and_pages_come_from_the_descriptor() {
    let help = sonde_with(&["run", "ping", "--help"]);
    assert_eq!(help.code, 0);
    for word in ["--count", "-c", "--tos", "icmp-echo", "default: icmp-echo"] {
        assert!(help.output.contains(word), "{word} is not in\n{}", help.output);
    }
    let help = sonde_with(&["run", "sting", "--help"]).output;
    assert!(help.contains("(1 ... 1000, in ms)"), "{help}");
    assert!(sonde_with(&["methods"]).output.contains("ping"));
    assert!(sonde_with(&["completions", "bash"]).output.contains("ping"));
    assert!(sonde_with(&["man"]).output.contains("sonde run ping"));
    let shown = sonde_with(&["methods", "ping"]).output;
    assert!(shown.contains("\n  TARGET ") && !shown.contains("--destination"), "{shown}");
    let schema = sonde_with(&["methods", "ping", "--schema"]);
    assert!(schema.output.contains("\"rtt_us\""), "{}", schema.output);
}

#[test]
#[ignore = "needs root: opens packet sockets"]
fn loopback_answers_in_both_families_and_the_record_is_complete() {
    let run = sonde_with(&[
        "run",
        "ping",
        "-c",
        "2",
        "-i",
        "0.1",
        "--format",
        "json",
        "127.0.0.1",
        "::1",
    ]);
    assert_eq!(run.code, 0, "{}{}", run.output, run.errors);
    let records = run.records();
    assert_eq!(records.len(), 2);
    for record in records {
        assert_eq!(record["record"], 1);
        assert_eq!(record["method"], "ping");
        assert_eq!(record["status"], "done");
        assert_eq!(record["source"], record["destination"]);
        assert_eq!(record["counters"]["answered"], 2);
        assert_eq!(record["parameters"]["count"], 2);
        assert_eq!(record["tables"]["summary"].as_array().unwrap().len(), 1);
    }
}

#[test]
#[ignore = "needs root: opens packet sockets"]
fn a_record_says_what_was_asked_for_where_that_is_not_the_address() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    std::fs::write(&list, "localhost\n127.0.0.1\n::ffff:127.0.0.1\n").unwrap();
    let ping = ["run", "ping", "-4", "-c", "1", "--format", "json", "--targets"];
    for dns in [&[][..], &["--dns"]] {
        let run = sonde_with(&[&ping[..], &[list.to_str().unwrap()], dns].concat());
        assert_eq!(run.code, 0, "{}", run.errors);
        let records = run.records();
        assert!(records.iter().all(|record| record["destination"] == "127.0.0.1"));
        let mut targets: Vec<_> = records.iter().map(|record| record["target"].as_str()).collect();
        targets.sort_unstable();
        assert_eq!(targets, [None, Some("::ffff:127.0.0.1"), Some("localhost")]);
    }
}

#[test]
#[ignore = "needs root: opens packet sockets"]
fn a_target_that_the_source_does_not_go_with_costs_no_other_of_its_list() {
    let ping = ["run", "ping", "-c", "1", "-I", "127.0.0.1", "--format", "json"];
    let alone = sonde_with(&[&ping[..], &["::1"]].concat());
    assert_eq!((alone.code, alone.records().len()), (2, 0), "{}", alone.errors);
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    std::fs::write(&list, "127.0.0.1\n::1\n127.0.0.2\n").unwrap();
    let listed = sonde_with(&[&ping[..], &["--targets", list.to_str().unwrap()]].concat());
    let failed = |record: &&serde_json::Value| record["status"] == "failed";
    let (records, errors) = (listed.records(), &listed.errors);
    assert_eq!((listed.code, records.len()), (2, 3), "{errors}");
    assert_eq!(records.iter().filter(failed).count(), 1, "{errors}");
    assert!(listed.errors.contains("::1: --source is "), "{}", listed.errors);
}

#[test]
#[ignore = "needs root: opens packet sockets"]
fn both_isolations_give_the_same_rows() {
    let rows = |isolation: &str| {
        let arguments = ["run", "ping", "-c", "3", "-i", "0.05", "--format", "json", "127.0.0.1"];
        let run =
            Finished::of(Command::new(sonde()).args(arguments).args(["--isolation", isolation]));
        assert_eq!(run.code, 0, "{}", run.errors);
        let record = run.records().remove(0);
        let rows = record["tables"]["replies"].as_array().unwrap().clone();
        rows.into_iter()
            .map(|row| (row["seq"].clone(), row["addr"].clone(), row["ttl"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(rows("process"), rows("inline"));
}

#[test]
#[ignore = "needs root: opens packet sockets"]
fn a_list_without_targets_is_a_mistake_of_usage() {
    let list = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(list.path(), "# none yet\n").unwrap();
    let run = sonde_with(&["run", "ping", "--targets", list.path().to_str().unwrap()]);
    assert_eq!((run.code, run.errors.as_str()), (2, "sonde: there are no targets\n"));
}

/// A copy with the plugin ping, which everybody can read: the build folder may be closed to others.
fn open_to_all() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let program = folder.path().join("sonde");
    std::fs::copy(sonde(), &program).unwrap();
    std::fs::copy(sonde_tests::plugin("ping"), folder.path().join("libsonde_ping.so")).unwrap();
    (folder, program)
}

#[test]
#[ignore = "needs root: opens packet sockets"]
fn no_target_has_ended_where_its_result_goes_nowhere_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let [list, journal] = ["list", "journal"].map(|it| folder.path().join(it));
    std::fs::write(&list, "127.0.0.1\n").unwrap();
    for (output, code) in [(">&-", 2), (">/dev/null", 0)] {
        let script = format!("exec \"$0\" run ping -c 1 --targets \"$1\" --resume \"$2\" {output}");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(sonde()).arg(&list).arg(&journal);
        let run = Finished::of(&mut command);
        assert_eq!((run.code, journal.exists()), (code, code == 0), "{output}: {}", run.errors);
    }
}

#[test]
#[ignore = "needs root: drops to a user without rights"]
fn without_the_right_to_packet_sockets_the_exit_code_is_three_and_the_text_says_what_helps() {
    let (_folder, program) = open_to_all();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.args(["--bounding-set=-all", "--inh-caps=-all"]).env_remove("XDG_RUNTIME_DIR");
    let run = Finished::of(command.arg(program).args(["run", "ping", "127.0.0.1"]));
    assert_eq!(run.code, 3, "{}{}", run.output, run.errors);
    assert!(run.errors.contains("CAP_NET_RAW"), "{}", run.errors);
}

#[test]
#[ignore = "needs root: drops a right"]
fn who_may_not_measure_loses_nothing_that_was_measured_before() {
    let folder = tempfile::tempdir().unwrap();
    for (method, kept) in [("ping", "--pcap"), ("tracelb", "--svg"), ("tracelb", "--dot")] {
        let file = folder.path().join(kept);
        std::fs::write(&file, "measured before").unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-net_raw", "--inh-caps=-net_raw"]).arg(sonde());
        command.args(["run", method, "127.0.0.1", kept]).arg(&file);
        let run = Finished::of(&mut command);
        assert_eq!(run.code, 3, "{kept}: {}", run.errors);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "measured before", "{kept}");
    }
}

#[test]
#[ignore = "needs root: gives a file a capability"]
fn a_plugin_does_not_get_the_sockets_of_a_program_that_anybody_may_run() {
    let (_folder, program) = open_to_all();
    let grant = Command::new("setcap").arg("cap_net_raw+ep").arg(&program).status().unwrap();
    assert!(grant.success());
    let run = |isolation: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        command.args(["run", "ping", "-c", "1", "--format", "text", "--isolation", isolation]);
        Finished::of(command.arg("::1").env_remove("XDG_RUNTIME_DIR"))
    };
    assert_eq!(run("process").code, 0);
    let inline = run("inline");
    assert_eq!(inline.code, 5, "{}", inline.output);
    assert!(inline.output.contains("isolation is inline, accepted: process"), "{}", inline.output);
}

#[test]
#[ignore = "needs root: mounts"]
fn private_copies_are_where_something_can_be_loaded_from_and_only_plugins_need_them() {
    let folder = tempfile::tempdir().unwrap();
    let places = ["cache", "runtime", "temporary"].map(|name| folder.path().join(name));
    for place in &places {
        std::fs::create_dir(place).unwrap();
    }
    let [cache, runtime, temporary] = &places;
    let run = |mounts: &str, arguments: &[&str]| {
        let script = format!("{mounts}\nexec \"$0\" \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", &script]).arg(sonde()).args(arguments);
        command.env_remove("CACHE_DIRECTORY").env("XDG_CACHE_HOME", cache);
        Finished::of(command.env("XDG_RUNTIME_DIR", runtime).env("TMPDIR", temporary))
    };
    let mount = |options: &str, place: &std::path::Path| {
        format!("mount -t tmpfs -o {options} tmpfs {}\n", place.display())
    };
    let first = run(&mount("noexec", cache), &["run", "ping", "-c", "1", "::1"]);
    assert_eq!(first.code, 0, "{}", first.errors);
    assert!(std::fs::read_dir(runtime).unwrap().next().is_some());
    let nowhere: String = places.iter().map(|place| mount("ro", place)).collect();
    for arguments in [&["--version"][..], &["plugin", "new", "--help"], &["shell", "--help"]] {
        assert_eq!(run(&nowhere, arguments).code, 0, "{arguments:?}");
    }
    let none = run(&nowhere, &["run", "ping", "::1"]);
    assert_eq!(none.code, 2);
    for place in &places {
        let reason = format!("{}: Read-only file system", place.display());
        assert!(none.errors.contains(&reason), "{}", none.errors);
    }
}

#[test]
fn the_first_program_of_a_new_account_makes_its_cache() {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(sonde());
    command.arg("methods").env("HOME", home.path()).env("TMPDIR", "/nowhere");
    command.env_remove("CACHE_DIRECTORY").env_remove("XDG_CACHE_HOME");
    let run = Finished::of(command.env_remove("XDG_RUNTIME_DIR"));
    assert!(run.output.contains("ping"), "{}", run.errors);
}

/// The program with its standard output on a device that never has room.
fn without_room(arguments: &[&str]) -> Finished {
    let full = std::fs::File::create("/dev/full").unwrap();
    Finished::of(Command::new(sonde()).args(arguments).stdout(full))
}

/// The program with its standard output in a pipe that nobody reads.
fn unread(arguments: &[&str]) -> Finished {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Finished::of(Command::new(sonde()).args(arguments).stdout(writer))
}

const NO_ROOM: &str = "sonde: standard output: No space left on device (os error 28)\n";

#[test]
fn what_cannot_be_printed_is_a_failure_and_what_nobody_reads_is_none() {
    for arguments in [
        &["methods"][..],
        &["methods", "ping"],
        &["methods", "ping", "--json"],
        &["man"],
        &["completions", "bash"],
        &["--help"],
    ] {
        let run = without_room(arguments);
        assert_eq!((run.code, run.errors.as_str()), (5, NO_ROOM), "{arguments:?}");
        let run = unread(arguments);
        assert_eq!((run.code, run.errors.as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn a_file_that_may_not_become_longer_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(folder.path().join("help")).unwrap();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 0; exec \"$0\" --help"]).arg(sonde()).stdout(file);
    let limited = Finished::of(&mut limited);
    assert_eq!(limited.errors, "sonde: standard output: File too large (os error 27)\n");
    assert_eq!(limited.code, 5);
}

#[test]
fn a_line_of_the_log_that_cannot_be_written_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.conf");
    let entries = "workflow = client-initiated\ndefault-url = http://127.0.0.1:1\nother = x\n";
    std::fs::write(&file, format!("[client]\n{entries}")).unwrap();
    let shell = || {
        let mut command = Command::new(sonde());
        command.args(["shell", "--config", file.to_str().unwrap(), "-c", "listcap"]);
        command
    };
    let read = Finished::of(&mut shell());
    assert!(read.errors.contains("other does nothing here"), "{}", read.errors);
    let full = std::fs::File::create("/dev/full").unwrap();
    assert_eq!(Finished::of(shell().stderr(full)).code, read.code);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(Finished::of(shell().stderr(writer)).code, read.code);
}

#[test]
#[ignore = "needs root: opens packet sockets"]
fn signals_that_the_caller_ignores_end_nothing() {
    let ping = "run ping -c 20 -i 0.1 --pps 50 --format text ::1";
    for (ignored, sent, goes_on) in
        [("HUP INT", &["-HUP", "-INT"][..], true), ("HUP", &["-INT"], false)]
    {
        let script = format!("trap '' {ignored}; exec \"$0\" {ping}");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(sonde()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        // The handlers are set before the first row.
        output.read_exact(&mut [0]).unwrap();
        for signal in sent {
            let id = child.id().to_string();
            assert!(Command::new("kill").args([*signal, &id]).status().unwrap().success());
        }
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        child.wait().unwrap();
        assert_eq!(rest.contains("20 probes sent"), goes_on, "{rest}");
    }
}

#[test]
#[ignore = "needs root: opens packet sockets"]
fn results_that_cannot_be_written_are_a_failure_and_are_measured_again() {
    let folder = tempfile::tempdir().unwrap();
    let (list, journal) = (folder.path().join("list"), folder.path().join("journal"));
    std::fs::write(&list, "127.0.0.1\n127.0.0.2\n::1\n").unwrap();
    let (list, journal) = (list.to_str().unwrap(), journal.to_str().unwrap());
    let ping = ["run", "ping", "-c", "1"];
    for form in ["text", "json"] {
        let named = [&ping[..], &["--format", form, "127.0.0.1"]].concat();
        let listed = [&ping[..], &["--format", form, "--targets", list]].concat();
        let dns = [&listed[..], &["--dns"]].concat();
        for arguments in [&named, &listed, &dns] {
            let run = without_room(arguments);
            assert_eq!((run.code, run.errors.as_str()), (5, NO_ROOM), "{arguments:?}");
            let run = unread(arguments);
            assert_eq!((run.code, run.errors.as_str()), (0, ""), "{arguments:?}");
        }
    }
    let resumed = [&ping[..], &["--format", "json", "--targets", list, "--resume", journal]];
    let resumed = resumed.concat();
    assert_eq!(without_room(&resumed).code, 5);
    assert_eq!(sonde_with(&resumed).records().len(), 3);
    assert_eq!(sonde_with(&resumed).records().len(), 0);

    // A resolver may know a name the next time, and has no third one.
    std::fs::write(list, "no..where\n127.0.0.1\n").unwrap();
    std::fs::remove_file(journal).unwrap();
    for (round, status) in [Some("done"), Some("failed"), None].into_iter().enumerate() {
        let run = sonde_with(&resumed);
        assert_eq!(run.errors.contains("no..where: "), round < 2, "{round}: {}", run.errors);
        let statuses = run.records().iter().map(|it| it["status"].clone()).collect::<Vec<_>>();
        assert_eq!(statuses, status.into_iter().collect::<Vec<_>>(), "{round}");
    }
}

#[test]
#[ignore = "needs root: opens packet sockets"]
fn every_line_of_a_list_has_a_record_also_where_it_cannot_be_measured() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list").display().to_string();
    std::fs::write(&list, "no..where\n127.0.0.1\n::1\nno/name\nm\u{fc}nchen..\n").unwrap();
    let arguments = ["--source", "127.0.0.1", "--format", "json", "--targets", &list];
    let run = sonde_with(&[&["run", "ping", "-c", "1"], &arguments[..]].concat());
    let mut told: Vec<String> = run
        .records()
        .iter()
        .map(|it| format!("{} {} {}", it["target"], it["destination"], it["status"]))
        .collect();
    told.sort();
    let expected = [
        "\"m\u{fc}nchen..\" null \"failed\"",
        "\"no..where\" null \"failed\"",
        "\"no/name\" null \"failed\"",
        "null \"127.0.0.1\" \"done\"",
        "null \"::1\" \"failed\"",
    ];
    assert_eq!(told, expected, "{}", run.errors);
}

#[test]
#[ignore = "needs root: opens packet sockets"]
fn what_is_kept_beside_results_that_nobody_reads_is_written_and_said_to_be_a_part() {
    let folder = tempfile::tempdir().unwrap();
    let [svg, pcap, list, journal] =
        ["svg", "pcap", "list", "journal"].map(|it| folder.path().join(it).display().to_string());
    std::fs::write(&list, "127.0.0.1\n127.0.0.2\n").unwrap();
    for arguments in [
        &["tracelb", "127.0.0.1", "--svg", &svg][..],
        &["ping", "-c", "2", "127.0.0.1", "127.0.0.2", "--pcap", &pcap],
        &["ping", "-c", "1", "--targets", &list, "--resume", &journal],
    ] {
        let run = unread(&[&["run"], arguments].concat());
        let expected = "sonde: standard output: Broken pipe (os error 32)\n";
        assert_eq!((run.code, run.errors.as_str()), (5, expected), "{arguments:?}");
    }
    let drawn = std::fs::read_to_string(svg).unwrap();
    assert!(drawn.ends_with("</svg>\n"), "{drawn}");
}

#[test]
#[ignore = "needs root: opens packet sockets"]
fn drawings_and_recordings_that_cannot_be_written_are_a_failure() {
    let lost = |arguments: &[&str]| {
        let run = sonde_with(&[arguments, &["--format", "json", "127.0.0.1"]].concat());
        (run.code, run.errors)
    };
    for drawing in ["--svg", "--dot"] {
        let (code, errors) = lost(&["run", "tracelb", drawing, "/dev/full"]);
        assert_eq!((code, errors.contains("/dev/full: No space left")), (5, true), "{errors}");
    }
    let (code, errors) = lost(&["run", "ping", "-c", "1", "--pcap", "/dev/full"]);
    assert_eq!((code, errors.contains("/dev/full: No space left")), (5, true), "{errors}");
    // Whoever reads goes away after the head of the file.
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || {
            let mut head = [0; 24];
            std::fs::File::open(pipe).unwrap().read_exact(&mut head).unwrap();
        }
    });
    let (code, errors) = lost(&["run", "ping", "-c", "2", "--pcap", pipe.to_str().unwrap()]);
    reader.join().unwrap();
    assert_eq!(
        (code, errors.contains("the end of the recording is missing")),
        (5, true),
        "{errors}"
    );
}
