//! Private copies of plugins, named after their content, and what each said of itself.
//!
//! A file that is mapped must not change, and `dlopen` knows libraries by their path. So a plugin
//! is never loaded from where the operator put it: replacing that file neither disturbs a running
//! plugin nor is mistaken for the old one.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, UNIX_EPOCH},
};

use sonde_plugin_api::descriptor::MAX_DESCRIPTOR_OCTETS;

use crate::{LoadError, MAX_IMAGE_OCTETS, elf, error::Octets};

/// Ending of the file with what a plugin said.
const NOTE: &str = "said";
/// The longest descriptor, and what stands before it.
const MAX_NOTE_OCTETS: u64 = MAX_DESCRIPTOR_OCTETS as u64 + 16_384;
/// Copies of one name that stay: programs that run may need older ones again.
const COPIES: usize = 8;
/// A part that is older was left by a program that was killed.
const LEFT: Duration = Duration::from_hours(1);
/// A file that changed a shorter while ago may change again without a trace: clocks of file systems have ticks.
const SETTLED: Duration = Duration::from_secs(2);

/// A directory that only this user can write, with the copies in it.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

/// One copy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// Where it is; the name holds the hash.
    pub path: PathBuf,
    /// Its size.
    pub octets: u64,
    /// BLAKE3 of the content, 64 hexadecimal digits: equal for equal plugins.
    pub hash: String,
}

impl Store {
    /// Opens the store at `folder` and makes it, with mode 0700, where it is missing.
    ///
    /// # Errors
    ///
    /// [`LoadError::Store`] where it cannot be made, is not a directory or belongs to somebody else.
    pub fn open(folder: &Path) -> Result<Self, LoadError> {
        let refused = |error: io::Error| LoadError::Store(format!("{}: {error}", folder.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(refused)?;
        let folder = fs::canonicalize(folder).map_err(refused)?;
        let found = fs::metadata(&folder).map_err(refused)?;
        let owner = rustix::process::geteuid().as_raw();
        if found.uid() != owner {
            let text =
                format!("{} belongs to user {}, this is {owner}", folder.display(), found.uid());
            return Err(LoadError::Store(text));
        }
        if found.mode() & 0o077 != 0 {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(refused)?;
        }
        Ok(Self { folder })
    }

    /// Copies `plugin` into the store, unless it is there already.
    ///
    /// # Errors
    ///
    /// [`LoadError::Unreadable`], [`LoadError::NotALibrary`] for what cannot be a plugin judging by
    /// its first look, or [`LoadError::Store`].
    pub fn keep(&self, plugin: &Path) -> Result<Kept, LoadError> {
        let image = read(plugin)?;
        elf::check(&image).map_err(LoadError::NotALibrary)?;
        let hash = blake3::hash(&image).to_hex().to_string();
        let path = self.copy_of(plugin, &hash);
        // A copy that a crash or a full disk left incomplete is not trusted by its name.
        if !holds(&path, &image) {
            self.write(&path, &image, 0o500)
                .map_err(|error| LoadError::Store(format!("{}: {error}", path.display())))?;
            self.clear(plugin, &path);
        }
        Ok(Kept { path, octets: image.len() as u64, hash })
    }

    /// The copy of `plugin`, and what it said of itself when `asker` asked it; `None` where neither file is
    /// certainly as it was then.
    pub(crate) fn said(&self, plugin: &Path, asker: &str) -> Option<(Kept, Vec<u8>)> {
        let mut noted = Vec::new();
        let file = File::open(self.note_of(plugin)).ok()?;
        file.take(MAX_NOTE_OCTETS).read_to_end(&mut noted).ok()?;
        let (check, noted) = noted.split_at_checked(blake3::OUT_LEN)?;
        if *check != *blake3::hash(noted).as_bytes() {
            return None;
        }
        let mut lines = noted.splitn(6, |octet| *octet == b'\n');
        let mut line = || std::str::from_utf8(lines.next()?).ok();
        let is_same = line()? == asker && line()? == state(plugin)?;
        let (octets, hash) = (line()?.parse().ok()?, line()?.to_owned());
        let kept = Kept { path: self.copy_of(plugin, &hash), octets, hash };
        let is_same = is_same && line()? == state(&kept.path)?;
        is_same.then_some((kept, lines.next()?.to_vec()))
    }

    /// Whether what is noted of `plugin` is so new.
    pub(crate) fn is_noted_within(&self, plugin: &Path, time: Duration) -> bool {
        let noted = fs::metadata(self.note_of(plugin)).and_then(|note| note.modified());
        noted.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < time))
    }

