//! Making the kernel look for a neighbour's link address.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsRawFd, OwnedFd},
};

use libc::{in_addr, in6_addr, sockaddr_in, sockaddr_in6};

use super::{
    fd::{set_option, socket},
    messages::{CONTROL_WORDS, Control},
};

/// Where datagrams go that nobody wants.
const DISCARD: u16 = 9;

/// Sends empty datagrams that go no further than this link.
#[derive(Debug)]
pub(crate) struct Nudge {
    four: OwnedFd,
    /// `None` on a kernel without IPv6.
    six: Option<OwnedFd>,
}

impl Nudge {
    /// Opens the sockets; this needs no privilege.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn open() -> io::Result<Self> {
        let near = 1i32;
        let four = socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK, 0)?;
        set_option(&four, libc::IPPROTO_IP, libc::IP_TTL, &near)?;
        let six = match socket(libc::AF_INET6, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK, 0) {
            Ok(fd) => {
                set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, &near)?;
                Some(fd)
            }
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { four, six })
    }

    /// Sends one to a neighbour.
    ///
    /// # Errors
    ///
    /// The kernel's; `EAGAIN` where too many neighbours are asked for at a time, `ENOBUFS` where its table of them is full.
    pub(crate) fn send(&self, interface: u32, neighbour: IpAddr) -> io::Result<()> {
        let mut words = [0; CONTROL_WORDS];
        let mut control = Control::over(&mut words, 0);
        match (neighbour, &self.six) {
            (IpAddr::V4(neighbour), _) => {
                let any = in_addr { s_addr: 0 };
                let ipi_ifindex = i32::try_from(interface).unwrap_or(0);
                let by = libc::in_pktinfo { ipi_ifindex, ipi_spec_dst: any, ipi_addr: any };
                control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, by);
                let name = sockaddr_in {
                    sin_family: libc::AF_INET as u16,
                    sin_port: DISCARD.to_be(),
                    sin_addr: in_addr { s_addr: u32::from_ne_bytes(neighbour.octets()) },
                    sin_zero: [0; 8],
                };
                let octets = control.octets;
                transmit(&self.four, name, &mut words, octets)
            }
            (IpAddr::V6(neighbour), Some(six)) => {
                let any = in6_addr { s6_addr: [0; 16] };
                let by = libc::in6_pktinfo { ipi6_addr: any, ipi6_ifindex: interface };
                control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, by);
                let linked = neighbour.is_unicast_link_local();
                let name = sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as u16,
                    sin6_port: DISCARD.to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: in6_addr { s6_addr: neighbour.octets() },
                    sin6_scope_id: if linked { interface } else { 0 },
                };
                let octets = control.octets;
                transmit(six, name, &mut words, octets)
            }
            (IpAddr::V6(_), None) => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
        }
    }
}

fn transmit<A: Copy>(
    fd: &OwnedFd,
    mut name: A,
    control: &mut [u64],
    octets: usize,
) -> io::Result<()> {
    // SAFETY: integers and pointers only, for which zero is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = std::ptr::from_mut(&mut name).cast();
    header.msg_namelen = size_of::<A>() as u32;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = octets as _;
    // Not by way of a router, whatever routes say.
    let flags = libc::MSG_DONTWAIT | libc::MSG_DONTROUTE;
    // SAFETY: name and control messages live until the call is over; there is no payload.
    match unsafe { libc::sendmsg(fd.as_raw_fd(), &header, flags) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
