//! What a plugin says of itself, found out in a jailed child.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags},
    pipe::PipeFlags,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};
use sonde_plugin_api::descriptor::{Descriptor, MAX_DESCRIPTOR_OCTETS};

use crate::{
    Build, Kept, Limits, LoadError, Store,
    error::{Octets, one_line},
    reason::{Death, refused_call},
    spawn::{Child, Hello, Mode, display_name},
    store::settled,
};

/// The words before the descriptor are never longer.
const MAX_WORDS_OCTETS: usize = 4096;

/// A plugin that did not answer is not asked again for so long.
const SLOW: Duration = Duration::from_hours(1);

/// What a plugin says of itself, checked.
#[derive(Clone, Debug)]
pub struct Described {
    /// Parsed and validated.
    pub descriptor: Descriptor,
    /// The version of plugin-api that it was built with.
    pub api: String,
    /// How it was built; one that does not unwind can only run in a process of its own.
    pub build: Build,
    /// What it tried while it was looked at and its jail refused, a line each.
    pub refused_calls: Vec<String>,
    /// The private copy that was looked at.
    pub kept: Kept,
}

/// Copies `plugin` to the folder `store`, loads it in a jailed child, `program worker`, and asks it what it
/// offers. No code of the plugin runs in this process. Waits up to [`Limits::start`].
///
/// The answer is noted in the store: the same program does not ask the same plugin twice, and one that does not answer
/// no more than once an hour.
///
/// # Errors
///
/// [`LoadError`], one line that says what is wrong with the file.
pub fn describe(program: &Path, plugin: &Path, store: &Path) -> Result<Described, LoadError> {
    describe_within(program, plugin, store, &Limits::default())
}

/// As [`describe`], with limits of its own.
///
/// # Errors
///
/// As [`describe`].
pub fn describe_within(
    program: &Path,
    plugin: &Path,
    store: &Path,
    limits: &Limits,
) -> Result<Described, LoadError> {
    let store = Store::open(store)?;
    let asker = asker(program, limits);
    let noted = asker.as_ref().and_then(|asker| store.said(plugin, asker));
    match noted.map(|(kept, said)| understand(&said, kept)) {
        Some(Ok(described)) => return Ok(described),
        // It is noted for its slowness alone, which may have been the machine's.
        Some(Err(slow)) if store.is_noted_within(plugin, SLOW) => return Err(slow),
        _ => {}
    }
    let asked = settled(plugin);
    let kept = store.keep(plugin)?;
    let failed =
        |error: std::io::Error| LoadError::Worker(format!("{}: {error}", program.display()));
    let (output, theirs) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
    let hello = Hello {
        mode: Mode::Describe,
        parent: std::process::id(),
        heap_octets: limits.heap_octets,
        plugin: kept.path.clone(),
    };
    let name = display_name(plugin.file_stem().unwrap_or_default());
    let child = Child::start(program, &name, &hello, &[theirs.as_fd()]).map_err(failed)?;
    drop(theirs);
    let answer = match listen(child, &output, &name, limits) {
        Err(slow @ LoadError::Slow(_)) => format!("refused\n{}", slow.to_line()).into_bytes(),
        answer => answer?,
    };
    let described = understand(&answer, kept.clone());
    let is_worth_it = matches!(described, Ok(_) | Err(LoadError::Slow(_)));
    if let (Some(asker), Some(asked)) = (asker, asked)
        && is_worth_it
        && settled(plugin).as_ref() == Some(&asked)
    {
        store.note(plugin, &asked, &kept, &asker, &answer);
    }
    described
}

/// Who asks, on one line: what is fit for one program need not be so for its next version.
fn asker(program: &Path, limits: &Limits) -> Option<String> {
    Some(format!("{} {} {}", Hello::greeting(), settled(program)?, limits.heap_octets))
}

