//! At which size a material is used: small enough to be seen on the subject, large enough to stay itself.

use super::form::BLACK;
use super::raster::{Kernel, Raster, luma};

/// The least scale of at least `fit` at which the material is not much busier than as photographed: shrinking squeezes its
/// soft large features into fine ones, and what looked like grass looks like noise. `most` bounds the local variance as a
/// multiple of the original's.
pub(super) fn calm(luminance: &Raster, fit: f64, most: f64) -> f64 {
    let wanted = most * local_variance(luminance);
    let mut scale = fit;
    while scale < 0.95 {
        let size = |side: usize| ((side as f64 * scale).round() as usize).max(1);
        let smaller = luminance.resize(size(luminance.width), size(luminance.height), Kernel::Box);
        if local_variance(&smaller) <= wanted {
            return scale;
        }
        scale *= 1.25;
    }
    scale.min(fit.max(1.0))
}

/// By how much a bold pattern is to be shrunk: one whose features, some twentieths of the picture wide, have more contrast than
/// a subject's form.
pub(super) fn bold(picture: &Raster) -> f64 {
    let small = (BOLD_SIDE as f32 / picture.width.max(picture.height) as f32).min(1.0);
    let side = |s: usize| ((s as f32 * small).round() as usize).max(8);
    let picture = picture.resize(side(picture.width), side(picture.height), Kernel::Box);
    let diagonal = (picture.width as f32).hypot(picture.height as f32);
    let logs = picture.map(1, |p, o| o[0] = (luma(p).max(0.0) + BLACK).ln());
    let (fine, coarse) = (logs.blur(BOLD_BAND.0 * diagonal), logs.blur(BOLD_BAND.1 * diagonal));
    // By magnitude: the rare bright veins of a black marble do not make it bold.
    let sizes = fine.data.iter().zip(&coarse.data).map(|(f, c)| f64::from((f - c).abs()));
    let bold = (sizes.sum::<f64>() / fine.pixels() as f64) as f32;
    f64::from(BOLD / bold.max(1e-3)).clamp(BOLD_LEAST, 1.0)
}

/// Longest side at which boldness is measured, in pixels, and its band: Gaussian widths as shares of the diagonal.
const BOLD_SIDE: usize = 320;
const BOLD_BAND: (f32, f32) = (0.012, 0.05);

/// Mean magnitude of logarithmic luminance in that band above which a pattern is bold. And the least that it is shrunk to.
const BOLD: f32 = 0.12;
const BOLD_LEAST: f64 = 0.5;

/// Variance of the luminance within some seven pixels, with the floor below which nobody sees any.
fn local_variance(luminance: &Raster) -> f64 {
    let smooth = luminance.blur(2.0);
    let fine = luminance.zip(&smooth, 1, |l, s, o| o[0] = l[0] - s[0]);
    let whole = Raster::filled(luminance.width, luminance.height, 1, 1.0);
    f64::from(fine.deviation_within(&whole)).powi(2) + (4.0f64 / 255.0).powi(2)
}
