//! The loop behind every floating-point resampling: weights per output position, rows first, then columns.
//!
//! Nothing is rounded between the two passes. Samples are interleaved (height × width × channels).

use std::ops::{Add, Mul};

use rayon::prelude::*;

/// Which input samples make one output sample, with their weights.
pub(crate) type Taps<T> = Vec<(usize, T)>;

/// An interleaved picture of floating-point samples.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Samples<T> {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) channels: usize,
    /// height × width × channels.
    pub(crate) values: Vec<T>,
}

impl<T: From<u8>> Samples<T> {
    /// The bytes of an 8-bit picture, 0 to 255.
    pub(crate) fn from_bytes(bytes: &[u8], (width, height): (u32, u32), channels: usize) -> Self {
        let values = bytes.iter().map(|v| T::from(*v)).collect();
        Self { width: width as usize, height: height as usize, channels, values }
    }
}

impl<T: Copy + Default + Send + Sync + Mul<Output = T> + Add<Output = T>> Samples<T> {
    /// Each output column is the weighted sum of input columns, each output row of (already resampled) rows.
    pub(crate) fn resample(&self, columns: &[Taps<T>], rows: &[Taps<T>]) -> Self {
        self.resample_by(columns, rows, |sum, sample, weight| sum + sample * weight)
    }

    /// [`Samples::resample`] with another way to add `sample · weight` to a sum: its rounding.
    pub(crate) fn resample_by(
        &self,
        columns: &[Taps<T>],
        rows: &[Taps<T>],
        add: impl Fn(T, T, T) -> T + Sync,
    ) -> Self {
        let channels = self.channels;
        let (width, height) = (columns.len(), rows.len());
        let add_scaled = |out: &mut [T], from: &[T], weight: T| {
            out.iter_mut().zip(from).for_each(|(sum, sample)| *sum = add(*sum, *sample, weight));
        };
        let mut narrow = vec![T::default(); self.height * width * channels];
        narrow
            .par_chunks_exact_mut((width * channels).max(1))
            .zip(self.values.par_chunks_exact((self.width * channels).max(1)))
            .for_each(|(out, row)| {
                for (pixel, taps) in out.chunks_exact_mut(channels).zip(columns) {
                    for &(x, weight) in taps {
                        add_scaled(pixel, &row[x * channels..][..channels], weight);
                    }
                }
            });
        let stride = width * channels;
        let mut values = vec![T::default(); height * stride];
        values.par_chunks_exact_mut(stride.max(1)).zip(rows).for_each(|(out, taps)| {
            for &(y, weight) in taps {
                add_scaled(out, &narrow[y * stride..][..stride], weight);
            }
        });
        Self { width, height, channels, values }
    }
}
