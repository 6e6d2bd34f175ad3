//! Fragments of answers: kept where their sender is somebody who is probed, or where they could be
//! of an ICMP error, which anybody on the way may send. The latter wait in a place of their own, so
//! that who floods it with them is in nobody's way but that of other routers' errors in parts.

use std::{hash::BuildHasher, net::IpAddr};

use foldhash::quality::FixedState;

use super::Demux;
use crate::{IpHeader, Reassembly, mapped, protocol};

/// Counters of peers; a power of two. Peers that share one only let more fragments wait.
const COUNTERS: usize = 4096;

/// Who is probed, as far as it takes to turn a flood away, and what came of their answers.
#[derive(Debug)]
pub(super) struct Fragments {
    /// Flows by a number made of the peer's address; stays where it has overflowed.
    peers: Box<[u16]>,
    /// Of who is probed.
    answers: Reassembly,
    /// Of ICMP from everybody else.
    errors: Reassembly,
    state: FixedState,
}

impl Fragments {
    pub(super) fn new(state: FixedState) -> Self {
        Self {
            peers: vec![0; COUNTERS].into(),
            answers: Reassembly::default(),
            errors: Reassembly::default(),
            state,
        }
    }

    fn index(&self, peer: &[u8; 16]) -> usize {
        self.state.hash_one(peer) as usize % COUNTERS
    }

    /// A flow to `peer` was opened.
    pub(super) fn watch(&mut self, peer: &[u8; 16]) {
        let at = self.index(peer);
        self.peers[at] = self.peers[at].saturating_add(1);
    }

    /// It was closed.
    pub(super) fn unwatch(&mut self, peer: &[u8; 16]) {
        let at = self.index(peer);
        if self.peers[at] != u16::MAX {
            self.peers[at] = self.peers[at].saturating_sub(1);
        }
    }

    fn is_watched(&self, peer: IpAddr) -> bool {
        self.peers[self.index(&mapped(peer))] > 0
    }
}

impl Demux {
    /// Takes a part of a packet ([`IpHeader::is_part`]) of which nothing lies behind the end; `now` is
    /// monotonic, ns. The whole packet, with the headers of its first part, once all of it is there.
    ///
    /// Parts from nobody that a flow is open to are kept where they are of ICMP, as long as any flow
    /// is open.
    pub fn gather(&mut self, packet: &[u8], header: &IpHeader, now: u64) -> Option<Vec<u8>> {
        let is_icmp = matches!(header.protocol, protocol::ICMP | protocol::ICMPV6);
        if self.fragments.is_watched(header.source) {
            self.fragments.answers.receive(packet, header, now)
        } else if is_icmp && !self.ends.is_empty() {
            self.fragments.errors.receive(packet, header, now)
        } else {
            None
        }
    }
}
