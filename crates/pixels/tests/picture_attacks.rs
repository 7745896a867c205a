//! Files made to get more out of a decoder than they declare: the very bytes, and what must come of them.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use image::RgbImage;
use pixels::{DecodeLimits, OutputFormat, Picture, PictureError};

fn decode(bytes: &[u8]) -> Result<Picture, PictureError> {
    Picture::decode(bytes, &DecodeLimits::default())
}

fn stone(width: u32, height: u32) -> Picture {
    Picture::opaque(RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x * 7) as u8, (y * 5) as u8, (x ^ y) as u8])
    }))
}

fn jpeg(width: u32, height: u32) -> Vec<u8> {
    stone(width, height).encode(OutputFormat::Jpg, 90).unwrap()
}

/// RIFF around chunks.
fn webp(chunks: &[u8]) -> Vec<u8> {
    [b"RIFF", &(chunks.len() as u32 + 4).to_le_bytes()[..], b"WEBP", chunks].concat()
}

fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let padding = &[0][..body.len() % 2];
    [name, &(body.len() as u32).to_le_bytes()[..], body, padding].concat()
}

/// An extended header with the animation flag.
fn canvas(width: u32, height: u32) -> Vec<u8> {
    let side = |length: u32| (length - 1).to_le_bytes()[..3].to_vec();
    chunk(b"VP8X", &[vec![2, 0, 0, 0], side(width), side(height)].concat())
}

#[test]
fn frames_within_frames_of_any_depth_are_no_picture() {
    for depth in [1, 2, 100, 40_000, 1_000_000] {
        // Each level is a chunk of the next, behind 16 bytes of a frame's header; the sizes count from the inside.
        let level = |inner: u32| [b"ANMF", &(inner + 16).to_le_bytes()[..], &[0; 16]].concat();
        let levels: Vec<u8> = (0..depth).rev().flat_map(|level_| level(24 * level_)).collect();
        for file in [webp(&levels), webp(&[canvas(64, 64), levels.clone()].concat())] {
            assert!(decode(&file).unwrap_err().is_unreadable(), "depth {depth}");
        }
    }
}

#[test]
fn a_second_canvas_is_no_way_around_the_first() {
    let large = stone(900, 900).encode(OutputFormat::WebP, 80).unwrap();
    let frame = &large[12..];
    let small = DecodeLimits { max_pixels: 100 * 100, ..DecodeLimits::default() };
    for chunks in [
        [canvas(64, 64), canvas(900, 900), frame.to_vec()].concat(),
        [frame.to_vec(), canvas(64, 64)].concat(),
        [canvas(64, 64), frame.to_vec()].concat(),
        [chunk(b"ANMF", &[&[0; 16], frame].concat()), canvas(64, 64)].concat(),
        [canvas(64, 64), chunk(b"ANMF", &[&[0; 16], frame].concat())].concat(),
        [canvas(64, 64), chunk(b"ANMF", &[&[0; 16][..], &canvas(900, 900), frame].concat())].concat(),
    ] {
        assert!(Picture::decode(&webp(&chunks), &small).is_err());
    }
    assert!(decode(&webp(frame)).is_ok(), "the frame itself is good");
}

/// A short APP0, behind which some readers lose step and see the comment's inside: headers of 128 × 128. The true header
/// comes afterwards and says `side` × `side`.
fn two_headed(side: u16) -> Vec<u8> {
    let honest = jpeg(128, 128);
    let mut true_part = honest[2..].to_vec();
    let frame = true_part.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    let scan = honest.windows(2).position(|pair| pair == [0xFF, 0xDA]).unwrap();
    true_part[frame + 5..frame + 7].copy_from_slice(&side.to_be_bytes());
    true_part[frame + 7..frame + 9].copy_from_slice(&side.to_be_bytes());
    let shown = &honest[2..scan + 14];
    let mut file = b"\xFF\xD8\xFF\xE0\0\x06aaaa\xFF\xFE".to_vec();
    file.extend((shown.len() as u16 + 2).to_be_bytes());
    file.extend(shown);
    file.extend(true_part);
    file
}

