//! Stored files that no job names yet.

use std::sync::Arc;

use jobs::{BlobKey, BlobStore};

/// Files that were stored for a job which does not name them yet; deleted when this is dropped, unless [`claimed`](Self::claimed)
/// was called.
pub(crate) struct Unclaimed {
    blobs: Arc<dyn BlobStore>,
    pub(crate) keys: Vec<BlobKey>,
}

impl Unclaimed {
    /// None yet.
    pub(crate) fn new(blobs: &Arc<dyn BlobStore>) -> Self {
        Self { blobs: blobs.clone(), keys: Vec::new() }
    }

    /// A job names them now.
    pub(crate) fn claimed(&mut self) {
        self.keys.clear();
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        let (blobs, keys) = (self.blobs.clone(), std::mem::take(&mut self.keys));
        if let (false, Ok(runtime)) = (keys.is_empty(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                for key in keys {
                    // Whatever stays is swept away by the store in time.
                    let _ = blobs.delete(&key).await;
                }
            });
        }
    }
}
