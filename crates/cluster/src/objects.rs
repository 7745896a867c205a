//! The object store: what is asked of it, and how long that may take.

use std::{io::Write as _, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jobs::{BlobKey, Error, Result};
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt as _, RetryConfig, WriteMultipart,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    path::Path,
};
use url::Url;

/// Larger files are uploaded in parts of this size, several at once.
const PART: usize = 8 << 20;
/// How many of them.
const PARTS_AT_ONCE: usize = 4;
/// How long one request may take; bodies have [`SILENCE`] instead.
const REQUEST: Duration = Duration::from_secs(60);
/// How long a store may send nothing.
const SILENCE: Duration = Duration::from_secs(15);
/// How long a request is tried again that failed for a reason of the store's.
const RETRIES: Duration = Duration::from_secs(10);

/// Files under a prefix of a bucket.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}

fn unavailable(reason: impl std::fmt::Display) -> Error {
    Error::Unavailable { service: "the object store", reason: reason.to_string() }
}

/// The store's error with all that is behind it.
fn storage_error(error: &object_store::Error) -> Error {
    let mut reason = error.to_string();
    let mut behind = std::error::Error::source(error);
    while let Some(error) = behind {
        let more = error.to_string();
        if !reason.contains(&more) {
            reason = format!("{reason}: {more}");
        }
        behind = error.source();
    }
    unavailable(reason)
}

impl Objects {
    /// Prepares the store at `s3://bucket/prefix`; nothing is asked of it yet.
    pub(crate) fn open(address: &str, settings: &[(String, String)]) -> Result<Self> {
        let wrong =
            || unavailable(format!("{address:?} is no place for files; write it like s3://bucket/prefix"));
        let url = Url::parse(address).map_err(|_| wrong())?;
        let bucket = url.host_str().filter(|_| url.scheme() == "s3").ok_or_else(wrong)?;
        let prefix = Path::parse(url.path().trim_matches('/')).map_err(|_| wrong())?;
        let client = ClientOptions::new()
            .with_connect_timeout(Duration::from_secs(5))
            .with_timeout(REQUEST)
            .with_read_timeout(SILENCE);
        let retry = RetryConfig {
            backoff: BackoffConfig { max_backoff: Duration::from_secs(2), ..BackoffConfig::default() },
            max_retries: 5,
            retry_timeout: RETRIES,
        };
        let mut builder = AmazonS3Builder::from_env().with_client_options(client).with_retry(retry);
        // `from_env` puts its client settings where ours replace them.
        if let Ok(allow) = std::env::var("AWS_ALLOW_HTTP") {
            builder = builder
                .with_config(AmazonS3ConfigKey::Client(object_store::ClientConfigKey::AllowHttp), allow);
        }
        for (name, value) in settings {
            let key = name.parse().map_err(|_| unavailable(format!("there is no setting {name:?} of it")))?;
            builder = builder.with_config(key, value);
        }
        let store = builder.with_bucket_name(bucket).build().map_err(|error| storage_error(&error))?;
        Ok(Self { store: Arc::new(store), prefix })
    }

    fn path(&self, key: &str) -> Path {
        self.prefix.clone().join(key)
    }

    /// Uploads a file whole.
    pub(crate) async fn put(&self, key: &BlobKey, bytes: Bytes) -> Result<()> {
        let path = self.path(key.as_str());
        if bytes.len() <= PART {
            return self
                .store
                .put(&path, bytes.into())
                .await
                .map(drop)
                .map_err(|error| storage_error(&error));
        }
        let upload = self.store.put_multipart(&path).await.map_err(|error| storage_error(&error))?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PART);
        let mut rest = bytes;
        while !rest.is_empty() {
            writer.wait_for_capacity(PARTS_AT_ONCE).await.map_err(|error| storage_error(&error))?;
            writer.put(rest.split_to(rest.len().min(PART)));
        }
        // What was uploaded of one that fails here, the store's rule for unfinished uploads removes.
        writer.finish().await.map(drop).map_err(|error| storage_error(&error))
    }

    /// Copies a file within the store; `false` if it is not there.
    pub(crate) async fn copy(&self, from: &BlobKey, to: &BlobKey) -> Result<bool> {
        match self.store.copy(&self.path(from.as_str()), &self.path(to.as_str())).await {
            Ok(()) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(storage_error(&error)),
        }
    }

    /// The file, which is known to be that long; `None` if it is not there.
    pub(crate) async fn get(&self, key: &BlobKey, length: u64) -> Result<Option<Bytes>> {
        let got = match self.store.get(&self.path(key.as_str())).await {
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(storage_error(&error)),
        };
        let bytes = got.bytes().await.map_err(|error| storage_error(&error))?;
        whole(key, bytes.len() as u64, length)?;
        Ok(Some(bytes))
    }

    /// The same in a file of its own that has no name, piece by piece: however large it is, a piece is in memory.
    pub(crate) async fn fetch(&self, key: &BlobKey, length: u64) -> Result<Option<std::fs::File>> {
        let got = match self.store.get(&self.path(key.as_str())).await {
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(storage_error(&error)),
        };
        let here = |error: std::io::Error| Error::Storage {
            action: "write",
            path: std::env::temp_dir(),
            source: Arc::new(error),
        };
        let mut file = tempfile::tempfile().map_err(here)?;
        let mut pieces = got.into_stream();
        let mut written = 0;
        while let Some(piece) = pieces.try_next().await.map_err(|error| storage_error(&error))? {
            written += piece.len() as u64;
            file = tokio::task::spawn_blocking(move || file.write_all(&piece).map(|()| file))
                .await
                .map_err(|_| Error::Closed)?
                .map_err(here)?;
        }
        whole(key, written, length)?;
        std::io::Seek::rewind(&mut file).map_err(here)?;
        Ok(Some(file))
    }

    /// Deletes files; those that are not there are no error.
    pub(crate) async fn delete_all(&self, keys: &[String]) -> Result<()> {
        let paths: Vec<_> = keys.iter().map(|key| Ok(self.path(key))).collect();
        let mut deleted = self.store.delete_stream(stream::iter(paths).boxed());
        while let Some(outcome) = deleted.next().await {
            match outcome {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(storage_error(&error)),
            }
        }
        Ok(())
    }

    /// Looks whether the store answers, and with `upload` whether it takes a file.
    pub(crate) async fn probe(&self, upload: bool) -> Result<()> {
        let path = self.path("probe");
        if upload {
            self.store
                .put(&path, Bytes::from_static(&[0; 1024]).into())
                .await
                .map_err(|error| storage_error(&error))?;
        }
        match self.store.head(&path).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(storage_error(&error)),
        }
    }
}

/// A store that breaks off in the middle must not be taken for one that is done.
fn whole(key: &BlobKey, got: u64, length: u64) -> Result<()> {
    if got == length { Ok(()) } else { Err(unavailable(format!("{key}: {got} of {length} bytes came"))) }
}
