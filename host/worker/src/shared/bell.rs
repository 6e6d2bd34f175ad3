//! An eventfd, and the flag that says whether anybody needs to hear it.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicU32, Ordering, fence},
};

use rustix::event::{EventfdFlags, eventfd};

/// The worker sleeps until there are events.
pub(crate) const FOR_EVENTS: u32 = 1;
/// The worker sleeps until there is a free slot for actions.
pub(crate) const FOR_ROOM: u32 = 2;
/// The host sleeps until there are actions or free slots for events.
pub(crate) const FOR_ANYTHING: u32 = 1;

/// Wakes the other process.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new() -> rustix::io::Result<Self> {
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map(Self)
    }

    /// The other process's end of a bell.
    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    pub(crate) fn ring(&self) {
        // It fails where the counter is full, which the other side can bring about: it is awake.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Stops it until the next ring.
    pub(crate) fn clear(&self) {
        // Nothing to read is what was wanted.
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }

    /// Rings if the other side sleeps for `what`, which must have been published before.
    pub(crate) fn ring_if(&self, asleep: &AtomicU32, what: u32) {
        // INVARIANT: publish, fence, look at the flag here; set the flag, fence, look at what is
        // published there. One of the two sees the other's write.
        fence(Ordering::SeqCst);
        if asleep.load(Ordering::Relaxed) & what != 0 {
            asleep.store(0, Ordering::Relaxed);
            self.ring();
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Announces that this side is about to sleep for `what`; it must look once more before it does.
pub(crate) fn falls_asleep(asleep: &AtomicU32, what: u32) {
    asleep.store(what, Ordering::Relaxed);
    fence(Ordering::SeqCst);
}
