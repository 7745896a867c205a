//! No bytes make the decoder panic, hang or exceed its limits: random bytes, and real files that were damaged.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::sync::LazyLock;

use pixels::{DecodeLimits, Picture};
use proptest::prelude::*;

/// Every picture file of `tests/pictures`.
static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/pictures");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|name| name != "py" && name != "json"))
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
});

/// Decoding ends, and what comes out obeys the limits.
fn survives(bytes: &[u8]) {
    let limits = DecodeLimits { max_pixels: 1 << 20, min_side: 1, ..DecodeLimits::default() };
    if let Ok(picture) = Picture::decode(bytes, &limits) {
        let (width, height) = picture.rgb.dimensions();
        assert!(width >= 1 && height >= 1 && u64::from(width) * u64::from(height) <= limits.max_pixels);
        assert!(picture.alpha.is_none_or(|alpha| alpha.dimensions() == (width, height)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        survives(&bytes);
    }

    #[test]
    fn random_bytes_behind_a_signature(signature in 0..6usize, bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let signature: &[u8] = [
            &b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], b"\xFF\xD8\xFF\xE0", b"RIFF\0\x02\0\0WEBPVP8X\x0a\0\0\0", b"GIF89a",
            b"BM", b"II*\0\x08\0\0\0",
        ][signature];
        survives(&[signature, &bytes].concat());
    }

    #[test]
    fn a_few_bytes_overwritten(
        file in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = file.get(&FILES).clone();
        for (place, value) in changes {
            *place.get_mut(&mut bytes) = value;
        }
        survives(&bytes);
    }

    #[test]
    fn a_header_byte_overwritten(file in any::<prop::sample::Index>(), place in 0..96usize, value in any::<u8>()) {
        let mut bytes = file.get(&FILES).clone();
        let last = bytes.len() - 1;
        bytes[place.min(last)] = value;
        survives(&bytes);
    }

    #[test]
    fn pieces_cut_out_doubled_and_swapped_between_files(
        (one, other) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        (from, to, at) in (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let (one, other) = (one.get(&FILES), other.get(&FILES));
        let (from, to) = (from.index(other.len()), to.index(other.len()));
        let piece = &other[from.min(to)..from.max(to)];
        let at = at.index(one.len());
        survives(&[&one[..at], piece, &one[at..]].concat());
        survives(&[&one[..at], piece].concat());
        survives(&one[..at]);
    }
}
