//! The mask's blur: a Gaussian of 37 × 37 with sigma 6, borders mirrored (pipeline.md section 3).
//!
//! Run as two passes of 37 taps, which differs from the reference's one pass of 1369 by about 1e-6. The kernel's f32 values sum
//! to slightly less than 1, so that even a solid mask stays below 1: the first threshold of the differential mask relies on
//! it. Sums are f64, because rounding to f32 on the way can bring them back to 1.

use image::GrayImage;

use super::resize::separable::{Samples, Taps};
use super::{Plane, plane};
use crate::picture::PictureError;

/// The workflow's blur amount; the kernel has six times as many pixels, plus one.
const SIGMA: u32 = 6;
const RADIUS: u32 = 3 * SIGMA;

/// The blurred mask, same size, in [0, 1).
///
/// # Errors
/// [`PictureError::TooSmall`] when a side is not longer than the blur's reach of 18 pixels: there is nothing to mirror.
pub fn blurred(mask: &GrayImage) -> Result<Plane, PictureError> {
    let (width, height) = mask.dimensions();
    if width.min(height) <= RADIUS {
        return Err(PictureError::TooSmall { width, height, min_side: RADIUS + 1 });
    }
    let values = mask.iter().map(|v| f64::from(f32::from(*v) / 255.0)).collect();
    let samples = Samples { width: width as usize, height: height as usize, channels: 1, values };
    let kernel = kernel();
    let soft = samples.resample(&mirrored_taps(width, &kernel), &mirrored_taps(height, &kernel));
    Ok(plane(width, height, soft.values.into_iter().map(|v| v as f32)))
}

/// `exp(-(i-18)²/72)` normalised, rounded as the reference's softmax rounds it: positions span ±36/√8 so that no half is
/// left in the exponent, and the sum's reciprocal is multiplied.
fn kernel() -> Vec<f32> {
    let limit = (f64::from(2 * RADIUS) / 8f64.sqrt()) as f32;
    let step = (limit + limit) / (2 * RADIUS) as f32;
    let bell: Vec<f32> = (0..=2 * RADIUS)
        .map(|i| {
            let from_end = if i <= RADIUS { i } else { 2 * RADIUS - i };
            let z = (step * from_end as f32 - limit) / SIGMA as f32;
            f64::from(-(z * z)).exp() as f32
        })
        .collect();
    let sum: f64 = bell.iter().map(|g| f64::from(*g)).sum();
    let share = 1.0 / sum as f32;
    bell.into_iter().map(|g| g * share).collect()
}

fn mirrored_taps(side: u32, kernel: &[f32]) -> Vec<Taps<f64>> {
    let (side, radius) = (i64::from(side), i64::from(RADIUS));
    let mirror = |at: i64| {
        (if at < 0 {
            -at
        } else if at >= side {
            2 * (side - 1) - at
        } else {
            at
        }) as usize
    };
    (0..side)
        .map(|i| (i - radius..).map(mirror).zip(kernel.iter().map(|g| f64::from(*g))).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_of_the_reference() {
        // pipeline.md section 3: g_0, g_9, g_18
        let kernel = kernel();
        assert_eq!(kernel.len(), 37);
        for (i, want) in [(0, 0.000_740_137_9), (9, 0.021_630_01), (18, 0.066_625_126), (36, 0.000_740_137_9)]
        {
            assert!((kernel[i] - want).abs() < 1e-8, "{i}: {}", kernel[i]);
        }
    }

    #[test]
    fn a_solid_mask_stays_below_one() {
        let solid = GrayImage::from_pixel(60, 50, image::Luma([255]));
        let soft = blurred(&solid).expect("large enough");
        assert!(soft.iter().all(|v| *v < 1.0 && *v > 0.999_99));
    }

    #[test]
    fn too_small_to_mirror() {
        assert!(blurred(&GrayImage::new(40, 18)).is_err());
        assert!(blurred(&GrayImage::new(19, 19)).is_ok());
    }
}
