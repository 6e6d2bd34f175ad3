//! Receiving: blocks of packets in memory shared with the kernel (TPACKET_V3).
//!
//! One socket hears every device, loopback and tunnels included; the filter on it decides what is
//! worth copying. A block comes to us when it is full or 1 ms old, so a wake-up brings whatever
//! arrived within that time, each packet with the kernel's own stamp of its arrival.
//!
//! Source: Linux, Documentation/networking/packet_mmap.rst.

use std::{
    io,
    mem::offset_of,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering},
};

use libc::{c_int, sock_filter, sockaddr_ll, tpacket_block_desc, tpacket_hdr_v1, tpacket3_hdr};

use super::{
    fd::{attach_filter, bind, get_option, set_option, socket},
    filter,
};

/// Octets of one block: more than the largest packet that segment offload merges, where nobody has raised that limit. The
/// kernel clears all of them at the start.
pub(super) const BLOCK_OCTETS: u32 = 128 * 1024;
/// After this time the kernel hands over a block that is not full.
const RETIRE_MS: u32 = 1;
/// `TPACKET_V3` of the kernel's header.
const TPACKET_V3: c_int = 2;
/// Octets of the virtio-net header that stands before each frame.
const VIRTIO_OCTETS: usize = 10;
/// `TP_STATUS_GSO_TCP` of the kernel's header.
const STATUS_GSO_TCP: u32 = 1 << 8;

/// Who stamped a packet's time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StampSource {
    /// We did, or the kernel when it copied the packet to us.
    User,
    /// The kernel, when the packet arrived or left.
    Kernel,
    /// The network card.
    Hardware,
}

impl StampSource {
    /// The number that plugins know it by.
    pub(crate) fn number(self) -> u8 {
        use sonde_plugin_api::abi::stamp;
        match self {
            Self::User => stamp::USER,
            Self::Kernel => stamp::KERNEL,
            Self::Hardware => stamp::HARDWARE,
        }
    }
}

/// What the kernel knows about a received packet beside its octets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Received {
    /// Wall-clock time of its arrival, nanoseconds since 1970.
    pub(crate) realtime: u64,
    /// Whose clock that was.
    pub(crate) source: StampSource,
    /// The device that it came in by.
    pub(crate) interface: u32,
    /// It comes from this machine and nobody has filled in its transport checksum.
    pub(crate) checksum_not_ready: bool,
    /// Payload octets of each of the TCP segments that were merged into this one; 0 for a packet
    /// as it was on the wire, 1 where the kernel does not tell the size.
    pub(crate) merged_octets: u16,
    /// Not all of its octets fitted in the ring.
    pub(crate) truncated: bool,
}

/// Counters since the socket was opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct RingStatistics {
    /// Packets that the filter passed.
    pub(crate) packets: u64,
    /// Of these, packets for which there was no room: our loss, not the network's.
    pub(crate) drops: u64,
    /// How often the kernel had to stop because all blocks were full.
    pub(crate) freezes: u64,
}

/// The receiving socket and its memory.
#[derive(Debug)]
pub(super) struct Ring {
    fd: OwnedFd,
    memory: Mapping,
    blocks: usize,
    /// The block that the kernel hands over next.
    next: usize,
    virtio: bool,
    statistics: RingStatistics,
    /// Devices whose packets come again on their master, sorted.
    ignored: Vec<u32>,
}

