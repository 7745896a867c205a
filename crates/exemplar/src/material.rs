//! The material as the sampler and the lit sphere want it.
//!
//! A picture of a flat sample (a slab of marble) is pattern through and through. A picture of an object (a steel bowl) is the
//! look of a surface under light: its colour by normal goes into a [`Sphere`], and only what is left, the grain of its
//! surface, is pattern.

use super::form::{BLACK, FormNetwork};
use super::object::{Look, inner, is_a_thing, median};
use super::raster::{Area, Kernel, Raster, luma};
use super::sheen::Sheen;
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
    /// How much of a highlight its polish is to show, 0 to 1; what a sphere shows by itself not counted.
    pub(crate) polish: f32,
}

/// The value around which an object's grain lies.
pub(crate) const GREY: f32 = 0.5;

/// Neither side of the working material is shorter than this, in pixels: the coarsest level still needs patches.
const MIN_SIDE: f64 = 96.0;

/// Neither side of a flat sample is longer than this many diagonals of the subject.
const MOST_ROOM: f64 = 1.5;

/// Width of the low pass that parts an object's grain from its look, as a share of the diagonal.
const GRAIN: f32 = 0.02;

/// A thing whose diagonal is shorter than this share of the subject's is no pattern to copy.
const LEAST_ROOM: f64 = 0.5;

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
        let object = object.filter(|object| cut_out || is_a_thing(object));
        let area = object.and_then(|o| bounds(o, 0.9)).unwrap_or(whole);
        let cut = picture.crop(area);
        let shape = object.map(|o| o.crop(area));
        let (width, height) = (area.width as f64, area.height as f64);
        let fit = tunables.material_extent * extent / width.hypot(height);
        let least = MIN_SIDE / width.min(height);
        let fit = fit.clamp(tunables.material_least_scale, 1.0).max(least).min(least.max(1.0));
        let scale = calm_scale(&cut.luma(), fit, tunables.material_most_busy);
        // A bold pattern in features as large as the subject's hides it: these are made smaller, whatever that does.
        let scale = (if shape.is_none() { scale * bold_scale(&cut) } else { scale }).max(least.min(scale));
        let size = |side: f64| ((side * scale).round() as usize).clamp(1, 4096);
        let (width, height) = (size(width).max(MIN_SIDE as usize), size(height).max(MIN_SIDE as usize));
        let resized = |r: &Raster, kernel| r.resize(width, height, kernel);
        let mut pattern = resized(&cut, Kernel::Lanczos);
        pattern.data.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0));
        let inside = match &shape {
            Some(shape) => {
                // The rim of an object is seen so flatly that its pieces would come out as slashes.
                inner(&resized(shape, Kernel::Box), (0.02 * width.min(height) as f32).round() as usize)
            }
            None => Raster::filled(width, height, 1, 1.0),
        };
        // A thing much smaller than the subject has too few pieces to lay out: it would be seen again and again.
        let roomy = (area.width as f64).hypot(area.height as f64) >= LEAST_ROOM * extent;
        let look = shape.as_ref().map(|shape| Look::of(&cut, shape, roomy, network)).transpose()?;
        let (mut inside, sphere, polish) = match look {
            None => match Sheen::of(&cut) {
                None => (inside, None, polish(&cut)),
                Some(sheen) => {
                    pattern = grain_or_none(&pattern, &inside, sheen.grained);
                    (inside, Some(sheen.sphere()), 0.0)
                }
            },
            Some(Look::Pattern { light, part }) => {
                let light = resized(&light, Kernel::Triangle);
                pattern = pattern.zip(&light, 3, |p, l, o| {
                    o.iter_mut().zip(p).for_each(|(o, p)| *o = (p * (-l[0]).exp()).clamp(0.0, 1.0));
                });
                let inside = common(inside, &resized(&part, Kernel::Box));
                fill(&mut pattern, &inside);
                (inside, None, 0.0)
            }
            Some(Look::Sphere { sphere, part, grained, polish }) => {
                let inside = common(inside, &resized(&part, Kernel::Box));
                fill(&mut pattern, &inside);
                pattern = grain_or_none(&pattern, &inside, grained);
                (inside, Some(sphere), polish)
            }
        };
        if shape.is_none() {
            // Of a sample that is not shrunk so far, a small subject shows a part only.
            let middle = middle(&pattern, (MOST_ROOM * extent).max(MIN_SIDE) as usize);
            (pattern, inside) = (pattern.crop(middle), inside.crop(middle));
        }
        let sigma = tunables.shading_scale * width.min(height) as f32;
        Ok(Self { polish, ..Self::analyse(pattern, inside, area, sphere, sigma) })
    }

    /// `sigma` parts shading from texture.
    fn analyse(pattern: Raster, inside: Raster, area: Area, sphere: Option<Sphere>, sigma: f32) -> Self {
        let luminance = pattern.luma();
        let shading = luminance.blur_within(&inside, sigma);
        let texture = luminance.zip(&shading, 1, |l, s, o| o[0] = l[0] - s[0]);
        let (fine, coarse) = (texture.deviation_within(&inside), shading.deviation_within(&inside));
        let texturedness = if fine + coarse > 1e-4 { fine / (fine + coarse) } else { 0.0 };
        let contrast = luminance.deviation_within(&inside).max(0.01);
        Self { pattern, inside, texturedness, contrast, area, sphere, polish: 0.0 }
    }

    /// Is there nothing to paint? A smooth object is all look.
    pub(crate) fn is_smooth(&self) -> bool {
        self.sphere.is_some() && self.contrast <= 0.01
    }
}

