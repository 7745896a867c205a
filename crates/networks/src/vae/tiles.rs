//! Pictures and latents in overlapping tiles.

use candle_core::{Device, Tensor};

use crate::{Error, Result};

/// Top left corners of tiles that cover (height, width), row by row.
pub(super) fn tiles(
    (height, width): (usize, usize),
    tile: usize,
    overlap: usize,
) -> Result<Vec<(usize, usize)>> {
    if overlap >= tile {
        let reason = format!("tiles of {tile} cannot overlap by {overlap}");
        return Err(Error::Config { network: "vae", reason });
    }
    let columns = tile_starts(width, tile, overlap);
    let rows = tile_starts(height, tile, overlap);
    Ok(rows.into_iter().flat_map(|y| columns.iter().map(move |x| (y, *x))).collect())
}

/// The window of `x` (1, c, h, w) at (top, left) of (height, width), all in units of `unit` pixels.
pub(super) fn window(
    x: &Tensor,
    (top, left): (usize, usize),
    (height, width): (usize, usize),
    unit: usize,
) -> Result<Tensor> {
    let rows = x.narrow(2, top * unit, height * unit)?;
    Ok(rows.narrow(3, left * unit, width * unit)?.contiguous()?)
}

/// First pixels of tiles that cover `length` and overlap by at least `overlap`, evenly spread.
fn tile_starts(length: usize, tile: usize, overlap: usize) -> Vec<usize> {
    let Some(rest) = length.checked_sub(tile).filter(|rest| *rest > 0) else { return vec![0] };
    let steps = rest.div_ceil(tile - overlap);
    (0..=steps).map(|i| i * rest / steps).collect()
}

/// A weighted sum of tiles.
pub(super) struct Canvas {
    channels: usize,
    height: usize,
    width: usize,
    /// Pixels over which a tile's weight rises from its border.
    feather: usize,
    sum: Vec<f32>,
    weight: Vec<f32>,
}

impl Canvas {
    pub(super) fn new(channels: usize, height: usize, width: usize, feather: usize) -> Self {
        let pixels = height * width;
        Self {
            channels,
            height,
            width,
            feather,
            sum: vec![0.0; channels * pixels],
            weight: vec![0.0; pixels],
        }
    }

    pub(super) fn add(&mut self, tile: &Tensor, top: usize, left: usize) -> Result<()> {
        let (_, _, h, w) = tile.dims4()?;
        let values = tile.flatten_all()?.to_vec1::<f32>()?;
        // Never zero, so that a pixel with one tile only keeps that tile's value.
        let ramp = |i: usize, n: usize| ((i + 1).min(n - i) as f32 / (self.feather + 1) as f32).min(1.0);
        for y in 0..h {
            for x in 0..w {
                let weight = ramp(y, h) * ramp(x, w);
                let at = (top + y) * self.width + left + x;
                self.weight[at] += weight;
                for c in 0..self.channels {
                    self.sum[c * self.height * self.width + at] += weight * values[(c * h + y) * w + x];
                }
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Tensor> {
        let pixels = self.height * self.width;
        for (i, value) in self.sum.iter_mut().enumerate() {
            *value /= self.weight[i % pixels];
        }
        Ok(Tensor::from_vec(self.sum, (1, self.channels, self.height, self.width), &Device::Cpu)?)
    }
}
