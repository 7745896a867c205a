//! OpenCV's INTER_CUBIC and INTER_AREA (docs/reference-pipeline.md 12.2 and 13 with their corrections).
//!
//! Cubic: A = -0.75, four taps around `(i+0.5)·in/out - 0.5`, border replicated, no antialiasing; 8-bit pictures are rounded
//! once at the end (the x86-64 library works in floating point). Area: the mean over the output pixel's footprint;
//! exact reductions by 2 and 3 in integers, others in f32, rounded half to even.

use image::RgbImage;

use pixels::Raster;
use pixels::raster::Taps;

const A: f64 = -0.75;
/// A partly covered end pixel counts only if more than this share of it is covered.
const LEAST_SHARE: f64 = 1e-3;

/// INTER_CUBIC on 8-bit pixels.
///
/// f32, columns before rows. Where a sum falls on one half the order of the additions decides the pixel; this order gives
/// the library's answer more often than any other of the usual ones (all but 7 of 2.7 million golden samples).
#[must_use]
pub fn cubic(image: &RgbImage, (width, height): (u32, u32)) -> RgbImage {
    let columns = cubic_weights(image.width(), width);
    let rows = cubic_weights(image.height(), height);
    let bytes: &[u8] = image.as_raw();
    let narrow: Vec<f32> = bytes
        .chunks_exact(3 * image.width() as usize)
        .flat_map(|row| {
            let sample = move |x: usize, channel: usize| f32::from(row[3 * x + channel]);
            columns.iter().flat_map(move |taps| {
                std::array::from_fn::<f32, 3, _>(|channel| {
                    let [a, b, c, d] = taps.map(|(x, weight)| sample(x, channel) * weight);
                    (a + c) + (b + d)
                })
            })
        })
        .collect();
    let stride = 3 * width as usize;
    let sums = rows.iter().flat_map(|taps| {
        let lines = taps.map(|(y, weight)| (&narrow[y * stride..][..stride], weight));
        (0..stride).map(move |i| {
            let [a, b, c, d] = lines.map(|(line, weight)| line[i] * weight);
            (a + b) + (c + d)
        })
    });
    rgb(width, height, sums.map(|v| v.round_ties_even().clamp(0.0, 255.0) as u8))
}

/// The four samples and weights of every output position.
fn cubic_weights(input: u32, output: u32) -> Vec<[(usize, f32); 4]> {
    let scale = f64::from(input) / f64::from(output);
    let last = i64::from(input) - 1;
    (0..output)
        .map(|i| {
            let position = (f64::from(i) + 0.5) * scale - 0.5;
            let base = position.floor();
            let weights = exact_weights(position - base);
            std::array::from_fn(|k| {
                let at = (base as i64 + k as i64 - 1).clamp(0, last) as usize;
                (at, weights[k] as f32)
            })
        })
        .collect()
}

/// INTER_CUBIC on f64 samples, whose positions and weights the library computes in f32.
pub(crate) fn cubic_f64(samples: &Raster<f64>, to: (u32, u32)) -> Raster<f64> {
    samples.resample(&cubic_taps(samples.width, to.0), &cubic_taps(samples.height, to.1))
}

fn cubic_taps(input: usize, output: u32) -> Vec<Taps<f64>> {
    let scale = input as f64 / f64::from(output);
    let last = input.saturating_sub(1) as i64;
    (0..output)
        .map(|i| {
            let position = f64::from(((f64::from(i) + 0.5) * scale - 0.5) as f32);
            let base = position.floor();
            let at = |k: usize| (base as i64 + k as i64 - 1).clamp(0, last) as usize;
            let weights = f32_weights((position - base) as f32);
            weights.into_iter().enumerate().map(|(k, weight)| (at(k), f64::from(weight))).collect()
        })
        .collect()
}

fn exact_weights(t: f64) -> [f64; 4] {
    let inner = |t: f64| ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0;
    let outer = ((A * (t + 1.0) - 5.0 * A) * (t + 1.0) + 8.0 * A) * (t + 1.0) - 4.0 * A;
    let (near, far) = (inner(t), inner(1.0 - t));
    [outer, near, far, 1.0 - outer - near - far]
}

