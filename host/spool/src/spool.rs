//! Appending, committing, delivering and acknowledging. The format is in `frame`, reading an old log
//! in `recovery`.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::Path,
};

use crate::{
    AppendError, CommitError, OpenError, ReadError, Recovery,
    disk::{Disk, Folder},
    frame::{self, HEADER_OCTETS, Kind},
    recovery::Log,
    segment::Name,
};

/// Most octets that one record may have.
pub const RECORD_LIMIT_OCTETS: usize = 16 << 20;
/// Longest segment that may be configured.
const SEGMENT_LIMIT_OCTETS: u64 = 64 << 20;

/// How much room the log may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Options {
    /// Another segment is begun behind this many octets; at most 64 MiB and a quarter of the cap.
    pub segment_octets: u64,
    /// All segments together; a record that would go beyond is refused. What is acknowledged counts until its
    /// segment goes, at the latest when it is half of everything.
    pub cap_octets: u64,
}

impl Default for Options {
    /// Segments of 4 MiB, at most 1 GiB.
    fn default() -> Self {
        Self { segment_octets: 4 << 20, cap_octets: 1 << 30 }
    }
}

/// The log, with one writer.
#[derive(Debug)]
pub struct Spool<D: Disk = Folder> {
    disk: D,
    options: Options,
    /// Oldest first; the last one is being written to where there is a handle.
    segments: VecDeque<Segment>,
    active: Option<D::Handle>,
    /// Records that count and are not acknowledged.
    waiting: BTreeMap<u64, Place>,
    /// Octets of their frames.
    waiting_octets: u64,
    /// Of records that wait, younger segments where there may be a copy that does not count.
    strays: BTreeMap<u64, Name>,
    /// Records that do not count yet.
    fresh: BTreeMap<u64, Fresh>,
    /// Acknowledgements that are not in the log yet, with the segment of their record.
    pub(crate) owed: Vec<(u64, Name)>,
    /// Acknowledgements in the active segment that are not known to be on disk.
    unsynced: Vec<(u64, Name)>,
    next_sequence: u64,
    next_number: u64,
    /// A file was made or removed since the folder was last brought to disk.
    folder_changed: bool,
    /// Something was written since the active segment was last brought to disk.
    segment_changed: bool,
}

#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) name: Name,
    pub(crate) octets: u64,
    /// Records in it that are not acknowledged, those that do not count yet included.
    pub(crate) waiting: u64,
    /// Whether it holds acknowledgements, which an older segment may need.
    pub(crate) acknowledges: bool,
}

/// Where a frame lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) segment: Name,
    pub(crate) offset: u64,
    /// Of the whole frame.
    pub(crate) octets: usize,
}

#[derive(Debug)]
struct Fresh {
    body: Vec<u8>,
    /// `None` where its segment was given up: it has to be written again.
    place: Option<Place>,
}

impl Spool {
    /// Opens the log in a folder, which is made if it is not there, and reads what is in it.
    ///
    /// # Errors
    ///
    /// Where another process has it open, or the folder cannot be used. Damage is no error.
    pub fn open(folder: &Path, options: Options) -> Result<(Self, Recovery), OpenError> {
        let disk = Folder::open(folder)?;
        let name = folder.display().to_string();
        Self::on(disk, options).map_err(|cause| OpenError::Folder { folder: name, cause })
    }
}

impl<D: Disk> Spool<D> {
    /// As [`Spool::open`], on any disk.
    ///
    /// # Errors
    ///
    /// Where the files cannot be listed, or what is in them not be brought to disk.
    pub fn on(disk: D, options: Options) -> io::Result<(Self, Recovery)> {
        let log = Log::read(&disk)?;
        let recovery = Recovery { waiting: log.waiting.len(), damage: log.damage };
        let longest = SEGMENT_LIMIT_OCTETS.min(options.cap_octets / 4);
        let options = Options { segment_octets: options.segment_octets.min(longest), ..options };
        let waiting_octets = log.waiting.values().map(|place| place.octets as u64).sum();
        let mut spool = Self {
            disk,
            options,
            segments: log.segments,
            active: None,
            waiting: log.waiting,
            waiting_octets,
            strays: BTreeMap::new(),
            fresh: BTreeMap::new(),
            owed: Vec::new(),
            unsynced: Vec::new(),
            next_sequence: log.next_sequence,
            next_number: log.next_number,
            folder_changed: false,
            segment_changed: false,
        };
        spool.collect();
        Ok((spool, recovery))
    }