    /// Notes for [`Store::said`] what `plugin` said, which was in the state `asked` before it was copied. Where
    /// that fails it is asked again, as it would be without.
    pub(crate) fn note(&self, plugin: &Path, asked: &str, kept: &Kept, asker: &str, said: &[u8]) {
        let Some(copy) = state(&kept.path) else { return };
        let words = format!("{asker}\n{asked}\n{}\n{}\n{copy}\n", kept.octets, kept.hash);
        let noted = [words.as_bytes(), said].concat();
        let whole = [blake3::hash(&noted).as_bytes(), &noted[..]].concat();
        let _ = self.write(&self.note_of(plugin), &whole, 0o600);
    }

    fn note_of(&self, plugin: &Path) -> PathBuf {
        let hash = blake3::hash(plugin.as_os_str().as_bytes()).to_hex();
        self.folder.join(format!("{}-{}.{NOTE}", stem(plugin), &hash[..32]))
    }

    fn copy_of(&self, plugin: &Path, hash: &str) -> PathBuf {
        let hash = hash.get(..32).unwrap_or(hash);
        self.folder.join(format!("{}-{hash}.so", stem(plugin)))
    }

    /// Removes what builds of `plugin` and programs that were killed left behind. What a worker has loaded stays usable
    /// there; what cannot be removed stays.
    fn clear(&self, plugin: &Path, newest: &Path) {
        let stem = stem(plugin);
        let is_copy = |name: &str| {
            let hash = name.strip_prefix(&stem).and_then(|rest| rest.strip_prefix('-'));
            hash.and_then(|rest| rest.strip_suffix(".so")).is_some_and(|hash| hash.len() == 32)
        };
        let mut copies = Vec::new();
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let Ok(changed) = entry.metadata().and_then(|found| found.modified()) else { continue };
            let is_left = || changed.elapsed().is_ok_and(|age| age > LEFT);
            if name.ends_with(".part") && is_left() {
                let _ = fs::remove_file(path);
            } else if is_copy(&name) && path != newest {
                copies.push((changed, path));
            }
        }
        copies.sort();
        let old = copies.len().saturating_sub(COPIES - 1);
        for (_, path) in copies.drain(..old) {
            let _ = fs::remove_file(path);
        }
    }

    /// Whole or not at all: another process may be loading from `path` now.
    fn write(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let part = self.folder.join(format!("{}-{number}.part", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)
            .and_then(|mut file| {
                file.write_all(content)?;
                // What is noted of it shall hold after a power cut.
                file.sync_all()?;
                file.set_permissions(fs::Permissions::from_mode(mode))
            })
            .and_then(|()| fs::rename(&part, path));
        if written.is_err() {
            // The first error is the one to report; a part that stays is removed when it is old.
            let _ = fs::remove_file(&part);
        }
        written
    }
}

/// What tells one content of a file from the next, without reading it: nobody can set the time of its last
/// change. `None` where it has not settled.
pub(crate) fn settled(path: &Path) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    let since_1970 = Duration::new(found.ctime().try_into().ok()?, found.ctime_nsec() as u32);
    let changed = UNIX_EPOCH + since_1970;
    let is_settled = changed.elapsed().is_ok_and(|age| age > SETTLED);
    is_settled.then(|| words(&found))
}

fn state(path: &Path) -> Option<String> {
    fs::metadata(path).ok().map(|found| words(&found))
}

fn words(found: &fs::Metadata) -> String {
    let (device, inode, octets) = (found.dev(), found.ino(), found.len());
    format!("{device} {inode} {octets} {}.{:09}", found.ctime(), found.ctime_nsec())
}

/// Whether the file at `path` is `image`, to the last octet.
fn holds(path: &Path, image: &[u8]) -> bool {
    let compare = || -> io::Result<bool> {
        let mut file = File::open(path)?;
        let mut piece = [0; 1 << 15];
        let mut rest = image;
        loop {
            let read = file.read(&mut piece)?;
            match rest.split_at_checked(read) {
                _ if read == 0 => return Ok(rest.is_empty()),
                Some((same, behind)) if *same == piece[..read] => rest = behind,
                _ => return Ok(false),
            }
        }
    };
    compare().unwrap_or(false)
}

fn read(plugin: &Path) -> Result<Vec<u8>, LoadError> {
    let refused = |error: io::Error| LoadError::Unreadable(error.to_string());
    // Without O_NONBLOCK a named pipe would hold the host.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(plugin)
        .map_err(refused)?;
    let found = file.metadata().map_err(refused)?;
    if !found.is_file() {
        return Err(LoadError::NotALibrary("it is not a regular file".into()));
    }
    // One more, so that the end is found without growing.
    let mut image = Vec::with_capacity(found.len().min(MAX_IMAGE_OCTETS) as usize + 1);
    let read = file.take(MAX_IMAGE_OCTETS + 1).read_to_end(&mut image).map_err(refused)?;
    if read as u64 > MAX_IMAGE_OCTETS {
        let limit = Octets(MAX_IMAGE_OCTETS);
        return Err(LoadError::NotALibrary(format!("it is larger than {limit}")));
    }
    Ok(image)
}

