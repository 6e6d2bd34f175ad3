//! What becomes of a system call that the jail refuses: it fails with `EPERM`, and the host learns
//! which one it was.
//!
//! The filter turns such a call into the signal `SIGSYS`; its handler notes the number of the call
//! and the task that made it, and lets the call return the error. Programs block all signals
//! while they start a process or a thread, and the kernel ends who makes a refused call then; so
//! the handler blocks signals in their place, all but this one. The notes lie where the plugin can
//! write as well: they are for the operator to read, nothing depends on them.
//!
//! Source: seccomp(2), `SECCOMP_RET_TRAP`; siginfo of `SIGSYS` in `asm-generic/siginfo.h`.
#![allow(unsafe_code)] // a signal handler, which is given pointers

use std::{
    io,
    ptr::null_mut,
    sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
};

use libc::{c_int, c_void, siginfo_t};
use sonde_plugin_api::abi::NO_TOKEN;

/// Notes that are kept at a time.
const NOTES: usize = 16;
/// `si_code` of a signal that comes from a filter.
const SYS_SECCOMP: c_int = 1;
/// Where `siginfo_t` has the number of the call, on machines of 64 bits.
const NUMBER_AT: usize = 24;

/// System calls that were refused, the last few of them.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Refused {
    /// Ever.
    count: AtomicU64,
    /// Task in the upper half, number of the call in the lower; a ring.
    notes: [AtomicU64; NOTES],
}

/// Where the handler writes before there is shared memory.
static OWN: Refused = Refused::new();
static NOTED_IN: AtomicPtr<Refused> = AtomicPtr::new(null_mut());
static CURSOR: AtomicPtr<AtomicU32> = AtomicPtr::new(null_mut());

impl Refused {
    const fn new() -> Self {
        Self { count: AtomicU64::new(0), notes: [const { AtomicU64::new(0) }; NOTES] }
    }

    /// Safe in a signal handler.
    fn note(&self, task: u32, call: u32) {
        let number = self.count.load(Ordering::Relaxed);
        let note = u64::from(task) << 32 | u64::from(call);
        self.notes[number as usize % NOTES].store(note, Ordering::Relaxed);
        self.count.store(number.wrapping_add(1), Ordering::Release);
    }

    /// Those after the first `seen`, as (task, call), and how many there were ever; the oldest may be
    /// missing.
    pub(crate) fn since(&self, seen: u64) -> (u64, Vec<(u32, u32)>) {
        let count = self.count.load(Ordering::Acquire);
        let new = count.wrapping_sub(seen).min(NOTES as u64);
        let notes = (count.wrapping_sub(new)..count).map(|number| {
            let note = self.notes[number as usize % NOTES].load(Ordering::Relaxed);
            ((note >> 32) as u32, note as u32)
        });
        // INVARIANT: at most `NOTES`, whatever the worker wrote; an overflowed range is empty.
        (count, notes.collect())
    }
}

/// Has refused calls noted in `refused`, with the task that `cursor` names.
///
/// # Safety
///
/// Both must stay valid until the process ends.
pub(crate) unsafe fn note_in(refused: *const Refused, cursor: *const AtomicU32) {
    CURSOR.store(cursor.cast_mut(), Ordering::Relaxed);
    NOTED_IN.store(refused.cast_mut(), Ordering::Relaxed);
}

/// Calls that were refused before [`note_in`], by number.
pub(crate) fn noted() -> Vec<u32> {
    OWN.since(0).1.into_iter().map(|(_, call)| call).collect()
}

/// Must be called before the filter: afterwards the handler cannot be changed.
pub(super) fn install() -> io::Result<()> {
    // SAFETY: all zero is a valid `sigaction`; the handler does nothing but store numbers, and is
    // valid as long as the program.
    let installed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGSYS, &raw const action, null_mut())
    };
    if installed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