/// Everything that the child writes until it ends.
fn listen(
    mut child: Child,
    output: &OwnedFd,
    name: &str,
    limits: &Limits,
) -> Result<Vec<u8>, LoadError> {
    let failed = |error: rustix::io::Errno| LoadError::Worker(error.to_string());
    let alarm = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC).map_err(failed)?;
    let value = Timespec::try_from(limits.start).unwrap_or(Timespec { tv_sec: 10, tv_nsec: 0 });
    let once = Itimerspec { it_interval: Timespec::default(), it_value: value };
    timerfd_settime(&alarm, TimerfdTimerFlags::empty(), &once).map_err(failed)?;

    let mut answer = Vec::new();
    let mut buffer = [0; 8192];
    let mut open = true;
    loop {
        let mut fds = [
            PollFd::new(&alarm, PollFlags::IN),
            PollFd::from_borrowed_fd(child.pidfd(), PollFlags::IN),
            PollFd::new(output, PollFlags::IN),
        ];
        let watched = if open { 3 } else { 2 };
        match rustix::event::poll(&mut fds[..watched], None) {
            Err(rustix::io::Errno::INTR) => continue,
            polled => polled.map_err(failed)?,
        };
        let [late, ended, readable] = fds.map(|fd| !fd.revents().is_empty());
        if readable && open {
            let read = rustix::io::read(output, &mut buffer).map_err(failed)?;
            open = read > 0;
            answer.extend_from_slice(&buffer[..read]);
            if answer.len() > MAX_DESCRIPTOR_OCTETS + MAX_WORDS_OCTETS {
                let limit = Octets(MAX_DESCRIPTOR_OCTETS as u64);
                return Err(LoadError::Descriptor(format!("it is longer than {limit}")));
            }
            continue;
        }
        if ended {
            break;
        }
        if late {
            return Err(LoadError::Slow(format!("{:?}", limits.start)));
        }
    }
    if answer.is_empty() {
        let status = child.end();
        let stderr = child.stderr();
        let death = Death { name, status, ready: false, task: None, stderr: &stderr, limits };
        return Err(LoadError::Worker(death.cause()));
    }
    Ok(answer)
}

/// The child ran the plugin's code: every part of its answer may be forged.
fn understand(answer: &[u8], kept: Kept) -> Result<Described, LoadError> {
    let nonsense = || LoadError::Worker("its worker wrote nonsense".into());
    let answer =
        std::str::from_utf8(answer).map_err(|_| LoadError::Descriptor("it is not UTF-8".into()))?;
    if let Some(line) = answer.strip_prefix("refused\n") {
        return Err(LoadError::from_line(line).unwrap_or_else(nonsense));
    }
    let words = answer.strip_prefix("plugin\n").ok_or_else(nonsense)?;
    let mut words = words.splitn(6, '\n');
    let mut word = || words.next().ok_or_else(nonsense);
    let api = one_line(word()?);
    let unwinds = word()? == "true";
    let debug = word()? == "true";
    let rustc = one_line(word()?);
    let mut refused_calls: Vec<String> =
        word()?.split(' ').filter_map(|call| call.parse().ok()).map(refused_call).collect();
    refused_calls.sort();
    refused_calls.dedup();
    let json = word()?;
    let descriptor = Descriptor::from_json(json)
        .map_err(|error| LoadError::Descriptor(one_line(&error.to_string())))?;
    Ok(Described { descriptor, api, build: Build { unwinds, debug, rustc }, refused_calls, kept })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept() -> Kept {
        Kept { path: "/x".into(), octets: 1, hash: String::new() }
    }

    #[test]
    fn refusal_of_the_child_is_passed_on() {
        let refused = understand(b"refused\naborts\t", kept()).unwrap_err();
        assert_eq!(refused, LoadError::Aborts);
        let forged = understand(b"refused\nwhatever", kept()).unwrap_err();
        assert_eq!(forged.to_string(), "could not be examined: its worker wrote nonsense");
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            for begin in ["", "plugin\n", "refused\n", "refused\nversion\t", "plugin\n1\n2\n3\n4\n5\n"] {
                let mut answer = begin.as_bytes().to_vec();
                answer.extend_from_slice(&noise);
                prop_assert!(understand(&answer, kept()).is_err());
            }
        }
    }
}
