//! What a plugin can do to its host: fail its own tasks, or lose its worker. Each misdeed is one
//! clear line, and the port beside it goes on.
#![allow(clippy::unwrap_used)] // helpers of tests, which the lint does not see

mod common;

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{End, Engine, Place, limits, plugin, program};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    process::{Pid, PidfdFlags, Signal},
};
use sonde_plugin_api::{abi::FailKind, port::Port};
use sonde_worker::{Limits, ProcessPort};

/// A misdeed in one worker while another has work before and after.
fn why_lost(how: &str, limits: Limits) -> String {
    let place = Place::new();
    let hostile = plugin("hostile");
    let mut bad = place.process_with(&hostile, limits);
    let mut good = place.process(&hostile);
    let (mut one, mut other) = (Engine::default(), Engine::default());
    other.start(&mut good, 1, &place.parameters("fine"));
    let lost = one.see(&mut bad, 5, &place.parameters(how)).unwrap_err();
    assert_eq!(bad.lost_at(), lost.contains(" in task 5").then_some(5), "{lost}");
    other.run(&mut good, &[1]);
    assert_eq!(other.ends[&1], End::Finished("fine".into()));
    assert_eq!(
        other.see(&mut good, 2, &place.parameters("fine")),
        Ok(End::Finished("fine".into()))
    );
    // It is back at once.
    assert_eq!(bad.ready(), Ok(()));
    assert_eq!(one.see(&mut bad, 5, &place.parameters("fine")), Ok(End::Finished("fine".into())));
    lost
}

/// What the jail makes of something: the log of the task, which itself ends well, and the warnings
/// beside it.
fn tried(hows: &[&str]) -> (Vec<String>, Vec<(u32, String)>) {
    let place = Place::new();
    let mut port = place.process(&plugin("hostile"));
    let mut engine = Engine::default();
    for (task, how) in (1..).zip(hows) {
        assert_eq!(
            engine.see(&mut port, task, &place.parameters(how)),
            Ok(End::Finished("fine".into())),
            "{how}"
        );
    }
    (engine.logs, engine.warnings)
}

#[test]
fn panic_fails_the_task_alone() {
    let place = Place::new();
    let mut port = place.process(&plugin("hostile"));
    let mut engine = Engine::default();
    engine.start(&mut port, 1, &place.parameters("fine"));
    engine.start(&mut port, 2, &place.parameters("panic"));
    engine.start(&mut port, 3, &place.parameters("panic-in-destructor"));
    engine.start(&mut port, 4, &place.parameters("fine"));
    engine.run(&mut port, &[1, 2, 3, 4]);
    assert_eq!(engine.ends[&1], End::Finished("fine".into()));
    assert_eq!(engine.ends[&4], End::Finished("fine".into()));
    let End::Failed(FailKind::Panic, text) = &engine.ends[&2] else { panic!("{engine:?}") };
    assert!(text.starts_with("boom at "), "{text}");
    let End::Failed(FailKind::Panic, text) = &engine.ends[&3] else { panic!("{engine:?}") };
    assert!(text.starts_with("panic in a destructor at "), "{text}");
}

/// Misdeeds that the jail refuses, and the system call that they come down to, which may depend on
/// the C library.
const REFUSED: [(&str, &str); 33] = [
    ("file", "openat"),
    ("system-library", "openat"),
    ("write-file", "openat"),
    ("remove", "unlink unlinkat"),
    ("udp", "socket"),
    ("tcp", "socket"),
    ("exec", "clone3 clone vfork fork"),
    ("thread", "clone3 clone"),
    ("fork", "clone3 clone fork"),
    ("packet-socket", "socket"),
    ("unix-socket", "socket"),
    ("kill-all", "kill"),
    ("close-descriptors", "close"),
    ("proc", "openat"),
    ("kill-init", "kill"),
    ("ptrace", "ptrace"),
    ("memfd", "memfd_create"),
    ("raise-limits", "prlimit64"),
    ("io-uring", "io_uring_setup"),
    ("bpf", "bpf"),
    ("unshare", "unshare"),
    ("executable-memory", "mmap"),
    ("make-executable", "mprotect"),
    ("write-to-host", "write"),
    ("perf-events", "perf_event_open"),
    ("userfaultfd", "userfaultfd"),
    ("undo-limits", "prctl"),
    ("become-root", "setuid"),
    ("shared-memory", "shmget"),
    ("host-memory", "process_vm_readv"),
    ("other-descriptors", "pidfd_getfd"),
    ("clock", "clock_adjtime adjtimex"),
    ("own-handler", "rt_sigaction"),
];

