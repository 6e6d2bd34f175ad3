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
    /// Until the TLS handshake is done.
    pub handshake: Duration,
    /// From the connection, or the reply before, until a request's header is complete: the time that
    /// a connection may be idle.
    pub header: Duration,
    /// Until a request's body is complete.
    pub body: Duration,
    /// Until a handler has answered.
    pub reply: Duration,
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
    /// 16 MiB; 10 s, 60 s, 30 s, 30 s; 4096 connections, 512 of one peer; 500 requests a second, 5000
    /// at once, which the RI's discovery needs, for it fetches each capability for itself.
    fn default() -> Self {
        Self {
            body_octets: sonde_mplane::MAX_OCTETS,
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(60),
            body: Duration::from_secs(30),
            reply: Duration::from_secs(30),
            connections: 4096,
            connections_per_peer: 512,
            requests_per_second: 500,
            request_burst: 5000,
        }
    }
}

/// Counts of the peers of one port.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    connections: Mutex<(usize, HashMap<IpAddr, usize>)>,
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

impl Peers {
    /// Counts a connection; none if there are too many.
    pub(crate) fn connect(self: &Arc<Self>, address: IpAddr, limits: &Limits) -> Option<Counted> {
        let mut counts = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, by_address) = &mut *counts;
        let own = by_address.entry(address).or_default();
        if *all >= limits.connections || *own >= limits.connections_per_peer {
            if *own == 0 {
                by_address.remove(&address);
            }
            return None;
        }
        *own += 1;
        *all += 1;
        Some(Counted { peers: Arc::clone(self), address })
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
        let (all, by_address) = &mut *counts;
        *all = all.saturating_sub(1);
        if let Some(own) = by_address.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                by_address.remove(&self.address);
            }
        }
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
        assert!(peers.connections.lock().unwrap().1.is_empty());
    }
}
