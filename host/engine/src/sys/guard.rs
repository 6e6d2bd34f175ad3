//! Keeping the kernel out of our TCP and UDP flows, and others off their local ports.
//!
//! A guard is a socket that holds a port for both families and drops everything: the kernel finds
//! a listener, so it sends neither a reset nor a port unreachable, and the listener hears nothing.
//! The receiving ring still sees every packet.
//!
//! What drops is a filter on the socket. Some kernels (seen on 6.18.44) let only those with
//! CAP_NET_ADMIN put one on a TCP socket. There the guard asks for segments that are signed (RFC
//! 2385) with a key that nobody knows, and that come from no further than this link (RFC 5082): the
//! kernel drops all others as silently, and either alone does for nearly all.
//!
//! The kernel gives ports below 1024 to privileged programs alone, and sonde gives up its privileges at
//! start. A flow that the kernel may answer for has one all the same while no program uses it: there
//! is no guard then, and what comes for the port is answered with a reset or a port unreachable.
//!
//! Ports that we choose come in blocks of 64, and the ring's filter passes whole blocks: attaching
//! a filter costs more than a probe.

use std::{
    io,
    ops::RangeInclusive,
    os::fd::{AsRawFd, OwnedFd},
};

use libc::{c_int, in6_addr, sockaddr_in6};
use sonde_packet::Protocol;

use super::{
    fd::{attach_filter, bind, checked, set_option, socket},
    filter::{Ports, nothing},
    process::random,
    users,
};

/// Ports of a block; one bit each.
const BLOCK_PORTS: u16 = 64;
/// More ranges than this are merged with what lies between them.
const RANGES: usize = 64;
/// Most ports that are shared with the kernel: each is asked for once a second.
const MOST_SHARED: usize = 64;
/// What Linux draws local ports from unless told otherwise.
const USUAL_RANGE: RangeInclusive<u16> = 32_768..=60_999;

/// Of the kernel's headers.
const TCP_MD5SIG_EXT: c_int = 32;
const SIGNATURE_FOR_PREFIX: u8 = 1;
const IPV6_MINHOPCOUNT: c_int = 73;

/// Why a port could not be held.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuardError {
    /// The kernel cannot be kept quiet on ports below 1024 (or as the system says): that needs a capability that sonde
    /// gives up at start.
    #[error(
        "port {port} is reserved for privileged programs, and the kernel would break in: choose one from 1024 on"
    )]
    Privileged {
        /// The port asked for.
        port: u16,
    },
    /// Some other program holds the port.
    #[error("{protocol:?} port {port} is used by another program on this machine")]
    Taken {
        /// TCP or UDP.
        protocol: Protocol,
        /// The port asked for.
        port: u16,
    },
    /// No port of the system's range is free.
    #[error("no {protocol:?} port is free")]
    Exhausted {
        /// TCP or UDP.
        protocol: Protocol,
    },
    /// ICMP has no ports.
    #[error("ICMP has no ports to hold")]
    Portless,
    /// The kernel refused for another reason, such as too many open files.
    #[error("cannot hold a local port: {0}")]
    Kernel(#[from] io::Error),
}

impl GuardError {
    /// The errno that stands for it.
    pub(crate) fn errno(&self) -> c_int {
        match self {
            Self::Kernel(error) => error.raw_os_error().unwrap_or(libc::EADDRINUSE),
            _ => libc::EADDRINUSE,
        }
    }
}

/// A local port that the kernel leaves to us; to be given back with `Sockets::release`.
#[derive(Debug)]
pub(crate) struct Guard {
    /// `None`: the port is shared, and the kernel answers what comes for it.
    socket: Option<OwnedFd>,
    protocol: Protocol,
    port: u16,
}

impl Guard {
    /// The port held, in both families.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

/// The ports in use.
#[derive(Debug)]
pub(super) struct Guards {
    tcp: Held,
    udp: Held,
    /// Where ports are drawn from.
    range: RangeInclusive<u16>,
    /// The ring's filter passes a port that nobody holds any more.
    stale: bool,
}

#[derive(Debug, Default)]
struct Held {
    blocks: Vec<Block>,
    /// Ports that somebody asked for by number.
    chosen: Vec<u16>,
    /// Those of them that nothing keeps other programs from.
    shared: Vec<u16>,
}

#[derive(Debug)]
struct Block {
    first: u16,
    /// Held by us.
    ours: u64,
    /// Held by other programs when we tried.
    theirs: u64,
}

impl Guards {
    /// None yet; ports are drawn from the range of the namespace that the caller is in.
    pub(super) fn new() -> Self {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
        let range = range.as_deref().and_then(parse_range).unwrap_or(USUAL_RANGE);
        Self { tcp: Held::default(), udp: Held::default(), range, stale: false }
    }

