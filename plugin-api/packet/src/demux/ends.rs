//! Open flows by their ends. The tables hold numbers of flows, not their keys: with many flows they stay in
//! the processor's cache.
//!
//! Flows that share an end are a list, of which a table holds the newest.

use std::hash::BuildHasher;

use foldhash::quality::FixedState;
use hashbrown::{HashTable, hash_table::Entry};

use super::{Busy, Flow, NONE};
use crate::FlowKey;

/// What flows may share.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// Address, protocol and port or identifier of ours.
    Local,
    /// Address of the peer.
    Remote,
}

/// Neighbours of a flow among those that share an end with it; [`NONE`] where it is the first or the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    newer: u32,
    older: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ends {
    by_key: HashTable<u32>,
    /// By [`End`].
    newest: [HashTable<u32>; 2],
    state: FixedState,
}

/// Flows by number.
type Flows = [Option<Flow>];

fn flow(flows: &Flows, number: u32) -> Option<&Flow> {
    flows.get(number as usize)?.as_ref()
}

fn link(flows: &mut Flows, number: u32, end: End) -> Option<&mut Link> {
    Some(&mut flows.get_mut(number as usize)?.as_mut()?.links[end as usize])
}

impl End {
    const BOTH: [Self; 2] = [Self::Local, Self::Remote];

    fn hash(self, state: &FixedState, key: &FlowKey) -> u64 {
        match self {
            Self::Local => state.hash_one((key.local_address, key.local, key.protocol)),
            Self::Remote => state.hash_one(key.remote_address),
        }
    }

    fn is_shared(self, one: &FlowKey, other: &FlowKey) -> bool {
        match self {
            Self::Local => {
                one.local == other.local
                    && one.protocol == other.protocol
                    && one.local_address == other.local_address
            }
            Self::Remote => one.remote_address == other.remote_address,
        }
    }
}

impl Ends {
    pub(super) fn new(state: FixedState) -> Self {
        Self { by_key: HashTable::new(), newest: [HashTable::new(), HashTable::new()], state }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The flow with this measurement key.
    pub(super) fn find(&self, flows: &Flows, key: &FlowKey) -> Option<u32> {
        let has_key = |number: &u32| flow(flows, *number).is_some_and(|flow| flow.key == *key);
        self.by_key.find(self.state.hash_one(key), has_key).copied()
    }

    /// The flows that share `end` with `key`, the newest first.
    pub(super) fn sharing<'a>(
        &self,
        flows: &'a Flows,
        end: End,
        key: &FlowKey,
    ) -> impl Iterator<Item = (u32, &'a Flow)> + use<'a> {
        let shares =
            |number: &u32| flow(flows, *number).is_some_and(|it| end.is_shared(&it.key, key));
        let newest = self.newest[end as usize].find(end.hash(&self.state, key), shares).copied();
        let numbered = move |number: u32| Some((number, flow(flows, number)?));
        std::iter::successors(newest.and_then(numbered), move |(_, flow)| {
            numbered(flow.links[end as usize].older)
        })
    }

    /// The flow that alone has the local end of `key`, for answers to translated packets.
    pub(super) fn only(&self, flows: &Flows, key: &FlowKey) -> Option<u32> {
        let mut sharing = self.sharing(flows, End::Local, key);
        let (number, _) = sharing.next()?;
        sharing.next().is_none().then_some(number)
    }

    /// Before the flow `number` gets the key: its links.
    ///
    /// # Errors
    ///
    /// [`Busy`] where another one has it.
    pub(super) fn insert(
        &mut self,
        flows: &mut Flows,
        number: u32,
        key: &FlowKey,
    ) -> Result<[Link; 2], Busy> {
        let state = &self.state;
        let rehash = |number: &u32| flow(flows, *number).map_or(0, |it| state.hash_one(it.key));
        let has_key = |number: &u32| flow(flows, *number).is_some_and(|flow| flow.key == *key);
        match self.by_key.entry(state.hash_one(key), has_key, rehash) {
            Entry::Occupied(_) => return Err(Busy),
            Entry::Vacant(place) => place.insert(number),
        };
        Ok(End::BOTH.map(|end| {
            let shares =
                |number: &u32| flow(flows, *number).is_some_and(|it| end.is_shared(&it.key, key));
            let rehash =
                |number: &u32| flow(flows, *number).map_or(0, |it| end.hash(state, &it.key));
            let older = match self.newest[end as usize].entry(end.hash(state, key), shares, rehash)
            {
                Entry::Occupied(mut place) => std::mem::replace(place.get_mut(), number),
                Entry::Vacant(place) => {
                    place.insert(number);
                    NONE
                }
            };
            if let Some(link) = link(flows, older, end) {
                link.newer = number;
            }
            Link { newer: NONE, older }
        }))
    }

    /// The flow `number`, which was `closed`, is none of `flows` any more.
    pub(super) fn remove(&mut self, flows: &mut Flows, number: u32, closed: &Flow) {
        let key = &closed.key;
        if let Ok(place) = self.by_key.find_entry(self.state.hash_one(key), |it| *it == number) {
            place.remove();
        }
        for end in End::BOTH {
            let Link { newer, older } = closed.links[end as usize];
            if let Some(link) = link(flows, older, end) {
                link.newer = newer;
            }
            if let Some(link) = link(flows, newer, end) {
                link.older = older;
                continue;
            }
            let hash = end.hash(&self.state, key);
            let Ok(mut place) = self.newest[end as usize].find_entry(hash, |it| *it == number)
            else {
                continue;
            };
            if older == NONE {
                place.remove();
            } else {
                *place.get_mut() = older;
            }
        }
    }
}
