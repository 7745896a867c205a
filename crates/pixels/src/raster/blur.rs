//! Gaussian blurs.

use rayon::prelude::*;

use super::{Kernel, Raster};

/// What a four times wider blur weighs beside the blur itself, and what the mean of all weighs: so little that neither is
/// seen where there is weight nearby, and enough for the division where there is none.
const FAR_SHARE: f32 = 1e-2;
const MEAN_SHARE: f32 = 1e-5;

impl Raster {
    /// Gaussian blur, borders repeated. A wide one runs on a shrunken copy: its result has no detail to lose.
    #[must_use]
    pub fn blur(&self, sigma: f32) -> Self {
        if sigma < 0.1 {
            return self.clone();
        }
        let factor = self.shrink_for(sigma);
        if factor > 1 {
            return self.shrunk(factor).blur_exactly(sigma / factor as f32).resize(
                self.width,
                self.height,
                Kernel::Triangle,
            );
        }
        self.blur_exactly(sigma)
    }

    /// How many times smaller a copy still shows all that a blur by `sigma` leaves: a power of two.
    #[must_use]
    pub fn shrink_for(&self, sigma: f32) -> usize {
        let factor = ((sigma / 3.0).log2().floor().max(0.0)).exp2() as usize;
        factor.min(self.width).min(self.height).max(1)
    }

    fn blur_exactly(&self, sigma: f32) -> Self {
        let radius = (3.0 * sigma).ceil().max(1.0) as usize;
        let mut weights: Vec<f32> =
            (0..=2 * radius).map(|i| (-((i as f32 - radius as f32) / sigma).powi(2) / 2.0).exp()).collect();
        let sum: f32 = weights.iter().sum();
        weights.iter_mut().for_each(|w| *w /= sum);
        self.blur_rows(&weights).blur_columns(&weights)
    }

    fn blur_rows(&self, weights: &[f32]) -> Self {
        let radius = weights.len() / 2;
        let c = self.channels;
        let mut out = Self::filled(self.width, self.height, c, 0.0);
        let row = self.width * c;
        out.data.par_chunks_exact_mut(row).zip(self.data.par_chunks_exact(row)).for_each(|(to, from)| {
            let mut wide = Vec::with_capacity(row + 2 * radius * c);
            (0..radius).for_each(|_| wide.extend_from_slice(&from[..c]));
            wide.extend_from_slice(from);
            (0..radius).for_each(|_| wide.extend_from_slice(&from[row - c..]));
            for (i, w) in weights.iter().enumerate() {
                for (o, p) in to.iter_mut().zip(&wide[i * c..]) {
                    *o += w * p;
                }
            }
        });
        out
    }

    fn blur_columns(&self, weights: &[f32]) -> Self {
        let radius = weights.len() as isize / 2;
        let row = self.width * self.channels;
        let mut out = Self::filled(self.width, self.height, self.channels, 0.0);
        out.data.par_chunks_exact_mut(row).enumerate().for_each(|(y, to)| {
            for (i, w) in weights.iter().enumerate() {
                let from = (y as isize + i as isize - radius).clamp(0, self.height as isize - 1) as usize;
                for (o, p) in to.iter_mut().zip(&self.data[from * row..][..row]) {
                    *o += w * p;
                }
            }
        });
        out
    }

    /// Blur that looks only where `weight` (one channel) is: `blur(self·weight) / blur(weight)`, extended smoothly
    /// outside. Far from any weight a wider blur fills in, last of all the weighted mean.
    #[must_use]
    pub fn blur_within(&self, weight: &Self, sigma: f32) -> Self {
        let weighted = |w: &Self| {
            self.zip(w, self.channels, |p, w, o| o.iter_mut().zip(p).for_each(|(o, p)| *o = p * w[0]))
        };
        let product = weighted(weight);
        let mean: Vec<f32> = self.mean_within(weight);
        let (near, near_weight) = (product.blur(sigma), weight.blur(sigma));
        let (far, far_weight) = (product.blur(4.0 * sigma), weight.blur(4.0 * sigma));
        let c = self.channels;
        let mut out = near;
        out.data.par_chunks_exact_mut(c).enumerate().for_each(|(i, o)| {
            let (a, b) = (near_weight.data[i].max(0.0), far_weight.data[i].max(0.0));
            for (k, o) in o.iter_mut().enumerate() {
                let (near, far) = (*o, FAR_SHARE * far.data[i * c + k]);
                *o = (near + far + MEAN_SHARE * mean[k]) / (a + FAR_SHARE * b + MEAN_SHARE);
            }
        });
        out
    }
}
