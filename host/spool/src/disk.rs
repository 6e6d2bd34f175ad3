//! What the spool asks of a file system, so that tests can cut its power.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::OpenError;

/// The file that holds the lock.
const LOCK: &str = "lock";

/// One folder of files that are written at their end only.
///
/// Without [`Disk::sync`] a power cut may leave any part of what was written to a file, in any order;
/// without [`Disk::sync_folder`] files that were made may be missing, removed ones may be there again.
pub trait Disk {
    /// A file open for writing.
    type Handle;

    /// Makes a file that is not there yet.
    ///
    /// # Errors
    ///
    /// The kernel's.
    fn create(&self, name: &str) -> io::Result<Self::Handle>;

    /// Writes all of `octets` at the end of the file.
    ///
    /// # Errors
    ///
    /// The kernel's; a part of the octets may have been written.
    fn append(&self, file: &mut Self::Handle, octets: &[u8]) -> io::Result<()>;

    /// Makes the file `length` octets long.
    ///
    /// # Errors
    ///
    /// The kernel's.
    fn truncate(&self, file: &mut Self::Handle, length: u64) -> io::Result<()>;

    /// Returns when all that was written to the file is on disk.
    ///
    /// # Errors
    ///
    /// The kernel's; after an error it is unknown what is on disk.
    fn sync(&self, file: &Self::Handle) -> io::Result<()>;

    /// As [`Disk::sync`], of a file that is not open.
    ///
    /// # Errors
    ///
    /// The kernel's.
    fn sync_closed(&self, name: &str) -> io::Result<()>;

    /// Returns when all files that were made or removed are so on disk.
    ///
    /// # Errors
    ///
    /// The kernel's.
    fn sync_folder(&self) -> io::Result<()>;

    /// Names and lengths of all files.
    ///
    /// # Errors
    ///
    /// The kernel's.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;

    /// Reads `octets` from `offset` on; fewer where the file ends.
    ///
    /// # Errors
    ///
    /// The kernel's.
    fn read(&self, name: &str, offset: u64, octets: usize) -> io::Result<Vec<u8>>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// The kernel's.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// A folder of a real file system, locked for one writer.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The lock goes with the descriptor, however the process ends.
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is not there, readable for this user alone, and locks it.
    ///
    /// # Errors
    ///
    /// Where another process holds the lock, or the folder cannot be used.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let name = || path.display().to_string();
        let fail = |cause| OpenError::Folder { folder: name(), cause };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(path.join(LOCK)).map_err(fail)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { folder: name() }),
            Err(TryLockError::Error(cause)) => return Err(fail(cause)),
        }
        // The folder's own entry must be on disk before anything in it can be.
        let parent = path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_path_buf));
        if let Some(parent) = parent {
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(fail)?;
        }
        Ok(Self { path: path.to_path_buf(), _lock: lock })
    }
}

impl Disk for Folder {
    type Handle = File;

    fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().append(true).create_new(true).mode(0o600).open(self.path.join(name))
    }

    fn append(&self, file: &mut File, octets: &[u8]) -> io::Result<()> {
        file.write_all(octets)
    }

    fn truncate(&self, file: &mut File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_closed(&self, name: &str) -> io::Result<()> {
        File::open(self.path.join(name))?.sync_data()
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                files.push((name, metadata.len()));
            }
        }
        Ok(files)
    }

    fn read(&self, name: &str, offset: u64, octets: usize) -> io::Result<Vec<u8>> {
        let file = File::open(self.path.join(name))?;
        let mut buffer = vec![0; octets];
        let mut filled = 0;
        while filled < octets {
            match file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buffer.truncate(filled);
        Ok(buffer)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }
}
