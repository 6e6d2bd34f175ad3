//! The store in an SQLite file.
//!
//! Write-ahead log with `synchronous = FULL`: what a commit returned for is on the disk. Strangers
//! never write here, but a file may come from an older version: the format has a number.

use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::MetadataExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Change, Progress, Store, StoreError, Stored, StoredCapability, StoredJob};

/// How long a file may be somebody else's.
const PATIENCE: Duration = Duration::from_secs(5);
/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(50);
/// Version of the tables.
const FORMAT: i64 = 1;

const TABLES: &str = "
    CREATE TABLE capability (
        ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
        host TEXT NOT NULL,
        token TEXT NOT NULL,
        message TEXT NOT NULL,
        UNIQUE (host, token)
    );
    CREATE TABLE job (
        number INTEGER PRIMARY KEY,
        client TEXT NOT NULL,
        token TEXT NOT NULL,
        specification TEXT NOT NULL,
        host TEXT NOT NULL,
        host_token TEXT NOT NULL,
        host_specification TEXT NOT NULL,
        progress INTEGER NOT NULL,
        interrupted INTEGER NOT NULL,
        since_ms INTEGER NOT NULL,
        ended_ms INTEGER,
        redeemed INTEGER NOT NULL DEFAULT 0,
        outcome TEXT
    );
    CREATE INDEX open_job ON job (redeemed) WHERE redeemed = 0;
";

/// A store in a file.
pub struct Sqlite {
    connection: Connection,
    place: String,
    /// Held by one process, however it ends. SQLite's own locks are of another kind.
    lock: File,
}

impl Sqlite {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    ///
    /// Where it cannot be opened, is no database, or comes from a newer version.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        let place = file.display().to_string();
        let database = |cause: String| StoreError::Database { place: place.clone(), cause };
        let lock = File::options().read(true).append(true).create(true).open(file);
        let lock = lock.map_err(|error| database(format!("it cannot be written: {error}")))?;
        let begin = Instant::now();
        // The one before may be about to end.
        while let Err(error) = lock.try_lock() {
            match error {
                TryLockError::WouldBlock if begin.elapsed() < PATIENCE => thread::sleep(PAUSE),
                TryLockError::WouldBlock => {
                    return Err(database("another process has it open".to_owned()));
                }
                TryLockError::Error(error) => return Err(database(error.to_string())),
            }
        }
        let opened = Connection::open(file).and_then(|connection| {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.busy_timeout(PATIENCE)?;
            // SQLite would read what it cannot write, and refuse every change.
            let is_readonly = connection.is_readonly(rusqlite::MAIN_DB)?;
            Ok((connection, is_readonly))
        });
        let (connection, is_readonly) = opened.map_err(|cause| failed(&place, &cause))?;
        if is_readonly {
            let cause = "it cannot be written".to_owned();
            return Err(StoreError::Database { place, cause });
        }
        let mut store = Self { connection, place, lock };
        store.prepare()?;
        Ok(store)
    }

    fn prepare(&mut self) -> Result<(), StoreError> {
        let found: i64 = self
            .connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(|cause| failed(&self.place, &cause))?;
        match found {
            FORMAT => Ok(()),
            0 => self.transact(|transaction| {
                transaction.execute_batch(TABLES)?;
                transaction.pragma_update(None, "user_version", FORMAT)
            }),
            _ => Err(StoreError::Newer { place: self.place.clone(), found, known: FORMAT }),
        }
    }

    fn transact(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let place = &self.place;
        // A file that is open can be written to, but nobody will ever find it again.
        let identity =
            |file: std::io::Result<fs::Metadata>| file.ok().map(|it| (it.dev(), it.ino()));
        if identity(self.lock.metadata()) != identity(fs::metadata(place)) {
            let cause = "it was taken away; restart the supervisor".to_owned();
            return Err(StoreError::Database { place: place.clone(), cause });
        }
        let transaction = self.connection.transaction().map_err(|cause| failed(place, &cause))?;
        work(&transaction)
            .and_then(|()| transaction.commit())
            .map_err(|cause| failed(place, &cause))
    }
}

fn failed(place: &str, cause: &rusqlite::Error) -> StoreError {
    StoreError::Database { place: place.to_owned(), cause: cause.to_string() }
}

