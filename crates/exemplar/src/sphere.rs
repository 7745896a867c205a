//! The look of an object as a function of its surface's normal: the lit sphere (Sloan et al. 2001, "The Lit Sphere").
//!
//! Metal and glaze are not patterns: what they show at a place is the light from where the surface faces. Read off one
//! object and put onto another's normals, it goes along with the form.

use rayon::prelude::*;

use super::form::BLACK;
use super::raster::{Kernel, Raster, luma};

/// Cells along a side of the sphere's picture.
pub(crate) const SIDE: usize = 56;

/// How the sphere is filled where few pixels face: Gaussian widths in cells, and how much each counts.
const REACHES: [(f32, f32); 4] = [(0.9, 1.0), (2.5, 0.04), (6.0, 0.0015), (14.0, 5e-5)];

/// Variance of a normal's component below which it says nothing about light.
const RIDGE: f64 = 0.01;

/// Most that a trend is taken for, as a logarithm: the form's rim is too uncertain for more.
const MOST_SIDED: f32 = 1.2;

/// Share of the usual tint that every direction takes, and the multiples of the usual luminance between which sheen takes
/// over.
const ONE_TINT: f32 = 0.8;
const SHEEN: (f32, f32) = (2.5, 5.0);

/// Mean colour for every direction towards the viewer's side.
#[derive(Debug)]
pub(crate) struct Sphere {
    /// RGB, seen as a ball: normal (x, y) at ((x + 1) / 2, (y + 1) / 2) of its sides.
    pub(crate) picture: Raster,
}

