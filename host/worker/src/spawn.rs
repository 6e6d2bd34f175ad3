//! Starts worker processes and hands them what they need.
//!
//! A worker is the host's own program, called as `worker NAME`. Its standard input is a socket, over
//! which it gets one message with a few words and its descriptors: so nothing is inherited by
//! accident, the program need not be forked (which is slow where much memory is mapped, and unsafe
//! where there are threads), and the worker sees the host end when the socket does. Its standard
//! error is a pipe that is read for the reason when it dies.

use std::{
    ffi::OsStr,
    fmt, io,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            ffi::{OsStrExt, OsStringExt},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::{
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    },
    pipe::PipeFlags,
    process::{Pid, PidfdFlags, Signal},
};

use crate::shared::REGION_OCTETS;

/// Most descriptors in a message.
const MAX_FDS: usize = 4;
/// Longer than the longest path and the words before it.
const MAX_HELLO_OCTETS: usize = 8192;
/// How an operator sets up the allocator; the only variable that a worker inherits.
const TUNABLES: &str = "GLIBC_TUNABLES";
/// What a worker may write to its standard error between two looks; a `dbg!` that finds no room panics.
const STDERR_ROOM: usize = 1 << 20;
/// What of the standard error is kept.
const MAX_STDERR_OCTETS: usize = 8192;

/// What a worker is to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    /// Answer batches; gets the region, its own bell and the host's.
    Serve,
    /// Write down what the plugin says of itself; gets a pipe to write to.
    Describe,
}

/// The message that a worker gets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Hello {
    pub(crate) mode: Mode,
    /// Of the host, which the worker does not want to survive.
    pub(crate) parent: u32,
    pub(crate) heap_octets: u64,
    /// The private copy.
    pub(crate) plugin: PathBuf,
}

impl Hello {
    /// Host and worker are one program; this tells when the file was replaced in between.
    pub(crate) fn greeting() -> String {
        format!("sonde-worker {} {REGION_OCTETS}", env!("CARGO_PKG_VERSION"))
    }

    fn emit(&self) -> Vec<u8> {
        let mode = match self.mode {
            Mode::Serve => "serve",
            Mode::Describe => "describe",
        };
        let words =
            format!("{}\n{mode}\n{}\n{}\n", Self::greeting(), self.parent, self.heap_octets);
        let mut message = words.into_bytes();
        message.extend_from_slice(self.plugin.as_os_str().as_bytes());
        message
    }

    fn parse(message: &[u8]) -> Option<Self> {
        let mut words = message.splitn(5, |octet| *octet == b'\n');
        let mut word = || std::str::from_utf8(words.next()?).ok();
        if word()? != Self::greeting() {
            return None;
        }
        let mode = match word()? {
            "serve" => Mode::Serve,
            "describe" => Mode::Describe,
            _ => return None,
        };
        let parent = word()?.parse().ok()?;
        let heap_octets = word()?.parse().ok()?;
        let plugin = std::ffi::OsString::from_vec(words.next()?.to_vec()).into();
        Some(Self { mode, parent, heap_octets, plugin })
    }

    /// Takes the message from standard input, which stays open: it ends when the host does.
    pub(crate) fn receive(socket: BorrowedFd<'_>) -> Result<(Self, Vec<OwnedFd>), String> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut buffer = vec![0; MAX_HELLO_OCTETS];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let received = rustix::net::recvmsg(socket, &mut parts, &mut ancillary, flags)
            .map_err(|error| format!("a worker is started by its host alone: {error}"))?;
        let mut fds = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        let hello = buffer.get(..received.bytes).and_then(Self::parse);
        let hello = hello.ok_or("this program is another one than its host: restart the host")?;
        Ok((hello, fds))
    }
}

/// A worker process. Dropped, it is ended, and reaped by somebody else: it may be held up, and who drops it must not be.
pub(crate) struct Child {
    id: u32,
    /// Until it is reaped.
    process: Option<std::process::Child>,
    pidfd: OwnedFd,
    /// Closed last of all: the worker ends itself when it sees that.
    _lifeline: OwnedFd,
    stderr: Stderr,
}

