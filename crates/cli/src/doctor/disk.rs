//! The folder of the data: whether it can be written, and how long it takes until what was written is safe.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Verdict;

/// How often something is written; the slowest counts.
const TRIES: usize = 5;
/// Every accepted request waits for the disk, so this is what a request waits at least.
const SLOW: Duration = Duration::from_millis(100);

/// Writes into the folder, or where it will be made.
pub(super) fn folder(folder: &Path) -> Verdict {
    let shown = folder.display();
    let Some(existing) = existing(folder) else {
        return Verdict::Bad(format!(
            "{shown}: none of its parents is a folder; choose another with --data-dir"
        ));
    };
    match slowest(&existing) {
        Ok(span) if span > SLOW => Verdict::Remark(format!(
            "{shown}: a write is safe after {} ms, and every request waits for one; a local disk is faster",
            span.as_millis()
        )),
        Ok(span) => {
            let made = if existing == folder { "" } else { " (will be made)" };
            let millis = span.as_secs_f64() * 1000.0;
            Verdict::Good(format!("{shown}{made}: a write is safe after {millis:.1} ms"))
        }
        Err(error) => Verdict::Bad(format!(
            "{shown}: {error}; give this user the folder, or choose another with --data-dir"
        )),
    }
}

/// The folder itself, or the nearest parent that is there.
fn existing(folder: &Path) -> Option<PathBuf> {
    let folder = std::path::absolute(folder).ok()?;
    let found = folder.ancestors().find(|each| each.exists())?;
    found.is_dir().then(|| found.to_owned())
}

/// The longest time until a small file was on the disk.
fn slowest(folder: &Path) -> std::io::Result<Duration> {
    let mut longest = Duration::ZERO;
    for _ in 0..TRIES {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        let began = Instant::now();
        file.write_all(&[0; 4096])?;
        file.as_file().sync_all()?;
        longest = longest.max(began.elapsed());
    }
    Ok(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_there_or_will_be_is_good_and_nothing_stays_in_it() {
        let home = tempfile::tempdir().expect("a folder");
        for path in [home.path().to_owned(), home.path().join("a/b")] {
            let verdict = folder(&path);
            assert!(!matches!(verdict, Verdict::Bad(_)), "{verdict}");
        }
        assert_eq!(home.path().read_dir().expect("read").count(), 0);
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_bad() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(matches!(folder(&file.path().join("data")), Verdict::Bad(_)));
    }
}
