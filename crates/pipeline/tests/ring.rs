//! `background = "exact"` on photographs: how much leaks out of the mask, and how much of a seam of tone is left at its edge.
//!
//! The embedded engine is run as it is. SDXL's autoencoder needs published weights; its place is taken by what such an
//! autoencoder is known to do to a photograph, a shift of tone that differs from place to place and a loss of fine detail, and what is
//! measured is the stage that mends it. Pictures: those in `examples/`, or the folder that `RING_PICTURES` names.
//!
//! ```sh
//! RING_PICTURES=/photographs cargo test --release -p pipeline --test ring -- --nocapture
//! ```

#![allow(clippy::expect_used)] // helpers of tests are tests

use std::path::PathBuf;

use candle_core::Device;
use image::{Rgb, RgbImage};
use pipeline::{Background, Cancel, DecodeLimits, Picture, Pictures, Settings, Silent, Transfer};
use pixels::Raster;

/// Longest side at which the pictures are looked at, and how many of them at most.
const SIDE: u32 = 512;
const MOST: usize = 20;
/// The ring: so many pixels inwards from where the mask begins.
const RING: usize = 6;
/// A seam is seen where neighbouring areas differ, not where single pixels do: colours are averaged over this width first.
const SEEN: f32 = 4.0;

fn folder() -> PathBuf {
    let given = std::env::var_os("RING_PICTURES").map(PathBuf::from);
    given.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/subjects")))
}

/// By name, shrunk.
fn photographs() -> Vec<(String, RgbImage)> {
    let files = std::fs::read_dir(folder()).expect("a folder of pictures");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    let read = |path: &PathBuf| {
        let picture = Picture::decode(&std::fs::read(path).ok()?, &DecodeLimits::default()).ok()?;
        let name = path.file_stem()?.to_string_lossy().into_owned();
        Some((name, picture.shrunk_to_fit(SIDE, SIDE).rgb))
            .filter(|(_, rgb)| rgb.width().min(rgb.height()) > 150)
    };
    files.iter().filter_map(read).take(MOST).collect()
}

/// White inside an ellipse that lies on no grid.
fn ellipse(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let u = (f64::from(x) + 0.5) / f64::from(width) - 0.487;
        let v = (f64::from(y) + 0.5) / f64::from(height) - 0.521;
        Rgb([if (u / 0.31).powi(2) + (v / 0.27).powi(2) < 1.0 { 255 } else { 0 }; 3])
    })
}

/// The mask as engines read it.
fn mask(of: &RgbImage) -> Raster {
    let (width, height) = of.dimensions();
    let given = Picture::opaque(ellipse(width, height));
    engine::given_mask("subject_mask", &given, (width, height), &Settings::default()).expect("a mask")
}

/// What an autoencoder makes of a photograph: other tones, a little different everywhere, and softer.
fn decoded(photograph: &RgbImage) -> RgbImage {
    let soft = Raster::from_rgb(photograph).blur(0.7);
    let (width, height) = photograph.dimensions();
    RgbImage::from_fn(width, height, |x, y| {
        let sway = 0.012 * (f64::from(x) / f64::from(width) * 5.0).sin()
            + 0.01 * (f64::from(y) / f64::from(height) * 4.0).cos();
        let pixel = soft.pixel(x as usize, y as usize);
        let shifted = [(0.96, 0.035), (0.97, 0.01), (0.95, 0.05)];
        let value = |c: usize| f64::from(pixel[c]) * shifted[c].0 + shifted[c].1 + sway;
        Rgb([0, 1, 2].map(|c| (value(c).clamp(0.0, 1.0) * 255.0).round() as u8))
    })
}

