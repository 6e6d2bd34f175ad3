//! When packets really left: the kernel's transmit stamps, read from the sockets' error queues.
//!
//! Each stamp carries a number. Kernels from 6.13 on take the number from us; older ones count
//! the stamps that they were asked for, so a packet that fails late leaves the count in doubt and
//! the count starts anew.
//!
//! Source: Linux, Documentation/networking/timestamping.rst.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use libc::{c_int, cmsghdr, iovec, mmsghdr, sock_extended_err, timespec};

use super::{
    fd::{last_errno, nanoseconds, set_option, socket},
    messages::{Batch, CONTROL_WORDS, Control, Item, SCM_TS_OPT_ID},
    ring::StampSource,
};
use crate::clock::Clock;

/// Stamps that may be outstanding; older ones are forgotten.
const OUTSTANDING: usize = 8192;
/// Stamps that have not come by then are not waited for; whoever comes late still wakes us.
const LONGEST_DELAY_NS: u64 = 100_000_000;
/// Stamps of one system call.
const MESSAGES: usize = 32;
/// Octets of control messages of one stamp; the kernel sends less than 200.
const STAMP_WORDS: usize = 32;
/// `PACKET_TX_TIMESTAMP`: the error message of packet sockets.
const PACKET_ERROR: (c_int, c_int) = (libc::SOL_PACKET, libc::PACKET_TX_TIMESTAMP);
const IP4_ERROR: (c_int, c_int) = (libc::IPPROTO_IP, libc::IP_RECVERR);
const IP6_ERROR: (c_int, c_int) = (libc::IPPROTO_IPV6, libc::IPV6_RECVERR);

/// A departure as the kernel or the card saw it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stamp {
    /// Monotonic nanoseconds.
    pub(crate) at: u64,
    /// Whose clock it was.
    pub(crate) source: StampSource,
}

/// The stamps of one socket.
pub(super) struct Stamps {
    /// The kernel takes our numbers.
    ours: bool,
    /// The number of the next packet that wants a stamp.
    next: u32,
    outstanding: Box<[Outstanding]>,
    /// When the last packet left that wants a stamp.
    asked: Option<u64>,
    /// Until then stamps may be of packets from before the kernel's count was reset, with the numbers of later ones.
    unclear_until: u64,
    buffers: Box<Buffers>,
}

#[derive(Clone, Copy, Default)]
struct Outstanding {
    wanted: bool,
    number: u32,
    tag: u64,
    /// Before the packet can have left.
    begin: u64,
}

struct Buffers {
    controls: [[u64; STAMP_WORDS]; MESSAGES],
    headers: [mmsghdr; MESSAGES],
}

// SAFETY: the pointers in `headers` are written and used within one call of `read`.
unsafe impl Send for Buffers {}

impl Stamps {
    /// Makes `fd` able to report stamps; none is made unless a packet asks for it.
    pub(super) fn new(fd: &OwnedFd) -> io::Result<Self> {
        count_from_zero(fd)?;
        // SAFETY: integers and pointers only, for which zero is a value.
        let buffers: Box<Buffers> = Box::new(unsafe { std::mem::zeroed() });
        let outstanding = vec![Outstanding::default(); OUTSTANDING].into_boxed_slice();
        let ours = kernel_takes_numbers();
        Ok(Self { ours, next: 0, outstanding, asked: None, unclear_until: 0, buffers })
    }

    /// Numbers those packets of the batch that want a stamp, where the kernel takes our numbers.
    pub(super) fn number(&self, batch: &mut Batch) {
        if !self.ours || !batch.has_precise() {
            return;
        }
        let mut number = self.next;
        for at in 0..batch.len() {
            if batch.item(at).precise {
                batch.number(at, number);
                number = number.wrapping_add(1);
            }
        }
    }

    /// The packet left in a call that began at `begin`.
    pub(super) fn sent(&mut self, item: Item, begin: u64) {
        if item.precise {
            let number = self.next;
            let wanted = begin >= self.unclear_until;
            let entry = Outstanding { wanted, number, tag: item.tag, begin };
            self.outstanding[number as usize % OUTSTANDING] = entry;
            self.next = number.wrapping_add(1);
            self.asked = Some(begin);
        }
    }

    /// Whether stamps are still to come.
    pub(super) fn are_awaited(&mut self, now: u64) -> bool {
        self.asked = self.asked.filter(|asked| now.saturating_sub(*asked) < LONGEST_DELAY_NS);
        self.asked.is_some()
    }

    /// The packet did not leave in a call that began at `begin`.
    pub(super) fn failed(&mut self, fd: &OwnedFd, item: Item, errno: c_int, begin: u64) {
        if !item.precise {
            return;
        }
        if self.ours {
            self.next = self.next.wrapping_add(1);
            return;
        }
        // These fail before the kernel counts. Others may fail after.
        let uncounted = [libc::EAGAIN, libc::EMSGSIZE, libc::ENXIO, libc::ENETDOWN];
        if !uncounted.contains(&errno) {
            // Departures that are still unstamped keep the time that they have.
            self.outstanding.fill(Outstanding::default());
            self.next = 0;
            self.unclear_until = begin + LONGEST_DELAY_NS;
            let _ = count_from_zero(fd);
        }
    }

