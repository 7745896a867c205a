//! The material as CLIP's image encoder sees it: short side 224, central square, 8-bit steps, CLIP's statistics
//! (docs/reference-pipeline.md 8.3).

use candle_core::{Device, Result, Tensor};
use image::RgbImage;

use super::resize::{scaled, torch};
use pixels::Raster;

/// Side of the encoder's square input.
pub(super) const SIDE: u32 = 224;
const MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];

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
