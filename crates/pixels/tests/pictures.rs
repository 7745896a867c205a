//! Files made by real encoders (`tests/pictures/make_pictures.py`) against what independent readers make of them, and the
//! ways in which a file can be too big, cut short or no picture at all.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

use std::path::PathBuf;

use image::RgbImage;
use jpeg_encoder::ColorType;
use pixels::{DecodeLimits, OutputFormat, Picture, PictureError};
use serde_json::Value;

/// Blocks of the scene in the test pictures, in pixels.
const BLOCK: u32 = 24;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/pictures")
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn decode(bytes: &[u8]) -> Result<Picture, PictureError> {
    Picture::decode(bytes, &DecodeLimits::default())
}

/// The colour and alpha in the middle of every block, row by row.
fn centres(picture: &Picture) -> Vec<[u8; 4]> {
    let (width, height) = picture.rgb.dimensions();
    let places = (0..height / BLOCK).flat_map(|y| (0..width / BLOCK).map(move |x| (x, y)));
    places
        .map(|(x, y)| (x * BLOCK + BLOCK / 2, y * BLOCK + BLOCK / 2))
        .map(|(x, y)| {
            let [r, g, b] = picture.rgb.get_pixel(x, y).0;
            [r, g, b, picture.alpha.as_ref().map_or(255, |alpha| alpha.get_pixel(x, y).0[0])]
        })
        .collect()
}

#[test]
fn every_file_is_seen_as_other_readers_see_it() {
    let expected: Value = serde_json::from_slice(&file("expected.json")).unwrap();
    let expected = expected.as_object().unwrap();
    assert!(expected.len() > 40);
    for (name, want) in expected {
        let picture = decode(&file(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let size = [want["width"].as_u64().unwrap(), want["height"].as_u64().unwrap()];
        assert_eq!([picture.rgb.width(), picture.rgb.height()].map(u64::from), size, "{name}");
        assert_eq!(picture.alpha.is_some(), want["alpha"].as_bool().unwrap(), "{name}: alpha");
        let tolerance = want["tolerance"].as_i64().unwrap();
        for (block, (got, want)) in
            centres(&picture).iter().zip(want["blocks"].as_array().unwrap()).enumerate()
        {
            let want: Vec<i64> =
                want.as_array().unwrap().iter().map(|value| value.as_i64().unwrap()).collect();
            // Colour under full transparency means nothing.
            let seen = if want[3] == 0 { 3..4 } else { 0..4 };
            for channel in seen {
                let off = (i64::from(got[channel]) - want[channel]).abs();
                assert!(off <= tolerance, "{name}, block {block}: {got:?} instead of {want:?}");
            }
        }
    }
}

#[test]
fn the_declared_type_is_never_asked_for_and_text_is_no_picture() {
    for text in [
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"100\" height=\"100\"></svg>",
        "<?xml version=\"1.0\"?><svg/>",
        "<!doctype html><html><body>404</body></html>",
        "{\"error\":\"no\"}",
        "",
        "GIF89a",
        "BM",
        "II*\0",
    ] {
        assert!(decode(text.as_bytes()).unwrap_err().is_unreadable(), "{text:?}");
    }
}

#[test]
fn a_file_cut_short_is_refused() {
    // At a share of the file that lies inside the pixel data of all of them.
    for name in [
        "rgb.jpg",
        "progressive_444.jpg",
        "cmyk.jpg",
        "rgb.png",
        "rgba_16_p3.png",
        "lossy.webp",
        "lossy_alpha.webp",
        "lossless_alpha.webp",
        "plain.gif",
        "rgb.bmp",
        "lzw.tif",
    ] {
        let bytes = file(name);
        for share in [20, 50, 70, 85] {
            let cut = &bytes[..bytes.len() * share / 100];
            assert!(matches!(decode(cut), Err(PictureError::CutShort(_))), "{name} cut to {share} %");
        }
    }
}

#[test]
fn ycck_is_read_like_cmyk() {
    let inks: Vec<[u8; 4]> = vec![[255, 0, 0, 0], [0, 200, 90, 30], [10, 60, 240, 0], [0, 0, 0, 200]];
    let scene: Vec<u8> =
        (0..96 * 96).flat_map(|pixel| inks[(pixel % 96) / 48 + (pixel / 96) / 48 * 2]).collect();
    let read = |colour| {
        let mut bytes = Vec::new();
        jpeg_encoder::Encoder::new(&mut bytes, 97).encode(&scene, 96, 96, colour).unwrap();
        let picture = decode(&bytes).unwrap();
        [(24, 24), (72, 24), (24, 72), (72, 72)].map(|(x, y)| picture.rgb.get_pixel(x, y).0)
    };
    // `CmykAsYcck` and `Cmyk` store the same scene in two ways; jpeg-encoder inverts the inks as Adobe does.
    let (cmyk, ycck) = (read(ColorType::Cmyk), read(ColorType::CmykAsYcck));
    for ((cmyk, ycck), ink) in cmyk.iter().zip(&ycck).zip(&inks) {
        let light = 255 - u32::from(ink[3]);
        for channel in 0..3 {
            let want = ((255 - u32::from(ink[channel])) * light / 255) as u8;
            assert!(cmyk[channel].abs_diff(want) <= 4, "CMYK {ink:?} became {cmyk:?}");
            assert!(ycck[channel].abs_diff(want) <= 4, "YCCK {ink:?} became {ycck:?}");
        }
    }
}

#[test]
fn components_in_scans_of_their_own_are_read() {
    // Baseline with subsampled colour, one scan a component: what jpeg-encoder writes with fitted Huffman tables.
    let rgb = RgbImage::from_fn(161, 123, |x, y| image::Rgb([x as u8, (2 * y) as u8, 255 - x as u8]));
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 95);
    encoder.set_optimized_huffman_tables(true);
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
    encoder.encode(&rgb, 161, 123, ColorType::Rgb).unwrap();
    assert_eq!(bytes.windows(2).filter(|pair| *pair == [0xFF, 0xDA]).count(), 3);
    let error = mean_error(&Picture::opaque(rgb), &decode(&bytes).unwrap());
    assert!(error < 2.0, "off by {error} levels");
}

#[test]
fn sides_and_pixels_are_held_against_the_limits() {
    let limits = DecodeLimits { max_pixels: 96 * 72, min_side: 72, ..DecodeLimits::default() };
    let bytes = file("rgb.png");
    assert!(Picture::decode(&bytes, &limits).is_ok());
    let fewer = DecodeLimits { max_pixels: 96 * 72 - 1, ..limits };
    let too_large = PictureError::TooLarge { width: 96, height: 72, max_pixels: 96 * 72 - 1 };
    assert_eq!(Picture::decode(&bytes, &fewer), Err(too_large));
    let longer = DecodeLimits { min_side: 73, ..limits };
    let too_small = PictureError::TooSmall { width: 96, height: 72, min_side: 73 };
    assert_eq!(Picture::decode(&bytes, &longer), Err(too_small));
}

/// The header of a PNG, with nothing behind it that could be decoded.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut body = b"IHDR".to_vec();
    body.extend(width.to_be_bytes());
    body.extend(height.to_be_bytes());
    body.extend([8, 2, 0, 0, 0]);
    chunk(&mut bytes, &body);
    bytes
}

