//! Why a spool refuses.

use std::io;

/// The spool cannot be used at all; an operator mends it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody writes to it already.
    #[error("the spool in {folder} is in use by another process")]
    InUse {
        /// As it was given.
        folder: String,
    },
    /// The folder cannot be made, listed or written to.
    #[error("cannot use the spool in {folder}: {cause}")]
    Folder {
        /// As it was given.
        folder: String,
        /// The kernel's reason.
        cause: io::Error,
    },
}

/// A record was not taken; nothing of it is kept, and the next one may be tried at any time.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// More than one record may have.
    #[error("a result of {octets} octets is longer than the {limit} that the spool accepts")]
    TooLong {
        /// Of the record.
        octets: u64,
        /// Most that is accepted.
        limit: u64,
    },
    /// What waits for acknowledgement takes all the room that the operator grants.
    #[error("the spool is full: {used} of {cap} octets wait to be acknowledged")]
    Cap {
        /// Octets on disk.
        used: u64,
        /// As configured.
        cap: u64,
    },
    /// No room on the volume.
    #[error("the volume of the spool is full")]
    VolumeFull,
    /// The disk fails.
    #[error("cannot write to the spool: {0}")]
    Disk(#[source] io::Error),
}

impl AppendError {
    pub(crate) fn of(error: io::Error) -> Self {
        if is_full(&error) { Self::VolumeFull } else { Self::Disk(error) }
    }
}

/// Records that were appended do not count yet; the next commit tries again.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// No room on the volume.
    #[error("the volume of the spool is full")]
    VolumeFull,
    /// The disk fails.
    #[error("cannot bring results to disk: {0}")]
    Disk(#[source] io::Error),
}

impl CommitError {
    pub(crate) fn of(error: io::Error) -> Self {
        if is_full(&error) { Self::VolumeFull } else { Self::Disk(error) }
    }
}

/// A record that waits could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is acknowledged, or was never there.
    #[error("result {0} does not wait in the spool")]
    Unknown(u64),
    /// Its checksum is wrong: it was damaged after it was written. It is given up.
    #[error("result {0} is damaged on disk and was skipped")]
    Damaged(u64),
    /// The disk fails; it may work again later.
    #[error("cannot read from the spool: {0}")]
    Disk(#[source] io::Error),
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
