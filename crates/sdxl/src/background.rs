//! Background removal around its network (rembg with U²-Net, docs/reference-pipeline.md 2): picture → network input, saliency → mask.
//!
//! The network sees the whole picture squeezed to 320 × 320; its answer is stretched to [0, 1], cut to 8 bits and
//! enlarged. Two guards the reference lacks: an all-black picture is not divided by its maximum of 0, a flat answer not by its range of 0.

use candle_core::{Result, Tensor};
use image::{GrayImage, RgbImage};

use super::resize::lanczos;
use super::{IMAGENET_MEAN, IMAGENET_STD, stretched};

/// Side of the network's square input and output.
pub const SIDE: u32 = 320;

/// The picture as U²-Net sees it: scaled by its own maximum, not by 255, then normalised by ImageNet's statistics;
/// (1, 3, 320, 320).
///
/// # Errors
/// Tensor errors.
pub fn network_input(image: &RgbImage) -> Result<Tensor> {
    let samples = squeezed(image);
    let peak = f64::from(samples.iter().copied().max().unwrap_or(0).max(1));
    let side = SIDE as usize;
    super::planar(&samples, (side, side), |c, v| {
        ((f64::from(v) / peak - IMAGENET_MEAN[c]) / IMAGENET_STD[c]) as f32
    })
}

/// The picture squeezed to 320 × 320, 8 bits, interleaved RGB.
#[must_use]
pub fn squeezed(image: &RgbImage) -> Vec<u8> {
    lanczos::resize(image, 3, image.dimensions(), (SIDE, SIDE))
}

/// The network's answer `d0` (320 × 320, row-major) as an 8-bit mask of `size` (width, height); 255 = subject.
#[must_use]
pub fn mask(d0: &[f32], (width, height): (u32, u32)) -> GrayImage {
    let stretched = stretched(d0);
    let mask = lanczos::resize(&stretched, 1, (SIDE, SIDE), (width, height));
    GrayImage::from_raw(width, height, mask).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn black_pictures_and_flat_answers_are_survived() {
        let black = network_input(&RgbImage::new(40, 30)).expect("tensor");
        let values = black.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("f32");
        assert!(values.iter().all(|v| v.is_finite()));
        assert!(mask(&[0.3; 320 * 320], (40, 30)).iter().all(|v| *v == 0));
    }
}
