//! Sending batches of whole IP packets.
//!
//! On Ethernet an unbound packet socket takes them, with the neighbour's address beside each; the
//! kernel adds the link header and touches nothing. On loopback, tunnels and other devices without
//! link addresses raw sockets take them, and the kernel finds the way itself.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use libc::c_int;

use super::{
    fd::{last_errno, set_option, socket},
    messages::{BATCH, Batch},
    stamps::{Stamp, Stamps},
};
use crate::clock::Clock;

/// Send buffer asked for: enough for batches that a device has not yet finished with.
const SEND_BUFFER: c_int = 4 << 20;
/// Receive buffer asked for: departures' stamps wait there.
const STAMP_BUFFER: c_int = 4 << 20;

/// How a packet leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Egress {
    /// In a frame to a neighbour.
    Ethernet {
        /// The device.
        interface: u32,
        /// The neighbour's link address.
        address: [u8; 6],
    },
    /// Through the kernel's own routing; the packet's source address decides with it.
    Raw {
        /// The device, for addresses that mean nothing without one.
        interface: u32,
    },
}

/// When a packet left, as far as the system call tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Departure {
    /// Monotonic nanoseconds: the time of the call, shared out evenly over its packets.
    pub(crate) at: u64,
    /// It was within this many nanoseconds of `at`.
    pub(crate) uncertainty: u64,
}

/// The batch is full: flush first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Full;

/// The sending sockets and what waits for them.
pub(super) struct Sender {
    ethernet: Lane,
    raw4: Lane,
    /// `None` on a kernel without IPv6.
    raw6: Option<Lane>,
}

struct Lane {
    fd: OwnedFd,
    batch: Batch,
    stamps: Stamps,
}

impl Sender {
    /// Opens all sockets; this needs `CAP_NET_RAW`.
    pub(super) fn open() -> io::Result<Self> {
        // Protocol 0: a packet socket that hears nothing.
        let ethernet = socket(libc::AF_PACKET, libc::SOCK_DGRAM, 0)?;
        let raw4 = socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
        set_option(&raw4, libc::IPPROTO_IP, libc::IP_HDRINCL, &1i32)?;
        // Without it a packet dropped by the device's queue counts as sent.
        set_option(&raw4, libc::IPPROTO_IP, libc::IP_RECVERR, &1i32)?;
        // What the kernel has learned of a path keeps no probe back: to find that is for a measurement.
        set_option(&raw4, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &libc::IP_PMTUDISC_PROBE)?;
        let raw6 = match socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_RAW) {
            Ok(fd) => {
                set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_HDRINCL, &1i32)?;
                set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, &1i32)?;
                let probing = libc::IPV6_PMTUDISC_PROBE;
                set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, &probing)?;
                // Flow labels are part of the probe.
                set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_AUTOFLOWLABEL, &0i32)?;
                Some(Lane::new(fd)?)
            }
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { ethernet: Lane::new(ethernet)?, raw4: Lane::new(raw4)?, raw6 })
    }

    /// Descriptors that have an error queued when stamps have come.
    pub(super) fn stamp_fds(&self) -> impl Iterator<Item = RawFd> {
        self.lanes().map(|lane| lane.fd.as_raw_fd())
    }

    /// Puts a copy of `packet` in the batch of its socket.
    pub(super) fn queue(
        &mut self,
        egress: Egress,
        packet: &[u8],
        tag: u64,
        precise: bool,
    ) -> Result<(), Full> {
        let six = packet.first().is_some_and(|first| first >> 4 == 6);
        let lane = match (egress, &mut self.raw6) {
            (Egress::Ethernet { .. }, _) => &mut self.ethernet,
            (Egress::Raw { .. }, Some(raw6)) if six => raw6,
            // Without IPv6 the IPv4 socket refuses it with an error, as it should be.
            (Egress::Raw { .. }, _) => &mut self.raw4,
        };
        if lane.batch.is_full() {
            return Err(Full);
        }
        lane.batch.push(egress, packet, tag, precise);
        Ok(())
    }

    /// Sends what waits and reports each packet by its tag: sent, or the errno of why not.
    pub(super) fn flush(
        &mut self,
        clock: &Clock,
        mut sink: impl FnMut(u64, Result<Departure, c_int>),
    ) {
        self.lanes_mut().for_each(|lane| lane.flush(clock, &mut sink));
    }

    /// Reports the kernel's stamps that have come for packets sent as `precise`. Where none are
    /// awaited it looks only if `has_errors` says that something is queued.
    pub(super) fn stamps(
        &mut self,
        clock: &Clock,
        has_errors: bool,
        mut sink: impl FnMut(u64, Stamp),
    ) -> usize {
        let mut count = 0;
        for lane in self.lanes_mut() {
            if has_errors || lane.stamps.are_awaited(clock.polled()) {
                count += lane.stamps.read(&lane.fd, clock, &mut sink);
            }
        }
        count
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        [&self.ethernet, &self.raw4].into_iter().chain(&self.raw6)
    }

    fn lanes_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        [&mut self.ethernet, &mut self.raw4].into_iter().chain(&mut self.raw6)
    }

    /// As on a kernel that cannot number stamps as it is told.
    #[cfg(test)]
    pub(super) fn let_the_kernel_number(&mut self) {
        self.lanes_mut().for_each(|lane| lane.stamps.let_the_kernel_number());
    }
}

