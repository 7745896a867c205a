//! What a material picture shows when it shows a thing: which part of it is the material, how that looks by its normals, and
//! whether its surface is a pattern.
//!
//! Metal, glaze and paint are a look: their colour by normal becomes a [`Sphere`]. A knitted vase or a wall of bricks is a
//! pattern that happens to lie on a thing: its own light is divided out, and it is used like a flat sample.

use super::form::{BLACK, Form, FormNetwork};
use super::sheen::Sheen;
use super::sphere::Sphere;
use crate::Error;
use pixels::raster::{Kernel, Raster, luma};

/// What was read off a thing.
#[derive(Debug)]
pub(crate) enum Look {
    /// Colours follow the normals. `part` is 1 where the thing is of its usual material; `grained` says whether that has a
    /// grain of its own everywhere, `polish` how much of a highlight the sphere is to be given, 0 to 1.
    Sphere { sphere: Sphere, part: Raster, grained: bool, polish: f32 },
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
    /// Of the thing that `shape` (one channel) marks in `picture` (RGB, the same size); a pattern only where it is `roomy`.
    ///
    /// # Errors
    /// [`Error::Compute`] when the network's device fails.
    pub(crate) fn of(
        picture: &Raster,
        shape: &Raster,
        roomy: bool,
        network: &FormNetwork,
    ) -> Result<Self, Error> {
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
        let typical = typical(&picture, &part);
        if is_warm_metal(&picture, &tints, &part, &typical) {
            let sphere = Sheen::of_metal(&picture, &core).sphere();
            return Ok(Self::Sphere { sphere, part, grained: false, polish: 0.0 });
        }
        if share < LEAST_USUAL || (roomy && surface.is_pattern()) {
            return Ok(Self::Pattern { part: surface.copied(&form.normals, &core), light: surface.light });
        }
        let sphere = Sphere::read(&picture, &form.normals, &usual);
        let sphere = sphere.without_side(&picture, &form.normals, &part, UNSIDED).of_one_tint(&typical);
        let sphere = if is_white(&typical) { sphere.brightened_to(WHITE) } else { sphere };
        let grained = surface.is_grained();
        // Where normals are a few degrees off, a small highlight is averaged away.
        let polish = if grained { 0.0 } else { SMOOTH_POLISH };
        Ok(Self::Sphere { sphere, part, grained, polish })
    }
}

/// How a thing's surface varies beside its broad light.
#[derive(Debug)]
struct Texture {
    /// The broad light: low-passed logarithmic luminance, less its mean.
    light: Raster,
    /// Median deviation, pooled, of what is finer than the light.
    depth: f32,
    /// Its third standardised moment: bright flecks on dark are gloss (Motoyoshi et al. 2007).
    skew: f32,
    /// Mean magnitude over root mean square of the finest band: 0.8 for noise as even as can be, less the fewer places have it.
    dense: f32,
    /// Median over mean of the slope of logarithmic luminance: near 1 where the surface is busy everywhere, near 0 where it is
    /// smooth but for a few edges (windows, highlights).
    even: f32,
}

/// Widths of the low pass that parts light from pattern and of the pool, as shares of the diagonal.
const LIGHT: f32 = 0.05;
const POOL: f32 = 0.03;

/// The finest band that is looked at: Gaussian widths as shares of the diagonal.
const FINEST: (f32, f32) = (0.003, 0.008);

// A surface is a pattern when it is dense and not flecked, by a line that logistic regression (balanced classes) drew through 72
// rendered things: 48 of wood, stone, weave and the like, 24 of metal, glaze, plastic and velvet. Each left out in turn, 63 of
// them were put right; the three thresholds of before (depth, evenness, skew alone) put 47 right. Glints lie in few places
// and on one side: metal's finest band has a mean magnitude of 0.4 to 0.7 of its root mean square, a texture's of 0.6 to 0.8.
const PATTERN_DENSE: f32 = 13.4;
const PATTERN_SKEW: f32 = 1.12;
const PATTERN_LEAST: f32 = 9.4;

/// A surface of less depth, or one that is smooth but for its edges (a car), is no pattern in any case.
const PATTERN_DEPTH: f32 = 0.06;
const PATTERN_EVEN: f32 = 0.38;

/// A surface less even has no grain: what there is are edges.
const GRAIN_EVEN: f32 = 0.46;

