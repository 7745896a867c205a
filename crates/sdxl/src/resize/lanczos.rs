//! Pillow's LANCZOS on 8-bit samples, bit for bit (docs/reference-pipeline.md 2.5).
//!
//! Three-lobed windowed sinc, widened for reductions; weights in 22-bit fixed point; columns first, their result kept in
//! 8 bits, then rows. An axis whose size does not change is not touched.

use rayon::prelude::*;

use pixels::raster::Taps;

/// Fraction bits of a weight.
const PRECISION: u32 = 22;
const LOBES: f64 = 3.0;

/// Resamples interleaved 8-bit samples (height × width × `channels`) from `from` to `to`, both (width, height).
#[must_use]
pub fn resize(samples: &[u8], channels: usize, from: (u32, u32), to: (u32, u32)) -> Vec<u8> {
    let narrow = if from.0 == to.0 { samples.to_vec() } else { columns(samples, channels, from, to.0) };
    if from.1 == to.1 { narrow } else { rows(&narrow, to.0 as usize * channels, from.1, to.1) }
}

fn columns(samples: &[u8], channels: usize, (width, _): (u32, u32), to: u32) -> Vec<u8> {
    let taps = weights(width, to);
    let stride = to as usize * channels;
    samples
        .par_chunks_exact((width as usize * channels).max(1))
        .flat_map_iter(|row| {
            let taps = &taps;
            (0..stride).map(move |i| {
                let (pixel, channel) = (i / channels, i % channels);
                weigh(&taps[pixel], |x| row[x * channels + channel])
            })
        })
        .collect()
}

fn rows(samples: &[u8], stride: usize, height: u32, to: u32) -> Vec<u8> {
    weights(height, to)
        .par_iter()
        .flat_map_iter(|taps| (0..stride).map(move |i| weigh(taps, |y| samples[y * stride + i])))
        .collect()
}

fn weigh(taps: &Taps<i32>, sample: impl Fn(usize) -> u8) -> u8 {
    let half = 1i32 << (PRECISION - 1);
    let sum = taps.iter().fold(half, |sum, &(at, weight)| sum + weight * i32::from(sample(at)));
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// The kernel's taps, widened for reductions: normalised in f64, then in fixed point.
fn weights(input: u32, output: u32) -> Vec<Taps<i32>> {
    let scale = f64::from(input) / f64::from(output);
    let stretch = scale.max(1.0);
    let reach = LOBES * stretch;
    let one = f64::from(1u32 << PRECISION);
    // `as` truncates, so adding half away from zero rounds.
    let fixed = |weight: f64| (weight * one + 0.5f64.copysign(weight)) as i32;
    (0..output)
        .map(|i| {
            let centre = (f64::from(i) + 0.5) * scale;
            // Here `as` truncates and stops at 0.
            let low = (centre - reach + 0.5) as usize;
            let high = ((centre + reach + 0.5) as usize).min(input as usize);
            let weights: Vec<f64> =
                (low..high).map(|j| lanczos((j as f64 - centre + 0.5) / stretch)).collect();
            let sum: f64 = weights.iter().sum();
            (low..high).zip(weights).map(|(j, weight)| (j, fixed(weight / sum))).collect()
        })
        .collect()
}

fn lanczos(x: f64) -> f64 {
    if (-LOBES..LOBES).contains(&x) { sinc(x) * sinc(x / LOBES) } else { 0.0 }
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x == 0.0 { 1.0 } else { x.sin() / x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_picture_stays_flat() {
        let flat = vec![173u8; 31 * 17 * 3];
        for to in [(8, 40), (31, 17), (100, 5)] {
            assert!(resize(&flat, 3, (31, 17), to).iter().all(|v| *v == 173), "{to:?}");
            assert_eq!(resize(&flat, 3, (31, 17), to).len(), (to.0 * to.1 * 3) as usize);
        }
    }
}
