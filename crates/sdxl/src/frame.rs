//! The subject at the size at which it is painted, and the way back to the size of the result.

use image::{GrayImage, ImageBuffer, Pixel, RgbImage, imageops};

use super::crop::{LATENT_CELL, Window};
use super::resize::{self, lanczos};
use super::{Plane, plane};
use crate::Picture;
use crate::profile::Corrected;

/// A subject at the size of the output.
pub(super) struct Frame {
    /// What is painted: padded to the latent's grid where nothing may be cut off.
    pub(super) picture: RgbImage,
    /// The subject's own size within it, from its upper left corner.
    pub(super) size: (u32, u32),
    /// The alpha channel at that size, where it counts.
    pub(super) alpha: Option<GrayImage>,
}

impl Frame {
    /// Fits a subject into `limit` (width, height) (node 60).
    pub(super) fn of(subject: &Picture, limit: (u32, u32), corrected: Corrected) -> Self {
        let given = subject.rgb.dimensions();
        let capped = resize::capped_size(given, limit);
        let smooth = |samples: &[u8], channels: usize, to| lanczos::resize(samples, channels, given, to);
        let picture = match capped {
            None => subject.rgb.clone(),
            Some((w, h)) if corrected.smooth_resize => {
                RgbImage::from_raw(w, h, smooth(&subject.rgb, 3, (w, h))).unwrap_or_default()
            }
            Some(size) => resize::nearest(&subject.rgb, size),
        };
        let alpha = subject.alpha.as_ref().filter(|_| corrected.alpha).map(|alpha| match capped {
            None => alpha.clone(),
            Some((w, h)) => GrayImage::from_raw(w, h, smooth(alpha, 1, (w, h))).unwrap_or_default(),
        });
        let size = picture.dimensions();
        let picture = if corrected.full_size { padded(&picture, grid(size)) } else { picture };
        Self { picture, size, alpha }
    }

    /// A mask of the subject's size at that of what is painted.
    pub(super) fn padded(&self, mask: &Plane) -> Plane {
        padded(mask, self.picture.dimensions())
    }

    /// The alpha channel as a mask that admits no more than `most`, where it counts.
    pub(super) fn mask(&self, most: f32) -> Option<Plane> {
        let alpha = self.alpha.as_ref()?;
        let values = alpha.iter().map(|a| most * f32::from(*a) / 255.0);
        Some(self.padded(&plane(self.size.0, self.size.1, values)))
    }

    /// What was painted, on the latent's window, as the result.
    pub(super) fn result(&self, painted: RgbImage) -> Picture {
        let window = Window::latent_grid(self.picture.dimensions());
        let part = Window {
            width: window.width.min(self.size.0 - window.x),
            height: window.height.min(self.size.1 - window.y),
            ..window
        };
        let inner = Window { x: 0, y: 0, ..part };
        let alpha = self.alpha.as_ref().map(|alpha| part.of(alpha));
        Picture { rgb: inner.of(&painted), alpha }
    }
}

/// The least size on the latent's grid that holds `size`.
fn grid((width, height): (u32, u32)) -> (u32, u32) {
    (width.next_multiple_of(LATENT_CELL), height.next_multiple_of(LATENT_CELL))
}

/// The picture with its last row and column repeated up to `size`.
fn padded<P: Pixel + 'static>(
    picture: &ImageBuffer<P, Vec<P::Subpixel>>,
    (width, height): (u32, u32),
) -> ImageBuffer<P, Vec<P::Subpixel>> {
    let (w, h) = picture.dimensions();
    if (w, h) == (width, height) {
        return picture.clone();
    }
    let mut out = ImageBuffer::from_fn(width, height, |x, y| *picture.get_pixel(x.min(w - 1), y.min(h - 1)));
    imageops::replace(&mut out, picture, 0, 0);
    out
}

#[cfg(test)]
mod tests {
    use image::{Luma, Rgb};

    use super::*;

    #[test]
    fn nothing_is_cut_off_and_transparency_stays() {
        let rgb = RgbImage::from_fn(139, 157, |x, y| Rgb([x as u8, y as u8, 7]));
        let alpha = GrayImage::from_fn(139, 157, |x, _| Luma([if x < 70 { 0 } else { 255 }]));
        let subject = Picture { rgb: rgb.clone(), alpha: Some(alpha.clone()) };
        let all = Corrected { alpha: true, full_size: true, ..Corrected::default() };
        let frame = Frame::of(&subject, (1920, 1920), all);
        assert_eq!((frame.picture.dimensions(), frame.size), ((144, 160), (139, 157)));
        assert_eq!(frame.picture.get_pixel(143, 159), rgb.get_pixel(138, 156));
        let result = frame.result(frame.picture.clone());
        assert!(result.rgb == rgb && result.alpha == Some(alpha));
        let mask = frame.mask(0.5).expect("a mask");
        assert_eq!((mask.get_pixel(10, 10)[0], mask.get_pixel(143, 10)[0]), (0.0, 0.5));
    }

    #[test]
    fn as_the_reference_it_is_cut_about_its_centre() {
        let rgb = RgbImage::from_fn(139, 157, |x, y| Rgb([x as u8, y as u8, 7]));
        let frame = Frame::of(&Picture::opaque(rgb.clone()), (1920, 1920), Corrected::default());
        let painted = Window::latent_grid((139, 157)).of(&rgb);
        let result = frame.result(painted.clone());
        assert!(result.rgb == painted && result.alpha.is_none() && frame.mask(1.0).is_none());
    }
}
