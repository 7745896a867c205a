//! The settings of the SDXL engine: numeric formats, memory, sampler, conditioning. Where its weights are stands in
//! `weights`, the sizes of its networks in `dimensions`; `docs/profiles.md` explains every key to people.

mod dimensions;
mod fidelity;
mod weights;

use std::path::{Path, PathBuf};

use diffusion::{Generator, Sampler, Schedule};
use networks::unet::{AdapterLayer, UNetConfig};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

pub use self::dimensions::Dimensions;
pub use self::fidelity::{Corrected, Corrections, Fidelity};
pub use self::weights::{EditFiles, LoraFile, WeightFiles};
use crate::Error;

/// What the `sdxl` engine needs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SdxlProfile {
    /// `sdxl`, or `hybrid`.
    pub engine: String,
    /// How close it keeps to the reference.
    #[serde(default)]
    pub fidelity: Fidelity,
    /// Defects of the reference that are put right, or not.
    #[serde(default)]
    pub corrections: Corrections,
    /// Where `hybrid` sets out from.
    #[serde(default)]
    pub hybrid: Hybrid,
    /// Numeric format of the UNet.
    #[serde(default)]
    pub precision: Precision,
    /// Numeric format of the autoencoder.
    #[serde(default)]
    pub vae_precision: VaePrecision,
    /// Which networks stay in memory between two transfers.
    #[serde(default)]
    pub memory: MemoryPlan,
    /// Pictures wider or higher than this, in pixels, pass the autoencoder in tiles of this side; 0 never tiles. Not given: 0
    /// where everything is resident, else 1024.
    pub vae_tile: Option<usize>,
    /// Where the weights are.
    pub weights: WeightFiles,
    /// How noise becomes a picture.
    #[serde(default)]
    pub sampling: Sampling,
    /// What the UNet is conditioned on, and how strongly.
    #[serde(default)]
    pub conditioning: Conditioning,
    /// Dimensions of the networks, where they differ from the published ones.
    #[serde(default)]
    pub dimensions: Dimensions,
    /// What it was loaded by: a name, or the path of its file.
    #[serde(skip)]
    pub origin: String,
    /// Folder that relative paths start from.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// How the `hybrid` engine goes on from the embedded engine's picture.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hybrid {
    /// The share of the way from noise to picture that is gone: near 0 the embedded engine's picture stays, at 1 nothing of it does.
    pub denoise: f64,
}

impl Default for Hybrid {
    fn default() -> Self {
        Self { denoise: 0.45 }
    }
}

/// Layers of the UNet that attend to the material picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum ImageLayers {
    /// Those that decide about colour and surface: the reference's.
    #[default]
    #[serde(rename = "style")]
    Style,
    /// Those, and the ones that arrange the picture.
    #[serde(rename = "style+layout")]
    StyleAndLayout,
    /// All of them: the material's own form comes along.
    #[serde(rename = "all")]
    All,
}

impl ImageLayers {
    /// The layers in a UNet of these dimensions.
    pub(crate) fn of(self, unet: &UNetConfig) -> Vec<AdapterLayer> {
        match self {
            Self::Style => unet.style_layers(),
            Self::StyleAndLayout => unet.style_and_layout_layers(),
            Self::All => unet.adapter_layers(),
        }
    }
}

/// Numeric format of the UNet and of the image tokens' keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f16 on a GPU, f32 on the CPU.
    #[default]
    Auto,
    /// 16 bits, 11 of them precision.
    F16,
    /// 16 bits, 8 of them precision, the range of f32.
    Bf16,
    /// 32 bits.
    F32,
    /// 32 bits, and linear layers on 8-bit integers: on the CPU only.
    Int8,
}

/// Numeric format of the autoencoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VaePrecision {
    /// bf16 where the UNet computes in half precision and the card in bf16 (CUDA from Ampere on), else f32.
    #[default]
    Auto,
    /// For the fp16-fix autoencoder only: SDXL's own overflows.
    F16,
    /// What the reference uses on recent GPUs.
    Bf16,
    /// 32 bits.
    F32,
}

/// Which networks stay in memory between two transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryPlan {
    /// All of them: fastest, about 14 GB in half precision.
    Resident,
    /// UNet and autoencoder; encoders, annotators and adapters are loaded when needed and released: a 12 GB GPU suffices.
    #[default]
    Released,
    /// None: each is loaded when needed and released before the next. Least memory.
    Staged,
}

/// How noise becomes a picture.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// The solver.
    #[serde(deserialize_with = "by_name")]
    pub sampler: Sampler,
    /// The noise levels.
    #[serde(deserialize_with = "by_name")]
    pub schedule: Schedule,
    /// The stream that a seed selects: `cpu` or `cuda`, as torch draws on these devices.
    #[serde(deserialize_with = "generator")]
    pub noise: Generator,
    /// Share of rescaled guidance, 0 (plain) to 1.
    pub rescale: f64,
    /// Steps of every transfer, whatever a request says: for distilled models.
    pub steps: Option<u32>,
    /// Guidance of every transfer, whatever a request says: for distilled models.
    pub guidance_scale: Option<f64>,
}

