//! The job documents on disk: `jobs.redb`, with the tables `jobs` (id → JSON of a [`Record`]), `notices` (id → JSON of a [`Notice`]), `doomed` (the files
//! whose deletion is pending, so that a deletion cut short is finished by the next start), `used` (owner → credits used; changed in the
//! commit of the job that takes or returns one) and `meta` (format, latest moment seen).
//!
//! redb is copy-on-write with checksummed commits: after a crash the file is as the last commit left it. After a failed
//! write (a full disk) redb wants to be reopened; that happens here with the next write, and since nobody can say
//! whether the failed commit reached the disk, its records are then written again as memory has them.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::{Database, Durability, ReadableTable as _, TableDefinition};
use uuid::Uuid;

use super::{
    blob_dir::{make_private, private, sync_folder},
    index::{Index, Record},
};
use crate::{BlobKey, Error, Notice, Result};

const JOBS: TableDefinition<u128, &[u8]> = TableDefinition::new("jobs");
/// Under the name that stores of the first format have.
const PENDING_DELETES: TableDefinition<&str, ()> = TableDefinition::new("doomed");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const NOTICES: TableDefinition<u128, &[u8]> = TableDefinition::new("notices");
const USED: TableDefinition<&str, u64> = TableDefinition::new("used");
/// The format of the documents; a store written by a newer one is refused.
const FORMAT: u64 = 1;
/// redb's page cache. The documents live in memory anyway ([`Index`]), so the default of 1 GiB would be waste.
const CACHE_BYTES: usize = 4 << 20;
/// A file larger than this, and than [`SLACK`] times what is in it, is made smaller at the start.
const LARGE: u64 = 8 << 20;
/// redb keeps the pages that were once needed; documents in pages of 4 KiB fill about half of them.
const SLACK: u64 = 4;

/// What one commit writes.
pub(super) struct Entry<'a> {
    /// The records as they are to be.
    pub(super) index: &'a Index,
    /// Which of them changed.
    pub(super) touched: Vec<Uuid>,
    /// Whose used credits changed.
    pub(super) owners: Vec<String>,
    /// The files that the changes left without a name.
    pub(super) pending_deletes: Vec<BlobKey>,
    /// The store's time, unix ms.
    pub(super) now: u64,
}

/// What an earlier run left.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    pub(super) records: Vec<Record>,
    pub(super) pending_deletes: Vec<BlobKey>,
    pub(super) used: BTreeMap<String, u64>,
    pub(super) latest: u64,
    pub(super) notices: Vec<Notice>,
    /// Jobs whose time had passed, and that were not read therefore.
    expired: HashSet<Uuid>,
    /// The bytes of the documents.
    bytes: u64,
}

/// The file of documents.
#[derive(Debug)]
pub(super) struct Documents {
    path: PathBuf,
    /// `None` after a failed write, until the next one.
    database: Option<Database>,
    /// Records whose last write failed, or that are still to be removed.
    unsettled: HashSet<Uuid>,
    /// Owners whose last write failed.
    unsettled_owners: HashSet<String>,
    /// Pending deletes of the last commit, done by now: their notes go with the next one.
    deleted: Vec<BlobKey>,
}

