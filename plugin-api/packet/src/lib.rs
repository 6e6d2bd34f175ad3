//! Wire formats of active network measurement.
//!
//! Builds probes, reads what comes back (direct answers, and ICMP errors with the quoted probe
//! inside), and matches the one to the other. Both address families are equal; input that ends
//! early is normal; nothing panics on any input. No sockets, no clocks.

mod address;
mod build;
pub mod checksum;
pub mod demux;
mod error_message;
pub mod extension;
mod flow;
mod ip;
pub mod ip_option;
mod own;
mod quote;
mod reassembly;
mod received;
pub mod tcp;

pub use address::{Family, mapped, unmapped};
pub use build::{BuildError, Ip, Packet, Payload, TcpSegment, Transport};
pub use error_message::{ErrorKind, ErrorMessage};
pub use flow::{FlowKey, Key, PayloadKey, Protocol};
pub use ip::{Fragment, IpHeader, ParseError};
pub use own::{NotOwn, Permits, check_own};
pub use quote::{Depth, Quote};
pub use reassembly::Reassembly;
pub use received::{Class, Received, Verdict, classify, verify, verify_header};

/// Numbers of the protocols above IP that are read here.
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// Two octets at `at`, if they are there.
pub(crate) fn word(octets: &[u8], at: usize) -> Option<u16> {
    let pair = octets.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(pair.try_into().ok()?))
}

/// Four octets at `at`, if they are there.
pub(crate) fn long(octets: &[u8], at: usize) -> Option<u32> {
    let four = octets.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}