impl Default for Sampling {
    /// The reference's.
    fn default() -> Self {
        Self {
            sampler: Sampler::DPMPP_SDE,
            schedule: Schedule::Karras,
            noise: Generator::Mt19937,
            rescale: 0.9,
            steps: None,
            guidance_scale: None,
        }
    }
}

/// What the UNet is conditioned on besides the request's prompt.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conditioning {
    /// Put before every negative prompt.
    pub negative_prefix: String,
    /// Factor on the attention to the material picture.
    pub image_weight: f64,
    /// The layers that attend to it.
    pub image_layers: ImageLayers,
    /// What the networks of `weights.edits` are told at 1.
    pub edits: EditScales,
    /// The subject's depth.
    pub depth: HintStrength,
    /// The subject's lines.
    pub lineart: HintStrength,
}

impl Default for Conditioning {
    /// The reference's.
    fn default() -> Self {
        Self {
            negative_prefix: "nsfw, nude, ".to_owned(),
            image_weight: 1.0,
            image_layers: ImageLayers::Style,
            edits: EditScales::default(),
            depth: HintStrength { strength: 0.9, start: 0.0, end: 1.0 },
            lineart: HintStrength { strength: 0.35, start: 0.0, end: 0.6 },
        }
    }
}

/// What a network of `weights.edits` is told when a request asks for 1: each was trained on a range of its own.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // the names say it
pub struct EditScales {
    pub roughness: f64,
    pub metallic: f64,
    pub transparency: f64,
    pub glow: f64,
}

impl Default for EditScales {
    /// Those of the published networks.
    fn default() -> Self {
        Self { roughness: 1.0, metallic: 20.0, transparency: 4.0, glow: 3.0 }
    }
}

impl EditScales {
    /// By the name of the property.
    pub(crate) fn of(&self, name: &str) -> f64 {
        match name {
            "roughness" => self.roughness,
            "metallic" => self.metallic,
            "transparency" => self.transparency,
            _ => self.glow,
        }
    }
}

/// How strongly a hint acts, and when: from `start` to `end` of the way from noise (0) to picture (1).
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HintStrength {
    /// Factor on the adapter's features; 0 switches the hint off.
    pub strength: f64,
    /// 0 to 1.
    #[serde(default)]
    pub start: f64,
    /// 0 to 1.
    #[serde(default = "one")]
    pub end: f64,
}

fn one() -> f64 {
    1.0
}

impl SdxlProfile {
    /// The profile in `text`, a TOML file. `origin` names it in errors; relative paths in it start from `folder`.
    ///
    /// # Errors
    /// [`Error::Profile`] with what is wrong.
    pub fn parse(text: &str, origin: &str, folder: &Path) -> Result<Self, Error> {
        let profile: Self =
            toml::from_str(text).map_err(|error| Error::Profile(error.to_string().trim_end().to_owned()))?;
        profile.check().map_err(Error::Profile)?;
        Ok(Self { origin: origin.to_owned(), folder: folder.to_owned(), ..profile })
    }

    /// Does it set out from the embedded engine's picture?
    #[must_use]
    pub fn is_hybrid(&self) -> bool {
        self.engine == "hybrid"
    }

    /// Refuses numbers that make no sense, by name.
    fn check(&self) -> Result<(), String> {
        let conditioning = &self.conditioning;
        let ranges = [
            ("sampling.rescale", self.sampling.rescale, 0.0, 1.0),
            ("sampling.guidance_scale", self.sampling.guidance_scale.unwrap_or(1.0), 1.0, 30.0),
            ("sampling.steps", f64::from(self.sampling.steps.unwrap_or(1)), 1.0, 1000.0),
            ("hybrid.denoise", self.hybrid.denoise, 0.05, 1.0),
            ("conditioning.image_weight", conditioning.image_weight, 0.0, 5.0),
            ("conditioning.depth.strength", conditioning.depth.strength, 0.0, 10.0),
            ("conditioning.depth.start", conditioning.depth.start, 0.0, conditioning.depth.end),
            ("conditioning.depth.end", conditioning.depth.end, 0.0, 1.0),
            ("conditioning.lineart.strength", conditioning.lineart.strength, 0.0, 10.0),
            ("conditioning.lineart.start", conditioning.lineart.start, 0.0, conditioning.lineart.end),
            ("conditioning.lineart.end", conditioning.lineart.end, 0.0, 1.0),
        ];
        if let Some(complaint) = engine::out_of_range(&ranges) {
            return Err(complaint);
        }
        if let Some(tile @ 1..256) = self.vae_tile {
            return Err(format!("vae_tile is {tile}; it must be 0 (never) or at least 256 pixels"));
        }
        if self.vae_precision == VaePrecision::F16
            && !self.weights.vae.as_ref().is_some_and(|vae| vae.contains("fp16"))
        {
            return Err("vae_precision = \"f16\" overflows with SDXL's own autoencoder: set weights.vae = \
                        \"sdxl-vae-fp16-fix\", or use bf16 or f32"
                .to_owned());
        }
        Ok(())
    }
}

fn by_name<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<T, D::Error>
where
    T: std::str::FromStr<Err = diffusion::Error>,
{
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

fn generator<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Generator, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "cpu" => Ok(Generator::Mt19937),
        "cuda" => Ok(Generator::Philox),
        other => Err(D::Error::custom(format!("unknown noise {other:?}: choose cpu or cuda"))),
    }
}
