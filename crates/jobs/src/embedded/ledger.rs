//! The job documents on disk: `jobs.redb`, with the tables `jobs` (id → JSON of a [`Record`]), `doomed` (files to be
//! deleted, so that a deletion cut short is finished by the next start) and `meta` (format, latest moment seen).
//!
//! redb is copy-on-write with checksummed commits: after a crash the file is as the last commit left it. After a failed
//! write (a full disk) redb wants to be reopened; that happens here with the next write, and since nobody can say
//! whether the failed commit reached the disk, its records are then written again as memory has them.

use std::{
    collections::HashSet,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::{Database, Durability, ReadableTable as _, TableDefinition};
use uuid::Uuid;

use super::{
    book::{Book, Record},
    shelf::sync_folder,
};
use crate::{BlobKey, Error, Result};

const JOBS: TableDefinition<u128, &[u8]> = TableDefinition::new("jobs");
const DOOMED: TableDefinition<&str, ()> = TableDefinition::new("doomed");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// The format of the documents; a store written by a newer one is refused.
const FORMAT: u64 = 1;
/// redb's page cache. The documents live in memory anyway ([`Book`]), so the default of 1 GiB would be waste.
const CACHE_BYTES: usize = 4 << 20;

/// What one commit writes.
pub(super) struct Entry<'a> {
    /// The records as they are to be.
    pub(super) book: &'a Book,
    /// Which of them changed.
    pub(super) touched: Vec<Uuid>,
    /// The files that the changes left without a name.
    pub(super) doomed: Vec<BlobKey>,
    /// The store's time, unix ms.
    pub(super) now: u64,
}

/// What an earlier run left.
#[derive(Debug, Default)]
pub(super) struct Legacy {
    pub(super) records: Vec<Record>,
    pub(super) doomed: Vec<BlobKey>,
    pub(super) latest: u64,
}

/// The file of documents.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    /// `None` after a failed write, until the next one.
    database: Option<Database>,
    /// Records whose last write failed.
    unsettled: HashSet<Uuid>,
    /// Files that were doomed by an earlier commit and are deleted by now.
    buried: Vec<BlobKey>,
}

impl Ledger {
    /// Opens the file, or makes it.
    pub(super) fn open(path: PathBuf) -> Result<(Self, Legacy)> {
        if !path.exists() {
            create(&path)?;
        }
        let database = reopen(&path)?;
        let legacy = read(&database)
            .map_err(|error| refused(&path, "read", error))?
            .map_err(|reason| Error::Damaged { path: path.clone(), reason })?;
        Ok((
            Self { path, database: Some(database), unsettled: HashSet::new(), buried: legacy.doomed.clone() },
            legacy,
        ))
    }

    /// Whether the last write succeeded.
    pub(super) fn settled(&self) -> bool {
        self.unsettled.is_empty()
    }

    /// Commits an entry; durable when it returns `Ok`. After an `Err`, memory must go back to what it was before.
    pub(super) fn write(&mut self, entry: &Entry<'_>) -> Result<()> {
        let database = match self.database.take() {
            Some(database) => database,
            None => reopen(&self.path)?,
        };
        let ids: HashSet<Uuid> = self.unsettled.iter().chain(&entry.touched).copied().collect();
        match commit(&database, entry, &ids, &self.buried) {
            Ok(()) => {
                self.database = Some(database);
                self.unsettled.clear();
                self.buried.clone_from(&entry.doomed);
                Ok(())
            }
            Err(error) => {
                self.unsettled = ids;
                Err(refused(&self.path, "write", error))
            }
        }
    }
}

/// Makes the file under another name first, so that a crash cannot leave half a database under the real one.
fn create(path: &Path) -> Result<()> {
    let part = path.with_extension("new");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(Error::storage("delete", part)(error));
        }
        _ => {}
    }
    let made = builder().create(&part).map_err(redb::Error::from).and_then(|database| {
        let write = database.begin_write()?;
        write.open_table(JOBS)?;
        write.open_table(DOOMED)?;
        write.open_table(META)?.insert("format", FORMAT)?;
        Ok(write.commit()?)
    });
    made.map_err(|error| refused(path, "create", error))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::rename(&part, path).and_then(|()| sync_folder(folder)).map_err(Error::storage("create", path))
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn reopen(path: &Path) -> Result<Database> {
    builder().open(path).map_err(|error| refused(path, "open", error.into()))
}

type Read<T> = std::result::Result<T, redb::Error>;

