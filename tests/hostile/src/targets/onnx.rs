//! Weight files from somewhere: ONNX.

use crate::files::read_weights;

/// One input.
pub fn run(bytes: &[u8]) {
    read_weights("model.onnx", bytes);
}
