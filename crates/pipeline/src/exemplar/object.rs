//! What a material picture shows when it shows a thing: which part of it is the material, how that looks by its normals, and
//! whether its surface is a pattern.
//!
//! Metal, glaze and paint are a look: their colour by normal becomes a [`Sphere`]. A knitted vase or a wall of bricks is a
//! pattern that happens to lie on a thing: its own light is divided out, and it is used like a flat sample.

use super::form::{BLACK, Form, FormNetwork};
use super::raster::{Kernel, Raster, luma};
use super::relief::shrunken;
use super::sphere::Sphere;
use crate::Error;

/// What was read off a thing.
#[derive(Debug)]
pub(crate) enum Look {
    /// Colours follow the normals. `part` is 1 where the thing is of its usual material; `grained` says whether that has a
    /// grain of its own everywhere.
    Sphere { sphere: Sphere, part: Raster, grained: bool },
    /// Colours follow a pattern. `light` is the thing's logarithmic light, 0 on average, to be divided out; `part` is 1 where
    /// the pattern is seen well enough to be copied.
    Pattern { light: Raster, part: Raster },
}

/// Longest side at which a thing's form and look are read, in pixels.
const LOOK_SIDE: usize = 512;

/// Share of the linear trend of logarithmic luminance over the normal that is taken off the look: from which side the
/// material's picture was lit is no property of the material, and the subject brings its own light.
const UNSIDED: f32 = 0.8;

impl Look {
    /// Of the thing that `shape` (one channel) marks in `picture` (RGB, the same size).
    ///
    /// # Errors
    /// [`Error::Compute`] when the network's device fails.
    pub(crate) fn of(picture: &Raster, shape: &Raster, network: &FormNetwork) -> Result<Self, Error> {
        let scale = (LOOK_SIDE as f32 / picture.width.max(picture.height) as f32).min(1.0);
        let side = |s: usize| ((s as f32 * scale).round() as usize).max(8);
        let (width, height) = (side(picture.width), side(picture.height));
        let picture = picture.resize(width, height, Kernel::Box);
        let shape = shape.resize(width, height, Kernel::Box);
        let form = Form::of(&picture, &shape, network.look(&picture, &shape)?.as_ref(), 0.0);
        let core = inner(&shape, (0.006 * width.max(height) as f32).round().max(1.0) as usize);
        let surface = Texture::of(&picture, &core);
        let tints = picture.map(2, |p, o| o.copy_from_slice(&tint(p)));
        let usual = usual(&tints, &core);
        let part = usual.zip(&core, 1, |u, c, o| o[0] = f32::from(u8::from(u[0] > 0.5 && c[0] > 0.5)));
        let share = part.mean_within(&core)[0];
        if std::env::var_os("LOOK_DEBUG").is_some() {
            eprintln!("look: depth {:.3} even {:.3} share {share:.3} grain {:.3} {:.3}", surface.depth, surface.even, surface.grain, surface.grain_even);
        }
        if share < LEAST_USUAL || surface.is_pattern() {
            return Ok(Self::Pattern { part: surface.copied(&form.normals, &core), light: surface.light });
        }
        let sphere = Sphere::read(&picture, &form.normals, &usual);
        let sphere = sphere.without_side(&picture, &form.normals, &part, UNSIDED).of_one_tint(&typical(&picture, &part));
        Ok(Self::Sphere { sphere, part, grained: surface.is_grained() })
    }
}

/// How a thing's surface varies beside its broad light.
struct Texture {
    /// The broad light: low-passed logarithmic luminance, less its mean.
    light: Raster,
    /// Median deviation of what is finer than the light.
    depth: f32,
    /// Median over mean of the local energy of that: near 1 where the surface is alike everywhere, near 0 where it is smooth but
    /// for a few edges (windows, highlights).
    even: f32,
    /// The same two of what is finer than a grain is coarse.
    grain: f32,
    grain_even: f32,
}

/// Widths of the low passes that part light from pattern and look from grain, as shares of the diagonal.
const LIGHT: f32 = 0.05;
const GRAIN: f32 = 0.02;

/// A surface at least so deep and so even is a pattern.
const PATTERN_DEPTH: f32 = 0.10;
const PATTERN_EVEN: f32 = 0.45;

/// A grain at least so deep and so even is painted; less is a smooth surface.
const GRAIN_DEPTH: f32 = 0.02;
const GRAIN_EVEN: f32 = 0.35;