#[test]
fn a_header_shown_to_one_reader_only_does_not_count() {
    for side in [12_000, 32_000, 65_535] {
        let (width, height) = (u32::from(side), u32::from(side));
        let refused = Err(PictureError::TooLarge { width, height, max_pixels: 100_000_000 });
        assert_eq!(decode(&two_headed(side)), refused);
    }
    let seen = decode(&two_headed(128)).unwrap();
    assert_eq!(seen.rgb.dimensions(), (128, 128), "the same wrapping around a true header");
    // Two frame headers, one after the other.
    let honest = jpeg(128, 128);
    let frame = honest.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    let twice = [&honest[..frame], &honest[frame..frame + 19], &honest[frame..]].concat();
    assert!(decode(&twice).unwrap_err().is_unreadable());
}

#[test]
fn the_memory_of_a_decode_is_a_limit_of_its_own() {
    let bytes = jpeg(1000, 800);
    let cost = Picture::cost(&bytes, &DecodeLimits::default()).unwrap();
    assert_eq!((cost.width, cost.height), (1000, 800));
    let exactly = DecodeLimits { max_bytes: cost.bytes, ..DecodeLimits::default() };
    assert!(Picture::decode(&bytes, &exactly).is_ok());
    let less = DecodeLimits { max_bytes: cost.bytes - 1, ..DecodeLimits::default() };
    let refused = Picture::decode(&bytes, &less).unwrap_err();
    assert!(matches!(refused, PictureError::TooHeavy { .. }), "{refused}");
    assert!(
        refused.to_string().starts_with("image too large to decode (1000×800 pixels need 6 MB"),
        "{refused}"
    );
}

/// A TIFF whose directory announces millions of values that the file does not have, in both byte orders and as BigTIFF.
#[test]
fn a_tiff_has_the_values_that_it_announces() {
    let honest = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/pictures/lzw.tif")).unwrap();
    assert!(decode(&honest).is_ok());
    let entry = |big: bool, order: fn(u64, usize) -> Vec<u8>, tag: u64, kind: u64, count: u64, value: u64| {
        let width = if big { 8 } else { 4 };
        [order(tag, 2), order(kind, 2), order(count, width), order(value, width)].concat()
    };
    let little: fn(u64, usize) -> Vec<u8> = |number, length| number.to_le_bytes()[..length].to_vec();
    let large: fn(u64, usize) -> Vec<u8> = |number, length| number.to_be_bytes()[8 - length..].to_vec();
    for (big, order, name) in [(false, little, b"II"), (false, large, b"MM"), (true, little, b"II")] {
        let head = if big {
            [name.to_vec(), order(43, 2), order(8, 2), order(0, 2), order(16, 8), order(6, 8)].concat()
        } else {
            [name.to_vec(), order(42, 2), order(8, 4), order(6, 2)].concat()
        };
        let strips = 4_000_000; // times 32 bytes
        let entries = [
            entry(big, order, 256, 4, 1, 96),
            entry(big, order, 257, 4, 1, 72),
            entry(big, order, 258, 3, 1, 8),
            entry(big, order, 273, 4, strips, 8),
            entry(big, order, 277, 3, strips, 8),
            entry(big, order, 279, 4, strips, 8),
        ];
        let file = [head, entries.concat(), vec![0; 400]].concat();
        assert!(decode(&file).unwrap_err().is_unreadable(), "{big} {name:?}");
    }
}

/// The decoder unpacks the whole frame, however small the screen is: it counts.
#[test]
fn a_frame_larger_than_its_screen_costs_what_it_is() {
    let head =
        |side: u16| [b"GIF89a".as_slice(), &side.to_le_bytes(), &side.to_le_bytes(), &[0, 0, 0]].concat();
    let frame =
        |side: u16| [&[0x2C, 0, 0, 0, 0][..], &side.to_le_bytes(), &side.to_le_bytes(), &[0]].concat();
    let remark = [0x21, 0xFE, 2, b'h', b'i', 0];
    let data = [2, 2, 0x4C, 0x01, 0, 0x3B];
    let cost = |side: u16| {
        let file = [&head(96)[..], &remark, &frame(side), &data].concat();
        Picture::cost(&file, &DecodeLimits { min_side: 1, ..DecodeLimits::default() })
    };
    assert!(cost(96).expect("a small one").bytes < 96 * 96 * 16);
    assert!(cost(5000).expect("a larger one").bytes >= 5000 * 5000 * 4);
    assert!(matches!(cost(60_000), Err(PictureError::TooHeavy { .. })));
}
