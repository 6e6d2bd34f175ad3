//! A network without a host, for whoever brings packets of their own.

use std::{net::IpAddr, time::Duration};

use sonde_packet::Family;

use crate::{net::Net, world::World};

/// A network in motion: packets go in at the vantage point, and what comes back comes out there.
///
/// ```
/// # use std::time::Duration;
/// # use sonde_packet::{Family, Ip, Packet, Payload, Transport};
/// # use sonde_testkit::{Net, Network};
/// let mut network = Network::new(Net::draw("vantage - r1 - 198.51.100.9"), 1);
/// let source = network.source(Family::V4).unwrap();
/// let echo = Packet {
///     ip: Ip::plain(source, "198.51.100.9".parse().unwrap()),
///     transport: Transport::Echo { identifier: 1, sequence: 0 },
///     payload: Payload::Zeros(56),
///     checksum: None,
/// };
/// network.send(Duration::ZERO, echo.to_vec().unwrap());
/// let (at, reply) = network.receive().unwrap();
/// assert_eq!((at, reply.len()), (Duration::from_millis(4), 84));
/// ```
pub struct Network(World);

impl Network {
    /// The same seed gives the same answers.
    #[must_use]
    pub fn new(net: Net, seed: u64) -> Self {
        let mut world = World::new(net, seed);
        world.most_notes = 0;
        Self(world)
    }

    /// Address of the vantage point.
    #[must_use]
    pub fn source(&self, family: Family) -> Option<IpAddr> {
        self.0.source(family == Family::V4)
    }

    /// The vantage point sends a whole packet at `at` after the beginning, or now if that has
    /// passed.
    pub fn send(&mut self, at: Duration, packet: Vec<u8>) {
        self.0.send(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX), packet, None);
    }

    /// When the next thing happens in the network.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        self.0.next_ns().map(Duration::from_nanos)
    }

    /// Lets the next thing happen; the packet that reaches the vantage point by it.
    pub fn step(&mut self) -> Option<Vec<u8>> {
        self.0.step()
    }

    /// The next packet that reaches the vantage point, with its time; `None` where nothing is
    /// left to happen.
    pub fn receive(&mut self) -> Option<(Duration, Vec<u8>)> {
        while let Some(at) = self.next() {
            if let Some(packet) = self.step() {
                return Some((at, packet));
            }
        }
        None
    }
}
