//! Private copies of plugins, named after their content.
//!
//! A file that is mapped must not change, and `dlopen` knows libraries by their path. So a plugin
//! is never loaded from where the operator put it: replacing that file neither disturbs a running
//! plugin nor is mistaken for the old one.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{LoadError, MAX_IMAGE_OCTETS, elf, error::Octets};

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
        let path = self.folder.join(format!("{}-{}.so", stem(plugin), &hash[..32]));
        // A copy that a crash or a full disk left incomplete is not trusted by its name.
        if !holds(&path, &image) {
            self.write(&path, &image)
                .map_err(|error| LoadError::Store(format!("{}: {error}", path.display())))?;
        }
        Ok(Kept { path, octets: image.len() as u64, hash })
    }

    /// Removes every copy but those of `in_use`. What a worker has loaded stays usable there.
    ///
    /// # Errors
    ///
    /// [`LoadError::Store`] for the first file that cannot be removed.
    pub fn remove_others(&self, in_use: &[Kept]) -> Result<(), LoadError> {
        let refused =
            |error: io::Error| LoadError::Store(format!("{}: {error}", self.folder.display()));
        for entry in fs::read_dir(&self.folder).map_err(refused)? {
            let path = entry.map_err(refused)?.path();
            let ours = path.extension().is_some_and(|ending| ending == "so" || ending == "part");
            if ours && in_use.iter().all(|kept| kept.path != path) {
                fs::remove_file(&path).map_err(refused)?;
            }
        }
        Ok(())
    }

    /// Whole or not at all: another process may be loading from `path` now.
    fn write(&self, path: &Path, image: &[u8]) -> io::Result<()> {
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
                file.write_all(image)?;
                file.set_permissions(fs::Permissions::from_mode(0o500))
            })
            .and_then(|()| fs::rename(&part, path));
        if written.is_err() {
            // The first error is the one to report; a part that stays is removed with the others.
            let _ = fs::remove_file(&part);
        }
        written
    }
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
    fn spoilt_copy_is_written_anew_and_others_can_be_removed() {
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
        store.remove_others(&[]).unwrap();
        assert!(!second.path.exists());
    }
}
