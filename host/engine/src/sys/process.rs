//! Settings of the process and of its threads.

use std::io;

use super::fd::checked;

/// From now on no program that this thread starts can gain a privilege, not even by set-user-id.
///
/// # Errors
///
/// The kernel's.
pub(crate) fn forbid_new_privileges() -> io::Result<()> {
    // SAFETY: takes integers only.
    checked(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1u64, 0u64, 0u64, 0u64) }).map(|_| ())
}

/// Whether the process has rights that its user has not, from the program's file: capabilities, or set-user-id.
pub fn has_lent_rights() -> bool {
    // SAFETY: takes an integer only.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// How late the kernel may wake this thread to save wake-ups; 50 µs unless set.
pub(crate) fn set_timer_slack(nanoseconds: u32) {
    // Zero would mean the default. A kernel without it wakes us a little later.
    let nanoseconds = u64::from(nanoseconds.max(1));
    // SAFETY: takes integers only.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, nanoseconds, 0u64, 0u64, 0u64) };
}

/// Descriptors that this process may have.
pub(crate) fn most_descriptors() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes to `limit` alone.
    match checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }) {
        Ok(_) => usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX),
        // What is usual.
        Err(_) => 1024,
    }
}

/// Eight octets that nobody can guess.
pub(crate) fn random() -> u64 {
    let mut octets = [0u8; 8];
    let mut got = 0;
    while got < octets.len() {
        let rest = &mut octets[got..];
        // SAFETY: writes at most `rest.len()` octets to `rest`. It blocks only early at boot.
        let count = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        got += usize::try_from(count).unwrap_or(0);
    }
    u64::from_ne_bytes(octets)
}
