//! The parameters that are one word of a few.

use serde::{Deserialize, Serialize};

use crate::image_kind::ImageKind;

/// The file formats of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputFormat {
    /// Lossy WebP.
    #[default]
    WebP,
    /// Baseline JPEG, 4:2:0.
    Jpg,
    /// PNG; the quality has no meaning.
    Png,
}

impl OutputFormat {
    /// All of them with their words on the wire.
    pub const WORDS: &'static [(&'static str, Self)] =
        &[("webp", Self::WebP), ("jpg", Self::Jpg), ("png", Self::Png)];

    /// The kind of file.
    #[must_use]
    pub fn kind(self) -> ImageKind {
        match self {
            Self::WebP => ImageKind::WebP,
            Self::Jpg => ImageKind::Jpeg,
            Self::Png => ImageKind::Png,
        }
    }

    /// The word on the wire, which is also the extension of files.
    #[must_use]
    pub fn extension(self) -> &'static str {
        self.kind().extension()
    }

    /// The media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        self.kind().media_type()
    }

    /// The longest side a file of this format can declare, in pixels: 14 bits in VP8, 16 bits in JPEG, 31 bits in PNG.
    #[must_use]
    pub fn max_side(self) -> u32 {
        match self {
            Self::WebP => 16_383,
            Self::Jpg => 65_535,
            Self::Png => 0x7FFF_FFFF,
        }
    }
}

impl std::fmt::Display for OutputFormat {
    /// The format's own name.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::WebP => "WebP",
            Self::Jpg => "JPEG",
            Self::Png => "PNG",
        })
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

/// How a material picture that is no square is seen by an encoder that sees squares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaterialFit {
    /// Its central square.
    #[default]
    Crop,
    /// All of it, on a square of its mean colour.
    Pad,
    /// All of it, as squares side by side whose impressions are averaged.
    Tiles,
}

impl MaterialFit {
    /// All of them with their words on the wire.
    pub const WORDS: &'static [(&'static str, Self)] =
        &[("crop", Self::Crop), ("pad", Self::Pad), ("tiles", Self::Tiles)];
}

/// What the result shows outside the mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Background {
    /// What the engine's profile says: the embedded engine keeps it exactly, the reference pipeline paints it again.
    #[default]
    Auto,
    /// The subject picture's own pixels.
    Exact,
    /// What the engine painted there.
    Painted,
}

impl Background {
    /// All of them with their words on the wire.
    pub const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("exact", Self::Exact), ("painted", Self::Painted)];
}
