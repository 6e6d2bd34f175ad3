//! A disk in memory that fills up, fails, and loses power.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{self, ErrorKind},
    rc::Rc,
};

use crate::Disk;

/// Small numbers that look random; equal for equal seeds.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound.max(1)
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// As a reader sees it.
    seen: Vec<u8>,
    on_disk: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Entry {
    Made(String, usize),
    Removed(String),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    inodes: Vec<Inode>,
    seen: BTreeMap<String, usize>,
    on_disk: BTreeMap<String, usize>,
    unsynced: Vec<Entry>,
    /// Octets that still fit on the volume.
    pub(crate) room: Option<usize>,
    /// How many of the next syncs of files fail.
    pub(crate) failing_syncs: usize,
    pub(crate) dice: Option<Dice>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(pub(crate) Rc<RefCell<World>>);

impl Memory {
    /// A disk with the files as a reader sees them.
    pub(crate) fn with(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let mut world = World::default();
        for (name, octets) in files {
            let inode =
                Inode { seen: octets.clone(), on_disk: octets.clone(), unsynced: Vec::new() };
            world.seen.insert(name.clone(), world.inodes.len());
            world.inodes.push(inode);
        }
        world.on_disk = world.seen.clone();
        Self(Rc::new(RefCell::new(world)))
    }

    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let world = self.0.borrow();
        world
            .seen
            .iter()
            .map(|(name, inode)| (name.clone(), world.inodes[*inode].seen.clone()))
            .collect()
    }

    /// What is there when power comes back: all that was synced, and of the rest what the dice say.
    /// One time in three it is a clean prefix of the writes, as a file system with ordered data has it.
    pub(crate) fn after_power_cut(&self, dice: &mut Dice) -> Self {
        let world = self.0.borrow();
        let mut names = world.on_disk.clone();
        let ordered = dice.below(3) == 0;
        let kept = dice.below(world.unsynced.len() + 1);
        for (index, entry) in world.unsynced.iter().enumerate() {
            let reached = if ordered { index < kept } else { dice.coin() };
            match entry {
                Entry::Made(name, inode) if reached => drop(names.insert(name.clone(), *inode)),
                Entry::Removed(name) if reached => drop(names.remove(name)),
                _ => {}
            }
        }
        let files = names
            .into_iter()
            .map(|(name, inode)| {
                let inode = &world.inodes[inode];
                (name, settle(inode, ordered, dice))
            })
            .collect();
        Self::with(&files)
    }
}

/// Applies a part of the changes, in pieces of up to 64 octets.
fn settle(inode: &Inode, ordered: bool, dice: &mut Dice) -> Vec<u8> {
    let mut octets = inode.on_disk.clone();
    let mut pieces = Vec::new();
    for change in &inode.unsynced {
        match change {
            Change::Write(at, written) => {
                for (index, piece) in written.chunks(64).enumerate() {
                    pieces.push(Change::Write(at + index * 64, piece.to_vec()));
                }
            }
            Change::Truncate(_) => pieces.push(change.clone()),
        }
    }
    let kept = dice.below(pieces.len() + 1);
    for (index, piece) in pieces.into_iter().enumerate() {
        if if ordered { index >= kept } else { dice.coin() } {
            continue;
        }
        match piece {
            Change::Write(at, written) => {
                let end = at + written.len();
                octets.resize(octets.len().max(end), 0);
                octets[at..end].copy_from_slice(&written);
            }
            Change::Truncate(length) => octets.truncate(length),
        }
    }
    octets
}

impl Disk for Memory {
    type Handle = usize;

    fn create(&self, name: &str) -> io::Result<usize> {
        let mut world = self.0.borrow_mut();
        if world.seen.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let inode = world.inodes.len();
        world.inodes.push(Inode::default());
        world.seen.insert(name.to_owned(), inode);
        world.unsynced.push(Entry::Made(name.to_owned(), inode));
        Ok(inode)
    }

    fn append(&self, file: &mut usize, octets: &[u8]) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        let fits = world.room.unwrap_or(usize::MAX).min(octets.len());
        world.room = world.room.map(|room| room - fits);
        let inode = &mut world.inodes[*file];
        inode.unsynced.push(Change::Write(inode.seen.len(), octets[..fits].to_vec()));
        inode.seen.extend_from_slice(&octets[..fits]);
        if fits < octets.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&self, file: &mut usize, length: u64) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        let inode = &mut world.inodes[*file];
        let freed = inode.seen.len() - length as usize;
        inode.seen.truncate(length as usize);
        inode.unsynced.push(Change::Truncate(length as usize));
        world.room = world.room.map(|room| room + freed);
        Ok(())
    }

    /// A sync that fails leaves any part on disk, and the rest is forgotten as if it had been written.
    fn sync(&self, file: &usize) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        let fails = world.failing_syncs > 0;
        world.failing_syncs = world.failing_syncs.saturating_sub(1);
        let mut dice = world.dice.take().unwrap_or(Dice(1));
        let inode = &mut world.inodes[*file];
        inode.on_disk = if fails { settle(inode, false, &mut dice) } else { inode.seen.clone() };
        inode.unsynced.clear();
        world.dice = Some(dice);
        if fails { Err(io::Error::other("input/output error")) } else { Ok(()) }
    }

    fn sync_closed(&self, name: &str) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        let inode = *world.seen.get(name).ok_or(ErrorKind::NotFound)?;
        let inode = &mut world.inodes[inode];
        inode.on_disk = inode.seen.clone();
        inode.unsynced.clear();
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        world.on_disk = world.seen.clone();
        world.unsynced.clear();
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let files = self.files();
        Ok(files.into_iter().map(|(name, octets)| (name, octets.len() as u64)).collect())
    }

    fn read(&self, name: &str, offset: u64, octets: usize) -> io::Result<Vec<u8>> {
        let world = self.0.borrow();
        let inode = *world.seen.get(name).ok_or(ErrorKind::NotFound)?;
        let rest = world.inodes[inode].seen.get(offset as usize..).unwrap_or_default();
        Ok(rest[..octets.min(rest.len())].to_vec())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        let inode = world.seen.remove(name).ok_or(ErrorKind::NotFound)?;
        let freed = world.inodes[inode].seen.len();
        world.room = world.room.map(|room| room + freed);
        world.unsynced.push(Entry::Removed(name.to_owned()));
        Ok(())
    }
}
