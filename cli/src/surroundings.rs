//! What the programs are handed: the wall clock, the variables of the environment, descriptors, and signals that whoever
//! started them keeps away.

use std::{
    ffi::OsString,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    os::fd::AsFd,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fstat, stat},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use sonde_mplane::Time;

/// Wall time.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_unix_us(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Variables that are texts.
pub(crate) fn variables() -> Vec<(String, String)> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// Takes as many descriptors as the system lets us have: each held port, connection and worker is some. The usual limit is
/// for programs that keep them in a set of 1024.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit on descriptors stays as it is");
    }
}

/// Whether whoever started the program wants it to go on over this signal, as `nohup` does, and shells that start it in
/// the background. To be asked before a handler is set.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    (1..=64).contains(&signal) && mask >> (signal - 1) & 1 == 1
}

/// Whether a standard stream was closed when the program began. Rust's library has put `/dev/null` in its place then, to be
/// read and written; a redirection there is for one of both.
pub(crate) fn is_closed(stream: impl AsFd) -> io::Result<bool> {
    let (given, null) = (fstat(stream.as_fd())?, stat("/dev/null")?);
    let is_null = (given.st_dev, given.st_ino) == (null.st_dev, null.st_ino);
    Ok(is_null && fcntl_getfl(stream)?.contains(OFlags::RDWR))
}

/// Whether this host has a way out in the family of `address`. Nothing is sent: only the way is asked for, to a root name
/// server, which is nobody's own network.
pub(crate) fn has_way_out(address: IpAddr) -> bool {
    let (any, far): (IpAddr, IpAddr) = match address.to_canonical() {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(193, 0, 14, 129).into()),
        IpAddr::V6(_) => {
            (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0x7fd, 0, 0, 0, 0, 0, 1).into())
        }
    };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((far, 53))).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_on_descriptors_is_raised_to_what_the_system_lets_us_have() {
        let limit = getrlimit(Resource::Nofile);
        let less = limit.maximum.map(|most| most - 1);
        setrlimit(Resource::Nofile, Rlimit { current: less, ..limit }).unwrap();
        raise_descriptor_limit();
        assert_eq!(getrlimit(Resource::Nofile).current, limit.maximum);
    }
}