/// The file's name without its ending, in characters that need no care in a log.
fn stem(plugin: &Path) -> String {
    let stem = plugin.file_stem().unwrap_or_default().to_string_lossy();
    stem.chars()
        .take(64)
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(content: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let plugin = folder.path().join("libx.so");
        fs::write(&plugin, content).unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        store.keep(&plugin).unwrap_err().to_string()
    }

    #[test]
    fn store_is_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        Store::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Store::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn file_in_place_of_the_store_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        fs::write(&path, b"").unwrap();
        assert!(matches!(Store::open(&path), Err(LoadError::Store(_))));
    }

    #[test]
    fn what_is_no_library_is_refused_before_it_is_copied() {
        assert_eq!(refusal(b"hello"), "is not a shared library: it is not an ELF file");
        assert_eq!(refusal(b""), "is not a shared library: it is empty");
    }

    #[test]
    fn directories_pipes_and_missing_files_are_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let pipe = folder.path().join("pipe.so");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        for path in [folder.path(), &pipe] {
            let text = store.keep(path).unwrap_err().to_string();
            assert_eq!(text, "is not a shared library: it is not a regular file");
        }
        let missing = store.keep(&folder.path().join("none.so")).unwrap_err();
        assert_eq!(missing.to_string(), "cannot be read: No such file or directory (os error 2)");
    }

    #[test]
    fn file_that_is_too_big_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let big = folder.path().join("big.so");
        File::create(&big).unwrap().set_len(MAX_IMAGE_OCTETS + 1).unwrap();
        assert_eq!(
            store.keep(&big).unwrap_err().to_string(),
            "is not a shared library: it is larger than 128 MiB"
        );
    }

    #[test]
    fn a_note_is_of_one_content_and_one_asker() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let plugin = folder.path().join("libx.so");
        fs::write(&plugin, elf::tests::library(400)).unwrap();
        assert_eq!(settled(&plugin), None, "it may change within this tick");
        let kept = store.keep(&plugin).unwrap();
        let note = || store.note(&plugin, &state(&plugin).unwrap(), &kept, "me", b"this\n");
        let said = |asker| store.said(&plugin, asker);
        assert_eq!(said("me"), None);
        note();
        assert_eq!(said("me"), Some((kept.clone(), b"this\n".to_vec())));
        assert_eq!(said("you"), None);

        let file = store.note_of(&plugin);
        let mut content = fs::read(&file).unwrap();
        *content.last_mut().unwrap() ^= 1;
        fs::write(&file, content).unwrap();
        assert_eq!(said("me"), None, "damaged");

        note();
        fs::set_permissions(&kept.path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&kept.path, elf::tests::library(400)).unwrap();
        assert_eq!(said("me"), None, "its copy was written to");

        note();
        fs::write(&plugin, elf::tests::library(400)).unwrap();
        assert_eq!(said("me"), None, "written to");

        note();
        fs::remove_file(&kept.path).unwrap();
        assert_eq!(said("me"), None, "its copy is gone");
    }

    #[test]
    fn spoilt_copy_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let plugin = folder.path().join("libx.so");
        fs::write(&plugin, elf::tests::library(400)).unwrap();
        let first = store.keep(&plugin).unwrap();
        fs::set_permissions(&first.path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&first.path, b"spoilt").unwrap();
        let second = store.keep(&plugin).unwrap();
        assert_eq!(first, second);
        assert_eq!(fs::metadata(&second.path).unwrap().len(), second.octets);
    }

    #[test]
    fn of_many_builds_the_last_ones_stay_and_of_a_kill_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let [plugin, other] = ["libx.so", "libx-y.so"].map(|name| folder.path().join(name));
        let set_time = |file: &Path, second| {
            let time = UNIX_EPOCH + Duration::from_secs(second);
            File::open(file).unwrap().set_modified(time).unwrap();
        };
        let keep = |plugin: &Path, build: usize| {
            let mut image = elf::tests::library(400);
            image.extend([0].repeat(build));
            fs::write(plugin, image).unwrap();
            let copy = store.keep(plugin).unwrap().path;
            set_time(&copy, build as u64);
            copy
        };
        let of_other = keep(&other, 0);
        let [left, being_written] = ["1-0.part", "1-1.part"].map(|name| store.folder.join(name));
        fs::write(&left, b"").unwrap();
        set_time(&left, 0);
        fs::write(&being_written, b"").unwrap();
        let copies: Vec<PathBuf> = (0..COPIES + 2).map(|build| keep(&plugin, build)).collect();
        let are_there: Vec<bool> = copies.iter().map(|copy| copy.exists()).collect();
        assert_eq!(are_there, [&[false; 2][..], &[true; COPIES]].concat());
        assert!(of_other.exists() && being_written.exists() && !left.exists());
    }
}
