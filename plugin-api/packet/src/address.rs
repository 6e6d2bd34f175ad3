//! Addresses of both families in one form.

use std::net::{IpAddr, Ipv6Addr};

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Of an address; a v4-mapped IPv6 address is IPv6 here.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// `ip4` or `ip6`, as element names end.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::V4 => "ip4",
            Self::V6 => "ip6",
        }
    }
}

/// The sixteen octets of an address, IPv4 as `::ffff:a.b.c.d`.
#[inline]
#[must_use]
pub fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The reverse of [`mapped`].
#[inline]
#[must_use]
pub fn unmapped(octets: [u8; 16]) -> IpAddr {
    let address = Ipv6Addr::from(octets);
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}
