//! What is known about files that were fetched: a lock file for the cache, and a note beside each file.
//!
//! The lock file (`material-transfer.lock.toml` in the cache folder) holds the commit and SHA-256 of every file at its first
//! download. Later downloads must bring the same bytes; it may be carried to other machines. The note beside a file
//! (`….checked`) says which bytes were compared with their hash, so that gigabytes are not read again at every start: it
//! holds as long as size and time of the file are those that it names.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::cache::file_error;
use super::transport::is_hex;
use super::{HubError, Manifest};

const NAME: &str = "material-transfer.lock.toml";
const HEAD: &str = "# Files of the model hub as they were at their first download; later ones must bring the same bytes.\n\
                    # Written by material-transfer. Remove an entry to accept what the hub offers now.\n";

/// Threads of this process that fetch at once write one after the other.
static WRITING: Mutex<()> = Mutex::new(());

/// The lock file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Lock {
    #[serde(default, rename = "file")]
    files: Vec<Locked>,
}

/// A file as it was first fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Locked {
    repository: String,
    revision: String,
    file: String,
    /// The commit it came from, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) commit: Option<String>,
    pub(super) sha256: String,
    pub(super) size: u64,
}

impl Locked {
    pub(super) fn new(manifest: &Manifest, commit: Option<&str>, sha256: &str, size: u64) -> Self {
        Self {
            repository: manifest.repository.clone(),
            revision: manifest.revision.clone(),
            file: manifest.file.clone(),
            commit: commit.map(str::to_owned),
            sha256: sha256.to_owned(),
            size,
        }
    }

    fn is_of(&self, manifest: &Manifest) -> bool {
        (&self.repository, &self.revision, &self.file)
            == (&manifest.repository, &manifest.revision, &manifest.file)
    }
}

/// Where the lock file of a cache is.
pub(super) fn lock_path(cache: &Path) -> PathBuf {
    cache.join(NAME)
}

/// The file's entry.
///
/// # Errors
/// [`HubError::Lock`] if there is a lock file that cannot be understood: guessing would undo what it is for.
pub(super) fn locked(cache: &Path, manifest: &Manifest) -> Result<Option<Locked>, HubError> {
    Ok(read(cache)?.files.into_iter().find(|file| file.is_of(manifest)))
}

/// Adds an entry, in the place of an older one of the same file.
pub(super) fn lock(cache: &Path, manifest: &Manifest, entry: Locked) -> Result<(), HubError> {
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut lock = read(cache)?;
    if lock.files.contains(&entry) {
        return Ok(());
    }
    lock.files.retain(|file| !file.is_of(manifest));
    lock.files.push(entry);
    lock.files
        .sort_by(|a, b| (&a.repository, &a.file, &a.revision).cmp(&(&b.repository, &b.file, &b.revision)));
    let path = lock_path(cache);
    let text = toml::to_string(&lock)
        .map_err(|error| HubError::Lock { path: path.clone(), reason: error.to_string() })?;
    replace(&path, &format!("{HEAD}\n{text}")).map_err(|source| file_error(&path, source))
}

fn read(cache: &Path) -> Result<Lock, HubError> {
    let path = lock_path(cache);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Lock::default()),
        text => text.map_err(|source| file_error(&path, source))?,
    };
    let bad = |reason: String| HubError::Lock { path: path.clone(), reason };
    let lock: Lock = toml::from_str(&text).map_err(|error| bad(error.message().to_owned()))?;
    match lock.files.iter().find(|file| !is_hex(&file.sha256, 64)) {
        Some(file) => Err(bad(format!("the sha256 of {} is not 64 hexadecimal digits", file.file))),
        None => Ok(lock),
    }
}

/// Writes under another name first: readers see the old file or the new one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let apart = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = std::fs::File::create(&apart)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&apart, path)
}

/// The SHA-256 that `file` had when it was last read whole, if it has not been touched since.
pub(super) fn noted(file: &Path) -> Option<String> {
    let note = std::fs::read_to_string(note_path(file)?).ok()?;
    let (hash, rest) = note.trim_end().split_once(' ')?;
    (is_hex(hash, 64) && rest == stamp(file)?).then(|| hash.to_owned())
}

/// Writes the note. A cache that cannot be written goes without: the file is read again next time.
pub(super) fn note(file: &Path, sha256: &str) {
    if let (Some(path), Some(stamp)) = (note_path(file), stamp(file)) {
        let _ = std::fs::write(path, format!("{sha256} {stamp}\n"));
    }
}

/// Where the note of a file is.
pub(super) fn note_path(file: &Path) -> Option<PathBuf> {
    let mut name = file.file_name()?.to_owned();
    name.push(".checked");
    Some(file.with_file_name(name))
}

/// What changes when a file is written: its size and time.
fn stamp(file: &Path) -> Option<String> {
    let data = std::fs::metadata(file).ok()?;
    let time = data.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{} {}", data.len(), time.as_nanos()))
}
