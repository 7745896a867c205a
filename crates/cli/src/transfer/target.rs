//! What stands at the end of an output path, and how it is written to.
//!
//! A regular file, or one that is not there yet, appears whole or not at all: it is written under another name beside it and
//! renamed. Symbolic links are followed first, so that the link stays. Pipes and devices are written to; they are opened
//! before anything is computed, as a shell does. `-` is standard output, and so are its names among the devices.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

/// Symbolic links that are followed, one to the next; the kernel follows as many.
const MAX_LINKS: usize = 40;

/// Where the bytes go.
#[derive(Debug)]
pub(super) enum Target {
    /// A regular file, at the end of all links.
    File(PathBuf),
    /// A pipe or device, or an open file, and whether to write at its end.
    Stream {
        /// Its name.
        path: PathBuf,
        /// Whether it is a regular file, which others may write to as well.
        append: bool,
        /// Opened by [`ready`](Target::ready).
        file: Option<File>,
    },
    /// Standard output.
    Standard,
}

impl Target {
    /// Looks at the path and makes sure that a file can be written there.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Standard);
        }
        let (end, magic) = followed(path)?;
        if magic.as_deref().is_some_and(is_standard_output) {
            return Ok(Self::Standard);
        }
        let found = match std::fs::metadata(path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound && magic.is_none() => None,
            Err(error) => return Err(error),
        };
        let Some(found) = found else {
            return probe(&end).map(|()| Self::File(end));
        };
        if found.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if is_block_device(&found) {
            return Err(io::Error::other("is a disk, which would be overwritten"));
        }
        if !found.is_file() {
            return Ok(Self::Stream { path: path.to_owned(), append: false, file: None });
        }
        if found.permissions().readonly() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "is read-only"));
        }
        // An open file that is only known by its number: another in its place would not be seen by who opened it.
        if magic.is_some() {
            return Ok(Self::Stream { path: path.to_owned(), append: true, file: None });
        }
        probe(&end).map(|()| Self::File(end))
    }

    /// Opens what is written to as it is. Waits for a reader if it is a pipe.
    pub(super) fn ready(&mut self) -> io::Result<()> {
        if let Self::Stream { path, append, file } = self {
            *file = Some(OpenOptions::new().write(true).append(*append).open(path)?);
        }
        Ok(())
    }

    /// Writes all of it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(path) => write_whole(path, bytes),
            Self::Stream { file, .. } => {
                file.as_mut().ok_or_else(|| io::Error::other("was not opened"))?.write_all(bytes)
            }
            Self::Standard => {
                let mut out = io::stdout();
                out.write_all(bytes)?;
                out.flush()
            }
        }
    }
}

/// The path at the end of all links; and, where one of them is a name of `/proc` for an open file, which no path leads to, that
/// name.
fn followed(path: &Path) -> io::Result<(PathBuf, Option<PathBuf>)> {
    let mut at = path.to_owned();
    for _ in 0..=MAX_LINKS {
        let known = std::path::absolute(&at)?;
        // The folder may be a link itself: /dev/fd is one.
        let parent = known.parent().and_then(|parent| parent.canonicalize().ok());
        let place = parent
            .as_deref()
            .zip(known.file_name())
            .map_or(known.clone(), |(parent, name)| parent.join(name));
        if is_open_file(&place) {
            return Ok((place.clone(), Some(place)));
        }
        match std::fs::read_link(&at) {
            Ok(next) => at = folder(&at).join(next),
            Err(_) => return Ok((at, None)),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// `/proc/<process>/fd/<number>`, also of a thread.
fn is_open_file(path: &Path) -> bool {
    let names: Vec<_> = path.components().collect();
    let text = |at: usize| names.get(at).and_then(|name| name.as_os_str().to_str()).unwrap_or_default();
    names.first() == Some(&Component::RootDir)
        && text(1) == "proc"
        && names.len() >= 5
        && text(names.len() - 2) == "fd"
        && text(names.len() - 1).parse::<u32>().is_ok()
}

/// Whether an open file's name means this process's standard output.
fn is_standard_output(name: &Path) -> bool {
    let own = Path::new("/proc").join(std::process::id().to_string());
    name == own.join("fd/1") || name == Path::new("/proc/self/fd/1")
}

#[cfg(unix)]
fn is_block_device(found: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    found.file_type().is_block_device()
}

#[cfg(not(unix))]
fn is_block_device(_found: &std::fs::Metadata) -> bool {
    false
}

/// The folder that a path lies in.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file beside `path` that is gone when it is dropped, with the permissions that `path` has or would get.
fn beside(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".material-transfer-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any new file: the umask takes its share. Temporary files are private otherwise.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let file = builder.tempfile_in(folder(path))?;
    if let Ok(found) = std::fs::metadata(path) {
        // Not everybody may give a file away, or needs to.
        let _ = file.as_file().set_permissions(found.permissions());
    }
    Ok(file)
}

/// Can a file be made beside `path`? Then it can take its place.
fn probe(path: &Path) -> io::Result<()> {
    beside(path).map(drop)
}

/// Writes under a temporary name in the same folder, then renames: readers see the old file or the new one.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = beside(path)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
