//! Profiles in TOML.

use crate::files::with_file;
use crate::limits::bounded;

/// One input.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    with_file("profile.toml", text.as_bytes(), |path| {
        let path = path.to_str().expect("a path of ours");
        let _ = bounded(text.len(), 0, || pipeline::profile::load(path));
    });
}
