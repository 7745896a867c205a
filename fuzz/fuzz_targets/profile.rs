//! Profiles in TOML.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    fuzz::with_file("profile.toml", text.as_bytes(), |path| {
        let path = path.to_str().expect("a path of ours");
        let _ = fuzz::bounded(text.len(), 0, || pipeline::profile::load(path));
    });
});
