//! What a peer was promised and what it is owed, in its spool: which specifications were accepted, what their
//! repetitions gave so far, and how each of them ended.
//!
//! A specification is noted before its receipt is sent, its end before it is delivered. One that was
//! accepted and has no end when the ledger is opened waited or ran when the host was stopped.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use sonde_mplane::{Exception, Message, Time};
use sonde_spool::{AppendError, CommitError, OpenError, Options, ReadError, Recovery, Spool};

use super::{jobs::JobId, request::is_client};

/// Behind so many octets no further end is fetched with the others: hosts may have little memory.
const PORTION_OCTETS: usize = 4 << 20;

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
    /// What stands behind it is a part of what the end will be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    part: bool,
    /// Only of accepted specifications: when, in microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accepted_us: Option<i64>,
    /// Only of accepted specifications: nothing of it is to begin any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    interrupted: bool,
}

/// A job that has no end, as it was written down.
#[derive(Debug)]
pub(crate) struct Unfinished {
    pub(crate) job: JobId,
    pub(crate) accepted: Option<Time>,
    pub(crate) interrupted: bool,
    /// The message as JSON; empty where an earlier version of the host noted it.
    pub(crate) specification: String,
    /// Messages as JSON, oldest first.
    pub(crate) parts: Vec<String>,
}

