//! The remote side of the hub: fetching files, several at once, resumed where they broke off.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::cache::{check_names, file_error, sha256};
use super::record::{self, Locked};
use super::transport::{Announced, Transport, Trouble, is_hex};
use super::{Hub, HubError, Manifest};

/// Files that are fetched at the same time.
const PARALLEL: usize = 4;
/// Attempts at one file before giving up; the part that arrived is kept.
const ATTEMPTS: u32 = 6;
/// Attempts at a hub whose name nobody knows: a name server may stumble once.
const ATTEMPTS_AT_A_NAME: u32 = 2;
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
        absent.iter().try_for_each(|manifest| check_names(manifest))?;
        let hub = Transport::new(self.endpoint.as_deref(), self.token.as_deref(), self.insecure)?;
        let announced: Vec<Announced> = absent
            .iter()
            .map(|manifest| self.retry(manifest, progress, || hub.announced(manifest)))
            .collect::<Result<_, _>>()?;
        let needed = self.check_room(absent, &announced)?;
        let sizes: Vec<(&Manifest, u64)> =
            absent.iter().zip(&announced).map(|(manifest, file)| (*manifest, file.size)).collect();
        progress.plan(&sizes, needed);
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL.min(absent.len()) {
                scope.spawn(|| {
                    while let Some(place) =
                        Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < absent.len())
                    {
                        if let Err(error) = self.fetch(&hub, absent[place], &announced[place], progress) {
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

    /// Fetches one file under a name of ours and checks it; only then it gets its own. A damaged one is fetched anew once.
    fn fetch(
        &self,
        hub: &Transport,
        manifest: &Manifest,
        announced: &Announced,
        progress: &dyn PullProgress,
    ) -> Result<(), HubError> {
        let expected = self.agreed(manifest, announced)?;
        let blobs = self.blobs(manifest);
        std::fs::create_dir_all(&blobs).map_err(|source| file_error(&blobs, source))?;
        let part = self.part(manifest, announced);
        let _fetching = lock_part(&part)?;
        let mut damage = None;
        for _ in 0..2 {
            self.retry(manifest, progress, || download(hub, manifest, announced.size, &part, progress))?;
            let found = sha256(&part)?;
            match expected.clone().filter(|expected| *expected != found) {
                None => {
                    let path = self.install(manifest, announced, &part, &found)?;
                    progress.finish(manifest, &path);
                    return Ok(());
                }
                Some(expected) => {
                    let (name, expected) = (manifest.name.clone(), format!("SHA-256 {expected}"));
                    damage = Some(HubError::Damaged { name, expected, found });
                }
            }
            std::fs::remove_file(&part).map_err(|source| file_error(&part, source))?;
        }
        Err(damage.unwrap_or_else(|| missing(manifest)))
    }

    /// The SHA-256 that the bytes must have, if anybody knows it, and no two sources differ about it.
    fn agreed(&self, manifest: &Manifest, announced: &Announced) -> Result<Option<String>, HubError> {
        if let Some(size) = manifest.size.filter(|size| *size != announced.size) {
            let (name, expected, found) = (manifest.name.clone(), size, announced.size);
            let (expected, found) = (format!("{expected} bytes"), format!("{found} bytes"));
            return Err(HubError::Damaged { name, expected, found });
        }
        if is_hex(&manifest.revision, 40) && manifest.revision != announced.commit {
            let reason = "the hub answers with another commit than was asked for".to_owned();
            return Err(HubError::Announcement { name: manifest.name.clone(), reason });
        }
        let of_hub = Some(announced.etag.clone()).filter(|etag| is_hex(etag, 64));
        let locked = record::locked(self.folder(), manifest)?.map(|locked| locked.sha256);
        let (known, expected, remedy) = match (&manifest.sha256, &locked) {
            (Some(pinned), _) => (
                "are known for this name".to_owned(),
                pinned,
                "Another file can be given by its path in the profile",
            ),
            (None, Some(locked)) => {
                let lock = record::lock_path(self.folder());
                (format!("stand in {}", lock.display()), locked, "Remove the entry there to accept them")
            }
            (None, None) => return Ok(of_hub),
        };
        match of_hub {
            Some(found) if found != *expected => Err(HubError::Changed {
                name: manifest.name.clone(),
                known,
                expected: expected.clone(),
                found,
                remedy: remedy.to_owned(),
            }),
            _ => Ok(Some(expected.clone())),
        }
    }

    /// Gives a checked file its name among the blobs, and the snapshot a pointer to it, as every client of the hub does;
    /// writes down what it is.
    fn install(
        &self,
        manifest: &Manifest,
        announced: &Announced,
        part: &Path,
        sha256: &str,
    ) -> Result<PathBuf, HubError> {
        let blob = self.blobs(manifest).join(&announced.etag);
        let pointer = self.root(manifest).join("snapshots").join(&announced.commit).join(&manifest.file);
        let reference = self.root(manifest).join("refs").join(&manifest.revision);
        std::fs::rename(part, &blob).map_err(|source| file_error(&blob, source))?;
        for path in [&pointer, &reference] {
            let folder = path.parent().unwrap_or(path);
            std::fs::create_dir_all(folder).map_err(|source| file_error(folder, source))?;
        }
        point(&pointer, &blob, &announced.etag, manifest).map_err(|source| file_error(&pointer, source))?;
        std::fs::write(&reference, &announced.commit).map_err(|source| file_error(&reference, source))?;
        record::note(&blob, sha256);
        let entry = Locked::new(manifest, Some(&announced.commit), sha256, announced.size);
        record::lock(self.folder(), manifest, entry)?;
        Ok(pointer)
    }

    /// Repeats what may succeed later (broken connections, 429, 5xx); says at once what cannot (401, 403, 404, a disk that
    /// takes nothing).
    fn retry<T>(
        &self,
        manifest: &Manifest,
        progress: &dyn PullProgress,
        run: impl Fn() -> Result<T, Trouble>,
    ) -> Result<T, HubError> {
        let mut pause = self.first_pause;
        let name = || manifest.name.clone();
        for attempt in 1.. {
            let trouble = match run() {
                Ok(value) => return Ok(value),
                Err(trouble) => trouble,
            };
            match &trouble {
                Trouble::Disk(_) => {
                    let Trouble::Disk(source) = trouble else { unreachable!("matched above") };
                    return Err(file_error(self.folder(), source));
                }
                Trouble::Nonsense(reason) => {
                    return Err(HubError::Announcement { name: name(), reason: reason.clone() });
                }
                Trouble::Status(status @ (401 | 403)) => {
                    let (status, repository) = (*status, manifest.repository.clone());
                    return Err(HubError::Forbidden { name: name(), status, repository });
                }
                Trouble::Status(404) => return Err(missing(manifest)),
                Trouble::NoHost(_) if attempt >= ATTEMPTS_AT_A_NAME => {
                    return Err(interrupted(manifest, attempt, &trouble));
                }
                _ if attempt == ATTEMPTS => return Err(interrupted(manifest, attempt, &trouble)),
                // What is there goes with nothing that the hub has: begin anew.
                Trouble::Resume => drop(self.remove_parts(manifest)?),
                _ => {}
            }
            progress.again(manifest, &trouble.to_string(), pause);
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        unreachable!("the loop returns at the last attempt")
    }

    /// Bytes that are still to be downloaded, if the disk has room for them.
    fn check_room(&self, absent: &[&Manifest], announced: &[Announced]) -> Result<u64, HubError> {
        let folder = self.folder();
        std::fs::create_dir_all(folder).map_err(|source| file_error(folder, source))?;
        let arrived: u64 =
            absent.iter().zip(announced).map(|(manifest, file)| self.arrived(manifest, file)).sum();
        let total: u64 = announced.iter().map(|file| file.size).fold(0, u64::saturating_add);
        let needed = total.saturating_sub(arrived);
        let available = fs4::available_space(folder).map_err(|source| file_error(folder, source))?;
        if needed <= available {
            return Ok(needed);
        }
        Err(HubError::DiskSpace { folder: folder.to_owned(), needed, available })
    }

    /// Bytes of an unfinished download that are already on the disk.
    fn arrived(&self, manifest: &Manifest, announced: &Announced) -> u64 {
        std::fs::metadata(self.part(manifest, announced)).map_or(0, |file| file.len())
    }

    /// Where the bytes are until they have all arrived and were checked.
    fn part(&self, manifest: &Manifest, announced: &Announced) -> PathBuf {
        self.blobs(manifest).join(&announced.etag).with_extension("part")
    }
}

/// Brings the part to its full size, from where it is.
fn download(
    hub: &Transport,
    manifest: &Manifest,
    size: u64,
    part: &Path,
    progress: &dyn PullProgress,
) -> Result<(), Trouble> {
    let mut file = OpenOptions::new().append(true).create(true).open(part).map_err(Trouble::Disk)?;
    let mut arrived = file.metadata().map_err(Trouble::Disk)?.len();
    if arrived > size {
        file.set_len(0).map_err(Trouble::Disk)?;
        arrived = 0;
    }
    progress.begin(manifest, size);
    if arrived == size {
        progress.advance(manifest, arrived);
        return Ok(());
    }
    let (start, mut bytes) = hub.bytes(manifest, arrived)?;
    if start < arrived {
        file.set_len(start).map_err(Trouble::Disk)?;
        arrived = start;
    }
    progress.advance(manifest, arrived);
    let mut buffer = vec![0; 256 << 10];
    while arrived < size {
        // No more than was announced, so that the room that was looked at is enough.
        let most = usize::try_from(size - arrived).unwrap_or(usize::MAX).min(buffer.len());
        let read = bytes.read(&mut buffer[..most]).map_err(|error| Trouble::Broken(error.to_string()))?;
        if read == 0 {
            return Err(Trouble::Broken("the connection broke off".to_owned()));
        }
        file.write_all(&buffer[..read]).map_err(Trouble::Disk)?;
        arrived += read as u64;
        progress.advance(manifest, read as u64);
    }
    file.sync_all().map_err(Trouble::Disk)
}

/// Keeps other processes from writing to the same part, until dropped.
fn lock_part(part: &Path) -> Result<File, HubError> {
    let path = part.with_extension("lock");
    let file = File::create(&path).map_err(|source| file_error(&path, source))?;
    file.lock().map_err(|source| file_error(&path, source))?;
    Ok(file)
}

/// Makes the pointer: a relative symbolic link, or where there are none, the file itself.
fn point(pointer: &Path, blob: &Path, etag: &str, manifest: &Manifest) -> std::io::Result<()> {
    if pointer.symlink_metadata().is_ok() {
        std::fs::remove_file(pointer)?;
    }
    #[cfg(unix)]
    {
        let _ = blob;
        // Out of the file's own folders, the commit's and `snapshots`.
        let up = "../".repeat(manifest.file.split('/').count() + 1);
        std::os::unix::fs::symlink(format!("{up}blobs/{etag}"), pointer)
    }
    #[cfg(not(unix))]
    {
        let _ = (etag, manifest);
        std::fs::rename(blob, pointer)
    }
}

fn missing(manifest: &Manifest) -> HubError {
    let (name, file) = (manifest.name.clone(), manifest.file.clone());
    HubError::Missing { name, file, repository: manifest.repository.clone() }
}

fn interrupted(manifest: &Manifest, attempts: u32, reason: &Trouble) -> HubError {
    HubError::Interrupted { name: manifest.name.clone(), attempts, reason: reason.to_string() }
}
