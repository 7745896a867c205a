//! Floating-point pictures: resizing, blurring, means.
//!
//! A [`Raster`] holds interleaved f32 samples, height × width × channels, nominally in [0, 1] (sRGB values unless a comment
//! says otherwise). Every operation splits the work by rows and sums within a row in a fixed order, so results do not
//! depend on the number of threads. Resampling kernels are the textbook ones (box, triangle, Lanczos 3), stretched by the
//! shrink factor so that nothing aliases.

mod blur;
mod morphology;
mod resize;
mod separable;
mod statistics;

use image::{GrayImage, RgbImage};
use rayon::prelude::*;

pub use self::resize::Kernel;
pub(crate) use self::resize::taps;
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
}

/// Rounds a sample in [0, 1] to 8 bits.
#[must_use]
pub fn to_byte(v: f32) -> u8 {
    (v * 255.0).round().clamp(0.0, 255.0) as u8
}
