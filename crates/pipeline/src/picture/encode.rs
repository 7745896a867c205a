//! From pixels to a file: lossy WebP, baseline JPEG, PNG. Deterministic: the same pixels give the same bytes.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, RgbImage};
use jpeg_encoder::{ColorType, SamplingFactor};

use super::{OutputFormat, PictureError};

pub(super) fn encode(rgb: &RgbImage, format: OutputFormat, quality: u8) -> Result<Vec<u8>, PictureError> {
    let (width, height) = rgb.dimensions();
    if width.max(height) > format.max_side() {
        return Err(PictureError::NoRoom { width, height, format });
    }
    if width.min(height) == 0 {
        return Err(PictureError::Unwritable { format, reason: "it has no pixels".into() });
    }
    match format {
        OutputFormat::WebP => webp(rgb, quality.min(100)),
        OutputFormat::Jpeg => jpeg(rgb, quality.clamp(1, 100)), // 0 and 1 are the same tables in libjpeg
        OutputFormat::Png => png(rgb),
    }
    .map_err(|reason| PictureError::Unwritable { format, reason })
}

/// libwebp's default lossy mode (method 4).
fn webp(rgb: &RgbImage, quality: u8) -> Result<Vec<u8>, String> {
    let encoder = webp::Encoder::from_rgb(rgb, rgb.width(), rgb.height());
    let file = encoder.encode_simple(false, f32::from(quality)).map_err(|error| format!("{error:?}"))?;
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
fn png(rgb: &RgbImage) -> Result<Vec<u8>, String> {
    let mut file = Vec::new();
    PngEncoder::new_with_quality(&mut file, CompressionType::Default, FilterType::Adaptive)
        .write_image(rgb, rgb.width(), rgb.height(), ExtendedColorType::Rgb8)
        .map_err(|error| error.to_string())?;
    Ok(file)
}
