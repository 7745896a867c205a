//! The mask's blur: a Gaussian of 37 × 37 with sigma 6, borders mirrored (docs/reference-pipeline.md 3).
//!
//! One pass of 1369 products per pixel, summed in f32 row by row, because the reference's rounding can be seen: where a grey
//! value sits on a boundary it decides the pixel, and a solid mask sums to slightly less than 1, on which the first
//! threshold of the differential mask relies.

use image::GrayImage;

use rayon::prelude::*;

use super::{Plane, plane};
use pixels::PictureError;

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
    let kernel = kernel();
    let padded = mirrored(mask);
    let (width, stride) = (width as usize, (width + 2 * RADIUS) as usize);
    let mut soft = vec![0f32; width * height as usize];
    soft.par_chunks_exact_mut(width).enumerate().for_each(|(y, out)| {
        for (rows, down) in padded[y * stride..].chunks_exact(stride).zip(&kernel) {
            for (at, across) in kernel.iter().enumerate() {
                let weight = down * across;
                out.iter_mut().zip(&rows[at..]).for_each(|(sum, v)| *sum += v * weight);
            }
        }
    });
    let (width, height) = mask.dimensions();
    Ok(plane(width, height, soft.into_iter()))
}

/// The mask in [0, 1] with a mirrored border of the kernel's reach (the edge itself is not repeated), row-major.
fn mirrored(mask: &GrayImage) -> Vec<f32> {
    let inside = |at: u32, side: u32| {
        let from_edge = (i64::from(at) - i64::from(RADIUS)).unsigned_abs() as u32;
        from_edge.min(2 * (side - 1) - from_edge)
    };
    let (width, height) = mask.dimensions();
    let columns: Vec<u32> = (0..width + 2 * RADIUS).map(|x| inside(x, width)).collect();
    let row = |y: u32| columns.iter().map(move |x| f32::from(mask.get_pixel(*x, y).0[0]) / 255.0);
    (0..height + 2 * RADIUS).flat_map(|y| row(inside(y, height))).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_of_the_reference() {
        // docs/reference-pipeline.md 3: g_0, g_9, g_18
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
