//! The trait [`BlobStore`] on an object store, with the register of files in the database.

use std::{fs::File, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use jobs::{BlobKey, BlobStore, Error, Result};

use crate::{
    Shared,
    database::{Change, Fault, Session, parameters},
    rows, sweep,
};

/// Files in an S3-compatible store.
#[derive(Debug)]
pub struct ObjectFiles(Arc<Shared>);

impl ObjectFiles {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Writes down that there will be an object, so that none is ever there without that.
    async fn announce(&self, key: &BlobKey) -> Result<()> {
        self.0
            .database
            .rows(
                "INSERT INTO @files (key, length, stored_at, state) VALUES ($1, 0, @now_ms(), 'PENDING')
                 ON CONFLICT (key) DO UPDATE SET stored_at = excluded.stored_at",
                parameters![key.as_str()],
            )
            .await?;
        Ok(())
    }

    /// Writes down that it is there.
    async fn enter(&self, key: &BlobKey, length: u64) -> Result<()> {
        let row = self
            .0
            .database
            .row(
                "UPDATE @files SET state = 'STORED', length = $2 WHERE key = $1 AND state <> 'DOOMED' RETURNING key",
                parameters![key.as_str(), length.cast_signed()],
            )
            .await?;
        // It took longer than a file may lie here without a name.
        row.map(drop).ok_or_else(|| Error::MissingBlob { key: key.clone() })
    }

    async fn length(&self, key: &BlobKey) -> Result<Option<u64>> {
        let sql = "SELECT length FROM @files WHERE key = $1 AND state = 'STORED'";
        let row = self.0.database.row(sql, parameters![key.as_str()]).await?;
        Ok(row.map(|row| row.get::<_, i64>(0).cast_unsigned()))
    }

    async fn store(&self, key: &BlobKey, bytes: Bytes) -> Result<()> {
        let length = bytes.len() as u64;
        self.announce(key).await?;
        self.0.objects.put(key, bytes).await?;
        self.enter(key, length).await
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey) -> Result<bool> {
        let Some(length) = self.length(from).await? else { return Ok(false) };
        self.announce(to).await?;
        if !self.0.objects.copy(from, to).await? {
            return Ok(false);
        }
        self.enter(to, length).await?;
        Ok(true)
    }
}

#[async_trait]
impl BlobStore for ObjectFiles {
    async fn put(&self, key: &BlobKey, bytes: Bytes) -> Result<()> {
        self.0.health.note_upload(self.store(key, bytes).await)
    }

    async fn link(&self, from: &BlobKey, to: &BlobKey) -> Result<bool> {
        self.0.health.note_upload(self.copy(from, to).await)
    }

    async fn open(&self, key: &BlobKey) -> Result<Option<(File, u64)>> {
        let Some(length) = self.length(key).await? else { return Ok(None) };
        Ok(self.0.objects.fetch(key, length).await?.map(|file| (file, length)))
    }

    async fn get(&self, key: &BlobKey) -> Result<Option<Bytes>> {
        let Some(length) = self.length(key).await? else { return Ok(None) };
        self.0.objects.get(key, length).await
    }

    async fn delete(&self, key: &BlobKey) -> Result<()> {
        self.0.database.change(Drop { key: key.clone() }).await?;
        sweep::delete_files(&self.0).await
    }

    async fn keys(&self) -> Result<Vec<BlobKey>> {
        let rows = self.0.database.rows("SELECT key FROM @files WHERE state = 'STORED'", &[]).await?;
        rows.iter().map(|row| BlobKey::parse(row.get(0))).collect()
    }
}

/// Gives up a file, unless a job names it: the end of that job may have been stored although its caller was told
/// otherwise.
struct Drop {
    key: BlobKey,
}

#[async_trait]
impl Change for Drop {
    type Output = ();

    async fn apply(&mut self, on: &Session<'_>) -> Result<(), Fault> {
        rows::doom(on, &[self.key.to_string()]).await
    }
}
