//! What the engine needs of the world: packets out and in, routes, ports, time.
//!
//! The kernel is one such world, a test's imagination another.

use std::{net::IpAddr, os::fd::RawFd, time::Duration};

use sonde_packet::Protocol;

use crate::{
    clock::Clock,
    interfaces::Interfaces,
    route::{Lookup, Query, Router},
    sys::{
        Departure, Egress, Full, Guard, OpenError, Options, Poller, Received, Sockets, StampSource,
    },
};

/// Packets taken from the ring in one turn, so that sending is not starved.
const RECEIVE_BUDGET: usize = 4096;

/// A packet that came in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Arrival {
    /// Monotonic.
    pub(crate) at: u64,
    /// Who stamped it, a number of `sonde_plugin_api::abi::stamp`.
    pub(crate) stamp: u8,
    /// Its transport checksum is not filled in, for it never left this machine.
    pub(crate) checksum_not_ready: bool,
    /// Octets of each of the segments that were merged; 0 for a packet as it came, 1 where that is not known.
    pub(crate) merged_octets: u16,
    /// Number of the interface it came in by, from 1: see [`Link::interfaces`]; 0 if not known.
    pub(crate) interface: u8,
}

/// A local port that is ours, or why not.
pub(crate) type Held<H> = Result<(H, u16), (i32, String)>;

/// The world.
pub(crate) trait Link {
    /// A local port while it is held.
    type Hold;

    /// Looks at the clocks and at what the kernel reports; monotonic time.
    fn poll(&mut self) -> u64;
    /// Monotonic time.
    fn now(&self) -> u64;
    /// Wall time of a monotonic one.
    fn wall_of(&self, at: u64) -> u64;
    /// The way to a destination; see [`Router::lookup`].
    fn lookup(&mut self, now: u64, query: &Query, may_ask: &mut dyn FnMut() -> bool) -> Lookup;
    /// Names of interfaces by their number, the first is 1; none is ever taken away.
    fn interfaces(&self) -> &[Box<str>];
    /// Whether this machine has the address.
    fn is_local(&self, address: IpAddr) -> bool;
    /// Whether the address is a broadcast address here.
    fn is_broadcast(&self, address: IpAddr) -> bool;
    /// Takes a local port, a given one or any; `quiet`: only if the kernel answers nothing that comes for it.
    fn hold(&mut self, protocol: Protocol, port: Option<u16>, quiet: bool) -> Held<Self::Hold>;
    /// Whether one more flow may use a port that is held, else errno and reason.
    fn check_hold(&self, hold: &Self::Hold, quiet: bool) -> Result<(), (i32, String)>;
    /// Gives it back.
    fn release(&mut self, hold: Self::Hold);
    /// Puts a packet in the next batch.
    fn queue(&mut self, egress: Egress, packet: &[u8], tag: u64, precise: bool)
    -> Result<(), Full>;
    /// Sends the batch and says of each packet when it left or why not.
    fn flush(&mut self, sink: &mut dyn FnMut(u64, Result<Departure, i32>));
    /// Hands over what came in.
    fn receive(&mut self, sink: &mut dyn FnMut(&[u8], &Arrival));
    /// Hands over the kernel's stamps of departures: tag, time, who stamped.
    fn stamps(&mut self, sink: &mut dyn FnMut(u64, u64, u8));
    /// Waits until there is something to do, at most `limit`.
    fn wait(&mut self, others: &[RawFd], limit: Duration);
    /// Does nothing for a while, whatever happens.
    fn rest(&mut self, time: Duration);
    /// Whether [`Link::poll`] is due soon, although nothing wakes us for it.
    fn is_reading(&self) -> bool;
    /// Packets lost by the kernel for want of room, and times that the wall clock was set.
    fn losses(&mut self) -> (u64, u64);
}

/// The kernel.
pub(crate) struct Kernel {
    sockets: Sockets,
    router: Router,
    clock: Clock,
    interfaces: Interfaces,
    poller: Poller,
    tidied: u64,
    /// Something is in the error queues.
    has_errors: bool,
}

impl Kernel {
    /// Opens everything; needs `CAP_NET_RAW`.
    pub(crate) fn open() -> Result<Self, OpenError> {
        let sockets = Sockets::open(Options::default())?;
        let router = Router::open(false)
            .map_err(|source| OpenError::Kernel { what: "routing tables", source })?;
        let mut kernel = Self {
            sockets,
            router,
            clock: Clock::new(),
            interfaces: Interfaces::default(),
            poller: Poller::new(),
            tidied: 0,
            has_errors: false,
        };
        kernel.look_at_devices();
        Ok(kernel)
    }

    fn look_at_devices(&mut self) {
        self.sockets.ignore(&self.router.enslaved());
        self.interfaces.number_all(self.router.interface_names());
    }
}

impl Link for Kernel {
    type Hold = Guard;

    fn poll(&mut self) -> u64 {
        let now = self.clock.poll();
        if self.router.poll(now) {
            self.look_at_devices();
        }
        if now - self.tidied > 1_000_000_000 {
            self.tidied = now;
            if let Err(error) = self.sockets.tidy() {
                tracing::warn!(%error, "the receive filter cannot be renewed");
            }
        }
        now
    }