#[test]
fn what_the_jail_refuses_is_an_error_with_a_warning_that_names_the_call_and_the_task_goes_on() {
    let (logs, warnings) = tried(&REFUSED.map(|(how, _)| how));
    let expected = REFUSED.map(|(how, _)| format!("{how}: Operation not permitted (os error 1)"));
    assert_eq!(logs, expected);
    for (task, (how, calls)) in (1..).zip(REFUSED) {
        let warned = warnings.iter().rfind(|(of, _)| *of == task);
        let is_named = |call| {
            let text = format!("the plugin tried the system call {call}, which its jail refuses");
            warned.is_some_and(|(_, warning)| *warning == text)
        };
        assert!(calls.split(' ').any(is_named), "{how}: {warned:?}");
    }
}

#[test]
fn the_same_misdeed_over_and_over_is_told_once() {
    let place = Place::new();
    let mut port = place.process(&plugin("hostile"));
    let mut engine = Engine::default();
    for _ in 0..3 {
        engine.see(&mut port, 1, &place.parameters("many-sockets")).unwrap();
    }
    assert_eq!(engine.warnings.len(), 1, "{:?}", engine.warnings);
}

#[test]
fn refused_call_behind_a_blocked_signal_loses_the_worker() {
    assert_eq!(
        why_lost("block-trap", limits()),
        "worker of fixture died in task 5: signal 31 (forbidden system call)"
    );
}

#[test]
fn what_only_computes_works_in_the_jail() {
    let (logs, warnings) = tried(&["hash-map", "print", "environment"]);
    assert_eq!(logs, ["hash-map: it worked", "print: it worked", "environment: 0 variables"]);
    assert_eq!(warnings, []);
}

#[test]
fn segmentation_fault_loses_the_worker() {
    assert_eq!(
        why_lost("segfault", limits()),
        "worker of fixture died in task 5: signal 11 (segmentation fault)"
    );
}

#[test]
fn abort_and_exit_lose_the_worker() {
    assert_eq!(why_lost("abort", limits()), "worker of fixture died in task 5: signal 6 (aborted)");
    assert_eq!(why_lost("exit", limits()), "worker of fixture died in task 5: exit status 3");
}

#[test]
fn second_panic_while_unwinding_loses_the_worker() {
    let lost = why_lost("double-panic", limits());
    assert!(lost.starts_with("worker of fixture died in task 5: "), "{lost}");
    assert!(lost.contains("panic"), "{lost}");
    assert!(lost.ends_with(", signal 6 (aborted)"), "{lost}");
}

#[test]
fn overflowing_stack_loses_the_worker() {
    assert_eq!(
        why_lost("stack", limits()),
        "worker of fixture died in task 5: its stack overflowed, signal 6 (aborted)"
    );
}

#[test]
fn memory_beyond_the_limit_loses_the_worker() {
    assert_eq!(
        why_lost("allocate", limits()),
        "worker of fixture died in task 5: memory allocation of 1048576 bytes failed (its limit is \
         64 MiB), signal 6 (aborted)"
    );
    assert_eq!(
        why_lost("allocate-at-once", limits()),
        "worker of fixture died in task 5: memory allocation of 70368744177664 bytes failed (its \
         limit is 64 MiB), signal 6 (aborted)"
    );
}

