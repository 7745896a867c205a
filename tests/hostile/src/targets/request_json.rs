//! JSON bodies of both transfer routes: whatever is accepted is within the limits and no larger than the body.

use std::sync::LazyLock;

use api::{Limits, Schema};

use crate::limits::bounded;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::new(Limits::default()));

/// One input.
pub fn run(body: &[u8]) {
    if let Ok(request) = bounded(body.len(), 0, || SCHEMA.from_json(body)) {
        assert!(request.inline_bytes() <= body.len());
    }
}
