//! What a peer was promised and what it is owed, in its spool: which specifications were accepted, and
//! how each of them ended.
//!
//! A specification is noted before its receipt is sent, its end before it is delivered. One that was
//! accepted and has no end when the ledger is opened was running when the host was stopped.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use serde::{Deserialize, Serialize};
use sonde_spool::{AppendError, CommitError, OpenError, Options, ReadError, Recovery, Spool};

use super::jobs::JobId;

/// One note; it stands before the message, on a line of its own.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Note {
    peer: String,
    token: String,
    /// Only of ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    end: bool,
}

/// An end on its way to its peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// Its number; to be given back when it has arrived.
    pub sequence: u64,
    /// Whose it is.
    pub job: JobId,
    /// Where the specification wanted it.
    pub link: Option<String>,
    /// The message as JSON.
    pub body: String,
}

/// The spool of one peer, or of all clients.
#[derive(Debug)]
pub(crate) struct Ledger {
    spool: Spool,
    accepted: HashMap<JobId, u64>,
    /// Ends that count and wait, oldest first.
    ends: BTreeMap<u64, JobId>,
    by_job: HashMap<JobId, u64>,
    /// Ends that do not count yet.
    fresh: Vec<(u64, JobId)>,
}

impl Ledger {
    /// Opens the ledger in a folder; also tells which jobs never ended.
    pub(crate) fn open(
        folder: &Path,
        options: Options,
    ) -> Result<(Self, Recovery, Vec<JobId>), OpenError> {
        let (mut spool, recovery) = Spool::open(folder, options)?;
        let mut accepted = HashMap::new();
        let (mut ends, mut by_job) = (BTreeMap::new(), HashMap::new());
        for sequence in spool.waiting().collect::<Vec<_>>() {
            let note = match spool.read(sequence) {
                Ok(octets) => split(&octets).map(|(note, _)| note),
                Err(error) => {
                    tracing::warn!(%error, "a result is lost");
                    continue;
                }
            };
            let Some(note) = note else {
                tracing::warn!(
                    sequence,
                    "a record of the spool is of another form and is left out"
                );
                spool.acknowledge(sequence);
                continue;
            };
            let job = JobId::new(&note.peer, &note.token);
            if note.end {
                ends.insert(sequence, job.clone());
                by_job.insert(job, sequence);
            } else {
                accepted.insert(job, sequence);
            }
        }
        let mut ledger = Self { spool, accepted, ends, by_job, fresh: Vec::new() };
        let ended: Vec<JobId> = ledger.by_job.keys().cloned().collect();
        for job in ended {
            ledger.settle(&job);
        }
        let mut lost: Vec<(u64, JobId)> =
            ledger.accepted.iter().map(|(job, sequence)| (*sequence, job.clone())).collect();
        lost.sort_unstable();
        Ok((ledger, recovery, lost.into_iter().map(|(_, job)| job).collect()))
    }

    /// Whether an end of usual size would be taken.
    pub(crate) fn has_room(&mut self) -> Result<(), AppendError> {
        self.spool.has_room(1 << 16)
    }

    /// Notes that a specification was accepted; counts after the next commit.
    pub(crate) fn accept(&mut self, job: &JobId) -> Result<(), AppendError> {
        let sequence = self.spool.append(&joined(job, None, false, ""))?;
        self.accepted.insert(job.clone(), sequence);
        Ok(())
    }

    /// Keeps an end; counts after the next commit.
    pub(crate) fn end(
        &mut self,
        job: &JobId,
        link: Option<&str>,
        body: &str,
    ) -> Result<(), AppendError> {
        let sequence = self.spool.append(&joined(job, link, true, body))?;
        self.fresh.push((sequence, job.clone()));
        Ok(())
    }

    /// Makes everything count; the jobs whose ends count from now on.
    pub(crate) fn commit(&mut self) -> Result<Vec<JobId>, CommitError> {
        self.spool.commit()?;
        let mut ended = Vec::new();
        for (sequence, job) in std::mem::take(&mut self.fresh) {
            self.settle(&job);
            self.ends.insert(sequence, job.clone());
            self.by_job.insert(job.clone(), sequence);
            ended.push(job);
        }
        Ok(ended)
    }

    /// The promise is kept: its note is needed no longer.
    fn settle(&mut self, job: &JobId) {
        if let Some(sequence) = self.accepted.remove(job) {
            self.spool.acknowledge(sequence);
        }
    }

    /// Whether the end of a job was written and does not count yet.
    pub(crate) fn is_fresh(&self, job: &JobId) -> bool {
        self.fresh.iter().any(|(_, other)| other == job)
    }

    /// Jobs whose ends wait.
    pub(crate) fn ended(&self) -> impl Iterator<Item = &JobId> {
        self.by_job.keys()
    }

    /// The oldest ends that wait, at most so many.
    pub(crate) fn next(&mut self, most: usize) -> Vec<Delivery> {
        let sequences: Vec<u64> = self.ends.keys().copied().take(most).collect();
        sequences.into_iter().filter_map(|sequence| self.delivery(sequence)).collect()
    }

    /// The end of a job, if it waits.
    pub(crate) fn of(&mut self, job: &JobId) -> Option<Delivery> {
        let sequence = *self.by_job.get(job)?;
        self.delivery(sequence)
    }

    /// The end has arrived.
    pub(crate) fn delivered(&mut self, sequence: u64) -> Option<JobId> {
        self.spool.acknowledge(sequence);
        let job = self.ends.remove(&sequence)?;
        self.by_job.remove(&job);
        Some(job)
    }

    fn delivery(&mut self, sequence: u64) -> Option<Delivery> {
        let octets = match self.spool.read(sequence) {
            Ok(octets) => octets,
            Err(ReadError::Disk(error)) => {
                tracing::error!(%error, "the spool cannot be read");
                return None;
            }
            Err(error) => {
                tracing::error!(%error, "a result is lost");
                self.delivered(sequence);
                return None;
            }
        };
        let (note, body) = split(&octets)?;
        let (job, body) = (JobId::new(&note.peer, &note.token), body.to_owned());
        Some(Delivery { sequence, job, link: note.link, body })
    }
}

fn joined(job: &JobId, link: Option<&str>, end: bool, body: &str) -> Vec<u8> {
    let note = Note {
        peer: job.peer.to_string(),
        token: job.token.to_string(),
        link: link.map(str::to_owned),
        end,
    };
    let mut octets = serde_json::to_vec(&note).expect("texts are JSON");
    octets.push(b'\n');
    octets.extend_from_slice(body.as_bytes());
    octets
}

fn split(octets: &[u8]) -> Option<(Note, &str)> {
    let (note, body) = std::str::from_utf8(octets).ok()?.split_once('\n')?;
    Some((serde_json::from_str(note).ok()?, body))
}
