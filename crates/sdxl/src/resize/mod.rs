//! Resampling as the reference's libraries do it, to the bit where they work in integers.
//!
//! torch `nearest` and `nearest-exact`, Pillow LANCZOS on 8 bits ([`lanczos`]), OpenCV INTER_CUBIC and INTER_AREA
//! ([`opencv`]), torch's antialiased bicubic and its bilinear (`torch`). All are separable; [`pixels::Raster::resample`] runs those
//! that are weighted sums in floating point. Sizes are (width, height) in pixels.

pub mod lanczos;
pub mod opencv;
pub(crate) mod torch;

use image::RgbImage;

/// The resize node's target (width, height) for a limit, or `None` when the picture stays as it is.
///
/// Both sides are multiplied by `min(max_w/w, max_h/h)` and rounded, halves to even; nothing is ever enlarged. A limit of 0 takes the
/// reference's odd path: no limit on that side, except that a picture which does not stay below the other
/// limit is held to its own *width* on both. A kinder reading of 0 is the caller's to make.
#[must_use]
pub fn capped_size((width, height): (u32, u32), (max_width, max_height): (u32, u32)) -> Option<(u32, u32)> {
    /// What the node puts in place of "no limit".
    const UNLIMITED: u32 = 16_384;
    let max_width = match max_width {
        0 if height < max_height => UNLIMITED,
        0 => width,
        limit => limit,
    };
    let max_height = match max_height {
        0 if width < max_width => UNLIMITED,
        0 => width,
        limit => limit,
    };
    let ratio = (f64::from(max_width) / f64::from(width)).min(f64::from(max_height) / f64::from(height));
    let target = (scaled(width, ratio), scaled(height, ratio));
    (width > target.0 || height > target.1).then_some(target)
}

/// `side·ratio`, rounded half to even.
pub(crate) fn scaled(side: u32, ratio: f64) -> u32 {
    (f64::from(side) * ratio).round_ties_even() as u32
}

/// Which source index torch's `nearest` takes for output index `i`.
#[must_use]
pub fn nearest_index(i: u32, input: u32, output: u32) -> u32 {
    let scale = input as f32 / output as f32;
    ((i as f32 * scale) as u32).min(input.saturating_sub(1))
}

/// Which source index torch's `nearest-exact` takes: the one under the output pixel's centre.
#[must_use]
pub fn nearest_exact_index(i: u32, input: u32, output: u32) -> u32 {
    let scale = input as f32 / output as f32;
    (((i as f32 + 0.5) * scale) as u32).min(input.saturating_sub(1))
}

/// torch `nearest`: no antialiasing.
#[must_use]
pub fn nearest(image: &RgbImage, (width, height): (u32, u32)) -> RgbImage {
    let (from_width, from_height) = image.dimensions();
    pick(
        image,
        (width, height),
        |x| nearest_index(x, from_width, width),
        |y| nearest_index(y, from_height, height),
    )
}

/// The picture whose pixel (x, y) is the source's (`column(x)`, `row(y)`).
pub(crate) fn pick(
    image: &RgbImage,
    (width, height): (u32, u32),
    column: impl Fn(u32) -> u32,
    row: impl Fn(u32) -> u32,
) -> RgbImage {
    let columns: Vec<u32> = (0..width).map(column).collect();
    RgbImage::from_fn(width, height, |x, y| *image.get_pixel(columns[x as usize], row(y)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_zero_on_a_portrait_shrinks_it_to_its_width() {
        // docs/reference-pipeline.md 1.2: the slip is the reference's.
        assert_eq!(capped_size((333, 777), (0, 0)), Some((143, 333)));
        assert_eq!(capped_size((640, 480), (0, 0)), None);
    }

    #[test]
    fn a_picture_at_its_limit_is_left_alone() {
        assert_eq!(capped_size((1920, 1080), (1920, 1920)), None);
        assert_eq!(capped_size((1921, 1920), (1920, 1920)), Some((1920, 1919)));
    }
}