impl Store for Sqlite {
    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.transact(|transaction| {
            changes.iter().try_for_each(|change| write(transaction, change))
        })
    }

    fn load(&mut self) -> Result<Stored, StoreError> {
        let read = || -> rusqlite::Result<Stored> {
            let mut capabilities = self
                .connection
                .prepare("SELECT host, token, message FROM capability ORDER BY ordinal")?;
            let capabilities = capabilities
                .query_map([], |row| {
                    Ok(StoredCapability {
                        host: row.get(0)?,
                        token: row.get(1)?,
                        message: row.get(2)?,
                    })
                })?
                .collect::<rusqlite::Result<_>>()?;
            let mut jobs = self.connection.prepare(
                "SELECT number, client, token, specification, host, host_token, \
                 host_specification, progress, interrupted, since_ms, ended_ms FROM job \
                 WHERE redeemed = 0 ORDER BY number",
            )?;
            let jobs = jobs.query_map([], read_job)?.collect::<rusqlite::Result<_>>()?;
            let last: Option<i64> =
                self.connection.query_row("SELECT max(number) FROM job", [], |row| row.get(0))?;
            Ok(Stored { capabilities, jobs, next_number: last.map_or(0, |last| last as u64 + 1) })
        };
        read().map_err(|cause| failed(&self.place, &cause))
    }

    fn outcome(&mut self, number: u64) -> Result<Option<String>, StoreError> {
        self.connection
            .query_row("SELECT outcome FROM job WHERE number = ?1", [number as i64], |row| {
                row.get(0)
            })
            .optional()
            .map(Option::flatten)
            .map_err(|cause| failed(&self.place, &cause))
    }
}

fn write(transaction: &Transaction<'_>, change: &Change) -> rusqlite::Result<()> {
    let run = |statement: &str, values: &[&dyn rusqlite::ToSql]| {
        transaction.prepare_cached(statement)?.execute(values).map(|_| ())
    };
    match change {
        Change::Offered(StoredCapability { host, token, message }) => run(
            "INSERT INTO capability (host, token, message) VALUES (?1, ?2, ?3) \
             ON CONFLICT (host, token) DO UPDATE SET message = excluded.message",
            params![host, token, message],
        ),
        Change::Withdrawn { host, token } => {
            run("DELETE FROM capability WHERE host = ?1 AND token = ?2", params![host, token])
        }
        Change::Started(job) => run(
            "INSERT INTO job (number, client, token, specification, host, host_token, \
             host_specification, progress, interrupted, since_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                job.number as i64,
                job.client,
                job.token,
                job.specification,
                job.host,
                job.host_token,
                job.host_specification,
                job.progress.number(),
                job.is_interrupted,
                job.since_ms as i64,
            ],
        ),
        Change::Accepted { number } => run(
            "UPDATE job SET progress = ?2 WHERE number = ?1 AND progress < ?2",
            params![*number as i64, Progress::Accepted.number()],
        ),
        Change::Interrupted { number } => {
            run("UPDATE job SET interrupted = 1 WHERE number = ?1", params![*number as i64])
        }
        Change::Ended { number, outcome, at_ms } => run(
            "UPDATE job SET progress = ?2, outcome = ?3, ended_ms = ?4 \
             WHERE number = ?1 AND progress < ?2",
            params![*number as i64, Progress::Ended.number(), outcome, *at_ms as i64],
        ),
        Change::Redeemed { number } => {
            run("UPDATE job SET redeemed = 1 WHERE number = ?1", params![*number as i64])
        }
    }
}

