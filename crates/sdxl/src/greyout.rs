//! The subject painted grey: its luminance shows inside the mask, the picture outside (docs/reference-pipeline.md 4).
//!
//! A min/max composite of 8-bit values, as in the reference (not an alpha blend): under a soft mask it leaves a dark seam.

use image::{Rgb, RgbImage};

use super::{Plane, truncate_u8};

/// The greyed subject. `mask` has the picture's size; `brightness` multiplies the luminance, 1 leaves it.
#[must_use]
pub fn greyed(image: &RgbImage, mask: &Plane, brightness: f32) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let Rgb(colour) = *image.get_pixel(x, y);
        let inside = truncate_u8(255.0 * mask.get_pixel(x, y)[0]);
        let grey = truncate_u8(brightness * f32::from(luminance(colour)));
        Rgb(colour.map(|v| v.min(255 - inside).max(grey.min(inside))))
    })
}

/// The same by an alpha blend, which leaves no seam.
#[must_use]
pub fn blended(image: &RgbImage, mask: &Plane) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let Rgb(colour) = *image.get_pixel(x, y);
        let (m, grey) = (mask.get_pixel(x, y)[0], f32::from(luminance(colour)));
        Rgb(colour.map(|v| (f32::from(v) + m * (grey - f32::from(v))).round() as u8))
    })
}

/// ITU-R BT.601 luminance in 16-bit fixed point, rounded.
fn luminance([r, g, b]: [u8; 3]) -> u8 {
    ((19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b) + 32_768) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blend_has_no_seam() {
        let image = RgbImage::from_pixel(3, 1, Rgb([200, 200, 200]));
        let mask = super::super::plane(3, 1, [1.0, 0.5, 0.0].into_iter());
        assert!(blended(&image, &mask).pixels().all(|p| p.0 == [200; 3]));
        assert!(greyed(&image, &mask, 1.0).get_pixel(1, 0)[0] < 140, "the reference's seam");
    }

    #[test]
    fn a_hard_mask_pastes_grey() {
        let image = RgbImage::from_pixel(2, 1, Rgb([200, 100, 50]));
        let mask = super::super::plane(2, 1, [1.0, 0.0].into_iter());
        let out = greyed(&image, &mask, 1.0);
        // 0.299·200 + 0.587·100 + 0.114·50 = 124.2
        assert_eq!((out.get_pixel(0, 0).0, out.get_pixel(1, 0).0), ([124; 3], [200, 100, 50]));
    }
}
