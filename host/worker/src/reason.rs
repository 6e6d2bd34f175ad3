//! Why a worker is gone, in one line for the operator.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};

use crate::{
    Limits,
    error::{Octets, one_line},
};

/// What is known about a worker that ended without being told to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Death<'a> {
    pub(crate) name: &'a str,
    pub(crate) status: Option<ExitStatus>,
    /// Whether the plugin had been loaded.
    pub(crate) ready: bool,
    /// What it worked on.
    pub(crate) task: Option<u32>,
    /// The end of its standard error.
    pub(crate) stderr: &'a str,
    pub(crate) limits: &'a Limits,
}

impl Death<'_> {
    pub(crate) fn reason(&self) -> String {
        let name = self.name;
        if !self.ready {
            return format!("worker of {name} could not load it: {}", self.cause());
        }
        format!("worker of {name} died{}: {}", at(self.task), self.cause())
    }

    /// The last words and how it ended; of a worker that refused its plugin the words alone.
    pub(crate) fn cause(&self) -> String {
        let status = self.status.map_or_else(|| "for unknown reasons".to_owned(), ended);
        match said(self.stderr, self.limits) {
            Some(said) if !self.ready => said,
            Some(said) => format!("{said}, {status}"),
            None => status,
        }
    }
}

/// A worker that did not answer a batch.
pub(crate) fn stuck(name: &str, task: Option<u32>, limit: Duration) -> String {
    format!("worker of {name} was stuck{}: ended after {limit:?}", at(task))
}

/// A worker that computes although it says that it has nothing to do.
pub(crate) fn restless(name: &str, time: Duration) -> String {
    format!("worker of {name} used its processor for {time:?} with nothing to do: ended")
}

/// A worker that did not get as far as its first batch.
pub(crate) fn too_slow(name: &str, limit: Duration) -> String {
    format!("worker of {name} was not ready after {limit:?}: ended")
}

/// A worker that wrote nonsense into the shared memory.
pub(crate) fn broke_protocol(name: &str, violation: &str) -> String {
    format!("worker of {name} broke the protocol: {violation}: ended")
}

/// A system call that a plugin made and its jail refused.
pub(crate) fn refused_call(number: u32) -> String {
    match syscalls::Sysno::new(number as usize) {
        Some(call) => format!("the plugin tried the system call {call}, which its jail refuses"),
        None => format!("the plugin tried the system call {number}, which its jail refuses"),
    }
}

fn at(task: Option<u32>) -> String {
    task.map_or_else(String::new, |task| format!(" in task {task}"))
}

fn ended(status: ExitStatus) -> String {
    if let Some(signal) = status.signal() {
        return match signal_name(signal) {
            Some(name) => format!("signal {signal} ({name})"),
            None => format!("signal {signal}"),
        };
    }
    format!("exit status {}", status.code().unwrap_or_default())
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGILL => "illegal instruction",
        libc::SIGTRAP => "trap",
        libc::SIGABRT => "aborted",
        libc::SIGBUS => "bus error",
        libc::SIGFPE => "arithmetic error",
        libc::SIGKILL => "killed from outside, perhaps for lack of memory",
        libc::SIGSEGV => "segmentation fault",
        libc::SIGSYS => "forbidden system call",
        libc::SIGTERM => "terminated from outside",
        _ => return None,
    })
}

/// What the worker, or the runtime of its plugin, wrote about its end.
fn said(stderr: &str, limits: &Limits) -> Option<String> {
    let lines: Vec<&str> =
        stderr.lines().map(str::trim).filter(|line| !line.is_empty() && !is_advice(line)).collect();
    let find = |part: &str| lines.iter().rposition(|line| line.contains(part));
    if let Some(number) = find("memory allocation of ") {
        let limit = Octets(limits.heap_octets);
        return Some(format!("{} (its limit is {limit})", one_line(lines[number])));
    }
    if find("has overflowed its stack").is_some() {
        return Some("its stack overflowed".into());
    }
    if let Some(number) = lines.iter().position(|line| line.contains("panicked at ")) {
        // `thread 'main' (1) panicked at src/x.rs:1:2:` and the message on the next line.
        let place = lines[number].split("panicked at ").nth(1).unwrap_or_default();
        let message = lines.get(number + 1).copied().unwrap_or_default();
        return Some(one_line(&format!("panicked at {place} {message}")));
    }
    lines.last().map(|line| one_line(line))
}

fn is_advice(line: &str) -> bool {
    line.starts_with("note: ") || line.starts_with("stack backtrace:")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(raw_status: i32, ready: bool, task: Option<u32>, stderr: &str) -> String {
        Death {
            name: "ping",
            status: Some(ExitStatus::from_raw(raw_status)),
            ready,
            task,
            stderr,
            limits: &Limits::default(),
        }
        .reason()
    }

    #[test]
    fn signals_and_exits_are_named() {
        assert_eq!(
            reason(11, true, Some(7), ""),
            "worker of ping died in task 7: signal 11 (segmentation fault)"
        );
        assert_eq!(reason(3 << 8, true, None, ""), "worker of ping died: exit status 3");
        assert_eq!(reason(35, true, None, ""), "worker of ping died: signal 35");
    }

    #[test]
    fn last_words_are_reported() {
        assert_eq!(
            reason(6, true, None, "memory allocation of 70368744177664 bytes failed\n"),
            "worker of ping died: memory allocation of 70368744177664 bytes failed (its limit is \
             256 MiB), signal 6 (aborted)"
        );
        assert_eq!(
            reason(6, true, None, "\nthread 'main' (9) has overflowed its stack\nfatal runtime"),
            "worker of ping died: its stack overflowed, signal 6 (aborted)"
        );
        assert_eq!(
            reason(6, true, None, "thread 'main' panicked at a.rs:1:2:\nboom\nnote: run with\n"),
            "worker of ping died: panicked at a.rs:1:2: boom, signal 6 (aborted)"
        );
    }

    #[test]
    fn refused_calls_have_the_names_that_manuals_have() {
        let socket = refused_call(libc::SYS_socket as u32);
        assert_eq!(socket, "the plugin tried the system call socket, which its jail refuses");
        assert!(refused_call(u32::MAX).contains("system call 4294967295,"));
    }

    #[test]
    fn plugin_that_does_not_load_is_said_so() {
        assert_eq!(
            reason(1 << 8, false, None, "is not a sonde plugin: no symbol\n"),
            "worker of ping could not load it: is not a sonde plugin: no symbol"
        );
        assert_eq!(
            reason(11, false, None, ""),
            "worker of ping could not load it: signal 11 (segmentation fault)"
        );
    }
}