/// What the repetitions of a job gave so far.
#[derive(Debug, Default)]
struct Parts {
    sequences: VecDeque<u64>,
    /// How many of them are wanted, the last ones.
    kept: usize,
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
    folder: PathBuf,
    /// Device and number of the folder, which somebody may take away.
    identity: Option<(u64, u64)>,
    accepted: HashMap<JobId, u64>,
    /// Notes that were written anew, to go when the new ones count.
    replaced: Vec<u64>,
    parts: HashMap<JobId, Parts>,
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
    ) -> Result<(Self, Recovery, Vec<Unfinished>), OpenError> {
        let (mut spool, recovery) = Spool::open(folder, options)?;
        let mut accepted = HashMap::new();
        let mut parts = HashMap::<JobId, Parts>::new();
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
            } else if note.part {
                let parts = parts.entry(job).or_default();
                parts.sequences.push_back(sequence);
                parts.kept += 1;
            } else if let Some(replaced) = accepted.insert(job, sequence) {
                spool.acknowledge(replaced);
            }
        }
        let (folder, identity) = (folder.to_owned(), identity(folder));
        let (fresh, replaced) = (Vec::new(), Vec::new());
        let mut ledger =
            Self { spool, folder, identity, accepted, replaced, parts, ends, by_job, fresh };
        let has_no_end = |(job, _): &(&JobId, &u64)| !ledger.by_job.contains_key(job);
        let accepted = ledger.accepted.iter().filter(has_no_end);
        let mut unfinished: Vec<(u64, JobId)> =
            accepted.map(|(job, sequence)| (*sequence, job.clone())).collect();
        unfinished.sort_unstable();
        let unfinished = unfinished.into_iter().map(|(it, job)| ledger.unfinished(it, job));
        let unfinished: Vec<Unfinished> = unfinished.collect();
        // The others are in the ends of their jobs.
        let mut parts = std::mem::take(&mut ledger.parts);
        for Unfinished { job, .. } in &unfinished {
            ledger.parts.extend(parts.remove_entry(job));
        }
        parts.into_values().for_each(|parts| ledger.let_go(parts));
        Ok((ledger, recovery, unfinished))
    }

    fn unfinished(&mut self, sequence: u64, job: JobId) -> Unfinished {
        let (note, specification) =
            self.note(sequence).unwrap_or_else(|| (Note::of(&job), String::new()));
        let accepted = note.accepted_us.map(Time::from_unix_us);
        let parts = self.parts.get(&job).map(|parts| parts.sequences.clone()).unwrap_or_default();
        let parts = parts.into_iter().filter_map(|it| Some(self.note(it)?.1)).collect();
        Unfinished { job, accepted, interrupted: note.interrupted, specification, parts }
    }

    fn note(&mut self, sequence: u64) -> Option<(Note, String)> {
        let octets = self.spool.read(sequence).ok()?;
        split(&octets).map(|(note, body)| (note, body.to_owned()))
    }

    fn let_go(&mut self, parts: Parts) {
        for sequence in parts.sequences {
            self.spool.acknowledge(sequence);
        }
    }

    /// Whether an end of usual size would be taken.
    pub(crate) fn has_room(&mut self) -> Result<(), AppendError> {
        // Files that are open can be written to, but nobody will ever find them again.
        if identity(&self.folder) != self.identity {
            let text = format!("{} was taken away; restart the host", self.folder.display());
            return Err(AppendError::Disk(io::Error::new(io::ErrorKind::NotFound, text)));
        }
        self.spool.has_room(1 << 16)
    }

    /// Notes that a specification was accepted; counts after the next commit.
    pub(crate) fn accept(
        &mut self,
        job: &JobId,
        now: Time,
        specification: &str,
    ) -> Result<(), AppendError> {
        let note = Note { accepted_us: Some(now.unix_us()), ..Note::of(job) };
        let sequence = self.spool.append(&joined(&note, specification))?;
        self.accepted.insert(job.clone(), sequence);
        Ok(())
    }

    /// Notes that nothing of an accepted job is to begin any more; counts after the next commit. False where that stands
    /// there already.
    pub(crate) fn interrupt(&mut self, job: &JobId) -> Result<bool, AppendError> {
        let before = self.accepted.get(job).copied();
        let note = before.and_then(|before| Some((before, self.note(before)?)));
        let Some((before, (note, body))) = note.filter(|(_, (note, _))| !note.interrupted) else {
            return Ok(false);
        };
        let note = Note { interrupted: true, ..note };
        let sequence = self.spool.append(&joined(&note, &body))?;
        self.accepted.insert(job.clone(), sequence);
        self.replaced.push(before);
        Ok(true)
    }

    /// Keeps what a repetition gave; counts after the next commit. With it `kept` are wanted, the last ones.
    pub(crate) fn part(&mut self, job: &JobId, body: &str, kept: usize) -> Result<(), AppendError> {
        let sequence = self.spool.append(&joined(&Note { part: true, ..Note::of(job) }, body))?;
        let parts = self.parts.entry(job.clone()).or_default();
        parts.sequences.push_back(sequence);
        parts.kept = kept;
        Ok(())
    }

    /// Keeps an end; counts after the next commit.
    pub(crate) fn end(
        &mut self,
        job: &JobId,
        link: Option<&str>,
        body: &str,
    ) -> Result<(), AppendError> {
        let note = Note { link: link.map(str::to_owned), end: true, ..Note::of(job) };
        let sequence = self.spool.append(&joined(&note, body))?;
        self.fresh.push((sequence, job.clone()));
        Ok(())
    }

    /// Makes everything count; the jobs whose ends count from now on.
    pub(crate) fn commit(&mut self) -> Result<Vec<JobId>, CommitError> {
        self.spool.commit()?;
        for sequence in std::mem::take(&mut self.replaced) {
            self.spool.acknowledge(sequence);
        }
        let mut ended = Vec::new();
        for (sequence, job) in std::mem::take(&mut self.fresh) {
            self.ends.insert(sequence, job.clone());
            self.by_job.insert(job.clone(), sequence);
            // They are in the end.
            if let Some(parts) = self.parts.remove(&job) {
                self.let_go(parts);
            }
            ended.push(job);
        }
        for parts in self.parts.values_mut() {
            while parts.sequences.len() > parts.kept
                && let Some(oldest) = parts.sequences.pop_front()
            {
                self.spool.acknowledge(oldest);
            }
        }
        Ok(ended)
    }

    /// Whether the end of a job was written, be it that it does not count yet.
    pub(crate) fn has_end(&self, job: &JobId) -> bool {
        self.by_job.contains_key(job) || self.fresh.iter().any(|(_, other)| other == job)
    }

    /// Jobs whose ends wait.
    pub(crate) fn ended(&self) -> impl Iterator<Item = &JobId> {
        self.by_job.keys()
    }

    /// The oldest ends that wait, at most so many, and fewer where they are long.
    pub(crate) fn next(&mut self, most: usize) -> Vec<Delivery> {
        let sequences: Vec<u64> = self.ends.keys().copied().take(most).collect();
        let (mut next, mut octets) = (Vec::new(), 0);
        for sequence in sequences {
            if octets > PORTION_OCTETS {
                break;
            }
            let delivery = self.delivery(sequence);
            octets += delivery.as_ref().map_or(0, |it| it.body.len());
            next.extend(delivery);
        }
        next
    }

    /// The end of a job, if it waits.
    pub(crate) fn of(&mut self, job: &JobId) -> Option<Delivery> {
        let sequence = *self.by_job.get(job)?;
        self.delivery(sequence)
    }

    /// The end of a job is not asked for any more.
    pub(crate) fn discard(&mut self, job: &JobId) {
        if let Some(sequence) = self.by_job.get(job) {
            self.delivered(*sequence);
        }
    }

    /// The end has arrived.
    pub(crate) fn delivered(&mut self, sequence: u64) {
        if let Some(job) = self.ends.remove(&sequence) {
            self.by_job.remove(&job);
            // The promise is kept. Its note goes first, and not before: an end that is damaged on disk leaves a job
            // that never ended.
            if let Some(accepted) = self.accepted.remove(&job) {
                self.spool.acknowledge(accepted);
            }
        }
        self.spool.acknowledge(sequence);
    }

    /// Number of records on disk that are still needed.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.spool.waiting().count()
    }

    fn delivery(&mut self, sequence: u64) -> Option<Delivery> {
        let octets = match self.spool.read(sequence) {
            Ok(octets) => octets,
            Err(ReadError::Disk(error)) => {
                let folder = self.folder.display();
                tracing::error!(%folder, %error, "the spool cannot be read");
                return None;
            }
            Err(error) => {
                let job = self.ends.get(&sequence)?.clone();
                let folder = self.folder.display();
                tracing::error!(%folder, token = &*job.token, %error, "a result is lost");
                let (token, message) = (Some(job.token.to_string()), error.to_string());
                let body = Message::Exception(Exception { token, message }).to_json();
                return Some(Delivery { sequence, job, link: None, body });
            }
        };
        let (note, body) = split(&octets)?;
        let (job, body) = (JobId::new(&note.peer, &note.token), body.to_owned());
        Some(Delivery { sequence, job, link: note.link, body })
    }
}

