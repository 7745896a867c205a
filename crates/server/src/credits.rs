//! Credits: what each limited key has left. What it has used is counted by the job store, in the records of the jobs
//! themselves; here is what it may use, and the file of earlier versions, which is taken over once.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use crate::state::App;

/// What keys without a quota are said to have left: plenty, because some clients warn when it is little.
pub(crate) const PLENTY: u64 = 1_000_000;

/// Where earlier versions counted.
pub(crate) const FILE: &str = "credits.json";

/// What was counted in the file of earlier versions; nothing if there is none.
pub(crate) fn counted_before(path: &Path) -> io::Result<BTreeMap<String, u64>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

/// Removes the file, once it is taken over. If it stays, it is not taken over again.
pub(crate) fn forget(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "the old count of credits could not be removed; it is of no more use");
    }
}

impl App {
    /// What a transfer costs this owner.
    pub(crate) fn cost(&self, owner: &str) -> u64 {
        u64::from(self.quotas.contains_key(owner))
    }

    /// What the owner has left.
    pub(crate) async fn remaining(&self, owner: &str) -> u64 {
        match self.quotas.get(owner) {
            Some(quota) => quota.saturating_sub(self.jobs.used(owner).await.unwrap_or(*quota)),
            None => PLENTY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_an_error_and_not_a_fresh_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(counted_before(&path).unwrap(), BTreeMap::new());
        fs::write(&path, b"{\"studio\":3}").unwrap();
        assert_eq!(counted_before(&path).unwrap(), BTreeMap::from([("studio".to_owned(), 3)]));
        fs::write(&path, b"{").unwrap();
        assert!(counted_before(&path).is_err());
        forget(&path);
        assert!(!path.exists());
    }
}
