//! All packet sockets of an engine, opened once.

use std::{io, os::fd::RawFd};

use libc::c_int;
use sonde_packet::Protocol;

use super::{
    filter,
    guard::{Guard, GuardError, Guards},
    ring::{Received, Ring, RingStatistics},
    send::{Departure, Egress, Full, Sender},
    stamps::Stamp,
};
use crate::{clock::Clock, privileges};

/// What can be chosen when the sockets are opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Options {
    /// Blocks of the receiving ring. Each carries one millisecond at low rates, so this
    /// is also for how many milliseconds the engine may be kept from its work.
    pub(crate) ring_blocks: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { ring_blocks: 64 }
    }
}

/// Why the sockets could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The operator has to grant a capability; the text says how.
    #[error("{0}")]
    NotPermitted(privileges::Missing),
    /// The kernel refused.
    #[error("cannot open the {what}")]
    Kernel {
        /// Which socket.
        what: &'static str,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

/// The sockets; nothing here needs a privilege once they are open.
pub(crate) struct Sockets {
    ring: Ring,
    sender: Sender,
    guards: Guards,
    /// The filter is not that of the ports.
    pub(super) is_stale: bool,
}

impl Sockets {
    /// Opens everything, in the network namespace of the calling thread. Needs `CAP_NET_RAW`.
    ///
    /// # Errors
    ///
    /// [`OpenError::NotPermitted`] without the capability, else what the kernel said.
    pub(crate) fn open(options: Options) -> Result<Self, OpenError> {
        let refused = |what| {
            move |source: io::Error| match privileges::missing() {
                Some(missing) if source.kind() == io::ErrorKind::PermissionDenied => {
                    OpenError::NotPermitted(missing)
                }
                _ => OpenError::Kernel { what, source },
            }
        };
        let guards = Guards::new();
        let program = filter::answers(&guards.ports());
        let ring = Ring::open(options.ring_blocks, &program).map_err(refused("receiving ring"))?;
        let sender = Sender::open().map_err(refused("sending sockets"))?;
        Ok(Self { ring, sender, guards, is_stale: false })
    }

    /// Becomes readable when packets have come.
    pub(crate) fn ring_fd(&self) -> RawFd {
        self.ring.fd()
    }

    /// Descriptors to wait for with `Poller::add_errors`, then [`Sockets::stamps`] is due.
    pub(crate) fn stamp_fds(&self) -> impl Iterator<Item = RawFd> {
        self.sender.stamp_fds()
    }

    /// Hands received packets to `sink`, each from its IP header on and perhaps with padding
    /// behind; `budget` is overrun by a block at most. Returns how many there were.
    pub(crate) fn receive(&mut self, budget: usize, sink: impl FnMut(&[u8], &Received)) -> usize {
        self.renew_filter();
        self.ring.receive(budget, sink)
    }

    /// What the ring received and lost.
    pub(crate) fn statistics(&mut self) -> RingStatistics {
        self.ring.statistics()
    }

    /// Devices to receive nothing from, because their master shows everything again: what
    /// `Router::enslaved` says.
    pub(crate) fn ignore(&mut self, interfaces: &[u32]) {
        self.ring.ignore(interfaces);
    }

    /// Puts a copy of `packet`, a whole IP packet, in the next batch. `precise` asks for the
    /// kernel's stamp of its departure.
    ///
    /// # Errors
    ///
    /// [`Full`] after 64 packets of one kind: flush first.
    pub(crate) fn queue(
        &mut self,
        egress: Egress,
        packet: &[u8],
        tag: u64,
        precise: bool,
    ) -> Result<(), Full> {
        self.sender.queue(egress, packet, tag, precise)
    }

    /// Sends what was queued and reports every packet by its tag: when it left, or the errno.
    /// `EAGAIN` and `ENOBUFS` mean that the device does not keep up.
    pub(crate) fn flush(&mut self, clock: &Clock, sink: impl FnMut(u64, Result<Departure, c_int>)) {
        self.renew_filter();
        self.sender.flush(clock, sink);
    }

    /// Reports the kernel's stamps of departures that were queued as `precise`, by tag. Where
    /// `has_errors` says that something is queued it also empties the queues of errors that nobody
    /// asked for.
    pub(crate) fn stamps(
        &mut self,
        clock: &Clock,
        has_errors: bool,
        sink: impl FnMut(u64, Stamp),
    ) -> usize {
        self.sender.stamps(clock, has_errors, sink)
    }

    /// Holds a local port, the one given or one of ours, in both families: the kernel does not answer packets for it from now
    /// on, unless it has to be shared with it and need not be `quiet`, and they are received from the next flush on, or the next look into the ring.
    ///
    /// # Errors
    ///
    /// See [`GuardError`].
    pub(crate) fn guard(
        &mut self,
        protocol: Protocol,
        port: Option<u16>,
        quiet: bool,
    ) -> Result<Guard, GuardError> {
        let (guard, renew) = self.guards.hold(protocol, port, quiet)?;
        self.is_stale |= renew;
        Ok(guard)
    }

    /// Whether one more flow may use a port that is held.
    ///
    /// # Errors
    ///
    /// As of [`Sockets::guard`].
    pub(crate) fn check_guard(&self, guard: &Guard, quiet: bool) -> Result<(), GuardError> {
        self.guards.check(guard, quiet)
    }

    /// Gives a port back to the system.
    pub(crate) fn release(&mut self, guard: Guard) {
        self.guards.release(&guard);
        drop(guard);
    }

    /// To be called about once a second: stops receiving for ports that nobody holds any more.
    ///
    /// # Errors
    ///
    /// The kernel's, when it does not take the new filter; the old one stays.
    pub(crate) fn tidy(&mut self) -> io::Result<()> {
        self.is_stale |= self.guards.tidy();
        if self.is_stale { self.set_filter() } else { Ok(()) }
    }

    /// Where ports were taken, however many: each new filter takes longer than a packet. One that the kernel does not take is
    /// tried again, and told when it is tidied up.
    fn renew_filter(&mut self) {
        if self.is_stale {
            let _ = self.set_filter();
        }
    }

    fn set_filter(&mut self) -> io::Result<()> {
        self.ring.set_filter(&filter::answers(&self.guards.ports()))?;
        self.is_stale = false;
        Ok(())
    }

    /// As on a kernel that cannot number stamps as it is told.
    #[cfg(test)]
    pub(super) fn let_the_kernel_number(&mut self) {
        self.sender.let_the_kernel_number();
    }
}

impl std::fmt::Debug for Sockets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sockets").field("ring", &self.ring).finish_non_exhaustive()
    }
}