    /// What the ring's filter has to pass.
    pub(super) fn ports(&self) -> Ports {
        Ports { tcp: self.tcp.ranges(), udp: self.udp.ranges() }
    }

    /// Holds `port`, or one that is free; one that the kernel answers for only where it need not be `quiet`. True where
    /// the ring's filter has to be renewed before the port is of use.
    pub(super) fn hold(
        &mut self,
        protocol: Protocol,
        port: Option<u16>,
        quiet: bool,
    ) -> Result<(Guard, bool), GuardError> {
        let range = self.range.clone();
        let held = self.held(protocol).ok_or(GuardError::Portless)?;
        let (socket, port, renew) = match port {
            Some(port) => {
                let socket = match open(protocol, port) {
                    Ok(socket) => Some(socket),
                    Err(GuardError::Privileged { .. }) if !quiet => {
                        held.share(protocol, port)?;
                        None
                    }
                    Err(error) => return Err(error),
                };
                let known = held.blocks.iter().any(|block| block.contains(port));
                held.chosen.push(port);
                (socket, port, !known)
            }
            None => {
                let (socket, port, renew) = held.draw(protocol, &range)?;
                (Some(socket), port, renew)
            }
        };
        Ok((Guard { socket, protocol, port }, renew))
    }

    /// Whether one more flow may use the port.
    pub(super) fn check(&self, guard: &Guard, quiet: bool) -> Result<(), GuardError> {
        let Guard { socket, protocol, port } = guard;
        let held = if *protocol == Protocol::Tcp { &self.tcp } else { &self.udp };
        match socket {
            Some(_) => Ok(()),
            None if quiet => Err(GuardError::Privileged { port: *port }),
            None if held.shared.contains(port) => Ok(()),
            None => Err(GuardError::Taken { protocol: *protocol, port: *port }),
        }
    }

    /// Lets the port go. The ring's filter may pass it until [`Guards::tidy`].
    pub(super) fn release(&mut self, guard: &Guard) {
        let Some(held) = self.held(guard.protocol) else { return };
        if let Some(at) = held.chosen.iter().position(|port| *port == guard.port) {
            held.chosen.swap_remove(at);
            held.shared.retain(|port| *port != guard.port);
            self.stale = true;
        } else if let Some(block) = held.blocks.iter_mut().find(|block| block.contains(guard.port))
        {
            block.ours &= !(1 << (guard.port - block.first));
        }
    }

    /// Forgets blocks of which no port is held, and ports that a program has come to use. True where the ring's filter passes too much.
    pub(super) fn tidy(&mut self) -> bool {
        let mut changed = std::mem::take(&mut self.stale);
        for (protocol, held) in [(Protocol::Tcp, &mut self.tcp), (Protocol::Udp, &mut self.udp)] {
            changed |= held.leave_to_programs(protocol);
            let before = held.blocks.len();
            held.blocks.retain(|block| block.ours != 0);
            changed |= held.blocks.len() != before;
        }
        changed
    }

    fn held(&mut self, protocol: Protocol) -> Option<&mut Held> {
        match protocol {
            Protocol::Icmp => None,
            Protocol::Tcp => Some(&mut self.tcp),
            Protocol::Udp => Some(&mut self.udp),
        }
    }
}

impl Held {
    /// Takes a port that the kernel lets nobody hold who is not privileged, if no program uses it.
    fn share(&mut self, protocol: Protocol, port: u16) -> Result<(), GuardError> {
        if self.shared.len() >= MOST_SHARED {
            return Err(GuardError::Exhausted { protocol });
        }
        match users::has(protocol, port) {
            Ok(false) => {}
            Ok(true) => return Err(GuardError::Taken { protocol, port }),
            Err(_) => return Err(GuardError::Privileged { port }),
        }
        self.shared.push(port);
        Ok(())
    }