/// The polish of a thing without grain.
const SMOOTH_POLISH: f32 = 0.6;

/// A surface of less depth has no grain worth painting.
const GRAIN_DEPTH: f32 = 0.04;

/// A thing of which less than this share has the usual tint is patched or printed all over.
const LEAST_USUAL: f32 = 0.25;

impl Texture {
    fn of(picture: &Raster, core: &Raster) -> Self {
        let diagonal = (picture.width as f32).hypot(picture.height as f32);
        let logs = picture.map(1, |p, o| o[0] = (luma(p).max(0.0) + BLACK).ln());
        let low = logs.blur_within(core, LIGHT * diagonal);
        let fine = logs.zip(&low, 1, |l, c, o| o[0] = l[0] - c[0]);
        let energy = fine.map(1, |f, o| o[0] = f[0] * f[0]).blur_within(core, POOL * diagonal);
        let inside = |r: &Raster| -> Vec<f32> {
            r.data.iter().zip(&core.data).filter(|(_, c)| **c > 0.5).map(|(v, _)| *v).collect()
        };
        let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len().max(1) as f32;
        let (fines, slopes) = (inside(&fine), inside(&slopes(&logs.blur_within(core, 1.0))));
        let centre = mean(&fines);
        let moment = |power: i32| mean(&fines.iter().map(|f| (f - centre).powi(power)).collect::<Vec<_>>());
        let skew = moment(3) / moment(2).max(1e-9).powf(1.5);
        let even = mean(&slopes).max(1e-9);
        let level = low.mean_within(core)[0];
        let finest = logs.blur_within(core, FINEST.0 * diagonal).zip(
            &logs.blur_within(core, FINEST.1 * diagonal),
            1,
            |f, c, o| o[0] = f[0] - c[0],
        );
        let finest = inside(&finest);
        let root = mean(&finest.iter().map(|f| f * f).collect::<Vec<_>>()).sqrt();
        Self {
            dense: mean(&finest.iter().map(|f| f.abs()).collect::<Vec<_>>()) / root.max(1e-6),
            depth: median(inside(&energy)).unwrap_or(0.0).max(0.0).sqrt(),
            skew,
            even: median(slopes).unwrap_or(0.0) / even,
            light: low.map(1, |l, o| o[0] = l[0] - level),
        }
    }

    fn is_pattern(&self) -> bool {
        let dense = PATTERN_DENSE * self.dense - PATTERN_SKEW * self.skew > PATTERN_LEAST;
        dense && self.depth > PATTERN_DEPTH && self.even > PATTERN_EVEN
    }

