//! The worker process, from its start to its end.
#![allow(unsafe_code)] // the output buffer lives in shared memory

use std::{
    convert::Infallible,
    ffi::{CString, OsString},
    io::Write,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::event::{PollFd, PollFlags};

use crate::{
    LoadError, Loaded,
    jail::{self, Jail},
    loader::{Opened, Policy},
    shared::{Bell, FOR_ANYTHING, FOR_EVENTS, FOR_ROOM, PluginEnd, Region},
    spawn::{Hello, Mode, display_name},
};

/// What a hidden command `worker` of the host's program does: loads one plugin in a jail and
/// answers batches until the host ends. `arguments` are those behind the command: a name for the
/// process list.
///
/// Must be called before the program starts threads or opens anything.
pub fn worker_main(arguments: impl IntoIterator<Item = OsString>) -> ! {
    let name = arguments.into_iter().next().unwrap_or_default();
    if let Ok(name) = CString::new(format!("sonde {}", display_name(&name))) {
        // Of use to whoever reads `top`; no reason not to go on.
        let _ = rustix::thread::set_name(&name);
    }
    match run() {
        Ok(never) => match never {},
        Err(text) => {
            let _ = writeln!(std::io::stderr(), "{text}");
            quit(1)
        }
    }
}

/// Ends without running what a plugin has registered for the end.
fn quit(status: i32) -> ! {
    // SAFETY: no destructor or handler runs, and none of ours has anything to do.
    unsafe { libc::_exit(status) }
}

/// Leaves to the host what asks programs to end: it may come to every process of a service, and the host has to hear first
/// what the plugin still knows.
fn leave_ends_to_the_host() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: ignoring a signal runs nothing.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

fn run() -> Result<Infallible, String> {
    leave_ends_to_the_host();
    let stdin = std::io::stdin();
    let (hello, fds) = Hello::receive(stdin.as_fd())?;
    let numbers: Vec<_> = fds.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect();
    jail::close_others(&numbers)?;
    match (hello.mode, <[OwnedFd; 3]>::try_from(fds)) {
        (Mode::Serve, Ok([region, own, host])) => {
            let region = Region::attach(region).map_err(|error| format!("batches: {error}"))?;
            let (own, host) = (Bell::from_fd(own), Bell::from_fd(host));
            let end = Box::leak(Box::new(PluginEnd::new(region)));
            serve(&hello, end, &own, &host, stdin.as_fd())
        }
        (Mode::Describe, Err(fds)) if fds.len() == 1 => describe(&hello, &fds[0]),
        _ => Err("the host sent other descriptors than a worker needs".into()),
    }
}

/// Answers batches for ever.
fn serve(
    hello: &Hello,
    end: &'static mut PluginEnd,
    own: &Bell,
    host: &Bell,
    lifeline: BorrowedFd<'_>,
) -> Result<Infallible, String> {
    // SAFETY: both lie in the region, which is never unmapped.
    unsafe { jail::note_in(end.refused(), &raw const (*end.out()).cursor) };
    let jail = Jail::enter(&hello.plugin, hello.parent, hello.heap_octets)?;
    let has_landlock = jail.has_landlock;
    let opened = Opened::open(&hello.plugin).map_err(|error| error.to_string())?;
    jail.close(hello.heap_octets, &[own.as_fd()], &[host.as_fd()])?;
    let loaded = opened.inspect(Policy::MayAbort).map_err(|error| error.to_string())?;
    let mut instance = loaded.instance().map_err(|error| error.to_string())?;
    // SAFETY: valid as long as `end`, and nobody else in this process uses it.
    let out = unsafe { &mut *end.out() };
    end.say_ready(has_landlock);
    host.ring_if(end.host_sleeps(), FOR_ANYTHING);
    let rest = |end: &PluginEnd, what: u32| {
        end.fall_asleep(what);
        let is_there = if what == FOR_ROOM { end.has_room() } else { end.batch().is_some() };
        if !is_there {
            wait(own, lifeline);
        }
        end.wake_up();
    };
    loop {
        let Some(batch) = end.batch() else {
            rest(end, FOR_EVENTS);
            continue;
        };
        instance.poll(batch, out);
        let sent = end.send(&out.actions, &out.bytes, |end| {
            host.ring_if(end.host_sleeps(), FOR_ANYTHING);
            rest(end, FOR_ROOM);
        });
        out.actions.clear();
        out.bytes.clear();
        let was_full = end.finish(instance.usage());
        if sent > 0 || was_full {
            host.ring_if(end.host_sleeps(), FOR_ANYTHING);
        }
    }
}

/// Sleeps until the bell rings; ends the process with the host.
fn wait(own: &Bell, lifeline: BorrowedFd<'_>) {
    let mut fds = [
        PollFd::new(own, PollFlags::IN),
        PollFd::from_borrowed_fd(lifeline, PollFlags::IN | PollFlags::RDHUP),
    ];
    // Interrupted is as good as woken: the caller looks again.
    let _ = rustix::event::poll(&mut fds, None);
    if !fds[1].revents().is_empty() {
        quit(0);
    }
    own.clear();
}

/// Writes what the plugin says of itself, or why it is refused, to `output`.
fn describe(hello: &Hello, output: &OwnedFd) -> Result<Infallible, String> {
    let text = match examine(hello, output) {
        Ok(loaded) => {
            let Loaded { api, build, descriptor_json, .. } = loaded;
            let (unwinds, debug, rustc) = (build.unwinds, build.debug, build.rustc);
            let refused: Vec<_> = jail::noted().iter().map(u32::to_string).collect();
            let refused = refused.join(" ");
            format!("plugin\n{api}\n{unwinds}\n{debug}\n{rustc}\n{refused}\n{descriptor_json}")
        }
        Err(error) => format!("refused\n{}", error.to_line()),
    };
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let written = rustix::io::write(output, rest).map_err(|error| error.to_string())?;
        rest = &rest[written..];
    }
    quit(0)
}

fn examine(hello: &Hello, output: &OwnedFd) -> Result<Loaded, LoadError> {
    let jail =
        Jail::enter(&hello.plugin, hello.parent, hello.heap_octets).map_err(LoadError::Worker)?;
    let opened = Opened::open(&hello.plugin)?;
    jail.close(hello.heap_octets, &[], &[output.as_fd()]).map_err(LoadError::Worker)?;
    let loaded = opened.inspect(Policy::MayAbort)?;
    // Whether it can be set up is better known now than at the first measurement. It is not
    // dropped: the process ends at once.
    std::mem::forget(loaded.instance()?);
    Ok(loaded)
}
