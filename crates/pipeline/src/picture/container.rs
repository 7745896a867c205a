//! What the wrapping of a JPEG or WebP file says before its pixels are decoded.
//!
//! Decoders are forgiving where we must not be: a JPEG cut short is filled with grey, and a WebP whose canvas is small
//! may hold a frame that is huge. So the segments (JPEG, ITU-T T.81 annex B) or chunks (WebP, RFC 9649) are walked once,
//! without decoding anything, and a file that is cut short or contradicts itself is turned away.

/// Scans a JPEG may have. Encoders write about ten for a progressive file; each scan passes over the whole picture,
/// so thousands of empty ones in a small file would keep a decoder busy for minutes.
const MAX_JPEG_SCANS: usize = 128;

/// Is the JPEG whole: every segment within the file, one frame of a kind that is read, scans, and the end marker?
pub(super) fn jpeg_is_sound(bytes: &[u8]) -> bool {
    walk_jpeg(bytes).is_some_and(|(frames, scans)| frames == 1 && (1..=MAX_JPEG_SCANS).contains(&scans))
}

/// The number of frames and of scans before the end marker.
fn walk_jpeg(bytes: &[u8]) -> Option<(usize, usize)> {
    let (mut frames, mut scans) = (0, 0);
    let mut at = 2; // behind the start marker FF D8
    loop {
        let (marker, body) = next_marker(bytes, at)?;
        if marker == 0xD9 {
            return Some((frames, scans));
        }
        let length = usize::from(u16::from_be_bytes([*bytes.get(body)?, *bytes.get(body + 1)?]));
        at = body + length;
        if length < 2 || at > bytes.len() {
            return None;
        }
        match marker {
            // Baseline, extended, progressive; grey, three colours or four inks. Nobody writes lossless, hierarchical and
            // arithmetic ones (the other markers from C1 to CF) for exchange.
            0xC0..=0xC2 if matches!(bytes.get(body + 7)?, 1 | 3 | 4) => frames += 1,
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => return None,
            0xDA => scans += 1,
            _ => {}
        }
    }
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

/// Is the WebP file whole, each chunk inside it, and every frame no larger than the canvas that the header declares?
pub(super) fn webp_is_sound(bytes: &[u8]) -> bool {
    let Some(size) = le_bytes::<4>(bytes, 4) else { return false };
    // The RIFF size counts from byte 8. Some writers leave out the padding byte of an odd last chunk.
    let end = size.saturating_add(8);
    end <= bytes.len() + 1
        && chunks_are_sound(bytes.get(12..end.min(bytes.len())).unwrap_or_default(), &mut None)
}

/// Walks the chunks of a RIFF body (or of an animation frame); `canvas` is set by the extended header once met.
fn chunks_are_sound(mut body: &[u8], canvas: &mut Option<(usize, usize)>) -> bool {
    while let (Some(name), Some(size)) = (body.get(..4), le_bytes::<4>(body, 4)) {
        let Some(data) = body.get(8..8_usize.saturating_add(size)) else { return false };
        let sound = match name {
            b"VP8X" => {
                *canvas = pair(le_bytes::<3>(data, 4), le_bytes::<3>(data, 7)).map(|(w, h)| (w + 1, h + 1));
                canvas.is_some()
            }
            b"VP8 " => fits(vp8_size(data), *canvas),
            b"VP8L" => fits(vp8l_size(data), *canvas),
            // 16 bytes of frame header (place, size, duration, flags), then the frame's own chunks.
            b"ANMF" => data.get(16..).is_some_and(|frame| chunks_are_sound(frame, canvas)),
            _ => true,
        };
        if !sound {
            return false;
        }
        body = body.get(8 + size + size % 2..).unwrap_or_default();
    }
    true
}

fn fits(frame: Option<(usize, usize)>, canvas: Option<(usize, usize)>) -> bool {
    match (frame, canvas) {
        (Some((width, height)), Some((canvas_width, canvas_height))) => {
            width <= canvas_width && height <= canvas_height
        }
        (Some(_), None) => true, // a simple file: the frame is the canvas
        (None, _) => false,
    }
}

/// Width and height in the header of a lossy frame (RFC 6386 section 9.1): 14 bits each behind the start code.
fn vp8_size(data: &[u8]) -> Option<(usize, usize)> {
    pair(le_bytes::<2>(data, 6), le_bytes::<2>(data, 8)).map(|(w, h)| (w & 0x3FFF, h & 0x3FFF))
}

/// Width and height in the header of a lossless frame (RFC 9649 section 3.4): 14 bits each, less one.
fn vp8l_size(data: &[u8]) -> Option<(usize, usize)> {
    le_bytes::<4>(data, 1).map(|bits| ((bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1))
}

fn pair<T>(first: Option<T>, second: Option<T>) -> Option<(T, T)> {
    first.zip(second)
}

/// `N` little-endian bytes at `at`, as a number.
fn le_bytes<const N: usize>(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + N)?;
    Some(bytes.iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte)))
}
