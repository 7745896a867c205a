//! The depth hint around its network (Depth Anything v1, docs/reference-pipeline.md 12.1, 12.2, 12.5): picture → input,
//! depth → hint.
//!
//! The network's short side is 518, both sides multiples of its 14-pixel patches; the hint's short side is 1024. Near is bright.

use candle_core::{Result, Tensor};
use image::{Rgb, RgbImage};

use super::resize::{opencv, scaled, torch};
use super::{IMAGENET_MEAN, IMAGENET_STD, Plane, stretched};
use pixels::Raster;

/// Short side of the hint.
const HINT_SIDE: u32 = 1024;
/// Short side of the network's input: 37 patches.
const NETWORK_SIDE: u32 = 518;
const PATCH: u32 = 14;

/// The network's input (width, height) for a picture of `size`.
#[must_use]
pub fn network_size((width, height): (u32, u32)) -> (u32, u32) {
    let side = f64::from(NETWORK_SIDE);
    let scale = (side / f64::from(height)).max(side / f64::from(width));
    let patch = f64::from(PATCH);
    let along = |length: u32| {
        let patches = scale * f64::from(length) / patch;
        let nearest = patches.round_ties_even() as u32 * PATCH;
        if nearest < NETWORK_SIDE { patches.ceil() as u32 * PATCH } else { nearest }
    };
    (along(width), along(height))
}

/// The hint's (width, height) for a picture of `size`: short side 1024, up or down.
#[must_use]
pub fn hint_size((width, height): (u32, u32)) -> (u32, u32) {
    let ratio = f64::from(HINT_SIDE) / f64::from(width.min(height));
    (scaled(width, ratio), scaled(height, ratio))
}

/// The picture as the network sees it: (1, 3, h, w) of [`network_size`], cubic, ImageNet statistics.
///
/// # Errors
/// Tensor errors.
pub fn network_input(image: &RgbImage) -> Result<Tensor> {
    let mut samples = Raster::<f64>::from_bytes(image, image.dimensions(), 3);
    samples.data.iter_mut().for_each(|v| *v /= 255.0);
    let fitted = opencv::cubic_f64(&samples, network_size(image.dimensions()));
    super::planar(&fitted.data, (fitted.width, fitted.height), |c, v| {
        ((v - IMAGENET_MEAN[c]) / IMAGENET_STD[c]) as f32
    })
}

/// The network's depth map as the hint for a picture of `size` (width, height): enlarged, stretched to 0..255, three equal channels.
///
/// A flat map, which the reference divides by its range of 0, becomes black.
#[must_use]
pub fn hint(depth: &Plane, size: (u32, u32)) -> RgbImage {
    let (width, height) = hint_size(size);
    let samples = Raster {
        width: depth.width() as usize,
        height: depth.height() as usize,
        channels: 1,
        data: depth.as_raw().clone(),
    };
    let mut grey = stretched(&torch::bilinear(&samples, (width, height)).data).into_iter();
    RgbImage::from_fn(width, height, |_, _| Rgb([grey.next().unwrap_or(0); 3]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plane;

    #[test]
    fn a_ramp_becomes_a_full_range_hint() {
        let ramp = plane(8, 4, (0..32).map(|i| 3.0 + (i % 8) as f32));
        let out = hint(&ramp, (200, 100));
        assert_eq!(out.dimensions(), (2048, 1024));
        assert_eq!((out.get_pixel(0, 0).0, out.get_pixel(2047, 1023).0), ([0; 3], [255; 3]));
        // Column x sits at (x+0.5)/256 - 0.5 source columns; the ramp spans 7.
        let want = ((1000.5f32 / 256.0 - 0.5) / 7.0 * 255.0) as u8;
        assert_eq!(out.get_pixel(1000, 500).0, [want; 3]);
        assert!(hint(&plane(8, 4, std::iter::repeat(2.0)), (20, 10)).iter().all(|v| *v == 0));
    }
}
