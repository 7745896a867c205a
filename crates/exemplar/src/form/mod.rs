//! The form of what a picture shows inside a mask: normals, slopes and light.
//!
//! A small network ([`network`]) says what it sees and how sure it is. Where it is unsure, and for what is finer than it can
//! see, a guess from two old cues stands in. The outline says what is round: the mask is inflated like a balloon. The light
//! says what is carved: within the outline, dark is deep (Langer and Bülthoff 2000, "Depth discrimination from shading under
//! diffuse lighting").
//!
//! Normals point towards the viewer: x to the right, y down the rows, z out of the picture; unit length.

mod lamp;
mod network;

pub(crate) use self::network::{FormNetwork, SeenForm};
use super::lattice::{Edge, Lattice};
use super::raster::{Kernel, Raster};

/// Longest side of the grid on which the smooth part of the form is solved for, in cells.
const GRID: usize = 144;

/// A cell belongs to the mask when this share of it does.
const COVERED: f32 = 0.43;

/// How far a balloon of the outline rises, as a share of a full one: most things are flatter than balls.
const INFLATION: f64 = 0.9;

/// Slopes beyond this are the outline's; a normal there lies within 14° of the picture's plane.
const MOST_SLOPE: f32 = 4.0;

/// Height of the relief that one unit of logarithmic luminance stands for, as a share of the diagonal.
const RELIEF: f32 = 0.012;

/// The band of luminance that counts as relief, as shares of the diagonal: Gaussian widths. The network sees what is coarser
/// than the narrower one of the upper ends.
const RELIEF_BAND: (f32, f32) = (0.0025, 0.03);
const UNSEEN_BAND: f32 = 0.01;

/// Confidences (1 minus the expected error in right angles) between which the network's normals take over from the guess.
const UNSURE: f32 = 0.45;
const SURE: f32 = 0.65;

/// Added to luminance before its logarithm is taken: what an 8-bit picture's shadows and noise can still tell apart.
pub(crate) const BLACK: f32 = 0.03;

/// Normals and slopes over one window.
#[derive(Debug)]
pub(crate) struct Form {
    /// The small grid's cells inside the mask.
    pub(crate) lattice: Lattice,
    /// Rise to the right and downwards, on the small grid: the smooth part alone. Two channels.
    pub(crate) slopes: Raster,
    /// Unit normals for every pixel of the window, relief included. Three channels.
    pub(crate) normals: Raster,
}

impl Form {
    /// The form inside `mask` (one channel) of `picture` (RGB): what the network saw, completed by a guess with `relief`
    /// times the usual relief.
    pub(crate) fn of(picture: &Raster, mask: &Raster, seen: Option<&SeenForm>, relief: f32) -> Self {
        let (w, h) = (mask.width, mask.height);
        let scale = (GRID as f32 / w.max(h) as f32).min(1.0);
        let side = |s: usize| ((s as f32 * scale).round() as usize).max(4).min(s);
        let small = mask.resize(side(w), side(h), Kernel::Box);
        let lattice = Lattice::of(&small, COVERED);
        let mut slopes = balloon(&lattice);
        let mut broad =
            slopes.resize(w, h, Kernel::Triangle).map(3, |s, o| o.copy_from_slice(&normal(s[0], s[1])));
        if let Some(seen) = seen {
            broad = broad.zip(&seen.weighted(), 3, |guess, seen, o| {
                let n: [f32; 3] = std::array::from_fn(|k| guess[k] * (1.0 - seen[3]) + seen[k] * seen[3]);
                let length = n.iter().map(|n| n * n).sum::<f32>().sqrt().max(1e-6);
                o.copy_from_slice(&n.map(|n| n / length));
            });
            let inside = lattice.raster(&vec![1.0; lattice.cells.len()], 0.0);
            let coarse = broad.resize(small.width, small.height, Kernel::Box);
            slopes = coarse.map(2, |n, o| o.copy_from_slice(&slope(n))).blur_within(&inside, 1.0);
        }
        let band = (RELIEF_BAND.0, if seen.is_some() { UNSEEN_BAND } else { RELIEF_BAND.1 });
        let detail = relief_slopes(picture, mask, relief, band);
        let normals = broad.zip(&detail, 3, |n, d, o| {
            let [p, q] = slope(n);
            o.copy_from_slice(&normal(p + d[0], q + d[1]));
        });
        Self { lattice, slopes, normals }
    }

    /// The logarithmic light (one channel) on the form, from where the light of `picture` inside `firm` seems to come from.
    pub(crate) fn lit(&self, picture: &Raster, firm: &Raster) -> Raster {
        lamp::lit(picture, firm, &self.normals)
    }

    /// The normals as a picture, for people to look at: grey faces the viewer.
    pub(crate) fn shown(&self) -> Raster {
        self.normals.map(3, |n, o| o.iter_mut().zip(n).for_each(|(o, n)| *o = 0.5 + 0.5 * n))
    }
}

impl SeenForm {
    /// Normals and how far they are to be believed, 0 to 1; four channels.
    fn weighted(&self) -> Raster {
        self.normals.zip(&self.confidence, 4, |n, c, o| {
            o[..3].copy_from_slice(n);
            o[3] = ((c[0] - UNSURE) / (SURE - UNSURE)).clamp(0.0, 1.0);
        })
    }
}

