//! Fitting a hint (depth, line art) to the latent: centre crop to its aspect ratio, then nearest-exact (docs/reference-pipeline.md 11.2).
//!
//! The adapters read 16 × 16 blocks, so the hint is scaled to the latent's size in pixels rounded up to multiples of 16.

use candle_core::{Result, Tensor};
use image::RgbImage;

use super::crop::{LATENT_CELL, Window};
use super::resize::{nearest_exact_index, pick};

/// Pixels per adapter cell.
const ADAPTER_CELL: u32 = 16;

/// The hint at the size that the adapters want for a latent of `latent` (width, height) cells.
#[must_use]
pub fn fitted(hint: &RgbImage, latent: (u32, u32)) -> RgbImage {
    let up = |cells: u32| (cells * LATENT_CELL).next_multiple_of(ADAPTER_CELL);
    let (width, height) = (up(latent.0), up(latent.1));
    let cropped = same_aspect(hint.dimensions(), (width, height)).of(hint);
    let (from_width, from_height) = cropped.dimensions();
    pick(
        &cropped,
        (width, height),
        |x| nearest_exact_index(x, from_width, width),
        |y| nearest_exact_index(y, from_height, height),
    )
}

/// A hint in [0, 1] as the adapters read it: (1, 3, h, w).
///
/// # Errors
/// Tensor errors.
pub fn network_input(hint: &RgbImage) -> Result<Tensor> {
    let size = (hint.width() as usize, hint.height() as usize);
    super::planar(hint, size, |_, v| f32::from(v) / 255.0)
}

/// The central window with the target's aspect ratio.
fn same_aspect((width, height): (u32, u32), target: (u32, u32)) -> Window {
    let ratio = |(w, h): (u32, u32)| f64::from(w) / f64::from(h);
    let (old, new) = (ratio((width, height)), ratio(target));
    let margin = |side: u32, share: f64| {
        let side = f64::from(side);
        ((side - side * share) / 2.0).round_ties_even().max(0.0) as u32
    };
    let x = if old > new { margin(width, new / old) } else { 0 };
    let y = if old < new { margin(height, old / new) } else { 0 };
    Window { x, y, width: width - 2 * x, height: height - 2 * y }
}
