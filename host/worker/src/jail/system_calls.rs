//! Which system calls a worker may make: a filter for loading, and a narrower one on top of it.
//!
//! Everything else fails with `EPERM` and is noted, see `trap.rs`, which also blocks signals for the
//! plugin; calls by the numbers of another
//! architecture end the process.

use std::{collections::BTreeMap, os::fd::RawFd};

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// What a program that only computes needs.
const COMPUTING: &[c_long] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Locks.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    // Seeds of hash maps, and what the vDSO may fall back to.
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_gettimeofday,
    // Waiting for a bell.
    libc::SYS_ppoll,
    libc::SYS_restart_syscall,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    // Dying: handlers, abort and exit.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
];

/// What `dlopen` needs beside; which files it can open is Landlock's affair.
const LOADING: &[c_long] = &[
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_write,
    // The second filter.
    libc::SYS_seccomp,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
];

const EXECUTABLE: u64 = libc::PROT_EXEC as u64;
const WRITABLE: u64 = libc::PROT_WRITE as u64;

type Result<T> = std::result::Result<T, Error>;
type Conditions = std::result::Result<Vec<SeccompCondition>, BackendError>;
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// For `dlopen` and the constructors that it runs.
pub(super) fn while_loading() -> Result<()> {
    let mut rules = Rules::new();
    for call in COMPUTING.iter().chain(LOADING) {
        allow(&mut rules, *call);
    }
    // Writable or executable, not both.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        for protection in [0, EXECUTABLE, WRITABLE] {
            allow_if(&mut rules, call, bits(2, EXECUTABLE | WRITABLE, protection))?;
        }
    }
    let changing = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND) as u64;
    allow_if(&mut rules, libc::SYS_openat, bits(2, changing, 0))?;
    #[cfg(target_arch = "x86_64")]
    allow_if(&mut rules, libc::SYS_open, bits(1, changing, 0))?;
    // Its own limits, which it can only lower.
    allow_if(&mut rules, libc::SYS_prlimit64, equals(0, 0))?;
    allow_if(&mut rules, libc::SYS_prctl, equals(0, libc::PR_SET_NO_NEW_PRIVS as u64))?;
    allow_questions(&mut rules)?;
    allow_signals_to_itself(&mut rules)?;
    install(rules)
}

/// For batch after batch.
pub(super) fn while_serving(read: Vec<RawFd>, write: Vec<RawFd>) -> Result<()> {
    let mut rules = Rules::new();
    for call in COMPUTING {
        allow(&mut rules, *call);
    }
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        allow_if(&mut rules, call, bits(2, EXECUTABLE, 0))?;
    }
    for fd in read {
        allow_if(&mut rules, libc::SYS_read, equals(0, fd as u64))?;
    }
    for fd in write.into_iter().chain([libc::STDOUT_FILENO, libc::STDERR_FILENO]) {
        for call in [libc::SYS_write, libc::SYS_writev] {
            allow_if(&mut rules, call, equals(0, fd as u64))?;
        }
    }
    allow_questions(&mut rules)?;
    allow_signals_to_itself(&mut rules)?;
    install(rules)
}

/// Whether a descriptor is open, which the standard library asks in debug builds.
fn allow_questions(rules: &mut Rules) -> Result<()> {
    allow_if(rules, libc::SYS_fcntl, equals(1, libc::F_GETFD as u64))
}

/// `abort` raises a signal, and what handles the others may be changed; only what notes refused
/// calls stays.
fn allow_signals_to_itself(rules: &mut Rules) -> Result<()> {
    let own = u64::from(std::process::id());
    allow_if(rules, libc::SYS_tgkill, equals(0, own))?;
    let trap = libc::SIGSYS as u64;
    let others = SeccompCondition::new(0, Dword, SeccompCmpOp::Ne, trap).map(|it| vec![it]);
    allow_if(rules, libc::SYS_rt_sigaction, others)
}

fn allow(rules: &mut Rules, call: c_long) {
    rules.insert(call, Vec::new());
}

fn allow_if(rules: &mut Rules, call: c_long, conditions: Conditions) -> Result<()> {
    let rule = SeccompRule::new(conditions.map_err(Error::Backend)?).map_err(Error::Backend)?;
    rules.entry(call).or_default().push(rule);
    Ok(())
}

/// The argument number `argument` is `value`.
fn equals(argument: u8, value: u64) -> Conditions {
    Ok(vec![SeccompCondition::new(argument, Dword, SeccompCmpOp::Eq, value)?])
}

/// Of the argument number `argument` the bits of `mask` are `value`.
fn bits(argument: u8, mask: u64, value: u64) -> Conditions {
    Ok(vec![SeccompCondition::new(argument, Dword, SeccompCmpOp::MaskedEq(mask), value)?])
}

fn install(rules: Rules) -> Result<()> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(Error::Backend)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, architecture)
        .map_err(Error::Backend)?;
    let program: BpfProgram = filter.try_into().map_err(Error::Backend)?;
    seccompiler::apply_filter_all_threads(&program)
}
