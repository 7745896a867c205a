//! The local side of the hub: finding, checking and removing files in the shared cache.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, Repo, RepoType};
use sha2::{Digest, Sha256};

use super::{HubError, Manifest};

/// The hub as this process sees it: where the cache is, which endpoint and token to use.
#[derive(Debug, Clone)]
pub struct Hub {
    pub(super) cache: Cache,
    pub(super) endpoint: Option<String>,
    pub(super) token: Option<String>,
    pub(super) offline: bool,
    /// The first pause between two attempts; doubles with each.
    pub(super) first_pause: std::time::Duration,
}

/// What a check of one file found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Size and hash are as announced.
    Sound,
    /// The file is there, but nothing is known to compare it with.
    Unknown,
    /// The file differs; the text says how.
    Damaged(String),
    /// The file is not there.
    Absent,
}

impl Hub {
    /// Reads `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE`.
    #[must_use]
    pub fn from_env() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let cache = Cache::from_env();
        let token = set("HF_TOKEN").or_else(|| cache.token());
        let offline = set("HF_HUB_OFFLINE").is_some_and(|value| value != "0");
        Self {
            cache,
            endpoint: set("HF_ENDPOINT"),
            token,
            offline,
            first_pause: std::time::Duration::from_secs(1),
        }
    }

    /// A hub with everything given, for callers that do not go by the environment.
    #[must_use]
    pub fn at(cache: PathBuf, endpoint: Option<String>, token: Option<String>, offline: bool) -> Self {
        let first_pause = std::time::Duration::from_secs(1);
        Self { cache: Cache::new(cache), endpoint, token, offline, first_pause }
    }

    /// The same hub, waiting `pause` before the second attempt at a file and twice as long before each further one.
    #[must_use]
    pub fn with_first_pause(self, pause: std::time::Duration) -> Self {
        Self { first_pause: pause, ..self }
    }

    /// The cache folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.cache.path()
    }

    /// Where the file lies, if it is there.
    #[must_use]
    pub fn locate(&self, manifest: &Manifest) -> Option<PathBuf> {
        self.cache.repo(repo(manifest)).get(&manifest.file)
    }

    /// Reads the whole file and compares it with what the manifest or the hub's own name for it says.
    ///
    /// # Errors
    /// [`HubError::File`] when the file cannot be read.
    pub fn verify(&self, manifest: &Manifest) -> Result<Verdict, HubError> {
        let Some(path) = self.locate(manifest) else { return Ok(Verdict::Absent) };
        let size = std::fs::metadata(&path).map_err(|source| file_error(&path, source))?.len();
        if let Some(expected) = manifest.size.filter(|&expected| expected != size) {
            return Ok(Verdict::Damaged(format!("{expected} bytes expected, {size} found")));
        }
        let Some(expected) = manifest.sha256.clone().or_else(|| announced_hash(&path)) else {
            return Ok(Verdict::Unknown);
        };
        let found = sha256(&path)?;
        if found == expected {
            return Ok(Verdict::Sound);
        }
        Ok(Verdict::Damaged(format!("SHA-256 {expected} expected, {found} found")))
    }

    /// Removes the file, and the bytes behind it, from the cache. Returns how many bytes that frees.
    ///
    /// # Errors
    /// [`HubError::File`] when the cache cannot be written.
    pub fn remove(&self, manifest: &Manifest) -> Result<u64, HubError> {
        let Some(pointer) = self.locate(manifest) else { return Ok(0) };
        let blob = pointer.canonicalize().map_err(|source| file_error(&pointer, source))?;
        let size = std::fs::metadata(&blob).map_err(|source| file_error(&blob, source))?.len();
        std::fs::remove_file(&pointer).map_err(|source| file_error(&pointer, source))?;
        if blob.exists() {
            std::fs::remove_file(&blob).map_err(|source| file_error(&blob, source))?;
        }
        Ok(size)
    }

    /// Removes what broken-off downloads from the manifest's repository have left. Returns how many bytes that frees.
    ///
    /// # Errors
    /// [`HubError::File`] when the cache cannot be written.
    pub fn remove_parts(&self, manifest: &Manifest) -> Result<u64, HubError> {
        let blobs = self.blobs(manifest);
        if !blobs.exists() {
            return Ok(0);
        }
        let mut freed = 0;
        for entry in std::fs::read_dir(&blobs).map_err(|source| file_error(&blobs, source))?.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "part") {
                freed += entry.metadata().map_or(0, |file| file.len());
                std::fs::remove_file(&path).map_err(|source| file_error(&path, source))?;
            }
        }
        Ok(freed)
    }

    /// Where the bytes of the repository's files lie, also of those that have not all arrived.
    pub(super) fn blobs(&self, manifest: &Manifest) -> PathBuf {
        self.folder().join(repo(manifest).folder_name()).join("blobs")
    }
}

pub(super) fn repo(manifest: &Manifest) -> Repo {
    Repo::with_revision(manifest.repository.clone(), RepoType::Model, manifest.revision.clone())
}

pub(super) fn file_error(path: &Path, source: std::io::Error) -> HubError {
    HubError::File { path: path.to_owned(), source }
}

/// The hub names large files after their SHA-256; the name of the blob behind the pointer is then the hash.
pub(super) fn announced_hash(path: &Path) -> Option<String> {
    let blob = path.canonicalize().ok()?;
    let name = blob.file_name()?.to_str()?;
    is_sha256(name).then(|| name.to_owned())
}

pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub(super) fn sha256(path: &Path) -> Result<String, HubError> {
    let mut file = File::open(path).map_err(|source| file_error(path, source))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(|source| file_error(path, source))?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