    /// Writes a record and returns its number; it counts after the next [`Spool::commit`]. Numbers
    /// grow in the order of the calls.
    ///
    /// # Errors
    ///
    /// Where it is too long or there is no room: nothing of the record is kept.
    pub fn append(&mut self, body: &[u8]) -> Result<u64, AppendError> {
        self.has_room(body.len())?;
        let sequence = self.next_sequence;
        let place = self.write(Kind::Result, sequence, body).map_err(AppendError::of)?;
        self.next_sequence += 1;
        self.fresh.insert(sequence, Fresh { body: body.to_vec(), place: Some(place) });
        Ok(sequence)
    }

    /// Whether a record of so many octets would be taken, as far as length and cap are concerned.
    /// To be asked before work is begun whose result must be kept.
    ///
    /// # Errors
    ///
    /// As [`Spool::append`] would.
    pub fn has_room(&mut self, octets: usize) -> Result<(), AppendError> {
        if octets > RECORD_LIMIT_OCTETS {
            let limit = RECORD_LIMIT_OCTETS as u64;
            return Err(AppendError::TooLong { octets: octets as u64, limit });
        }
        let needed = (octets + HEADER_OCTETS) as u64;
        if self.used_octets() + needed > self.options.cap_octets {
            // Nothing waits at all: the segment that is written to can go as well.
            if self.segments.iter().all(|segment| segment.waiting == 0) {
                self.active = None;
                self.collect();
            }
            let (used, cap) = (self.used_octets(), self.options.cap_octets);
            if used + needed > cap {
                return Err(AppendError::Cap { used, cap });
            }
        }
        Ok(())
    }

    /// Makes every record count that was appended: returns when they are on disk.
    ///
    /// # Errors
    ///
    /// Where the disk fails. The records are kept in memory, and the next commit tries again; they
    /// must not be appended again.
    pub fn commit(&mut self) -> Result<(), CommitError> {
        self.pay();
        let lost: Vec<u64> = self
            .fresh
            .iter()
            .filter(|(_, fresh)| fresh.place.is_none())
            .map(|(key, _)| *key)
            .collect();
        for sequence in lost {
            let body = std::mem::take(&mut self.fresh.get_mut(&sequence).expect("just seen").body);
            let written = self.write(Kind::Result, sequence, &body);
            let fresh = self.fresh.get_mut(&sequence).expect("just seen");
            fresh.body = body;
            fresh.place = Some(written.map_err(CommitError::of)?);
        }
        self.sync().map_err(CommitError::of)?;
        // INVARIANT: every fresh record has a place: losing it is an error in `write` or above.
        for (sequence, fresh) in std::mem::take(&mut self.fresh) {
            let Some(place) = fresh.place else { continue };
            self.waiting_octets += place.octets as u64;
            self.waiting.insert(sequence, place);
        }
        Ok(())
    }

    /// Numbers of the records that count and are not acknowledged, oldest first.
    pub fn waiting(&self) -> impl Iterator<Item = u64> {
        self.waiting.keys().copied()
    }

    /// The octets of a record that waits.
    ///
    /// # Errors
    ///
    /// Where it does not wait, or cannot be read. A damaged one is given up as if it had been
    /// acknowledged.
    pub fn read(&mut self, sequence: u64) -> Result<Vec<u8>, ReadError> {
        let place = self.waiting.get(&sequence).ok_or(ReadError::Unknown(sequence))?;
        let Place { segment, offset, octets } = *place;
        let mut frame = self.disk.read(&segment.file(), offset, octets).map_err(ReadError::Disk)?;
        match frame::parse(&frame, segment.salt) {
            Some((found, _)) if found.kind == Kind::Result && found.sequence == sequence => {
                Ok(frame.split_off(HEADER_OCTETS))
            }
            _ => {
                self.let_go(sequence);
                Err(ReadError::Damaged(sequence))
            }
        }
    }

