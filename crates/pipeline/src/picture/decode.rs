//! From the bytes of a file to a [`Picture`]: sniff, hold the header against the limits, decode, bring to sRGB, turn upright.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use jpeg_decoder::PixelFormat;

use super::colour::{self, Pixels};
use super::{DecodeLimits, Picture, PictureError, container};

/// What a decoder may allocate beside the pixels themselves: profiles, metadata, rows, palettes. A profile of a
/// thorough CMYK press weighs 2 MB; this leaves room and stops a compressed chunk that unpacks to gigabytes.
const SIDE_BYTES: u64 = 64 << 20;

/// Bytes a decoded pixel may take at most: four channels of 16 bits.
const MAX_PIXEL_BYTES: u64 = 8;

pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Picture, PictureError> {
    let format = sniff(bytes).ok_or(PictureError::Unreadable)?;
    let sound = match format {
        ImageFormat::Jpeg => container::jpeg_is_sound(bytes),
        ImageFormat::WebP => container::webp_is_sound(bytes),
        _ => true, // their decoders notice
    };
    if !sound {
        return Err(PictureError::Unreadable);
    }

    let mut decoder = open(bytes, format, limits)?;
    // A damaged profile or orientation is passed over, as every viewer does: the pixels are still good.
    let icc = decoder.icc_profile().ok().flatten();
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let pixels = match format {
        ImageFormat::Jpeg => jpeg_pixels(bytes),
        _ => DynamicImage::from_decoder(decoder).ok().map(Pixels::Light),
    };

    let srgb = pixels.and_then(|pixels| colour::to_srgb(pixels, icc.as_deref()));
    let (rgb, alpha) = srgb.ok_or(PictureError::Unreadable)?;
    Ok(Picture {
        rgb: upright(DynamicImage::ImageRgb8(rgb), orientation).into_rgb8(),
        alpha: alpha.map(|alpha| upright(DynamicImage::ImageLuma8(alpha), orientation).into_luma8()),
    })
}

/// The format by its first bytes, if it is one of those that are read.
fn sniff(bytes: &[u8]) -> Option<ImageFormat> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    image::guess_format(bytes).ok().filter(|format| matches!(format, Bmp | Gif | Jpeg | Png | Tiff | WebP))
}

/// Reads the header and nothing else, and bounds what decoding may allocate.
fn open<'a>(
    bytes: &'a [u8],
    format: ImageFormat,
    limits: &DecodeLimits,
) -> Result<impl ImageDecoder + 'a, PictureError> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut allowance = Limits::no_limits();
    allowance.max_alloc = Some(SIDE_BYTES);
    reader.limits(allowance.clone());
    let mut decoder = reader.into_decoder().map_err(|_| PictureError::Unreadable)?;

    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        return Err(PictureError::TooLarge { width, height, max_pixels: limits.max_pixels });
    }
    if width.min(height) < limits.min_side {
        return Err(PictureError::TooSmall { width, height, min_side: limits.min_side });
    }
    if decoder.total_bytes() > limits.max_pixels.saturating_mul(MAX_PIXEL_BYTES) {
        return Err(PictureError::Unreadable); // floating-point samples at a size that is only just allowed
    }
    // Twice the pixels: some decoders hold a frame or the planes beside the picture.
    allowance.max_alloc = Some(2 * decoder.total_bytes() + SIDE_BYTES);
    decoder.set_limits(allowance).map_err(|_| PictureError::Unreadable)?;
    Ok(decoder)
}

/// The pixels of a JPEG. `image` would decode them with zune-jpeg, which (0.5.15) silently garbles baseline files whose
/// components come in scans of their own, and has no way to inks; jpeg-decoder has been through both.
///
/// Four components come out as amounts of ink: whoever writes CMYK files follows Photoshop, which stores them inverted,
/// and all readers (browsers, Pillow, this decoder) turn them round.
fn jpeg_pixels(bytes: &[u8]) -> Option<Pixels> {
    let mut decoder = jpeg_decoder::Decoder::new(bytes);
    let pixels = decoder.decode().ok()?;
    let info = decoder.info()?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    Some(match info.pixel_format {
        PixelFormat::L8 => Pixels::Light(GrayImage::from_raw(width, height, pixels)?.into()),
        PixelFormat::RGB24 => Pixels::Light(RgbImage::from_raw(width, height, pixels)?.into()),
        PixelFormat::CMYK32 => Pixels::Cmyk { width, height, inks: pixels },
        PixelFormat::L16 => return None, // lossless JPEG, of medical devices
    })
}

fn upright(mut image: DynamicImage, orientation: Orientation) -> DynamicImage {
    image.apply_orientation(orientation);
    image
}
