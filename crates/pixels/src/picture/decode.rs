//! From the bytes of a file to a [`Picture`]: sniff, hold the header against the limits, decode, bring to sRGB, turn upright.
//!
//! The limits are held against what the very decoder says that will allocate the pixels, compared with what our own walk
//! over the file says (`container`), and looked at once more when the pixels are there.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use api::ImageKind;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use jpeg_decoder::PixelFormat;

use super::colour::{self, Depth, Kind, Pixels};
use super::tiff::{Refused, Tiff};
use super::{Cost, DecodeLimits, Picture, PictureError, container};

/// What a decoder may allocate beside the pixels themselves: profiles, metadata, rows, palettes. A profile of a
/// thorough CMYK press weighs 2 MB; this leaves room and stops a compressed chunk that unpacks to gigabytes.
const SIDE_BYTES: u64 = 64 << 20;

/// A decoder that has read its header and no pixels yet.
enum Opened<'a> {
    Jpeg(Box<jpeg_decoder::Decoder<&'a [u8]>>),
    Tiff(Box<Tiff<'a>>),
    Other(Box<dyn ImageDecoder + 'a>),
}

pub(super) fn cost(bytes: &[u8], limits: &DecodeLimits) -> Result<Cost, PictureError> {
    guarded(bytes, || open(bytes, limits).map(|(_, cost)| cost))
}

pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Picture, PictureError> {
    guarded(bytes, || {
        let (opened, cost) = open(bytes, limits)?;
        let (pixels, icc, orientation) = match opened {
            Opened::Jpeg(decoder) => jpeg_pixels(*decoder),
            Opened::Tiff(tiff) => tiff.pixels(),
            Opened::Other(decoder) => other_pixels(decoder),
        }
        .filter(|(pixels, ..)| (pixels.width, pixels.height) == (cost.width, cost.height))
        .ok_or(PictureError::Unreadable)?;
        let (rgb, alpha) = colour::to_srgb(pixels, icc.as_deref()).ok_or(PictureError::Unreadable)?;
        Ok(Picture {
            rgb: upright(DynamicImage::ImageRgb8(rgb), orientation).into_rgb8(),
            alpha: alpha.map(|alpha| upright(DynamicImage::ImageLuma8(alpha), orientation).into_luma8()),
        })
    })
}

/// A decoder that panics over a file cannot read it. What cannot be read is told by what is known of it.
fn guarded<T>(bytes: &[u8], read: impl FnOnce() -> Result<T, PictureError>) -> Result<T, PictureError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or(Err(PictureError::Unreadable)).map_err(|error| {
        match ImageKind::sniff(bytes).filter(|_| error == PictureError::Unreadable) {
            None => error,
            Some(kind) if container::is_cut_short(bytes, kind) => PictureError::CutShort(kind),
            Some(kind) => PictureError::Damaged(kind),
        }
    })
}

/// The decoder's name for a kind of file.
fn format_of(kind: ImageKind) -> ImageFormat {
    match kind {
        ImageKind::Png => ImageFormat::Png,
        ImageKind::Jpeg => ImageFormat::Jpeg,
        ImageKind::WebP => ImageFormat::WebP,
        ImageKind::Gif => ImageFormat::Gif,
        ImageKind::Bmp => ImageFormat::Bmp,
        ImageKind::Tiff => ImageFormat::Tiff,
    }
}

/// Reads the header and nothing else, and bounds what decoding may allocate.
fn open<'a>(bytes: &'a [u8], limits: &DecodeLimits) -> Result<(Opened<'a>, Cost), PictureError> {
    let format = ImageKind::sniff(bytes).map(format_of).ok_or(PictureError::Unreadable)?;
    let declared = container::declared_size(bytes, format).map_err(|_| PictureError::Unreadable)?;
    let (opened, cost) = match format {
        ImageFormat::Jpeg => open_jpeg(bytes).ok_or(PictureError::Unreadable)?,
        ImageFormat::Tiff => open_tiff(bytes)?,
        _ => open_other(bytes, format).ok_or(PictureError::Unreadable)?,
    };
    let (width, height) = (cost.width, cost.height);
    if declared.is_some_and(|declared| declared != (width, height)) {
        return Err(PictureError::Unreadable);
    }
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        return Err(PictureError::TooLarge { width, height, max_pixels: limits.max_pixels });
    }
    if width.min(height) < limits.min_side {
        return Err(PictureError::TooSmall { width, height, min_side: limits.min_side });
    }
    if cost.bytes > limits.max_bytes {
        return Err(PictureError::TooHeavy { width, height, bytes: cost.bytes, max_bytes: limits.max_bytes });
    }
    let opened = match opened {
        Opened::Jpeg(mut decoder) => {
            decoder.set_max_decoding_buffer_size(usize::try_from(limits.max_bytes).unwrap_or(usize::MAX));
            Opened::Jpeg(decoder)
        }
        Opened::Tiff(tiff) => Opened::Tiff(tiff),
        Opened::Other(mut decoder) => {
            // Twice the pixels: some decoders hold a frame or the planes beside the picture.
            let most = 2 * decoder.total_bytes() + SIDE_BYTES;
            decoder.set_limits(allowance(most)).map_err(|_| PictureError::Unreadable)?;
            Opened::Other(decoder)
        }
    };
    Ok((opened, cost))
}

