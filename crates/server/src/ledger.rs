//! Credits: how many transfers each limited key has made, kept in one small file so that a restart forgives nothing.
//!
//! A transfer is charged when it is accepted and given back when it fails.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// What keys without a quota are said to have left: plenty, because some clients warn when it is little.
pub(crate) const PLENTY: u64 = 1_000_000;

/// The use of each key, by its id.
#[derive(Debug)]
pub(crate) struct Ledger {
    used: Mutex<BTreeMap<String, u64>>,
    file: Option<PathBuf>,
    quotas: BTreeMap<String, u64>,
}

/// Why a charge did not go through.
#[derive(Debug)]
pub(crate) enum ChargeError {
    /// Nothing is left.
    Exhausted,
    /// The file cannot be written; nothing was charged.
    File(io::Error),
}

impl Ledger {
    /// Opens the ledger in `file` (`None` keeps it in memory only); `quotas` are credits by key id.
    pub(crate) fn open(file: Option<PathBuf>, quotas: BTreeMap<String, u64>) -> io::Result<Self> {
        let used = match file.as_ref().map(fs::read) {
            Some(Ok(bytes)) => serde_json::from_slice(&bytes).map_err(io::Error::other)?,
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Some(Err(_)) | None => BTreeMap::new(),
        };
        Ok(Self { used: Mutex::new(used), file, quotas })
    }

    /// What a transfer costs this key.
    pub(crate) fn cost(&self, owner: &str) -> u64 {
        u64::from(self.quotas.contains_key(owner))
    }

    /// What the key has left.
    pub(crate) fn remaining(&self, owner: &str) -> u64 {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |quota: &u64| quota.saturating_sub(used.get(owner).copied().unwrap_or(0));
        self.quotas.get(owner).map_or(PLENTY, left)
    }

    /// Takes one credit, durably.
    pub(crate) fn charge(&self, owner: &str) -> Result<(), ChargeError> {
        let Some(&quota) = self.quotas.get(owner) else { return Ok(()) };
        self.change(owner, |used| if used < quota { Ok(used + 1) } else { Err(ChargeError::Exhausted) })
    }

    /// Gives one credit back.
    pub(crate) fn refund(&self, owner: &str) {
        if self.quotas.contains_key(owner)
            && let Err(error) = self.change(owner, |used| Ok(used.saturating_sub(1)))
        {
            tracing::error!(?error, owner, "a credit could not be given back");
        }
    }

    fn change(
        &self,
        owner: &str,
        change: impl FnOnce(u64) -> Result<u64, ChargeError>,
    ) -> Result<(), ChargeError> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let before = used.get(owner).copied().unwrap_or(0);
        used.insert(owner.to_owned(), change(before)?);
        self.write(&used).map_err(|error| {
            used.insert(owner.to_owned(), before);
            ChargeError::File(error)
        })
    }

    /// Whole or not at all: a temporary file, synced, takes the place of the old one.
    fn write(&self, used: &BTreeMap<String, u64>) -> io::Result<()> {
        let Some(path) = &self.file else { return Ok(()) };
        let temporary = path.with_extension("new");
        let mut file = fs::File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(used)?)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credits_are_spent_given_back_and_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            Ledger::open(Some(folder.path().join("credits.json")), BTreeMap::from([("a".to_owned(), 2)]))
                .unwrap()
        };
        let ledger = open();
        assert_eq!((ledger.remaining("a"), ledger.remaining("b")), (2, PLENTY));
        assert!(ledger.charge("a").is_ok() && ledger.charge("a").is_ok() && ledger.charge("b").is_ok());
        assert!(matches!(ledger.charge("a"), Err(ChargeError::Exhausted)));
        ledger.refund("a");
        ledger.refund("b");
        let reopened = open();
        assert_eq!((reopened.remaining("a"), reopened.remaining("b")), (1, PLENTY));
        assert_eq!((reopened.cost("a"), reopened.cost("b")), (1, 0));
    }

    #[test]
    fn a_charge_that_cannot_be_written_is_none() {
        let ledger =
            Ledger::open(Some("/nonexistent/credits.json".into()), BTreeMap::from([("a".to_owned(), 2)]))
                .unwrap();
        assert!(matches!(ledger.charge("a"), Err(ChargeError::File(_))));
        assert_eq!(ledger.remaining("a"), 2);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_a_fresh_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credits.json");
        fs::write(&path, b"{").unwrap();
        assert!(Ledger::open(Some(path), BTreeMap::new()).is_err());
    }
}
