//! The full posterior over all patches, in closed form: distances, completeness and means, as matrix products.

use candle_core::{Device, Tensor};
use kernels::Linear;
use rayon::prelude::*;

/// All squared distances between rows of `queries` and rows of `keys`, each `length` long: (queries, keys).
pub(super) fn distances(queries: &[f32], keys: &[f32], length: usize) -> candle_core::Result<Vec<f32>> {
    let square = |rows: &[f32]| -> Vec<f32> {
        rows.chunks_exact(length).map(|r| r.iter().map(|v| v * v).sum()).collect()
    };
    let (query_squares, key_squares) = (square(queries), square(keys));
    let count = key_squares.len();
    let q = Tensor::from_slice(queries, (query_squares.len(), length), &Device::Cpu)?;
    let k = Tensor::from_slice(keys, (count, length), &Device::Cpu)?;
    // |q|² + |k|² − 2·q·k: all but the first is a linear map of q.
    let map = Linear::new((k * -2.0)?, Some(Tensor::from_vec(key_squares, count, &Device::Cpu)?));
    let mut distances = map.forward(&q)?.flatten_all()?.to_vec1::<f32>()?;
    distances.par_chunks_exact_mut(count).zip(&query_squares).for_each(|(row, q)| {
        row.iter_mut().for_each(|d| *d = (*d + q).max(0.0));
    });
    Ok(distances)
}

/// GPNN's normalisation: a distance counts relative to the smallest that its material patch has to any query.
pub(super) fn complete(distances: &mut [f32], count: usize, alpha: f64) {
    if !alpha.is_finite() {
        return;
    }
    let smaller = |mut least: Vec<f32>, row: &[f32]| {
        least.iter_mut().zip(row).for_each(|(l, d)| *l = if d < l { *d } else { *l });
        least
    };
    let nearest = distances
        .par_chunks(64 * count)
        .map(|rows| rows.chunks_exact(count).fold(vec![f32::INFINITY; count], smaller))
        .reduce(|| vec![f32::INFINITY; count], |least, row| smaller(least, &row));
    let factor: Vec<f32> = nearest.iter().map(|n| (alpha / (alpha + f64::from(*n))) as f32).collect();
    distances.par_chunks_exact_mut(count).for_each(|row| {
        row.iter_mut().zip(&factor).for_each(|(d, f)| *d *= f);
    });
}

/// Values that are compared or summed side by side.
const LANES: usize = 16;
/// Of weights below its exponential all patches together make no millionth.
const LOWEST_POWER: f32 = -32.0;

/// The least value of a row.
pub(super) fn least(row: &[f32]) -> f32 {
    let (lanes, rest) = row.as_chunks::<LANES>();
    let mut least = [f32::INFINITY; LANES];
    for values in lanes {
        least.iter_mut().zip(values).for_each(|(l, v)| *l = if v < l { *v } else { *l });
    }
    least.iter().chain(rest).copied().fold(f32::INFINITY, f32::min)
}

/// Rows of `softmax(-distances / 2 sigma²) · values`; `values` is (count, length).
pub(super) fn posterior_means(
    mut distances: Vec<f32>,
    values: &[f32],
    count: usize,
    length: usize,
    sigma: f64,
) -> candle_core::Result<Vec<f32>> {
    let scale = (-0.5 / (sigma * sigma).max(1e-9)) as f32;
    distances.par_chunks_exact_mut(count).for_each(|row| {
        let least = least(row);
        row.iter_mut().for_each(|d| {
            let power = (*d - least) * scale;
            *d = if power > LOWEST_POWER { power.exp() } else { 0.0 };
        });
        let (lanes, rest) = row.as_chunks::<LANES>();
        let mut sums = [0.0f32; LANES];
        lanes.iter().for_each(|values| sums.iter_mut().zip(values).for_each(|(s, v)| *s += v));
        let share = 1.0 / sums.iter().chain(rest).sum::<f32>();
        row.iter_mut().for_each(|w| *w *= share);
    });
    let queries = distances.len() / count;
    let weights = Tensor::from_vec(distances, (queries, count), &Device::Cpu)?;
    let values = Tensor::from_slice(values, (count, length), &Device::Cpu)?;
    Linear::new(values.t()?, None).forward(&weights)?.flatten_all()?.to_vec1::<f32>()
}
