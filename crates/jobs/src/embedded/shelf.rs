//! Files on disk: `blobs/KEY`, each written under a temporary name, synced, renamed, and the folder synced, so that a
//! name either leads to the whole file or to nothing, also after a power cut (as far as the disk keeps its promises).
//!
//! The shelf knows its files by heart (key and moment of birth), so asking what there is costs no system call.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use super::lock::DirectoryLock;
use crate::{BlobKey, Error, Result};

/// What a file is called while it is being written; no [`BlobKey`] looks like this.
const PART: &str = "part";

/// The folder of files.
#[derive(Debug)]
pub(super) struct Shelf {
    dir: PathBuf,
    /// Held for as long as anybody may write here, a put whose caller is gone included.
    _lock: DirectoryLock,
    /// Every file, and when it was stored (the store's time, unix ms).
    known: Mutex<HashMap<BlobKey, u64>>,
    serial: AtomicU64,
}

impl Shelf {
    /// Opens or makes the folder, throws away what was being written when the last process ended, and takes stock.
    pub(super) fn open(dir: PathBuf, lock: DirectoryLock) -> Result<Self> {
        make_folder(&dir)?;
        let mut known = HashMap::new();
        let listing = fs::read_dir(&dir).map_err(Error::storage("read", &dir))?;
        for entry in listing {
            let path = entry.map_err(Error::storage("read", &dir))?.path();
            if path.extension().is_some_and(|extension| extension == PART) {
                fs::remove_file(&path).map_err(Error::storage("delete", &path))?;
            } else if let Some(Ok(key)) = path.file_name().and_then(|name| name.to_str()).map(BlobKey::parse)
            {
                known.insert(key, modified(&path)?);
            } else {
                tracing::warn!(path = %path.display(), "is not one of ours; left alone");
            }
        }
        Ok(Self { dir, _lock: lock, known: Mutex::new(known), serial: AtomicU64::new(0) })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<BlobKey, u64>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, key: &BlobKey) -> PathBuf {
        self.dir.join(key.as_str())
    }

    /// Stores a file, born at `now`. Blocks until it is durable.
    pub(super) fn put(&self, key: &BlobKey, bytes: &[u8], now: u64) -> Result<()> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let (path, part) = (self.path(key), self.dir.join(format!("{key}.{serial}.{PART}")));
        let stored = write_synced(&part, bytes, now)
            .and_then(|()| fs::rename(&part, &path))
            .and_then(|()| sync_folder(&self.dir))
            .map_err(Error::storage("write", &path));
        if stored.is_ok() {
            self.known().insert(key.clone(), now);
        } else {
            // Whole or not at all. There is nothing more to do if this fails too: the next start clears up.
            let _ = fs::remove_file(&part);
            if !self.has(key) {
                let _ = fs::remove_file(&path);
            }
        }
        stored
    }

    /// Reads a file whole. Blocks.
    pub(super) fn get(&self, key: &BlobKey) -> Result<Option<Vec<u8>>> {
        let path = self.path(key);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::storage("read", path)(error)),
        }
    }

    /// Deletes a file, if there is one. Not synced: a file that a power cut brings back is an orphan, and goes the
    /// way of orphans.
    pub(super) fn remove(&self, key: &BlobKey) -> Result<()> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::storage("delete", path)(error))
            }
            _ => {
                self.known().remove(key);
                Ok(())
            }
        }
    }

    pub(super) fn has(&self, key: &BlobKey) -> bool {
        self.known().contains_key(key)
    }

    pub(super) fn keys(&self) -> Vec<BlobKey> {
        self.known().keys().cloned().collect()
    }

    /// The files stored at or before `moment` (unix ms).
    pub(super) fn born_before(&self, moment: u64) -> Vec<BlobKey> {
        self.known().iter().filter(|(_, born)| **born <= moment).map(|(key, _)| key.clone()).collect()
    }
}

/// When the file was written, unix ms; 0 where the file system does not say, which makes an unnamed file go at once.
fn modified(path: &Path) -> Result<u64> {
    let data = fs::metadata(path).map_err(Error::storage("read", path))?;
    let since = data.modified().ok().and_then(|moment| moment.duration_since(UNIX_EPOCH).ok());
    Ok(since.unwrap_or_default().as_millis() as u64)
}

/// The file is dated with the store's time, which may differ from the file system's.
fn write_synced(path: &Path, bytes: &[u8], now: u64) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.set_modified(UNIX_EPOCH + Duration::from_millis(now))?;
    file.sync_all()
}

/// Makes the folder and those above it, for this user only: it holds other people's pictures.
pub(super) fn make_folder(dir: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(Error::storage("create", dir))?;
    if let Some(above) = dir.parent().filter(|above| !above.as_os_str().is_empty()) {
        // As far as we may: the folder above need not be ours to open.
        let _ = sync_folder(above);
    }
    Ok(())
}

/// Makes the names in a folder durable. (Windows does it by itself and cannot open a folder as a file.)
pub(super) fn sync_folder(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}
