//! Read-only memory maps of weight files, so that gigabytes of weights are paged in as they are copied to the device
//! instead of being held twice.
//!
//! Mapping needs `unsafe` (another process could truncate the file), which is why it lives in this crate.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

/// A file's bytes, mapped read-only.
#[derive(Debug)]
pub struct MappedFile(memmap2::Mmap);

impl MappedFile {
    /// Maps the file at `path`. The file must not be truncated while it is mapped.
    #[allow(unsafe_code)]
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the map is private to this value, read-only, and unmapped with it. Weight files are replaced by
        // renaming, never rewritten in place (the model hub's rule), so the mapped inode keeps its length.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Self(map))
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