/// Appends a PNG chunk: length, name and data, checksum.
fn chunk(bytes: &mut Vec<u8>, body: &[u8]) {
    bytes.extend((body.len() as u32 - 4).to_be_bytes());
    bytes.extend(body);
    bytes.extend(crc32(body).to_be_bytes());
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn bombs_are_refused_on_their_header() {
    // A PNG of 3.6 gigapixels whose data would be a few megabytes of zeros. The refusal names the declared size, so the
    // header was read; there are no pixels, so none were.
    let mut png = png_header(60_000, 60_000);
    chunk(&mut png, b"IDAT\x78\x9c\x03\0\0\0\0\x01");
    let too_large = |width, height| {
        Err(PictureError::TooLarge { width, height, max_pixels: DecodeLimits::default().max_pixels })
    };
    assert_eq!(decode(&png), too_large(60_000, 60_000));

    // The same for GIF, BMP and WebP: a real file, its header made to lie.
    let mut gif = file("plain.gif");
    gif[6..10].copy_from_slice(&[0xFF; 4]);
    assert_eq!(decode(&gif), too_large(65_535, 65_535));
    let mut bmp = file("rgb.bmp");
    bmp[18..26].copy_from_slice(&[0x00, 0x7D, 0, 0, 0x00, 0x7D, 0, 0]);
    assert_eq!(decode(&bmp), too_large(32_000, 32_000));
    let mut webp = file("lossy_alpha.webp");
    webp[24..30].copy_from_slice(&[0xFF, 0x7F, 0, 0xFF, 0x7F, 0]);
    assert_eq!(decode(&webp), too_large(1 << 15, 1 << 15));
    let mut jpeg = file("rgb.jpg");
    let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xFF; 4]);
    assert_eq!(decode(&jpeg), too_large(65_535, 65_535));
}

#[test]
fn a_frame_larger_than_its_canvas_is_refused() {
    let mut webp = file("lossy_alpha.webp");
    let frame = webp.windows(4).position(|name| name == b"VP8 ").unwrap() + 8;
    webp[frame + 6..frame + 10].copy_from_slice(&[0xFF, 0x3F, 0xFF, 0x3F]);
    assert!(decode(&webp).unwrap_err().is_unreadable());
    let mut gif = file("plain.gif");
    let frame = gif.windows(5).position(|bytes| bytes == [0x2C, 0, 0, 0, 0]).expect("an image descriptor");
    gif[frame + 5..frame + 9].copy_from_slice(&[0xFF; 4]);
    assert!(matches!(decode(&gif), Err(PictureError::TooHeavy { .. })));
}

