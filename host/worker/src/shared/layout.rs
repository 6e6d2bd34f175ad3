//! What lies where in the region, and the mapping of it.
#![allow(unsafe_code)] // mapped memory, reached by computed offsets

use std::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, AtomicU64},
};

use rustix::{
    fs::{MemfdFlags, SealFlags},
    io::Errno,
    mm::{MapFlags, ProtFlags},
};
use sonde_plugin_api::abi::{Action, Event, Out};

use crate::jail::Refused;

/// Slots each way; a power of two. One is filled while the others are on their way.
pub(crate) const SLOTS: u64 = 8;
/// Events in a slot.
pub(crate) const EVENTS: usize = 512;
/// Actions in a slot.
pub(crate) const ACTIONS: usize = 1024;
/// Payload in a slot, of either kind: four of the largest IP packets.
pub(crate) const PAYLOAD_OCTETS: usize = 256 << 10;

/// The plugin is loaded.
pub(crate) const READY: u32 = 1;
/// The same, and the whole jail is closed.
pub(crate) const READY_WITH_LANDLOCK: u32 = 3;

const CONTROL_OCTETS: usize = 4096;
const HEADER_OCTETS: usize = 64;
const EVENT_SLOT: usize = HEADER_OCTETS + EVENTS * size_of::<Event>() + PAYLOAD_OCTETS;
const ACTION_SLOT: usize = HEADER_OCTETS + ACTIONS * size_of::<Action>() + PAYLOAD_OCTETS;
const ACTIONS_AT: usize = CONTROL_OCTETS + SLOTS as usize * EVENT_SLOT;
/// The whole region.
pub(crate) const REGION_OCTETS: usize = ACTIONS_AT + SLOTS as usize * ACTION_SLOT;

const _: () = {
    assert!(SLOTS.is_power_of_two());
    assert!(size_of::<Control>() <= CONTROL_OCTETS);
    assert!(size_of::<Header>() <= HEADER_OCTETS);
    assert!(EVENT_SLOT.is_multiple_of(64) && ACTION_SLOT.is_multiple_of(64));
};

/// Counters and flags; one cache line for each writer.
#[repr(C)]
pub(crate) struct Control {
    pub(crate) host: HostLine,
    pub(crate) plugin: PluginLine,
    /// Not zero while the plugin's side sleeps.
    pub(crate) plugin_sleeps: Flag,
    /// Not zero while the host wants to be woken.
    pub(crate) host_sleeps: Flag,
    /// Here so that the host can read its cursor.
    pub(crate) out: UnsafeCell<MaybeUninit<Out>>,
    /// What the jail refused; written by a signal handler of the worker.
    pub(crate) refused: Refused,
}

/// What the host writes.
#[repr(C, align(64))]
pub(crate) struct HostLine {
    /// Slots of events filled.
    pub(crate) events: AtomicU64,
    /// Slots of actions taken.
    pub(crate) taken: AtomicU64,
}

/// What the plugin's side writes.
#[repr(C, align(64))]
pub(crate) struct PluginLine {
    /// Slots of actions filled.
    pub(crate) actions: AtomicU64,
    /// Slots of events that are done with.
    pub(crate) done: AtomicU64,
    /// [`READY`] or [`READY_WITH_LANDLOCK`] once the plugin is loaded.
    pub(crate) ready: AtomicU32,
    pub(crate) tasks: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) heap_octets: AtomicU64,
}

#[repr(C, align(64))]
pub(crate) struct Flag(pub(crate) AtomicU32);

/// Before the items of a slot.
#[repr(C)]
pub(crate) struct Header {
    /// Events or actions.
    pub(crate) items: AtomicU32,
    /// Octets of payload.
    pub(crate) octets: AtomicU32,
    /// Slots of events only, see [`sonde_plugin_api::abi::Batch`].
    pub(crate) now: AtomicU64,
    pub(crate) wall: AtomicU64,
}

/// Where the parts of one slot are. The pointers are valid for [`EVENTS`] or [`ACTIONS`] items and
/// [`PAYLOAD_OCTETS`] octets as long as the region is.
pub(crate) struct Slot<'a, T> {
    pub(crate) header: &'a Header,
    pub(crate) items: *mut T,
    pub(crate) payload: *mut u8,
}

/// The mapped region. Not `Send`: each side uses it on one thread.
#[derive(Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    fd: OwnedFd,
}

impl Region {
    /// Makes a region, all zero and sealed at its size.
    pub(crate) fn new() -> rustix::io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = match rustix::fs::memfd_create("sonde batches", flags | MemfdFlags::NOEXEC_SEAL) {
            // Linux before 6.3 does not know the flag.
            Err(Errno::INVAL) => rustix::fs::memfd_create("sonde batches", flags)?,
            made => made?,
        };
        rustix::fs::ftruncate(&fd, REGION_OCTETS as u64)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&fd, seals)?;
        Self::map(fd)
    }

    /// Maps a region that another process made.
    pub(crate) fn attach(fd: OwnedFd) -> rustix::io::Result<Self> {
        let octets = rustix::fs::fstat(&fd)?.st_size;
        if u64::try_from(octets) != Ok(REGION_OCTETS as u64) {
            return Err(Errno::INVAL);
        }
        Self::map(fd)
    }

    fn map(fd: OwnedFd) -> rustix::io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let base = unsafe {
            rustix::mm::mmap(ptr::null_mut(), REGION_OCTETS, access, MapFlags::SHARED, &fd, 0)
        }?;
        let base = NonNull::new(base.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { base, fd })
    }

    pub(crate) fn control(&self) -> &Control {
        // SAFETY: page-aligned, mapped as long as `self`, of atomics and one `UnsafeCell` only, and
        // every bit pattern is one of theirs.
        unsafe { self.base.cast().as_ref() }
    }

    /// The slot for the event batch number `sequence`.
    pub(crate) fn events(&self, sequence: u64) -> Slot<'_, Event> {
        self.slot(CONTROL_OCTETS, EVENT_SLOT, EVENTS, sequence)
    }

    /// The slot for the action batch number `sequence`.
    pub(crate) fn actions(&self, sequence: u64) -> Slot<'_, Action> {
        self.slot(ACTIONS_AT, ACTION_SLOT, ACTIONS, sequence)
    }

    fn slot<T>(&self, first: usize, stride: usize, items: usize, sequence: u64) -> Slot<'_, T> {
        let index = (sequence % SLOTS) as usize;
        // SAFETY: `first + SLOTS * stride` is within the region for both rings, and all offsets are
        // multiples of 64.
        unsafe {
            let slot = self.base.add(first + index * stride);
            Slot {
                header: slot.cast().as_ref(),
                items: slot.add(HEADER_OCTETS).cast().as_ptr(),
                payload: slot.add(HEADER_OCTETS + items * size_of::<T>()).as_ptr(),
            }
        }
    }
}

impl AsFd for Region {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`; all that points into it borrows `self`.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), REGION_OCTETS) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}
