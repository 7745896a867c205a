//! Light on a form: where a picture's lamp stands, and what the form looks like under it.
//!
//! A face on a dull day is seen by its colours as much as by its shades; once it is all of one material, only shades are left to
//! see it by. So the form is lit anew: from where the picture's own light comes from, as far as that can be told, and always
//! from above, where people expect it (Kleffner and Ramachandran 1992, "On the perception of shape from shading").

use super::super::raster::{Raster, luma};

/// Where a lamp is thought to stand, before the picture is looked at: left of the viewer and above. What it is worth beside the
/// picture, as a share of the slope of brightness over normals that it stands for.
const USUAL: [f32; 2] = [-0.45, -0.55];
const WORTH: f32 = 0.5;

/// Variance of a normal's component below which the picture tells little.
const UNTOLD: f32 = 0.1;

/// The lamp stands at least this far above, as a share of how far it stands to a side.
const ABOVE: f32 = 0.5;

/// The sine of the angle between the lamp's direction and the viewer's: low enough that small forms cast shades, high enough that
/// large ones have no dark side.
const ASIDE: f32 = 0.71;

/// What light reaches a surface from everywhere, as a share of the lamp's.
const AMBIENT: f32 = 0.35;

/// The logarithmic light (one channel) that a lamp throws on a surface with these `normals` (three channels, unit length), after
/// Lambert. The lamp stands where the brightness of `picture` (RGB) inside `firm` says.
pub(super) fn lit(picture: &Raster, firm: &Raster, normals: &Raster) -> Raster {
    let [x, y] = lamp(picture, firm, normals);
    let z = (1.0 - ASIDE * ASIDE).sqrt();
    normals.map(1, |n, o| o[0] = (AMBIENT + (x * n[0] + y * n[1] + z * n[2]).max(0.0)).ln())
}

/// The lamp's direction, x to the right and y down: how brightness goes with either component of the normals, by least squares
/// with the usual place as the prior.
fn lamp(picture: &Raster, firm: &Raster, normals: &Raster) -> [f32; 2] {
    // By the square root, lest one highlight outweigh the rest.
    let seen = picture.zip(normals, 3, |p, n, o| o.copy_from_slice(&[luma(p).max(0.0).sqrt(), n[0], n[1]]));
    let mean = seen.mean_within(firm);
    let level = mean[0].max(1e-3);
    let moments = seen.map(4, |s, o| {
        let (bright, x, y) = (s[0] / level - 1.0, s[1] - mean[1], s[2] - mean[2]);
        o.copy_from_slice(&[x * bright, y * bright, x * x, y * y]);
    });
    let moments = moments.mean_within(firm);
    let slope = |k: usize| (moments[k] + UNTOLD * WORTH * USUAL[k]) / (moments[2 + k] + UNTOLD);
    let (x, y) = (slope(0), slope(1));
    let y = y.min(-ABOVE * x.abs()).min(-1e-6);
    let length = x.hypot(y);
    [ASIDE * x / length, ASIDE * y / length]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 100;

    /// A ball's normals, and itself in light from `lamp`.
    fn ball(lamp: [f32; 3]) -> (Raster, Raster, Raster) {
        let (mut picture, mut normals) =
            (Raster::filled(SIDE, SIDE, 3, 0.0), Raster::filled(SIDE, SIDE, 3, 0.0));
        let mut firm = Raster::filled(SIDE, SIDE, 1, 0.0);
        for at in 0..SIDE * SIDE {
            let (x, y) = ((at % SIDE) as f32 / 49.5 - 1.0, (at / SIDE) as f32 / 49.5 - 1.0);
            let z = (1.0 - x * x - y * y).max(0.0).sqrt();
            normals.data[3 * at..][..3].copy_from_slice(&[x, y, z]);
            firm.data[at] = f32::from(u8::from(z > 0.0));
            let light = (x * lamp[0] + y * lamp[1] + z * lamp[2]).max(0.0);
            picture.data[3 * at..][..3].fill(0.1 + 0.6 * light);
        }
        (picture, firm, normals)
    }

    #[test]
    fn the_lamp_stands_where_the_picture_says() {
        for (x, y) in [(0.6f32, -0.5f32), (-0.7, -0.4), (0.0, -0.8)] {
            let (picture, firm, normals) = ball([x, y, (1.0 - x * x - y * y).sqrt()]);
            let found = lamp(&picture, &firm, &normals);
            let cosine = (found[0] * x + found[1] * y) / (found[0].hypot(found[1]) * x.hypot(y));
            assert!(cosine > 0.97, "({x}, {y}): {found:?}");
        }
    }

    #[test]
    fn it_never_stands_below() {
        let (picture, firm, normals) = ball([0.3, 0.8, 0.52]);
        assert!(lamp(&picture, &firm, &normals)[1] < 0.0);
        let flat = Raster::filled(SIDE, SIDE, 3, 0.5);
        let [x, y] = lamp(&flat, &firm, &normals);
        assert!(x < 0.0 && y < 0.0, "the usual place where there is nothing to tell it by: {x} {y}");
    }

    #[test]
    fn a_flat_picture_of_a_ball_is_lit() {
        let (_, firm, normals) = ball([0.0, 0.0, 1.0]);
        let lit = lit(&Raster::filled(SIDE, SIDE, 3, 0.5), &firm, &normals);
        let at = |x: usize, y: usize| lit.pixel(x, y)[0];
        assert!(at(30, 25) > at(50, 50) && at(50, 50) > at(80, 80) + 0.3);
    }
}