impl Ring {
    /// Opens the socket with a ring of `blocks` blocks; hears what `filter` passes.
    pub(super) fn open(blocks: u32, filter: &[sock_filter]) -> io::Result<Self> {
        // No protocol yet: nothing may arrive before the filter stands.
        let fd = socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
        attach_filter(&fd, filter)?;
        set_option(&fd, libc::SOL_PACKET, libc::PACKET_VERSION, &TPACKET_V3)?;
        // Kernels before 4.20 show us what we send; it is dropped in `deliver`.
        let _ = set_option(&fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1i32);
        let virtio = set_option(&fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1i32).is_ok();
        // Without it packets are stamped when they are copied, not when they arrive.
        let stamps = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
        set_option(&fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &stamps)?;
        let blocks = blocks.max(2);
        let frame_octets = 2048;
        let request = libc::tpacket_req3 {
            tp_block_size: BLOCK_OCTETS,
            tp_block_nr: blocks,
            tp_frame_size: frame_octets,
            tp_frame_nr: BLOCK_OCTETS / frame_octets * blocks,
            tp_retire_blk_tov: RETIRE_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set_option(&fd, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        let memory = Mapping::new(&fd, BLOCK_OCTETS as usize * blocks as usize)?;
        let all = u16::try_from(libc::ETH_P_ALL).expect("it is 3").to_be();
        bind(&fd, &link_address(0, all))?;
        let statistics = RingStatistics::default();
        let blocks = blocks as usize;
        Ok(Self { fd, memory, blocks, next: 0, virtio, statistics, ignored: Vec::new() })
    }

    /// Becomes readable when a block is handed over.
    pub(super) fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Hears what `filter` passes, from the next packet on.
    pub(super) fn set_filter(&self, filter: &[sock_filter]) -> io::Result<()> {
        attach_filter(&self.fd, filter)
    }

    /// Devices whose packets are to be skipped.
    pub(super) fn ignore(&mut self, interfaces: &[u32]) {
        self.ignored = interfaces.to_vec();
        self.ignored.sort_unstable();
    }

    /// Hands every packet that is there to `sink`, from its IP header on, until the block that
    /// brings the count to `budget` is done. Returns how many packets that were.
    pub(super) fn receive(
        &mut self,
        budget: usize,
        mut sink: impl FnMut(&[u8], &Received),
    ) -> usize {
        let mut count = 0;
        // Once around: what arrives meanwhile is for the next call.
        for _ in 0..self.blocks {
            if count >= budget {
                break;
            }
            let status = self.memory.status(self.next * BLOCK_OCTETS as usize);
            if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
                break;
            }
            // INVARIANT: a block is ours from the moment its status says so until we say otherwise.
            let block = self.memory.block(self.next * BLOCK_OCTETS as usize);
            count += self.deliver(block, &mut sink);
            status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
            self.next = (self.next + 1) % self.blocks;
        }
        count
    }

    fn deliver(&self, block: &[u8], sink: &mut impl FnMut(&[u8], &Received)) -> usize {
        const BODY: usize = offset_of!(tpacket_block_desc, hdr);
        let packets = long(block, BODY + offset_of!(tpacket_hdr_v1, num_pkts));
        let mut at = long(block, BODY + offset_of!(tpacket_hdr_v1, offset_to_first_pkt)) as usize;
        for _ in 0..packets {
            let Some(frame) = block.get(at..) else { break };
            if let Some((packet, received)) = self.packet(frame) {
                sink(packet, &received);
            }
            match long(frame, offset_of!(tpacket3_hdr, tp_next_offset)) as usize {
                0 => break,
                next => at += next,
            }
        }
        packets as usize
    }

    /// One packet of a block; `frame` begins with its header and may go on behind its end.
    #[inline]
    fn packet<'a>(&self, frame: &'a [u8]) -> Option<(&'a [u8], Received)> {
        const LINK: usize = size_of::<tpacket3_hdr>();
        let status = long(frame, offset_of!(tpacket3_hdr, tp_status));
        let tag = long(frame, offset_of!(tpacket3_hdr, hv1.tp_vlan_tci));
        let interface = long(frame, LINK + offset_of!(sockaddr_ll, sll_ifindex));
        let outgoing =
            frame.get(LINK + offset_of!(sockaddr_ll, sll_pkttype)) == Some(&libc::PACKET_OUTGOING);
        if outgoing
            || status & libc::TP_STATUS_VLAN_VALID != 0 && tag & filter::VLAN != 0
            || self.ignored.binary_search(&interface).is_ok()
        {
            return None;
        }
        let captured = long(frame, offset_of!(tpacket3_hdr, tp_snaplen)) as usize;
        let octets = long(frame, offset_of!(tpacket3_hdr, tp_len)) as usize;
        let link = usize::from(short(frame, offset_of!(tpacket3_hdr, tp_mac)));
        let network = usize::from(short(frame, offset_of!(tpacket3_hdr, tp_net)));
        let packet = frame.get(network..link.checked_add(captured)?)?;
        let seconds = u64::from(long(frame, offset_of!(tpacket3_hdr, tp_sec)));
        let nanoseconds = u64::from(long(frame, offset_of!(tpacket3_hdr, tp_nsec)));
        let merged_octets = if self.virtio {
            // gso_type and gso_size of the header; a type of 0 is a packet as it came.
            let header = frame.get(link.checked_sub(VIRTIO_OCTETS)?..link)?;
            if header[1] == 0 { 0 } else { short(header, 4).max(1) }
        } else {
            u16::from(status & STATUS_GSO_TCP != 0)
        };
        let source = if status & libc::TP_STATUS_TS_RAW_HARDWARE != 0 {
            StampSource::Hardware
        } else if status & libc::TP_STATUS_TS_SOFTWARE != 0 {
            StampSource::Kernel
        } else {
            StampSource::User
        };
        let received = Received {
            realtime: seconds * 1_000_000_000 + nanoseconds,
            source,
            interface,
            checksum_not_ready: status & libc::TP_STATUS_CSUMNOTREADY != 0,
            merged_octets,
            truncated: octets > captured,
        };
        Some((packet, received))
    }