fn allowance(bytes: u64) -> Limits {
    let mut allowance = Limits::no_limits();
    allowance.max_alloc = Some(bytes);
    allowance
}

/// JPEG. `image` would decode them with zune-jpeg, which (0.5.15) silently garbles baseline files whose components come in
/// scans of their own, has no way to inks, and reads other segments than it should behind a short APP0; jpeg-decoder has
/// been through all of that.
fn open_jpeg(bytes: &[u8]) -> Option<(Opened<'_>, Cost)> {
    let frame = container::jpeg(bytes)?;
    let mut decoder = jpeg_decoder::Decoder::new(bytes);
    decoder.read_info().ok()?;
    let info = decoder.info()?;
    let components = match info.pixel_format {
        PixelFormat::L8 => 1,
        PixelFormat::RGB24 => 3,
        PixelFormat::CMYK32 => 4,
        PixelFormat::L16 => return None, // lossless JPEG, of medical devices
    };
    if (info.width, info.height, components) != (frame.width, frame.height, u64::from(frame.components)) {
        return None;
    }
    let pixels = u64::from(info.width) * u64::from(info.height);
    // A plane for each component and, in a progressive file, the coefficients of all, 16 bits each.
    let planes = frame.blocks * 64 * if frame.progressive { 3 } else { 1 };
    let cost = Cost::new((info.width.into(), info.height.into()), components * pixels, planes, components);
    Some((Opened::Jpeg(Box::new(decoder)), cost))
}

fn open_tiff(bytes: &[u8]) -> Result<(Opened<'_>, Cost), PictureError> {
    let tiff = Tiff::open(bytes).map_err(|refused| match refused {
        Refused::Unsound => PictureError::Unreadable,
        Refused::Rare(what) => PictureError::Rare { kind: ImageKind::Tiff, what },
    })?;
    let (buffer, beside, size) = tiff.room();
    let cost = Cost::new(tiff.size(), buffer, beside, size);
    Ok((Opened::Tiff(Box::new(tiff)), cost))
}

/// All others by `image`.
fn open_other(bytes: &[u8], format: ImageFormat) -> Option<(Opened<'_>, Cost)> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(allowance(SIDE_BYTES));
    let decoder = reader.into_decoder().ok()?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    let buffer = decoder.total_bytes();
    let beside = match format {
        ImageFormat::Gif => {
            // A frame of another size than its screen's is unpacked apart.
            let (width, height) = container::gif_frame(bytes)?;
            4 * pixels.max(u64::from(width) * u64::from(height))
        }
        ImageFormat::WebP => 8 * pixels, // an animation's canvas and frame; else less
        _ => 0,
    };
    let cost = Cost::new((width, height), buffer, beside, Kind::of(decoder.color_type())?.size() as u64);
    Some((Opened::Other(Box::new(decoder)), cost))
}

impl Cost {
    /// `buffer` is what the decoder fills, with pixels of `size` bytes; `beside` what else it needs to do so. After that
    /// come the conversion, which needs the result beside the buffer where it cannot take its place, and the turn upright,
    /// which needs it twice.
    fn new((width, height): (u32, u32), buffer: u64, beside: u64, size: u64) -> Self {
        let pixels = u64::from(width) * u64::from(height);
        let alpha = pixels; // whether there is one or not
        let converting = buffer.saturating_add(alpha) + if size >= 3 { 0 } else { 3 * pixels };
        let turning = 2 * 3 * pixels + alpha;
        Self { width, height, bytes: buffer.saturating_add(beside).max(converting).max(turning) }
    }
}

type Decoded = Option<(Pixels, Option<Vec<u8>>, Orientation)>;

/// Four components come out as amounts of ink: whoever writes CMYK files follows Photoshop, which stores them inverted,
/// and all readers (browsers, Pillow, this decoder) turn them round.
fn jpeg_pixels(mut decoder: jpeg_decoder::Decoder<&[u8]>) -> Decoded {
    let bytes = decoder.decode().ok()?;
    let info = decoder.info()?;
    let colours = match info.pixel_format {
        PixelFormat::L8 => 1,
        PixelFormat::RGB24 => 3,
        PixelFormat::CMYK32 => 4,
        PixelFormat::L16 => return None,
    };
    let orientation = decoder.exif_data().and_then(Orientation::from_exif_chunk);
    let kind = Kind { colours, alpha: false, depth: Depth::U8 };
    let pixels = Pixels { width: info.width.into(), height: info.height.into(), kind, bytes };
    Some((pixels, decoder.icc_profile(), orientation.unwrap_or(Orientation::NoTransforms)))
}

fn other_pixels(mut decoder: Box<dyn ImageDecoder + '_>) -> Decoded {
    // A damaged profile or orientation is passed over, as every viewer does: the pixels are still good.
    let icc = decoder.icc_profile().ok().flatten();
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let (width, height) = decoder.dimensions();
    let kind = Kind::of(decoder.color_type())?;
    let mut bytes = vec![0; usize::try_from(decoder.total_bytes()).ok()?];
    decoder.read_image_boxed(&mut bytes).ok()?;
    Some((Pixels { width, height, kind, bytes }, icc, orientation))
}

fn upright(mut image: DynamicImage, orientation: Orientation) -> DynamicImage {
    image.apply_orientation(orientation);
    image
}
