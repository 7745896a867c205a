//! Weight files from somewhere: torch, as a zip archive of pickles and as one legacy pickle.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz::read_weights("model.pth", bytes));
