//! What decoding takes in memory is what its cost says beforehand. One test, as it looks at the memory of the whole process.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use image::{ExtendedColorType, ImageBuffer, ImageEncoder, Luma, LumaA, Rgb, RgbImage, Rgba};
use pixels::{DecodeLimits, OutputFormat, Picture};

/// What a decode may take that does not grow with the picture, and what the allocator rounds up to, in bytes.
const SLACK: u64 = 24 << 20;

fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

fn png(bytes: &[u8], width: u32, height: u32, colour: ExtendedColorType) -> Vec<u8> {
    use image::codecs::png::{CompressionType, FilterType, PngEncoder};
    let mut file = Vec::new();
    PngEncoder::new_with_quality(&mut file, CompressionType::Fast, FilterType::NoFilter)
        .write_image(bytes, width, height, colour)
        .unwrap();
    file
}

fn jpeg(rgb: &RgbImage, progressive: bool) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut file, 80);
    encoder.set_progressive(progressive);
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_1_1);
    encoder.encode(rgb, rgb.width() as u16, rgb.height() as u16, jpeg_encoder::ColorType::Rgb).unwrap();
    file
}

/// Samples of 16 bits as the encoder takes them.
fn bytes_of(samples: &[u16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_ne_bytes()).collect()
}

/// 12 megapixels.
const SIZE: (u32, u32) = (4000, 3000);

/// Writes the files, in a process whose memory does not count.
fn make(folder: &std::path::Path) {
    let (width, height) = SIZE;
    let rgb = RgbImage::from_fn(width, height, |x, y| Rgb([(x / 16) as u8, (y / 16) as u8, 9]));
    let wide = |x: u32| (x * 16) as u16;
    let rgba16 = ImageBuffer::from_fn(width, height, |x, y| Rgba([wide(x), wide(y), 9, 30_000u16]));
    let rgb16 = ImageBuffer::from_fn(width, height, |x, y| Rgb([wide(x), wide(y), 9u16]));
    let grey = ImageBuffer::from_fn(width, height, |x, _| Luma([(x / 16) as u8]));
    let grey_alpha = ImageBuffer::from_fn(width, height, |x, y| LumaA([(x / 16) as u8, (y / 16) as u8]));
    let mut tiff = std::io::Cursor::new(Vec::new());
    let mut encoder = tiff::encoder::TiffEncoder::new(&mut tiff).unwrap();
    encoder.write_image::<tiff::encoder::colortype::RGB16>(width, height, &rgb16).unwrap();
    let mut gif = std::io::Cursor::new(Vec::new());
    image::DynamicImage::from(RgbImage::from_pixel(width, height, Rgb([9, 99, 199])))
        .write_to(&mut gif, image::ImageFormat::Gif)
        .unwrap();
    let files = [
        ("PNG RGB", png(&rgb, width, height, ExtendedColorType::Rgb8)),
        ("PNG grey", png(&grey, width, height, ExtendedColorType::L8)),
        ("PNG grey with alpha", png(&grey_alpha, width, height, ExtendedColorType::La8)),
        ("PNG RGBA 16", png(&bytes_of(&rgba16), width, height, ExtendedColorType::Rgba16)),
        ("TIFF RGB 16", tiff.into_inner()),
        ("GIF", gif.into_inner()),
        ("JPEG", jpeg(&rgb, false)),
        ("JPEG progressive", jpeg(&rgb, true)),
        ("WebP", Picture::opaque(rgb.clone()).encode(OutputFormat::WebP, 50).unwrap()),
    ];
    for (what, file) in files {
        std::fs::write(folder.join(what), file).unwrap();
    }
}

#[test]
fn decoding_takes_what_its_cost_says() {
    if let Some(folder) = std::env::var_os("MAKE_PICTURES_INTO") {
        return make(folder.as_ref());
    }
    let folder = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["decoding_takes_what_its_cost_says", "--exact"]).env("MAKE_PICTURES_INTO", folder.path());
    assert!(child.status().unwrap().success());
    let mut names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert_eq!(names.len(), 9);
    for path in names {
        let what = path.file_name().unwrap().to_string_lossy().into_owned();
        let file = std::fs::read(&path).unwrap();
        let cost = Picture::cost(&file, &DecodeLimits::default()).unwrap().bytes;
        // Forgets the peak (proc(5)).
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = status("VmRSS");
        let picture = Picture::decode(&file, &DecodeLimits::default()).unwrap();
        let taken = status("VmHWM").saturating_sub(before);
        assert_eq!(picture.rgb.dimensions(), SIZE, "{what}");
        assert!(taken <= cost + SLACK, "{what}: {} MiB taken, {} MiB reckoned", taken >> 20, cost >> 20);
    }
}