/// The outer error is redb's, the inner one a document that cannot be understood.
fn read(database: &Database) -> Read<std::result::Result<Legacy, String>> {
    use redb::ReadableDatabase as _;
    let read = database.begin_read()?;
    let meta = read.open_table(META)?;
    let number = |name: &str| -> Read<u64> { Ok(meta.get(name)?.map_or(0, |value| value.value())) };
    let format = number("format")?;
    if format != FORMAT {
        return Ok(Err(format!("it has format {format}, and this version writes format {FORMAT}")));
    }
    let mut legacy = Legacy { latest: number("latest")?, ..Legacy::default() };
    for row in read.open_table(JOBS)?.iter()? {
        let (id, document) = row?;
        match serde_json::from_slice(document.value()) {
            Ok(record) => legacy.records.push(record),
            Err(error) => {
                return Ok(Err(format!(
                    "the document of job {} is unreadable ({error})",
                    Uuid::from_u128(id.value())
                )));
            }
        }
    }
    for row in read.open_table(DOOMED)?.iter()? {
        if let Ok(key) = BlobKey::parse(row?.0.value()) {
            legacy.doomed.push(key);
        }
    }
    Ok(Ok(legacy))
}

fn commit(database: &Database, entry: &Entry<'_>, ids: &HashSet<Uuid>, buried: &[BlobKey]) -> Read<()> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    {
        let mut jobs = write.open_table(JOBS)?;
        for id in ids {
            match entry.book.get(*id) {
                Some(record) => {
                    let document = serde_json::to_vec(&**record).map_err(io::Error::from)?;
                    jobs.insert(id.as_u128(), document.as_slice())?;
                }
                None => _ = jobs.remove(id.as_u128())?,
            }
        }
        let mut doomed = write.open_table(DOOMED)?;
        for key in buried {
            doomed.remove(key.as_str())?;
        }
        for key in &entry.doomed {
            doomed.insert(key.as_str(), ())?;
        }
        write.open_table(META)?.insert("latest", entry.now)?;
    }
    Ok(write.commit()?)
}

/// Turns redb's error into one for people.
fn refused(path: &Path, action: &'static str, error: redb::Error) -> Error {
    let source = match error {
        redb::Error::Io(source) => source,
        redb::Error::DatabaseAlreadyOpen => {
            return Error::InUse { dir: path.parent().unwrap_or(path).to_owned(), pid: None };
        }
        redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) | redb::Error::RepairAborted => {
            return Error::Damaged { path: path.to_owned(), reason: error.to_string() };
        }
        other => io::Error::other(other),
    };
    // What redb says of a file that is none of its own.
    if action != "write" && source.kind() == ErrorKind::InvalidData {
        return Error::Damaged { path: path.to_owned(), reason: source.to_string() };
    }
    Error::Storage { action, path: path.to_owned(), source: Arc::new(source) }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{Job, State};

    fn record(id: Uuid) -> Record {
        let (owner, state, payload) = ("open".to_owned(), State::Queued, Value::Null);
        let job = Job {
            id,
            owner,
            state,
            payload,
            inputs: vec![],
            submitted_at: 1,
            started_at: None,
            finished_at: None,
            expires_at: None,
            files_expire_at: None,
            retry_count: 0,
            result: None,
            outputs: vec![],
            error: None,
            cancel_requested: false,
        };
        Record { seq: 0, job, faded: false, claim: None }
    }

    fn entry<'a>(book: &'a Book, touched: &[Uuid]) -> Entry<'a> {
        Entry { book, touched: touched.to_vec(), doomed: vec![], now: 7 }
    }

    /// No disk can be made to fail just after a commit has landed, so the failure is pretended here.
    #[test]
    fn a_commit_that_failed_but_landed_is_taken_back_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.redb");
        let (mut ledger, _) = Ledger::open(path.clone()).unwrap();
        let (kept, refused) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut book = Book::default();
        book.set(kept, Some(Arc::new(record(kept))));
        book.set(refused, Some(Arc::new(record(refused))));
        ledger.write(&entry(&book, &[kept, refused])).unwrap();
        ledger.database = None;
        ledger.unsettled = HashSet::from([refused]);
        book.set(refused, None);
        assert!(!ledger.settled());
        ledger.write(&entry(&book, &[])).unwrap();
        assert!(ledger.settled());
        drop(ledger);
        let (_, legacy) = Ledger::open(path).unwrap();
        assert_eq!((legacy.records, legacy.latest), (vec![record(kept)], 7));
    }

    #[test]
    fn a_newer_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.redb");
        drop(Ledger::open(path.clone()).unwrap());
        let database = Database::open(&path).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(META).unwrap().insert("format", FORMAT + 1).unwrap();
        write.commit().unwrap();
        drop(database);
        let error = Ledger::open(path).unwrap_err();
        assert!(matches!(&error, Error::Damaged { reason, .. } if reason.contains("format 2")), "{error}");
    }
}
