//! The look of an object as a function of its surface's normal: the lit sphere (Sloan et al. 2001, "The Lit Sphere").
//!
//! Metal and glaze are not patterns: what they show at a place is the light from where the surface faces. Read off one
//! object and put onto another's normals, it goes along with the form.

use rayon::prelude::*;

use super::raster::Raster;

/// Cells along a side of the sphere's picture.
const SIDE: usize = 56;

/// How the sphere is filled where few pixels face: Gaussian widths in cells, and how much each counts.
const REACHES: [(f32, f32); 4] = [(0.9, 1.0), (2.5, 0.04), (6.0, 0.0015), (14.0, 5e-5)];

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
