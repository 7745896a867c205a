//! What shines: metal seen from the front (a brushed plate, a sheet of copper), and whatever is polished.
//!
//! What changes broadly and smoothly over such a sample is no pattern but what the metal reflects, and bent it would reflect
//! the same brights and darks, each where the surface faces them. The sample's broad colours, in the order of their
//! brightness, are a ramp; a plain studio (a soft box, a strip light, a dark floor) says how bright each direction is, and
//! the two together make a [`Sphere`].

use super::form::BLACK;
use super::object::median;
use super::sphere::{SIDE, Sphere};
use pixels::raster::{Kernel, Raster, luma};

/// Longest side at which a sample is looked at, in pixels.
const LOOK_SIDE: usize = 320;

/// Gaussian widths that part broad light, features and grain, as shares of the diagonal.
const BROAD: f32 = 0.05;
const FEATURES: f32 = 0.012;

/// The broad light of a sheen has at least this range (5 % to 95 %, natural logarithm), and at least this many times the
/// deviation of all that is finer. On 29 flat samples bronze, steel and copper have 0.6 to 1.1 and 3.1 to 6; the nearest
/// others are orange peel (0.28 and 1.8), leather lit from one side (0.51 and 1.5) and water (0.60 and 1.3).
const LEAST_RANGE: f32 = 0.5;
const LEAST_LEAD: f32 = 2.4;

/// Deviation of the logarithmic grain below which there is none worth painting.
const LEAST_GRAIN: f32 = 0.04;

/// Steps of the ramp.
const STEPS: usize = 48;

/// A metal's brightest reflections are brighter than anything that a flat sample happens to show: the share of directions that
/// glint, and how far they go towards white.
const GLINTS: f32 = 0.06;
const GLINT: f32 = 0.35;

/// What a flat sample of metal says of its look.
#[derive(Debug)]
pub(crate) struct Sheen {
    /// RGB from dark to bright.
    ramp: Vec<[f32; 3]>,
    /// Whether there is a grain on it: brush marks.
    pub(crate) grained: bool,
}

impl Sheen {
    /// Of a flat sample (RGB); `None` where its broad light is nothing beside its pattern.
    pub(crate) fn of(sample: &Raster) -> Option<Self> {
        let scale = (LOOK_SIDE as f32 / sample.width.max(sample.height) as f32).min(1.0);
        let side = |s: usize| ((s as f32 * scale).round() as usize).max(8);
        let sample = sample.resize(side(sample.width), side(sample.height), Kernel::Box);
        let diagonal = (sample.width as f32).hypot(sample.height as f32);
        let logs = sample.map(1, |p, o| o[0] = (luma(p).max(0.0) + BLACK).ln());
        let (broad, middle) = (logs.blur(BROAD * diagonal), logs.blur(FEATURES * diagonal));
        let whole = Raster::filled(sample.width, sample.height, 1, 1.0);
        let apart =
            |a: &Raster, b: &Raster| a.zip(b, 1, |a, b, o| o[0] = a[0] - b[0]).deviation_within(&whole);
        let (features, grain) = (apart(&middle, &broad), apart(&logs, &middle));
        let mut sorted = broad.data.clone();
        sorted.sort_unstable_by(f32::total_cmp);
        let range = sorted[sorted.len() * 19 / 20] - sorted[sorted.len() / 20];
        let lead = broad.deviation_within(&whole) / (features.hypot(grain) + 0.01);
        (range > LEAST_RANGE && lead > LEAST_LEAD).then(|| Self {
            ramp: ramp(sample.blur(FEATURES * diagonal).data.chunks_exact(3).collect()),
            grained: grain > LEAST_GRAIN,
        })
    }

    /// Of the metal that `part` (one channel) marks in a thing's picture (RGB): embossed or bent as it is, it shows all that it
    /// reflects.
    pub(crate) fn of_metal(picture: &Raster, part: &Raster) -> Self {
        let colours = picture.data.chunks_exact(3).zip(&part.data).filter(|(_, p)| **p > 0.5).map(|(c, _)| c);
        Self { ramp: ramp(colours.collect()), grained: false }
    }

    /// The sample bent into a ball.
    pub(crate) fn sphere(&self) -> Sphere {
        let at = |i: usize| 2.0 * i as f32 / (SIDE - 1) as f32 - 1.0;
        let lights: Vec<f32> =
            (0..SIDE * SIDE).map(|cell| studio(at(cell % SIDE), at(cell / SIDE))).collect();
        let mut order: Vec<usize> =
            (0..SIDE * SIDE).filter(|cell| at(cell % SIDE).hypot(at(cell / SIDE)) <= 1.0).collect();
        order.sort_by(|a, b| lights[*a].total_cmp(&lights[*b]).then(a.cmp(b)));
        let sorted: Vec<f32> = order.iter().map(|cell| lights[*cell]).collect();
        let mut picture = Raster::filled(SIDE, SIDE, 3, 0.0);
        for (light, colour) in lights.iter().zip(picture.data.chunks_exact_mut(3)) {
            let rank = sorted.partition_point(|l| l < light) as f32 / sorted.len() as f32;
            colour.copy_from_slice(&self.colour(rank.min(1.0)));
        }
        Sphere { picture }
    }

