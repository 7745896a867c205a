//! Files on disk: `blobs/KEY`, each written under a temporary name, synced, renamed, and the folder synced, so that a
//! name either leads to the whole file or to nothing, also after a power cut (as far as the disk keeps its promises).
//!
//! Key, length and time of birth of every file are held in memory, so asking what there is costs no system call.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, OpenOptions},
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
/// What is written to see whether anything can be; as large as a small picture.
const PROBE: usize = 16 << 10;

/// A file that is being written. It is not there under its key before it is sealed, and one that is not sealed is thrown
/// away.
#[derive(Debug)]
struct PartFile {
    key: BlobKey,
    path: PathBuf,
    /// `None` once it is sealed.
    file: Option<File>,
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // If it stays, the next start clears up.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A file that is there.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// When it was stored (the store's time, unix ms).
    born: u64,
    /// In bytes.
    length: u64,
}

/// The folder of files.
#[derive(Debug)]
pub(super) struct BlobDir {
    dir: PathBuf,
    /// Held for as long as anybody may write here, a put whose caller is gone included.
    lock: DirectoryLock,
    known: Mutex<HashMap<BlobKey, Known>>,
    serial: AtomicU64,
}

impl BlobDir {
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
                known.insert(key, stock(&path)?);
            } else {
                tracing::warn!(path = %path.display(), "is not one of ours; left alone");
            }
        }
        Ok(Self { dir, lock, known: Mutex::new(known), serial: AtomicU64::new(0) })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<BlobKey, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, key: &BlobKey) -> PathBuf {
        self.dir.join(key.as_str())
    }

    fn part(&self, key: &str) -> PathBuf {
        self.dir.join(format!("{key}.{}.{PART}", self.serial.fetch_add(1, Ordering::Relaxed)))
    }

    /// Whether files written here land in the folder that is held.
    fn is_ours(&self) -> Result<()> {
        if self.lock.holds() {
            return Ok(());
        }
        let dir = self.dir.parent().unwrap_or(&self.dir);
        Err(Error::Unwell {
            reason: format!(
                "the data directory {} was deleted or exchanged while the server runs; put it back, or restart the server",
                dir.display()
            ),
        })
    }

    /// Stores a file, born at `now`. Blocks until it is durable.
    pub(super) fn put(&self, key: &BlobKey, bytes: &[u8], now: u64) -> Result<()> {
        let mut part_file = self.part_file(key)?;
        let path = self.path(key);
        let written = part_file.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes));
        written.map_err(Error::storage("write", path))?;
        self.seal(part_file, now)
    }

    /// Begins a file.
    fn part_file(&self, key: &BlobKey) -> Result<PartFile> {
        self.is_ours()?;
        let path = self.part(key.as_str());
        let file = private()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(Error::storage("write", self.path(key)))?;
        Ok(PartFile { key: key.clone(), path, file: Some(file) })
    }

    /// Gives a finished file its name, born at `now`. Blocks until it is durable.
    fn seal(&self, mut part_file: PartFile, now: u64) -> Result<()> {
        let (key, path) = (part_file.key.clone(), self.path(&part_file.key));
        let Some(file) = &part_file.file else { return Ok(()) };
        let stored = finish(file, now)
            .and_then(|length| fs::rename(&part_file.path, &path).map(|()| length))
            .and_then(|length| sync_folder(&self.dir).map(|()| length));
        match stored {
            Ok(length) => {
                part_file.file = None;
                self.known().insert(key, Known { born: now, length });
                Ok(())
            }
            Err(error) => {
                // Whole or not at all. There is nothing more to do if this fails too: the next start clears up.
                if !self.has(&key) {
                    let _ = fs::remove_file(&path);
                }
                Err(Error::storage("write", path)(error))
            }
        }
    }

    /// Gives a file a second name, born at `now`; `false` if there is no such file.
    pub(super) fn link(&self, from: &BlobKey, to: &BlobKey, now: u64) -> Result<bool> {
        self.is_ours()?;
        let Some(known) = self.known().get(from).copied() else { return Ok(false) };
        let path = self.path(to);
        match fs::hard_link(self.path(from), &path).and_then(|()| sync_folder(&self.dir)) {
            Ok(()) => {
                self.known().insert(to.clone(), Known { born: now, ..known });
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            // Not every file system has second names.
            Err(_) => {
                let part_file = self.part_file(to)?;
                fs::copy(self.path(from), &part_file.path).map_err(Error::storage("write", path))?;
                self.seal(part_file, now).map(|()| true)
            }
        }
    }

    /// Opens a file. Blocks.
    pub(super) fn open_file(&self, key: &BlobKey) -> Result<Option<(File, u64)>> {
        let path = self.path(key);
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((length, file)) => Ok(Some((file, length))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::storage("read", path)(error)),
        }
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

    /// Looks whether files can be written here: the folder is ours, there are `reserve` bytes left, and a small file can
    /// be made. Blocks.
    pub(super) fn probe(&self, reserve: u64) -> Result<()> {
        self.is_ours()?;
        self.room(reserve)?;
        let path = self.part("probe");
        let written = private().write(true).create_new(true).open(&path).and_then(|mut file| {
            file.write_all(&[0; PROBE])?;
            file.sync_all()
        });
        let _ = fs::remove_file(&path);
        written.map_err(Error::storage("write", &self.dir))
    }

    /// Whether `reserve` bytes are left.
    pub(super) fn room(&self, reserve: u64) -> Result<()> {
        if reserve == 0 {
            return Ok(());
        }
        let left = fs4::available_space(&self.dir).map_err(Error::storage("read", &self.dir))?;
        if left >= reserve {
            return Ok(());
        }
        Err(Error::Unwell {
            reason: format!(
                "{} MB are left on the disk of {}, and {} MB are kept in reserve; free some room there",
                left / 1_000_000,
                self.dir.display(),
                reserve / 1_000_000
            ),
        })
    }

    pub(super) fn has(&self, key: &BlobKey) -> bool {
        self.known().contains_key(key)
    }

    /// The bytes of these files together, as far as they are there.
    pub(super) fn bytes_of(&self, keys: &[BlobKey]) -> u64 {
        let known = self.known();
        keys.iter().filter_map(|key| known.get(key)).map(|known| known.length).sum()
    }

    pub(super) fn keys(&self) -> Vec<BlobKey> {
        self.known().keys().cloned().collect()
    }

    /// The files stored at or before `moment` (unix ms).
    pub(super) fn born_before(&self, moment: u64) -> Vec<BlobKey> {
        self.known().iter().filter(|(_, known)| known.born <= moment).map(|(key, _)| key.clone()).collect()
    }
}

/// When the file was written, unix ms; 0 where the file system does not say, which makes an unnamed file go at once.
fn stock(path: &Path) -> Result<Known> {
    let data = fs::metadata(path).map_err(Error::storage("read", path))?;
    let since = data.modified().ok().and_then(|moment| moment.duration_since(UNIX_EPOCH).ok());
    Ok(Known { born: since.unwrap_or_default().as_millis() as u64, length: data.len() })
}

/// The file is dated with the store's time, which may differ from the file system's. Returns its length.
fn finish(file: &File, now: u64) -> io::Result<u64> {
    file.set_modified(UNIX_EPOCH + Duration::from_millis(now))?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

/// Options for a file that nobody else on the machine may read: it holds other people's pictures, prompts and file names.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Takes a file that is there already from everybody else.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
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
