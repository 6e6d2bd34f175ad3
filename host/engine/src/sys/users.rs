//! Whether a program of this machine uses a local port: asked of the kernel (sock_diag(7)), which
//! needs no privilege.

use std::{io, time::Duration};

use libc::c_int;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use socket2::SockRef;
use sonde_packet::Protocol;

/// Of the kernel's headers: the kind of a question, and of a socket in an answer.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_DONE: u16 = 3;
const REQUEST_DUMP: u16 = 0x1 | 0x300;
/// A socket in any state.
const ANY_STATE: u32 = u32::MAX;
/// `nlmsghdr` and `inet_diag_req_v2`.
const QUESTION: usize = 16 + 56;
/// The kernel answers before it returns from taking a question; this is for a broken one.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whether a socket of either family has this local port, in whatever state.
///
/// # Errors
///
/// Where the kernel cannot tell.
pub(super) fn has(protocol: Protocol, port: u16) -> io::Result<bool> {
    let protocol = match protocol {
        Protocol::Icmp => return Ok(false),
        Protocol::Tcp => libc::IPPROTO_TCP,
        Protocol::Udp => libc::IPPROTO_UDP,
    };
    Ok(has_of(libc::AF_INET, protocol, port)? || has_of(libc::AF_INET6, protocol, port)?)
}

fn has_of(family: c_int, protocol: c_int, port: u16) -> io::Result<bool> {
    // A socket for each question: what is left of a longer answer goes with it.
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    SockRef::from(&socket).set_read_timeout(Some(PATIENCE))?;
    socket.send(&question(family as u8, protocol as u8, port), 0)?;
    let mut answer = Vec::with_capacity(64 << 10);
    socket.recv(&mut answer, 0)?;
    match answer.get(4..6) {
        Some(kind) if kind == SOCK_DIAG_BY_FAMILY.to_ne_bytes() => Ok(true),
        Some(kind) if kind == NLMSG_DONE.to_ne_bytes() => Ok(false),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Asks for all sockets of a family and protocol with that local port.
fn question(family: u8, protocol: u8, port: u16) -> [u8; QUESTION] {
    let mut octets = [0; QUESTION];
    octets[..4].copy_from_slice(&(QUESTION as u32).to_ne_bytes());
    octets[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    octets[6..8].copy_from_slice(&REQUEST_DUMP.to_ne_bytes());
    octets[16..18].copy_from_slice(&[family, protocol]);
    octets[20..24].copy_from_slice(&ANY_STATE.to_ne_bytes());
    octets[24..26].copy_from_slice(&port.to_be_bytes());
    octets
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn ports_of_listeners_connections_and_datagrams_are_used() {
        for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let datagrams = UdpSocket::bind(address).unwrap();
            let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            for (protocol, port) in [
                (Protocol::Tcp, listener.local_addr().unwrap().port()),
                (Protocol::Tcp, near.local_addr().unwrap().port()),
                (Protocol::Udp, datagrams.local_addr().unwrap().port()),
            ] {
                assert!(has(protocol, port).unwrap(), "{protocol:?} {port} of {address}");
            }
        }
    }

    #[test]
    fn a_port_that_was_given_back_is_free() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        drop(socket);
        assert!(!has(Protocol::Udp, port).unwrap());
    }
}