#[test]
fn endless_loop_is_ended_after_the_limit() {
    let limits = Limits { poll: Duration::from_millis(200), ..limits() };
    assert_eq!(
        why_lost("loop", limits),
        "worker of fixture was stuck in task 5: ended after 200ms"
    );
}

#[test]
fn flood_of_text_neither_blocks_the_worker_nor_reaches_the_host() {
    assert_eq!(tried(&["flood"]), (vec![], vec![]));
}

#[test]
fn a_method_may_print_what_its_author_looks_for() {
    assert_eq!(tried(&["debug"]), (vec![], vec![]));
}

#[test]
fn killed_worker_is_back_within_a_tenth_of_a_second() {
    let place = Place::new();
    let mut port = place.process(&plugin("hostile"));
    let mut engine = Engine::default();
    let fine = place.parameters("fine");
    assert_eq!(engine.see(&mut port, 1, &fine), Ok(End::Finished("fine".into())));
    let back = (0..5).map(|_| {
        signal(&port, Signal::KILL);
        let begin = Instant::now();
        assert_eq!(
            engine.until_lost(&mut port),
            "worker of fixture died: signal 9 (killed from outside, perhaps for lack of memory)"
        );
        assert_eq!(engine.see(&mut port, 1, &fine), Ok(End::Finished("fine".into())));
        begin.elapsed()
    });
    // The fastest of them: the machine may be busy with other tests.
    let fastest = back.min().unwrap();
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
}

#[test]
fn sixth_crash_in_a_minute_keeps_the_plugin_down_for_a_while() {
    let place = Place::new();
    let mut port = place.process(&plugin("hostile"));
    let mut engine = Engine::default();
    let abort = place.parameters("abort");
    for _ in 0..5 {
        engine.see(&mut port, 1, &abort).unwrap_err();
        assert_eq!(port.ready(), Ok(()));
    }
    engine.see(&mut port, 1, &abort).unwrap_err();
    let begin = Instant::now();
    assert_eq!(
        port.ready().unwrap_err().reason,
        "worker of fixture died in task 1: signal 6 (aborted); it comes back in 1s"
    );
    assert!(!port.push(&sonde_plugin_api::abi::Event::ZERO, &[]));
    while port.ready().is_err() {
        engine.turn(&mut port);
    }
    assert!(begin.elapsed() >= Duration::from_millis(900), "{:?}", begin.elapsed());
    let fine = place.parameters("fine");
    assert_eq!(engine.see(&mut port, 1, &fine), Ok(End::Finished("fine".into())));
}