impl Sphere {
    /// Reads the look of `picture` (RGB) with `normals` where `weight` (one channel) is.
    pub(crate) fn read(picture: &Raster, normals: &Raster, weight: &Raster) -> Self {
        let mut sums = Raster::filled(SIDE, SIDE, 3, 0.0);
        let mut counts = Raster::filled(SIDE, SIDE, 1, 0.0);
        for at in 0..weight.pixels() {
            let w = weight.data[at];
            if w <= 0.0 {
                continue;
            }
            let (x, y) = place(&normals.data[3 * at..][..3]);
            // Linear in both directions, so that no cell stays empty beside a full one.
            let (i, j) = (x.floor(), y.floor());
            for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                let share = (1.0 - (x - i - dx as f32).abs()) * (1.0 - (y - j - dy as f32).abs()) * w;
                let cell = (j as usize + dy).min(SIDE - 1) * SIDE + (i as usize + dx).min(SIDE - 1);
                counts.data[cell] += share;
                for c in 0..3 {
                    sums.data[3 * cell + c] += share * picture.data[3 * at + c];
                }
            }
        }
        let mut colour = Raster::filled(SIDE, SIDE, 3, 0.0);
        let mut total = Raster::filled(SIDE, SIDE, 1, 1e-12);
        for (sigma, share) in REACHES {
            let (c, w) = (sums.blur(sigma), counts.blur(sigma));
            colour = colour.zip(&c, 3, |a, b, o| {
                o.iter_mut().zip(a.iter().zip(b)).for_each(|(o, (a, b))| *o = a + share * b)
            });
            total = total.zip(&w, 1, |a, b, o| o[0] = a[0] + share * b[0]);
        }
        Self {
            picture: colour.zip(&total, 3, |c, w, o| o.iter_mut().zip(c).for_each(|(o, c)| *o = c / w[0])),
        }
    }

    /// Less `share` of the linear trend that the logarithmic luminance of `picture` has over its normals in `part`: the side
    /// from which it was lit.
    pub(crate) fn without_side(self, picture: &Raster, normals: &Raster, part: &Raster, share: f32) -> Self {
        let rows: Vec<[f64; 3]> = (0..part.pixels())
            .filter(|at| part.data[*at] > 0.5)
            .map(|at| {
                let log = (luma(&picture.data[3 * at..][..3]).max(0.0) + BLACK).ln();
                [normals.data[3 * at], normals.data[3 * at + 1], log].map(f64::from)
            })
            .collect();
        let mean = |k: usize| rows.iter().map(|r| r[k]).sum::<f64>() / rows.len().max(1) as f64;
        let means = [mean(0), mean(1), mean(2)];
        let product = |i: usize, j: usize| {
            rows.iter().map(|r| (r[i] - means[i]) * (r[j] - means[j])).sum::<f64>() / rows.len().max(1) as f64
        };
        // A ridge: where all normals are alike there is no trend.
        let (xx, xy, yy) = (product(0, 0) + RIDGE, product(0, 1), product(1, 1) + RIDGE);
        let (xl, yl) = (product(0, 2), product(1, 2));
        let determinant = xx * yy - xy * xy;
        let (across, down) = ((xl * yy - yl * xy) / determinant, (yl * xx - xl * xy) / determinant);
        let (across, down) = (share * across as f32, share * down as f32);
        let mut picture = self.picture;
        for (cell, colour) in picture.data.chunks_exact_mut(3).enumerate() {
            let at = |i: usize| 2.0 * i as f32 / (SIDE - 1) as f32 - 1.0;
            let trend =
                across * (at(cell % SIDE) - means[0] as f32) + down * (at(cell / SIDE) - means[1] as f32);
            let gain = (-trend).clamp(-MOST_SIDED, MOST_SIDED).exp();
            colour.iter_mut().for_each(|v| *v *= gain);
        }
        Self { picture }
    }

    /// With its tints drawn towards that of `usual` (RGB), highlights excepted: what shows other colours are reflections of the
    /// old surroundings and pale sheen.
    pub(crate) fn of_one_tint(self, usual: &[f32; 3]) -> Self {
        let level = luma(usual).max(0.02);
        let picture = self.picture.map(3, |p, o| {
            let light = luma(p);
            let sheen = ((light / level - SHEEN.0) / (SHEEN.1 - SHEEN.0)).clamp(0.0, 1.0);
            let share = ONE_TINT * (1.0 - sheen);
            o.iter_mut().zip(p.iter().zip(usual)).for_each(|(o, (p, u))| {
                *o = p + share * (u * light / level - p);
            });
        });
        Self { picture }
    }

    /// Brightened until its bright side (one cell in ten) has the luminance `wanted`, by half at most.
    pub(crate) fn brightened_to(self, wanted: f32) -> Self {
        let mut lights: Vec<f32> = self.picture.data.chunks_exact(3).map(luma).collect();
        let at = lights.len() * 9 / 10;
        let bright = *lights.select_nth_unstable_by(at, f32::total_cmp).1;
        let gain = (wanted / bright.max(0.01)).clamp(1.0, 1.5);
        Self { picture: self.picture.map(3, |p, o| o.iter_mut().zip(p).for_each(|(o, p)| *o = gain * p)) }
    }

    /// The sphere as a ball on grey, for people to look at.
    pub(crate) fn shown(&self) -> Raster {
        let side = 4 * SIDE;
        let at = |i: usize| 2.0 * (i as f32 + 0.5) / side as f32 - 1.0;
        let mut ball = self.picture.resize(side, side, Kernel::Triangle);
        for (cell, colour) in ball.data.chunks_exact_mut(3).enumerate() {
            if at(cell % side).hypot(at(cell / side)) > 1.0 {
                colour.fill(0.5);
            }
        }
        ball
    }

    /// The look of every normal.
    pub(crate) fn seen_by(&self, normals: &Raster) -> Raster {
        let mut out = Raster::filled(normals.width, normals.height, 3, 0.0);
        out.data.par_chunks_exact_mut(3).zip(normals.data.par_chunks_exact(3)).for_each(|(o, n)| {
            let (x, y) = place(n);
            o.copy_from_slice(&self.picture.sampled(x, y));
        });
        out
    }
}

