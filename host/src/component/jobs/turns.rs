//! Who is next: what several peers have ready begins in turn, and no client takes everything.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{JobId, Sampling};
use crate::component::request::is_client;

/// What is due and waits for a free place, by peer; in order for each.
#[derive(Default)]
pub(super) struct Turns(BTreeMap<Arc<str>, VecDeque<(JobId, Sampling)>>);

impl Turns {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn push(&mut self, id: JobId, sampling: Sampling) {
        self.0.entry(Arc::clone(&id.peer)).or_default().push_back((id, sampling));
    }

    /// What a job has waiting.
    pub(super) fn find(&mut self, id: &JobId) -> Option<&mut Sampling> {
        let waiting = self.0.get_mut(&id.peer)?.iter_mut();
        waiting.rev().find(|(other, _)| other == id).map(|(_, sampling)| sampling)
    }

    pub(super) fn remove(&mut self, id: &JobId) {
        if let Some(waiting) = self.0.get_mut(&id.peer) {
            waiting.retain(|(other, _)| other != id);
        }
        self.0.retain(|_, waiting| !waiting.is_empty());
    }

    /// The next one of the peer that has the fewest of those that `run`, where it may have one more of `most`.
    pub(super) fn next<'a>(
        &mut self,
        run: &(impl ExactSizeIterator<Item = &'a JobId> + Clone),
        most: usize,
    ) -> Option<(JobId, Sampling)> {
        let all = run.len();
        let running = |peer: &Arc<str>| run.clone().filter(|id| id.peer == *peer).count();
        let waiting = self.0.keys().map(|peer| (running(peer), peer));
        let (_, peer) = waiting.filter(|(own, peer)| has_share(peer, *own, all, most)).min()?;
        let peer = Arc::clone(peer);
        let waiting = self.0.get_mut(&peer)?;
        let next = waiting.pop_front();
        if waiting.is_empty() {
            self.0.remove(&peer);
        }
        next
    }
}

/// Whether a peer that has `own` of `all` may have one more, of `most`. One client may have three times as much as it leaves to
/// others: three quarters if it is alone. Supervisors are the operator's, and known.
pub(super) fn has_share(peer: &str, own: usize, all: usize, most: usize) -> bool {
    all < most && (!is_client(peer) || own < 3 * (most - all))
}
