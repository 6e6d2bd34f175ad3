//! The operator's lists of prefixes, read again when they change.
//!
//! Reading happens on a thread of its own. A list that cannot be read is told to the operator, and
//! the one before stays in force.

use std::{
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use sonde_engine::{ListError, Policy, PolicySetter, Prefixes};

use crate::Configuration;

/// How often the files are looked at.
/// A file is read when it was the same twice: who writes it has finished then.
const INTERVAL: Duration = Duration::from_millis(200);

/// The files.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Never to be measured.
    pub deny: Vec<PathBuf>,
    /// The only ones to be measured; none means everybody.
    pub allow: Vec<PathBuf>,
}

/// Ends with this.
#[derive(Debug)]
pub(crate) struct Watch {
    wishes: Sender<()>,
    thread: JoinHandle<()>,
}

impl Lists {
    /// Those of an operator's file.
    pub(crate) fn of(configuration: &Configuration) -> Self {
        let Configuration { deny, allow, .. } = configuration;
        Self { deny: deny.clone(), allow: allow.clone() }
    }

    /// Reads them all.
    ///
    /// # Errors
    ///
    /// The first file or line that cannot be used.
    pub fn read(&self) -> Result<Policy, ListError> {
        let allow = (!self.allow.is_empty()).then(|| Prefixes::read(&self.allow)).transpose()?;
        Ok(Policy { deny: Prefixes::read(&self.deny)?, allow })
    }

    /// What tells one content of the files from the next without reading them.
    fn state(&self) -> Vec<Option<(u64, i64, i64, u64)>> {
        let state = |file: &PathBuf| {
            let it = std::fs::metadata(file).ok()?;
            Some((it.ino(), it.mtime(), it.mtime_nsec(), it.len()))
        };
        self.deny.iter().chain(&self.allow).map(state).collect()
    }

    /// Puts them in force, and again whenever they change.
    ///
    /// # Errors
    ///
    /// As [`Lists::read`].
    pub(crate) fn enforce(self, engine: PolicySetter) -> Result<Option<Watch>, ListError> {
        let mut seen = self.state();
        engine.set(Arc::new(self.read()?));
        if self.deny.is_empty() && self.allow.is_empty() {
            return Ok(None);
        }
        let mut before = seen.clone();
        let (sender, receiver) = channel();
        let watch = move || {
            loop {
                let is_forced = match receiver.recv_timeout(INTERVAL) {
                    Ok(()) => true,
                    Err(RecvTimeoutError::Timeout) => false,
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                let state = self.state();
                let is_steady = state == before;
                before.clone_from(&state);
                if (state == seen || !is_steady) && !is_forced {
                    continue;
                }
                seen = state;
                match self.read() {
                    Ok(policy) => {
                        if !engine.set(Arc::new(policy)) {
                            return;
                        }
                        tracing::info!("the lists of prefixes were read again");
                    }
                    Err(error) => tracing::warn!(%error, "the lists before stay in force"),
                }
            }
        };
        let thread = std::thread::Builder::new().name("lists".into()).spawn(watch);
        let thread = thread.map_err(|error| ListError::Unreadable {
            file: PathBuf::from("lists"),
            reason: format!("no thread to watch them: {error}"),
        })?;
        Ok(Some(Watch { wishes: sender, thread }))
    }
}

impl Watch {
    /// Reads them again, changed or not.
    pub(crate) fn reload(&self) {
        // It has ended with the engine; nothing is left to be told.
        let _ = self.wishes.send(());
    }

    /// Nothing is put in force by this one any more.
    pub(crate) fn end(self) {
        drop(self.wishes);
        // A panic was printed when it happened.
        let _ = self.thread.join();
    }
}
