//! What the sampler is given of the subject: the greyed picture for the VAE and the mask, on the latent grid
//! (docs/reference-pipeline.md 5).
//!
//! The reference also encodes a copy with the subject painted mid-grey, for UNets that take the picture as extra channels. SDXL's
//! takes four channels and never reads it, so it is not made.

use candle_core::{Result, Tensor};
use image::RgbImage;

use super::Plane;
use super::crop::Window;

/// The picture as the VAE's encoder sees it: cropped to multiples of 8 about the centre, `2p - 1`, (1, 3, Hc, Wc).
///
/// # Errors
/// Tensor errors.
pub fn encoder_input(image: &RgbImage) -> Result<Tensor> {
    let cropped = Window::latent_grid(image.dimensions()).of(image);
    let size = (cropped.width() as usize, cropped.height() as usize);
    super::planar(&cropped, size, |_, v| f32::from(v) / 255.0 * 2.0 - 1.0)
}

/// The mask on the same window, soft values kept; [`diffusion::latent_mask`] brings it to latent size.
#[must_use]
pub fn noise_mask(mask: &Plane) -> Plane {
    Window::latent_grid(mask.dimensions()).of(mask)
}
