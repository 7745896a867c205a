//! torch's interpolations of f32 images: bicubic with antialiasing and bilinear with half-pixel centres.

use pixels::Raster;
use pixels::raster::Taps;

const A: f32 = -0.5;
const REACH: f32 = 2.0;

/// `interpolate(mode="bicubic", antialias=True)`: A = -0.5, the kernel widened for reductions. Bit for bit: in f32, with the
/// fused multiply-adds of the library's x86-64 build, because its result is cut to 8 bits and one step more or less is a
/// different picture to CLIP.
pub(crate) fn bicubic_antialiased(samples: &Raster<f32>, to: (u32, u32)) -> Raster<f32> {
    let (columns, rows) = (cubic_taps(samples.width, to.0), cubic_taps(samples.height, to.1));
    samples.resample_by(&columns, &rows, |sum, sample, weight| sample.mul_add(weight, sum))
}

fn cubic_taps(input: usize, output: u32) -> Vec<Taps<f32>> {
    let scale = input as f32 / output as f32;
    let stretch = scale.max(1.0);
    let (reach, narrowing) = (REACH * stretch, 1.0 / stretch);
    (0..output)
        .map(|i| {
            let centre = scale * (i as f32 + 0.5);
            // `as` truncates and stops at 0.
            let low = (centre - reach + 0.5) as usize;
            let high = ((centre + reach + 0.5) as usize).min(input);
            let weights: Vec<f32> =
                (low..high).map(|j| cubic((j as f32 - centre + 0.5) * narrowing)).collect();
            let sum: f32 = weights.iter().sum();
            (low..high).zip(weights).map(|(j, weight)| (j, weight / sum)).collect()
        })
        .collect()
}

fn cubic(x: f32) -> f32 {
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0).mul_add(x, -(A + 3.0)) * x).mul_add(x, 1.0)
    } else if x < REACH {
        A.mul_add(x, -5.0 * A).mul_add(x, 8.0 * A).mul_add(x, -4.0 * A)
    } else {
        0.0
    }
}

/// `interpolate(mode="bilinear", align_corners=False)` without antialiasing.
pub(crate) fn bilinear(samples: &Raster<f32>, to: (u32, u32)) -> Raster<f32> {
    samples.resample(&linear_taps(samples.width, to.0), &linear_taps(samples.height, to.1))
}

fn linear_taps(input: usize, output: u32) -> Vec<Taps<f32>> {
    let scale = input as f32 / output as f32;
    let last = input.saturating_sub(1);
    (0..output)
        .map(|i| {
            let position = (scale * (i as f32 + 0.5) - 0.5).max(0.0);
            let low = (position as usize).min(last);
            let weight = position - low as f32;
            vec![(low, 1.0 - weight), ((low + 1).min(last), weight)]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bilinear_between_two_samples() {
        let two = Raster { width: 2, height: 1, channels: 1, data: vec![0f32, 1.0] };
        // torch.nn.functional.interpolate of [0, 1] to 4: 0, 0.25, 0.75, 1
        assert_eq!(bilinear(&two, (4, 1)).data, [0.0, 0.25, 0.75, 1.0]);
        assert_eq!(bilinear(&two, (2, 1)).data, [0.0, 1.0]);
    }
}