    /// Hears no more for shared ports that a program uses by now: what comes is for that.
    fn leave_to_programs(&mut self, protocol: Protocol) -> bool {
        let before = self.shared.len();
        self.shared.retain(|port| {
            let is_free = users::has(protocol, *port).is_ok_and(|is_used| !is_used);
            if !is_free {
                self.chosen.retain(|chosen| chosen != port);
                tracing::warn!(
                    port,
                    ?protocol,
                    "a program uses a port that probes leave from: nothing more is heard for them"
                );
            }
            is_free
        });
        self.shared.len() != before
    }

    /// A port of a block that we have, else of a new one.
    fn draw(
        &mut self,
        protocol: Protocol,
        range: &RangeInclusive<u16>,
    ) -> Result<(OwnedFd, u16, bool), GuardError> {
        for block in &mut self.blocks {
            if let Some((socket, port)) = block.draw(protocol)? {
                return Ok((socket, port, false));
            }
        }
        let first_block = range.start().div_ceil(BLOCK_PORTS);
        let count = ((u32::from(*range.end()) + 1) / u32::from(BLOCK_PORTS))
            .saturating_sub(u32::from(first_block));
        let count = u16::try_from(count).unwrap_or(0);
        let offset = if count == 0 { 0 } else { (random() % u64::from(count)) as u16 };
        for step in 0..count {
            let number = first_block + (offset + step) % count;
            let first = number * BLOCK_PORTS;
            if self.blocks.iter().any(|block| block.first == first) {
                continue;
            }
            let mut block = Block { first, ours: 0, theirs: 0 };
            if let Some((socket, port)) = block.draw(protocol)? {
                self.blocks.push(block);
                return Ok((socket, port, true));
            }
        }
        Err(GuardError::Exhausted { protocol })
    }

    /// Sorted, and so few that the filter stays small.
    fn ranges(&self) -> Vec<RangeInclusive<u16>> {
        let blocks = self.blocks.iter().map(|block| (block.first, block.first + (BLOCK_PORTS - 1)));
        let mut pairs: Vec<(u16, u16)> =
            blocks.chain(self.chosen.iter().map(|port| (*port, *port))).collect();
        pairs.sort_unstable();
        let mut ranges: Vec<(u16, u16)> = Vec::with_capacity(pairs.len());
        for (low, high) in pairs {
            match ranges.last_mut() {
                Some((_, end)) if u32::from(low) <= u32::from(*end) + 1 => *end = high.max(*end),
                _ => ranges.push((low, high)),
            }
        }
        while ranges.len() > RANGES {
            // The two with the least between them become one.
            let gap = |at: &usize| ranges[at + 1].0 - ranges[*at].1;
            let Some(at) = (0..ranges.len() - 1).min_by_key(gap) else { break };
            ranges[at].1 = ranges[at + 1].1;
            ranges.remove(at + 1);
        }
        ranges.into_iter().map(|(low, high)| low..=high).collect()
    }
}

impl Block {
    fn contains(&self, port: u16) -> bool {
        port & !(BLOCK_PORTS - 1) == self.first
    }

