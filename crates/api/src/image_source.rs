//! Where an input picture comes from: a URL to fetch, or bytes inside the request.
//!
//! One string field takes three forms (a URL, a data URI, naked base64), told apart by how the string begins. Bytes are
//! sniffed by their first few, and whatever a data URI or a file name claims about them is not believed.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use url::Url;

use crate::image_kind::{ImageKind, foreign};

/// The longest URL that is taken, in bytes. Browsers and servers stop at about this length (RFC 9110, section 4.1, asks
/// for 8000 at least), and a longer one would only be kept and written.
pub const LONGEST_URL: usize = 8 << 10;

/// A picture as the client gave it.
#[derive(Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// To be fetched when the job runs; `http` or `https`.
    Url(Url),
    /// The file itself. It begins like a picture; whether it is a whole one shows when it is decoded.
    Inline(Vec<u8>),
}

impl std::fmt::Debug for ImageSource {
    /// Names the URL or the number of bytes; pictures do not belong into logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url(url) => f.debug_tuple("Url").field(&url.as_str()).finish(),
            Self::Inline(bytes) => {
                f.debug_tuple("Inline").field(&format_args!("{} bytes", bytes.len())).finish()
            }
        }
    }
}

/// Why a string or a file names no picture. The texts are the API's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing but blanks.
    #[error("field is required")]
    Missing,
    /// No text at all.
    #[error("must be a URL, data URI or base64 string")]
    NoPicture,
    /// Some other scheme, or a URL without a host.
    #[error("URL must be a valid HTTP or HTTPS URL")]
    BadUrl,
    /// A URL of more than [`LONGEST_URL`] bytes.
    #[error("URL too long (at most {LONGEST_URL} bytes)")]
    LongUrl,
    /// Neither base64 nor a picture in it.
    #[error("not a readable image")]
    Unreadable,
    /// A picture of a format that is not read, or something else that is known by its first bytes.
    #[error("not a readable image: this is {0}; send it as PNG, JPEG or WebP")]
    Foreign(&'static str),
}

impl ImageSource {
    /// Reads a string field.
    ///
    /// # Errors
    /// [`SourceError`] for blanks, a URL that is not HTTP(S), and text that is not base64 of a picture.
    pub fn from_text(text: &str) -> Result<Self, SourceError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SourceError::Missing);
        }
        match scheme(text) {
            Some(scheme) if scheme.eq_ignore_ascii_case("data") => {
                let (head, payload) = text.split_once(',').ok_or(SourceError::Unreadable)?;
                let is_base64 =
                    head.rsplit(';').next().is_some_and(|word| word.trim().eq_ignore_ascii_case("base64"));
                if is_base64 { Self::from_base64(payload) } else { Err(SourceError::Unreadable) }
            }
            Some(scheme) if text.len() > LONGEST_URL && !scheme.eq_ignore_ascii_case("data") => {
                Err(SourceError::LongUrl)
            }
            Some(_) => match Url::parse(text) {
                Ok(url) if url.as_str().len() > LONGEST_URL => Err(SourceError::LongUrl),
                Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(Self::Url(url)),
                _ => Err(SourceError::BadUrl),
            },
            None => Self::from_base64(text),
        }
    }

    /// Reads a file part of a form: a picture, or a file that holds what a string field would.
    ///
    /// # Errors
    /// As [`ImageSource::from_text`].
    pub fn from_file(bytes: Vec<u8>) -> Result<Self, SourceError> {
        if ImageKind::sniff(&bytes).is_some() {
            return Ok(Self::Inline(bytes));
        }
        let unreadable = foreign(&bytes).map_or(SourceError::Unreadable, SourceError::Foreign);
        match std::str::from_utf8(&bytes).map(Self::from_text) {
            Ok(Err(SourceError::Unreadable)) | Err(_) => Err(unreadable),
            Ok(read) => read,
        }
    }

    fn from_base64(text: &str) -> Result<Self, SourceError> {
        let bytes = decode_base64(text).ok_or(SourceError::Unreadable)?;
        if ImageKind::sniff(&bytes).is_some() {
            return Ok(Self::Inline(bytes));
        }
        Err(foreign(&bytes).map_or(SourceError::Unreadable, SourceError::Foreign))
    }
}

/// The scheme a URL begins with (RFC 3986, section 3.1). Base64 holds no colon, so it has none.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let well_formed = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    well_formed.then_some(scheme)
}

/// Padding may be there, be missing, or be partly there; bits left over in the last character are not looked at.
const FORGIVING: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, FORGIVING);

/// Symbols that are decoded at a time; a multiple of four.
const PIECE: usize = 4096;

