//! Shrinking a decoded picture without holding a floating-point copy of it.
//!
//! A 100-megapixel picture weighs 300 MB in 8 bits and 1.2 GB in f32. So a band of rows at a time is brought to the new width
//! and summed to the new rows: first along rows, then along columns, in f32 and in a fixed order, so that the result depends
//! on no number of threads. The kernel is Lanczos 3, stretched by the factor so that nothing aliases.

use image::{GrayImage, RgbImage};
use rayon::prelude::*;

use super::Picture;
use crate::fit_within;
use crate::raster::{Kernel, taps, to_byte};

/// Rows of the result that are made together. Neighbouring bands share the six rows times the factor that the kernel
/// spans, which are brought to width twice: about a tenth of the work.
const BAND: usize = 64;

pub(super) fn to_fit(picture: Picture, max_width: u32, max_height: u32) -> Picture {
    let (width, height) =
        fit_within(picture.rgb.width(), picture.rgb.height(), max_width.max(1), max_height.max(1));
    if (width, height) == picture.rgb.dimensions() || width == 0 || height == 0 {
        return picture;
    }
    let from = (picture.rgb.width() as usize, picture.rgb.height() as usize);
    let to = (width as usize, height as usize);
    let unit: [f32; 256] = std::array::from_fn(|value| value as f32 / 255.0);
    let colours = picture.rgb.as_raw().as_chunks::<3>().0;
    let colour = |at: usize| colours[at].map(|value| unit[usize::from(value)]);
    let (rgb, alpha) = match picture.alpha.as_ref().map(GrayImage::as_raw) {
        None => (resampled(from, to, colour, |sums| sums.map(to_byte)).into_flattened(), None),
        // Colours count as far as they are seen, or hidden ones would surface at the edge; where nothing is seen at all the
        // hidden ones stay.
        Some(alpha) => {
            let pixel = |at: usize| {
                let ([r, g, b], a) = (colour(at), unit[usize::from(alpha[at])]);
                [r * a, g * a, b * a, a, r, g, b]
            };
            let seen = |[r, g, b, a, hidden @ ..]: [f32; 7]| {
                let colour = match a < 0.5 / 255.0 {
                    true => hidden,
                    false => [r, g, b].map(|sum| sum / a.max(1.0 / 512.0)),
                };
                let [r, g, b] = colour.map(to_byte);
                [r, g, b, to_byte(a)]
            };
            let pixels = resampled(from, to, pixel, seen);
            let rgb = pixels.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect();
            (rgb, Some(pixels.iter().map(|pixel| pixel[3]).collect()))
        }
    };
    Picture {
        // The buffers have the size by construction; an empty picture stands in for what cannot be.
        rgb: RgbImage::from_raw(width, height, rgb).unwrap_or_default(),
        alpha: alpha.and_then(|alpha| GrayImage::from_raw(width, height, alpha)),
    }
}

/// The pixels of a picture of size `from` at size `to`, both at least 1 × 1: `pixel` gives the samples of one by its place,
/// `finished` makes what is kept of their weighted sums.
fn resampled<const C: usize, To: Copy + Default + Send>(
    from: (usize, usize),
    to: (usize, usize),
    pixel: impl Fn(usize) -> [f32; C] + Sync,
    finished: impl Fn([f32; C]) -> To + Sync,
) -> Vec<To> {
    let (across, down) = (taps(from.0, to.0, Kernel::Lanczos), taps(from.1, to.1, Kernel::Lanczos));
    let mut out = vec![To::default(); to.0 * to.1];
    for (band, down) in out.chunks_mut(BAND * to.0).zip(down.chunks(BAND)) {
        let rows = || down.iter().flatten().map(|(row, _)| *row);
        let first = rows().min().unwrap_or(0);
        let end = rows().max().map_or(0, |last| last + 1);
        let mut wide = vec![[0.0f32; C]; (end - first) * to.0];
        wide.par_chunks_exact_mut(to.0).enumerate().for_each(|(row, to)| {
            let row = (first + row) * from.0;
            for (to, taps) in to.iter_mut().zip(&across) {
                for (column, weight) in taps {
                    add(to, *weight, &pixel(row + column));
                }
            }
        });
        band.par_chunks_exact_mut(to.0).zip(down).for_each(|(band, taps)| {
            let mut sums = vec![[0.0f32; C]; to.0];
            for (row, weight) in taps {
                let from = &wide[(row - first) * to.0..][..to.0];
                sums.iter_mut().zip(from).for_each(|(sum, from)| add(sum, *weight, from));
            }
            band.iter_mut().zip(sums).for_each(|(to, sums)| *to = finished(sums));
        });
    }
    out
}

