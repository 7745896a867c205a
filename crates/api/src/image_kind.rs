//! The kinds of picture files: how they begin, and what they are called.

/// A kind of picture file that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names say it
pub enum ImageKind {
    Png,
    Jpeg,
    WebP,
    Gif,
    Bmp,
    Tiff,
}

impl ImageKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::Png, Self::Jpeg, Self::WebP, Self::Gif, Self::Bmp, Self::Tiff];

    /// The kind that `bytes` begin like; `None` if they do not begin like one that is read.
    #[must_use]
    pub fn sniff(bytes: &[u8]) -> Option<Self> {
        let at =
            |offset: usize, magic: &[u8]| bytes.get(offset..).is_some_and(|rest| rest.starts_with(magic));
        let begins = |kind: &Self| match kind {
            Self::Png => at(0, b"\x89PNG\r\n\x1a\n"),
            Self::Jpeg => at(0, b"\xff\xd8\xff"),
            Self::WebP => at(0, b"RIFF") && at(8, b"WEBP"),
            Self::Gif => at(0, b"GIF87a") || at(0, b"GIF89a"),
            // Two letters are too weak a sign; the four reserved bytes of a bitmap's header are zero.
            Self::Bmp => at(0, b"BM") && at(6, &[0; 4]),
            Self::Tiff => [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"].into_iter().any(|magic| at(0, magic)),
        };
        Self::ALL.into_iter().find(begins)
    }

    /// Its name, as people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
        }
    }

    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::WebP => "image/webp",
            Self::Gif => "image/gif",
            Self::Bmp => "image/bmp",
            Self::Tiff => "image/tiff",
        }
    }

    /// The extension of files of this kind.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::WebP => "webp",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
        }
    }

    /// The kind that an extension stands for, in lower case; `jpeg` is `jpg`.
    #[must_use]
    pub fn from_extension(extension: &str) -> Option<Self> {
        let extension = if extension == "jpeg" { "jpg" } else { extension };
        Self::ALL.into_iter().find(|kind| kind.extension() == extension)
    }
}

/// The media type of a stored file, from its extension.
#[must_use]
pub fn media_type(extension: &str) -> &'static str {
    ImageKind::from_extension(extension).map_or("application/octet-stream", ImageKind::media_type)
}

/// The extension of a file with these bytes: its kind's, or `bin`.
#[must_use]
pub fn extension_of(bytes: &[u8]) -> &'static str {
    ImageKind::sniff(bytes).map_or("bin", ImageKind::extension)
}

/// What `bytes` are, if they begin like something else that people send for a picture.
#[must_use]
pub fn foreign(bytes: &[u8]) -> Option<&'static str> {
    let at = |offset: usize, magic: &[u8]| bytes.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    // ISO/IEC 14496-12: the brand of a file stands behind `ftyp`.
    let brand = if at(4, b"ftyp") { bytes.get(8..12) } else { None };
    let text = || bytes.get(..bytes.len().min(512)).map(|head| head.trim_ascii_start().to_ascii_lowercase());
    match brand {
        Some(b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1") => {
            return Some("HEIC");
        }
        Some(b"avif" | b"avis") => return Some("AVIF"),
        Some(b"crx ") => return Some("a raw photograph"),
        Some(_) => return Some("a video"),
        None => {}
    }
    if at(0, b"\0\0\0\x0cJXL \r\n\x87\n") || at(0, b"\xff\x0a") {
        Some("JPEG XL")
    } else if at(0, b"\0\0\0\x0cjP  ") || at(0, b"\xff\x4f\xff\x51") {
        Some("JPEG 2000")
    } else if at(0, b"%PDF") {
        Some("a PDF")
    } else if at(0, b"8BPS") {
        Some("a Photoshop file")
    } else if at(0, b"\0\0\x01\0") {
        Some("an icon")
    } else if at(0, b"\x1f\x8b") {
        Some("compressed by gzip")
    } else if at(0, b"PK\x03\x04") {
        Some("a ZIP archive")
    } else if at(0, b"version https://git-lfs") {
        Some("a pointer of Git LFS and not the file itself")
    } else {
        let head = text()?;
        let head = head.as_slice();
        if head.starts_with(b"<svg") || (head.starts_with(b"<?xml") && head.windows(4).any(|w| w == b"<svg"))
        {
            Some("SVG")
        } else if head.starts_with(b"<!doctype html") || head.starts_with(b"<html") {
            Some("a web page")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_and_media_types_lead_back() {
        for kind in ImageKind::ALL {
            assert_eq!(ImageKind::from_extension(kind.extension()), Some(kind));
            assert_eq!(media_type(kind.extension()), kind.media_type());
        }
        assert_eq!(media_type("jpeg"), "image/jpeg");
        assert_eq!(media_type("bin"), "application/octet-stream");
        assert_eq!((extension_of(b"\xff\xd8\xff\xe0"), extension_of(b"text")), ("jpg", "bin"));
    }
}
