//! The material as CLIP's image encoder sees it: short side 224, central square, 8-bit steps, CLIP's statistics
//! (docs/reference-pipeline.md 8.3); and what may be done so that it sees more of it, or larger.

use candle_core::{Device, Result, Tensor};
use engine::MaterialFit;
use image::{Rgb, RgbImage, imageops};

use super::crop::Window;
use super::resize::{scaled, torch};
use pixels::Raster;

/// Side of the encoder's square input.
pub(super) const SIDE: u32 = 224;
const MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];

/// The pictures that the encoder looks at, whose impressions are averaged: as the reference does it one, the centre of the
/// material; by another fit all of it; by another `scale` a part of it, or several of it side by side.
#[must_use]
pub fn views(given: &RgbImage, fit: MaterialFit, scale: f64) -> Vec<RgbImage> {
    let views = match fit {
        MaterialFit::Crop => vec![Window::material(given.dimensions()).of(given)],
        MaterialFit::Pad => vec![padded(given)],
        MaterialFit::Tiles => tiles(given),
    };
    if scale == 1.0 { views } else { views.iter().map(|view| rescaled(view, scale)).collect() }
}

/// On a square of its mean colour: black would be seen as a part of it.
fn padded(given: &RgbImage) -> RgbImage {
    let (width, height) = given.dimensions();
    let side = width.max(height);
    let mean = Raster::from_rgb(given).mean_within(&Raster::filled(width as usize, height as usize, 1, 1.0));
    let mean = [0, 1, 2].map(|c| (mean[c] * 255.0).round() as u8);
    let mut square = RgbImage::from_pixel(side, side, Rgb(mean));
    imageops::replace(&mut square, given, i64::from((side - width) / 2), i64::from((side - height) / 2));
    square
}

/// Most squares that one material is cut into: a strip longer than that is seen with gaps.
const MOST_TILES: u32 = 6;

/// Squares of the shorter side, evenly along the longer one.
fn tiles(given: &RgbImage) -> Vec<RgbImage> {
    let (width, height) = given.dimensions();
    let (side, length) = (width.min(height), width.max(height));
    let count = length.div_ceil(side).min(MOST_TILES);
    let at = |k: u32| if count == 1 { 0 } else { (length - side) * k / (count - 1) };
    let cut = |k: u32| match width >= height {
        true => imageops::crop_imm(given, at(k), 0, side, side).to_image(),
        false => imageops::crop_imm(given, 0, at(k), side, side).to_image(),
    };
    (0..count).map(cut).collect()
}

/// The centre of the central square, seen `scale` times as large; or that square with its mirror images around it, smaller.
fn rescaled(given: &RgbImage, scale: f64) -> RgbImage {
    let side = given.width().min(given.height());
    let square =
        Window { x: (given.width() - side) / 2, y: (given.height() - side) / 2, width: side, height: side };
    let square = square.of(given);
    if scale >= 1.0 {
        let kept = ((f64::from(side) / scale).round() as u32).max(1);
        return imageops::crop_imm(&square, (side - kept) / 2, (side - kept) / 2, kept, kept).to_image();
    }
    // No more pixels than there were: the encoder sees 224 of them a side.
    let small = ((f64::from(side) * scale).round() as u32).max(1);
    let small = imageops::resize(&square, small, small, imageops::FilterType::Triangle);
    let mirrored = |at: u32| {
        let (turn, rest) = (at / small.width(), at % small.width());
        if turn % 2 == 0 { rest } else { small.width() - 1 - rest }
    };
    RgbImage::from_fn(side, side, |x, y| *small.get_pixel(mirrored(x), mirrored(y)))
}

/// (1, 3, 224, 224) from a picture of any size; black gives every pixel `-mean/std`.
///
/// # Errors
/// Tensor errors.
pub fn network_input(image: &RgbImage) -> Result<Tensor> {
    let (width, height) = image.dimensions();
    let mut samples = Raster::<f32>::from_bytes(image, (width, height), 3);
    samples.data.iter_mut().for_each(|v| *v /= 255.0);
    if (width, height) != (SIDE, SIDE) {
        let ratio = f64::from(SIDE) / f64::from(width.min(height));
        samples = torch::bicubic_antialiased(&samples, (scaled(width, ratio), scaled(height, ratio)));
    }
    let side = SIDE as usize;
    let (left, top) = ((samples.width - side) / 2, (samples.height - side) / 2);
    let pixel = |c: usize, i: usize| {
        let (x, y) = (left + i % side, top + i / side);
        let value = samples.data[(y * samples.width + x) * 3 + c];
        let step = (value * 255.0).clamp(0.0, 255.0).round_ties_even();
        ((f64::from(step) / 255.0 - MEAN[c]) / STD[c]) as f32
    };
    let values: Vec<f32> =
        (0..3).flat_map(|c| (0..side * side).map(move |i| (c, i))).map(|(c, i)| pixel(c, i)).collect();
    Tensor::from_vec(values, (1, 3, side, side), &Device::Cpu)
}
