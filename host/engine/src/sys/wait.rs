//! Waiting for descriptors, and being woken by another thread.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use libc::{c_int, pollfd, timespec};

use super::fd::checked;

/// A set of descriptors to wait for; a handful, so the linear `ppoll` is the cheapest.
#[derive(Debug, Default)]
pub(crate) struct Poller {
    entries: Vec<pollfd>,
}

/// What a wait brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Readiness {
    /// At least one descriptor has something to say.
    Ready,
    /// The time is up, or a signal came.
    Quiet,
}

impl Poller {
    /// Waits for nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Forgets all descriptors.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Also waits for `fd` to become readable.
    pub(crate) fn add(&mut self, fd: RawFd) {
        self.entries.push(pollfd { fd, events: libc::POLLIN, revents: 0 });
    }

    /// Also waits for `fd` to have an error queued: transmit stamps.
    pub(crate) fn add_errors(&mut self, fd: RawFd) {
        self.entries.push(pollfd { fd, events: 0, revents: 0 });
    }

    /// Whether the last wait found an error queued.
    pub(crate) fn has_errors(&self) -> bool {
        self.entries.iter().any(|entry| entry.revents & libc::POLLERR != 0)
    }

    /// Waits until one of them is ready, at most for `limit` (for ever where there is none).
    ///
    /// # Errors
    ///
    /// The kernel's, except for signals, which end the wait.
    pub(crate) fn wait(&mut self, limit: Option<Duration>) -> io::Result<Readiness> {
        let limit = limit.map(|limit| timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        });
        let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        for entry in &mut self.entries {
            entry.revents = 0;
        }
        let count = self.entries.len() as libc::nfds_t;
        // SAFETY: `entries` has `count` elements, `limit` is null or points to a value that lives
        // until the end of this function, and no signal mask is given.
        let result =
            unsafe { libc::ppoll(self.entries.as_mut_ptr(), count, limit, std::ptr::null()) };
        match checked(result) {
            Ok(0) => Ok(Readiness::Quiet),
            Ok(_) => Ok(Readiness::Ready),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Readiness::Quiet),
            Err(error) => Err(error),
        }
    }
}

/// Wakes a thread that waits in [`Poller::wait`]; clones wake the same thread.
///
/// Only the first call since the thread looked last is a system call.
#[derive(Clone, Debug)]
pub(crate) struct Wake(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    fd: OwnedFd,
    /// The descriptor is readable, or about to be.
    is_rung: AtomicBool,
}

impl Wake {
    /// Not yet woken.
    ///
    /// # Errors
    ///
    /// The kernel's, where the process has no descriptors left.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no pointers; a result that is not negative is a new descriptor of ours.
        let fd = unsafe {
            let fd: c_int = checked(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?;
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Self(Arc::new(Shared { fd, is_rung: AtomicBool::new(false) })))
    }

    /// For [`Poller::add`].
    pub(crate) fn fd(&self) -> RawFd {
        self.0.fd.as_raw_fd()
    }

    /// Makes the descriptor readable until [`Wake::clear`].
    pub(crate) fn wake(&self) {
        if self.0.is_rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let one = 1u64.to_ne_bytes();
        // SAFETY: reads eight octets of `one`. It fails only where the counter is full, and then
        // the descriptor is readable already.
        unsafe { libc::write(self.fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Waits for the next [`Wake::wake`]. To be called before looking at what there is to do.
    pub(crate) fn clear(&self) {
        if !self.0.is_rung.load(Ordering::Relaxed) {
            return;
        }
        let mut count = [0u8; 8];
        // SAFETY: writes eight octets to `count`. It fails only where there is nothing to clear.
        let read = unsafe { libc::read(self.fd(), count.as_mut_ptr().cast(), count.len()) };
        // INVARIANT: after the read, and only where there was something: who has rung and not written yet makes it
        // readable later, which would not be cleared. Who rings in between is heard without the descriptor, for what
        // it published is looked at after this; who rings later makes it readable again.
        if read == count.len() as isize {
            self.0.is_rung.swap(false, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether somebody who waits for the descriptor would go on.
    fn is_readable(wake: &Wake) -> bool {
        let mut fds = pollfd { fd: wake.fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor, which is ours.
        unsafe { libc::poll(&raw mut fds, 1, 0) == 1 }
    }

    #[test]
    fn who_is_slow_to_ring_is_heard_once() {
        let wake = Wake::new().unwrap();
        // As in `wake`, with a look of the other thread in its middle.
        wake.0.is_rung.store(true, Ordering::Release);
        wake.clear();
        let one = 1u64.to_ne_bytes();
        // SAFETY: reads eight octets of `one`.
        unsafe { libc::write(wake.fd(), one.as_ptr().cast(), one.len()) };
        assert!(is_readable(&wake));
        wake.clear();
        assert!(!is_readable(&wake));
        wake.wake();
        assert!(is_readable(&wake));
    }
}
