//! What the wrapping of a file says before its pixels are decoded, read by ourselves.
//!
//! Decoders are forgiving where we must not be: a JPEG cut short is filled with grey, and a WebP whose canvas is small
//! may hold a frame that is huge. So the segments (JPEG, ITU-T T.81 annex B) or chunks (WebP, RFC 9649) are walked once,
//! without decoding anything, and a file that is cut short or contradicts itself is turned away. The size found here is a
//! second opinion on what the decoder says: a file on which two readers differ is not read at all.
//!
//! Walks are loops. Nothing here recurses, however a file nests.

use api::ImageKind;
use image::ImageFormat;

use super::tiff;

/// Scans a JPEG may have. Encoders write about ten for a progressive file; each scan passes over the whole picture,
/// so thousands of empty ones in a small file would keep a decoder busy for minutes.
const MAX_JPEG_SCANS: usize = 128;

/// The size that the file itself declares, for formats whose wrapping was walked: [`Err`] is a file that is not sound.
///
/// TIFF keeps its size in a directory, which is read elsewhere (`tiff`); `None`.
pub(super) fn declared_size(bytes: &[u8], format: ImageFormat) -> Result<Option<(u32, u32)>, Unsound> {
    let size = match format {
        ImageFormat::Jpeg => jpeg(bytes).map(|frame| (u32::from(frame.width), u32::from(frame.height))),
        ImageFormat::WebP => webp(bytes),
        ImageFormat::Png => png(bytes),
        ImageFormat::Gif => gif(bytes),
        ImageFormat::Bmp => bmp(bytes),
        _ => return Ok(None),
    };
    size.map(Some).ok_or(Unsound)
}

/// Whether a file that could not be read lacks its end: the mark that closes it, or bytes that its header promises.
pub(super) fn is_cut_short(bytes: &[u8], kind: ImageKind) -> bool {
    let last = |mark: &[u8]| bytes.windows(mark.len()).rposition(|window| window == mark);
    let promised = |at: usize, more: usize| {
        le_bytes::<4>(bytes, at).is_none_or(|length| length.saturating_add(more) > bytes.len())
    };
    match kind {
        // A thumbnail in the head has an end of its own; the picture's comes after its last scan.
        ImageKind::Jpeg => last(&[0xFF, 0xD9]) < last(&[0xFF, 0xDA]).or(Some(0)),
        ImageKind::Png => last(b"IEND").is_none(),
        ImageKind::Gif => bytes.iter().rfind(|byte| **byte != 0) != Some(&0x3B),
        // Some writers leave out the padding byte of an odd last chunk.
        ImageKind::WebP => promised(4, 7),
        ImageKind::Bmp => promised(2, 0),
        ImageKind::Tiff => !tiff::is_whole(bytes),
    }
}

/// The file is cut short or contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unsound;

/// The frame of a JPEG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct JpegFrame {
    pub(super) width: u16,
    pub(super) height: u16,
    /// 1 grey, 3 colours, 4 inks.
    pub(super) components: u8,
    /// Samples of all components together, in blocks of 64 and padded as the decoder keeps them.
    pub(super) blocks: u64,
    pub(super) progressive: bool,
}

/// The one frame of a JPEG that is whole: every segment within the file, scans, and the end marker.
pub(super) fn jpeg(bytes: &[u8]) -> Option<JpegFrame> {
    let (mut frame, mut scans) = (None, 0);
    let mut at = 2; // behind the start marker FF D8
    loop {
        let (marker, body) = next_marker(bytes, at)?;
        if marker == 0xD9 {
            return frame.filter(|_| (1..=MAX_JPEG_SCANS).contains(&scans));
        }
        let length = usize::from(u16::from_be_bytes([*bytes.get(body)?, *bytes.get(body + 1)?]));
        at = body + length;
        if length < 2 || at > bytes.len() {
            return None;
        }
        match marker {
            // Baseline, extended, progressive. Nobody writes lossless, hierarchical and arithmetic ones (the other
            // markers from C1 to CF) for exchange.
            0xC0..=0xC2 if frame.is_none() => frame = Some(jpeg_frame(&bytes[body + 2..at], marker)?),
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => return None,
            0xDA => scans += 1,
            _ => {}
        }
    }
}

/// A frame header (T.81 section B.2.2): precision, height, width, then three bytes for each component.
fn jpeg_frame(body: &[u8], marker: u8) -> Option<JpegFrame> {
    let side = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
    let (height, width, components) = (side(1)?, side(3)?, *body.get(5)?);
    let described = body.get(6..6 + 3 * usize::from(components))?;
    if !matches!(components, 1 | 3 | 4) {
        return None;
    }
    let factors = || described.chunks_exact(3).map(|component| (component[1] >> 4, component[1] & 15));
    if factors().any(|(across, down)| !(1..=4).contains(&across) || !(1..=4).contains(&down)) {
        return None;
    }
    let most = factors().fold((1, 1), |most, factor| (most.0.max(factor.0), most.1.max(factor.1)));
    // Units of 8 × 8 × the largest factors; a component has its own factors' number of blocks in each.
    let units =
        u64::from(width).div_ceil(8 * u64::from(most.0)) * u64::from(height).div_ceil(8 * u64::from(most.1));
    let blocks = units * factors().map(|(across, down)| u64::from(across) * u64::from(down)).sum::<u64>();
    Some(JpegFrame { width, height, components, blocks, progressive: marker == 0xC2 })
}