fn add<const C: usize>(sums: &mut [f32; C], weight: f32, samples: &[f32; C]) {
    for (sum, sample) in sums.iter_mut().zip(samples) {
        *sum += weight * sample;
    }
}

#[cfg(test)]
mod tests {
    use image::{Luma, Rgb};

    use super::*;

    fn noise(width: u32, height: u32) -> Picture {
        let value = |x: u32, y: u32, c: u32| ((x * 7919 + y * 104_729 + c * 1_299_709) >> 3) as u8;
        Picture {
            rgb: RgbImage::from_fn(width, height, |x, y| Rgb([0, 1, 2].map(|c| value(x, y, c)))),
            alpha: Some(GrayImage::from_fn(width, height, |x, y| Luma([value(x, y, 5)]))),
        }
    }

    /// The definition, in f64 and two dimensions at once.
    fn defined(picture: &RgbImage, width: u32, height: u32, x: u32, y: u32) -> [f64; 3] {
        let factor = f64::from(picture.width()) / f64::from(width);
        let factor_down = f64::from(picture.height()) / f64::from(height);
        let (u, v) = ((f64::from(x) + 0.5) * factor, (f64::from(y) + 0.5) * factor_down);
        let (mut sum, mut total) = ([0.0; 3], 0.0);
        for (column, row, pixel) in picture.enumerate_pixels() {
            let weight = Kernel::Lanczos.at((f64::from(column) + 0.5 - u) / factor)
                * Kernel::Lanczos.at((f64::from(row) + 0.5 - v) / factor_down);
            total += weight;
            for (sum, value) in sum.iter_mut().zip(pixel.0) {
                *sum += weight * f64::from(value);
            }
        }
        sum.map(|sum| (sum / total).clamp(0.0, 255.0))
    }

    #[test]
    fn samples_are_what_the_kernel_says() {
        let picture = Picture::opaque(noise(211, 157).rgb);
        let small = picture.clone().shrunk_to_fit(60, 60);
        assert_eq!(small.rgb.dimensions(), (60, 45));
        for (x, y) in [(0, 0), (59, 44), (30, 22), (1, 43), (17, 5)] {
            let want = defined(&picture.rgb, 60, 45, x, y);
            for (got, want) in small.rgb.get_pixel(x, y).0.iter().zip(want) {
                assert!((f64::from(*got) - want).abs() <= 0.51, "{got} instead of {want} at {x}, {y}");
            }
        }
    }

    #[test]
    fn hidden_colours_do_not_surface() {
        // Green that nobody sees beside red: at no size does the edge turn green.
        let alpha = GrayImage::from_fn(300, 200, |x, _| Luma([if x < 147 { 0 } else { 255 }]));
        let rgb = RgbImage::from_fn(300, 200, |x, _| Rgb(if x < 147 { [0, 255, 0] } else { [200, 0, 0] }));
        let small = Picture { rgb, alpha: Some(alpha) }.shrunk_to_fit(40, 40);
        let alpha = small.alpha.expect("kept");
        assert_eq!(alpha.dimensions(), small.rgb.dimensions());
        for (colour, alpha) in small.rgb.pixels().zip(alpha.pixels()).filter(|(_, alpha)| alpha.0[0] > 8) {
            assert!(colour.0[0] >= 190 && colour.0[1] <= 8, "{colour:?} under {alpha:?}");
        }
        assert_eq!(small.rgb.get_pixel(0, 0).0, [0, 255, 0], "hidden ones stay where nothing else is");
    }

    #[test]
    fn bands_leave_no_seams() {
        // More rows than a band, and a smooth picture: neighbouring rows differ by less than two levels everywhere.
        let picture = Picture::opaque(RgbImage::from_fn(40, 3000, |_, y| Rgb([(y / 12) as u8; 3])));
        let small = picture.shrunk_to_fit(40, 500).rgb;
        assert_eq!(small.height(), 500);
        for y in 1..499 {
            let (above, below) = (small.get_pixel(3, y - 1).0[0], small.get_pixel(3, y).0[0]);
            assert!(below.abs_diff(above) <= 1, "row {y}: {above} above {below}");
        }
    }

    #[test]
    fn what_fits_is_left_alone_and_hairs_stay() {
        let picture = noise(64, 48);
        assert_eq!(picture.clone().shrunk_to_fit(64, 48), picture);
        assert_eq!(picture.shrunk_to_fit(0, 0).rgb.dimensions(), (1, 1));
        assert_eq!(noise(5000, 2).shrunk_to_fit(100, 100).rgb.dimensions(), (100, 1));
        let grey = Picture::opaque(RgbImage::from_pixel(999, 777, Rgb([77, 1, 254])));
        assert!(grey.shrunk_to_fit(100, 100).rgb.pixels().all(|pixel| pixel.0 == [77, 1, 254]));
    }
}