extern "C" fn handler(_signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives both, and for a signal of a filter the number of the call. What
    // `note_in` was given is valid.
    unsafe {
        if (*info).si_code != SYS_SECCOMP {
            return;
        }
        let context: *mut libc::ucontext_t = context.cast();
        let call = info.cast::<u8>().add(NUMBER_AT).cast::<u32>().read();
        if i64::from(call) == libc::SYS_rt_sigprocmask {
            return give_result(context, block(context));
        }
        let cursor = CURSOR.load(Ordering::Relaxed).as_ref();
        let task = cursor.map_or(NO_TOKEN, |cursor| cursor.load(Ordering::Relaxed));
        NOTED_IN.load(Ordering::Relaxed).as_ref().unwrap_or(&OWN).note(task, call);
        give_result(context, -libc::EPERM);
    }
}

/// Does what rt_sigprocmask(2) would do, to the mask that holds when the handler returns.
///
/// # Safety
///
/// `context` must be that of a signal handler that interrupted this call. The pointers of the call
/// are the plugin's: a wrong one is a fault of the plugin.
unsafe fn block(context: *mut libc::ucontext_t) -> c_int {
    const ALWAYS: u64 = 1 << (libc::SIGSYS - 1);
    // SAFETY: as the caller promises; the kernel's set is the first 64 bits of the library's.
    unsafe {
        let [how, set, old] = arguments(context);
        let mask = (&raw mut (*context).uc_sigmask).cast::<u64>();
        let before = *mask;
        if set != 0 {
            let set = *(set as *const u64);
            let after = match how as c_int {
                libc::SIG_BLOCK => before | set,
                libc::SIG_UNBLOCK => before & !set,
                libc::SIG_SETMASK => set,
                _ => return -libc::EINVAL,
            };
            *mask = after & !ALWAYS;
        }
        if old != 0 {
            *(old as *mut u64) = before;
        }
    }
    0
}

/// The first three arguments of the call.
///
/// # Safety
///
/// `context` must be that of a signal handler.
unsafe fn arguments(context: *mut libc::ucontext_t) -> [usize; 3] {
    // SAFETY: as the caller promises.
    let machine = unsafe { &(*context).uc_mcontext };
    #[cfg(target_arch = "x86_64")]
    let registers = [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX]
        .map(|register| machine.gregs[register as usize] as usize);
    #[cfg(target_arch = "aarch64")]
    let registers = [0, 1, 2].map(|register| machine.regs[register] as usize);
    #[cfg(target_arch = "riscv64")]
    let registers = [0, 1, 2].map(|register| machine.__gregs[libc::REG_A0 + register] as usize);
    registers
}

/// What the call returns.
///
/// # Safety
///
/// `context` must be that of a signal handler.
unsafe fn give_result(context: *mut libc::ucontext_t, result: c_int) {
    // SAFETY: as the caller promises; the register is the one that holds the result.
    let machine = unsafe { &mut (*context).uc_mcontext };
    let result = i64::from(result);
    #[cfg(target_arch = "x86_64")]
    (machine.gregs[libc::REG_RAX as usize] = result);
    #[cfg(target_arch = "aarch64")]
    (machine.regs[0] = result.cast_unsigned());
    #[cfg(target_arch = "riscv64")]
    (machine.__gregs[libc::REG_A0] = result.cast_unsigned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_told_and_the_oldest_of_too_many_is_missing() {
        let refused = Refused::new();
        assert_eq!(refused.since(0), (0, vec![]));
        refused.note(7, 41);
        refused.note(NO_TOKEN, 57);
        assert_eq!(refused.since(0), (2, vec![(7, 41), (NO_TOKEN, 57)]));
        assert_eq!(refused.since(1), (2, vec![(NO_TOKEN, 57)]));
        (0..100).for_each(|call| refused.note(1, call));
        let (count, last) = refused.since(2);
        assert_eq!((count, last.len(), last[15]), (102, NOTES, (1, 99)));
    }

    #[test]
    fn counter_that_lies_costs_no_more_than_a_ring_of_notes() {
        for (count, seen) in [(u64::MAX, 0), (0, 5), (3, u64::MAX), (u64::MAX / 2, u64::MAX)] {
            let refused = Refused::new();
            refused.count.store(count, Ordering::Relaxed);
            assert!(refused.since(seen).1.len() <= NOTES);
        }
    }
}
