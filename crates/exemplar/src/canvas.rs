//! The flat canvas that the sampler paints, and how it is rolled up onto the subject.

use rayon::prelude::*;

use super::raster::{Kernel, Raster};
use super::surface::Sheet;
use super::window::Window;

/// A canvas over the subject's unrolled surface.
#[derive(Debug)]
pub(crate) struct Canvas {
    /// 1 where the surface lies on the canvas, one channel.
    pub(crate) mask: Raster,
    /// Where every pixel of the window lies on the canvas, in canvas pixels; two channels: across and down.
    place: Raster,
}

/// Room around the surface for whole patches, in pixels.
const MARGIN: f32 = 12.0;

/// The canvas has at most this many times the window's pixels: a sheet larger than that is shrunk, and so is its pattern.
const MOST_GROWTH: f32 = 2.6;

/// Most samples along either side of a pixel when the canvas is looked up.
const MOST_SAMPLES: usize = 4;

impl Canvas {
    /// For the surface that `sheet` unrolls over the window's small grid.
    pub(crate) fn of(sheet: &Sheet, window: &Window) -> Self {
        let (w, h) = (window.mask.width, window.mask.height);
        let small = &sheet.place;
        let cell = [w as f32 / small.width as f32, h as f32 / small.height as f32];
        let covered = window.mask.resize(small.width, small.height, Kernel::Box);
        let touched: Vec<usize> = (0..covered.pixels()).filter(|at| covered.data[*at] > 0.0).collect();
        let (mut least, mut most) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
        for at in &touched {
            for k in 0..2 {
                least[k] = least[k].min(small.data[2 * at + k] - 1.0);
                most[k] = most[k].max(small.data[2 * at + k] + 1.0);
            }
        }
        let span = |k: usize| (most[k] - least[k]).max(1.0) * cell[k];
        let fit = (MOST_GROWTH * (w * h) as f32 / (span(0) * span(1))).sqrt().min(1.0);
        let pixels = [cell[0] * fit, cell[1] * fit];
        let side = |k: usize| (span(k) * fit + 2.0 * MARGIN).ceil() as usize;
        let (width, height) = (side(0), side(1));
        let at_canvas = small.map(2, |p, o| {
            for k in 0..2 {
                o[k] = (p[k] - least[k]) * pixels[k] + MARGIN;
            }
        });
        let place = at_canvas.resize(w, h, Kernel::Triangle);
        let mask = splatted(&at_canvas, &touched, width, height, pixels);
        Self { mask, place }
    }

    /// The painted canvas as seen on the subject: RGB over the window.
    pub(crate) fn rolled(&self, painted: &Raster) -> Raster {
        let (w, h) = (self.place.width, self.place.height);
        let mut out = Raster::filled(w, h, 3, 0.0);
        out.data.par_chunks_exact_mut(w * 3).enumerate().for_each(|(y, row)| {
            let (above, below) = (y.saturating_sub(1), (y + 1).min(h - 1));
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                let (left, right) = (x.saturating_sub(1), (x + 1).min(w - 1));
                let at = self.place.pixel(x, y);
                let step = |a: &[f32], b: &[f32], length: usize| {
                    [(b[0] - a[0]) / length.max(1) as f32, (b[1] - a[1]) / length.max(1) as f32]
                };
                let across = step(self.place.pixel(left, y), self.place.pixel(right, y), right - left);
                let down = step(self.place.pixel(x, above), self.place.pixel(x, below), below - above);
                pixel.copy_from_slice(&averaged(painted, at, across, down));
            }
        });
        out
    }
}

/// The mean of a picture over the parallelogram around a place: nothing aliases where the surface turns away.
fn averaged(picture: &Raster, at: &[f32], across: [f32; 2], down: [f32; 2]) -> [f32; 3] {
    let count = |step: [f32; 2]| (step[0].hypot(step[1]).round() as usize).clamp(1, MOST_SAMPLES);
    let (columns, rows) = (count(across), count(down));
    let mut sum = [0.0f32; 3];
    for j in 0..rows {
        let t = (j as f32 + 0.5) / rows as f32 - 0.5;
        for i in 0..columns {
            let s = (i as f32 + 0.5) / columns as f32 - 0.5;
            let (x, y) = (at[0] + s * across[0] + t * down[0], at[1] + s * across[1] + t * down[1]);
            sum.iter_mut().zip(picture.sampled(x, y)).for_each(|(s, v)| *s += v);
        }
    }
    sum.map(|s| s / (rows * columns) as f32)
}

/// Where the cells that `touched` names lie on the canvas, each with the room of its neighbours.
fn splatted(place: &Raster, touched: &[usize], width: usize, height: usize, pixels: [f32; 2]) -> Raster {
    let mut mask = Raster::filled(width, height, 1, 0.0);
    // Half a cell each way, stretched as far as a surface stretches.
    let reach = [1.5 * pixels[0], 1.5 * pixels[1]];
    for at in touched {
        let (x, y) = (place.data[2 * at], place.data[2 * at + 1]);
        let range = |v: f32, reach: f32, most: usize| {
            ((v - reach).floor().max(0.0) as usize)..((v + reach).ceil().max(0.0) as usize + 1).min(most)
        };
        for row in range(y, reach[1], height) {
            mask.data[row * width..][range(x, reach[0], width)].fill(1.0);
        }
    }
    mask
}
