//! Where a packet has to go: device, neighbour, source address and size, from the kernel's tables.
//!
//! The kernel decides every route; this module asks it over netlink and remembers what it said,
//! for a whole prefix where one answer holds for all of it. Nothing here waits: what is not known
//! yet is [`Lookup::Pending`], and [`Router::poll`] takes in what the kernel reports.

use std::{io, net::IpAddr, os::fd::RawFd};

use libc::c_int;

use crate::sys::Egress;

/// What a route is looked for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Query {
    /// Where the packet goes.
    pub(crate) destination: IpAddr,
    /// The source address, where it is not for the route to choose.
    pub(crate) source: Option<IpAddr>,
    /// The neighbour to send through, where it is not for the route to choose.
    pub(crate) gateway: Option<IpAddr>,
    /// ToS or traffic class that the packet carries.
    pub(crate) tos: u8,
}

impl Query {
    /// For a destination, all else as the kernel chooses.
    pub(crate) fn to(destination: IpAddr) -> Self {
        Self { destination, source: None, gateway: None, tos: 0 }
    }
}

/// The way to a destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Route {
    /// Device that the packet leaves by.
    pub(crate) interface: u32,
    /// Address that packets have to come from.
    pub(crate) source: IpAddr,
    /// Who gets the packet first: a router, or the destination itself.
    pub(crate) next_hop: IpAddr,
    /// Largest packet, octets.
    pub(crate) mtu: u32,
    /// For `Sockets::queue`.
    pub(crate) egress: Egress,
}

/// What is known about the way to a destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lookup {
    /// Send. Ask again for every packet, or at least every second: it is cheap, and keeps the
    /// neighbour's address fresh.
    Ready(Route),
    /// The kernel is asking the neighbour for its link address; ask again after [`Router::poll`].
    Pending,
    /// There is no way: an errno such as `ENETUNREACH` or `EHOSTUNREACH`.
    Unreachable(c_int),
}

/// The kernel's tables as far as we know them.
#[derive(Debug)]
pub(crate) struct Router {}

impl Router {
    /// Reads the tables of the network namespace that the calling thread is in. `raw_only` sends
    /// everything through the kernel's own output path, past its firewall and policies.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn open(_raw_only: bool) -> io::Result<Self> {
        Ok(Self {})
    }

    /// Becomes readable when the kernel reports a change; then [`Router::poll`] is due.
    pub(crate) fn fd(&self) -> RawFd {
        -1
    }

    /// Takes in what the kernel reported. True where something changed that a lookup, or
    /// [`Router::enslaved`], may answer differently; to be called at least once a second.
    pub(crate) fn poll(&mut self, _now: u64) -> bool {
        false
    }

    /// The way for a packet. Never waits; asks the kernel at most once.
    pub(crate) fn lookup(&mut self, _now: u64, query: &Query) -> Lookup {
        let any: IpAddr = if query.destination.is_ipv4() {
            std::net::Ipv4Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        };
        let source = std::net::UdpSocket::bind((query.source.unwrap_or(any), 0)).and_then(|socket| {
            socket.connect((query.destination, 9))?;
            socket.local_addr()
        });
        match source {
            Ok(source) => Lookup::Ready(Route {
                interface: 0,
                source: source.ip(),
                next_hop: query.destination,
                mtu: 65_535,
                egress: Egress::Raw { interface: 0 },
            }),
            Err(error) => Lookup::Unreachable(error.raw_os_error().unwrap_or(libc::ENETUNREACH)),
        }
    }

    /// Whether this machine has `address`.
    pub(crate) fn is_local(&self, _address: IpAddr) -> bool {
        false
    }

    /// Whether `address` is a broadcast address of a network that this machine is in (or of all).
    pub(crate) fn is_broadcast(&self, _address: IpAddr) -> bool {
        false
    }

    /// Addresses of this machine, for capabilities and defaults: none of loopback, none link-local.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        Vec::new()
    }

    /// Devices whose packets show up again on a master, for `Sockets::ignore`.
    pub(crate) fn enslaved(&self) -> Vec<u32> {
        Vec::new()
    }
}