fn read_job(row: &rusqlite::Row<'_>) -> rusqlite::Result<StoredJob> {
    let progress: i64 = row.get(7)?;
    let progress =
        Progress::of(progress).ok_or(rusqlite::Error::IntegralValueOutOfRange(7, progress))?;
    Ok(StoredJob {
        number: row.get::<_, i64>(0)? as u64,
        client: row.get(1)?,
        token: row.get(2)?,
        specification: row.get(3)?,
        host: row.get(4)?,
        host_token: row.get(5)?,
        host_specification: row.get(6)?,
        progress,
        is_interrupted: row.get(8)?,
        since_ms: row.get::<_, i64>(9)? as u64,
        ended_ms: row.get::<_, Option<i64>>(10)?.map(|ended| ended as u64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: u64) -> StoredJob {
        StoredJob {
            number,
            client: "org.mplane.Clients.One".to_owned(),
            token: format!("client-{number}"),
            specification: "{}".to_owned(),
            host: "org.mplane.Components.One".to_owned(),
            host_token: format!("host-{number}"),
            host_specification: "{}".to_owned(),
            progress: Progress::Waiting,
            is_interrupted: false,
            since_ms: 1_767_323_045_678,
            ended_ms: None,
        }
    }

    fn offered(token: &str) -> StoredCapability {
        let host = "org.mplane.Components.One".to_owned();
        StoredCapability { host, token: token.to_owned(), message: "{}".to_owned() }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("supervisor.db");
        Sqlite::open(&file).unwrap().commit(&[Change::Offered(offered("a"))]).unwrap();
        let mut octets = fs::read(&file).unwrap();
        // The version that is needed to write it: of the future.
        octets[18] = 3;
        fs::write(&file, octets).unwrap();
        let refused = Sqlite::open(&file).err().unwrap().to_string();
        assert!(refused.ends_with("supervisor.db: it cannot be written"), "{refused}");
    }

    #[test]
    fn what_was_committed_is_there_when_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("supervisor.db");
        let mut store = Sqlite::open(&file).unwrap();
        store
            .commit(&[
                Change::Offered(offered("b")),
                Change::Offered(offered("a")),
                Change::Started(Box::new(job(0))),
                Change::Started(Box::new(job(1))),
                Change::Started(Box::new(job(2))),
                Change::Accepted { number: 1 },
                Change::Interrupted { number: 1 },
                Change::Ended { number: 2, outcome: "{\"result\":1}".to_owned(), at_ms: 5 },
                // Of a host that repeated itself before it was answered: what was first counts.
                Change::Ended { number: 2, outcome: "{\"result\":2}".to_owned(), at_ms: 6 },
                Change::Accepted { number: 2 },
                Change::Redeemed { number: 0 },
            ])
            .unwrap();
        drop(store);
        let mut store = Sqlite::open(&file).unwrap();
        let stored = store.load().unwrap();
        assert_eq!(stored.capabilities, [offered("b"), offered("a")]);
        let moved = StoredJob { progress: Progress::Accepted, is_interrupted: true, ..job(1) };
        let ended = StoredJob { progress: Progress::Ended, ended_ms: Some(5), ..job(2) };
        assert_eq!(stored.jobs, [moved, ended]);
        assert_eq!(stored.next_number, 3);
        assert_eq!(store.outcome(2).unwrap().as_deref(), Some("{\"result\":1}"));
        assert_eq!(store.outcome(1).unwrap(), None);
        assert_eq!(store.outcome(7).unwrap(), None);
    }

    #[test]
    fn a_capability_that_is_registered_again_keeps_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Sqlite::open(&folder.path().join("supervisor.db")).unwrap();
        let again = StoredCapability { message: "{\"new\":1}".to_owned(), ..offered("a") };
        store
            .commit(&[
                Change::Offered(offered("a")),
                Change::Offered(offered("b")),
                Change::Offered(again.clone()),
            ])
            .unwrap();
        assert_eq!(store.load().unwrap().capabilities, [again, offered("b")]);
        let (host, token) = (offered("a").host, "a".to_owned());
        store.commit(&[Change::Withdrawn { host, token }]).unwrap();
        assert_eq!(store.load().unwrap().capabilities, [offered("b")]);
    }

    #[test]
    fn of_changes_that_cannot_all_be_made_none_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Sqlite::open(&folder.path().join("supervisor.db")).unwrap();
        store.commit(&[Change::Started(Box::new(job(1)))]).unwrap();
        let twice = [Change::Offered(offered("a")), Change::Started(Box::new(job(1)))];
        assert!(matches!(store.commit(&twice), Err(StoreError::Database { .. })));
        assert_eq!(store.load().unwrap().capabilities, []);
    }

    #[test]
    fn a_store_is_of_one_process_and_is_written_where_it_will_be_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("supervisor.db");
        let mut store = Sqlite::open(&file).unwrap();
        let error = Sqlite::open(&file).err().unwrap().to_string();
        assert!(error.ends_with("supervisor.db: another process has it open"), "{error}");
        store.commit(&[Change::Offered(offered("a"))]).unwrap();
        fs::rename(&file, folder.path().join("elsewhere.db")).unwrap();
        let error = store.commit(&[Change::Offered(offered("b"))]).unwrap_err().to_string();
        assert!(error.ends_with("it was taken away; restart the supervisor"), "{error}");
        drop(store);
        assert!(Sqlite::open(&file).unwrap().load().unwrap().capabilities.is_empty());
    }

    #[test]
    fn a_file_that_is_no_store_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("other.db");
        fs::write(&file, "this is a text, long enough not to be taken for an empty file").unwrap();
        let error = Sqlite::open(&file).err().unwrap().to_string();
        assert!(error.contains("other.db") && error.contains("not a database"), "{error}");
        let newer = folder.path().join("newer.db");
        Connection::open(&newer).unwrap().pragma_update(None, "user_version", 9).unwrap();
        let error = Sqlite::open(&newer).err().unwrap().to_string();
        assert!(error.ends_with("has format 9, this version reads up to 1"), "{error}");
    }
}