    fn draw(&mut self, protocol: Protocol) -> Result<Option<(OwnedFd, u16)>, GuardError> {
        let begin = (random() % u64::from(BLOCK_PORTS)) as u16;
        for step in 0..BLOCK_PORTS {
            let offset = (begin + step) % BLOCK_PORTS;
            if (self.ours | self.theirs) & (1 << offset) != 0 {
                continue;
            }
            match open(protocol, self.first + offset) {
                Ok(socket) => {
                    self.ours |= 1 << offset;
                    return Ok(Some((socket, self.first + offset)));
                }
                Err(GuardError::Taken { .. } | GuardError::Privileged { .. }) => {
                    self.theirs |= 1 << offset;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// The socket that holds `port`. It is made deaf before it is bound, so that there is no moment in
/// which a packet could be answered.
fn open(protocol: Protocol, port: u16) -> Result<OwnedFd, GuardError> {
    let kind = if protocol == Protocol::Tcp { libc::SOCK_STREAM } else { libc::SOCK_DGRAM };
    let refused = |error: io::Error| match error.raw_os_error() {
        Some(libc::EACCES) => GuardError::Privileged { port },
        Some(libc::EADDRINUSE) => GuardError::Taken { protocol, port },
        _ => GuardError::Kernel(error),
    };
    let fd = match socket(libc::AF_INET6, kind, 0) {
        Ok(fd) => {
            set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &0i32)?;
            deafen(&fd, protocol, libc::AF_INET6)?;
            bind(&fd, &any6(port)).map_err(refused)?;
            fd
        }
        // A kernel without IPv6.
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            let fd = socket(libc::AF_INET, kind, 0)?;
            deafen(&fd, protocol, libc::AF_INET)?;
            bind(&fd, &any4(port)).map_err(refused)?;
            fd
        }
        Err(error) => return Err(error.into()),
    };
    if protocol == Protocol::Tcp {
        listen(&fd).map_err(refused)?;
    }
    Ok(fd)
}

/// Makes a socket drop all that comes.
fn deafen(fd: &OwnedFd, protocol: Protocol, family: c_int) -> io::Result<()> {
    match attach_filter(fd, &nothing()) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
        result => return result,
    }
    if protocol == Protocol::Udp {
        // It is never read from; what does not fit is dropped.
        return set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &0i32);
    }
    deafen_without_filter(fd, family)
}

/// As [`deafen`] for TCP, by means that need no privilege.
fn deafen_without_filter(fd: &OwnedFd, family: c_int) -> io::Result<()> {
    // From a TTL of 255 down every router takes one.
    let near = 255i32;
    set_option(fd, libc::IPPROTO_IP, libc::IP_MINTTL, &near)?;
    // Kernels without signatures leave out neighbours that send with a TTL of 255.
    let _ = set_option(fd, libc::IPPROTO_TCP, TCP_MD5SIG_EXT, &Signature::for_all(family, 4));
    if family == libc::AF_INET6 {
        set_option(fd, libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT, &near)?;
        let _ = set_option(fd, libc::IPPROTO_TCP, TCP_MD5SIG_EXT, &Signature::for_all(family, 6));
    }
    Ok(())
}

/// `tcp_md5sig` of the kernel's header.
#[derive(Clone, Copy)]
#[repr(C)]
struct Signature {
    address: [u8; 128],
    flags: u8,
    prefix_octets: u8,
    key_octets: u16,
    interface: c_int,
    key: [u8; 80],
}

impl Signature {
    /// A key for every peer of IP version 4 or 6, on a socket of `family`.
    fn for_all(family: c_int, version: u8) -> Self {
        let mut address = [0; 128];
        address[..2].copy_from_slice(&(family as u16).to_ne_bytes());
        if family == libc::AF_INET6 && version == 4 {
            // ::ffff:0.0.0.0, behind family, port and flow label.
            address[8 + 10..8 + 12].fill(0xff);
        }
        let mut key = [0; 80];
        key[..8].copy_from_slice(&random().to_ne_bytes());
        key[8..16].copy_from_slice(&random().to_ne_bytes());
        Self {
            address,
            flags: SIGNATURE_FOR_PREFIX,
            prefix_octets: 0,
            key_octets: 16,
            interface: 0,
            key,
        }
    }
}

fn listen(fd: &OwnedFd) -> io::Result<c_int> {
    // SAFETY: takes integers only.
    checked(unsafe { libc::listen(fd.as_raw_fd(), 0) })
}

fn any4(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: 0 },
        sin_zero: [0; 8],
    }
}