/// The next marker that begins a segment or ends the file, and where its body begins. Entropy-coded data is passed over:
/// in it an FF is followed by 00 or by a restart marker (D0 to D7).
fn next_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xFF)? + 1;
        match *bytes.get(at)? {
            0x00 | 0x01 | 0xD0..=0xD8 => at += 1,
            0xFF => {} // fill byte: the next FF begins the marker
            marker => return Some((marker, at + 1)),
        }
    }
}

/// The canvas of a WebP file that is whole, each chunk inside it, and every frame no larger than the canvas.
fn webp(bytes: &[u8]) -> Option<(u32, u32)> {
    // The RIFF size counts from byte 8. Some writers leave out the padding byte of an odd last chunk.
    let end = le_bytes::<4>(bytes, 4)?.saturating_add(8);
    if end > bytes.len() + 1 {
        return None;
    }
    let mut canvas = None;
    for (place, chunk) in Chunks(bytes.get(12..end.min(bytes.len()))?).enumerate() {
        let (name, data) = chunk?;
        match name {
            b"VP8X" => {
                // The extended header stands first and once.
                canvas = (place == 0).then(|| webp_canvas(data))??.into();
            }
            b"VP8 " | b"VP8L" => canvas = Some(webp_fits(webp_frame(name, data)?, canvas)?),
            // 16 bytes of frame header (place, size, duration, flags), then the frame's own chunks. A frame in a frame is
            // none: only a canvas has them.
            b"ANMF" => {
                for chunk in Chunks(data.get(16..)?) {
                    let (name, data) = chunk?;
                    match name {
                        b"VP8 " | b"VP8L" => {
                            webp_fits(webp_frame(name, data)?, Some(canvas?))?;
                        }
                        b"ANMF" | b"VP8X" => return None,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    canvas
}

/// Names and bodies of RIFF chunks side by side; `None` for one that ends outside, and then no more.
struct Chunks<'a>(&'a [u8]);

impl<'a> Iterator for Chunks<'a> {
    type Item = Option<(&'a [u8], &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        let (name, size) = (self.0.get(..4)?, le_bytes::<4>(self.0, 4)?);
        let data = self.0.get(8..8_usize.saturating_add(size));
        // Padded to an even size.
        self.0 = data.and_then(|_| self.0.get(8 + size + size % 2..)).unwrap_or_default();
        Some(data.map(|data| (name, data)))
    }
}

/// The frame's size, if it does not reach beyond the canvas; without one the frame is the canvas.
fn webp_fits(frame: (u32, u32), canvas: Option<(u32, u32)>) -> Option<(u32, u32)> {
    let canvas = canvas.unwrap_or(frame);
    (frame.0 <= canvas.0 && frame.1 <= canvas.1).then_some(canvas)
}

/// Width and height in the extended header (RFC 9649 section 2.7): 24 bits each, less one.
fn webp_canvas(data: &[u8]) -> Option<(u32, u32)> {
    Some((le_bytes::<3>(data, 4)? as u32 + 1, le_bytes::<3>(data, 7)? as u32 + 1))
}

/// Width and height of a frame, 14 bits each: lossy (RFC 6386 section 9.1) behind the start code, lossless (RFC 9649
/// section 3.4) less one.
fn webp_frame(name: &[u8], data: &[u8]) -> Option<(u32, u32)> {
    if name == b"VP8 " {
        return Some((le_bytes::<2>(data, 6)? as u32 & 0x3FFF, le_bytes::<2>(data, 8)? as u32 & 0x3FFF));
    }
    let bits = le_bytes::<4>(data, 1)? as u32;
    Some(((bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1))
}

/// PNG (W3C PNG third edition, section 11.2.1): the header is the first chunk.
fn png(bytes: &[u8]) -> Option<(u32, u32)> {
    let side = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    (bytes.get(12..16)? == b"IHDR").then_some((side(16)?, side(20)?))
}

/// GIF: the logical screen behind the signature.
fn gif(bytes: &[u8]) -> Option<(u32, u32)> {
    Some((le_bytes::<2>(bytes, 6)? as u32, le_bytes::<2>(bytes, 8)? as u32))
}

/// The first frame of a GIF (appendix F of the specification), which may be larger than its screen: the decoder unpacks all
/// of it. `None` where there is none.
pub(super) fn gif_frame(bytes: &[u8]) -> Option<(u32, u32)> {
    let palette = |flags: usize| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let mut at = 13 + palette(le_bytes::<1>(bytes, 10)?);
    loop {
        match le_bytes::<1>(bytes, at)? {
            0x2C => {
                return Some((le_bytes::<2>(bytes, at + 5)? as u32, le_bytes::<2>(bytes, at + 7)? as u32));
            }
            0x21 => at += 2, // an extension: its label, then blocks up to an empty one
            _ => return None,
        }
        loop {
            let length = le_bytes::<1>(bytes, at)?;
            at += 1 + length;
            if length == 0 {
                break;
            }
        }
    }
}

/// BMP: 16 bits a side in the oldest header, 32 bits with a sign in all others (negative height: rows from the top).
fn bmp(bytes: &[u8]) -> Option<(u32, u32)> {
    if le_bytes::<4>(bytes, 14)? == 12 {
        return Some((le_bytes::<2>(bytes, 18)? as u32, le_bytes::<2>(bytes, 20)? as u32));
    }
    let side = |at: usize| Some((le_bytes::<4>(bytes, at)? as u32).cast_signed());
    Some((side(18)?.unsigned_abs(), side(22)?.unsigned_abs()))
}

/// `N` little-endian bytes at `at`, as a number.
fn le_bytes<const N: usize>(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(N)?)?;
    Some(bytes.iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte)))
}
