//! Means and deviations under weights. Summed row by row in f64, then the rows in order.

use rayon::prelude::*;

use super::Raster;

impl Raster {
    /// The weighted mean of every channel; the plain mean where the weights are all zero.
    #[must_use]
    pub fn mean_within(&self, weight: &Self) -> Vec<f32> {
        // The weight last, behind the channels; row by row, then the rows in order.
        let of_row = |(row, weights): (&[f32], &[f32])| {
            let mut sums = vec![0.0f64; self.channels + 1];
            for (p, w) in row.chunks_exact(self.channels).zip(weights) {
                let w = f64::from(*w);
                sums.iter_mut().zip(p).for_each(|(s, p)| *s += f64::from(*p) * w);
                sums[self.channels] += w;
            }
            sums
        };
        let rows = self.data.par_chunks_exact(self.width * self.channels);
        let rows: Vec<Vec<f64>> = rows.zip(weight.data.par_chunks_exact(self.width)).map(of_row).collect();
        let mut sums = vec![0.0f64; self.channels + 1];
        rows.iter().for_each(|row| sums.iter_mut().zip(row).for_each(|(s, r)| *s += r));
        let total = sums.pop().unwrap_or(0.0);
        if total <= 0.0 {
            return self.mean_within(&Self::filled(self.width, self.height, 1, 1.0));
        }
        sums.iter().map(|s| (s / total) as f32).collect()
    }

    /// Standard deviation of a one-channel raster under weights.
    #[must_use]
    pub fn deviation_within(&self, weight: &Self) -> f32 {
        let mean = self.mean_within(weight)[0];
        self.map(1, |p, o| o[0] = (p[0] - mean).powi(2)).mean_within(weight)[0].sqrt()
    }
}
