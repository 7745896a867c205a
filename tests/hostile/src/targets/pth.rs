//! Weight files from somewhere: torch, as a zip archive of pickles and as one legacy pickle.

use crate::files::read_weights;

/// One input.
pub fn run(bytes: &[u8]) {
    read_weights("model.pth", bytes);
}
