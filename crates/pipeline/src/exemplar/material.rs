//! The material as the sampler wants it: cropped, at the subject's scale, with its shading taken apart.
//!
//! The material's low-passed luminance is its shading (which parts lie in light); what remains is its texture. How much
//! of the deviation is texture ([`Material::texturedness`]) decides how the two are weighed: on a glazed mug shading is
//! everything, on gravel it is nothing.

use super::raster::{Area, Kernel, Raster};
use crate::profile::ExemplarTunables;

/// A material picture prepared for one subject.
#[derive(Debug)]
pub(crate) struct Material {
    /// RGB at the working scale.
    pub(crate) picture: Raster,
    /// 1 where a pixel belongs to the material.
    pub(crate) inside: Raster,
    /// Low-passed luminance, one channel.
    pub(crate) shading: Raster,
    /// Share of the luminance deviation that is texture, 0 to 1.
    pub(crate) texturedness: f32,
    /// Deviation of the luminance: the unit of noise, at least one in a hundred.
    pub(crate) contrast: f32,
    /// Where `picture` was cut from the given picture.
    pub(crate) area: Area,
    /// Does the picture show the material on an object? Then its shading is form; a flat sample's is part of its pattern.
    pub(crate) has_form: bool,
}

/// Neither side of the working material is shorter than this, in pixels: the coarsest level still needs patches.
const MIN_SIDE: f64 = 96.0;

impl Material {
    /// Cuts `picture` to its object (when `object`, one channel of the same size, marks one of a reasonable share), and
    /// scales it so that its diagonal spans `tunables.material_extent` of `extent` pixels.
    pub(crate) fn prepare(
        picture: &Raster,
        object: Option<&Raster>,
        extent: f64,
        tunables: &ExemplarTunables,
    ) -> Self {
        let whole = Area { x: 0, y: 0, width: picture.width, height: picture.height };
        let object = object.filter(|object| is_an_object(object) && stands_out(picture, object));
        let area = object.and_then(|o| bounds(o, 0.9)).unwrap_or(whole);
        let cut = picture.crop(area);
        let (width, height) = (area.width as f64, area.height as f64);
        let fit = tunables.material_extent * extent / width.hypot(height);
        let least = MIN_SIDE / width.min(height);
        let fit = fit.clamp(tunables.material_least_scale, 1.0).max(least).min(least.max(1.0));
        let scale = calm_scale(&cut.luma(), fit, tunables.material_most_busy);
        let size = |side: f64| ((side * scale).round() as usize).clamp(1, 4096);
        let (width, height) = (size(width).max(MIN_SIDE as usize), size(height).max(MIN_SIDE as usize));
        let resized = |r: &Raster, kernel| r.resize(width, height, kernel);
        let mut scaled = resized(&cut, Kernel::Lanczos);
        scaled.data.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0));
        let inside = match object {
            Some(object) => {
                resized(&object.crop(area), Kernel::Box).map(1, |p, o| o[0] = f32::from(u8::from(p[0] > 0.9)))
            }
            None => Raster::filled(width, height, 1, 1.0),
        };
        let sigma = tunables.shading_scale * width.min(height) as f32;
        Self::analyse(scaled, inside, area, object.is_some(), sigma)
    }

    /// `sigma` parts shading from texture.
    fn analyse(picture: Raster, inside: Raster, area: Area, has_form: bool, sigma: f32) -> Self {
        let luminance = picture.luma();
        let shading = luminance.blur_within(&inside, sigma);
        let texture = luminance.zip(&shading, 1, |l, s, o| o[0] = l[0] - s[0]);
        let (fine, coarse) = (texture.deviation_within(&inside), shading.deviation_within(&inside));
        let texturedness = if fine + coarse > 1e-4 { fine / (fine + coarse) } else { 0.0 };
        let contrast = luminance.deviation_within(&inside).max(0.01);
        Self { picture, inside, shading, texturedness, contrast, area, has_form }
    }
}

/// The least scale of at least `fit` at which the material is not much busier than as photographed: shrinking squeezes its
/// soft large features into fine ones, and what looked like grass looks like noise. `most` bounds the local variance as a
/// multiple of the original's.
fn calm_scale(luminance: &Raster, fit: f64, most: f64) -> f64 {
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

/// Variance of the luminance within some seven pixels, with the floor below which nobody sees any.
fn local_variance(luminance: &Raster) -> f64 {
    let smooth = luminance.blur(2.0);
    let fine = luminance.zip(&smooth, 1, |l, s, o| o[0] = l[0] - s[0]);
    let whole = Raster::filled(luminance.width, luminance.height, 1, 1.0);
    f64::from(fine.deviation_within(&whole)).powi(2) + (4.0f64 / 255.0).powi(2)
}

/// A found mask is an object, and not a texture's whim, when it covers a fair share, stays clear of most of the border and
/// is decided about most pixels.
fn is_an_object(mask: &Raster) -> bool {
    let share = |values: &mut dyn Iterator<Item = f32>| {
        let (mut sum, mut count) = (0.0f64, 0.0f64);
        values.for_each(|v| {
            sum += f64::from(v);
            count += 1.0;
        });
        sum / count.max(1.0)
    };
    let (w, h) = (mask.width, mask.height);
    let certain = |v: f32| f32::from(u8::from(v > 0.9));
    let area = share(&mut mask.data.iter().map(|v| certain(*v)));
    let decided = share(&mut mask.data.iter().map(|v| f32::from(u8::from(!(0.1..=0.9).contains(v)))));
    let rows = [0, h - 1].into_iter().flat_map(|y| (0..w).map(move |x| (x, y)));
    let columns = [0, w - 1].into_iter().flat_map(|x| (0..h).map(move |y| (x, y)));
    let border = share(&mut rows.chain(columns).map(|(x, y)| certain(mask.pixel(x, y)[0])));
    area > 0.08 && border < 0.35 && decided > 0.85
}

/// An object differs from what surrounds it; a stone among stones does not. The means of the two sides lie apart by a fair
/// share of the deviation within them.
fn stands_out(picture: &Raster, mask: &Raster) -> bool {
    let on = mask.map(1, |m, o| o[0] = f32::from(u8::from(m[0] > 0.9)));
    let off = mask.map(1, |m, o| o[0] = f32::from(u8::from(m[0] < 0.1)));
    let means = (picture.mean_within(&on), picture.mean_within(&off));
    let mut apart = 0.0f32;
    let mut within = 1e-4f32;
    for channel in 0..3 {
        let plane = picture.map(1, |p, o| o[0] = p[channel]);
        apart += (means.0[channel] - means.1[channel]).powi(2);
        within += 0.5 * (plane.deviation_within(&on).powi(2) + plane.deviation_within(&off).powi(2));
    }
    apart > 0.6 * within
}

/// The smallest rectangle around all values of at least `threshold`.
pub(crate) fn bounds(mask: &Raster, threshold: f32) -> Option<Area> {
    let (mut left, mut top, mut right, mut bottom) = (usize::MAX, usize::MAX, 0, 0);
    for (y, row) in mask.data.chunks_exact(mask.width).enumerate() {
        for (x, _) in row.iter().enumerate().filter(|(_, v)| **v >= threshold) {
            (left, right) = (left.min(x), right.max(x));
            (top, bottom) = (top.min(y), bottom.max(y));
        }
    }
    (left <= right).then(|| Area { x: left, y: top, width: right + 1 - left, height: bottom + 1 - top })
}
