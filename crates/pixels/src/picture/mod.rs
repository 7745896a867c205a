//! A decoded picture: 8-bit sRGB, upright, with its alpha channel kept beside it.
//!
//! Files of any origin come in through [`Picture::decode`], which believes only the bytes: the format is sniffed, the
//! header is held against [`DecodeLimits`] before a pixel is decoded, and whatever the file's colours are (ICC, CMYK,
//! grey, palette, 16 bits) they leave as sRGB. Files go out through [`Picture::encode`].

mod colour;
mod container;
mod decode;
mod encode;
mod shrink;
mod tiff;

use api::{ImageKind, OutputFormat};
use image::{GrayImage, RgbImage};

/// 8-bit sRGB pixels, orientation applied, and the alpha channel when the file had a meaningful one.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Height × width × 3.
    pub rgb: RgbImage,
    /// Height × width; 255 is opaque. `None` when the file had no alpha or all of it was opaque.
    pub alpha: Option<GrayImage>,
}

/// What a file may weigh before it is refused. Checked before pixels are decoded.
#[derive(Debug, Clone, Copy)]
pub struct DecodeLimits {
    /// Width × height at most.
    pub max_pixels: u64,
    /// Neither side may be shorter, in pixels.
    pub min_side: u32,
    /// Memory that decoding may take, in bytes; see [`Cost::bytes`].
    pub max_bytes: u64,
}

/// What decoding a file will take, told by its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Declared width, before the picture is turned upright.
    pub width: u32,
    /// Declared height.
    pub height: u32,
    /// Memory at the most demanding moment, in bytes, less what does not grow with the picture (a few megabytes).
    pub bytes: u64,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { max_pixels: 100_000_000, min_side: 64, max_bytes: 1 << 30 }
    }
}

/// Why bytes are not a usable picture, or a picture cannot be written. The texts are the API's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// Not an image, or of a kind that is not read.
    #[error("not a readable image")]
    Unreadable,
    /// It begins like a picture and ends too early.
    #[error("not a readable image: the {} file is cut short; send all of it", .0.name())]
    CutShort(ImageKind),
    /// It begins like a picture and contradicts itself, or is of a variety that is not read.
    #[error("not a readable image: the {} file is damaged, or of a rare variety; save it anew as PNG or JPEG", .0.name())]
    Damaged(ImageKind),
    /// A sound file of a variety that is not read, and what is unusual about it.
    #[error("not a readable image: a {} file with {what}, which is not read; save it anew as PNG or JPEG", .kind.name())]
    Rare {
        /// The kind of file.
        kind: ImageKind,
        /// What is unusual.
        what: &'static str,
    },
    /// More pixels than allowed.
    #[error("image too large ({width}×{height} pixels; at most {max_pixels} in total)")]
    TooLarge {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
        /// The limit.
        max_pixels: u64,
    },
    /// More memory than allowed; a plainer file of the same size may take less.
    #[error(
        "image too large to decode ({width}×{height} pixels need {} MB of memory; at most {}); \
         save it smaller, or as an 8-bit PNG or baseline JPEG", .bytes.div_ceil(1_000_000), .max_bytes / 1_000_000
    )]
    TooHeavy {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
        /// Bytes needed.
        bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// A side shorter than allowed.
    #[error("image too small ({width}×{height} pixels; each side needs at least {min_side})")]
    TooSmall {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
        /// The limit.
        min_side: u32,
    },
    /// The output format has no room for the size.
    #[error("{width}×{height} pixels do not fit into a {format} file (each side at most {}); ask for another format", format.max_side())]
    NoRoom {
        /// The picture's width.
        width: u32,
        /// The picture's height.
        height: u32,
        /// The format asked for.
        format: OutputFormat,
    },
    /// The encoder gave up (out of memory, a picture without pixels).
    #[error("the picture could not be written as {format}: {reason}")]
    Unwritable {
        /// The format asked for.
        format: OutputFormat,
        /// The encoder's own words.
        reason: String,
    },
}

impl PictureError {
    /// Whether the bytes are no picture that can be read, whatever the reason.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable | Self::CutShort(_) | Self::Damaged(_) | Self::Rare { .. })
    }
}

impl Picture {
    /// An opaque picture.
    #[must_use]
    pub fn opaque(rgb: RgbImage) -> Self {
        Self { rgb, alpha: None }
    }

    /// Reads PNG, JPEG, WebP, GIF, BMP or TIFF bytes: content sniffed, first frame, EXIF orientation applied, ICC profile
    /// converted to sRGB, CMYK, grey, palette and 16 bits brought to 8-bit RGB, alpha kept.
    ///
    /// # Errors
    /// [`PictureError::Unreadable`] and its like, [`PictureError::TooLarge`], [`PictureError::TooSmall`] or
    /// [`PictureError::TooHeavy`]; sizes are checked on the header, before any pixel is decoded.
    pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Self, PictureError> {
        decode::decode(bytes, limits)
    }

    /// What [`decode`](Self::decode) would take, by the header alone: for whoever has to keep several within a budget.
    ///
    /// # Errors
    /// Those of [`decode`](Self::decode) that the header shows.
    pub fn cost(bytes: &[u8], limits: &DecodeLimits) -> Result<Cost, PictureError> {
        decode::cost(bytes, limits)
    }

    /// The picture shrunk to fit into `width` × `height`, aspect kept; itself if it fits already.
    ///
    /// Lanczos 3 stretched by the factor, straight from the 8-bit rows: beside source and result only a few rows are held.
    #[must_use]
    pub fn shrunk_to_fit(self, width: u32, height: u32) -> Self {
        shrink::to_fit(self, width, height)
    }

    /// Writes the picture as a file; `quality` is 0 to 100 and has no effect on PNG. WebP and PNG keep the alpha channel,
    /// JPEG lays the picture on white.
    ///
    /// # Errors
    /// [`PictureError::NoRoom`] when the format cannot hold the size (WebP: 16383 a side), [`PictureError::Unwritable`]
    /// when the encoder gives up.
    pub fn encode(&self, format: OutputFormat, quality: u8) -> Result<Vec<u8>, PictureError> {
        self.encode_with_xmp(format, quality, None)
    }

    /// The same with an XMP packet in the file, where the format has its place for one; in JPEG of at most 65,504 bytes.
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode).
    pub fn encode_with_xmp(
        &self,
        format: OutputFormat,
        quality: u8,
        xmp: Option<&str>,
    ) -> Result<Vec<u8>, PictureError> {
        encode::encode(self, format, quality, xmp)
    }
}
