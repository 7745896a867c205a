//! The parameters that are one word of a few.

use serde::{Deserialize, Serialize};

/// The file formats of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputFormat {
    /// Lossy WebP.
    #[default]
    WebP,
    /// JPEG.
    Jpg,
    /// PNG; the quality has no meaning.
    Png,
}

impl OutputFormat {
    /// All of them with their words on the wire.
    pub const WORDS: &'static [(&'static str, Self)] =
        &[("webp", Self::WebP), ("jpg", Self::Jpg), ("png", Self::Png)];

    /// The word on the wire, which is also the extension of files.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::WebP => "webp",
            Self::Jpg => "jpg",
            Self::Png => "png",
        }
    }

    /// The media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        media_type(self.extension())
    }
}

/// The media type of a stored file, from its extension.
#[must_use]
pub fn media_type(extension: &str) -> &'static str {
    match extension {
        "webp" => "image/webp",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "gif" => "image/gif",
        "bmp" => "image/bmp",
        "tiff" => "image/tiff",
        _ => "application/octet-stream",
    }
}

/// How strongly the material replaces the subject's own surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaterialStrength {
    /// Keeps more of the subject.
    #[default]
    Medium,
    /// Favours the material.
    Strong,
}

impl MaterialStrength {
    /// Both with their words on the wire.
    pub const WORDS: &'static [(&'static str, Self)] = &[("medium", Self::Medium), ("strong", Self::Strong)];
}
