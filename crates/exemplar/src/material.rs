//! The material as the sampler and the lit sphere want it.
//!
//! A picture of a flat sample (a slab of marble) is pattern through and through. A picture of an object (a steel bowl) is the
//! look of a surface under light: its colour by normal goes into a [`Sphere`], and only what is left, the grain of its
//! surface, is pattern.

use super::form::{BLACK, FormNetwork};
use super::object::{Look, inner, is_a_thing, median};
use super::raster::{Area, Kernel, Raster, luma};
use super::scale;
use super::sheen::{self, Sheen};
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
    /// The picture has too few pixels for a pattern as small as was asked for.
    pub(crate) limited: bool,
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

/// A material picture as it was given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a> {
    /// RGB.
    pub(crate) picture: &'a Raster,
    /// What may be the object in it: one channel of the same size.
    pub(crate) object: Option<&'a Raster>,
    /// The object is the picture's own alpha channel.
    pub(crate) cut_out: bool,
}

/// How large the pattern is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// The subject's diagonal in pixels.
    pub(crate) extent: f64,
    /// Times the usual size.
    pub(crate) scale: f64,
}

impl Material {
    /// Cuts the picture to its object (when that is of a reasonable share or was cut out already), and scales it so that its
    /// diagonal spans `tunables.material_extent` of the subject's, times the scale that was asked for.
    ///
    /// # Errors
    /// [`Error::Compute`] when the form network's device fails.
    pub(crate) fn prepare(
        shown: &Shown<'_>,
        room: Room,
        network: &FormNetwork,
        tunables: &ExemplarTunables,
    ) -> Result<Self, Error> {
        let extent = room.extent;
        let cut = Cut::of(shown, room, tunables);
        let parts = match &cut.shape {
            None => Parts::of_sample(&cut, extent),
            Some(shape) => {
                // A thing much smaller than the subject has too few pieces to lay out: it would be seen again and again.
                let roomy = (cut.area.width as f64).hypot(cut.area.height as f64) >= LEAST_ROOM * extent;
                Parts::of_thing(&cut, Look::of(&cut.picture, shape, roomy, network)?)
            }
        };
        let sigma = tunables.shading_scale * cut.width.min(cut.height) as f32;
        Ok(Self { limited: cut.limited, ..Self::analyse(parts, cut.area, sigma) })
    }

    /// `sigma` parts shading from texture.
    fn analyse(parts: Parts, area: Area, sigma: f32) -> Self {
        let Parts { pattern, inside, sphere, polish } = parts;
        let luminance = pattern.luma();
        let shading = luminance.blur_within(&inside, sigma);
        let texture = luminance.zip(&shading, 1, |l, s, o| o[0] = l[0] - s[0]);
        let (fine, coarse) = (texture.deviation_within(&inside), shading.deviation_within(&inside));
        let texturedness = if fine + coarse > 1e-4 { fine / (fine + coarse) } else { 0.0 };
        let contrast = luminance.deviation_within(&inside).max(0.01);
        Self { pattern, inside, texturedness, contrast, area, sphere, polish, limited: false }
    }

    /// Is there nothing to paint? A smooth object is all look.
    pub(crate) fn is_smooth(&self) -> bool {
        self.sphere.is_some() && self.contrast <= 0.01
    }
}

/// The part of the picture that is the material, and the size at which it is used.
struct Cut {
    area: Area,
    /// RGB of the area, as large as it was given.
    picture: Raster,
    /// Which part of it is the thing; `None` for a flat sample. One channel.
    shape: Option<Raster>,
    width: usize,
    height: usize,
    /// Smaller was asked for.
    limited: bool,
}

impl Cut {
    fn of(shown: &Shown<'_>, room: Room, tunables: &ExemplarTunables) -> Self {
        let (picture, extent) = (shown.picture, room.extent);
        let whole = Area { x: 0, y: 0, width: picture.width, height: picture.height };
        let object = shown.object.filter(|object| shown.cut_out || is_a_thing(object));
        let area = object.and_then(|o| bounds(o, 0.9)).unwrap_or(whole);
        let (picture, shape) = (picture.crop(area), object.map(|o| o.crop(area)));
        let (width, height) = (area.width as f64, area.height as f64);
        let fit = tunables.material_extent * extent / width.hypot(height);
        let least = MIN_SIDE / width.min(height);
        let fit = fit.clamp(tunables.material_least_scale, 1.0).max(least).min(least.max(1.0));
        let calm = scale::calm(&picture.luma(), fit, tunables.material_most_busy);
        // A bold pattern in features as large as the subject's hides it: these are made smaller, whatever that does.
        let scale = if shape.is_none() { calm * scale::bold(&picture) } else { calm }.max(least.min(calm));
        let wanted = scale * room.scale;
        let (area, picture, shape, scale) = rescaled(area, picture, shape, scale, room);
        let (width, height) = (area.width as f64, area.height as f64);
        let size = |side: f64| ((side * scale).round() as usize).clamp(MIN_SIDE as usize, 4096);
        Self {
            area,
            picture,
            shape,
            width: size(width),
            height: size(height),
            limited: scale > 1.05 * wanted,
        }
    }