impl Documents {
    /// Opens the file, or makes it. `wall` is the time by the wall clock, unix ms: of the jobs that are over by then, only
    /// the files are noted, however many there are.
    pub(super) fn open(path: PathBuf, wall: u64) -> Result<(Self, Recovered)> {
        if !path.exists() {
            create(&path)?;
        }
        make_private(&path).map_err(Error::storage("write", &path))?;
        let mut database = reopen(&path)?;
        let mut recovered = read(&database, wall)
            .map_err(|error| refused(&path, "read", error))?
            .map_err(|reason| Error::Damaged { path: path.clone(), reason })?;
        let size = fs::metadata(&path).map_or(0, |data| data.len());
        if size > LARGE.max(SLACK * recovered.bytes)
            && let Err(error) = database.compact()
        {
            tracing::warn!(%error, path = %path.display(), "the file could not be made smaller; that does no harm");
        }
        let unsettled = std::mem::take(&mut recovered.expired);
        let deleted = recovered.pending_deletes.clone();
        let unsettled_owners = HashSet::new();
        Ok((Self { path, database: Some(database), unsettled, unsettled_owners, deleted }, recovered))
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
        let owners: HashSet<String> = self.unsettled_owners.iter().chain(&entry.owners).cloned().collect();
        match commit(&database, entry, &ids, &owners, &self.deleted) {
            Ok(()) => {
                self.database = Some(database);
                self.unsettled.clear();
                self.unsettled_owners.clear();
                self.deleted.clone_from(&entry.pending_deletes);
                Ok(())
            }
            Err(error) => {
                (self.unsettled, self.unsettled_owners) = (ids, owners);
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
    let file = private().read(true).write(true).create_new(true).open(&part);
    let file = file.map_err(Error::storage("create", &part))?;
    let backend = redb::backends::FileBackend::new(file);
    let made = backend.and_then(|backend| builder().create_with_backend(backend));
    let made = made.map_err(redb::Error::from).and_then(|database| {
        let write = database.begin_write()?;
        write.open_table(JOBS)?;
        write.open_table(PENDING_DELETES)?;
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
fn read(database: &Database, wall: u64) -> Read<std::result::Result<Recovered, String>> {
    use redb::ReadableDatabase as _;
    let read = database.begin_read()?;
    let meta = read.open_table(META)?;
    let number = |name: &str| -> Read<u64> { Ok(meta.get(name)?.map_or(0, |value| value.value())) };
    let format = number("format")?;
    if format != FORMAT {
        return Ok(Err(format!("it has format {format}, and this version writes format {FORMAT}")));
    }
    let mut recovered = Recovered { latest: number("latest")?, ..Recovered::default() };
    let now = wall.max(recovered.latest);
    for row in read.open_table(JOBS)?.iter()? {
        let (id, document) = row?;
        match serde_json::from_slice::<Record>(document.value()) {
            Ok(record) if record.files_expired(now) => {
                let files = record.job.inputs.iter().chain(&record.job.outputs);
                recovered.pending_deletes.extend(files.cloned());
                recovered.expired.insert(Uuid::from_u128(id.value()));
            }
            Ok(mut record) => {
                record.settle();
                recovered.bytes += document.value().len() as u64;
                recovered.records.push(record);
            }
            Err(error) => {
                return Ok(Err(format!(
                    "the document of job {} is unreadable ({error})",
                    Uuid::from_u128(id.value())
                )));
            }
        }
    }
    match read.open_table(USED) {
        Ok(table) => {
            for row in table.iter()? {
                let (owner, used) = row?;
                recovered.used.insert(owner.value().to_owned(), used.value());
            }
        }
        // A file of a version that did not count credits here.
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    if let Err(reason) = read_notices(&read, &mut recovered)? {
        return Ok(Err(reason));
    }
    for row in read.open_table(PENDING_DELETES)?.iter()? {
        if let Ok(key) = BlobKey::parse(row?.0.value()) {
            recovered.pending_deletes.push(key);
        }
    }
    Ok(Ok(recovered))
}

/// The notices that are still to be delivered, and those of jobs that are still there; the others go with the next commit.
fn read_notices(
    read: &redb::ReadTransaction,
    recovered: &mut Recovered,
) -> Read<std::result::Result<(), String>> {
    let table = match read.open_table(NOTICES) {
        Ok(table) => table,
        // A file of a version that left none.
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Ok(())),
        Err(error) => return Err(error.into()),
    };
    let known: HashSet<Uuid> = recovered.records.iter().map(|record| record.job.id).collect();
    for row in table.iter()? {
        let (id, document) = row?;
        let id = Uuid::from_u128(id.value());
        match serde_json::from_slice::<Notice>(document.value()) {
            Ok(notice) if notice.next_at.is_some() || known.contains(&id) => recovered.notices.push(notice),
            Ok(_) => _ = recovered.expired.insert(id),
            Err(error) => return Ok(Err(format!("the notice of job {id} is unreadable ({error})"))),
        }
    }
    Ok(Ok(()))
}

fn commit(
    database: &Database,
    entry: &Entry<'_>,
    ids: &HashSet<Uuid>,
    owners: &HashSet<String>,
    deleted: &[BlobKey],
) -> Read<()> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    {
        let mut jobs = write.open_table(JOBS)?;
        for id in ids {
            match entry.index.get(*id) {
                Some(record) => {
                    let document = serde_json::to_vec(&**record).map_err(io::Error::from)?;
                    jobs.insert(id.as_u128(), document.as_slice())?;
                }
                None => _ = jobs.remove(id.as_u128())?,
            }
        }
        let mut notices = write.open_table(NOTICES)?;
        for id in ids {
            match entry.index.notices().get(*id) {
                Some(notice) => {
                    let document = serde_json::to_vec(&**notice).map_err(io::Error::from)?;
                    notices.insert(id.as_u128(), document.as_slice())?;
                }
                None => _ = notices.remove(id.as_u128())?,
            }
        }
        let mut used = write.open_table(USED)?;
        for owner in owners {
            match entry.index.used(owner) {
                Some(number) => _ = used.insert(owner.as_str(), number)?,
                None => _ = used.remove(owner.as_str())?,
            }
        }
        let mut pending_deletes = write.open_table(PENDING_DELETES)?;
        for key in deleted {
            pending_deletes.remove(key.as_str())?;
        }
        for key in &entry.pending_deletes {
            pending_deletes.insert(key.as_str(), ())?;
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

    use super::*;
    use crate::{Job, NewJob};

    fn record(id: Uuid) -> Record {
        Record::new(0, Job::queued(NewJob { id, owner: "open".to_owned(), ..NewJob::default() }, 1))
    }

    fn entry<'a>(index: &'a Index, touched: &[Uuid]) -> Entry<'a> {
        Entry { index, touched: touched.to_vec(), owners: vec![], pending_deletes: vec![], now: 7 }
    }

    /// No disk can be made to fail just after a commit has landed, so the failure is pretended here.
    #[test]
    fn a_commit_that_failed_but_landed_is_taken_back_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.redb");
        let (mut documents, _) = Documents::open(path.clone(), 0).unwrap();
        let (kept, refused) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut index = Index::default();
        index.set(kept, Some(Arc::new(record(kept))));
        index.set(refused, Some(Arc::new(record(refused))));
        documents.write(&entry(&index, &[kept, refused])).unwrap();
        documents.database = None;
        documents.unsettled = HashSet::from([refused]);
        index.set(refused, None);
        assert!(!documents.settled());
        documents.write(&entry(&index, &[])).unwrap();
        assert!(documents.settled());
        drop(documents);
        let (_, recovered) = Documents::open(path, 0).unwrap();
        assert_eq!((recovered.records, recovered.latest), (vec![record(kept)], 7));
    }

    #[test]
    fn a_newer_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.redb");
        drop(Documents::open(path.clone(), 0).unwrap());
        let database = Database::open(&path).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(META).unwrap().insert("format", FORMAT + 1).unwrap();
        write.commit().unwrap();
        drop(database);
        let error = Documents::open(path, 0).unwrap_err();
        assert!(matches!(&error, Error::Damaged { reason, .. } if reason.contains("format 2")), "{error}");
    }
}
