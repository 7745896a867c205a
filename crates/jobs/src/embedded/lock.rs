//! One process a data directory: an advisory lock on `DIR/lock`, which the operating system drops with the process,
//! however that one ends. The file holds the process number, for the message to the second comer.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::Write as _,
    path::Path,
};

use crate::{Error, Result};

/// Holds the directory until dropped.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// # Errors
    /// [`Error::InUse`] if another process (or another store in this one) holds the directory; [`Error::Storage`] if
    /// it cannot be written, or the file system knows no locks.
    pub(super) fn take(dir: &Path) -> Result<Self> {
        let path = dir.join("lock");
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
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
        Ok(Self { _file: file })
    }
}
