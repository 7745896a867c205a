//! Picture files of every format: what is decoded obeys the limits, and takes the memory that its header was reckoned to
//! take.

use pixels::{DecodeLimits, OutputFormat, Picture};

use crate::limits::bounded;

/// The WebP decoder makes room for what a length of 24 bits announces before it reads it.
const ANNOUNCED: usize = 1 << 24;
const LIMITS: DecodeLimits = DecodeLimits { max_pixels: 1 << 18, min_side: 1, max_bytes: 32 << 20 };

/// One input.
pub fn run(bytes: &[u8]) {
    let cost = bounded(bytes.len(), ANNOUNCED, || Picture::cost(bytes, &LIMITS));
    let reckoned = cost.as_ref().map_or(0, |cost| cost.bytes as usize);
    let picture = bounded(bytes.len(), ANNOUNCED + reckoned, || Picture::decode(bytes, &LIMITS));
    if let Ok(picture) = picture {
        let (width, height) = picture.rgb.dimensions();
        assert!(cost.is_ok(), "decoded, but not reckoned");
        assert!(width >= 1 && height >= 1 && u64::from(width) * u64::from(height) <= LIMITS.max_pixels);
        if let Some(alpha) = &picture.alpha {
            assert_eq!(alpha.dimensions(), (width, height));
        }
        if width * height <= 4096 {
            let png = picture.encode(OutputFormat::Png, 90).expect("a picture that was decoded");
            let again = Picture::decode(&png, &LIMITS).expect("what we wrote ourselves");
            assert_eq!(again.rgb, picture.rgb, "PNG keeps every bit");
        }
    }
}
