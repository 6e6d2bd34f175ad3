//! Files that are written beside the results. What was in them is lost once it is known that something can be measured.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
};

use crate::Stop;

/// Opens a file to be written, made where it is not there. What it holds stays, until [`empty`].
pub(crate) fn open(path: &Path) -> Result<File, Stop> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    file.map_err(|cause| Stop::usage(format!("{}: {cause}", path.display())))
}

/// Forgets what a file holds; what is no plain file holds nothing.
pub(crate) fn empty(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() { file.set_len(0) } else { Ok(()) }
}
