//! From pixels to a file: lossy WebP, baseline JPEG, PNG. Deterministic: the same pixels give the same bytes.
//!
//! WebP and PNG keep an alpha channel. JPEG has none: what is transparent is laid on white.

use std::borrow::Cow;

use api::OutputFormat;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage, Rgba, RgbaImage};
use jpeg_encoder::{ColorType, SamplingFactor};

use super::{Picture, PictureError};

pub(super) fn encode(picture: &Picture, format: OutputFormat, quality: u8) -> Result<Vec<u8>, PictureError> {
    let (width, height) = picture.rgb.dimensions();
    if width.max(height) > format.max_side() {
        return Err(PictureError::NoRoom { width, height, format });
    }
    if width.min(height) == 0 {
        return Err(PictureError::Unwritable { format, reason: "it has no pixels".into() });
    }
    match format {
        OutputFormat::WebP => webp(picture, quality.min(100)),
        // 0 and 1 are the same tables in libjpeg.
        OutputFormat::Jpg => jpeg(&on_white(picture), quality.clamp(1, 100)),
        OutputFormat::Png => png(picture),
    }
    .map_err(|reason| PictureError::Unwritable { format, reason })
}

/// Colour and alpha together, where there is alpha.
fn with_alpha(picture: &Picture) -> Option<RgbaImage> {
    let alpha = picture.alpha.as_ref()?;
    Some(RgbaImage::from_fn(alpha.width(), alpha.height(), |x, y| {
        let Rgb([r, g, b]) = *picture.rgb.get_pixel(x, y);
        Rgba([r, g, b, alpha.get_pixel(x, y)[0]])
    }))
}

/// The picture laid on white.
fn on_white(picture: &Picture) -> Cow<'_, RgbImage> {
    let Some(alpha) = &picture.alpha else { return Cow::Borrowed(&picture.rgb) };
    Cow::Owned(RgbImage::from_fn(alpha.width(), alpha.height(), |x, y| {
        let a = u32::from(alpha.get_pixel(x, y)[0]);
        let laid = |v: u8| ((u32::from(v) * a + 255 * (255 - a) + 127) / 255) as u8;
        Rgb(picture.rgb.get_pixel(x, y).0.map(laid))
    }))
}

/// libwebp's default lossy mode (method 4); it clears the colours of pixels that nobody sees.
fn webp(picture: &Picture, quality: u8) -> Result<Vec<u8>, String> {
    let (width, height) = picture.rgb.dimensions();
    let written = |encoder: webp::Encoder<'_>| {
        encoder.encode_simple(false, f32::from(quality)).map_err(|error| format!("{error:?}"))
    };
    let file = match with_alpha(picture) {
        Some(rgba) => written(webp::Encoder::from_rgba(&rgba, width, height))?,
        None => written(webp::Encoder::from_rgb(&picture.rgb, width, height))?,
    };
    Ok(file.to_vec())
}

/// Baseline, 4:2:0; quality on libjpeg's scale. The usual Huffman tables: with fitted ones this encoder writes a scan for
/// each component, which some readers garble (zune-jpeg, and with it the `image` crate), for about 5 % of the size.
fn jpeg(rgb: &RgbImage, quality: u8) -> Result<Vec<u8>, String> {
    let side = |side: u32| u16::try_from(side).map_err(|error| error.to_string());
    let mut file = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut file, quality);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder
        .encode(rgb, side(rgb.width())?, side(rgb.height())?, ColorType::Rgb)
        .map_err(|error| error.to_string())?;
    Ok(file)
}

/// Each row with the filter that suits it, deflate at its usual level.
fn png(picture: &Picture) -> Result<Vec<u8>, String> {
    let (width, height) = picture.rgb.dimensions();
    let mut file = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut file, CompressionType::Default, FilterType::Adaptive);
    match with_alpha(picture) {
        Some(rgba) => encoder.write_image(&rgba, width, height, ExtendedColorType::Rgba8),
        None => encoder.write_image(&picture.rgb, width, height, ExtendedColorType::Rgb8),
    }
    .map_err(|error| error.to_string())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma};

    use super::*;
    use crate::DecodeLimits;

    /// Red, half of it hidden under a transparent left side.
    fn half_hidden() -> Picture {
        let alpha = GrayImage::from_fn(64, 64, |x, _| Luma([if x < 32 { 0 } else { 255 }]));
        Picture { rgb: RgbImage::from_pixel(64, 64, Rgb([200, 0, 0])), alpha: Some(alpha) }
    }

    #[test]
    fn webp_and_png_keep_alpha() {
        for format in [OutputFormat::WebP, OutputFormat::Png] {
            let file = half_hidden().encode(format, 90).expect("a file");
            let read = Picture::decode(&file, &DecodeLimits::default()).expect("a picture");
            assert_eq!(read.alpha, half_hidden().alpha, "{format}");
            assert!(read.rgb.get_pixel(50, 30)[0] > 190, "{format}");
        }
    }

    #[test]
    fn jpeg_shows_white_where_nothing_is_seen() {
        let file = half_hidden().encode(OutputFormat::Jpg, 95).expect("a file");
        let read = Picture::decode(&file, &DecodeLimits::default()).expect("a picture");
        assert!(read.alpha.is_none());
        assert!(read.rgb.get_pixel(10, 30).0.iter().all(|v| *v > 245));
        assert!(read.rgb.get_pixel(50, 30)[1] < 20);
    }
}
