//! How many threads compute: the option and setting `threads` of `transfer` and `serve`.

use std::num::NonZeroUsize;

use anyhow::Context;

use crate::failure::Failure;

/// Sizes the pool on which everything computes, before anything has; 0 leaves it at one thread a processor.
pub(crate) fn set(count: usize) -> Result<(), Failure> {
    if let Some(count) = NonZeroUsize::new(count) {
        pipeline::set_threads(count).context("the threads that compute do not start")?;
    }
    Ok(())
}
