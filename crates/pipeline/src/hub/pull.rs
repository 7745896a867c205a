//! The remote side of the hub: fetching files, several at once, resumed where they broke off.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, Metadata};

use super::cache::{file_error, is_sha256, repo, sha256};
use super::{Hub, HubError, Manifest};

/// Files that are fetched at the same time.
const PARALLEL: usize = 4;
/// Attempts at one file before giving up; the part that arrived is kept.
const ATTEMPTS: u32 = 6;
/// No pause between two attempts is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Hears how a download goes. Called from several threads.
pub trait PullProgress: Send + Sync {
    /// The hub has told the sizes of all `absent` files and the disk has room; `needed` bytes are still to come.
    fn plan(&self, _absent: &[(&Manifest, u64)], _needed: u64) {}
    /// A file's download begins, or begins again; `size` is all of it.
    fn begin(&self, manifest: &Manifest, size: u64);
    /// So many more bytes are there.
    fn advance(&self, manifest: &Manifest, bytes: u64);
    /// An attempt at a file failed; the next one follows after `pause`.
    fn again(&self, _manifest: &Manifest, _reason: &str, _pause: Duration) {}
    /// The file is complete and checked.
    fn finish(&self, manifest: &Manifest, path: &Path);
}

/// A [`PullProgress`] that nobody listens to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl PullProgress for Quiet {
    fn begin(&self, _manifest: &Manifest, _size: u64) {}
    fn advance(&self, _manifest: &Manifest, _bytes: u64) {}
    fn finish(&self, _manifest: &Manifest, _path: &Path) {}
}

impl Hub {
    /// Makes sure that all the files are in the cache; returns their paths in the order given.
    ///
    /// What is there already is not fetched again. The room on the disk is checked before the first byte.
    ///
    /// # Errors
    /// [`HubError`]; the first failure ends the pull, complete files and resumable parts stay.
    pub fn pull(&self, wanted: &[&Manifest], progress: &dyn PullProgress) -> Result<Vec<PathBuf>, HubError> {
        let absent: Vec<&Manifest> =
            wanted.iter().copied().filter(|manifest| self.locate(manifest).is_none()).collect();
        if let Some(manifest) = absent.first() {
            if self.offline {
                return Err(HubError::Offline {
                    name: manifest.name.clone(),
                    cache: self.folder().to_owned(),
                });
            }
            self.fetch_all(&absent, progress)?;
        }
        wanted.iter().map(|manifest| self.locate(manifest).ok_or_else(|| missing(manifest))).collect()
    }

