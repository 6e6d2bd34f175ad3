//! Commits in groups, on a thread of its own.
//!
//! A commit waits for the disk, some milliseconds; whoever comes in the meantime shares the next one. Answers go
//! out when what they say is durable.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use super::{Change, Store, StoreError};

/// Changes of one commit, and outcomes that are read after it, at most.
const GROUP: usize = 4096;

/// From one word about a store that refuses changes to the next.
const COMPLAIN_AGAIN: Duration = Duration::from_secs(60);

/// Hands changes to the thread that commits them.
#[derive(Clone)]
pub struct Writer {
    requests: Sender<Request>,
}

/// Told when a group of changes is durable, or why not.
pub type Commit = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

enum Request {
    Commit(Vec<Change>, Commit),
    Outcome(u64, Box<dyn FnOnce(Result<Option<String>, StoreError>) + Send>),
}

impl Writer {
    /// Starts the thread; it ends when the last writer is dropped and everything is committed.
    ///
    /// # Errors
    ///
    /// Where there can be no thread.
    pub fn start(store: Box<dyn Store>) -> std::io::Result<Self> {
        let (requests, received) = channel();
        thread::Builder::new().name("store".to_owned()).spawn(move || serve(store, &received))?;
        Ok(Self { requests })
    }

    /// Commits changes in the order of the calls, and tells when they are durable.
    pub fn commit(&self, changes: Vec<Change>, done: Commit) {
        if let Err(error) = self.requests.send(Request::Commit(changes, done))
            && let Request::Commit(_, done) = error.0
        {
            done(Err(StoreError::Gone));
        }
    }

    /// Reads the outcome of a job, after everything that was committed before.
    pub fn outcome(
        &self,
        number: u64,
        done: impl FnOnce(Result<Option<String>, StoreError>) + Send + 'static,
    ) {
        if let Err(error) = self.requests.send(Request::Outcome(number, Box::new(done)))
            && let Request::Outcome(_, done) = error.0
        {
            done(Err(StoreError::Gone));
        }
    }
}

fn serve(mut store: Box<dyn Store>, requests: &Receiver<Request>) {
    let mut complained: Option<Instant> = None;
    while let Ok(first) = requests.recv() {
        let (mut changes, mut waiting, mut asked) = (Vec::new(), Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Commit(more, done) => {
                    waiting.push((changes.len()..changes.len() + more.len(), done));
                    changes.extend(more);
                }
                // After the commit, for it may be about one of these changes.
                Request::Outcome(number, done) => asked.push((number, done)),
            }
            let is_full = changes.len() + asked.len() >= GROUP;
            next = if is_full { None } else { requests.try_recv().ok() };
        }
        match commit(&mut *store, &changes, waiting) {
            Ok(()) if !changes.is_empty() && complained.take().is_some() => {
                tracing::info!("changes are taken again");
            }
            Err(error) if complained.is_none_or(|at| at.elapsed() >= COMPLAIN_AGAIN) => {
                tracing::error!("a change is refused, and whoever wants it told: {error}");
                complained = Some(Instant::now());
            }
            _ => {}
        }
        for (number, done) in asked {
            done(store.outcome(number));
        }
    }
}

/// One commit for all; where that fails, one for each, so that nobody suffers for another's change. Why not all
/// were made.
fn commit(
    store: &mut dyn Store,
    changes: &[Change],
    waiting: Vec<(std::ops::Range<usize>, Commit)>,
) -> Result<(), String> {
    let all = if changes.is_empty() { Ok(()) } else { store.commit(changes) };
    let is_one = waiting.len() == 1;
    let mut failed = Ok(());
    for (range, done) in waiting {
        let made = match &all {
            Ok(()) => Ok(()),
            Err(error) if is_one => Err(error.clone()),
            Err(_) => store.commit(&changes[range]),
        };
        if let Err(error) = &made {
            failed = Err(error.to_string());
        }
        done(made);
    }
    failed
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::store::Stored;

    /// Notes the sizes of its commits; refuses job 13; the first commit waits to be let through.
    struct Slow {
        groups: Arc<Mutex<Vec<usize>>>,
        gate: Receiver<()>,
    }

    impl Store for Slow {
        fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
            let is_bad = |change: &Change| matches!(change, Change::Redeemed { number: 13 });
            if changes.iter().any(is_bad) {
                return Err(StoreError::Gone);
            }
            let _ = self.gate.recv();
            self.groups.lock().unwrap().push(changes.len());
            Ok(())
        }

        fn load(&mut self) -> Result<Stored, StoreError> {
            Ok(Stored::default())
        }

        fn outcome(&mut self, number: u64) -> Result<Option<String>, StoreError> {
            Ok(Some(number.to_string()))
        }
    }

    fn moved(number: u64) -> Vec<Change> {
        vec![Change::Accepted { number }]
    }

    #[test]
    fn who_comes_during_a_commit_shares_the_next_one() {
        let groups = Arc::new(Mutex::new(Vec::new()));
        let (open, gate) = channel();
        let writer = Writer::start(Box::new(Slow { groups: groups.clone(), gate })).unwrap();
        let (told, tells) = channel();
        for number in 0..100 {
            let told = told.clone();
            writer.commit(moved(number), Box::new(move |done| told.send(done.is_ok()).unwrap()));
        }
        drop(told);
        for _ in 0..100 {
            let _ = open.send(());
        }
        assert_eq!(tells.iter().filter(|is_done| *is_done).count(), 100);
        let groups = groups.lock().unwrap();
        assert_eq!(groups.iter().sum::<usize>(), 100);
        assert!(groups.len() < 100, "{groups:?}");
    }

    #[test]
    fn a_change_that_cannot_be_made_is_refused_alone() {
        let (open, gate) = channel();
        let writer = Writer::start(Box::new(Slow { groups: Arc::default(), gate })).unwrap();
        let (told, tells) = channel();
        for number in 10..16 {
            let told = told.clone();
            let changes = vec![Change::Redeemed { number }];
            let done = move |done: Result<(), StoreError>| {
                told.send((number, done.is_ok())).unwrap();
            };
            writer.commit(changes, Box::new(done));
        }
        for _ in 0..6 {
            let _ = open.send(());
        }
        drop(told);
        let refused: Vec<u64> = tells.iter().filter(|it| !it.1).map(|it| it.0).collect();
        assert_eq!(refused, [13]);
    }

    #[test]
    fn an_outcome_is_read_after_what_was_committed_before() {
        let (open, gate) = channel();
        let groups = Arc::new(Mutex::new(Vec::new()));
        let writer = Writer::start(Box::new(Slow { groups: groups.clone(), gate })).unwrap();
        let (told, tells) = channel();
        writer.commit(moved(1), Box::new(|_| {}));
        writer.outcome(7, move |outcome| {
            told.send((outcome.unwrap(), groups.lock().unwrap().len())).unwrap();
        });
        open.send(()).unwrap();
        assert_eq!(tells.recv().unwrap(), (Some("7".to_owned()), 1));
    }
}
