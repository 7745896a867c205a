//! The subject as the sampler wants it: the part around the mask, and its form read off its luminance.
//!
//! Form is luminance relative to the subject's mean, in logarithms so that it can be multiplied onto a material: `broad`
//! is what light and large bulges do, `fine` is the rest down to the pixel (folds, edges, a mane).

use super::material::bounds;
use super::raster::{Area, Raster};
use crate::profile::ExemplarTunables;

/// The working canvas: the mask's surroundings, widened by a margin that may reach past the picture.
#[derive(Debug)]
pub(crate) struct Subject {
    /// Where the canvas lies on the picture; may begin left of or above it.
    pub(crate) left: isize,
    pub(crate) top: isize,
    pub(crate) picture: Raster,
    /// The mask on the canvas, one channel.
    pub(crate) mask: Raster,
    /// Low-passed luminance.
    pub(crate) shading: Raster,
    /// Width of the low pass, in pixels.
    pub(crate) form_sigma: f32,
    /// log(luminance / shading), softly limited.
    pub(crate) fine: Raster,
}

/// Room around the mask for whole patches, in pixels.
const MARGIN: usize = 12;

impl Subject {
    /// `None` when the mask is empty.
    pub(crate) fn prepare(picture: &Raster, mask: &Raster, tunables: &ExemplarTunables) -> Option<Self> {
        let Area { x, y, width, height } = bounds(mask, 1.0 / 255.0)?;
        let (left, top) = (x as isize - MARGIN as isize, y as isize - MARGIN as isize);
        let canvas = |r: &Raster| r.window(left, top, width + 2 * MARGIN, height + 2 * MARGIN);
        let (cut, mask) = (canvas(picture), canvas(mask));
        let firm = mask.map(1, |m, o| o[0] = if m[0] > 0.5 { m[0] } else { 0.0 });
        // The width at which people (and our own measure) judge whether an object's form is still there.
        let short = picture.width.min(picture.height) as f32;
        let object = width.min(height) as f32;
        let form_sigma = (tunables.form_scale * short).min(2.0 * tunables.form_scale * object).max(2.0);
        let luminance = cut.luma();
        let shading = luminance.blur_within(&firm, form_sigma);
        let smooth = luminance.blur_within(&firm, (0.06 * form_sigma).max(0.4));
        let fine = smooth
            .zip(&shading, 1, |l, s, o| o[0] = 0.5 * (((l[0] + 0.04) / (s[0] + 0.04)).ln() / 0.5).tanh());
        Some(Self { left, top, picture: cut, mask, shading, form_sigma, fine })
    }

    /// The mask's inside.
    pub(crate) fn firm(&self) -> Raster {
        self.mask.map(1, |m, o| o[0] = if m[0] > 0.5 { m[0] } else { 0.0 })
    }
}