/// Peers that are clients share one ledger.
pub(super) const CLIENTS: &str = "clients";

/// The name of the ledger in which a peer's promises are.
pub(super) fn ledger_of(peer: &str) -> &str {
    if is_client(peer) { CLIENTS } else { peer }
}

/// Folders of supervisors that are not among these.
pub(super) fn others(folder: &Path, supervisors: &[Arc<str>]) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_other = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let is_known = name == CLIENTS || supervisors.iter().any(|known| *name == **known);
        !is_known && entry.file_type().is_ok_and(|kind| kind.is_dir())
    };
    entries.filter(is_other).map(|entry| entry.path()).collect()
}

fn identity(folder: &Path) -> Option<(u64, u64)> {
    fs::metadata(folder).ok().map(|folder| (folder.dev(), folder.ino()))
}

impl Note {
    fn of(job: &JobId) -> Self {
        let (peer, token) = (job.peer.to_string(), job.token.to_string());
        Self {
            peer,
            token,
            link: None,
            end: false,
            part: false,
            accepted_us: None,
            interrupted: false,
        }
    }
}

fn joined(note: &Note, body: &str) -> Vec<u8> {
    let mut octets = serde_json::to_vec(note).expect("texts are JSON");
    octets.push(b'\n');
    octets.extend_from_slice(body.as_bytes());
    octets
}

fn split(octets: &[u8]) -> Option<(Note, &str)> {
    let (note, body) = std::str::from_utf8(octets).ok()?.split_once('\n')?;
    Some((serde_json::from_str(note).ok()?, body))
}
