//! What the kernel says about one destination.

use std::net::IpAddr;

use libc::c_int;
use netlink_packet_route::{
    AddressFamily,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteType, RouteVia,
    },
};
use sonde_packet::Protocol;

use super::Query;

/// `RTCF_REDIRECTED` of the kernel's header.
const REDIRECTED: u32 = 0x0004_0000;

/// The kernel's answer to `RTM_GETROUTE`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    /// There is a way.
    Way(Way),
    /// There is none: an errno.
    Refused(c_int),
    /// The kernel could not answer now.
    Unknown,
}

/// A way, as far as it does not depend on the neighbour.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Way {
    pub(super) interface: u32,
    /// The router; `None` where the destination is a neighbour itself.
    pub(super) gateway: Option<IpAddr>,
    pub(super) source: IpAddr,
    /// That the route was given, octets.
    pub(super) mtu: Option<u32>,
    /// The destination is this machine.
    pub(super) local: bool,
}

/// An answer and how far it goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Told {
    pub(super) answer: Answer,
    /// It follows from something that the kernel learned about this destination alone.
    pub(super) for_one: bool,
}

/// The question for the kernel.
pub(super) fn question(query: &Query) -> RouteMessage {
    let mut message = RouteMessage::default();
    let bits = if query.destination.is_ipv6() { 128 } else { 32 };
    message.header.address_family = family(query.destination);
    message.header.destination_prefix_length = bits;
    // The two lowest bits are ECN's, of no concern to routes and refused by some kernels.
    message.header.tos = query.tos & 0xfc;
    message.attributes.push(RouteAttribute::Destination(wire(query.destination)));
    if let Some(source) = query.source {
        message.header.source_prefix_length = bits;
        message.attributes.push(RouteAttribute::Source(wire(source)));
    }
    if let Some(protocol) = query.protocol {
        let number = match protocol {
            Protocol::Icmp if query.destination.is_ipv6() => libc::IPPROTO_ICMPV6 as u8,
            protocol => protocol as u8,
        };
        message.attributes.push(RouteAttribute::IpProto(number));
    }
    message
}

/// Reads the reply to [`question`].
pub(super) fn read(query: &Query, message: &RouteMessage) -> Told {
    let refused = |errno| Told { answer: Answer::Refused(errno), for_one: false };
    let local = match message.header.kind {
        RouteType::Unicast | RouteType::Anycast => false,
        RouteType::Local => true,
        RouteType::Broadcast | RouteType::Multicast | RouteType::Prohibit => {
            return refused(libc::EACCES);
        }
        RouteType::BlackHole => return refused(libc::EINVAL),
        RouteType::Unreachable => return refused(libc::EHOSTUNREACH),
        _ => return refused(libc::ENETUNREACH),
    };
    let redirected = message.header.flags.contains(RouteFlags::from_bits_retain(REDIRECTED));
    let (mut interface, mut gateway, mut source) = (None, None, query.source);
    let (mut mtu, mut expires) = (None, false);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(address) => gateway = read_address(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => gateway = Some((*address).into()),
            RouteAttribute::Via(RouteVia::Inet6(address)) => gateway = Some((*address).into()),
            RouteAttribute::PrefSource(address) => source = source.or(read_address(address)),
            RouteAttribute::CacheInfo(info) => expires = info.expires != 0,
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let Some(interface) = interface else { return refused(libc::ENETUNREACH) };
    let Some(source) = source.filter(|source| !source.is_unspecified()) else {
        return refused(libc::EADDRNOTAVAIL);
    };
    // A size learned on the path runs out; one that was configured does not. What a packet may be on
    // its way is for a measurement to find: only our own link keeps a probe from leaving.
    let learned = mtu.is_some() && expires;
    let mtu = mtu.filter(|_| !learned);
    let way = Way { interface, gateway, source, mtu, local };
    Told { answer: Answer::Way(way), for_one: redirected || learned }
}

/// The family as netlink writes it.
pub(super) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet }
}

/// An address of a route message.
pub(super) fn read_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn wire(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    }
}
