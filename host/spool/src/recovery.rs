//! What an earlier process left: which records wait, what is damaged.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
};

use crate::{
    disk::Disk,
    frame::Kind,
    segment::{Found, Name, scan},
    spool::{Place, Segment},
};

/// Longer files are no segments of ours: twice what the largest could have.
const FILE_LIMIT_OCTETS: u64 = 160 << 20;
/// How far sequence numbers jump where a segment could not be read: its numbers are not used again.
const JUMP: u64 = 1 << 32;

/// What was found when the spool was opened.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Recovery {
    /// Records that wait to be delivered.
    pub waiting: usize,
    /// Octets that are no records, in the order of the log.
    pub damage: Vec<Damage>,
}

/// A stretch of a segment that holds no whole record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Damage {
    /// Name of the file.
    pub segment: String,
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub octets: u64,
    /// Why the file could not be read; `None` where it could.
    pub unreadable: Option<String>,
    /// It is the end of the file: a write was cut off, and its record never counted, or the record
    /// was damaged later.
    pub tail: bool,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, offset, octets, .. } = self;
        match (&self.unreadable, self.tail) {
            (Some(reason), _) => write!(f, "{segment} cannot be read: {reason}"),
            (None, true) => write!(f, "{segment} ends with {octets} octets that are no record"),
            (None, false) => write!(f, "{octets} octets at {offset} of {segment} are damaged"),
        }
    }
}

/// The log as it is on disk.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) waiting: BTreeMap<u64, Place>,
    pub(crate) next_sequence: u64,
    pub(crate) next_number: u64,
    pub(crate) damage: Vec<Damage>,
}

impl Log {
    /// Reads every segment, after bringing it to disk: a record that is delivered must not be
    /// forgotten by a power cut that comes later.
    pub(crate) fn read<D: Disk>(disk: &D) -> io::Result<Self> {
        let mut names: Vec<(Name, u64)> = Vec::new();
        for (file, length) in disk.list()? {
            names.extend(Name::parse(&file).map(|name| (name, length)));
        }
        names.sort_unstable();
        let mut log = Self::default();
        for (name, length) in names {
            log.next_number = log.next_number.max(name.number.saturating_add(1));
            match contents(disk, name, length) {
                Ok(octets) => log.take_in(name, &octets),
                Err(error) => {
                    log.report(name, 0, length, false);
                    if let Some(damage) = log.damage.last_mut() {
                        damage.unreadable = Some(error.to_string());
                    }
                }
            }
        }
        disk.sync_folder()?;
        if log.damage.iter().any(|damage| damage.unreadable.is_some()) {
            log.next_sequence = log.next_sequence.saturating_add(JUMP);
        }
        for place in log.waiting.values() {
            let segment = log.segments.iter_mut().find(|segment| segment.name == place.segment);
            segment.expect("the record was read from it").waiting += 1;
        }
        Ok(log)
    }

    fn take_in(&mut self, name: Name, octets: &[u8]) {
        let mut acknowledges = false;
        for found in scan(octets, name.salt) {
            match found {
                Found::Frame(frame, offset) => {
                    self.next_sequence = self.next_sequence.max(frame.sequence.saturating_add(1));
                    let place = Place { segment: name, offset, octets: frame.octets() };
                    match frame.kind {
                        // Written twice where a sync had failed. The younger copy counts: its
                        // segment goes last, and the acknowledgement is needed until then.
                        Kind::Result => drop(self.waiting.insert(frame.sequence, place)),
                        Kind::Acknowledgement => {
                            acknowledges = true;
                            self.waiting.remove(&frame.sequence);
                        }
                    }
                }
                Found::Damage(range) => self.report(name, range.start, range.end, false),
                Found::Tail(range) => self.report(name, range.start, range.end, true),
            }
        }
        let octets = octets.len() as u64;
        self.segments.push_back(Segment { name, octets, waiting: 0, acknowledges });
    }

    fn report(&mut self, name: Name, from: u64, to: u64, tail: bool) {
        self.damage.push(Damage {
            segment: name.file(),
            offset: from,
            octets: to - from,
            unreadable: None,
            tail,
        });
    }
}

fn contents<D: Disk>(disk: &D, name: Name, length: u64) -> io::Result<Vec<u8>> {
    if length > FILE_LIMIT_OCTETS {
        let text = format!("it has {length} octets, a segment has at most {FILE_LIMIT_OCTETS}");
        return Err(io::Error::other(text));
    }
    let file = name.file();
    disk.sync_closed(&file)?;
    disk.read(&file, 0, usize::try_from(length).unwrap_or(usize::MAX))
}
