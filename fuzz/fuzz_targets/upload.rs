//! JSON bodies of `/upload-asset`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(files) = fuzz::bounded(body.len(), 0, || api::read_upload(body)) {
        assert!(files.len() <= api::MOST_UPLOADS);
        assert!(files.iter().map(Vec::len).sum::<usize>() <= body.len());
    }
});