#[test]
fn dropped_port_leaves_no_process() {
    let place = Place::new();
    let port = place.process(&plugin("hostile"));
    let id = port.worker_id().unwrap();
    drop(port);
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::path::Path::new(&format!("/proc/{id}")).exists() {
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn a_plugin_that_is_started_again_answers_and_counts_a_crash() {
    let place = Place::new();
    let mut port = place.process(&plugin("hostile"));
    let mut engine = Engine::default();
    let (fine, busy) = (place.parameters("fine"), place.parameters("loop"));
    for _ in 0..5 {
        assert_eq!(engine.see(&mut port, 1, &fine), Ok(End::Finished("fine".into())));
        engine.start(&mut port, 2, &busy);
        port.restart("it takes no events");
        assert_eq!(port.ready(), Ok(()));
    }
    assert_eq!(engine.see(&mut port, 1, &fine), Ok(End::Finished("fine".into())));
    assert_eq!(engine.lost, [""; 0]);
    port.restart("it takes no events");
    let reason = port.ready().unwrap_err().reason;
    assert_eq!(reason, "it takes no events; it comes back in 1s");
}

#[test]
fn worker_ends_with_its_host() {
    let place = Place::new();
    let mut host = Command::new(program())
        .args([OsStr::new("host"), plugin("hostile").as_os_str(), place.store().as_os_str()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(host.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let worker = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
    let worker = rustix::process::pidfd_open(worker, PidfdFlags::empty()).unwrap();
    host.kill().unwrap();
    host.wait().unwrap();
    let mut fds = [PollFd::new(&worker, PollFlags::IN)];
    let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&patience)), Ok(1));
}

#[test]
fn worker_that_was_stopped_and_continued_goes_on() {
    let place = Place::new();
    let mut port = place.process(&plugin("hostile"));
    let mut engine = Engine::default();
    let fine = place.parameters("fine");
    engine.see(&mut port, 1, &fine).unwrap();
    signal(&port, Signal::STOP);
    signal(&port, Signal::CONT);
    assert_eq!(engine.see(&mut port, 1, &fine), Ok(End::Finished("fine".into())));
}

#[test]
fn worker_that_stays_stopped_is_ended_where_it_has_work_and_lives_where_it_has_none() {
    let place = Place::new();
    let [mut idle, mut busy] = [(); 2].map(|()| place.process(&plugin("hostile")));
    let fine = place.parameters("fine");
    let [mut of_idle, mut of_busy] = [(); 2].map(|()| Engine::default());
    for (engine, port) in [(&mut of_idle, &mut idle), (&mut of_busy, &mut busy)] {
        engine.see(port, 1, &fine).unwrap();
        signal(port, Signal::STOP);
    }
    of_busy.start(&mut busy, 2, &fine);
    // For longer than the limit, both are stopped.
    let lost = of_busy.until_lost(&mut busy);
    assert_eq!(lost, "worker of fixture was stuck: ended after 500ms");
    of_idle.collect(&mut idle);
    signal(&idle, Signal::CONT);
    assert_eq!(of_idle.see(&mut idle, 2, &fine), Ok(End::Finished("fine".into())));
    assert_eq!(of_idle.lost, [""; 0]);
}

#[test]
fn many_ports_share_one_plugin() {
    let place = Place::new();
    let fine = place.parameters("fine");
    let mut ports: Vec<_> = (0..8).map(|_| place.process(&plugin("hostile"))).collect();
    let mut engines: Vec<Engine> = ports.iter().map(|_| Engine::default()).collect();
    for (engine, port) in engines.iter_mut().zip(&mut ports) {
        engine.start(port, 1, &fine);
    }
    for (engine, port) in engines.iter_mut().zip(&mut ports) {
        engine.run(port, &[1]);
        assert_eq!(engine.ends[&1], End::Finished("fine".into()));
    }
}

#[test]
#[ignore = "needs root: a worker hides from its own user"]
fn worker_holds_nothing_of_the_host() {
    let place = Place::new();
    // Without close-on-exec, as a careless library would leave it.
    let careless = rustix::io::dup(std::io::stderr()).unwrap();
    rustix::io::fcntl_setfd(&careless, rustix::io::FdFlags::empty()).unwrap();
    let mut port = place.process(&plugin("hostile"));
    let mut engine = Engine::default();
    let fine = place.parameters("fine");
    assert_eq!(engine.see(&mut port, 1, &fine), Ok(End::Finished("fine".into())));
    let process = format!("/proc/{}", port.worker_id().unwrap());
    let mut fds: Vec<_> = std::fs::read_dir(format!("{process}/fd"))
        .unwrap()
        .map(|entry| {
            let target = std::fs::read_link(entry.unwrap().path()).unwrap();
            let target = target.to_string_lossy().into_owned();
            target.split([':', ' ', '[']).next().unwrap_or_default().to_owned()
        })
        .collect();
    fds.sort();
    assert_eq!(fds, ["/dev/null", "/memfd", "anon_inode", "anon_inode", "pipe", "socket"]);
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().last().unwrap_or_default().to_owned()
    };
    assert_eq!(field("Seccomp:"), "2");
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Threads:"), "1");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
}

fn signal(port: &ProcessPort, signal: Signal) {
    let pid = Pid::from_raw(port.worker_id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
