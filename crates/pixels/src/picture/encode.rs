//! From pixels to a file: lossy WebP, baseline JPEG, PNG. Deterministic: the same pixels give the same bytes.
//!
//! WebP and PNG keep an alpha channel. JPEG has none: what is transparent is laid on white. Each has a place for an XMP packet
//! (Adobe, XMP Specification Part 3: Storage in Files).

use std::borrow::Cow;

use api::OutputFormat;
use image::{Rgb, RgbImage, Rgba, RgbaImage};
use jpeg_encoder::{ColorType, SamplingFactor};

use super::{Picture, PictureError};

pub(super) fn encode(
    picture: &Picture,
    format: OutputFormat,
    quality: u8,
    xmp: Option<&str>,
) -> Result<Vec<u8>, PictureError> {
    let (width, height) = picture.rgb.dimensions();
    if width.max(height) > format.max_side() {
        return Err(PictureError::NoRoom { width, height, format });
    }
    if width.min(height) == 0 {
        return Err(PictureError::Unwritable { format, reason: "it has no pixels".into() });
    }
    match format {
        OutputFormat::WebP => webp(picture, quality.min(100), xmp),
        // 0 and 1 are the same tables in libjpeg.
        OutputFormat::Jpg => jpeg(&on_white(picture), quality.clamp(1, 100), xmp),
        OutputFormat::Png => png(picture, xmp),
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
fn webp(picture: &Picture, quality: u8, xmp: Option<&str>) -> Result<Vec<u8>, String> {
    let (width, height) = picture.rgb.dimensions();
    let written = |encoder: webp::Encoder<'_>| {
        encoder.encode_simple(false, f32::from(quality)).map_err(|error| format!("{error:?}"))
    };
    let file = match with_alpha(picture) {
        Some(rgba) => written(webp::Encoder::from_rgba(&rgba, width, height))?,
        None => written(webp::Encoder::from_rgb(&picture.rgb, width, height))?,
    };
    match xmp {
        Some(xmp) => {
            with_xmp_chunk(&file, (width, height), xmp).ok_or_else(|| "its size overflows".to_owned())
        }
        None => Ok(file.to_vec()),
    }
}

/// The flags of an extended WebP file's first chunk (RFC 9649, section 2.7).
const WEBP_ALPHA: u8 = 0x10;
const WEBP_XMP: u8 = 0x04;

/// A WebP file with an XMP chunk at its end; a simple one becomes an extended one. `None` beyond 4 GiB.
fn with_xmp_chunk(file: &[u8], (width, height): (u32, u32), xmp: &str) -> Option<Vec<u8>> {
    let (head, chunks) = file.split_at_checked(12)?;
    let mut extended = Vec::with_capacity(file.len() + xmp.len() + 32);
    extended.extend(head);
    let side = |side: u32| (side - 1).to_le_bytes();
    if chunks.starts_with(b"VP8X") {
        extended.extend(chunks);
        *extended.get_mut(20)? |= WEBP_XMP;
    } else {
        let alpha = if chunks.starts_with(b"VP8L") { WEBP_ALPHA } else { 0 };
        extended.extend(b"VP8X\x0a\0\0\0");
        extended.extend([WEBP_XMP | alpha, 0, 0, 0]);
        extended.extend(&side(width)[..3]);
        extended.extend(&side(height)[..3]);
        extended.extend(chunks);
    }
    extended.extend(b"XMP ");
    extended.extend(u32::try_from(xmp.len()).ok()?.to_le_bytes());
    extended.extend(xmp.as_bytes());
    extended.resize(extended.len().next_multiple_of(2), 0);
    let size = u32::try_from(extended.len() - 8).ok()?;
    extended[4..8].copy_from_slice(&size.to_le_bytes());
    Some(extended)
}

/// Baseline, 4:2:0; quality on libjpeg's scale. The usual Huffman tables: with fitted ones this encoder writes a scan for
/// each component, which some readers garble (zune-jpeg, and with it the `image` crate), for about 5 % of the size.
fn jpeg(rgb: &RgbImage, quality: u8, xmp: Option<&str>) -> Result<Vec<u8>, String> {
    let side = |side: u32| u16::try_from(side).map_err(|error| error.to_string());
    let mut file = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut file, quality);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    if let Some(xmp) = xmp {
        let segment = [b"http://ns.adobe.com/xap/1.0/\0", xmp.as_bytes()].concat();
        encoder.add_app_segment(1, segment).map_err(|error| error.to_string())?;
    }
    encoder
        .encode(rgb, side(rgb.width())?, side(rgb.height())?, ColorType::Rgb)
        .map_err(|error| error.to_string())?;
    Ok(file)
}

/// Each row with the filter that suits it, deflate at its usual level.
fn png(picture: &Picture, xmp: Option<&str>) -> Result<Vec<u8>, String> {
    let (width, height) = picture.rgb.dimensions();
    let rgba = with_alpha(picture);
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_color(if rgba.is_some() { png::ColorType::Rgba } else { png::ColorType::Rgb });
    encoder.set_compression(png::Compression::Balanced);
    encoder.set_filter(png::Filter::Adaptive);
    let written = |mut encoder: png::Encoder<'_, &mut Vec<u8>>| -> Result<(), png::EncodingError> {
        if let Some(xmp) = xmp {
            encoder.add_itxt_chunk("XML:com.adobe.xmp".to_owned(), xmp.to_owned())?;
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(rgba.as_deref().unwrap_or(&picture.rgb))?;
        writer.finish()
    };
    written(encoder).map_err(|error| error.to_string())?;
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

    #[test]
    fn an_xmp_packet_lies_where_readers_look_and_changes_no_pixel() {
        let packet =
            "<?xpacket begin=''?><x:xmpmeta xmlns:x='adobe:ns:meta/'>ü</x:xmpmeta><?xpacket end='r'?>";
        let opaque = Picture::opaque(RgbImage::from_fn(70, 65, |x, y| Rgb([x as u8, y as u8, 9])));
        for picture in [opaque, half_hidden()] {
            for format in [OutputFormat::WebP, OutputFormat::Png, OutputFormat::Jpg] {
                let (bare, marked) =
                    (picture.encode(format, 80), picture.encode_with_xmp(format, 80, Some(packet)));
                let (bare, marked) = (bare.expect("a file"), marked.expect("a file"));
                let read = |file: &[u8]| Picture::decode(file, &DecodeLimits::default()).expect("a picture");
                assert_eq!(read(&bare), read(&marked), "{format}");
                let reader = image::ImageReader::new(std::io::Cursor::new(&marked));
                let mut decoder =
                    reader.with_guessed_format().expect("a format").into_decoder().expect("a decoder");
                let found =
                    image::ImageDecoder::xmp_metadata(&mut decoder).expect("readable").expect("a packet");
                assert_eq!(String::from_utf8_lossy(&found), packet, "{format}");
            }
        }
    }
}
