//! JSON bodies of `/upload-asset`.

use crate::limits::bounded;

/// One input.
pub fn run(body: &[u8]) {
    if let Ok(files) = bounded(body.len(), 0, || api::read_upload(body)) {
        assert!(files.len() <= api::MOST_UPLOADS);
        assert!(files.iter().map(Vec::len).sum::<usize>() <= body.len());
    }
}