    /// The colour that is brighter than the share `rank` of all.
    fn colour(&self, rank: f32) -> [f32; 3] {
        let place = rank * (STEPS - 1) as f32;
        let (low, part) = (place.floor() as usize, place.fract());
        let (a, b) = (self.ramp[low], self.ramp[(low + 1).min(STEPS - 1)]);
        let glint = GLINT * ((rank - 1.0 + GLINTS) / GLINTS).max(0.0);
        std::array::from_fn(|c| {
            let v = a[c] + part * (b[c] - a[c]);
            v + glint * (1.0 - v)
        })
    }
}

/// `colours` (at least one) from dark to bright, in equal shares.
fn ramp(mut colours: Vec<&[f32]>) -> Vec<[f32; 3]> {
    colours.sort_by(|a, b| luma(a).total_cmp(&luma(b)));
    let steps = (0..STEPS).map(|step| {
        let first = colours.len() * step / STEPS;
        let part = &colours[first..(colours.len() * (step + 1) / STEPS).max(first + 1)];
        std::array::from_fn(|c| median(part.iter().map(|p| p[c]).collect()).unwrap_or(0.0))
    });
    steps.collect()
}

/// How polished a flat sample looks, 0 to 1: what is rough, woven or grown has a grain, polished stone and wet things have none.
pub(super) fn polish(picture: &Raster) -> f32 {
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

/// How bright a polished surface with the normal (x, y) shows the studio's lamp, 0 to 1.
pub(crate) fn highlight(x: f32, y: f32) -> f32 {
    lobe(reflected(x, y), LAMP, 14.0)
}

/// Where the soft box stands: to the left, above and before the thing.
const LAMP: [f32; 3] = [-0.55, -0.7, 0.55];

/// Where a mirror with the normal (x, y) sends the eye's ray.
fn reflected(x: f32, y: f32) -> [f32; 3] {
    let length = x.hypot(y).max(1.0);
    let (x, y) = (x / length, y / length);
    let z = (1.0 - x * x - y * y).max(0.0).sqrt();
    [2.0 * z * x, 2.0 * z * y, 2.0 * z * z - 1.0]
}

/// 1 in a direction and less beside it.
fn lobe(direction: [f32; 3], towards: [f32; 3], narrow: f32) -> f32 {
    let length = towards.iter().map(|t| t * t).sum::<f32>().sqrt();
    let cosine = direction.iter().zip(towards).map(|(r, t)| r * t).sum::<f32>() / length;
    (narrow * (cosine - 1.0)).exp()
}

/// How bright a plain studio is that a mirror with the normal (x, y) reflects; x to the right, y down.
fn studio(x: f32, y: f32) -> f32 {
    let seen = reflected(x, y);
    let room = 0.5 - 0.5 * seen[1];
    lobe(seen, LAMP, 4.0) + 0.5 * lobe(seen, [0.95, -0.25, -0.1], 9.0) + 0.35 * room
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plate of 120 by 80 pixels, coloured by the place from 0 to 1.
    fn plate(light: impl Fn(f32, f32) -> f32) -> Raster {
        let mut out = Raster::filled(120, 80, 3, 0.0);
        for (at, pixel) in out.data.chunks_exact_mut(3).enumerate() {
            let v = light((at % 120) as f32 / 119.0, (at / 120) as f32 / 79.0);
            pixel.copy_from_slice(&[0.9 * v, 0.6 * v, 0.4 * v]);
        }
        out
    }

    #[test]
    fn a_lit_plate_has_a_sheen_and_a_weave_or_a_plain_wall_has_none() {
        assert!(Sheen::of(&plate(|x, _| 0.2 + 0.7 * x)).is_some());
        assert!(Sheen::of(&plate(|_, _| 0.5)).is_none());
        let weave = plate(|x, y| if ((x * 20.0) as i32 + (y * 14.0) as i32) % 2 == 0 { 0.8 } else { 0.2 });
        assert!(Sheen::of(&weave).is_none());
    }

    #[test]
    fn the_ball_shows_the_brights_and_darks_of_the_plate() {
        let sphere = Sheen::of(&plate(|x, _| 0.2 + 0.6 * x)).expect("a sheen").sphere();
        let lights: Vec<f32> = sphere.picture.data.chunks_exact(3).map(|p| p[0]).collect();
        let (least, most) = lights.iter().fold((1.0f32, 0.0f32), |(l, m), v| (l.min(*v), m.max(*v)));
        assert!((least - 0.2).abs() < 0.03 && most > 0.72, "{least} {most}");
        // Bright where the soft box is, dark towards the floor.
        let at = |x: usize, y: usize| sphere.picture.pixel(x, y)[0];
        assert!(at(20, 17) > at(28, 28) && at(28, 28) > at(28, 50));
    }
}