fn f32_weights(t: f32) -> [f32; 4] {
    let a = A as f32;
    let inner = |t: f32| ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
    let outer = ((a * (t + 1.0) - 5.0 * a) * (t + 1.0) + 8.0 * a) * (t + 1.0) - 4.0 * a;
    let (near, far) = (inner(t), inner(1.0 - t));
    [outer, near, far, 1.0 - outer - near - far]
}

/// INTER_AREA on 8-bit pixels, for reductions: neither side of `to` may exceed the picture's.
#[must_use]
pub fn area(image: &RgbImage, (width, height): (u32, u32)) -> RgbImage {
    let (from_width, from_height) = image.dimensions();
    for factor in [1, 2, 3] {
        if (width * factor, height * factor) == (from_width, from_height) {
            return whole_area(image, factor);
        }
    }
    let samples = Raster::<f32>::from_bytes(image, image.dimensions(), 3)
        .resample(&area_taps(from_width, width), &area_taps(from_height, height));
    rgb(width, height, samples.data.into_iter().map(|v| v.round_ties_even().clamp(0.0, 255.0) as u8))
}

/// Means of `factor`×`factor` blocks, halves rounded up.
fn whole_area(image: &RgbImage, factor: u32) -> RgbImage {
    let count = factor * factor;
    RgbImage::from_fn(image.width() / factor, image.height() / factor, |x, y| {
        image::Rgb(std::array::from_fn(|channel| {
            let block = (0..count)
                .map(|k| image.get_pixel(x * factor + k % factor, y * factor + k / factor)[channel])
                .map(u32::from);
            ((block.sum::<u32>() + count / 2) / count) as u8
        }))
    })
}

fn area_taps(input: u32, output: u32) -> Vec<Taps<f32>> {
    let scale = f64::from(input) / f64::from(output);
    let last = f64::from(input) - 1.0;
    (0..output)
        .map(|i| {
            let start = f64::from(i) * scale;
            let end = start + scale;
            let covered = scale.min(f64::from(input) - start);
            let past = end.floor().min(last);
            let first = start.ceil().min(past);
            let mut taps: Taps<f32> = Vec::new();
            let mut push = |at: f64, share: f64| taps.push((at as usize, (share / covered) as f32));
            if first - start > LEAST_SHARE {
                push(first - 1.0, first - start);
            }
            for at in first as u32..past as u32 {
                push(f64::from(at), 1.0);
            }
            if end - past > LEAST_SHARE {
                push(past, (end - past).min(1.0).min(covered));
            }
            taps
        })
        .collect()
}

fn rgb(width: u32, height: u32, values: impl Iterator<Item = u8>) -> RgbImage {
    let mut values = values;
    RgbImage::from_fn(width, height, |_, _| image::Rgb(std::array::from_fn(|_| values.next().unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cubic_passes_through_the_samples_and_sums_to_one() {
        assert_eq!(exact_weights(0.0), [0.0, 1.0, 0.0, 0.0]);
        for t in [0.1, 0.5, 0.9] {
            assert!((exact_weights(t).iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let mirrored = exact_weights(1.0 - t);
            for (a, b) in exact_weights(t).iter().zip(mirrored.iter().rev()) {
                assert!((a - b).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn area_weights_cover_their_footprint() {
        for (input, output) in [(640, 512), (513, 512), (1000, 7), (5, 5)] {
            for taps in area_taps(input, output) {
                let sum: f32 = taps.iter().map(|(_, weight)| weight).sum();
                assert!((sum - 1.0).abs() < 3e-3, "{input} to {output}: {sum}");
            }
        }
    }

    #[test]
    fn exact_halves_round_up() {
        let pixels = [[0u8; 3], [1; 3], [1; 3], [0; 3]].concat();
        let image = RgbImage::from_raw(2, 2, pixels).unwrap_or_default();
        assert_eq!(area(&image, (1, 1)).as_raw(), &[1, 1, 1]);
    }
}
