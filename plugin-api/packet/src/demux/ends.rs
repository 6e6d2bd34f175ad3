//! Open flows by their ends. The tables hold numbers of flows, not their keys: with many flows they stay in
//! the processor's cache.

use std::hash::BuildHasher;

use foldhash::quality::FixedState;
use hashbrown::{HashTable, hash_table::Entry};

use super::{Busy, Flow, NONE};
use crate::FlowKey;

/// See the module.
#[derive(Debug)]
pub(super) struct Ends {
    by_key: HashTable<u32>,
    by_local: HashTable<Local>,
    state: FixedState,
}

/// The flows that share a local end.
#[derive(Debug)]
struct Local {
    /// Stands for the end: it is seeded, and two that have the same only count as shared.
    hash: u64,
    /// The first of them; [`NONE`] where it was closed before others.
    flow: u32,
    count: u32,
}

/// Flows by number.
type Flows = [Option<Flow>];

fn has_key(flows: &Flows, flow: u32, key: &FlowKey) -> bool {
    flows.get(flow as usize).and_then(Option::as_ref).is_some_and(|flow| flow.key == *key)
}

impl Ends {
    pub(super) fn new(state: FixedState) -> Self {
        Self { by_key: HashTable::new(), by_local: HashTable::new(), state }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The flow with this measurement key.
    pub(super) fn find(&self, flows: &Flows, key: &FlowKey) -> Option<u32> {
        let hash = self.state.hash_one(key);
        self.by_key.find(hash, |flow| has_key(flows, *flow, key)).copied()
    }

    /// The flow that alone has the local end of `key`, for answers to translated packets.
    pub(super) fn only(&self, key: &FlowKey) -> Option<u32> {
        let hash = self.hash_local(key);
        let local = self.by_local.find(hash, |local| local.hash == hash)?;
        (local.count == 1 && local.flow != NONE).then_some(local.flow)
    }

    /// Before `flow` gets the key.
    ///
    /// # Errors
    ///
    /// [`Busy`] where another one has it.
    pub(super) fn insert(&mut self, flows: &Flows, flow: u32, key: &FlowKey) -> Result<(), Busy> {
        let state = &self.state;
        let rehash =
            |flow: &u32| flows[*flow as usize].as_ref().map_or(0, |flow| state.hash_one(flow.key));
        let is_it = |flow: &u32| has_key(flows, *flow, key);
        match self.by_key.entry(state.hash_one(key), is_it, rehash) {
            Entry::Occupied(_) => return Err(Busy),
            Entry::Vacant(place) => place.insert(flow),
        };
        let hash = self.hash_local(key);
        let local = self.by_local.entry(hash, |local| local.hash == hash, |local| local.hash);
        local.or_insert(Local { hash, flow, count: 0 }).get_mut().count += 1;
        Ok(())
    }

    /// The key is not that of `flow` any more.
    pub(super) fn remove(&mut self, flow: u32, key: &FlowKey) {
        if let Ok(place) = self.by_key.find_entry(self.state.hash_one(key), |it| *it == flow) {
            place.remove();
        }
        let hash = self.hash_local(key);
        let Ok(mut place) = self.by_local.find_entry(hash, |local| local.hash == hash) else {
            return;
        };
        let local = place.get_mut();
        local.count -= 1;
        if local.count == 0 {
            place.remove();
        } else if local.flow == flow {
            // Another flow may be alone now, but nobody can tell which: wait for the next open.
            local.flow = NONE;
        }
    }

    fn hash_local(&self, key: &FlowKey) -> u64 {
        self.state.hash_one((key.local_address, key.local, key.protocol))
    }
}