impl Lane {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        // The limits of the system hold for those without CAP_NET_ADMIN.
        for (option, forced, octets) in [
            (libc::SO_SNDBUF, libc::SO_SNDBUFFORCE, SEND_BUFFER),
            (libc::SO_RCVBUF, libc::SO_RCVBUFFORCE, STAMP_BUFFER),
        ] {
            set_option(&fd, libc::SOL_SOCKET, forced, &octets)
                .or_else(|_| set_option(&fd, libc::SOL_SOCKET, option, &octets))?;
        }
        let stamps = Stamps::new(&fd)?;
        Ok(Self { fd, batch: Batch::new(), stamps })
    }

    fn flush(&mut self, clock: &Clock, sink: &mut impl FnMut(u64, Result<Departure, c_int>)) {
        let count = self.batch.len();
        if count == 0 {
            return;
        }
        self.stamps.number(&mut self.batch);
        let (mut done, mut again) = (0, None);
        while done < count {
            let headers = &mut self.batch.headers()[done..];
            let waiting = headers.len().min(BATCH) as u32;
            let begin = clock.now();
            // SAFETY: `waiting` headers, each pointing into the batch, which nobody touches.
            let sent = unsafe {
                libc::sendmmsg(
                    self.fd.as_raw_fd(),
                    headers.as_mut_ptr(),
                    waiting,
                    libc::MSG_DONTWAIT,
                )
            };
            let errno = if sent <= 0 { last_errno() } else { 0 };
            let end = clock.now();
            // What an ICMP message has left on the socket is told once, to whoever sends next.
            if is_of_icmp(errno) && again != Some(done) {
                again = Some(done);
                continue;
            }
            let Some(sent) = usize::try_from(sent).ok().filter(|sent| *sent > 0) else {
                // Where the socket's buffer is full the rest will not fit either.
                let failed = if errno == libc::EAGAIN { count - done } else { 1 };
                for at in done..done + failed {
                    let item = self.batch.item(at);
                    self.stamps.failed(&self.fd, item, errno, begin);
                    sink(item.tag, Err(errno));
                }
                done += failed;
                continue;
            };
            for position in 0..sent {
                let item = self.batch.item(done + position);
                self.stamps.sent(item, begin);
                sink(item.tag, Ok(shared_out(begin, end, position, sent)));
            }
            done += sent;
        }
        self.batch.clear();
    }
}

/// Errors that a message of ICMP leaves on a socket.
fn is_of_icmp(errno: c_int) -> bool {
    matches!(
        errno,
        libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EPROTO
            | libc::ENOPROTOOPT
    )
}

/// When the packet at `position` of `count` left, in a call from `begin` to `end`.
fn shared_out(begin: u64, end: u64, position: usize, count: usize) -> Departure {
    let whole = end.saturating_sub(begin);
    let before = whole * (2 * position as u64 + 1) / (2 * count as u64);
    Departure { at: begin + before, uncertainty: before.max(whole - before) }
}
