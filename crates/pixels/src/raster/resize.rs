//! Bringing a raster to another size with the textbook kernels, stretched by the shrink factor so that nothing aliases.

use super::{Raster, Taps};

/// A resampling kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Area average; the pyramid's.
    Box,
    /// Linear interpolation; for enlarging smooth fields.
    Triangle,
    /// Windowed sinc; for pictures that will be looked at.
    Lanczos,
}

impl Kernel {
    fn support(self) -> f64 {
        match self {
            Self::Box => 0.5,
            Self::Triangle => 1.0,
            Self::Lanczos => 3.0,
        }
    }

    /// The weight at `x` pixels from the centre.
    pub(crate) fn at(self, x: f64) -> f64 {
        let x = x.abs();
        match self {
            Self::Box => f64::from(u8::from(x <= 0.5)),
            Self::Triangle => (1.0 - x).max(0.0),
            Self::Lanczos if x < 1e-9 => 1.0,
            Self::Lanczos if x >= 3.0 => 0.0,
            Self::Lanczos => {
                let t = std::f64::consts::PI * x;
                3.0 * t.sin() * (t / 3.0).sin() / (t * t)
            }
        }
    }
}

impl Raster {
    /// Resampled to `width` × `height`, both at least 1.
    #[must_use]
    pub fn resize(&self, width: usize, height: usize, kernel: Kernel) -> Self {
        let add = |sum: f32, sample: f32, weight: f32| sum + weight * sample;
        let wide = if width == self.width {
            self.clone()
        } else {
            self.resample_rows(&taps(self.width, width, kernel), add)
        };
        if height == wide.height {
            wide
        } else {
            wide.resample_columns(&taps(self.height, height, kernel), add)
        }
    }

    /// An area average `factor` times smaller.
    #[must_use]
    pub fn shrunk(&self, factor: usize) -> Self {
        self.resize(self.width.div_ceil(factor), self.height.div_ceil(factor), Kernel::Box)
    }
}

/// For every sample of a line of `to` samples, those of a line of `from` samples that make it; weights sum to one.
pub(crate) fn taps(from: usize, to: usize, kernel: Kernel) -> Vec<Taps<f32>> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = kernel.support() * stretch;
    (0..to)
        .map(|i| {
            let centre = (i as f64 + 0.5) * scale;
            let first = (centre - support).floor().max(0.0) as usize;
            let last = ((centre + support).ceil() as usize).min(from);
            let weights: Vec<f64> =
                (first..last).map(|j| coverage(kernel, j as f64 + 0.5 - centre, stretch)).collect();
            let sum: f64 = weights.iter().sum();
            (first..last).zip(weights).map(|(j, w)| (j, (w / sum) as f32)).collect()
        })
        .collect()
}

/// The kernel's weight `offset` samples from its centre. The box counts the part of the sample that it covers.
fn coverage(kernel: Kernel, offset: f64, stretch: f64) -> f64 {
    if kernel == Kernel::Box {
        let half = stretch / 2.0;
        return ((offset + 0.5).min(half) - (offset - 0.5).max(-half)).max(0.0);
    }
    kernel.at(offset / stretch)
}
