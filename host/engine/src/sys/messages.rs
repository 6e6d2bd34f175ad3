//! Batches of packets for `sendmmsg`.

use std::net::Ipv6Addr;

use libc::{c_int, cmsghdr, in_addr, in6_addr, iovec, mmsghdr, sockaddr_in, sockaddr_in6};

use super::{ring::link_address, send::Egress};

/// Packets of one system call at most.
pub(super) const BATCH: usize = 64;
/// Octets of control messages of one packet: source address, stamp wanted, stamp's number.
pub(super) const CONTROL_WORDS: usize = 11;
/// `SCM_TS_OPT_ID` of the kernel's header.
pub(super) const SCM_TS_OPT_ID: c_int = 81;

/// Packets that wait for their system call; all for one socket.
pub(super) struct Batch {
    octets: Vec<u8>,
    items: Vec<Item>,
    names: Vec<Name>,
    /// Written for those packets only that have some.
    controls: Box<[[u64; CONTROL_WORDS]; BATCH]>,
    /// How many packets want a stamp.
    precise: usize,
    vectors: Vec<iovec>,
    headers: Vec<mmsghdr>,
}

// SAFETY: the raw pointers in `vectors` and `headers` are written and used within one call of
// `Batch::headers`' user; between calls they are never read.
unsafe impl Send for Batch {}

/// One packet of the batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// The caller's number of the packet.
    pub(super) tag: u64,
    /// The caller wants the kernel's stamp of its departure.
    pub(super) precise: bool,
    pub(super) begin: usize,
    pub(super) end: usize,
    pub(super) control_octets: usize,
}