    /// Takes note that a record has reached its receiver; it is not delivered again. `false` where it
    /// does not wait.
    ///
    /// The note is written at once and outlives a kill; it is on disk after the next commit. It
    /// needs no room: on a full volume it is kept in memory until it can be written.
    pub fn acknowledge(&mut self, sequence: u64) -> bool {
        if !self.let_go(sequence) {
            return false;
        }
        while self.segments.len() > 2 && self.waiting_octets < self.used_octets() / 2 {
            let oldest = self.segments[0].name;
            let is_moved = self.move_records(oldest).is_ok();
            // Where the disk takes no copies everything stays where it is until the next one.
            if !is_moved && !self.skim() || is_moved && self.segments[0].name == oldest {
                break;
            }
        }
        true
    }

    fn let_go(&mut self, sequence: u64) -> bool {
        let Some(place) = self.waiting.remove(&sequence) else { return false };
        self.waiting_octets -= place.octets as u64;
        if let Some(segment) = self.segment_of(place.segment) {
            segment.waiting -= 1;
        }
        let youngest = self.strays.remove(&sequence).unwrap_or(place.segment);
        self.owed.push((sequence, youngest));
        self.collect();
        self.pay();
        true
    }

    /// Copies the records of a segment behind all others, so that one that waits for weeks does not keep
    /// everything that came after it.
    fn move_records(&mut self, from: Name) -> io::Result<()> {
        let of_segment = |(sequence, place): (&u64, &Place)| {
            (place.segment == from).then_some((*sequence, *place))
        };
        let records: Vec<(u64, Place)> = self.waiting.iter().filter_map(of_segment).collect();
        let mut copies = Vec::new();
        let copied = self.copy(&records, &mut copies);
        let settled: &[(u64, Place)] = if copied.is_ok() { &records } else { &copies };
        for (_, place) in settled {
            if let Some(segment) = self.segment_of(place.segment) {
                segment.waiting -= 1;
            }
        }
        if copied.is_ok() {
            for (sequence, place) in copies {
                self.strays.remove(&sequence);
                self.waiting.insert(sequence, place);
            }
            self.collect();
        } else {
            self.strays.extend(copies.iter().map(|(sequence, place)| (*sequence, place.segment)));
        }
        copied
    }

    /// The copies are on disk where this ends well.
    fn copy(&mut self, records: &[(u64, Place)], copies: &mut Vec<(u64, Place)>) -> io::Result<()> {
        for (sequence, place) in records {
            let body = self.read(*sequence).map_err(io::Error::other)?;
            debug_assert_eq!(place.octets, body.len() + HEADER_OCTETS);
            copies.push((*sequence, self.write(Kind::Result, *sequence, &body)?));
        }
        self.sync()
    }

    /// Octets that all segments take.
    #[must_use]
    pub fn used_octets(&self) -> u64 {
        self.segments.iter().map(|segment| segment.octets).sum()
    }

    fn segment_of(&mut self, name: Name) -> Option<&mut Segment> {
        self.segments.iter_mut().find(|segment| segment.name == name)
    }

    /// Writes the acknowledgements that are owed, as far as the disk takes them.
    fn pay(&mut self) {
        let owed = std::mem::take(&mut self.owed);
        for (sequence, segment) in owed {
            // With its record's segment, and all that may hold an older copy, the acknowledgement is not needed any more.
            let needed = self.segments.iter().any(|known| known.name <= segment);
            if needed {
                match self.write(Kind::Acknowledgement, sequence, &[]) {
                    Ok(_) => self.unsynced.push((sequence, segment)),
                    Err(_) => self.owed.push((sequence, segment)),
                }
            }
        }
    }