/// The unit normal of a surface that rises by `p` to the right and `q` downwards, no steeper than [`MOST_SLOPE`].
fn normal(p: f32, q: f32) -> [f32; 3] {
    let less = (MOST_SLOPE / p.hypot(q).max(1e-6)).min(1.0);
    let (p, q) = (p * less, q * less);
    let length = (p * p + q * q + 1.0).sqrt();
    [-p / length, -q / length, 1.0 / length]
}

/// The slopes behind a normal.
fn slope(normal: &[f32]) -> [f32; 2] {
    let z = normal[2].max(0.05);
    let (p, q) = (-normal[0] / z, -normal[1] / z);
    let less = (MOST_SLOPE / p.hypot(q).max(1e-6)).min(1.0);
    [p * less, q * less]
}

/// Slopes of a balloon in the shape of the lattice: the square root of the solution of Poisson's equation with a constant
/// right side, which over a disc is half a ball. Continued outside.
fn balloon(lattice: &Lattice) -> Raster {
    let count = lattice.cells.len();
    let mut square = vec![0.0; count];
    lattice.solve(Edge::Zero, &vec![4.0; count], &mut square, 1e-4, 600);
    let inside = lattice.raster(&vec![1.0; count], 0.0);
    let mut slopes = Raster::filled(lattice.width, lattice.height, 2, 0.0);
    for (i, (x, y)) in lattice.cells.iter().enumerate() {
        let at = |k: usize| square.get(lattice.neighbours[i][k]).copied().unwrap_or(0.0);
        // The slope of a square root: its argument is smooth at the outline, it is not.
        let rise = INFLATION / (4.0 * square[i].max(0.25).sqrt());
        let slope = [(rise * (at(0) - at(2))) as f32, (rise * (at(1) - at(3))) as f32];
        let less = (MOST_SLOPE / slope[0].hypot(slope[1]).max(1e-6)).min(1.0);
        slopes.data[2 * (y * lattice.width + x)..][..2].copy_from_slice(&slope.map(|s| s * less));
    }
    slopes.blur_within(&inside, 1.0)
}

/// Slopes of the relief that light and dark inside the mask suggest.
fn relief_slopes(picture: &Raster, mask: &Raster, relief: f32, band: (f32, f32)) -> Raster {
    let (w, h) = (mask.width, mask.height);
    let diagonal = (w as f32).hypot(h as f32);
    let logs = picture.map(1, |p, o| o[0] = (super::raster::luma(p).max(0.0) + BLACK).ln());
    let inside = mask.map(1, |m, o| o[0] = f32::from(u8::from(m[0] > 0.9)));
    let fine = logs.blur_within(&inside, (band.0 * diagonal).max(0.5));
    let coarse = logs.blur_within(&inside, band.1 * diagonal);
    let gain = relief * RELIEF * diagonal;
    let height = fine.zip(&coarse, 1, |f, c, o| o[0] = gain * (f[0] - c[0]));
    let mut slopes = Raster::filled(w, h, 2, 0.0);
    for y in 0..h {
        for x in 0..w {
            let across = height.pixel((x + 1).min(w - 1), y)[0] - height.pixel(x.saturating_sub(1), y)[0];
            let down = height.pixel(x, (y + 1).min(h - 1))[0] - height.pixel(x, y.saturating_sub(1))[0];
            slopes.data[2 * (y * w + x)..][..2].copy_from_slice(&[0.5 * across, 0.5 * down]);
        }
    }
    slopes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disc_inflates_to_a_ball() {
        let side = 120;
        let mut mask = Raster::filled(side, side, 1, 0.0);
        for at in 0..side * side {
            let (x, y) = ((at % side) as f32 - 59.5, (at / side) as f32 - 59.5);
            mask.data[at] = f32::from(u8::from(x.hypot(y) < 50.0));
        }
        let form = Form::of(&Raster::filled(side, side, 3, 0.5), &mask, None, 1.0);
        for (x, y) in [(60, 60), (80, 60), (40, 75), (60, 90)] {
            let (dx, dy) = (x as f32 - 59.5, y as f32 - 59.5);
            let z = (2500.0 - dx * dx - dy * dy).sqrt() / INFLATION as f32;
            let length = (dx * dx + dy * dy + z * z).sqrt();
            let cosine: f32 =
                form.normals.pixel(x, y).iter().zip([dx, dy, z]).map(|(n, t)| n * t / length).sum();
            assert!(cosine > 0.97, "({x}, {y}): {cosine}");
        }
    }

    #[test]
    fn a_bright_ridge_rises() {
        let mut picture = Raster::filled(200, 100, 3, 0.3);
        for y in 0..100 {
            for x in 95..105 {
                picture.data[3 * (y * 200 + x)..][..3].fill(0.6);
            }
        }
        let form = Form::of(&picture, &Raster::filled(200, 100, 1, 1.0), None, 1.0);
        let tilt = |x: usize| form.normals.pixel(x, 50)[0];
        // Its left flank faces left, its right flank right.
        assert!(tilt(95) < tilt(60) - 0.1 && tilt(105) > tilt(140) + 0.1);
    }
}
