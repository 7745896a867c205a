//! The loop behind every floating-point resampling: weights per output position, rows first, then columns.
//!
//! Nothing is rounded between the two passes. Samples are interleaved (height × width × channels).

use std::ops::{Add, Mul};

use rayon::prelude::*;

use super::Raster;

/// Which input samples make one output sample, with their weights.
pub type Taps<T> = Vec<(usize, T)>;

impl<T: From<u8>> Raster<T> {
    /// The bytes of an 8-bit picture (height × width × `channels`), 0 to 255.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], (width, height): (u32, u32), channels: usize) -> Self {
        let data = bytes.iter().map(|v| T::from(*v)).collect();
        Self { width: width as usize, height: height as usize, channels, data }
    }
}

impl<T: Copy + Default + Send + Sync + Mul<Output = T> + Add<Output = T>> Raster<T> {
    /// Each output column is the weighted sum of input columns, each output row of (already resampled) rows.
    #[must_use]
    pub fn resample(&self, columns: &[Taps<T>], rows: &[Taps<T>]) -> Self {
        self.resample_by(columns, rows, |sum, sample, weight| sum + sample * weight)
    }

    /// [`Raster::resample`] with another way to add `sample · weight` to a sum, `add(sum, sample, weight)`: its rounding.
    #[must_use]
    pub fn resample_by(
        &self,
        columns: &[Taps<T>],
        rows: &[Taps<T>],
        add: impl Fn(T, T, T) -> T + Sync,
    ) -> Self {
        self.resample_rows(columns, &add).resample_columns(rows, &add)
    }

    /// Brings every row to the width that has `columns`.
    pub(crate) fn resample_rows(&self, columns: &[Taps<T>], add: impl Fn(T, T, T) -> T + Sync) -> Self {
        let (channels, width) = (self.channels, columns.len());
        let mut data = vec![T::default(); self.height * width * channels];
        data.par_chunks_exact_mut((width * channels).max(1))
            .zip(self.data.par_chunks_exact((self.width * channels).max(1)))
            .for_each(|(out, row)| {
                for (pixel, taps) in out.chunks_exact_mut(channels).zip(columns) {
                    for &(x, weight) in taps {
                        let from = &row[x * channels..][..channels];
                        pixel
                            .iter_mut()
                            .zip(from)
                            .for_each(|(sum, sample)| *sum = add(*sum, *sample, weight));
                    }
                }
            });
        Self { width, height: self.height, channels, data }
    }

    /// Brings every column to the height that has `rows`.
    pub(crate) fn resample_columns(&self, rows: &[Taps<T>], add: impl Fn(T, T, T) -> T + Sync) -> Self {
        let (stride, height) = (self.width * self.channels, rows.len());
        let mut data = vec![T::default(); height * stride];
        data.par_chunks_exact_mut(stride.max(1)).zip(rows).for_each(|(out, taps)| {
            for &(y, weight) in taps {
                let from = &self.data[y * stride..][..stride];
                out.iter_mut().zip(from).for_each(|(sum, sample)| *sum = add(*sum, *sample, weight));
            }
        });
        Self { width: self.width, height, channels: self.channels, data }
    }
}
