//! Read-only memory maps of weight files, so that gigabytes of weights are paged in as they are copied to the device
//! instead of being held twice.
//!
//! Mapping needs `unsafe` (another process could truncate the file), which is why it lives in this crate.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;

/// A file's bytes, mapped read-only.
#[derive(Debug)]
pub struct MappedFile(memmap2::Mmap);

impl MappedFile {
    /// Maps the file at `path`. The file must not be truncated while it is mapped.
    ///
    /// # Errors
    /// The system's, where the file cannot be opened or mapped.
    #[allow(unsafe_code)]
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the map is private to this value, read-only, and unmapped with it. Weight files are replaced by
        // renaming, never rewritten in place (the model hub's rule), so the mapped inode keeps its length.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Self(map))
    }

    /// Tells the system that the bytes of `range` are not needed any more: their pages no longer count as this process's
    /// memory, and come back from the file if they are read again. Elsewhere than on Unix nothing happens.
    #[allow(unsafe_code)]
    pub fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        {
            // Whole pages inside the range: neighbours may still be in use.
            const PAGE: usize = 1 << 16;
            let (start, end) = (range.start.next_multiple_of(PAGE), range.end / PAGE * PAGE);
            if start < end && end <= self.0.len() {
                // SAFETY: the map is read-only and backed by the file, so dropped pages are read again, never lost.
                let advised = unsafe {
                    self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start)
                };
                // Advice: where the system does not take it, the pages merely stay.
                drop(advised);
            }
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
