//! The local side of the hub: finding, checking and removing files in the shared cache.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, Repo, RepoType};
use sha2::{Digest, Sha256};

use super::record::{self, Locked};
use super::transport::is_hex;
use super::{HubError, Manifest};

/// The hub as this process sees it: where the cache is, which endpoint and token to use.
#[derive(Debug, Clone)]
pub struct Hub {
    pub(super) cache: Cache,
    pub(super) endpoint: Option<String>,
    pub(super) token: Option<String>,
    pub(super) offline: bool,
    /// Plain HTTP is allowed.
    pub(super) insecure: bool,
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
    /// Reads `HF_HOME`, `HF_ENDPOINT`, `HF_ENDPOINT_INSECURE`, `HF_TOKEN` and `HF_HUB_OFFLINE`.
    #[must_use]
    pub fn from_env() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let cache = Cache::from_env();
        let token = set("HF_TOKEN").or_else(|| cache.token());
        let is_on = |name: &str| set(name).is_some_and(|value| value != "0");
        let (offline, insecure) = (is_on("HF_HUB_OFFLINE"), is_on("HF_ENDPOINT_INSECURE"));
        Self {
            cache,
            endpoint: set("HF_ENDPOINT"),
            token,
            offline,
            insecure,
            first_pause: std::time::Duration::from_secs(1),
        }
    }

    /// A hub with everything given, for callers that do not go by the environment.
    #[must_use]
    pub fn at(cache: PathBuf, endpoint: Option<String>, token: Option<String>, offline: bool) -> Self {
        let first_pause = std::time::Duration::from_secs(1);
        Self { cache: Cache::new(cache), endpoint, token, offline, insecure: false, first_pause }
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
        check_names(manifest).ok()?;
        let root = self.root(manifest);
        let commit = std::fs::read_to_string(root.join("refs").join(&manifest.revision)).ok();
        // A revision may be a commit, which has no reference.
        let commit = commit.unwrap_or_else(|| manifest.revision.clone());
        let commit = Some(commit.trim()).filter(|commit| is_commit(commit))?;
        let pointer = root.join("snapshots").join(commit).join(&manifest.file);
        pointer.exists().then_some(pointer)
    }

    /// Where the file lies, if it is there, and its bytes are what they should be: read whole and compared with what the
    /// list, the lock file or the hub's own name for them says, the first time and whenever the file was written since,
    /// whoever fetched it. Where nothing is known, what is found now is what must be found from now on.
    ///
    /// # Errors
    /// [`HubError::Spoilt`] when the bytes are others; [`HubError::File`], [`HubError::Lock`].
    pub fn verified(&self, manifest: &Manifest) -> Result<Option<PathBuf>, HubError> {
        let Some(path) = self.locate(manifest) else { return Ok(None) };
        let blob = path.canonicalize().map_err(|source| file_error(&path, source))?;
        let expected = self.expected(manifest, &path)?;
        if let Some(noted) = record::noted(&blob)
            && expected.as_ref().is_none_or(|expected| *expected == noted)
        {
            return Ok(Some(path));
        }
        let found = sha256(&blob)?;
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(HubError::Spoilt { name: manifest.name.clone(), path, expected, found });
        }
        record::note(&blob, &found);
        if manifest.sha256.is_none() {
            let size = std::fs::metadata(&blob).map_err(|source| file_error(&blob, source))?.len();
            // A cache that cannot be written keeps no record, and the file is still the one that was compared.
            let _ = record::lock(self.folder(), manifest, Locked::new(manifest, None, &found, size));
        }
        Ok(Some(path))
    }

    /// The SHA-256 that the file must have, as far as anybody knows: by the list, by the lock file, by its name.
    fn expected(&self, manifest: &Manifest, path: &Path) -> Result<Option<String>, HubError> {
        if manifest.sha256.is_some() {
            return Ok(manifest.sha256.clone());
        }
        let locked = record::locked(self.folder(), manifest)?;
        Ok(locked.map(|locked| locked.sha256).or_else(|| announced_hash(path)))
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
        let Some(expected) = self.expected(manifest, &path)? else { return Ok(Verdict::Unknown) };
        let found = sha256(&path)?;
        if found == expected {
            if let Ok(blob) = path.canonicalize() {
                record::note(&blob, &found);
            }
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
        let ours = self.blobs(manifest).canonicalize().is_ok_and(|blobs| blob.parent() == Some(&blobs));
        let plain = pointer.symlink_metadata().is_ok_and(|file| !file.is_symlink());
        std::fs::remove_file(&pointer).map_err(|source| file_error(&pointer, source))?;
        // A pointer that leads out of the cache is somebody's own arrangement: what it leads to stays.
        if ours && blob.exists() {
            std::fs::remove_file(&blob).map_err(|source| file_error(&blob, source))?;
        }
        if let Some(note) = record::note_path(&blob).filter(|_| ours || plain) {
            let _ = std::fs::remove_file(note);
        }
        Ok(if ours || plain { size } else { 0 })
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
        self.root(manifest).join("blobs")
    }

    /// The folder of the repository.
    pub(super) fn root(&self, manifest: &Manifest) -> PathBuf {
        self.folder().join(Repo::new(manifest.repository.clone(), RepoType::Model).folder_name())
    }
}

/// Commits as Git writes them, SHA-1 or SHA-256. Other tools may have written the reference.
fn is_commit(text: &str) -> bool {
    is_hex(text, 40) || is_hex(text, 64)
}

/// The names of a manifest become paths below the cache: letters, digits and a few signs, and no way up.
///
/// # Errors
/// [`HubError::Name`].
pub(super) fn check_names(manifest: &Manifest) -> Result<(), HubError> {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte))
    };
    let path = |text: &str| text.split('/').all(plain);
    let repository = manifest.repository.split('/').count() == 2 && path(&manifest.repository);
    let bad = match (repository, plain(&manifest.revision), path(&manifest.file)) {
        (false, ..) => &manifest.repository,
        (_, false, _) => &manifest.revision,
        (.., false) => &manifest.file,
        (true, true, true) => return Ok(()),
    };
    Err(HubError::Name { name: manifest.name.clone(), what: bad.clone() })
}

pub(super) fn file_error(path: &Path, source: std::io::Error) -> HubError {
    HubError::File { path: path.to_owned(), source }
}

/// The hub names large files after their SHA-256; the name of the blob behind the pointer is then the hash.
pub(super) fn announced_hash(path: &Path) -> Option<String> {
    let blob = path.canonicalize().ok()?;
    let name = blob.file_name()?.to_str()?;
    is_hex(name, 64).then(|| name.to_owned())
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