    fn is_grained(&self) -> bool {
        self.depth > GRAIN_DEPTH && self.even > GRAIN_EVEN
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

/// The steepness of a raster's first channel at every pixel.
fn slopes(of: &Raster) -> Raster {
    let (w, h) = (of.width, of.height);
    let mut out = Raster::filled(w, h, 1, 0.0);
    for y in 0..h {
        for x in 0..w {
            let across = of.pixel((x + 1).min(w - 1), y)[0] - of.pixel(x.saturating_sub(1), y)[0];
            let down = of.pixel(x, (y + 1).min(h - 1))[0] - of.pixel(x, y.saturating_sub(1))[0];
            out.data[y * w + x] = 0.5 * across.hypot(down);
        }
    }
    out
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
    rims.map(|rim| firm.shrunken(rim)).find(|inner| count(inner) >= enough).unwrap_or(firm)
}

/// Added to a channel before tints are taken: dark pixels have none.
const DARK: f32 = 0.08;

/// A colour without its brightness: logarithms of red and blue over green.
fn tint(rgb: &[f32]) -> [f32; 2] {
    let log = |v: f32| (v.max(0.0) + DARK).ln();
    [log(rgb[0]) - log(rgb[1]), log(rgb[2]) - log(rgb[1])]
}

/// A tint beyond this is a colour; a thing of which more than this share has one is a coloured thing.
const COLOURED: f32 = 0.5;
const LEAST_COLOURED: f32 = 0.33;

/// Rounds in which the usual tint settles, and the least and the most that tints of one material are apart.
const ROUNDS: usize = 3;
const TINT_WIDTHS: (f32, f32) = (0.25, 0.45);

/// How much every pixel of `core` counts for the look: less, the farther its tint lies from the usual one. A wheel or a beak
/// is another material.
fn usual(tints: &Raster, core: &Raster) -> Raster {
    let inside: Vec<&[f32]> =
        tints.data.chunks_exact(2).zip(&core.data).filter(|(_, c)| **c > 0.5).map(|(t, _)| t).collect();
    let median = |values: Vec<f32>| median(values).unwrap_or(0.0);
    let apart = |t: &[f32], centre: [f32; 2]| (t[0] - centre[0]).hypot(t[1] - centre[1]);
    // A coloured thing has grey parts (windows, tyres, glints) far more often than a grey thing has coloured ones.
    let coloured = |t: &&&[f32]| apart(t, [0.0; 2]) > COLOURED;
    let is_coloured = inside.iter().filter(coloured).count() as f32 > LEAST_COLOURED * inside.len() as f32;
    let (mut centre, mut width) = ([0.0; 2], f32::INFINITY);
    for round in 0..ROUNDS {
        let near = || {
            inside.iter().filter(|t| apart(t, centre) < width && (round > 0 || !is_coloured || coloured(t)))
        };
        let middle: [f32; 2] = std::array::from_fn(|k| median(near().map(|t| t[k]).collect()));
        let spread = median(near().map(|t| apart(t, middle)).collect());
        (centre, width) = (middle, (3.0 * spread).clamp(TINT_WIDTHS.0, TINT_WIDTHS.1));
    }
    let apart = |t: &[f32]| apart(t, centre);
    tints.zip(core, 1, |t, c, o| o[0] = c[0] * (-0.5 * (apart(t) / width).powi(4)).exp().max(1e-6))
}

/// The middle colour of the darker half of `part`: the brighter one is paled by sheen. What is overexposed, a channel at its end,
/// has lost its tint and does not count where there is enough else.
fn typical(picture: &Raster, part: &Raster) -> [f32; 3] {
    let all = || picture.data.chunks_exact(3).zip(&part.data).filter(|(_, p)| **p > 0.5).map(|(p, _)| p);
    let whole = |p: &&[f32]| p.iter().all(|v| *v < OVEREXPOSED);
    let enough = all().filter(whole).count() as f32 > LEAST_EXPOSED * all().count() as f32;
    let inside = || all().filter(|p| !enough || whole(p));
    let middle = median(inside().map(luma).collect()).unwrap_or(0.5);
    std::array::from_fn(|c| {
        median(inside().filter(|p| luma(p) <= middle).map(|p| p[c]).collect()).unwrap_or(0.5)
    })
}

/// Is this the colour of a white thing, which in a photograph is seldom white? Porcelain in a dim room is a warm grey.
fn is_white(typical: &[f32; 3]) -> bool {
    let [red, blue] = tint_of(typical);
    luma(typical) > LEAST_WHITE && red.hypot(blue) < MOST_TINTED
}

/// The least brightness of a white thing's darker half, the farthest its tint may be from grey's, and how bright its bright side
/// is made.
const LEAST_WHITE: f32 = 0.45;
const MOST_TINTED: f32 = 0.35;
const WHITE: f32 = 0.94;

/// A channel from here on is at its end, and the share of a thing that has to lie below for its colour to be read there.
const OVEREXPOSED: f32 = 0.96;
const LEAST_EXPOSED: f32 = 0.1;

/// Is a thing of the `typical` colour in `part` gold, brass or copper? These are yellow to orange, and what they reflect is the
/// paler the brighter it is, all over: dyed wool, wood and rust keep their tint in the light.
fn is_warm_metal(picture: &Raster, tints: &Raster, part: &Raster, typical: &[f32; 3]) -> bool {
    let [red, blue] = tint_of(typical);
    if !(WARM_RED.0..WARM_RED.1).contains(&red) || blue > WARM_BLUE {
        return false;
    }
    let rows: Vec<[f32; 2]> = (0..part.pixels())
        .filter(|at| part.data[*at] > 0.5)
        .map(|at| {
            let yellow = tints.data[2 * at] - tints.data[2 * at + 1];
            [(luma(&picture.data[3 * at..][..3]).max(0.0) + BLACK).ln(), yellow]
        })
        .collect();
    correlation(&rows) < METAL_PALES
}

/// Logarithms of red and of blue over green, between which gold, brass and copper lie; bricks are less yellow.
const WARM_RED: (f32, f32) = (0.05, 0.8);
const WARM_BLUE: f32 = -0.6;

/// Correlation of brightness and yellowness below which a thing of such a colour is metal: a coin has -0.84, a trumpet -0.66, a
/// copper bowl -0.25, four rendered golden things -0.93 to -0.31; rust and wood have 0.07 and more.
const METAL_PALES: f32 = -0.22;

/// Logarithms of red and blue over green, of a colour that is not dark.
fn tint_of(rgb: &[f32; 3]) -> [f32; 2] {
    let log = |v: f32| v.max(0.01).ln();
    [log(rgb[0]) - log(rgb[1]), log(rgb[2]) - log(rgb[1])]
}

/// Pearson's correlation of two columns; 0 where one does not vary.
fn correlation(rows: &[[f32; 2]]) -> f32 {
    let mean = |k: usize| rows.iter().map(|r| f64::from(r[k])).sum::<f64>() / rows.len().max(1) as f64;
    let means = [mean(0), mean(1)];
    let product = |i: usize, j: usize| {
        rows.iter().map(|r| (f64::from(r[i]) - means[i]) * (f64::from(r[j]) - means[j])).sum::<f64>()
    };
    let scale = (product(0, 0) * product(1, 1)).sqrt();
    if scale > 0.0 { (product(0, 1) / scale) as f32 } else { 0.0 }
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
    large || small
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disc of 120 pixels, coloured by `paint` at (x, y).
    fn disc(paint: impl Fn(usize, usize) -> [f32; 3]) -> (Raster, Raster) {
        let mut picture = Raster::filled(160, 160, 3, 0.5);
        let mut mask = Raster::filled(160, 160, 1, 0.0);
        for at in 0..25_600 {
            let (x, y) = (at % 160, at / 160);
            if (x as f32 - 79.5).hypot(y as f32 - 79.5) < 60.0 {
                mask.data[at] = 1.0;
                picture.data[3 * at..][..3].copy_from_slice(&paint(x, y));
            }
        }
        (picture, mask)
    }

    #[test]
    fn a_weave_is_a_pattern_and_a_shaded_ball_with_a_highlight_is_none() {
        let (weave, mask) = disc(|x, y| [if (x / 4 + y / 4) % 2 == 0 { 0.7 } else { 0.3 }; 3]);
        assert!(Texture::of(&weave, &mask).is_pattern());
        let (ball, mask) = disc(|x, y| {
            let spot = (-((x as f32 - 60.0).powi(2) + (y as f32 - 60.0).powi(2)) / 60.0).exp();
            [0.2 + 0.002 * x as f32 + 0.5 * spot; 3]
        });
        let ball = Texture::of(&ball, &mask);
        assert!(!ball.is_pattern() && !ball.is_grained());
    }

    #[test]
    fn the_usual_tint_is_that_of_most_and_windows_do_not_count() {
        // Nearly half red, the rest blue-grey.
        let (car, mask) = disc(|_, y| if y < 77 { [0.8, 0.2, 0.15] } else { [0.3, 0.35, 0.4] });
        let tints = car.map(2, |p, o| o.copy_from_slice(&tint(p)));
        let usual = usual(&tints, &mask);
        assert!(usual.pixel(80, 60)[0] > 0.9 && usual.pixel(80, 100)[0] < 0.01);
        let part = usual.map(1, |u, o| o[0] = f32::from(u8::from(u[0] > 0.5)));
        let typical = typical(&car, &part);
        assert!((typical[0] - 0.8).abs() < 0.01 && (typical[1] - 0.2).abs() < 0.01);
    }

    #[test]
    fn a_small_coin_is_a_thing_and_a_hazy_blot_is_none() {
        let coin = |radius: f32, haze: f32| {
            let mut mask = Raster::filled(200, 300, 1, 0.0);
            for at in 0..60_000 {
                let distance = ((at % 200) as f32 - 110.0).hypot((at / 200) as f32 - 100.0);
                mask.data[at] = ((radius - distance) / haze + 0.5).clamp(0.0, 1.0);
            }
            mask
        };
        assert!(is_a_thing(&coin(30.0, 1.0)));
        assert!(!is_a_thing(&coin(30.0, 20.0)) && !is_a_thing(&coin(10.0, 1.0)));
    }
}
