//! Windows of a picture: the material's central square of at most 1704 pixels, and the latent grid's multiples of 8.

use image::{ImageBuffer, Pixel, imageops};

/// The crop node's limit on either side (docs/reference-pipeline.md 8.2).
pub const MATERIAL_LIMIT: u32 = 1704;
/// Pixels per latent cell.
pub const LATENT_CELL: u32 = 8;

/// A rectangle inside a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl Window {
    /// The part of the material that is looked at: at most 1704 × 1704 about the centre, offsets rounded half to even.
    #[must_use]
    pub fn material((width, height): (u32, u32)) -> Self {
        let along = |side: u32| {
            let kept = side.min(MATERIAL_LIMIT);
            ((f64::from(side - kept) / 2.0).round_ties_even() as u32, kept)
        };
        let ((x, width), (y, height)) = (along(width), along(height));
        Self { x, y, width, height }
    }

    /// The largest central window whose sides are multiples of 8: the picture that the latent stands for.
    #[must_use]
    pub fn latent_grid((width, height): (u32, u32)) -> Self {
        let along = |side: u32| ((side % LATENT_CELL) / 2, side / LATENT_CELL * LATENT_CELL);
        let ((x, width), (y, height)) = (along(width), along(height));
        Self { x, y, width, height }
    }

    /// Cuts it out.
    #[must_use]
    pub fn of<P: Pixel + 'static>(
        &self,
        image: &ImageBuffer<P, Vec<P::Subpixel>>,
    ) -> ImageBuffer<P, Vec<P::Subpixel>> {
        if (self.width, self.height) == image.dimensions() {
            return image.clone();
        }
        imageops::crop_imm(image, self.x, self.y, self.width, self.height).to_image()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latent_windows() {
        // The end-to-end golden pub_b: 139×157 becomes 136×152.
        let window = Window::latent_grid((139, 157));
        assert_eq!(window, Window { x: 1, y: 2, width: 136, height: 152 });
        assert_eq!(Window::latent_grid((64, 64)), Window { x: 0, y: 0, width: 64, height: 64 });
        let image = image::GrayImage::from_fn(11, 9, |x, y| image::Luma([(x + 16 * y) as u8]));
        let cut = Window::latent_grid((11, 9)).of(&image);
        assert_eq!(
            (cut.dimensions(), cut.get_pixel(0, 0)[0], cut.get_pixel(7, 7)[0]),
            ((8, 8), 1, 8 + 16 * 7)
        );
    }
}
