//! Masks that come with a request, as every engine reads them.

use pixels::raster::Kernel;
use pixels::{Picture, Raster};

use crate::{Error, Settings};

/// A mask may be this share of its height off the subject's shape, and a pixel: what is left of a shape when both were
/// rounded to whole pixels.
const SHAPE_SLACK: f64 = 0.01;

/// The mask that `given` stands for, at the size (width, height) of the output: one channel, 1 where the material goes.
///
/// What counts is the alpha channel where there is one, else the brightness, inverted if the settings say so. It is brought to
/// `size`, which has the subject's shape, and its edges are made soft by a Gaussian of `settings.feather` pixels. `name` is
/// the request's word for it.
///
/// # Errors
/// [`Error::Unfit`] when it is not of the subject's shape.
pub fn given_mask(
    name: &'static str,
    given: &Picture,
    size: (u32, u32),
    settings: &Settings,
) -> Result<Raster, Error> {
    let (width, height) = given.rgb.dimensions();
    let expected = f64::from(width) * f64::from(size.1) / f64::from(size.0);
    if (expected - f64::from(height)).abs() > 1.0 + SHAPE_SLACK * f64::from(height) {
        let (w, h) = size;
        return Err(Error::Unfit {
            field: name,
            message: format!(
                "{width}×{height} pixels are not of the subject's shape ({w}×{h}); send a mask of the same shape, \
                 at any size"
            ),
        });
    }
    let mut mask = match &given.alpha {
        Some(alpha) => Raster::from_grey(alpha),
        None => Raster::from_rgb(&given.rgb).luma(),
    };
    if settings.invert_masks {
        mask.data.iter_mut().for_each(|m| *m = 1.0 - *m);
    }
    let (w, h) = (size.0 as usize, size.1 as usize);
    let mask = if (mask.width, mask.height) == (w, h) { mask } else { mask.resize(w, h, Kernel::Triangle) };
    let mut mask = mask.blur(settings.feather as f32);
    // What a blur or the artefacts of a JPEG leave far off is none of it; so is what they take from the inside.
    mask.data.iter_mut().for_each(|m| *m = ((*m - LEAST) / (1.0 - 2.0 * LEAST)).clamp(0.0, 1.0));
    Ok(mask)
}

/// Less than this of a mask is nothing, and more than the rest is all of it.
const LEAST: f32 = 0.03;

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma, Rgb, RgbImage};

    use super::*;

    fn feathered(feather: f64) -> Settings {
        Settings { feather, ..Settings::default() }
    }

    fn half(width: u32, height: u32) -> Picture {
        Picture::opaque(RgbImage::from_fn(
            width,
            height,
            |x, _| Rgb([if x < width / 2 { 255 } else { 0 }; 3]),
        ))
    }

    #[test]
    fn any_size_of_the_same_shape() {
        for (w, h) in [(200, 100), (401, 200), (100, 50), (37, 18)] {
            let mask = given_mask("subject_mask", &half(w, h), (200, 100), &feathered(0.0)).expect("a mask");
            assert_eq!((mask.width, mask.height), (200, 100));
            assert_eq!((mask.pixel(20, 50)[0], mask.pixel(180, 50)[0]), (1.0, 0.0));
        }
        let said = given_mask("masks[1]", &half(100, 100), (200, 100), &feathered(0.0))
            .expect_err("a square")
            .to_string();
        assert!(
            said.starts_with("masks[1]: 100×100 pixels are not of the subject's shape (200×100)"),
            "{said}"
        );
    }

    #[test]
    fn alpha_counts_where_there_is_one_and_feathers_reach_as_far_as_asked() {
        let alpha = GrayImage::from_fn(200, 100, |x, _| Luma([if x < 50 { 255 } else { 0 }]));
        let given = Picture { rgb: half(200, 100).rgb, alpha: Some(alpha) };
        let soft = |feather: f64| {
            let mask = given_mask("subject_mask", &given, (200, 100), &feathered(feather)).expect("a mask");
            (0..200).filter(|x| (0.001..0.999).contains(&mask.pixel(*x, 50)[0])).count()
        };
        assert_eq!(soft(0.0), 0);
        assert!((4..10).contains(&soft(2.0)) && soft(8.0) > 20, "{} {}", soft(2.0), soft(8.0));
    }

    #[test]
    fn inverted_the_other_part_counts() {
        let alpha = GrayImage::from_fn(200, 100, |x, _| Luma([if x < 50 { 255 } else { 0 }]));
        let settings = Settings { invert_masks: true, ..feathered(0.0) };
        let with_alpha = Picture { rgb: half(200, 100).rgb, alpha: Some(alpha) };
        for (given, edge) in [(half(200, 100), 100), (with_alpha, 50)] {
            let mask = given_mask("subject_mask", &given, (200, 100), &settings).expect("a mask");
            assert_eq!((mask.pixel(edge - 1, 50)[0], mask.pixel(edge, 50)[0]), (0.0, 1.0));
        }
    }
}