    /// Reports the stamps that have come; returns how many messages were read.
    pub(super) fn read(
        &mut self,
        fd: &OwnedFd,
        clock: &Clock,
        sink: &mut impl FnMut(u64, Stamp),
    ) -> usize {
        let mut total = 0;
        loop {
            let count = self.fill(fd);
            for at in 0..count {
                let used: usize = self.buffers.headers[at].msg_hdr.msg_controllen as _;
                let octets = octets_of(&self.buffers.controls[at]);
                let Some(message) = parse(&octets[..used.min(octets.len())]) else { continue };
                let entry = &mut self.outstanding[message.number as usize % OUTSTANDING];
                if !entry.wanted || entry.number != message.number {
                    continue;
                }
                entry.wanted = false;
                // None: a wall clock that was set meanwhile; the interpolated time stays.
                if let Some(at) = clock.monotonic_of(message.realtime, entry.begin) {
                    sink(entry.tag, Stamp { at, source: StampSource::Kernel });
                }
            }
            total += count;
            if count < MESSAGES {
                return total;
            }
        }
    }

    fn fill(&mut self, fd: &OwnedFd) -> usize {
        let Buffers { controls, headers } = &mut *self.buffers;
        // The packet itself does not come back: stamps only.
        let mut nothing = iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        for (header, control) in headers.iter_mut().zip(controls) {
            header.msg_hdr.msg_name = std::ptr::null_mut();
            header.msg_hdr.msg_namelen = 0;
            header.msg_hdr.msg_iov = &mut nothing;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = size_of_val(control) as _;
        }
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        // SAFETY: as many headers as said, with control buffers of the size said.
        let count = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                MESSAGES as u32,
                flags,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(count).unwrap_or(0)
    }

    /// As on a kernel that cannot number stamps as it is told.
    #[cfg(test)]
    pub(super) fn let_the_kernel_number(&mut self) {
        self.ours = false;
    }
}

struct Message {
    number: u32,
    realtime: u64,
}

/// The stamp and its number among the control messages.
fn parse(mut octets: &[u8]) -> Option<Message> {
    const HEADER: usize = size_of::<cmsghdr>();
    let (mut realtime, mut number) = (None, None);
    while octets.len() >= HEADER {
        // SAFETY: long enough, integers only, and read without alignment.
        let header = unsafe { octets.as_ptr().cast::<cmsghdr>().read_unaligned() };
        let length: usize = header.cmsg_len as _;
        let Some(body) = octets.get(HEADER..length) else { break };
        let kind = (header.cmsg_level, header.cmsg_type);
        if kind == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) && body.len() >= size_of::<timespec>()
        {
            // SAFETY: long enough, integers only. The first of three is the software stamp.
            let time = unsafe { body.as_ptr().cast::<timespec>().read_unaligned() };
            realtime = Some(nanoseconds(time)).filter(|time| *time > 0);
        } else if [PACKET_ERROR, IP4_ERROR, IP6_ERROR].contains(&kind)
            && body.len() >= size_of::<sock_extended_err>()
        {
            // SAFETY: long enough, integers only.
            let error = unsafe { body.as_ptr().cast::<sock_extended_err>().read_unaligned() };
            if error.ee_origin == libc::SO_EE_ORIGIN_TIMESTAMPING {
                number = Some(error.ee_data);
            }
        }
        octets = octets.get(length.next_multiple_of(size_of::<usize>())..).unwrap_or_default();
    }
    Some(Message { number: number?, realtime: realtime? })
}

fn octets_of(words: &[u64]) -> &[u8] {
    // SAFETY: the same memory, with the weaker alignment of octets.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
}

/// Turns numbered stamps on, with the kernel's count at zero.
fn count_from_zero(fd: &OwnedFd) -> io::Result<()> {
    let report = libc::SOF_TIMESTAMPING_SOFTWARE | libc::SOF_TIMESTAMPING_OPT_TSONLY;
    set_option(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &report)?;
    // The count is reset when the numbers are turned on.
    let numbered = report | libc::SOF_TIMESTAMPING_OPT_ID;
    set_option(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &numbered)
}

/// Whether the kernel accepts a number beside a packet.
fn kernel_takes_numbers() -> bool {
    let probe = || -> io::Result<bool> {
        let fd = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        count_from_zero(&fd)?;
        // Refused as invalid where the number is not understood; where it is, refused because a
        // broadcast needs permission. Nothing is sent.
        let mut words = [0; CONTROL_WORDS];
        let mut control = Control::over(&mut words, 0);
        control.push(libc::SOL_SOCKET, SCM_TS_OPT_ID, 0u32);
        // SAFETY: integers and pointers only, for which zero is a value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        let mut name = libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: 9u16.to_be(),
            sin_addr: libc::in_addr { s_addr: libc::INADDR_BROADCAST },
            sin_zero: [0; 8],
        };
        header.msg_name = std::ptr::from_mut(&mut name).cast();
        header.msg_namelen = size_of_val(&name) as u32;
        header.msg_controllen = control.octets as _;
        header.msg_control = words.as_mut_ptr().cast();
        // SAFETY: name and control messages live until the call is over; there is no payload.
        let result = unsafe { libc::sendmsg(fd.as_raw_fd(), &header, libc::MSG_DONTWAIT) };
        Ok(result >= 0 || last_errno() != libc::EINVAL)
    };
    probe().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_count_was_reset_no_stamp_is_believed_that_may_be_of_a_packet_before() {
        let fd = socket(libc::AF_INET, libc::SOCK_DGRAM, 0).unwrap();
        let mut stamps = Stamps::new(&fd).unwrap();
        stamps.let_the_kernel_number();
        let item = Item { tag: 1, precise: true, begin: 0, end: 0, control_octets: 0 };
        stamps.sent(item, 5);
        assert!(stamps.outstanding[0].wanted);
        stamps.failed(&fd, item, libc::ENOBUFS, 10);
        for (begin, wanted) in [(11, false), (10 + LONGEST_DELAY_NS, true)] {
            let at = stamps.next as usize;
            stamps.sent(item, begin);
            assert_eq!(stamps.outstanding[at].wanted, wanted, "{begin}");
        }
    }
}
