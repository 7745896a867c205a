//! The golden runs' weight files, written into a folder as a user would have them, beside the profile that names them.

use std::path::PathBuf;

use tempfile::TempDir;

/// The golden folder.
fn golden() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden"))
}

/// A folder with `tiny.toml` and the files of every model in it.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = golden().join("weights_manifest.json");
    for (model, shapes) in networks::synthetic::read_manifest(&manifest).expect("a manifest") {
        let file = folder.path().join(format!("{model}.safetensors"));
        networks::synthetic::write(&model, &shapes, &file).expect("written");
    }
    std::fs::copy(golden().join("tiny.toml"), folder.path().join("tiny.toml")).expect("copied");
    folder
}
