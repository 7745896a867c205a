//! Carries a coarse mask onto a picture's edges: the guided filter of He et al. (2013) in its colour form.
//!
//! In every neighbourhood the mask is fitted by `a · rgb + b`; the coefficients are found on a shrunken picture, smoothed,
//! enlarged and applied to the full one. Inputs and the result are in [0, 1].

use rayon::prelude::*;

use pixels::{Kernel, Raster};

/// Longest side on which coefficients are found, in pixels.
const FIT_SIDE: f64 = 512.0;

/// Variance that counts as an edge: smaller contrasts do not steer the mask.
const EPSILON: f32 = 4e-4;

/// The mask at the size of `picture` (RGB). `coarse` (one channel) is stretched to it first.
pub(crate) fn refine(picture: &Raster, coarse: &Raster) -> Raster {
    let scale = (FIT_SIDE / picture.width.max(picture.height) as f64).min(1.0);
    let size = |side: usize| ((side as f64 * scale).round() as usize).max(1);
    let (width, height) = (size(picture.width), size(picture.height));
    let small = picture.resize(width, height, Kernel::Box);
    let mask = coarse.resize(width, height, Kernel::Triangle);
    // A neighbourhood spans a few of the coarse mask's own pixels: less cannot move an edge, more forgets it.
    let cell = width.max(height) as f32 / coarse.width.max(coarse.height) as f32;
    let sigma = (1.0 * cell).max(1.0);
    let coefficients = fit(&small, &mask, sigma).blur(sigma);
    let full = coefficients.resize(picture.width, picture.height, Kernel::Triangle);
    picture.zip(&full, 1, |p, c, o| {
        let raw = c[0] * p[0] + c[1] * p[1] + c[2] * p[2] + c[3];
        // The filter leaves a haze on both sides of an edge; the middle of the range is what it is sure of.
        let t = ((raw - 0.12) / 0.76).clamp(0.0, 1.0);
        o[0] = t * t * (3.0 - 2.0 * t);
    })
}

/// Per pixel the coefficients (a_r, a_g, a_b, b) of the neighbourhood's least-squares fit.
fn fit(picture: &Raster, mask: &Raster, sigma: f32) -> Raster {
    const MOMENTS: usize = 13;
    // r, g, b, mask, rr, rg, rb, gg, gb, bb, rm, gm, bm
    let moments = picture
        .zip(mask, MOMENTS, |p, m, o| {
            let (r, g, b, m) = (p[0], p[1], p[2], m[0]);
            o.copy_from_slice(&[r, g, b, m, r * r, r * g, r * b, g * g, g * b, b * b, r * m, g * m, b * m]);
        })
        .blur(sigma);
    let mut out = Raster::filled(picture.width, picture.height, 4, 0.0);
    out.data.par_chunks_exact_mut(4).zip(moments.data.par_chunks_exact(MOMENTS)).for_each(|(o, m)| {
        let mean = [m[0], m[1], m[2]];
        let covariance = [
            m[4] - mean[0] * mean[0] + EPSILON,
            m[5] - mean[0] * mean[1],
            m[6] - mean[0] * mean[2],
            m[7] - mean[1] * mean[1] + EPSILON,
            m[8] - mean[1] * mean[2],
            m[9] - mean[2] * mean[2] + EPSILON,
        ];
        let cross = [m[10] - mean[0] * m[3], m[11] - mean[1] * m[3], m[12] - mean[2] * m[3]];
        let a = solve(covariance, cross);
        o[..3].copy_from_slice(&a);
        o[3] = m[3] - a.iter().zip(mean).map(|(a, m)| a * m).sum::<f32>();
    });
    out
}

/// Solves the symmetric 3×3 system with upper triangle (xx, xy, xz, yy, yz, zz) by its adjugate.
fn solve([xx, xy, xz, yy, yz, zz]: [f32; 6], [x, y, z]: [f32; 3]) -> [f32; 3] {
    let (c00, c01, c02) = (yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy);
    let (c11, c12, c22) = (xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy);
    let determinant = (xx * c00 + xy * c01 + xz * c02).max(1e-12);
    [
        (c00 * x + c01 * y + c02 * z) / determinant,
        (c01 * x + c11 * y + c12 * z) / determinant,
        (c02 * x + c12 * y + c22 * z) / determinant,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_a_known_system() {
        let got = solve([4.0, 1.0, 0.5, 3.0, 0.2, 2.0], [4.0 + 2.0 + 1.5, 1.0 + 6.0 + 0.6, 0.5 + 0.4 + 6.0]);
        for (got, want) in got.iter().zip([1.0, 2.0, 3.0]) {
            assert!((got - want).abs() < 1e-4, "{got} {want}");
        }
    }

    #[test]
    fn a_blurred_mask_snaps_to_the_pictures_edge() {
        let mut picture = Raster::filled(96, 96, 3, 0.1);
        for (i, p) in picture.data.chunks_exact_mut(3).enumerate() {
            if i % 96 >= 50 {
                p.copy_from_slice(&[0.8, 0.3, 0.5]);
            }
        }
        // The coarse mask's edge lies at 48 and is twelve pixels wide.
        let mut coarse = Raster::filled(16, 16, 1, 0.0);
        for (i, m) in coarse.data.iter_mut().enumerate() {
            *m = if i % 16 >= 8 { 1.0 } else { 0.0 };
        }
        let refined = refine(&picture, &coarse);
        assert!(refined.pixel(47, 48)[0] < 0.1, "{}", refined.pixel(47, 48)[0]);
        assert!(refined.pixel(52, 48)[0] > 0.9, "{}", refined.pixel(52, 48)[0]);
    }
}
