//! JSON bodies of both transfer routes: whatever is accepted is within the limits and no larger than the body.
#![no_main]

use std::sync::LazyLock;

use api::{Limits, Schema};
use libfuzzer_sys::fuzz_target;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::new(Limits::default()));

fuzz_target!(|body: &[u8]| {
    if let Ok(request) = fuzz::bounded(body.len(), 0, || SCHEMA.from_json(body)) {
        assert!(request.inline_bytes() <= body.len());
    }
});