    /// Appends one frame, to another segment where the last one is long enough. After an error nothing
    /// of it is in the log.
    fn write(&mut self, kind: Kind, sequence: u64, body: &[u8]) -> io::Result<Place> {
        let full = |segment: &Segment| segment.octets >= self.options.segment_octets;
        if self.active.is_some() && self.segments.back().is_some_and(full) {
            self.sync_active()?;
            self.active = None;
            self.collect();
        }
        if self.active.is_none() {
            self.begin_segment()?;
        }
        let (Some(file), Some(segment)) = (&mut self.active, self.segments.back_mut()) else {
            return Err(io::Error::other("there is no segment to write to"));
        };
        let mut frame = Vec::with_capacity(HEADER_OCTETS + body.len());
        frame::emit(&mut frame, segment.name.salt, kind, sequence, body);
        if let Err(error) = self.disk.append(file, &frame) {
            if self.disk.truncate(file, segment.octets).is_err() {
                self.give_up();
            }
            return Err(error);
        }
        let place = Place { segment: segment.name, offset: segment.octets, octets: frame.len() };
        segment.octets += frame.len() as u64;
        segment.waiting += u64::from(kind == Kind::Result);
        segment.acknowledges |= kind == Kind::Acknowledgement;
        self.segment_changed = true;
        Ok(place)
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let name = Name::new(self.next_number);
        self.active = Some(self.disk.create(&name.file())?);
        self.next_number += 1;
        self.segments.push_back(Segment { name, octets: 0, waiting: 0, acknowledges: false });
        self.folder_changed = self.disk.sync_folder().is_err();
        self.segment_changed = false;
        Ok(())
    }

    /// Brings to disk what was written.
    fn sync(&mut self) -> io::Result<()> {
        if self.folder_changed {
            self.disk.sync_folder()?;
            self.folder_changed = false;
        }
        self.sync_active()
    }

    /// Brings the active segment to disk, or gives it up.
    fn sync_active(&mut self) -> io::Result<()> {
        if let (Some(file), true) = (&self.active, self.segment_changed) {
            if let Err(error) = self.disk.sync(file) {
                self.give_up();
                return Err(error);
            }
            self.segment_changed = false;
        }
        self.unsynced.clear();
        Ok(())
    }

    /// Nobody knows what of the active segment is on disk: what is new in it goes to another.
    fn give_up(&mut self) {
        self.active = None;
        self.owed.append(&mut self.unsynced);
        let Some(name) = self.segments.back().map(|segment| segment.name) else { return };
        let mut lost = 0;
        for fresh in self.fresh.values_mut() {
            if fresh.place.is_some_and(|place| place.segment == name) {
                fresh.place = None;
                lost += 1;
            }
        }
        if let Some(segment) = self.segments.back_mut() {
            segment.waiting -= lost;
        }
    }

    /// Removes the segments that are done with. An older segment may need the acknowledgements in a
    /// younger one, so they go in order, and each is gone from the disk before the next one goes.
    fn collect(&mut self) {
        let keep = usize::from(self.active.is_some());
        while self.segments.len() > keep
            && self.segments.front().is_some_and(|segment| segment.waiting == 0)
        {
            if !self.remove(0) {
                return;
            }
        }
    }

    /// On a full volume, where nothing can be copied: removes those behind the oldest segment that are done with and that
    /// no older one needs. Whether there were any.
    fn skim(&mut self) -> bool {
        let before = self.segments.len();
        for index in (1..before - 1).rev() {
            let Segment { name, waiting, acknowledges, .. } = self.segments[index];
            let has_stray = self.strays.values().any(|it| *it == name);
            if waiting == 0 && !acknowledges && !has_stray && !self.remove(index) {
                break;
            }
        }
        self.segments.len() < before
    }

    /// Removes a segment, once those that were removed before are gone from the disk.
    fn remove(&mut self, index: usize) -> bool {
        if self.folder_changed && self.disk.sync_folder().is_err() {
            return false;
        }
        self.folder_changed = false;
        match self.disk.remove(&self.segments[index].name.file()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return false,
            _ => {}
        }
        self.segments.remove(index);
        self.folder_changed = true;
        true
    }
}