/// Where to; which one it is follows from the family inside.
#[derive(Clone, Copy)]
#[repr(C)]
union Name {
    link: libc::sockaddr_ll,
    v4: sockaddr_in,
    v6: sockaddr_in6,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            octets: Vec::new(),
            items: Vec::with_capacity(BATCH),
            names: Vec::with_capacity(BATCH),
            controls: Box::new([[0; CONTROL_WORDS]; BATCH]),
            precise: 0,
            vectors: Vec::with_capacity(BATCH),
            headers: Vec::with_capacity(BATCH),
        }
    }

    /// Whether some packet wants a stamp.
    pub(super) fn has_precise(&self) -> bool {
        self.precise > 0
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= BATCH
    }

    pub(super) fn item(&self, at: usize) -> Item {
        self.items[at]
    }

    pub(super) fn clear(&mut self) {
        self.octets.clear();
        self.items.clear();
        self.names.clear();
        self.precise = 0;
    }

    /// Puts a copy of `packet` at the end of a batch that is not full. `packet` begins with a whole
    /// IP header.
    pub(super) fn push(&mut self, egress: Egress, packet: &[u8], tag: u64, precise: bool) {
        let begin = self.octets.len();
        self.octets.extend_from_slice(packet);
        let end = self.octets.len();
        let mut control = Control::over(&mut self.controls[self.items.len()], 0);
        let six = packet.first().is_some_and(|first| first >> 4 == 6);
        let name = match egress {
            Egress::Ethernet { interface, address } => {
                let protocol = if six { libc::ETH_P_IPV6 } else { libc::ETH_P_IP } as u16;
                let mut link = link_address(interface, protocol.to_be());
                link.sll_halen = 6;
                link.sll_addr[..6].copy_from_slice(&address);
                Name { link }
            }
            Egress::Raw { interface } if six => {
                let [source, destination] =
                    [8, 24].map(|at| in6_addr { s6_addr: take(packet, at) });
                let linked = Ipv6Addr::from(destination.s6_addr).is_unicast_link_local();
                let scope = if linked { interface } else { 0 };
                // The kernel chooses the route by it; it does not look into the packet.
                let information = libc::in6_pktinfo { ipi6_addr: source, ipi6_ifindex: scope };
                control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, information);
                Name {
                    v6: sockaddr_in6 {
                        sin6_family: libc::AF_INET6 as u16,
                        sin6_port: 0,
                        sin6_flowinfo: 0,
                        sin6_addr: destination,
                        sin6_scope_id: scope,
                    },
                }
            }
            Egress::Raw { .. } => {
                let [source, destination] =
                    [12, 16].map(|at| in_addr { s_addr: u32::from_ne_bytes(take(packet, at)) });
                let any = in_addr { s_addr: 0 };
                let information =
                    libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: any };
                control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, information);
                Name {
                    v4: sockaddr_in {
                        sin_family: libc::AF_INET as u16,
                        sin_port: 0,
                        sin_addr: destination,
                        sin_zero: [0; 8],
                    },
                }
            }
        };
        if precise {
            control.push(
                libc::SOL_SOCKET,
                libc::SO_TIMESTAMPING,
                libc::SOF_TIMESTAMPING_TX_SOFTWARE,
            );
        }
        let control_octets = control.octets;
        self.precise += usize::from(precise);
        self.items.push(Item { tag, precise, begin, end, control_octets });
        self.names.push(name);
    }

    /// Numbers the kernel's stamp of a packet that was pushed as `precise`.
    pub(super) fn number(&mut self, at: usize, number: u32) {
        let octets = &mut self.items[at].control_octets;
        let mut control = Control::over(&mut self.controls[at], *octets);
        control.push(libc::SOL_SOCKET, SCM_TS_OPT_ID, number);
        *octets = control.octets;
    }

    /// The headers for the system call; they point into this batch, which must not change until
    /// the call is over.
    pub(super) fn headers(&mut self) -> &mut [mmsghdr] {
        self.vectors.clear();
        self.headers.clear();
        for item in &self.items {
            let octets = &mut self.octets[item.begin..item.end];
            self.vectors
                .push(iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: octets.len() });
        }
        let parts = self.vectors.iter_mut().zip(&mut self.names).zip(self.controls.iter_mut());
        for (((vector, name), control), item) in parts.zip(&self.items) {
            // SAFETY: all fields are integers and pointers, for which zero is a value.
            let mut header: mmsghdr = unsafe { std::mem::zeroed() };
            // SAFETY: each structure begins with its family.
            let family = c_int::from(unsafe { name.v4.sin_family });
            header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = match family {
                libc::AF_PACKET => size_of::<libc::sockaddr_ll>(),
                libc::AF_INET => size_of::<sockaddr_in>(),
                _ => size_of::<sockaddr_in6>(),
            } as u32;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            if item.control_octets > 0 {
                header.msg_hdr.msg_control = control.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = item.control_octets as _;
            }
            self.headers.push(header);
        }
        &mut self.headers
    }
}

/// Control messages of one packet, aligned as the kernel wants them.
pub(super) struct Control<'a> {
    words: &'a mut [u64; CONTROL_WORDS],
    /// How much of it is used.
    pub(super) octets: usize,
}

impl<'a> Control<'a> {
    /// Goes on behind what is there.
    pub(super) fn over(words: &'a mut [u64; CONTROL_WORDS], octets: usize) -> Self {
        Self { words, octets }
    }

    /// Appends one message.
    pub(super) fn push<T: Copy>(&mut self, level: c_int, kind: c_int, value: T) {
        let header = size_of::<cmsghdr>();
        let space = (header + size_of::<T>()).next_multiple_of(size_of::<usize>());
        assert!(self.octets + space <= size_of_val(self.words), "there is room for all kinds");
        // SAFETY: the header and the value lie inside `words`, as asserted; the header is aligned
        // because every message takes a multiple of its alignment, and the value is written
        // without any.
        unsafe {
            let at = self.words.as_mut_ptr().cast::<u8>().add(self.octets);
            let message = at.cast::<cmsghdr>();
            (*message).cmsg_level = level;
            (*message).cmsg_type = kind;
            (*message).cmsg_len = (header + size_of::<T>()) as _;
            at.add(header).cast::<T>().write_unaligned(value);
        }
        self.octets += space;
    }
}

/// Octets of an address; zeros where the packet is too short, which nothing accepts.
fn take<const N: usize>(packet: &[u8], at: usize) -> [u8; N] {
    packet.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}