/// The middle of a raster, `most` pixels a side at most.
fn middle(raster: &Raster, most: usize) -> Area {
    let (width, height) = (raster.width.min(most), raster.height.min(most));
    Area { x: (raster.width - width) / 2, y: (raster.height - height) / 2, width, height }
}

/// Where both are; the first alone where that is next to nothing.
fn common(inside: Raster, part: &Raster) -> Raster {
    let both = inside.zip(part, 1, |i, p, o| o[0] = f32::from(u8::from(i[0] > 0.5 && p[0] > 0.5)));
    let count = |r: &Raster| r.data.iter().filter(|v| **v > 0.5).count();
    if 4 * count(&both) >= count(&inside) { both } else { inside }
}

/// Gives what lies outside `inside` the colours of what is near it inside, first of what is nearest: pieces of thin or torn
/// things reach beyond them.
fn fill(picture: &mut Raster, inside: &Raster) {
    let longest = picture.width.max(picture.height) as f32;
    let mut known = inside.clone();
    for width in [3.0, 12.0, 48.0, longest] {
        let near = picture.blur_within(&known, width);
        let reached = known.blur(width);
        for at in 0..known.pixels() {
            if known.data[at] <= 0.5 && reached.data[at] > REACHED {
                picture.data[3 * at..][..3].copy_from_slice(&near.data[3 * at..][..3]);
                known.data[at] = 1.0;
            }
        }
    }
}

/// Share of known surroundings that is enough to fill a place from them.
const REACHED: f32 = 0.01;

/// The grain of a picture that has one; else none.
fn grain_or_none(picture: &Raster, inside: &Raster, grained: bool) -> Raster {
    if grained { grain(picture, inside) } else { Raster::filled(picture.width, picture.height, 3, GREY) }
}

/// What is left of an object's picture without its look: the fine part of its logarithmic luminance, around [`GREY`].
fn grain(picture: &Raster, inside: &Raster) -> Raster {
    let diagonal = (picture.width as f32).hypot(picture.height as f32);
    let logs = picture.map(1, |p, o| o[0] = (luma(p).max(0.0) + BLACK).ln());
    let low = logs.blur_within(inside, GRAIN * diagonal);
    let fine = logs.zip(&low, 1, |l, c, o| o[0] = l[0] - c[0]);
    let sizes = fine.data.iter().zip(&inside.data).filter(|(_, i)| **i > 0.5).map(|(v, _)| v.abs());
    let typical = median(sizes.collect()).unwrap_or(0.0);
    let most = MOST_GRAIN * typical;
    fine.map(3, |v, o| o.fill(GREY * v[0].clamp(-most, most).exp()))
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

/// How polished a flat sample looks, 0 to 1: what is rough, woven or grown has a grain, polished stone and wet things have none.
fn polish(picture: &Raster) -> f32 {
    let scale = (POLISH_SIDE as f32 / picture.width.max(picture.height) as f32).min(1.0);
    let side = |s: usize| ((s as f32 * scale).round() as usize).max(8);
    let logs = picture.resize(side(picture.width), side(picture.height), Kernel::Box).map(1, |p, o| {
        o[0] = (luma(p).max(0.0) + BLACK).ln();
    });
    let energy = logs.zip(&logs.blur(1.0), 1, |l, s, o| o[0] = (l[0] - s[0]).powi(2)).blur(10.0);
    let grain = median(energy.data).unwrap_or(1.0).max(0.0).sqrt();
    ((ROUGH - grain) / (ROUGH - SMOOTH)).clamp(0.0, 1.0)
}

/// Longest side at which the grain is measured, in pixels, and its median deviation (logarithm) from which there is no polish
/// and to which there is a full one: slime, glowing lava, water, orange peel and marble have 0.004 to 0.015; white bricks 0.027.
const POLISH_SIDE: usize = 700;
const ROUGH: f32 = 0.022;
const SMOOTH: f32 = 0.012;

/// By how much a bold pattern is to be shrunk: one whose features, some twentieths of the picture wide, have more contrast than
/// a subject's form.
fn bold_scale(picture: &Raster) -> f64 {
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
