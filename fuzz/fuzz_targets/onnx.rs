//! Weight files from somewhere: ONNX.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz::read_weights("model.onnx", bytes));
