//! One process a data directory: an advisory lock on `DIR/lock`, which the operating system drops with the process,
//! however that one ends. The file holds the process number, for the message to the second comer.

use std::{
    fs::{self, File, TryLockError},
    io::Write as _,
    path::{Path, PathBuf},
};

use super::blob_dir::private;
use crate::{Error, Result};

/// Holds the directory until dropped.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    file: File,
    path: PathBuf,
}

impl DirectoryLock {
    /// # Errors
    /// [`Error::InUse`] if another process (or another store in this one) holds the directory; [`Error::Storage`] if
    /// it cannot be written, or the file system knows no locks.
    pub(super) fn take(dir: &Path) -> Result<Self> {
        let path = dir.join("lock");
        let open = private().create(true).truncate(false).write(true).open(&path);
        let mut file = open.map_err(Error::storage("write", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
                return Err(Error::InUse { dir: dir.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(Error::storage("lock", path)(error)),
        }
        // The number is a courtesy: a disk that is full may still be served from.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { file, path })
    }

    /// Whether the directory under that name still is the one that is held, and not gone or another.
    pub(super) fn holds(&self) -> bool {
        match (self.file.metadata(), fs::metadata(&self.path)) {
            (Ok(held), Ok(there)) => same(&held, &there),
            _ => false,
        }
    }
}

#[cfg(unix)]
fn same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// A folder that is held cannot be removed there.
#[cfg(not(unix))]
fn same(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}
