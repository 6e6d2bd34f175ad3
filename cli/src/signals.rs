//! What the user says by signals while `sonde run` measures.
//!
//! They are heard on a thread of their own: the others may be held, as by a pipe that nobody reads.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator,
    low_level::exit,
};

use crate::{Exit, surroundings};

/// So many wishes to end are obeyed at once, whatever is not written yet.
const PATIENCE: u32 = 3;

/// What the user said so far.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// How often SIGINT or SIGTERM came: the first asks politely, the second at once.
    stops: Arc<AtomicU32>,
    /// SIGHUP: the lists of prefixes are read again.
    reload: Arc<AtomicBool>,
}

impl Signals {
    /// Where there are no lists SIGHUP means that the terminal is gone.
    pub(crate) fn catch(has_lists: bool) -> io::Result<Self> {
        let signals = Self::default();
        let is_wish = move |signal| has_lists && signal == SIGHUP;
        let caught = [SIGINT, SIGTERM, SIGHUP]
            .into_iter()
            .filter(|signal| is_wish(*signal) || !surroundings::is_ignored(*signal));
        let mut caught = iterator::Signals::new(caught)?;
        let (stops, reload) = (Arc::clone(&signals.stops), Arc::clone(&signals.reload));
        thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in caught.forever() {
                if is_wish(signal) {
                    reload.store(true, Ordering::Relaxed);
                } else if stops.fetch_add(1, Ordering::Relaxed) + 1 >= PATIENCE {
                    exit(Exit::Interrupted as i32);
                }
            }
        })?;
        Ok(signals)
    }

    /// How often an end was asked for.
    pub(crate) fn stops(&self) -> u32 {
        self.stops.load(Ordering::Relaxed)
    }

    /// Whether the lists are to be read again, since this was asked last.
    pub(crate) fn wants_reload(&self) -> bool {
        self.reload.swap(false, Ordering::Relaxed)
    }
}