/// Decodes the standard and the URL-safe alphabet (even mixed), whatever blanks and padding there are. Piece by piece, so
/// that there is no second copy of a long text.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let mut piece = Vec::with_capacity(PIECE);
    let mut padded = false;
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        if byte == b'=' {
            padded = true;
            continue;
        }
        if padded {
            return None; // there is no more after the padding
        }
        piece.push(match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        });
        if piece.len() == PIECE {
            STANDARD.decode_vec(&piece, &mut bytes).ok()?;
            piece.clear();
        }
    }
    STANDARD.decode_vec(&piece, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE};
    use proptest::prelude::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\nand more\xfb\xff\xfe";

    fn inline(text: &str) -> Result<ImageSource, SourceError> {
        ImageSource::from_text(text)
    }

    #[test]
    fn the_three_string_forms() {
        let b64 = BASE64_STANDARD.encode(PNG);
        let picture = Ok(ImageSource::Inline(PNG.to_vec()));
        assert_eq!(inline(&b64), picture);
        assert_eq!(inline(&format!("data:image/png;base64,{b64}")), picture);
        assert_eq!(
            inline(&format!("DATA:image/jpeg;charset=x;BASE64,{b64}")),
            picture,
            "the label is not believed"
        );
        assert_eq!(inline(&format!("data:;base64,{b64}")), picture);
        assert!(
            matches!(inline(" https://example.org/a.png "), Ok(ImageSource::Url(url)) if url.path() == "/a.png")
        );
        assert!(matches!(inline("HTTP://example.org"), Ok(ImageSource::Url(_))));
    }

    #[test]
    fn what_is_refused() {
        for text in ["", "  \n"] {
            assert_eq!(inline(text), Err(SourceError::Missing));
        }
        for text in ["file:///etc/hostname", "ftp://h/x", "s3://b/k", "javascript:alert(1)", "http://"] {
            assert_eq!(inline(text), Err(SourceError::BadUrl), "{text}");
        }
        let text = BASE64_STANDARD.encode("just some text, no picture");
        for text in [
            "/etc/passwd",
            "bird.png",
            "data:image/png,rawbytes",
            "data:image/png;base64",
            "ü",
            text.as_str(),
        ] {
            assert_eq!(inline(text), Err(SourceError::Unreadable), "{text}");
        }
    }

    #[test]
    fn long_urls_are_refused_before_anything_is_kept() {
        let url = |length: usize| format!("https://h/{}", "x".repeat(length - 10));
        assert!(matches!(inline(&url(LONGEST_URL)), Ok(ImageSource::Url(_))));
        assert_eq!(inline(&url(LONGEST_URL + 1)), Err(SourceError::LongUrl));
        assert_eq!(
            inline(&format!("https://h/{}", "ü".repeat(2000))),
            Err(SourceError::LongUrl),
            "as it is sent"
        );
        assert_eq!(inline(&url(20 << 20)), Err(SourceError::LongUrl));
    }

    #[test]
    fn what_is_something_else_is_named() {
        let named = |bytes: &[u8]| ImageSource::from_file(bytes.to_vec()).unwrap_err().to_string();
        for (bytes, name) in [
            (&b"\0\0\0\x18ftypheic\0\0\0\0"[..], "HEIC"),
            (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
            (b"\xff\x0a\xfa\x1f", "JPEG XL"),
            (b"%PDF-1.7", "a PDF"),
            (b"8BPS\0\x01", "a Photoshop file"),
            (b"\x1f\x8b\x08\0", "compressed by gzip"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "Git LFS"),
            (b"<?xml version=\"1.0\"?>\n<svg xmlns=", "SVG"),
            (b"\n<!DOCTYPE html><title>x", "a web page"),
        ] {
            let said = named(bytes);
            assert!(said.starts_with("not a readable image: this is ") && said.contains(name), "{said}");
            let text = BASE64_STANDARD.encode(bytes);
            assert_eq!(inline(&text).unwrap_err().to_string(), said);
        }
        assert_eq!(named(b"\x89PN"), "not a readable image");
    }

    #[test]
    fn a_file_part_may_hold_a_picture_or_a_string() {
        assert_eq!(ImageSource::from_file(PNG.to_vec()), Ok(ImageSource::Inline(PNG.to_vec())));
        let text = BASE64_STANDARD.encode(PNG).into_bytes();
        assert_eq!(ImageSource::from_file(text), Ok(ImageSource::Inline(PNG.to_vec())));
        assert!(matches!(ImageSource::from_file(b"http://h/x".to_vec()), Ok(ImageSource::Url(_))));
        assert_eq!(ImageSource::from_file(Vec::new()), Err(SourceError::Missing));
        assert_eq!(ImageSource::from_file(vec![0xff, 0x00]), Err(SourceError::Unreadable));
    }

    #[test]
    fn debug_shows_no_picture() {
        let source = ImageSource::Inline(PNG.to_vec());
        assert_eq!(format!("{source:?}"), format!("Inline({} bytes)", PNG.len()));
    }

    proptest! {
        /// Any alphabet, any padding, any line breaks: the same bytes.
        #[test]
        fn base64_is_repaired(tail in proptest::collection::vec(any::<u8>(), 0..200), every in 1usize..80, keep in 0usize..3) {
            let bytes = [PNG, &tail].concat();
            let plain = BASE64_STANDARD.encode(&bytes);
            let folded: String = plain.as_bytes().chunks(every).map(|c| format!("{}\r\n", String::from_utf8_lossy(c))).collect();
            let url_safe = BASE64_URL_SAFE.encode(&bytes);
            let bare = BASE64_STANDARD_NO_PAD.encode(&bytes);
            let partly = format!("{bare}{}", "=".repeat(keep));
            for text in [plain, folded, url_safe, bare, partly] {
                prop_assert_eq!(inline(&text), Ok(ImageSource::Inline(bytes.clone())));
            }
        }

        /// No string at all makes it panic, and none but HTTP(S) becomes a URL.
        #[test]
        fn any_string_is_answered(text in "\\PC{0,60}") {
            if let Ok(ImageSource::Url(url)) = inline(&text) {
                prop_assert!(matches!(url.scheme(), "http" | "https"));
            }
        }
    }
}
