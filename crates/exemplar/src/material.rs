//! The material as the sampler and the lit sphere want it.
//!
//! A picture of a flat sample (a slab of marble) is pattern through and through. A picture of an object (a steel bowl) is the
//! look of a surface under light: its colour by normal goes into a [`Sphere`], and only what is left, the grain of its
//! surface, is pattern.

use super::form::{BLACK, Form, FormNetwork};
use super::raster::{Area, Kernel, Raster, luma};
use super::sphere::Sphere;
use crate::Error;
use crate::profile::ExemplarTunables;

/// A material picture prepared for one subject.
#[derive(Debug)]
pub(crate) struct Material {
    /// The pattern: RGB at the working scale. Of an object: its grain around [`GREY`].
    pub(crate) pattern: Raster,
    /// 1 where a pixel belongs to the material.
    pub(crate) inside: Raster,
    /// Share of the pattern's luminance deviation that is texture, 0 to 1.
    pub(crate) texturedness: f32,
    /// Deviation of the pattern's luminance: the unit of noise, at least one in a hundred.
    pub(crate) contrast: f32,
    /// Where the material was cut from the given picture.
    pub(crate) area: Area,
    /// The look of an object by its normals; `None` for a flat sample.
    pub(crate) sphere: Option<Sphere>,
}

/// The value around which an object's grain lies.
pub(crate) const GREY: f32 = 0.5;

/// Neither side of the working material is shorter than this, in pixels: the coarsest level still needs patches.
const MIN_SIDE: f64 = 96.0;

/// Longest side at which an object's form and look are read, in pixels.
const LOOK_SIDE: usize = 512;

/// Width of the low pass that parts an object's grain from its look, as a share of the diagonal.
const GRAIN: f32 = 0.02;

/// An object's grain is a pattern when half of it deviates by at least this, as a logarithm; else its surface is smooth.
const LEAST_GRAIN: f32 = 0.02;

/// Grain beyond this many of its median deviations is no grain but the edge of a highlight.
const MOST_GRAIN: f32 = 4.0;

impl Material {
    /// Cuts `picture` to its object (when `object`, one channel of the same size, marks one of a reasonable share or is the
    /// picture's own outline: `cut_out`), and scales it so that its diagonal spans `tunables.material_extent` of `extent`
    /// pixels.
    ///
    /// # Errors
    /// [`Error::Compute`] when the form network's device fails.
    pub(crate) fn prepare(
        picture: &Raster,
        object: Option<&Raster>,
        cut_out: bool,
        extent: f64,
        network: &FormNetwork,
        tunables: &ExemplarTunables,
    ) -> Result<Self, Error> {
        let whole = Area { x: 0, y: 0, width: picture.width, height: picture.height };
        let object = object.filter(|object| cut_out || is_an_object(object));
        let area = object.and_then(|o| bounds(o, 0.9)).unwrap_or(whole);
        let cut = picture.crop(area);
        let shape = object.map(|o| o.crop(area));
        let (width, height) = (area.width as f64, area.height as f64);
        let fit = tunables.material_extent * extent / width.hypot(height);
        let least = MIN_SIDE / width.min(height);
        let fit = fit.clamp(tunables.material_least_scale, 1.0).max(least).min(least.max(1.0));
        let scale = calm_scale(&cut.luma(), fit, tunables.material_most_busy);
        let size = |side: f64| ((side * scale).round() as usize).clamp(1, 4096);
        let (width, height) = (size(width).max(MIN_SIDE as usize), size(height).max(MIN_SIDE as usize));
        let resized = |r: &Raster, kernel| r.resize(width, height, kernel);
        let mut pattern = resized(&cut, Kernel::Lanczos);
        pattern.data.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0));
        let inside = match &shape {
            Some(shape) => {
                // The rim of an object is seen so flatly that its pieces would come out as slashes.
                let inside =
                    inner(&resized(shape, Kernel::Box), (0.02 * width.min(height) as f32).round() as usize);
                fill(&mut pattern, &inside);
                inside
            }
            None => Raster::filled(width, height, 1, 1.0),
        };
        let sphere = match &shape {
            Some(shape) => look(&cut, shape, network)?,
            None => None,
        };
        if sphere.is_some() {
            pattern = grain(&pattern, &inside);
        }
        let sigma = tunables.shading_scale * width.min(height) as f32;
        Ok(Self::analyse(pattern, inside, area, sphere, sigma))
    }

    /// `sigma` parts shading from texture.
    fn analyse(pattern: Raster, inside: Raster, area: Area, sphere: Option<Sphere>, sigma: f32) -> Self {
        let luminance = pattern.luma();
        let shading = luminance.blur_within(&inside, sigma);
        let texture = luminance.zip(&shading, 1, |l, s, o| o[0] = l[0] - s[0]);
        let (fine, coarse) = (texture.deviation_within(&inside), shading.deviation_within(&inside));
        let texturedness = if fine + coarse > 1e-4 { fine / (fine + coarse) } else { 0.0 };
        let contrast = luminance.deviation_within(&inside).max(0.01);
        Self { pattern, inside, texturedness, contrast, area, sphere }
    }

    /// Is there nothing to paint? A smooth object is all look.
    pub(crate) fn is_smooth(&self) -> bool {
        self.sphere.is_some() && self.contrast <= 0.01
    }
}

