//! Who is next: what several peers have ready begins in turn, and no client takes everything.

use std::{collections::VecDeque, sync::Arc};

use super::{JobId, Sampling};
use crate::component::request::is_client;

/// What is due and waits for a free place, by peer; in order for each.
struct Waiting {
    peer: Arc<str>,
    due: VecDeque<(JobId, Sampling)>,
}

/// Peers with something waiting, who had a turn last at the end.
#[derive(Default)]
pub(super) struct Turns(VecDeque<Waiting>);

impl Turns {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn of(&mut self, peer: &Arc<str>) -> Option<&mut Waiting> {
        self.0.iter_mut().find(|waiting| waiting.peer == *peer)
    }

    pub(super) fn push(&mut self, id: JobId, sampling: Sampling) {
        let peer = Arc::clone(&id.peer);
        match self.of(&peer) {
            Some(waiting) => waiting.due.push_back((id, sampling)),
            None => self.0.push_back(Waiting { peer, due: [(id, sampling)].into() }),
        }
    }

    /// What a job has waiting.
    pub(super) fn find(&mut self, id: &JobId) -> Option<&mut Sampling> {
        let due = self.of(&id.peer)?.due.iter_mut();
        due.rev().find(|(other, _)| other == id).map(|(_, sampling)| sampling)
    }

    pub(super) fn remove(&mut self, id: &JobId) {
        if let Some(waiting) = self.of(&id.peer) {
            waiting.due.retain(|(other, _)| other != id);
        }
        self.0.retain(|waiting| !waiting.due.is_empty());
    }

    /// The next one of the peer that has the fewest of those that `run`, where it may have one more of `most`; of
    /// several, of who waits longest for a turn.
    pub(super) fn next<'a>(
        &mut self,
        run: &(impl ExactSizeIterator<Item = &'a JobId> + Clone),
        most: usize,
    ) -> Option<(JobId, Sampling)> {
        let all = run.len();
        let running = |peer: &Arc<str>| run.clone().filter(|id| id.peer == *peer).count();
        let peers = self.0.iter().enumerate();
        let counted = peers.map(|(at, waiting)| (running(&waiting.peer), at));
        let may = |own: usize, at: usize| has_share(&self.0[at].peer, own, all, most);
        let (_, at) = counted.filter(|(own, at)| may(*own, *at)).min()?;
        let mut waiting = self.0.remove(at)?;
        let next = waiting.due.pop_front();
        if !waiting.due.is_empty() {
            self.0.push_back(waiting);
        }
        next
    }
}

/// Whether a peer that has `own` of `all` may have one more, of `most`. One client may have three times as much as it leaves to
/// others: three quarters if it is alone. Supervisors are the operator's, and known.
pub(super) fn has_share(peer: &str, own: usize, all: usize, most: usize) -> bool {
    all < most && (!is_client(peer) || own < 3 * (most - all))
}