/// Where a normal lies on the sphere's picture, in cells.
fn place(normal: &[f32]) -> (f32, f32) {
    let at = |v: f32| ((v + 1.0) / 2.0 * (SIDE - 1) as f32).clamp(0.0, (SIDE - 1) as f32);
    (at(normal[0]), at(normal[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ball of 80 pixels with its normals, coloured by `look`.
    fn ball(look: impl Fn(f32, f32, f32) -> [f32; 3]) -> (Raster, Raster, Raster) {
        let mut picture = Raster::filled(80, 80, 3, 0.0);
        let mut normals = Raster::filled(80, 80, 3, 0.0);
        let mut weight = Raster::filled(80, 80, 1, 0.0);
        for at in 0..6400 {
            let (x, y) = (((at % 80) as f32 - 39.5) / 40.0, ((at / 80) as f32 - 39.5) / 40.0);
            let z = (1.0 - x * x - y * y).max(0.0).sqrt();
            normals.data[3 * at..][..3].copy_from_slice(&if z > 0.0 { [x, y, z] } else { [0.0, 0.0, 1.0] });
            picture.data[3 * at..][..3].copy_from_slice(&look(x, y, z));
            weight.data[at] = f32::from(u8::from(z > 0.2));
        }
        (picture, normals, weight)
    }

    #[test]
    fn a_ball_seen_through_its_own_sphere_is_itself() {
        let look = |x: f32, y: f32, z: f32| [0.5 - 0.3 * x, 0.4 - 0.2 * y, 0.2 + 0.5 * z * z];
        let (picture, normals, weight) = ball(look);
        let seen = Sphere::read(&picture, &normals, &weight).seen_by(&normals);
        for at in (0..6400).filter(|at| weight.data[*at] > 0.0) {
            for c in 0..3 {
                assert!((seen.data[3 * at + c] - picture.data[3 * at + c]).abs() < 0.05, "{at}");
            }
        }
    }

    #[test]
    fn the_side_from_which_it_was_lit_is_taken_off_and_the_middle_stays() {
        let (picture, normals, weight) = ball(|x, _, _| [0.4 * (0.6 * x).exp(); 3]);
        let sphere = Sphere::read(&picture, &normals, &weight).without_side(&picture, &normals, &weight, 1.0);
        let at = |x: f32| {
            sphere
                .seen_by(&Raster {
                    width: 1,
                    height: 1,
                    channels: 3,
                    data: vec![x, 0.0, (1.0 - x * x).sqrt()],
                })
                .data[0]
        };
        assert!((at(0.6) / at(-0.6)).ln().abs() < 0.1, "{} {}", at(0.6), at(-0.6));
        assert!((at(0.0) - 0.4).abs() < 0.03);
    }

    #[test]
    fn foreign_tints_give_way_to_the_usual_one_at_the_same_brightness() {
        let (picture, normals, weight) =
            ball(|x, _, _| if x > 0.0 { [0.5, 0.2, 0.2] } else { [0.2, 0.2, 0.5] });
        let before = Sphere::read(&picture, &normals, &weight);
        let light = luma(&before.picture.sampled(10.0, 28.0));
        let after = before.of_one_tint(&[0.5, 0.2, 0.2]).picture.sampled(10.0, 28.0);
        assert!(after[0] > after[2] && (luma(&after) - light).abs() < 0.02);
    }

    #[test]
    fn directions_that_nothing_faced_are_filled_from_the_nearest() {
        let (picture, normals, _) = ball(|x, _, _| if x > 0.0 { [1.0, 0.0, 0.0] } else { [0.0, 0.0, 1.0] });
        // Only the right half is seen.
        let mut weight = Raster::filled(80, 80, 1, 0.0);
        (0..6400).filter(|at| normals.data[3 * at] > 0.05).for_each(|at| weight.data[at] = 1.0);
        let sphere = Sphere::read(&picture, &normals, &weight);
        assert!(sphere.picture.data.iter().all(|v| v.is_finite()));
        assert!(sphere.picture.sampled(2.0, 28.0)[0] > 0.9);
    }
}