    fn fetch_all(&self, absent: &[&Manifest], progress: &dyn PullProgress) -> Result<(), HubError> {
        let api = self.api().map_err(|reason| interrupted(absent[0], 0, &reason))?;
        let announced: Vec<Metadata> = absent
            .iter()
            .map(|manifest| self.announced(&api, manifest, progress))
            .collect::<Result<_, _>>()?;
        let needed = self.check_room(absent, &announced)?;
        let sizes: Vec<(&Manifest, u64)> =
            absent.iter().zip(&announced).map(|(manifest, file)| (*manifest, file.size() as u64)).collect();
        progress.plan(&sizes, needed);
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL.min(absent.len()) {
                scope.spawn(|| {
                    while let Some(&manifest) = absent.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(error) = self.fetch(&api, manifest, progress) {
                            next.store(absent.len(), Ordering::Relaxed);
                            if let Ok(mut failure) = failure.lock() {
                                failure.get_or_insert(error);
                            }
                        }
                    }
                });
            }
        });
        failure.into_inner().ok().flatten().map_or(Ok(()), Err)
    }

    fn api(&self) -> Result<Api, ApiError> {
        let mut builder = ApiBuilder::from_cache(self.cache.clone())
            .with_token(self.token.clone())
            .with_progress(false)
            .with_user_agent("material-transfer", env!("CARGO_PKG_VERSION"));
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
        }
        builder.build()
    }

    /// Size and hash of a file as the hub announces them.
    fn announced(
        &self,
        api: &Api,
        manifest: &Manifest,
        progress: &dyn PullProgress,
    ) -> Result<Metadata, HubError> {
        let url = api.repo(repo(manifest)).url(&manifest.file);
        self.retry(manifest, progress, || api.metadata(&url))
    }

    /// Fetches one file and checks it; a damaged one is fetched anew once.
    fn fetch(&self, api: &Api, manifest: &Manifest, progress: &dyn PullProgress) -> Result<(), HubError> {
        let repository = api.repo(repo(manifest));
        let mut damage = None;
        for _ in 0..2 {
            let metadata = self.announced(api, manifest, progress)?;
            let path = self.retry(manifest, progress, || {
                let watch = Watch { manifest, progress };
                repository.download_with_progress(&manifest.file, watch)
            })?;
            match check(manifest, &metadata, &path)? {
                None => {
                    progress.finish(manifest, &path);
                    return Ok(());
                }
                found => damage = found,
            }
            self.remove(manifest)?;
        }
        Err(damage.unwrap_or_else(|| missing(manifest)))
    }

    /// Repeats what may succeed later (broken connections, 429, 5xx); says at once what cannot (401, 403, 404, a disk that
    /// takes nothing).
    fn retry<T>(
        &self,
        manifest: &Manifest,
        progress: &dyn PullProgress,
        run: impl Fn() -> Result<T, ApiError>,
    ) -> Result<T, HubError> {
        let mut pause = self.first_pause;
        for attempt in 1.. {
            let error = match run() {
                Ok(value) => return Ok(value),
                Err(ApiError::IoError(source)) if refused_by_disk(&source) => {
                    return Err(file_error(self.folder(), source));
                }
                Err(error) => error,
            };
            match status(&error) {
                Some(status @ (401 | 403)) => {
                    let (name, repository) = (manifest.name.clone(), manifest.repository.clone());
                    return Err(HubError::Forbidden { name, status, repository });
                }
                Some(404) => return Err(missing(manifest)),
                _ if attempt == ATTEMPTS => return Err(interrupted(manifest, attempt, &error)),
                _ => {}
            }
            // 416: all bytes were there already, but the file was never given its name.
            if matches!(error, ApiError::InvalidResume) || status(&error) == Some(416) {
                self.remove_parts(manifest)?;
            }
            progress.again(manifest, &error.to_string(), pause);
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        unreachable!("the loop returns at the last attempt")
    }

    /// Bytes that are still to be downloaded, if the disk has room for them.
    fn check_room(&self, absent: &[&Manifest], announced: &[Metadata]) -> Result<u64, HubError> {
        let folder = self.folder();
        std::fs::create_dir_all(folder).map_err(|source| file_error(folder, source))?;
        let arrived: u64 =
            absent.iter().zip(announced).map(|(manifest, file)| self.arrived(manifest, file)).sum();
        let total: u64 = announced.iter().map(|file| file.size() as u64).sum();
        let needed = total.saturating_sub(arrived);
        let available = fs4::available_space(folder).map_err(|source| file_error(folder, source))?;
        if needed <= available {
            return Ok(needed);
        }
        Err(HubError::DiskSpace { folder: folder.to_owned(), needed, available })
    }

    /// Bytes of an unfinished download that are already on the disk.
    fn arrived(&self, manifest: &Manifest, announced: &Metadata) -> u64 {
        let part = self.blobs(manifest).join(announced.etag()).with_extension("part");
        std::fs::metadata(part).map_or(0, |file| file.len())
    }
}

/// `None` when the file is what was announced, else what is wrong.
fn check(manifest: &Manifest, announced: &Metadata, path: &Path) -> Result<Option<HubError>, HubError> {
    let damaged = |expected: String, found: String| {
        Ok(Some(HubError::Damaged { name: manifest.name.clone(), expected, found }))
    };
    let size = std::fs::metadata(path).map_err(|source| file_error(path, source))?.len();
    let expected = manifest.size.unwrap_or(announced.size() as u64);
    if size != expected {
        return damaged(format!("{expected} bytes"), format!("{size} bytes"));
    }
    let hash =
        manifest.sha256.clone().or_else(|| is_sha256(announced.etag()).then(|| announced.etag().to_owned()));
    let Some(expected) = hash else { return Ok(None) };
    let found = sha256(path)?;
    if found == expected { Ok(None) } else { damaged(format!("SHA-256 {expected}"), found) }
}

fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(status) => Some(status),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the cache cannot be written, which no further attempt changes.
fn refused_by_disk(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | PermissionDenied | ReadOnlyFilesystem)
}

fn missing(manifest: &Manifest) -> HubError {
    let (name, file) = (manifest.name.clone(), manifest.file.clone());
    HubError::Missing { name, file, repository: manifest.repository.clone() }
}

fn interrupted(manifest: &Manifest, attempts: u32, reason: &ApiError) -> HubError {
    HubError::Interrupted { name: manifest.name.clone(), attempts, reason: reason.to_string() }
}

/// Hands `hf-hub`'s progress on under the manifest's name.
struct Watch<'a> {
    manifest: &'a Manifest,
    progress: &'a dyn PullProgress,
}

impl hf_hub::api::Progress for Watch<'_> {
    fn init(&mut self, size: usize, _filename: &str) {
        self.progress.begin(self.manifest, size as u64);
    }

    fn update(&mut self, size: usize) {
        self.progress.advance(self.manifest, size as u64);
    }

    fn finish(&mut self) {}
}
