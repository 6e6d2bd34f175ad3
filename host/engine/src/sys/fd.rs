//! System calls on one descriptor, with Rust's types and errors.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use libc::{c_int, c_void, clockid_t, sock_filter, sock_fprog, socklen_t, timespec};

/// A new socket, closed on exec; packet sockets want their protocol in network order.
pub(super) fn socket(domain: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; a result that is not negative is a new descriptor that nobody owns.
    unsafe {
        let fd = checked(libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Sets one option to a plain value: integers and the `repr(C)` structures of the kernel.
pub(super) fn set_option<T: Copy>(
    fd: &impl AsRawFd,
    level: c_int,
    option: c_int,
    value: &T,
) -> io::Result<()> {
    let length = size_of::<T>() as socklen_t;
    let value: *const T = value;
    // SAFETY: the kernel reads `length` octets from a value of that size.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, value.cast::<c_void>(), length) };
    checked(result).map(|_| ())
}

/// Reads one option. `T` must be valid for any octets that the kernel may write.
pub(super) fn get_option<T: Copy + Default>(
    fd: &impl AsRawFd,
    level: c_int,
    option: c_int,
) -> io::Result<T> {
    let mut value = T::default();
    let mut length = size_of::<T>() as socklen_t;
    let target: *mut T = &mut value;
    // SAFETY: the kernel writes at most `length` octets to a value of that size; only integers and
    // structures of integers are read so.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, option, target.cast::<c_void>(), &mut length)
    };
    checked(result).map(|_| value)
}

/// Binds to one of the `sockaddr_*` structures.
pub(super) fn bind<A: Copy>(fd: &impl AsRawFd, address: &A) -> io::Result<()> {
    let length = size_of::<A>() as socklen_t;
    let address: *const A = address;
    // SAFETY: the kernel reads `length` octets from a value of that size.
    let result = unsafe { libc::bind(fd.as_raw_fd(), address.cast::<libc::sockaddr>(), length) };
    checked(result).map(|_| ())
}

/// Lets only packets through for which `program` returns more than zero.
///
/// # Errors
///
/// The kernel's, such as `ENOMEM` where the memory for socket options is used up.
pub(super) fn attach_filter(fd: &impl AsRawFd, program: &[sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // The kernel copies the program and does not write to it.
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Nanoseconds of one of the kernel's clocks; 0 where there is no such clock.
pub(crate) fn read_clock(clock: clockid_t) -> u64 {
    let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable; a clock that does not exist is an error that leaves it as it is.
    unsafe { libc::clock_gettime(clock, &mut time) };
    nanoseconds(time)
}

/// Time before 1970 counts as 1970.
pub(super) fn nanoseconds(time: timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let part = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(part)
}

/// The error of the system call that has just returned.
pub(super) fn last_errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// Turns the `-1` of a system call into its error.
pub(super) fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