impl Child {
    /// Starts `program worker NAME` with a message and descriptors.
    pub(crate) fn start(
        program: &Path,
        name: &str,
        hello: &Hello,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<Self> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // Not blocking: a worker that floods it loses its text instead of waiting for us.
        let (stderr, their_stderr) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Where so much is more than a user may have it is less.
        let _ = rustix::pipe::fcntl_setpipe_size(&their_stderr, STDERR_ROOM);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::other("too many descriptors for a worker"));
        }
        let message = hello.emit();
        let parts = [IoSlice::new(&message)];
        rustix::net::sendmsg(&ours, &parts, &mut ancillary, SendFlags::NOSIGNAL)?;
        let mut process = Command::new(program)
            .arg("worker")
            .arg(name)
            .env_clear()
            // What a terminal or a supervisor of processes sends to the host's group is for the host, which ends us.
            .process_group(0)
            // Huge pages, which are worth a quarter of the time with very many tasks.
            .envs(std::env::var_os(TUNABLES).map(|value| (TUNABLES, value)))
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::from(their_stderr))
            .spawn()?;
        // Not reaped yet, so the number is still its own.
        let pidfd = Pid::from_raw(process.id().cast_signed())
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()));
        let pidfd = match pidfd {
            Ok(pidfd) => pidfd,
            Err(error) => {
                process.kill()?;
                process.wait()?;
                return Err(error.into());
            }
        };
        let stderr = Stderr { pipe: stderr, tail: Vec::new() };
        let id = process.id();
        Ok(Self { id, process: Some(process), pidfd, _lifeline: ours, stderr })
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Processor time that it has used so far, where the kernel says.
    #[allow(unsafe_code)] // a clock of another process
    pub(crate) fn processor_time(&self) -> Option<Duration> {
        let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
        // SAFETY: both write to what they are given alone. The process is not reaped, so the number is its own.
        let failed = unsafe {
            libc::clock_getcpuclockid(self.id.cast_signed(), &raw mut clock) != 0
                || libc::clock_gettime(clock, &raw mut time) != 0
        };
        (!failed).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }

    /// Becomes readable when the process has ended.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Ends it; it has ended when [`Child::pidfd`] says so.
    pub(crate) fn kill(&self) {
        // It fails where the process has ended already, which is what was wanted.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Ends it and waits until it has.
    pub(crate) fn end(&mut self) -> Option<ExitStatus> {
        let mut process = self.process.take()?;
        self.kill();
        process.wait().ok()
    }

    /// Takes what the worker wrote to its standard error so far; keeps the end of it.
    pub(crate) fn drain_stderr(&mut self) {
        self.stderr.drain();
    }

    /// The end of what it wrote to its standard error.
    pub(crate) fn stderr(&mut self) -> String {
        self.stderr.drain();
        String::from_utf8_lossy(&self.stderr.tail).into_owned()
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Child({})", self.id)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        self.kill();
        if let Ok(None) = process.try_wait() {
            // Without a thread it stays in the list of processes until the host ends.
            let _ = std::thread::Builder::new().name("reaper".into()).spawn(move || process.wait());
        }
    }
}

struct Stderr {
    pipe: OwnedFd,
    tail: Vec<u8>,
}

impl Stderr {
    fn drain(&mut self) {
        let mut buffer = [0; 1 << 16];
        // One pipe full at most: the worker may be writing all the time.
        for _ in 0..STDERR_ROOM / buffer.len() {
            let Ok(read @ 1..) = rustix::io::read(&self.pipe, &mut buffer) else { return };
            self.tail.extend_from_slice(&buffer[..read]);
            let surplus = self.tail.len().saturating_sub(MAX_STDERR_OCTETS);
            self.tail.drain(..surplus);
        }
    }
}

/// A name for the process list and the log.
pub(crate) fn display_name(name: &OsStr) -> String {
    crate::error::one_line(&name.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_arrives_as_it_was_sent() {
        let hello = Hello {
            mode: Mode::Describe,
            parent: 4711,
            heap_octets: 1 << 40,
            plugin: OsStr::from_bytes(b"/a path/with\nall \xff kinds").into(),
        };
        assert_eq!(Hello::parse(&hello.emit()), Some(hello));
    }

    #[test]
    fn message_of_another_version_is_refused() {
        assert_eq!(Hello::parse(b""), None);
        assert_eq!(Hello::parse(b"sonde-worker 0.0.0 1\nserve\n1\n1\n/x"), None);
    }
}