    fn resized(&self, raster: &Raster, kernel: Kernel) -> Raster {
        raster.resize(self.width, self.height, kernel)
    }

    /// The picture at the size at which it is used.
    fn pattern(&self) -> Raster {
        let mut pattern = self.resized(&self.picture, Kernel::Lanczos);
        pattern.data.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0));
        pattern
    }

    /// 1 where that is the material.
    fn inside(&self) -> Raster {
        match &self.shape {
            // The rim of a thing is seen so flatly that its pieces would come out as slashes.
            Some(shape) => {
                let rim = (0.02 * self.width.min(self.height) as f32).round() as usize;
                inner(&self.resized(shape, Kernel::Box), rim)
            }
            None => Raster::filled(self.width, self.height, 1, 1.0),
        }
    }
}

/// The same cut with the scale that was asked for. No more of an enlarged sample is kept than the subject has room for.
fn rescaled(
    area: Area,
    picture: Raster,
    shape: Option<Raster>,
    scale: f64,
    room: Room,
) -> (Area, Raster, Option<Raster>, f64) {
    if room.scale <= 1.0 {
        let least = (MIN_SIDE / picture.width.min(picture.height) as f64).min(scale);
        return (area, picture, shape, (scale * room.scale).max(least));
    }
    let scale = scale * room.scale;
    let most = ((MOST_ROOM * room.extent).max(MIN_SIDE) / scale).ceil() as usize;
    let part = middle(&picture, most);
    let inner = Area { x: area.x + part.x, y: area.y + part.y, ..part };
    let shape_left = shape.as_ref().map(|shape| shape.crop(part));
    // A thing of which the middle is empty, a ring, is kept whole.
    let kept = |shape: &Raster| 4.0 * shape.data.iter().sum::<f32>() > shape.pixels() as f32;
    if shape_left.as_ref().is_some_and(|shape| !kept(shape)) {
        return (area, picture, shape, scale.min(4096.0 / area.width.max(area.height) as f64));
    }
    (inner, picture.crop(part), shape_left, scale)
}

/// What becomes of a cut.
struct Parts {
    pattern: Raster,
    inside: Raster,
    sphere: Option<Sphere>,
    polish: f32,
}

impl Parts {
    /// Of a flat sample. A small subject shows only a part of one that is not shrunk so far.
    fn of_sample(cut: &Cut, extent: f64) -> Self {
        let (whole, inside) = (cut.pattern(), cut.inside());
        let middle = middle(&whole, (MOST_ROOM * extent).max(MIN_SIDE) as usize);
        match Sheen::of(&cut.picture) {
            None => Self {
                pattern: whole.crop(middle),
                inside: inside.crop(middle),
                sphere: None,
                polish: sheen::polish(&cut.picture),
            },
            Some(sheen) => Self {
                pattern: grain_or_none(&whole, &inside, sheen.grained).crop(middle),
                inside: inside.crop(middle),
                sphere: Some(sheen.sphere()),
                polish: 0.0,
            },
        }
    }

    /// Of a thing, by what was read off it.
    fn of_thing(cut: &Cut, look: Look) -> Self {
        let mut pattern = cut.pattern();
        match look {
            Look::Pattern { light, part } => {
                let light = cut.resized(&light, Kernel::Triangle);
                pattern = pattern.zip(&light, 3, |p, l, o| {
                    o.iter_mut().zip(p).for_each(|(o, p)| *o = (p * (-l[0]).exp()).clamp(0.0, 1.0));
                });
                let inside = common(cut.inside(), &cut.resized(&part, Kernel::Box));
                fill(&mut pattern, &inside);
                Self { pattern, inside, sphere: None, polish: 0.0 }
            }
            Look::Sphere { sphere, part, grained, polish } => {
                let inside = common(cut.inside(), &cut.resized(&part, Kernel::Box));
                fill(&mut pattern, &inside);
                let pattern = grain_or_none(&pattern, &inside, grained);
                Self { pattern, inside, sphere: Some(sphere), polish }
            }
        }
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
