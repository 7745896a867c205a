//! Floating-point pictures: resizing, blurring, means.
//!
//! A [`Raster`] holds interleaved f32 samples, height × width × channels, nominally in [0, 1] (sRGB values unless a comment
//! says otherwise). Every operation splits the work by rows and sums within a row in a fixed order, so results do not
//! depend on the number of threads. Resampling kernels are the textbook ones (box, triangle, Lanczos 3), stretched by the
//! shrink factor so that nothing aliases.

mod separable;

use image::{GrayImage, RgbImage};
use rayon::prelude::*;

pub use self::separable::Taps;

/// Interleaved samples: `data[(y * width + x) * channels + c]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Raster<T = f32> {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// Samples of a pixel.
    pub channels: usize,
    /// Height × width × channels.
    pub data: Vec<T>,
}

/// A rectangle of pixels: left, top, width, height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub struct Area {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

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

/// Rec. 601 luma of an RGB triple.
#[must_use]
pub fn luma(rgb: &[f32]) -> f32 {
    0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
}

impl Raster {
    /// A raster of one value.
    #[must_use]
    pub fn filled(width: usize, height: usize, channels: usize, value: f32) -> Self {
        Self { width, height, channels, data: vec![value; width * height * channels] }
    }

    /// The three channels of an 8-bit picture, 0 to 1.
    #[must_use]
    pub fn from_rgb(picture: &RgbImage) -> Self {
        let data = picture.as_raw().iter().map(|v| f32::from(*v) / 255.0).collect();
        Self { width: picture.width() as usize, height: picture.height() as usize, channels: 3, data }
    }

    /// The channel of an 8-bit picture, 0 to 1.
    #[must_use]
    pub fn from_grey(picture: &GrayImage) -> Self {
        let data = picture.as_raw().iter().map(|v| f32::from(*v) / 255.0).collect();
        Self { width: picture.width() as usize, height: picture.height() as usize, channels: 1, data }
    }

    /// Rounded to 8 bits; a one-channel raster gives equal channels.
    #[must_use]
    pub fn to_rgb(&self) -> RgbImage {
        RgbImage::from_fn(self.width as u32, self.height as u32, |x, y| {
            let p = self.pixel(x as usize, y as usize);
            let v = |c: usize| to_byte(p[c.min(self.channels - 1)]);
            image::Rgb([v(0), v(1), v(2)])
        })
    }

    /// The first channel, rounded to 8 bits.
    #[must_use]
    pub fn to_grey(&self) -> GrayImage {
        GrayImage::from_fn(self.width as u32, self.height as u32, |x, y| {
            image::Luma([to_byte(self.pixel(x as usize, y as usize)[0])])
        })
    }

    /// The samples at (x, y), which lies inside.
    #[must_use]
    pub fn pixel(&self, x: usize, y: usize) -> &[f32] {
        &self.data[(y * self.width + x) * self.channels..][..self.channels]
    }

    /// The first three channels at (x, y), in pixels from the centre of the first; linear between pixels, the border repeats.
    #[must_use]
    pub fn sampled(&self, x: f32, y: f32) -> [f32; 3] {
        let within = |v: f32, most: usize| v.clamp(0.0, (most - 1) as f32);
        let (x, y) = (within(x, self.width), within(y, self.height));
        let (i, j) = (x as usize, y as usize);
        let (s, t) = (x - i as f32, y - j as f32);
        let (right, below) = ((i + 1).min(self.width - 1), (j + 1).min(self.height - 1));
        let (a, b) = (self.pixel(i, j), self.pixel(right, j));
        let (c, d) = (self.pixel(i, below), self.pixel(right, below));
        std::array::from_fn(|k| {
            let (above, below) = (a[k] + s * (b[k] - a[k]), c[k] + s * (d[k] - c[k]));
            above + t * (below - above)
        })
    }

    /// Width × height.
    #[must_use]
    pub fn pixels(&self) -> usize {
        self.width * self.height
    }

    /// Applies `f` to every pixel, giving a raster of `channels` channels.
    #[must_use]
    pub fn map(&self, channels: usize, f: impl Fn(&[f32], &mut [f32]) + Sync) -> Self {
        let mut out = Self::filled(self.width, self.height, channels, 0.0);
        let (from, to) = (self.width * self.channels, self.width * channels);
        out.data.par_chunks_exact_mut(to).zip(self.data.par_chunks_exact(from)).for_each(|(to, from)| {
            for (o, i) in to.chunks_exact_mut(channels).zip(from.chunks_exact(self.channels)) {
                f(i, o);
            }
        });
        out
    }

