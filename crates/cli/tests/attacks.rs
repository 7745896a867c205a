//! The real binary on pictures made to end it: refused like any other, with exit code 2.

#![allow(clippy::expect_used)] // helpers of tests are tests

use std::path::{Path, PathBuf};
use std::process::Command;

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(path)
}

/// A million frames, each in the frame before: 24 MB.
fn nested_frames() -> Vec<u8> {
    let depth: u32 = 1_000_000;
    let level = |inner: u32| [b"ANMF", &(inner + 16).to_le_bytes()[..], &[0; 16]].concat();
    let chunks: Vec<u8> = (0..depth).rev().flat_map(|level_| level(24 * level_)).collect();
    [b"RIFF", &(chunks.len() as u32 + 4).to_le_bytes()[..], b"WEBP", &chunks].concat()
}

/// Some readers see 128 × 128 inside the comment behind the short APP0; the frame says 32000 × 32000.
fn two_headed_jpeg() -> Vec<u8> {
    let frame = |side: u16| {
        [b"\xFF\xC0\0\x0B\x08", &side.to_be_bytes()[..], &side.to_be_bytes(), b"\x01\x01\x11\0"].concat()
    };
    let inside = frame(128);
    let comment = [b"\xFF\xFE", &(inside.len() as u16 + 2).to_be_bytes()[..], &inside].concat();
    [
        b"\xFF\xD8\xFF\xE0\0\x06aaaa",
        &comment[..],
        &frame(32_000),
        b"\xFF\xDA\0\x08\x01\x01\0\0\x3F\0\0\0\xFF\xD9",
    ]
    .concat()
}

#[test]
fn hostile_pictures_are_refused_and_nothing_dies() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in
        [("nested.webp", nested_frames()), ("two.jpg", two_headed_jpeg()), ("empty.png", Vec::new())]
    {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        let output = Command::new(env!("CARGO_BIN_EXE_material-transfer"))
            .env_clear()
            .args(["transfer", "--device", "cpu", "--output", "out.png", "--material"])
            .arg(example("materials/marble.jpg"))
            .arg("--subject")
            .arg(&path)
            .current_dir(folder.path())
            .output()
            .expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains("--subject"), "{name}: {said}");
    }
}