/// A thing of which less than this share has the usual tint is patched or printed all over.
const LEAST_USUAL: f32 = 0.4;

impl Texture {
    fn of(picture: &Raster, core: &Raster) -> Self {
        let diagonal = (picture.width as f32).hypot(picture.height as f32);
        let logs = picture.map(1, |p, o| o[0] = (luma(p).max(0.0) + BLACK).ln());
        let measured = |width: f32| {
            let low = logs.blur_within(core, width * diagonal);
            let fine = logs.zip(&low, 1, |l, c, o| o[0] = l[0] - c[0]);
            let energy = fine.map(1, |f, o| o[0] = f[0] * f[0]).blur_within(core, width * diagonal);
            let local: Vec<f32> =
                energy.data.iter().zip(&core.data).filter(|(_, c)| **c > 0.5).map(|(e, _)| *e).collect();
            let mean = local.iter().sum::<f32>() / local.len().max(1) as f32;
            let middle = median(local).unwrap_or(0.0).max(0.0);
            (low, middle.sqrt(), middle / mean.max(1e-9))
        };
        let (low, depth, even) = measured(LIGHT);
        let (_, grain, grain_even) = measured(GRAIN);
        let mean = low.mean_within(core)[0];
        Self { light: low.map(1, |l, o| o[0] = l[0] - mean), depth, even, grain, grain_even }
    }

    fn is_pattern(&self) -> bool {
        self.depth > PATTERN_DEPTH && self.even > PATTERN_EVEN
    }

    fn is_grained(&self) -> bool {
        self.grain > GRAIN_DEPTH && self.grain_even > GRAIN_EVEN
    }

    /// Where the pattern faces the viewer and is lit; all of `core` where that is too little.
    fn copied(&self, normals: &Raster, core: &Raster) -> Raster {
        let well = normals.zip(&self.light, 1, |n, l, o| {
            o[0] = f32::from(u8::from(n[2] > MOST_TURNED && l[0] > -DEEPEST_SHADE));
        });
        let well = well.zip(core, 1, |w, c, o| o[0] = w[0] * f32::from(u8::from(c[0] > 0.5)));
        let count = |r: &Raster| r.data.iter().filter(|v| **v > 0.5).count();
        if 3 * count(&well) > count(core) { well } else { core.clone() }
    }
}

/// The third component of a normal beyond which a pattern is seen too flatly to be copied.
const MOST_TURNED: f32 = 0.5;

/// Logarithm of light below the mean at which a pattern drowns in shade.
const DEEPEST_SHADE: f32 = 1.0;

/// The firm part of a shape, `rim` pixels within its outline; less far within where little would be left (a trumpet's tubes).
pub(crate) fn inner(shape: &Raster, rim: usize) -> Raster {
    let firm = shape.map(1, |p, o| o[0] = f32::from(u8::from(p[0] > 0.9)));
    let count = |r: &Raster| r.data.iter().filter(|v| **v > 0.5).count();
    let enough = count(&firm).div_ceil(3).max(1);
    let rims = std::iter::successors(Some(rim), |rim| (*rim > 0).then_some(rim / 2));
    rims.map(|rim| shrunken(&firm, rim)).find(|inner| count(inner) >= enough).unwrap_or(firm)
}

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

/// The median colour of `part`.
fn typical(picture: &Raster, part: &Raster) -> [f32; 3] {
    std::array::from_fn(|c| {
        let values = picture.data.chunks_exact(3).zip(&part.data).filter(|(_, p)| **p > 0.5);
        median(values.map(|(p, _)| p[c]).collect()).unwrap_or(0.5)
    })
}

/// The value in the middle.
pub(crate) fn median(mut values: Vec<f32>) -> Option<f32> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(middle, f32::total_cmp).1)
}

/// A found mask is a thing, and not a texture's whim, when it covers a fair share, stays clear of most of the border and is
/// decided about most pixels; a small one (a coin on a table), when it is clear of all of it and decided about nearly all.
pub(crate) fn is_a_thing(mask: &Raster) -> bool {
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
    let large = area > 0.08 && border < 0.35 && decided > 0.97;
    let small = area > 0.02 && border == 0.0 && decided > 0.99;
    if std::env::var_os("LOOK_DEBUG").is_some() {
        eprintln!("thing: area {area:.3} border {border:.3} decided {decided:.3}");
    }
    large || small
}