    /// Applies `f` to every pixel of two rasters of one size.
    ///
    /// # Panics
    /// When the sizes differ.
    #[must_use]
    pub fn zip(&self, other: &Self, channels: usize, f: impl Fn(&[f32], &[f32], &mut [f32]) + Sync) -> Self {
        assert!(self.width == other.width && self.height == other.height, "rasters of one size");
        let mut out = Self::filled(self.width, self.height, channels, 0.0);
        out.data
            .par_chunks_exact_mut(self.width * channels)
            .zip(self.data.par_chunks_exact(self.width * self.channels))
            .zip(other.data.par_chunks_exact(self.width * other.channels))
            .for_each(|((to, a), b)| {
                let pairs = a.chunks_exact(self.channels).zip(b.chunks_exact(other.channels));
                for (o, (p, q)) in to.chunks_exact_mut(channels).zip(pairs) {
                    f(p, q, o);
                }
            });
        out
    }

    /// The Rec. 601 luma of an RGB raster.
    #[must_use]
    pub fn luma(&self) -> Self {
        self.map(1, |p, o| o[0] = luma(p))
    }

    /// A `width` × `height` part, whose edges may lie outside: the border pixels repeat there.
    #[must_use]
    pub fn window(&self, x: isize, y: isize, width: usize, height: usize) -> Self {
        let mut out = Self::filled(width, height, self.channels, 0.0);
        let c = self.channels;
        out.data.par_chunks_exact_mut(width * c).enumerate().for_each(|(row, to)| {
            let from_y = (y + row as isize).clamp(0, self.height as isize - 1) as usize;
            for (column, o) in to.chunks_exact_mut(c).enumerate() {
                let from_x = (x + column as isize).clamp(0, self.width as isize - 1) as usize;
                o.copy_from_slice(self.pixel(from_x, from_y));
            }
        });
        out
    }

    /// The part that `area` covers.
    #[must_use]
    pub fn crop(&self, area: Area) -> Self {
        self.window(area.x as isize, area.y as isize, area.width, area.height)
    }

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

    /// An area average `factor` times smaller.
    #[must_use]
    pub fn shrunk(&self, factor: usize) -> Self {
        self.resize(self.width.div_ceil(factor), self.height.div_ceil(factor), Kernel::Box)
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
                *o = (*o + 1e-2 * far.data[i * c + k] + 1e-5 * mean[k]) / (a + 1e-2 * b + 1e-5);
            }
        });
        out
    }

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

    /// The largest value of a one-channel raster within `reach` pixels along either axis; at least 0.
    #[must_use]
    pub fn widened(&self, reach: usize) -> Self {
        let (w, h) = (self.width, self.height);
        let mut rows = self.clone();
        rows.data.par_chunks_exact_mut(w).zip(self.data.par_chunks_exact(w)).for_each(|(row, from)| {
            for (x, o) in row.iter_mut().enumerate() {
                let near = &from[x.saturating_sub(reach)..(x + reach + 1).min(w)];
                *o = near.iter().copied().fold(0.0, f32::max);
            }
        });
        let mut out = rows.clone();
        out.data.par_chunks_exact_mut(w).enumerate().for_each(|(y, row)| {
            for near in y.saturating_sub(reach)..(y + reach + 1).min(h) {
                let from = &rows.data[near * w..][..w];
                row.iter_mut().zip(from).for_each(|(o, r)| *o = if *r > *o { *r } else { *o });
            }
        });
        out
    }

    /// 1 where every pixel of a one-channel raster within `reach` along either axis exceeds one half, else 0.
    #[must_use]
    pub fn shrunken(&self, reach: usize) -> Self {
        let outside = self.map(1, |m, o| o[0] = f32::from(u8::from(m[0] <= 0.5)));
        outside.widened(reach).map(1, |m, o| o[0] = 1.0 - m[0])
    }

    /// Standard deviation of a one-channel raster under weights.
    #[must_use]
    pub fn deviation_within(&self, weight: &Self) -> f32 {
        let mean = self.mean_within(weight)[0];
        self.map(1, |p, o| o[0] = (p[0] - mean).powi(2)).mean_within(weight)[0].sqrt()
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

/// Rounds a sample in [0, 1] to 8 bits.
#[must_use]
pub fn to_byte(v: f32) -> u8 {
    (v * 255.0).round().clamp(0.0, 255.0) as u8
}