/// CIE L*a*b* under D65 of an sRGB pixel, 0 to 1 each.
fn lab(rgb: &[f32]) -> [f64; 3] {
    let linear = |v: f32| {
        let v = f64::from(v);
        if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
    };
    let [r, g, b] = [linear(rgb[0]), linear(rgb[1]), linear(rgb[2])];
    let f = |t: f64| if t > 0.008_856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 };
    let x = f((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505);
    let y = f(0.2126 * r + 0.7152 * g + 0.0722 * b);
    let z = f((0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089);
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

/// Mean colour difference (CIE 1976) of two pictures on the ring just inside the mask.
fn ring(a: &RgbImage, b: &RgbImage, mask: &Raster) -> f64 {
    let marked = mask.map(1, |m, o| o[0] = f32::from(u8::from(m[0] > 0.0)));
    let within = marked.shrunken(RING);
    let (a, b) = (Raster::from_rgb(a).blur(SEEN), Raster::from_rgb(b).blur(SEEN));
    let on_ring = (0..mask.data.len()).filter(|at| marked.data[*at] > 0.5 && within.data[*at] < 0.5);
    let apart = on_ring.map(|at| {
        let (x, y) = (at % mask.width, at / mask.width);
        let (a, b) = (lab(a.pixel(x, y)), lab(b.pixel(x, y)));
        (0..3).map(|c| (a[c] - b[c]).powi(2)).sum::<f64>().sqrt()
    });
    let (sum, count) = apart.fold((0.0, 0.0f64), |(sum, count), each| (sum + each, count + 1.0));
    sum / count.max(1.0)
}

/// The largest difference where the mask is 0, in 8-bit steps.
fn leakage(before: &RgbImage, after: &RgbImage, mask: &Raster) -> u8 {
    let outside = before.pixels().zip(after.pixels()).zip(&mask.data).filter(|(_, m)| **m <= 0.0);
    let apart = outside.flat_map(|((a, b), _)| (0..3).map(|c| a[c].abs_diff(b[c])).collect::<Vec<_>>());
    apart.max().unwrap_or(0)
}

#[test]
fn the_tone_of_an_autoencoder_leaves_no_seam() {
    let photographs = photographs();
    assert!(photographs.len() >= 4, "{} pictures", photographs.len());
    for (name, photograph) in &photographs {
        let (mask, painted) = (mask(photograph), decoded(photograph));
        let mended = sdxl::exact::background(photograph, &painted, &mask);
        let (before, after) = (ring(photograph, &painted, &mask), ring(photograph, &mended, &mask));
        println!(
            "{name}: leakage {}, ring ΔE {before:.2} -> {after:.2}",
            leakage(photograph, &mended, &mask)
        );
        assert_eq!(leakage(photograph, &mended, &mask), 0, "{name}");
        assert!(before > 1.5, "{name}: there is something to mend: {before:.2}");
        assert!(after <= 1.0, "{name}: {after:.2}");
    }
}

#[test]
fn the_embedded_engine_leaks_nothing() {
    let engine = pipeline::engine(&pipeline::profile::load("exemplar").expect("a profile"), &Device::Cpu)
        .expect("an engine");
    let photographs = photographs();
    let material = photographs.last().expect("a picture").1.clone();
    for (name, photograph) in &photographs[..photographs.len() - 1] {
        let (width, height) = photograph.dimensions();
        let pictures = Pictures {
            subject_mask: Some(Picture::opaque(ellipse(width, height))),
            ..Pictures::pair(Picture::opaque(photograph.clone()), Picture::opaque(material.clone()))
        };
        let settings = Settings { background: Background::Exact, steps: 2, ..Settings::default() };
        let outcome = engine.transfer(&Transfer { pictures, settings }, &Silent, &Cancel::default());
        let after = outcome.expect("an outcome").picture.rgb;
        let (leaked, changed) =
            (leakage(photograph, &after, &mask(photograph)), ring(photograph, &after, &mask(photograph)));
        println!("{name}: leakage {leaked}, painted inside (ΔE {changed:.1})");
        assert_eq!(leaked, 0, "{name}");
        assert!(changed > 1.0, "{name}: nothing was painted");
    }
}
