//! The subject picture's own pixels put back outside the mask.
//!
//! The autoencoder changes tones a little everywhere, which shows as a seam where its picture meets the original. What it
//! changed just outside the mask is known; that difference, continued smoothly inwards, is taken off what was painted.

use image::RgbImage;
use pixels::Raster;

/// Width of the low pass that continues the difference of tones into the mask, as a share of the picture's diagonal.
const REACH: f32 = 0.06;

/// A mask below this is outside.
const OUTSIDE: f32 = 0.02;

/// `painted` where `mask` (one channel of the same size, 0 to 1) is, `original` to the byte where it is 0, and a blend where it
/// is soft.
#[must_use]
pub fn background(original: &RgbImage, painted: &RgbImage, mask: &Raster) -> RgbImage {
    let (own, new) = (Raster::from_rgb(original), Raster::from_rgb(painted));
    let outside = mask.map(1, |m, o| o[0] = f32::from(u8::from(m[0] < OUTSIDE)));
    let diagonal = (own.width as f32).hypot(own.height as f32);
    let offset = own.zip(&new, 3, |own, new, o| {
        o.iter_mut().zip(own.iter().zip(new)).for_each(|(o, (own, new))| *o = own - new);
    });
    let sigma = REACH * diagonal;
    let tone = offset.blur_within(&outside, sigma);
    // Far inside nothing is known of the tone, and nobody sees a seam.
    let near = outside.blur(sigma);
    let mut out = original.clone();
    for (at, pixel) in out.pixels_mut().enumerate() {
        let m = mask.data[at];
        if m <= 0.0 {
            continue;
        }
        let share = (4.0 * near.data[at]).min(1.0);
        for (c, value) in pixel.0.iter_mut().enumerate() {
            let k = 3 * at + c;
            let matched = new.data[k] + share * tone.data[k];
            *value = ((own.data[k] + m * (matched - own.data[k])).clamp(0.0, 1.0) * 255.0).round() as u8;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    /// Mean absolute step across the mask's edge, in 8-bit steps.
    fn seam(picture: &RgbImage) -> f64 {
        let steps = (10..90).map(|y| {
            let (a, b) = (picture.get_pixel(47, y), picture.get_pixel(53, y));
            (0..3).map(|c| f64::from(a[c].abs_diff(b[c]))).sum::<f64>() / 3.0
        });
        steps.sum::<f64>() / 80.0
    }

    #[test]
    fn outside_to_the_byte_and_no_seam_of_tone() {
        let original =
            RgbImage::from_fn(100, 100, |x, y| Rgb([100 + (x / 2) as u8, 120 + (y / 3) as u8, 90]));
        // The autoencoder's doing: everything a little brighter and bluer.
        let painted = RgbImage::from_fn(100, 100, |x, y| {
            let Rgb([r, g, b]) = *original.get_pixel(x, y);
            Rgb([r + 6, g + 6, b + 14])
        });
        let mut mask = Raster::filled(100, 100, 1, 0.0);
        for (at, m) in mask.data.iter_mut().enumerate() {
            *m = ((at % 100) as f32 / 2.0 - 24.0).clamp(0.0, 1.0);
        }
        let result = background(&original, &painted, &mask);
        for (x, y, pixel) in result.enumerate_pixels() {
            if mask.data[(y * 100 + x) as usize] == 0.0 {
                assert_eq!(pixel, original.get_pixel(x, y));
            }
        }
        let (before, after) = (seam(&original), seam(&result));
        assert!(after < before + 1.5, "{before} {after}");
        let far = |p: &RgbImage| i32::from(p.get_pixel(95, 50)[2]);
        assert!(far(&result) > far(&original) + 8, "far inside it is as painted");
    }
}
