//! What a supervisor must not forget: capabilities of hosts, and every job until it is redeemed.
//!
//! A change counts once [`Store::commit`] has returned: then it survives a power cut. Changes are
//! committed in groups, so a store needs not be fast for each.

mod sqlite;
mod writer;

pub use self::{
    sqlite::Sqlite,
    writer::{Commit, Writer},
};

/// Why something cannot be stored or read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database says no: full, locked, not a database, not writable.
    #[error("the store {place}: {cause}")]
    Database {
        /// File of the database.
        place: String,
        /// In its words.
        cause: String,
    },
    /// It was written by a newer version.
    #[error("the store {place} has format {found}, this version reads up to {known}")]
    Newer {
        /// File of the database.
        place: String,
        /// What it says.
        found: i64,
        /// What would be accepted.
        known: i64,
    },
    /// The thread that writes is gone.
    #[error("the store has ended")]
    Gone,
}

/// A capability of a host, as it was registered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredCapability {
    /// Identity of the host.
    pub host: String,
    /// Token of the capability.
    pub token: String,
    /// The message, JSON.
    pub message: String,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// The host has not said that it has it.
    Waiting,
    /// The host has acknowledged it with a receipt.
    Accepted,
    /// There is a result or exception.
    Ended,
}

impl Progress {
    const ALL: [Self; 3] = [Self::Waiting, Self::Accepted, Self::Ended];

    fn number(self) -> i64 {
        self as i64
    }

    fn of(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|progress| progress.number() == number)
    }
}

/// A specification that was taken on, and what is known of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredJob {
    /// Number of the job; also makes the label and the token towards the host.
    pub number: u64,
    /// Who asked: identity of the client.
    pub client: String,
    /// Token of the client's specification.
    pub token: String,
    /// The client's specification, JSON.
    pub specification: String,
    /// Identity of the host that does it.
    pub host: String,
    /// Token of the specification towards the host.
    pub host_token: String,
    /// The specification towards the host, JSON.
    pub host_specification: String,
    /// How far it is.
    pub progress: Progress,
    /// The client wants it to end.
    pub is_interrupted: bool,
    /// Wall time at which it was taken on, milliseconds since 1970.
    pub since_ms: u64,
    /// As `since_ms`, of its end.
    pub ended_ms: Option<u64>,
}

/// Something to be remembered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// A host offers something, or offers it again.
    Offered(StoredCapability),
    /// A host does not offer it any more.
    Withdrawn {
        /// Identity of the host.
        host: String,
        /// Token of the capability.
        token: String,
    },
    /// A job was taken on.
    Started(Box<StoredJob>),
    /// The host has acknowledged a job.
    Accepted {
        /// Which job.
        number: u64,
    },
    /// The client wants a job to end.
    Interrupted {
        /// Which job.
        number: u64,
    },
    /// A job has come to its end; the first one counts.
    Ended {
        /// Which job.
        number: u64,
        /// The result, exception or envelope for the client, JSON.
        outcome: String,
        /// Wall time, milliseconds since 1970.
        at_ms: u64,
    },
    /// The client has fetched the outcome; it stays in the archive.
    Redeemed {
        /// Which job.
        number: u64,
    },
}

/// Everything that is not over, as it was committed last.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stored {
    /// In the order of registration.
    pub capabilities: Vec<StoredCapability>,
    /// Jobs that were not redeemed, in their order.
    pub jobs: Vec<StoredJob>,
    /// The number that the next job shall have.
    pub next_number: u64,
}

/// A place that survives a power cut.
pub trait Store: Send {
    /// Makes changes durable, all or none of them, in their order.
    ///
    /// # Errors
    ///
    /// Where the disk is full or broken; then nothing of it counts, and it may be tried again.
    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError>;

    /// What is there at the start.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    fn load(&mut self) -> Result<Stored, StoreError>;

    /// The outcome of a job that has ended.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    fn outcome(&mut self, number: u64) -> Result<Option<String>, StoreError>;
}