    fn now(&self) -> u64 {
        self.clock.now()
    }

    fn wall_of(&self, at: u64) -> u64 {
        self.clock.wall_of(at)
    }

    fn lookup(&mut self, now: u64, query: &Query, may_ask: &mut dyn FnMut() -> bool) -> Lookup {
        self.router.lookup(now, query, may_ask)
    }

    fn interfaces(&self) -> &[Box<str>] {
        self.interfaces.names()
    }

    fn is_local(&self, address: IpAddr) -> bool {
        self.router.is_local(address)
    }

    fn is_broadcast(&self, address: IpAddr) -> bool {
        self.router.is_broadcast(address)
    }

    fn hold(&mut self, protocol: Protocol, port: Option<u16>, quiet: bool) -> Held<Guard> {
        let guard = self.sockets.guard(protocol, port, quiet);
        let guard = guard.map_err(|error| (error.errno(), error.to_string()))?;
        let port = guard.port();
        Ok((guard, port))
    }

    fn check_hold(&self, hold: &Guard, quiet: bool) -> Result<(), (i32, String)> {
        let checked = self.sockets.check_guard(hold, quiet);
        checked.map_err(|error| (error.errno(), error.to_string()))
    }

    fn release(&mut self, hold: Guard) {
        self.sockets.release(hold);
    }

    fn queue(
        &mut self,
        egress: Egress,
        packet: &[u8],
        tag: u64,
        precise: bool,
    ) -> Result<(), Full> {
        self.sockets.queue(egress, packet, tag, precise)
    }

    fn flush(&mut self, sink: &mut dyn FnMut(u64, Result<Departure, i32>)) {
        self.sockets.flush(&self.clock, sink);
    }

    fn receive(&mut self, sink: &mut dyn FnMut(&[u8], &Arrival)) {
        let (clock, interfaces) = (&self.clock, &self.interfaces);
        self.sockets.receive(RECEIVE_BUDGET, |packet, received: &Received| {
            let at = clock.arrival(received.realtime);
            let source = if at.is_some() { received.source } else { StampSource::User };
            let arrival = Arrival {
                at: at.unwrap_or_else(|| clock.now()),
                stamp: source.number(),
                checksum_not_ready: received.checksum_not_ready,
                merged_octets: received.merged_octets,
                interface: interfaces.number(received.interface),
            };
            sink(packet, &arrival);
        });
    }

    fn stamps(&mut self, sink: &mut dyn FnMut(u64, u64, u8)) {
        let has_errors = std::mem::take(&mut self.has_errors);
        self.sockets.stamps(&self.clock, has_errors, |tag, stamp| {
            sink(tag, stamp.at, stamp.source.number());
        });
    }

    fn wait(&mut self, others: &[RawFd], limit: Duration) {
        self.poller.clear();
        self.poller.add(self.sockets.ring_fd());
        self.poller.add(self.router.fd());
        for fd in self.sockets.stamp_fds() {
            self.poller.add_errors(fd);
        }
        others.iter().for_each(|fd| self.poller.add(*fd));
        if let Err(error) = self.poller.wait(Some(limit)) {
            tracing::warn!(%error, "waiting failed");
        }
        self.has_errors = self.poller.has_errors();
    }

    fn rest(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    fn is_reading(&self) -> bool {
        self.router.is_reading()
    }

    fn losses(&mut self) -> (u64, u64) {
        (self.sockets.statistics().drops, self.clock.steps())
    }
}

#[cfg(test)]
mod tests {
    use sonde_packet::{Ip, Packet, Payload, Transport};

    use super::*;
    use crate::sys::lab::{Pair, wait_until};

    #[test]
    #[ignore = "needs root: makes network namespaces"]
    fn what_the_ring_has_no_room_for_is_known_at_once() {
        let pair = Pair::new();
        pair.inside("near", || {
            let mut kernel = Kernel::open().unwrap();
            let now = kernel.poll();
            let query = Query::to("198.18.0.9".parse().unwrap());
            let mut found = Lookup::Pending;
            wait_until("the route", || {
                kernel.poll();
                found = kernel.lookup(now, &query, &mut || true);
                matches!(found, Lookup::Ready(_))
            });
            let Lookup::Ready(route) = found else { panic!("{found:?}") };
            assert_eq!(kernel.losses().0, 0);
            let ip = Ip::plain(route.source, query.destination);
            let transport = Transport::Echo { identifier: 7, sequence: 1 };
            let probe = Packet { ip, transport, payload: Payload::Zeros(1400), checksum: None };
            let probe = probe.to_vec().unwrap();
            wait_until("a full ring", || {
                for tag in 0..32 {
                    kernel.queue(route.egress, &probe, tag, false).unwrap();
                }
                kernel.flush(&mut |_, _| {});
                kernel.sockets.statistics().freezes > 0
            });
            kernel.queue(route.egress, &probe, 0, false).unwrap();
            kernel.flush(&mut |_, result| assert!(result.is_ok()));
            assert!(kernel.losses().0 > 0);
        });
    }
}
