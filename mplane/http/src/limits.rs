//! What one peer, and all of them, may take.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::identity::Identity;

/// Peers whose requests are counted; beyond, the ones that are idle longest are forgotten.
const MAX_COUNTED: usize = 10_000;

/// Limits of a port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Octets of a request's body.
    pub body_octets: usize,
    /// Octets of all bodies that are being read, and of long answers until they are; of one address a quarter of that.
    pub bodies_octets: usize,
    /// Until the TLS handshake is done.
    pub handshake: Duration,
    /// From the connection, or the reply before, until a request's header is complete: the time that
    /// a connection may be idle.
    pub header: Duration,
    /// Until a request's body is complete, and a second for each 16 KiB that it said to have: results may be long, and lines
    /// slow.
    pub body: Duration,
    /// Until a handler has answered.
    pub reply: Duration,
    /// Until a peer takes more of an answer.
    pub write: Duration,
    /// At the same time, all together.
    pub connections: usize,
    /// At the same time, of one address.
    pub connections_per_peer: usize,
    /// In every second, of one identity (without TLS: one address).
    pub requests_per_second: u32,
    /// At once, after a while without any.
    pub request_burst: u32,
}

impl Default for Limits {
    /// 16 MiB, 256 MiB of all; 10 s, 60 s, 30 s, 30 s, 60 s; 4096 connections, 512 of one peer; 500 requests a second, 5000
    /// at once, which the RI's discovery needs, for it fetches each capability for itself.
    fn default() -> Self {
        Self {
            body_octets: sonde_mplane::MAX_OCTETS,
            bodies_octets: 256 << 20,
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(60),
            body: Duration::from_secs(30),
            reply: Duration::from_secs(30),
            write: Duration::from_secs(60),
            connections: 4096,
            connections_per_peer: 512,
            requests_per_second: 500,
            request_burst: 5000,
        }
    }
}

/// Octets a second that a line has at least.
const SLOWEST: u64 = 16 << 10;

/// How much longer a body of so many octets may take.
pub(crate) fn on_the_line(octets: u64) -> Duration {
    Duration::from_secs(octets / SLOWEST)
}

/// How much is taken, all together and by each address.
#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Counts {
    /// False, and nothing is taken, where that is more than `most` of all or `most_of_one`.
    fn take(&mut self, address: IpAddr, amount: usize, most: usize, most_of_one: usize) -> bool {
        let own = self.by_address.get(&address).copied().unwrap_or_default() + amount;
        if self.all + amount > most || own > most_of_one {
            return false;
        }
        self.all += amount;
        self.by_address.insert(address, own);
        true
    }

    fn give_back(&mut self, address: IpAddr, amount: usize) {
        self.all = self.all.saturating_sub(amount);
        if let Some(own) = self.by_address.get_mut(&address) {
            *own = own.saturating_sub(amount);
            if *own == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

/// Counts of the peers of one port.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    connections: Mutex<Counts>,
    /// Octets of bodies.
    bodies: Mutex<Counts>,
    requests: Mutex<HashMap<(Identity, Option<IpAddr>), Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// A connection that counts as long as it lives.
pub(crate) struct Counted {
    peers: Arc<Peers>,
    address: IpAddr,
}

/// Octets of a body, which count as long as this lives.
pub(crate) struct Held {
    peers: Arc<Peers>,
    address: IpAddr,
    octets: usize,
}

impl Held {
    /// So many more; false where that is too much.
    pub(crate) fn grow(&mut self, octets: usize, limits: &Limits) -> bool {
        let (most, most_of_one) = (limits.bodies_octets, limits.bodies_octets / 4);
        let mut bodies = self.peers.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        let is_taken = bodies.take(self.address, octets, most, most_of_one);
        self.octets += if is_taken { octets } else { 0 };
        is_taken
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut bodies = self.peers.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.give_back(self.address, self.octets);
    }
}

impl Peers {
    /// For a body of this address that is about to be read.
    pub(crate) fn body(self: &Arc<Self>, address: IpAddr) -> Held {
        Held { peers: Arc::clone(self), address, octets: 0 }
    }

    /// Counts a connection; none if there are too many.
    pub(crate) fn connect(self: &Arc<Self>, address: IpAddr, limits: &Limits) -> Option<Counted> {
        let mut counts = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let is_taken = counts.take(address, 1, limits.connections, limits.connections_per_peer);
        is_taken.then(|| Counted { peers: Arc::clone(self), address })
    }

    /// Whether a peer may have one more request now.
    pub(crate) fn request(
        &self,
        peer: (Identity, Option<IpAddr>),
        limits: &Limits,
        now: Instant,
    ) -> bool {
        let full = f64::from(limits.request_burst.max(1));
        let mut buckets = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_COUNTED && !buckets.contains_key(&peer) {
            let oldest = buckets.iter().min_by_key(|(_, bucket)| bucket.filled);
            if let Some(oldest) = oldest.map(|(peer, _)| peer.clone()) {
                buckets.remove(&oldest);
            }
        }
        let bucket = buckets.entry(peer).or_insert(Bucket { tokens: full, filled: now });
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.filled = now;
        bucket.tokens = (bucket.tokens + passed * f64::from(limits.requests_per_second)).min(full);
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.peers.connections.lock().unwrap_or_else(PoisonError::into_inner);
        counts.give_back(self.address, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_waited_a_second_has_a_seconds_requests() {
        let limits = Limits { requests_per_second: 3, request_burst: 5, ..Limits::default() };
        let peers = Peers::default();
        let peer = || (Identity::unauthenticated(), None);
        let start = Instant::now();
        let granted = |now| (0..99).filter(|_| peers.request(peer(), &limits, now)).count();
        assert_eq!(granted(start), 5);
        assert_eq!(granted(start + Duration::from_secs(1)), 3);
        assert_eq!(granted(start + Duration::from_secs(3600)), 5);
    }

    #[test]
    fn connections_count_until_they_are_dropped() {
        let limits = Limits { connections: 3, connections_per_peer: 2, ..Limits::default() };
        let peers = Arc::new(Peers::default());
        let connect = |last: u8| peers.connect([192, 0, 2, last].into(), &limits);
        let first = connect(1).unwrap();
        let second = connect(1).unwrap();
        assert!(connect(1).is_none(), "two of one peer");
        let third = connect(2).unwrap();
        assert!(connect(3).is_none(), "three of all");
        drop((first, third));
        assert!(connect(3).is_some());
        drop(second);
        assert!(peers.connections.lock().unwrap().by_address.is_empty());
    }
}
