//! Buckets by key, as many as are not full.
//!
//! A full bucket is as good as none, so it may be forgotten; one that is not full never is. So the
//! memory is bounded by how many packets leave in the time that a bucket takes to fill up, whatever
//! number of addresses a plugin aims at.

use std::{collections::HashMap, hash::BuildHasher};

use foldhash::quality::RandomState;

use super::bucket::Limit;

/// Small tables that are looked through one at a time, so that nobody waits long for it.
const SHARDS: usize = 256;
/// A shard with fewer buckets is never looked through.
const SMALL: usize = 64;

/// No gate.
pub(super) const OPEN: u32 = u32::MAX;

/// What is known of a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// See [`Limit`].
    pub(super) paid: u64,
    /// Who waits for its tokens, or [`OPEN`].
    pub(super) gate: u32,
}

#[derive(Debug, Default)]
struct Shard {
    buckets: HashMap<u128, Bucket, RandomState>,
    /// Size at which full buckets are looked for.
    sweep_at: usize,
}

/// Buckets of one scope.
#[derive(Debug)]
pub(super) struct Table {
    limit: Limit,
    /// Keys with a limit of their own, a few.
    own: Vec<(u128, Limit)>,
    shards: Vec<Shard>,
    hasher: RandomState,
}

impl Table {
    pub(super) fn new(limit: Limit) -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Self { limit, own: Vec::new(), shards, hasher: RandomState::default() }
    }

    /// What holds for `key`.
    pub(super) fn limit(&self, key: u128) -> Limit {
        limit_of(&self.own, self.limit, key)
    }

    /// Gives `key` a limit of its own, or takes it away.
    pub(super) fn set_own(&mut self, key: u128, limit: Option<Limit>) {
        self.own.retain(|(owner, _)| *owner != key);
        self.own.extend(limit.map(|limit| (key, limit)));
    }

    /// The bucket of `key`; none where it is full.
    pub(super) fn get(&self, key: u128) -> Option<Bucket> {
        self.shards[self.place(key)].buckets.get(&key).copied()
    }

    /// Takes a token, whether there is one or not.
    pub(super) fn pay(&mut self, key: u128, now: u64) {
        let limit = self.limit(key);
        let bucket = self.entry(key, now);
        bucket.paid = limit.pay(bucket.paid, now);
    }

    /// Puts a token back.
    pub(super) fn pay_back(&mut self, key: u128) {
        let (limit, place) = (self.limit(key), self.place(key));
        if let Some(bucket) = self.shards[place].buckets.get_mut(&key) {
            bucket.paid = limit.pay_back(bucket.paid);
        }
    }

    /// Says who waits.
    pub(super) fn set_gate(&mut self, key: u128, gate: u32, now: u64) {
        self.entry(key, now).gate = gate;
    }

    fn entry(&mut self, key: u128, now: u64) -> &mut Bucket {
        let place = self.place(key);
        let (own, usual) = (&self.own, self.limit);
        let is_full = |key: u128, paid| limit_of(own, usual, key).is_full(paid, now);
        let shard = &mut self.shards[place];
        if shard.buckets.len() >= shard.sweep_at.max(SMALL) {
            shard.buckets.retain(|key, it| it.gate != OPEN || !is_full(*key, it.paid));
            shard.sweep_at = shard.buckets.len() * 2;
        }
        shard.buckets.entry(key).or_insert(Bucket { paid: 0, gate: OPEN })
    }

    fn place(&self, key: u128) -> usize {
        self.hasher.hash_one(key) as usize % SHARDS
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.buckets.len()).sum()
    }
}

fn limit_of(own: &[(u128, Limit)], usual: Limit, key: u128) -> Limit {
    own.iter().find(|(owner, _)| *owner == key).map_or(usual, |(_, limit)| *limit)
}
