//! The part of the picture around the subject, on which everything else works.

use super::material::bounds;
use super::raster::{Area, Raster};

/// The mask's surroundings, widened by a margin that may reach past the picture.
#[derive(Debug)]
pub(crate) struct Window {
    /// Where the window lies on the picture; may begin left of or above it.
    pub(crate) left: isize,
    pub(crate) top: isize,
    /// RGB.
    pub(crate) picture: Raster,
    /// The mask, one channel.
    pub(crate) mask: Raster,
    /// The mask where it exceeds one half, else 0.
    pub(crate) firm: Raster,
}

/// Room around the mask for whole patches, in pixels.
const MARGIN: usize = 12;

impl Window {
    /// `None` when the mask is empty.
    pub(crate) fn around(picture: &Raster, mask: &Raster) -> Option<Self> {
        let Area { x, y, width, height } = bounds(mask, 1.0 / 255.0)?;
        let (left, top) = (x as isize - MARGIN as isize, y as isize - MARGIN as isize);
        let cut = |r: &Raster| r.window(left, top, width + 2 * MARGIN, height + 2 * MARGIN);
        let (picture, mask) = (cut(picture), cut(mask));
        let firm = mask.map(1, |m, o| o[0] = if m[0] > 0.5 { m[0] } else { 0.0 });
        Some(Self { left, top, picture, mask, firm })
    }

    /// The same part of another picture of the same size.
    pub(crate) fn cut(&self, picture: &Raster) -> Raster {
        picture.window(self.left, self.top, self.mask.width, self.mask.height)
    }

    /// Its diagonal in pixels: the unit of all that scales with the subject.
    pub(crate) fn diagonal(&self) -> f32 {
        (self.mask.width as f32).hypot(self.mask.height as f32)
    }
}