fn any6(port: u16) -> sockaddr_in6 {
    sockaddr_in6 {
        sin6_family: libc::AF_INET6 as u16,
        sin6_port: port.to_be(),
        sin6_flowinfo: 0,
        sin6_addr: in6_addr { s6_addr: [0; 16] },
        sin6_scope_id: 0,
    }
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut words = text.split_whitespace().map(str::parse::<u16>);
    let (low, high) = (words.next()?.ok()?, words.next()?.ok()?);
    // A range that holds no whole block would leave nothing to draw from.
    (low >= 1024 && high.checked_sub(low)? >= 2 * BLOCK_PORTS).then_some(low..=high)
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, UdpSocket},
        sync::mpsc::channel,
    };

    use super::{super::lab::Pair, *};
    use crate::privileges;

    fn block(first: u16) -> Block {
        Block { first, ours: 1, theirs: 0 }
    }

    #[test]
    fn a_port_that_cannot_be_held_says_why() {
        let error = GuardError::from(io::Error::from_raw_os_error(libc::EMFILE));
        assert_eq!(error.errno(), libc::EMFILE);
        assert_eq!(
            error.to_string(),
            "cannot hold a local port: Too many open files (os error 24)"
        );
        assert_eq!(GuardError::Portless.errno(), libc::EADDRINUSE);
    }

    #[test]
    fn blocks_that_touch_are_one_range() {
        let blocks = vec![block(40_064), block(33_024), block(40_000)];
        let held = Held { blocks, chosen: vec![8080, 40_010], ..Held::default() };
        assert_eq!(held.ranges(), [8080..=8080, 33_024..=33_087, 40_000..=40_127]);
    }

    #[test]
    fn the_topmost_block_ends_with_the_last_port() {
        let held = Held { blocks: vec![block(65_472)], ..Held::default() };
        assert_eq!(held.ranges(), [65_472..=65_535]);
    }

    #[test]
    fn too_many_ranges_are_joined_where_least_lies_between() {
        let chosen = (1..=64u16).map(|number| number * 900).chain([9_005]).collect();
        let ranges = Held { chosen, ..Held::default() }.ranges();
        assert_eq!(ranges.len(), RANGES);
        assert!(ranges.contains(&(9_000..=9_005)));
    }

    #[test]
    fn a_range_of_ports_without_a_whole_block_is_not_used() {
        assert_eq!(parse_range("32768\t60999\n"), Some(32_768..=60_999));
        assert_eq!(parse_range("2000\t2050\n"), None);
        assert_eq!(parse_range("1\t65535\n"), None);
        assert_eq!(parse_range("60999\t32768\n"), None);
        assert_eq!(parse_range("ports"), None);
    }

    #[test]
    fn ports_are_drawn_from_one_block_until_it_is_used_up() {
        let mut guards = Guards::new();
        let (first, renew) = guards.hold(Protocol::Udp, None, true).unwrap();
        assert!(renew);
        let (second, renew) = guards.hold(Protocol::Udp, None, true).unwrap();
        assert!(!renew);
        assert_eq!(first.port() / BLOCK_PORTS, second.port() / BLOCK_PORTS);
        assert_ne!(first.port(), second.port());
        assert!(guards.ports().udp[0].contains(&first.port()));
        guards.release(&first);
        assert!(!guards.tidy());
        guards.release(&second);
        assert!(guards.tidy());
        assert_eq!(guards.ports(), Ports::default());
    }

    #[test]
    #[ignore = "needs root: makes network namespaces"]
    fn privileged_ports_are_shared_with_the_kernel_until_a_program_uses_them() {
        Pair::new().inside("near", || {
            let mut guards = Guards::new();
            let _service = TcpListener::bind("[::]:22").unwrap();
            let (ask, asked) = channel();
            let (bound, is_bound) = channel();
            // A thread of its own keeps its privileges.
            let program = std::thread::spawn(move || {
                asked.recv().unwrap();
                let socket = UdpSocket::bind("0.0.0.0:33").unwrap();
                bound.send(()).unwrap();
                socket
            });
            privileges::drop_own().unwrap();
            let taken = guards.hold(Protocol::Tcp, Some(22), false);
            assert!(matches!(taken, Err(GuardError::Taken { port: 22, .. })), "{taken:?}");
            let refused = guards.hold(Protocol::Udp, Some(33), true);
            assert!(matches!(refused, Err(GuardError::Privileged { port: 33 })), "{refused:?}");
            let (shared, renew) = guards.hold(Protocol::Udp, Some(33), false).unwrap();
            assert!(renew && !guards.tidy());
            guards.check(&shared, false).unwrap();
            let quiet = guards.check(&shared, true);
            assert!(matches!(quiet, Err(GuardError::Privileged { port: 33 })), "{quiet:?}");
            ask.send(()).unwrap();
            is_bound.recv().unwrap();
            assert!(guards.tidy());
            assert_eq!(guards.ports(), Ports::default());
            let gone = guards.check(&shared, false);
            assert!(matches!(gone, Err(GuardError::Taken { port: 33, .. })), "{gone:?}");
            guards.release(&shared);
            drop(program.join().unwrap());
        });
    }

    #[test]
    fn a_port_by_number_is_held_once() {
        let mut guards = Guards::new();
        let (drawn, _) = guards.hold(Protocol::Tcp, None, true).unwrap();
        let again = guards.hold(Protocol::Tcp, Some(drawn.port()), false);
        assert!(matches!(again, Err(GuardError::Taken { port, .. }) if port == drawn.port()));
        guards.release(&drawn);
        drop(drawn);
        assert!(matches!(guards.hold(Protocol::Icmp, None, true), Err(GuardError::Portless)));
    }
}