/// The firm part of a shape, `rim` pixels within its outline; less far within where little would be left (a trumpet's tubes).
fn inner(shape: &Raster, rim: usize) -> Raster {
    let firm = shape.map(1, |p, o| o[0] = f32::from(u8::from(p[0] > 0.9)));
    let count = |r: &Raster| r.data.iter().filter(|v| **v > 0.5).count();
    let enough = count(&firm).div_ceil(3).max(1);
    let rims = std::iter::successors(Some(rim), |rim| (*rim > 0).then_some(rim / 2));
    rims.map(|rim| firm.shrunken(rim)).find(|inner| count(inner) >= enough).unwrap_or(firm)
}

/// Gives what lies outside `inside` the colours of what is near it inside: patches of thin things reach beyond them.
fn fill(picture: &mut Raster, inside: &Raster) {
    let near = picture.blur_within(inside, 3.0);
    for ((p, n), i) in picture.data.chunks_exact_mut(3).zip(near.data.chunks_exact(3)).zip(&inside.data) {
        if *i <= 0.5 {
            p.copy_from_slice(n);
        }
    }
}

/// The look of the object that `shape` (one channel) marks in `picture`; `None` when its colours follow no normals but a
/// pattern (a hot-air balloon's patches).
fn look(picture: &Raster, shape: &Raster, network: &FormNetwork) -> Result<Option<Sphere>, Error> {
    let scale = (LOOK_SIDE as f32 / picture.width.max(picture.height) as f32).min(1.0);
    let side = |s: usize| ((s as f32 * scale).round() as usize).max(8);
    let (width, height) = (side(picture.width), side(picture.height));
    let picture = picture.resize(width, height, Kernel::Box);
    let shape = shape.resize(width, height, Kernel::Box);
    let form = Form::of(&picture, &shape, network.look(&picture, &shape)?.as_ref(), 0.0);
    let core = inner(&shape, (0.006 * width.max(height) as f32).round().max(1.0) as usize);
    let tints = picture.map(2, |p, o| o.copy_from_slice(&tint(p)));
    let sphere = Sphere::read(&picture, &form.normals, &usual(&tints, &core));
    let seen = sphere.seen_by(&form.normals).map(2, |p, o| o.copy_from_slice(&tint(p)));
    let apart = tints.zip(&seen, 1, |a, b, o| o[0] = (a[0] - b[0]).hypot(a[1] - b[1]));
    Ok((apart.mean_within(&core)[0] < MOST_TINT_APART).then_some(sphere))
}

/// Mean distance of an object's tints from those of its look beyond which they are a pattern. Steel and glaze in rooms lie
/// between 0.03 and 0.2, printed and patched things above 0.5.
const MOST_TINT_APART: f32 = 0.35;

/// Added to a channel before tints are taken: dark pixels have none.
const DARK: f32 = 0.08;

/// A colour without its brightness: logarithms of red and blue over green.
fn tint(rgb: &[f32]) -> [f32; 2] {
    let log = |v: f32| (v.max(0.0) + DARK).ln();
    [log(rgb[0]) - log(rgb[1]), log(rgb[2]) - log(rgb[1])]
}

/// How much every pixel of `core` counts for the look: less, the farther its tint lies from the usual one. A wheel or a beak
/// is another material.
fn usual(tints: &Raster, core: &Raster) -> Raster {
    let inside: Vec<&[f32]> =
        tints.data.chunks_exact(2).zip(&core.data).filter(|(_, c)| **c > 0.5).map(|(t, _)| t).collect();
    let median = |values: Vec<f32>| median(values).unwrap_or(0.0);
    let centre: [f32; 2] = std::array::from_fn(|k| median(inside.iter().map(|t| t[k]).collect()));
    let apart = |t: &[f32]| (t[0] - centre[0]).hypot(t[1] - centre[1]);
    let width = (3.0 * median(inside.iter().map(|t| apart(t)).collect())).clamp(0.25, 0.45);
    tints.zip(core, 1, |t, c, o| o[0] = c[0] * (-0.5 * (apart(t) / width).powi(4)).exp().max(1e-6))
}

/// The value in the middle.
fn median(mut values: Vec<f32>) -> Option<f32> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(middle, f32::total_cmp).1)
}

/// What is left of an object's picture without its look: the fine part of its logarithmic luminance, around [`GREY`].
fn grain(picture: &Raster, inside: &Raster) -> Raster {
    let diagonal = (picture.width as f32).hypot(picture.height as f32);
    let logs = picture.map(1, |p, o| o[0] = (luma(p).max(0.0) + BLACK).ln());
    let low = logs.blur_within(inside, GRAIN * diagonal);
    let fine = logs.zip(&low, 1, |l, c, o| o[0] = l[0] - c[0]);
    let sizes = fine.data.iter().zip(&inside.data).filter(|(_, i)| **i > 0.5).map(|(v, _)| v.abs());
    let typical = median(sizes.collect()).unwrap_or(0.0);
    let (keep, most) = if typical < LEAST_GRAIN { (0.0, 1.0) } else { (1.0, MOST_GRAIN * typical) };
    fine.map(3, |v, o| o.fill(GREY * (keep * v[0].clamp(-most, most)).exp()))
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
    area > 0.08 && border < 0.35 && decided > 0.97
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