    /// The counters; reading them resets the kernel's, so they are summed up here.
    pub(super) fn statistics(&mut self) -> RingStatistics {
        #[derive(Clone, Copy, Default)]
        #[repr(C)]
        struct Counters {
            packets: u32,
            drops: u32,
            freezes: u32,
        }
        if let Ok(counters) =
            get_option::<Counters>(&self.fd, libc::SOL_PACKET, libc::PACKET_STATISTICS)
        {
            self.statistics.packets += u64::from(counters.packets);
            self.statistics.drops += u64::from(counters.drops);
            self.statistics.freezes += u64::from(counters.freezes);
        }
        self.statistics
    }
}

/// A link-layer address without a hardware address; `protocol` in network order.
pub(super) fn link_address(interface: u32, protocol: u16) -> sockaddr_ll {
    sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol,
        sll_ifindex: i32::try_from(interface).unwrap_or(0),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

fn long(octets: &[u8], at: usize) -> u32 {
    octets.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |four| u32::from_ne_bytes(*four))
}

fn short(octets: &[u8], at: usize) -> u16 {
    octets.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |two| u16::from_ne_bytes(*two))
}

/// The ring's memory, unmapped when dropped.
#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    octets: usize,
}

// SAFETY: the memory belongs to the mapping alone and has no ties to a thread.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(fd: &OwnedFd, octets: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                octets,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, octets })
    }

    /// The status word of the block at `at`, which the kernel writes too.
    fn status(&self, at: usize) -> &AtomicU32 {
        const STATUS: usize =
            offset_of!(tpacket_block_desc, hdr) + offset_of!(tpacket_hdr_v1, block_status);
        assert!(at + BLOCK_OCTETS as usize <= self.octets, "blocks lie inside the ring");
        // SAFETY: inside the mapping, which lives as long as `self`; aligned because blocks and the
        // field are, and never accessed but atomically on our side.
        unsafe { &*self.base.as_ptr().add(at + STATUS).cast::<AtomicU32>() }
    }

    /// The block at `at`, which must be ours at the moment.
    fn block(&self, at: usize) -> &[u8] {
        assert!(at + BLOCK_OCTETS as usize <= self.octets, "blocks lie inside the ring");
        // SAFETY: inside the mapping; the kernel does not write to a block that it has handed over.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(at), BLOCK_OCTETS as usize) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is what `mmap` returned, and nobody holds a reference into it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.octets) };
    }
}