#[test]
fn a_profile_that_unpacks_to_gigabytes_is_not_unpacked() {
    // 1 GiB of zeros in a stored-size-free deflate stream: the encoder of the test is the real one.
    let rgb = RgbImage::from_pixel(64, 64, image::Rgb([9, 99, 199]));
    let plain = Picture::opaque(rgb).encode(OutputFormat::Png, 0).unwrap();
    let zeros = deflated_zeros(1 << 30);
    assert!(zeros.len() < 2 << 20);
    let mut bomb = plain[..33].to_vec();
    chunk(&mut bomb, &[b"iCCPp\0\0".as_slice(), &zeros].concat());
    bomb.extend(&plain[33..]);
    // Refused or read without its profile: both are fine, a gigabyte of memory is not.
    let before = peak_memory();
    let _ = decode(&bomb);
    assert!(peak_memory() - before < 200 << 20, "{} MiB", (peak_memory() - before) >> 20);
}

/// A zlib stream of `count` zeros, by way of the PNG encoder's own compressor.
fn deflated_zeros(count: usize) -> Vec<u8> {
    let mut stream = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..count >> 20 {
        std::io::Write::write_all(&mut stream, &zeros).unwrap();
    }
    stream.finish().unwrap()
}

/// The most memory this process has ever held, in bytes (Linux; elsewhere 0, which passes).
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok()).unwrap_or(0) << 10
}

#[test]
fn a_large_picture_within_the_limits_is_read() {
    // 16 bits, four channels, 24 megapixels: more than the side allowance of the decoders, less than the limit.
    let large =
        image::ImageBuffer::from_fn(6000, 4000, |x, y| image::Rgba([x as u16, y as u16, 77, 30_000u16]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    let encoder = image::codecs::png::PngEncoder::new_with_quality(
        &mut bytes,
        image::codecs::png::CompressionType::Fast,
        image::codecs::png::FilterType::Up,
    );
    large.write_with_encoder(encoder).unwrap();
    let picture = decode(bytes.get_ref()).unwrap();
    assert_eq!(picture.rgb.dimensions(), (6000, 4000));
    assert_eq!(picture.rgb.get_pixel(5140, 2570).0, [20, 10, 0]);
    assert_eq!(picture.alpha.unwrap().get_pixel(0, 0).0, [117]);
}

#[test]
fn written_files_are_read_back() {
    let rgb = RgbImage::from_fn(160, 120, |x, y| {
        image::Rgb([(x * 3 / 2) as u8, (y * 2) as u8, ((x + y) / 2) as u8])
    });
    let picture = Picture::opaque(rgb);
    let png = picture.encode(OutputFormat::Png, 0).unwrap();
    assert_eq!(decode(&png).unwrap(), picture);
    assert_eq!(png, picture.encode(OutputFormat::Png, 100).unwrap(), "quality has no meaning for PNG");
    for format in [OutputFormat::WebP, OutputFormat::Jpg] {
        let files: Vec<Vec<u8>> =
            [0, 20, 80, 100].iter().map(|&quality| picture.encode(format, quality).unwrap()).collect();
        let errors: Vec<f64> =
            files.iter().map(|file| mean_error(&picture, &decode(file).unwrap())).collect();
        assert!(files.is_sorted_by_key(Vec::len), "{format}: better is larger");
        assert!(errors.is_sorted_by(|worse, better| worse >= better), "{format}: {errors:?}");
        assert!(errors[2] < 4.0, "{format} at 80: off by {} levels", errors[2]);
        assert_eq!(files[2], picture.encode(format, 80).unwrap(), "{format}: the same bytes again");
    }
    assert_eq!(&picture.encode(OutputFormat::WebP, 80).unwrap()[8..15], b"WEBPVP8");
    let jpeg = picture.encode(OutputFormat::Jpg, 80).unwrap();
    let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).expect("a baseline frame");
    assert_eq!(jpeg[frame + 11], 0x22, "colour halved both ways");
    assert_eq!(jpeg.windows(2).filter(|pair| *pair == [0xFF, 0xDA]).count(), 1, "one scan");
}

fn mean_error(a: &Picture, b: &Picture) -> f64 {
    let sum: u64 = a.rgb.iter().zip(b.rgb.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.rgb.len() as f64
}

#[test]
fn a_picture_too_long_for_the_format_is_refused() {
    let long = Picture::opaque(RgbImage::new(16_384, 1));
    let refused = PictureError::NoRoom { width: 16_384, height: 1, format: OutputFormat::WebP };
    assert_eq!(long.encode(OutputFormat::WebP, 80), Err(refused.clone()));
    assert_eq!(
        refused.to_string(),
        "16384×1 pixels do not fit into a WebP file (each side at most 16383); ask for another format"
    );
    assert!(long.encode(OutputFormat::Jpg, 80).is_ok());
    assert!(Picture::opaque(RgbImage::new(0, 5)).encode(OutputFormat::Png, 80).is_err());
}
